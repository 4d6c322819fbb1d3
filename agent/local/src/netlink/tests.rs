use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::Fact;

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

fn version(kind: u16, name: &str, value: &str) -> Vec<u8> {
    attribute(kind | 0x8000, &[text(103, name), text(104, value)].concat())
}

#[test]
fn a_device_tells_its_firmware() {
    let payload = [
        text(1, "pci"),
        text(2, "0000:03:00.0"),
        text(98, "mlx5_core"),
        text(99, "N/A"),
        text(146, "MT2251XZ0123"),
        version(100, "fw.psid", "MT_0000000884"),
        version(101, "fw.version", "32.39.2048"),
        version(102, "fw.version", "32.41.1000"),
        attribute(100 | 0x8000, &text(103, "without a value")),
        attribute(999, &[1, 2, 3]),
    ]
    .concat();
    let device = parse_device_info(&payload).unwrap().unwrap();
    assert_eq!((&*device.bus, &*device.device), ("pci", "0000:03:00.0"));
    assert_eq!(device.driver.as_deref(), Some("mlx5_core"));
    assert_eq!(device.serial, None, "a placeholder");
    assert_eq!(device.board_serial.as_deref(), Some("MT2251XZ0123"));
    let versions: Vec<(VersionKind, &str, &str)> = device
        .versions
        .iter()
        .map(|version| (version.kind, &*version.name, &*version.value))
        .collect();
    assert_eq!(
        versions,
        [
            (VersionKind::Fixed, "fw.psid", "MT_0000000884"),
            (VersionKind::Running, "fw.version", "32.39.2048"),
            (VersionKind::Stored, "fw.version", "32.41.1000"),
        ]
    );
    assert_eq!(parse_device_info(&text(1, "pci")), Ok(None));
    assert_eq!(
        parse_device_info(&payload[..payload.len() - 6]),
        Err(MessageError)
    );
}

#[test]
fn a_port_tells_its_features() {
    let bit = |name: &str, on: bool| {
        let value = if on { attribute(3, &[]) } else { Vec::new() };
        let index = attribute(1, &7_u32.to_ne_bytes());
        attribute(1 | 0x8000, &[index, text(2, name), value].concat())
    };
    let set = |no_mask: bool, bits: &[Vec<u8>]| {
        let marker = if no_mask {
            attribute(1, &[])
        } else {
            Vec::new()
        };
        [marker, attribute(3 | 0x8000, &bits.concat())].concat()
    };
    let payload = [
        attribute(1 | 0x8000, &text(2, "p0")),
        attribute(
            2,
            &set(
                false,
                &[
                    bit("rx-vlan", true),
                    bit("hw-tc", true),
                    bit("tx-ufo", false),
                ],
            ),
        ),
        attribute(4, &set(true, &[bit("hw-tc", false), bit("highdma", false)])),
        attribute(5, &set(true, &[bit("rx-vlan", false)])),
    ]
    .concat();
    let features = parse_features(&payload).unwrap().unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        features,
        Features {
            port: "p0".to_owned(),
            active: names(&["hw-tc", "highdma"]),
            changeable: names(&["hw-tc"]),
        }
    );
    assert_eq!(parse_features(&[]), Ok(None));
}

#[test]
fn a_link_tells_its_permanent_address() {
    let mac = [0xb8, 0x3f, 0xd2, 0, 0x11, 0x22];
    let payload = [vec![0; 16], text(3, "p0"), attribute(54, &mac)].concat();
    assert_eq!(
        parse_link(&payload),
        Ok(Some(PermanentAddress {
            name: "p0".to_owned(),
            address: "b8:3f:d2:00:11:22".to_owned(),
        }))
    );
    let zeros = [vec![0; 16], text(3, "lo"), attribute(54, &[0; 6])].concat();
    assert_eq!(parse_link(&zeros), Ok(None));
    assert_eq!(parse_link(&[0; 15]), Err(MessageError));
}

