//! Disks: what stores blocks and is a device of its own. No partitions, no loops, no RAM disks,
//! nothing that is made of other disks.

mod reach;

use serde::{Deserialize, Serialize};

pub use self::reach::{Reach, reach};
use crate::fact::{meaningful_fact, serial_fact};
use crate::pci::Address;
use crate::{Fact, Root};

const BLOCK: &str = "/sys/block";
/// The kernel counts in these whatever the disk's own sectors are.
const SECTOR: u64 = 512;
/// Of a region of memory that is lost with the power.
const VOLATILE: &str = "DEVTYPE=nd_volatile";

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskKind {
    /// NVMe namespace, in this machine.
    Nvme,
    /// NVMe namespace elsewhere, reached over a network.
    NvmeOverFabrics,
    /// Embedded MMC, soldered.
    Emmc,
    /// SD card.
    Sd,
    /// SATA or PATA.
    Ata,
    /// USB; a BMC's virtual media are such.
    Usb,
    /// A SCSI disk elsewhere, reached over iSCSI.
    Iscsi,
    /// A SCSI disk elsewhere, reached over Fibre Channel.
    FibreChannel,
    /// Any other SCSI: SAS, RAID controllers.
    Scsi,
    /// CD or DVD drive, real or virtual.
    Optical,
    /// virtio-blk.
    Virtio,
    /// Something else.
    Other,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The kernel's name.
    pub name: String,
    /// How it is attached.
    pub kind: DiskKind,
    /// Its size in bytes; zero for a drive without medium.
    pub bytes: Fact<u64>,
    /// Its model.
    pub model: Fact<String>,
    /// Its serial number.
    pub serial: Fact<String>,
    /// Its firmware.
    pub firmware: Fact<String>,
    /// Its world-wide name.
    pub wwid: Fact<String>,
    /// Whether it has spinning parts, as far as the kernel believes.
    pub rotational: Fact<bool>,
    /// Whether its medium can be taken out.
    pub removable: Fact<bool>,
    /// Whether it refuses writes.
    pub read_only: Fact<bool>,
    /// The PCI function that it is behind.
    pub pci: Option<Address>,
}

/// What a disk's blocks lie in, as far as it matters to whoever would overwrite them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// A drive.
    Drive,
    /// Memory of the machine that is empty after a power cycle: its firmware made a disk of it, as
    /// it does with a medium that it has fetched over HTTP.
    Memory,
    /// Memory that keeps what it holds without power, or may.
    LastingMemory,
    /// Raw flash: where boards keep their boot firmware.
    RawFlash,
}

/// What the blocks of the disk with this name lie in.
pub fn backing(root: &Root, name: &str) -> Backing {
    if name.starts_with("mtdblock") || name.starts_with("ubiblock") {
        return Backing::RawFlash;
    }
    if !name.starts_with("pmem") {
        return Backing::Drive;
    }
    // `device` is a namespace of a region, and it is of regions that the kernel says which they are.
    let namespace = root.followed(&format!("{BLOCK}/{name}/device"));
    let region = namespace.known().and_then(|namespace| {
        let (region, _) = namespace.rsplit_once('/')?;
        root.text(&format!("{region}/uevent")).known()
    });
    match region {
        Some(told) if told.lines().any(|line| line == VOLATILE) => Backing::Memory,
        Some(_) | None => Backing::LastingMemory,
    }
}

/// The disks by name.
pub fn disks(root: &Root) -> Fact<Vec<Disk>> {
    root.names(BLOCK).map(|names| {
        names
            .into_iter()
            .filter(|name| is_disk(root, name))
            .map(|name| disk(root, name))
            .collect()
    })
}

fn is_disk(root: &Root, name: &str) -> bool {
    let file = |file: &str| format!("{BLOCK}/{name}/{file}");
    let device = matches!(root.exists(&file("device")), Ok(true));
    // The paths of a multipath NVMe namespace, which is a disk itself.
    let hidden = root.line(&file("hidden")) == Fact::Known("1".to_owned());
    // Parts of an eMMC that the kernel shows as disks.
    let part = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    device && !hidden && !part
}

