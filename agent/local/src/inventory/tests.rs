use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::netlink::{Features, PermanentAddress, Version, VersionKind};

const PATIENCE: Duration = Duration::from_secs(10);
const ENTRY: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.entry");
const TABLE: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.table");

fn read(root: &Path) -> Inventory {
    let told = Told::nothing("the files are not this machine's");
    Inventory::read(&Root::new(root), &told, PATIENCE)
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

fn function(root: &Path, path: &str, vendor: u16, device: u16) {
    let place = format!("sys/devices/pci0000:00/{path}");
    write(root, &format!("{place}/vendor"), format!("{vendor:#06x}"));
    write(root, &format!("{place}/device"), format!("{device:#06x}"));
    write(root, &format!("{place}/class"), "0x020000");
    let name = path.rsplit('/').next().unwrap();
    link(
        root,
        &format!("sys/bus/pci/devices/{name}"),
        &format!("../../../devices/pci0000:00/{path}"),
    );
}

/// The fixture's table without its end, and a slot whose card is at 0000:03:00.
fn table_with_slot() -> Vec<u8> {
    let mut table = TABLE[..TABLE.len() - 6].to_vec();
    table.extend([9, 17, 0, 9, 1, 0xb1, 13, 4, 4, 7, 0, 0x0c, 0, 0, 0, 3, 0]);
    table.extend(b"PCIe Slot 7\0\0");
    table.extend(&TABLE[TABLE.len() - 6..]);
    table
}

fn tables(root: &Path, table: &[u8]) {
    let mut entry = ENTRY.to_vec();
    entry[12..16].copy_from_slice(&u32::try_from(table.len()).unwrap().to_le_bytes());
    entry[5] = 0;
    let sum = entry.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    entry[5] = sum.wrapping_neg();
    write(root, "sys/firmware/dmi/tables/smbios_entry_point", entry);
    write(root, "sys/firmware/dmi/tables/DMI", table);
}

/// A host with one BlueField-3, its port, its rshim, and a disk that is not its own.
fn host() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    tables(root, &table_with_slot());
    write(root, "proc/meminfo", "MemTotal: 5000000 kB\n");
    write(root, "sys/class/dmi/id/sys_vendor", "Example Systems\n");
    write(root, "sys/class/dmi/id/product_serial", "SRV0042\n");
    let port = "0000:00:01.0";
    function(root, "0000:00:02.0", 0x8086, 0x0953);
    function(root, port, 0x8086, 0x1901);
    for (number, device) in [(0, 0xa2dc), (1, 0xa2dc), (2, 0xc2d5)] {
        let address = format!("0000:03:00.{number}");
        function(root, &format!("{port}/{address}"), 0x15b3, device);
    }
    let net = format!("sys/devices/pci0000:00/{port}/0000:03:00.0/net/ens7f0np0");
    write(root, &format!("{net}/address"), "b8:3f:d2:00:11:22\n");
    link(root, &format!("{net}/device"), "../..");
    link(root, "sys/class/net/ens7f0np0", &format!("../../../{net}"));
    let disk = "sys/devices/pci0000:00/0000:00:02.0/nvme/nvme0/nvme0n1";
    write(root, &format!("{disk}/size"), "100\n");
    link(root, &format!("{disk}/device"), "..");
    link(root, "sys/block/nvme0n1", &format!("../../{disk}"));
    write(
        root,
        "dev/rshim0/misc",
        "DEV_NAME        pcie-0000:03:00.2\n",
    );
    dir
}

