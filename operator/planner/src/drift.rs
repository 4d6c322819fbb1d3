//! What a card runs that nobody asked Lockstep for, in the place of what it was seen to run as wanted:
//! since when, and until when.
//!
//! It begins by what is told, live and of a card that is left alone: what is unseen is no drift, nor is
//! what an install, an update or a boot of ours may still change. It ends by what is told too: once what
//! is wanted is seen to run again, something else is wanted there, or the card goes. Meanwhile nobody's
//! silence ends it, nor that of the object that tells of the image.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::drift::{Drift, SYSTEM};
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::report::{BmcReport, UpdateState};

use crate::card;
use crate::firmware::shown;
use crate::firmware_record::{is_under_way, runs};
use crate::roll_back;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// What is told of one thing that the card is to run.
enum Seen {
    /// Nothing is wanted of it, or something else than what was seen.
    Unwanted,
    /// It runs.
    AsWanted,
    /// Nobody can tell now, or nothing follows from it.
    Untold,
    /// Something else runs.
    Other(Drift),
}

/// Brings what is recorded up to what is told. `is_busy`: a directive of the card is open, and what is
/// told may be older than what it did.
pub(crate) fn absorb(
    view: &View,
    card: &CardView,
    is_busy: bool,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let before = std::mem::take(&mut kept.drift);
    let system = system(view, card, is_busy, kept, now);
    let known = before.iter().find(|one| one.is_system());
    let mut all = vec![(known, system)];
    for one in &kept.components {
        let seen = component(view, card, is_busy, one, now);
        let is_it = |known: &&Drift| !known.is_system() && known.what == one.component;
        all.push((before.iter().find(is_it), seen));
    }
    if kept.has_left {
        let mut seen = all.iter().map(|(_, seen)| seen);
        kept.has_left = !seen.all(|seen| matches!(seen, Seen::AsWanted | Seen::Unwanted));
        return;
    }
    let drift = all.into_iter();
    kept.drift = drift
        .filter_map(|(known, seen)| follow(known, seen))
        .collect();
}

/// What is recorded next of one thing.
fn follow(known: Option<&Drift>, seen: Seen) -> Option<Drift> {
    match seen {
        Seen::Unwanted | Seen::AsWanted => None,
        Seen::Untold => known.cloned(),
        Seen::Other(new) => Some(known.map_or(new.clone(), |known| {
            let same_boot = known.boot_epoch == new.boot_epoch && known.digest == new.digest;
            let steady = known.steady_since.clone().filter(|_| same_boot);
            Drift {
                since: known.since.clone(),
                steady_since: steady.or(new.steady_since),
                ..new
            }
        })),
    }
}

fn system(view: &View, card: &CardView, is_busy: bool, kept: &CardRecord, now: Timestamp) -> Seen {
    let Some(image) = &kept.image else {
        return Seen::Unwanted;
    };
    // What a stateless card boots depends on its network too: that it came up with something else is a
    // boot that failed.
    if image.stateless || wipe::is_asked(card) || card::is_withdrawn(view, card) {
        return Seen::Unwanted;
    }
    let is_known = match &card.wanted {
        Wanted::Image(wanted) if is_another(kept, wanted) => return Seen::Unwanted,
        Wanted::Image(wanted) => !roll_back::is_new_wish(kept, card, wanted),
        Wanted::Nothing if view.policy.is_some() => return Seen::Unwanted,
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => false,
    };
    if kept.observed_at.is_none() {
        // What is on its way back was not changed by anybody.
        return if kept.roll_back.is_some() {
            Seen::Unwanted
        } else {
            Seen::Untold
        };
    }
    let os = card.live_os(now);
    let Some((os, digest)) = os.and_then(|os| Some((os, os.image_digest.as_ref()?))) else {
        return Seen::Untold;
    };
    if *digest == image.digest {
        return Seen::AsWanted;
    }
    let is_left_alone = is_known && !is_busy && kept.armed.is_empty() && kept.cycled.is_none();
    // A system that wipes comes and goes, and one that ran before the last install has gone.
    let is_over = os.wipe.is_some() || kept.epoch_before.as_ref() == Some(&os.boot_epoch);
    if !is_left_alone || is_over {
        return Seen::Untold;
    }
    let version = os.image_version.as_deref().unwrap_or("(unknown)");
    Seen::Other(Drift {
        what: SYSTEM.to_owned(),
        version: version.to_owned(),
        digest: Some(digest.clone()),
        since: Time(now),
        boot_epoch: Some(os.boot_epoch.clone()),
        steady_since: Some(Time(now)),
    })
}