fn disk(root: &Root, name: String) -> Disk {
    let file = |file: &str| format!("{BLOCK}/{name}/{file}");
    let text = |names: &[&str]| {
        names
            .iter()
            .fold(Fact::NotOffered, |told: Fact<String>, name| {
                told.substitute(|| root.line(&file(name)))
            })
            .and_then(|text| meaningful_fact(&text))
    };
    let flag = |name: &str| root.number::<u8>(&file(name)).map(|number| number != 0);
    let place = root.followed(&file("device")).known().unwrap_or_default();
    let kind = kind(root, &name, &place);
    Disk {
        kind,
        bytes: root.number::<u64>(&file("size")).and_then(|sectors| {
            sectors.checked_mul(SECTOR).map_or_else(
                || Fact::NotRead(format!("{}: too large", file("size"))),
                Fact::Known,
            )
        }),
        // MMC calls it a name; a virtio disk has none.
        model: text(&["device/model", "device/name"]),
        serial: text(&["device/serial", "serial"])
            .substitute(|| unit_serial(root, &file("device/vpd_pg80")))
            .and_then(|text| serial_fact(&text)),
        firmware: text(&["device/firmware_rev", "device/fwrev", "device/rev"]),
        wwid: text(&["wwid", "device/wwid"]),
        rotational: flag("queue/rotational"),
        removable: flag("removable"),
        read_only: flag("ro"),
        pci: Address::on_path(&place)
            .pop()
            .or_else(|| behind_controllers(root, &place)),
        name,
    }
}

fn kind(root: &Root, name: &str, place: &str) -> DiskKind {
    const OPTICAL: &str = "5";
    let kind = root.line(&format!("{BLOCK}/{name}/device/type"));
    let kind = kind.as_ref().known().map(String::as_str);
    let on = |part: &str| place.split('/').any(|folder| folder.starts_with(part));
    if name.starts_with("nvme") {
        match transport(root, name, place).as_deref() {
            Some("pcie") | None => DiskKind::Nvme,
            Some(_) => DiskKind::NvmeOverFabrics,
        }
    } else if name.starts_with("mmcblk") {
        match kind {
            Some("MMC") => DiskKind::Emmc,
            Some("SD" | "SDcombo") => DiskKind::Sd,
            Some(_) | None => DiskKind::Other,
        }
    } else if name.starts_with("sr") && kind == Some(OPTICAL) {
        DiskKind::Optical
    } else if name.starts_with("sd") {
        match () {
            () if on("usb") => DiskKind::Usb,
            () if on("session") => DiskKind::Iscsi,
            () if on("rport-") => DiskKind::FibreChannel,
            () if on("ata") => DiskKind::Ata,
            () => DiskKind::Scsi,
        }
    } else if name.starts_with("vd") {
        DiskKind::Virtio
    } else {
        DiskKind::Other
    }
}

/// What an NVMe namespace is reached by, such as `pcie` or `tcp`.
fn transport(root: &Root, name: &str, place: &str) -> Option<String> {
    let told = root.line(&format!("{BLOCK}/{name}/device/transport"));
    let first = |names: Vec<String>| {
        names.iter().find_map(|controller| {
            let told = root.line(&format!("{place}/{controller}/transport"));
            told.known()
        })
    };
    told.known().or_else(|| first(controllers(root, place)))
}

