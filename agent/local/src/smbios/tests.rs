//! The fixtures were written by QEMU 7.2 and SeaBIOS and read out of the memory of a virtual
//! machine; what is expected of them is what `dmidecode` says of the same bytes.

use super::*;
use proptest::prelude::*;

const ENTRY_2: &[u8] = include_bytes!("../../tests/fixtures/smbios/2.8.entry");
const TABLE_2: &[u8] = include_bytes!("../../tests/fixtures/smbios/2.8.table");
const ENTRY_3: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.entry");
const TABLE_3: &[u8] = include_bytes!("../../tests/fixtures/smbios/3.0.table");

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// An entry point of the 3.x form for a table of at most `length` bytes.
fn entry(length: usize) -> Vec<u8> {
    let mut entry = b"_SM3_\0\x18\x03\x04\0\x01\0".to_vec();
    entry.extend(u32::try_from(length).unwrap().to_le_bytes());
    entry.extend([0; 8]);
    let sum = entry.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    entry[5] = sum.wrapping_neg();
    entry
}

/// One structure: the bytes after its header, and its strings.
fn structure(kind: u8, body: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind, u8::try_from(body.len() + 4).unwrap(), kind, 0x10];
    bytes.extend(body);
    for string in strings {
        bytes.extend(string.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    if strings.is_empty() {
        bytes.push(0);
    }
    bytes
}

fn read(table: &[u8]) -> Smbios {
    parse(&entry(table.len()), table).unwrap()
}

#[test]
fn what_a_virtual_machine_says() {
    for (entry, table, version) in [(ENTRY_2, TABLE_2, "2.8"), (ENTRY_3, TABLE_3, "3.0")] {
        let smbios = parse(entry, table).unwrap();
        assert_eq!(smbios.version, version);
        assert_eq!(
            smbios.bios,
            Some(Bios {
                vendor: text("Lab Firmware"),
                version: text("1.2.3"),
                date: text("11/21/2026"),
                release: text("3.12"),
            })
        );
        assert_eq!(
            smbios.system,
            Some(System {
                manufacturer: text("Example Systems"),
                product: text("Rack 2U"),
                version: text("B"),
                serial: text("SRV0042"),
                uuid: text("4c4c4544-0042-3510-8052-b4c04f4d3732"),
                sku: text("SK-7"),
                family: text("Racks"),
            })
        );
        let [board] = &smbios.baseboards[..] else {
            panic!("{:?}", smbios.baseboards)
        };
        assert_eq!(board.serial, text("MB0042"));
        assert_eq!(board.asset_tag, None, "a placeholder");
        assert_eq!(smbios.chassis[0].serial, None, "a placeholder");
        assert_eq!(smbios.chassis[0].asset_tag, text("A-17"));
        assert_eq!(smbios.chassis[0].kind, 1);
        assert_eq!(smbios.processors.len(), 2);
        for processor in &smbios.processors {
            assert!(processor.populated);
            assert_eq!(processor.cores, Some(2));
            assert_eq!(processor.threads, Some(2));
            assert_eq!(processor.max_mhz, Some(3200));
            assert_eq!(processor.version, text("Model 9"));
            assert_eq!(processor.serial, text("C0042"));
        }
        let [array] = &smbios.memory_arrays[..] else {
            panic!("{:?}", smbios.memory_arrays)
        };
        assert!(array.system_memory);
        assert_eq!(array.corrects_errors, Some(true));
        assert_eq!(array.max_bytes, Some(5 << 30));
        assert_eq!(array.sockets, Some(1));
        assert_eq!(
            smbios.memory_devices,
            [MemoryDevice {
                array: array.handle,
                locator: text("DIMM 0"),
                bank: text("BANK0"),
                bytes: Some(5 << 30),
                kind: text("RAM"),
                max_mts: Some(4800),
                configured_mts: Some(4800),
                manufacturer: text("ExampleMem"),
                serial: text("D0042"),
                part_number: text("M321"),
            }]
        );
        let [device] = &smbios.onboard_devices[..] else {
            panic!("{:?}", smbios.onboard_devices)
        };
        assert_eq!(device.designation, text("Onboard RNG"));
        assert!(device.enabled);
        assert_eq!(smbios.unreadable, 0);
    }
}

#[test]
fn slots_say_where_their_card_is() {
    let body = |usage, devfn| [1, 0xb1, 13, usage, 4, 7, 0, 0x0c, 0x03, 0, 0, 0x41, devfn];
    let table = [
        structure(9, &body(4, 0x08 | 2), &["PCIe Slot 7"]),
        structure(9, &body(3, 0xff), &["Slot 8 "]),
        structure(9, &[1, 0xa5, 1, 4, 3, 0, 0, 0], &["old"]),
    ]
    .concat();
    let slots = read(&table).slots;
    assert_eq!(
        slots[0],
        Slot {
            designation: text("PCIe Slot 7"),
            kind: 0xb1,
            usage: SlotUse::InUse,
            id: Some(7),
            lanes: Some(16),
            hot_plug: Some(true),
            location: Some(PciLocation {
                segment: 0,
                bus: 0x41,
                device: 1,
                function: 2
            }),
        }
    );
    assert_eq!(slots[1].usage, SlotUse::Available);
    assert_eq!(slots[2].location, None);
    assert_eq!(slots[2].hot_plug, None, "not told before version 2.1");
}

#[test]
fn sizes_in_their_three_forms() {
    let device = |size: u16, extended: u32| {
        let mut body = vec![0; 0x5c - 4];
        body[0x0c - 4..0x0e - 4].copy_from_slice(&size.to_le_bytes());
        body[0x12 - 4] = 0x22;
        body[0x15 - 4..0x17 - 4].copy_from_slice(&[0xff, 0xff]);
        body[0x1c - 4..0x20 - 4].copy_from_slice(&extended.to_le_bytes());
        body[0x54 - 4..0x58 - 4].copy_from_slice(&70_000_u32.to_le_bytes());
        read(&structure(17, &body, &[])).memory_devices.remove(0)
    };
    assert_eq!(device(0, 0).bytes, Some(0), "an empty socket");
    assert_eq!(device(0xffff, 0).bytes, None);
    assert_eq!(device(0x8200, 0).bytes, Some(512 << 10));
    assert_eq!(device(0x4000, 0).bytes, Some(16 << 30));
    let large = device(0x7fff, 131_072);
    assert_eq!(large.bytes, Some(128 << 30));
    assert_eq!(large.kind, text("DDR5"));
    assert_eq!(large.max_mts, Some(70_000));
}

#[test]
fn a_uuid_before_2_6_is_not_turned() {
    let mut body = vec![0; 21];
    let bytes: Vec<u8> = (0x10..0x20).collect();
    body[4..20].copy_from_slice(&bytes);
    let table = structure(1, &body, &[]);
    let uuid = |major, minor| {
        let mut entry = entry(table.len());
        entry[5] = entry[5].wrapping_add(entry[7]).wrapping_add(entry[8]);
        entry[5] = entry[5].wrapping_sub(major).wrapping_sub(minor);
        (entry[7], entry[8]) = (major, minor);
        parse(&entry, &table).unwrap().system.unwrap().uuid
    };
    assert_eq!(uuid(2, 5), text("10111213-1415-1617-1819-1a1b1c1d1e1f"));
    assert_eq!(uuid(2, 6), text("13121110-1514-1716-1819-1a1b1c1d1e1f"));
}

#[test]
fn the_first_counts_and_the_short_are_counted() {
    let system = |name| structure(1, &[0, 1, 0, 0], &[name]);
    let table = [
        system("first"),
        structure(1, &[0], &[]),
        system("second"),
        structure(200, &[], &["of the vendor's own"]),
        structure(127, &[], &[]),
        system("after the end"),
    ]
    .concat();
    let smbios = read(&table);
    assert_eq!(smbios.system.unwrap().product, text("first"));
    assert_eq!(smbios.unreadable, 1);
}

#[test]
fn damage_is_named() {
    assert_eq!(parse(b"", b""), Err(SmbiosError::NoAnchor));
    assert_eq!(parse(&ENTRY_3[..20], TABLE_3), Err(SmbiosError::ShortEntry));
    assert_eq!(parse(&ENTRY_2[..20], TABLE_2), Err(SmbiosError::ShortEntry));
    for entry in [ENTRY_2, ENTRY_3] {
        let mut entry = entry.to_vec();
        entry[12] ^= 1;
        assert_eq!(parse(&entry, TABLE_2), Err(SmbiosError::Checksum));
    }
    assert_eq!(
        parse(ENTRY_2, &TABLE_2[..600]),
        Err(SmbiosError::ShortTable {
            announced: 618,
            found: 600
        })
    );
    assert!(matches!(
        parse(ENTRY_3, &TABLE_3[..599]),
        Err(SmbiosError::Structure(_))
    ));
    let shorter_than_its_header = [1, 3, 0, 0, 0, 0];
    assert_eq!(
        parse(&entry(6), &shorter_than_its_header),
        Err(SmbiosError::Structure(0))
    );
}

#[test]
fn tables_are_read_under_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    assert_eq!(smbios(&root), Fact::NotOffered);
    let folder = dir.path().join(FOLDER.trim_start_matches('/'));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("smbios_entry_point"), ENTRY_3).unwrap();
    std::fs::write(folder.join("DMI"), TABLE_3).unwrap();
    assert!(smbios(&root).is_known());
    std::fs::write(folder.join("DMI"), [1]).unwrap();
    assert!(matches!(smbios(&root), Fact::NotRead(why) if why.contains("dmi/tables")));
}

