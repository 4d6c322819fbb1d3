//! What plans learn from the join of a namespace, and whom it wakes: objects in, answers out.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use lockstep_crds::dpu_inventory::DpuInventorySpec;
use lockstep_crds::image::{FirmwareWriter, ImageKind};
use lockstep_crds::report::Vantage;
use lockstep_crds::{Dpu, DpuHost, DpuReport, MachineIdentity};
use lockstep_operator::assemble::assemble;
use lockstep_operator::joins::Joined;
use lockstep_operator::key::Key;
use lockstep_operator::table::Entry;
use lockstep_operator::world::{Wake, World};
use lockstep_planner::inventory::{JoinedCard, JoinedHost, Teller, Verdict, Witness};
use lockstep_planner::view::{LeaseSeen, Readiness, Sighting, View};
use serde_json::{Value, json};
use support::*;

const NOW: i64 = 10;

fn namespace() -> Key {
    Key::new("", SITE)
}

/// A card of which these reports tell, the first ones as witnesses of where it sits.
fn seen(witnesses: &[(&str, &str)], reports: &[&str]) -> JoinedCard {
    let views: Vec<Value> = witnesses
        .iter()
        .map(|(report, _)| report)
        .chain(reports)
        .map(|report| json!({"from": "HostOs", "report": report, "joinedBy": ["serialNumber"]}))
        .collect();
    let hosts: Vec<Value> = witnesses
        .iter()
        .map(|(report, host)| {
            let node = report.strip_prefix("host-");
            json!({"name": host, "pairing": "Observed", "nodeName": node})
        })
        .collect();
    let inventory = json!({"completeness": "Partial", "hosts": hosts, "views": views});
    let witnesses = witnesses.iter().map(|(report, host)| Witness {
        host: (*host).to_owned(),
        report: (*report).to_owned(),
    });
    JoinedCard {
        inventory: serde_json::from_value::<DpuInventorySpec>(inventory).unwrap(),
        summary: serde_json::from_value(json!({})).unwrap(),
        places: Vec::new(),
        inventoried: Verdict {
            status: "False",
            reason: "Partial",
            message: String::new(),
        },
        tellers: BTreeMap::new(),
        disks: Vec::new(),
        inspected: BTreeMap::new(),
        witnesses: witnesses.collect(),
        is_told_by_others: true,
        is_claimed_by_word: false,
    }
}

/// Takes note of a join of what is there.
fn join(
    world: &mut World,
    cards: &[(&Dpu, JoinedCard)],
    hosts: &[(&DpuHost, Option<&str>)],
) -> Wake {
    let name = |meta: &kube::api::ObjectMeta| meta.name.clone().unwrap();
    let mut joined = Joined::default();
    for (dpu, card) in cards {
        let name = name(&dpu.metadata);
        joined.cards.insert(name.clone(), Arc::new((*dpu).clone()));
        joined.join.cards.insert(name, card.clone());
    }
    for (host, node) in hosts {
        let name = name(&host.metadata);
        let node_name = node.map(str::to_owned);
        joined.hosts.insert(name.clone(), Arc::new((*host).clone()));
        let of_host = JoinedHost {
            node_name,
            ..JoinedHost::default()
        };
        joined.join.hosts.insert(name, of_host);
    }
    world.joined(SITE, joined)
}

fn alive(world: &mut World, agent: &str) -> Wake {
    let entry = Some(Entry::Readable(Arc::new(lease(agent, NOW))));
    world.put::<Lease>(&key(agent), entry, at(NOW))
}

fn view(world: &World) -> View {
    assemble(world, &key("h")).unwrap().unwrap()
}

fn fresh(sightings: &[Sighting], now: Timestamp) -> BTreeMap<&str, bool> {
    let is_fresh = |seen: &Sighting| seen.agent.is_some_and(|lease| lease.is_fresh(now));
    let fresh = sightings
        .iter()
        .map(|seen| (seen.report.as_str(), is_fresh(seen)));
    fresh.collect()
}

