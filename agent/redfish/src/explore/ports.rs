//! Network ports of a machine, from its interfaces and from the adapters in its chassis.

use lockstep_crds::inventory::{Port, PortList};
use serde_json::Value;

use super::System;
use super::walk::Walk;
use crate::document::{bounded, decimal, number, short, text};
use crate::room::Document;

const GROUP: &str = "ports";

/// Interfaces, and functions and ports of one adapter, that are read.
const MOST_INTERFACES: usize = 16;

/// Ports that are told.
const MOST: usize = 32;

/// A network adapter, its ports and its functions, with their paths.
#[derive(Debug, Default)]
pub(super) struct Adapter {
    pub(super) path: String,
    pub(super) document: Document,
    pub(super) ports: Vec<(String, Document)>,
    pub(super) functions: Vec<(String, Document)>,
}

impl Adapter {
    /// The MAC addresses of its functions, in their order.
    pub(super) fn macs(&self) -> Vec<String> {
        let of = |(_, function): &(String, Document)| mac(function.get("Ethernet")?);
        self.functions.iter().filter_map(of).collect()
    }

    /// Reads an adapter's ports and functions.
    pub(super) async fn read(walk: &mut Walk<'_>, path: String, document: Document) -> Self {
        let functions = walk
            .members(GROUP, &document, "NetworkDeviceFunctions", MOST_INTERFACES)
            .await;
        // Older services call them otherwise.
        let key = if document.get("Ports").is_some() {
            "Ports"
        } else {
            "NetworkPorts"
        };
        let ports = walk.members(GROUP, &document, key, MOST_INTERFACES).await;
        Self {
            path,
            document,
            ports: ports.unwrap_or_default().documents,
            functions: functions.unwrap_or_default().documents,
        }
    }
}

/// `adapters` are the machine's own, not those of cards in it.
pub(super) async fn read(
    walk: &mut Walk<'_>,
    system: &System,
    adapters: &[Adapter],
) -> Option<PortList> {
    let listed = walk
        .members(
            GROUP,
            &system.document,
            "EthernetInterfaces",
            MOST_INTERFACES,
        )
        .await
        .unwrap_or_default();
    let mut ports: Vec<Port> = listed
        .documents
        .iter()
        .map(|(path, one)| interface(path, one))
        .collect();
    for adapter in adapters {
        of_adapter(adapter, &mut ports);
    }
    ports.sort_by(|one, other| one.name.cmp(&other.name));
    let beyond = i64::try_from(ports.len().saturating_sub(MOST)).unwrap_or(0);
    ports.truncate(MOST);
    let list = PortList {
        ports,
        omitted: listed.omitted.saturating_add(beyond),
    };
    (list != PortList::default()).then_some(list)
}

fn interface(path: &str, one: &Value) -> Port {
    Port {
        name: name(path, one),
        mac: mac(one),
        speed_mbps: number(one, "SpeedMbps").filter(|speed| *speed > 0),
        link_up: link_up(one),
        driver: None,
        pci_address: None,
    }
}

/// Adds what an adapter knows: to the port with the same address, else as a port of its own.
fn of_adapter(adapter: &Adapter, ports: &mut Vec<Port>) {
    let prefix = name(&adapter.path, &adapter.document);
    for (path, function) in &adapter.functions {
        let Some(mac) = function.get("Ethernet").and_then(mac) else {
            continue;
        };
        let physical = adapter
            .ports
            .iter()
            .find(|(path, _)| serves(function, path));
        let (speed_mbps, link_up) = physical.map_or((None, None), |(_, port)| state(port));
        if let Some(known) = ports
            .iter_mut()
            .find(|port| port.mac.as_ref() == Some(&mac))
        {
            known.speed_mbps = known.speed_mbps.or(speed_mbps);
            known.link_up = known.link_up.or(link_up);
            continue;
        }
        ports.push(Port {
            name: bounded(&format!("{prefix}/{}", name(path, function)), 96),
            mac: Some(mac),
            speed_mbps,
            link_up,
            driver: None,
            pci_address: None,
        });
    }
    if adapter.macs().is_empty() {
        ports.extend(adapter.ports.iter().map(|(path, port)| {
            let (speed_mbps, link_up) = state(port);
            let told = |key: &str| {
                port.get("Ethernet")?
                    .get(key)?
                    .as_array()?
                    .first()?
                    .as_str()
            };
            Port {
                name: bounded(&format!("{prefix}/{}", name(path, port)), 96),
                mac: told("AssociatedMACAddresses").and_then(canonical_mac),
                speed_mbps,
                link_up,
                driver: None,
                pci_address: None,
            }
        }));
    }
}

