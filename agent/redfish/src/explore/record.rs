//! What a machine can be asked to do, as probed, with where each answer stood.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inventory::{CapabilityRecord, InstallMethod, Probed};
use lockstep_crds::observed::{BootStage, Offer};
use serde_json::Value;

use super::System;
use super::walk::{Missing, Walk};
use crate::document::{action, allowable, bounded, link, strings, text};
use crate::facts::{BmcFacts, Capability};
use crate::link::ROOT;
use crate::pages::Pages;
use crate::report;
use crate::room::Document;

/// Members of `ComponentIntegrity` that are looked at.
const MOST_ROOTS_OF_TRUST: usize = 4;

/// The documents that the record is made from, each read, not there, or not readable.
#[derive(Debug)]
struct Told<'a> {
    manager: Result<&'a (String, Document), &'a Missing>,
    update: Result<(String, Document), Missing>,
    secure_boot: Result<(String, Document), Missing>,
    events: Result<(String, Document), Missing>,
    /// Whether a root of trust offers signed measurements, and where that stands.
    spdm: Probed,
    /// The ActionInfo of `Manager.Reset`, where that is asked for.
    manager_info: Option<Document>,
}

pub(super) async fn read(
    walk: &mut Walk<'_>,
    system: &System,
    facts: &BmcFacts,
    ends_in_uefi: Option<bool>,
    now: &Time,
) -> CapabilityRecord {
    let root = walk.link().shared_root();
    let manager = match &system.manager {
        Some(manager) => Ok(manager),
        None => Err(&system.no_manager),
    };
    let info = manager.as_ref().ok().and_then(|(_, manager)| {
        let reset = action(manager, "Manager.Reset")?;
        match allowable(reset, "ResetType") {
            Some(_) => None,
            None => text(reset, "@Redfish.ActionInfo"),
        }
    });
    let told = Told {
        update: linked(walk, &root, "UpdateService").await,
        secure_boot: linked(walk, &system.document, "SecureBoot").await,
        events: linked(walk, &root, "EventService").await,
        spdm: spdm(walk, &root).await,
        manager_info: walk.part("capabilities", info).await,
        manager,
    };
    record(system, facts, &told, ends_in_uefi, now)
}

/// The document that `owner` links, with its path.
async fn linked(
    walk: &mut Walk<'_>,
    owner: &Value,
    key: &str,
) -> Result<(String, Document), Missing> {
    let path = link(owner, key).ok_or(Missing::Absent)?;
    let read = walk.read(&path).await;
    if let Err(Missing::Failed(why)) = &read {
        walk.note("capabilities", why);
    }
    Ok((path, read?))
}

async fn spdm(walk: &mut Walk<'_>, root: &Value) -> Probed {
    let (path, collection) = match linked(walk, root, "ComponentIntegrity").await {
        Ok(read) => read,
        Err(missing) => return absent(&missing, ROOT),
    };
    // Some answer 200 with an error and no members.
    if collection.get("Members").is_none() {
        return probed(Offer::NotRead, None, &path);
    }
    let mut pages = Pages::of(&path, MOST_ROOTS_OF_TRUST);
    pages.take(&collection);
    let is_whole = pages.beyond() == 0;
    let members = pages.paths;
    // What is not looked at may offer it.
    let offer = if members.len() > MOST_ROOTS_OF_TRUST || !is_whole {
        Offer::NotRead
    } else {
        Offer::NotOffered
    };
    let mut outcome = probed(offer, None, &path);
    for member in members.into_iter().take(MOST_ROOTS_OF_TRUST) {
        match walk.read(&member).await {
            Ok(one) if action(&one, "ComponentIntegrity.SPDMGetSignedMeasurements").is_some() => {
                return probed(Offer::Offered, None, &member);
            }
            Ok(_) | Err(Missing::Absent) => {}
            Err(Missing::Failed(why)) => {
                walk.note("capabilities", &why);
                outcome = probed(Offer::NotRead, None, &member);
            }
        }
    }
    outcome
}

fn record(
    system: &System,
    facts: &BmcFacts,
    told: &Told<'_>,
    ends_in_uefi: Option<bool>,
    now: &Time,
) -> CapabilityRecord {
    let of = |capability: &Capability| {
        probed(
            report::offer(capability),
            capability.values.clone(),
            &capability.source,
        )
    };
    let own = &facts.capabilities;
    let mut record = CapabilityRecord {
        probed_at: Some(now.clone()),
        vendor_table: system.vendor.table.to_owned(),
        reset: of(&own.reset),
        bmc_reset: by_action(
            told.manager,
            ROOT,
            "Manager.Reset",
            "ResetType",
            told.manager_info.as_deref(),
        ),
        boot_override: of(&own.boot_override),
        virtual_media: of(&own.virtual_media),
        simple_update: by_action(
            told.update.as_ref(),
            ROOT,
            "UpdateService.SimpleUpdate",
            "TransferProtocol",
            None,
        ),
        multipart_push: by_property(told.update.as_ref(), ROOT, "MultipartHttpPushUri"),
        boot_progress: of(&own.boot_progress),
        final_stage: ends_in_uefi.map(|ends_in_uefi| {
            if ends_in_uefi {
                BootStage::Uefi
            } else {
                BootStage::OsRunning
            }
        }),
        secure_boot: by_property(told.secure_boot.as_ref(), &system.path, "SecureBootEnable"),
        spdm: told.spdm.clone(),
        sessions: of(&own.sessions),
        events: by_property(told.events.as_ref(), ROOT, "ServerSentEventUri"),
        install_methods: Vec::new(),
    };
    if system.is_card() {
        record.install_methods = install_methods(&record);
        record
            .install_methods
            .extend_from_slice(system.vendor.in_band);
    }
    record
}

