//! Records of hosts made from their schema, so that a field that is added later is in them by itself.

use lockstep_crds::DpuHostStatus;
use serde_json::{Map, Value, json};

/// The schema of the status of a `DpuHost`, as its CRD carries it.
pub fn of_record() -> Value {
    let mut kinds = lockstep_crds::all().into_iter();
    let host = kinds
        .find(|kind| kind.spec.names.kind == "DpuHost")
        .unwrap();
    let schema = host.spec.versions[0].schema.clone().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap();
    schema["properties"]["status"].clone()
}

/// What stands at one place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    Time,
    Number,
    /// An enum that a newer release may extend.
    Open,
    Other,
}

fn known(schema: &Value) -> Option<Vec<String>> {
    let described = schema["description"].as_str()?;
    let (_, values) = described.split_once("Known values: ")?;
    let (values, _) = values.split_once('.')?;
    Some(values.split(", ").map(str::to_owned).collect())
}

fn leaf(schema: &Value) -> Leaf {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (_, Some("date-time")) => Leaf::Time,
        (Some("integer"), _) => Leaf::Number,
        (Some("string"), _) if known(schema).is_some() => Leaf::Open,
        (_, _) => Leaf::Other,
    }
}

/// Every place of a record, `cards[].components[].attempts`, and what stands there.
pub fn places(schema: &Value) -> Vec<(String, Leaf)> {
    let mut found = Vec::new();
    visit("", schema, &mut |path, schema| {
        found.push((path.to_owned(), leaf(schema)));
    });
    found
}

fn visit(path: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    let inner = [("[]", "items"), ("{}", "additionalProperties")];
    let mut is_leaf = true;
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        visit(&joined(path, name), property, see);
        is_leaf = false;
    }
    for (suffix, key) in inner {
        if schema[key].is_object() {
            visit(&format!("{path}{suffix}"), &schema[key], see);
            is_leaf = false;
        }
    }
    if is_leaf {
        see(path, schema);
    }
}

fn joined(path: &str, name: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}")
}

/// A record in which everything is said, in one of two ways that differ everywhere. At some places
/// `instead` says something else; what it says is null is absent.
pub fn filled(schema: &Value, way: usize, instead: &dyn Fn(&str) -> Option<Value>) -> Value {
    fill("", schema, way, instead)
}

fn fill(path: &str, schema: &Value, way: usize, instead: &dyn Fn(&str) -> Option<Value>) -> Value {
    if let Some(value) = instead(path) {
        return value;
    }
    if let Some(properties) = schema["properties"].as_object() {
        let filled = properties.iter().map(|(name, property)| {
            let value = fill(&joined(path, name), property, way, instead);
            (name.clone(), value)
        });
        let filled: Map<String, Value> = filled.filter(|(_, value)| !value.is_null()).collect();
        return Value::Object(filled);
    }
    if schema["items"].is_object() {
        return json!([fill(&format!("{path}[]"), &schema["items"], way, instead)]);
    }
    if schema["additionalProperties"].is_object() {
        let values = &schema["additionalProperties"];
        return json!({ "a": fill(&format!("{path}{{}}"), values, way, instead) });
    }
    if let Some(known) = known(schema) {
        return json!(known[way % known.len()]);
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[way % values.len()].clone();
    }
    match (leaf(schema), schema["type"].as_str()) {
        (Leaf::Time, _) => json!(format!("2026-01-0{}T00:00:00Z", way + 1)),
        (Leaf::Number, _) => json!(way + 1),
        (_, Some("boolean")) => json!(way == 0),
        (_, Some("string")) => json!(["one", "two"][way % 2]),
        (_, kind) => unreachable!("{path} is {kind:?}, and nothing is known to put there"),
    }
}

/// The record that this says.
pub fn record(value: &Value) -> DpuHostStatus {
    serde_json::from_value(value.clone()).unwrap_or_else(|why| panic!("{why} in {value:#}"))
}
