//! When the status of a host stands as it was written, though more is known by now.
//!
//! Writes are the budget: while a directive is carried out or a card boots, what the next plan concludes
//! again from the same reports waits for the next write. Only what is named here waits. Whatever else
//! is recorded, by whichever part of the planner, is written at once.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::condition::{self, RECONCILING};
use lockstep_crds::host::HeldBy;

use crate::arriving::arriving;
use crate::decision::Decision;
use crate::reason::Reason;
use crate::takedown;
use crate::view::View;

/// Reason of `Reconciling` while directives are carried out.
pub(crate) const WORKING: &str = "Working";

/// A host that has only just been made and waits for first facts: the next word,
/// a moment later, is worth more than "wait".
pub(crate) fn is_unannounced(
    view: &View,
    before: &DpuHostStatus,
    decision: &Decision,
    now: Timestamp,
) -> bool {
    *before == DpuHostStatus::default()
        && arriving(&view.host.metadata, now).is_some()
        && matches!(decision, Decision::Await(why, _)
            if matches!(why.reason, Reason::Inspecting | Reason::SiteAgentSilent))
}

/// Waits that were announced when the directive was recorded.
pub(crate) fn is_quiet(decision: &Decision) -> bool {
    matches!(decision, Decision::Await(why, _)
    if matches!(
        why.reason,
        Reason::DirectivePending | Reason::AwaitingOs | Reason::AwaitingFirmware
    ))
}

/// Whether the status still says what it said when a directive was recorded.
pub(crate) fn is_announced(before: &DpuHostStatus) -> bool {
    let quiet = [
        WORKING,
        Reason::DirectivePending.as_str(),
        Reason::AwaitingOs.as_str(),
        Reason::AwaitingFirmware.as_str(),
    ];
    condition::find(&before.conditions, RECONCILING)
        .is_some_and(|condition| quiet.contains(&condition.reason.as_str()))
}

/// Whether two records differ only in what the next plan will conclude again from
/// the same reports: directives that ended as they should, and what they armed.
pub fn only_repeatable(before: &DpuHostStatus, record: &DpuHostStatus) -> bool {
    let mut after = without_repeatable(record);
    if is_landed_hold(before, record) {
        after.hold.clone_from(&before.hold);
    }
    without_repeatable(before) == after
}

/// A record without what is concluded again: the ends of directives, from the outcomes in reports, and what
/// they armed or gave back, with them.
fn without_repeatable(record: &DpuHostStatus) -> DpuHostStatus {
    let mut lasting = record.clone();
    lasting.directives.clear();
    lasting.history.clear();
    for card in &mut lasting.cards {
        card.armed.clear();
        card.staged = None;
        card.stopping = None;
    }
    lasting
}

/// Whether the hold in the record is there because a directive has ended that was open before.
fn is_landed_hold(before: &DpuHostStatus, record: &DpuHostStatus) -> bool {
    let begins = |status: &DpuHostStatus| status.hold.is_none() || takedown::is_beginning(status);
    let mut open = before.directives.iter();
    let landed = record
        .hold
        .as_ref()
        .filter(|_| begins(before) && !begins(record));
    landed.is_some_and(|hold| {
        hold.mechanism == HeldBy::PoweredOff && open.any(|open| open.seq == hold.seq)
    })
}
