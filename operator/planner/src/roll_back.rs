//! The way back: a card whose wanted image does not come up gets the one again that it was last
//! seen to run, where the policy says so, and then the golden image that the policy names.
//!
//! That is decided in the record and once for each wish: what is wanted then stands there as
//! `rollBack.from`, and is not tried again before a person names another image or changes
//! `retryToken`; from the golden image no way leads back to the last good one. So no two images ever
//! take turns. All else goes as for a wanted image, for the card is planned as if the one that it
//! goes back to were wanted of it; only that a golden image never goes through the host.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, OnInstallFailure, PolicyMode};
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{BackTo, CardRecord, GoodImage, NamedImage, RollBack};

use crate::card::machine;
use crate::card_record::install_end;
use crate::decision::Explanation;
use crate::drift_words;
use crate::failure;
use crate::intent::Intent;
use crate::leave::goes_on;
use crate::reason::Reason;
use crate::requirement::Judgement;
use crate::road;
use crate::room;
use crate::shown::whole;
use crate::takedown;
use crate::vetting::{self, Vetting};
use crate::view::{CardView, Fallback, View, Wanted, record_about};
use crate::wipe;

/// Where the card goes back to: the golden image of its record, or the last good one if the card is
/// on its way to that, or may have to be.
pub fn back_image<'a>(record: &'a DpuHostStatus, card: &CardView) -> Option<BackTo<'a>> {
    let kept = record_about(record, &card.dpu)?;
    let good = || kept.last_good.as_ref().map(GoodImage::way_back);
    kept.back_to().or_else(good)
}

/// The view in which cards that go back want what they go back to.
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
    let to = kept.goes_back_to(&wanted.digest, token)?;
    let from = wanted.clone();
    let mut card = card.clone();
    // What the way leads to since just now is not yet the fallback of the view.
    let golden = card.golden.take().map(|golden| golden.found);
    let found = card.fallback.take().map(|found| *found).into_iter();
    let there = found
        .chain(golden)
        .find(|found| found.image.digest == to.image.digest);
    let wanted = match &there {
        Some(found) => Wanted::Image(found.image.clone()),
        // Of what runs its DpuImage is not needed any more.
        None if kept.observed_at.is_some() => Wanted::Image(to.image.clone()),
        None => Wanted::Missing(format!("{} with {}", to.name, to.image.digest)),
    };
    let fallback = there.unwrap_or_else(|| of_nothing(to));
    card.wanted = wanted;
    card.fallback = Some(Box::new(Fallback {
        image: from,
        requirements: std::mem::replace(&mut card.requirements, fallback.requirements),
        brought: std::mem::replace(&mut card.brought, fallback.brought),
        vetting: std::mem::replace(&mut card.vetting, fallback.vetting),
        configuration: std::mem::replace(&mut card.configuration, fallback.configuration),
    }));
    Some(card)
}

