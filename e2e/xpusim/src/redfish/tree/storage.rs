//! Storage: one subsystem, its controller, its drives.

use serde_json::{Value, json};

use super::{Delete, Node, Post, View, collection, healthy, kind, link};

/// What volumes can be made as.
pub(in super::super) const RAID_TYPES: [&str; 2] = ["RAID0", "RAID1"];

pub(super) fn find(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/Storage", view.system());
    let one = format!("{path}/Disks");
    let disks = view.personality.hardware.disks;
    match rest {
        [] => Some(collection(
            "Storage",
            "Storage",
            &path,
            &["Disks".to_owned()],
        )),
        ["Disks"] => {
            let drives: Vec<Value> = disks
                .iter()
                .map(|(id, ..)| link(format!("{one}/Drives/{id}")))
                .collect();
            Some(Node::read(json!({
                "@odata.id": one,
                "@odata.type": kind("Storage"),
                "Id": "Disks",
                "Name": "Disks",
                "Controllers": link(format!("{one}/Controllers")),
                "Drives": drives,
                "Drives@odata.count": disks.len(),
                "Volumes": link(format!("{one}/Volumes")),
                "Status": healthy(),
            })))
        }
        ["Disks", "Controllers"] => {
            let ids = ["0".to_owned()];
            Some(collection(
                "StorageController",
                "Storage Controller",
                &format!("{one}/Controllers"),
                &ids,
            ))
        }
        ["Disks", "Controllers", "0"] => Some(Node::read(json!({
            "@odata.id": format!("{one}/Controllers/0"),
            "@odata.type": kind("StorageController"),
            "Id": "0",
            "Name": "Storage controller",
            "SupportedRAIDTypes": RAID_TYPES,
            "Status": healthy(),
        }))),
        ["Disks", "Volumes"] => {
            let volumes = view.machine.volumes.iter();
            let ids: Vec<String> = volumes.map(|volume| volume.id.to_string()).collect();
            let mut node = collection("Volume", "Volume", &format!("{one}/Volumes"), &ids);
            node.body["@Redfish.OperationApplyTimeSupport"] = json!({
                "@odata.type": "#Settings.v1_3_5.OperationApplyTimeSupport",
                "SupportedValues": ["Immediate"],
            });
            Some(node.posted_to(Post::Volumes))
        }
        ["Disks", "Volumes", id] => {
            let mut volumes = view.machine.volumes.iter();
            let volume = volumes.find(|volume| volume.id.to_string() == *id)?;
            let node = Node::read(json!({
                "@odata.id": format!("{one}/Volumes/{id}"),
                "@odata.type": kind("Volume"),
                "Id": id,
                "Name": volume.name,
                "RAIDType": volume.raid,
                "CapacityBytes": volume.bytes,
                "Status": healthy(),
            }));
            Some(node.deleted_by(Delete::Volume(volume.id)))
        }
        ["Disks", "Drives", id] => {
            let (id, media, protocol, bytes) = disks.iter().find(|(one, ..)| one == id)?;
            Some(Node::read(json!({
                "@odata.id": format!("{one}/Drives/{id}"),
                "@odata.type": kind("Drive"),
                "Id": id,
                "Name": format!("Drive {id}"),
                "MediaType": media,
                "Protocol": protocol,
                "CapacityBytes": bytes,
                "Model": format!("Example {protocol} {}", bytes / 1_000_000_000),
                "SerialNumber": format!("{}{id}", view.machine.serial),
                "Status": healthy(),
            })))
        }
        _ => None,
    }
}
