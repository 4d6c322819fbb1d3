//! What a ComputerSystem stands for: a card, a host, or nothing that tells. Pure.

use lockstep_crds::report::MachineRole;
use serde_json::Value;

use crate::document::{bounded, text};
use crate::vendor::{self, Kind, Vendor, Words};

/// Chassis in which servers are built (DSP0268 `ChassisType`).
const HOST_CHASSIS: [&str; 10] = [
    "Rack",
    "RackMount",
    "RackGroup",
    "Blade",
    "BladeServer",
    "Sled",
    "StandAlone",
    "Tower",
    "Enclosure",
    "Shelf",
];

/// Chassis in which cards are built.
const CARD_CHASSIS: [&str; 3] = ["Card", "Component", "Module"];

/// What a system is, and whose table it is read by.
#[derive(Debug)]
pub(super) struct Recognised {
    pub(super) role: MachineRole,
    /// What tells so, for people.
    pub(super) by: String,
    pub(super) vendor: &'static Vendor,
}

/// `chassis` are those that hold the system.
pub(super) fn recognise(root: &Value, system: &Value, chassis: &[&Value]) -> Recognised {
    let words = Words {
        service: text(root, "Name"),
        product: text(root, "Product"),
        maker: text(system, "Manufacturer"),
        model: text(system, "Model"),
        part_number: text(system, "PartNumber"),
        system_id: text(system, "Id"),
    };
    let known = vendor::recognise(&words);
    let told = |role: Kind, by: &str| {
        let vendor = known.as_ref().map(|(vendor, _)| *vendor);
        Recognised {
            role: role.role(),
            by: bounded(by, 256),
            vendor: vendor
                .filter(|vendor| vendor.kind == role)
                .unwrap_or_else(|| vendor::generic(role)),
        }
    };
    let kind = text(system, "SystemType");
    if kind.as_deref() == Some("DPU") {
        return told(Kind::Card, "SystemType DPU");
    }
    if let Some((vendor, by)) = &known {
        return told(vendor.kind, by);
    }
    let types: Vec<String> = chassis
        .iter()
        .filter_map(|chassis| text(chassis, "ChassisType"))
        .collect();
    if let Some(host) = types
        .iter()
        .find(|kind| HOST_CHASSIS.contains(&kind.as_str()))
    {
        return told(Kind::Host, &format!("ChassisType {host}"));
    }
    let is_card = |one: &&&Value| {
        text(one, "ChassisType").is_some_and(|kind| CARD_CHASSIS.contains(&kind.as_str()))
            && one.get("NetworkAdapters").is_some()
    };
    if types
        .iter()
        .all(|kind| CARD_CHASSIS.contains(&kind.as_str()))
        && let Some(card) = chassis.iter().find(is_card)
    {
        let kind = text(card, "ChassisType").unwrap_or_default();
        return told(
            Kind::Card,
            &format!("ChassisType {kind} with network adapters"),
        );
    }
    Recognised {
        role: MachineRole::Unclear,
        by: match kind {
            Some(kind) => format!(
                "SystemType {}, and no chassis that tells",
                bounded(&kind, 64)
            ),
            None => "neither type, model, maker nor chassis tells".to_owned(),
        },
        vendor: vendor::generic(Kind::Host),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(
        root: &Value,
        system: &Value,
        chassis: &[&Value],
    ) -> (MachineRole, String, &'static str) {
        let found = recognise(root, system, chassis);
        (found.role, found.by, found.vendor.table)
    }

    #[test]
    fn the_standard_comes_first_then_what_vendors_say_then_the_chassis() {
        let nobody = json!({});
        let rack = json!({"ChassisType": "RackMount"});
        let card = json!({"ChassisType": "Card", "NetworkAdapters": {"@odata.id": "/n"}});
        let bare = json!({"ChassisType": "Card"});
        let system = |text: &str| json!({"SystemType": text});
        for (system, chassis, role_wanted, by, table) in [
            (
                system("DPU"),
                vec![&rack],
                MachineRole::Card,
                "SystemType DPU",
                "generic",
            ),
            (
                json!({"SystemType": "Physical", "Model": " BlueField-3 SmartNIC Main Card "}),
                vec![],
                MachineRole::Card,
                "Model BlueField-3 SmartNIC Main Card",
                "bluefield-3",
            ),
            (
                json!({"SystemType": "DPU", "Model": "BlueField-4 DPU"}),
                vec![],
                MachineRole::Card,
                "SystemType DPU",
                "bluefield-4",
            ),
            (
                json!({"Manufacturer": "HPE", "SystemType": "Physical"}),
                vec![&card],
                MachineRole::Host,
                "Manufacturer HPE",
                "hpe",
            ),
            (
                system("Physical"),
                vec![&bare, &rack],
                MachineRole::Host,
                "ChassisType RackMount",
                "generic",
            ),
            (
                system("Physical"),
                vec![&card],
                MachineRole::Card,
                "ChassisType Card with network adapters",
                "generic",
            ),
        ] {
            let wanted = (role_wanted, by.to_owned(), table);
            assert_eq!(role(&nobody, &system, &chassis), wanted);
        }
    }

    #[test]
    fn what_tells_nothing_is_unclear() {
        let bare = json!({"ChassisType": "Card"});
        for (system, chassis) in [
            (json!({}), vec![]),
            (
                json!({"SystemType": 8, "Model": null, "Manufacturer": ["Dell"]}),
                vec![],
            ),
            (json!({"SystemType": "Physical"}), vec![&bare]),
        ] {
            let (role, by, _) = role(&json!({}), &system, &chassis);
            assert_eq!(role, MachineRole::Unclear);
            assert!(!by.is_empty());
        }
    }
}
