//! Whether it is known that a card sits in its host (S13): the user vouches for it, or an agent
//! that is alive sees it there, and nobody sees it anywhere else.

use jiff::Timestamp;
use lockstep_crds::dpu::Pairing;

use crate::card;
use crate::host::machine;
use crate::view::{CardView, Sighting, View};

/// Why nobody may count on this card sitting in this host, in words; `Ok` if one may.
pub(crate) fn proved(view: &View, card: &CardView, now: Timestamp) -> Result<(), String> {
    let wanted = card.dpu.spec.host_refs.first().map(|host| host.pairing);
    if wanted == Some(Pairing::Asserted) {
        return Ok(());
    }
    let (name, host) = (card::machine(card), machine(view));
    let here = |seen: &&Sighting| seen.host == view.host_name();
    if let Some(elsewhere) = fresh(card, now).find(|seen| !here(seen)) {
        return Err(format!(
            "{name} is to sit in {host}, and report {} sees it in {}",
            elsewhere.report,
            place(elsewhere)
        ));
    }
    if fresh(card, now).any(|seen| here(&seen)) {
        return Ok(());
    }
    Err(match card.sightings.iter().find(here) {
        Some(silent) => format!(
            "{name} was seen in {host} by report {}, whose agent is silent now",
            silent.report
        ),
        None => format!("nobody has seen that {name} sits in {host}"),
    })
}

/// What agents that are alive see.
pub(crate) fn fresh(card: &CardView, now: Timestamp) -> impl Iterator<Item = &Sighting> {
    let sightings = card.sightings.iter();
    sightings.filter(move |seen| seen.agent.is_some_and(|lease| lease.is_fresh(now)))
}

fn place(seen: &Sighting) -> String {
    if seen.host.is_empty() {
        "a machine that no DpuHost stands for".to_owned()
    } else {
        format!("dpuhost/{}", seen.host)
    }
}
