use std::fs;

use lockstep_crds::inventory::{CardHealth, ErrorHandler, Inventory};
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuReport, DpuReportSpec};
use lockstep_local::disks::{Disk, DiskKind};
use lockstep_local::inventory::{
    Implementation, Inventory as Machine, Listed, MachineCard, MachinePort, MachineSlot, Offloads,
};
use lockstep_local::netlink::{DeviceInfo, Told, Version, VersionKind};
use lockstep_local::pci::{self, Address, Card, Function, Health, Id};
use lockstep_local::ports::Port;
use lockstep_local::smbios::{MemoryDevice, Slot, SlotUse};
use lockstep_local::{Fact, Root};
use serde_json::Value;

use super::{MOST_BYTES, Reading, Whose};
use crate::clock;

/// Where `value` goes beyond what the schema of a CRD allows.
fn beyond(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let most = |bound: &str| schema[bound].as_u64().unwrap_or(u64::MAX);
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if schema["type"] != "string" || length > most("maxLength") {
                found.push(format!("{path}: {length} letters"));
            }
        }
        Value::Array(items) => {
            if schema["type"] != "array" || items.len() as u64 > most("maxItems") {
                found.push(format!("{path}: {} items", items.len()));
            }
            for item in items {
                beyond(&format!("{path}[]"), &schema["items"], item, found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let property = &schema["properties"][name];
                if property.is_null() {
                    found.push(format!("{path}.{name}: unknown"));
                }
                beyond(&format!("{path}.{name}"), property, field, found);
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap()) {
                    found.push(format!("{path}.{name}: missing"));
                }
            }
        }
        Value::Number(_) if schema["type"] != "integer" => found.push(format!("{path}: number")),
        Value::Bool(_) if schema["type"] != "boolean" => found.push(format!("{path}: flag")),
        Value::Null => found.push(format!("{path}: null")),
        Value::Number(_) | Value::Bool(_) => {}
    }
}

/// The report with this inventory, held against the CRD that the API server has.
fn held_against_the_schema(inventory: &Inventory) -> Vec<String> {
    let crds = lockstep_crds::all();
    let crd = crds
        .iter()
        .find(|crd| crd.spec.names.kind == "DpuReport")
        .unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap();
    let spec = DpuReportSpec {
        inventory: Some(inventory.clone()),
        ..DpuReportSpec::new(Vantage::HostOs, "node1", "1", clock::now())
    };
    let report = serde_json::to_value(DpuReport::new("host-node1", spec)).unwrap();
    let mut found = Vec::new();
    let (schema, spec) = (&schema["properties"]["spec"], &report["spec"]);
    beyond("spec", schema, spec, &mut found);
    found
}

fn long() -> String {
    "\u{1f9f1}".repeat(500)
}

fn told() -> Fact<String> {
    Fact::Known(long())
}

/// As long as what identifies a part may be.
fn whole(most: usize) -> String {
    long().chars().take(most).collect()
}

fn address(number: usize) -> Address {
    Address {
        domain: u32::MAX,
        bus: u8::try_from(number / 256).unwrap(),
        device: u8::try_from(number / 8 % 32).unwrap(),
        function: u8::try_from(number % 8).unwrap(),
    }
}

fn many<T>(count: usize, of: impl Fn(usize) -> T) -> Fact<Listed<T>> {
    Fact::Known(Listed {
        items: (0..count).map(of).collect(),
        omitted: 7,
    })
}

fn function(number: usize) -> Function {
    Function {
        address: address(number),
        vendor: Id(0x15b3),
        device: Id(0xa2dc),
        class: u32::MAX,
        revision: Fact::NotOffered,
        subsystem: Fact::Known(pci::Subsystem {
            vendor: Id(u16::MAX),
            device: Id(u16::MAX),
        }),
        above: vec![address(0)],
        driver: Fact::Known(Some(long())),
        numa_node: Fact::Known(u16::MAX),
        link: pci::Link {
            width: Fact::Known(16),
            max_width: Fact::Known(16),
            speed_mts: Fact::Known(u32::MAX),
            max_speed_mts: Fact::Known(u32::MAX),
        },
        sriov: Fact::Known(pci::Sriov {
            total: u16::MAX,
            enabled: u16::MAX,
        }),
        slot: told(),
        errors: pci::ErrorCounters {
            correctable: Fact::NotOffered,
            nonfatal: Fact::NotOffered,
            fatal: Fact::NotOffered,
            root_port: Fact::NotOffered,
        },
    }
}

