//! What people read of a card that runs something else than it was seen to run as wanted.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, DRIFTED};
use lockstep_crds::drift::Drift;
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::decision::{Explanation, Transition};
use crate::drift::is_untold;
use crate::drift_words::{
    Next, asked_for, at_length, awaited, by_policy, listed, reason, since, told,
};
use crate::firmware::shown;
use crate::firmware_record::runs;
use crate::reason::Reason;
use crate::repair::{self, Outlook};
use crate::repair_begins::Lack;
use crate::roll_back;
use crate::shown::whole;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// Reason of `Drifted` while it is `False`.
const NO_DRIFT: &str = "NoDrift";
/// Reason of `Drifted` while it is `Unknown`.
const NOT_JUDGED: &str = "NotJudged";
/// Reason of the event that something else runs now.
const DRIFT_BEGAN: &str = "DriftBegan";
/// Reason of the event that this has ended.
const DRIFT_ENDED: &str = "DriftEnded";
/// Reason of the event that what is wanted is put back.
const DRIFT_REPAIR: &str = "DriftRepair";

/// Writes the condition of a card that has drifted, or had: a card of which nothing is to be told has none.
pub(crate) fn show_drift(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    status: &mut DpuStatus,
    now: Timestamp,
) {
    let kept = record.record_of(&card.uid());
    let Some(known) = condition::find(&status.conditions, DRIFTED) else {
        if kept.is_none_or(|kept| kept.drift.is_empty()) {
            return;
        }
        return write(view, record, card, status, None, now);
    };
    let shown = (known.status == "True").then(|| known.message.clone());
    write(view, record, card, status, shown.as_deref(), now);
}

