//! Inventories, and what follows from them for Nodes and people.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use lockstep_crds::dpu::HostPlace;
use lockstep_crds::dpu_inventory::{DpuInventorySpec, KnownPairing, Sourced};
use lockstep_crds::report::Vantage;
use lockstep_crds::{Dpu, DpuInventory, DpuReport};
use lockstep_operator::key::Key;
use lockstep_operator::label_controller;
use lockstep_operator::queue::Ended;
use lockstep_planner::inventory::{JoinedCard, JoinedHost, SiteJoin, SiteView, Verdict};
use serde_json::{Value, json};

use crate::site::{SECOND, Site, lines, resting};
use crate::support::*;

pub(crate) fn told(serial: &str, observed: i64, version: u64) -> DpuReport {
    let facts = json!({
        "inventory": {"system": {"serialNumber": serial}},
        "observedAt": at(observed),
    });
    let mut report = report("bmc-card-c", "CardBmc", "c", &facts);
    report.metadata.resource_version = Some(version.to_string());
    report
}

fn joined(system: Option<Sourced<lockstep_crds::inventory::SystemFacts>>) -> JoinedCard {
    JoinedCard {
        inventory: DpuInventorySpec {
            system,
            ..DpuInventorySpec::default()
        },
        summary: serde_json::from_value(json!({})).unwrap(),
        places: Vec::new(),
        inventoried: Verdict {
            status: "False",
            reason: "Partial",
            message: "most is missing".to_owned(),
        },
        tellers: BTreeMap::new(),
        disks: Vec::new(),
        inspected: BTreeMap::new(),
        witnesses: Vec::new(),
        is_told_by_others: true,
        is_claimed_by_word: false,
    }
}

/// A join that knows only what BMCs of cards tell of their systems.
pub(crate) fn systems(view: &SiteView<'_>) -> SiteJoin {
    let mut join = SiteJoin::default();
    for dpu in &view.cards {
        let name = dpu.name_any();
        let report = format!("bmc-card-{name}");
        let system = view.reports.get(report.as_str()).and_then(|spec| {
            Some(Sourced {
                from: Vantage::CardBmc,
                report: report.clone(),
                observed_at: spec.observed_at.clone(),
                completed_from: Vec::new(),
                facts: spec.inventory.as_ref()?.system.clone()?,
            })
        });
        join.cards.insert(name, joined(system));
    }
    join
}

#[tokio::test]
async fn an_inventory_is_told_once_it_stands_and_again_when_facts_change() {
    let mut site = Site::new(systems, vec![]).await;
    site.see(resting("c"));
    let (_, seen) = site.pass(0).await;
    assert!(seen.is_empty(), "nobody has told of the card: {seen:?}");

    site.see(told("S1", 1, 20));
    let (outcome, seen) = site.pass(2).await;
    assert!(seen.is_empty(), "more may follow: {seen:?}");
    assert_eq!(outcome.ended, Ended::Again(site.now + 4 * SECOND));
    let (_, seen) = site.pass(4).await;
    assert_eq!(lines(&seen), ["POST dpuinventories"]);
    let made = &seen[0].body;
    assert_eq!(made["metadata"]["name"], "c");
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "uid-Dpu-c");
    assert_eq!(made["spec"]["system"]["facts"]["serialNumber"], "S1");
    site.catch_up::<DpuInventory>("dpuinventories/c");
    assert!(site.pass(60).await.1.is_empty());

    site.see(told("S1", 99, 21));
    assert!(site.pass(60).await.1.is_empty(), "only the time differs");
    assert!(site.pass(60).await.1.is_empty());
    site.see(told("S2", 120, 22));
    assert!(site.pass(60).await.1.is_empty(), "more may follow");
    let (_, seen) = site.pass(60).await;
    assert_eq!(lines(&seen), ["PATCH dpuinventories/c"]);
    let patch = &seen[0].body["spec"]["system"];
    assert_eq!(
        patch["facts"],
        json!({"serialNumber": "S2"}),
        "only what differs"
    );
}

#[tokio::test]
async fn a_card_on_its_way_is_told_of_once_its_own_system_has_told_too() {
    let mut site = Site::new(systems, vec![]).await;
    site.see(host("h"));
    let mut installing = card("c", "h");
    installing.status = serde_json::from_value(json!({"conditions": [{
        "type": "Reconciling", "status": "True", "reason": "Installing", "message": "",
        "lastTransitionTime": at(0),
    }]}))
    .unwrap();
    site.see(installing);
    site.see(told("S1", 1, 20));
    assert!(site.pass(0).await.1.is_empty());
    assert!(site.pass(60).await.1.is_empty());
    // It is Ready.
    let mut ready = card("c", "h");
    ready.metadata.resource_version = Some("30".to_owned());
    ready.status = serde_json::from_value(json!({})).unwrap();
    site.see(ready);
    assert_eq!(lines(&site.pass(2).await.1), ["POST dpuinventories"]);
}

