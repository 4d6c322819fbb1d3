//! An installer ISO that is an EFI program too, for firmware that loads one by PXE.
//!
//! The first 32 KiB of an ISO are nobody's. There go the headers of the boot file that lies in the
//! ISO, with its sections where they are there. The last of them, the initramfs, reaches further
//! than in the boot file itself: over an archive that follows it, of which the seed slot is the only
//! file. So one slot is a file of the medium for whoever boots the medium, and one of the initramfs
//! for whoever loads the program; of the former, what is measured and signed does not change.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use super::seed;

/// What no file of an ISO may use.
const SYSTEM_AREA: usize = 32 << 10;
const SECTOR: usize = 512;
const INITRAMFS: &[u8; 8] = b".initrd\0";
/// What the slot is called in the initramfs.
const NAME: &str = "lockstep.cred";

/// The archive around the slot: what comes right before it, in whole sectors, and right after.
pub(crate) fn around_slot() -> Result<(Vec<u8>, Vec<u8>)> {
    let slot = seed::empty();
    let mut archive = Archive::default();
    archive.file(NAME, 0o600, &slot);
    let bytes = archive.finish();
    let at = bytes
        .windows(seed::MARKER.len())
        .position(|part| part == seed::MARKER.as_bytes());
    let at = at.context("an archive without its file")?;
    let mut before = vec![0; at.next_multiple_of(SECTOR) - at];
    before.extend(&bytes[..at]);
    Ok((before, bytes[at + slot.len()..].to_vec()))
}

/// Makes the ISO a program. In it lie, one after the other and with nothing but zeros between, the
/// boot file and the two parts of [`around_slot`] with the slot in their middle.
pub(crate) fn make_program(iso: &Path, boot_file: &Path) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (image, program) = (read(iso)?, read(boot_file)?);
    let headers = headers_in(&image, &program)?;
    let file = File::options().write(true).open(iso);
    file.and_then(|file| file.write_all_at(&headers, 0))
        .with_context(|| format!("cannot write {}", iso.display()))
}

fn headers_in(image: &[u8], program: &[u8]) -> Result<Vec<u8>> {
    let slot = seed::find(image)?;
    let (before, after) = around_slot()?;
    let end = slot + seed::SIZE + after.len();
    ensure!(
        image.get(slot - before.len()..slot) == Some(&before)
            && image.get(slot + seed::SIZE..end) == Some(&after),
        "no archive around the seed slot"
    );
    let at = (0..image.len())
        .step_by(SECTOR)
        .find(|at| image[*at..].starts_with(program))
        .context("the boot file does not lie in one piece")?;
    let gap = image.get(at + program.len()..slot - before.len());
    ensure!(
        gap.is_some_and(|gap| gap.iter().all(|byte| *byte == 0)),
        "something lies between boot file and seed slot"
    );
    let free = image.get(..SYSTEM_AREA);
    ensure!(
        free.is_some_and(|free| free.iter().all(|byte| *byte == 0)),
        "the ISO's first sectors are in use"
    );
    moved(program, at, end)
}

/// The headers of a program whose file begins at `at` of another, and whose initramfs ends at `end`.
fn moved(program: &[u8], at: usize, end: usize) -> Result<Vec<u8>> {
    let pe = Header::of(program)?;
    let mut headers = program
        .get(..number(program, pe.optional + 60)?)
        .context("a boot file that ends in its headers")?
        .to_vec();
    ensure!(
        headers.len() <= SYSTEM_AREA,
        "the boot file's headers are too long"
    );
    ensure!(
        number(program, pe.optional + 112 + 4 * 8)? == 0,
        "a signed boot file cannot be moved"
    );
    let alignment = number(program, pe.optional + 32)?;
    let mut size = None;
    for section in pe.sections() {
        let data = at + number(program, section + 20)?;
        put(&mut headers, section + 20, data)?;
        if program.get(section..section + 8) == Some(INITRAMFS) {
            let length = end
                .checked_sub(data)
                .context("an initramfs behind its end")?;
            put(&mut headers, section + 8, length)?;
            put(&mut headers, section + 16, length)?;
            let virtual_end = number(program, section + 12)? + length;
            size = Some(virtual_end.next_multiple_of(alignment));
        }
    }
    let size = size.context("a boot file without an initramfs")?;
    ensure!(
        size >= number(program, pe.optional + 56)?,
        "the initramfs is not the last section"
    );
    put(&mut headers, pe.optional + 56, size)?;
    Ok(headers)
}

/// Where things are in the headers of a program.
pub(crate) struct Header {
    pub(crate) coff: usize,
    optional: usize,
    table: usize,
    count: usize,
}

