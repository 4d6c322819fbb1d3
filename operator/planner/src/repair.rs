//! Putting back the system of a card that somebody else has changed, where the policy says so.
//!
//! A repair is what another `retryToken` would be, by the operator's own hand, and for each wish there are
//! two at most. It is counted when it begins, in the record that begins it, and the count is of the wish: its
//! end, good or bad, does not take it away. It goes with the card's record in that host. It begins only if the
//! first step can be taken at once; till then the host and its other cards know nothing of it.
//!
//! Firmware is not put back: no boot of a component proves that it ran the other version all the time.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::drift::{Drift, DriftRepairs, OnDrift};
use lockstep_crds::host::CardRecord;

use crate::drift::of_system;
use crate::inspection;
use crate::joining;
use crate::repair_begins::{Begun, Lack, begun};
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// For how long the other system must have been seen, in one boot.
pub(crate) const STEADY: SignedDuration = SignedDuration::from_mins(10);
/// How much later it may begin at most: cards that were changed all at once are not put back all at once.
const SPREAD: u64 = 1200;
/// How soon it is looked whether the card's agent was heard of: that it was is no news by itself.
const HEARD_OF: SignedDuration = SignedDuration::from_secs(30);
/// Repairs for one wish.
pub(crate) const MOST: i64 = 2;

/// How a repair of the card's system stands.
pub(crate) enum Outlook {
    /// The policy says that it is only shown.
    Left,
    /// Of firmware alone nothing is put back.
    FirmwareOnly,
    /// It was put back as often as it is.
    Spent(DriftRepairs),
    /// It is being installed again, by whomever it was asked for.
    UnderWay,
    /// Something else stands against it.
    Awaits(Lack),
    /// Not before then.
    Later(Timestamp),
    /// It could begin.
    Due(Box<Begun>),
}

/// What follows from the cards of a host that have drifted.
#[derive(Default)]
pub(crate) struct Next {
    /// The record with which a repair begins.
    pub(crate) begins: Option<DpuHostStatus>,
    /// The record with which one would begin, once all is read that it goes by.
    pub(crate) awaits_reading: Option<DpuHostStatus>,
    /// When what stands against one may have ended.
    pub(crate) retries: Vec<Timestamp>,
}

/// What follows, where neither the host nor another card is about to do something. Cards of a host that were
/// changed together are put back together, in one outage of the host.
pub(crate) fn next(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Next {
    let mut next = Next::default();
    let mut begun = record.clone();
    let (mut first, mut is_shared, mut later) = (None, false, Vec::new());
    for card in &view.cards {
        let kept = record.record_of(&card.uid());
        let Some((kept, drift)) = kept.and_then(|kept| Some((kept, of_system(kept)?))) else {
            continue;
        };
        match outlook(view, &begun, spec, card, kept, now) {
            Outlook::Awaits(lack) => next.retries.extend(lack.until),
            // Of steps at several cards only one would be taken, and the others were booked for nothing.
            Outlook::Due(then) if first.is_none() || is_shared && then.is_shared => {
                (begun, is_shared) = (then.record, then.is_shared);
                let due = due_at(view, drift);
                first = first.map_or(due, |first: Timestamp| due.map(|due| due.min(first)));
            }
            Outlook::Due(_) => {}
            Outlook::Later(due) => later.push(due),
            Outlook::Left | Outlook::FirmwareOnly | Outlook::Spent(_) | Outlook::UnderWay => {}
        }
    }
    let look = |due: &Timestamp| (*due).max(now + HEARD_OF);
    next.retries.extend(later.iter().map(look));
    let Some(first) = first else { return next };
    let waits_until = first + STEADY;
    if is_shared && now < waits_until && later.iter().any(|due| *due <= waits_until) {
        next.retries.push(waits_until);
    } else if is_unread(view, &begun, now) {
        next.awaits_reading = Some(begun);
    } else {
        next.begins = Some(begun);
    }
    next
}

/// Whether something is to be read or joined before what that record has begun goes on.
fn is_unread(view: &View, begun: &DpuHostStatus, now: Timestamp) -> bool {
    let then = with_record(view, begun);
    let is_unread = |view: &View| inspection::awaited(view, now).is_some();
    joining::awaited(view).is_some() || is_unread(view) || is_unread(&then)
}

/// The view in which that is what is recorded.
pub(crate) fn with_record(view: &View, record: &DpuHostStatus) -> View {
    let mut view = view.clone();
    view.host.status = Some(record.clone());
    view
}

/// How the repairs of that wish stand.
pub(crate) fn repairs<'a>(
    kept: &'a CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
) -> Option<&'a DriftRepairs> {
    let repairs = kept.repairs.as_ref();
    repairs.filter(|repairs| is_for(repairs, card, wanted))
}

