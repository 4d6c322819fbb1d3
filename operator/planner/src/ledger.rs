//! The books: which directives are open, how they ended, and what that changes in the record.
//!
//! An executor writes `accepted` before it acts and the outcome together with
//! the facts it saw afterwards. So whatever is concluded here can be concluded
//! again from the same report, and need not be written down at once.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind, TargetKind};
use lockstep_crds::host::{
    CardRecord, FinishedDirective, HoldState, HoldStatus, ReleaseStatus, SlotPower, SlotPowerStatus,
};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, Execution, MediaOwner, Outcome};
use lockstep_crds::{DpuHostStatus, DpuReportSpec};

use crate::view::View;

/// Allowance for the difference between the operator's clock and an executor's.
/// A directive that nobody accepted is withdrawn only this long after its deadline.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Directives remembered in `status.history`.
const HISTORY: usize = 8;

/// Whether the record holds a value that this release does not understand.
/// Nothing may be done on top of it.
pub fn unknown_value(record: &DpuHostStatus) -> Option<String> {
    record.directives.iter().find_map(|directive| {
        match (&directive.action.kind, &directive.target.kind) {
            (ActionKind::Unrecognized(kind), _) => Some(format!("action {kind}")),
            (_, TargetKind::Unrecognized(kind)) => Some(format!("target {kind}")),
            _ => None,
        }
    })
}

/// The highest directive number that any executor of this power domain has accepted.
pub fn highest_accepted(view: &View) -> i64 {
    std::iter::once(view.host_report.as_ref())
        .chain(view.cards.iter().map(|card| card.report.as_ref()))
        .flatten()
        .filter_map(|report| report.execution.as_ref())
        .map(|execution| execution.accepted)
        .max()
        .unwrap_or(0)
}

/// `PowerOn dpu/card1`: how a directive is named in history, events and messages.
pub fn what(directive: &Directive) -> String {
    let kind = match directive.target.kind {
        TargetKind::Card => "dpu",
        TargetKind::Host | TargetKind::Unrecognized(_) => "dpuhost",
    };
    format!("{} {kind}/{}", directive.action.kind, directive.target.name)
}

/// How the open directive ended, if it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still open.
    Open,
    /// It ended.
    Ended(OutcomeKind, Option<String>),
}

/// Judges one open directive by its executor's report.
pub fn standing(directive: &Directive, report: Option<&DpuReportSpec>, now: Timestamp) -> Standing {
    let execution = report
        .filter(|report| report.subject_uid == directive.target.uid)
        .and_then(|report| report.execution.as_ref());
    match execution {
        Some(Execution {
            accepted,
            outcome: Some(Outcome {
                result, message, ..
            }),
        }) if *accepted == directive.seq => {
            let result = match result {
                OutcomeKind::Done | OutcomeKind::Failed => result.clone(),
                OutcomeKind::Unknown | OutcomeKind::Unrecognized(_) => OutcomeKind::Unknown,
            };
            Standing::Ended(result, message.clone())
        }
        Some(Execution { accepted, .. }) if *accepted > directive.seq => Standing::Ended(
            OutcomeKind::Unknown,
            Some("the executor went past this directive".to_owned()),
        ),
        Some(Execution { accepted, .. }) if *accepted == directive.seq => Standing::Open,
        Some(_) | None => {
            if now > directive.deadline.0 + CLOCK_SKEW {
                Standing::Ended(
                    OutcomeKind::Failed,
                    Some("no executor accepted it before its deadline".to_owned()),
                )
            } else {
                Standing::Open
            }
        }
    }
}

/// Concludes every open directive that has ended and books its effects.
pub fn conclude(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let open = std::mem::take(&mut record.directives);
    for directive in open {
        let report = report_for(view, &directive);
        match standing(&directive, report, now) {
            Standing::Open => record.directives.push(directive),
            Standing::Ended(outcome, message) => {
                let facts = report.and_then(|report| report.bmc.as_ref());
                let landed = landed(&directive, &outcome, facts);
                book(view, record, &directive, landed, now);
                record.history.push(FinishedDirective {
                    seq: directive.seq,
                    what: what(&directive),
                    outcome: if landed { OutcomeKind::Done } else { outcome },
                    message: message.map(|text| text.chars().take(160).collect()),
                    at: Time(now),
                });
            }
        }
    }
    let excess = record.history.len().saturating_sub(HISTORY);
    record.history.drain(..excess);
}

/// The report that the executor of a directive writes about its target.
pub fn report_for<'a>(view: &'a View, directive: &Directive) -> Option<&'a DpuReportSpec> {
    match directive.target.kind {
        TargetKind::Host => view.host_report.as_ref(),
        TargetKind::Card => view
            .cards
            .iter()
            .find(|card| card.uid() == directive.target.uid)
            .and_then(|card| card.report.as_ref()),
        TargetKind::Unrecognized(_) => None,
    }
}

