//! What becomes of a disk that must not be overwritten, or need not be: because it is not the card's, or
//! because of what its blocks lie in.

use lockstep_crds::wipe::WipeItem;
use lockstep_local::disks::{Backing, Disk, DiskKind, Reach, backing, reach};
use lockstep_local::{Fact, Root};

use crate::wipe::{DISK, failed, left};

/// What is told of a disk that is left as it is; `None`: it is the card's, to be wiped.
pub(super) fn spared(root: &Root, disk: &Disk) -> Option<WipeItem> {
    let name = format!("{DISK}{}", disk.name);
    of_backing(&name, backing(root, &disk.name))
        .or_else(|| of_reach(&name, disk, reach(root, disk)))
}

fn of_backing(name: &str, backing: Backing) -> Option<WipeItem> {
    match backing {
        Backing::Drive => None,
        Backing::Memory => Some(left(
            name,
            "memory that the firmware made a disk of, for the medium of this system: left as it is, and gone once the card is powered off",
        )),
        // It may be a medium as well, from which this system still reads.
        Backing::LastingMemory => Some(failed(
            name,
            "memory that may keep what it holds without power, so it may hold what it held, and is not wiped from here: take it out, or, if it is the medium of this system, boot the wiper by VirtualMedia",
        )),
        Backing::RawFlash => Some(left(
            name,
            "raw flash, where the card's boot firmware may lie: left as it is, so that the card boots again",
        )),
    }
}