#[test]
fn a_host_and_its_card() {
    let dir = host();
    let inventory = read(dir.path());
    let machine = inventory.machine.fact.clone().known().unwrap();
    assert_eq!(machine.manufacturer, Fact::Known("Example Systems".into()));
    assert_eq!(machine.serial, Fact::Known("SRV0042".into()));
    assert_eq!(
        machine.uuid,
        Fact::Known("4c4c4544-0042-3510-8052-b4c04f4d3732".into())
    );
    assert_eq!(machine.board_serial, Fact::Known("MB0042".into()));
    assert_eq!(machine.chassis_serial, Fact::NotOffered);
    let memory = inventory.memory.fact.clone().known().unwrap();
    assert_eq!(memory.usable_bytes, Fact::Known(5_000_000 << 10));
    assert_eq!(memory.installed_bytes, Fact::Known(5 << 30));
    assert_eq!(memory.modules.known().unwrap().items.len(), 1);
    let cards = inventory.cards.fact.clone().known().unwrap();
    let [card] = &cards.items[..] else {
        panic!("{cards:?}")
    };
    assert_eq!(card.card.functions.len(), 3);
    assert_eq!(card.slot_designation, Fact::Known("PCIe Slot 7".into()));
    assert_eq!(card.ports, ["ens7f0np0"]);
    assert_eq!(card.disks, [""; 0]);
    assert_eq!(card.rshim.as_deref(), Some("rshim0"));
    let handling = inventory.error_handling.fact.clone().known().unwrap();
    let [port] = &handling.items[..] else {
        panic!("{handling:?}")
    };
    assert_eq!(port.root_port, Some("0000:00:01.0".parse().unwrap()));
    assert!(!port.handler.is_known());
    let slots = inventory.slots.fact.clone().known().unwrap();
    assert_eq!(slots.items[0].functions, card.card.functions);
    let functions = inventory.functions.fact.clone().known().unwrap();
    assert_eq!(functions.items.len(), 5);
    assert_eq!(functions.items[0].address, card.card.functions[0]);
    let disks = inventory.disks.fact.clone().known().unwrap();
    assert_eq!(disks.items[0].pci, Some("0000:00:02.0".parse().unwrap()));
    assert_eq!(inventory.conflicts, Vec::new().into());
}

#[test]
fn it_comes_back_from_json_and_is_read_alike() {
    let dir = host();
    let inventory = read(dir.path());
    let json = serde_json::to_string(&inventory).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&json).unwrap(), inventory);
    assert_eq!(read(dir.path()), inventory);
}

#[test]
fn sources_that_disagree_are_told() {
    let dir = host();
    write(dir.path(), "sys/class/dmi/id/product_serial", "SRV0043\n");
    let inventory = read(dir.path());
    let [conflict] = &inventory.conflicts.items[..] else {
        panic!("{:?}", inventory.conflicts)
    };
    assert!(conflict.contains("SRV0042") && conflict.contains("SRV0043"));
}

#[test]
fn an_empty_root_offers_nothing_and_does_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = read(dir.path());
    let machine = inventory.machine.fact.known().unwrap();
    assert_eq!(machine.uuid, Fact::NotOffered);
    assert_eq!(inventory.functions.fact, Fact::NotOffered);
    assert_eq!(inventory.disks.fact, Fact::NotOffered);
    assert_eq!(inventory.cards.fact, Fact::NotOffered);
}

#[test]
fn a_machine_with_too_much_to_tell_leaves_something_out() {
    let dir = host();
    let root = dir.path();
    for number in 0..1200 {
        let (bus, device) = (0x10 + number / 32, number % 32);
        function(root, &format!("0000:{bus:02x}:{device:02x}.0"), 0x8086, 0x1);
    }
    let inventory = read(root);
    assert!(serde_json::to_vec(&inventory).unwrap().len() <= MAX_JSON);
    let functions = inventory.functions.fact.known().unwrap();
    assert!(functions.omitted > 0);
    assert_eq!(functions.items.len() + functions.omitted as usize, 1205);
    assert_eq!(functions.items[0].vendor, crate::pci::Id(0x15b3));
    assert_eq!(inventory.cards.fact.known().unwrap().omitted, 0);
}