/// Whether an ended directive took effect. An unknown outcome is settled by what is seen.
fn landed(directive: &Directive, outcome: &OutcomeKind, facts: Option<&BmcReport>) -> bool {
    match outcome {
        OutcomeKind::Done => true,
        OutcomeKind::Failed => false,
        OutcomeKind::Unknown | OutcomeKind::Unrecognized(_) => match directive.action.kind {
            ActionKind::PowerOn => power_is(facts, &PowerState::On),
            ActionKind::ReleaseHost => {
                directive.action.power_on == Some(true) && power_is(facts, &PowerState::On)
            }
            ActionKind::ForceOff | ActionKind::ShutdownGracefully => {
                power_is(facts, &PowerState::Off)
            }
            ActionKind::StageInstall => facts.is_some_and(|facts| {
                facts.media.owner == MediaOwner::Lockstep && facts.boot_override.is_some()
            }),
            ActionKind::ClearInstall => facts.is_some_and(|facts| {
                facts.media.owner != MediaOwner::Lockstep && facts.boot_override.is_none()
            }),
            ActionKind::HoldHost | ActionKind::Unrecognized(_) => false,
        },
    }
}

fn power_is(facts: Option<&BmcReport>, state: &PowerState) -> bool {
    facts.is_some_and(|facts| facts.power.as_ref() == Some(state))
}

fn book(
    view: &View,
    record: &mut DpuHostStatus,
    directive: &Directive,
    landed: bool,
    now: Timestamp,
) {
    match directive.action.kind {
        ActionKind::HoldHost if landed => {
            let policy = view.policy.as_ref().map(|policy| &policy.spec);
            let timeout = policy.map_or(0, |spec| spec.host_wait.timeout_seconds);
            record.hold = Some(HoldStatus {
                mechanism: lockstep_crds::boot_policy::HoldMechanism::PoweredOff,
                state: HoldState::PoweredOff,
                since: directive.issued_at.clone(),
                deadline: Time(directive.issued_at.0 + SignedDuration::from_secs(timeout)),
                work_order: directive.action.work_order.clone(),
                releasing: None,
                broken_by: None,
            });
        }
        ActionKind::ReleaseHost => {
            if landed {
                if let Some(hold) = record.hold.take() {
                    record.release = hold.releasing.map(|reason| ReleaseStatus {
                        reason,
                        at: Time(now),
                    });
                }
            } else if let Some(hold) = record.hold.as_mut() {
                hold.releasing = None;
            }
        }
        ActionKind::PowerOn if directive.target.kind == TargetKind::Card && !landed => {
            note_dead_slot(view, record, directive, now);
            if let Some(card) = card_record(record, &directive.target.uid) {
                card.booted_at = None;
                card.attempts = (card.attempts - 1).max(0);
            }
        }
        ActionKind::HoldHost
        | ActionKind::PowerOn
        | ActionKind::StageInstall
        | ActionKind::ClearInstall
        | ActionKind::ShutdownGracefully
        | ActionKind::ForceOff
        | ActionKind::Unrecognized(_) => {}
    }
}

/// A card that was told to power on and stays off while its host is off has no slot power.
fn note_dead_slot(view: &View, record: &mut DpuHostStatus, directive: &Directive, now: Timestamp) {
    let accepted = report_for(view, directive)
        .and_then(|report| report.execution.as_ref())
        .is_some_and(|execution| {
            execution.accepted == directive.seq
                && execution
                    .outcome
                    .as_ref()
                    .is_some_and(|outcome| outcome.result == OutcomeKind::Unknown)
        });
    let host_off = power_is(view.host_bmc(now), &PowerState::Off);
    if accepted && host_off {
        record.slot_power = Some(SlotPowerStatus {
            value: SlotPower::No,
            evidence: format!(
                "dpu/{} was powered on while the host was off, and stayed off",
                directive.target.name
            ),
            at: Time(now),
        });
    }
}

/// The record of the card with that uid.
pub fn card_record<'a>(record: &'a mut DpuHostStatus, uid: &str) -> Option<&'a mut CardRecord> {
    record.cards.iter_mut().find(|card| card.uid == uid)
}

/// Failures in a row of the same directive, and when the last one was.
pub fn failures<'a>(
    record: &'a DpuHostStatus,
    what: &str,
) -> (usize, Option<&'a FinishedDirective>) {
    let mut count = 0;
    let mut last = None;
    let machine = what.split_once(' ').map_or(what, |(_, machine)| machine);
    for entry in record.history.iter().rev() {
        if entry.what == what && entry.outcome != OutcomeKind::Done {
            count += 1;
            last = last.or(Some(entry));
        } else if entry.what.ends_with(machine) {
            break;
        }
    }
    (count, last)
}
