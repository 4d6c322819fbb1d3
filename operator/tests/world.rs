//! Whom a change concerns, and what a view is made of: objects in, answers out.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuReport, HELD_TAINT};
use lockstep_operator::assemble::assemble;
use lockstep_operator::guards::Guards;
use lockstep_operator::key::Key;
use lockstep_operator::table::Entry;
use lockstep_operator::watched::{GuardPolicy, Watched};
use lockstep_operator::world::{Wake, World};
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::view::Wanted;
use serde_json::json;
use support::*;

fn hosts(wake: &Wake) -> Vec<&str> {
    wake.hosts.iter().map(|key| key.name.as_str()).collect()
}

/// A host with two cards, its policy and its image.
fn domain() -> World {
    let mut world = world();
    put(&mut world, host("h"));
    put(&mut world, card("c2", "h"));
    put(&mut world, card("c1", "h"));
    put(&mut world, policy(Some("img")));
    put(&mut world, image("img", "1.0"));
    world
}

#[test]
fn a_view_holds_what_belongs_together() {
    let mut world = domain();
    put(&mut world, card("elsewhere", "other"));
    put(&mut world, report("bmc-host-h", "HostBmc", "h", &json!({})));
    put(
        &mut world,
        report("bmc-card-c1", "CardBmc", "c1", &json!({})),
    );
    put(&mut world, report("xpu-c1", "CardOs", "c1", &json!({})));
    let stored = json!({"images": [{"digest": "sha256:0", "state": "Verified"}]});
    put(&mut world, report("site-lab", "Site", "lab", &stored));
    let agent = Some(Entry::Readable(Arc::new(lease("agent", 0))));
    world.put::<Lease>(&key("site-lab"), agent, at(1));

    let view = assemble(&world, &key("h")).unwrap().unwrap();
    let names: Vec<String> = view
        .cards
        .iter()
        .map(lockstep_planner::view::CardView::name)
        .collect();
    assert_eq!(names, ["c1", "c2"], "in order, and only its own");
    assert!(view.policy.is_some() && view.host_report.is_some());
    assert!(view.cards[0].report.is_some() && view.cards[0].os.is_some());
    assert!(view.cards[1].report.is_none());
    assert_eq!(view.images.len(), 1);
    assert!(view.site_agent_fresh(at(60)) && !view.site_agent_fresh(at(62)));
    assert!(!view.guards_intact, "no guards were seen");
    assert!(assemble(&world, &key("nobody")).unwrap().is_none());
}

#[test]
fn the_cards_image_comes_before_the_policys() {
    let mut world = domain();
    let mut own = card("c1", "h");
    own.metadata.resource_version = Some("20".into());
    own.spec.image_ref = serde_json::from_value(json!({"name": "missing"})).unwrap();
    put(&mut world, own);
    let view = assemble(&world, &key("h")).unwrap().unwrap();
    assert_eq!(view.cards[0].wanted, Wanted::Missing("missing".into()));
    let Wanted::Image(facts) = &view.cards[1].wanted else {
        panic!("{:?}", view.cards[1].wanted)
    };
    assert_eq!(facts.version, "1.0");
    put(&mut world, policy_without_image());
    let view = assemble(&world, &key("h")).unwrap().unwrap();
    assert_eq!(view.cards[1].wanted, Wanted::Nothing);
}

fn policy_without_image() -> DpuBootPolicy {
    let mut policy = policy(None);
    policy.metadata.resource_version = Some("21".into());
    policy
}

#[test]
fn changes_wake_the_domains_they_concern() {
    let mut world = domain();
    let h = ["h"];
    assert_eq!(
        hosts(&put(
            &mut world,
            report("bmc-card-c1", "CardBmc", "c1", &json!({}))
        )),
        h
    );
    assert_eq!(
        hosts(&put(
            &mut world,
            report("bmc-host-h", "HostBmc", "h", &json!({}))
        )),
        h
    );
    assert_eq!(
        hosts(&put(
            &mut world,
            report("xpu-c2", "CardOs", "c2", &json!({}))
        )),
        h
    );
    let site = put(&mut world, report("site-lab", "Site", "lab", &json!({})));
    assert_eq!(hosts(&site), h);
    assert_eq!(site.images, BTreeSet::from([key("img")]));
    assert!(
        put(
            &mut world,
            report("site-other", "Site", "other", &json!({}))
        )
        .hosts
        .is_empty()
    );
    let nobodys = put(&mut world, report("bmc-card-x", "CardBmc", "x", &json!({})));
    assert!(nobodys.hosts.is_empty() && nobodys.cards.is_empty());
    assert_eq!(hosts(&put(&mut world, policy_without_image())), h);

    let gone = world.put::<DpuReport>(&key("xpu-c2"), None, at(0));
    assert_eq!(hosts(&gone), h);
}