/// A namespace that several controllers of a subsystem may reach stands below the subsystem, and
/// the controllers beside it (`nvme0`, but not the namespace `nvme0n1`).
fn controllers(root: &Root, subsystem: &str) -> Vec<String> {
    if !subsystem.contains("/nvme-subsystem/") {
        return Vec::new();
    }
    let is_controller = |name: &String| {
        name.strip_prefix("nvme")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let names = root.names(subsystem).known().unwrap_or_default();
    names.into_iter().filter(is_controller).collect()
}

/// The function of the first of them.
fn behind_controllers(root: &Root, subsystem: &str) -> Option<Address> {
    controllers(root, subsystem).iter().find_map(|name| {
        let place = root.followed(&format!("{subsystem}/{name}")).known()?;
        Address::on_path(&place).pop()
    })
}

/// SCSI's vital product data page 0x80.
fn unit_serial(root: &Root, path: &str) -> Fact<String> {
    root.bytes(path).and_then(|page| {
        parse_unit_serial(&page).map_or_else(
            || Fact::NotRead(format!("{path}: not page 0x80")),
            |text| meaningful_fact(&text),
        )
    })
}

/// Parses that page: device type, page code, length in two bytes, text.
pub fn parse_unit_serial(page: &[u8]) -> Option<String> {
    let [_, 0x80, high, low, rest @ ..] = page else {
        return None;
    };
    let text = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    pub(super) struct Machine(tempfile::TempDir);

    impl Machine {
        pub(super) fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("sys/block")).unwrap();
            Self(dir)
        }

        /// A disk below a device, with files of both: `device/…` is the device's.
        pub(super) fn disk(&self, device: &str, name: &str, files: &[(&str, &[u8])]) {
            let device_folder = self.0.path().join("sys/devices").join(device);
            let folder = device_folder.join("block").join(name);
            fs::create_dir_all(&folder).unwrap();
            symlink("../..", folder.join("device")).unwrap();
            let target = format!("../devices/{device}/block/{name}");
            symlink(target, self.0.path().join("sys/block").join(name)).unwrap();
            for (file, bytes) in files {
                let path = match file.strip_prefix("device/") {
                    Some(file) => device_folder.join(file),
                    None => folder.join(file),
                };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }

        pub(super) fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(super) fn path(&self) -> &std::path::Path {
            self.0.path()
        }

        pub(super) fn root(&self) -> Root {
            Root::new(self.0.path())
        }

        pub(super) fn disks(&self) -> Vec<Disk> {
            disks(&self.root()).known().unwrap()
        }
    }

    fn text(text: &str) -> Fact<String> {
        Fact::Known(text.to_owned())
    }

    #[test]
    fn the_disks_of_a_card() {
        let machine = Machine::new();
        machine.disk(
            "pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0",
            "nvme0n1",
            &[
                ("size", b"312581808\n"),
                ("wwid", b"eui.0025388b91b0a0d7\n"),
                ("removable", b"0\n"),
                ("ro", b"0\n"),
                ("queue/rotational", b"0\n"),
                ("hidden", b"0\n"),
                (
                    "device/model",
                    b"KBG40ZPZ128G TOSHIBA MEMORY             \n",
                ),
                ("device/serial", b"      60FPC0XXPQ9M\n"),
                ("device/firmware_rev", b"AEGA0103\n"),
            ],
        );
        machine.disk(
            "pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0x",
            "nvme0c0n1",
            &[("hidden", b"1\n")],
        );
        machine.disk(
            "platform/PRP0001:00/mmc_host/mmc0/mmc0:0001",
            "mmcblk0",
            &[
                ("size", b"122142720\n"),
                ("device/type", b"MMC\n"),
                ("device/name", b"G1M15L\n"),
                ("device/serial", b"0x1234abcd\n"),
                ("device/fwrev", b"0x3032000000000000\n"),
            ],
        );
        machine.disk("platform/boot", "mmcblk0boot0", &[("size", b"8192\n")]);
        let disks = machine.disks();
        let [emmc, nvme] = &disks[..] else {
            panic!("{disks:?}")
        };
        assert_eq!(emmc.kind, DiskKind::Emmc);
        assert_eq!(emmc.model, text("G1M15L"));
        assert_eq!(emmc.serial, text("0x1234abcd"));
        assert_eq!(emmc.bytes, Fact::Known(122_142_720 * 512));
        assert_eq!(emmc.pci, None);
        assert_eq!(emmc.rotational, Fact::NotOffered);
        assert_eq!(nvme.kind, DiskKind::Nvme);
        assert_eq!(nvme.model, text("KBG40ZPZ128G TOSHIBA MEMORY"));
        assert_eq!(nvme.serial, text("60FPC0XXPQ9M"));
        assert_eq!(nvme.firmware, text("AEGA0103"));
        assert_eq!(nvme.wwid, text("eui.0025388b91b0a0d7"));
        assert_eq!(nvme.rotational, Fact::Known(false));
        assert_eq!(nvme.pci, Some("0000:01:00.0".parse().unwrap()));
    }

    #[test]
    fn a_namespace_of_a_subsystem_is_behind_its_controller() {
        let machine = Machine::new();
        let subsystem = "virtual/nvme-subsystem/nvme-subsys0";
        let controller = "pci0000:00/0000:00:03.0/0000:03:00.0/nvme/nvme0";
        machine.disk(subsystem, "nvme0n1", &[("size", b"1\n")]);
        let devices = machine.0.path().join("sys/devices");
        fs::create_dir_all(devices.join(controller)).unwrap();
        let link = devices.join(subsystem).join("nvme0");
        symlink(format!("../../../{controller}"), link).unwrap();
        let pci = machine.disks()[0].pci;
        assert_eq!(pci, Some("0000:03:00.0".parse().unwrap()));
    }

    #[test]
    fn what_is_reached_over_a_network_is_told_so() {
        let machine = Machine::new();
        let controllers = [
            ("pci0000:00/0000:01:00.0/nvme/nvme0", "nvme0n1", "pcie\n"),
            ("virtual/nvme-fabrics/ctl/nvme1", "nvme1n1", "tcp\n"),
        ];
        for (device, name, transport) in controllers {
            let told = [("device/transport", transport.as_bytes())];
            machine.disk(device, name, &told);
        }
        // Where the controllers are beside it.
        let subsystem = "virtual/nvme-subsystem/nvme-subsys2";
        machine.disk(subsystem, "nvme2n1", &[]);
        let devices = machine.0.path().join("sys/devices");
        let controller = devices.join("virtual/nvme-fabrics/ctl/nvme2");
        fs::create_dir_all(&controller).unwrap();
        fs::write(controller.join("transport"), "rdma\n").unwrap();
        let link = devices.join(subsystem).join("nvme2");
        symlink("../../../virtual/nvme-fabrics/ctl/nvme2", link).unwrap();
        let scsi = [
            ("platform/host3/session1/target3:0:0/3:0:0:0", "sda"),
            ("pci0000:00/host4/rport-4:0-0/target4:0:0/4:0:0:0", "sdb"),
            (
                "pci0000:00/host5/port-5:0/end_device-5:0/target5:0:0",
                "sdc",
            ),
        ];
        for (device, name) in scsi {
            machine.disk(device, name, &[]);
        }
        let kinds: Vec<DiskKind> = machine.disks().iter().map(|disk| disk.kind).collect();
        assert_eq!(
            kinds,
            [
                DiskKind::Nvme,
                DiskKind::NvmeOverFabrics,
                DiskKind::NvmeOverFabrics,
                DiskKind::Iscsi,
                DiskKind::FibreChannel,
                DiskKind::Scsi,
            ]
        );
    }

    #[test]
    fn the_disks_of_a_host() {
        let machine = Machine::new();
        machine.disk(
            "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0",
            "sda",
            &[
                ("size", b"100\n"),
                ("device/model", b"SSD 870 \n"),
                ("device/vpd_pg80", b"\x00\x80\x00\x08  S5Y1N0"),
                ("queue/rotational", b"1\n"),
            ],
        );
        machine.disk(
            "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0",
            "sdb",
            &[("size", b"none\n"), ("removable", b"1\n")],
        );
        machine.disk(
            "pci0000:00/0000:00:14.0/usb1/1-2/host7/target7:0:0/7:0:0:0",
            "sr0",
            &[("device/type", b"5\n"), ("size", b"0\n")],
        );
        machine.disk(
            "pci0000:00/0000:00:05.0/virtio2",
            "vda",
            &[("serial", b"0000\n")],
        );
        let root = machine.0.path().join("sys/block");
        for name in ["loop0", "zram0", "dm-0"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let disks = machine.disks();
        let kinds: Vec<DiskKind> = disks.iter().map(|disk| disk.kind).collect();
        assert_eq!(
            kinds,
            [
                DiskKind::Ata,
                DiskKind::Usb,
                DiskKind::Optical,
                DiskKind::Virtio
            ]
        );
        assert_eq!(disks[0].serial, text("S5Y1N0"));
        assert_eq!(disks[0].rotational, Fact::Known(true));
        assert!(matches!(disks[1].bytes, Fact::NotRead(_)));
        assert_eq!(disks[1].removable, Fact::Known(true));
        assert_eq!(disks[3].serial, Fact::NotOffered, "junk");
    }

    /// As the kernel shows what it finds in an NFIT.
    fn region(machine: &Machine, number: u8, kind: Option<&str>) {
        let region = format!("LNXSYSTM:00/ACPI0012:00/ndbus0/region{number}");
        let disk = format!("pmem{number}");
        let namespace = format!("{region}/namespace{number}.0");
        machine.disk(
            &namespace,
            &disk,
            &[("size", b"1\n"), ("removable", b"0\n")],
        );
        if let Some(kind) = kind {
            let uevent = machine.0.path().join("sys/devices").join(region);
            fs::write(uevent.join("uevent"), format!("DEVTYPE={kind}\nA=b\n")).unwrap();
        }
    }

    #[test]
    fn a_disk_in_memory_or_in_raw_flash_is_no_drive() {
        let machine = Machine::new();
        region(&machine, 0, Some("nd_volatile"));
        region(&machine, 1, Some("nd_pmem"));
        region(&machine, 2, None);
        machine.disk("pci0000:00/0000:00:05.0/virtio2", "vda", &[]);
        machine.disk("platform/spi/spi0.0/mtd/mtd3", "mtdblock3", &[]);
        let root = Root::new(machine.0.path());
        let found = ["pmem0", "pmem1", "pmem2", "pmem9", "vda", "mtdblock3"];
        assert_eq!(
            found.map(|name| backing(&root, name)),
            [
                Backing::Memory,
                Backing::LastingMemory,
                Backing::LastingMemory,
                Backing::LastingMemory,
                Backing::Drive,
                Backing::RawFlash,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_page_ends_in_an_answer(page in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = parse_unit_serial(&page);
            prop_assert!(text.is_none_or(|text| text.len() <= 3 * page.len()));
        }
    }
}
