//! `Watched`: for each kind, what is kept of an object and whom its change concerns.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::api::DynamicObject;
use kube::core::object::HasSpec;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuInventory, DpuReport, names};
use serde::de::DeserializeOwned;

use crate::author::Author;
use crate::guards;
use crate::key::Key;
use crate::kstatus;
use crate::node_labels;
use crate::table::Entry;
use crate::world::{Wake, World};

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

/// A kind whose objects are kept whole in a table of [`World`], and the function
/// that wakes those whom a change of one concerns.
macro_rules! kept {
    ($($kind:ident in $table:ident: $concerned:ident;)+) => {$(
        impl Watched for $kind {
            const KIND: &'static str = stringify!($kind);

            fn change(
                world: &mut World,
                key: &Key,
                new: Option<Entry<Self>>,
                _now: Timestamp,
                wake: &mut Wake,
            ) {
                if same_version(world.$table.entry(key), new.as_ref()) {
                    return;
                }
                let old = world.$table.set(key, new.clone());
                let (old, new) = (old.as_ref(), new.as_ref());
                $concerned(world, &Change { key, old, new }, wake);
            }

            fn known(world: &World, scope: Option<&str>) -> Vec<Key> {
                world.$table.keys(scope)
            }
        }
    )+};
}

kept! {
    DpuHost in hosts: host_changed;
    Dpu in cards: card_changed;
    DpuImage in images: image_changed;
    DpuBootPolicy in policies: policy_changed;
    DpuReport in reports: report_changed;
    DpuInventory in inventories: inventory_changed;
}

/// Whether two versions of an object are one and the same write.
fn same_version<K: Resource>(old: Option<&Entry<K>>, new: Option<&Entry<K>>) -> bool {
    let version = |entry: Option<&Entry<K>>| {
        let meta = entry?.readable()?.meta();
        Some((meta.uid.clone()?, meta.resource_version.clone()?))
    };
    version(old).is_some_and(|old| version(new) == Some(old))
}

/// The namespace of an object, as the key of what is to be joined.
fn site_of(key: &Key) -> Key {
    Key::new("", key.namespace.clone())
}

/// The images of a namespace, whose statuses tell what those who want them ask for.
fn images_beside(world: &World, key: &Key) -> Vec<Key> {
    world.images.keys(Some(&key.namespace))
}

/// What a write did to a kept object; the table already holds the new one.
struct Change<'a, K> {
    key: &'a Key,
    old: Option<&'a Entry<K>>,
    new: Option<&'a Entry<K>>,
}

impl<K> Change<'_, K> {
    fn begins_or_ends(&self) -> bool {
        self.old.is_some() != self.new.is_some()
    }

    /// Whether what was on its way is so no more: its inventory waited for that.
    fn comes_to_rest(&self, is_on_its_way: fn(&K) -> bool) -> bool {
        let before = self.old.and_then(Entry::readable);
        before.is_some_and(is_on_its_way) && !self.object().is_some_and(is_on_its_way)
    }

    /// The object as it is now, if it exists and can be read.
    fn object(&self) -> Option<&K> {
        self.new.and_then(Entry::readable)
    }

    /// Whether a part of it is not what it was.
    fn alters<T: PartialEq>(&self, part: fn(&K) -> &Option<T>) -> bool {
        let before = self.old.and_then(Entry::readable);
        let before = before.and_then(|old| part(old).as_ref());
        before != self.object().and_then(|new| part(new).as_ref())
    }

    fn alters_spec(&self) -> bool
    where
        K: HasSpec<Spec: PartialEq>,
    {
        let before = self.old.and_then(Entry::readable);
        before.map(HasSpec::spec) != self.object().map(HasSpec::spec)
    }
}

fn host_changed(world: &mut World, change: &Change<'_, DpuHost>, wake: &mut Wake) {
    let rivals = world.claims.host(change.key, change.object());
    wake.hosts.insert(change.key.clone());
    if change.alters_spec() || change.comes_to_rest(kstatus::is_host_on_its_way) {
        wake.sites.insert(site_of(change.key));
        wake.images.extend(images_beside(world, change.key));
    }
    if change.begins_or_ends() {
        wake.cards.extend(world.cards_of(change.key).cloned());
    }
    world.wake_claimants(rivals, wake);
}

fn card_changed(world: &mut World, change: &Change<'_, Dpu>, wake: &mut Wake) {
    let rivals = world.claims.card(change.key, change.object());
    let is_news = change.alters_spec() || change.comes_to_rest(kstatus::is_card_on_its_way);
    if is_news {
        wake.sites.insert(site_of(change.key));
    }
    if is_news || runs(change.old) != runs(change.new) {
        wake.images.extend(images_beside(world, change.key));
    }
    world.index_card(change.key, change.new, wake);
    world.wake_claimants(rivals, wake);
}