/// The ways that follow from what is offered. A boot target must be named: a BMC that does not
/// say what it allows is no proof of a way in.
fn install_methods(record: &CapabilityRecord) -> Vec<InstallMethod> {
    let offered = |probed: &Probed| probed.offer == Offer::Offered;
    let boots = |targets: &[&str]| {
        let values = record.boot_override.values.iter().flatten();
        offered(&record.boot_override)
            && values
                .into_iter()
                .any(|one| targets.contains(&one.as_str()))
    };
    [
        (
            offered(&record.virtual_media) && boots(&["Cd", "Usb", "UsbCd"]),
            InstallMethod::VirtualMedia,
        ),
        (offered(&record.simple_update), InstallMethod::SimpleUpdate),
        (
            offered(&record.multipart_push),
            InstallMethod::MultipartPush,
        ),
        (boots(&["UefiHttp"]), InstallMethod::UefiHttp),
        (boots(&["Pxe"]), InstallMethod::Pxe),
    ]
    .into_iter()
    .filter_map(|(works, method)| works.then_some(method))
    .collect()
}

fn by_action(
    document: Result<&(String, Document), &Missing>,
    owner: &str,
    name: &str,
    parameter: &str,
    info: Option<&Value>,
) -> Probed {
    match document {
        Err(missing) => absent(missing, owner),
        Ok((path, document)) => match action(document, name) {
            None => probed(Offer::NotOffered, None, path),
            Some(one) => {
                let listed = || {
                    let parameters = info?.get("Parameters")?.as_array()?;
                    let named = |one: &&Value| text(one, "Name").as_deref() == Some(parameter);
                    strings(parameters.iter().find(named)?.get("AllowableValues")?)
                };
                let values = allowable(one, parameter).or_else(listed);
                probed(Offer::Offered, values, path)
            }
        },
    }
}

/// Offered by a property that says something; one that is there and says nothing was not read.
fn by_property(document: Result<&(String, Document), &Missing>, owner: &str, key: &str) -> Probed {
    match document {
        Err(missing) => absent(missing, owner),
        Ok((path, document)) => {
            let offer = match document.get(key) {
                Some(Value::Bool(_)) => Offer::Offered,
                Some(_) if text(document, key).is_some() => Offer::Offered,
                Some(_) => Offer::NotRead,
                None => Offer::NotOffered,
            };
            probed(offer, None, path)
        }
    }
}

fn absent(missing: &Missing, owner: &str) -> Probed {
    let offer = match missing {
        Missing::Absent => Offer::NotOffered,
        Missing::Failed(_) => Offer::NotRead,
    };
    probed(offer, None, owner)
}

fn probed(offer: Offer, values: Option<Vec<String>>, source: &str) -> Probed {
    let fits = |values: Vec<String>| {
        let values = values.iter().take(32);
        values.map(|value| bounded(value, 64)).collect()
    };
    Probed {
        offer,
        values: values.map(fits),
        source: bounded(source, 255),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: Value) -> Result<(String, Document), Missing> {
        Ok(("/there".to_owned(), document.into()))
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_could_not_be_read() {
        let failed = Err(Missing::Failed("timeout".to_owned()));
        for (document, offer, source) in [
            (read(json!({"U": "/push"})), Offer::Offered, "/there"),
            (read(json!({"U": false})), Offer::Offered, "/there"),
            (read(json!({"U": null})), Offer::NotRead, "/there"),
            (read(json!({"U": ""})), Offer::NotRead, "/there"),
            (read(json!({})), Offer::NotOffered, "/there"),
            (Err(Missing::Absent), Offer::NotOffered, "/owner"),
            (failed, Offer::NotRead, "/owner"),
        ] {
            let told = by_property(document.as_ref(), "/owner", "U");
            assert_eq!(
                (told.offer, told.source.as_str()),
                (offer, source),
                "{document:?}"
            );
        }
    }

    #[test]
    fn values_come_from_the_action_or_from_its_info_nested_or_not() {
        let inline =
            read(json!({"Actions": {"#A.B": {"P@Redfish.AllowableValues": [["SCP"], "HTTP"]}}}));
        let told = by_action(inline.as_ref(), "/o", "A.B", "P", None);
        assert_eq!(told.values, Some(vec!["SCP".to_owned(), "HTTP".to_owned()]));
        let by_info = read(json!({"Actions": {"#A.B": {"target": "/t"}}}));
        let info = json!({"Parameters": [{"Name": "P", "AllowableValues": ["X"]}]});
        let told = by_action(by_info.as_ref(), "/o", "A.B", "P", Some(&info));
        assert_eq!(told.values, Some(vec!["X".to_owned()]));
        assert_eq!(
            by_action(by_info.as_ref(), "/o", "A.B", "P", None).values,
            None
        );
        assert_eq!(
            by_action(read(json!({})).as_ref(), "/o", "A.B", "P", None).offer,
            Offer::NotOffered
        );
    }
}
