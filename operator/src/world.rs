//! `World`: everything the watches have delivered, with the indexes that tell
//! whom a change concerns.
//!
//! Every change goes through [`World::put`] or [`World::replace`], which answer
//! with the objects to reconcile because of it. No I/O: tests feed objects.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockstep_crds::host::GoodImage;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuInventory, DpuReport};
use lockstep_planner::node_of;

use crate::author::Author;
use crate::conflicts::{Claimant, Claims};
use crate::guards::Guards;
use crate::joins::{Joined, Joins};
use crate::key::Key;
use crate::leases::Leases;
use crate::node_labels::{self, NodeCards};
use crate::nodes::Nodes;
use crate::table::{Entry, Table};
use crate::watched::Watched;

/// Objects to reconcile because something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// `DpuHost`s, each with its whole power domain.
    pub hosts: BTreeSet<Key>,
    /// `Dpu`s that may be without a host.
    pub cards: BTreeSet<Key>,
    /// `DpuImage`s.
    pub images: BTreeSet<Key>,
    /// `DpuBootPolicy`s.
    pub policies: BTreeSet<Key>,
    /// Namespaces whose reports are to be joined anew, by the key of the Namespace.
    pub sites: BTreeSet<Key>,
    /// Nodes whose labels may have to be changed.
    pub nodes: BTreeSet<Key>,
}

impl Wake {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.cards.extend(other.cards);
        self.images.extend(other.images);
        self.policies.extend(other.policies);
        self.sites.extend(other.sites);
        self.nodes.extend(other.nodes);
    }

    /// Whether nobody is concerned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One watch: a kind, and the namespace it is limited to.
