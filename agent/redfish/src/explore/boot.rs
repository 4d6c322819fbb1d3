//! How a machine boots and holds, its secure boot, and what a card's host may do to it.

use lockstep_crds::inventory::{BootPlatform, HostAccess, SecureBootFacts};
use serde_json::Value;

use super::System;
use super::walk::Walk;
use crate::document::{bounded, link, short, strings, text, truth};
use crate::room::Document;
use crate::vendor::{ModeTold, NIC_MODE, Vendor};

const GROUP: &str = "platform";

/// Entries of the boot order that are told.
const MOST_OPTIONS: usize = 16;

pub(super) async fn platform(
    walk: &mut Walk<'_>,
    system: &System,
    bios: Option<&Value>,
) -> Option<BootPlatform> {
    let document = &system.document;
    let boot = document.get("Boot").unwrap_or(&Value::Null);
    let references = boot.get("BootOrder").and_then(strings).unwrap_or_default();
    let mut names = Vec::new();
    if !references.is_empty() {
        let listed = walk.members(GROUP, boot, "BootOptions", MOST_OPTIONS).await;
        names = listed.unwrap_or_default().documents;
    }
    let facts = facts(document, &references, &names, bios, system.vendor);
    (facts != BootPlatform::default()).then_some(facts)
}

fn facts(
    document: &Value,
    references: &[String],
    options: &[(String, Document)],
    bios: Option<&Value>,
    vendor: &Vendor,
) -> BootPlatform {
    let watchdog = document.get("HostWatchdogTimer").unwrap_or(&Value::Null);
    let name = |reference: &String| {
        let is_it = |option: &&Value| {
            text(option, "BootOptionReference").as_ref() == Some(reference)
                || text(option, "Id").as_ref() == Some(reference)
        };
        let option = options.iter().map(|(_, option)| &**option).find(is_it);
        let name =
            option.and_then(|option| text(option, "DisplayName").or_else(|| text(option, "Name")));
        bounded(&name.unwrap_or_else(|| reference.clone()), 128)
    };
    BootPlatform {
        boot_order: references.iter().take(MOST_OPTIONS).map(name).collect(),
        power_restore_policy: short(document, "PowerRestorePolicy", 32),
        watchdog_enabled: truth(watchdog, "FunctionEnabled"),
        watchdog_action: short(watchdog, "TimeoutAction", 64),
        option_roms: bios.and_then(|bios| option_roms(bios, vendor)),
        hold_ceiling_seconds: vendor.hold_ceiling.map(|(seconds, _)| seconds),
        hold_ceiling_source: vendor.hold_ceiling.map(|(_, source)| source.to_owned()),
        firmware_version: short(document, "BiosVersion", 128),
    }
}

/// One word where all slots agree, else each.
fn option_roms(bios: &Value, vendor: &Vendor) -> Option<String> {
    let (start, end) = vendor.option_roms?;
    let attributes = bios.get("Attributes")?.as_object()?;
    let told: Vec<(&str, &str)> = attributes
        .iter()
        .filter_map(|(name, value)| {
            let slot = name.strip_prefix(start)?.strip_suffix(end)?;
            Some((slot, value.as_str()?.trim()))
        })
        .collect();
    let (_, first) = told.first()?;
    if told.iter().all(|(_, value)| value == first) {
        return Some(bounded(first, 64));
    }
    let each: Vec<String> = told
        .iter()
        .map(|(slot, value)| format!("{slot}={value}"))
        .collect();
    Some(bounded(&each.join(","), 64))
}

pub(super) fn secure_boot(document: &Value) -> SecureBootFacts {
    let current = text(document, "SecureBootCurrentBoot");
    SecureBootFacts {
        // What the next boot will do is a setting, and no fact about this one.
        enabled: match current.as_deref() {
            Some("Enabled") => Some(true),
            Some("Disabled") => Some(false),
            Some(_) | None => None,
        },
        mode: short(document, "SecureBootMode", 32),
    }
}

/// What a card's host may do to it: from the firmware settings, and from the document that the
/// vendor's table names.
pub(super) async fn host_access(
    walk: &mut Walk<'_>,
    system: &System,
    bios: Option<&Value>,
) -> Option<HostAccess> {
    let below = system.vendor.host_access_in;
    let path = below.map(|below| format!("{}/{below}", system.path.trim_end_matches('/')));
    let document = walk.part("hostAccess", path).await;
    let access = access(system.vendor, bios, document.as_deref());
    (access != HostAccess::default()).then_some(access)
}

fn access(vendor: &Vendor, bios: Option<&Value>, document: Option<&Value>) -> HostAccess {
    let attribute = |name: &str| short(bios?.get("Attributes")?, name, 32);
    let property = |name: &str| short(document?, name, 32);
    HostAccess {
        mode: vendor
            .mode
            .unwrap_or_default()
            .iter()
            .find_map(|told| match told {
                ModeTold::Attribute(name) => attribute(name),
                ModeTold::Property(name) => property(name),
            }),
        host_privilege: attribute("HostPrivilegeLevel"),
        host_rshim: property("HostRshim"),
    }
}

