//! Trees as the kernel lays them out, built in a temporary folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::{Fact, Root};

/// A `/sys` under construction.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in [&DEVICES[1..], "sys/bus/pci/slots", "sys/devices"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self { dir }
    }

    fn root(&self) -> Root {
        Root::new(self.dir.path())
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A function at the end of a path of bridges, `0000:00:01.0/0000:03:00.0`.
    fn function(&self, path: &str, vendor: u16, device: u16) -> FunctionFiles<'_> {
        let place = format!("/sys/devices/pci0000:00/{path}");
        let address = path.rsplit('/').next().unwrap().to_owned();
        self.write(&format!("{place}/vendor"), format!("{vendor:#06x}\n"));
        self.write(&format!("{place}/device"), format!("{device:#06x}\n"));
        self.write(&format!("{place}/class"), "0x020000\n");
        let link = self.dir.path().join(&DEVICES[1..]).join(&address);
        symlink(format!("../../../devices/pci0000:00/{path}"), link).unwrap();
        FunctionFiles { tree: self, place }
    }

    fn functions(&self) -> Functions {
        functions(&self.root()).known().unwrap()
    }

    fn cards(&self) -> Vec<Card> {
        cards(&self.root(), &self.functions().found)
    }
}

struct FunctionFiles<'a> {
    tree: &'a Tree,
    place: String,
}

impl FunctionFiles<'_> {
    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.tree.write(&format!("{}/{name}", self.place), bytes);
        self
    }

    fn vpd(self, serial: &str) -> Self {
        let content = [
            &b"PN\x12900-9D3B6-00CV-AA0SN"[..],
            &[u8::try_from(serial.len()).unwrap()],
            serial.as_bytes(),
        ]
        .concat();
        let mut bytes = vec![0x90];
        bytes.extend(u16::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(content);
        bytes.push(0x78);
        self.file("vpd", bytes)
    }

    fn config(self, serial: Option<u64>) -> Self {
        self.file("config", config_space(serial))
    }

    fn link(self, name: &str, target: &str) -> Self {
        let path = PathBuf::from(self.tree.dir.path())
            .join(self.place.trim_start_matches('/'))
            .join(name);
        symlink(target, path).unwrap();
        self
    }
}

/// A BlueField-3's, with VPD, AER and a device serial number.
fn config_space(serial: Option<u64>) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&[0xb3, 0x15, 0xdc, 0xa2, 0, 0, 0x10, 0]);
    bytes[0x34] = 0x60;
    bytes[0x60..0x62].copy_from_slice(&[0x10, 0x48]);
    bytes[0x48..0x4a].copy_from_slice(&[0x03, 0x00]);
    bytes[0x100..0x104].copy_from_slice(&0x1501_0001_u32.to_le_bytes());
    bytes[0x150..0x154].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
    bytes[0x154..0x15c].copy_from_slice(&serial.unwrap_or(0).to_le_bytes());
    bytes
}

const DSN: u64 = 0xb83f_d2ff_ff00_1122;

