//! What all reports of each namespace come to, as they were joined last, and for which objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_crds::dpu_inventory::DpuInventorySpec;
use lockstep_crds::inventory::CapabilityRecord;
use lockstep_crds::{
    BmcEndpoint, ComponentRequirement, Dpu, DpuHost, DpuImage, MachineIdentity, names,
};
use lockstep_planner::inventory::{JoinedCard, JoinedHost, SiteJoin, Witness, required};
use lockstep_planner::view::{CardJoined, LeaseSeen, Required, Sighting};

use crate::author::Author;
use crate::key::Key;
use crate::world::World;

/// The join of one namespace.
#[derive(Debug, Default)]
pub struct Joined {
    /// What came of it.
    pub join: SiteJoin,
    /// The cards that it was made of, by name.
    pub cards: BTreeMap<String, Arc<Dpu>>,
    /// The hosts that it was made of, by name.
    pub hosts: BTreeMap<String, Arc<DpuHost>>,
}

impl Joined {
    /// What was joined for this very card: not for another object of that name, nor for what
    /// it said before of which card it is.
    pub fn card(&self, name: &str, dpu: &Dpu) -> Option<&JoinedCard> {
        let of = self.cards.get(name)?;
        let joined = self.join.cards.get(name);
        joined.filter(|_| stands_for_same_card(of, dpu))
    }

    /// What was joined for this very host.
    pub fn host(&self, name: &str, host: &DpuHost) -> Option<&JoinedHost> {
        let of = self.hosts.get(name)?;
        let joined = self.join.hosts.get(name);
        joined.filter(|_| stands_for_same_host(of, host))
    }

    /// Drops what was said of objects that `new` is made of as they were edited since: of them
    /// nothing was said before.
    fn forget_edited(&mut self, new: &Self) {
        let Self { join, cards, hosts } = self;
        join.cards.retain(|name, _| {
            let both = cards.get(name).zip(new.cards.get(name));
            both.is_none_or(|(old, new)| stands_for_same_card(old, new))
        });
        join.hosts.retain(|name, _| {
            let both = hosts.get(name).zip(new.hosts.get(name));
            both.is_none_or(|(old, new)| stands_for_same_host(old, new))
        });
    }
}

fn stands_for_same_card(one: &Dpu, other: &Dpu) -> bool {
    one.metadata.uid == other.metadata.uid
        && is_same_machine(
            (&one.spec.identity, &one.spec.bmc),
            (&other.spec.identity, &other.spec.bmc),
        )
}

fn stands_for_same_host(one: &DpuHost, other: &DpuHost) -> bool {
    one.metadata.uid == other.metadata.uid
        && is_same_machine(
            (&one.spec.identity, &one.spec.bmc),
            (&other.spec.identity, &other.spec.bmc),
        )
}

type Named<'a> = (&'a Option<MachineIdentity>, &'a Option<BmcEndpoint>);

fn is_same_machine(one: Named<'_>, other: Named<'_>) -> bool {
    one == other
}

/// The joins of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    by_namespace: BTreeMap<String, Joined>,
}

impl Joins {
    /// The last join of a namespace; `None` before the first one.
    pub(crate) fn of(&self, namespace: &str) -> Option<&Joined> {
        self.by_namespace.get(namespace)
    }

    /// Namespaces that have been joined, with their joins.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Joined)> {
        self.by_namespace.iter()
    }

    /// Replaces the join of a namespace; returns the names of cards and of hosts of which
    /// something else is said now, or something again since they were edited.
    pub(crate) fn set(&mut self, namespace: &str, new: Joined) -> (Vec<String>, Vec<String>) {
        let mut old = self.by_namespace.remove(namespace);
        if let Some(old) = &mut old {
            old.forget_edited(&new);
        }
        let changed = match &old {
            None => (
                new.cards.keys().cloned().collect(),
                new.hosts.keys().cloned().collect(),
            ),
            Some(old) => (
                differing(&old.join.cards, &new.join.cards, is_same_card),
                differing(&old.join.hosts, &new.join.hosts, is_same_host),
            ),
        };
        self.by_namespace.insert(namespace.to_owned(), new);
        changed
    }
}

/// Names under which the two maps hold different things.
fn differing<V>(
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
    same: fn(&V, &V) -> bool,
) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |name: &&String| match (old.get(*name), new.get(*name)) {
        (Some(old), Some(new)) => !same(old, new),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    };
    names.into_iter().filter(differs).cloned().collect()
}

/// Whether two joins say the same of a card, as far as plans and statuses go.
fn is_same_card(one: &JoinedCard, other: &JoinedCard) -> bool {
    one.summary == other.summary
        && one.places == other.places
        && one.inventoried == other.inventoried
        && one.inventory.hosts == other.inventory.hosts
        && one.inventory.views == other.inventory.views
        && one.witnesses == other.witnesses
        && is_same_kind(one, other)
        && is_same_firmware(one, other)
}

/// Whether two joins say the same of what an image may be made for, or a policy choose it by.
fn is_same_kind(one: &JoinedCard, other: &JoinedCard) -> bool {
    let system = |card: &JoinedCard| {
        let told = card.inventory.system.as_ref();
        told.map(|told| told.facts.clone())
    };
    let cpu = |card: &JoinedCard| {
        let told = card.inventory.cpu.as_ref();
        told.and_then(|told| told.facts.architecture.clone())
    };
    let disks = |card: &JoinedCard| -> Vec<_> {
        let told = card.disks.iter();
        told.map(|told| (told.report.clone(), told.facts.clone()))
            .collect()
    };
    system(one) == system(other)
        && cpu(one) == cpu(other)
        && disks(one) == disks(other)
        && one.is_told_by_others == other.is_told_by_others
}

