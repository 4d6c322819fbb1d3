//! An operator with one namespace, and what is usual there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use lockstep_crds::{Dpu, DpuHost, DpuInventory, DpuReport, PROPOSED_LABEL};
use lockstep_operator::context::{Context, Outcome, Shared};
use lockstep_operator::guards::Guards;
use lockstep_operator::inventory_controller::{Inventories, Join};
use lockstep_operator::key::Key;
use lockstep_operator::metrics::Metrics;
use lockstep_operator::queue::Ended;
use lockstep_operator::stores::Waker;
use lockstep_operator::table::Entry;
use lockstep_operator::watched::{GuardPolicy, Watched};
use lockstep_operator::world::{Wake, World};
use lockstep_operator::writes::Writes;
use serde_json::{Value, json};

use crate::support::apiserver::{ApiServer, Seen};
use crate::support::*;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An operator with one namespace, and the time of its last pass.
pub(crate) struct Site {
    pub(crate) server: ApiServer,
    pub(crate) context: Context,
    pub(crate) inventories: Inventories,
    pub(crate) now: Instant,
    begun: Instant,
}

impl Site {
    pub(crate) async fn new(join: Join, objects: Vec<(&'static str, Value)>) -> Self {
        let server = ApiServer::start(objects).await;
        let manifest = "{kind: ValidatingAdmissionPolicy, metadata: {name: g}, spec: {a: 1}}";
        let world = World::new(Guards::parse(&[manifest]).unwrap(), []);
        let metrics = Metrics::default();
        let writes = Writes::new(server.client.clone(), "test".to_owned(), metrics.clone());
        let begun = Instant::now();
        let site = Self {
            context: Context::new(Shared::new(world), writes, metrics),
            inventories: Inventories::new(join, Waker::default()),
            now: begun,
            begun,
            server,
        };
        site.guard(1);
        site
    }

    /// Shows the guard as it should be, with 1, or changed.
    pub(crate) fn guard(&self, a: i64) {
        let object = json!({"metadata": {"name": "g"}, "spec": {"a": a}});
        let policy = GuardPolicy(serde_json::from_value(object).unwrap());
        let entry = Some(Entry::Readable(Arc::new(policy)));
        let mut world = self.context.world.write();
        world.put(&Key::new("", "g"), entry, at(0));
    }

    pub(crate) fn see<K: Watched + Resource>(&self, object: K) {
        put(&mut self.context.world.write(), object);
    }

    /// The time of its last pass.
    fn time(&self) -> Timestamp {
        at(0) + SignedDuration::try_from(self.now - self.begun).unwrap()
    }

    /// An agent renews its Lease now; tells who is woken.
    pub(crate) fn renew(&self, agent: &str) -> Wake {
        let seconds = self.time().duration_since(at(0)).as_secs();
        let entry = Some(Entry::Readable(Arc::new(lease(agent, seconds))));
        let mut world = self.context.world.write();
        world.put::<Lease>(&key(agent), entry, self.time())
    }

    /// The watch catches up with an object.
    pub(crate) fn catch_up<K: Watched + Resource>(&self, path: &str) {
        self.see::<K>(serde_json::from_value(self.server.object(path)).unwrap());
    }

    /// The watches catch up with everything.
    pub(crate) fn sync(&self) {
        let objects = self.server.objects();
        self.sync_kind::<Dpu>("dpus/", &objects);
        self.sync_kind::<DpuHost>("dpuhosts/", &objects);
        self.sync_kind::<DpuInventory>("dpuinventories/", &objects);
    }

    pub(crate) fn sync_kind<K: Watched>(&self, prefix: &str, objects: &BTreeMap<String, Value>) {
        let of_kind = objects.iter().filter_map(|(path, object)| {
            let name = path.strip_prefix(prefix)?;
            let object = Arc::new(serde_json::from_value(object.clone()).unwrap());
            Some((key(name), Entry::Readable(object)))
        });
        let mut world = self.context.world.write();
        world.replace::<K>(Some(SITE), of_kind.collect(), at(0));
    }

    /// Passes until nothing is asked for; returns what people were told, in order.
    pub(crate) async fn settle(&mut self) -> Vec<String> {
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
    pub(crate) async fn pass(&mut self, seconds: u32) -> (Outcome, Vec<Seen>) {
        self.now += SECOND * seconds;
        let key = Key::new("", SITE);
        let inventories = &self.inventories;
        let pass = inventories.pass(&self.context, &key, self.now, self.time());
        let outcome = pass.await;
        (outcome, self.server.take_seen())
    }
}

pub(crate) fn lines(seen: &[Seen]) -> Vec<String> {
    let mut lines: Vec<String> = seen.iter().map(Seen::line).collect();
    lines.sort();
    lines
}

/// A card that is at rest.
pub(crate) fn resting(name: &str) -> Dpu {
    let mut dpu = card(name, "h");
    dpu.spec.approved = false;
    dpu
}

pub(crate) fn proposed<K: Resource>(mut object: K) -> K {
    let label = (PROPOSED_LABEL.to_owned(), "id".to_owned());
    object
        .meta_mut()
        .labels
        .get_or_insert_default()
        .insert(label.0, label.1);
    object
}

/// A BMC of a card that was found, at that address.
pub(crate) fn found(address: &str, version: u64) -> DpuReport {
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
