//! The way over rshim: the agent of a card's host resets the card and pushes the image to it.
//!
//! It leads through the host, so it is for hosts that may be trusted with their cards, and whoever
//! holds such a host must leave it on. What the push is to find there the host itself has told.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{BootOrder, DpuBootPolicySpec, HoldMechanism, WaitUntil};
use lockstep_crds::directive::{
    Action, ActionKind, Directive, Expects, ImageFacts, OutcomeKind, RshimExpects, Step,
};
use lockstep_crds::host::{CardRecord, HeldBy, HostRole, SlotPower, TrustDomain};
use lockstep_crds::inventory::HostAccess;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, Outcome};

use crate::card::{self, machine};
use crate::failure;
use crate::host;
use crate::intent::{Draft, Intent, plain};
use crate::ledger;
use crate::reach;
use crate::reason::Reason;
use crate::road::Way;
use crate::slot_power;
use crate::stage;
use crate::view::{CardView, HostAgentSeen, SeenInHost, View};

/// Seconds that a push may take, until its installer has said how it ended.
const SETTLES: i64 = 3600;
/// How far an agent's count may be ahead of the record's: it goes on where another object for its
/// host had ended, and no host was given as many directives.
const AHEAD: i64 = 1 << 20;

/// How this way stands at a card.
pub(crate) fn way(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Way {
    let agent = match through_host(view, record, card, spec, locked_out, now) {
        Ok(agent) => agent,
        Err(way) => return way,
    };
    match &card.in_host {
        Some(seen) if seen.rshim.is_none() => Way::Closed(format!(
            "{} sees no rshim of it: its host needs the rshim driver, and its agent access: Install",
            agent.report
        )),
        Some(seen) if rshim(seen).is_none() => Way::Closed(format!(
            "{} reads no serial number of it, so nobody can tell it from another card",
            agent.report
        )),
        Some(_) => Way::Open,
        None if is_alive(agent, now) => Way::Closed(format!("{} does not see it", agent.report)),
        None => Way::Unread(format!("{} sees {}", agent.report, machine(card))),
    }
}

/// The agent of a host through which something may reach its card, unless the card's BMC tells of what
/// locks that host out; else how every way through it stands.
pub(crate) fn through_host<'a>(
    view: &'a View,
    record: &DpuHostStatus,
    card: &CardView,
    spec: &DpuBootPolicySpec,
    locked_out: fn(&HostAccess) -> Option<&'static str>,
    now: Timestamp,
) -> Result<&'a HostAgentSeen, Way> {
    let host = host::machine(view);
    if view.host.spec.trust_domain == TrustDomain::Isolated {
        return Err(Way::Forbidden(format!(
            "{host} is Isolated (spec.trustDomain), so nothing reaches a card through it"
        )));
    }
    if let Some(lock) = card.host_access.as_ref().and_then(locked_out) {
        return Err(Way::Forbidden(format!("the card's BMC says that {lock}")));
    }
    if view.host.spec.node_name.is_none() {
        return Err(Way::Closed(format!(
            "spec.nodeName of {host} names no Node, and what an agent says of the machine that it runs on is no ground to give it a card's image and secrets: name the Node there"
        )));
    }
    if let Some(lack) = not_held_up(view, record, spec) {
        return Err(Way::Closed(format!("{host} {lack}")));
    }
    let Some(agent) = &view.host_agent else {
        return Err(Way::Closed(format!(
            "no agent has ever reported from {host}"
        )));
    };
    let lack = match &agent.execution {
        None if is_alive(agent, now) => "pushes no images: its agent needs access: Install".into(),
        None => "has not said that it pushes images, and is silent now: its agent needs access: Install, and must have run once so, with the host on".into(),
        Some(told) if !counts(told.accepted, record) => format!(
            "says that it has accepted directive {}, which was never given: find out who wrote that, and delete the report",
            told.accepted
        ),
        Some(_) => return Ok(agent),
    };
    Err(Way::Closed(format!("{} {lack}", agent.report)))
}