/// The bytes that a card runs, as far as its status tells.
fn runs(card: Option<&Entry<Dpu>>) -> Vec<&str> {
    let status = card
        .and_then(Entry::readable)
        .and_then(|card| card.status.as_ref());
    let system = status.and_then(|status| status.image.as_ref());
    let services = status.and_then(|status| status.services.as_ref());
    let services = services.into_iter().flatten();
    let services = services.filter_map(|service| service.running_digest.as_deref());
    system
        .map(|system| system.digest.as_str())
        .into_iter()
        .chain(services)
        .collect()
}

fn image_changed(world: &mut World, change: &Change<'_, DpuImage>, wake: &mut Wake) {
    wake.images.insert(change.key.clone());
    if change.alters_spec() {
        world.wake_for_image(change.key, wake);
    }
}

fn policy_changed(world: &mut World, change: &Change<'_, DpuBootPolicy>, wake: &mut Wake) {
    wake.policies.insert(change.key.clone());
    if change.alters_spec() {
        wake.sites.insert(site_of(change.key));
        wake.images.extend(images_beside(world, change.key));
        world.wake_for_policy(change.key, wake);
    }
}

fn report_changed(world: &mut World, change: &Change<'_, DpuReport>, wake: &mut Wake) {
    let key = change.key;
    let author = Author::of(&key.name);
    if author.is_some() && !matches!(author, Some(Author::Site(_))) {
        wake.sites.insert(site_of(key));
    }
    match author {
        Some(Author::Site(site)) => {
            world.wake_site(&key.namespace, site, wake);
            wake.images.extend(images_beside(world, key));
        }
        Some(Author::HostBmc(host)) => {
            wake.hosts.insert(key.sibling(host));
        }
        Some(Author::CardBmc(card) | Author::CardOs(card)) => {
            world.wake_for_card(&key.sibling(card), wake);
        }
        // What these tell reaches a plan by way of the join; whether a BMC answers does not.
        Some(Author::FoundBmc(_)) => world.wake_for_view(key, wake),
        // What becomes of a directive does not, nor does by which rshim a card is reached.
        Some(Author::HostOs(_))
            if change.alters(|report| &report.spec.execution)
                || change.alters(|report| &report.spec.inventory) =>
        {
            world.wake_for_agent(key, wake);
        }
        Some(Author::HostOs(_) | Author::Scan(_)) | None => {}
    }
}

fn inventory_changed(_world: &mut World, change: &Change<'_, DpuInventory>, wake: &mut Wake) {
    wake.sites.insert(site_of(change.key));
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
        let was_there = world.nodes.get(&key.name).is_some();
        let is_there = new.is_some();
        if let Some(hosts) = world.nodes.change(&key.name, new) {
            world.wake_for_node(&key.name, &hosts, wake);
            if !node_labels::is_as_wanted(world, &key.name) {
                wake.nodes.insert(key.clone());
            }
        }
        if was_there != is_there {
            // Its agent's report may have been left behind, or be so no more.
            let report = names::host(&key.name);
            let told = |(namespace, _): &(&String, _)| {
                world
                    .reports
                    .exists(&Key::new(namespace.as_str(), report.as_str()))
            };
            let sites = world.joins.iter().filter(told);
            wake.sites
                .extend(sites.map(|(namespace, _)| Key::new("", namespace)));
        }
    }

    fn known(world: &World, _scope: Option<&str>) -> Vec<Key> {
        world.nodes.keys()
    }
}

/// A kind of admission guard, of which only the spec is taken note of.
macro_rules! guard {
    ($(#[$doc:meta])* $kind:ident, $name:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $kind(pub DynamicObject);

        impl Watched for $kind {
            const KIND: &'static str = $name;

            fn change(
                world: &mut World,
                key: &Key,
                new: Option<Entry<Self>>,
                _now: Timestamp,
                wake: &mut Wake,
            ) {
                let spec = new
                    .as_ref()
                    .and_then(Entry::readable)
                    .map(|guard| guard.0.data.get("spec").cloned().unwrap_or_default());
                if world.guards.observe(&Key::new($name, &key.name), spec.as_ref()) {
                    wake.hosts.extend(world.hosts.keys(None));
                }
            }

            fn known(world: &World, _scope: Option<&str>) -> Vec<Key> {
                world.guards.keys($name)
            }
        }
    };
}

guard! {
    /// A `ValidatingAdmissionPolicy` in full, fields of newer API servers included:
    /// a typed object would lose just those that could weaken it.
    GuardPolicy, guards::POLICY
}

guard! {
    /// A `ValidatingAdmissionPolicyBinding` in full.
    GuardBinding, guards::BINDING
}
