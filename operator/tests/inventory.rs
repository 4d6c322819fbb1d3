//! What a pass over a namespace writes and what it does not, against the compare-and-swap of an
//! API server.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::{Resource, ResourceExt};
use lockstep_crds::dpu::HostPlace;
use lockstep_crds::dpu_inventory::{DpuInventorySpec, KnownPairing, Sourced};
use lockstep_crds::report::Vantage;
use lockstep_crds::{Dpu, DpuHost, DpuInventory, DpuReport, PROPOSED_GENERATION, PROPOSED_LABEL};
use lockstep_operator::context::{Context, Outcome, Shared};
use lockstep_operator::guards::Guards;
use lockstep_operator::inventory_controller::{Inventories, Join};
use lockstep_operator::key::Key;
use lockstep_operator::label_controller;
use lockstep_operator::metrics::Metrics;
use lockstep_operator::queue::Ended;
use lockstep_operator::stores::Waker;
use lockstep_operator::table::Entry;
use lockstep_operator::watched::{GuardPolicy, Watched};
use lockstep_operator::world::World;
use lockstep_operator::writes::Writes;
use lockstep_planner::inventory::{
    Approval, JoinedCard, JoinedHost, Move, Proposal, SiteJoin, SiteView, Subject, Verdict,
    Withdrawal,
};
use serde_json::{Value, json};
use support::apiserver::{ApiServer, Seen};
use support::*;

const SECOND: Duration = Duration::from_secs(1);

/// An operator with one namespace, and the time of its next pass.
struct Site {
    server: ApiServer,
    context: Context,
    inventories: Inventories,
    now: Instant,
}

impl Site {
    async fn new(join: Join, objects: Vec<(&'static str, Value)>) -> Self {
        let server = ApiServer::start(objects).await;
        let manifest = "{kind: ValidatingAdmissionPolicy, metadata: {name: g}, spec: {a: 1}}";
        let world = World::new(Guards::parse(&[manifest]).unwrap(), []);
        let metrics = Metrics::default();
        let writes = Writes::new(server.client.clone(), "test".to_owned(), metrics.clone());
        let site = Self {
            context: Context::new(Shared::new(world), writes, metrics),
            inventories: Inventories::new(join, Waker::default()),
            now: Instant::now(),
            server,
        };
        site.guard(1);
        site
    }

    /// Shows the guard as it should be, with 1, or changed.
    fn guard(&self, a: i64) {
        let object = json!({"metadata": {"name": "g"}, "spec": {"a": a}});
        let policy = GuardPolicy(serde_json::from_value(object).unwrap());
        let entry = Some(Entry::Readable(Arc::new(policy)));
        let mut world = self.context.world.write();
        world.put(&Key::new("", "g"), entry, at(0));
    }

    fn see<K: Watched + Resource>(&self, object: K) {
        put(&mut self.context.world.write(), object);
    }

    /// The watch catches up with an object.
    fn catch_up<K: Watched + Resource>(&self, path: &str) {
        self.see::<K>(serde_json::from_value(self.server.object(path)).unwrap());
    }

    /// The watches catch up with everything.
    fn sync(&self) {
        let objects = self.server.objects();
        self.sync_kind::<Dpu>("dpus/", &objects);
        self.sync_kind::<DpuHost>("dpuhosts/", &objects);
        self.sync_kind::<DpuInventory>("dpuinventories/", &objects);
    }

    fn sync_kind<K: Watched>(&self, prefix: &str, objects: &BTreeMap<String, Value>) {
        let of_kind = objects.iter().filter_map(|(path, object)| {
            let name = path.strip_prefix(prefix)?;
            let object = Arc::new(serde_json::from_value(object.clone()).unwrap());
            Some((key(name), Entry::Readable(object)))
        });
        let mut world = self.context.world.write();
        world.replace::<K>(Some(SITE), of_kind.collect(), at(0));
    }

    /// Passes until nothing is asked for; returns what people were told, in order.
    async fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        let mut idle = 0;
        for _ in 0..50 {
            let (outcome, seen) = self.pass(5).await;
            assert_ne!(outcome.ended, Ended::Failed, "{seen:?}");
            idle = if seen.is_empty() { idle + 1 } else { 0 };
            let events = seen.iter().filter(|one| one.path == "events");
            told.extend(events.map(|event| {
                let about = &event.body["regarding"];
                let word = |value: &Value| value.as_str().unwrap().to_owned();
                let (reason, kind) = (word(&event.body["reason"]), word(&about["kind"]));
                format!("{reason} {kind} {}", word(&about["name"]))
            }));
            if idle == 3 {
                break;
            }
            self.sync();
        }
        assert_eq!(idle, 3, "it asks for more and more: {told:?}");
        told
    }

