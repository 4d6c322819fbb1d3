//! A host's slots, and the cards in them as far as its BMC sees them.

use std::collections::BTreeMap;

use lockstep_crds::inventory::{CardHealth, CardSeen, Slot, Slots};
use serde_json::Value;

use super::System;
use super::machine::{meaningful, serial_number};
use super::ports::Adapter;
use super::walk::Walk;
use crate::document::{bounded, link, number, references, short, text, truth};
use crate::room::Document;
use crate::vendor::{self, Vendor, Words, declared_capabilities};

const GROUP: &str = "cards";

/// PCIe devices that are read. Chipsets list theirs, too.
const MOST_DEVICES: usize = 48;

/// Network adapters of one chassis that are read.
const MOST_ADAPTERS: usize = 8;

/// Slots that are told.
const MOST_SLOTS: usize = 32;

/// Cards that are told.
const MOST_CARDS: usize = 16;

/// A PCIe device, and one of its functions where that was needed.
#[derive(Debug)]
struct Device {
    path: String,
    document: Document,
    function: Option<Document>,
}

/// Adapters that are in the chassis: the machine's own, and those of cards in it.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    pub(super) own: Vec<Adapter>,
    of_cards: Vec<Adapter>,
}

/// Reads the network adapters in a machine's chassis. On a card, all are its own.
pub(super) async fn adapters(walk: &mut Walk<'_>, system: &System) -> Adapters {
    let mut found = Adapters::default();
    for (_, chassis) in &system.chassis {
        let listed = walk
            .members("ports", chassis, "NetworkAdapters", MOST_ADAPTERS)
            .await
            .unwrap_or_default();
        walk.note_left_out("ports", "network adapters", listed.omitted);
        for (path, document) in listed.documents {
            let adapter = Adapter::read(walk, path, document).await;
            let of_card = !system.is_card() && by_words(&adapter.document).is_some();
            if of_card {
                found.of_cards.push(adapter);
            } else {
                found.own.push(adapter);
            }
        }
    }
    found
}

/// Reads slots and cards.
pub(super) async fn read(
    walk: &mut Walk<'_>,
    system: &System,
    adapters: &Adapters,
) -> (Option<Slots>, Vec<CardSeen>) {
    let mut documents = Vec::new();
    for (_, chassis) in &system.chassis {
        documents.extend(walk.part("slots", link(chassis, "PCIeSlots")).await);
    }
    let listed = documents
        .iter()
        .filter_map(|one| one.get("Slots")?.as_array());
    let slots: Vec<&Value> = listed.flatten().collect();
    let devices = devices(walk, system).await;
    let names = slot_names(&slots, &devices);
    let mut cards = cards(&devices, &adapters.of_cards, &names);
    let beyond = cards.len().saturating_sub(MOST_CARDS);
    walk.note_left_out(GROUP, "cards", i64::try_from(beyond).unwrap_or(0));
    cards.truncate(MOST_CARDS);
    (slot_list(&slots, &devices), cards)
}

async fn devices(walk: &mut Walk<'_>, system: &System) -> Vec<Device> {
    let mut found = Vec::new();
    for (_, chassis) in &system.chassis {
        let room = MOST_DEVICES - found.len();
        let listed = walk.members(GROUP, chassis, "PCIeDevices", room).await;
        let listed = listed.unwrap_or_default();
        walk.note_left_out(GROUP, "PCIe devices", listed.omitted);
        found.extend(listed.documents);
    }
    // Some list them below the system only.
    if found.is_empty()
        && let Some(listed) = system.document.get("PCIeDevices")
    {
        let paths = references(listed);
        let listed = walk.listed(GROUP, &system.path, paths, MOST_DEVICES).await;
        walk.note_left_out(GROUP, "PCIe devices", listed.omitted);
        found = listed.documents;
    }
    let mut devices = Vec::new();
    for (path, document) in found {
        let maker = text(&document, "Manufacturer");
        let mut function = None;
        if by_words(&document).is_some() || vendor::may_be_card(maker.as_deref()) {
            let first = walk.members(GROUP, &document, "PCIeFunctions", 1).await;
            function = first.and_then(|listed| listed.documents.into_iter().next());
        }
        devices.push(Device {
            path,
            document,
            function: function.map(|(_, function)| function),
        });
    }
    devices
}

fn by_words(document: &Value) -> Option<&'static Vendor> {
    vendor::recognise_card(&Words {
        maker: text(document, "Manufacturer"),
        model: text(document, "Model").or_else(|| text(document, "Name")),
        part_number: text(document, "PartNumber"),
        ..Words::default()
    })
}

/// The table of a device, and whether its firmware is broken.
fn recognise(device: &Device) -> Option<(&'static Vendor, Option<CardHealth>)> {
    let id = |key: &str| {
        let told = text(device.function.as_ref()?, key)?;
        u16::from_str_radix(told.trim_start_matches("0x").trim_start_matches("0X"), 16).ok()
    };
    let by_id = id("VendorId")
        .zip(id("DeviceId"))
        .and_then(vendor::recognise_pci);
    match (by_id, by_words(&device.document)) {
        (Some((vendor, recovery)), _) => Some((vendor, recovery.then_some(CardHealth::Recovery))),
        (None, Some(vendor)) => Some((vendor, None)),
        (None, None) => None,
    }
}

