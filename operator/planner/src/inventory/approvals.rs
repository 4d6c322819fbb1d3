//! Proposed cards that the policy of their host approves.
//!
//! A card about which anybody contradicts anybody is never approved by a policy, nor one whose
//! identity the operating system of another object's card claims: it may be that very card. Nor one that is
//! not as discovery proposed it: whoever changes it, and be it that they took its approval back,
//! decides about it from then on.

use std::collections::BTreeSet;

use lockstep_crds::boot_policy::InventorySelector;
use lockstep_crds::dpu::InventorySummary;
use lockstep_crds::dpu_inventory::Completeness;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost};

use super::keys::Key;
use super::proposed::{card_waits, name, uid};
use super::vendors::plain;
use super::witnesses::is_vouched_for;
use super::{Approval, JoinedCard, mark};

const SERIAL_NUMBER: &str = "serial number";

pub(super) fn approval(
    card: &Dpu,
    joined: &JoinedCard,
    (host, policy): (&DpuHost, &DpuBootPolicy),
    recorded: &BTreeSet<&str>,
    alive: &BTreeSet<&str>,
) -> Option<Approval> {
    let waits = card_waits(card, recorded) && !joined.inventory.views.is_empty();
    let policy_name = name(&policy.metadata);
    if !waits
        || joined.inventory.completeness == Completeness::Conflicting
        || joined.is_claimed_by_word
        || host.spec.policy_ref.name != policy_name
    {
        return None;
    }
    let selectors = &policy.spec.discovered.as_ref()?.approve;
    let what = selectors
        .iter()
        .find_map(|selector| fits(selector, card, joined, alive))?;
    let mut approved = card.clone();
    approved.spec.approved = true;
    Some(Approval {
        mark: mark::of_changed(&approved)?,
        name: name(&card.metadata).to_owned(),
        uid: uid(&card.metadata).to_owned(),
        why: format!("policy {policy_name} approves it: {what}"),
    })
}

/// What of the card fits, if everything that the selector asks for does.
fn fits(
    selector: &InventorySelector,
    card: &Dpu,
    joined: &JoinedCard,
    alive: &BTreeSet<&str>,
) -> Option<String> {
    let summary: &InventorySummary = &joined.summary;
    let system = joined.inventory.system.as_ref().map(|system| &system.facts);
    let family = system.and_then(|system| system.family.as_deref());
    let asked = [
        ("family", &selector.families, family),
        (
            "part number",
            &selector.part_numbers,
            summary.part_number.as_deref(),
        ),
        (
            SERIAL_NUMBER,
            &selector.serial_numbers,
            // What its own operating system alone tells could be the number of any card.
            summary
                .serial_number
                .as_deref()
                .filter(|_| joined.is_told_by_others),
        ),
    ];
    let mut fitting = Vec::new();
    for (what, wanted, is) in asked.iter().filter(|(_, wanted, _)| !wanted.is_empty()) {
        let is = (*is)?;
        // Of serial numbers every sign counts.
        let same = |one: &String| match *what {
            SERIAL_NUMBER => Key::serial(one).is_some_and(|one| Key::serial(is) == Some(one)),
            _ => plain(one) == plain(is),
        };
        if !wanted.iter().any(same) {
            return None;
        }
        fitting.push(format!("{what} {is}"));
    }
    if selector.pairing_observed {
        if !is_vouched_for(card, &joined.witnesses, alive) {
            return None;
        }
        fitting.push("it is seen in its host".to_owned());
    }
    // One that asks for nothing was written before the API server refused it.
    (!fitting.is_empty()).then(|| fitting.join(", "))
}