fn known<T: Clone>(value: &T) -> Fact<T> {
    Fact::Known(value.clone())
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn addresses_are_strict_and_come_back() {
    for text in ["0000:3b:00.1", "10000:00:1f.7", "ffff:ff:1f.0"] {
        assert_eq!(address(text).to_string(), text);
    }
    for text in [
        "",
        "0000:3b:00",
        "000:3b:00.1",
        "0000:3b:20.1",
        "0000:3b:00.8",
        "0000:3b:0.1",
        "+000:3b:00.1",
        "pci0000:00",
        "0000:3b:00.1 ",
    ] {
        assert!(text.parse::<Address>().is_err(), "{text:?}");
    }
    let json = serde_json::to_string(&address("0000:3b:00.1")).unwrap();
    assert_eq!(json, r#""0000:3b:00.1""#);
    assert_eq!(
        serde_json::from_str::<Address>(&json).unwrap(),
        address("0000:3b:00.1")
    );
}

#[test]
fn a_function_tells_what_its_files_say() {
    let tree = Tree::new();
    tree.write("/sys/bus/pci/slots/7/address", "0000:03:00\n");
    tree.function("0000:00:01.0", 0x8086, 0x1901)
        .file("aer_rootport_total_err_cor", "5\n")
        .file("aer_rootport_total_err_nonfatal", "1\n")
        .file("aer_rootport_total_err_fatal", "0\n");
    tree.function("0000:00:01.0/0000:03:00.1", 0x15b3, 0xa2dc)
        .file("revision", "0x01\n")
        .file("subsystem_vendor", "0x15b3\n")
        .file("subsystem_device", "0x0009\n")
        .file("numa_node", "1\n")
        .file("current_link_width", "8\n")
        .file("max_link_width", "16\n")
        .file("current_link_speed", "16.0 GT/s PCIe\n")
        .file("max_link_speed", "32.0 GT/s PCIe\n")
        .file("sriov_totalvfs", "16\n")
        .file("sriov_numvfs", "4\n")
        .file(
            "aer_dev_correctable",
            "RxErr 2\nBadTLP 0\nTOTAL_ERR_COR 2\n",
        )
        .file("aer_dev_nonfatal", "broken\n")
        .link("driver", "../../../../bus/pci/drivers/mlx5_core");
    tree.write("/sys/bus/pci/drivers/mlx5_core/uevent", "");
    tree.function("0000:00:01.0/0000:03:00.2", 0x15b3, 0x101e)
        .link("physfn", "../0000:03:00.1");
    let all = tree.functions();
    assert_eq!(all.virtual_functions, 1);
    assert_eq!(all.unread, []);
    let [port, card] = &all.found[..] else {
        panic!("{:?}", all.found)
    };
    assert_eq!(card.above, [port.address]);
    assert_eq!((card.vendor, card.device), (Id(0x15b3), Id(0xa2dc)));
    assert_eq!(card.class, 0x02_0000);
    assert_eq!(card.revision, Fact::Known(1));
    assert_eq!(
        card.subsystem,
        Fact::Known(Subsystem {
            vendor: Id(0x15b3),
            device: Id(9)
        })
    );
    assert_eq!(card.driver, Fact::Known(Some("mlx5_core".into())));
    assert_eq!(card.numa_node, Fact::Known(1));
    assert_eq!(card.link.width, Fact::Known(8));
    assert_eq!(card.link.max_width, Fact::Known(16));
    assert_eq!(card.link.speed_mts, Fact::Known(16_000));
    assert_eq!(card.link.max_speed_mts, Fact::Known(32_000));
    assert_eq!(
        card.sriov,
        Fact::Known(Sriov {
            total: 16,
            enabled: 4
        })
    );
    assert_eq!(card.slot, Fact::Known("7".into()));
    let correctable = card.errors.correctable.clone().known().unwrap();
    assert_eq!(correctable.total, 2);
    assert_eq!(correctable.kinds, [("RxErr".to_owned(), 2)].into());
    assert!(
        matches!(&card.errors.nonfatal, Fact::NotRead(why) if why.contains("aer_dev_nonfatal"))
    );
    assert_eq!(card.errors.fatal, Fact::NotOffered);
    assert_eq!(card.errors.root_port, Fact::NotOffered);
    assert_eq!(
        port.errors.root_port,
        Fact::Known(RootPortErrors {
            correctable: 5,
            nonfatal: 1,
            fatal: 0
        })
    );
    assert_eq!(port.driver, Fact::Known(None));
    assert_eq!(port.numa_node, Fact::NotOffered);
    assert_eq!(port.slot, Fact::NotOffered);
}

#[test]
fn links_that_are_down_and_functions_that_go() {
    let tree = Tree::new();
    tree.function("0000:03:00.0", 0x15b3, 0xa2dc)
        .file("current_link_width", "0\n")
        .file("current_link_speed", "Unknown\n")
        .file("max_link_speed", "8 GT/s\n")
        .file("numa_node", "-1\n");
    tree.write(&format!("{DEVICES}/0000:04:00.0/vendor"), "");
    tree.write(&format!("{DEVICES}/nonsense/vendor"), "0x1\n");
    let all = tree.functions();
    let link = &all.found[0].link;
    assert!(matches!(&link.width, Fact::NotRead(why) if why.contains("down")));
    assert!(matches!(&link.speed_mts, Fact::NotRead(why) if why.contains("down")));
    assert_eq!(link.max_speed_mts, Fact::Known(8000));
    assert_eq!(link.max_width, Fact::NotOffered);
    assert_eq!(all.found[0].numa_node, Fact::NotOffered);
    let names: Vec<&str> = all
        .unread
        .iter()
        .map(|unread| unread.name.as_str())
        .collect();
    assert_eq!(names, ["0000:04:00.0", "nonsense"]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(functions(&Root::new(empty.path())), Fact::NotOffered);
}

#[test]
fn the_functions_of_a_card_are_one() {
    let tree = Tree::new();
    for (path, device) in [
        ("0000:00:01.0/0000:03:00.0", 0xa2dc),
        ("0000:00:01.0/0000:03:00.1", 0xa2dc),
        ("0000:00:01.0/0000:03:00.2", 0xc2d5),
    ] {
        tree.function(path, 0x15b3, device)
            .vpd("MT2251XZ0123")
            .config(Some(DSN));
    }
    tree.function("0000:05:00.0", 0x15b3, 0x101f)
        .vpd("MT2251XZ0123");
    let cards = tree.cards();
    let [card] = &cards[..] else {
        panic!("{cards:?}")
    };
    assert_eq!((&*card.maker, &*card.family), ("NVIDIA", "BlueField-3"));
    assert_eq!(card.functions.len(), 3);
    assert_eq!(card.serial, Fact::Known("MT2251XZ0123".into()));
    assert_eq!(card.part_number, Fact::Known("900-9D3B6-00CV-AA0".into()));
    assert_eq!(card.revision, Fact::NotOffered);
    assert_eq!(
        card.device_serial,
        Fact::Known("b8-3f-d2-ff-ff-00-11-22".into())
    );
    assert_eq!(card.health, Fact::Known(Health::Answers));
    assert_eq!(card.conflicts, [""; 0]);
}

#[test]
fn a_card_with_two_links_is_one_and_two_cards_are_two() {
    let tree = Tree::new();
    let add = |path, serial: &str, dsn| {
        tree.function(path, 0x15b3, 0xa2dc).vpd(serial).config(dsn);
    };
    add("0000:03:00.0", "MT1", Some(DSN));
    add("0000:83:00.0", "MT1", Some(DSN));
    add("0000:04:00.0", "MT2", None);
    add("0000:84:00.0", "N/A", None);
    add("0000:85:00.0", "N/A", None);
    let cards = tree.cards();
    let sizes: Vec<usize> = cards.iter().map(|card| card.functions.len()).collect();
    assert_eq!(sizes, [2, 1, 1, 1], "junk joins nothing");
    assert!(cards.iter().all(|card| card.conflicts.is_empty()));
}

#[test]
fn contradictions_join_nothing_and_are_told() {
    let tree = Tree::new();
    let add = |path, serial: &str, dsn| {
        tree.function(path, 0x15b3, 0xa2dc)
            .vpd(serial)
            .config(Some(dsn));
    };
    add("0000:03:00.0", "MT1", DSN);
    add("0000:04:00.0", "MT1", DSN + 1);
    add("0000:05:00.0", "MT3", DSN + 2);
    add("0000:06:00.0", "MT4", DSN + 2);
    let cards = tree.cards();
    assert_eq!(cards.len(), 4);
    assert!(cards[0].conflicts[0].contains("0000:04:00.0"), "{cards:?}");
    assert!(cards[1].conflicts[0].contains("0000:03:00.0"), "{cards:?}");
    assert!(cards[2].conflicts[0].contains("other serial number"));
    assert!(cards[3].conflicts[0].contains("same device serial number"));
}

#[test]
fn functions_below_the_cards_own_switch_are_one() {
    let tree = Tree::new();
    tree.function("0000:00:01.0", 0x8086, 0x1901);
    tree.function("0000:00:01.0/0000:10:00.0", 0x1dd8, 0x1000);
    tree.function("0000:00:01.0/0000:10:00.0/0000:11:00.0", 0x1dd8, 0x1001);
    tree.function(
        "0000:00:01.0/0000:10:00.0/0000:11:00.0/0000:12:00.0",
        0x1dd8,
        0x1002,
    );
    tree.function("0000:00:01.0/0000:10:00.0/0000:11:01.0", 0x1dd8, 0x1001);
    tree.function(
        "0000:00:01.0/0000:10:00.0/0000:11:01.0/0000:13:00.0",
        0x1dd8,
        0x1004,
    );
    let cards = tree.cards();
    assert_eq!(cards.len(), 1, "{cards:?}");
    assert_eq!(
        cards[0].functions,
        [address("0000:12:00.0"), address("0000:13:00.0")]
    );
    assert_eq!(
        cards[0].error_handling.root_port,
        Some(address("0000:00:01.0"))
    );
}

#[test]
fn cards_below_one_switch_that_say_other_serial_numbers_are_two() {
    let tree = Tree::new();
    tree.function("0000:10:00.0", 0x1dd8, 0x1000);
    // Of neither: it says nothing, and joins nobody.
    tree.function("0000:10:00.0/0000:11:02.0", 0x1dd8, 0x1001);
    tree.function("0000:10:00.0/0000:11:02.0/0000:12:01.0", 0x1dd8, 0x1004);
    for (port, device, serial) in [("11:00", "12:00", "FLM1"), ("11:01", "13:00", "FLM2")] {
        let port = format!("0000:10:00.0/0000:{port}.0");
        tree.function(&port, 0x1dd8, 0x1001);
        let card = format!("{port}/0000:{device}.0");
        tree.function(&card, 0x1dd8, 0x1002).vpd(serial);
    }
    let serials: Vec<_> = tree.cards().into_iter().map(|card| card.serial).collect();
    let told = |serial: &str| Fact::Known(serial.to_owned());
    assert_eq!(serials, [told("FLM1"), told("FLM2")]);
}

#[test]
fn broken_firmware_is_no_new_card() {
    let tree = Tree::new();
    tree.write("/sys/bus/pci/slots/4/address", "0000:03:00\n");
    tree.function("0000:03:00.0", 0x15b3, 0x021c)
        .file("vpd", [0xff; 32]);
    tree.function("0000:04:00.0", 0x15b3, 0xa2dc)
        .vpd("MT9")
        .file("config", [0xff; 4096]);
    tree.function("0000:05:00.0", 0x15b3, 0xa2dc)
        .file("config", &config_space(None)[..64]);
    let cards = tree.cards();
    assert_eq!(cards[0].health, Fact::Known(Health::Recovery));
    assert_eq!(cards[0].family, "BlueField-3");
    assert_eq!(cards[0].slot, Fact::Known("4".into()));
    assert!(matches!(&cards[0].serial, Fact::NotRead(why) if why.contains("blank")));
    assert_eq!(cards[1].health, Fact::Known(Health::Gone));
    assert!(matches!(&cards[1].serial, Fact::NotRead(why) if why.contains("not answer")));
    assert!(matches!(&cards[2].health, Fact::NotRead(why) if why.contains("CAP_SYS_ADMIN")));
}

#[test]
fn who_handles_errors() {
    let handling = |prepare: fn(&Tree)| {
        let tree = Tree::new();
        tree.function("0000:00:01.0", 0x8086, 0x1901);
        tree.function("0000:00:01.0/0000:03:00.0", 0x15b3, 0xa2dc);
        prepare(&tree);
        error_handling(&tree.root(), &[address("0000:00:01.0")])
    };
    fn driver(tree: &Tree, name: &str, port: &str) {
        tree.write(&format!("/sys/bus/pci_express/drivers/{name}/{port}"), "");
    }
    fn counted(tree: &Tree) {
        driver(tree, "pciehp", "bind");
        tree.write(
            "/sys/devices/pci0000:00/0000:00:01.0/aer_rootport_total_err_fatal",
            "0\n",
        );
    }
    let none = handling(|_| {});
    assert!(matches!(none.handler, Fact::NotRead(why) if why.contains("no port services")));
    assert!(matches!(none.containment, Fact::NotRead(_)));

    let native = handling(|tree| {
        driver(tree, "aer", "0000:00:01.0:pcie002");
        driver(tree, "dpc", "0000:00:01.0:pcie008");
    });
    assert_eq!(native.handler, Fact::Known(ErrorHandler::Native));
    assert_eq!(native.containment, Fact::Known(true));
    assert_eq!(native.hot_plug, Fact::Known(false));

    let without = handling(|tree| driver(tree, "aer", "0000:00:02.0:pcie002"));
    assert_eq!(without.handler, Fact::NotOffered, "the port has no AER");

    let unable = handling(|tree| driver(tree, "pciehp", "bind"));
    assert!(matches!(unable.handler, Fact::NotRead(why) if why.contains("no AER")));

    let off = handling(|tree| {
        counted(tree);
        tree.write("/proc/cmdline", "quiet pci=nomsi,noaer ro\n");
    });
    assert_eq!(off.handler, Fact::Known(ErrorHandler::Nobody));

    let unexplained = handling(|tree| {
        counted(tree);
        tree.write("/proc/cmdline", "quiet pci=noaerial\n");
    });
    assert!(matches!(unexplained.handler, Fact::NotRead(why) if why.contains("nothing says")));

    let firmware = handling(|tree| {
        counted(tree);
        tree.write("/sys/firmware/acpi/tables/HEST", hest(&[(6, 3, 48)]));
    });
    assert_eq!(firmware.handler, Fact::Known(ErrorHandler::FirmwareFirst));
    assert!(firmware.source.contains("HEST"));

    let top = error_handling(&Tree::new().root(), &[]);
    assert_eq!(top.root_port, None);
    assert_eq!(top.handler, Fact::NotOffered);
}

/// A table of sources given as type, flags and length.
fn hest(sources: &[(u16, u8, usize)]) -> Vec<u8> {
    let mut table = b"HEST\0\0\0\0\x01\0EXAMPLEXAMPLE1\0\0\0\0EXAM\0\0\0\0".to_vec();
    table.resize(36, 0);
    table.extend(u32::try_from(sources.len()).unwrap().to_le_bytes());
    for (kind, flags, length) in sources {
        let mut source = vec![0; *length];
        source[..2].copy_from_slice(&kind.to_le_bytes());
        source[6] = *flags;
        table.extend(source);
    }
    let length = u32::try_from(table.len()).unwrap();
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0;
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
    table
}

#[test]
fn error_sources_are_counted() {
    let table = hest(&[(0, 0, 40), (6, 1, 48), (7, 2, 44), (9, 0, 64), (2, 0, 20)]);
    assert_eq!(
        parse_hest(&table),
        Ok(Hest {
            pcie_sources: 2,
            firmware_first: 1,
            generic_sources: 1
        })
    );
    assert_eq!(parse_hest(b"DSDT"), Err(HestError::Signature));
    assert_eq!(
        parse_hest(&table[..table.len() - 1]),
        Err(HestError::Truncated)
    );
    assert_eq!(
        parse_hest(&hest(&[(12, 0, 8)])),
        Err(HestError::UnknownSource(12))
    );
    assert_eq!(parse_hest(&hest(&[(6, 0, 47)])), Err(HestError::Truncated));
    let mut flipped = table;
    flipped[50] ^= 1;
    assert_eq!(parse_hest(&flipped), Err(HestError::Checksum));
}

#[test]
fn configuration_space_is_read() {
    let config = parse_config(&config_space(Some(DSN))).unwrap();
    assert_eq!((config.vendor, config.device), (Id(0x15b3), Id(0xa2dc)));
    assert!(config.vpd && config.error_reporting && config.extended);
    assert_eq!(config.serial.as_deref(), Some("b8-3f-d2-ff-ff-00-11-22"));
    for junk in [0, u64::MAX, 0xb83f_d2ff_ff00_0000, 0xb83f_d2ff_ffff_ffff] {
        assert_eq!(
            parse_config(&config_space(Some(junk))).unwrap().serial,
            None
        );
    }
    let bytes = config_space(Some(DSN));
    let conventional = parse_config(&bytes[..256]).unwrap();
    assert!(conventional.vpd && !conventional.extended);
    assert_eq!(conventional.serial, None);
    assert_eq!(parse_config(&bytes[..64]), Err(ConfigError::HeaderOnly(64)));
    assert_eq!(parse_config(&[]), Err(ConfigError::HeaderOnly(0)));
    assert_eq!(parse_config(&[0xff; 4096]), Err(ConfigError::Gone));
}

/// Of the e1000e that QEMU 7.2 plays; the number is what `lspci -vv` says of it.
#[test]
fn the_configuration_space_of_another_kind_is_read() {
    let bytes = include_bytes!("../../tests/fixtures/pci/e1000e.config");
    let config = parse_config(bytes).unwrap();
    assert_eq!((config.vendor, config.device), (Id(0x8086), Id(0x10d3)));
    assert_eq!(config.serial.as_deref(), Some("52-54-00-ff-ff-00-00-01"));
    assert!(config.error_reporting && config.extended && !config.vpd);
}

#[test]
fn capabilities_that_point_at_themselves_end() {
    let mut bytes = config_space(Some(DSN));
    bytes[0x49] = 0x48;
    bytes[0x150..0x154].copy_from_slice(&0x1501_0003_u32.to_le_bytes());
    assert!(parse_config(&bytes).unwrap().vpd);
}

#[test]
fn every_id_stands_once() {
    for (at, line) in MODELS.iter().enumerate() {
        let again = MODELS[at + 1..]
            .iter()
            .find(|other| (other.vendor, other.device) == (line.vendor, line.device));
        assert_eq!(again, None);
    }
    let recovery = model(Id(0x15b3), Id(0x0214)).unwrap();
    assert_eq!(
        (recovery.family, recovery.role),
        ("BlueField-2", Role::Recovery)
    );
    assert_eq!(model(Id(0x8086), Id(0x1599)), None, "any E810 has it");
}

#[test]
fn what_is_serialised_comes_back() {
    let tree = Tree::new();
    tree.function("0000:03:00.0", 0x15b3, 0xa2dc)
        .vpd("MT1")
        .config(Some(DSN));
    let functions = tree.functions();
    let json = serde_json::to_string(&functions).unwrap();
    assert!(json.contains(r#""vendor":"15b3""#), "{json}");
    assert_eq!(serde_json::from_str::<Functions>(&json).unwrap(), functions);
    let cards = tree.cards();
    let json = serde_json::to_string(&cards).unwrap();
    assert_eq!(known(&cards), known(&serde_json::from_str(&json).unwrap()));
}

proptest! {
    #[test]
    fn any_configuration_space_ends_in_an_answer(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        list in any::<u8>(),
    ) {
        let mut bytes = bytes;
        if bytes.len() > 0x34 {
            bytes[6] |= 0x10;
            bytes[0x34] = list;
        }
        let first = parse_config(&bytes);
        prop_assert_eq!(first.is_ok(), parse_config(&bytes).is_ok());
    }

    #[test]
    fn any_hest_ends_in_an_answer(
        sources in prop::collection::vec((0_u16..13, any::<u8>(), 8_usize..120), 0..12),
        cut in 0_usize..200,
    ) {
        let table = hest(&sources);
        let first = parse_hest(&table);
        prop_assert_eq!(first, parse_hest(&table));
        prop_assert!(parse_hest(&table[..table.len().saturating_sub(cut + 1)]).is_err());
    }

    #[test]
    fn any_text_of_counters_ends_in_an_answer(text in "([A-Za-z_]{0,12} ?[0-9]{0,22}\n?){0,80}") {
        if let Some(counters) = parse_counters(&text) {
            prop_assert!(counters.kinds.len() <= 64);
        }
    }

    #[test]
    fn an_address_that_parses_is_what_was_written(text in "[0-9a-f:.]{0,14}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string(), text);
        }
    }
}

/// What any function of a card tells is told of the card.
#[test]
fn the_device_serial_number_that_only_the_second_device_has_is_the_cards() {
    let tree = Tree::new();
    tree.function("0000:00:01.0/0000:03:00.0", 0x15b3, 0xa2dc)
        .vpd("MT2251XZ0001")
        .config(None);
    tree.function("0000:00:02.0/0000:04:00.0", 0x15b3, 0xa2dc)
        .vpd("MT2251XZ0001")
        .config(Some(0xb83f_d2ff_ff00_1122));
    let cards = tree.cards();
    assert_eq!(cards.len(), 1);
    assert!(
        cards[0].device_serial.is_known(),
        "{:?}",
        cards[0].device_serial
    );
}

mod named;
