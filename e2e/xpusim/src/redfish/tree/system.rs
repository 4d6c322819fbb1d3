//! The ComputerSystem and what hangs below it.

use serde_json::{Value, json};

use super::{Node, Patch, Post, ROOT, View, collection, healthy, kind, link, network, numbered};
use super::{manager, security, services, storage};
use crate::machine::{Enabled, Override};
use crate::personality::{Listing, MediaPlace, Progress};
use crate::redfish::change::modes;
use crate::reset::{Power, ResetType, RestorePolicy};
use crate::stage::Stage;

pub(super) fn find(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = view.system();
    let offers = &view.personality.offers;
    match rest {
        [] => Some(system(view)),
        ["ResetActionInfo"] if view.personality.reset.listing == Listing::ActionInfo => {
            Some(reset_info(view))
        }
        ["Settings"] if view.personality.boot.settings_object => Some(settings(view)),
        ["Actions", "ComputerSystem.Reset"] => Some(Node::action(Post::ResetSystem)),
        // Nothing links to it: its readers know its path.
        ["Oem", "Nvidia"] if offers.bluefield => Some(oem(view)),
        ["Oem", "Nvidia", "SOC.ForceReset"] if offers.bluefield => {
            Some(Node::action(Post::ResetChip))
        }
        ["Oem", "Nvidia", "Actions", "Mode.Set"] if offers.bluefield => {
            Some(Node::action(Post::SetMode))
        }
        ["Processors"] => {
            let path = format!("{path}/Processors");
            Some(collection(
                "Processor",
                "Processors",
                &path,
                &["CPU_0".to_owned()],
            ))
        }
        ["Processors", "CPU_0"] => Some(processor(view)),
        ["Memory"] => {
            let (_, modules) = view.personality.hardware.memory;
            let ids: Vec<String> = (0..modules).map(|one| format!("DIMM{one}")).collect();
            Some(collection(
                "Memory",
                "Memory",
                &format!("{path}/Memory"),
                &ids,
            ))
        }
        ["Memory", id] => {
            let (_, modules) = view.personality.hardware.memory;
            let module = numbered(id, "DIMM", modules as usize)?;
            Some(memory(view, module))
        }
        ["BootOptions"] => {
            let path = format!("{path}/BootOptions");
            let order = &view.machine.boot.order;
            Some(collection("BootOption", "Boot Options", &path, order))
        }
        ["BootOptions", id] => boot_option(view, id),
        ["EthernetInterfaces", rest @ ..] => network::interfaces(view, rest),
        ["Storage", rest @ ..] => storage::find(view, rest),
        ["SecureBoot", rest @ ..] if offers.secure_boot => security::secure_boot(view, rest),
        ["Bios", rest @ ..] if offers.bios.is_some() => security::bios(view, rest),
        ["LogServices", rest @ ..] if offers.logs => services::logs(view, rest),
        ["VirtualMedia", rest @ ..] if view.media_is_at(MediaPlace::System) => {
            manager::media(view, &path, rest)
        }
        _ => None,
    }
}

fn system(view: &View<'_>) -> Node {
    let path = view.system();
    let (machine, personality) = (view.machine, view.personality);
    let hardware = &personality.hardware;
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": kind("ComputerSystem"),
        "Id": personality.ids.system,
        "Name": "System",
        "SystemType": hardware.system_type,
        "Manufacturer": hardware.manufacturer,
        "Model": hardware.model,
        "PartNumber": hardware.part_number,
        "SKU": hardware.sku,
        "SerialNumber": machine.serial,
        "UUID": machine.uuid,
        "AssetTag": machine.asset_tag,
        "HostName": machine.name,
        "BiosVersion": bios_version(view),
        "PowerState": machine.power.as_str(),
        "LocationIndicatorActive": machine.indicator,
        "Status": status(view),
        "ProcessorSummary": {
            "Count": 1,
            "CoreCount": hardware.cores,
            "Model": hardware.processor,
        },
        "MemorySummary": {"TotalSystemMemoryGiB": hardware.memory.0},
        "Boot": boot(view, &machine.boot.active),
        "Processors": link(format!("{path}/Processors")),
        "Memory": link(format!("{path}/Memory")),
        "EthernetInterfaces": link(format!("{path}/EthernetInterfaces")),
        "Storage": link(format!("{path}/Storage")),
        "Links": {
            "ManagedBy": [link(view.manager())],
            "Chassis": view.chassis().map(link).into_iter().collect::<Vec<_>>(),
        },
        "Actions": actions(view, &path),
    });
    if personality.boot.restore_policy {
        body["PowerRestorePolicy"] = machine.restore.as_str().into();
        body["PowerRestorePolicy@Redfish.AllowableValues"] =
            RestorePolicy::ALL.iter().map(|one| one.as_str()).collect();
    }
    if personality.offers.last_reset_time {
        body["LastResetTime"] = view.date(machine.last_reset).into();
    }
    if let Some(progress) = progress(view) {
        body["BootProgress"] = progress;
    }
    for (name, there) in [
        ("SecureBoot", personality.offers.secure_boot),
        ("Bios", personality.offers.bios.is_some()),
        ("LogServices", personality.offers.logs),
        ("VirtualMedia", view.media_is_at(MediaPlace::System)),
    ] {
        if there {
            body[name] = link(format!("{path}/{name}"));
        }
    }
    if personality.boot.settings_object {
        body["@Redfish.Settings"] = json!({
            "@odata.type": "#Settings.v1_3_5.Settings",
            "SettingsObject": link(format!("{path}/Settings")),
        });
    }
    Node::read(body).patched_by(Patch::System)
}

