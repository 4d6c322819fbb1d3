//! Chassis, and the PCIe devices in them: on a host, these are its cards, as
//! far as its BMC sees them. Card and host are paired by their serial numbers.

use serde_json::{Value, json};

use super::{Node, ROOT, View, collection, healthy, kind, link, network};
use crate::domain::Link;
use crate::personality::Role;
use crate::reset::Power;

pub(super) fn find(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let all = view.personality.ids.chassis;
    if rest.is_empty() {
        let ids: Vec<String> = all.iter().map(|(id, _)| (*id).to_owned()).collect();
        return Some(collection(
            "Chassis",
            "Chassis",
            &format!("{ROOT}/Chassis"),
            &ids,
        ));
    }
    let (id, rest) = rest.split_first()?;
    let position = all.iter().position(|(one, _)| one == id)?;
    let holds_machine = position == 0;
    match rest {
        [] => Some(chassis(view, position)),
        ["Assembly"] if holds_machine => Some(assembly(view, id)),
        ["PCIeDevices", rest @ ..] if holds_machine => devices(view, id, rest),
        ["NetworkAdapters", rest @ ..] if holds_machine => {
            let cards = slots(view).into_iter();
            let cards: Vec<_> = cards
                .map(|slot| {
                    (
                        format!("Slot{}", slot.number),
                        View::new(view.domain, slot.card),
                    )
                })
                .collect();
            network::adapters(view, &cards, id, rest)
        }
        _ => None,
    }
}

fn chassis(view: &View<'_>, position: usize) -> Node {
    let (id, of_type) = view.personality.ids.chassis[position];
    let hardware = &view.personality.hardware;
    let path = format!("{ROOT}/Chassis/{id}");
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": kind("Chassis"),
        "Id": id,
        "Name": format!("Chassis {id}"),
        "ChassisType": of_type,
        "Manufacturer": hardware.manufacturer,
        "Model": hardware.model,
        "PartNumber": hardware.part_number,
        "SKU": hardware.sku,
        "SerialNumber": view.machine.serial,
        "UUID": view.machine.uuid,
        "PowerState": if view.machine.power == Power::Off { "Off" } else { "On" },
        "Status": healthy(),
    });
    if view.personality.offers.copies_in == Some(id) {
        let copies = view.domain.now < view.machine.bmc.copies_until;
        let status = if copies { "InProgress" } else { "Completed" };
        body["Oem"] = json!({"Nvidia": {"BackgroundCopyStatus": status}});
    }
    if position == 0 {
        body["Assembly"] = link(format!("{path}/Assembly"));
        body["PCIeDevices"] = link(format!("{path}/PCIeDevices"));
        body["NetworkAdapters"] = link(format!("{path}/NetworkAdapters"));
        body["Links"] = json!({
            "ComputerSystems": [link(view.system())],
            "ManagedBy": [link(view.manager())],
        });
    } else {
        body["Links"] = json!({"ManagedBy": [link(view.manager())]});
    }
    Node::read(body)
}

/// The date of manufacture of every machine.
const MADE: &str = "2025-02-03T00:00:00Z";

/// What the chassis is assembled from: its board.
fn assembly(view: &View<'_>, chassis: &str) -> Node {
    let hardware = &view.personality.hardware;
    let path = format!("{ROOT}/Chassis/{chassis}/Assembly");
    Node::read(json!({
        "@odata.id": path,
        "@odata.type": kind("Assembly"),
        "Id": "Assembly",
        "Name": "Assembly",
        "Assemblies": [{
            "@odata.id": format!("{path}#/Assemblies/0"),
            "MemberId": "0",
            "Name": "Board",
            "Producer": hardware.manufacturer,
            "Model": hardware.model,
            "PartNumber": hardware.part_number,
            "SKU": hardware.sku,
            "SerialNumber": view.machine.serial,
            "EngineeringChangeLevel": "A1",
            "ProductionDate": MADE,
            "Status": healthy(),
        }],
        "Assemblies@odata.count": 1,
    }))
}

/// The slots of a host.
fn slots<'a>(view: &View<'a>) -> Vec<&'a Link> {
    let links = view.domain.links.iter();
    links.filter(|link| link.host == view.index).collect()
}