impl Header {
    pub(crate) fn of(program: &[u8]) -> Result<Self> {
        let pe = number(program, 0x3c)?;
        ensure!(
            program.get(pe..pe + 4) == Some(b"PE\0\0"),
            "the boot file is no EFI program"
        );
        let coff = pe + 4;
        let short = |at: usize| {
            let bytes = program.get(at..at + 2).and_then(|two| two.try_into().ok());
            bytes.map(|two| usize::from(u16::from_le_bytes(two)))
        };
        let count = short(coff + 2).context("a program without sections")?;
        let optional = coff + 20;
        let length = short(coff + 16).context("a program without an optional header")?;
        Ok(Self {
            coff,
            optional,
            table: optional + length,
            count,
        })
    }

    fn sections(&self) -> impl Iterator<Item = usize> {
        let table = self.table;
        (0..self.count).map(move |number| table + number * 40)
    }

    /// Where the last section ends in the file.
    pub(crate) fn end_of_sections(&self, program: &[u8]) -> Result<usize> {
        let mut end = 0;
        for section in self.sections() {
            end = end.max(number(program, section + 20)? + number(program, section + 16)?);
        }
        Ok(end)
    }
}

fn number(bytes: &[u8], at: usize) -> Result<usize> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    let value = four
        .map(u32::from_le_bytes)
        .context("a program that ends in its headers")?;
    Ok(value as usize)
}

fn put(bytes: &mut [u8], at: usize, value: usize) -> Result<()> {
    let value = u32::try_from(value).context("an image beyond 4 GiB")?;
    let place = bytes
        .get_mut(at..at + 4)
        .context("headers that end too early")?;
    place.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of 1 KiB, `.text` and `.initrd`, a sector each.
    fn program() -> Vec<u8> {
        let mut bytes = vec![0; 0x400 + 2 * SECTOR];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 2;
        bytes[0x94] = 0xf0;
        let optional = 0x98;
        put(&mut bytes, optional + 32, 0x1000).unwrap();
        put(&mut bytes, optional + 56, 0x3000).unwrap();
        put(&mut bytes, optional + 60, 0x400).unwrap();
        for (number, name) in [b".text\0\0\0", INITRAMFS].into_iter().enumerate() {
            let section = optional + 0xf0 + number * 40;
            bytes[section..section + 8].copy_from_slice(name);
            put(&mut bytes, section + 8, SECTOR).unwrap();
            put(&mut bytes, section + 12, 0x1000 * (number + 1)).unwrap();
            put(&mut bytes, section + 16, SECTOR).unwrap();
            put(&mut bytes, section + 20, 0x400 + number * SECTOR).unwrap();
        }
        bytes[0x400..].fill(7);
        bytes
    }

    fn image() -> Vec<u8> {
        let (before, after) = around_slot().unwrap();
        let mut image = vec![0; 100 * SECTOR];
        image.extend(program());
        image.extend([0; SECTOR]);
        image.extend(before);
        image.extend(seed::empty());
        image.extend(after);
        image.extend([9; SECTOR]);
        image
    }

    #[test]
    fn the_program_has_its_sections_in_the_iso_and_the_slot_in_its_initramfs() {
        let image = image();
        let headers = headers_in(&image, &program()).unwrap();
        let pe = Header::of(&headers).unwrap();
        let parts: Vec<(usize, usize)> = pe
            .sections()
            .map(|at| {
                let of = |field| number(&headers, at + field).unwrap();
                assert_eq!(of(8), of(16));
                (of(20), of(16))
            })
            .collect();
        assert_eq!(parts[0], (100 * SECTOR + 0x400, SECTOR));
        let (from, length) = parts[1];
        let initramfs = &image[from..from + length];
        assert!(initramfs.starts_with(&[7; SECTOR]));
        let slot = seed::find(&image).unwrap() - from;
        assert_eq!(slot % 4, 0, "an archive begins at a multiple of four");
        assert!(initramfs[slot..].starts_with(seed::MARKER.as_bytes()));
        assert!(!initramfs.contains(&9));
        assert_eq!(number(&headers, pe.optional + 56).unwrap() % 0x1000, 0);
        assert!(number(&headers, pe.optional + 56).unwrap() >= 0x2000 + length);
    }

    #[test]
    fn what_lies_otherwise_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<u8>), words: &str| {
            let mut image = image();
            change(&mut image);
            let error = headers_in(&image, &program()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let after = 100 * SECTOR + program().len();
        refused(&|image| image[after] = 1, "between boot file and seed slot");
        refused(&|image| image[0] = 1, "first sectors are in use");
        refused(&|image| image[after - 1] = 1, "in one piece");
        refused(&|image| image[after + SECTOR + 400] = 1, "no archive");
    }
}
