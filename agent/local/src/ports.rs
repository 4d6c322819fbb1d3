//! Network ports: interfaces that belong to a device. Bridges, bonds, VLANs, tunnels and the
//! loopback are none.

use serde::{Deserialize, Serialize};

use crate::fact::meaningful_fact;
use crate::pci::Address;
use crate::{Fact, Root};

const NET: &str = "/sys/class/net";

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The kernel's name, which may change at every boot.
    pub name: String,
    /// `type`: the ARP hardware type (1 = Ethernet, 32 = InfiniBand).
    pub hardware_type: Fact<u16>,
    /// The address in use.
    pub mac: Fact<String>,
    /// The address that the device was made with.
    pub permanent_mac: Fact<String>,
    /// Speed in Mbit/s; not read while the link is down.
    pub speed_mbps: Fact<u32>,
    /// Whether there is a link; not read while the port is off.
    pub carrier: Fact<bool>,
    /// Largest packet, in bytes.
    pub mtu: Fact<u32>,
    /// `phys_port_name`: `p0` for a port, `pf0vf3` for what stands for a virtual function.
    pub port_name: Fact<String>,
    /// `phys_port_id`: equal for all functions that share one physical port.
    pub port_id: Fact<String>,
    /// `phys_switch_id`: equal for all ports of one switch in a card.
    pub switch_id: Fact<String>,
    /// `dev_port`: which port of its function.
    pub dev_port: Fact<u16>,
    /// What drives the device.
    pub driver: Fact<Option<String>>,
    /// Its PCI function.
    pub pci: Option<Address>,
}

/// The ports by name.
pub fn ports(root: &Root) -> Fact<Vec<Port>> {
    root.names(NET).map(|names| {
        names
            .into_iter()
            .filter(|name| matches!(root.exists(&format!("{NET}/{name}/device")), Ok(true)))
            .map(|name| port(root, name))
            .collect()
    })
}

fn port(root: &Root, name: String) -> Port {
    let file = |file: &str| format!("{NET}/{name}/{file}");
    let text = |name: &str| {
        root.line(&file(name))
            .and_then(|text| meaningful_fact(&text))
    };
    let mac = address(root, &file("address"));
    let place = root.followed(&file("device")).known().unwrap_or_default();
    Port {
        hardware_type: root.number(&file("type")),
        permanent_mac: permanent(root, &name, &mac),
        mac,
        // -1 is what drivers say that know of no speed.
        speed_mbps: root.number::<i64>(&file("speed")).and_then(|speed| {
            u32::try_from(speed).map_or_else(
                |_| Fact::NotRead(format!("{}: no speed, the link may be down", file("speed"))),
                Fact::Known,
            )
        }),
        carrier: root
            .number::<u8>(&file("carrier"))
            .map(|carrier| carrier != 0),
        mtu: root.number(&file("mtu")),
        port_name: text("phys_port_name"),
        port_id: text("phys_port_id"),
        switch_id: text("phys_switch_id"),
        dev_port: root.number(&file("dev_port")),
        driver: match root.link_name(&file("device/driver")) {
            Fact::Known(driver) => Fact::Known(Some(driver)),
            Fact::NotOffered => Fact::Known(None),
            Fact::NotRead(why) => Fact::NotRead(why),
        },
        pci: Address::on_path(&place).pop(),
        name,
    }
}

/// Sysfs tells the permanent address only where it is the one in use, or of the members of a
/// bond; otherwise it takes netlink.
fn permanent(root: &Root, name: &str, mac: &Fact<String>) -> Fact<String> {
    const PERMANENT: u8 = 0;
    let slave = address(root, &format!("{NET}/{name}/bonding_slave/perm_hwaddr"));
    if slave.is_known() {
        return slave;
    }
    let path = format!("{NET}/{name}/addr_assign_type");
    root.number::<u8>(&path).and_then(|how| match how {
        PERMANENT => mac.clone(),
        _ => Fact::NotRead(format!(
            "{path}: the address in use is not the permanent one"
        )),
    })
}

/// An address of zeros is none; a tunnel's is no MAC address.
fn address(root: &Root, path: &str) -> Fact<String> {
    root.line(path).and_then(|text| {
        let digits = text.bytes().filter(|byte| *byte != b':');
        if digits.clone().all(|digit| digit == b'0') {
            Fact::NotOffered
        } else if digits.clone().all(|digit| digit.is_ascii_hexdigit()) {
            Fact::Known(text.to_ascii_lowercase())
        } else {
            Fact::NotRead(format!("{path}: not an address"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// The device, the name of its port, and the port's files.
    type PortFiles<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn machine(ports: &[PortFiles<'_>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("sys/class/net");
        fs::create_dir_all(&class).unwrap();
        for (device, name, files) in ports {
            let folder = dir
                .path()
                .join("sys/devices")
                .join(device)
                .join("net")
                .join(name);
            fs::create_dir_all(&folder).unwrap();
            if !device.starts_with("virtual") {
                symlink("../..", folder.join("device")).unwrap();
            }
            symlink(
                format!("../../devices/{device}/net/{name}"),
                class.join(name),
            )
            .unwrap();
            for (file, text) in *files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        dir
    }

    #[test]
    fn ports_are_those_with_a_device() {
        let dir = machine(&[
            ("virtual", "lo", &[("address", "00:00:00:00:00:00\n")]),
            (
                "pci0000:00/0000:00:01.0/0000:03:00.0",
                "p0",
                &[
                    ("address", "B8:3F:D2:00:11:22\n"),
                    ("addr_assign_type", "0\n"),
                    ("speed", "200000\n"),
                    ("carrier", "1\n"),
                    ("mtu", "1500\n"),
                    ("type", "1\n"),
                    ("phys_port_name", "p0\n"),
                    ("phys_switch_id", "2c5ed60003d23fb8\n"),
                    ("dev_port", "0\n"),
                ],
            ),
            (
                "pci0000:00/0000:00:01.0/0000:03:00.1",
                "p1",
                &[
                    ("address", "b8:3f:d2:00:11:22\n"),
                    ("addr_assign_type", "3\n"),
                    ("bonding_slave/perm_hwaddr", "b8:3f:d2:00:11:23\n"),
                    ("speed", "-1\n"),
                ],
            ),
            (
                "pci0000:00/0000:00:02.0",
                "tmfifo",
                &[
                    ("address", "02:00:00:00:00:01\n"),
                    ("addr_assign_type", "1\n"),
                ],
            ),
        ]);
        let ports = ports(&Root::new(dir.path())).known().unwrap();
        let [p0, p1, random] = &ports[..] else {
            panic!("{ports:?}")
        };
        let mac = Fact::Known("b8:3f:d2:00:11:22".to_owned());
        assert_eq!((&p0.mac, &p0.permanent_mac), (&mac, &mac));
        assert_eq!(p0.speed_mbps, Fact::Known(200_000));
        assert_eq!(p0.carrier, Fact::Known(true));
        assert_eq!(p0.port_name, Fact::Known("p0".into()));
        assert_eq!(p0.port_id, Fact::NotOffered);
        assert_eq!(p0.driver, Fact::Known(None));
        assert_eq!(p0.pci, Some("0000:03:00.0".parse().unwrap()));
        assert_eq!(p1.permanent_mac, Fact::Known("b8:3f:d2:00:11:23".into()));
        assert!(matches!(&p1.speed_mbps, Fact::NotRead(why) if why.contains("down")));
        assert!(matches!(&random.permanent_mac, Fact::NotRead(why) if why.contains("tmfifo")));
    }
}