/// Device path to the name of its slot.
fn slot_names(slots: &[&Value], devices: &[Device]) -> BTreeMap<String, String> {
    let of_slots = slots.iter().flat_map(|slot| {
        let links = slot.get("Links").and_then(|links| links.get("PCIeDevice"));
        let paths = links.map(references).unwrap_or_default();
        paths
            .into_iter()
            .filter_map(|path| Some((path, slot_name(slot)?)))
    });
    let of_devices = devices.iter().filter_map(|device| {
        Some((
            device.path.clone(),
            slot_name(device.document.get("Slot")?)?,
        ))
    });
    of_slots.chain(of_devices).collect()
}

fn slot_name(slot: &Value) -> Option<String> {
    let place = slot
        .get("Location")
        .and_then(|location| location.get("PartLocation"));
    let label = place.and_then(|place| short(place, "ServiceLabel", 96));
    let number = place.and_then(|place| number(place, "LocationOrdinalValue"));
    label.or_else(|| number.map(|number| format!("Slot {number}")))
}

fn slot_list(slots: &[&Value], devices: &[Device]) -> Option<Slots> {
    let from_devices = devices
        .iter()
        .filter_map(|device| device.document.get("Slot"));
    let listed: Vec<(&Value, Option<bool>)> = if slots.is_empty() {
        from_devices.map(|slot| (slot, Some(true))).collect()
    } else {
        slots.iter().map(|slot| (*slot, in_use(slot))).collect()
    };
    let mut all: Vec<Slot> = listed
        .into_iter()
        .enumerate()
        .map(|(index, (slot, in_use))| Slot {
            name: slot_name(slot).unwrap_or_else(|| format!("#{index}")),
            in_use,
            lanes: number(slot, "Lanes"),
            hot_plug: truth(slot, "HotPluggable"),
            functions: Vec::new(),
        })
        .collect();
    let omitted = i64::try_from(all.len().saturating_sub(MOST_SLOTS)).unwrap_or(0);
    all.truncate(MOST_SLOTS);
    (!all.is_empty()).then_some(Slots {
        slots: all,
        omitted,
    })
}

/// By the devices that it links, else by its state, where it says either.
fn in_use(slot: &Value) -> Option<bool> {
    if let Some(devices) = slot.get("Links").and_then(|links| links.get("PCIeDevice")) {
        return Some(!references(devices).is_empty());
    }
    let state = text(slot.get("Status")?, "State")?;
    match state.as_str() {
        "Absent" => Some(false),
        "Enabled" => Some(true),
        _ => None,
    }
}

/// One for each device that is a card, with what its adapter adds, and one for each adapter of a
/// card that no device stands for.
fn cards(
    devices: &[Device],
    adapters: &[Adapter],
    slots: &BTreeMap<String, String>,
) -> Vec<CardSeen> {
    let mut cards: Vec<(Option<&str>, CardSeen)> = devices
        .iter()
        .filter_map(|device| {
            let (vendor, health) = recognise(device)?;
            let slot = slots.get(&device.path).cloned();
            Some((
                Some(device.path.as_str()),
                seen(&device.document, vendor, slot, health),
            ))
        })
        .collect();
    for adapter in adapters {
        let Some(vendor) = by_words(&adapter.document) else {
            continue;
        };
        let own = seen(&adapter.document, vendor, None, None);
        let linked = controllers(&adapter.document);
        let is_it = |(path, card): &&mut (Option<&str>, CardSeen)| {
            let by_link = path.is_some_and(|path| linked.iter().any(|one| one == path));
            let by_serial = own.serial_number.is_some() && card.serial_number == own.serial_number;
            by_link || by_serial
        };
        let mut macs = adapter.macs();
        macs.truncate(16);
        match cards.iter_mut().find(is_it) {
            Some((_, card)) => {
                card.macs = macs;
                card.serial_number = card.serial_number.take().or(own.serial_number);
                card.part_number = card.part_number.take().or(own.part_number);
            }
            None => cards.push((None, CardSeen { macs, ..own })),
        }
    }
    cards.into_iter().map(|(_, card)| card).collect()
}

/// The devices that the controllers of an adapter link.
fn controllers(adapter: &Value) -> Vec<String> {
    let controllers = adapter.get("Controllers").and_then(Value::as_array);
    let links = controllers.into_iter().flatten();
    links
        .filter_map(|one| one.get("Links")?.get("PCIeDevices"))
        .flat_map(references)
        .collect()
}

