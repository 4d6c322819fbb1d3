//! Objects to test with.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod apiserver;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use lockstep_crds::dpu_inventory::Sourced;
use lockstep_crds::inventory::DiskList;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuReport};
use lockstep_operator::guards::Guards;
use lockstep_operator::joins::Joined;
use lockstep_operator::key::Key;
use lockstep_operator::table::Entry;
use lockstep_operator::watched::Watched;
use lockstep_operator::world::{Wake, World};
use lockstep_planner::inventory::{JoinedCard, Verdict};
use serde_json::{Value, json};

/// The namespace, that is the site, of everything here.
pub(crate) const SITE: &str = "lab";

/// Seconds after an arbitrary moment.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The key of an object of the site.
pub(crate) fn key(name: &str) -> Key {
    Key::new(SITE, name)
}

/// An object of ours, as the API server would send it.
pub(crate) fn object(kind: &str, name: &str, version: u64, spec: &Value) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": SITE,
            "uid": format!("uid-{kind}-{name}"),
            "resourceVersion": version.to_string(),
            "generation": 1,
        },
        "spec": spec,
    })
}

pub(crate) fn host(name: &str) -> DpuHost {
    let spec = json!({"site": SITE, "policyRef": {"name": "policy"}});
    serde_json::from_value(object("DpuHost", name, 10, &spec)).unwrap()
}

pub(crate) fn card(name: &str, host: &str) -> Dpu {
    let spec = json!({"site": SITE, "hostRefs": [{"name": host}]});
    serde_json::from_value(object("Dpu", name, 11, &spec)).unwrap()
}

pub(crate) fn policy(image: Option<&str>) -> DpuBootPolicy {
    let spec = match image {
        Some(image) => json!({"mode": "Enforce", "imageRef": {"name": image}}),
        None => json!({"mode": "Enforce"}),
    };
    serde_json::from_value(object("DpuBootPolicy", "policy", 12, &spec)).unwrap()
}

pub(crate) fn image(name: &str, version: &str) -> DpuImage {
    let spec = json!({
        "version": version,
        "digest": format!("sha256:{}", "0".repeat(64)),
        "sources": ["http://images/a"],
    });
    serde_json::from_value(object("DpuImage", name, 13, &spec)).unwrap()
}

pub(crate) fn report(name: &str, vantage: &str, subject: &str, more: &Value) -> DpuReport {
    let mut spec = json!({
        "vantage": vantage,
        "subject": subject,
        "agentVersion": "0.1.0",
        "observedAt": at(0),
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(object("DpuReport", name, 14, &spec)).unwrap()
}

pub(crate) fn lease(holder: &str, renewed: i64) -> Lease {
    serde_json::from_value(json!({"spec": {
        "holderIdentity": holder,
        "leaseDurationSeconds": 60,
        "renewTime": format!("{:.6}", at(renewed)),
    }}))
    .unwrap()
}

/// Puts an object under its own name and tells who is woken.
pub(crate) fn put<K: Watched + kube::Resource>(world: &mut World, object: K) -> Wake {
    let key = Key::of(&object);
    world.put(&key, Some(Entry::Readable(Arc::new(object))), at(0))
}

/// A world without guards that waits for nothing.
pub(crate) fn world() -> World {
    World::new(Guards::default(), [])
}

/// A card of this family, joined for it.
pub(crate) fn join(world: &mut World, dpu: &Dpu, family: &str) -> Wake {
    join_with(world, dpu, family, Vec::new())
}

/// The same, with what is told of its disks.
pub(crate) fn join_with(
    world: &mut World,
    dpu: &Dpu,
    family: &str,
    disks: Vec<Sourced<DiskList>>,
) -> Wake {
    let system = json!({
        "from": "CardBmc", "report": "bmc-card-c", "observedAt": at(0),
        "facts": {"vendor": "NVIDIA", "family": family},
    });
    let cpu = json!({
        "from": "CardBmc", "report": "bmc-card-c", "observedAt": at(0),
        "facts": {"architecture": "aarch64"},
    });
    let inventory = json!({"completeness": "Complete", "system": system, "cpu": cpu});
    let card = JoinedCard {
        inventory: serde_json::from_value(inventory).unwrap(),
        summary: serde_json::from_value(json!({})).unwrap(),
        places: Vec::new(),
        inventoried: Verdict {
            status: "True",
            reason: "Complete",
            message: String::new(),
        },
        tellers: BTreeMap::new(),
        disks,
        inspected: BTreeMap::new(),
        witnesses: Vec::new(),
        is_told_by_others: true,
        is_claimed_by_word: false,
    };
    let mut joined = Joined::default();
    joined.cards.insert("c".to_owned(), Arc::new(dpu.clone()));
    joined.join.cards.insert("c".to_owned(), card);
    world.joined(&key("c").namespace, joined)
}