/// What keeps a host from its card, by the card's BMC.
fn locked_out(access: &HostAccess) -> Option<&'static str> {
    let says = |told: &Option<String>, word: &str| {
        let told = told.as_deref();
        told.is_some_and(|told| told.trim().eq_ignore_ascii_case(word))
    };
    if says(&access.host_rshim, "Disabled") {
        Some("the host may not use rshim (hostRshim Disabled)")
    } else if says(&access.host_privilege, "Restricted") {
        Some("the host is restricted (hostPrivilege Restricted)")
    } else if says(&access.mode, "NicMode") {
        Some("it is in NIC mode, in which no system runs on it")
    } else {
        None
    }
}

/// Why the host would not be up, held by its taint, while an image is pushed.
fn not_held_up(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
) -> Option<&'static str> {
    const OFF: &str = "would be held powered off, and its agent must run to push: put NodeTainted first in the policy's hold.mechanisms";
    const NOT_HELD: &str = "is not held while its cards are installed, and its agent must run, and nothing else there, to push: let the policy's order be XpuFirst and hostWait.until OsRunning, with NodeTainted first in hold.mechanisms";
    if let Some(hold) = &record.hold {
        return (hold.mechanism != HeldBy::NodeTainted).then_some(OFF);
    }
    let waits = view.host.spec.role == HostRole::Server
        && spec.order == BootOrder::XpuFirst
        && spec.host_wait.until == WaitUntil::OsRunning;
    if !waits {
        return Some(NOT_HELD);
    }
    let mechanisms = &spec.hold.mechanisms;
    let tainted = match mechanisms.first() {
        Some(HoldMechanism::NodeTainted) => true,
        Some(HoldMechanism::PoweredOff) | None => {
            mechanisms.contains(&HoldMechanism::NodeTainted)
                && slot_power::effective(view, record) != SlotPower::Yes
        }
    };
    (!tainted).then_some(OFF)
}

/// Whether an agent can have accepted so many directives.
fn counts(accepted: i64, record: &DpuHostStatus) -> bool {
    (0..=record.seq.saturating_add(AHEAD)).contains(&accepted)
}

/// The agent of a host that its cards may be given to, on the Node that a person has named.
pub(crate) fn trusted_agent(view: &View) -> Option<&HostAgentSeen> {
    let spec = &view.host.spec;
    let is_trusted = spec.trust_domain == TrustDomain::Trusted && spec.node_name.is_some();
    view.host_agent.as_ref().filter(|_| is_trusted)
}

pub(crate) fn is_alive(agent: &HostAgentSeen, now: Timestamp) -> bool {
    agent.agent.is_some_and(|lease| lease.is_fresh(now))
}

/// What the host's agent must find; `None` if nothing tells the card from another.
fn rshim(seen: &SeenInHost) -> Option<RshimExpects> {
    let told = seen.serial_number.is_some() || seen.device_serial.is_some();
    let name = seen.rshim.clone().filter(|_| told)?;
    Some(RshimExpects {
        name,
        serial_number: seen.serial_number.clone(),
        device_serial: seen.device_serial.clone(),
    })
}

/// The push, once the image is offered and nothing is left to be taken back.
pub(crate) fn next(
    view: &View,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    wanted: &ImageFacts,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Intent, Intent> {
    let agent = trusted_agent(view).filter(|agent| is_alive(agent, now));
    let rshim = card.in_host.as_ref().and_then(rshim);
    let (Some(_), Some(rshim)) = (agent, rshim) else {
        return Err(Intent::wait(
            Reason::HostAgentSilent,
            format!(
                "the agent of {}, which is to push {} to {}, has not renewed its Lease",
                host::machine(view),
                wanted.version,
                machine(card)
            ),
            reach::SILENCE,
        ));
    };
    stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
    Ok(Intent::act(Draft {
        step: Step::BootCard,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::PushImage)
        },
        expects: Expects {
            rshim: Some(rshim),
            ..card::expects(card, Some(PowerState::On), true)
        },
        settle_seconds: SETTLES,
        message: format!(
            "having {} reset and {} pushed to it over rshim; its own agent must report that image within {} s",
            machine(card),
            wanted.version,
            spec.install.os_timeout_seconds
        ),
        release: None,
    }))
}

