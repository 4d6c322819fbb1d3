//! What the host of a power domain needs: release, patience, or nothing.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::OnTimeout;
use lockstep_crds::directive::{Action, ActionKind, Expects, Step, Target, TargetKind};
use lockstep_crds::host::{HoldState, HoldStatus, HostRole, ReleaseReason};
use lockstep_crds::observed::PowerState;

use crate::beside::left_behind;
use crate::card;
use crate::decision::Explanation;
use crate::intent::{Draft, Intent, Limit, TaintStep, plain};
use crate::leave::require_one_word;
use crate::ledger;
use crate::mechanism;
use crate::reach;
use crate::reason::Reason;
use crate::taint;
use crate::takedown;
use crate::view::{NodeSeen, Readiness, View};

/// How long a released host may take to be seen up.
pub(crate) const HOST_UP: SignedDuration = SignedDuration::from_mins(30);

/// How long after its wait a host waits for an install that was begun before: what the policy
/// can give an install.
const LONGEST_INSTALL: SignedDuration = SignedDuration::from_hours(24);

/// Why nothing may be planned for this host at all, whatever its cards need.
pub fn gate(view: &View, now: Timestamp) -> Option<Intent> {
    if view.host.spec.hands_off {
        return Some(Intent::hold(
            Reason::HandsOff,
            "handsOff is set on the DpuHost: nothing is changed",
        ));
    }
    if !view.guards_intact {
        return Some(Intent::stall(
            Reason::AdmissionGuardMissing,
            "the admission policies that keep agents to their own objects are missing or changed",
        ));
    }
    // What a host that is being deleted still needs is taken back from the machine that
    // its identity names, whoever else claims it.
    if let Some(conflict) = view.conflicts.first()
        && !is_going(view)
    {
        return Some(Intent::stall(Reason::IdentityConflict, conflict.clone()));
    }
    if !view.site_agent_fresh(now) {
        return Some(Intent::Wait(
            Explanation::new(
                Reason::SiteAgentSilent,
                format!(
                    "the agent of site {} has not renewed its Lease",
                    view.host.spec.site
                ),
            ),
            Limit::For(reach::SILENCE),
        ));
    }
    None
}

/// Whether the host object is being deleted.
pub fn is_going(view: &View) -> bool {
    view.host.metadata.deletion_timestamp.is_some()
}

/// Whether a hold has lasted as long as the policy allows.
pub fn wait_is_over(record: &DpuHostStatus, now: Timestamp) -> bool {
    record
        .hold
        .as_ref()
        .is_some_and(|hold| now >= hold.deadline.0)
}

/// How the hold ends now, if it does.
enum End {
    /// Like this, powering the host on or not.
    Release(ReleaseReason, bool),
    /// Not yet.
    NotYet,
    /// Not by us: the wait is over, and this is why the host stays held.
    StayHeld(&'static str),
    /// At the next safe point.
    After(Intent),
}

/// What the host needs, going by what its cards still need of it.
pub fn intent(view: &View, record: &DpuHostStatus, now: Timestamp) -> Intent {
    let Some(hold) = &record.hold else {
        return if is_going(view) {
            Intent::Done
        } else {
            after_release(view, record)
        };
    };
    let end = end(view, record, now);
    let later = match &end {
        End::Release(..) => may_go_down(view, record, now),
        End::NotYet | End::StayHeld(_) | End::After(_) => None,
    };
    match later.unwrap_or(end) {
        End::Release(reason, _) if taint::holds(record) => lift_taint(view, hold, reason),
        End::Release(reason, power_on) => release(view, reason, power_on, now),
        End::After(why) => why,
        End::StayHeld(why) => Intent::stall(
            Reason::HostWaitTimedOut,
            format!(
                "the host is held since {} and its wait ended at {} without its cards; {why}",
                hold.since.0, hold.deadline.0
            ),
        ),
        End::NotYet if hold.state == HoldState::HoldBroken => Intent::stall(
            Reason::HoldBroken,
            format!(
                "the host is up though it was to be held until its cards are ready: {}",
                hold.broken_by.as_deref().unwrap_or("cause unknown")
            ),
        ),
        End::NotYet if hold.state == HoldState::Beginning => complete(view, now),
        End::NotYet => Intent::Done,
    }
}

/// A host that was taken down for a hold and is off is held in any case, whatever has become of
/// the card for which that was begun: only a hold comes with a work order (S14).
fn complete(view: &View, now: Timestamp) -> Intent {
    let off = view
        .host_bmc(now)
        .filter(|host| host.power == Some(PowerState::Off));
    let (Some(policy), Some(facts)) = (&view.policy, off) else {
        return Intent::Done;
    };
    match require_one_word(view, facts) {
        Ok(()) => Intent::act(mechanism::hold(view, &policy.spec, now)),
        Err(why) => why,
    }
}

/// Why a hold that is only beginning cannot be ended yet: the host is up still, and may go down
/// by what it was asked. Then it would stay off.
fn may_go_down(view: &View, record: &DpuHostStatus, now: Timestamp) -> Option<End> {
    let is_on = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::On));
    let until = takedown::may_obey_until(view, record, &machine(view))
        .filter(|until| now < *until && is_on && takedown::is_beginning(record))?;
    Some(End::After(Intent::wait_until(
        Reason::ShuttingDown,
        format!(
            "{} was asked to shut down, which nobody wants any more; if it is off by {until}, it is powered on again",
            machine(view)
        ),
        until,
    )))
}

