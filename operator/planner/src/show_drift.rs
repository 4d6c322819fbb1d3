//! What people read of a card that runs something else than it was seen to run as wanted.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, DRIFTED};
use lockstep_crds::drift::{Drift, DriftRepairs};
use lockstep_crds::host::CardRecord;
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::decision::{Explanation, Transition};
use crate::drift::of_system;
use crate::reason::Reason;
use crate::repair::{self, Outlook};
use crate::view::{CardView, View};

/// Reason of `Drifted` while it is `False`.
const NO_DRIFT: &str = "NoDrift";
/// Reason of the event that something else runs now.
const DRIFT_BEGAN: &str = "DriftBegan";
/// Reason of the event that this has ended.
const DRIFT_ENDED: &str = "DriftEnded";
/// Reason of the event that what is wanted is put back.
const DRIFT_REPAIR: &str = "DriftRepair";

/// Writes the condition of a card that was seen to run what is wanted.
pub(crate) fn show_drift(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    status: &mut DpuStatus,
    now: Timestamp,
) {
    let kept = record.record_of(&card.uid());
    let shown = condition::find(&status.conditions, DRIFTED);
    let shown = shown.filter(|shown| shown.status == "True");
    let shown = shown.map(|shown| shown.message.as_str());
    let told = kept.and_then(|kept| {
        let why = explained(view, record, card, kept, now)?;
        let kept_on = shown.filter(|shown| is_passing(record, kept, &why, shown));
        let message = kept_on.map_or(why.explanation.message, str::to_owned);
        Some((since(kept)?, why.explanation.reason, message))
    });
    let (holds, at, reason, message) = match told {
        Some((since, reason, message)) => ("True", since, reason.as_str(), message),
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
pub(crate) fn in_short(kept: &CardRecord) -> Option<Explanation> {
    let all = listed(kept)?;
    Some(Explanation::new(reason(kept), all))
}

/// What is told of a drift, and whether something stands against its repair.
struct Told {
    explanation: Explanation,
    awaits: bool,
}

/// Whether what stands against a repair is a step of another machine of the host: what that changes from
/// one to the next is worth no write.
fn is_passing(record: &DpuHostStatus, kept: &CardRecord, why: &Told, shown: &str) -> bool {
    let same = listed(kept).is_some_and(|all| shown.starts_with(&all));
    why.awaits && same && !record.directives.is_empty()
}

/// The same, with what becomes of it.
fn explained(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Told> {
    let all = listed(kept)?;
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let outlook = policy.map(|spec| repair::outlook(view, record, spec, card, kept, now));
    let awaits = matches!(&outlook, Some(Outlook::Awaits(_)));
    let reason = match &outlook {
        Some(Outlook::Spent(_)) => Reason::DriftRepairsSpent,
        Some(_) | None => reason(kept),
    };
    let next = outlook.map_or_else(
        || "Nothing is done about it without its policy".to_owned(),
        |outlook| next(&outlook),
    );
    Some(Told {
        explanation: Explanation::new(reason, format!("{all}. {next}")),
        awaits,
    })
}

fn listed(kept: &CardRecord) -> Option<String> {
    let since = since(kept)?;
    let mut drift: Vec<&Drift> = kept.drift.iter().collect();
    drift.sort_by_key(|one| one.since.0);
    let all: Vec<String> = drift.iter().map(|one| told(kept, one)).collect();
    let all = all.join("; ");
    Some(format!(
        "since {since} the card runs what nobody asked Lockstep for: {all}"
    ))
}

fn reason(kept: &CardRecord) -> Reason {
    if of_system(kept).is_some() {
        Reason::SystemChanged
    } else {
        Reason::FirmwareChanged
    }
}

fn next(outlook: &Outlook) -> String {
    match outlook {
        Outlook::Left => "Nothing is done about it, for the policy's onDrift is Show".to_owned(),
        Outlook::FirmwareOnly => {
            "Nothing is done about it: onDrift: Repair puts back systems, and no firmware".to_owned()
        }
        Outlook::Spent(repairs) => how_spent(repairs),
        Outlook::UnderWay => {
            "The wanted image is installed again, which has not ended in its running".to_owned()
        }
        Outlook::Later(due) => {
            format!("If it goes on, the wanted image is installed again, from {due} on")
        }
        Outlook::Awaits(lack) => format!(
            "The wanted image is to be installed again by itself, and now that cannot begin: {}",
            lack.why
        ),
        Outlook::Due(_) => {
            "The wanted image is installed again as soon as all is read that this goes by, and nothing else begins"
                .to_owned()
        }
    }
}

fn how_spent(repairs: &DriftRepairs) -> String {
    let last = repairs.last_at.as_ref();
    let last = last.map_or_else(String::new, |at| format!(", last at {}", at.0));
    if repairs.is_restored {
        return format!(
            "Nothing more is done about it by itself: the record was restored, and does not know how often the wanted image was installed again{last}"
        );
    }
    format!(
        "Nothing more is done about it by itself: the wanted image was installed again {} times for it{last}",
        repairs.begun
    )
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
pub(crate) fn system_changed(
    kept: &CardRecord,
    reported: &str,
    drift: &Drift,
    spent: Option<&DriftRepairs>,
) -> Explanation {
    let wanted = kept.image.as_ref().map_or("", |image| &image.version);
    let what = format!(
        "the card was seen to run {wanted} and now reports image {reported}, since {}",
        drift.since.0
    );
    match spent {
        None => Explanation::new(Reason::SystemChanged, what),
        Some(repairs) => Explanation::new(
            Reason::DriftRepairsSpent,
            format!("{what}. {}", how_spent(repairs)),
        ),
    }
}

/// What people are told when the wanted image is put back.
pub(crate) fn repair(
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    card: &CardView,
) -> Option<Transition> {
    let uid = card.uid();
    let kept = after.record_of(&uid)?;
    let repairs = kept.repairs.as_ref().filter(|one| !one.is_restored)?;
    let known = before
        .record_of(&uid)
        .and_then(|kept| kept.repairs.as_ref());
    let wanted = kept.image.as_ref()?;
    (known.map(|known| &known.last_at) != Some(&repairs.last_at)).then(|| Transition {
        card: Some(card.name()),
        reason: DRIFT_REPAIR.to_owned(),
        message: format!(
            "{} is installed again in the place of what nobody asked for: {} of {} times",
            wanted.version,
            repairs.begun,
            repair::MOST
        ),
        warning: false,
    })
}

/// Whether a card is not as wanted for its drift alone, which has an event of its own.
pub(crate) fn is_reason(reason: &str) -> bool {
    let reasons = [
        Reason::SystemChanged,
        Reason::FirmwareChanged,
        Reason::DriftRepairsSpent,
    ];
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
