//! When an install has failed, and by what that shows: by what the card's BMC tells of its update, by
//! how a push ended, by what runs instead, or because its time is over. Each is booked once, with its image, so that the
//! way back, people and the next attempt go by one and the same list.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{CardRecord, InstallFailure};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::names;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{UpdateReport, UpdateState};

use crate::card;
use crate::card_record::latest_end;
use crate::fetch;
use crate::ledger::shortened;
use crate::road;
use crate::view::{CardView, View};

/// Failures that the record holds of one card.
pub(crate) const MOST: usize = 10;
/// Longest account of them in a message, in characters; the last one is told at any length.
const TOLD: usize = 500;

/// Why one failed.
struct Cause {
    reason: &'static str,
    message: String,
}

/// Whether the install that was begun last is known to have failed.
pub(crate) fn has_failed(kept: &CardRecord) -> bool {
    let begun = kept.booted_at.as_ref();
    let mut failures = kept.failures.iter().filter(|one| one.component.is_none());
    begun.is_some_and(|begun| failures.any(|one| one.begun_at == *begun))
}

/// Books the failure of the install that was begun last, once. Not to be asked while a directive of
/// the card is open: what is told may be older than it.
pub(crate) fn notice(view: &View, card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    if kept.booted_at.is_none() || kept.observed_at.is_some() || has_failed(kept) {
        return;
    }
    let update = own_update(view, card, kept, now);
    let cause = update
        .and_then(failed)
        .or_else(|| another_runs(card, kept, update?, now))
        .or_else(|| timed_out(view, card, kept, update, now));
    if let Some(Cause { reason, message }) = cause {
        let fault = fetch::of_install(view, card, kept, now);
        let (reason, message) = match fault {
            Some(fault) => fault.behind(reason, &message),
            None => (reason, message),
        };
        book(kept, reason, &message, now);
    }
}

/// Books that the install that was begun last has failed.
pub(crate) fn book(kept: &mut CardRecord, reason: &str, message: &str, now: Timestamp) {
    let (Some(begun_at), Some(image)) = (&kept.booted_at, &kept.image) else {
        return;
    };
    let failure = InstallFailure {
        image: image.clone(),
        component: None,
        attempt: kept.attempts,
        // Earlier releases knew one way, and did not say so.
        method: kept.method.clone().unwrap_or(InstallMethod::VirtualMedia),
        begun_at: begun_at.clone(),
        reason: reason.to_owned(),
        message: shortened(message),
        at: Time(now),
    };
    push(kept, failure);
}

/// Books that an update of a component has failed.
pub(crate) fn book_component(
    kept: &mut CardRecord,
    index: usize,
    begun_at: &Time,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let one = &kept.components[index];
    let failure = InstallFailure {
        image: one.image.clone(),
        component: Some(one.component.clone()),
        attempt: one.attempts,
        method: one.method.clone().unwrap_or(InstallMethod::SimpleUpdate),
        begun_at: begun_at.clone(),
        reason: reason.to_owned(),
        message: shortened(message),
        at: Time(now),
    };
    push(kept, failure);
}

fn push(kept: &mut CardRecord, failure: InstallFailure) {
    kept.failures.push(failure);
    if kept.failures.len() > MOST {
        // Of each image the last is told longest.
        let is_repeated = |index: &usize| {
            let one = &kept.failures[*index];
            let mut later = kept.failures[index + 1..].iter();
            later.any(|other| {
                (&other.image.digest, &other.component) == (&one.image.digest, &one.component)
            })
        };
        let oldest = (0..kept.failures.len()).find(is_repeated).unwrap_or(0);
        kept.failures.remove(oldest);
    }
}

/// The failed installs of an image, the latest first.
fn of_image<'a>(
    kept: &'a CardRecord,
    image: &ImageFacts,
) -> impl Iterator<Item = &'a InstallFailure> {
    let failures = kept.failures.iter().rev();
    failures.filter(move |one| one.image.digest == image.digest)
}

/// The last failed install of an image.
pub(crate) fn last_of<'a>(kept: &'a CardRecord, image: &ImageFacts) -> Option<&'a InstallFailure> {
    of_image(kept, image).next()
}

/// How the installs of an image failed, the latest last, for people.
pub(crate) fn told(kept: &CardRecord, image: &ImageFacts) -> String {
    let mut told = String::new();
    for failure in of_image(kept, image) {
        let InstallFailure {
            method,
            reason,
            message,
            ..
        } = failure;
        let one = format!(". By {method}: {reason}: {message}");
        if !told.is_empty() && told.chars().count() + one.chars().count() > TOLD {
            break;
        }
        told.insert_str(0, &one);
    }
    told
}

/// What is told now of the update that the record is about.
fn own_update<'a>(
    view: &'a View,
    card: &'a CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<&'a UpdateReport> {
    let bmc = view.card_bmc(card, now)?;
    let digest = kept.image.as_ref().map(|image| &image.digest);
    let update = bmc.update.as_ref().filter(|_| road::is_by_update(kept));
    update.filter(|update| Some(&update.digest) == digest)
}