    /// One pass, some seconds after the last; returns its requests.
    async fn pass(&mut self, seconds: u32) -> (Outcome, Vec<Seen>) {
        self.now += SECOND * seconds;
        let key = Key::new("", SITE);
        let outcome = self.inventories.pass(&self.context, &key, self.now).await;
        (outcome, self.server.take_seen())
    }
}

fn lines(seen: &[Seen]) -> Vec<String> {
    let mut lines: Vec<String> = seen.iter().map(Seen::line).collect();
    lines.sort();
    lines
}

/// A card that is at rest.
fn resting(name: &str) -> Dpu {
    let mut dpu = card(name, "h");
    dpu.spec.approved = false;
    dpu
}

fn told(serial: &str, observed: i64, version: u64) -> DpuReport {
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
        witnesses: Vec::new(),
    }
}

/// A join that knows only what BMCs of cards tell of their systems.
fn systems(view: &SiteView<'_>) -> SiteJoin {
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

#[tokio::test]
async fn passes_keep_their_distance_and_a_lost_race_is_looked_at_again() {
    let mut site = Site::new(systems, vec![("dpuinventories/c", json!({}))]).await;
    site.see(resting("c"));
    site.see(told("S1", 1, 20));
    let begun = site.now;
    site.pass(0).await;
    let (outcome, _) = site.pass(1).await;
    assert_eq!(
        (outcome.result, outcome.ended),
        ("paced", Ended::Again(begun + 2 * SECOND))
    );
    // Somebody made it, and the watch has not said so yet.
    let (outcome, seen) = site.pass(10).await;
    assert_eq!(lines(&seen), ["POST dpuinventories"]);
    assert_eq!(outcome.result, "conflict");
    site.server.breaks(true);
    let (outcome, _) = site.pass(10).await;
    assert_eq!(outcome.ended, Ended::Failed);
}

fn proposed<K: Resource>(mut object: K) -> K {
    let label = (PROPOSED_LABEL.to_owned(), "id".to_owned());
    object
        .meta_mut()
        .labels
        .get_or_insert_default()
        .insert(label.0, label.1);
    object
}

/// A join that has found a card and its host.
fn finds(_: &SiteView<'_>) -> SiteJoin {
    let (mut dpu, mut host) = (proposed(card("found", "box")), proposed(host("box")));
    dpu.metadata.namespace = None;
    host.metadata.namespace = None;
    SiteJoin {
        proposals: vec![
            Proposal::Card(Box::new(dpu)),
            Proposal::Host(Box::new(host)),
        ],
        ..SiteJoin::default()
    }
}

#[tokio::test]
async fn what_is_found_is_proposed_unapproved_and_never_twice() {
    let mut site = Site::new(finds, vec![]).await;
    let (outcome, seen) = site.pass(0).await;
    assert_eq!(outcome.result, "ok");
    assert_eq!(
        lines(&seen),
        ["POST dpuhosts", "POST dpus", "POST events", "POST events"]
    );
    let made = seen.iter().find(|one| one.path == "dpus").unwrap();
    assert_eq!(made.body["spec"]["approved"], false);
    assert_eq!(made.body["metadata"]["namespace"], SITE);
    assert!(made.query.contains("fieldManager=lockstep-discover"));
    // Before the watch has delivered them.
    let (outcome, seen) = site.pass(2).await;
    assert_eq!(lines(&seen), ["POST dpuhosts", "POST dpus"]);
    assert_eq!(outcome.result, "conflict");
}

#[tokio::test]
async fn nothing_is_made_on_the_word_of_agents_that_no_guard_vouches_for() {
    let mut site = Site::new(finds, vec![]).await;
    site.guard(2);
    assert!(site.pass(0).await.1.is_empty());
    site.guard(1);
    // What cannot be read may stand for that very card.
    let unreadable = Some(Entry::Unreadable("unknown variant".into()));
    site.context
        .world
        .write()
        .put::<Dpu>(&key("x"), unreadable, at(0));
    assert!(site.pass(2).await.1.is_empty());
    site.context
        .world
        .write()
        .put::<Dpu>(&key("x"), None, at(0));
    assert_eq!(site.pass(2).await.1.len(), 4);
}

/// A join that wants every object gone, moved and approved.
fn wants_everything(view: &SiteView<'_>) -> SiteJoin {
    let mut join = SiteJoin::default();
    let mut ask = |subject: Subject, name: String, uid: String| {
        join.moves.push(Move {
            subject,
            name: name.clone(),
            uid: uid.clone(),
            address: "http://10.0.0.9".to_owned(),
            as_written: true,
        });
        join.withdrawals.push(Withdrawal {
            subject,
            name: name.clone(),
            uid: uid.clone(),
            why: "of a user's".to_owned(),
        });
        if subject == Subject::Card {
            join.approvals.push(Approval {
                name,
                uid,
                why: "policy p".to_owned(),
            });
        }
    };
    for dpu in &view.cards {
        ask(Subject::Card, dpu.name_any(), dpu.uid().unwrap());
    }
    for host in &view.hosts {
        ask(Subject::Host, host.name_any(), host.uid().unwrap());
    }
    join
}

/// Requests for cards and hosts, of a site with one card and one host.
async fn asked(dpu: Dpu, host: DpuHost) -> Vec<String> {
    let objects = vec![
        ("dpus/c", serde_json::to_value(&dpu).unwrap()),
        ("dpuhosts/h", serde_json::to_value(&host).unwrap()),
    ];
    let mut site = Site::new(wants_everything, objects).await;
    site.see(dpu);
    site.see(host);
    let seen = site.pass(0).await.1;
    let lines = lines(&seen).into_iter();
    lines.filter(|line| !line.ends_with("events")).collect()
}

#[tokio::test]
async fn only_proposals_are_followed_and_taken_back() {
    let bmc = json!({"address": "http://10.0.0.7", "credentialsRef": {"name": "s"},
        "tls": {"trust": "PlainHttp"}});
    let dpu = || {
        let mut dpu = resting("c");
        dpu.spec.bmc = Some(serde_json::from_value(bmc.clone()).unwrap());
        dpu
    };
    let host = || {
        let mut host = host("h");
        host.spec.bmc = Some(serde_json::from_value(bmc.clone()).unwrap());
        host
    };
    assert!(asked(dpu(), host()).await.is_empty(), "they are a user's");
    let all = asked(proposed(dpu()), proposed(host())).await;
    for line in ["DELETE dpus/c", "DELETE dpuhosts/h"] {
        assert!(all.contains(&line.to_owned()), "{all:?}");
    }

    let mut approved = proposed(dpu());
    approved.spec.approved = true;
    let moves = ["PATCH dpuhosts/h", "PATCH dpus/c"];
    assert_eq!(asked(approved, proposed(host())).await, moves);

    let mut at_work = proposed(host());
    at_work.status = serde_json::from_value(json!({
        "cards": [{"name": "c", "uid": "uid-Dpu-c", "physicalId": "p"}],
    }))
    .unwrap();
    let seen = asked(proposed(dpu()), at_work).await;
    assert!(
        !seen.iter().any(|line| line.starts_with("DELETE")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_approval_by_policy_and_a_withdrawal_say_why() {
    fn approves(view: &SiteView<'_>) -> SiteJoin {
        let mut join = wants_everything(view);
        join.withdrawals.clear();
        join.moves.clear();
        join
    }
    let dpu = proposed(resting("c"));
    let objects = vec![("dpus/c", serde_json::to_value(&dpu).unwrap())];
    let mut site = Site::new(approves, objects).await;
    site.see(dpu);
    let seen = site.pass(0).await.1;
    assert_eq!(lines(&seen), ["PATCH dpus/c", "POST events"]);
    assert_eq!(seen[0].body["spec"], json!({"approved": true}));
    assert_eq!(seen[0].body["metadata"]["uid"], "uid-Dpu-c");
    let annotations = &seen[0].body["metadata"]["annotations"];
    assert_eq!(*annotations, json!({PROPOSED_GENERATION: "2"}));
    assert_eq!(seen[1].body["reason"], "Approved");
    assert_eq!(seen[1].body["note"], "policy p");
    site.catch_up::<Dpu>("dpus/c");
    assert!(site.pass(2).await.1.is_empty(), "it is approved");
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
    let seen = label(&site).await;
    assert_eq!(lines(&seen), ["PATCH nodes/n"]);
    assert_eq!(seen[0].body, json!({"metadata": {"labels": {COUNT: "1"}}}));
    assert!(label(&site).await.is_empty(), "nothing differs");

    let dpu = key("c");
    site.context.world.write().put::<Dpu>(&dpu, None, at(0));
    site.pass(2).await;
    let seen = label(&site).await;
    assert_eq!(seen[0].body, json!({"metadata": {"labels": {COUNT: null}}}));
    let labels = &site.server.object("nodes/n")["metadata"]["labels"];
    assert_eq!(*labels, json!({"team": "blue"}), "those of others stay");
}

/// A BMC of a card that was found, at that address.
fn found(address: &str, version: u64) -> DpuReport {
    let facts = json!({
        "found": {
            "role": "Card", "recognisedBy": "SystemType DPU", "sources": ["list"], "site": SITE,
            "endpoint": {"address": address, "credentials": "bmc", "trust": "NoVerification"},
        },
        "inventory": {"system": {
            "serialNumber": "MT2312X00123", "vendor": "NVIDIA", "family": "BlueField-3",
        }},
    });
    let mut report = report("bmc-found-id1", "FoundBmc", "id1", &facts);
    report.metadata.resource_version = Some(version.to_string());
    report
}

#[tokio::test]
async fn a_card_that_is_found_is_proposed_followed_and_gives_way() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    site.see(found("https://10.0.0.7", 20));
    let told = site.settle().await;
    let objects = site.server.objects();
    let mut dpus = objects.iter().filter(|(path, _)| path.starts_with("dpus/"));
    let (path, dpu) = dpus.next().unwrap();
    assert!(dpus.next().is_none(), "{objects:?}");
    let name = path.strip_prefix("dpus/").unwrap();
    assert_eq!(told.len(), 2, "a card, and a host that stands in: {told:?}");
    assert!(told.contains(&format!("Proposed Dpu {name}")), "{told:?}");
    assert_eq!(dpu["spec"]["approved"], false);
    assert!(objects.contains_key(&format!("dpuinventories/{name}")));

    site.see(found("https://10.0.0.8", 21));
    assert_eq!(site.settle().await, [format!("BmcMoved Dpu {name}")]);
    let dpu = site.server.object(path);
    assert_eq!(dpu["spec"]["bmc"]["address"], "https://10.0.0.8");

    // A person writes an object for the same card.
    let mut own = card("mine", "rack1");
    own.spec.identity = serde_json::from_value(json!({"serialNumber": "MT2312X00123"})).unwrap();
    site.server
        .write("dpus/mine", |object| *object = json!(own));
    site.sync();
    let told = site.settle().await;
    assert!(told.contains(&format!("Withdrawn Dpu {name}")), "{told:?}");
    let left = site.server.objects().into_keys();
    let left: Vec<String> = left.filter(|path| path.starts_with("dpus/")).collect();
    assert_eq!(left, ["dpus/mine"]);
}

#[tokio::test]
async fn what_the_api_server_refuses_keeps_nothing_else_waiting() {
    fn proposes(_: &SiteView<'_>) -> SiteJoin {
        let made = |name: &str| {
            let mut dpu = proposed(resting(name));
            dpu.metadata.uid = None;
            Proposal::Card(Box::new(dpu))
        };
        let mut join = SiteJoin::default();
        join.proposals.extend(["bad", "good"].map(made));
        join
    }
    let mut site = Site::new(proposes, vec![]).await;
    site.server.refuses(Some("bad"));
    let (outcome, seen) = site.pass(0).await;
    assert_ne!(outcome.ended, Ended::Failed);
    let made: Vec<String> = site.server.objects().into_keys().collect();
    assert!(made.contains(&"dpus/good".to_owned()), "{made:?}");
    let asks = |seen: &[Seen]| {
        let bad = |one: &&Seen| one.body["metadata"]["name"] == "bad";
        seen.iter().filter(bad).count()
    };
    assert_eq!(asks(&seen), 1);
    for _ in 0..10 {
        let (outcome, seen) = site.pass(30).await;
        assert_eq!(asks(&seen), 0, "it would be refused again");
        assert!(matches!(outcome.ended, Ended::Again(_)), "{outcome:?}");
    }
    site.server.refuses(None);
    let (_, seen) = site.pass(600).await;
    assert_eq!(asks(&seen), 1);
}

#[tokio::test]
async fn a_policy_approves_what_fits_once() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    let mut allows = policy(None);
    let families = json!({"approve": [{"families": ["BlueField-3"]}]});
    allows.spec.discovered = serde_json::from_value(families).unwrap();
    site.see(allows);
    site.see(found("https://10.0.0.7", 20));
    let told = site.settle().await;
    let approved = told.iter().filter(|line| line.starts_with("Approved Dpu"));
    assert_eq!(approved.count(), 1, "{told:?}");
    assert!(site.settle().await.is_empty());
}

/// Whoever changed a proposal decides about it from then on, wherever its BMC goes.
#[tokio::test]
async fn an_approval_that_was_taken_back_is_not_given_again_when_the_bmc_moves() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    let mut allows = policy(None);
    let families = json!({"approve": [{"families": ["BlueField-3"]}]});
    allows.spec.discovered = serde_json::from_value(families).unwrap();
    site.see(allows);
    site.see(found("https://10.0.0.7", 20));
    site.settle().await;
    let objects = site.server.objects();
    let mut paths = objects.keys().filter(|path| path.starts_with("dpus/"));
    let path = paths.next().unwrap();
    let name = path.strip_prefix("dpus/").unwrap();
    assert_eq!(objects[path]["spec"]["approved"], true);
    let mark = |dpu: &Value| dpu["metadata"]["annotations"][PROPOSED_GENERATION].clone();

    // Nobody else has written it, and it counts as that where its BMC is now, too.
    site.see(found("https://10.0.0.8", 21));
    assert_eq!(site.settle().await, [format!("BmcMoved Dpu {name}")]);
    let dpu = site.server.object(path);
    assert_eq!(mark(&dpu), dpu["metadata"]["generation"].to_string());

    site.server
        .write(path, |dpu| dpu["spec"]["approved"] = json!(false));
    site.sync();
    assert!(site.settle().await.is_empty());
    site.see(found("https://10.0.0.9", 22));
    site.settle().await;
    let taken_back = site.server.object(path);
    assert_eq!(taken_back["spec"]["bmc"]["address"], "https://10.0.0.9");
    assert_eq!(taken_back["spec"]["approved"], false);
    assert_eq!(mark(&taken_back), mark(&dpu), "it is a person's for good");
}

/// What the agent on Node n tells of the cards in its host.
fn lists(cards: &Value, version: u64) -> DpuReport {
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
