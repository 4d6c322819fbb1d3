//! What is asked of each field of a host's record, whoever adds one: the schema is walked, and a field
//! that nobody has thought of fails.

use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::CardRecord;
use lockstep_planner::ledger::unknown_value;
use lockstep_planner::quiet::only_repeatable;
use serde_json::{Map, Value, json};

use crate::schema::{Leaf, filled, of_record, places, record};

/// Fields that the next plan concludes again from the same reports.
const REPEATABLE: [&str; 5] = [
    "directives",
    "history",
    "cards[].armed",
    "cards[].staged",
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

/// Enums of which a value that this release does not know keeps it from nothing, each with the reason.
const LET_BE: &[(&str, &str)] = &[
    ("capabilities.bmcReset.offer", SHOWN),
    ("capabilities.bootOverride.offer", SHOWN),
    ("capabilities.bootProgress.offer", SHOWN),
    ("capabilities.events.offer", SHOWN),
    ("capabilities.finalStage", SHOWN),
    ("capabilities.installMethods[]", SHOWN),
    ("capabilities.multipartPush.offer", SHOWN),
    ("capabilities.reset.offer", SHOWN),
    ("capabilities.secureBoot.offer", SHOWN),
    ("capabilities.sessions.offer", SHOWN),
    ("capabilities.simpleUpdate.offer", SHOWN),
    ("capabilities.spdm.offer", SHOWN),
    ("capabilities.virtualMedia.offer", SHOWN),
    ("power", SHOWN),
    ("directives[].step", SHOWN),
    ("step", ANOTHER),
    ("release.reason", ANOTHER),
    ("history[].outcome", ANOTHER),
    ("history[].kind", ANOTHER),
    ("slotPower.value", "counts as not known"),
    ("cards[].wipe.items[].result", "counts as not wiped"),
    ("cards[].failedMethods[]", ANOTHER),
    ("cards[].failures[].method", ANOTHER),
    ("cards[].lastGood.method", ANOTHER),
    (
        "cards[].components[].method",
        "an update ends at its time, whoever writes it",
    ),
    (
        "cards[].method",
        "an install ends at its time, whichever way it goes",
    ),
    (
        "directives[].action.activation",
        "the record of the component says it too",
    ),
    ("directives[].action.workOrder.onOrphan", EXECUTOR),
    ("hold.workOrder.onOrphan", EXECUTOR),
    ("directives[].expects.power", EXECUTOR),
    ("directives[].expects.host.power", EXECUTOR),
];
const SHOWN: &str = "people read it, and nothing goes by it";
const ANOTHER: &str = "counts as another than those that are asked for by name";
const EXECUTOR: &str = "its executor does nothing by what it does not know";

/// Times of which no sum is made: they are compared, or people read them.
const NEVER_ADDED_TO: &[&str] = &[
    "capabilities.probedAt",
    "cards[].broughtAt",
    "cards[].components[].torn.since",
    "cards[].wipe.begunAt",
    "cards[].wipe.endedAt",
    "cards[].wipe.notAfter",
    "conditions[].lastTransitionTime",
    "directives[].action.workOrder.expiresAt",
    "hold.workOrder.expiresAt",
    "inspection.askedAt",
    "slotPower.at",
];

/// Numbers that are compared only, or that people read.
const NEVER_COUNTED_ON: &[&str] = &[
    "cards[].components[].securityVersion",
    "cards[].components[].seq",
    "cards[].failures[].attempt",
    "cards[].securityVersion",
    "cards[].serviceFloors[].securityVersion",
    "cards[].services[].securityVersion",
    "conditions[].observedGeneration",
    "directives[].seq",
    "firmware.holdCeilingSeconds",
    "history[].seq",
    "hold.seq",
    "observedGeneration",
    "slots.omitted",
    "slots.slots[].lanes",
];

#[test]
fn every_value_that_somebody_else_may_have_written_is_judged_or_left_for_a_reason() {
    let schema = of_record();
    let plain = record(&filled(&schema, 0, &|_| None));
    assert_eq!(unknown_value(&plain), None);
    let left: Vec<&str> = LET_BE.iter().map(|(place, _)| *place).collect();
    let mut met = 0;
    for (place, leaf) in places(&schema) {
        let (odd, left) = match leaf {
            Leaf::Open => (json!("Levitate"), left.as_slice()),
            Leaf::Time => (json!("9999-12-30T00:00:00Z"), NEVER_ADDED_TO),
            Leaf::Number => (json!(i64::MAX), NEVER_COUNTED_ON),
            Leaf::Other => continue,
        };
        let edited = filled(&schema, 0, &|path| (path == place).then(|| odd.clone()));
        let edited = record(&edited);
        assert_ne!(edited, plain, "{place}");
        let is_left = left.contains(&place.as_str());
        let found = unknown_value(&edited);
        assert_eq!(found.is_none(), is_left, "{place}: {found:?}");
        met += usize::from(is_left);
    }
    let named = LET_BE.len() + NEVER_ADDED_TO.len() + NEVER_COUNTED_ON.len();
    assert_eq!(met, named, "a place is named that no record has");
}

/// Fields of which any value is something done, or awaited, at the machines.
const BUSY: [&str; 5] = [
    "inspection",
    "directives",
    "hold",
    "cards[].armed",
    "cards[].stopping",
];

/// Fields that say nothing of that: what is due by them shows in `step` and `conditions`.
const AT_REST: &[&str] = &[
    "observedGeneration",
    "seq",
    "step",
    "message",
    "wait",
    "power",
    "failed",
    "release",
    "slotPower",
    "nodeName",
    "firmware",
    "slots",
    "actors",
    "capabilities",
    "history",
    "conditions",
    "cards[].name",
    "cards[].uid",
    "cards[].physicalId",
    "cards[].image",
    "cards[].chosen",
    "cards[].attempts",
    "cards[].method",
    "cards[].failedMethods",
    "cards[].retryToken",
    "cards[].epochBefore",
    "cards[].bootedAt",
    "cards[].installEnds",
    "cards[].givenUp",
    "cards[].observedAt",
    "cards[].drift",
    "cards[].repairs",
    "cards[].hasLeft",
    "cards[].lastGood",
    "cards[].failures",
    "cards[].rollBack",
    "cards[].slots",
    "cards[].securityVersion",
    "cards[].components",
    "cards[].services",
    "cards[].broughtAt",
    "cards[].serviceFloors",
    "cards[].cycled",
    "cards[].staged",
    "cards[].wipe",
    "cards[].wait",
    "cards[].failed",
];

#[test]
fn every_field_is_something_that_goes_on_or_lets_the_host_rest() {
    let schema = of_record();
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let full = filled(&schema, 0, &|path| match path {
        "step" => Some(json!("Settled")),
        "conditions" => Some(ready.clone()),
        _ => None,
    });
    let mut rested = full.clone();
    for field in BUSY {
        let (inner, name) = at(&mut rested, field);
        assert!(inner.remove(&name).is_some(), "there is no {field}");
    }
    assert!(record(&rested).is_at_rest());
    let fields = fields(&schema);
    for field in &fields {
        let busy = BUSY.contains(&field.as_str());
        let named = AT_REST.contains(&field.as_str());
        assert!(busy != named, "is {field} something that goes on?");
        if busy {
            assert!(
                !record(&with(&rested, &full, field)).is_at_rest(),
                "{field}"
            );
        } else if let Some(absent) = without(&rested, field) {
            assert!(absent.is_at_rest(), "{field}");
        }
    }
    assert_eq!(fields.len(), BUSY.len() + AT_REST.len());
}
