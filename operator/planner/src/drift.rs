//! What a card runs that nobody asked Lockstep for, in the place of what it was seen to run as wanted:
//! since when, and until when.
//!
//! It begins by what is told, live and of a card that is left alone: what is unseen is no drift, nor is
//! what an install, an update or a boot of ours may still change, or has changed. It ends by what is told
//! too: once what is wanted is seen to run again, something else is wanted there, or the card is being
//! wiped. Meanwhile nobody's silence ends it, nor that of the object that tells of the image, nor what was
//! asked for and has not begun.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::drift::{Drift, SYSTEM};
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::report::{BmcReport, UpdateState};

use crate::approval::is_approved;
use crate::card;
use crate::card_record::install_end;
use crate::choice::is_firmware_known;
use crate::firmware::shown;
use crate::firmware_record::{is_under_way, runs};
use crate::repair;
use crate::retire;
use crate::roll_back;
use crate::shown::whole;
use crate::slots;
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

/// What is looked at.
struct Look<'a> {
    view: &'a View,
    card: &'a CardView,
    /// A directive of the card is open, and what is told may be older than what it did.
    is_busy: bool,
    now: Timestamp,
}

/// Brings what is recorded up to what is told. `is_busy`: a directive of the card is open.
pub(crate) fn absorb(
    view: &View,
    card: &CardView,
    is_busy: bool,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let look = Look {
        view,
        card,
        is_busy,
        now,
    };
    let known = of_system(kept);
    let seen = look.system(kept, known);
    let mut drift = Vec::new();
    let mut left = Vec::new();
    drift.extend(follow(known, kept.has_left, &seen));
    left.push(kept.has_left && !is_settled(&seen));
    for one in &kept.components {
        let known = of_component(kept, &one.component);
        let seen = look.component(kept, one, known);
        drift.extend(follow(known, one.has_left, &seen));
        left.push(one.has_left && !is_settled(&seen));
    }
    kept.drift = drift;
    let components = kept.components.iter_mut().map(|one| &mut one.has_left);
    for (has_left, left) in std::iter::once(&mut kept.has_left)
        .chain(components)
        .zip(left)
    {
        *has_left = left;
    }
}

/// Whether it is told that what is wanted runs. That nothing is wanted for a while says nothing of a card that
/// has come from elsewhere.
fn is_settled(seen: &Seen) -> bool {
    match seen {
        Seen::AsWanted => true,
        Seen::Unwanted | Seen::Untold | Seen::Other(_) => false,
    }
}

/// What is recorded next of one thing.
fn follow(known: Option<&Drift>, has_left: bool, seen: &Seen) -> Option<Drift> {
    match seen {
        Seen::Unwanted | Seen::AsWanted => None,
        Seen::Untold => known.cloned(),
        Seen::Other(_) if has_left => None,
        Seen::Other(new) => Some(known.map_or(new.clone(), |known| {
            let same_boot = known.boot_epoch == new.boot_epoch && known.digest == new.digest;
            let steady = known.steady_since.clone().filter(|_| same_boot);
            let is_counted = new.boot_epoch.is_some();
            Drift {
                wanted_version: known.wanted_version.clone(),
                wanted_digest: known.wanted_digest.clone(),
                since: known.since.clone(),
                steady_since: steady.filter(|_| is_counted).or(new.steady_since.clone()),
                ..new.clone()
            }
        })),
    }
}