fn end(view: &View, record: &DpuHostStatus, now: Timestamp) -> End {
    if is_going(view) {
        // Powering the host on may reset a card in the middle of its install.
        let busy = view
            .cards
            .iter()
            .filter_map(|card| card::install_ends(view, record, card, now))
            .max();
        if view
            .cards
            .iter()
            .any(|card| card::returns(view, record, card, now))
        {
            return End::After(Intent::wait(
                Reason::UndoingBeforeDelete,
                "a card that was stopped is powered on again; the host is released after it",
                reach::SILENCE,
            ));
        }
        return match busy {
            Some(until) => End::After(Intent::wait_until(
                Reason::UndoingBeforeDelete,
                "a card's install is under way; the host is released when it has ended",
                until,
            )),
            None => End::Release(ReleaseReason::Manual, true),
        };
    }
    if takedown::is_spent(view, record, now) {
        return End::Release(ReleaseReason::Manual, true);
    }
    if let Some(until) = card::left_installing(view, record, now) {
        return End::After(left_behind(until));
    }
    if view
        .cards
        .iter()
        .all(|card| !card::needs_hold(view, record, card, now))
    {
        let served = view
            .cards
            .iter()
            .any(|card| card::is_served(view, record, card, now));
        let reason = if served {
            ReleaseReason::Ready
        } else {
            ReleaseReason::Manual
        };
        return End::Release(reason, true);
    }
    if takedown::is_beginning(record) && view.host.spec.role != HostRole::Server {
        return End::Release(ReleaseReason::Manual, true);
    }
    if takedown::is_refused(record) {
        return End::Release(ReleaseReason::Refused, true);
    }
    // Without its policy nobody can say how a wait ends; it goes on until there is one.
    let Some(policy) = &view.policy else {
        return End::NotYet;
    };
    if !wait_is_over(record, now) {
        return End::NotYet;
    }
    match policy.spec.host_wait.on_timeout {
        OnTimeout::Continue => match going_on_from(view, record, now) {
            Some(later) => later,
            None => End::Release(ReleaseReason::Timeout, true),
        },
        OnTimeout::PowerOff if taint::holds(record) => {
            End::StayHeld("a host that is held by taint is up, and is not powered off for that")
        }
        OnTimeout::PowerOff => End::Release(ReleaseReason::Timeout, false),
        OnTimeout::Hold => End::StayHeld("the policy says Hold"),
    }
}

/// A host that goes on without its cards is not powered on under an installer: nothing begins
/// once the wait is over, and what was begun before may end.
fn going_on_from(view: &View, record: &DpuHostStatus, now: Timestamp) -> Option<End> {
    let hold = record.hold.as_ref().filter(|_| !taint::holds(record))?;
    let last = hold.deadline.0 + LONGEST_INSTALL;
    let ends = view
        .cards
        .iter()
        .filter_map(|card| card::install_ends(view, record, card, now))
        .max()?;
    let until = ends.min(last);
    (now < until).then(|| {
        End::After(Intent::wait_until(
            Reason::HostWaitTimedOut,
            format!(
                "the wait for the cards ended at {}; a card's install is under way, and the host goes on when it has ended, at {until} at the latest",
                hold.deadline.0
            ),
            until,
        ))
    })
}

