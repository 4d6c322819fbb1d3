//! Whose a disk is: for whoever would overwrite it, and must not overwrite another machine's.

use super::{BLOCK, Disk, DiskKind, controllers};
use crate::{Fact, Root};

/// The transport of an NVMe namespace that is in this machine.
const LOCAL: &str = "pcie";
/// The driver of SCSI disks that are reached over RDMA by SRP, whose place looks as that of SAS does.
const SRP: &str = "ib_srp";
/// How the kernel names disks that lie elsewhere whatever their device is: Ceph's, ATA over Ethernet, and
/// block devices over TCP and RDMA.
const ELSEWHERE: [&str; 4] = ["rbd", "etherd!", "nbd", "rnbd"];

/// What a disk is to this machine, as far as it matters to whoever would overwrite it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A part of it.
    Own,
    /// Elsewhere, reached over a network: of another machine, or shared with others.
    Network,
    /// Attached by USB, as virtual media are.
    Usb,
    /// A drive whose medium can be taken out.
    Removable,
    /// Nothing tells whether it is a part of this machine or elsewhere.
    NotTold,
}

/// What this disk is to the machine. A kind that is not known here is a part of it: what reaches a disk
/// elsewhere is known by its kind or its name.
pub fn reach(root: &Root, disk: &Disk) -> Reach {
    let place = root.followed(&format!("{BLOCK}/{}/device", disk.name));
    let place = place.known();
    let is_by_usb = |place: &str| place.split('/').any(is_usb_bus);
    if ELSEWHERE.iter().any(|name| disk.name.starts_with(name)) {
        return Reach::Network;
    }
    let reach = match disk.kind {
        DiskKind::NvmeOverFabrics | DiskKind::Iscsi | DiskKind::FibreChannel => Reach::Network,
        DiskKind::Usb => Reach::Usb,
        DiskKind::Optical => Reach::Removable,
        DiskKind::Nvme => of_transports(&transports(root, disk, place.as_deref())),
        DiskKind::Scsi => match place.as_deref() {
            None => Reach::NotTold,
            Some(place) if scsi_driver(root, place).as_deref() == Some(SRP) => Reach::Network,
            Some(_) => Reach::Own,
        },
        DiskKind::Emmc | DiskKind::Sd | DiskKind::Ata | DiskKind::Virtio | DiskKind::Other => {
            Reach::Own
        }
    };
    match reach {
        Reach::Own if place.as_deref().is_some_and(is_by_usb) => Reach::Usb,
        Reach::Own if disk.removable == Fact::Known(true) => Reach::Removable,
        Reach::Own | Reach::Network | Reach::Usb | Reach::Removable | Reach::NotTold => reach,
    }
}