/// Whether two joins say the same of what an image may require.
fn is_same_firmware(one: &JoinedCard, other: &JoinedCard) -> bool {
    let firmware = |card: &JoinedCard| {
        let told = card.inventory.firmware.as_ref();
        told.map(|told| (told.report.clone(), told.facts.clone()))
    };
    let bmc = |card: &JoinedCard| {
        let told = card.inventory.bmc.as_ref();
        told.map(|told| (told.report.clone(), told.facts.firmware_version.clone()))
    };
    one.inventory.conflicts == other.inventory.conflicts
        && one.tellers == other.tellers
        && one.inspected == other.inspected
        && firmware(one) == firmware(other)
        && bmc(one) == bmc(other)
}

fn is_same_host(one: &JoinedHost, other: &JoinedHost) -> bool {
    let timeless = |host: &JoinedHost| JoinedHost {
        capabilities: host.capabilities.clone().map(|record| CapabilityRecord {
            probed_at: None,
            ..record
        }),
        ..host.clone()
    };
    timeless(one) == timeless(other)
}

/// Whether anybody has told what a card is made of.
pub(crate) fn has_evidence(inventory: &DpuInventorySpec) -> bool {
    let groups = [
        inventory.system.is_some(),
        inventory.firmware.is_some(),
        inventory.os.is_some(),
        inventory.cpu.is_some(),
        inventory.memory.is_some(),
        inventory.disks.is_some(),
        inventory.ports.is_some(),
        inventory.functions.is_some(),
        inventory.tpm.is_some(),
        inventory.secure_boot.is_some(),
        inventory.offloads.is_some(),
        inventory.bmc.is_some(),
        inventory.capabilities.is_some(),
    ];
    groups.contains(&true) || !inventory.conflicts.is_empty()
}

/// What a card's status tells of its inventory.
pub(crate) fn shown(joined: &JoinedCard) -> CardJoined {
    CardJoined {
        has_evidence: has_evidence(&joined.inventory),
        summary: joined.summary.clone(),
        places: joined.places.clone(),
        inventoried: joined.inventoried.clone(),
    }
}

/// What is known of each component that an image requires.
pub(crate) fn requirements(
    world: &World,
    card: &Key,
    image: &DpuImage,
    joined: Option<&JoinedCard>,
) -> Vec<Required> {
    let requires = image.spec.requires.iter();
    requires
        .map(|one| known(world, card, one, joined))
        .collect()
}

fn known(
    world: &World,
    card: &Key,
    requirement: &ComponentRequirement,
    joined: Option<&JoinedCard>,
) -> Required {
    match joined {
        Some(joined) => required(joined, requirement, |report| speaker(world, card, report)),
        None => Required {
            requirement: requirement.clone(),
            seen: Vec::new(),
            contradicted: None,
        },
    }
}

/// What is known of each component that an image brings: what it brings, or later, is to run.
pub(crate) fn brought(
    world: &World,
    card: &Key,
    image: &DpuImage,
    joined: Option<&JoinedCard>,
) -> Vec<Required> {
    let brought = image.spec.brings.iter();
    let wanted = brought.map(|one| ComponentRequirement {
        component: one.component.clone(),
        at_least: Some(one.version.clone()),
        below: None,
    });
    wanted.map(|one| known(world, card, &one, joined)).collect()
}

/// Lease of the agent that wrote a report, if what the report is about answers.
pub(crate) fn speaker(world: &World, near: &Key, report: &str) -> Option<LeaseSeen> {
    match Author::of(report)? {
        Author::HostOs(_) | Author::CardOs(_) => world.leases.seen(&near.sibling(report)),
        Author::HostBmc(host) => {
            let host = world.hosts.get(&near.sibling(host))?;
            answering(world, near, report, &host.spec.site)
        }
        Author::CardBmc(card) => {
            let card = world.cards.get(&near.sibling(card))?;
            answering(world, near, report, &card.spec.site)
        }
        Author::FoundBmc(_) => {
            let told = world.reports.get(&near.sibling(report))?;
            let found = told.spec.found.as_ref()?;
            let is_there = found.missing_since.is_none();
            answering(world, near, report, &found.site).filter(|_| is_there)
        }
        Author::Scan(_) | Author::Site(_) => None,
    }
}

/// Lease of the agent that asks a BMC, if that BMC answers.
fn answering(world: &World, near: &Key, report: &str, site: &str) -> Option<LeaseSeen> {
    let told = world.reports.get(&near.sibling(report))?;
    let answers = told.spec.reachable.as_ref()?.ok;
    let lease = world.leases.seen(&near.sibling(names::site(site)));
    lease.filter(|_| answers)
}

/// The reports of a namespace whose word counts now, as it does for plans.
pub(crate) fn alive(world: &World, namespace: &str, now: Timestamp) -> BTreeSet<String> {
    let is_alive = |report: &Key| {
        let agent = speaker(world, report, &report.name);
        agent.is_some_and(|lease| lease.is_fresh(now))
    };
    let reports = world.reports.within(namespace).map(|(report, _)| report);
    let those = reports.filter(|report| is_alive(report));
    those.map(|report| report.name.clone()).collect()
}

/// Where a card is seen, each with the Lease of the agent whose report tells so.
pub(crate) fn sightings(world: &World, card: &Key, joined: &JoinedCard) -> Vec<Sighting> {
    let witnesses = joined.witnesses.iter();
    let sighting = |witness: &Witness| Sighting {
        host: witness.host.clone(),
        report: witness.report.clone(),
        agent: speaker(world, card, &witness.report),
    };
    witnesses.map(sighting).collect()
}
