//! Firmware that its host was to write to a card, and of which nobody knows whether all of it is there.
//!
//! A card that loses its power then, or whose slot is reset, may never come up again, so Lockstep changes
//! the power of neither the card nor its host until that is over (S1): by an update that is written, by a
//! person who has looked and says so with another `retryToken`, or, if nothing can be written any more, by
//! somebody who has powered the card off and on. Of what may be being written still, the first such word
//! says that this has ended, not that all of it is there. What counts is the record, whatever becomes of its `Dpu`.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::action::Effect;
use lockstep_crds::directive::{Action, ActionKind, TargetKind};
use lockstep_crds::host::{CardRecord, ComponentRecord, TornFirmware};
use lockstep_crds::observed::PowerState;

use crate::armed_firmware;
use crate::card::{is_going, is_here};
use crate::firmware_record::close;
use crate::intent::{Draft, Intent};
use crate::reason::Reason;
use crate::view::{CardView, View};

/// Forgets what a person has seen to.
pub(crate) fn forgive(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let power = view
        .card_bmc(card, now)
        .and_then(|facts| facts.power.as_ref());
    let token = &card.dpu.spec.retry_token;
    for one in &mut kept.components {
        let Some(torn) = &mut one.torn else { continue };
        let has_looked = torn.retry_token != *token;
        is_away(torn, false);
        // What hangs may write on at a card that has its power again.
        let is_cycled = !torn.hangs && is_cycled(torn, power);
        if torn.hangs && has_looked {
            torn.hangs = false;
            torn.was_off = false;
            torn.retry_token.clone_from(token);
            close(one);
        } else if has_looked || is_cycled {
            whole(one);
        }
    }
}

/// The same of cards that belong to this host no more, whose `retryToken` nobody reads here: a host that
/// somebody has powered off and on has taken slots and drivers along.
pub(crate) fn forgive_the_gone(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let power = view.host_bmc(now).and_then(|facts| facts.power.as_ref());
    for kept in &mut record.cards {
        if is_here(view, kept) {
            continue;
        }
        for one in &mut kept.components {
            let Some(torn) = &mut one.torn else { continue };
            is_away(torn, true);
            if is_cycled(torn, power) {
                if is_hanging(one) {
                    close(one);
                }
                whole(one);
            }
        }
    }
}

/// What was seen of the power of the one proves nothing of the other.
fn is_away(torn: &mut TornFirmware, away: bool) {
    if torn.away != away {
        torn.away = away;
        torn.was_off = false;
    }
}

/// A `Dpu` that is made anew for the same card has a token of its own, by which nobody has said anything.
pub(crate) fn belongs_to(card: &CardView, kept: &mut CardRecord) {
    if kept.uid == card.uid() {
        return;
    }
    for torn in kept
        .components
        .iter_mut()
        .filter_map(|one| one.torn.as_mut())
    {
        torn.retry_token.clone_from(&card.dpu.spec.retry_token);
        torn.was_off = false;
    }
}

/// Whether it is on after it was seen off. Since when it is on proves nothing: that begins anew where its
/// state could not be read in between.
fn is_cycled(torn: &mut TornFirmware, power: Option<&PowerState>) -> bool {
    torn.was_off |= power == Some(&PowerState::Off);
    torn.was_off && power == Some(&PowerState::On)
}

/// All of it is there, or nobody asks for it any more.
pub(crate) fn whole(one: &mut ComponentRecord) {
    one.torn = None;
}

/// Whether it may be being written still, for all that anybody knows.
pub(crate) fn is_hanging(one: &ComponentRecord) -> bool {
    one.torn.as_ref().is_some_and(|torn| torn.hangs)
}

/// Whether a part alone of anything may be there.
pub(crate) fn is_torn(kept: &CardRecord) -> bool {
    kept.components.iter().any(|one| one.torn.is_some())
}

