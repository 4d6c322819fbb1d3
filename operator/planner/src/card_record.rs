//! What is remembered of each card, brought up to what is seen: images running,
//! effects armed, installs under way that the record has lost.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{ActionKind, ImageFacts, OutcomeKind};
use lockstep_crds::host::{ArmedEffect, CardRecord, InstallFailure};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, MediaOwner, UpdateState};

use crate::approval::is_approved;
use crate::bundle;
use crate::card;
use crate::drift;
use crate::failure;
use crate::firmware_record;
use crate::ledger;
use crate::pxe;
use crate::reach;
use crate::repair;
use crate::retire;
use crate::road;
use crate::roll_back;
use crate::show_choice;
use crate::slots;
use crate::takedown;
use crate::torn;
use crate::view::{CardView, View, Wanted};
use crate::whole_card;
use crate::wipe;

/// Records that fit into the status, and so cards that one host can have.
pub(crate) const CARDS: usize = 16;

/// Brings the records of the cards up to what is seen. Forgets cards that are gone,
/// except for attempts that failed: those belong to the physical card (S6).
pub fn absorb(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    for card in &view.cards {
        let wanted = match &card.wanted {
            Wanted::Image(wanted) if is_approved(card) => Some(wanted),
            Wanted::Image(_) | Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
        };
        let kept = position(view, record, card).map(|index| record.cards.remove(index));
        let may_be = !card.firmware.is_empty() || matches!(card.wanted, Wanted::Unchosen(_));
        let is_wanted = wanted.is_some() || is_approved(card) && may_be;
        // One that is powered off for good has to be recorded too.
        let is_begun = is_wanted || retire::goes_down(view, record, card, now);
        let begun = match kept {
            Some(kept) => Some(kept),
            None if is_begun && makes_room(view, record, now) => Some(fresh(card, wanted)),
            None => None,
        };
        let Some(mut kept) = begun else { continue };
        slots::forget_of_others(card, &mut kept);
        card.name().clone_into(&mut kept.name);
        torn::belongs_to(card, &mut kept);
        card.uid().clone_into(&mut kept.uid);
        card.physical_id().clone_into(&mut kept.physical_id);
        show_choice::remember(view, card, &mut kept);
        put_off_end(view, &mut kept, now);
        wipe::absorb(card, &mut kept, now);
        notice_os(card, &mut kept, now);
        notice_return(card, &mut kept, now);
        notice_security_version(card, &mut kept, now);
        roll_back::end_if_needless(view, card, &mut kept, now);
        take_up_new_wish(view, record, card, wanted, &mut kept, now);
        let busy = record
            .directives
            .iter()
            .any(|open| open.target.uid == kept.uid);
        // What is told may be older than what was begun with an open directive.
        if !busy {
            failure::notice_old_system(view, card, &mut kept, now);
            failure::notice(view, card, &mut kept, now);
            firmware_record::absorb(view, card, is_approved(card), &mut kept, now);
        }
        // The install that it waited for may just have ended.
        take_up_new_wish(view, record, card, wanted, &mut kept, now);
        roll_back::stay_with_good(view, card, &mut kept, now);
        roll_back::stay_aimed(view, &mut kept, now);
        if let Some(wanted) = wanted {
            if !wipe::is_aimed(card) {
                roll_back::remember_good(&mut kept, wanted, card.choice.image());
            }
            if !busy {
                roll_back::begin_if_due(view, record, card, &mut kept, wanted, now);
            }
            notice_os(card, &mut kept, now);
        }
        if let Some(bmc) = view.card_bmc(card, now).filter(|_| !busy) {
            let staged = was_staged(record, card);
            notice_bmc(view, card, bmc, staged, &mut kept, now);
        }
        bundle::notice(record, card, &mut kept, now);
        retire::try_again(card, &mut kept);
        slots::notice(view, card, busy, &mut kept, now);
        retire::forgive(view, card, &mut kept, now);
        if !busy {
            bundle::notice_overwritten(view, card, &mut kept, now);
        }
        drift::absorb(view, card, busy, &mut kept, now);
        record.cards.push(kept);
    }
    torn::forgive_the_gone(view, record, now);
    forget_the_gone(view, record, now);
    record
        .cards
        .sort_by(|a, b| (&a.name, &a.uid).cmp(&(&b.name, &b.uid)));
}