pub type Watch = (&'static str, Option<String>);

/// What the watches have delivered.
#[derive(Debug, Default)]
pub struct World {
    pub(crate) hosts: Table<DpuHost>,
    pub(crate) cards: Table<Dpu>,
    pub(crate) images: Table<DpuImage>,
    pub(crate) policies: Table<DpuBootPolicy>,
    pub(crate) reports: Table<DpuReport>,
    pub(crate) inventories: Table<DpuInventory>,
    pub(crate) joins: Joins,
    pub(crate) node_cards: NodeCards,
    pub(crate) nodes: Nodes,
    pub(crate) leases: Leases,
    pub(crate) claims: Claims,
    pub(crate) guards: Guards,
    host_of_card: BTreeMap<Key, Key>,
    cards_of_host: BTreeMap<Key, BTreeSet<Key>>,
    pending: BTreeSet<Watch>,
}

impl World {
    /// An empty world that wants these guards and waits for these watches.
    pub fn new(guards: Guards, pending: impl IntoIterator<Item = Watch>) -> Self {
        Self {
            guards,
            pending: pending.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes note of one object, or with `None` of its end.
    pub fn put<K: Watched>(&mut self, key: &Key, new: Option<Entry<K>>, now: Timestamp) -> Wake {
        let mut wake = Wake::default();
        K::change(self, key, new, now, &mut wake);
        wake
    }

    /// Takes note of a complete list: what is not in it has ended.
    pub fn replace<K: Watched>(
        &mut self,
        scope: Option<&str>,
        listed: Vec<(Key, Entry<K>)>,
        now: Timestamp,
    ) -> Wake {
        let mut wake = Wake::default();
        let present: BTreeSet<Key> = listed.iter().map(|(key, _)| key.clone()).collect();
        for key in K::known(self, scope) {
            if !present.contains(&key) {
                K::change(self, &key, None, now, &mut wake);
            }
        }
        for (key, entry) in listed {
            K::change(self, &key, Some(entry), now, &mut wake);
        }
        self.pending.remove(&(K::KIND, scope.map(str::to_owned)));
        wake
    }

    /// Watches whose first list is still awaited.
    pub fn awaited(&self) -> impl Iterator<Item = &Watch> {
        self.pending.iter()
    }

    /// Whether every watch has delivered its first list.
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// Everything there is, for a leader that takes over.
    pub fn everybody(&self) -> Wake {
        Wake {
            hosts: self.hosts.keys(None).into_iter().collect(),
            cards: self.orphans().collect(),
            images: self.images.keys(None).into_iter().collect(),
            policies: self.policies.keys(None).into_iter().collect(),
            sites: self.sites(),
            nodes: self.nodes.labelled().collect(),
        }
    }

    /// The namespaces in which there is something to be joined.
    fn sites(&self) -> BTreeSet<Key> {
        let keys = [
            self.hosts.keys(None),
            self.cards.keys(None),
            self.reports.keys(None),
        ];
        let namespaces = keys.into_iter().flatten().map(|key| key.namespace);
        namespaces.map(|name| Key::new("", name)).collect()
    }

    /// Takes note of what the reports of a namespace come to.
    pub fn joined(&mut self, namespace: &str, joined: Joined) -> Wake {
        let mut wake = Wake::default();
        let (cards, hosts) = self.joins.set(namespace, joined);
        if !cards.is_empty() {
            // Some may be such as an image is made for now.
            wake.images.extend(self.images.keys(Some(namespace)));
        }
        for card in cards {
            self.wake_for_card(&Key::new(namespace, card), &mut wake);
        }
        let hosts = hosts.into_iter().map(|host| Key::new(namespace, host));
        wake.hosts
            .extend(hosts.filter(|host| self.hosts.exists(host)));
        let at_nodes = node_labels::cards_at_nodes(self, namespace);
        for node in self.node_cards.set(namespace, at_nodes) {
            wake.nodes.insert(Key::new("", node));
        }
        wake
    }

    /// Whether the reports of a namespace have been joined since this operator began.
    pub fn is_joined(&self, namespace: &str) -> bool {
        self.joins.of(namespace).is_some()
    }

    /// Name of the Node that runs on a host.
    pub(crate) fn node_of(&self, key: &Key, host: &DpuHost) -> Option<String> {
        let joined = self.joins.of(&key.namespace);
        let joined = joined.and_then(|joined| joined.host(&key.name, host));
        node_of(host, joined, |node| self.nodes.get(node).is_some())
    }

    /// Those concerned by Leases that have run out since this was last asked.
    pub fn expire_leases(&mut self, now: Timestamp) -> Wake {
        let mut wake = Wake::default();
        for key in self.leases.expire(now) {
            self.wake_for_agent(&key, &mut wake);
        }
        wake
    }

    /// When the next Lease runs out unless it is renewed.
    pub fn next_lease_expiry(&self) -> Option<Timestamp> {
        self.leases.next_expiry()
    }

    /// The guards as wanted and seen.
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// All cards that can be read.
    pub fn readable_cards(&self) -> impl Iterator<Item = &Dpu> {
        self.cards.iter().filter_map(|(_, entry)| entry.readable())
    }

    /// The cards whose first host is this one, in order of their names.
    pub(crate) fn cards_of(&self, host: &Key) -> impl Iterator<Item = &Key> {
        self.cards_of_host.get(host).into_iter().flatten()
    }

    /// Whether the card's first host does not exist.
    pub(crate) fn is_orphan(&self, card: &Key) -> bool {
        self.host_of_card
            .get(card)
            .is_some_and(|host| !self.hosts.exists(host))
    }

    fn orphans(&self) -> impl Iterator<Item = Key> {
        self.host_of_card
            .keys()
            .filter(|card| self.is_orphan(card))
            .cloned()
    }

    /// Notes which host a card names first. A card that cannot be read any more
    /// stays where it was, so that its host does not take it for deleted.
    pub(crate) fn index_card(&mut self, card: &Key, entry: Option<&Entry<Dpu>>, wake: &mut Wake) {
        let host = match entry {
            Some(Entry::Readable(dpu)) => dpu
                .spec
                .host_refs
                .first()
                .map(|host| card.sibling(&host.name)),
            Some(Entry::Unreadable(_)) => self.host_of_card.get(card).cloned(),
            None => None,
        };
        self.wake_for_card(card, wake);
        let before = match &host {
            Some(host) => self.host_of_card.insert(card.clone(), host.clone()),
            None => self.host_of_card.remove(card),
        };
        if before != host {
            if let Some(before) = before
                && let Some(cards) = self.cards_of_host.get_mut(&before)
            {
                cards.remove(card);
                if cards.is_empty() {
                    self.cards_of_host.remove(&before);
                }
            }
            if let Some(host) = host {
                self.cards_of_host
                    .entry(host)
                    .or_default()
                    .insert(card.clone());
            }
        }
        self.wake_for_card(card, wake);
    }

    /// Wakes a card's host, or the card itself if that host does not exist.
    pub(crate) fn wake_for_card(&self, card: &Key, wake: &mut Wake) {
        if let Some(host) = self.host_of_card.get(card) {
            if self.hosts.exists(host) {
                wake.hosts.insert(host.clone());
            } else {
                wake.cards.insert(card.clone());
            }
        }
    }

    /// Wakes the hosts of a site.
    pub(crate) fn wake_site(&self, namespace: &str, site: &str, wake: &mut Wake) {
        let of_site = |(key, entry): (&Key, &Entry<DpuHost>)| {
            entry
                .readable()
                .is_some_and(|host| host.spec.site == site)
                .then(|| key.clone())
        };
        wake.hosts
            .extend(self.hosts.within(namespace).filter_map(of_site));
    }

    /// Wakes the hosts of a policy.
    pub(crate) fn wake_for_policy(&self, policy: &Key, wake: &mut Wake) {
        let governed = |(key, entry): (&Key, &Entry<DpuHost>)| {
            let host = entry.readable()?;
            (host.spec.policy_ref.name == policy.name).then(|| key.clone())
        };
        wake.hosts
            .extend(self.hosts.within(&policy.namespace).filter_map(governed));
    }

    /// Wakes the policies, hosts and cards that name an image, and the hosts whose cards may go
    /// back to it or are offered it.
    pub(crate) fn wake_for_image(&self, image: &Key, wake: &mut Wake) {
        for (key, entry) in self.policies.within(&image.namespace) {
            let Some(policy) = entry.readable() else {
                continue;
            };
            let mut named = policy.spec.images_named();
            if named.any(|named| named.name == image.name) {
                wake.policies.insert(key.clone());
                self.wake_for_policy(key, wake);
            }
        }
        for (key, entry) in self.cards.within(&image.namespace) {
            let Some(card) = entry.readable() else {
                continue;
            };
            let firmware = card.spec.firmware_refs.iter().flatten();
            let services = card.spec.service_refs.iter().flatten();
            let wiper = card.spec.wipe.iter().map(|wish| &wish.image_ref);
            let named = card.spec.image_ref.iter().chain(firmware);
            let mut named = named.chain(services).chain(wiper);
            if named.any(|named| named.name == image.name) {
                self.wake_for_card(key, wake);
            }
        }
        let last_good = |(key, entry): (&Key, &Entry<DpuHost>)| {
            let mut records = entry.readable()?.status.iter().flat_map(|s| &s.cards);
            let named = |good: &GoodImage| good.name == image.name;
            records
                .any(|kept| {
                    let mut offered = kept.services.iter();
                    kept.last_good.as_ref().is_some_and(named)
                        || offered.any(|one| one.image == image.name)
                })
                .then(|| key.clone())
        };
        wake.hosts
            .extend(self.hosts.within(&image.namespace).filter_map(last_good));
    }

    /// Wakes the hosts whose Node this is, and those of these uids, whose taint it carries.
    pub(crate) fn wake_for_node(&self, node: &str, uids: &BTreeSet<String>, wake: &mut Wake) {
        let runs = |(key, entry): (&Key, &Entry<DpuHost>)| {
            let host = entry.readable()?;
            let tainted_for = host.metadata.uid.as_ref();
            let recorded = host.status.as_ref();
            let recorded = recorded.and_then(|status| status.node_name.as_deref());
            let concerned = recorded == Some(node)
                || self.node_of(key, host).as_deref() == Some(node)
                || tainted_for.is_some_and(|uid| uids.contains(uid));
            concerned.then(|| key.clone())
        };
        wake.hosts.extend(self.hosts.iter().filter_map(runs));
    }

    /// Wakes those for whom the agent of this Lease works.
    pub(crate) fn wake_for_agent(&self, lease: &Key, wake: &mut Wake) {
        match Author::of(&lease.name) {
            Some(Author::Site(site)) => {
                self.wake_site(&lease.namespace, site, wake);
                self.wake_for_approvals(lease, wake);
            }
            Some(Author::CardOs(card) | Author::CardBmc(card)) => {
                self.wake_for_card(&lease.sibling(card), wake);
            }
            Some(Author::HostBmc(host)) => {
                wake.hosts.insert(lease.sibling(host));
            }
            Some(Author::HostOs(node)) => {
                self.wake_for_host_agent(lease, node, wake);
                self.wake_for_approvals(lease, wake);
            }
            Some(Author::FoundBmc(_) | Author::Scan(_)) | None => {}
        }
    }

    /// Wakes the namespace of an agent on whose word a policy may approve a card.
    fn wake_for_approvals(&self, lease: &Key, wake: &mut Wake) {
        let mut policies = self.policies.within(&lease.namespace);
        let asks = |policy: &DpuBootPolicy| {
            let discovered = policy.spec.discovered.iter();
            let mut selectors = discovered.flat_map(|discovered| &discovered.approve);
            selectors.any(|selector| selector.pairing_observed)
        };
        if policies.any(|(_, entry)| entry.readable().is_some_and(asks)) {
            wake.sites.insert(Key::new("", &*lease.namespace));
        }
    }

    /// Wakes those of whom the agent on that Node tells: its host, and the cards that it sees.
    fn wake_for_host_agent(&self, lease: &Key, node: &str, wake: &mut Wake) {
        self.wake_for_node(node, &BTreeSet::new(), wake);
        let joined = self.joins.of(&lease.namespace);
        let cards = joined.into_iter().flat_map(|joined| &joined.join.cards);
        for (name, card) in cards {
            let mut hosts = card.inventory.hosts.iter();
            if hosts.any(|host| host.node_name.as_deref() == Some(node)) {
                self.wake_for_card(&lease.sibling(name), wake);
            }
        }
    }

    /// Wakes the cards of which that report tells.
    pub(crate) fn wake_for_view(&self, report: &Key, wake: &mut Wake) {
        let joined = self.joins.of(&report.namespace);
        let cards = joined.into_iter().flat_map(|joined| &joined.join.cards);
        for (name, card) in cards {
            let mut views = card.inventory.views.iter();
            if views.any(|view| view.report == report.name) {
                self.wake_for_card(&report.sibling(name), wake);
            }
        }
    }

    /// Wakes the objects of these claimants.
    pub(crate) fn wake_claimants(&self, claimants: BTreeSet<Claimant>, wake: &mut Wake) {
        for claimant in claimants {
            match claimant {
                Claimant::Card(key) => self.wake_for_card(&key, wake),
                Claimant::Host(key) => {
                    wake.hosts.insert(key);
                }
            }
        }
    }
}
