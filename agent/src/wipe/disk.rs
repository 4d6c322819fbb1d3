//! Disks: every block is overwritten with zeros, given back to the disk where that takes it, and
//! read again. What a disk keeps beside the blocks that it shows, such as worn-out flash, only a
//! command of its own reaches.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use lockstep_crds::wipe::{NO_DISK, WipeItem};
use lockstep_local::disks::{Disk, DiskKind, disks};
use lockstep_local::{Fact, Root};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

use crate::wipe::spared::spared;
use crate::wipe::{DISK, failed, left, wiped};

const CHUNK: usize = 4 << 20;
const NONE_SEEN: &str = "this system sees none of the card's own; a driver may be missing";

/// Every disk of the card, and what is left of what else this system sees. A drive for CDs and DVDs is
/// passed over: a disk image in it is no disk, be it what was booted from.
pub(super) fn wipe_all(root: &Root, devices: &Path) -> Vec<WipeItem> {
    let disks = match disks(root) {
        Fact::Known(disks) => disks,
        Fact::NotOffered => return vec![left(NO_DISK, NONE_SEEN)],
        Fact::NotRead(why) => {
            return vec![failed(NO_DISK, format!("they cannot be listed: {why}"))];
        }
    };
    let mut items = Vec::new();
    let mut is_any_wiped = false;
    for disk in disks.iter().filter(|disk| disk.kind != DiskKind::Optical) {
        let spared = spared(root, disk);
        is_any_wiped |= spared.is_none();
        items.push(spared.unwrap_or_else(|| wipe(disk, devices)));
    }
    // What is spared is no sign that this system has the driver of the card's disks.
    if !is_any_wiped {
        items.insert(0, left(NO_DISK, NONE_SEEN));
    }
    items
}

fn wipe(disk: &Disk, devices: &Path) -> WipeItem {
    let name = format!("{DISK}{}", disk.name);
    if disk.read_only == Fact::Known(true) {
        return failed(&name, "it is write-protected");
    }
    // So the kernel shows a disk whose controller is dead, or that does not tell its capacity.
    if disk.bytes == Fact::Known(0) {
        return failed(
            &name,
            "it shows no size, so nothing of it was overwritten, and it may hold what it held: power the card off and on and wipe it again, or take the disk out",
        );
    }
    // The kernel writes `!` where a device's own name has a slash.
    let path = devices.join(disk.name.replace('!', "/"));
    let bytes = disk.bytes.clone().known();
    match overwrite(&path, bytes) {
        Ok(Overwritten { bytes, given_back }) => wiped(
            &name,
            format!(
                "{bytes} bytes overwritten with zeros{}, and read back as zeros",
                if given_back {
                    ", given back to the disk"
                } else {
                    ""
                }
            ),
        ),
        Err(error) => failed(&name, format!("{}: {error}", path.display())),
    }
}

struct Overwritten {
    bytes: u64,
    given_back: bool,
}

/// Zeros from end to end, as many as the disk has bytes.
fn overwrite(path: &Path, told: Option<u64>) -> io::Result<Overwritten> {
    let mut disk = OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = disk.seek(SeekFrom::End(0))?;
    if told.is_some_and(|told| told != bytes) {
        return Err(io::Error::other(format!(
            "it has {bytes} bytes, and the kernel told of {told:?}"
        )));
    }
    disk.rewind()?;
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let next = chunk(bytes - at);
        disk.write_all(&zeros[..next])?;
        at += next as u64;
    }
    disk.sync_all()?;
    // A disk that takes no blocks back holds zeros in them.
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let given_back = bytes > 0 && fallocate(&disk, hole, 0, bytes).is_ok();
    disk.sync_all()?;
    // What is read back must come from the disk, not from what was just written.
    fadvise(&disk, 0, None, Advice::DontNeed)?;
    read_back(&mut disk, bytes)?;
    Ok(Overwritten { bytes, given_back })
}

fn read_back(disk: &mut File, bytes: u64) -> io::Result<()> {
    disk.rewind()?;
    let zeros = vec![0; CHUNK];
    let mut found = vec![1; CHUNK];
    let mut at = 0;
    while at < bytes {
        let next = chunk(bytes - at);
        disk.read_exact(&mut found[..next])?;
        if found[..next] != zeros[..next] {
            return Err(io::Error::other(format!(
                "it was overwritten with zeros, and reads otherwise within {next} bytes from {at}"
            )));
        }
        at += next as u64;
    }
    Ok(())
}

