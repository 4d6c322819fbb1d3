//! The disk layouts of the lab, a GPT with one EFI system partition or with one for each of two
//! slots, and the EFI boot options that name those partitions.
//!
//! GUIDs and geometry are fixed, so the table and the boot option are known when an image is built
//! and the installer only copies bytes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

pub(crate) const SECTOR: u64 = 512;
/// First sector of the first EFI system partition.
const ESP_START: u64 = 2048;
/// Length of an EFI system partition in sectors (160 MiB).
pub(crate) const ESP_SECTORS: u64 = 160 * 2048;
/// Sectors of the backup table at the end: 32 of entries and the header.
const TAIL_SECTORS: u64 = 33;
const ENTRIES: usize = 128;
const ENTRY_SIZE: usize = 128;

// GUIDs as they stand on disk: the first three fields little-endian.
const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const DISK_ID: [u8; 16] = *b"lockstep-lab-dsk";
/// Of the partitions, one after the other.
const ONE: &[[u8; 16]] = &[*b"lockstep-lab-esp"];
const TWO: &[[u8; 16]] = &[*b"lockstep-slot-a-", *b"lockstep-slot-b-"];

/// A partition of a layout, and how the firmware finds what is in it.
pub(crate) struct Place {
    partitions: &'static [[u8; 16]],
    /// Counted from zero.
    index: usize,
    /// The boot file, in the words of UEFI.
    file: &'static str,
    /// What the boot option is called.
    pub(crate) title: &'static str,
    /// Its number.
    pub(crate) option: u16,
}

/// The whole disk.
pub(crate) const WHOLE: Place = Place {
    partitions: ONE,
    index: 0,
    file: "\\EFI\\BOOT\\BOOTX64.EFI",
    title: "Lockstep",
    option: 0x10c5,
};

// No firmware looks for a file of that name: only the boot option leads to it.
const CARD: &str = "\\EFI\\LOCKSTEP\\CARD.EFI";

pub(crate) const SLOT_A: Place = Place {
    partitions: TWO,
    index: 0,
    file: CARD,
    title: "Card OS A",
    option: 0x0a0a,
};

pub(crate) const SLOT_B: Place = Place {
    partitions: TWO,
    index: 1,
    file: CARD,
    title: "Card OS B",
    option: 0x0b0b,
};

impl Place {
    /// The number of the partition, as everybody counts.
    pub(crate) fn number(&self) -> u32 {
        self.index as u32 + 1
    }

    /// First sector of the partition.
    pub(crate) fn start(&self) -> u64 {
        start_of(self.index)
    }

    /// Sectors covered by the table; a disk must have at least as many.
    pub(crate) fn table_sectors(&self) -> u64 {
        start_of(self.partitions.len()) + 2048
    }

    /// Where the boot file is, from the root of the partition.
    pub(crate) fn file(&self) -> String {
        self.file.trim_start_matches('\\').replace('\\', "/")
    }
}

fn start_of(index: usize) -> u64 {
    ESP_START + index as u64 * ESP_SECTORS
}

/// The partition table: what goes to the start of the disk and what goes to sector
/// `table_sectors() - 33`.
pub(crate) struct Table {
    pub(crate) head: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

pub(crate) fn table(place: &Place) -> Table {
    let mut entries = vec![0; ENTRIES * ENTRY_SIZE];
    for (index, id) in place.partitions.iter().enumerate() {
        let entry = &mut entries[index * ENTRY_SIZE..][..ENTRY_SIZE];
        let start = start_of(index);
        entry[..16].copy_from_slice(&ESP_TYPE);
        entry[16..32].copy_from_slice(id);
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&(start + ESP_SECTORS - 1).to_le_bytes());
        for (at, unit) in "LOCKSTEP".encode_utf16().enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
    }

    let sectors = place.table_sectors();
    let mut head = protective_mbr(sectors);
    head.extend(header(sectors, (1, sectors - 1), 2, &entries));
    head.extend(&entries);
    let mut tail = entries.clone();
    let entries_at = sectors - TAIL_SECTORS;
    tail.extend(header(sectors, (sectors - 1, 1), entries_at, &entries));
    Table { head, tail }
}

fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    mbr[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1_u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&(sectors as u32 - 1).to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// Of a table over so many sectors: where this header is and where the other one is.
fn header(sectors: u64, (own, other): (u64, u64), entries_at: u64, entries: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(SECTOR as usize);
    header.extend(b"EFI PART");
    header.extend(0x0001_0000_u32.to_le_bytes());
    header.extend(92_u32.to_le_bytes());
    header.extend([0; 8]); // own checksum, filled in below, and a reserved word
    header.extend(own.to_le_bytes());
    header.extend(other.to_le_bytes());
    header.extend(34_u64.to_le_bytes());
    header.extend((sectors - TAIL_SECTORS - 1).to_le_bytes());
    header.extend(DISK_ID);
    header.extend(entries_at.to_le_bytes());
    header.extend((ENTRIES as u32).to_le_bytes());
    header.extend((ENTRY_SIZE as u32).to_le_bytes());
    header.extend(crc32(entries).to_le_bytes());
    let checksum = crc32(&header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header.resize(SECTOR as usize, 0);
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

/// Content of the efivarfs file of the boot option: four bytes of attributes (non-volatile, boot and
/// runtime access), then the load option for the boot file on this partition.
pub(crate) fn boot_option(place: &Place) -> Vec<u8> {
    let file = utf16(place.file);
    let mut path = vec![0x04, 0x01, 42, 0]; // hard drive node
    path.extend(place.number().to_le_bytes());
    path.extend(place.start().to_le_bytes());
    path.extend(ESP_SECTORS.to_le_bytes());
    path.extend(place.partitions[place.index]);
    path.extend([0x02, 0x02]); // GPT, named by GUID
    path.extend([0x04, 0x04]); // file path node
    path.extend((file.len() as u16 + 4).to_le_bytes());
    path.extend(&file);
    path.extend([0x7f, 0xff, 4, 0]); // end

    let mut option = vec![7, 0, 0, 0];
    option.extend(1_u32.to_le_bytes()); // active
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16(place.title));
    option.extend(path);
    option
}

/// Content of the efivarfs file `BootNext-…` that selects the boot option once.
pub(crate) fn boot_next(place: &Place) -> Vec<u8> {
    let mut next = vec![7, 0, 0, 0];
    next.extend(place.option.to_le_bytes());
    next
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// Writes a sparse raw disk at `path` that carries `esp` (a FAT image of at most the partition's
/// size) in its partition.
pub(crate) fn write_disk(path: &Path, esp: &Path) -> Result<()> {
    let table = table(&WHOLE);
    let sectors = WHOLE.table_sectors();
    let write = || -> std::io::Result<()> {
        let mut disk = File::create(path)?;
        disk.set_len(sectors * SECTOR)?;
        disk.write_all(&table.head)?;
        disk.seek(SeekFrom::Start((sectors - TAIL_SECTORS) * SECTOR))?;
        disk.write_all(&table.tail)?;
        disk.seek(SeekFrom::Start(WHOLE.start() * SECTOR))?;
        std::io::copy(&mut File::open(esp)?, &mut disk)?;
        disk.sync_all()
    };
    write().with_context(|| format!("cannot write the disk image {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_headers_point_at_each_other() {
        let table = table(&SLOT_A);
        assert_eq!(table.head.len(), 34 * 512);
        assert_eq!(table.tail.len(), 33 * 512);
        let primary = &table.head[512..];
        let backup = &table.tail[32 * 512..];
        assert_eq!(&primary[..8], b"EFI PART");
        assert_eq!(&backup[..8], b"EFI PART");
        assert_eq!(primary[24..32], backup[32..40]);
        assert_eq!(primary[32..40], backup[24..32]);
    }

    #[test]
    fn slots_lie_one_after_the_other_and_share_a_table() {
        let entries = &table(&SLOT_A).head[1024..];
        assert_eq!(entries, &table(&SLOT_B).head[1024..]);
        assert_eq!(entries[40..48], (SLOT_B.start() - 1).to_le_bytes());
        assert_eq!(entries[160..168], SLOT_B.start().to_le_bytes());
        assert_eq!(entries[256..], [0; 126 * ENTRY_SIZE]);
        assert_eq!(SLOT_B.file(), "EFI/LOCKSTEP/CARD.EFI");
    }

    #[test]
    fn boot_option_lengths_agree() {
        let option = boot_option(&WHOLE);
        let paths = usize::from(u16::from_le_bytes([option[8], option[9]]));
        let description = 2 * ("Lockstep".len() + 1);
        assert_eq!(option.len(), 4 + 4 + 2 + description + paths);
        assert_eq!(option[option.len() - 4..], [0x7f, 0xff, 4, 0]);
    }
}
