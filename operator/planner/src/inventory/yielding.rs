//! Proposed objects that give way: to a user's object for the same machine, to an older
//! proposal, or to a better proposal once more is known (its host, or its BMC). The better one
//! is proposed by the next join, when the name is free. And those whose machine is gone.
//!
//! A host gives way together with the unapproved cards that name it, and not while any other
//! card does; one that is gone takes no card with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::{Dpu, DpuHost};

use super::cards::Evidence;
use super::endpoint;
use super::gone;
use super::machines::Machines;
use super::places::Seat;
use super::proposals::found_host;
use super::proposed::{card_may_yield, host_may_yield, name, recorded, stands_in, uid};
use super::unclaimed::found_now;
use super::{Proposal, SiteView, Subject, Withdrawal, moves};

pub(super) fn withdrawals(
    view: &SiteView<'_>,
    machines: &Machines<'_>,
    cards: &[(Evidence<'_>, Vec<Seat>)],
    proposals: &[Proposal],
) -> Vec<Withdrawal> {
    let mut yielding = Yielding::new(view, proposals);
    for (evidence, seats) in cards {
        yielding.twice(evidence);
        yielding.outdated(evidence, seats);
        if let (Some(card), Some(since)) = (evidence.card, gone::card(evidence, view.now)) {
            yielding.gone_card(card, since);
        }
    }
    for machine in &machines.list {
        for host in &machine.yielding {
            let other = machine.host_name().unwrap_or_default();
            yielding.host(host, format!("dpuhost/{other} is about the same machine"));
        }
        if let (Some(host), Some((_, found))) = (machine.host, found_host(machine))
            && host.spec.bmc.is_none()
            && endpoint::to_spec(&found.endpoint).is_ok()
        {
            let why = format!(
                "its BMC is found at {}: it is proposed anew with it",
                found.endpoint.address
            );
            yielding.host(host, why);
        }
        if let (Some(host), Some(found)) = (machine.host, moves::host_is_elsewhere(machine)) {
            yielding.host(host, elsewhere(&found.endpoint.address));
        }
    }
    // Which of their cards stay is known by now.
    for machine in &machines.list {
        if let (Some(host), Some(since)) = (machine.host, gone::host(machine, view.now)) {
            yielding.gone_host(host, since);
        }
    }
    yielding.stand_ins(view);
    yielding.concluded()
}

fn elsewhere(address: &str) -> String {
    format!(
        "its BMC answers at {address} now, where other credentials or another trust are configured: it is proposed anew with those"
    )
}

struct Yielding<'a> {
    hosts: BTreeMap<&'a str, &'a DpuHost>,
    /// The cards that name a host.
    cards_of: BTreeMap<&'a str, Vec<&'a Dpu>>,
    recorded: BTreeSet<&'a str>,
    /// Hosts that cards name which are being proposed: those stay.
    proposed: BTreeSet<String>,
    withdrawn: BTreeMap<(Subject, &'a str), Withdrawal>,
}

impl<'a> Yielding<'a> {
    fn new(view: &SiteView<'a>, proposals: &[Proposal]) -> Self {
        let mut cards_of: BTreeMap<&'a str, Vec<&'a Dpu>> = BTreeMap::new();
        for card in &view.cards {
            for host in &card.spec.host_refs {
                cards_of.entry(&host.name).or_default().push(card);
            }
        }
        Self {
            hosts: view
                .hosts
                .iter()
                .map(|host| (name(&host.metadata), *host))
                .collect(),
            cards_of,
            recorded: recorded(&view.hosts),
            proposed: proposals
                .iter()
                .filter_map(|proposal| match proposal {
                    Proposal::Card(card) => Some(&card.spec.host_refs),
                    Proposal::Host(_) => None,
                })
                .flatten()
                .map(|host| host.name.clone())
                .collect(),
            withdrawn: BTreeMap::new(),
        }
    }

    fn card(&mut self, card: &'a Dpu, why: String) {
        let name = name(&card.metadata);
        let withdrawal = Withdrawal {
            subject: Subject::Card,
            name: name.to_owned(),
            uid: uid(&card.metadata).to_owned(),
            why,
        };
        self.withdrawn
            .entry((Subject::Card, name))
            .or_insert(withdrawal);
    }

    /// With the cards that name it, or not at all.
    fn host(&mut self, host: &'a DpuHost, why: String) {
        let own = name(&host.metadata);
        let those = self.cards_of.get(own).cloned().unwrap_or_default();
        let free = those
            .iter()
            .all(|card| card_may_yield(card, &self.recorded));
        if !host_may_yield(host) || !free {
            return;
        }
        for card in those {
            self.card(card, format!("its host dpuhost/{own} gives way: {why}"));
        }
        let withdrawal = Withdrawal {
            subject: Subject::Host,
            name: own.to_owned(),
            uid: uid(&host.metadata).to_owned(),
            why,
        };
        self.withdrawn
            .entry((Subject::Host, own))
            .or_insert(withdrawal);
    }

    fn gone_card(&mut self, card: &'a Dpu, since: Timestamp) {
        if card_may_yield(card, &self.recorded) {
            self.card(card, gone::why(since));
        }
    }

    fn gone_host(&mut self, host: &'a DpuHost, since: Timestamp) {
        if !self.is_needed(name(&host.metadata)) {
            self.host(host, gone::why(since));
        }
    }

    /// Whether a card that stays, or is being proposed, names this host.
    fn is_needed(&self, host: &str) -> bool {
        let mut cards = self.cards_of.get(host).into_iter().flatten();
        self.proposed.contains(host)
            || cards.any(|card| {
                let key = (Subject::Card, name(&card.metadata));
                !self.withdrawn.contains_key(&key)
            })
    }

    /// Two objects for one card.
    fn twice(&mut self, evidence: &Evidence<'a>) {
        let Some(stays) = evidence.card else { return };
        for card in &evidence.yielding {
            let why = format!("dpu/{} is about the same card", name(&stays.metadata));
            self.card(card, why);
        }
    }

    /// More is known now than when it was proposed.
    fn outdated(&mut self, evidence: &Evidence<'a>, seats: &[Seat]) {
        let Some(card) = evidence.card else { return };
        if !card_may_yield(card, &self.recorded) {
            return;
        }
        let in_stand_in = card.spec.host_refs.iter().any(|wanted| {
            let host = self.hosts.get(wanted.name.as_str());
            host.is_some_and(|host| stands_in(host))
        });
        let mut seen = seats
            .iter()
            .filter(|seat| seat.place.pairing == KnownPairing::Observed);
        if in_stand_in && let Some(seat) = seen.find(|seat| !seat.place.name.is_empty()) {
            let why = format!(
                "the card is seen in dpuhost/{}: it is proposed anew there",
                seat.place.name
            );
            self.card(card, why);
        } else if let Some((_, found)) = found_now(evidence)
            && card.spec.bmc.is_none()
            && endpoint::to_spec(&found.endpoint).is_ok()
        {
            let why = format!(
                "its BMC is found at {}: it is proposed anew with it",
                found.endpoint.address
            );
            self.card(card, why);
        } else if let Some(found) = moves::card_is_elsewhere(evidence) {
            self.card(card, elsewhere(&found.endpoint.address));
        }
    }

    /// Nobody needs who stands in for a host that no card names.
    fn stand_ins(&mut self, view: &SiteView<'a>) {
        for host in view.hosts.iter().filter(|host| stands_in(host)) {
            if !self.is_needed(name(&host.metadata)) {
                self.host(
                    host,
                    "it stood in for the host of a card, and no card names it".to_owned(),
                );
            }
        }
    }

    fn concluded(self) -> Vec<Withdrawal> {
        self.withdrawn.into_values().collect()
    }
}
