//! An update of firmware that is under way: it is awaited, and what was written is let run, once, by what
//! it needs for that (S15): a BMC that does not restart by itself is restarted, a card powered off and on.
//!
//! Both take down what an install takes down, so all that an install asks of the host holds of them too.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, ActivatedBy, Step};
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::armed_firmware;
use crate::card::{self, machine};
use crate::firmware::{is_armed_as_it_stays, require_quiet};
use crate::flash;
use crate::intent::{Draft, Intent, plain};
use crate::leave::{Leave, leave};
use crate::reach;
use crate::reason::Reason;
use crate::stage;
use crate::view::{CardView, View};
use crate::whole_card;

/// How long a BMC gets to restart by itself after it has written firmware.
const SELF_RESTART: SignedDuration = SignedDuration::from_secs(60);

/// An update is under way: it is awaited, and once it is written, what lets it run is done.
pub(crate) fn activation(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    one: &ComponentRecord,
    now: Timestamp,
) -> Result<Intent, Intent> {
    let ComponentRecord {
        component, image, ..
    } = one;
    let version = &image.version;
    let Some(ends) = one.ends.as_ref().map(|ends| ends.0) else {
        // A record that says when it began says until when it may take.
        return Ok(Intent::stall(
            Reason::UnknownRecord,
            format!("the record does not say until when {component} is awaited"),
        ));
    };
    let awaited = |what: String, until: Timestamp| {
        let message = format!("{what}; {component} must be seen to run {version} before {ends}");
        Intent::wait_until(Reason::AwaitingFirmware, message, until)
    };
    // A BMC that restarts is silent for minutes; one that nobody trusts any more needs a person.
    if let Err(why @ Intent::Stall(_)) = card::proved(view, card, now) {
        return Ok(why);
    }
    let Some(written) = &one.written_at else {
        let who = if flash::is_by_host(one) {
            "host"
        } else {
            "BMC"
        };
        let what = format!("the {who} of {} was asked to write it", machine(card));
        return Ok(awaited(what, ends));
    };
    let cycles = one.activation == Some(ActivatedBy::CardPowerCycle);
    if one.reset_at.is_some() {
        let what = if cycles {
            format!("{} was powered off and on for it", machine(card))
        } else {
            format!("the BMC of {} was restarted for it", machine(card))
        };
        return Ok(awaited(what, ends));
    }
    if one.given_up {
        let boots = is_armed_as_it_stays(spec, card, kept);
        let owed = card::owed(view, record, card, kept, boots, now);
        let what = "it is written, and the host went on without it".to_owned();
        return Ok(owed.unwrap_or_else(|| awaited(what, ends)));
    }
    armed_firmware::judged(spec, card, one)?;
    let by = one.activation.clone().unwrap_or(ActivatedBy::BmcReset);
    if let Some(why) = armed_firmware::refused_beside(component, &by, view, card, kept) {
        return Ok(armed_firmware::told(why));
    }
    if cycles {
        return cycle(view, record, spec, card, kept, one, now);
    }
    let restarts = written.0 + SELF_RESTART;
    if now < restarts {
        let what = format!(
            "it is written, and runs once the BMC of {} has restarted, by itself or at {restarts}",
            machine(card)
        );
        return Ok(awaited(what, restarts.min(ends)));
    }
    let facts = card::proved(view, card, now)?;
    if let Leave::AfterHold(hold) = leave(view, record, spec, card, now)? {
        return Ok(Intent::Act(hold));
    }
    require_quiet(spec, card, facts, now)?;
    whole_card::require_host_off(view, card, facts, now)?;
    Ok(Intent::act(Draft {
        step: Step::ActivateFirmware,
        target: card::target(card),
        action: Action {
            component: Some(component.clone()),
            ..plain(ActionKind::ResetBmc)
        },
        expects: card::expects(card, facts.power.clone(), true),
        settle_seconds: 60,
        message: format!(
            "restarting the BMC of {}, so that {component} runs {version}",
            machine(card)
        ),
        release: None,
    }))
}

/// Takes the card down if it is on, and powers it on.
fn cycle(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    one: &ComponentRecord,
    now: Timestamp,
) -> Result<Intent, Intent> {
    let facts = card::proved(view, card, now)?;
    stage::is_not_updating(&machine(card), facts)?;
    if let Leave::AfterHold(hold) = leave(view, record, spec, card, now)? {
        return Ok(Intent::Act(hold));
    }
    if !is_armed_as_it_stays(spec, card, kept) {
        return Ok(card::clear(view, kept, card, now));
    }
    let step = Step::ActivateFirmware;
    let next = match &facts.power {
        Some(PowerState::Off) => Intent::act(power_on(card, one)),
        Some(PowerState::On) => {
            stage::stop(card::running(card, facts, now), record, spec, step, now)
        }
        // Halted, and powered still: what is written does not run before that has ended.
        Some(PowerState::Paused) => stage::cut_halted(halted(card, facts, now), spec, step, now),
        Some(_) | None => Intent::wait(
            Reason::Inspecting,
            format!("waiting for {} to be on or off", machine(card)),
            reach::SILENCE,
        ),
    };
    Ok(for_component(next, one))
}

fn halted<'a>(card: &CardView, facts: &'a BmcReport, now: Timestamp) -> stage::Machine<'a> {
    stage::Machine {
        expects: card::expects(card, Some(PowerState::Paused), true),
        ..card::running(card, facts, now)
    }
}

/// What is done for a component says so: its executor looks whether anything is written there.
fn for_component(next: Intent, one: &ComponentRecord) -> Intent {
    match next {
        Intent::Act(mut draft) => {
            draft.action.component = Some(one.component.clone());
            draft.message += &format!(", so that {} runs {}", one.component, one.image.version);
            Intent::Act(draft)
        }
        Intent::Wait(..) | Intent::Taint(_) | Intent::Hold(_) | Intent::Stall(_) | Intent::Done => {
            next
        }
    }
}

fn power_on(card: &CardView, one: &ComponentRecord) -> Draft {
    Draft {
        step: Step::ActivateFirmware,
        target: card::target(card),
        action: Action {
            component: Some(one.component.clone()),
            ..plain(ActionKind::PowerOn)
        },
        expects: card::expects(card, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: format!("powering {} on", machine(card)),
        release: None,
    }
}
