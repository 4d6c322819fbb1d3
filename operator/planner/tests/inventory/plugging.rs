//! What befalls a card in its host, and whether it was planned (R15, R152).

use lockstep_crds::DpuInventorySpec;
use lockstep_planner::inventory::{Around, Plugged, plugged};
use serde_json::{Value, json};

use crate::site::{HOST_UUID, Site};

fn site(cards: Value) -> Site {
    Site::default()
        .host("a", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        )
        .agent("n", HOST_UUID, cards)
}

fn named(names: &[&str]) -> Value {
    let functions: Vec<Value> = names
        .iter()
        .map(|name| {
            let part = name.contains("vf").then_some(0);
            json!({"name": name, "physical": 0, "virtual": part, "address": "0000:3b:00.0"})
        })
        .collect();
    json!({"functions": functions, "omitted": 0})
}

fn listed(more: &Value) -> Value {
    let mut card = json!({
        "serialNumber": "MT1", "slot": "Slot 3", "functions": ["0000:3b:00.0", "0000:3b:00.1"],
        "named": named(&["pf0", "pf1"]), "health": "Answers",
    });
    for (key, value) in more.as_object().unwrap() {
        card[key] = value.clone();
    }
    json!([card])
}

fn told(site: &Site) -> DpuInventorySpec {
    site.joined("c").inventory
}

fn befell(before: &DpuInventorySpec, after: &Site) -> Vec<Plugged> {
    let report = |name: &str| after.reports.get(name);
    let host = |name: &str| {
        let mut hosts = after.hosts.iter();
        hosts.find(|host| host.metadata.name.as_deref() == Some(name))
    };
    let around = Around {
        report: &report,
        host: &host,
    };
    plugged("c", before, &told(after), around)
}

fn with_status(mut site: Site, status: Value) -> Site {
    site.hosts[0].status = Some(serde_json::from_value(status).unwrap());
    site
}

fn ended(at: &str, outcome: &str) -> Value {
    json!({"history": [{"seq": 7, "what": "ForceOff dpu/c", "outcome": outcome, "at": at}]})
}

#[test]
fn a_card_that_is_listed_no_more_is_unplanned_and_named_with_place_and_remedy() {
    let before = told(&site(listed(&json!({}))));
    let after = site(json!([]));
    let [gone] = &befell(&before, &after)[..] else {
        panic!("one thing befell it")
    };
    assert_eq!((gone.reason, gone.unplanned), ("CardGone", true));
    for part in [
        "Unplanned: dpu/c in slot Slot 3 (0000:3b:00.0)",
        "the operating system of dpuhost/a (host-n) does not list it any more",
        ", since ",
        "power-cycle the host",
    ] {
        assert!(gone.message.contains(part), "{part:?} in {}", gone.message);
    }
    assert_eq!(
        befell(&told(&after), &after),
        [],
        "what was told is told once"
    );
    let shown = after.joined("c").inventoried.message;
    assert!(
        shown.contains("dpuhost/a (host-n) does not list it"),
        "{shown}"
    );
    let back = befell(&told(&after), &site(listed(&json!({}))));
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].reason, back[0].unplanned), ("CardListed", false));
}

#[test]
fn how_it_is_listed_tells_what_befell_it() {
    let before = told(&site(listed(&json!({}))));
    for (more, reason, words) in [
        (
            json!({"serialNumber": null, "health": "Gone"}),
            "LinkLost",
            "gets no answer",
        ),
        (
            json!({"serialNumber": null, "health": "Recovery"}),
            "CardInRecovery",
            "recovery id",
        ),
        (
            json!({"serialNumber": "MT2"}),
            "CardGone",
            "another card there, with serial number MT2",
        ),
    ] {
        let found = befell(&before, &site(listed(&more)));
        assert_eq!(found.len(), 1, "{reason}");
        assert_eq!(found[0].reason, reason);
        assert!(found[0].message.contains(words), "{}", found[0].message);
    }
}

#[test]
fn only_physical_functions_are_a_change() {
    let before = told(&site(listed(&json!({}))));
    for more in [
        json!({}),
        json!({"named": named(&["pf0", "pf0vf0", "pf1"])}),
        json!({"functions": ["0000:5e:00.0", "0000:5e:00.1"]}),
        json!({"named": null}),
    ] {
        assert_eq!(befell(&before, &site(listed(&more))), [], "{more}");
    }
    let found = befell(
        &before,
        &site(listed(&json!({"named": named(&["pf0", "pf2"])}))),
    );
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].reason, found[0].unplanned),
        ("FunctionsChanged", true)
    );
    let words = "lists it without pf1 and with pf2 besides";
    assert!(found[0].message.contains(words), "{}", found[0].message);
}

#[test]
fn an_operation_at_the_host_explains_it_for_minutes() {
    let before = told(&site(listed(&json!({}))));
    let seen = site(json!([])).reports["host-n"].observed_at.0;
    let at = |minutes: i64| (seen + jiff::SignedDuration::from_mins(minutes)).to_string();
    for (status, planned) in [
        (ended(&at(-3), "Done"), true),
        (ended(&at(2), "Unknown"), true),
        (ended(&at(-11), "Done"), false),
        (ended(&at(-3), "Failed"), false),
        (json!({}), false),
    ] {
        let after = with_status(site(json!([])), status.clone());
        let found = befell(&before, &after);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].unplanned, !planned, "{status}");
        let words = if planned {
            "Planned, as directive 7 (ForceOff dpu/c) ended at"
        } else {
            "Unplanned: "
        };
        assert!(found[0].message.starts_with(words), "{}", found[0].message);
    }
}

#[test]
fn silence_is_no_news() {
    let before = told(&site(listed(&json!({}))));
    let mut gone = site(json!([]));
    gone.reports.clear();
    assert_eq!(befell(&before, &gone), [], "the report is gone");
    let mut silent = site(json!([]));
    silent.reports.get_mut("host-n").unwrap().inventory = None;
    assert_eq!(befell(&before, &silent), [], "it tells no inventory");
    let mut unread = site(json!([]));
    let inventory = unread.reports.get_mut("host-n").unwrap().inventory.as_mut();
    inventory.unwrap().unread = serde_json::from_value(json!([
        {"group": "cards", "why": "/sys/bus/pci/devices: Permission denied"},
    ]))
    .unwrap();
    assert_eq!(befell(&before, &unread), [], "it could not read its cards");
}