fn handling(number: usize) -> pci::ErrorHandling {
    pci::ErrorHandling {
        root_port: Some(address(number)),
        handler: Fact::NotRead(format!("{number} {}", long())),
        containment: Fact::Known(true),
        hot_plug: Fact::Known(true),
        source: long(),
    }
}

fn versions() -> Vec<Version> {
    (0..40)
        .flat_map(|number| {
            [VersionKind::Running, VersionKind::Stored].map(|kind| Version {
                kind,
                name: format!("fw.{number}.{}", long()),
                value: format!("{kind:?}{}", long()),
            })
        })
        .collect()
}

fn named(count: u16) -> pci::Named {
    let functions = (0..count).map(|index| pci::NamedFunction {
        name: pci::FunctionName {
            device: u16::MAX,
            physical: u8::MAX,
            part: pci::Part::Virtual(index),
        },
        address: address(0),
        interface: Some(long()),
        sriov: Some(pci::Sriov {
            total: u16::MAX,
            enabled: u16::MAX,
        }),
    });
    pci::Named {
        functions: functions.collect(),
        omitted: 9,
    }
}

fn card(number: usize) -> MachineCard {
    MachineCard {
        card: Card {
            maker: long(),
            family: long(),
            functions: (0..40).map(|other| address(number * 40 + other)).collect(),
            named: named(40),
            slot: told(),
            health: Fact::Known(Health::Recovery),
            serial: Fact::NotRead(format!("{number} {}", long())),
            part_number: told(),
            revision: told(),
            device_serial: Fact::Known(whole(32)),
            vpd: Fact::NotOffered,
            error_handling: handling(number),
            conflicts: vec![long()],
        },
        slot_designation: told(),
        ports: (0..400).map(|port| format!("port{port:04}")).collect(),
        disks: Vec::new(),
        rshim: Some(long()),
        devlink: Some(whole(128)),
        firmware: Fact::Known(versions()),
    }
}

fn port(number: usize) -> MachinePort {
    MachinePort {
        port: Port {
            name: format!("port{number:04}{}", long()),
            hardware_type: Fact::Known(1),
            mac: Fact::Known(format!("{number}{}", long())),
            permanent_mac: Fact::NotOffered,
            speed_mbps: Fact::Known(u32::MAX),
            carrier: Fact::Known(true),
            mtu: Fact::Known(1500),
            port_name: told(),
            port_id: told(),
            switch_id: told(),
            dev_port: Fact::Known(0),
            driver: Fact::Known(Some(long())),
            pci: Some(address(number)),
        },
        offloads: Fact::Known(vec![Offloads {
            implementation: Implementation::Hardware,
            on: (0..200).map(|o| format!("{o}{}", long())).collect(),
            off: vec![long()],
        }]),
    }
}

