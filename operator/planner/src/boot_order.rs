//! A card that runs an image from a slot of its own disk boots that slot first from then on.
//!
//! Until the image is seen to run the order stays as it is: a card whose new image does not come up
//! boots the other slot again by itself. Putting the order right changes nothing at a card that runs
//! but where its next boot goes, so it waits for no hold and no leave of the host.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, ImageFacts, OutcomeKind, Step, TargetKind};
use lockstep_crds::host::{CardRecord, HostRole};

use crate::admit::DIRECTIVE_TRIES;
use crate::card::{self, machine};
use crate::intent::{Draft, Intent, plain};
use crate::ledger;
use crate::reason::Reason;
use crate::slots;
use crate::vetting;
use crate::view::{CardView, View};

/// How long an order that somebody changed back is left alone. Each time it is lost again it doubles.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// How often it doubles at most: the history of a host is no longer.
const DOUBLINGS: u32 = 7;

/// What a card that was seen to run its image needs for its next boot; `None` if that leads there, or
/// nobody can tell.
pub(crate) fn right(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Option<Intent> {
    let slot = wanted.slot.as_ref()?;
    let digest = card.live_os(now)?.image_digest.as_ref();
    let facts = card::proved(view, card, now).ok()?;
    let differs = slots::is_first(facts, wanted) == Some(false);
    if digest != Some(&wanted.digest)
        || !differs
        || view.host.spec.role == HostRole::Infrastructure
        // What may not go onto the card any more must not become what it boots for good.
        || vetting::passed(spec, card, kept, wanted).is_err()
        || is_given_up(kept)
    {
        return None;
    }
    let lost = lost(record, kept);
    if let Some((set, again)) = lost.filter(|(_, again)| now < *again) {
        return Some(Intent::wait_until(
            Reason::BootOrderLost,
            format!(
                "{} was put first in the boot order of {} at {set}, and something else is first again; it is put right at {again}",
                slot.boot_entry,
                machine(card)
            ),
            again,
        ));
    }
    Some(Intent::act(Draft {
        step: Step::SetBootOrder,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::SetBootOrder)
        },
        expects: card::expects(card, None, false),
        settle_seconds: 60,
        message: format!(
            "putting {} first in the boot order of {}, which runs {} from there",
            slot.boot_entry,
            machine(card),
            wanted.version
        ),
        release: None,
    }))
}

/// A BMC that does not take the order is left with its own: the card runs, and what it was told stands in
/// the record.
fn is_given_up(kept: &CardRecord) -> bool {
    let what = ledger::named(&ActionKind::SetBootOrder, &TargetKind::Card, &kept.name);
    let failed = kept.failed.as_ref();
    failed.is_some_and(|failed| failed.what == what && failed.times >= DIRECTIVE_TRIES)
}

/// When the order was put right last, and when it may be again.
fn lost(record: &DpuHostStatus, kept: &CardRecord) -> Option<(Timestamp, Timestamp)> {
    let what = ledger::named(&ActionKind::SetBootOrder, &TargetKind::Card, &kept.name);
    // What was put first for an image before this one is no news.
    let seen = kept.observed_at.as_ref()?;
    let set = record.history.iter().rev().filter(|entry| {
        entry.what == what && entry.outcome == OutcomeKind::Done && entry.at.0 >= seen.0
    });
    let set: Vec<Timestamp> = set.map(|entry| entry.at.0).collect();
    let last = *set.first()?;
    let doublings = u32::try_from(set.len() - 1).map_or(DOUBLINGS, |times| times.min(DOUBLINGS));
    Some((last, last + PAUSE * 2_i32.pow(doublings)))
}
