//! `config/samples`: each file is read by the types without loss, obeys the rules, and
//! names nothing that it does not bring along.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing test says where"
)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use kube_core::{CustomResourceExt, cel};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Every sample file and its documents.
fn samples() -> Vec<(String, Vec<Value>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let documents = serde_yaml::Deserializer::from_str(&text)
                .map(|document| Value::deserialize(document).unwrap())
                .collect();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                documents,
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 2);
    found
}

/// Fields of `old` that are not in `new`: what a type did not know.
fn unknown(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                match new.get(name) {
                    Some(new) => unknown(&format!("{path}.{name}"), value, new, found),
                    None => found.push(format!("{path}.{name}")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for (old, new) in old.iter().zip(new) {
                unknown(&format!("{path}[]"), old, new, found);
            }
        }
        _ => {}
    }
}

fn check<K>(file: &str, document: &Value)
where
    K: CustomResourceExt + DeserializeOwned + Serialize + Debug,
{
    let name = format!(
        "{file}: {} {}",
        document["kind"], document["metadata"]["name"]
    );
    let object: K =
        serde_json::from_value(document.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut found = Vec::new();
    unknown(
        "",
        document,
        &serde_json::to_value(&object).unwrap(),
        &mut found,
    );
    assert!(found.is_empty(), "{name}: no such field {found:?}");
    if let Err(errors) = cel::validate_cel(&object) {
        panic!("{name}: {errors:?}");
    }
}

#[test]
fn every_object_is_read_and_obeys_the_rules() {
    for (file, documents) in samples() {
        for document in &documents {
            assert_eq!(document["metadata"]["namespace"], "site-example", "{file}");
            match document["kind"].as_str().unwrap() {
                "Dpu" => check::<Dpu>(&file, document),
                "DpuHost" => check::<DpuHost>(&file, document),
                "DpuImage" => check::<DpuImage>(&file, document),
                "DpuBootPolicy" => check::<DpuBootPolicy>(&file, document),
                "Secret" | "ConfigMap" => {}
                other => panic!("{file}: {other} is no kind of a sample"),
            }
        }
    }
}

/// Kind of the object that a reference of this name points to.
const REFERENCES: &[(&str, &str)] = &[
    ("credentialsRef", "Secret"),
    ("pullSecretRef", "Secret"),
    ("caConfigMapRef", "ConfigMap"),
    ("imageRef", "DpuImage"),
    ("policyRef", "DpuBootPolicy"),
    ("hostRefs", "DpuHost"),
];

fn references(value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some((_, kind)) = REFERENCES.iter().find(|(field, _)| field == name) {
                    let one = std::slice::from_ref(value);
                    for target in value.as_array().map_or(one, Vec::as_slice) {
                        let name = target["name"].as_str().unwrap();
                        found.insert(((*kind).to_owned(), name.to_owned()));
                    }
                }
                references(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for (file, documents) in samples() {
        let there: BTreeSet<(String, String)> = documents
            .iter()
            .map(|d| {
                let text = |v: &Value| v.as_str().unwrap().to_owned();
                (text(&d["kind"]), text(&d["metadata"]["name"]))
            })
            .collect();
        let mut wanted = BTreeSet::new();
        documents.iter().for_each(|d| references(d, &mut wanted));
        assert!(!wanted.is_empty());
        let missing: Vec<_> = wanted.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}");
    }
}

/// What nobody asked for is not done: a policy that says nothing only plans.
#[test]
fn the_default_mode_is_plan() {
    let policy: DpuBootPolicy = serde_json::from_value(serde_json::json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuBootPolicy",
        "metadata": {"name": "p"},
        "spec": {},
    }))
    .unwrap();
    assert_eq!(
        policy.spec.mode,
        lockstep_crds::boot_policy::PolicyMode::Plan
    );
}