/// Whether nothing tells that the update under way has come to an end.
pub(crate) fn goes_on(view: &View, card: &CardView, kept: &CardRecord, now: Timestamp) -> bool {
    let update = own_update(view, card, kept, now);
    update.is_none_or(|update| {
        matches!(
            update.state,
            UpdateState::Asked | UpdateState::Running | UpdateState::Unrecognized(_)
        )
    })
}

/// A system that is not the wanted one and comes up while the update goes on, as when the card was
/// powered on for it, is of before the update.
pub(crate) fn notice_old_system(
    view: &View,
    card: &CardView,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let update = own_update(view, card, kept, now);
    let goes_on = update
        .is_some_and(|update| matches!(update.state, UpdateState::Asked | UpdateState::Running));
    if !goes_on || kept.booted_at.is_none() || kept.observed_at.is_some() {
        return;
    }
    let wanted = kept.image.as_ref().map(|image| &image.digest);
    if let Some(os) = card.live_os(now)
        && os.image_digest.as_ref() != wanted
    {
        kept.epoch_before = Some(os.boot_epoch.clone());
    }
}

/// How far a task has come by what it says, to be put behind other words.
pub(crate) fn progress(update: &UpdateReport) -> String {
    let percent = update.percent;
    percent.map_or_else(String::new, |percent| format!(", at {percent} % or more"))
}

fn said(update: &UpdateReport) -> &str {
    update.message.as_deref().unwrap_or("it says nothing more")
}

fn failed(update: &UpdateReport) -> Option<Cause> {
    (update.state == UpdateState::Failed).then(|| Cause {
        reason: "TaskFailed",
        message: format!(
            "{}; see the log of the card's BMC, and whether the image is one that it takes",
            said(update)
        ),
    })
}

/// The card has booted since, and its own agent tells of another image.
fn another_runs(
    card: &CardView,
    kept: &CardRecord,
    update: &UpdateReport,
    now: Timestamp,
) -> Option<Cause> {
    let is_over = matches!(update.state, UpdateState::Ended | UpdateState::Lost);
    let os = card.live_os(now).filter(|_| is_over)?;
    let before = kept.epoch_before.as_ref()?;
    let wanted = kept.image.as_ref().map(|image| &image.digest);
    let is_other = os.boot_epoch != *before && os.image_digest.as_ref() != wanted;
    is_other.then(|| Cause {
        reason: "OldImageRuns",
        message: format!(
            "the card has booted since and runs {} ({}); see the log of its BMC, or use another of install.methods",
            card::reported(os, kept.image.as_ref()),
            said(update)
        ),
    })
}

fn timed_out(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    update: Option<&UpdateReport>,
    now: Timestamp,
) -> Option<Cause> {
    let end = latest_end(view, kept).filter(|end| now >= *end)?;
    let unseen = format!(
        "not reported by {end}; then {}",
        seen(view, card, kept, now)
    );
    let (reason, message) = match update.map(|update| (&update.state, update)) {
        Some((UpdateState::Running, update)) => (
            "TaskStuck",
            format!(
                "its task still says that it runs{}; {unseen}; restart the card's BMC if the task does not end, or raise osTimeoutSeconds",
                progress(update)
            ),
        ),
        Some((UpdateState::Lost | UpdateState::Asked, update)) => (
            "TaskLost",
            format!(
                "{unseen}; nothing tells what became of the update ({}); see the log of the card's BMC",
                said(update)
            ),
        ),
        Some((UpdateState::Ended | UpdateState::Failed | UpdateState::Unrecognized(_), update)) => {
            (
                "ImageNotSeen",
                format!("{unseen}; {}; look at the card's console", said(update)),
            )
        }
        None if road::is_by_update(kept) => (
            "TaskLost",
            format!(
                "{unseen}; nothing tells what became of the update; see the log of the card's BMC"
            ),
        ),
        None => ("OsNotSeen", format!("{unseen}; look at the card's console")),
    };
    Some(Cause { reason, message })
}

/// What is seen of a card whose time is over.
fn seen(view: &View, card: &CardView, kept: &CardRecord, now: Timestamp) -> String {
    match (card.live_os(now), view.card_bmc(card, now)) {
        (Some(os), _) => format!(
            "{} reports image {}",
            names::xpu(&card.name()),
            card::reported(os, kept.image.as_ref())
        ),
        (None, Some(bmc)) => match (&bmc.power, &bmc.stage) {
            (Some(PowerState::On), Some(stage)) => format!("the card is on, in stage {stage}"),
            (Some(power), _) => format!("the card is {power}"),
            (None, _) => "whether the card is on was not read".to_owned(),
        },
        (None, None) => "its BMC does not answer".to_owned(),
    }
}