/// A machine that tells more of everything than there is room for.
fn extreme() -> Reading {
    let dir = tempfile::tempdir().unwrap();
    let mut reading = Reading::take(&Root::new(dir.path()), &Told::nothing("it is made up"));
    let Reading { machine, facts } = &mut reading;
    machine.machine.fact = machine.machine.fact.clone().map(|mut machine| {
        for field in [
            &mut machine.manufacturer,
            &mut machine.product,
            &mut machine.sku,
            &mut machine.asset_tag,
        ] {
            *field = told();
        }
        machine.uuid = Fact::Known(whole(36));
        machine.serial = Fact::Known(whole(64));
        machine.board_serial = Fact::Known(whole(64));
        machine
    });
    machine.firmware.fact = Fact::Known(lockstep_local::smbios::Bios {
        version: Some(long()),
        ..lockstep_local::smbios::Bios::default()
    });
    machine.memory.fact = machine.memory.fact.clone().map(|mut memory| {
        memory.installed_bytes = Fact::Known(u64::MAX);
        memory.modules = many(200, |_| MemoryDevice {
            locator: Some(long()),
            kind: Some(long()),
            serial: Some(whole(64)),
            part_number: Some(long()),
            bytes: Some(u64::MAX),
            configured_mts: Some(u32::MAX),
            ..MemoryDevice::default()
        });
        memory
    });
    machine.slots.fact = many(100, |_| MachineSlot {
        slot: Slot {
            designation: Some(long()),
            kind: 0,
            usage: SlotUse::InUse,
            id: None,
            lanes: Some(16),
            hot_plug: Some(true),
            location: None,
        },
        functions: (0..40).map(address).collect(),
    });
    machine.cards.fact = many(40, card);
    machine.functions.fact = many(2000, function);
    machine.unread = vec![pci::Unread {
        name: long(),
        reason: long(),
    }]
    .into();
    machine.error_handling.fact = many(100, handling);
    machine.disks.fact = many(200, |number| Disk {
        name: format!("disk{number:04}{}", long()),
        kind: DiskKind::Nvme,
        bytes: Fact::Known(u64::MAX),
        model: told(),
        serial: Fact::Known(whole(64)),
        firmware: told(),
        wwid: Fact::Known(whole(128)),
        rotational: Fact::Known(false),
        removable: Fact::Known(false),
        read_only: Fact::Known(false),
        pci: None,
    });
    machine.ports.fact = many(400, port);
    machine.devices.fact = many(40, |number| DeviceInfo {
        bus: "pci".to_owned(),
        device: address(5000 + number).to_string(),
        driver: None,
        serial: None,
        board_serial: None,
        versions: versions(),
    });
    machine.conflicts = (0..50).map(|_| long()).collect::<Vec<_>>().into();
    facts.kernel_release = told();
    facts.hostname = told();
    reading
}

#[test]
fn the_most_extreme_machine_fits_the_schema_and_the_object() {
    let reading = extreme();
    for whose in [Whose::Host, Whose::Card] {
        let inventory = reading.inventory(whose);
        let found = held_against_the_schema(&inventory);
        assert!(found.is_empty(), "{whose:?}: {found:#?}");
        let bytes = serde_json::to_vec(&inventory).unwrap().len();
        assert!(bytes <= MOST_BYTES, "{whose:?}: {bytes} bytes");
        assert!(bytes > MOST_BYTES / 4, "{whose:?}: only {bytes} bytes");
        // What has no room is counted, not dropped.
        let of = |list: &Option<lockstep_crds::inventory::PortList>| {
            let list = list.as_ref().unwrap();
            list.omitted + i64::try_from(list.ports.len()).unwrap()
        };
        assert_eq!(of(&inventory.ports), 407);
        let disks = inventory.disks.as_ref().unwrap();
        let shown = i64::try_from(disks.disks.len()).unwrap();
        assert_eq!(disks.omitted + shown, 207);
        assert_eq!(inventory.contradictions.len(), 16);
        assert_eq!(
            inventory.contradictions.last().unwrap(),
            "35 more do not fit"
        );
    }
    let host = reading.inventory(Whose::Host);
    let cards_left_out = host
        .unread
        .iter()
        .any(|unread| unread.group == "cards" && unread.why.contains("do not fit"));
    assert!(cards_left_out, "{:?}", host.unread);
}

/// Two that are cut to the same text would be one.
#[test]
fn a_serial_number_is_told_whole_or_not_at_all() {
    let told = |length: usize| {
        let serial = "S".repeat(length);
        let known = || Fact::Known(serial.clone());
        let mut reading = extreme();
        let machine = &mut reading.machine;
        machine.machine.fact = machine.machine.fact.clone().map(|mut machine| {
            machine.serial = known();
            machine
        });
        machine.cards.fact = many(1, |number| {
            let mut card = card(number);
            card.card.serial = known();
            card
        });
        machine.memory.fact = machine.memory.fact.clone().map(|mut memory| {
            memory.modules = many(1, |_| MemoryDevice {
                serial: Some(serial.clone()),
                bytes: Some(1),
                ..MemoryDevice::default()
            });
            memory
        });
        if let Fact::Known(disks) = &mut machine.disks.fact {
            disks.items[0].serial = known();
        }
        let Inventory {
            system,
            cards,
            memory,
            disks,
            ..
        } = reading.inventory(Whose::Host);
        [
            system.unwrap().serial_number,
            cards[0].serial_number.clone(),
            memory.unwrap().modules[0].serial_number.clone(),
            disks.unwrap().disks[0].serial_number.clone(),
        ]
    };
    assert_eq!(told(64), [0; 4].map(|_| Some("S".repeat(64))));
    assert_eq!(told(65), [None, None, None, None]);
}

