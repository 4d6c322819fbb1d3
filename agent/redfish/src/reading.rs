//! From Redfish documents to facts. Pure, and lenient throughout.

use lockstep_crds::identity::meaningful_uuid;
use serde_json::Value;
use url::Url;

use crate::document::{action, allowable, link, offers, path, strings, text};
use crate::effect::{BootTarget, OverrideEnabled};
use crate::facts::{
    BootOverrideState, BootProgress, Capability, ImageUrl, Manager, MediaSlot, Offer,
    PowerRestorePolicy, PowerState, Reading, Service, SystemIdentity,
};
use crate::identity::canonical_uuid;
use crate::link::MOST_MEMBERS;
use crate::stage::stage_of;
use crate::target::SpkiPin;

/// Whether a document says of itself that it is a service root.
pub(crate) fn is_service_root(document: &Value) -> bool {
    text(document, "RedfishVersion").is_some()
        || text(document, "@odata.type").is_some_and(|kind| kind.contains("ServiceRoot"))
}

/// What a service root tells of its service.
pub(crate) fn service(root: &Value) -> Service {
    Service {
        uuid: text(root, "UUID").and_then(|uuid| meaningful_uuid(&uuid)),
        redfish_version: text(root, "RedfishVersion"),
    }
}

pub(crate) fn identity(
    root: &Value,
    system: &Value,
    system_path: String,
    tls_pin: Option<SpkiPin>,
) -> SystemIdentity {
    SystemIdentity {
        service_uuid: text(root, "UUID"),
        system_path,
        system_uuid: text(system, "UUID"),
        serial_number: text(system, "SerialNumber"),
        manufacturer: text(system, "Manufacturer"),
        model: text(system, "Model"),
        sku: text(system, "SKU"),
        part_number: text(system, "PartNumber"),
        bios_version: text(system, "BiosVersion"),
        tls_pin,
    }
}

pub(crate) fn has_uuid(system: &Value, uuid: &str) -> bool {
    text(system, "UUID").is_some_and(|found| canonical_uuid(&found) == canonical_uuid(uuid))
}

pub(crate) fn ends_with_uuid(path: &str, uuid: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| canonical_uuid(name) == canonical_uuid(uuid))
}

pub(crate) fn manager(document: &Value, path: String) -> Manager {
    Manager {
        reset: manager_reset(document, &path, None),
        path,
        uuid: text(document, "UUID"),
        model: text(document, "Model"),
        firmware_version: text(document, "FirmwareVersion"),
    }
}

/// A string property: absent is not offered, `null` and the like not read.
fn property<T>(document: &Value, key: &str, parse: impl FnOnce(&str) -> T) -> Reading<T> {
    match (text(document, key), document.get(key)) {
        (Some(value), _) => Reading::Read(parse(&value)),
        (None, Some(odd)) => Reading::NotRead(format!("{key} is {odd}")),
        (None, None) => Reading::NotOffered,
    }
}

pub(crate) fn power(system: &Value) -> Reading<PowerState> {
    property(system, "PowerState", PowerState::parse)
}

pub(crate) fn power_restore(system: &Value) -> Reading<PowerRestorePolicy> {
    property(system, "PowerRestorePolicy", PowerRestorePolicy::parse)
}

pub(crate) fn boot_progress(system: &Value) -> Reading<BootProgress> {
    let Some(progress) = system.get("BootProgress") else {
        return Reading::NotOffered;
    };
    let last_state = text(progress, "LastState");
    let oem_last_state = text(progress, "OemLastState");
    if last_state.is_none() && oem_last_state.is_none() {
        return Reading::NotRead("BootProgress shows no state".to_owned());
    }
    Reading::Read(BootProgress {
        stage: stage_of(last_state.as_deref(), oem_last_state.as_deref()),
        last_state,
        oem_last_state,
        last_state_time: text(progress, "LastStateTime"),
    })
}

