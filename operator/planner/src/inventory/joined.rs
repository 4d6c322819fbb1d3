//! One card, from all that is known of it.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::Dpu;
use lockstep_crds::dpu::InventorySummary;
use lockstep_crds::dpu_inventory::{Completeness, DpuInventorySpec, ViewOfCard};
use lockstep_crds::inspection::Inspected;
use lockstep_crds::report::Vantage;

use super::JoinedCard;
use super::cards::Evidence;
use super::completeness;
use super::conflicts::{MOST_CONFLICTS, conflicts};
use super::groups::{disks, groups, tellers};
use super::keys::Kind;
use super::machines::Machines;
use super::places::{self, Seat};
use super::sightings::Sighting;
use super::vendors::maker;
use super::witnesses::witnesses;

const MOST_VIEWS: usize = 16;
const MOST_MISSING: usize = 32;

pub(super) fn joined(
    card: &Dpu,
    evidence: &Evidence<'_>,
    seats: &[Seat],
    machines: &Machines<'_>,
) -> JoinedCard {
    let mut inventory = groups(&evidence.sightings);
    let tellers = tellers(&evidence.sightings, &inventory);
    inventory.views = views(evidence);
    inventory.hosts = places::places(card, seats, machines);
    inventory.conflicts.clone_from(&evidence.conflicts);
    inventory
        .conflicts
        .extend(places::seen_elsewhere(card, evidence, seats, machines));
    inventory.conflicts.extend(conflicts(&evidence.sightings));
    inventory.conflicts.dedup();
    inventory.conflicts.truncate(MOST_CONFLICTS);
    inventory.missing = completeness::missing(&inventory, card, &evidence.sightings);
    inventory.missing.truncate(MOST_MISSING);
    inventory.completeness = if !inventory.conflicts.is_empty() {
        Completeness::Conflicting
    } else if !inventory.missing.is_empty() {
        Completeness::Partial
    } else {
        Completeness::Complete
    };
    let mut inventoried = completeness::verdict(&inventory);
    if let Some(since) = vanished(&evidence.sightings) {
        inventoried.message = format!(
            "its BMC is not found any more since {since}, and what is shown is what was last \
             known; look whether the card is still there. {}",
            inventoried.message
        );
    }
    if let Some(unlisted) = places::unlisted(card, &inventory.hosts, machines) {
        inventoried.message = format!("{unlisted}. {}", inventoried.message);
    }
    JoinedCard {
        summary: summary(&inventory),
        places: places::in_short(&inventory.hosts),
        inventoried,
        inventory,
        tellers,
        disks: disks(&evidence.sightings),
        inspected: inspected(&evidence.sightings),
        witnesses: witnesses(card, evidence, seats, machines),
        is_told_by_others: told_by_others(evidence),
        is_claimed_by_word: evidence.is_claimed_by_word,
    }
}

/// Whether anybody but the card's own operating system tells a serial number of it.
fn told_by_others(evidence: &Evidence<'_>) -> bool {
    evidence.keys.iter().any(|key| key.kind() == Kind::Serial)
}

/// What its reports by a search answer.
fn inspected(sightings: &[Sighting<'_>]) -> BTreeMap<String, Inspected> {
    let found = sightings
        .iter()
        .filter(|one| *one.from() == Vantage::FoundBmc);
    let answers = found.filter_map(|one| {
        let inspected = one.spec.inspected.clone()?;
        Some((one.report.to_owned(), inspected))
    });
    answers.collect()
}

/// Since when nobody finds the BMC of a card that was found once.
fn vanished(sightings: &[Sighting<'_>]) -> Option<jiff::Timestamp> {
    let found = || sightings.iter().filter_map(|one| one.spec.found.as_ref());
    let answers = sightings.iter().any(|one| {
        let reachable = one.spec.reachable.as_ref();
        *one.from() == Vantage::CardBmc && reachable.is_some_and(|reachable| reachable.ok)
    });
    if answers || found().any(|found| found.missing_since.is_none()) {
        return None;
    }
    found()
        .filter_map(|found| found.missing_since.as_ref())
        .map(|since| since.0)
        .max()
}

fn views(evidence: &Evidence<'_>) -> Vec<ViewOfCard> {
    let shared = places::shared(evidence);
    let mut views: Vec<ViewOfCard> = evidence
        .sightings
        .iter()
        .map(|one| ViewOfCard {
            from: one.from().clone(),
            report: one.report.to_owned(),
            joined_by: joined_by(one, &shared),
        })
        .collect();
    views.sort_by(|one, other| {
        (rank(&one.from), &one.report).cmp(&(rank(&other.from), &other.report))
    });
    views.dedup_by(|one, other| one.report == other.report && one.joined_by == other.joined_by);
    views.truncate(MOST_VIEWS);
    views
}

fn joined_by(one: &Sighting<'_>, shared: &BTreeSet<&super::keys::Key>) -> Vec<String> {
    let mut by: Vec<String> = Vec::new();
    if one.by_name {
        by.push("name".to_owned());
    }
    for key in one.keys.iter().filter(|key| shared.contains(key)) {
        let field = key.kind().field();
        if !by.iter().any(|known| known == field) {
            by.push(field.to_owned());
        }
    }
    // Its BMC answers where the spec says.
    if by.is_empty() {
        by.push("name".to_owned());
    }
    by
}

fn rank(from: &Vantage) -> usize {
    match from {
        Vantage::CardOs => 0,
        Vantage::CardBmc => 1,
        Vantage::FoundBmc => 2,
        Vantage::HostOs => 3,
        Vantage::HostBmc => 4,
        Vantage::Site | Vantage::Scan | Vantage::Spec | Vantage::Unrecognized(_) => 5,
    }
}

fn summary(inventory: &DpuInventorySpec) -> InventorySummary {
    let system = inventory.system.as_ref().map(|system| &system.facts);
    let memory = inventory.memory.as_ref().map(|memory| &memory.facts);
    InventorySummary {
        vendor: system
            .and_then(|system| system.vendor.as_deref())
            .map(maker),
        model: system.and_then(|system| system.family.clone().or_else(|| system.model.clone())),
        serial_number: system.and_then(|system| system.serial_number.clone()),
        part_number: system.and_then(|system| system.part_number.clone()),
        cores: inventory.cpu.as_ref().and_then(|cpu| cpu.facts.cores),
        memory_bytes: memory.and_then(|memory| memory.total_bytes.or(memory.usable_bytes)),
    }
}
