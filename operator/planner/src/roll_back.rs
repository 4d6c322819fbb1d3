//! The way back: a card whose wanted image does not come up gets the one again that it was last
//! seen to run, where the policy says so.
//!
//! That is decided in the record and once for each wish: what is wanted then stands there as
//! `rollBack.from`, and is not tried again before a person names another image or changes
//! `retryToken`. So no two images ever take turns. All else goes as for a wanted image, for the
//! card is planned as if the last good one were wanted of it.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{OnInstallFailure, PolicyMode};
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{CardRecord, GoodImage, RollBack};

use crate::card_record::install_end;
use crate::decision::Explanation;
use crate::failure;
use crate::intent::Intent;
use crate::leave::goes_on;
use crate::reason::Reason;
use crate::road;
use crate::takedown;
use crate::vetting::Vetting;
use crate::view::{CardView, Fallback, View, Wanted};
use crate::wipe;

/// The image that the card goes back to if the one that is wanted does not come up.
pub fn good_image<'a>(record: &'a DpuHostStatus, card: &CardView) -> Option<&'a GoodImage> {
    let physical = card.physical_id();
    let kept = record.record_of(&card.uid()).or_else(|| {
        let mut cards = record.cards.iter();
        cards.find(|kept| !physical.is_empty() && kept.physical_id == physical)
    })?;
    kept.last_good.as_ref()
}

/// The view in which the last good image is the wanted one of the cards that go back to it.
pub(crate) fn aimed<'a>(view: &'a View, record: &DpuHostStatus) -> Cow<'a, View> {
    let mut aimed = Cow::Borrowed(view);
    for (index, card) in view.cards.iter().enumerate() {
        if let Some(kept) = record.record_of(&card.uid())
            && let Some(back) = turned(kept, card)
        {
            aimed.to_mut().cards[index] = back;
        }
    }
    aimed
}

/// The card with its two images in each other's place, if it goes back.
fn turned(kept: &CardRecord, card: &CardView) -> Option<CardView> {
    let Wanted::Image(wanted) = &card.wanted else {
        return None;
    };
    let token = card.dpu.spec.retry_token.as_deref();
    let good = kept.goes_back_to(&wanted.digest, token)?;
    let from = wanted.clone();
    let mut card = card.clone();
    let there = card
        .fallback
        .take()
        .filter(|fallback| fallback.image.digest == good.image.digest);
    let wanted = match &there {
        Some(fallback) => Wanted::Image(fallback.image.clone()),
        // Of what runs its DpuImage is not needed any more.
        None if kept.observed_at.is_some() => Wanted::Image(good.image.clone()),
        None => Wanted::Missing(format!("{} with {}", good.name, good.image.digest)),
    };
    let fallback = there.map_or_else(|| of_nothing(&good.image), |there| *there);
    card.wanted = wanted;
    card.fallback = Some(Box::new(Fallback {
        image: from,
        requirements: std::mem::replace(&mut card.requirements, fallback.requirements),
        vetting: std::mem::replace(&mut card.vetting, fallback.vetting),
        configuration: std::mem::replace(&mut card.configuration, fallback.configuration),
    }));
    Some(card)
}

fn of_nothing(image: &ImageFacts) -> Fallback {
    Fallback {
        image: image.clone(),
        requirements: Vec::new(),
        vetting: Vetting::of_nothing(),
        configuration: None,
    }
}

/// What the card goes back from, in the view in which it does.
pub(crate) fn goes_back<'a>(kept: &'a CardRecord, card: &CardView) -> Option<&'a RollBack> {
    let other = card.fallback.as_ref()?;
    kept.roll_back
        .as_ref()
        .filter(|back| back.from.digest == other.image.digest)
}

/// Whether somebody wants something else of the card than what the record is about.
pub(crate) fn is_new_wish(kept: &CardRecord, card: &CardView, wanted: &ImageFacts) -> bool {
    let asked = kept.roll_back.as_ref().map(|back| &back.from);
    let asked = asked.or(kept.image.as_ref());
    asked.map(|image| &image.digest) != Some(&wanted.digest)
        || kept.retry_token != card.dpu.spec.retry_token
}

/// Remembers the wanted image as one that this card has run, once it was seen to. `named` is the
/// DpuImage that is wanted.
pub(crate) fn remember_good(kept: &mut CardRecord, wanted: &ImageFacts, named: Option<&str>) {
    let same = |image: &ImageFacts| image.digest == wanted.digest;
    let runs = kept.roll_back.is_none() && kept.image.as_ref().is_some_and(same);
    let (Some(seen_at), Some(name), true) = (&kept.observed_at, named, runs) else {
        return;
    };
    match kept.last_good.as_mut().filter(|good| same(&good.image)) {
        // The same bytes may go by another name now.
        Some(good) => {
            name.clone_into(&mut good.name);
            good.image.stateless = wanted.stateless;
        }
        None => {
            kept.last_good = Some(GoodImage {
                name: name.to_owned(),
                image: wanted.clone(),
                method: kept.method.clone(),
                seen_at: seen_at.clone(),
            });
        }
    }
}