fn release(view: &View, reason: ReleaseReason, power_on: bool, now: Timestamp) -> Intent {
    let machine = machine(view);
    if view.host.spec.bmc.is_none() {
        return Intent::stall(
            Reason::HostStateUnknown,
            format!("{machine} is held through a BMC that its spec does not name any more"),
        );
    }
    let facts = reach::proved(
        &machine,
        &view.host_uid(),
        view.host.spec.identity.as_ref(),
        view.host_answer(now),
        view.host_report.as_ref(),
    );
    if let Err(why) = facts {
        return why;
    }
    let message = if power_on {
        format!("releasing the host ({reason}): putting its settings back and powering it on")
    } else {
        format!("ending the hold ({reason}) and leaving the host powered off, as the policy says")
    };
    Intent::act(Draft {
        step: Step::ReleaseHost,
        target: target(view),
        action: Action {
            power_on: Some(power_on),
            ..plain(ActionKind::ReleaseHost)
        },
        expects: expects(view, None, false),
        settle_seconds: 120,
        message,
        release: Some(reason),
    })
}

fn lift_taint(view: &View, hold: &HoldStatus, reason: ReleaseReason) -> Intent {
    let node = hold.node.as_ref().or(view.node_name.as_ref());
    let node = node.map_or("(none)", String::as_str);
    Intent::Taint(TaintStep::End {
        message: format!("releasing the host ({reason}): lifting the taint of Node {node}"),
        reason,
    })
}

/// A host that was released for its cards is awaited once: a Node that leaves later
/// is none of our doing.
fn after_release(view: &View, record: &DpuHostStatus) -> Intent {
    let released = record
        .release
        .as_ref()
        .filter(|release| release.reason == ReleaseReason::Ready);
    let on_its_way = matches!(
        record.step,
        Some(Step::ReleaseHost | Step::ClearInstall | Step::AwaitHost)
    );
    let (Some(release), Some(node)) = (released, view.node_name.as_ref()) else {
        return Intent::Done;
    };
    let is_up = |node: &NodeSeen| node.ready == Readiness::Ready;
    if !on_its_way || view.node.as_ref().is_some_and(is_up) {
        return Intent::Done;
    }
    Intent::wait_until(
        Reason::AwaitingHost,
        format!("the host was released; waiting for Node {node} to be Ready"),
        release.at.0 + HOST_UP,
    )
}

/// `dpuhost/NAME`.
pub fn machine(view: &View) -> String {
    format!("dpuhost/{}", view.host_name())
}

pub(crate) fn target(view: &View) -> Target {
    Target {
        kind: TargetKind::Host,
        name: view.host_name(),
        uid: view.host_uid(),
    }
}

pub(crate) fn expects(view: &View, power: Option<PowerState>, safe_stage: bool) -> Expects {
    Expects {
        identity: view.host.spec.identity.clone().unwrap_or_default(),
        bmc_key_pin: view
            .host_report
            .as_ref()
            .and_then(|report| report.bmc.as_ref())
            .and_then(|bmc| bmc.key_pin.clone()),
        power,
        safe_stage,
        host: None,
        rshim: None,
        devlink: None,
    }
}

/// The directive in progress on the host, if there is one, in words.
pub(crate) fn directed(record: &DpuHostStatus) -> Option<Intent> {
    let open = record
        .directives
        .iter()
        .find(|open| open.target.kind == TargetKind::Host)?;
    Some(pending(open))
}

/// Patience with an open directive.
pub(crate) fn pending(open: &lockstep_crds::directive::Directive) -> Intent {
    Intent::wait_until(
        Reason::DirectivePending,
        format!(
            "waiting for directive {} ({})",
            open.seq,
            ledger::what(open)
        ),
        crate::standing::over(open),
    )
}