fn node(world: &mut World, name: &str, ready: &str) -> Wake {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap();
    let entry = Some(Entry::Readable(Arc::new(node)));
    world.put::<Node>(&Key::new("", name), entry, at(NOW))
}

#[test]
fn whoever_sees_a_card_vouches_for_its_place_while_alive() {
    let mut world = world();
    let (dpu, machine) = (card("c", "h"), host("h"));
    put(&mut world, dpu.clone());
    put(&mut world, machine.clone());
    let witnesses = [
        ("host-n1", "h"),
        ("host-n2", ""),
        ("bmc-host-h", "h"),
        ("bmc-found-id", "h"),
    ];
    join(
        &mut world,
        &[(&dpu, seen(&witnesses, &["bmc-card-c", "xpu-c"]))],
        &[(&machine, Some("n1"))],
    );
    let told = view(&world);
    let sightings = &told.cards[0].sightings;
    let none_alive = fresh(sightings, at(NOW));
    assert_eq!(none_alive.len(), witnesses.len());
    assert!(none_alive.values().all(|alive| !alive));
    let places = sightings
        .iter()
        .map(|seen| (seen.report.as_str(), seen.host.as_str()));
    assert_eq!(places.collect::<Vec<_>>(), witnesses);

    for agent in ["host-n1", "host-n2", "site-lab"] {
        alive(&mut world, agent);
    }
    let told = view(&world);
    let some = fresh(&told.cards[0].sightings, at(NOW));
    assert!(some["host-n1"] && some["host-n2"]);
    for bmc in ["bmc-host-h", "bmc-found-id"] {
        assert!(!some[bmc], "nobody says that this BMC answers: {bmc}");
    }
    let answers = json!({"reachable": {"ok": true, "since": at(0)}});
    put(&mut world, report("bmc-host-h", "HostBmc", "h", &answers));
    let told = view(&world);
    assert!(fresh(&told.cards[0].sightings, at(NOW))["bmc-host-h"]);
    for (version, answers, missing, alive) in [
        (20, true, json!(null), true),
        (21, false, json!(null), false),
        (22, true, json!(at(0)), false),
        (23, true, json!(null), true),
    ] {
        let wake = put(&mut world, found(version, answers, &missing));
        assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
        let told = view(&world);
        assert_eq!(
            fresh(&told.cards[0].sightings, at(NOW))["bmc-found-id"],
            alive
        );
        assert!(!fresh(&told.cards[0].sightings, at(NOW + 61))["bmc-found-id"]);
    }
    assert!(!fresh(&told.cards[0].sightings, at(NOW + 61))["host-n1"]);
    assert!(told.cards[0].joined.is_some());
}

