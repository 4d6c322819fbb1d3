//! What lies in the slots of a card's own disk, and the way that boots it from there once.
//!
//! The record says what was put into a slot and seen to run from it, until something else is written
//! there. Nobody looks at the disk: that the image is there still is proved by its own agent alone,
//! and one that does not come up costs an attempt, and nothing else.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_configuration::Inputs;
use lockstep_crds::directive::{Action, ImageFacts};
use lockstep_crds::host::{CardRecord, SlotRecord, StagedImage};
use lockstep_crds::image::ImageSlot;
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, BootEntryReport};

use crate::card::machine;
use crate::retire;
use crate::road::{Way, untold};
use crate::view::{CardView, View, Wanted};
use crate::whole_card;

/// The boot target that leads to a boot entry.
const TARGET: &str = "UefiBootNext";
/// Slots that the record holds of one card.
const MOST: usize = 4;

/// Whether the way is open, as far as the record and the card's BMC say.
pub(crate) fn way(kept: Option<&CardRecord>, card: &CardView, facts: &BmcReport) -> Way {
    let Wanted::Image(wanted) = &card.wanted else {
        return Way::Closed("no image is wanted".to_owned());
    };
    let version = &wanted.version;
    let Some(slot) = &wanted.slot else {
        return Way::Closed(format!("{version} names no slot of the card's disk"));
    };
    let mut slots = kept.into_iter().flat_map(|kept| &kept.slots);
    let is_it = |one: &&SlotRecord| {
        one.image.digest == wanted.digest && one.image.slot.as_ref() == Some(slot)
    };
    let held = slots.find(is_it).filter(|one| one.seen_at.is_some());
    let Some(held) = held else {
        return Way::Closed(format!(
            "{version} was not seen to run from slot {} of this card, or something else was written there since",
            slot.name
        ));
    };
    if held.configuration != card.configuration.as_ref().map(Inputs::digest) {
        return Way::Closed(format!(
            "the files of {version} in slot {} are made of other values than are wanted now",
            slot.name
        ));
    }
    if whole_card::is_restarted(facts) {
        return Way::Closed(
            "such a card is restarted with its BMC, which boots no entry once".to_owned(),
        );
    }
    let unread = || {
        Way::Unread(format!(
            "the BMC of {} lists boot entry {}",
            machine(card),
            slot.boot_entry
        ))
    };
    match &facts.capabilities.boot_entry {
        None => return untold(),
        Some(Offer::NotOffered) => {
            return Way::Closed(format!("its BMC lists no boot target {TARGET}"));
        }
        Some(Offer::NotRead | Offer::Unrecognized(_)) => return unread(),
        Some(Offer::Offered) => {}
    }
    match facts.boot_entries.as_ref().map(|told| &told.listed) {
        Some(Offer::Offered) => {}
        Some(Offer::NotOffered) => {
            return Way::Closed(
                "its BMC lists no boot entries, no boot order, or more entries than are read"
                    .to_owned(),
            );
        }
        // Nobody waits for a BMC that cannot tell: it is booted by the next way.
        Some(Offer::NotRead | Offer::Unrecognized(_)) => {
            return Way::Closed("its boot entries could not be read".to_owned());
        }
        None => return unread(),
    }
    match named(facts, slot).count() {
        1 => Way::Open,
        0 => Way::Closed(format!("its BMC lists no boot entry {}", slot.boot_entry)),
        _ => Way::Closed(format!(
            "its BMC lists several boot entries {}; delete those that are left over",
            slot.boot_entry
        )),
    }
}

fn named<'a>(
    facts: &'a BmcReport,
    slot: &'a ImageSlot,
) -> impl Iterator<Item = &'a BootEntryReport> {
    let told = facts.boot_entries.iter().flat_map(|told| &told.entries);
    told.filter(|entry| entry.name == slot.boot_entry)
}

/// The boot entry of the image's slot, if there is just one.
pub(crate) fn entry<'a>(
    facts: &'a BmcReport,
    image: &'a ImageFacts,
) -> Option<&'a BootEntryReport> {
    let mut same = named(facts, image.slot.as_ref()?);
    let entry = same.next()?;
    same.next().is_none().then_some(entry)
}

/// Whether the next boot goes to the boot entry of the image's slot, whoever set that.
pub(crate) fn boots(facts: &BmcReport, image: &ImageFacts) -> bool {
    let next = facts.boot_entries.as_ref();
    let next = next.and_then(|told| told.next.as_ref());
    let reference = entry(facts, image).map(|entry| &entry.reference);
    is_next(facts) && reference.is_some() && next == reference
}

/// Whether the boot override in force is to a boot entry.
pub(crate) fn is_next(facts: &BmcReport) -> bool {
    facts.boot_override.as_deref() == Some(TARGET)
}

/// Whether the boot entry of the image's slot is the first of the boot order; `None`: nobody can tell.
pub(crate) fn is_first(facts: &BmcReport, image: &ImageFacts) -> Option<bool> {
    let entry = entry(facts, image)?;
    let told = facts.boot_entries.as_ref()?;
    Some(told.order.first() == Some(&entry.reference))
}

/// What another object of the same card put there reports under another name, and a card that is
/// retired reports no more: neither would ever be seen.
pub(crate) fn forget_of_others(card: &CardView, kept: &mut CardRecord) {
    if kept.uid != card.uid() || retire::is_retired(card) {
        kept.slots.clear();
    }
}

/// Books what is made ready for the card, and of what its files are made.
pub(crate) fn book_staged(kept: &mut CardRecord, action: &Action) {
    kept.staged = action.image.as_ref().map(|image| StagedImage {
        digest: image.digest.clone(),
        configuration: action.configuration.clone(),
    });
}