/// What runs is left alone without its object, and nothing more is done with it.
fn of_nothing(to: BackTo) -> Fallback {
    let why = format!(
        "there is no DpuImage {} with these bytes any more; make it again, or name another image",
        to.name
    );
    Fallback {
        image: to.image.clone(),
        requirements: Vec::new(),
        brought: Vec::new(),
        vetting: Vetting {
            trust: Judgement::NotKnown(why),
            ..Vetting::of_nothing()
        },
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
    let same =
        |asked: &ImageFacts| asked.digest == wanted.digest && asked.stateless == wanted.stateless;
    !asked.is_some_and(same) || kept.retry_token != card.dpu.spec.retry_token
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
            good.image.slot.clone_from(&wanted.slot);
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

/// Where the way back leads next.
enum Aim {
    LastGood(GoodImage),
    Golden(NamedImage),
}

/// Turns the record of a card to what it goes back to, once what it is about has been tried as
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
    let is_idle = kept.observed_at.is_none() && install_end(view, kept, now).is_none();
    let may = spec.install.on_failure == OnInstallFailure::RollBack
        && spec.mode != PolicyMode::Observe
        && !wipe::is_aimed(card)
        && !kept.given_up
        && !goes_on(record, spec, now);
    if !is_idle || !may || is_new_wish(kept, card, wanted) {
        return;
    }
    let aim = next_aim(spec, kept, card, wanted, now);
    let is_over = kept.attempts >= spec.install.max_attempts;
    let Some(aim) = aim.filter(|_| is_over || is_cut_short(spec, kept, card, now)) else {
        return;
    };
    kept.failed_methods = road::failed_methods(kept);
    let (image, golden) = match aim {
        Aim::LastGood(good) => {
            // A way by which a good image came is not at fault if another one failed by it.
            kept.failed_methods
                .retain(|one| Some(one) != good.method.as_ref());
            (good.image, None)
        }
        Aim::Golden(golden) => (golden.image.clone(), Some(golden)),
    };
    let since = kept.roll_back.take().map(|back| back.since);
    let since = since.unwrap_or_else(|| Time(whole(now)));
    kept.roll_back = Some(RollBack {
        from: wanted.clone(),
        since,
        golden,
    });
    kept.image = Some(image);
    kept.attempts = 0;
    kept.method = None;
    kept.booted_at = None;
    kept.install_ends = None;
    kept.stopping = takedown::renewed(kept, now);
    kept.wait = None;
    kept.failed = None;
}

/// Whether what the card goes back to is not tried to the end: a last good image that may not go
/// onto the card any more, a golden one in whose place another was named.
fn is_cut_short(
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    now: Timestamp,
) -> bool {
    kept.back_to()
        .is_some_and(|back| back.is_golden || is_barred(spec, kept, card, back.image, now))
}

/// The last good image, if it runs, or may go onto the card, or there is no golden one; after it, or
/// without it, the golden one.
fn next_aim(
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Option<Aim> {
    let is_other = |image: &ImageFacts| {
        let aimed_at = kept.image.as_ref().map(|image| &image.digest);
        image.digest != wanted.digest && Some(&image.digest) != aimed_at
    };
    let golden = card.golden.as_ref();
    let golden = golden.filter(|golden| is_other(&golden.found.image));
    let golden = golden.map(|golden| NamedImage {
        name: golden.name.clone(),
        image: golden.found.image.clone(),
    });
    let good = kept.last_good.as_ref().filter(|good| {
        let is_new = kept.roll_back.is_none() && good.image.digest != wanted.digest;
        let may =
            || !is_barred(spec, kept, card, &good.image, now) || runs(kept, card, &good.image, now);
        is_new && (golden.is_none() || may())
    });
    good.cloned()
        .map(Aim::LastGood)
        .or_else(|| golden.map(Aim::Golden))
}

/// Whether it is certain that the last good image may not go onto the card as things are.
fn is_barred(
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    good: &ImageFacts,
    now: Timestamp,
) -> bool {
    let found = card.fallback.as_ref();
    let found = found.filter(|found| found.image.digest == good.digest);
    found.is_none_or(|found| {
        let ran = kept.security_version;
        let allows = vetting::allows(&found.vetting, spec, &machine(card), ran, good);
        let has_room = room::allows(card, &good.version, &found.vetting, now);
        matches!(allows.and(has_room), Err(Intent::Stall(_)))
    })
}

/// Whether the card came up with that image after the last install was begun.
fn runs(kept: &CardRecord, card: &CardView, image: &ImageFacts, now: Timestamp) -> bool {
    card.live_os(now).is_some_and(|os| {
        os.image_digest.as_ref() == Some(&image.digest)
            && kept.epoch_before.as_ref() != Some(&os.boot_epoch)
    })
}

/// Ends the way to the golden image of a card that came up with its last good one after all.
pub(crate) fn stay_with_good(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let is_idle = kept.observed_at.is_none() && install_end(view, kept, now).is_none();
    let may = is_idle && !wipe::is_aimed(card);
    let Some(good) = kept.last_good.clone().filter(|_| may) else {
        return;
    };
    if !kept.back_to().is_some_and(|back| back.is_golden) || !runs(kept, card, &good.image, now) {
        return;
    }
    if let Some(back) = &mut kept.roll_back {
        back.golden = None;
    }
    kept.method = failure::last_of(kept, &good.image).map(|last| last.method.clone());
    kept.image = Some(good.image);
    kept.observed_at = Some(Time(now));
    kept.failed = None;
}

/// Whether the golden image is what the card gets.
pub(crate) fn is_golden(record: &DpuHostStatus, card: &CardView) -> bool {
    let kept = record.record_of(&card.uid());
    kept.is_some_and(|kept| goes_back(kept, card).is_some_and(|back| back.golden.is_some()))
}

/// Whether the way back leads away from that image.
pub(crate) fn is_behind(kept: &CardRecord, digest: &str) -> bool {
    let Some(back) = &kept.roll_back else {
        return false;
    };
    let is_aim = kept
        .back_to()
        .is_some_and(|back| back.image.digest == digest);
    let mut failures = kept.failures.iter().filter(|one| one.component.is_none());
    !is_aim && (back.from.digest == digest || failures.any(|one| one.image.digest == digest))
}

/// An install of yet another image, begun by the button of a card that was armed with it, is let
/// finish. When it is over, the record is about what the card goes back to again.
pub(crate) fn stay_aimed(view: &View, kept: &mut CardRecord, now: Timestamp) {
    let aim = kept.back_to().map(|back| back.image.clone());
    if aim.is_some() && kept.observed_at.is_none() && install_end(view, kept, now).is_none() {
        kept.image = aim;
    }
}

/// What people read of a card that went back, as long as nobody wants something else of it.
pub(crate) fn went_back(kept: &CardRecord, back: &RollBack) -> Explanation {
    let observed = kept.observed_at.as_ref();
    let observed = observed.map_or_else(String::new, |at| format!(" since {}", whole(at.0)));
    let (runs, why) = (named(kept.back_to()), why(kept, back));
    Explanation::new(
        Reason::RolledBack,
        format!("runs {runs}{observed}, because {why}"),
    )
}

/// What helps a card that went back and runs something else by now.
pub(crate) fn remedy(kept: &CardRecord, back: &RollBack) -> String {
    let (to, from) = (named(kept.back_to()), &back.from.version);
    format!(
        "Find out who did; then name {to} in imageRef to have it back; another retryToken on the Dpu tries {from} again"
    )
}

/// The image that a card goes back to, for people.
pub(crate) fn named(back: Option<BackTo>) -> String {
    back.map_or_else(
        || "its last good image".to_owned(),
        |back| {
            let version = &back.image.version;
            if back.is_golden {
                format!("the golden image {version}")
            } else {
                version.clone()
            }
        },
    )
}

fn why(kept: &CardRecord, back: &RollBack) -> String {
    let failed = |image: &ImageFacts| {
        failure::last_of(kept, image).map(|last| {
            format!(
                " (the last install begun at {} by {}: {})",
                last.begun_at.0, last.method, last.message
            )
        })
    };
    let wanted = format!(
        "{} did not come up{} and was given up at {}",
        back.from.version,
        failed(&back.from).unwrap_or_default(),
        back.since.0
    );
    let good = kept.last_good.as_ref().filter(|_| back.golden.is_some());
    match good.and_then(|good| Some((good, failed(&good.image)?))) {
        Some((good, last)) => {
            let version = &good.image.version;
            format!("{wanted}; {version}, its last good image, did not come up either{last}")
        }
        None => wanted,
    }
}

fn is_of_others(reason: Reason) -> bool {
    let others = [Reason::OtherSlotRuns, Reason::FirmwareContradicted];
    drift_words::is_reason(reason.as_str()) || others.contains(&reason)
}

/// An intent of a card that goes back says so.
pub(crate) fn told(kept: &CardRecord, card: &CardView, intent: Intent) -> Intent {
    let Some(back) = goes_back(kept, card) else {
        return intent;
    };
    let to = named(kept.back_to());
    let said = |message: &str| format!("{}; going back to {to}: {message}", why(kept, back));
    let explained = |why: Explanation| Explanation {
        message: said(&why.message),
        ..why
    };
    match intent {
        Intent::Stall(why) if why.reason == Reason::RolledBack => Intent::Stall(why),
        // It had gone back, and that is not why it is not as wanted.
        Intent::Stall(why) if kept.observed_at.is_some() && is_of_others(why.reason) => {
            Intent::Stall(why)
        }
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