fn chunk(rest: u64) -> usize {
    usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::wipe::WipeResult;
    use std::fs;

    /// A machine with a disk, a CD and a stick, and the files that stand for them.
    fn machine(read_only: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, removable, ro) in [
            ("vda", "0", read_only),
            ("sda", "1", "0"),
            ("sr0", "1", "0"),
        ] {
            let block = dir.path().join("sys/block").join(name);
            fs::create_dir_all(&block).unwrap();
            let bus = if name == "sda" { "usb1/1-1" } else { "pci0" };
            let device = format!("sys/devices/{bus}/{name}");
            fs::create_dir_all(dir.path().join(&device)).unwrap();
            std::os::unix::fs::symlink(format!("../../../{device}"), block.join("device")).unwrap();
            // Of a CD or DVD drive.
            fs::write(
                block.join("device/type"),
                if name == "sr0" { "5\n" } else { "0\n" },
            )
            .unwrap();
            let size = ((CHUNK + 512) / 512).to_string();
            for (file, text) in [
                ("size", size.as_str()),
                ("removable", removable),
                ("ro", ro),
            ] {
                fs::write(block.join(file), format!("{text}\n")).unwrap();
            }
            fs::create_dir_all(dir.path().join("dev")).unwrap();
            fs::write(dir.path().join("dev").join(name), vec![7; CHUNK + 512]).unwrap();
        }
        dir
    }

    fn wiped_of(dir: &Path) -> Vec<WipeItem> {
        wipe_all(&Root::new(dir), &dir.join("dev"))
    }

    fn results(told: &[WipeItem]) -> Vec<(&str, &WipeResult)> {
        told.iter()
            .map(|one| (one.item.as_str(), &one.result))
            .collect()
    }

    #[test]
    fn every_byte_of_a_disk_is_zero_and_media_are_left_alone() {
        let dir = machine("0");
        let told = wiped_of(dir.path());
        let wanted = [
            ("Disk sda", &WipeResult::NotSupported),
            ("Disk vda", &WipeResult::Wiped),
        ];
        assert_eq!(results(&told), wanted, "{told:?}");
        let bytes = |name: &str| fs::read(dir.path().join("dev").join(name)).unwrap();
        assert_eq!(bytes("vda"), vec![0; CHUNK + 512]);
        assert_eq!(bytes("sda"), vec![7; CHUNK + 512]);
        assert_eq!(bytes("sr0"), vec![7; CHUNK + 512]);
    }

    #[test]
    fn what_cannot_be_written_or_is_of_another_size_has_failed() {
        let has_failed = |dir: &Path| {
            let told = wiped_of(dir);
            let wanted = ("Disk vda", &WipeResult::Failed);
            results(&told).contains(&wanted)
        };
        assert!(has_failed(machine("1").path()));
        let dir = machine("0");
        fs::write(dir.path().join("dev/vda"), [7; 512]).unwrap();
        assert!(has_failed(dir.path()));
        fs::remove_file(dir.path().join("dev/vda")).unwrap();
        assert!(has_failed(dir.path()));
    }

    #[test]
    fn a_disk_that_shows_no_size_has_failed_and_an_empty_drive_is_a_medium() {
        let dir = machine("0");
        for name in ["vda", "sda", "sr0"] {
            fs::write(dir.path().join("sys/block").join(name).join("size"), "0\n").unwrap();
        }
        let told = wiped_of(dir.path());
        let wanted = [
            ("Disk sda", &WipeResult::NotSupported),
            ("Disk vda", &WipeResult::Failed),
        ];
        assert_eq!(results(&told), wanted, "{told:?}");
        let why = told[1].message.as_deref().unwrap_or_default();
        assert!(why.contains("shows no size"), "{why}");
    }

    /// Another disk of that machine, below a device of its own.
    fn beside(dir: &Path, name: &str, region: &str, place: &str) {
        let device = dir.join("sys/devices").join(region).join(place);
        fs::create_dir_all(&device).unwrap();
        let kind = format!("DEVTYPE={region}\n");
        fs::write(device.parent().unwrap().join("uevent"), kind).unwrap();
        let block = dir.join("sys/block").join(name);
        fs::create_dir_all(&block).unwrap();
        let link = format!("../../devices/{region}/{place}");
        std::os::unix::fs::symlink(link, block.join("device")).unwrap();
        for (file, text) in [("size", "1\n"), ("removable", "0\n"), ("ro", "0\n")] {
            fs::write(block.join(file), text).unwrap();
        }
        fs::write(dir.join("dev").join(name), [7; 512]).unwrap();
    }

    #[test]
    fn what_the_firmware_booted_from_memory_is_no_disk_of_the_card() {
        let dir = machine("0");
        beside(dir.path(), "pmem0", "nd_volatile", "namespace0.0");
        beside(dir.path(), "mtdblock0", "mtd", "mtd0");
        let told = wiped_of(dir.path());
        assert_eq!(
            results(&told),
            [
                ("Disk mtdblock0", &WipeResult::NotSupported),
                ("Disk pmem0", &WipeResult::NotSupported),
                ("Disk sda", &WipeResult::NotSupported),
                ("Disk vda", &WipeResult::Wiped),
            ]
        );
        for name in ["pmem0", "mtdblock0"] {
            let bytes = fs::read(dir.path().join("dev").join(name)).unwrap();
            assert_eq!(bytes, [7; 512], "{name}");
        }
        // The same machine, of whose disk this system has no driver.
        fs::remove_dir_all(dir.path().join("sys/block/vda")).unwrap();
        let told = wiped_of(dir.path());
        assert_eq!(results(&told)[0], (NO_DISK, &WipeResult::NotSupported));
        assert!(told.iter().all(|one| one.result != WipeResult::Wiped));
    }

    #[test]
    fn memory_that_may_last_is_told_as_not_wiped() {
        let dir = machine("0");
        beside(dir.path(), "pmem1", "nd_pmem", "namespace1.0");
        let told = wiped_of(dir.path());
        assert_eq!(results(&told)[0], ("Disk pmem1", &WipeResult::Failed));
        let bytes = fs::read(dir.path().join("dev/pmem1")).unwrap();
        assert_eq!(bytes, [7; 512]);
    }

    #[test]
    fn a_disk_that_takes_zeros_and_keeps_what_it_had_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut bytes = vec![0; CHUNK * 2];
        bytes[CHUNK + 17] = 1;
        fs::write(&path, bytes).unwrap();
        let mut disk = File::open(&path).unwrap();
        let why = read_back(&mut disk, CHUNK as u64 * 2).unwrap_err();
        assert!(why.to_string().contains("reads otherwise"), "{why}");
    }

    #[test]
    fn where_no_disk_is_seen_there_is_nothing_to_wipe() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/block")).unwrap();
        let told = wiped_of(dir.path());
        assert_eq!(told[0].result, WipeResult::NotSupported);
        let why = told[0].message.as_deref().unwrap_or_default();
        assert!(why.contains("a driver may be missing"), "{why}");
    }
}