fn bios_version(view: &View<'_>) -> Value {
    let firmware = &view.machine.firmware;
    let bios = firmware
        .iter()
        .find(|one| one.id.contains("UEFI") || one.id.contains("BIOS"));
    bios.or(firmware.first())
        .map_or(Value::Null, |one| one.version.clone().into())
}

fn status(view: &View<'_>) -> Value {
    let state = match (view.machine.power, view.machine.stage) {
        (Power::Off, _) => "Disabled",
        (Power::Paused, _) => "StandbyOffline",
        (_, Some(Stage::FirmwareUpdating)) => "Updating",
        (_, Some(Stage::OsRunning)) => "Enabled",
        _ => "Starting",
    };
    json!({"State": state, "Health": "OK", "HealthRollup": "OK"})
}

fn progress(view: &View<'_>) -> Option<Value> {
    let machine = view.machine;
    let kind = view.personality.boot.progress;
    if kind == Progress::Hidden {
        return None;
    }
    let mut told = json!({"LastStateTime": view.date(machine.stage_since)});
    for (name, word) in stage_words(kind, machine.stage.unwrap_or(Stage::ResetBootRom)) {
        told[name] = word.into();
    }
    if kind == Progress::Standard && machine.stage.is_none() {
        told["LastState"] = "None".into();
    }
    Some(told)
}

/// What `BootProgress` says of a stage, by property.
pub(in crate::redfish) fn stage_words(
    kind: Progress,
    stage: Stage,
) -> Vec<(&'static str, &'static str)> {
    match kind {
        Progress::Hidden => Vec::new(),
        Progress::Standard => vec![("LastState", stage.standard())],
        Progress::Bluefield => {
            let runs = stage == Stage::OsRunning;
            vec![
                ("LastState", if runs { "OSRunning" } else { "OEM" }),
                ("OemLastState", stage.bluefield()),
            ]
        }
    }
}

fn boot(view: &View<'_>, state: &Override) -> Value {
    let targets = view.personality.boot.targets;
    let mut boot = json!({
        "BootSourceOverrideEnabled": state.enabled.as_str(),
        "BootSourceOverrideEnabled@Redfish.AllowableValues":
            Enabled::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>(),
        "BootSourceOverrideTarget": state.target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": targets,
        "BootSourceOverrideMode": state.mode,
        "BootSourceOverrideMode@Redfish.AllowableValues": modes(view.personality.role),
        "BootOptions": link(format!("{}/BootOptions", view.system())),
        "BootOrder": view.machine.boot.order,
    });
    for (target, name, value) in [
        ("UefiHttp", "HttpBootUri", &state.uri),
        ("UefiTarget", "UefiTargetBootSourceOverride", &state.device),
        ("UefiBootNext", "BootNext", &state.next),
    ] {
        if targets.contains(&target) {
            let value = Some(value.as_str()).filter(|value| !value.is_empty());
            boot[name] = value.into();
        }
    }
    boot
}

fn settings(view: &View<'_>) -> Node {
    let state = view.machine.boot.pending.as_ref();
    let path = format!("{}/Settings", view.system());
    let mut boot = boot(view, state.unwrap_or(&view.machine.boot.active));
    // Links and the order live in the resource itself.
    if let Some(boot) = boot.as_object_mut() {
        boot.retain(|name, _| !matches!(name.as_str(), "BootOptions" | "BootOrder"));
    }
    Node::read(json!({
        "@odata.id": path,
        "@odata.type": kind("ComputerSystem"),
        "Id": "Settings",
        "Name": "System Pending Settings",
        "Boot": boot,
    }))
    .patched_by(Patch::SystemSettings)
}