fn is_usb_bus(folder: &str) -> bool {
    let number = folder.strip_prefix("usb");
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What each controller that reaches an NVMe namespace is reached by.
fn transports(root: &Root, disk: &Disk, place: Option<&str>) -> Vec<Option<String>> {
    let told = root.line(&format!("{BLOCK}/{}/device/transport", disk.name));
    if let Fact::Known(told) = told {
        return vec![Some(told)];
    }
    let Some(place) = place else {
        return Vec::new();
    };
    let of = |controller: &String| {
        root.line(&format!("{place}/{controller}/transport"))
            .known()
    };
    controllers(root, place).iter().map(of).collect()
}

/// A namespace that is reached over a network as well is shared.
fn of_transports(told: &[Option<String>]) -> Reach {
    let is_elsewhere = |told: &Option<String>| told.as_ref().is_some_and(|told| told != LOCAL);
    if told.iter().any(is_elsewhere) {
        Reach::Network
    } else if told.is_empty() || told.contains(&None) {
        Reach::NotTold
    } else {
        Reach::Own
    }
}

/// The driver of the SCSI host that a disk is behind.
fn scsi_driver(root: &Root, place: &str) -> Option<String> {
    let is_host = |folder: &&str| {
        let number = folder.strip_prefix("host");
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let host = place.split('/').find(is_host)?;
    let told = root.line(&format!("/sys/class/scsi_host/{host}/proc_name"));
    told.known()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Files of a disk, and what is in them.
    type Files = &'static [(&'static str, &'static [u8])];

    fn reaches(machine: &Machine) -> Vec<(String, Reach)> {
        let root = machine.root();
        let disks = machine.disks();
        let told = disks
            .iter()
            .map(|disk| (disk.name.clone(), reach(&root, disk)));
        told.collect()
    }

    fn expected(table: &[(&str, Reach)]) -> Vec<(String, Reach)> {
        let told = table
            .iter()
            .map(|(name, reach)| ((*name).to_owned(), *reach));
        told.collect()
    }

    #[test]
    fn what_is_elsewhere_or_comes_and_goes_is_no_part_of_the_machine() {
        let machine = Machine::new();
        let srp = "pci0000:00/0000:00:02.0/host8/target8:0:0/8:0:0:0";
        let removable: Files = &[("removable", b"1\n")];
        let table: [(&str, &str, Files, Reach); 12] = [
            (
                "platform/mmc0/mmc0:0001",
                "mmcblk0",
                &[("device/type", b"MMC\n")],
                Reach::Own,
            ),
            (
                "pci0/usb1/1-3/mmc1:0001",
                "mmcblk1",
                &[("device/type", b"SD\n")],
                Reach::Usb,
            ),
            (
                "pci0/0000:01:00.0/nvme/nvme0",
                "nvme0n1",
                &[("device/transport", b"pcie\n")],
                Reach::Own,
            ),
            (
                "virtual/nvme-fabrics/ctl/nvme1",
                "nvme1n1",
                &[("device/transport", b"rdma\n")],
                Reach::Network,
            ),
            ("rbd/0", "rbd0", &[], Reach::Network),
            (
                "platform/host3/session1/target3:0:0/3:0:0:0",
                "sda",
                &[],
                Reach::Network,
            ),
            (
                "pci0/host4/rport-4:0-0/target4:0:0/4:0:0:0",
                "sdb",
                &[],
                Reach::Network,
            ),
            (
                "pci0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0",
                "sdc",
                &[],
                Reach::Usb,
            ),
            (
                "pci0/ata1/host0/target0:0:0/0:0:0:0",
                "sdd",
                removable,
                Reach::Removable,
            ),
            (srp, "sde", &[], Reach::Network),
            (
                "pci0/host9/port-9:0/end_device-9:0/target9:0:0",
                "sdf",
                &[],
                Reach::Own,
            ),
            ("pci0000:00/0000:00:05.0/virtio2", "vda", &[], Reach::Own),
        ];
        for (device, name, files, _) in table {
            machine.disk(device, name, files);
        }
        let hosts = [("host8", "ib_srp\n"), ("host9", "mpt3sas\n")];
        for (host, driver) in hosts {
            machine.file(&format!("sys/class/scsi_host/{host}/proc_name"), driver);
        }
        let wanted = table.map(|(_, name, _, reach)| (name, reach));
        assert_eq!(reaches(&machine), expected(&wanted));
    }

    /// A namespace below its subsystem, and what each of its controllers tells.
    fn shared(machine: &Machine, number: u8, transports: &[Option<&str>]) {
        let subsystem = format!("virtual/nvme-subsystem/nvme-subsys{number}");
        machine.disk(&subsystem, &format!("nvme{number}n1"), &[]);
        for (at, told) in transports.iter().enumerate() {
            let controller = format!("nvme{number}{at}");
            let place = format!("sys/devices/ctl/{controller}");
            machine.file(&format!("{place}/state"), "live\n");
            if let Some(told) = told {
                machine.file(&format!("{place}/transport"), told);
            }
            let link = machine.path().join("sys/devices").join(&subsystem);
            symlink(format!("../../../ctl/{controller}"), link.join(controller)).unwrap();
        }
    }

    #[test]
    fn a_namespace_is_the_machines_where_every_controller_says_so() {
        let machine = Machine::new();
        shared(&machine, 1, &[Some("pcie\n"), Some("pcie\n")]);
        shared(&machine, 2, &[Some("pcie\n"), Some("tcp\n")]);
        shared(&machine, 3, &[Some("pcie\n"), None]);
        shared(&machine, 4, &[]);
        machine.disk("pci0/0000:01:00.0/nvme/nvme5", "nvme5n1", &[]);
        let wanted = [
            ("nvme1n1", Reach::Own),
            ("nvme2n1", Reach::Network),
            ("nvme3n1", Reach::NotTold),
            ("nvme4n1", Reach::NotTold),
            ("nvme5n1", Reach::NotTold),
        ];
        assert_eq!(reaches(&machine), expected(&wanted));
    }

    #[test]
    fn a_scsi_disk_whose_place_is_not_told_may_be_anywhere() {
        let machine = Machine::new();
        machine.disk("pci0/host9/target9:0:0/9:0:0:0", "sda", &[]);
        let disks = machine.disks();
        let device = machine
            .path()
            .join("sys/devices/pci0/host9/target9:0:0/9:0:0:0");
        fs::remove_file(device.join("block/sda/device")).unwrap();
        assert_eq!(reach(&machine.root(), &disks[0]), Reach::NotTold);
    }
}