/// The settings of the firmware, where something of them is wanted.
pub(super) async fn bios(walk: &mut Walk<'_>, system: &System) -> Option<Document> {
    let vendor = system.vendor;
    let wanted = vendor.option_roms.is_some() || vendor.mode.is_some_and(|mode| !mode.is_empty());
    if !wanted {
        return None;
    }
    walk.part(GROUP, link(&system.document, "Bios")).await
}

/// Whether a card is in a mode in which its boot ends in UEFI; `None`: nothing tells.
pub(super) fn ends_in_uefi(vendor: &Vendor, access: Option<&HostAccess>) -> Option<bool> {
    if vendor.mode?.is_empty() {
        return Some(false);
    }
    let mode = access?.mode.as_deref()?;
    Some(mode.eq_ignore_ascii_case(NIC_MODE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::explore::tests::system;

    #[test]
    fn the_boot_order_is_told_by_name_and_else_as_it_stands() {
        let document = json!({
            "PowerRestorePolicy": "LastState", "BiosVersion": "2.22.1",
            "HostWatchdogTimer": {"FunctionEnabled": true, "TimeoutAction": "ResetSystem"},
        });
        let option = json!({"BootOptionReference": "Boot0001", "DisplayName": "Disk"});
        let references = ["Boot0001".to_owned(), "Boot0009".to_owned()];
        let options = [("/b/1".to_owned(), option.into())];
        let host = system(json!({"Manufacturer": "Dell Inc."}));
        let facts = facts(&document, &references, &options, None, host.vendor);
        assert_eq!(facts.boot_order, ["Disk", "Boot0009"]);
        assert_eq!(facts.power_restore_policy.as_deref(), Some("LastState"));
        assert_eq!(facts.watchdog_enabled, Some(true));
        assert_eq!(facts.watchdog_action.as_deref(), Some("ResetSystem"));
        assert_eq!(facts.hold_ceiling_seconds, Some(600));
        assert!(facts.hold_ceiling_source.unwrap().starts_with("table dell"));
    }

    #[test]
    fn option_roms_are_told_where_a_table_names_the_settings() {
        let host = system(json!({"Manufacturer": "HPE"}));
        let roms = |attributes: Value| option_roms(&json!({"Attributes": attributes}), host.vendor);
        let all = json!({"PciSlot1OptionROM": "Enabled", "PciSlot2OptionROM": "Enabled", "X": "Y"});
        assert_eq!(roms(all).as_deref(), Some("Enabled"));
        let some = json!({"PciSlot1OptionROM": "Disabled", "PciSlot2OptionROM": "Enabled"});
        assert_eq!(roms(some).as_deref(), Some("1=Disabled,2=Enabled"));
        assert_eq!(roms(json!({"PciSlot1OptionROM": 1})), None);
        assert_eq!(roms(json!(null)), None);
        let other = system(json!({"Manufacturer": "Lenovo"}));
        let set = json!({"Attributes": {"PciSlot1OptionROM": "Enabled"}});
        assert_eq!(option_roms(&set, other.vendor), None);
    }

    #[test]
    fn secure_boot_is_what_this_boot_did() {
        let document = json!({"SecureBootEnable": true, "SecureBootCurrentBoot": "Disabled",
            "SecureBootMode": "UserMode"});
        let facts = secure_boot(&document);
        assert_eq!(
            (facts.enabled, facts.mode.as_deref()),
            (Some(false), Some("UserMode"))
        );
        assert_eq!(
            secure_boot(&json!({"SecureBootEnable": true})).enabled,
            None
        );
    }

    #[test]
    fn a_boot_ends_in_uefi_in_nic_mode_and_unknown_is_not_dpu_mode() {
        let card = system(json!({"Model": "BlueField-3 DPU"})).vendor;
        let bios = json!({"Attributes": {"HostPrivilegeLevel": "Restricted"}});
        let oem = json!({"Mode": "NicMode", "HostRshim": "Disabled"});
        let told = access(card, Some(&bios), Some(&oem));
        assert_eq!(told.host_privilege.as_deref(), Some("Restricted"));
        assert_eq!(told.host_rshim.as_deref(), Some("Disabled"));
        assert_eq!(ends_in_uefi(card, Some(&told)), Some(true));
        let silent = access(card, Some(&bios), None);
        assert_eq!(ends_in_uefi(card, Some(&silent)), None);
        assert_eq!(ends_in_uefi(card, None), None);

        let old = system(json!({"Model": "BlueField-2 DPU"})).vendor;
        let bios = json!({"Attributes": {"NicMode": "DpuMode"}});
        let told = access(old, Some(&bios), None);
        assert_eq!(ends_in_uefi(old, Some(&told)), Some(false));
        let other = system(json!({"SystemType": "DPU"})).vendor;
        assert_eq!(ends_in_uefi(other, None), Some(false));
    }
}
