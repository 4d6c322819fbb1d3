//! Who made a machine and how it is told apart.

use lockstep_crds::identity::{self, meaningful_serial, meaningful_uuid};
use lockstep_crds::inventory::SystemFacts;
use lockstep_crds::report::MachineRole;
use serde_json::Value;

use super::System;
use super::walk::Walk;
use crate::document::{bounded, last_segment, link, references, short, text};
use crate::room::Document;

/// Reads what the chassis add, and puts it together.
pub(super) async fn read(walk: &mut Walk<'_>, system: &System) -> (SystemFacts, Vec<String>) {
    let mut assemblies = Vec::new();
    for (_, chassis) in system.chassis.iter().filter(|(_, one)| !is_shared(one)) {
        if let Some(assembly) = walk.part("system", link(chassis, "Assembly")).await {
            assemblies.push(assembly);
        }
    }
    facts(system, &assemblies)
}

/// The facts, and what contradicts itself.
fn facts(system: &System, assemblies: &[Document]) -> (SystemFacts, Vec<String>) {
    let document: &Value = &system.document;
    // What several systems share tells none of them apart.
    let chassis = system.chassis.iter().map(|(_, chassis)| &**chassis);
    let chassis: Vec<&Value> = chassis.filter(|chassis| !is_shared(chassis)).collect();
    let parts: Vec<&Value> = assemblies
        .iter()
        .filter_map(|assembly| assembly.get("Assemblies")?.as_array())
        .flatten()
        .collect();
    let from = |sources: &[&Value], keys: &[&str]| {
        sources.iter().find_map(|source| {
            let mut values = keys.iter().filter_map(|key| meaningful(source, key));
            values.next()
        })
    };
    let all = || std::iter::once(document).chain(chassis.iter().copied());
    let of_all: Vec<&Value> = all().collect();
    let with_parts: Vec<&Value> = chassis
        .iter()
        .copied()
        .chain(parts.iter().copied())
        .collect();

    let own_serial = serial_number(document);
    let of_chassis = chassis.iter().find_map(|chassis| serial_number(chassis));
    let mut contradictions = Vec::new();
    if let (MachineRole::Card, Some(own), Some(other)) = (&system.role, &own_serial, &of_chassis)
        && own != other
    {
        contradictions.push(bounded(
            &format!("the system says serial number {own}, its chassis {other}"),
            256,
        ));
    }
    let named = system.vendor.part_number_in.iter().filter_map(|id| {
        let is_it = |path: &str| last_segment(path) == Some(*id);
        let mut all = system.chassis.iter();
        let (_, chassis) = all.find(|(path, one)| is_it(path) && !is_shared(one))?;
        meaningful(chassis, "PartNumber")
    });
    let part_number = named
        .chain(from(&of_all, &["PartNumber"]))
        .chain(from(&parts, &["PartNumber"]))
        .next();
    let facts = SystemFacts {
        vendor: from(&of_all, &["Manufacturer"]).map(|text| bounded(&text, 128)),
        model: from(&of_all, &["Model"]).map(|text| bounded(&text, 128)),
        family: system.vendor.family.map(ToOwned::to_owned),
        serial_number: own_serial.or(of_chassis.filter(|_| system.is_card())),
        system_uuid: text(document, "UUID").and_then(|uuid| meaningful_uuid(&uuid)),
        device_serial: None,
        part_number,
        sku: from(&of_all, &["SKU"]),
        asset_tag: from(&of_all, &["AssetTag"]),
        hardware_revision: from(&with_parts, &["Version", "EngineeringChangeLevel"]),
        manufactured: from(&with_parts, &["ProductionDate"]).filter(|date| is_date(date)),
    };
    (facts, contradictions)
}

/// A text that says something: no placeholder, and cut to the length that the API takes.
pub(super) fn meaningful(document: &Value, key: &str) -> Option<String> {
    short(document, key, 64).filter(|value| identity::meaningful(value).is_some())
}

/// The serial number, if it tells a part from others.
pub(super) fn serial_number(document: &Value) -> Option<String> {
    whole_serial(&text(document, "SerialNumber")?)
}

/// A serial number without its padding. One that is longer than the API takes is none: cut, two
/// could be one.
pub(super) fn whole_serial(told: &str) -> Option<String> {
    let serial = meaningful_serial(told)?;
    (serial.chars().count() <= 64).then(|| serial.to_owned())
}

/// Whether a chassis holds more than one system.
fn is_shared(chassis: &Value) -> bool {
    let links = chassis.get("Links");
    let held = links.and_then(|links| links.get("ComputerSystems"));
    held.is_some_and(|held| references(held).len() > 1)
}

