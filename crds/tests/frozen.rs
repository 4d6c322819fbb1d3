//! What was once written must be read for ever. `frozen/vX.Y.Z/` holds objects as that
//! release wrote them; files there are added and never changed. Newer releases may add
//! fields and values, which must neither stop a reader nor be lost by it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing test says where"
)]

use std::{fs, path::PathBuf};

use lockstep_crds::directive::{ActionKind, OrphanAction, OutcomeKind, Step, TargetKind};
use lockstep_crds::host::{ArmedEffect, HeldBy, HoldState, MeasuredSlotPower, ReleaseReason};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::{BootStage, Knowledge, Offer, PowerState};
use lockstep_crds::report::{CustodyState, ImageState, MediaOwner, UpdateState, Vantage};
use lockstep_crds::{DpuHost, DpuReport, Phase};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Every frozen object: its file name and its content.
fn frozen() -> Vec<(String, Value)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frozen");
    let mut files = Vec::new();
    for release in fs::read_dir(root).unwrap() {
        for file in fs::read_dir(release.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            files.push((
                path.display().to_string(),
                serde_json::from_str(&text).unwrap(),
            ));
        }
    }
    assert!(files.len() >= 5, "the frozen objects are gone");
    files
}

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    serde_json::to_value(typed).map_err(|e| e.to_string())
}

fn read(value: &Value) -> Result<Value, String> {
    match value["kind"].as_str() {
        Some("DpuReport") => round_trip::<DpuReport>(value),
        Some("DpuHost") => round_trip::<DpuHost>(value),
        other => Err(format!("no reader for {other:?}")),
    }
}

/// Whether everything in `old` is in `new`; `new` may say more (defaults).
fn lost(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                lost(
                    &format!("{path}.{name}"),
                    value,
                    &new.get(name).cloned().unwrap_or_default(),
                    found,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                lost(&format!("{path}[{n}]"), old, new, found);
            }
        }
        _ if old == new => {}
        _ => found.push(format!("{path}: {old} became {new}")),
    }
}

#[test]
fn frozen_objects_are_read_without_loss() {
    for (file, value) in frozen() {
        let again = read(&value).unwrap_or_else(|e| panic!("{file}: {e}"));
        let mut found = Vec::new();
        lost("", &value, &again, &mut found);
        assert!(found.is_empty(), "{file}: {found:#?}");
    }
}

/// Adds a field that nobody knows to every object in `value`.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(with_unknown_fields);
            fields.insert("ofANewerRelease".into(), json!({"a": ["b", 1]}));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn unknown_fields_stop_nobody() {
    for (file, mut value) in frozen() {
        with_unknown_fields(&mut value);
        if let Err(error) = read(&value) {
            panic!("{file}: {error}");
        }
    }
}

/// Where agents and the operator write a word from a list, by pointer into the frozen files.
const OPEN: &[(&str, &[&str])] = &[
    (
        "report-card-bmc.json",
        &[
            "/spec/vantage",
            "/spec/bmc/power",
            "/spec/bmc/stage",
            "/spec/bmc/stageKnowledge",
            "/spec/bmc/media/owner",
            "/spec/bmc/capabilities/virtualMedia",
            "/spec/bmc/capabilities/sessions",
            "/spec/execution/outcome/result",
        ],
    ),
    ("report-host-bmc.json", &["/spec/custody/state"]),
    ("report-site.json", &["/spec/images/0/state"]),
    (
        "host.json",
        &[
            "/status/step",
            "/status/power",
            "/status/hold/state",
            "/status/hold/mechanism",
            "/status/hold/workOrder/onOrphan",
            "/status/directives/1/action/workOrder/onOrphan",
            "/status/slotPower/value",
            "/status/release/reason",
            "/status/hold/releasing",
            "/status/directives/0/step",
            "/status/directives/0/target/kind",
            "/status/directives/0/action/kind",
            "/status/directives/0/expects/power",
            "/status/cards/0/armed/0",
            "/status/history/0/outcome",
        ],
    ),
];

#[test]
fn unknown_values_stop_nobody_and_are_kept() {
    let frozen = frozen();
    for (name, pointers) in OPEN {
        let (_, original) = frozen
            .iter()
            .find(|(file, _)| file.ends_with(name))
            .unwrap();
        for pointer in *pointers {
            let mut value = original.clone();
            *value.pointer_mut(pointer).unwrap() = json!("OfANewerRelease");
            let again = read(&value).unwrap_or_else(|e| panic!("{name}{pointer}: {e}"));
            assert_eq!(
                again.pointer(pointer).unwrap(),
                "OfANewerRelease",
                "{name}{pointer}"
            );
        }
    }
}

macro_rules! every_value_survives {
    ($($type:ty),+ $(,)?) => {
        #[test]
        fn every_open_enum_reads_what_it_writes() {
            $(
                assert!(!<$type>::KNOWN.is_empty());
                for value in <$type>::KNOWN {
                    let text = serde_json::to_value(value).unwrap();
                    assert_eq!(text, json!(value.as_str()));
                    assert_eq!(&serde_json::from_value::<$type>(text).unwrap(), value);
                    assert_eq!(value.to_string(), value.as_str());
                    assert!(value.as_str().len() <= 64);
                }
                let newer: $type = serde_json::from_value(json!("Newer")).unwrap();
                assert_eq!(newer, <$type>::Unrecognized("Newer".into()));
                assert_eq!(serde_json::to_value(&newer).unwrap(), json!("Newer"));
                assert!(serde_json::from_value::<$type>(json!(7)).is_err());
            )+
        }
    };
}

every_value_survives!(
    Phase,
    Step,
    ActionKind,
    TargetKind,
    OutcomeKind,
    HoldState,
    HeldBy,
    MeasuredSlotPower,
    OrphanAction,
    ReleaseReason,
    ArmedEffect,
    BootStage,
    Knowledge,
    PowerState,
    Offer,
    Vantage,
    MediaOwner,
    UpdateState,
    ImageState,
    CustodyState,
    InstallMethod,
);

/// What is not understood is never taken for harmless.
#[test]
fn unknown_is_not_safe() {
    assert!(BootStage::Unrecognized("Newer".into()).forbids_power_cut());
    assert!(ActionKind::Unrecognized("Newer".into()).is_destructive());
}
