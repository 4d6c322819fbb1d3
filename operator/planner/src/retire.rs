//! A retired card: nothing is wanted of it any more, it is off and stays so.
//!
//! What was begun is undone as for a card of which nothing is wanted. Then it is powered off, as
//! for an install: a host in use stands against it. The identity of its agent is withdrawn with
//! the status that says that it is retired.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, PolicyMode};
use lockstep_crds::directive::{ActionKind, Step};
use lockstep_crds::host::CardRecord;
use lockstep_crds::observed::PowerState;

use crate::approval::is_approved;
use crate::card::{self, machine};
use crate::intent::Intent;
use crate::leave::{Leave, leave};
use crate::reach;
use crate::reason::Reason;
use crate::stage;
use crate::view::{CardView, View, Wanted};

/// Whether the card is retired, and not to be wiped before.
pub(crate) fn is_retired(card: &CardView) -> bool {
    card.dpu.spec.retired && card.wanted == Wanted::Nothing && is_approved(card)
}

/// What people read of a card that is out of use.
fn retired(how: &str) -> Intent {
    Intent::hold(
        Reason::Retired,
        format!("retired: {how}, and nothing is done to it any more"),
    )
}

/// What is left to do until the card is off, once nothing is armed there.
pub(crate) fn rest(view: &View, record: &DpuHostStatus, card: &CardView, now: Timestamp) -> Intent {
    going_down(view, record, card, now).unwrap_or_else(|why| why)
}

fn going_down(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> Result<Intent, Intent> {
    let Some(spec) = view.policy.as_ref().map(|policy| &policy.spec) else {
        return Ok(Intent::Done);
    };
    if card.dpu.spec.bmc.is_none() {
        may_withdraw(spec, card)?;
        return Ok(retired("it has no BMC, so power it off yourself"));
    }
    card::require_one_place(view, card)?;
    card::require_one_host(card)?;
    let facts = card::proved(view, card, now)?;
    match facts.power {
        Some(PowerState::Off) => {
            may_withdraw(spec, card)?;
            return Ok(retired("it is off"));
        }
        Some(PowerState::On) => {}
        Some(_) | None => {
            return Err(Intent::wait(
                Reason::Inspecting,
                format!("waiting for {} to be on or off", machine(card)),
                reach::SILENCE,
            ));
        }
    }
    if card::record_of(record, card).is_none() {
        return Err(Intent::stall(
            Reason::TooManyCards,
            format!(
                "{} is not powered off without a record of it",
                machine(card)
            ),
        ));
    }
    stage::is_not_updating(&machine(card), facts)?;
    // Its host is not taken down for a card that does not go down then.
    if let Some(lack) = stage::lacks(facts, &ActionKind::ForceOff) {
        return Err(Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "{} is retired: {lack}; power it off yourself",
                machine(card)
            ),
        ));
    }
    Ok(match leave(view, record, spec, card, now)? {
        Leave::AfterHold(hold) => Intent::Act(hold),
        Leave::Granted => stage::stop(
            card::running(card, facts, now),
            record,
            spec,
            Step::StopCard,
            now,
        ),
    })
}

/// The identity of its agent ends with the word that it is retired, which is an effect too.
fn may_withdraw(spec: &DpuBootPolicySpec, card: &CardView) -> Result<(), Intent> {
    let next = "the next step would be: withdrawing the identity of the card's agent";
    if card.dpu.spec.paused {
        return Err(Intent::hold(Reason::Paused, format!("paused; {next}")));
    }
    match spec.mode {
        PolicyMode::Enforce => Ok(()),
        PolicyMode::Plan | PolicyMode::Observe => Err(Intent::hold(
            Reason::PlanOnly,
            format!("the policy's mode is {:?}; {next}", spec.mode),
        )),
    }
}

/// Whether the host waits for the card to go down.
pub(crate) fn goes_down(view: &View, card: &CardView, now: Timestamp) -> bool {
    let is_on = view
        .card_bmc(card, now)
        .is_some_and(|bmc| bmc.power == Some(PowerState::On));
    let can_be = card::require_one_place(view, card).and(card::require_one_host(card));
    is_retired(card)
        && !card::is_going(view, card)
        && !card.dpu.spec.paused
        && is_on
        && can_be.is_ok()
}

/// A card that is off for good is owed nothing, nor one whose object goes.
pub(crate) fn forgive(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let is_off = view
        .card_bmc(card, now)
        .is_some_and(|bmc| bmc.power == Some(PowerState::Off));
    if is_retired(card) && (is_off || card::is_going(view, card)) {
        kept.stopping = None;
    }
}
