//! The documents of a small BMC, and the ways to bend them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{SERIAL, UUID};

/// Bytes of one bend: document, place in it (two), kind, parameter.
pub(super) const LENGTH: usize = 5;
/// Kinds of bends.
pub(super) const KINDS: u8 = 18;

const SYSTEM: &str = "/redfish/v1/Systems/1";
const MANAGER: &str = "/redfish/v1/Managers/BMC";

/// What is served: by path, a status and the bytes of a body.
pub(super) struct Served {
    documents: BTreeMap<String, Value>,
    /// Statuses other than 200, and bodies that are cut off.
    statuses: BTreeMap<String, u16>,
    cut: BTreeMap<String, usize>,
}

impl Served {
    pub(super) fn new() -> Self {
        let mut documents = BTreeMap::new();
        let mut add = |path: &str, mut document: Value| {
            document["@odata.id"] = path.into();
            documents.insert(path.to_owned(), document);
        };
        add(
            "/redfish/v1/",
            json!({
                "RedfishVersion": "1.18.0", "UUID": UUID, "Vendor": "Example", "Product": "BMC",
                "Systems": {"@odata.id": "/redfish/v1/Systems"},
                "Managers": {"@odata.id": "/redfish/v1/Managers"},
            }),
        );
        add("/redfish/v1/Systems", members(&[SYSTEM]));
        add("/redfish/v1/Managers", members(&[MANAGER]));
        add(
            SYSTEM,
            json!({
                "Id": "1", "Name": "System", "UUID": UUID, "SerialNumber": SERIAL,
                "Model": "Example", "PowerState": "On", "PowerRestorePolicy": "LastState",
                "BootProgress": {"LastState": "OSRunning", "LastStateTime": "2026-01-01T00:00:00Z"},
                "Boot": {
                    "BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled",
                    "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Cd", "Hdd"],
                },
                "Links": {"ManagedBy": [{"@odata.id": MANAGER}]},
                "VirtualMedia": {"@odata.id": "/redfish/v1/Systems/1/VirtualMedia"},
                "@Redfish.Settings": {"SettingsObject": {"@odata.id": "/redfish/v1/Systems/1/Settings"}},
                "Actions": {"#ComputerSystem.Reset": {
                    "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
                    "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetActionInfo",
                }},
            }),
        );
        add(
            "/redfish/v1/Systems/1/ResetActionInfo",
            json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["On", "ForceOff"]}]}),
        );
        add(
            "/redfish/v1/Systems/1/Settings",
            json!({"Boot": {"BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled"}}),
        );
        add(
            MANAGER,
            json!({"Id": "BMC", "UUID": UUID, "Model": "BMC", "FirmwareVersion": "1.0"}),
        );
        let slots = [
            "/redfish/v1/Systems/1/VirtualMedia/Cd",
            "/redfish/v1/Systems/1/VirtualMedia/Usb",
        ];
        add("/redfish/v1/Systems/1/VirtualMedia", members(&slots));
        for (slot, image) in slots.iter().zip([None, Some("http://192.0.2.9/x.iso")]) {
            add(
                slot,
                json!({
                    "Id": "Cd", "MediaTypes": ["CD", "DVD"], "Inserted": image.is_some(), "Image": image,
                    "Actions": {
                        "#VirtualMedia.InsertMedia": {"target": format!("{slot}/Actions/VirtualMedia.InsertMedia")},
                        "#VirtualMedia.EjectMedia": {"target": format!("{slot}/Actions/VirtualMedia.EjectMedia")},
                    },
                }),
            );
        }
        Self {
            documents,
            statuses: BTreeMap::new(),
            cut: BTreeMap::new(),
        }
    }

    /// Bends one document in one place.
    pub(super) fn bend(&mut self, bytes: &[u8]) {
        let &[document, high, low, kind, parameter] = bytes else {
            return;
        };
        let paths: Vec<String> = self.documents.keys().cloned().collect();
        let path = &paths[usize::from(document) % paths.len()];
        let other = &paths[usize::from(parameter) % paths.len()];
        let Some(value) = self.documents.get_mut(path) else {
            return;
        };
        let kind = kind % KINDS;
        if kind == KINDS - 1 {
            let statuses = [200, 202, 204, 301, 400, 401, 403, 404, 410, 500, 503];
            let status = statuses[usize::from(parameter) % statuses.len()];
            self.statuses.insert(path.clone(), status);
            return;
        }
        if kind == KINDS - 2 {
            self.cut.insert(path.clone(), usize::from(parameter) * 4);
            return;
        }
        let place = usize::from(u16::from_be_bytes([high, low])) % nodes(value);
        let mut left = place;
        if let Some(node) = nth(value, &mut left) {
            let old = node.take();
            *node = bent(old, kind, parameter, path, other);
        }
    }

    /// Whether any document shows this identity.
    pub(super) fn has(&self, uuid: &str, serial: &str) -> bool {
        let shows = |document: &Value, key: &str, wanted: &str| {
            let found = document.get(key).and_then(Value::as_str);
            found.is_some_and(|found| found.trim().eq_ignore_ascii_case(wanted))
        };
        self.documents.values().any(|document| {
            shows(document, "UUID", uuid) && shows(document, "SerialNumber", serial)
        })
    }

    /// Status and body for a path.
    pub(super) fn answer(&self, path: &str) -> (u16, Vec<u8>) {
        let path = if path == "/redfish/v1" {
            "/redfish/v1/"
        } else {
            path
        };
        let Some(document) = self.documents.get(path) else {
            return (404, b"{}".to_vec());
        };
        let mut body = document.to_string().into_bytes();
        if let Some(length) = self.cut.get(path) {
            body.truncate(*length);
        }
        let status = self.statuses.get(path).copied().unwrap_or(200);
        (status, body)
    }
}

fn members(paths: &[&str]) -> Value {
    let members: Vec<Value> = paths
        .iter()
        .map(|path| json!({"@odata.id": path}))
        .collect();
    json!({"Members": members})
}

fn bent(old: Value, kind: u8, parameter: u8, path: &str, other: &str) -> Value {
    let many = usize::from(parameter);
    match kind {
        0 => Value::Null,
        1 => true.into(),
        2 => (i64::from(parameter) - 128).into(),
        3 => json!(1e300),
        4 => "".into(),
        5 => "x".repeat(many * 64).into(),
        6 => json!([]),
        7 => json!([old]),
        8 => json!({}),
        9 => (0..many).fold(old, |inner, _| json!([inner])),
        10 => (0..5_000)
            .map(|number| json!({"@odata.id": format!("{path}/Ghost{number}")}))
            .collect(),
        11 => json!({"@odata.id": other}),
        12 => other.into(),
        13 => json!([{"@odata.id": path}, {"@odata.id": other}, old]),
        14 => format!("\u{7f}\u{202e}\r\n{}//192.0.2.66/", char::from(parameter)).into(),
        _ => vec![old; many % 64].into(),
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(nodes).sum(),
        Value::Object(object) => object.values().map(nodes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The node at a place, counted from the top.
fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|inner| nth(inner, left)),
        Value::Object(object) => object.values_mut().find_map(|inner| nth(inner, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