fn actions(view: &View<'_>, path: &str) -> Value {
    let mut reset = json!({"target": format!("{path}/Actions/ComputerSystem.Reset")});
    match view.personality.reset.listing {
        Listing::Inline => {
            reset["ResetType@Redfish.AllowableValues"] = reset_types(view);
        }
        Listing::ActionInfo => {
            reset["@Redfish.ActionInfo"] = format!("{path}/ResetActionInfo").into();
        }
    }
    let mut actions = json!({"#ComputerSystem.Reset": reset});
    if view.personality.offers.bluefield {
        // The path of the first has no `Actions` in it: take it as it stands.
        actions["Oem"] = json!({
            "#SOC.ForceReset": {"target": format!("{path}/Oem/Nvidia/SOC.ForceReset")},
            "#Mode.Set": {
                "target": format!("{path}/Oem/Nvidia/Actions/Mode.Set"),
                "Mode@Redfish.AllowableValues": ["DpuMode", "NicMode"],
            },
        });
    }
    actions
}

/// What NVIDIA adds: the mode in force. A BlueField-2 has it in its firmware settings instead.
fn oem(view: &View<'_>) -> Node {
    let mut body = json!({"@odata.id": format!("{}/Oem/Nvidia", view.system())});
    let in_bios = view.machine.bios.contains_key("NicMode");
    if !in_bios {
        let nic = view.machine.nic_mode.now;
        body["Mode"] = if nic { "NicMode" } else { "DpuMode" }.into();
        body["HostRshim"] = "Enabled".into();
    }
    Node::read(body)
}

fn reset_types(view: &View<'_>) -> Value {
    let types = view.personality.reset.types.iter();
    types.copied().map(ResetType::as_str).collect()
}

fn reset_info(view: &View<'_>) -> Node {
    Node::read(json!({
        "@odata.id": format!("{}/ResetActionInfo", view.system()),
        "@odata.type": kind("ActionInfo"),
        "Id": "ResetActionInfo",
        "Name": "Reset Action Info",
        "Parameters": [{
            "Name": "ResetType",
            "Required": true,
            "DataType": "String",
            "AllowableValues": reset_types(view),
        }],
    }))
}

fn processor(view: &View<'_>) -> Node {
    let hardware = &view.personality.hardware;
    let (architecture, instructions) = hardware.architecture;
    Node::read(json!({
        "@odata.id": format!("{}/Processors/CPU_0", view.system()),
        "@odata.type": kind("Processor"),
        "Id": "CPU_0",
        "Name": "Processor",
        "ProcessorType": "CPU",
        "ProcessorArchitecture": architecture,
        "InstructionSet": instructions,
        "Manufacturer": hardware.manufacturer,
        "Model": hardware.processor,
        "TotalCores": hardware.cores,
        "TotalThreads": hardware.cores,
        "Socket": "0",
        "Status": healthy(),
    }))
}

fn memory(view: &View<'_>, module: usize) -> Node {
    let (gib, modules) = view.personality.hardware.memory;
    Node::read(json!({
        "@odata.id": format!("{}/Memory/DIMM{module}", view.system()),
        "@odata.type": kind("Memory"),
        "Id": format!("DIMM{module}"),
        "Name": format!("Memory module {module}"),
        "MemoryType": "DRAM",
        "MemoryDeviceType": "DDR5",
        "CapacityMiB": gib / modules.max(1) * 1024,
        "DataWidthBits": 64,
        "BusWidthBits": 72,
        "ErrorCorrection": "MultiBitECC",
        "OperatingSpeedMhz": 4800,
        "SerialNumber": format!("{}M{module}", view.machine.serial),
        "Status": healthy(),
    }))
}

fn boot_option(view: &View<'_>, id: &str) -> Option<Node> {
    let (name, alias) = match id {
        "Boot0001" => ("Disk", "Hdd"),
        "Boot0002" if view.personality.media.is_some() => ("Virtual media", "Cd"),
        "Boot0003" => ("Network", "Pxe"),
        _ => return None,
    };
    Some(Node::read(json!({
        "@odata.id": format!("{}/BootOptions/{id}", view.system()),
        "@odata.type": kind("BootOption"),
        "Id": id,
        "Name": name,
        "DisplayName": name,
        "BootOptionReference": id,
        "BootOptionEnabled": true,
        "Alias": alias,
    })))
}

/// The actions of the manager.
pub(super) fn manager_actions(view: &View<'_>) -> Value {
    let path = format!("{ROOT}/Managers/{}", view.personality.ids.manager);
    json!({
        "#Manager.Reset": {
            "target": format!("{path}/Actions/Manager.Reset"),
            "ResetType@Redfish.AllowableValues": view.personality.reset.manager_types,
        },
        "#Manager.ResetToDefaults": {
            "target": format!("{path}/Actions/Manager.ResetToDefaults"),
            "ResetType@Redfish.AllowableValues": ["ResetAll"],
        },
    })
}