/// Books that an image is being written, with the files that it was staged with: what its slot held is
/// gone, and of one that names none nobody knows what it leaves.
pub(crate) fn book_install(
    kept: &mut CardRecord,
    card: Option<&CardView>,
    image: Option<&ImageFacts>,
) {
    let with_slot = image.and_then(|image| Some((image, image.slot.as_ref()?)));
    let Some((image, slot)) = with_slot else {
        kept.slots.clear();
        return;
    };
    let staged = kept.staged.as_ref();
    let configuration = match staged.filter(|staged| staged.digest == image.digest) {
        Some(staged) => staged.configuration.clone(),
        // Earlier releases did not say what they staged.
        None => card.and_then(|card| card.configuration.as_ref().map(Inputs::digest)),
    };
    put(
        kept,
        slot,
        SlotRecord {
            image: image.clone(),
            configuration,
            seen_at: None,
            first_at: None,
        },
    );
}

fn put(kept: &mut CardRecord, slot: &ImageSlot, record: SlotRecord) {
    kept.slots.retain(|one| {
        let other = one.image.slot.as_ref();
        other.is_some_and(|other| other.name != slot.name && other.boot_entry != slot.boot_entry)
    });
    kept.slots.push(record);
    if kept.slots.len() > MOST {
        kept.slots.remove(0);
    }
}

/// Books what the card is seen to run from a slot, once that is concluded, and that its boot order leads
/// there.
pub(crate) fn notice(
    view: &View,
    card: &CardView,
    is_busy: bool,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let Some(digest) = card.live_os(now).and_then(|os| os.image_digest.as_ref()) else {
        return;
    };
    let image = kept.image.as_ref().filter(|image| image.digest == *digest);
    let (Some(image), Some(_)) = (image.cloned(), &kept.observed_at) else {
        return;
    };
    notice_image(card, kept, digest, now);
    let facts = view.card_bmc(card, now).filter(|_| !is_busy);
    if facts.is_none_or(|facts| is_first(facts, &image) != Some(true)) || led_to(kept, &image) {
        return;
    }
    let mut slots = kept.slots.iter_mut();
    if let Some(held) = slots.find(|one| one.image.digest == image.digest) {
        // A clock that was put back since makes it no older than what it counts from.
        held.first_at = kept.observed_at.clone().max(Some(Time(now)));
    }
}

fn notice_image(card: &CardView, kept: &mut CardRecord, digest: &String, now: Timestamp) {
    let mut slots = kept.slots.iter_mut();
    if let Some(held) = slots.find(|one| one.image.digest == *digest) {
        held.seen_at.get_or_insert(Time(now));
        return;
    }
    // It was there before anybody of us came, or its slot was not named then.
    let wanted = match &card.wanted {
        Wanted::Image(wanted) => Some((wanted, &card.configuration)),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    };
    let good = card.fallback.iter();
    let good = good.map(|found| (&found.image, &found.configuration));
    let mut known = wanted.into_iter().chain(good);
    let Some((image, configuration)) = known.find(|(image, _)| image.digest == *digest) else {
        return;
    };
    if let Some(slot) = &image.slot {
        let record = SlotRecord {
            image: image.clone(),
            configuration: configuration.as_ref().map(Inputs::digest),
            seen_at: Some(Time(now)),
            first_at: None,
        };
        put(kept, slot, record);
    }
}

/// Whether the card's boot order was seen to lead to that image since the card got it.
fn led_to(kept: &CardRecord, image: &ImageFacts) -> bool {
    let mut slots = kept.slots.iter();
    let held = slots.find(|one| one.image.digest == image.digest);
    let first = held.and_then(|held| held.first_at.as_ref());
    let seen = kept.observed_at.as_ref();
    first.is_some_and(|first| seen.is_some_and(|seen| seen.0 <= first.0))
}

/// Whether that is another image of the card's own disk than the one that it is to run from there.
pub(crate) fn holds_beside(kept: &CardRecord, digest: &str) -> bool {
    let image = kept.image.as_ref();
    let is_beside = |image: &ImageFacts| image.slot.is_some() && image.digest != digest;
    let good = kept.last_good.as_ref().map(|good| &good.image);
    let mut held = kept.slots.iter().map(|one| &one.image).chain(good);
    image.is_some_and(is_beside) && held.any(|held| held.digest == digest)
}

/// Whether the card booted another image of its own disk, and that this is somebody's change is not seen: that
/// its boot order led to the wanted one, and leads elsewhere now.
pub(crate) fn booted_another(kept: &CardRecord, digest: &str, facts: Option<&BmcReport>) -> bool {
    let is_changed = kept.image.as_ref().is_some_and(|image| {
        let is_first = facts.and_then(|facts| is_first(facts, image));
        led_to(kept, image) && is_first == Some(false)
    });
    kept.observed_at.is_some() && holds_beside(kept, digest) && !is_changed
}

/// What is known of why another slot was booted, in words.
pub(crate) fn why_another(
    kept: &CardRecord,
    slot: &ImageSlot,
    facts: Option<&BmcReport>,
) -> String {
    let entry = &slot.boot_entry;
    let image = kept.image.as_ref();
    let is_first = image.and_then(|image| is_first(facts?, image));
    if is_first == Some(true) {
        format!(
            "{entry} leads its boot order, so its system does not come up, or somebody booted the other one once or has put it into that slot"
        )
    } else if image.is_some_and(|image| led_to(kept, image)) {
        format!("{entry} was seen to lead its boot order, and where that leads now is not told")
    } else {
        format!("{entry} was not seen to lead its boot order since")
    }
}
