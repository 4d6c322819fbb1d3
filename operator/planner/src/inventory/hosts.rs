//! One host, from its BMC, its agent and the cards in it.

use std::collections::BTreeMap;

use lockstep_crds::inventory::{Actor, Actors, Inventory};
use lockstep_crds::report::Vantage;

use super::JoinedHost;
use super::cards::Evidence;
use super::machines::{Machine, MachineView};
use super::places::shown;
use super::recorded_node::Recorded;
use super::sightings::{Sighting, bmc_version};

const MOST_ACTORS: usize = 16;
const MOST_CONTRADICTIONS: usize = 16;

/// The cards of each host, by its name.
pub(super) type CardsOfHosts<'e, 'a> = BTreeMap<String, Vec<&'e Evidence<'a>>>;

pub(super) fn joined(
    name: &str,
    machine: &Machine<'_>,
    recorded: Recorded,
    cards: &CardsOfHosts<'_, '_>,
) -> JoinedHost {
    let first = |get: fn(&Inventory) -> bool| {
        let told = machine.views.iter().filter_map(MachineView::inventory);
        told.into_iter().find(|inventory| get(inventory))
    };
    let (departed, opposed) = match recorded {
        Recorded::Unopposed => (None, None),
        Recorded::Departed(node) => (Some(node), None),
        Recorded::Opposed(why) => (None, Some(why)),
    };
    let own = machine.contradictions.iter().cloned();
    let contradictions = opposed.iter().cloned().chain(own);
    let contradictions = contradictions.take(MOST_CONTRADICTIONS).collect();
    JoinedHost {
        strangers: machine.strangers.clone(),
        node_name: machine.node_name().map(str::to_owned),
        departed,
        firmware: first(|told| told.platform.is_some()).and_then(|told| told.platform.clone()),
        slots: first(|told| told.slots.is_some()).and_then(|told| told.slots.clone()),
        capabilities: first(|told| told.capabilities.is_some())
            .and_then(|told| told.capabilities.clone()),
        actors: actors(name, machine, cards.get(name).map(Vec::as_slice)),
        contradictions,
    }
}

/// Only who is there: a card without a BMC has none, a host whose BMC nobody reads shows none.
fn actors(name: &str, machine: &Machine<'_>, cards: Option<&[&Evidence<'_>]>) -> Option<Actors> {
    let of = format!("dpuhost/{name}");
    let mut actors = Actors {
        host_firmware: machine
            .views
            .iter()
            .find_map(|view| host_firmware(&of, view)),
        host_bmc: host_bmc(&of, machine),
        ..Actors::default()
    };
    for evidence in cards.into_iter().flatten() {
        actors.card_bmcs.extend(card_bmc(evidence));
        actors.card_firmware.extend(card_firmware(evidence));
    }
    actors.card_bmcs.truncate(MOST_ACTORS);
    actors.card_firmware.truncate(MOST_ACTORS);
    (actors != Actors::default()).then_some(actors)
}

fn host_firmware(of: &str, view: &MachineView<'_>) -> Option<Actor> {
    let platform = view.inventory().and_then(|told| told.platform.as_ref());
    let hot = view.spec.bmc.as_ref();
    let version = platform
        .and_then(|platform| platform.firmware_version.clone())
        .or_else(|| hot.and_then(|bmc| bmc.firmware_version.clone()))?;
    Some(Actor {
        of: of.to_owned(),
        version: Some(version),
        seen_by: view.report.to_owned(),
    })
}

fn host_bmc(of: &str, machine: &Machine<'_>) -> Option<Actor> {
    let views = || machine.views.iter().filter(|view| view.is_of_bmc());
    let version = |view: &MachineView<'_>| {
        let bmc = view.inventory().and_then(|told| told.bmc.as_ref());
        bmc_version(bmc).map(str::to_owned)
    };
    let view = views()
        .find(|view| version(view).is_some())
        .or_else(|| views().next())?;
    Some(Actor {
        of: of.to_owned(),
        version: version(view),
        seen_by: view.report.to_owned(),
    })
}

fn sorted<'e, 'a>(evidence: &'e Evidence<'a>) -> Vec<&'e Sighting<'a>> {
    let mut sorted: Vec<&Sighting<'a>> = evidence.sightings.iter().collect();
    sorted.sort_by_key(|one| {
        (
            one.missing(),
            one.from(),
            one.spec.inventory.is_none(),
            one.report,
        )
    });
    sorted
}

fn card_bmc(evidence: &Evidence<'_>) -> Option<Actor> {
    let card = evidence.card?;
    let views = sorted(evidence);
    let views = || {
        views.iter().filter(|one| {
            one.seen.is_none() && matches!(one.from(), Vantage::CardBmc | Vantage::FoundBmc)
        })
    };
    let version = |one: &Sighting<'_>| bmc_version(one.facts.bmc.as_ref()).map(str::to_owned);
    let view = views()
        .find(|one| version(one).is_some())
        .or_else(|| views().next())?;
    Some(Actor {
        of: shown(card),
        version: version(view),
        seen_by: view.report.to_owned(),
    })
}

/// Of several components the one that its source names first is shown.
fn card_firmware(evidence: &Evidence<'_>) -> Option<Actor> {
    let card = evidence.card?;
    let views = sorted(evidence);
    let version = |one: &Sighting<'_>| {
        let components = &one.facts.firmware.as_ref()?.components;
        components
            .iter()
            .find_map(|component| component.running.clone())
    };
    let view = views.iter().find(|one| version(one).is_some())?;
    Some(Actor {
        of: shown(card),
        version: version(view),
        seen_by: view.report.to_owned(),
    })
}
