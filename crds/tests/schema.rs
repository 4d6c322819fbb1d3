//! What the API server will see of the schemas: every string, list and map has a
//! bound, defaults obey their own rules, and nothing is pruned or preserved by accident.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing test says where"
)]

use kube_core::cel::Validator;
use serde_json::{Value, json};

/// Places without a bound, each with its reason.
const UNBOUNDED: &[(&str, &str)] = &[];

/// The root schema of every kind, as the CRD carries it.
fn schemas() -> Vec<(String, Value)> {
    lockstep_crds::all()
        .into_iter()
        .map(|crd| {
            let kind = crd.spec.names.kind.clone();
            let schema = crd.spec.versions[0].schema.clone().unwrap();
            (
                kind,
                serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap(),
            )
        })
        .collect()
}

/// Calls `visit(path, schema)` for a schema and everything below it.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            &format!("{path}{{}}"),
            &schema["additionalProperties"],
            visit,
        );
    }
}

fn is_bounded(schema: &Value) -> bool {
    match schema["type"].as_str() {
        // The API server knows the longest date-time by its format.
        Some("string") => {
            schema["maxLength"].is_u64()
                || schema["enum"].is_array()
                || schema["format"] == "date-time"
        }
        Some("array") => schema["maxItems"].is_u64(),
        Some("object") => {
            schema["additionalProperties"].is_null() || schema["maxProperties"].is_u64()
        }
        _ => true,
    }
}

#[test]
fn every_string_list_and_map_is_bounded() {
    let mut unbounded = Vec::new();
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            if !is_bounded(schema) && !UNBOUNDED.iter().any(|(allowed, _)| *allowed == path) {
                unbounded.push(path.to_owned());
            }
        });
    }
    assert!(unbounded.is_empty(), "no bound on {unbounded:#?}");
}

#[test]
fn the_walk_finds_what_is_unbounded() {
    let schema = json!({"type": "object", "properties": {
        "text": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string", "maxLength": 3}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    }});
    let mut found = Vec::new();
    walk("X", &schema, &mut |path, schema| {
        if !is_bounded(schema) {
            found.push(path.to_owned());
        }
    });
    assert_eq!(found, ["X.list", "X.map", "X.text"]);
}

#[test]
fn every_value_has_a_type_and_a_description() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            assert!(schema["type"].is_string(), "{path} has no type: {schema}");
            // kind, apiVersion and metadata are the API server's; items speak through their list.
            if !path.ends_with("[]") {
                assert!(
                    schema["description"]
                        .as_str()
                        .is_some_and(|d| !d.is_empty()),
                    "{path} has no description"
                );
            }
            assert!(
                schema["x-kubernetes-preserve-unknown-fields"].is_null(),
                "{path} keeps unknown fields"
            );
        });
    }
}

/// The API server refuses a CRD whose default breaks the rules of its own schema.
#[test]
fn defaults_obey_their_own_rules() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            let default = &schema["default"];
            if default.is_null() {
                return;
            }
            if let Err(errors) = Validator::new().validate(schema, default, None) {
                panic!("the default of {path} breaks {errors:?}");
            }
            if let Some(allowed) = schema["enum"].as_array() {
                assert!(
                    allowed.contains(default),
                    "the default of {path} is not allowed"
                );
            }
            for (bound, holds) in [
                ("minimum", default.as_f64() >= schema["minimum"].as_f64()),
                (
                    "maximum",
                    schema["maximum"].is_null() || default.as_f64() <= schema["maximum"].as_f64(),
                ),
            ] {
                assert!(holds, "the default of {path} is beyond its {bound}");
            }
        });
    }
}

#[test]
fn conditions_are_maps_by_type_with_the_bounds_of_kubernetes() {
    for (kind, schema) in schemas() {
        let conditions = &schema["properties"]["status"]["properties"]["conditions"];
        if conditions.is_null() {
            let told = ["DpuReport", "DpuInventory"].contains(&kind.as_str());
            assert!(told, "{kind} has no conditions");
            continue;
        }
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        let condition = &conditions["items"]["properties"];
        assert_eq!(
            condition["status"]["enum"],
            json!(["True", "False", "Unknown"])
        );
        assert_eq!(condition["type"]["maxLength"], 316);
        assert_eq!(condition["reason"]["maxLength"], 1024);
        assert_eq!(condition["message"]["maxLength"], 32_768);
    }
}

/// Values of newer releases must pass the API server and older readers, so what agents and
/// the operator write is open, but for values that are copied from a spec as they are.
#[test]
fn reports_and_statuses_hold_no_closed_enum_of_their_own() {
    const COPIED: &[&str] = &[
        "DpuHost.status.directives[].action.workOrder.onOrphan",
        "DpuHost.status.hold.mechanism",
        "DpuHost.status.hold.workOrder.onOrphan",
        "DpuHost.status.slotPower.value",
    ];
    for (kind, schema) in schemas() {
        let part = if kind == "DpuReport" {
            "spec"
        } else {
            "status"
        };
        let root = format!("{kind}.{part}");
        walk(&root, &schema["properties"][part], &mut |path, schema| {
            assert!(
                schema["enum"].is_null()
                    || path.contains(".conditions[]")
                    || COPIED.contains(&path),
                "{path} is closed: {schema}"
            );
        });
    }
}

/// Titles of types become text in descriptions; that of a kind would be its bare name.
#[test]
fn no_kind_is_described_by_its_name() {
    for (kind, schema) in schemas() {
        let text = schema["description"].as_str().unwrap();
        assert!(
            !text.is_empty() && text.lines().all(|line| line != kind),
            "{kind}: {text}"
        );
        assert!(schema["title"].is_null(), "{kind}");
    }
}