/// Ends the way back of a card that runs what is wanted after all. The word of a system that ran
/// before the last install began does not count, nor does any while the card's BMC writes another.
pub(crate) fn end_if_needless(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let Some(back) = &kept.roll_back else { return };
    let Some(os) = card.live_os(now) else { return };
    let runs = os.image_digest.as_ref() == Some(&back.from.digest);
    if road::is_by_update(kept) && install_end(view, kept, now).is_some() {
        if runs && failure::goes_on(view, card, kept, now) {
            kept.epoch_before = Some(os.boot_epoch.clone());
        }
        return;
    }
    if runs && kept.epoch_before.as_ref() != Some(&os.boot_epoch) {
        kept.method = failure::last_of(kept, &back.from).map(|last| last.method.clone());
        kept.image = Some(back.from.clone());
        kept.observed_at = Some(Time(now));
        kept.given_up = false;
        kept.failed = None;
        kept.roll_back = None;
        kept.failures.clear();
    }
}

/// Turns the record of a card back to its last good image, once the wanted one has been tried as
/// often as the policy allows. A card that its host goes on without is left as it is: the host
/// would be taken back for it.
pub(crate) fn begin_if_due(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &mut CardRecord,
    wanted: &ImageFacts,
    now: Timestamp,
) {
    let Some(spec) = view.policy.as_ref().map(|policy| &policy.spec) else {
        return;
    };
    let is_over = kept.attempts >= spec.install.max_attempts
        && kept.observed_at.is_none()
        && install_end(view, kept, now).is_none();
    let may = spec.install.on_failure == OnInstallFailure::RollBack
        && spec.mode != PolicyMode::Observe
        && kept.roll_back.is_none()
        && !wipe::is_aimed(card)
        && !kept.given_up
        && !goes_on(record, spec, now);
    if !is_over || !may || is_new_wish(kept, card, wanted) {
        return;
    }
    let good = kept.last_good.as_ref();
    let Some(good) = good.filter(|good| good.image.digest != wanted.digest) else {
        return;
    };
    kept.roll_back = Some(RollBack {
        from: wanted.clone(),
        since: Time(now),
    });
    // A way by which a good image came is not at fault if another one failed by it.
    let worked = good.method.clone();
    kept.failed_methods = road::failed_methods(kept);
    kept.failed_methods
        .retain(|one| Some(one) != worked.as_ref());
    kept.image = Some(good.image.clone());
    kept.attempts = 0;
    kept.method = None;
    kept.booted_at = None;
    kept.install_ends = None;
    kept.stopping = takedown::renewed(kept, now);
    kept.wait = None;
    kept.failed = None;
}

/// An install of yet another image, begun by the button of a card that was armed with it, is let
/// finish. When it is over, the record is about the last good image again.
pub(crate) fn stay_aimed(view: &View, kept: &mut CardRecord, now: Timestamp) {
    if kept.roll_back.is_some()
        && kept.observed_at.is_none()
        && install_end(view, kept, now).is_none()
        && let Some(good) = &kept.last_good
    {
        kept.image = Some(good.image.clone());
    }
}

/// What people read of a card that went back, as long as nobody wants something else of it.
pub(crate) fn went_back(kept: &CardRecord, back: &RollBack) -> Explanation {
    let runs = kept.image.as_ref();
    let runs = runs.map_or("its last good image", |image| &image.version);
    let observed = kept.observed_at.as_ref();
    let observed = observed.map_or_else(String::new, |at| format!(" since {}", at.0));
    Explanation::new(
        Reason::RolledBack,
        format!("runs {runs}{observed}, because {}", why(kept, back)),
    )
}

fn why(kept: &CardRecord, back: &RollBack) -> String {
    let last = failure::last_of(kept, &back.from);
    let last = last.map_or_else(String::new, |last| {
        format!(
            " (the last install begun at {} by {}: {})",
            last.begun_at.0, last.method, last.message
        )
    });
    format!(
        "{} did not come up{last} and was given up at {}",
        back.from.version, back.since.0
    )
}

/// An intent of a card that goes back says so.
pub(crate) fn told(kept: &CardRecord, card: &CardView, intent: Intent) -> Intent {
    let Some(back) = goes_back(kept, card) else {
        return intent;
    };
    let to = kept.last_good.as_ref();
    let to = to.map_or("the last good image", |good| &good.image.version);
    let said = |message: &str| format!("{}; going back to {to}: {message}", why(kept, back));
    let explained = |why: Explanation| Explanation {
        message: said(&why.message),
        ..why
    };
    match intent {
        Intent::Stall(why) if why.reason == Reason::RolledBack => Intent::Stall(why),
        Intent::Stall(why) => Intent::Stall(explained(why)),
        Intent::Wait(why, limit) => Intent::Wait(explained(why), limit),
        Intent::Hold(why) => Intent::Hold(explained(why)),
        Intent::Act(mut draft) => {
            draft.message = format!("going back to {to}: {}", draft.message);
            Intent::Act(draft)
        }
        Intent::Taint(_) | Intent::Done => intent,
    }
}
