//! What is put back after a drift: where the policy says so, as often as it is at most, and never sooner
//! than it may be.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::directive::TargetKind;
use lockstep_crds::drift::{Drift, DriftRepairs, OnDrift};
use lockstep_crds::host::CardRecord;

use crate::decision::{Decision, Plan};
use crate::firmware_record;
use crate::repair::{MOST, STEADY};
use crate::torn;
use crate::view::{CardView, View, Wanted};

/// `view` is as people ask for it, not as it is planned.
pub(super) fn are_allowed(
    view: &View,
    plan: &Plan,
    before: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let after = &plan.host_status;
    for kept in &after.cards {
        let begun = kept.repairs.as_ref().map_or(0, |repairs| repairs.begun);
        check(
            (0..=MOST).contains(&begun),
            "drift: a card was to be put back more often than it is for one wish",
        );
        let was = known(before, kept);
        let Some(repairs) = kept.repairs.as_ref() else {
            continue;
        };
        let counted = was.and_then(|was| was.repairs.as_ref());
        let counted = counted.filter(|was| is_same_wish(was, repairs));
        let counted = counted.map_or(0, |was| was.begun);
        if repairs.begun > counted {
            check(
                repairs.begun == counted + 1,
                "drift: two repairs were counted as one",
            );
            begins(view, plan, before, was, kept, now, check);
        }
    }
    for was in &before.cards {
        let Some(repairs) = &was.repairs else {
            continue;
        };
        let card = view.cards.iter().find(|card| card.uid() == was.uid);
        let asks = card.is_some_and(|card| asks_still(card, repairs));
        let Some(is) = after.record_of(&was.uid) else {
            continue;
        };
        let is = is.repairs.as_ref();
        check(
            !asks || is.is_some_and(|is| is_same_wish(is, repairs) && is.begun >= repairs.begun),
            "drift: it was forgotten how often a card was put back",
        );
    }
}

/// What was recorded of the card, under its object or one before it.
fn known<'a>(before: &'a DpuHostStatus, kept: &CardRecord) -> Option<&'a CardRecord> {
    before.record_of(&kept.uid).or_else(|| {
        let mut cards = before.cards.iter();
        cards.find(|was| !was.physical_id.is_empty() && was.physical_id == kept.physical_id)
    })
}

fn is_same_wish(one: &DriftRepairs, other: &DriftRepairs) -> bool {
    one.digest == other.digest && one.retry_token == other.retry_token
}

fn asks_still(card: &CardView, repairs: &DriftRepairs) -> bool {
    let same = |digest: &String| *digest == repairs.digest;
    let wanted = matches!(&card.wanted, Wanted::Image(wanted) if same(&wanted.digest));
    wanted && card.dpu.spec.retry_token == repairs.retry_token
}

fn begins(
    view: &View,
    plan: &Plan,
    before: &DpuHostStatus,
    was: Option<&CardRecord>,
    kept: &CardRecord,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let after = &plan.host_status;
    let spec = view.policy.as_ref().map(|policy| &policy.spec);
    check(
        spec.is_some_and(|spec| {
            spec.mode == PolicyMode::Enforce && spec.on_drift == OnDrift::Repair
        }),
        "drift: a card was put back, and its policy does not say so",
    );
    check(
        !view.host.spec.hands_off && view.guards_intact && view.conflicts.is_empty(),
        "drift: a repair began though nothing may be done",
    );
    let card = view.cards.iter().find(|card| card.uid() == kept.uid);
    check(
        card.is_some_and(|card| {
            let spec = &card.dpu.spec;
            let goes = card.dpu.metadata.deletion_timestamp.is_some();
            spec.approved && !spec.paused && !goes && !spec.retired
        }),
        "drift: a repair of a card began that nothing may be done to",
    );
    let told = card.and_then(|card| card.live_os(now));
    let is_old = |drift: &Drift| {
        let steady = drift.steady_since.as_ref();
        let is_told = told.is_some_and(|os| {
            drift.digest == os.image_digest && drift.boot_epoch.as_ref() == Some(&os.boot_epoch)
        });
        let from = steady.filter(|_| is_told && drift.is_system());
        let heard_of = card.and_then(|card| card.os_seen(now));
        from.is_some_and(|from| heard_of.is_some_and(|at| from.0 + STEADY <= at))
    };
    check(
        was.is_some_and(|was| was.drift.iter().any(is_old)),
        "drift: a repair began of what was not seen for ten minutes, or is not seen now",
    );
    check(
        was.is_some_and(|was| {
            let writes = was.components.iter().any(firmware_record::is_under_way);
            let left = was.armed.is_empty() && was.stopping.is_none() && was.roll_back.is_none();
            was.observed_at.is_some() && left && !writes && !torn::is_torn(was)
        }),
        "drift: a repair began while something else goes on at the card",
    );
    let goes_on = before.hold.as_ref().is_some_and(|held| {
        let now = after.hold.as_ref();
        now.is_some_and(|now| now.seq == held.seq)
    });
    check(!goes_on, "drift: a repair began at a host that was held");
    let mut open = after.directives.iter();
    let is_alone = open.all(|open| open.seq > before.seq);
    let held = after.hold != before.hold;
    let is_first = after
        .directives
        .iter()
        .any(|open| open.target.kind == TargetKind::Host || open.target.uid == kept.uid);
    check(
        is_alone && (is_first && matches!(plan.decision, Decision::Start(_)) || held),
        "drift: a repair began whose first step was not taken",
    );
}
