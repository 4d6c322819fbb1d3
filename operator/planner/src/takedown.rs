//! What is owed to a machine that Lockstep takes down, until it is held, or up again (S10, S12).
//!
//! The record says so from the very write that records the first request: for a host, a hold that
//! is beginning, with its deadline; for a card, since when it is being stopped. So whatever is
//! withdrawn or refused afterwards, nobody forgets that the machine was running.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind, Target, TargetKind};
use lockstep_crds::host::{
    CardRecord, FailedDirective, FinishedDirective, HeldBy, HoldState, HoldStatus,
};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::admit::DIRECTIVE_TRIES;
use crate::host::{directed, machine};
use crate::ledger;
use crate::standing::is_kept;
use crate::view::View;

/// How long after its grace a machine may still obey a request to shut down. The request counts
/// no longer than that either: later, somebody may have begun to use the machine.
const LATE: SignedDuration = SignedDuration::from_mins(5);

/// Whether the host is being taken down for a hold, or is down and its BMC does not hold it yet.
pub(crate) fn is_beginning(record: &DpuHostStatus) -> bool {
    record
        .hold
        .as_ref()
        .is_some_and(|hold| hold.state == HoldState::Beginning)
}

/// Books, with the directive that takes a machine down, what the machine is owed from now on.
pub(crate) fn book(view: &View, record: &mut DpuHostStatus, directive: &Directive, now: Timestamp) {
    match directive.target.kind {
        TargetKind::Host => {
            let timeout = ledger::host_wait(view).timeout_seconds;
            let hold = record.hold.get_or_insert_with(|| HoldStatus {
                seq: directive.seq,
                mechanism: HeldBy::PoweredOff,
                state: HoldState::Beginning,
                since: Time(now),
                deadline: Time(now + SignedDuration::from_secs(timeout)),
                work_order: None,
                releasing: None,
                node: None,
                broken_by: None,
            });
            hold.work_order.clone_from(&directive.action.work_order);
        }
        TargetKind::Card => {
            if let Some(card) = ledger::card_record(record, &directive.target.uid) {
                card.stopping = match (&card.stopping, &directive.action.kind) {
                    (Some(since), ActionKind::ForceOff) => Some(since.clone()),
                    (_, _) => Some(Time(now)),
                };
            }
        }
        TargetKind::Unrecognized(_) => {}
    }
}

/// Forgets what is owed to machines that are up in spite of it, once they can no longer go down
/// by what they were asked. Who wants one of them down then asks it again. A host whose work order
/// is kept is released instead, see [`is_spent`].
pub(crate) fn absorb(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    if is_vain(view, record, now) && !is_in_custody(view) {
        record.hold = None;
    }
    for card in &view.cards {
        let uid = card.uid();
        let open = record.directives.iter().any(|open| open.target.uid == uid);
        let Some(kept) = record.cards.iter().find(|kept| kept.uid == uid) else {
            continue;
        };
        let name = crate::card::machine(card);
        if kept.stopping.is_some()
            && !open
            && is_up(view.card_bmc(card, now))
            && is_over(view, record, &name, kept.failed.as_ref(), now)
            && let Some(kept) = ledger::card_record(record, &uid)
        {
            kept.stopping = None;
        }
    }
}

/// Whether the host did not go down by what it was asked, and the site agent keeps a work order
/// for it: releasing the host drops that order, and whoever wants the host down asks it again.
pub(crate) fn is_spent(view: &View, record: &DpuHostStatus, now: Timestamp) -> bool {
    is_vain(view, record, now) && is_in_custody(view)
}

/// Whether the host is up, and can no longer go down by what it was asked.
fn is_vain(view: &View, record: &DpuHostStatus, now: Timestamp) -> bool {
    is_beginning(record)
        && is_up(view.host_bmc(now))
        && directed(record).is_none()
        && is_over(view, record, &machine(view), record.failed.as_ref(), now)
}

fn is_in_custody(view: &View) -> bool {
    let report = view.host_report.as_ref();
    let custody = report.and_then(|report| report.custody.as_ref());
    custody.is_some_and(is_kept)
}

fn is_up(facts: Option<&BmcReport>) -> bool {
    facts.is_some_and(|facts| facts.power == Some(PowerState::On))
}