#[tokio::test]
async fn a_card_without_its_host_is_on_no_way_and_is_told_of_soon() {
    let mut site = Site::new(systems, vec![]).await;
    site.see(card("c", "h"));
    site.see(told("S1", 1, 20));
    assert!(site.pass(0).await.1.is_empty());
    assert_eq!(lines(&site.pass(4).await.1), ["POST dpuinventories"]);
}

/// A join that places the card in the host, whose Node it proves.
fn places(view: &SiteView<'_>) -> SiteJoin {
    let mut join = systems(view);
    for card in join.cards.values_mut() {
        card.places.push(HostPlace {
            name: "h".to_owned(),
            pairing: KnownPairing::Observed,
            proof: None,
            slot: None,
        });
    }
    let host = JoinedHost {
        node_name: Some("n".to_owned()),
        ..JoinedHost::default()
    };
    join.hosts.insert("h".to_owned(), host);
    join
}

#[tokio::test]
async fn a_node_tells_which_cards_sit_in_it_until_none_does() {
    const COUNT: &str = "xpu.node-restriction.kubernetes.io/count";
    let node = json!({"metadata": {"name": "n", "labels": {"team": "blue"}}});
    let mut site = Site::new(places, vec![("nodes/n", node)]).await;
    let n = Key::new("", "n");
    let label = async |site: &Site| {
        let node: Node = serde_json::from_value(site.server.object("nodes/n")).unwrap();
        put(&mut site.context.world.write(), node);
        label_controller::reconcile(&site.context, &n).await;
        site.server.take_seen()
    };
    site.see(resting("c"));
    site.see(host("h"));
    assert!(label(&site).await.is_empty(), "nothing is joined yet");
    site.pass(0).await;
    assert!(label(&site).await.is_empty(), "nobody approved it");
    let mut approved = resting("c");
    approved.spec.approved = true;
    approved.metadata.generation = Some(2);
    approved.metadata.resource_version = Some("30".to_owned());
    site.see(approved);
    site.pass(2).await;
    let seen = label(&site).await;
    assert_eq!(lines(&seen), ["PATCH nodes/n"]);
    assert_eq!(seen[0].body, json!({"metadata": {"labels": {COUNT: "1"}}}));
    assert!(label(&site).await.is_empty(), "nothing differs");

    let dpu = key("c");
    site.context.world.write().put::<Dpu>(&dpu, None, at(0));
    site.pass(4).await;
    let seen = label(&site).await;
    assert_eq!(seen[0].body, json!({"metadata": {"labels": {COUNT: null}}}));
    let labels = &site.server.object("nodes/n")["metadata"]["labels"];
    assert_eq!(*labels, json!({"team": "blue"}), "those of others stay");
}

/// What the agent on Node n tells of the cards in its host.
pub(crate) fn lists(cards: &Value, version: u64) -> DpuReport {
    let facts = json!({
        "machine": {"systemUuid": "7e5c0a3e-3f1c-4a55-9d0e-0a1b2c3d4e5f"},
        "inventory": {"cards": cards},
    });
    let mut report = report("host-n", "HostOs", "n", &facts);
    report.metadata.resource_version = Some(version.to_string());
    report
}

#[tokio::test]
async fn a_card_that_its_host_lists_no_more_is_told_once_and_keeps_what_was_known() {
    let mut own = resting("c");
    own.spec.identity = serde_json::from_value(json!({"serialNumber": "MT1"})).unwrap();
    let mut machine = host("h");
    let identity = json!({"systemUuid": "7e5c0a3e-3f1c-4a55-9d0e-0a1b2c3d4e5f"});
    machine.spec.identity = serde_json::from_value(identity).unwrap();
    let objects = vec![("dpus/c", json!(own)), ("dpuhosts/h", json!(machine))];
    let mut site = Site::new(lockstep_planner::inventory::join, objects).await;
    site.sync();
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    site.see(node);
    let present = json!([{"serialNumber": "MT1", "slot": "3", "functions": ["0000:3b:00.0"]}]);
    site.see(lists(&present, 20));
    let nothing: [&str; 0] = [];
    assert_eq!(
        site.settle().await,
        nothing,
        "a card that appears is no news"
    );

    site.see(lists(&json!([]), 21));
    assert_eq!(site.settle().await, ["CardGone Dpu c"]);
    assert_eq!(site.settle().await, nothing, "it is told once");
    let spec = site.server.object("dpuinventories/c")["spec"].clone();
    assert_eq!(spec["system"]["facts"]["serialNumber"], "MT1", "{spec}");
    assert_eq!(spec["hosts"][0]["pairing"], "Unknown", "{spec}");

    site.see(lists(&present, 22));
    assert_eq!(site.settle().await, ["CardListed Dpu c"]);
}
