//! The admission guards that keep every agent to its own objects.
//!
//! Without them any agent could speak for any other, so the planner refuses to
//! act on reports unless all of them are in place and unchanged. They are
//! compared by a hash over their spec in a canonical form, in which fields that
//! the API server fills in with defaults do not count.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::key::Key;

/// Kind of a guard's rules.
pub const POLICY: &str = "ValidatingAdmissionPolicy";
/// Kind of what puts a guard's rules in force.
pub const BINDING: &str = "ValidatingAdmissionPolicyBinding";

/// The embedded guards cannot be used: a defect of this build.
#[derive(Debug, Error)]
pub enum GuardError {
    /// It is not YAML, or lacks what every object has.
    #[error("an embedded admission guard cannot be parsed: {0}")]
    Parse(#[from] serde_yaml::Error),
    /// It is something else.
    #[error("embedded guard {0} is neither a {POLICY} nor a {BINDING}")]
    Kind(String),
}

#[derive(Deserialize)]
struct Document {
    kind: String,
    metadata: Named,
    spec: Value,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What is wanted of each guard, and what the cluster has. Keys hold the kind
/// in place of a namespace.
#[derive(Debug, Default)]
pub struct Guards {
    wanted: BTreeMap<Key, String>,
    seen: BTreeMap<Key, String>,
}

impl Guards {
    /// The guards of these manifests, each of one or more YAML documents.
    ///
    /// # Errors
    /// If a manifest holds anything else.
    pub fn parse<S: AsRef<str>>(manifests: &[S]) -> Result<Self, GuardError> {
        let mut wanted = BTreeMap::new();
        for manifest in manifests {
            for document in serde_yaml::Deserializer::from_str(manifest.as_ref()) {
                let document = Document::deserialize(document)?;
                let key = Key::new(document.kind, document.metadata.name);
                if key.namespace != POLICY && key.namespace != BINDING {
                    return Err(GuardError::Kind(key.to_string()));
                }
                wanted.insert(key, fingerprint(&document.spec));
            }
        }
        Ok(Self {
            wanted,
            seen: BTreeMap::new(),
        })
    }

    /// Takes note of a guard in the cluster, or of its end. Returns whether
    /// `intact` says something else now.
    pub fn observe(&mut self, key: &Key, spec: Option<&Value>) -> bool {
        if !self.wanted.contains_key(key) {
            return false;
        }
        let before = self.intact();
        match spec {
            Some(spec) => self.seen.insert(key.clone(), fingerprint(spec)),
            None => self.seen.remove(key),
        };
        before != self.intact()
    }

    /// Whether every guard is in place and unchanged. Never true without guards.
    pub fn intact(&self) -> bool {
        !self.wanted.is_empty() && self.broken().is_empty()
    }

    /// What is missing or changed, in words.
    pub fn broken(&self) -> Vec<String> {
        let judge = |(key, wanted): (&Key, &String)| match self.seen.get(key) {
            None => Some(format!("{key} is missing")),
            Some(seen) if seen != wanted => Some(format!("{key} was changed")),
            Some(_) => None,
        };
        self.wanted.iter().filter_map(judge).collect()
    }

    /// The guards of one kind that have been seen.
    pub fn keys(&self, kind: &str) -> Vec<Key> {
        self.seen
            .keys()
            .filter(|key| key.namespace == kind)
            .cloned()
            .collect()
    }
}

/// SHA-256 over the canonical form of a guard's spec.
fn fingerprint(spec: &Value) -> String {
    let mut text = String::new();
    write_canonical(&canonical(None, spec).unwrap_or(Value::Null), &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// `value` without what means the same when it is left out; `None` if nothing remains.
fn canonical(field: Option<&str>, value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), canonical(Some(name), value)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            // Elements keep their places: an emptied one must not vanish from between others.
            let kept: Vec<Value> = items
                .iter()
                .map(|item| canonical(None, item).unwrap_or(Value::Null))
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::String(text) => {
            let default = matches!(
                (field, text.as_str()),
                (Some("matchPolicy"), "Equivalent")
                    | (Some("failurePolicy"), "Fail")
                    | (Some("scope"), "*")
            );
            (!default).then(|| Value::String(text.trim_end().to_owned()))
        }
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
    }
}

/// JSON with sorted fields, whatever map serde_json was built with.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            text.push('{');
            for (name, value) in sorted {
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MANIFEST: &str = "
kind: ValidatingAdmissionPolicy
metadata: {name: reports}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [g], apiVersions: [v1], operations: [CREATE], resources: [r]}
  validations:
  - expression: |
      object.metadata.name == 'x'
---
kind: ValidatingAdmissionPolicyBinding
metadata: {name: reports}
spec: {policyName: reports, validationActions: [Deny]}
";

    fn as_served() -> Value {
        json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": ["g"], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["r"], "scope": "*",
                }],
            },
            "validations": [{"expression": "object.metadata.name == 'x'\n"}],
        })
    }

    fn in_place() -> Guards {
        let mut guards = Guards::parse(&[MANIFEST]).unwrap();
        guards.observe(&Key::new(POLICY, "reports"), Some(&as_served()));
        let binding = json!({"policyName": "reports", "validationActions": ["Deny"],
            "matchResources": {"matchPolicy": "Equivalent", "objectSelector": {}}});
        assert!(guards.observe(&Key::new(BINDING, "reports"), Some(&binding)));
        guards
    }

    #[test]
    fn defaults_of_the_server_do_not_count() {
        let guards = in_place();
        assert!(guards.intact(), "{:?}", guards.broken());
    }

    #[test]
    fn whatever_weakens_a_guard_shows() {
        let key = Key::new(POLICY, "reports");
        let weaker = [
            ("/failurePolicy", json!("Ignore")),
            (
                "/matchConstraints/objectSelector",
                json!({"matchLabels": {"a": "b"}}),
            ),
            (
                "/matchConstraints/namespaceSelector",
                json!({"matchLabels": {"a": "b"}}),
            ),
            (
                "/matchConstraints/resourceRules/0/operations",
                json!(["DELETE"]),
            ),
            ("/matchConstraints/resourceRules/0/scope", json!("Cluster")),
            ("/validations/0/expression", json!("true")),
            ("/validations", json!([])),
        ];
        for (path, value) in weaker {
            let mut guards = in_place();
            let mut spec = as_served();
            *spec.pointer_mut(path).unwrap() = value;
            assert!(guards.observe(&key, Some(&spec)), "{path}");
            assert!(!guards.intact(), "{path}");
        }
        let mut guards = in_place();
        let mut spec = as_served();
        spec["matchConditions"] = json!([{"name": "never", "expression": "false"}]);
        assert!(guards.observe(&key, Some(&spec)));
    }

    #[test]
    fn a_missing_binding_is_a_missing_guard() {
        let mut guards = in_place();
        assert!(guards.observe(&Key::new(BINDING, "reports"), None));
        assert_eq!(
            guards.broken(),
            ["ValidatingAdmissionPolicyBinding/reports is missing"]
        );
    }

    #[test]
    fn no_guards_are_not_intact_guards() {
        assert!(!Guards::parse::<&str>(&[]).unwrap().intact());
        assert!(!Guards::default().observe(&Key::new(POLICY, "other"), Some(&json!({}))));
    }
}