#[test]
fn the_walk_finds_what_goes_beyond() {
    let dir = tempfile::tempdir().unwrap();
    let reading = Reading::take(&Root::new(dir.path()), &Told::nothing("a test"));
    let mut inventory = reading.inventory(Whose::Host);
    assert_eq!(held_against_the_schema(&inventory), Vec::<String>::new());
    inventory.contradictions = vec![long(); 17];
    let found = held_against_the_schema(&inventory);
    assert_eq!(found.len(), 18, "{found:?}");
}

#[test]
fn an_empty_machine_tells_why_it_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let reading = Reading::take(&Root::new(dir.path()), &Told::nothing("a test"));
    let inventory = reading.inventory(Whose::Card);
    assert_eq!(inventory.system, None);
    assert_eq!(inventory.disks, None);
    assert_eq!(inventory.tpm, None);
    let unread = |group: &str| inventory.unread.iter().find(|u| u.group == group);
    assert!(unread("firmware").unwrap().why.contains("a test"));
    assert!(unread("tpm").unwrap().why.contains("/sys"));
    let again = Reading::take(&Root::new(dir.path()), &Told::nothing("a test"));
    assert_eq!(again.inventory(Whose::Card), inventory);
}

/// A host with one card in a slot and a disk of its own.
fn host() -> (tempfile::TempDir, Machine) {
    host_of("0x15b3", "0xa2dc")
}

/// A host with a card of these PCI ids.
fn host_of(maker: &str, model: &str) -> (tempfile::TempDir, Machine) {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (folder, id, class) in [
        ("0000:3b:00.0", model, "0x020000"),
        ("0000:02:00.0", "0x10d3", "0x020000"),
    ] {
        let vendor = if id == model { maker } else { "0x8086" };
        for (file, text) in [("vendor", vendor), ("device", id), ("class", class)] {
            let path = format!("sys/bus/pci/devices/{folder}/{file}");
            write(&path, format!("{text}\n").as_bytes());
        }
    }
    write("sys/bus/pci/slots/7/address", b"0000:3b:00\n");
    let root = Root::new(dir.path());
    let machine = Reading::take(&root, &Told::nothing("a test")).machine;
    (dir, machine)
}

#[test]
fn a_host_tells_of_its_cards_and_a_card_of_itself() {
    let (dir, _) = host();
    let root = Root::new(dir.path());
    let reading = Reading::take(&root, &Told::nothing("a test"));
    let of_host = reading.inventory(Whose::Host);
    let [card] = &of_host.cards[..] else {
        panic!("{of_host:?}")
    };
    assert_eq!(card.family.as_deref(), Some("BlueField-3"));
    assert_eq!(card.functions, ["0000:3b:00.0"]);
    let named = card.named.as_ref().unwrap();
    let shown: Vec<_> = named
        .functions
        .iter()
        .map(|one| (&*one.name, &*one.address))
        .collect();
    assert_eq!(shown, [("pf0", "0000:3b:00.0")]);
    assert_eq!(card.slot.as_deref(), Some("7"));
    let functions = of_host.functions.unwrap();
    assert_eq!((functions.functions.len(), functions.omitted), (1, 0));
    let slots = of_host.slots.unwrap().slots;
    assert_eq!((slots.len(), slots[0].name.as_str()), (1, "7"));
    assert_eq!(slots[0].functions, ["0000:3b:00.0"]);

    let of_card = reading.inventory(Whose::Card);
    assert!(of_card.cards.is_empty());
    assert_eq!(of_card.functions.unwrap().functions.len(), 2);
    assert_eq!(
        of_card.system.unwrap().family.as_deref(),
        Some("BlueField-3")
    );
}