#[test]
fn this_kernel_answers() {
    let links = permanent_addresses().known().unwrap();
    let names: BTreeSet<&String> = links.iter().map(|link| &link.name).collect();
    assert_eq!(names.len(), links.len());
    if let Fact::Known(ports) = offloads() {
        assert!(ports.iter().any(|port| port.port == "lo"), "{ports:?}");
    }
    assert!(!matches!(devices(), Fact::NotRead(_)), "{:?}", devices());
}

/// What Linux 6.1 answered in a virtual machine with two devices of netdevsim and an e1000e.
/// Expected is what `devlink`, `ethtool` and `ip` said in the same machine.
mod real {
    use super::*;

    const GENERIC_HEADER: usize = 4;

    fn payloads(reply: &[u8]) -> Vec<&[u8]> {
        const DONE: u16 = 3;
        messages(reply)
            .map(|message| message.unwrap())
            .filter(|message| message.kind != DONE)
            .map(|message| message.payload)
            .collect()
    }

    #[test]
    fn devlink() {
        let reply = include_bytes!("../../tests/fixtures/netlink/devlink.reply");
        let devices: Vec<DeviceInfo> = payloads(reply)
            .iter()
            .map(|payload| parse_device_info(&payload[GENERIC_HEADER..]))
            .map(|device| device.unwrap().unwrap())
            .collect();
        let version = |kind| Version {
            kind,
            name: "fw.mgmt".to_owned(),
            value: "10.20.30".to_owned(),
        };
        let device = |name: &str| DeviceInfo {
            bus: "netdevsim".to_owned(),
            device: name.to_owned(),
            driver: Some("netdevsim".to_owned()),
            serial: None,
            board_serial: None,
            versions: vec![version(VersionKind::Stored), version(VersionKind::Running)],
        };
        assert_eq!(devices, [device("netdevsim1"), device("netdevsim7")]);
    }

    #[test]
    fn ethtool() {
        let reply = include_bytes!("../../tests/fixtures/netlink/ethtool.reply");
        let features = parse_features(&payloads(reply)[0][GENERIC_HEADER..]);
        let features = features.unwrap().unwrap();
        assert_eq!(features.port, "eth0");
        assert_eq!(features.active.len(), 12, "{features:?}");
        for name in ["tx-checksum-ip-generic", "rx-gro", "tx-tcp6-segmentation"] {
            assert!(features.active.contains(name) && features.changeable.contains(name));
        }
        for name in ["tx-tcp-mangleid-segmentation", "rx-all", "rx-fcs"] {
            assert!(!features.active.contains(name) && features.changeable.contains(name));
        }
        for name in ["hw-tc-offload", "tx-checksum-ipv4", "tx-lockless"] {
            assert!(!features.active.contains(name) && !features.changeable.contains(name));
        }
        assert!(!features.changeable.contains("rx-vlan-filter"), "on, fixed");
    }

    #[test]
    fn links() {
        let reply = include_bytes!("../../tests/fixtures/netlink/link.reply");
        let links: Vec<(String, String)> = payloads(reply)
            .iter()
            .filter_map(|payload| parse_link(payload).unwrap())
            .map(|link| (link.name, link.address))
            .collect();
        let link = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(
            links,
            [
                link("eth0", "52:54:00:00:00:01"),
                link("eth1", "52:54:00:00:00:02")
            ]
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(messages(&bytes).count() <= bytes.len() / 16 + 1);
        prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
        prop_assert_eq!(parse_device_info(&bytes), parse_device_info(&bytes));
        prop_assert_eq!(parse_features(&bytes), parse_features(&bytes));
        prop_assert_eq!(parse_link(&bytes), parse_link(&bytes));
    }

    #[test]
    fn attributes_that_are_written_are_read(
        all in prop::collection::vec((0_u16..0x4000, prop::collection::vec(any::<u8>(), 0..30)), 0..20),
    ) {
        let bytes: Vec<u8> = all
            .iter()
            .flat_map(|(kind, payload)| attribute(*kind, payload))
            .collect();
        let read: Vec<(u16, Vec<u8>)> = attributes(&bytes)
            .map(|attribute| attribute.unwrap())
            .map(|attribute| (attribute.kind, attribute.payload.to_vec()))
            .collect();
        prop_assert_eq!(read, all);
    }
}