fn devices(view: &View<'_>, chassis: &str, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/Chassis/{chassis}/PCIeDevices");
    match view.personality.role {
        // A card sees itself.
        Role::Card => match rest {
            [] => Some(collection(
                "PCIeDevice",
                "PCIe Device",
                &path,
                &["Self".to_owned()],
            )),
            ["Self", rest @ ..] => device(view, &path, "Self", None, rest),
            _ => None,
        },
        Role::Host => {
            let slots = slots(view);
            let name = |slot: &Link| format!("Slot{}", slot.number);
            match rest {
                [] => {
                    let ids: Vec<String> = slots.iter().map(|slot| name(slot)).collect();
                    Some(collection("PCIeDevice", "PCIe Device", &path, &ids))
                }
                [id, rest @ ..] => {
                    let slot = slots.into_iter().find(|slot| name(slot) == *id)?;
                    let card = View::new(view.domain, slot.card);
                    device(&card, &path, id, Some(slot.number), rest)
                }
            }
        }
    }
}

/// A card as a PCIe device. `slot`: where it sits, seen from the host.
fn device(card: &View<'_>, path: &str, id: &str, slot: Option<u32>, rest: &[&str]) -> Option<Node> {
    let path = format!("{path}/{id}");
    let hardware = &card.personality.hardware;
    let ports = hardware.ports.len();
    match rest {
        [] => {
            let mut body = json!({
                "@odata.id": path,
                "@odata.type": kind("PCIeDevice"),
                "Id": id,
                "Name": hardware.model,
                "DeviceType": "MultiFunction",
                "Manufacturer": hardware.manufacturer,
                "Model": hardware.model,
                "PartNumber": hardware.part_number,
                "SKU": hardware.sku,
                "SerialNumber": card.machine.serial,
                "FirmwareVersion": card.machine.firmware.last().map(|one| one.version.clone()),
                "PCIeInterface": {
                    "PCIeType": "Gen4", "MaxPCIeType": "Gen5", "LanesInUse": 16, "MaxLanes": 16,
                },
                "PCIeFunctions": link(format!("{path}/PCIeFunctions")),
                "Status": if card.machine.power == Power::Off {
                    json!({"State": "UnavailableOffline", "Health": "OK"})
                } else {
                    healthy()
                },
            });
            if let Some(number) = slot {
                body["Slot"] = json!({
                    "SlotType": "FullLength",
                    "Lanes": 16,
                    "PCIeType": "Gen5",
                    "HotPluggable": false,
                    "Location": {"PartLocation": {
                        "LocationType": "Slot",
                        "LocationOrdinalValue": number,
                        "ServiceLabel": format!("Slot {number}"),
                    }},
                });
            }
            Some(Node::read(body))
        }
        ["PCIeFunctions"] => {
            let ids: Vec<String> = (0..ports).map(|port| port.to_string()).collect();
            Some(collection(
                "PCIeFunction",
                "PCIe Function",
                &format!("{path}/PCIeFunctions"),
                &ids,
            ))
        }
        ["PCIeFunctions", id] => {
            let number: usize = id.parse().ok().filter(|number| *number < ports)?;
            Some(Node::read(function(card, &path, number)))
        }
        _ => None,
    }
}

fn function(card: &View<'_>, device: &str, number: usize) -> Value {
    let hardware = &card.personality.hardware;
    let (vendor, id) = hardware.pci;
    // In recovery it is still the same card, under another id.
    let recovery = hardware.recovery_pci.filter(|_| card.machine.livefish);
    let id = recovery.unwrap_or(id);
    json!({
        "@odata.id": format!("{device}/PCIeFunctions/{number}"),
        "@odata.type": kind("PCIeFunction"),
        "Id": number.to_string(),
        "Name": format!("Function {number}"),
        "FunctionId": number,
        "FunctionType": "Physical",
        "DeviceClass": "NetworkController",
        "ClassCode": "0x020000",
        "VendorId": format!("0x{vendor:04X}"),
        "DeviceId": format!("0x{id:04X}"),
        "Links": {"PCIeDevice": link(device)},
        "Status": healthy(),
    })
}