fn seen(
    document: &Value,
    vendor: &Vendor,
    slot: Option<String>,
    health: Option<CardHealth>,
) -> CardSeen {
    CardSeen {
        vendor: text(document, "Manufacturer").map(|maker| bounded(&maker, 128)),
        family: vendor.family.map(ToOwned::to_owned),
        serial_number: serial_number(document),
        part_number: meaningful(document, "PartNumber"),
        slot,
        health,
        capabilities: vendor.family.and_then(declared_capabilities).map(Box::new),
        ..CardSeen::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(path: &str, document: Value, function: Option<Value>) -> Device {
        Device {
            path: path.to_owned(),
            document: document.into(),
            function: function.map(Into::into),
        }
    }

    fn bluefield() -> Value {
        json!({
            "Manufacturer": "MLNX", "Model": "D3B6           ", "PartNumber": "900-9D3B6-00CV-AA0  ",
            "SerialNumber": "MT2301X1 ",
            "Slot": {"Lanes": 16, "HotPluggable": false,
                "Location": {"PartLocation": {"ServiceLabel": "Slot 2"}}},
        })
    }

    #[test]
    fn a_card_without_a_redfish_service_is_declared_where_its_host_lists_it() {
        let document = json!({
            "Manufacturer": "Pensando Systems", "Model": "DSC2-200", "SerialNumber": "FPN1",
        });
        let devices = [device("/d/1", document, None)];
        let found = cards(&devices, &[], &slot_names(&[], &devices));
        let declared = found[0].capabilities.as_ref().unwrap();
        assert_eq!(declared.vendor_table, "pensando-dsc");
        assert_eq!(declared.probed_at, None, "nothing was asked");
    }

    #[test]
    fn cards_are_told_from_other_devices_and_have_their_slot() {
        let plain = json!({"Manufacturer": "Broadcom", "Model": "BCM57414", "SerialNumber": "B1"});
        let devices = [
            device("/d/1", bluefield(), None),
            device("/d/2", plain, None),
        ];
        let names = slot_names(&[], &devices);
        let found = cards(&devices, &[], &names);
        let wanted = CardSeen {
            vendor: Some("MLNX".to_owned()),
            family: Some("BlueField-3".to_owned()),
            serial_number: Some("MT2301X1".to_owned()),
            part_number: Some("900-9D3B6-00CV-AA0".to_owned()),
            slot: Some("Slot 2".to_owned()),
            ..CardSeen::default()
        };
        assert_eq!(found, [wanted]);
        let slots = slot_list(&[], &devices).unwrap();
        assert_eq!(slots.slots[0].name, "Slot 2");
        assert_eq!(
            (slots.slots[0].lanes, slots.slots[0].hot_plug),
            (Some(16), Some(false))
        );
    }

    #[test]
    fn a_pci_id_tells_a_card_whose_words_do_not_and_one_that_is_broken() {
        let silent = json!({"Manufacturer": "Mellanox Technologies", "Name": "Network Controller"});
        let function = |id: &str| json!({"VendorId": "0x15B3", "DeviceId": id});
        let healthy = device("/d/1", silent.clone(), Some(function("0xA2DC")));
        let broken = device("/d/2", silent.clone(), Some(function("021c")));
        let other = device("/d/3", silent, Some(function("0x1017")));
        let found = cards(&[healthy, broken, other], &[], &BTreeMap::new());
        let told: Vec<_> = found
            .iter()
            .map(|card| (card.family.as_deref(), card.health.clone()))
            .collect();
        let family = Some("BlueField-3");
        assert_eq!(told, [(family, None), (family, Some(CardHealth::Recovery))]);
    }

    #[test]
    fn an_adapter_gives_its_card_the_addresses_and_an_unlisted_card_is_one_all_the_same() {
        let function = json!({"Ethernet": {"MACAddress": "02:00:00:00:00:0A"}});
        let adapter = |document: Value| Adapter {
            path: "/n/1".to_owned(),
            document: document.into(),
            ports: Vec::new(),
            functions: vec![("/f".to_owned(), function.clone().into())],
        };
        let devices = [device("/d/1", bluefield(), None)];
        let mut linked = bluefield();
        linked["SerialNumber"] = Value::Null;
        linked["Controllers"] = json!([{"Links": {"PCIeDevices": [{"@odata.id": "/d/1"}]}}]);
        for adapter in [adapter(bluefield()), adapter(linked)] {
            let found = cards(&devices, &[adapter], &BTreeMap::new());
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].macs, ["02:00:00:00:00:0a"]);
        }
        let alone = cards(&[], &[adapter(bluefield())], &BTreeMap::new());
        assert_eq!(alone[0].serial_number.as_deref(), Some("MT2301X1"));
    }

    #[test]
    fn slots_tell_what_is_in_them() {
        let listed = json!([
            {"Location": {"PartLocation": {"LocationOrdinalValue": 3}}, "HotPluggable": true,
                "Links": {"PCIeDevice": [{"@odata.id": "/d/1"}]}},
            {"Links": {"PCIeDevice": []}},
            {"Status": {"State": "Absent"}},
            {"Lanes": "8"},
        ]);
        let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
        let slots = slot_list(&listed, &[]).unwrap().slots;
        let used: Vec<_> = slots.iter().map(|slot| slot.in_use).collect();
        assert_eq!(used, [Some(true), Some(false), Some(false), None]);
        assert_eq!(
            (slots[0].name.as_str(), slots[3].lanes),
            ("Slot 3", Some(8))
        );
        let names = slot_names(&listed, &[]);
        assert_eq!(names.get("/d/1").map(String::as_str), Some("Slot 3"));
    }
}