#[test]
fn what_is_seen_again_is_no_news() {
    let mut world = domain();
    assert!(put(&mut world, host("h")).is_empty());
    assert!(put(&mut world, card("c1", "h")).is_empty());
    let mut told = image("img", "1.0");
    told.metadata.resource_version = Some("30".into());
    told.status = Some(lockstep_crds::DpuImageStatus::default());
    let wake = put(&mut world, told);
    assert!(wake.hosts.is_empty(), "an image's status concerns no host");
    assert_eq!(wake.images, BTreeSet::from([key("img")]));
}

#[test]
fn renewals_wake_nobody_and_silence_wakes_the_site() {
    let mut world = domain();
    let renew = |world: &mut World, second: i64| {
        let renewed = Some(Entry::Readable(Arc::new(lease("agent", second))));
        world.put::<Lease>(&key("site-lab"), renewed, at(second))
    };
    assert_eq!(hosts(&renew(&mut world, 0)), ["h"], "the agent is new");
    assert!(renew(&mut world, 30).is_empty());
    assert!(world.expire_leases(at(90)).is_empty());
    assert_eq!(world.next_lease_expiry(), Some(at(90)));
    assert_eq!(hosts(&world.expire_leases(at(91))), ["h"]);
    assert_eq!(hosts(&renew(&mut world, 100)), ["h"], "it is back");
}

#[test]
fn a_nodes_heartbeat_wakes_nobody_and_its_readiness_does() {
    let mut world = domain();
    let mut on_node = host("on-node");
    on_node.spec.node_name = Some("n1".into());
    put(&mut world, on_node);
    let mut node = |ready: &str, beat: i64| {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1"},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "lastHeartbeatTime": at(beat)},
            ]},
        }))
        .unwrap();
        world.put(
            &Key::new("", "n1"),
            Some(Entry::Readable(Arc::new(node))),
            at(beat),
        )
    };
    assert_eq!(hosts(&node("True", 0)), ["on-node"]);
    assert!(node("True", 300).is_empty());
    assert_eq!(hosts(&node("Unknown", 400)), ["on-node"]);
}

#[test]
fn a_taint_concerns_the_host_whose_uid_it_bears_wherever_it_is() {
    let mut world = domain();
    let uid = host("h").metadata.uid.unwrap();
    let mut node = |name: &str, uid: &str| {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"taints": [
                {"key": HELD_TAINT, "value": uid, "effect": "NoExecute"},
                {"key": "dedicated", "value": uid, "effect": "NoExecute"},
            ]},
        }))
        .unwrap();
        let node = Some(Entry::Readable(Arc::new(node)));
        world.put::<Node>(&Key::new("", name), node, at(0))
    };
    assert!(node("n1", "somebody-else").is_empty());
    assert_eq!(hosts(&node("n2", &uid)), ["h"]);
    assert!(node("n2", &uid).is_empty(), "nothing new");
    assert_eq!(hosts(&node("n1", &uid)), ["h"]);
    assert_eq!(hosts(&node("n1", "somebody-else")), ["h"], "no more");
    let view = assemble(&world, &key("h")).unwrap().unwrap();
    let tainted: Vec<_> = view.tainted.into_iter().collect();
    assert_eq!(tainted, [("n2".to_owned(), vec![TaintEffect::NoExecute])]);
    let gone = world.put::<Node>(&Key::new("", "n2"), None, at(1));
    assert_eq!(hosts(&gone), ["h"]);
    let view = assemble(&world, &key("h")).unwrap().unwrap();
    assert!(view.tainted.is_empty());
}

#[test]
fn cards_without_a_host_are_told_when_that_changes() {
    let mut world = world();
    let alone = put(&mut world, card("c", "h"));
    assert_eq!(
        (hosts(&alone).len(), alone.cards),
        (0, BTreeSet::from([key("c")]))
    );
    let housed = put(&mut world, host("h"));
    assert_eq!(hosts(&housed), ["h"]);
    assert_eq!(
        housed.cards,
        BTreeSet::from([key("c")]),
        "to find that it is not alone any more"
    );
    assert!(world.everybody().cards.is_empty());

    let mut moved = card("c", "elsewhere");
    moved.metadata.resource_version = Some("40".into());
    let wake = put(&mut world, moved);
    assert_eq!(hosts(&wake), ["h"], "the host it leaves");
    assert_eq!(wake.cards, BTreeSet::from([key("c")]));
    let emptied = assemble(&world, &key("h")).unwrap().unwrap();
    assert!(emptied.cards.is_empty());
    assert_eq!(world.everybody().cards, BTreeSet::from([key("c")]));
    assert!(
        world
            .put::<DpuHost>(&key("h"), None, at(0))
            .cards
            .is_empty()
    );
}