pub(crate) fn boot_override(system: &Value) -> Reading<BootOverrideState> {
    let Some(boot) = system.get("Boot").filter(|boot| boot.is_object()) else {
        return Reading::NotOffered;
    };
    if !offers(boot, "BootSourceOverrideTarget") && !offers(boot, "BootSourceOverrideEnabled") {
        return Reading::NotOffered;
    }
    Reading::Read(BootOverrideState {
        target: text(boot, "BootSourceOverrideTarget").map(|value| BootTarget::parse(&value)),
        enabled: text(boot, "BootSourceOverrideEnabled")
            .and_then(|value| OverrideEnabled::parse(&value)),
        mode: text(boot, "BootSourceOverrideMode"),
        http_uri: http_uri(boot),
        next: text(boot, "BootNext"),
    })
}

/// The whole boot order that a document shows. An empty one is none: settings for the next reset show
/// that where nothing is pending.
pub(crate) fn boot_order(document: &Value) -> Option<Vec<String>> {
    let order = strings(document.get("Boot")?.get("BootOrder")?)?;
    (!order.is_empty()).then_some(order)
}

/// The same as far as entries are read; empty if it shows none.
pub(crate) fn boot_order_shown(document: &Value) -> Vec<String> {
    let mut order = boot_order(document).unwrap_or_default();
    order.truncate(MOST_MEMBERS);
    order
}

/// What is no URL holds none: some write `None` as a text.
fn http_uri(boot: &Value) -> Reading<Option<ImageUrl>> {
    if !offers(boot, "HttpBootUri") {
        return Reading::NotOffered;
    }
    let uri = text(boot, "HttpBootUri").filter(|uri| Url::parse(uri).is_ok());
    Reading::Read(uri.map(ImageUrl::new))
}

/// `state` is the override in the document that takes a change of it.
pub(crate) fn http_boot_capability(
    targets: &Capability,
    state: &Reading<BootOverrideState>,
    path: &str,
) -> Capability {
    let offer = match state {
        Reading::NotRead(_) => Offer::NotRead,
        Reading::Read(state)
            if targets.allows(BootTarget::UefiHttp.as_str())
                && state.http_uri != Reading::NotOffered =>
        {
            Offer::Offered
        }
        Reading::Read(_) | Reading::NotOffered => Offer::NotOffered,
    };
    Capability {
        offer,
        source: path.to_owned(),
        values: None,
    }
}

/// What `BootSourceOverrideEnabled` may be, if the system lists it.
pub(crate) fn override_durations(system: &Value) -> Option<Vec<String>> {
    allowable(system.get("Boot")?, "BootSourceOverrideEnabled")
}

/// The resource that takes settings for the next reset, where it is another.
pub(crate) fn settings_path(system: &Value) -> Option<String> {
    link(system.get("@Redfish.Settings")?, "SettingsObject")
}

pub(crate) fn media_slot(document: &Value, path: String) -> MediaSlot {
    let image = text(document, "Image").map(ImageUrl::new);
    let inserted = document
        .get("Inserted")
        .and_then(Value::as_bool)
        .unwrap_or(image.is_some());
    let target = |name: &str| self::path(action(document, name)?, "target");
    MediaSlot {
        id: text(document, "Id").unwrap_or_default(),
        name: text(document, "Name"),
        inserted,
        image,
        media_types: document
            .get("MediaTypes")
            .and_then(strings)
            .unwrap_or_default(),
        connected_via: text(document, "ConnectedVia"),
        write_protected: document.get("WriteProtected").and_then(Value::as_bool),
        insert_target: target("VirtualMedia.InsertMedia"),
        eject_target: target("VirtualMedia.EjectMedia"),
        path,
    }
}

/// Where `ComputerSystem.Reset` is invoked.
pub(crate) fn reset_target(system: &Value) -> Option<String> {
    target_of(system, SYSTEM_RESET)
}

/// The ActionInfo that lists the reset types, if the action itself does not.
pub(crate) fn reset_info(system: &Value) -> Option<String> {
    info_of(system, SYSTEM_RESET)
}

/// `info` is the document that [`reset_info`] points to, if it was read.
pub(crate) fn reset(system: &Value, path: &str, info: Option<&Value>) -> Capability {
    resets_of(system, SYSTEM_RESET, path, info)
}

/// The same of a Manager.
pub(crate) fn manager_reset_target(manager: &Value) -> Option<String> {
    target_of(manager, MANAGER_RESET)
}

