//! Whether a card runs what the image that it is to get requires of its components.
//!
//! Asked before anything is done to the card or its host, and again at each step. Only versions
//! that run count, as somebody tells them who is alive, and whom nobody contradicts; the systems
//! that Lockstep itself has taken down for the install are believed as they spoke last.

use std::cmp::Ordering;

use jiff::Timestamp;
use lockstep_crds::host::CardRecord;
use lockstep_crds::report::Vantage;
use lockstep_crds::{ComponentRequirement, DpuHostStatus};

use crate::card::machine;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::view::{CardView, ComponentSeen, Required, Wanted};
use lockstep_crds::version::compare;

/// How a requirement stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// What runs is in the range.
    Met,
    /// What runs is not in the range; what it is, and who tells so.
    NotMet(String),
    /// Nobody can tell; why.
    NotKnown(String),
}

/// Whether the card runs all that its wanted image requires. `Err` is what is awaited: first
/// what is known not to fit, for that needs a person.
pub(crate) fn met(
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Result<(), Intent> {
    let image = match &card.wanted {
        Wanted::Image(image) => image.version.as_str(),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => "its image",
    };
    all_met(record, card, kept, image, &card.requirements, now)
}

/// The same of the requirements of any image, by its version.
pub(crate) fn all_met(
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    image: &str,
    requirements: &[Required],
    now: Timestamp,
) -> Result<(), Intent> {
    let counts = |seen: &ComponentSeen| is_believed(record, kept, seen, now);
    let mut unknown = None;
    for required in requirements {
        let wanted = in_words(&required.requirement);
        match judge(required, counts) {
            Judgement::Met => {}
            Judgement::NotMet(seen) => {
                return Err(Intent::stall(
                    Reason::RequirementNotMet,
                    format!("{image} requires {wanted} on {}, and {seen}", machine(card)),
                ));
            }
            Judgement::NotKnown(why) => {
                unknown.get_or_insert_with(|| {
                    format!(
                        "{image} requires {wanted} on {}, and that is not known: {why}",
                        machine(card)
                    )
                });
            }
        }
    }
    match unknown {
        None => Ok(()),
        Some(why) => Err(Intent::wait(
            Reason::RequirementNotKnown,
            why,
            reach::SILENCE,
        )),
    }
}

/// Whether a word counts: its agent is alive, or was until we took its system down.
pub(crate) fn is_believed(
    record: &DpuHostStatus,
    kept: &CardRecord,
    seen: &ComponentSeen,
    now: Timestamp,
) -> bool {
    let is_taken_down = match seen.from {
        Vantage::CardOs => kept.stopping.is_some(),
        Vantage::HostOs => record.hold.is_some(),
        Vantage::CardBmc
        | Vantage::HostBmc
        | Vantage::FoundBmc
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => false,
    };
    is_taken_down || seen.agent.is_some_and(|lease| lease.is_fresh(now))
}

/// Judges one requirement by the words that count.
pub fn judge(required: &Required, counts: impl Fn(&ComponentSeen) -> bool) -> Judgement {
    let requirement = &required.requirement;
    if let (Some(least), Some(below)) = (&requirement.at_least, &requirement.below)
        && compare(least, below).is_some_and(Ordering::is_ge)
    {
        return Judgement::NotMet(format!("no version is at least {least} and below {below}"));
    }
    if required.seen.is_empty() {
        return Judgement::NotKnown("its DpuInventory has no component of that name".to_owned());
    }
    if let Some(who) = &required.contradicted {
        return Judgement::NotKnown(format!("vantage points contradict each other: {who}"));
    }
    let mut unknown = None;
    for seen in &required.seen {
        match of_component(requirement, seen, counts(seen)) {
            Judgement::Met => {}
            out @ Judgement::NotMet(_) => return out,
            out @ Judgement::NotKnown(_) => unknown = unknown.or(Some(out)),
        }
    }
    unknown.unwrap_or(Judgement::Met)
}

fn of_component(
    requirement: &ComponentRequirement,
    seen: &ComponentSeen,
    counts: bool,
) -> Judgement {
    let ComponentSeen {
        name, from, report, ..
    } = seen;
    let Some(running) = &seen.running else {
        return Judgement::NotKnown(format!(
            "report {report} ({from}) tells no version of {name} that runs"
        ));
    };
    if !counts {
        return Judgement::NotKnown(format!(
            "{name} ran {running} as report {report} ({from}) told, which nobody vouches for now"
        ));
    }
    let mut incomparable = None;
    for (bound, fits) in [
        (
            &requirement.at_least,
            Ordering::is_ge as fn(Ordering) -> bool,
        ),
        (&requirement.below, Ordering::is_lt),
    ] {
        let Some(bound) = bound else { continue };
        match compare(running, bound) {
            Some(order) if fits(order) => {}
            Some(_) => {
                let waits = seen.pending.as_ref().map_or_else(String::new, |pending| {
                    format!("; {pending} is stored there and does not run yet")
                });
                return Judgement::NotMet(format!(
                    "{name} runs {running}, as report {report} ({from}) tells{waits}"
                ));
            }
            None => incomparable = Some(bound),
        }
    }
    match incomparable {
        None => Judgement::Met,
        Some(bound) => Judgement::NotKnown(format!(
            "{name} runs {running}, as report {report} ({from}) tells, which cannot be compared with {bound}"
        )),
    }
}

fn in_words(requirement: &ComponentRequirement) -> String {
    let least = requirement.at_least.as_ref();
    let below = requirement.below.as_ref();
    let range = [
        least.map(|version| format!("at least {version}")),
        below.map(|version| format!("below {version}")),
    ];
    let range: Vec<String> = range.into_iter().flatten().collect();
    format!("{} {}", requirement.component, range.join(" and "))
}
