//! A card that was stopped for an install, or for firmware, that nobody wants any more runs again.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::action::Effect;
use lockstep_crds::directive::{Action, ActionKind, Step, TargetKind};
use lockstep_crds::host::{CardRecord, Disruption, HostRole};
use lockstep_crds::observed::PowerState;

use crate::admit::DIRECTIVE_TRIES;
use crate::armed_firmware;
use crate::card;
use crate::intent::{Draft, Intent, plain};
use crate::pairing;
use crate::reason::Reason;
use crate::retire;
use crate::takedown;
use crate::view::{CardView, View};

/// Whether a directive powers a card on for nothing but that it was on before.
pub(crate) fn is_of(kind: &TargetKind, action: &Action) -> bool {
    let of_nothing = action.image.is_none() && action.component.is_none();
    *kind == TargetKind::Card && action.kind == ActionKind::PowerOn && of_nothing
}

/// Whether an effect takes back what was begun. That is never given up: a host would stay off, and
/// media inserted, with nobody left to ask for it.
pub(crate) fn undoes(target: &TargetKind, action: &Action) -> bool {
    match action.kind.row().effect {
        Effect::Releases | Effect::TakesBack => true,
        Effect::PowersOn => is_of(target, action),
        Effect::Holds
        | Effect::Stages
        | Effect::SetsBoot
        | Effect::WritesSystem
        | Effect::WritesFirmware
        | Effect::RestartsBmc
        | Effect::TakesPower
        | Effect::Unknown => false,
    }
}

/// What a card needs that is being stopped, or was, and should not have been; `None` if that
/// is not so.
pub(crate) fn give_back(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Intent> {
    kept.stopping
        .as_ref()
        .filter(|_| !retire::is_retired(card))?;
    let name = card::machine(card);
    let facts = match card::proved(view, card, now) {
        Ok(facts) => facts,
        Err(why) => return Some(why),
    };
    if facts.power == Some(PowerState::On) {
        let until = takedown::may_obey_until(view, record, &name).filter(|until| now < *until)?;
        return Some(Intent::wait_until(
            Reason::ShuttingDown,
            format!(
                "{name} was asked to shut down, which nobody wants any more; if it is off by {until}, it is powered on again"
            ),
            until,
        ));
    }
    if facts.power != Some(PowerState::Off) {
        return None;
    }
    if let Some(why) = armed_firmware::refused(view, card, kept) {
        let stays = format!("{name} was powered off for its firmware, and stays so: {why}");
        return Some(armed_firmware::told(stays));
    }
    if let Err(why) = may_be_on(view, card, now) {
        return Some(Intent::stall(
            Reason::CardPoweredOff,
            format!(
                "{name} was powered off for what nobody wants any more, and is not powered on again: {why}"
            ),
        ));
    }
    Some(Intent::act(Draft {
        step: Step::StopCard,
        target: card::target(card),
        action: plain(ActionKind::PowerOn),
        expects: card::expects(card, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: format!(
            "powering {name} on again, which was stopped for what nobody wants any more"
        ),
        release: None,
    }))
}

/// Whether the host waits for that: as long as the card can be reached and it does not keep failing.
pub(crate) fn is_awaited(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> bool {
    let on = ActionKind::PowerOn.as_str();
    let fails = kept
        .failed
        .as_ref()
        .is_some_and(|failed| failed.times >= DIRECTIVE_TRIES && failed.what.starts_with(on));
    let stays = card.dpu.spec.paused && !card::is_going(view, card);
    view.card_bmc(card, now).is_some()
        && !fails
        && !stays
        && matches!(
            give_back(view, record, card, kept, now),
            Some(Intent::Act(_) | Intent::Wait(..))
        )
}

/// Whether a card may be powered on beside its host as that is now (S12, S13).
fn may_be_on(view: &View, card: &CardView, now: Timestamp) -> Result<(), String> {
    match view.host.spec.role {
        HostRole::ChassisOnly => return Ok(()),
        HostRole::Infrastructure => return Err("its host is Infrastructure".to_owned()),
        HostRole::Server => {}
    }
    pairing::proved(view, card, now)?;
    let power = view.host_bmc(now).and_then(|host| host.power.as_ref());
    match power {
        Some(PowerState::Off) => Ok(()),
        Some(PowerState::On) if view.host.spec.disruption == Disruption::Allowed => Ok(()),
        Some(PowerState::On) => Err("its host is on, and disruption is Never".to_owned()),
        Some(_) | None => Err("nobody can tell whether its host is on".to_owned()),
    }
}
