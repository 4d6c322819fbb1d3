//! The Manager, its network, and virtual media wherever they live.

use serde_json::json;

use super::{Node, Patch, Post, View, collection, healthy, kind, link, network, system};
use crate::personality::MediaPlace;

pub(super) fn find(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = view.manager();
    match rest {
        [] => Some(manager(view)),
        ["Actions", "Manager.Reset"] => Some(Node::action(Post::ResetManager)),
        ["Actions", "Manager.ResetToDefaults"] => Some(Node::action(Post::ResetToDefaults)),
        ["NetworkProtocol"] => Some(protocol(view)),
        ["EthernetInterfaces", rest @ ..] => network::manager_interfaces(view, rest),
        ["VirtualMedia", rest @ ..] if view.media_is_at(MediaPlace::Manager) => {
            media(view, &path, rest)
        }
        _ => None,
    }
}

fn manager(view: &View<'_>) -> Node {
    let path = view.manager();
    let personality = view.personality;
    let firmware = view.machine.firmware.first();
    let chassis: Vec<_> = view.chassis().map(link).into_iter().collect();
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": kind("Manager"),
        "Id": personality.ids.manager,
        "Name": "Manager",
        "ManagerType": "BMC",
        "Manufacturer": personality.hardware.manufacturer,
        "Model": format!("{} BMC", personality.hardware.model),
        "UUID": view.machine.service_uuid,
        "ServiceEntryPointUUID": view.machine.service_uuid,
        "FirmwareVersion": firmware.map(|one| one.version.clone()),
        "DateTime": view.date(view.domain.now),
        "DateTimeLocalOffset": "+00:00",
        "LastResetTime": view.date(view.machine.bmc.since),
        "PowerState": "On",
        "NetworkProtocol": link(format!("{path}/NetworkProtocol")),
        "EthernetInterfaces": link(format!("{path}/EthernetInterfaces")),
        "Links": {
            "ManagerForServers": [link(view.system())],
            "ManagerForChassis": chassis,
        },
        "Status": healthy(),
        "Actions": system::manager_actions(view),
    });
    if view.media_is_at(MediaPlace::Manager) {
        body["VirtualMedia"] = link(format!("{path}/VirtualMedia"));
    }
    Node::read(body).patched_by(Patch::Manager)
}

fn protocol(view: &View<'_>) -> Node {
    let name = &view.machine.bmc.network_host_name;
    Node::read(json!({
        "@odata.id": format!("{}/NetworkProtocol", view.manager()),
        "@odata.type": kind("ManagerNetworkProtocol"),
        "Id": "NetworkProtocol",
        "Name": "Manager Network Protocol",
        "HostName": name,
        "FQDN": name,
        "HTTP": {"ProtocolEnabled": false, "Port": 80},
        "HTTPS": {"ProtocolEnabled": true, "Port": view.personality.root.port},
        "SSH": {"ProtocolEnabled": false, "Port": 22},
        "Status": healthy(),
    }))
    .patched_by(Patch::NetworkProtocol)
}

/// `VirtualMedia` below the system or the manager at `owner`.
pub(super) fn media(view: &View<'_>, owner: &str, rest: &[&str]) -> Option<Node> {
    let path = format!("{owner}/VirtualMedia");
    let slots = &view.machine.media;
    let [id, rest @ ..] = rest else {
        let ids: Vec<String> = slots.iter().map(|slot| slot.id.to_owned()).collect();
        return Some(collection("VirtualMedia", "Virtual Media", &path, &ids));
    };
    let index = slots.iter().position(|slot| slot.id == *id)?;
    let slot = &slots[index];
    let traits = view.personality.media.as_ref()?;
    let ejects = slot.image.is_some() || !traits.eject_only_when_inserted;
    match rest {
        ["Actions", "VirtualMedia.InsertMedia"] => Some(Node::action(Post::InsertMedia(index))),
        ["Actions", "VirtualMedia.EjectMedia"] if ejects => {
            Some(Node::action(Post::EjectMedia(index)))
        }
        [] => {
            let path = format!("{path}/{id}");
            let inserted = view.machine.mounted(index, view.domain.now);
            let file = slot.image.as_deref().and_then(|url| url.rsplit('/').next());
            let mut insert = json!({"target": format!("{path}/Actions/VirtualMedia.InsertMedia")});
            for (name, values) in traits.parameters {
                insert[format!("{name}@Redfish.AllowableValues")] = json!(values);
            }
            let mut actions = json!({"#VirtualMedia.InsertMedia": insert});
            if ejects {
                actions["#VirtualMedia.EjectMedia"] =
                    json!({"target": format!("{path}/Actions/VirtualMedia.EjectMedia")});
            }
            Some(Node::read(json!({
                "@odata.id": path,
                "@odata.type": kind("VirtualMedia"),
                "Id": id,
                "Name": format!("Virtual media {id}"),
                "MediaTypes": slot.types,
                "Image": slot.image,
                "ImageName": file,
                "Inserted": inserted,
                "ConnectedVia": if inserted { "URI" } else { "NotConnected" },
                "WriteProtected": slot.write_protected,
                "Status": healthy(),
                "Actions": actions,
            })))
        }
        _ => None,
    }
}