/// Whether a function says that it belongs to the port at `path`.
fn serves(function: &Value, path: &str) -> bool {
    ["PhysicalPortAssignment", "PhysicalNetworkPortAssignment"]
        .iter()
        .filter_map(|key| {
            let links = function.get("Links").and_then(|links| links.get(key));
            text(links.or_else(|| function.get(key))?, "@odata.id")
        })
        .any(|one| one.trim_end_matches('/') == path.trim_end_matches('/'))
}

fn state(port: &Value) -> (Option<i64>, Option<bool>) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded in the same expression"
    )]
    let of_gbps = |gbps: f64| (gbps > 0.0 && gbps < 1e6).then_some((gbps * 1000.0) as i64);
    let speed = decimal(port, "CurrentSpeedGbps").and_then(of_gbps);
    (
        speed.or_else(|| number(port, "CurrentLinkSpeedMbps").filter(|speed| *speed > 0)),
        link_up(port),
    )
}

fn link_up(one: &Value) -> Option<bool> {
    match text(one, "LinkStatus")?.to_ascii_lowercase().as_str() {
        "linkup" | "up" => Some(true),
        "linkdown" | "down" | "nolink" => Some(false),
        _ => None,
    }
}

fn name(path: &str, one: &Value) -> String {
    let last = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    bounded(&text(one, "Id").unwrap_or_else(|| last.to_owned()), 96)
}

/// The permanent address, else the one in use.
pub(super) fn mac(one: &Value) -> Option<String> {
    ["PermanentMACAddress", "MACAddress"]
        .iter()
        .find_map(|key| short(one, key, 64).and_then(|mac| canonical_mac(&mac)))
}

/// In lower case with colons; an address of zeros or of ones is none.
fn canonical_mac(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_mac = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let says_nothing =
        digits.bytes().all(|byte| byte == b'0') || digits.bytes().all(|byte| byte == b'f');
    (is_mac && !says_nothing).then(|| {
        let pairs: Vec<&str> = (0..6).map(|pair| &digits[2 * pair..2 * pair + 2]).collect();
        pairs.join(":")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_have_one_form_and_placeholders_are_none() {
        for (text, wanted) in [
            ("B8-3F-D2-00-00-01", Some("b8:3f:d2:00:00:01")),
            ("b83f.d200.0001", Some("b8:3f:d2:00:00:01")),
            ("00:00:00:00:00:00", None),
            ("FF:FF:FF:FF:FF:FF", None),
            ("b8:3f:d2:00:00", None),
            ("b8:3f:d2:00:00:zz", None),
            ("äöüäöü", None),
        ] {
            assert_eq!(canonical_mac(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn an_adapter_adds_to_the_port_that_is_known_and_tells_the_others() {
        let path = |name: &str| format!("/a/NIC/{name}");
        let function = |mac: &str, port: &str| {
            json!({
                "Ethernet": {"MACAddress": mac},
                "Links": {"PhysicalPortAssignment": {"@odata.id": path(port)}},
            })
        };
        let up = json!({"CurrentSpeedGbps": 200, "LinkStatus": "LinkUp"});
        let adapter = Adapter {
            path: "/a/NIC".to_owned(),
            document: json!({}).into(),
            ports: vec![
                (path("0"), up.into()),
                (path("1"), json!({"LinkStatus": "Invaild"}).into()),
            ],
            functions: vec![
                (path("F0"), function("02:00:00:00:00:01", "0").into()),
                (path("F1"), function("02:00:00:00:00:02", "1").into()),
                (path("F2"), json!({"Ethernet": null}).into()),
            ],
        };
        let mut ports = vec![interface(
            "/e/oob",
            &json!({"MACAddress": "02:00:00:00:00:01"}),
        )];
        of_adapter(&adapter, &mut ports);
        assert_eq!(
            (ports[0].speed_mbps, ports[0].link_up),
            (Some(200_000), Some(true))
        );
        assert_eq!(ports[1].name, "NIC/F1");
        assert_eq!((ports[1].speed_mbps, ports[1].link_up), (None, None));
        assert_eq!(ports.len(), 2);
    }

    #[test]
    fn ports_without_addresses_are_told_all_the_same() {
        let adapter = Adapter {
            path: "/a/NIC".to_owned(),
            document: json!({"Id": 7}).into(),
            ports: vec![(
                "/a/NIC/p0".to_owned(),
                json!({"CurrentSpeedGbps": "25.0"}).into(),
            )],
            functions: Vec::new(),
        };
        let mut ports = Vec::new();
        of_adapter(&adapter, &mut ports);
        assert_eq!(
            (ports[0].name.as_str(), ports[0].speed_mbps),
            ("NIC/p0", Some(25_000))
        );
    }
}
