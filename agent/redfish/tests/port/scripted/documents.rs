//! Documents as sushy-tools 2.2.0 serves them, plus a serial number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CD, SYSTEM, UUID};

pub(crate) fn slot(path: &str, kinds: &[&str]) -> Value {
    json!({
        "@odata.type": "#VirtualMedia.v1_4_0.VirtualMedia",
        "@odata.id": path,
        "Id": path.rsplit('/').next(),
        "Name": "Virtual",
        "MediaTypes": kinds,
        "Image": "",
        "ConnectedVia": "URI",
        "Inserted": false,
        "WriteProtected": false,
        "Actions": {
            "#VirtualMedia.EjectMedia":
                {"target": format!("{path}/Actions/VirtualMedia.EjectMedia")},
            "#VirtualMedia.InsertMedia":
                {"target": format!("{path}/Actions/VirtualMedia.InsertMedia")},
        },
    })
}

pub(super) fn documents() -> BTreeMap<String, Value> {
    let manager = format!("/redfish/v1/Managers/{UUID}");
    let media = format!("{SYSTEM}/VirtualMedia");
    let floppy = format!("{media}/Floppy");
    BTreeMap::from([
        (
            "/redfish/v1/".to_owned(),
            json!({
                "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
                "@odata.id": "/redfish/v1/",
                "Id": "RedvirtService",
                "Name": "Redvirt Service",
                "RedfishVersion": "1.5.0",
                "UUID": "85775665-c110-4b85-8989-e6162170b3ec",
                "Systems": {"@odata.id": "/redfish/v1/Systems"},
                "Managers": {"@odata.id": "/redfish/v1/Managers"},
            }),
        ),
        (
            "/redfish/v1/Systems".to_owned(),
            json!({"@odata.id": "/redfish/v1/Systems", "Members": [{"@odata.id": SYSTEM}]}),
        ),
        (
            SYSTEM.to_owned(),
            json!({
                "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
                "@odata.id": SYSTEM,
                "Id": UUID,
                "UUID": UUID,
                "SerialNumber": " MT2334XZ0A1 ",
                "Manufacturer": "Sushy Emulator",
                "PowerState": "Off",
                "Boot": {
                    "BootSourceOverrideEnabled": "Continuous",
                    "BootSourceOverrideTarget": "Hdd",
                    "BootSourceOverrideTarget@Redfish.AllowableValues":
                        ["Pxe", "Cd", "Hdd", "UefiHttp"],
                    "BootSourceOverrideMode": "UEFI",
                },
                "VirtualMedia": {"@odata.id": media},
                "Links": {"ManagedBy": [{"@odata.id": manager}]},
                "Actions": {"#ComputerSystem.Reset": {
                    "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
                    "ResetType@Redfish.AllowableValues": [
                        "On", "ForceOff", "GracefulShutdown", "GracefulRestart",
                        "ForceRestart", "Nmi", "ForceOn",
                    ],
                }},
            }),
        ),
        (
            manager.clone(),
            json!({
                "@odata.id": manager,
                "UUID": UUID,
                "Model": "Joo Janta 200",
                "FirmwareVersion": "1.00",
            }),
        ),
        (
            media.clone(),
            json!({"@odata.id": media, "Members": [{"@odata.id": CD}, {"@odata.id": floppy}]}),
        ),
        (CD.to_owned(), slot(CD, &["CD", "DVD"])),
        (floppy.clone(), slot(&floppy, &["Floppy", "USBStick"])),
    ])
}
