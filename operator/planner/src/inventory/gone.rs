//! Machines that have been gone for so long that no proposal stands for them any more.
//!
//! A machine that vanished is marked, and its report stays. What discovery itself proposed for it,
//! and nobody ever took up, goes after a while: firmware that makes up another identity at each
//! boot would else leave an object behind each time. What has gone by this is proposed by nothing
//! either, so that it comes back only together with the machine.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::Vantage;

use super::cards::Evidence;
use super::machines::Machine;

/// How long nobody may have seen a machine before its proposal is withdrawn. Agents tell since
/// when by their own clocks: one that is wrong costs a proposal that comes back.
pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Since when what a report tells of is not there any more; `None` if it is, or if this is the word
/// of an operating system: its agent would have to be there to say otherwise.
fn gone_since(spec: &DpuReportSpec) -> Option<Timestamp> {
    if let Some(found) = &spec.found {
        return found.missing_since.as_ref().map(|since| since.0);
    }
    match spec.vantage {
        Vantage::CardBmc | Vantage::HostBmc => {
            let reachable = spec.reachable.as_ref()?;
            (!reachable.ok).then_some(reachable.since.0)
        }
        Vantage::FoundBmc
        | Vantage::CardOs
        | Vantage::HostOs
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => None,
    }
}

fn is_long_ago(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= FORGOTTEN_AFTER
}

/// Whether nothing is to be proposed on the word of this report.
pub(super) fn is_forgotten(spec: &DpuReportSpec, now: Timestamp) -> bool {
    gone_since(spec).is_some_and(|since| is_long_ago(since, now))
}

/// Since when a card is gone, if it was found once and nobody has seen it for so long.
pub(super) fn card(evidence: &Evidence<'_>, now: Timestamp) -> Option<Timestamp> {
    all_gone(evidence.sightings.iter().map(|one| one.spec), now)
}

/// The same of a host.
pub(super) fn host(machine: &Machine<'_>, now: Timestamp) -> Option<Timestamp> {
    all_gone(machine.views.iter().map(|view| view.spec), now)
}

/// The last of them to go decides. A BMC that was never found cannot be missing: where a spec
/// alone names it, it may be that only the way to it is cut.
fn all_gone<'a>(
    views: impl Iterator<Item = &'a DpuReportSpec> + Clone,
    now: Timestamp,
) -> Option<Timestamp> {
    if !views.clone().any(|spec| spec.found.is_some()) {
        return None;
    }
    let since: Option<Vec<Timestamp>> = views.map(gone_since).collect();
    let last = since?.into_iter().max()?;
    is_long_ago(last, now).then_some(last)
}

/// For the event.
pub(super) fn why(since: Timestamp) -> String {
    format!(
        "its machine is not found any more since {since}, and nobody took it up: it is proposed \
         again when the machine is back"
    )
}