/// The same of a Manager.
pub(crate) fn manager_reset_info(manager: &Value) -> Option<String> {
    info_of(manager, MANAGER_RESET)
}

/// The same of a Manager.
pub(crate) fn manager_reset(manager: &Value, path: &str, info: Option<&Value>) -> Capability {
    resets_of(manager, MANAGER_RESET, path, info)
}

const SYSTEM_RESET: &str = "ComputerSystem.Reset";
const MANAGER_RESET: &str = "Manager.Reset";

fn target_of(resource: &Value, name: &str) -> Option<String> {
    path(action(resource, name)?, "target")
}

fn info_of(resource: &Value, name: &str) -> Option<String> {
    let reset = action(resource, name)?;
    match allowable(reset, "ResetType") {
        Some(_) => None,
        None => path(reset, "@Redfish.ActionInfo"),
    }
}

fn resets_of(resource: &Value, name: &str, path: &str, info: Option<&Value>) -> Capability {
    let Some(reset) = action(resource, name) else {
        return not_offered(path);
    };
    let listed = || {
        let parameters = info?.get("Parameters")?.as_array()?;
        let parameter = parameters
            .iter()
            .find(|parameter| text(parameter, "Name").as_deref() == Some("ResetType"))?;
        strings(parameter.get("AllowableValues")?).filter(|values| !values.is_empty())
    };
    offered(path, allowable(reset, "ResetType").or_else(listed))
}

pub(crate) fn override_capability(system: &Value, path: &str) -> Capability {
    match boot_override(system) {
        Reading::Read(_) | Reading::NotRead(_) => offered(
            path,
            system
                .get("Boot")
                .and_then(|boot| allowable(boot, "BootSourceOverrideTarget")),
        ),
        Reading::NotOffered => not_offered(path),
    }
}

pub(crate) fn restore_capability(system: &Value, path: &str) -> Capability {
    if offers(system, "PowerRestorePolicy") {
        offered(path, allowable(system, "PowerRestorePolicy"))
    } else {
        not_offered(path)
    }
}

pub(crate) fn progress_capability(system: &Value, path: &str) -> Capability {
    if offers(system, "BootProgress") {
        offered(path, None)
    } else {
        not_offered(path)
    }
}

pub(crate) fn media_capability(media: &Reading<Vec<MediaSlot>>, path: &str) -> Capability {
    let (offer, source) = match media {
        Reading::Read(slots) => match slots
            .iter()
            .find(|slot| slot.takes_iso() && slot.insert_target.is_some())
        {
            Some(slot) => (Offer::Offered, slot.path.as_str()),
            None => (Offer::NotOffered, path),
        },
        Reading::NotOffered => (Offer::NotOffered, path),
        Reading::NotRead(_) => (Offer::NotRead, path),
    };
    Capability {
        offer,
        source: source.to_owned(),
        values: None,
    }
}

fn offered(source: &str, values: Option<Vec<String>>) -> Capability {
    Capability {
        offer: Offer::Offered,
        source: source.to_owned(),
        values,
    }
}

