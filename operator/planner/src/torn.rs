//! Firmware that its host was to write to a card, and of which nobody knows whether all of it is there.
//!
//! A card that loses its power then may never come up again, so Lockstep takes it from the card for
//! nothing until that is over (S1): by an update that is written, by a person who has looked and says so
//! with another `retryToken`, or by somebody who has powered the card off and on.

use jiff::Timestamp;
use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::{CardRecord, ComponentRecord, TornFirmware};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::card::{is_going, machine};
use crate::firmware_record::close;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::view::{CardView, View};

/// Forgets what a person has seen to.
pub(crate) fn forgive(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let facts = view.card_bmc(card, now);
    let token = &card.dpu.spec.retry_token;
    for one in &mut kept.components {
        let Some(torn) = &one.torn else { continue };
        let is_cycled = facts.is_some_and(|facts| is_on_since(facts, torn.since.0));
        if torn.retry_token != *token || is_cycled {
            if torn.hangs {
                close(one);
            }
            whole(one);
        }
    }
}

fn is_on_since(facts: &BmcReport, since: Timestamp) -> bool {
    let is_on = facts.power == Some(PowerState::On);
    let on_since = facts.power_since.as_ref().filter(|_| is_on);
    on_since.is_some_and(|on| on.0 > since)
}

/// All of it is there, or nobody asks for it any more.
pub(crate) fn whole(one: &mut ComponentRecord) {
    one.torn = None;
}

/// Whether it may be being written still, for all that anybody knows.
pub(crate) fn is_hanging(one: &ComponentRecord) -> bool {
    one.torn.as_ref().is_some_and(|torn| torn.hangs)
}

/// What a card needs at which something may be written still: a person.
pub(crate) fn hanging(card: &CardView, one: &ComponentRecord) -> Option<Intent> {
    let torn = one.torn.as_ref().filter(|torn| torn.hangs)?;
    Some(told(card, one, torn))
}

/// What a card needs that may not be powered off, whatever it is wanted for: a person.
pub(crate) fn stalled(card: &CardView, kept: &CardRecord) -> Option<Intent> {
    let mut components = kept.components.iter();
    components.find_map(|one| Some(told(card, one, one.torn.as_ref()?)))
}

/// The same before firmware of another component is begun with.
pub(crate) fn stalled_beside(
    card: &CardView,
    kept: &CardRecord,
    component: &str,
) -> Option<Intent> {
    let others = kept.components.iter();
    let mut others = others.filter(|one| one.component != component);
    others.find_map(|one| Some(told(card, one, one.torn.as_ref()?)))
}

/// Why an effect on the card is not asked for.
pub(crate) fn forbids(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    action: &ActionKind,
) -> Option<Intent> {
    // No card that goes stays stopped.
    let goes = is_going(view, card) && *action == ActionKind::PowerOn;
    stalled(card, kept).filter(|_| takes_power(action) && !goes)
}

/// What is added to what is said of updates that have failed.
pub(crate) fn note(one: &ComponentRecord) -> &'static str {
    if one.torn.is_some() {
        "; what was written may not be whole: leave host and card on"
    } else {
        ""
    }
}

fn takes_power(action: &ActionKind) -> bool {
    matches!(
        action,
        ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::ResetBmc
            | ActionKind::RestartCard
            | ActionKind::PushImage
            | ActionKind::PullUpdate
            | ActionKind::PushUpdate
    )
}

fn told(card: &CardView, one: &ComponentRecord, torn: &TornFirmware) -> Intent {
    let ComponentRecord {
        component, image, ..
    } = one;
    let what = if torn.hangs {
        "its host was asked to write it, and nobody knows whether that has ended"
    } else {
        "its host wrote it, and nobody knows whether all of it is there"
    };
    Intent::stall(
        Reason::FirmwareTorn,
        format!(
            "{} of {component} of {} may be there in part, since {}: {what}, so the card is not powered off or reset; failures in the status of its DpuHost tell how that ended",
            image.version,
            machine(card),
            torn.since.0
        ),
    )
}
