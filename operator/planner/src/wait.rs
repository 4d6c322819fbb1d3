//! Patience and its limits: every wait is anchored in the record and ends (S6).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::host::WaitRecord;

use crate::decision::{Decision, Explanation};
use crate::intent::{Intent, Limit};
use crate::reason::Reason;

/// Whether the wait in `slot` is for that.
pub(crate) fn is_for(slot: Option<&WaitRecord>, reason: Reason) -> bool {
    slot.is_some_and(|wait| wait.reason == reason.as_str())
}

/// Anchors a machine's wait in its slot of the record, and turns one that has lasted
/// too long into a stall.
pub(crate) fn limited(intent: Intent, slot: &mut Option<WaitRecord>, now: Timestamp) -> Intent {
    let Intent::Wait(why, limit) = intent else {
        *slot = None;
        return intent;
    };
    let (since, deadline) = match limit {
        Limit::Until(deadline) => {
            *slot = None;
            (None, deadline)
        }
        Limit::For(span) => {
            let anchored = slot.take_if(|wait| wait.reason == why.reason.as_str());
            let wait = anchored.unwrap_or_else(|| WaitRecord {
                reason: why.reason.as_str().to_owned(),
                since: Time(now),
                deadline: Time(now + span),
            });
            let times = (Some(wait.since.0), wait.deadline.0);
            *slot = Some(wait);
            times
        }
    };
    if now < deadline {
        return Intent::Wait(why, Limit::Until(deadline));
    }
    let mut message = match since {
        Some(since) => format!("{}; so since {since}", why.message),
        None => format!("{}; the time for it ended at {deadline}", why.message),
    };
    if let Some(remedy) = why.reason.if_it_lasts() {
        message.push_str(". ");
        message.push_str(remedy);
    }
    Intent::Stall(Explanation {
        reason: why.reason,
        message,
    })
}

/// One answer for the whole power domain: what is under way comes before what is
/// stuck, so that a stuck card does not hide that others go on.
pub(crate) fn weigh<'a>(host: &'a Intent, cards: impl Iterator<Item = &'a Intent>) -> Intent {
    let rank = |intent: &Intent| match intent {
        Intent::Act(_) | Intent::Taint(_) => 0,
        Intent::Wait(..) => 1,
        Intent::Stall(_) => 2,
        Intent::Hold(_) => 3,
        Intent::Done => 4,
    };
    std::iter::once(host)
        .chain(cards)
        .min_by_key(|intent| rank(intent))
        .cloned()
        .unwrap_or(Intent::Done)
}

/// The decision that an intent comes to when no directive is recorded for it.
pub(crate) fn as_decision(intent: &Intent) -> Decision {
    match intent {
        Intent::Act(draft) => {
            Decision::Hold(Explanation::new(Reason::PlanOnly, draft.message.clone()))
        }
        Intent::Taint(step) => Decision::Hold(Explanation::new(Reason::PlanOnly, step.message())),
        Intent::Wait(why, Limit::Until(until)) => Decision::Await(why.clone(), *until),
        // `limited` leaves no wait without a deadline.
        Intent::Wait(why, Limit::For(_)) | Intent::Stall(why) => Decision::Stalled(why.clone()),
        Intent::Hold(why) => Decision::Hold(why.clone()),
        Intent::Done => Decision::Settled,
    }
}
