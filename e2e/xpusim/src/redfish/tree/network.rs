//! Network interfaces of the system and of the manager, and adapters.

use serde_json::{Value, json};

use super::{Node, ROOT, View, collection, healthy, kind, link, numbered};
use crate::machine::digits;
use crate::reset::Power;

/// A MAC address that belongs to the machine for good; locally administered.
fn mac(view: &View<'_>, port: &str) -> String {
    let hex = digits(&view.machine.name, port, 10);
    let pairs: Vec<&str> = hex
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| std::str::from_utf8(pair).ok())
        .collect();
    format!("02:{}", pairs.join(":"))
}

fn up(view: &View<'_>) -> bool {
    view.machine.power == Power::On
}

/// `EthernetInterfaces` of the system.
pub(super) fn interfaces(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/EthernetInterfaces", view.system());
    let ports = view.personality.hardware.ports;
    match rest {
        [] => {
            let ids: Vec<String> = ports.iter().map(|(id, _)| (*id).to_owned()).collect();
            Some(collection(
                "EthernetInterface",
                "Ethernet Interface",
                &path,
                &ids,
            ))
        }
        [id] => {
            let (id, gbit) = ports.iter().find(|(one, _)| one == id)?;
            let mut body = interface(view, &path, id);
            body["SpeedMbps"] = (gbit * 1000).into();
            body["LinkStatus"] = if up(view) { "LinkUp" } else { "LinkDown" }.into();
            Some(Node::read(body))
        }
        _ => None,
    }
}

/// `EthernetInterfaces` of the manager.
pub(super) fn manager_interfaces(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/EthernetInterfaces", view.manager());
    match rest {
        [] => {
            let ids = ["eth0".to_owned()];
            Some(collection(
                "EthernetInterface",
                "Ethernet Interface",
                &path,
                &ids,
            ))
        }
        ["eth0"] => {
            let mut body = interface(view, &path, "eth0");
            body["MACAddress"] = mac(view, "bmc").into();
            body["PermanentMACAddress"] = mac(view, "bmc").into();
            body["SpeedMbps"] = 1000.into();
            body["LinkStatus"] = "LinkUp".into();
            body["HostName"] = view.machine.bmc.network_host_name.clone().into();
            Some(Node::read(body))
        }
        _ => None,
    }
}

fn interface(view: &View<'_>, path: &str, id: &str) -> Value {
    json!({
        "@odata.id": format!("{path}/{id}"),
        "@odata.type": kind("EthernetInterface"),
        "Id": id,
        "Name": format!("Ethernet interface {id}"),
        "MACAddress": mac(view, id),
        "PermanentMACAddress": mac(view, id),
        "InterfaceEnabled": true,
        "FullDuplex": true,
        "Status": healthy(),
    })
}

/// `NetworkAdapters` of a chassis: the machine's own, and those of the cards in it, by the names
/// of their slots.
pub(super) fn adapters(
    view: &View<'_>,
    cards: &[(String, View<'_>)],
    chassis: &str,
    rest: &[&str],
) -> Option<Node> {
    let path = format!("{ROOT}/Chassis/{chassis}/NetworkAdapters");
    match rest {
        [] => {
            let own = std::iter::once("NIC".to_owned());
            let ids: Vec<String> = own.chain(cards.iter().map(|(id, _)| id.clone())).collect();
            Some(collection("NetworkAdapter", "Network Adapter", &path, &ids))
        }
        ["NIC", rest @ ..] => adapter(view, &path, "NIC", rest),
        [id, rest @ ..] => {
            let (id, card) = cards.iter().find(|(one, _)| one == id)?;
            adapter(card, &path, id, rest)
        }
    }
}

/// The adapter of a machine, by whatever name its owner calls it.
fn adapter(view: &View<'_>, path: &str, id: &str, rest: &[&str]) -> Option<Node> {
    let hardware = &view.personality.hardware;
    let ports = hardware.ports;
    let path = format!("{path}/{id}");
    match rest {
        [] => Some(Node::read(json!({
            "@odata.id": path,
            "@odata.type": kind("NetworkAdapter"),
            "Id": id,
            "Name": "Network adapter",
            "Manufacturer": hardware.manufacturer,
            "Model": hardware.model,
            "PartNumber": hardware.part_number,
            "SKU": hardware.sku,
            "SerialNumber": view.machine.serial,
            "Ports": link(format!("{path}/Ports")),
            "NetworkDeviceFunctions": link(format!("{path}/NetworkDeviceFunctions")),
            "Status": healthy(),
        }))),
        ["Ports"] => {
            let ids: Vec<String> = (0..ports.len()).map(|port| format!("Port{port}")).collect();
            Some(collection("Port", "Port", &format!("{path}/Ports"), &ids))
        }
        ["Ports", id] => {
            let (_, gbit) = ports[numbered(id, "Port", ports.len())?];
            Some(Node::read(json!({
                "@odata.id": format!("{path}/Ports/{id}"),
                "@odata.type": kind("Port"),
                "Id": id,
                "Name": format!("Port {id}"),
                "PortProtocol": "Ethernet",
                "PortType": "BidirectionalPort",
                "CurrentSpeedGbps": if up(view) { gbit } else { 0 },
                "MaxSpeedGbps": gbit,
                "LinkStatus": if up(view) { "LinkUp" } else { "LinkDown" },
                "Status": healthy(),
            })))
        }
        ["NetworkDeviceFunctions"] => {
            let ids: Vec<String> = (0..ports.len())
                .map(|port| format!("Function{port}"))
                .collect();
            let path = format!("{path}/NetworkDeviceFunctions");
            Some(collection(
                "NetworkDeviceFunction",
                "Network Device Function",
                &path,
                &ids,
            ))
        }
        ["NetworkDeviceFunctions", id] => {
            let port = numbered(id, "Function", ports.len())?;
            Some(Node::read(json!({
                "@odata.id": format!("{path}/NetworkDeviceFunctions/{id}"),
                "@odata.type": kind("NetworkDeviceFunction"),
                "Id": id,
                "Name": format!("Network device function {port}"),
                "NetDevFuncType": "Ethernet",
                "NetDevFuncCapabilities": ["Ethernet"],
                "Ethernet": {"MACAddress": mac(view, ports[port].0)},
                "Status": healthy(),
            })))
        }
        _ => None,
    }
}
