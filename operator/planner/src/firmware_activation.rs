//! An update of firmware that is under way: it is awaited, and a BMC that does not restart by itself for
//! what it has written is restarted, once (S15).

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, Step};
use lockstep_crds::host::ComponentRecord;

use crate::card::{self, machine};
use crate::firmware::require_quiet;
use crate::intent::{Draft, Intent, plain};
use crate::leave::{Leave, leave};
use crate::reason::Reason;
use crate::view::{CardView, View};

/// How long a BMC gets to restart by itself after it has written firmware.
const SELF_RESTART: SignedDuration = SignedDuration::from_secs(60);

/// An update is under way: it is awaited, and if what was written waits for it, the BMC restarted.
pub(crate) fn activation(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
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
        let what = format!("the BMC of {} was asked to write it", machine(card));
        return Ok(awaited(what, ends));
    };
    if one.reset_at.is_some() {
        let what = format!("the BMC of {} was restarted for it", machine(card));
        return Ok(awaited(what, ends));
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