/// `shown`: what is shown of a drift now.
fn write(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    status: &mut DpuStatus,
    shown: Option<&str>,
    now: Timestamp,
) {
    let kept = record.record_of(&card.uid());
    let told = kept.and_then(|kept| {
        let why = explained(view, record, card, kept, now)?;
        let kept_on = shown.filter(|shown| is_passing(record, kept, &why, shown));
        let message = kept_on.map_or(why.explanation.message, str::to_owned);
        Some((since(kept)?, why.explanation.reason, message))
    });
    let is_judged = kept.is_none_or(|kept| is_judged(view, card, kept, now));
    let (holds, at, reason, message) = match told {
        Some((since, reason, message)) => ("True", since, reason.as_str(), message),
        None if is_judged => {
            let message = "nothing is known to run in the place of what is wanted";
            ("False", now, NO_DRIFT, message.to_owned())
        }
        None => {
            let message = "the card runs something else than it was seen to run as wanted, and that this is somebody's change cannot be told; see the condition Ready";
            ("Unknown", now, NOT_JUDGED, message.to_owned())
        }
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

/// Whether nothing else is seen to run than was seen as wanted: what a network gave a card, what it came
/// back with from another host, and an image of which nobody can tell whether it is wanted, are no drift.
fn is_judged(view: &View, card: &CardView, kept: &CardRecord, now: Timestamp) -> bool {
    let is_unwanted = card.wanted == Wanted::Nothing && view.policy.is_some();
    let image = kept
        .image
        .as_ref()
        .filter(|_| !is_unwanted && kept.observed_at.is_some());
    let runs_it = match (image, card.live_os(now)) {
        (Some(image), Some(os)) => os.image_digest.as_ref() == Some(&image.digest),
        (None, _) | (_, None) => true,
    };
    let facts = view.card_bmc(card, now);
    let is_wanted = |one: &ComponentRecord| {
        let mut images = card
            .firmware
            .iter()
            .filter_map(|named| named.image.as_ref());
        images.any(|image| image.component == one.component) || is_untold(view, card, one)
    };
    let mut components = kept.components.iter();
    runs_it
        && components.all(|one| {
            let shown = facts.and_then(|facts| shown(facts, &one.component));
            let running = shown.and_then(|shown| shown.running.as_deref());
            one.observed_at.is_none()
                || running.is_none_or(|running| runs(running, &one.image.version))
                || !is_wanted(one)
        })
}

/// What is told of a drift, and what stands against its repair.
struct Told {
    explanation: Explanation,
    awaits: Option<Lack>,
}

/// Whether what is shown says the same but for what changes from one moment to the next: how far what stands
/// against a repair has come, or a step of another machine of the host.
fn is_passing(record: &DpuHostStatus, kept: &CardRecord, why: &Told, shown: &str) -> bool {
    let Some(lack) = &why.awaits else {
        return false;
    };
    let begins = |begin: Option<String>| begin.is_some_and(|begin| shown.starts_with(&begin));
    let is_same = lack
        .reason
        .is_some_and(|reason| begins(awaited(kept, reason)));
    is_same || !record.directives.is_empty() && begins(listed(kept))
}

/// What runs and since when, and what becomes of it.
fn explained(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Told> {
    if kept.drift.is_empty() {
        return None;
    }
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let asked_for = asked_for(view, card, kept, now);
    let outlook = policy.filter(|_| asked_for.is_none());
    let outlook = outlook.map(|spec| repair::outlook(view, record, spec, card, kept, now));
    let reason = match &outlook {
        Some(Outlook::Spent(_)) => Reason::DriftRepairsSpent,
        Some(_) | None => reason(kept),
    };
    let without_policy = || Next::nothing("Nothing is done about it without its policy");
    let next = asked_for.or_else(|| outlook.as_ref().map(by_policy));
    let next = next.unwrap_or_else(without_policy);
    let awaits = match outlook {
        Some(Outlook::Awaits(lack)) => Some(lack),
        Some(
            Outlook::Left
            | Outlook::FirmwareOnly
            | Outlook::Spent(_)
            | Outlook::UnderWay
            | Outlook::Later(_)
            | Outlook::Due(_),
        )
        | None => None,
    };
    Some(Told {
        explanation: at_length(card, kept, reason, &next)?,
        awaits,
    })
}

/// What people are told when the wanted image is put back.
pub(crate) fn repair(
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> Option<Transition> {
    let uid = card.uid();
    let kept = after.record_of(&uid)?;
    let repairs = kept.repairs.as_ref()?;
    let known = before.record_of(&uid);
    let known = known.and_then(|kept| kept.repairs.as_ref());
    let wanted = kept.image.as_ref()?;
    let is_begun_now = repairs.last_at == Some(Time(whole(now))) && known != Some(repairs);
    is_begun_now.then(|| Transition {
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

/// What began, or ended, between two records of a card. One that goes has ended nothing.
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
        let message = format!("nobody asked Lockstep for it: {}", told(one));
        transition(DRIFT_BEGAN, message, true)
    });
    let ended = ended.map(|one| {
        let message = format!("{}: {}", told(one), how_ended(kept, card, one));
        transition(DRIFT_ENDED, message, false)
    });
    begun.chain(ended).collect()
}

/// Why a card has not drifted any more.
fn how_ended(kept: &CardRecord, card: &CardView, drift: &Drift) -> String {
    let wanted = drift.wanted_version.as_deref();
    let wanted = wanted.map_or("what is wanted", |version| version);
    let again = || format!("{wanted} was seen to run again");
    if !drift.is_system() {
        let mut components = kept.components.iter();
        let one = components.find(|one| one.component == drift.what);
        return match one {
            Some(one) if one.brought.is_some() => {
                "an install of ours has put another version there".to_owned()
            }
            Some(one) if one.observed_at.is_some() && one.image.version == wanted => again(),
            Some(_) => "another image is wanted there now".to_owned(),
            None => "nothing is wanted there now".to_owned(),
        };
    }
    if wipe::is_aimed(card) {
        return "the card has been booted to be wiped".to_owned();
    }
    if kept.roll_back.is_some() {
        let to = roll_back::named(kept.back_to());
        return format!("the card has gone back to {to}");
    }
    let of = |image: Option<&String>| image.is_some() && image == drift.wanted_digest.as_ref();
    match &card.wanted {
        Wanted::Nothing => "nothing is wanted there now".to_owned(),
        _ if !of(kept.image.as_ref().map(|image| &image.digest)) => {
            let runs = kept.image.as_ref().map(|image| &image.digest);
            if runs == drift.digest.as_ref() {
                "that is what is wanted now".to_owned()
            } else {
                "another image is wanted there now".to_owned()
            }
        }
        Wanted::Image(_) | Wanted::Missing(_) | Wanted::Unchosen(_) => {
            if kept.observed_at.is_some() {
                again()
            } else {
                "it is judged anew once what is wanted was seen to run".to_owned()
            }
        }
    }
}
