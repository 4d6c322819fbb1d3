//! `Watched`: for each kind, what is kept of an object and whom its change concerns.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::api::DynamicObject;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuReport};
use lockstep_planner::view::NodeSeen;
use serde::de::DeserializeOwned;

use crate::guards;
use crate::key::Key;
use crate::table::Entry;
use crate::world::{Author, Wake, World};

/// A kind the operator watches.
pub trait Watched: Clone + Debug + DeserializeOwned + Send + Sync + 'static {
    /// The kind, for logs and readiness.
    const KIND: &'static str;

    /// Takes note of an object, or of its end, and wakes those concerned.
    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        now: Timestamp,
        wake: &mut Wake,
    );

    /// Keys of what has been noted within a scope.
    fn known(world: &World, scope: Option<&str>) -> Vec<Key>;
}

/// Whether two versions of an object are one and the same write.
fn same_version<K: Resource>(old: Option<&Entry<K>>, new: Option<&Entry<K>>) -> bool {
    let version = |entry: Option<&Entry<K>>| {
        let meta = entry?.readable()?.meta();
        Some((meta.uid.clone()?, meta.resource_version.clone()?))
    };
    version(old).is_some_and(|old| version(new) == Some(old))
}

impl Watched for DpuHost {
    const KIND: &'static str = "DpuHost";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        if same_version(world.hosts.entry(key), new.as_ref()) {
            return;
        }
        let rivals = world
            .claims
            .host(key, new.as_ref().and_then(Entry::readable));
        let exists = new.is_some();
        let existed = world.hosts.set(key, new).is_some();
        wake.hosts.insert(key.clone());
        if exists != existed {
            wake.cards.extend(world.cards_of(key).cloned());
        }
        world.wake_claimants(rivals, wake);
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.hosts.keys(scope)
    }
}

impl Watched for Dpu {
    const KIND: &'static str = "Dpu";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        if same_version(world.cards.entry(key), new.as_ref()) {
            return;
        }
        let rivals = world
            .claims
            .card(key, new.as_ref().and_then(Entry::readable));
        world.index_card(key, new.as_ref(), wake);
        world.cards.set(key, new);
        world.wake_claimants(rivals, wake);
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.cards.keys(scope)
    }
}

impl Watched for DpuImage {
    const KIND: &'static str = "DpuImage";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        if same_version(world.images.entry(key), new.as_ref()) {
            return;
        }
        let spec = |entry: Option<&Entry<Self>>| {
            entry
                .and_then(Entry::readable)
                .map(|image| image.spec.clone())
        };
        let after = spec(new.as_ref());
        let before = world.images.set(key, new);
        wake.images.insert(key.clone());
        if spec(before.as_ref()) != after {
            world.wake_for_image(key, wake);
        }
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.images.keys(scope)
    }
}

impl Watched for DpuBootPolicy {
    const KIND: &'static str = "DpuBootPolicy";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        if same_version(world.policies.entry(key), new.as_ref()) {
            return;
        }
        let spec = |entry: Option<&Entry<Self>>| {
            entry
                .and_then(Entry::readable)
                .map(|policy| policy.spec.clone())
        };
        let after = spec(new.as_ref());
        let before = world.policies.set(key, new);
        wake.policies.insert(key.clone());
        if spec(before.as_ref()) != after {
            world.wake_for_policy(key, wake);
        }
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.policies.keys(scope)
    }
}

impl Watched for DpuReport {
    const KIND: &'static str = "DpuReport";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        if same_version(world.reports.entry(key), new.as_ref()) {
            return;
        }
        world.reports.set(key, new);
        match Author::of(&key.name) {
            Some(Author::Site(site)) => {
                world.wake_site(&key.namespace, site, wake);
                wake.images.extend(world.images.keys(Some(&key.namespace)));
            }
            Some(Author::HostBmc(host)) => {
                wake.hosts.insert(key.sibling(host));
            }
            Some(Author::CardBmc(card) | Author::CardOs(card)) => {
                world.wake_for_card(&key.sibling(card), wake);
            }
            None => {}
        }
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.reports.keys(scope)
    }
}

impl Watched for Lease {
    const KIND: &'static str = "Lease";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        now: Timestamp,
        wake: &mut Wake,
    ) {
        if world
            .leases
            .observe(key, new.as_ref().and_then(Entry::readable), now)
        {
            world.wake_for_agent(key, wake);
        }
    }

    fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
        world.leases.keys(scope)
    }
}

impl Watched for Node {
    const KIND: &'static str = "Node";

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        let seen = new.map(|entry| match entry {
            Entry::Readable(node) => node_seen(&node),
            // What cannot be read must be assumed to be in use (S12).
            Entry::Unreadable(_) => NodeSeen {
                ready: true,
                boot_id: None,
            },
        });
        let before = match &seen {
            Some(seen) => world.nodes.insert(key.name.clone(), seen.clone()),
            None => world.nodes.remove(&key.name),
        };
        if before != seen {
            world.wake_for_node(&key.name, wake);
        }
    }

    fn known(world: &World, _scope: Option<&str>) -> Vec<Key> {
        world.nodes.keys().map(|name| Key::new("", name)).collect()
    }
}

fn node_seen(node: &Node) -> NodeSeen {
    let status = node.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
    let boot_id = status
        .and_then(|status| status.node_info.as_ref())
        .map(|info| info.boot_id.clone())
        .filter(|boot_id| !boot_id.is_empty());
    NodeSeen { ready, boot_id }
}

/// A `ValidatingAdmissionPolicy` in full, fields of newer API servers included:
/// a typed object would lose just those that could weaken it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct GuardPolicy(pub DynamicObject);

/// A `ValidatingAdmissionPolicyBinding` in full.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct GuardBinding(pub DynamicObject);

fn guard_changed(
    world: &mut World,
    kind: &str,
    name: &str,
    object: Option<&DynamicObject>,
    wake: &mut Wake,
) {
    let spec = object.map(|object| object.data.get("spec").cloned().unwrap_or_default());
    if world.guards.observe(&Key::new(kind, name), spec.as_ref()) {
        wake.hosts.extend(world.hosts.keys(None));
    }
}

impl Watched for GuardPolicy {
    const KIND: &'static str = guards::POLICY;

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        let object = new.as_ref().and_then(Entry::readable).map(|guard| &guard.0);
        guard_changed(world, guards::POLICY, &key.name, object, wake);
    }

    fn known(world: &World, _scope: Option<&str>) -> Vec<Key> {
        world.guards.keys(guards::POLICY)
    }
}

impl Watched for GuardBinding {
    const KIND: &'static str = guards::BINDING;

    fn change(
        world: &mut World,
        key: &Key,
        new: Option<Entry<Self>>,
        _now: Timestamp,
        wake: &mut Wake,
    ) {
        let object = new.as_ref().and_then(Entry::readable).map(|guard| &guard.0);
        guard_changed(world, guards::BINDING, &key.name, object, wake);
    }

    fn known(world: &World, _scope: Option<&str>) -> Vec<Key> {
        world.guards.keys(guards::BINDING)
    }
}