/// Begins anew with what somebody wants now, once an install that is under way has ended.
fn take_up_new_wish(
    view: &View,
    record: &mut DpuHostStatus,
    card: &CardView,
    wanted: Option<&ImageFacts>,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let Some(wanted) = wanted.filter(|wanted| {
        view.policy.is_some()
            && (roll_back::is_new_wish(kept, card, wanted) || wipe::is_new_wish(card, kept))
            && install_end(view, kept, now).is_none()
    }) else {
        return;
    };
    record.failed = None;
    if kept.retry_token != card.dpu.spec.retry_token {
        record.slot_power = None;
    }
    *kept = renewed(kept, card, wanted, now);
    notice_os(card, kept, now);
}

/// The record with which what is wanted of a card begins anew.
pub(crate) fn renewed(
    before: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> CardRecord {
    let before = before.clone();
    CardRecord {
        stopping: takedown::renewed(&before, now),
        failed_methods: if before.retry_token == card.dpu.spec.retry_token {
            road::failed_methods(&before)
        } else {
            Vec::new()
        },
        armed: before.armed,
        staged: before.staged,
        security_version: before.security_version,
        last_good: before.last_good,
        slots: before.slots,
        failures: of_components(before.failures),
        components: before.components,
        services: before.services,
        service_floors: before.service_floors,
        cycled: before.cycled,
        wipe: before.wipe,
        drift: drift::renewed(before.drift, card, wanted),
        has_left: before.has_left,
        repairs: repair::remembered(before.repairs, card, wanted),
        ..fresh(card, Some(wanted))
    }
}

/// The record of a card: its own, else that of an object for the same physical card
/// that is no more.
fn position(view: &View, record: &DpuHostStatus, card: &CardView) -> Option<usize> {
    let uid = card.uid();
    let physical = card.physical_id();
    let of_this_object = record.cards.iter().position(|kept| kept.uid == uid);
    of_this_object.or_else(|| {
        record.cards.iter().position(|kept| {
            !physical.is_empty()
                && kept.physical_id == physical
                && view.cards.iter().all(|other| other.uid() != kept.uid)
        })
    })
}

fn forget_the_gone(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let directives = &record.directives;
    record.cards.retain(|kept| {
        let directed = directives.iter().any(|open| open.target.uid == kept.uid);
        let failed = kept.observed_at.is_none() && (kept.attempts > 0 || kept.given_up)
            || kept.roll_back.is_some()
            || torn::is_torn(kept)
            || kept
                .components
                .iter()
                .any(|one| one.attempts > 0 && one.observed_at.is_none());
        card::is_here(view, kept) || directed || failed || wipe::outlives(kept, now)
    });
    // What was armed there ended as CancelledButArmed; it is seen again if the card comes back.
    for kept in record
        .cards
        .iter_mut()
        .filter(|kept| !card::is_here(view, kept))
    {
        drift::leave(kept);
        if directives.iter().all(|open| open.target.uid != kept.uid) {
            kept.armed.clear();
            kept.staged = None;
        }
    }
}

/// Whether one more card fits into the record, if need be in place of one that is gone.
fn makes_room(view: &View, record: &mut DpuHostStatus, now: Timestamp) -> bool {
    if record.cards.len() < CARDS {
        return true;
    }
    let stays = |kept: &CardRecord| wipe::outlives(kept, now) || torn::is_torn(kept);
    let may_go = |kept: &CardRecord| !card::is_here(view, kept) && !stays(kept);
    let gone = record.cards.iter().position(may_go);
    gone.map(|index| record.cards.remove(index)).is_some()
}

fn of_components(mut failures: Vec<InstallFailure>) -> Vec<InstallFailure> {
    failures.retain(|failure| failure.component.is_some());
    failures
}

fn fresh(card: &CardView, wanted: Option<&ImageFacts>) -> CardRecord {
    CardRecord {
        name: card.name(),
        uid: card.uid(),
        physical_id: card.physical_id(),
        image: wanted.cloned(),
        chosen: card.choice.chosen().cloned(),
        attempts: 0,
        method: None,
        failed_methods: Vec::new(),
        retry_token: card.dpu.spec.retry_token.clone(),
        epoch_before: None,
        booted_at: None,
        install_ends: None,
        stopping: None,
        given_up: false,
        observed_at: None,
        drift: Vec::new(),
        repairs: None,
        has_left: false,
        last_good: None,
        failures: Vec::new(),
        roll_back: None,
        slots: Vec::new(),
        security_version: None,
        components: Vec::new(),
        services: Vec::new(),
        brought_at: None,
        service_floors: Vec::new(),
        cycled: None,
        armed: Vec::new(),
        staged: None,
        wipe: None,
        wait: None,
        failed: None,
    }
}

/// Whether the image that is aimed at is another one than the record's, or wanted anew.
pub(crate) fn supersedes(kept: &CardRecord, card: &CardView, wanted: &ImageFacts) -> bool {
    kept.image.as_ref().map(|image| &image.digest) != Some(&wanted.digest)
        || kept.retry_token != card.dpu.spec.retry_token
}

/// How long an install may take.
fn os_timeout(view: &View) -> SignedDuration {
    let install = view
        .policy
        .as_ref()
        .map(|policy| policy.spec.install.clone())
        .unwrap_or_default();
    SignedDuration::from_secs(install.os_timeout_seconds)
}

/// Until when an install may still be writing, if one may: it is let finish before
/// anything else begins.
pub(crate) fn install_end(view: &View, kept: &CardRecord, now: Timestamp) -> Option<Timestamp> {
    let end = latest_end(view, kept)?;
    let is_over = kept.observed_at.is_some() || failure::has_failed(kept);
    (!is_over && now < end).then_some(end)
}

/// The same of an update of firmware too.
pub(crate) fn writing_end(view: &View, kept: &CardRecord, now: Timestamp) -> Option<Timestamp> {
    install_end(view, kept, now).max(firmware_record::update_end(kept, now))
}

/// The same, but of firmware that only waits for what lets it run.
pub(crate) fn hazard_end(view: &View, kept: &CardRecord, now: Timestamp) -> Option<Timestamp> {
    install_end(view, kept, now).max(firmware_record::hazard_end(kept, now))
}

/// How long a system that was powered off and on for firmware is awaited before a person is asked.
pub(crate) fn returns_by(view: &View, kept: &CardRecord) -> Option<Timestamp> {
    let cycled = kept.cycled.as_ref()?;
    Some(cycled.at.0 + os_timeout(view))
}

/// The card's own system is back after a power cycle.
fn notice_return(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let Some(cycled) = &kept.cycled else { return };
    let same = |epoch: &String| cycled.epoch_before.as_ref() == Some(epoch);
    if card.live_os(now).is_some_and(|os| !same(&os.boot_epoch)) {
        kept.cycled = None;
    }
}

/// Until when the install begun at `booted` may take by the present policy.
pub(crate) fn ends_at(view: &View, booted: Timestamp) -> Time {
    Time(booted + os_timeout(view))
}

/// An installer that runs knows nothing of a policy that was edited since, or is gone: what was
/// recorded when it began only ever grows.
pub(crate) fn latest_end(view: &View, kept: &CardRecord) -> Option<Timestamp> {
    let booted = kept.booted_at.as_ref()?;
    let recorded = kept.install_ends.as_ref().map(|end| end.0);
    Some(ends_at(view, booted.0).0).max(recorded)
}

/// What it took to get the image there is no part of the time in which its system is to report.
pub(crate) fn begins_to_come_up(view: &View, kept: &mut CardRecord, at: Timestamp) {
    if kept.booted_at.is_some() && kept.observed_at.is_none() {
        kept.install_ends = latest_end(view, kept)
            .max(Some(ends_at(view, at).0))
            .map(Time);
    }
}

/// Records an end that a longer `osTimeoutSeconds` has put off.
fn put_off_end(view: &View, kept: &mut CardRecord, now: Timestamp) {
    if kept.observed_at.is_none() && install_end(view, kept, now).is_some() {
        kept.install_ends = latest_end(view, kept).map(Time);
    }
}

fn notice_os(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let Some(os) = card.live_os(now) else { return };
    let runs_it = kept
        .image
        .as_ref()
        .is_some_and(|image| os.image_digest.as_ref() == Some(&image.digest));
    // Whatever became of an install, it may have written to the disk of a system that ran before.
    let is_written = kept.booted_at.is_some() || kept.roll_back.is_some();
    let same_boot = is_written && kept.epoch_before.as_ref() == Some(&os.boot_epoch);
    if runs_it && !same_boot && kept.observed_at.is_none() && !wipe::does_not_count(card, kept) {
        kept.observed_at = Some(Time(now));
        kept.given_up = false;
        kept.failed = None;
        let worked = &kept.method;
        kept.failed_methods
            .retain(|one| Some(one) != worked.as_ref());
    }
}

/// What the card runs now, it has run: no older one goes onto it again.
fn notice_security_version(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    if wipe::is_aimed(card) {
        return;
    }
    let Some(os) = card.live_os(now) else { return };
    let wanted = match &card.wanted {
        Wanted::Image(wanted) => Some((wanted, &card.vetting)),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    };
    let fallback = card.fallback.as_deref();
    let golden = card.golden.as_ref().map(|golden| &golden.found);
    let others = fallback.into_iter().chain(golden);
    let others = others.map(|found| (&found.image, &found.vetting));
    for (image, vetting) in wanted.into_iter().chain(others) {
        let runs_it = os.image_digest.as_ref() == Some(&image.digest);
        if runs_it && vetting.security_version > kept.security_version.unwrap_or_default() {
            kept.security_version = Some(vetting.security_version);
        }
    }
}

/// Whether the last that was done to the card is that it was armed, wholly.
fn was_staged(record: &DpuHostStatus, card: &CardView) -> bool {
    let machine = card::machine(card);
    let mut history = record.history.iter().rev();
    let last = history.find(|entry| {
        let refused = entry.outcome == OutcomeKind::Failed;
        ledger::is_about(&entry.what, &machine)
            && !(refused && ledger::kind_of(&entry.what) == ActionKind::RestartCard)
    });
    last.is_some_and(|last| {
        last.outcome == OutcomeKind::Done && ledger::kind_of(&last.what).arms_install()
    })
}

fn notice_bmc(
    view: &View,
    card: &CardView,
    bmc: &BmcReport,
    staged: bool,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    // Behind a medium of somebody else's, or one that was not read, ours may be there still.
    let hidden = bmc.media.owner != MediaOwner::Nobody;
    let ours = road::is_ours(Some(&bmc.media))
        || hidden && kept.armed.contains(&ArmedEffect::VirtualMedia);
    // Once set it may be, until it was taken back: some BMCs show a medium in its place, some
    // forget it when it was used, and its grant outlives it.
    let http =
        road::is_ours(bmc.http_boot.as_ref()) || kept.armed.contains(&ArmedEffect::HttpBootUri);
    let foreign = bmc.http_boot.as_ref().map(|held| &held.owner) == Some(&MediaOwner::Foreign);
    // Until it was ended the network answers with it.
    let by_pxe = pxe::offered(bmc).is_some() || kept.armed.contains(&ArmedEffect::PxeOffer);
    // Until it was taken back what it displaced is not back either.
    let entry = kept.armed.contains(&ArmedEffect::BootEntry);
    let override_armed = if reach::boots_from_media(bmc) {
        ours || http || kept.armed.contains(&ArmedEffect::BootOverride)
    } else {
        road::boots_over_http(bmc) && http && !foreign || pxe::is_next(bmc) && by_pxe
    };
    let is_used_up = whole_card::is_restarted(bmc)
        && staged
        && kept.armed.contains(&ArmedEffect::BootOverride)
        && !override_armed;
    // An agent of an older release would tell of none.
    let untold = bmc.capabilities.simple_update.is_none();
    let update = bmc.update.is_some() || untold && kept.armed.contains(&ArmedEffect::Update);
    kept.armed = [
        (ours, ArmedEffect::VirtualMedia),
        (override_armed, ArmedEffect::BootOverride),
        (http, ArmedEffect::HttpBootUri),
        (update, ArmedEffect::Update),
        // Until it was ended it may be taken up.
        (
            kept.armed.contains(&ArmedEffect::HostOffer),
            ArmedEffect::HostOffer,
        ),
        (by_pxe, ArmedEffect::PxeOffer),
        (entry, ArmedEffect::BootEntry),
    ]
    .into_iter()
    .filter_map(|(armed, effect)| armed.then_some(effect))
    .collect();
    if let Some(update) = &bmc.update {
        let since = update.since.0.min(now);
        // One that failed writes nothing any more.
        if update.state != UpdateState::Failed
            && adopt_install(view, card, &update.digest, since, kept, now)
        {
            kept.method = Some(update.method.clone());
            failure::notice_old_system(view, card, kept, now);
        }
    } else if bmc.power == Some(PowerState::On)
        // One that is armed while it runs has booted only when that is used up.
        && (is_used_up || !whole_card::is_restarted(bmc))
    {
        let http = bmc.http_boot.as_ref();
        let held = http.filter(|held| road::is_ours(Some(held)));
        let held = Some(held.unwrap_or(&bmc.media)).filter(|held| road::is_ours(Some(held)));
        let since = bmc.power_since.as_ref().filter(|_| !is_used_up);
        let since = since.map_or(now, |since| since.0.min(now));
        let held = held.and_then(|held| held.digest.as_ref());
        if let Some(digest) = held.or(pxe::offered(bmc))
            && adopt_install(view, card, digest, since, kept, now)
        {
            kept.method = Some(road::way_of(&kept.armed).into());
        }
    }
}

/// An install that this record knows nothing of (the record is older than reality,
/// or somebody pressed the button of a card that was armed) is adopted, not begun again. Tells
/// whether it was.
fn adopt_install(
    view: &View,
    card: &CardView,
    digest: &String,
    since: Timestamp,
    kept: &mut CardRecord,
    now: Timestamp,
) -> bool {
    let done = card
        .live_os(now)
        .is_some_and(|os| os.image_digest.as_ref() == Some(digest));
    let over = now >= since + os_timeout(view);
    let failed = roll_back::is_behind(kept, digest);
    if kept.booted_at.is_some() || kept.observed_at.is_some() || done || over || failed {
        return false;
    }
    kept.booted_at = Some(Time(since));
    kept.install_ends = Some(ends_at(view, since));
    kept.attempts += 1;
    if let Some(wiper) = card
        .wiper
        .as_ref()
        .filter(|wiper| wiper.image.digest == *digest)
    {
        wipe::book_boot(kept, &wiper.image, Some(&wiper.image));
    }
    if kept.image.as_ref().map(|image| &image.digest) != Some(digest) {
        kept.image = Some(ImageFacts {
            digest: digest.clone(),
            version: "another image".to_owned(),
            stateless: false,
            slot: None,
        });
    }
    let image = kept.image.clone();
    slots::book_install(kept, Some(card), image.as_ref());
    true
}