#[test]
fn what_a_card_without_a_redfish_service_can_do_is_declared() {
    for (maker, model, table) in [
        ("0x1dd8", "0x1002", Some("pensando-dsc")),
        ("0x177d", "0xb900", Some("octeon-10")),
        ("0x15b3", "0xa2dc", None),
    ] {
        let (dir, _) = host_of(maker, model);
        let reading = Reading::take(&Root::new(dir.path()), &Told::nothing("a test"));
        let of_host = reading.inventory(Whose::Host);
        let seen = of_host.cards[0].capabilities.as_deref();
        let of_card = reading.inventory(Whose::Card);
        for declared in [seen, of_card.capabilities.as_ref()] {
            let declared = declared.map(|declared| declared.vendor_table.as_str());
            assert_eq!(declared, table, "{model}");
        }
        let again = Reading::take(&Root::new(dir.path()), &Told::nothing("a test"));
        assert_eq!(
            again.inventory(Whose::Host),
            of_host,
            "time alone is no news"
        );
    }
}

#[test]
fn a_card_in_recovery_is_seen_as_such_and_nobodys_errors_are_nobodys() {
    let mut reading = extreme();
    reading.machine.cards.fact = many(1, card);
    reading.machine.error_handling.fact = many(1, |number| pci::ErrorHandling {
        handler: Fact::Known(pci::ErrorHandler::Nobody),
        ..handling(number)
    });
    let inventory = reading.inventory(Whose::Host);
    assert_eq!(inventory.cards[0].health, Some(CardHealth::Recovery));
    assert_eq!(inventory.error_handling[0].handler, ErrorHandler::Nobody);
}

#[test]
fn functions_have_their_names_and_go_before_their_cards() {
    let mut reading = extreme();
    reading.machine.cards.fact = many(1, card);
    let inventory = reading.inventory(Whose::Host);
    let named = inventory.cards[0].named.as_ref().unwrap();
    assert_eq!((named.functions.len(), named.omitted), (32, 17));
    let first = &named.functions[0];
    assert_eq!(first.name, "d65535pf255vf0");
    assert_eq!((first.virtual_index, first.sub), (Some(0), None));
    assert_eq!(first.sr_iov.as_ref().unwrap().enabled, 65_535);

    let mut crowded = Inventory {
        cards: vec![inventory.cards[0].clone(); 400],
        ..Inventory::default()
    };
    for card in &mut crowded.cards {
        card.macs = Vec::new();
        card.firmware = Vec::new();
        (card.vendor, card.family, card.rshim) = (None, None, None);
        card.devlink = None;
        (card.slot, card.part_number, card.device_serial) = (None, None, None);
    }
    super::fit::to_most_bytes(&mut crowded);
    assert_eq!(crowded.cards.len(), 400);
    let named = crowded.cards[0].named.as_ref().unwrap();
    let shown = i64::try_from(named.functions.len()).unwrap();
    assert!(shown < 32, "{shown}");
    assert_eq!(shown + named.omitted, 49);
}

#[test]
fn a_stored_version_is_pending_only_if_another_one_runs() {
    let version = |kind, name: &str, value: &str| Version {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let told = [
        version(VersionKind::Fixed, "fw.psid", "MT_0000000884"),
        version(VersionKind::Fixed, "board.id", "x"),
        version(VersionKind::Running, "fw", "32.1"),
        version(VersionKind::Stored, "fw", "32.2"),
        version(VersionKind::Running, "fw.mgmt", "1"),
        version(VersionKind::Stored, "fw.mgmt", "1"),
    ];
    let components = super::parts::components(&told);
    let rows: Vec<_> = components
        .iter()
        .map(|c| (c.name.as_str(), c.running.as_deref(), c.pending.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            ("fw", Some("32.1"), Some("32.2")),
            ("fw.mgmt", Some("1"), None),
            ("fw.psid", Some("MT_0000000884"), None),
        ]
    );
}