#[test]
fn forged_files_do_not_make_it_grow() {
    let dir = host();
    let root = dir.path();
    let long = "x".repeat(3 << 20);
    write(
        root,
        "proc/cpuinfo",
        format!("model name : {long}\nvendor_id: {long}\n"),
    );
    for file in [
        "sys/class/dmi/id/product_name",
        "sys/devices/system/cpu/online",
        "sys/bus/pci/slots/7/address",
        "sys/block/nvme0n1/wwid",
        "sys/class/net/ens7f0np0/phys_port_name",
        "sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0/current_link_speed",
        "sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0/aer_dev_fatal",
        "dev/rshim0/misc",
    ] {
        write(root, file, format!("DEV_INFO  {long}\n"));
    }
    for number in 0..3000 {
        write(
            root,
            &format!("sys/bus/pci/devices/{number:0200}/vendor"),
            "",
        );
    }
    let inventory = read(root);
    assert!(serde_json::to_vec(&inventory).unwrap().len() <= MAX_JSON);
    assert!(inventory.unread.omitted > 0);
    assert_eq!(inventory.cards.fact.known().unwrap().items.len(), 1);
}

#[test]
fn what_the_kernel_told_is_added() {
    let dir = host();
    let net = "sys/class/net/ens7f0np0";
    write(dir.path(), &format!("{net}/addr_assign_type"), "3\n");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let device = |device: &str, serial: &str| DeviceInfo {
        bus: "pci".to_owned(),
        device: device.to_owned(),
        driver: Some("mlx5_core".to_owned()),
        serial: None,
        board_serial: Some(serial.to_owned()),
        versions: vec![Version {
            kind: VersionKind::Running,
            name: "fw.version".to_owned(),
            value: "32.39.2048".to_owned(),
        }],
    };
    let told = Told {
        devices: Fact::Known(vec![
            device("0000:00:02.0", "another"),
            device("0000:03:00.0", "MT1"),
        ]),
        offloads: Fact::Known(vec![Features {
            port: "ens7f0np0".to_owned(),
            active: names(&["highdma", "hw-tc-offload", "rx-gro", "tx-checksum-ipv4"]),
            changeable: names(&["hw-tc-offload", "rx-vlan-filter", "rx-gro-list"]),
        }]),
        permanent_addresses: Fact::Known(vec![PermanentAddress {
            name: "ens7f0np0".to_owned(),
            address: "b8:3f:d2:00:11:23".to_owned(),
        }]),
    };
    let read = |root: &Path| Inventory::read(&Root::new(root), &told, PATIENCE);
    let inventory = read(dir.path());
    let ports = inventory.ports.fact.known().unwrap().items;
    assert_eq!(
        ports[0].port.permanent_mac,
        Fact::Known("b8:3f:d2:00:11:23".into())
    );
    // Nothing is known of what drives the port, so nothing of who does the work.
    assert_eq!(
        ports[0].offloads,
        Fact::Known(vec![
            Offloads {
                implementation: Implementation::Unknown,
                on: names_of(&["hw-tc-offload", "tx-checksum-ipv4"]),
                off: names_of(&["rx-vlan-filter"]),
            },
            Offloads {
                implementation: Implementation::Software,
                on: names_of(&["rx-gro"]),
                off: names_of(&["rx-gro-list"]),
            },
        ])
    );
    let card = &inventory.cards.fact.known().unwrap().items[0];
    assert_eq!(
        card.firmware.as_ref().known().unwrap()[0].value,
        "32.39.2048"
    );
    assert_eq!(card.devlink.as_deref(), Some("pci/0000:03:00.0"));
    assert_eq!(inventory.conflicts.items, [""; 0]);

    let function = "sys/devices/pci0000:00/0000:00:01.0/0000:03:00.0";
    write(
        dir.path(),
        &format!("{function}/vpd"),
        b"\x90\x06\0SN\x03MT2\x78",
    );
    link(
        dir.path(),
        &format!("{function}/driver"),
        "/sys/bus/pci/drivers/mlx5_core",
    );
    write(dir.path(), "sys/bus/pci/drivers/mlx5_core/bind", "");
    let inventory = read(dir.path());
    let [conflict] = &inventory.conflicts.items[..] else {
        panic!("{:?}", inventory.conflicts)
    };
    assert!(conflict.contains("MT2") && conflict.contains("MT1 by its driver"));
    let ports = inventory.ports.fact.known().unwrap().items;
    let offloads = ports[0].offloads.clone().known().unwrap();
    assert_eq!(offloads[0].implementation, Implementation::Hardware);
}

fn names_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
