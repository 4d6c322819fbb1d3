//! Disks.

use lockstep_crds::inventory::{Disk, DiskList};
use serde_json::Value;

use super::System;
use super::machine::serial_number;
use super::walk::Walk;
use crate::document::{bounded, last_segment, link, number, references, short, text};

const GROUP: &str = "disks";

/// Storage subsystems that are read.
const MOST_SUBSYSTEMS: usize = 8;

/// Disks that are told.
const MOST: usize = 32;

pub(super) async fn read(walk: &mut Walk<'_>, system: &System) -> Option<DiskList> {
    let document = &system.document;
    let mut disks = Vec::new();
    // What lists do not give, and collections that were not given at all.
    let (mut lacking, mut unread) = (0_i64, 0_i64);
    let storage = walk
        .members(GROUP, document, "Storage", MOST_SUBSYSTEMS)
        .await;
    match &storage {
        Some(storage) => lacking = storage.wanting(),
        None => unread += i64::from(link(document, "Storage").is_some()),
    }
    for (path, subsystem) in &storage.unwrap_or_default().documents {
        let Some(drives) = subsystem.get("Drives") else {
            continue;
        };
        let drives = references(drives);
        lacking = lacking.saturating_add(beyond(subsystem, drives.len()));
        let listed = walk.listed(GROUP, path, drives, MOST - disks.len()).await;
        lacking = lacking.saturating_add(listed.wanting());
        disks.extend(listed.documents.iter().map(|(path, one)| drive(path, one)));
    }
    if disks.is_empty() {
        let simple = walk
            .members(GROUP, document, "SimpleStorage", MOST_SUBSYSTEMS)
            .await;
        match &simple {
            Some(simple) => lacking = lacking.saturating_add(simple.wanting()),
            None => unread += i64::from(link(document, "SimpleStorage").is_some()),
        }
        for (path, subsystem) in simple.unwrap_or_default().documents {
            disks.extend(devices(&path, &subsystem));
        }
        let over = disks.len().saturating_sub(MOST);
        lacking = lacking.saturating_add(i64::try_from(over).unwrap_or(i64::MAX));
        disks.truncate(MOST);
    }
    disks.sort_by(|one: &Disk, other| one.name.cmp(&other.name));
    let is_told = !disks.is_empty() || lacking > 0;
    is_told.then_some(DiskList {
        disks,
        omitted: lacking.saturating_add(unread),
    })
}

/// How many drives a subsystem has beyond those that it lists.
fn beyond(subsystem: &Value, listed: usize) -> i64 {
    let told = number(subsystem, "Drives@odata.count").unwrap_or(0);
    let listed = i64::try_from(listed).unwrap_or(i64::MAX);
    let has_more = text(subsystem, "Drives@odata.nextLink").is_some();
    told.saturating_sub(listed).max(i64::from(has_more))
}

fn drive(path: &str, one: &Value) -> Disk {
    let last = last_segment(path);
    let name = text(one, "Id").or_else(|| text(one, "Name"));
    let kind = match text(one, "Protocol").as_deref() {
        Some("NVMe") => Some("Nvme".to_owned()),
        Some("eMMC") => Some("Emmc".to_owned()),
        Some("USB") => Some("Usb".to_owned()),
        Some("NVMeOverFabrics") => Some("NvmeOverFabrics".to_owned()),
        Some("iSCSI") => Some("Iscsi".to_owned()),
        Some("FC" | "FCP" | "FCoE") => Some("FibreChannel".to_owned()),
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
            (json!({"Protocol": "USB", "MediaType": "SSD"}), Some("Usb")),
            (
                json!({"Protocol": "NVMeOverFabrics"}),
                Some("NvmeOverFabrics"),
            ),
            (json!({"Protocol": "iSCSI"}), Some("Iscsi")),
            (json!({"Protocol": "FC"}), Some("FibreChannel")),
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
