//! Faults in documents, put on the answer last.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::message::Message;
use super::tree;
use super::{Body, Reply, Request};
use crate::domain::{Domain, Index};
use crate::fault::{Fault, Layer};
use crate::machine::Machine;
use crate::stage::Stage;

/// Members of a collection that is far too large.
const HUGE: usize = 5_000;

/// Distorts the answer to a read as the machine's faults say.
pub(super) fn distort(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    reply: &mut Reply,
) {
    if !matches!(request.method, "GET" | "HEAD") || reply.status != StatusCode::OK {
        return;
    }
    let Body::Json(document) = &mut reply.body else {
        return;
    };
    let rules = domain.machines[machine].faults.rules();
    let mut faults: Vec<Fault> = rules.iter().map(|rule| rule.fault).collect();
    faults.retain(|fault| fault.about().layer == Layer::Document);
    faults.dedup();
    for fault in faults {
        let (method, path) = (request.method, request.path);
        let one = &domain.machines[machine];
        let over = fault == Fault::UpdateServiceLate && !domain.updates_are_late(machine);
        if over || !one.faults.covers(fault, method, path) {
            continue;
        }
        let right = document.clone();
        apply(fault, one, document, path);
        let fails = fault == Fault::BiosError && path.ends_with("/Bios");
        if fails {
            reply.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        // What says the same as before was not struck.
        if fails || *document != right {
            domain.strikes_request(machine, fault, method, path);
        }
    }
}

fn apply(fault: Fault, one: &Machine, document: &mut Value, path: &str) {
    match fault {
        Fault::NestedAllowable => allowable(document, &|values| json!([values])),
        Fault::NoAllowable => {
            each_object(document, &mut |object| {
                object.retain(|name, _| {
                    !name.ends_with("@Redfish.AllowableValues") && name != "@Redfish.ActionInfo"
                });
            });
        }
        Fault::WrongAllowable => allowable(document, &|mut values| {
            if let Some(values) = values.as_array_mut() {
                values.push("FullPowerCycle".into());
            }
            values
        }),
        Fault::EnumTypo => set(
            document,
            &["State", "LastState", "PowerState"],
            &"Invaild".into(),
        ),
        Fault::WrongTypes => {
            each_object(document, &mut |object| {
                for (name, value) in object.iter_mut() {
                    if !name.starts_with('@') {
                        *value = other_type(value.take());
                    }
                }
            });
        }
        Fault::EmptyStrings => set(document, STRINGS, &"".into()),
        Fault::NullMembers => set(document, &["Members"], &Value::Null),
        Fault::PaddedStrings => {
            for name in ["SerialNumber", "PartNumber", "Model", "SKU"] {
                change(document, name, &|value| {
                    value.as_str().map(|text| format!("{text:<24}").into())
                });
            }
        }
        Fault::JunkIdentity => {
            set(
                document,
                &["UUID"],
                &"00000000-0000-0000-0000-000000000000".into(),
            );
            set(
                document,
                &["SerialNumber"],
                &"To Be Filled By O.E.M.".into(),
            );
        }
        Fault::MissingNames => {
            each_object(document, &mut |object| {
                object.retain(|name, _| !matches!(name.as_str(), "Id" | "Name"));
            });
        }
        Fault::DeadMember => member(document, &format!("{}/Gone", path.trim_end_matches('/'))),
        Fault::CyclicMember => member(document, path),
        Fault::HugeCollection => {
            if document.get("Members").is_some() {
                let base = path.trim_end_matches('/');
                let ghosts =
                    (0..HUGE).map(|one| json!({"@odata.id": format!("{base}/Ghost{one}")}));
                document["Members"] = ghosts.collect();
                document["Members@odata.count"] = HUGE.into();
            }
        }
        Fault::ErrorInOk => document["error"] = Message::InternalError.error()["error"].clone(),
        Fault::ClockAtEpoch => set(document, DATES, &"1970-01-01T00:00:07Z".into()),
        Fault::ZeroDates => set(document, DATES, &"0000-00-00T00:00:00Z".into()),
        Fault::OddOffset => {
            for name in DATES {
                change(document, name, &|value| {
                    let text = value.as_str()?.trim_end_matches('Z');
                    Some(format!("{text}+0000").into())
                });
            }
        }
        Fault::OemVersion => {
            for name in ["Version", "FirmwareVersion", "BiosVersion"] {
                change(document, name, &|value| {
                    value.as_str().map(|text| format!("OEM-{text}(rel)").into())
                });
            }
        }
        Fault::UpdateServiceLate => {
            if path.trim_end_matches('/').ends_with("/UpdateService") {
                document["Status"]["State"] = "Starting".into();
            }
        }
        Fault::StaleStageTime => {
            set(document, &["LastStateTime"], &"1970-01-01T00:00:00Z".into());
        }
        Fault::StagesSkipped => skip_stages(one, document),
        Fault::BiosEmpty => {
            // After an update the attributes come back with the first boot (6.7).
            let waiting = one.firmware.iter().any(|one| one.pending.is_some());
            if waiting && path.contains("/Bios") {
                set(document, &["Attributes"], &json!({}));
            }
        }
        // This one is about the status.
        Fault::BiosError => {}
        // Not about documents: the caller does not ask.
        Fault::ResetConnection
        | Fault::HangConnection
        | Fault::Hang
        | Fault::DropRequest
        | Fault::LoseReply
        | Fault::SlowReply
        | Fault::AnswerStatus
        | Fault::Garbage
        | Fault::CloseSilently
        | Fault::RedirectToHttp
        | Fault::NoHead
        | Fault::SlashMissing
        | Fault::EtagWeak
        | Fault::EtagDemanded
        | Fault::EtagNeverMatches
        | Fault::EtagRefused
        | Fault::BodyDemanded
        | Fault::ApplyTimeRefused
        | Fault::LocationMissing
        | Fault::LocationAbsolute
        | Fault::TaskUnnamed
        | Fault::UpdateWithoutTask
        | Fault::ResetIgnored
        | Fault::ResetRefused
        | Fault::TooCloseLost
        | Fault::OnceLost
        | Fault::OnceIgnored
        | Fault::OnceStays
        | Fault::OverrideLostWithBmc
        | Fault::HttpUriDropped
        | Fault::HttpImageFetched
        | Fault::MediaLate
        | Fault::MediaRefused
        | Fault::EjectRefused
        | Fault::TaskLost
        | Fault::TaskWarning
        | Fault::TaskStuck
        | Fault::TaskMonitorGone
        | Fault::TaskCritical
        | Fault::TaskErrorText
        | Fault::PercentShort
        | Fault::PartFailed
        | Fault::UpdatesClobber
        | Fault::BmcRestartsInUpdate
        | Fault::CertificateChangesWithBmc
        | Fault::WrongVersion
        | Fault::WrongCard
        | Fault::ImageUnreachable
        | Fault::UpdateBusy
        | Fault::SessionsFull
        | Fault::SessionsForgotten
        | Fault::PasswordChangeRequired
        | Fault::StageStuck
        | Fault::CrashAt => {}
    }
}

/// A stage between the first and the last one is told as the first.
fn skip_stages(one: &Machine, document: &mut Value) {
    let first = Stage::ResetBootRom;
    let between = one
        .stage
        .is_some_and(|stage| stage != first && stage < one.final_stage());
    if between && let Some(told) = document.get_mut("BootProgress") {
        for (name, word) in tree::stage_words(one.personality.boot.progress, first) {
            told[name] = word.into();
        }
    }
}

/// Properties whose emptiness hurts most.
const STRINGS: &[&str] = &[
    "UUID",
    "SerialNumber",
    "BootSourceOverrideTarget",
    "BootSourceOverrideEnabled",
    "BootSourceOverrideMode",
    "MessageId",
];

const DATES: &[&str] = &[
    "DateTime",
    "LastResetTime",
    "LastStateTime",
    "Created",
    "StartTime",
    "EndTime",
];

fn each_object(value: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            act(object);
            object
                .values_mut()
                .for_each(|inner| each_object(inner, act));
        }
        Value::Array(values) => values.iter_mut().for_each(|inner| each_object(inner, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Something of another type; objects stay, so that there is a tree to walk.
fn other_type(value: Value) -> Value {
    match value {
        Value::String(text) => text.len().into(),
        Value::Number(number) => number.to_string().into(),
        Value::Bool(truth) => truth.to_string().into(),
        Value::Array(mut values) if !values.is_empty() => values.swap_remove(0),
        other @ (Value::Array(_) | Value::Object(_)) => other,
        Value::Null => false.into(),
    }
}

/// Replaces a property wherever it is, if `by` gives something.
fn change(document: &mut Value, name: &str, by: &impl Fn(&Value) -> Option<Value>) {
    each_object(document, &mut |object| {
        if let Some(value) = object.get_mut(name)
            && let Some(new) = by(value)
        {
            *value = new;
        }
    });
}

fn set(document: &mut Value, names: &[&str], to: &Value) {
    for name in names {
        change(document, name, &|_| Some(to.clone()));
    }
}

fn allowable(document: &mut Value, by: &impl Fn(Value) -> Value) {
    each_object(document, &mut |object| {
        for (name, value) in object.iter_mut() {
            if name.ends_with("AllowableValues") {
                *value = by(value.take());
            }
        }
    });
}

fn member(document: &mut Value, path: &str) {
    if let Some(members) = document.get_mut("Members").and_then(Value::as_array_mut) {
        members.push(json!({"@odata.id": path}));
        document["Members@odata.count"] = members.len().into();
    }
}