/// Whether nothing that the machine was told can take it down any more.
fn is_over(
    view: &View,
    record: &DpuHostStatus,
    machine: &str,
    failed: Option<&FailedDirective>,
    now: Timestamp,
) -> bool {
    let cut_until = failed
        .filter(|failed| is_cut(failed))
        .map(|failed| failed.at.0 + LATE);
    let given_up = failed.is_some_and(is_given_up);
    let until = may_obey_until(view, record, machine).max(cut_until);
    !given_up && until.is_none_or(|until| until <= now)
}

/// When something of the kind is due, if nothing changes.
pub(crate) fn due<'a>(
    view: &'a View,
    record: &'a DpuHostStatus,
) -> impl Iterator<Item = Timestamp> + 'a {
    let host = is_beginning(record).then(|| (machine(view), record.failed.as_ref()));
    let cards = record.cards.iter().filter(|kept| kept.stopping.is_some());
    host.into_iter()
        .chain(cards.map(|kept| (format!("dpu/{}", kept.name), kept.failed.as_ref())))
        .flat_map(|(machine, failed)| {
            let cut_until = failed
                .filter(|failed| is_cut(failed))
                .map(|failed| failed.at.0 + LATE);
            [may_obey_until(view, record, &machine), cut_until]
        })
        .flatten()
}

/// Whether its power was to be cut, which failed: the request before counts between two tries,
/// and no other is made once it has been tried often enough.
fn is_cut(failed: &FailedDirective) -> bool {
    failed.what.starts_with(ActionKind::ForceOff.as_str())
}

/// Whether no other try to cut its power is made.
pub(crate) fn is_given_up(failed: &FailedDirective) -> bool {
    is_cut(failed) && failed.times >= DIRECTIVE_TRIES
}

/// Until when a machine may still go down by what it was asked; `None` if it was not asked.
pub(crate) fn may_obey_until(
    view: &View,
    record: &DpuHostStatus,
    machine: &str,
) -> Option<Timestamp> {
    let install = view
        .policy
        .as_ref()
        .map(|policy| policy.spec.install.clone())
        .unwrap_or_default();
    let grace = SignedDuration::from_secs(install.shutdown_grace_seconds);
    Some(last_request(record, machine)?.at.0 + grace + LATE)
}

/// The last time that the machine was told to go down, if nothing else was tried since.
fn last_request<'a>(record: &'a DpuHostStatus, machine: &str) -> Option<&'a FinishedDirective> {
    let (cut, ask) = (ActionKind::ForceOff, ActionKind::ShutdownGracefully);
    record
        .history
        .iter()
        .rev()
        .filter(|entry| ledger::is_about(&entry.what, machine))
        // What failed was not sent.
        .find(|entry| entry.outcome != OutcomeKind::Failed)
        .filter(|entry| {
            entry.what.starts_with(cut.as_str()) || entry.what.starts_with(ask.as_str())
        })
}

/// Since when somebody wants the machine down without a break. What it was asked before that, it
/// was asked for something else.
pub(crate) fn wanted_since(record: &DpuHostStatus, target: &Target) -> Option<Timestamp> {
    match target.kind {
        TargetKind::Host => is_beginning(record)
            .then_some(record.hold.as_ref()?)
            .map(|hold| hold.since.0),
        TargetKind::Card => {
            let kept = record.cards.iter().find(|kept| kept.uid == target.uid)?;
            kept.stopping.as_ref().map(|since| since.0)
        }
        TargetKind::Unrecognized(_) => None,
    }
}

/// Whether the hold that is beginning can never be one: the host cannot be taken down, or its BMC
/// does not keep it off.
pub(crate) fn is_refused(record: &DpuHostStatus) -> bool {
    let begins = [
        ActionKind::ShutdownGracefully,
        ActionKind::ForceOff,
        ActionKind::HoldHost,
    ];
    is_beginning(record)
        && record.failed.as_ref().is_some_and(|failed| {
            failed.times >= DIRECTIVE_TRIES
                && begins
                    .iter()
                    .any(|kind| failed.what.starts_with(kind.as_str()))
        })
}

/// The same wish anew: what the card was asked for another image or token does not count.
pub(crate) fn renewed(kept: &CardRecord, now: Timestamp) -> Option<Time> {
    kept.stopping.as_ref().map(|_| Time(now))
}
