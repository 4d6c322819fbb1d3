//! The hold as the site agent keeps it: orders it carried out alone, holds that the
//! record has lost, and holds that somebody broke.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{TargetKind, WorkOrder};
use lockstep_crds::host::{HeldBy, HoldState, HoldStatus, ReleaseReason, ReleaseStatus};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{Custody, CustodyState};

use crate::ledger;
use crate::standing::is_kept;
use crate::taint;
use crate::takedown;
use crate::view::View;

/// Books what the site agent says of the hold in its keeping, and whether the hold is broken.
///
/// `restored`: the record turned out older than reality, so a hold in it may be over.
pub fn absorb(view: &View, record: &mut DpuHostStatus, restored: bool, now: Timestamp) {
    let report = view
        .host_report
        .as_ref()
        .filter(|report| report.subject_uid == view.host_uid());
    if let Some(report) = report {
        let custody = report.custody.as_ref();
        if let Some(custody) = custody {
            ended_alone(record, custody, now);
        }
        let directed = record
            .directives
            .iter()
            .any(|open| open.target.kind == TargetKind::Host);
        if view.site_agent_fresh(now) && !directed {
            let kept = custody.filter(|custody| is_kept(custody));
            match (kept, &record.hold) {
                (Some(custody), None) => record.hold = Some(adopted(view, custody, now)),
                (Some(custody), Some(begun)) if takedown::is_beginning(record) => {
                    let hold = HoldStatus {
                        since: begun.since.clone(),
                        deadline: begun.deadline.clone(),
                        ..adopted(view, custody, now)
                    };
                    record.hold = Some(hold);
                }
                // The agent keeps a hold of which the record knows nothing: that one counts.
                (Some(custody), Some(_))
                    if taint::holds(record) && custody.in_force != Some(false) =>
                {
                    record.hold = Some(adopted(view, custody, now));
                }
                (None, Some(hold))
                    if restored
                        && hold.mechanism == HeldBy::PoweredOff
                        && hold.state != HoldState::Beginning =>
                {
                    record.hold = None;
                }
                (Some(_), Some(_)) | (None, _) => {}
            }
        }
    }
    watch(view, record, now);
}

/// The site agent ended the hold without us: by its work order, or a person did.
/// The cards that were waited for are not tried again of our own accord, or a host
/// that was let go would be taken back.
fn ended_alone(record: &mut DpuHostStatus, custody: &Custody, now: Timestamp) {
    let reason = match custody.state {
        CustodyState::ExpiredReleased => ReleaseReason::Orphaned,
        CustodyState::ReleasedOffline => ReleaseReason::Manual,
        CustodyState::Kept | CustodyState::ExpiredKeptHeld | CustodyState::Unrecognized(_) => {
            return;
        }
    };
    let by_bmc = |hold: &HoldStatus| hold.mechanism == HeldBy::PoweredOff;
    if record
        .hold
        .take_if(|hold| by_bmc(hold) && custody.seq >= hold.seq)
        .is_some()
    {
        end_hold(record, reason, now);
        give_up(record);
    }
}

/// Books that the hold has ended. One whose wait was over, or that could not be, ended without
/// its cards.
pub(crate) fn end_hold(record: &mut DpuHostStatus, reason: ReleaseReason, now: Timestamp) {
    if matches!(reason, ReleaseReason::Timeout | ReleaseReason::Refused) {
        give_up(record);
    }
    record.hold = None;
    record.release = Some(ReleaseStatus {
        reason,
        at: Time(now),
    });
}

/// The host goes on without the cards that are not ready.
pub(crate) fn give_up(record: &mut DpuHostStatus) {
    for card in &mut record.cards {
        if card.observed_at.is_none() {
            card.given_up = true;
        }
        for one in &mut card.components {
            one.given_up |= one.observed_at.is_none();
        }
        card.cycled = None;
    }
}

fn adopted(view: &View, custody: &Custody, now: Timestamp) -> HoldStatus {
    let timeout = SignedDuration::from_secs(ledger::host_wait(view).timeout_seconds);
    let on_orphan = view
        .policy
        .as_ref()
        .map(|policy| policy.spec.hold.on_orphan)
        .unwrap_or_default()
        .into();
    HoldStatus {
        seq: custody.seq,
        mechanism: HeldBy::PoweredOff,
        state: if custody.in_force == Some(false) {
            HoldState::Beginning
        } else {
            HoldState::PoweredOff
        },
        since: Time(now),
        deadline: Time(now + timeout),
        work_order: Some(WorkOrder {
            expires_at: custody.expires_at.clone(),
            on_orphan,
        }),
        releasing: None,
        node: None,
        broken_by: None,
    }
}

fn watch(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let power = view.host_bmc(now).and_then(|bmc| bmc.power.clone());
    let Some(hold) = record.hold.as_mut() else {
        return;
    };
    let up = power == Some(PowerState::On);
    if up && hold.releasing.is_none() && hold.state == HoldState::PoweredOff {
        hold.state = HoldState::HoldBroken;
        hold.broken_by = Some("powered on by somebody other than Lockstep".to_owned());
    } else if power == Some(PowerState::Off) && hold.state == HoldState::HoldBroken {
        hold.state = HoldState::PoweredOff;
        hold.broken_by = None;
    }
}