#[test]
fn one_machine_claimed_twice_shows_on_both_hosts() {
    let mut world = world();
    let bmc = json!({"address": "http://10.0.0.7", "credentialsRef": {"name": "s"},
        "tls": {"trust": "PlainHttp"}});
    put(&mut world, host("h1"));
    put(&mut world, host("h2"));
    let claim = |name: &str, host: &str| {
        let mut claiming = card(name, host);
        claiming.spec.bmc = Some(serde_json::from_value(bmc.clone()).unwrap());
        claiming
    };
    put(&mut world, claim("c1", "h1"));
    let wake = put(&mut world, claim("c2", "h2"));
    assert_eq!(hosts(&wake), ["h1", "h2"]);
    for host in ["h1", "h2"] {
        let view = assemble(&world, &key(host)).unwrap().unwrap();
        let words = &view.cards[0].conflicts[0];
        assert!(
            words.contains("lab/c1") && words.contains("lab/c2"),
            "{words}"
        );
    }
    assert_eq!(
        hosts(&world.put::<Dpu>(&key("c2"), None, at(0))),
        ["h1", "h2"]
    );
    let view = assemble(&world, &key("h1")).unwrap().unwrap();
    assert!(view.cards[0].conflicts.is_empty());
}

#[test]
fn what_cannot_be_read_stops_its_own_domain_only() {
    let mut world = domain();
    put(&mut world, host("h2"));
    let unreadable = |world: &mut World, name: &str| {
        world.put::<Dpu>(
            &key(name),
            Some(Entry::Unreadable("unknown variant".into())),
            at(0),
        )
    };
    assert_eq!(hosts(&unreadable(&mut world, "c1")), ["h"]);
    let error = assemble(&world, &key("h")).unwrap_err().to_string();
    assert!(
        error.contains("lab/c1") && error.contains("unknown variant"),
        "{error}"
    );
    assert!(assemble(&world, &key("h2")).unwrap().is_some());

    // Seen for the first time and unreadable, but the host's record speaks of it.
    let mut recorded = host("h2");
    recorded.metadata.resource_version = Some("50".into());
    recorded.status = serde_json::from_value(json!({
        "cards": [{"name": "c9", "uid": "u", "physicalId": "p"}],
    }))
    .unwrap();
    put(&mut world, recorded);
    unreadable(&mut world, "c9");
    assert!(assemble(&world, &key("h2")).is_err());
    world.put::<Dpu>(&key("c9"), None, at(0));
    assert!(assemble(&world, &key("h2")).unwrap().is_some());
}

#[test]
fn a_list_replaces_what_it_leaves_out_within_its_scope() {
    let scopes = [
        (DpuHost::KIND, Some(SITE.to_owned())),
        (DpuHost::KIND, Some("b".to_owned())),
    ];
    let mut world = World::new(Guards::default(), scopes);
    let entry = |host: DpuHost| (Key::of(&host), Entry::Readable(Arc::new(host)));
    let mut other = host("h");
    other.metadata.namespace = Some("b".into());
    world.replace(Some(SITE), vec![entry(host("h")), entry(host("g"))], at(0));
    assert!(!world.is_synced());
    world.replace(Some("b"), vec![entry(other)], at(0));
    assert!(world.is_synced());
    let wake = world.replace(Some(SITE), vec![entry(host("h"))], at(0));
    assert_eq!(
        wake.hosts,
        BTreeSet::from([key("g")]),
        "only the one that is gone"
    );
    assert_eq!(
        world.everybody().hosts,
        BTreeSet::from([key("h"), Key::new("b", "h")])
    );
}

#[test]
fn guards_wake_everybody() {
    let manifest = "{kind: ValidatingAdmissionPolicy, metadata: {name: g}, spec: {a: 1}}";
    let mut world = World::new(Guards::parse(&[manifest]).unwrap(), []);
    put(&mut world, host("h"));
    let guard = |a: i64| -> Option<Entry<GuardPolicy>> {
        let object = serde_json::from_value(json!({"metadata": {"name": "g"}, "spec": {"a": a}}));
        Some(Entry::Readable(Arc::new(GuardPolicy(object.unwrap()))))
    };
    let g = Key::new("", "g");
    assert_eq!(hosts(&world.put(&g, guard(1), at(0))), ["h"]);
    assert!(assemble(&world, &key("h")).unwrap().unwrap().guards_intact);
    assert!(world.put(&g, guard(1), at(0)).is_empty());
    assert_eq!(hosts(&world.put(&g, guard(2), at(0))), ["h"]);
    assert!(!assemble(&world, &key("h")).unwrap().unwrap().guards_intact);
    let wake = world.replace::<GuardPolicy>(None, vec![], at(0));
    assert!(wake.is_empty(), "missing is no more broken than changed");
    let images: Vec<Key> = DpuImage::known(&world, None);
    assert!(images.is_empty());
}