/// Who carries an action out.
pub(crate) fn executor(view: &View, action: &ActionKind) -> String {
    match &view.host_agent {
        Some(agent) if action.is_of_host_agent() => agent.report.clone(),
        Some(_) | None => view.host.spec.site.clone(),
    }
}

/// The agent that a push or a flash was given to, as long as it is that of this host; of a flash, whose
/// end nobody but that agent tells, as long as the host is trusted too.
pub(crate) fn executor_of<'a>(view: &'a View, directive: &Directive) -> Option<&'a HostAgentSeen> {
    let agent = if directive.action.kind == ActionKind::FlashFirmware {
        trusted_agent(view)
    } else {
        view.host_agent.as_ref()
    };
    agent.filter(|agent| agent.report == directive.executor)
}

/// Whether nobody tells any more what became of a directive, because the host has another agent, or is not
/// trusted any more.
pub(crate) fn is_out_of_sight(view: &View, directive: &Directive) -> bool {
    directive.action.kind.is_of_host_agent() && executor_of(view, directive).is_none()
}

/// The highest number that the host's agent has accepted. What the agent of another host, or one
/// that nobody trusts, says moves no numbers, and neither does what none can have accepted.
pub(crate) fn accepted(view: &View, record: &DpuHostStatus) -> i64 {
    let execution = trusted_agent(view).and_then(|agent| agent.execution.as_ref());
    let accepted = execution.map_or(0, |execution| execution.accepted);
    if counts(accepted, record) {
        accepted
    } else {
        0
    }
}

/// The end of a push after which certainly nothing more is written to the card.
const BROKEN: &str = "PushBroken";

/// What is told of a push that ended so.
fn broken(told: &Outcome) -> Option<&str> {
    let is_over = told.reason.as_deref() == Some(BROKEN);
    is_over.then(|| told.message.as_deref().unwrap_or("it says nothing more"))
}

/// Books the end of a push. One that came to nothing was no install; one that broke off is over
/// before its time. Of every other one the card's own agent tells, or the end of its time does: an
/// installer that failed may go on writing, whatever an agent of an earlier release makes of it.
pub(crate) fn book(
    view: &View,
    kept: &mut CardRecord,
    directive: &Directive,
    outcome: &OutcomeKind,
    now: Timestamp,
) {
    match outcome {
        OutcomeKind::Failed => ledger::never_begun(kept),
        OutcomeKind::Partly if kept.observed_at.is_none() => {
            let execution = executor_of(view, directive).and_then(|agent| agent.execution.as_ref());
            let told = execution.and_then(|execution| execution.outcome.as_ref());
            if let Some(message) = told.and_then(broken) {
                failure::book(kept, BROKEN, message, now);
            }
        }
        OutcomeKind::Done
        | OutcomeKind::Partly
        | OutcomeKind::Unknown
        | OutcomeKind::Unrecognized(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_push_that_broke_off_is_over_before_its_time() {
        let told = |reason: Option<&str>| Outcome {
            result: OutcomeKind::Partly,
            reason: reason.map(str::to_owned),
            message: Some("after 40 bytes".to_owned()),
        };
        assert_eq!(broken(&told(Some(BROKEN))), Some("after 40 bytes"));
        // An earlier agent told these as ends, too.
        for reason in [Some("InstallerFailed"), Some("NothingInstalled"), None] {
            assert_eq!(broken(&told(reason)), None, "{reason:?}");
        }
    }
}