fn not_offered(source: &str) -> Capability {
    Capability {
        offer: Offer::NotOffered,
        source: source.to_owned(),
        values: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stage::BootStage;

    #[test]
    fn absent_is_not_offered_and_null_is_not_read() {
        assert_eq!(power(&json!({})), Reading::NotOffered);
        assert!(matches!(
            power(&json!({"PowerState": null})),
            Reading::NotRead(_)
        ));
        assert_eq!(
            power(&json!({"PowerState": "Paused"})),
            Reading::Read(PowerState::Paused)
        );
        assert_eq!(boot_progress(&json!({})), Reading::NotOffered);
        assert!(matches!(
            boot_progress(&json!({"BootProgress": {"LastStateTime": "1970-01-01T00:00:00Z"}})),
            Reading::NotRead(_)
        ));
    }

    #[test]
    fn a_bluefield_stage_is_read_from_the_oem_state() {
        let system = json!({"BootProgress": {
            "LastState": "OEM", "OemLastState": "FirmwareUpdateInProgress",
        }});
        let Reading::Read(progress) = boot_progress(&system) else {
            panic!("not read");
        };
        assert_eq!(progress.stage, Some(BootStage::FirmwareUpdating));
    }

    #[test]
    fn empty_override_values_are_absent() {
        let system = json!({"Boot": {
            "BootSourceOverrideTarget": "", "BootSourceOverrideEnabled": "Bogus",
        }});
        assert_eq!(
            boot_override(&system),
            Reading::Read(BootOverrideState {
                target: None,
                enabled: None,
                mode: None,
                http_uri: Reading::NotOffered,
                next: None,
            })
        );
        assert_eq!(boot_override(&json!({"Boot": {}})), Reading::NotOffered);
        assert_eq!(boot_override(&json!({"Boot": null})), Reading::NotOffered);
    }

    #[test]
    fn http_boot_is_offered_where_target_and_uri_are() {
        let state = |boot: Value| boot_override(&json!({ "Boot": boot }));
        let read = |boot: Value| match state(boot) {
            Reading::Read(state) => state.http_uri,
            Reading::NotOffered | Reading::NotRead(_) => panic!("not read"),
        };
        let boot = |uri: Value| json!({"BootSourceOverrideTarget": "None", "HttpBootUri": uri});
        for none in [json!(null), json!(""), json!("None"), json!(7)] {
            assert_eq!(read(boot(none)), Reading::Read(None));
        }
        let url = "http://192.0.2.1/i/a/image.iso";
        assert_eq!(
            read(boot(json!(url))),
            Reading::Read(Some(ImageUrl::new(url)))
        );
        let without = json!({"BootSourceOverrideTarget": "None"});
        assert_eq!(read(without.clone()), Reading::NotOffered);

        let targets =
            |values: &[&str]| offered("/s", Some(values.iter().map(ToString::to_string).collect()));
        for (targets, state, offer) in [
            (
                targets(&["Cd", "UefiHttp"]),
                state(boot(json!(null))),
                Offer::Offered,
            ),
            (
                targets(&["Cd"]),
                state(boot(json!(null))),
                Offer::NotOffered,
            ),
            (targets(&["UefiHttp"]), state(without), Offer::NotOffered),
            (not_offered("/s"), Reading::NotOffered, Offer::NotOffered),
            (
                targets(&["UefiHttp"]),
                Reading::NotRead("timeout".to_owned()),
                Offer::NotRead,
            ),
        ] {
            assert_eq!(http_boot_capability(&targets, &state, "/s").offer, offer);
        }
    }

    #[test]
    fn reset_types_come_from_the_action_or_its_info_or_are_unknown() {
        let inline = json!({"Actions": {"#ComputerSystem.Reset": {
            "target": "/r", "ResetType@Redfish.AllowableValues": ["On"],
        }}});
        assert_eq!(reset(&inline, "/s", None).values, Some(vec!["On".into()]));
        assert_eq!(reset_info(&inline), None);

        let by_info = json!({"Actions": {"#ComputerSystem.Reset": {
            "target": "/r", "@Redfish.ActionInfo": "/info",
        }}});
        assert_eq!(reset_info(&by_info).as_deref(), Some("/info"));
        let info = json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["ForceOff"]}]});
        assert_eq!(
            reset(&by_info, "/s", Some(&info)).values,
            Some(vec!["ForceOff".into()])
        );
        assert_eq!(reset(&by_info, "/s", None).values, None);
        assert_eq!(reset(&by_info, "/s", None).offer, Offer::Offered);
        assert_eq!(reset(&json!({}), "/s", None).offer, Offer::NotOffered);
    }

    #[test]
    fn a_slot_without_inserted_is_judged_by_its_image() {
        let slot = |document| media_slot(&document, "/vm/1".to_owned());
        assert!(slot(json!({"Image": "http://x/a.iso"})).inserted);
        assert!(!slot(json!({"Image": ""})).inserted);
        assert!(!slot(json!({"Image": "http://x/a.iso", "Inserted": false})).inserted);
        assert!(slot(json!({"Id": "CD1"})).takes_iso());
        assert!(!slot(json!({"Id": "CD1", "MediaTypes": ["Floppy"]})).takes_iso());
    }
}
