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

use crate::card::{self, machine};
use crate::intent::{Draft, Intent, plain};
use crate::ledger;
use crate::reason::Reason;
use crate::slots;
use crate::vetting;
use crate::view::{CardView, View};

/// How long an order that somebody changed back is left alone.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);

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
    {
        return None;
    }
    if let Some(set) = last_set(record, kept).filter(|set| now < *set + PAUSE) {
        let again = set + PAUSE;
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

fn last_set(record: &DpuHostStatus, kept: &CardRecord) -> Option<Timestamp> {
    let what = ledger::named(&ActionKind::SetBootOrder, &TargetKind::Card, &kept.name);
    let mut history = record.history.iter().rev();
    let last = history.find(|entry| entry.what == what && entry.outcome == OutcomeKind::Done)?;
    // What was put first for an image before this one is no news.
    let seen = kept.observed_at.as_ref()?;
    (last.at.0 >= seen.0).then_some(last.at.0)
}
