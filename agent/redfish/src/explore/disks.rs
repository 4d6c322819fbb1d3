//! Disks.

use lockstep_crds::inventory::{Disk, DiskList};
use serde_json::Value;

use super::System;
use super::machine::serial_number;
use super::walk::Walk;
use crate::document::{bounded, last_segment, number, references, short, text};

const GROUP: &str = "disks";

/// Storage subsystems that are read.
const MOST_SUBSYSTEMS: usize = 8;

/// Disks that are told.
const MOST: usize = 32;

pub(super) async fn read(walk: &mut Walk<'_>, system: &System) -> Option<DiskList> {
    let document = &system.document;
    let mut list = DiskList::default();
    let subsystems = walk
        .members(GROUP, document, "Storage", MOST_SUBSYSTEMS)
        .await;
    if let Some(subsystems) = subsystems {
        for (path, subsystem) in &subsystems.documents {
            let Some(drives) = subsystem.get("Drives") else {
                continue;
            };
            let room = MOST - list.disks.len();
            let drives = references(drives);
            let listed = walk.listed(GROUP, path, drives, room).await;
            list.omitted = list.omitted.saturating_add(listed.omitted);
            list.disks
                .extend(listed.documents.iter().map(|(path, one)| drive(path, one)));
        }
    }
    if list.disks.is_empty() {
        let simple = walk
            .members(GROUP, document, "SimpleStorage", MOST_SUBSYSTEMS)
            .await;
        for (path, subsystem) in simple.unwrap_or_default().documents {
            list.disks.extend(devices(&path, &subsystem));
        }
        list.omitted += i64::try_from(list.disks.len().saturating_sub(MOST)).unwrap_or(0);
        list.disks.truncate(MOST);
    }
    list.disks.sort_by(|one, other| one.name.cmp(&other.name));
    (!list.disks.is_empty() || list.omitted > 0).then_some(list)
}

fn drive(path: &str, one: &Value) -> Disk {
    let last = last_segment(path);
    let name = text(one, "Id").or_else(|| text(one, "Name"));
    let kind = match text(one, "Protocol").as_deref() {
        Some("NVMe") => Some("Nvme".to_owned()),
        Some("eMMC") => Some("Emmc".to_owned()),
        Some(_) | None => short(one, "MediaType", 32),
    };
    Disk {
        name: bounded(
            &name.unwrap_or_else(|| last.unwrap_or_default().to_owned()),
            96,
        ),
        kind,
        size_bytes: number(one, "CapacityBytes"),
        model: short(one, "Model", 128),
        serial_number: serial_number(one),
        wwn: wwn(one),
    }
}

fn wwn(one: &Value) -> Option<String> {
    let is_wwn =
        |format: Option<String>| matches!(format.as_deref(), Some("NAA" | "EUI" | "NGUID"));
    let mut all = one.get("Identifiers")?.as_array()?.iter();
    let identifier = all.find(|one| is_wwn(text(one, "DurableNameFormat")))?;
    short(identifier, "DurableName", 128)
}

/// The devices of a SimpleStorage, which have neither serial number nor path.
fn devices(path: &str, subsystem: &Value) -> Vec<Disk> {
    let last = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let devices = subsystem.get("Devices").and_then(Value::as_array);
    let named = devices.into_iter().flatten().enumerate();
    named
        .filter(|(_, device)| device.is_object())
        .map(|(index, device)| Disk {
            name: short(device, "Name", 96)
                .unwrap_or_else(|| bounded(&format!("{last}.{index}"), 96)),
            kind: None,
            size_bytes: number(device, "CapacityBytes"),
            model: short(device, "Model", 128),
            serial_number: None,
            wwn: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drive_is_told_by_its_protocol_else_by_its_medium() {
        for (one, kind) in [
            (
                json!({"Protocol": "NVMe", "MediaType": "SSD"}),
                Some("Nvme"),
            ),
            (json!({"Protocol": "eMMC"}), Some("Emmc")),
            (json!({"Protocol": "SAS", "MediaType": "HDD"}), Some("HDD")),
            (json!({"Protocol": null}), None),
        ] {
            assert_eq!(drive("/d/0/", &one).kind.as_deref(), kind);
        }
        let one = json!({"CapacityBytes": "512", "SerialNumber": "  ", "Identifiers": [
            {"DurableNameFormat": "UUID", "DurableName": "x"},
            {"DurableNameFormat": "EUI", "DurableName": "0025385"},
        ]});
        let disk = drive("/d/Disk.0/", &one);
        assert_eq!((disk.name.as_str(), disk.size_bytes), ("Disk.0", Some(512)));
        assert_eq!(
            (disk.serial_number, disk.wwn.as_deref()),
            (None, Some("0025385"))
        );
    }

    #[test]
    fn simple_storage_tells_names_and_sizes() {
        let subsystem = json!({"Devices": [{"Name": "sda", "CapacityBytes": 7}, null, {}]});
        let told = devices("/s/1", &subsystem);
        let names: Vec<&str> = told.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["sda", "1.2"]);
        assert!(devices("/s/1", &json!({"Devices": "none"})).is_empty());
    }
}
