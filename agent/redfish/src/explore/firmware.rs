//! Firmware components and their versions, as told.

use lockstep_crds::inventory::{FirmwareComponent, FirmwareList};
use serde_json::Value;

use super::System;
use super::walk::{Listed, Walk};
use crate::document::{bounded, last_segment, link, short, text, truth};

const GROUP: &str = "firmware";

/// Components that are read.
pub(crate) const MOST: usize = 32;

pub(super) async fn read(walk: &mut Walk<'_>, system: &System) -> Option<FirmwareList> {
    let service = link(walk.link().root(), "UpdateService");
    let listed = match walk.part(GROUP, service).await {
        Some(service) => {
            walk.members(GROUP, &service, "FirmwareInventory", MOST)
                .await
        }
        None => None,
    };
    let list = match listed {
        Some(listed) => list(&listed),
        None => FirmwareList {
            components: without_inventory(
                system.manager.as_ref().map(|(_, manager)| &**manager),
                &system.document,
            ),
            omitted: 0,
        },
    };
    (!list.components.is_empty() || list.omitted > 0).then_some(list)
}

fn list(listed: &Listed) -> FirmwareList {
    let mut components: Vec<FirmwareComponent> = listed
        .documents
        .iter()
        .filter_map(|(path, item)| component(path, item))
        .collect();
    components.sort_by(|one, other| one.name.cmp(&other.name));
    FirmwareList {
        components,
        omitted: listed.omitted,
    }
}

/// A component, as its SoftwareInventory tells; `None` for what neither runs nor waits.
pub(crate) fn component(path: &str, item: &Value) -> Option<FirmwareComponent> {
    let last = last_segment(path)?;
    let name = text(item, "Id").unwrap_or_else(|| last.to_owned());
    // What an iDRAC could go back to: it neither runs nor waits.
    if name.starts_with("Previous-") {
        return None;
    }
    let state = item.get("Status").and_then(|status| text(status, "State"));
    let version = short(item, "Version", 128);
    // A spare is stored and does not run.
    let (running, spare) = match state.as_deref() {
        Some("StandbySpare") => (None, version),
        Some(_) | None => (version, None),
    };
    let oem = item.get("Oem").and_then(Value::as_object);
    let of_oem = oem.and_then(|oem| {
        oem.values()
            .find_map(|oem| short(oem, "PendingVersion", 128))
    });
    let pending = short(item, "PendingVersion", 128).or(of_oem).or(spare);
    Some(FirmwareComponent {
        name: bounded(&name, 96),
        pending: pending.filter(|pending| running.as_ref() != Some(pending)),
        running,
        updateable: truth(item, "Updateable"),
    })
}

/// What system and manager tell by themselves.
pub(crate) fn without_inventory(manager: Option<&Value>, system: &Value) -> Vec<FirmwareComponent> {
    let one = |name: &str, running: String| FirmwareComponent {
        name: bounded(name, 96),
        running: Some(running),
        pending: None,
        updateable: None,
    };
    let mut components = Vec::new();
    if let Some(manager) = manager {
        let version = short(manager, "FirmwareVersion", 128);
        components.extend(version.map(|version| one("BMC", version)));
        let further = manager.get("AdditionalFirmwareVersions");
        for (name, version) in further.and_then(Value::as_object).into_iter().flatten() {
            if let Some(version) = version
                .as_str()
                .map(str::trim)
                .filter(|text| !text.is_empty())
            {
                components.push(one(name, bounded(version, 128)));
            }
        }
    }
    let bios = short(system, "BiosVersion", 128);
    components.extend(bios.map(|version| one("BIOS", version)));
    components.truncate(MOST);
    components
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::explore::tests::system;

    fn of(item: &Value) -> Option<FirmwareComponent> {
        component("/redfish/v1/UpdateService/FirmwareInventory/X", item)
    }

    #[test]
    fn versions_are_taken_as_they_are_told() {
        let told =
            of(&json!({"Id": "BMC_Firmware", "Version": "BF-24.10-10 ", "Updateable": true}));
        let wanted = FirmwareComponent {
            name: "BMC_Firmware".to_owned(),
            running: Some("BF-24.10-10".to_owned()),
            pending: None,
            updateable: Some(true),
        };
        assert_eq!(told, Some(wanted));
        let odd = of(&json!({"Id": 12, "Version": 11, "Updateable": null})).unwrap();
        assert_eq!((odd.name.as_str(), odd.running), ("X", None));
    }

    #[test]
    fn what_waits_is_told_apart_from_what_runs() {
        let pending =
            of(&json!({"Version": "1", "Oem": {"Maker": {"PendingVersion": "2"}}})).unwrap();
        assert_eq!(pending.running.as_deref(), Some("1"));
        assert_eq!(pending.pending.as_deref(), Some("2"));
        let same = of(&json!({"Version": "1", "PendingVersion": "1"})).unwrap();
        assert_eq!(same.pending, None);
        let spare = of(&json!({"Version": "3", "Status": {"State": "StandbySpare"}})).unwrap();
        assert_eq!((spare.running, spare.pending.as_deref()), (None, Some("3")));
        assert_eq!(
            of(&json!({"Id": "Previous-159-2.4.6", "Version": "2.4.6"})),
            None
        );
    }

    #[test]
    fn without_an_inventory_the_manager_and_the_system_tell() {
        let mut machine = system(json!({"BiosVersion": "7"}));
        let manager = json!({"FirmwareVersion": "MEV-2.0.0", "AdditionalFirmwareVersions": {
            "Bootloader": "5", "Oem": {}, "Kernel": "",
        }});
        machine.manager = Some(("/redfish/v1/Managers/1".to_owned(), manager.into()));
        let told: Vec<_> = without_inventory(
            machine.manager.as_ref().map(|(_, manager)| &**manager),
            &machine.document,
        )
        .into_iter()
        .map(|one| (one.name, one.running.unwrap()))
        .collect();
        let wanted = [("BMC", "MEV-2.0.0"), ("Bootloader", "5"), ("BIOS", "7")];
        assert_eq!(
            told,
            wanted.map(|(name, version)| (name.to_owned(), version.to_owned()))
        );
    }
}
