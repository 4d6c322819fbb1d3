//! What is asked of each field of a host's record, whoever adds one: the schema is walked, and a field
//! that nobody has thought of fails.

use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::CardRecord;
use lockstep_planner::quiet::only_repeatable;
use serde_json::{Map, Value, json};

use crate::schema::{filled, of_record, record};

/// Fields that the next plan concludes again from the same reports.
const REPEATABLE: [&str; 5] = [
    "directives",
    "history",
    "slotPower",
    "cards[].armed",
    "cards[].stopping",
];

/// Every field of the record and of what it holds of a card.
fn fields(schema: &Value) -> Vec<String> {
    let names = |schema: &Value| -> Vec<String> {
        let properties = schema["properties"].as_object().unwrap();
        properties.keys().cloned().collect()
    };
    let of_cards = names(&schema["properties"]["cards"]["items"]);
    let of_cards = of_cards.into_iter().map(|name| format!("cards[].{name}"));
    let of_host = names(schema).into_iter().filter(|name| name != "cards");
    of_host.chain(of_cards).collect()
}

/// The value at that field.
fn at<'a>(record: &'a mut Value, field: &str) -> (&'a mut Map<String, Value>, String) {
    let (inner, name) = match field.strip_prefix("cards[].") {
        Some(name) => (&mut record["cards"][0], name),
        None => (record, field),
    };
    (inner.as_object_mut().unwrap(), name.to_owned())
}

/// The record with what the other says in that field.
fn with(one: &Value, other: &Value, field: &str) -> Value {
    let (mut one, mut other) = (one.clone(), other.clone());
    let (taken, name) = at(&mut other, field);
    let value = taken.remove(&name).unwrap();
    let (inner, name) = at(&mut one, field);
    inner.insert(name, value);
    one
}

/// The record without that field, if it can be without it.
fn without(one: &Value, field: &str) -> Option<DpuHostStatus> {
    let mut one = one.clone();
    let (inner, name) = at(&mut one, field);
    inner.remove(&name);
    serde_json::from_value(one).ok()
}

#[test]
fn a_new_record_of_the_host_is_never_dropped_while_quiet() {
    let schema = of_record();
    let [one, other] = [0, 1].map(|way| filled(&schema, way, &|_| None));
    let before = record(&one);
    assert!(only_repeatable(&before, &before));
    let fields = fields(&schema);
    for field in &fields {
        let waits = REPEATABLE.contains(&field.as_str());
        let changed = record(&with(&one, &other, field));
        assert_ne!(before, changed, "{field}");
        assert_eq!(only_repeatable(&before, &changed), waits, "{field} changed");
        let Some(absent) = without(&one, field) else {
            continue;
        };
        assert_eq!(only_repeatable(&absent, &before), waits, "{field} is new");
        assert_eq!(only_repeatable(&before, &absent), waits, "{field} is gone");
    }
    for name in REPEATABLE {
        assert!(
            fields.iter().any(|field| field == name),
            "there is no {name}"
        );
    }
    let mut second = before.clone();
    let copied: Vec<CardRecord> = second.cards.clone();
    second.cards.extend(copied);
    assert!(!only_repeatable(&before, &second), "another card");
}

#[test]
fn a_hold_is_concluded_again_only_as_the_end_of_its_directive() {
    let schema = of_record();
    let landed = filled(&schema, 0, &|path| match path {
        "hold.state" => Some(json!("PoweredOff")),
        _ => None,
    });
    let landed = record(&landed);
    let before = |hold: Option<&str>, seq: i64| {
        let before = filled(&schema, 0, &|path| match path {
            "hold" if hold.is_none() => Some(Value::Null),
            "hold.state" => hold.map(|state| json!(state)),
            "directives[].seq" => Some(json!(seq)),
            _ => None,
        });
        record(&before)
    };
    let seq = landed.hold.as_ref().unwrap().seq;
    assert!(only_repeatable(&before(None, seq), &landed));
    assert!(only_repeatable(&before(Some("Beginning"), seq), &landed));
    assert!(!only_repeatable(&before(None, seq + 1), &landed));
    assert!(!only_repeatable(&before(Some("HoldBroken"), seq), &landed));
    assert!(!only_repeatable(&landed, &before(None, seq)));
    let mut tainted = landed.clone();
    tainted.hold.as_mut().unwrap().mechanism = lockstep_crds::host::HeldBy::NodeTainted;
    assert!(!only_repeatable(&before(None, seq), &tainted));
}
