use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const ENTRY: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.entry");
const TABLE: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.table");

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
    let inventory = Inventory::read(&Root::new(dir.path()), PATIENCE);
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
    let root = Root::new(dir.path());
    let inventory = Inventory::read(&root, PATIENCE);
    let json = serde_json::to_string(&inventory).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&json).unwrap(), inventory);
    assert_eq!(Inventory::read(&root, PATIENCE), inventory);
}

#[test]
fn sources_that_disagree_are_told() {
    let dir = host();
    write(dir.path(), "sys/class/dmi/id/product_serial", "SRV0043\n");
    let inventory = Inventory::read(&Root::new(dir.path()), PATIENCE);
    let [conflict] = &inventory.conflicts.items[..] else {
        panic!("{:?}", inventory.conflicts)
    };
    assert!(conflict.contains("SRV0042") && conflict.contains("SRV0043"));
}

#[test]
fn an_empty_root_offers_nothing_and_does_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = Inventory::read(&Root::new(dir.path()), PATIENCE);
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
    let inventory = Inventory::read(&Root::new(root), PATIENCE);
    assert!(serde_json::to_vec(&inventory).unwrap().len() <= MAX_JSON);
    let functions = inventory.functions.fact.known().unwrap();
    assert!(functions.omitted > 0);
    assert_eq!(functions.items.len() + functions.omitted as usize, 1205);
    assert_eq!(functions.items[0].vendor, crate::pci::Id(0x15b3));
    assert_eq!(inventory.cards.fact.known().unwrap().omitted, 0);
}