#[test]
fn versions_that_an_image_requires_come_with_who_is_alive_to_tell_them() {
    let mut world = world();
    let (dpu, machine) = (card("c", "h"), host("h"));
    put(&mut world, dpu.clone());
    put(&mut world, machine.clone());
    put(&mut world, policy(Some("i")));
    let mut image = image("i", "1.0");
    image.spec.requires = serde_json::from_value(json!([
        {"component": "BMC_Firmware", "atLeast": "24.10"},
        {"component": "fw.mgmt", "atLeast": "32"},
        {"component": "other", "atLeast": "1"},
    ]))
    .unwrap();
    put(&mut world, image);
    let nobody = view(&world).cards[0].requirements.clone();
    assert_eq!(nobody.len(), 3, "nothing has been joined yet");
    assert!(nobody.iter().all(|one| one.seen.is_empty()));

    let told = |version: &str| {
        let mut told = seen(&[], &["bmc-found-id", "xpu-c"]);
        told.inventory.firmware = serde_json::from_value(json!({
            "from": "FoundBmc", "report": "bmc-found-id", "observedAt": at(0),
            "facts": {"components": [
                {"name": "BMC_Firmware", "running": version}, {"name": "fw.mgmt", "running": "32.1"},
            ]},
        }))
        .unwrap();
        let teller = Teller {
            from: Vantage::CardOs,
            report: "xpu-c".to_owned(),
        };
        told.tellers.insert("firmware.fw.mgmt".to_owned(), teller);
        told
    };
    let joined = |world: &mut World, version: &str| join(world, &[(&dpu, told(version))], &[]);
    joined(&mut world, "24.10");
    let h = BTreeSet::from([key("h")]);
    assert_eq!(joined(&mut world, "24.11").hosts, h, "it may fit now");
    assert!(joined(&mut world, "24.11").is_empty());

    let alive_of = |world: &World| -> Vec<(String, bool)> {
        let requirements = &view(world).cards[0].requirements;
        let seen = requirements.iter().flat_map(|one| one.seen.clone());
        let alive = |lease: LeaseSeen| lease.is_fresh(at(NOW));
        seen.map(|one| (one.report.clone(), one.agent.is_some_and(alive)))
            .collect()
    };
    let expected = |by_bmc: bool, by_agent: bool| {
        vec![
            ("bmc-found-id".to_owned(), by_bmc),
            ("xpu-c".to_owned(), by_agent),
        ]
    };
    alive(&mut world, "site-lab");
    assert_eq!(
        alive_of(&world),
        expected(false, false),
        "nobody says that this BMC answers"
    );
    put(&mut world, found(20, true, &Value::Null));
    alive(&mut world, "xpu-c");
    assert_eq!(alive_of(&world), expected(true, true));
    let wake = put(&mut world, found(21, false, &Value::Null));
    assert_eq!(alive_of(&world), expected(false, true));
    assert_eq!(wake.hosts, h, "whose card it tells of");
    put(&mut world, found(22, true, &json!(at(0))));
    assert_eq!(
        alive_of(&world),
        expected(false, true),
        "it is found no more"
    );
}

#[test]
fn what_the_driver_on_a_host_lists_comes_with_its_card_and_who_writes_firmware_with_the_image() {
    let mut world = world();
    let (mut dpu, mut machine) = (card("c", "h"), host("h"));
    machine.spec.node_name = Some("n1".to_owned());
    let named = json!([{"name": "fw"}, {"name": "bmc"}]);
    dpu.spec.firmware_refs = serde_json::from_value(named).unwrap();
    put(&mut world, dpu.clone());
    put(&mut world, machine.clone());
    for (name, writer) in [("fw", Some(FirmwareWriter::HostDevlink)), ("bmc", None)] {
        let mut image = image(name, "1.68.0");
        image.spec.kind = ImageKind::Firmware;
        image.spec.component = Some(name.to_owned());
        image.spec.written_by = writer;
        put(&mut world, image);
    }
    let mut told = seen(&[("host-n1", "h")], &[]);
    told.inventory.system = serde_json::from_value(json!({
        "from": "HostOs", "report": "host-n1", "observedAt": at(0),
        "facts": {"serialNumber": "SN-1"},
    }))
    .unwrap();
    join(&mut world, &[(&dpu, told)], &[(&machine, Some("n1"))]);
    let inventory = |running: &str| {
        json!({"inventory": {"cards": [{
            "serialNumber": "SN-1", "devlink": "pci/0000:03:00.0",
            "firmware": [{"name": "fw", "running": running, "pending": "1.68.0"}],
        }]}})
    };
    let host = |running: &str| report("host-n1", "HostOs", "n1", &inventory(running));
    let wake = put(&mut world, host("1.67.0"));
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    let view = view(&world);
    let seen = view.cards[0].in_host.as_ref().unwrap();
    assert_eq!(seen.devlink.as_deref(), Some("pci/0000:03:00.0"));
    let listed = &seen.firmware[0];
    assert_eq!(
        [&listed.running, &listed.pending].map(Option::as_deref),
        [Some("1.67.0"), Some("1.68.0")]
    );
    let wanted = view.cards[0].firmware.iter();
    let writers = wanted.map(|one| one.image.as_ref().unwrap().writer);
    assert_eq!(
        writers.collect::<Vec<_>>(),
        [FirmwareWriter::HostDevlink, FirmwareWriter::CardBmc]
    );
}