/// Not the date of a clock that was never set.
fn is_date(text: &str) -> bool {
    !["0000", "0001", "1970"]
        .iter()
        .any(|year| text.starts_with(year))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::explore::tests::system;

    #[test]
    fn the_part_number_of_a_bluefield_is_that_of_its_bmcs_chassis() {
        let chassis = |id: &str, part: &str| {
            (
                format!("/redfish/v1/Chassis/{id}"),
                json!({"PartNumber": part, "SerialNumber": "MT2301X1"}).into(),
            )
        };
        let mut machine = system(json!({
            "Model": "BlueField-3 SmartNIC Main Card", "PartNumber": "SMBIOS-1",
            "SerialNumber": " MT2301X1  ", "UUID": "0123456789ABCDEF0123456789ABCDEF",
        }));
        machine.chassis = vec![
            chassis("Card1", "CARD-1"),
            chassis("Bluefield_BMC", "900-9D3B6-00CV-AA0 "),
        ];
        let (facts, contradictions) = facts(&machine, &[]);
        assert_eq!(facts.part_number.as_deref(), Some("900-9D3B6-00CV-AA0"));
        assert_eq!(facts.serial_number.as_deref(), Some("MT2301X1"));
        assert_eq!(facts.family.as_deref(), Some("BlueField-3"));
        let uuid = Some("01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(facts.system_uuid.as_deref(), uuid);
        assert!(contradictions.is_empty());

        machine.chassis.pop();
        assert_eq!(
            self::facts(&machine, &[]).0.part_number.as_deref(),
            Some("CARD-1")
        );
        machine.chassis.clear();
        assert_eq!(
            self::facts(&machine, &[]).0.part_number.as_deref(),
            Some("SMBIOS-1")
        );
    }

    #[test]
    fn junk_is_left_out_and_the_chassis_steps_in() {
        let mut machine = system(json!({
            "SystemType": "DPU", "SerialNumber": "Unspecified System Serial Number",
            "UUID": "00000000-0000-0000-0000-000000000000", "AssetTag": "", "SKU": "N/A",
            "PartNumber": 7, "Manufacturer": null,
        }));
        let chassis = json!({"SerialNumber": "EXD7", "Manufacturer": "Example", "Version": "A3"});
        machine.chassis = vec![("/redfish/v1/Chassis/Card".to_owned(), chassis.into())];
        let assembly = json!({"Assemblies": [
            {"ProductionDate": "0000-00-00T00:00:00Z", "PartNumber": "EX-1"}, null,
        ]});
        let (facts, contradictions) = facts(&machine, &[assembly.into()]);
        let wanted = SystemFacts {
            vendor: Some("Example".to_owned()),
            serial_number: Some("EXD7".to_owned()),
            part_number: Some("EX-1".to_owned()),
            hardware_revision: Some("A3".to_owned()),
            ..SystemFacts::default()
        };
        assert_eq!((facts, contradictions), (wanted, vec![]));
    }

    #[test]
    fn a_chassis_that_several_share_and_that_of_a_host_give_no_serial_number() {
        let mut machine = system(json!({"SystemType": "DPU"}));
        let held = json!([{"@odata.id": "/s/1"}, {"@odata.id": "/s/2"}]);
        let mut chassis = json!({"SerialNumber": "437XR1138R2", "SKU": "8675309",
            "Links": {"ComputerSystems": held}});
        machine.chassis = vec![("/redfish/v1/Chassis/1".to_owned(), chassis.clone().into())];
        let (found, _) = facts(&machine, &[]);
        assert_eq!((found.serial_number, found.sku), (None, None));
        chassis["Links"] = json!({"ComputerSystems": [{"@odata.id": "/s/1"}]});
        machine.chassis[0].1 = chassis.into();
        let (found, _) = facts(&machine, &[]);
        assert_eq!(found.serial_number.as_deref(), Some("437XR1138R2"));
        machine.role = MachineRole::Host;
        let (found, _) = facts(&machine, &[]);
        assert_eq!(
            (found.serial_number, found.sku.as_deref()),
            (None, Some("8675309"))
        );
    }

    #[test]
    fn two_serial_numbers_of_one_card_are_a_contradiction_and_those_of_a_host_are_not() {
        let document = json!({"SystemType": "DPU", "SerialNumber": "A1B2"});
        let mut machine = system(document.clone());
        let other = json!({"SerialNumber": "C3D4", "ChassisType": "RackMount"});
        machine.chassis = vec![("/redfish/v1/Chassis/1".to_owned(), other.into())];
        let (found, contradictions) = facts(&machine, &[]);
        assert_eq!(found.serial_number.as_deref(), Some("A1B2"));
        assert!(contradictions[0].contains("A1B2") && contradictions[0].contains("C3D4"));
        machine.role = MachineRole::Host;
        assert!(facts(&machine, &[]).1.is_empty());
    }
}
