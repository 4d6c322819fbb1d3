//! What people read of a card that runs something else than it was seen to run as wanted.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, DRIFTED};
use lockstep_crds::drift::Drift;
use lockstep_crds::host::CardRecord;
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::decision::{Explanation, Transition};
use crate::drift::of_system;
use crate::reason::Reason;
use crate::view::CardView;

/// Reason of `Drifted` while it is `False`.
const NO_DRIFT: &str = "NoDrift";
/// Reason of the event that something else runs now.
const DRIFT_BEGAN: &str = "DriftBegan";
/// Reason of the event that this has ended.
const DRIFT_ENDED: &str = "DriftEnded";

/// Writes the condition of a card that was seen to run what is wanted.
pub(crate) fn show_drift(
    record: &DpuHostStatus,
    card: &CardView,
    status: &mut DpuStatus,
    now: Timestamp,
) {
    let kept = record.record_of(&card.uid());
    let told = kept.and_then(|kept| Some((since(kept)?, explained(kept)?)));
    let (holds, at, reason, message) = match told {
        Some((since, why)) => ("True", since, why.reason.as_str(), why.message),
        None if was_seen(kept) || condition::find(&status.conditions, DRIFTED).is_some() => {
            let message = "nothing is known to run in the place of what is wanted";
            ("False", now, NO_DRIFT, message.to_owned())
        }
        None => return,
    };
    let wanted = Condition {
        type_: DRIFTED.to_owned(),
        status: holds.to_owned(),
        reason: reason.to_owned(),
        message: condition::truncated(&message),
        observed_generation: card.dpu.metadata.generation,
        last_transition_time: Time(at),
    };
    condition::set_to(&mut status.conditions, wanted);
}

fn was_seen(kept: Option<&CardRecord>) -> bool {
    kept.is_some_and(|kept| {
        let mut components = kept.components.iter();
        kept.observed_at.is_some() || components.any(|one| one.observed_at.is_some())
    })
}

/// Since when any of it was seen.
fn since(kept: &CardRecord) -> Option<Timestamp> {
    kept.drift.iter().map(|one| one.since.0).min()
}

/// What runs, in the place of what and since when, and what helps.
pub(crate) fn explained(kept: &CardRecord) -> Option<Explanation> {
    let since = since(kept)?;
    let mut drift: Vec<&Drift> = kept.drift.iter().collect();
    drift.sort_by_key(|one| one.since.0);
    let all: Vec<String> = drift.iter().map(|one| told(kept, one)).collect();
    let reason = if of_system(kept).is_some() {
        Reason::SystemChanged
    } else {
        Reason::FirmwareChanged
    };
    let message = format!(
        "since {since} the card runs what nobody asked Lockstep for: {}. Nothing is done about it by itself",
        all.join("; ")
    );
    Some(Explanation::new(reason, message))
}

fn told(kept: &CardRecord, drift: &Drift) -> String {
    let since = drift.since.0;
    if drift.is_system() {
        return format!("its system is {}, since {since}", system(kept, drift));
    }
    let mut components = kept.components.iter();
    let one = components.find(|one| one.component == drift.what);
    let wanted = one.map_or("what is wanted", |one| one.image.version.as_str());
    let Drift { what, version, .. } = drift;
    format!("{what} runs {version} and not {wanted}, since {since}")
}

/// A version is a name that anything can have: what has the wanted one's is told by its digest.
fn system(kept: &CardRecord, drift: &Drift) -> String {
    let Drift {
        version, digest, ..
    } = drift;
    match &kept.image {
        Some(image) if image.version == *version => format!(
            "{version}, but of digest {} and not {}",
            digest.as_deref().unwrap_or("(none)"),
            image.digest
        ),
        Some(image) => format!("{version} and not {}", image.version),
        None => version.clone(),
    }
}

/// What the card says whose system is another one now.
pub(crate) fn system_changed(kept: &CardRecord, reported: &str, drift: &Drift) -> Explanation {
    let wanted = kept.image.as_ref().map_or("", |image| &image.version);
    Explanation::new(
        Reason::SystemChanged,
        format!(
            "the card was seen to run {wanted} and now reports image {reported}, since {}",
            drift.since.0
        ),
    )
}

/// Whether a card is not as wanted for its drift alone, which has an event of its own.
pub(crate) fn is_reason(reason: &str) -> bool {
    let reasons = [Reason::SystemChanged, Reason::FirmwareChanged];
    reasons.iter().any(|one| one.as_str() == reason)
}

/// What began, or ended, between two records of a card.
pub(crate) fn transitions(
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    card: &CardView,
) -> Vec<Transition> {
    let uid = card.uid();
    let Some(kept) = after.record_of(&uid) else {
        return Vec::new();
    };
    let known = before.record_of(&uid);
    let known: &[Drift] = known.map_or(&[], |known| &known.drift);
    let same =
        |one: &Drift, other: &Drift| one.is_system() == other.is_system() && one.what == other.what;
    let runs = |one: &Drift| (one.version.clone(), one.digest.clone());
    let transition = |reason: &str, message: String, warning: bool| Transition {
        card: Some(card.name()),
        reason: reason.to_owned(),
        message,
        warning,
    };
    let begun = kept.drift.iter().filter(|one| {
        let mut known = known.iter();
        !known.any(|other| same(one, other) && runs(one) == runs(other))
    });
    let ended = known
        .iter()
        .filter(|one| !kept.drift.iter().any(|other| same(one, other)));
    let begun = begun.map(|one| {
        let message = format!("nobody asked Lockstep for it: {}", told(kept, one));
        transition(DRIFT_BEGAN, message, true)
    });
    let ended = ended.map(|one| {
        let message = format!(
            "{} {}, which was seen since {} and nobody had asked for, runs no more, or is what is wanted now",
            one.what, one.version, one.since.0
        );
        transition(DRIFT_ENDED, message, false)
    });
    begun.chain(ended).collect()
}