fn is_for(repairs: &DriftRepairs, card: &CardView, wanted: &ImageFacts) -> bool {
    repairs.digest == wanted.digest && repairs.retry_token == card.dpu.spec.retry_token
}

/// What is remembered of them when something is wanted anew. A wipe is no other wish: what is wanted of the
/// card comes back after it.
pub(crate) fn remembered(
    repairs: Option<DriftRepairs>,
    card: &CardView,
    wanted: &ImageFacts,
) -> Option<DriftRepairs> {
    repairs.filter(|repairs| wipe::is_aimed(card) || is_for(repairs, card, wanted))
}

/// Whether no more of them begins.
pub(crate) fn spent<'a>(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &'a CardRecord,
    wanted: &ImageFacts,
) -> Option<&'a DriftRepairs> {
    let repairs = repairs(kept, card, wanted)?;
    let is_over = spec.on_drift == OnDrift::Repair && repairs.begun >= MOST;
    is_over.then_some(repairs)
}

/// Whether a repair of the card's system may begin once it was seen changed for long enough: only then it
/// matters in which boot.
pub(crate) fn may_follow(view: &View, card: &CardView, kept: &CardRecord) -> bool {
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let spec = policy.filter(|spec| spec.on_drift == OnDrift::Repair);
    let (Some(spec), Wanted::Image(wanted)) = (spec, &card.wanted) else {
        return false;
    };
    let is_left_to_it = kept.observed_at.is_some() && kept.roll_back.is_none();
    is_left_to_it && spent(spec, card, kept, wanted).is_none()
}

/// How a repair of a card that has drifted stands. What its other machines are about to do is not asked.
pub(crate) fn outlook(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Outlook {
    if spec.on_drift == OnDrift::Show {
        return Outlook::Left;
    }
    let Some(drift) = of_system(kept) else {
        return Outlook::FirmwareOnly;
    };
    if kept.observed_at.is_none() {
        return Outlook::UnderWay;
    }
    let awaits = |why: &str| Outlook::Awaits(Lack::new(why));
    let Wanted::Image(wanted) = &card.wanted else {
        return awaits("which image is wanted is not known now");
    };
    if let Some(spent) = spent(spec, card, kept, wanted) {
        return Outlook::Spent(spent.clone());
    }
    if kept.roll_back.is_some() {
        return awaits(
            "the card had gone back to another image, and a person says what it is to run",
        );
    }
    match due_at(view, drift) {
        None => return awaits("it was not seen for long enough"),
        // It was seen for so long once its agent was heard of after that, too.
        Some(due) if now < due || card.os_seen(now).is_some_and(|seen| seen < due) => {
            return Outlook::Later(due);
        }
        Some(_) => {}
    }
    match begun(view, record, spec, card, kept, now) {
        Ok(begun) => Outlook::Due(Box::new(begun)),
        Err(lack) => Outlook::Awaits(lack),
    }
}

/// When it has been seen for long enough, each host in its own time.
fn due_at(view: &View, drift: &Drift) -> Option<Timestamp> {
    Some(drift.steady_since.as_ref()?.0 + STEADY + spread(&view.host_uid()))
}

fn spread(uid: &str) -> SignedDuration {
    // FNV-1a: the same in every release and at every operator.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let seconds = i64::try_from(hash % (SPREAD + 1)).unwrap_or_default();
    SignedDuration::from_secs(seconds)
}

/// Whether any card of the host has drifted that its policy has put back.
pub(crate) fn may_be(record: &DpuHostStatus, spec: &DpuBootPolicySpec) -> bool {
    let mut cards = record.cards.iter();
    spec.on_drift == OnDrift::Repair && cards.any(|kept| of_system(kept).is_some())
}

/// When repairs may begin by the clock alone.
pub(crate) fn due<'a>(
    view: &'a View,
    record: &'a DpuHostStatus,
) -> impl Iterator<Item = Timestamp> + 'a {
    let policy = view.policy.as_ref();
    let repairs = policy.is_some_and(|policy| policy.spec.on_drift == OnDrift::Repair);
    let cards = record.cards.iter().filter(move |_| repairs);
    cards.filter_map(|kept| due_at(view, of_system(kept)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_spread_over_the_whole_time_and_each_keeps_its_own() {
        let of = |number: usize| spread(&format!("0d0f8f0e-{number}")).as_secs();
        let all: Vec<i64> = (0..600).map(of).collect();
        assert!(all.iter().all(|seconds| (0..=1200).contains(seconds)));
        for part in 0..4 {
            let among = all.iter().filter(|seconds| **seconds / 301 == part);
            assert!(among.count() > 75, "{part}: {all:?}");
        }
        assert_eq!(all, (0..600).map(of).collect::<Vec<i64>>());
    }
}