/// A BMC that was found, and whether it answers and is still found.
fn found(version: u64, answers: bool, missing_since: &Value) -> DpuReport {
    let told = json!({
        "reachable": {"ok": answers, "since": at(0)},
        "found": {
            "role": "Card", "recognisedBy": "a test", "site": SITE, "sources": ["list"],
            "endpoint": {"address": "https://10.0.0.7", "credentials": "bmc", "trust": "Ca"},
            "missingSince": missing_since,
        },
    });
    let mut found = report("bmc-found-id", "FoundBmc", "id", &told);
    found.metadata.resource_version = Some(version.to_string());
    found
}

#[test]
fn what_was_joined_for_one_card_vouches_for_no_other_of_that_name() {
    let mut world = world();
    let (dpu, machine) = (card("c", "h"), host("h"));
    put(&mut world, machine.clone());
    put(&mut world, dpu.clone());
    join(
        &mut world,
        &[(&dpu, seen(&[("host-n1", "h")], &[]))],
        &[(&machine, Some("n1"))],
    );
    assert_eq!(view(&world).cards[0].sightings.len(), 1);

    let mut paused = dpu.clone();
    paused.metadata.resource_version = Some("20".into());
    paused.spec.paused = true;
    put(&mut world, paused);
    assert_eq!(
        view(&world).cards[0].sightings.len(),
        1,
        "it is the same card"
    );
    let mut other = dpu.clone();
    other.metadata.resource_version = Some("21".into());
    other.spec.identity = serde_json::from_value(json!({"serialNumber": "S2"})).unwrap();
    put(&mut world, other);
    assert!(view(&world).cards[0].sightings.is_empty());
    assert!(view(&world).cards[0].joined.is_none());
    let mut again = dpu;
    again.metadata.resource_version = Some("22".into());
    again.metadata.uid = Some("another".into());
    put(&mut world, again);
    assert!(view(&world).cards[0].sightings.is_empty());
}

#[test]
fn a_node_that_is_proved_is_the_hosts_until_another_is() {
    let mut world = world();
    let machine = host("h");
    put(&mut world, machine.clone());
    node(&mut world, "n1", "True");
    assert_eq!(view(&world).node_name, None);
    assert!(!world.is_joined(SITE));
    let wake = join(&mut world, &[], &[(&machine, Some("n1"))]);
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    assert!(world.is_joined(SITE));
    let told = view(&world);
    assert_eq!(told.node_name.as_deref(), Some("n1"));
    assert_eq!(told.node.unwrap().ready, Readiness::Ready);
    assert_eq!(
        node(&mut world, "n1", "False").hosts,
        BTreeSet::from([key("h")])
    );
    let again = join(&mut world, &[], &[(&machine, Some("n1"))]);
    assert!(again.is_empty(), "nothing new");

    // It stands in the record, and nobody proves anything any more.
    let mut recorded = machine.clone();
    recorded.metadata.resource_version = Some("20".into());
    recorded.status = serde_json::from_value(json!({"nodeName": "n1"})).unwrap();
    put(&mut world, recorded.clone());
    join(&mut world, &[], &[(&recorded, None)]);
    assert_eq!(view(&world).node_name.as_deref(), Some("n1"));
    let gone = world.put::<Node>(&Key::new("", "n1"), None, at(NOW));
    assert_eq!(gone.hosts, BTreeSet::from([key("h")]));
    assert_eq!(view(&world).node_name, None);
    // The same machine under another name.
    node(&mut world, "n2", "True");
    join(&mut world, &[], &[(&recorded, Some("n2"))]);
    assert_eq!(view(&world).node_name.as_deref(), Some("n2"));
}