proptest! {
    #[test]
    fn any_table_ends_in_an_answer(table in prop::collection::vec(any::<u8>(), 0..2000)) {
        let first = parse(&entry(table.len()), &table);
        prop_assert_eq!(first, parse(&entry(table.len()), &table));
    }

    #[test]
    fn any_entry_point_ends_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for anchor in [&b""[..], b"_SM_", b"_SM3_"] {
            let entry = [anchor, &bytes].concat();
            prop_assert_eq!(parse(&entry, TABLE_3), parse(&entry, TABLE_3));
        }
    }

    #[test]
    fn a_damaged_table_ends_in_an_answer(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut table = TABLE_3.to_vec();
        for (index, byte) in damage {
            let at = index.index(table.len());
            table[at] = byte;
        }
        table.truncate(cut.index(table.len() + 1));
        if let Ok(smbios) = parse(ENTRY_3, &table) {
            prop_assert!(smbios.memory_devices.len() <= table.len() / 6);
        }
    }

    /// Structures of every type that we read, with random bodies of every length.
    #[test]
    fn random_structures_end_in_an_answer(
        bodies in prop::collection::vec(
            (
                prop::sample::select(vec![0_u8, 1, 2, 3, 4, 9, 16, 17, 41, 127, 200]),
                prop::collection::vec(any::<u8>(), 0..120),
                prop::collection::vec("[ -~]{1,20}", 0..5),
            ),
            0..20,
        ),
    ) {
        let table: Vec<u8> = bodies
            .iter()
            .flat_map(|(kind, body, strings)| {
                let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
                structure(*kind, body, &strings)
            })
            .collect();
        parse(&entry(table.len()), &table).unwrap();
    }
}