fn of_reach(name: &str, disk: &Disk, reach: Reach) -> Option<WipeItem> {
    let is_fixed = disk.removable != Fact::Known(true);
    let is_drive = matches!(disk.kind, DiskKind::Ata | DiskKind::Scsi);
    let is_empty = disk.bytes == Fact::Known(0);
    match reach {
        // Nobody is told that a card is wiped beside what looks like a disk of its own.
        Reach::Usb if is_fixed && !is_empty => Some(failed(
            name,
            "attached by USB and fixed there, so it may be the card's own, and was not touched as virtual media look so too: it holds what it held; take it out or wipe it yourself",
        )),
        Reach::Removable if is_drive && !is_empty => Some(failed(
            name,
            "a drive whose port tells that it can be taken out, so nobody knows whether it is the card's own, and it was not touched: it holds what it held; take it out or wipe it yourself",
        )),
        Reach::Own => None,
        Reach::Network => Some(left(
            name,
            "reached over a network, so it is not the card's own and others may use it: left as it is, with all that it holds; wipe it where it is kept",
        )),
        Reach::Usb => Some(left(
            name,
            "attached by USB, as virtual media are, so it does not count as the card's own: left as it is, with all that it holds; if it belongs to the card, take it out or wipe it yourself",
        )),
        Reach::Removable => Some(left(
            name,
            "a drive whose medium can be taken out: left as it is, with all that it holds; if it belongs to the card, take it out or wipe it yourself",
        )),
        // It may be the card's, so nobody is told that the card is wiped.
        Reach::NotTold => Some(failed(
            name,
            "nothing tells whether it is the card's own or reached over a network, so it was not touched and may hold what it held: detach it, or boot a wiper whose kernel tells a transport",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use lockstep_crds::wipe::{NO_DISK, WipeResult};

    use super::super::disk::wipe_all;
    use super::super::{MOST_WORDS, bounded};
    use super::*;

    /// A disk at its place, with the file that stands for its bytes.
    fn disk(dir: &Path, device: &str, name: &str, files: &[(&str, &str)]) {
        let link = format!("../../devices/{device}");
        fs::create_dir_all(dir.join("sys/devices").join(device)).unwrap();
        let block = dir.join("sys/block").join(name);
        fs::create_dir_all(&block).unwrap();
        symlink(link, block.join("device")).unwrap();
        let usual = [("size", "1"), ("removable", "0"), ("ro", "0")];
        for (file, text) in usual.iter().chain(files) {
            fs::write(block.join(file), format!("{text}\n")).unwrap();
        }
        fs::create_dir_all(dir.join("dev")).unwrap();
        fs::write(dir.join("dev").join(name), [7; 512]).unwrap();
    }

    fn wiped_of(dir: &Path) -> Vec<WipeItem> {
        bounded(wipe_all(&Root::new(dir), &dir.join("dev")))
    }

    fn results(told: &[WipeItem]) -> Vec<(&str, &WipeResult)> {
        let told = told.iter().map(|one| (one.item.as_str(), &one.result));
        told.collect()
    }

    #[test]
    fn no_disk_of_another_machine_is_touched_and_each_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let fabrics = "virtual/nvme-fabrics/ctl/nvme1";
        disk(dir, fabrics, "nvme1n1", &[("device/transport", "tcp")]);
        let iscsi = "platform/host3/session1/target3:0:0/3:0:0:0";
        disk(dir, iscsi, "sda", &[]);
        let channel = "pci0/host4/rport-4:0-0/target4:0:0/4:0:0:0";
        disk(dir, channel, "sdb", &[]);
        let usb = "pci0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0";
        disk(dir, usb, "sdc", &[("removable", "1")]);
        let fixed = "pci0/usb1/1-2/1-2:1.0/host7/target7:0:0/7:0:0:0";
        disk(dir, fixed, "sde", &[]);
        let ata = "pci0/ata1/host0/target0:0:0/0:0:0:0";
        disk(dir, ata, "sdd", &[("removable", "1")]);
        let spared = ["nvme1n1", "sda", "sdb", "sdc", "sdd", "sde"];

        // None of them says that this system has the driver of the card's disks.
        let told = wiped_of(dir);
        assert_eq!(results(&told)[0], (NO_DISK, &WipeResult::NotSupported));

        disk(dir, "pci0/virtio2", "vda", &[]);
        let told = wiped_of(dir);
        let wanted = [
            ("Disk nvme1n1", &WipeResult::NotSupported),
            ("Disk sda", &WipeResult::NotSupported),
            ("Disk sdb", &WipeResult::NotSupported),
            ("Disk sdc", &WipeResult::NotSupported),
            ("Disk sdd", &WipeResult::Failed),
            ("Disk sde", &WipeResult::Failed),
            ("Disk vda", &WipeResult::Wiped),
        ];
        assert_eq!(results(&told), wanted, "{told:?}");
        for (name, word) in spared
            .iter()
            .zip(["network", "network", "network", "USB", "port", "USB"])
        {
            let bytes = fs::read(dir.join("dev").join(name)).unwrap();
            assert_eq!(bytes, [7; 512], "{name}");
            let item = told.iter().find(|one| one.item == format!("Disk {name}"));
            let why = item.and_then(|one| one.message.as_deref()).unwrap();
            assert!(why.contains(word) && why.contains("hold"), "{why}");
        }
        assert_eq!(fs::read(dir.join("dev/vda")).unwrap(), [0; 512]);
    }

    #[test]
    fn a_disk_that_may_be_anybodys_is_not_touched_and_the_card_not_wiped() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        disk(dir, "pci0/0000:01:00.0/nvme/nvme0", "nvme0n1", &[]);
        disk(dir, "pci0/virtio2", "vda", &[]);
        let told = wiped_of(dir);
        assert_eq!(results(&told)[0], ("Disk nvme0n1", &WipeResult::Failed));
        assert_eq!(fs::read(dir.join("dev/nvme0n1")).unwrap(), [7; 512]);
        fs::write(dir.join("sys/block/nvme0n1/device/transport"), "pcie\n").unwrap();
        let told = wiped_of(dir);
        assert!(
            told.iter().all(|one| one.result == WipeResult::Wiped),
            "{told:?}"
        );
        assert_eq!(fs::read(dir.join("dev/nvme0n1")).unwrap(), [0; 512]);
    }

    #[test]
    fn every_message_fits_into_a_report() {
        let of_backing = [Backing::Memory, Backing::LastingMemory, Backing::RawFlash];
        let of_backing = of_backing.map(|one| super::of_backing("Disk a", one));
        let of_reach = [Reach::Network, Reach::Usb, Reach::Removable, Reach::NotTold];
        let kinds = [DiskKind::Usb, DiskKind::Ata, DiskKind::Other];
        let disks = kinds.map(|kind| Disk {
            name: "a".to_owned(),
            kind,
            bytes: Fact::Known(1),
            model: Fact::NotOffered,
            serial: Fact::NotOffered,
            firmware: Fact::NotOffered,
            wwid: Fact::NotOffered,
            rotational: Fact::NotOffered,
            removable: Fact::Known(kind != DiskKind::Usb),
            read_only: Fact::NotOffered,
            pci: None,
        });
        let of_reach = disks
            .iter()
            .flat_map(|disk| of_reach.map(|one| super::of_reach("Disk a", disk, one)));
        for item in of_backing.into_iter().chain(of_reach) {
            let words = item.and_then(|item| item.message).unwrap();
            assert!(words.chars().count() <= MOST_WORDS, "{words}");
        }
    }
}