/// What a card needs at which something may be written still: a person.
pub(crate) fn hanging(kept: &CardRecord, one: &ComponentRecord) -> Option<Intent> {
    let torn = one.torn.as_ref().filter(|torn| torn.hangs)?;
    Some(told(kept, one, torn))
}

/// What a card needs whose power may not change, whatever it is wanted for: a person.
pub(crate) fn stalled(kept: &CardRecord) -> Option<Intent> {
    let mut components = kept.components.iter();
    components.find_map(|one| Some(told(kept, one, one.torn.as_ref()?)))
}

/// The same before firmware of another component is begun with.
pub(crate) fn stalled_beside(kept: &CardRecord, component: &str) -> Option<Intent> {
    let others = kept.components.iter();
    let mut others = others.filter(|one| one.component != component);
    others.find_map(|one| Some(told(kept, one, one.torn.as_ref()?)))
}

/// What stands against a change of the host's power: a card of which it is recorded, in this host still or
/// not.
pub(crate) fn at_host(record: &DpuHostStatus) -> Option<Intent> {
    record.cards.iter().find_map(stalled)
}

/// Why an effect is not asked for. Every effect is asked about here before it is recorded, and those on the
/// host also for firmware that they would let run though it may not.
pub(crate) fn forbids(
    view: &View,
    record: &DpuHostStatus,
    draft: &Draft,
    now: Timestamp,
) -> Option<Intent> {
    let Draft { target, action, .. } = draft;
    if target.kind == TargetKind::Host {
        let armed = || armed_firmware::refused_at_host(view, record).map(armed_firmware::told);
        return changes_host(view, record, action, now)
            .then(|| at_host(record).or_else(armed))
            .flatten();
    }
    let kept = record.record_of(&target.uid)?;
    // No card that goes stays stopped.
    let goes = |card: &CardView| card.uid() == target.uid && is_going(view, card);
    let goes = action.kind == ActionKind::PowerOn && view.cards.iter().any(goes);
    stalled(kept).filter(|_| action.kind.disturbs_firmware() && !goes)
}

/// The same of what a machine needs.
pub(crate) fn guarded(
    view: &View,
    record: &DpuHostStatus,
    needed: Intent,
    now: Timestamp,
) -> Intent {
    match &needed {
        Intent::Act(draft) => forbids(view, record, draft, now).unwrap_or(needed),
        Intent::Taint(_) | Intent::Wait(..) | Intent::Hold(_) | Intent::Stall(_) | Intent::Done => {
            needed
        }
    }
}

/// What is added to what is said of updates that have failed.
pub(crate) fn note(one: &ComponentRecord) -> &'static str {
    if one.torn.is_some() {
        "; what was written may not be whole: leave host and card on"
    } else {
        ""
    }
}

/// Whether it changes the host's power, now or once the agent that carries it out ends a hold by itself.
fn changes_host(view: &View, record: &DpuHostStatus, action: &Action, now: Timestamp) -> bool {
    let is_on = || {
        let facts = view.host_bmc(now);
        facts.is_some_and(|facts| facts.power == Some(PowerState::On))
    };
    match action.kind.row().effect {
        Effect::PowersOn | Effect::TakesPower | Effect::Unknown => true,
        // One that was taken down for it is held in any case (S14).
        Effect::Holds => record.hold.is_none(),
        Effect::Releases => action.power_on == Some(true) && !is_on(),
        Effect::Stages
        | Effect::SetsBoot
        | Effect::TakesBack
        | Effect::WritesSystem
        | Effect::WritesFirmware
        | Effect::RestartsBmc => false,
    }
}

fn told(kept: &CardRecord, one: &ComponentRecord, torn: &TornFirmware) -> Intent {
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
            "{} of {component} of dpu/{} may be there in part, since {}: {what}, so neither the card nor its host is powered on, off or reset; failures in the status of its DpuHost tell how that ended",
            image.version, kept.name, torn.since.0
        ),
    )
}
