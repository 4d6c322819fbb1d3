//! Who can vouch that a card sits in a host, as long as they are alive (S13).
//!
//! A word counts if it reads a serial number from the card, and its author is known to look
//! from inside that host: the agent on its one Node, the BMC that its object names, or a BMC
//! that was found, shows the identity of the object and is at odds with nobody. A live word from
//! another machine speaks against the place, also where it could not speak for one.

use std::collections::BTreeSet;

use lockstep_crds::Dpu;
use lockstep_crds::report::Vantage;

use super::Witness;
use super::cards::Evidence;
use super::machines::{Machine, Machines};
use super::places::{Seat, all_known};
use super::sightings::Sighting;
use crate::reach::differs;

pub(super) fn witnesses(
    card: &Dpu,
    evidence: &Evidence<'_>,
    seats: &[Seat],
    machines: &Machines<'_>,
) -> Vec<Witness> {
    let mut found: Vec<Witness> = Vec::new();
    for seat in seats {
        let Some(machine) = machines.list.get(seat.machine) else {
            continue;
        };
        let those = evidence.sightings.iter().filter(|one| {
            let inside = one.seen.is_some_and(|(_, number)| number == seat.machine);
            inside && seat.proved_by.iter().any(|report| report == one.report)
        });
        for one in those {
            let known = || all_known(card, machines);
            let speaks_of = host_of(one, seat, machine, known);
            let Some(host) = speaks_of.or_else(|| elsewhere(one, card, seat, known)) else {
                continue;
            };
            let witness = Witness {
                host: host.to_owned(),
                report: one.report.to_owned(),
            };
            if !found.contains(&witness) {
                found.push(witness);
            }
        }
    }
    found.sort();
    found
}

/// Whether somebody who is alive sees the card in every host that its spec names, and nobody who is
/// sees it anywhere else.
pub(super) fn is_vouched_for(card: &Dpu, witnesses: &[Witness], alive: &BTreeSet<&str>) -> bool {
    let sees = |one: &&Witness| alive.contains(one.report.as_str());
    let wanted = &card.spec.host_refs;
    let elsewhere = |one: &Witness| wanted.iter().all(|host| host.name != one.host);
    wanted.iter().all(|host| {
        let mut seen = witnesses.iter().filter(sees);
        seen.any(|one| one.host == host.name)
    }) && !witnesses.iter().filter(sees).any(elsewhere)
}

/// Another machine than those of the spec, where a view reads a serial number from the card there
/// and could not vouch for that machine: two Nodes run on it, or its BMC is at odds with somebody.
fn elsewhere<'s>(
    one: &Sighting<'_>,
    card: &Dpu,
    seat: &'s Seat,
    all_known: impl Fn() -> bool,
) -> Option<&'s str> {
    let host = seat.place.name.as_str();
    let is_named = card.spec.host_refs.iter().any(|wanted| wanted.name == host);
    let tells = match one.from() {
        Vantage::HostOs | Vantage::FoundBmc => !one.missing(),
        Vantage::HostBmc
        | Vantage::CardBmc
        | Vantage::CardOs
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => false,
    };
    (tells && !is_named && (!host.is_empty() || all_known())).then_some(host)
}

/// The host that a view speaks of, empty for a machine without an object; `None` if it proves
/// nothing of any.
fn host_of<'s>(
    one: &Sighting<'_>,
    seat: &'s Seat,
    machine: &Machine<'_>,
    all_known: impl Fn() -> bool,
) -> Option<&'s str> {
    let place = &seat.place;
    let subject = one.spec.subject.as_str();
    match one.from() {
        Vantage::HostOs if place.node_name.as_deref() == Some(subject) => Some(&place.name),
        Vantage::HostBmc if place.name == subject => Some(&place.name),
        Vantage::FoundBmc => {
            let inventory = one.spec.inventory.as_ref()?;
            let at_odds =
                !inventory.contradictions.is_empty() || !machine.contradictions.is_empty();
            if one.missing() || at_odds {
                return None;
            }
            let Some(host) = machine.host else {
                // It may be the machine of a host that nobody has told apart yet.
                return all_known().then_some(&place.name);
            };
            let wanted = host.spec.identity.as_ref()?;
            let is_other = differs(wanted, one.spec.machine.as_ref()?);
            Some(if is_other { "" } else { &place.name })
        }
        Vantage::HostOs
        | Vantage::HostBmc
        | Vantage::CardBmc
        | Vantage::CardOs
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => None,
    }
}