/// What it says is what the join before said, and till then its plan knew nothing.
#[test]
fn who_was_edited_is_woken_by_the_next_join() {
    let mut world = world();
    let (dpu, machine) = (card("c", "g"), host("h"));
    let told = || seen(&[("host-n1", "h")], &[]);
    put(&mut world, dpu.clone());
    put(&mut world, machine.clone());
    put(&mut world, host("g"));
    join(&mut world, &[(&dpu, told())], &[(&machine, Some("n1"))]);
    let identity: MachineIdentity = serde_json::from_value(json!({"serialNumber": "S2"})).unwrap();

    let mut edited = machine;
    edited.metadata.resource_version = Some("20".into());
    edited.spec.identity = Some(identity.clone());
    put(&mut world, edited.clone());
    assert!(view(&world).joined.is_none(), "that was another machine");
    let wake = join(&mut world, &[(&dpu, told())], &[(&edited, Some("n1"))]);
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    assert!(view(&world).joined.is_some());

    let mut other = dpu;
    other.metadata.resource_version = Some("21".into());
    other.spec.identity = Some(identity);
    put(&mut world, other.clone());
    let wake = join(&mut world, &[(&other, told())], &[(&edited, Some("n1"))]);
    assert_eq!(wake.hosts, BTreeSet::from([key("g")]));
}

#[test]
fn a_node_that_another_host_names_is_a_conflict() {
    let mut world = world();
    let machine = host("h");
    put(&mut world, machine.clone());
    let mut names = host("g");
    names.spec.node_name = Some("n1".into());
    put(&mut world, names);
    join(&mut world, &[], &[(&machine, Some("n1"))]);
    let conflicts = view(&world).conflicts;
    assert!(
        conflicts[0].contains("DpuHost lab/g names it"),
        "{conflicts:?}"
    );
    let other = assemble(&world, &key("g")).unwrap().unwrap();
    assert!(other.conflicts.is_empty(), "it is as its user says");
}

#[test]
fn news_of_machines_are_joined_and_news_of_anything_else_is_not() {
    let mut world = world();
    let site = BTreeSet::from([namespace()]);
    for name in ["host-n1", "bmc-found-id", "scan-lab", "bmc-card-c", "xpu-c"] {
        let wake = put(&mut world, report(name, "HostOs", "x", &json!({})));
        assert_eq!(wake.sites, site, "{name}");
    }
    let store = put(&mut world, report("site-lab", "Site", "lab", &json!({})));
    assert!(store.sites.is_empty());
    assert_eq!(put(&mut world, card("c", "h")).sites, site);
    assert_eq!(put(&mut world, host("h")).sites, site);
    let status = |version: &str, conditions: Value| {
        let mut told = card("c", "h");
        told.metadata.resource_version = Some(version.into());
        told.status = serde_json::from_value(json!({"conditions": conditions})).unwrap();
        told
    };
    let moves = || {
        json!([{"type": "Reconciling", "status": "True", "reason": "x", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    };
    assert!(
        put(&mut world, status("30", moves())).sites.is_empty(),
        "a status is our own word"
    );
    // But what is told of a card on its way is written when it is at rest.
    assert_eq!(put(&mut world, status("31", json!([]))).sites, site);
    assert!(put(&mut world, status("32", moves())).sites.is_empty());
    let mut at_work = host("h");
    at_work.metadata.resource_version = Some("33".into());
    at_work.status = serde_json::from_value(json!({"conditions": moves()})).unwrap();
    assert!(put(&mut world, at_work).sites.is_empty());
    let mut at_rest = host("h");
    at_rest.metadata.resource_version = Some("34".into());
    assert_eq!(put(&mut world, at_rest).sites, site);
    assert_eq!(world.everybody().sites, site);
    // A Node that comes or goes tells which of its agents' reports were left behind.
    join(&mut world, &[], &[]);
    assert_eq!(node(&mut world, "n1", "True").sites, site);
    assert!(node(&mut world, "n1", "False").sites.is_empty());
}

#[test]
fn an_agent_that_falls_silent_wakes_those_of_whom_it_tells() {
    let mut world = world();
    let (dpu, machine) = (card("c", "g"), host("h"));
    put(&mut world, dpu.clone());
    put(&mut world, machine.clone());
    put(&mut world, host("g"));
    join(
        &mut world,
        &[(&dpu, seen(&[("host-n1", "h")], &[]))],
        &[(&machine, Some("n1"))],
    );
    let both = BTreeSet::from([key("g"), key("h")]);
    assert_eq!(alive(&mut world, "host-n1").hosts, both);
    assert_eq!(world.expire_leases(at(NOW + 61)).hosts, both);
}