impl Look<'_> {
    fn system(&self, kept: &CardRecord, known: Option<&Drift>) -> Seen {
        let Self {
            view, card, now, ..
        } = *self;
        let Some(image) = &kept.image else {
            return Seen::Unwanted;
        };
        if wipe::is_asked(card) {
            // One that is refused, or whose wiper is not there, changes nothing.
            let is_begun = wipe::is_aimed(card) && kept.booted_at.is_some();
            let is_of_it = Wanted::Image(image.clone()) == card.wanted;
            return if is_begun && is_of_it {
                Seen::Unwanted
            } else {
                Seen::Untold
            };
        }
        if retire::is_retired(card) {
            return Seen::Unwanted;
        }
        if card::is_going(view, card) || !is_approved(card) {
            return Seen::Untold;
        }
        // What a stateless card boots depends on its network too: that it came up with something else is
        // a boot that failed.
        if image.stateless || card::is_withdrawn(view, card) {
            return Seen::Unwanted;
        }
        let is_known = match &card.wanted {
            Wanted::Image(wanted) if is_another(kept, wanted) => return Seen::Unwanted,
            Wanted::Image(wanted) => !roll_back::is_new_wish(kept, card, wanted),
            Wanted::Nothing if view.policy.is_some() => return Seen::Unwanted,
            Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => false,
        };
        let os = card.live_os(now);
        let Some((os, digest)) = os.and_then(|os| Some((os, os.image_digest.as_ref()?))) else {
            return Seen::Untold;
        };
        let is_it = *digest == image.digest;
        let is_followed = match kept.observed_at {
            Some(_) if is_it => return Seen::AsWanted,
            Some(_) => true,
            // What is on its way was not changed by anybody; what had drifted before may go on to.
            None => known.is_some() && !is_it && install_end(view, kept, now).is_none(),
        };
        let is_left_alone = is_known
            && is_followed
            && !self.is_busy
            && kept.armed.is_empty()
            && kept.cycled.is_none();
        // A system that wipes comes and goes, and one that ran before the last install has gone.
        let is_over = os.wipe.is_some() || kept.epoch_before.as_ref() == Some(&os.boot_epoch);
        let facts = view.card_bmc(card, now);
        let is_by_itself = known.is_none() && slots::booted_another(kept, digest, facts);
        if !is_left_alone || is_over || is_by_itself {
            return Seen::Untold;
        }
        let version = os.image_version.as_deref().unwrap_or("(unknown)");
        let is_counted = repair::may_follow(view, card, kept);
        Seen::Other(Drift {
            what: SYSTEM.to_owned(),
            version: version.to_owned(),
            digest: Some(digest.clone()),
            wanted_version: Some(image.version.clone()),
            wanted_digest: Some(image.digest.clone()),
            since: Time(whole(now)),
            boot_epoch: is_counted.then(|| os.boot_epoch.clone()),
            steady_since: is_counted.then(|| Time(whole(now))),
        })
    }

    fn component(&self, kept: &CardRecord, one: &ComponentRecord, known: Option<&Drift>) -> Seen {
        let Self {
            view, card, now, ..
        } = *self;
        if retire::is_retired(card) {
            return Seen::Unwanted;
        }
        if card::is_going(view, card) || !is_approved(card) {
            return Seen::Untold;
        }
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
            None if is_untold(view, card, one) => false,
            None => return Seen::Unwanted,
        };
        let facts = view.card_bmc(card, now);
        let running = facts.and_then(|facts| {
            let shown = shown(facts, &one.component)?;
            Some((facts, shown.running.as_deref()?))
        });
        let Some((facts, running)) = running else {
            return Seen::Untold;
        };
        let is_it = runs(running, &one.image.version);
        if is_it && one.observed_at.is_some() {
            return Seen::AsWanted;
        }
        // What an install of ours has put there was not changed by anybody.
        if one.brought.as_deref() == Some(running) {
            return Seen::Unwanted;
        }
        let is_followed = one.observed_at.is_some() || known.is_some() && !is_it;
        let is_written = is_under_way(one) || one.torn.is_some() || is_updating(facts, one);
        // An installer may bring firmware along.
        let awaits_system = matches!(card.wanted, Wanted::Image(_)) && kept.observed_at.is_none();
        let is_installed = awaits_system || install_end(view, kept, now).is_some();
        if !is_known || !is_followed || self.is_busy || is_written || is_installed {
            return Seen::Untold;
        }
        Seen::Other(Drift {
            what: one.component.clone(),
            version: running.to_owned(),
            digest: None,
            wanted_version: Some(one.image.version.clone()),
            wanted_digest: None,
            since: Time(whole(now)),
            boot_epoch: None,
            steady_since: None,
        })
    }
}

/// Whether another image is wanted than the one that the record is about, or that it goes back from.
fn is_another(kept: &CardRecord, wanted: &ImageFacts) -> bool {
    let asked = kept.roll_back.as_ref().map(|back| &back.from);
    let asked = asked.or(kept.image.as_ref());
    asked.is_none_or(|asked| asked.digest != wanted.digest)
}

/// Whether nobody can tell now if the firmware that a component was seen to run is wanted still: the policy
/// is gone, its choice is not made, or the `DpuImage` of that name is not there.
pub(crate) fn is_untold(view: &View, card: &CardView, one: &ComponentRecord) -> bool {
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let is_known = card.dpu.spec.retired || is_firmware_known(&card.dpu, policy, &card.choice);
    let mut missing = card.firmware.iter().filter(|named| named.image.is_none());
    // Records of earlier releases do not say by which name it was wanted.
    let is_of_it = |name: &String| one.image_name.as_ref().is_none_or(|known| known == name);
    !is_known || missing.any(|named| is_of_it(&named.name))
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

/// What goes on being so though the card is to get something anew: of its firmware all, and of its system
/// if that is what is wanted still, or the card is to be wiped, which may never begin.
pub(crate) fn renewed(mut drift: Vec<Drift>, card: &CardView, wanted: &ImageFacts) -> Vec<Drift> {
    let is_of_it = |one: &Drift| one.wanted_digest.as_ref() == Some(&wanted.digest);
    drift.retain(|one| !one.is_system() || is_of_it(one) || wipe::is_aimed(card));
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
    for one in &mut kept.components {
        one.has_left = true;
    }
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