/// Whether another image is wanted than the one that the record is about, or that it goes back from.
fn is_another(kept: &CardRecord, wanted: &ImageFacts) -> bool {
    let asked = kept.roll_back.as_ref().map(|back| &back.from);
    let asked = asked.or(kept.image.as_ref());
    asked.is_none_or(|asked| asked.digest != wanted.digest)
}

fn component(
    view: &View,
    card: &CardView,
    is_busy: bool,
    one: &ComponentRecord,
    now: Timestamp,
) -> Seen {
    if card::is_withdrawn(view, card) {
        return Seen::Unwanted;
    }
    let mut images = card
        .firmware
        .iter()
        .filter_map(|named| named.image.as_ref());
    let is_known = match images.find(|image| image.component == one.component) {
        Some(image) if image.facts.digest != one.image.digest => return Seen::Unwanted,
        Some(_) => true,
        None if names_a_missing(card) => false,
        None => return Seen::Unwanted,
    };
    if one.observed_at.is_none() {
        return Seen::Untold;
    }
    let facts = view.card_bmc(card, now);
    let running = facts.and_then(|facts| {
        let shown = shown(facts, &one.component)?;
        Some((facts, shown.running.as_deref()?))
    });
    let Some((facts, running)) = running else {
        return Seen::Untold;
    };
    if runs(running, &one.image.version) {
        return Seen::AsWanted;
    }
    let is_written = is_under_way(one) || one.torn.is_some() || is_updating(facts, one);
    if !is_known || is_busy || is_written {
        return Seen::Untold;
    }
    Seen::Other(Drift {
        what: one.component.clone(),
        version: running.to_owned(),
        digest: None,
        since: Time(now),
        boot_epoch: None,
        steady_since: None,
    })
}

/// Whether `firmwareRefs` name an image of which nobody knows what it is for.
pub(crate) fn names_a_missing(card: &CardView) -> bool {
    card.firmware.iter().any(|named| named.image.is_none())
}

fn is_updating(facts: &BmcReport, one: &ComponentRecord) -> bool {
    let told = facts.component_update.as_ref();
    let told = told.filter(|told| told.component == one.component);
    told.is_some_and(|told| match told.update.state {
        UpdateState::Asked | UpdateState::Running => true,
        UpdateState::Ended
        | UpdateState::Failed
        | UpdateState::Lost
        | UpdateState::Unrecognized(_) => false,
    })
}

/// What goes on being so though the card is to get its image anew: of its firmware all, and of its system
/// if that is what is wanted still.
pub(crate) fn renewed(mut drift: Vec<Drift>, is_same_image: bool) -> Vec<Drift> {
    drift.retain(|one| is_same_image || !one.is_system());
    drift
}

/// Another image is wanted for that component.
pub(crate) fn forget_component(kept: &mut CardRecord, component: &str) {
    kept.drift
        .retain(|one| one.is_system() || one.what != component);
}

/// The card left this host.
pub(crate) fn leave(kept: &mut CardRecord) {
    kept.drift.clear();
    kept.has_left = true;
}

/// What runs in the place of the card's system.
pub(crate) fn of_system(kept: &CardRecord) -> Option<&Drift> {
    kept.drift.iter().find(|one| one.is_system())
}

/// What runs in the place of a component's firmware.
pub(crate) fn of_component<'a>(kept: &'a CardRecord, component: &str) -> Option<&'a Drift> {
    let mut drift = kept.drift.iter().filter(|one| !one.is_system());
    drift.find(|one| one.what == component)
}
