//! Whether a card is one that an image is made for, or that a policy means, by its joined inventory.

use lockstep_crds::ImageFits;
use lockstep_crds::boot_policy::InventorySelector;
use lockstep_crds::dpu_inventory::Conflict;
use lockstep_crds::inventory::SystemFacts;

use super::JoinedCard;
use super::conflicts::{MOST_CONFLICTS, architecture, same_text};
use super::keys::Key;
use super::vendors::{plain, same_maker};
use crate::requirement::Judgement;

/// One limit, and what is told of the card.
struct Limit<'a> {
    what: &'static str,
    field: &'static str,
    wanted: &'a [String],
    is: Option<&'a str>,
    /// Who has not told it, if it is not told.
    nobody: &'static str,
    same: fn(&str, &str) -> bool,
}

/// Whether what is known of a card holds for `fits`, but for its disks: see [`super::room`]. What
/// vantage points contradict each other in is not known.
pub fn fits(joined: Option<&JoinedCard>, fits: &ImageFits) -> Judgement {
    judge(joined, &limits(joined, fits))
}

/// Whether a card is one that a selector means, as far as it asks what the card is made of.
pub fn selects(joined: Option<&JoinedCard>, selector: &InventorySelector) -> Judgement {
    let by_others = joined.is_some_and(|joined| joined.is_told_by_others);
    let system = joined.and_then(|joined| joined.inventory.system.as_ref());
    let told = |get: fn(&SystemFacts) -> &Option<String>| {
        system.and_then(|system| get(&system.facts).as_deref())
    };
    let limits = [
        Limit {
            what: "family",
            field: "system.family",
            wanted: &selector.families,
            is: told(|system| &system.family),
            nobody: NOBODY,
            same: same_text,
        },
        Limit {
            what: "part number",
            field: "system.partNumber",
            wanted: &selector.part_numbers,
            is: told(|system| &system.part_number),
            nobody: NOBODY,
            same: same_text,
        },
        // What its own operating system alone tells could be the number of any card.
        Limit {
            what: "serial number",
            field: "system.serialNumber",
            wanted: &selector.serial_numbers,
            is: joined
                .and_then(|joined| joined.summary.serial_number.as_deref())
                .filter(|_| by_others),
            nobody: "nobody but its own operating system",
            same: |one, other| Key::serial(one).is_some_and(|one| Key::serial(other) == Some(one)),
        },
    ];
    judge(joined, &limits)
}

const NOBODY: &str = "nobody";

/// Values that a message lists before it counts the others.
const LISTED: usize = 8;

fn listed(wanted: &[String]) -> String {
    let others = wanted.len().saturating_sub(LISTED);
    let first = wanted.iter().take(LISTED).cloned();
    let first = first.collect::<Vec<_>>().join(", ");
    if others == 0 {
        return first;
    }
    format!("{first} or one of {others} more")
}

fn judge(joined: Option<&JoinedCard>, limits: &[Limit<'_>]) -> Judgement {
    let conflicts = joined.map_or(&[][..], |joined| &joined.inventory.conflicts);
    let mut unknown = None;
    for limit in limits.iter().filter(|limit| !limit.wanted.is_empty()) {
        let Limit {
            what,
            field,
            nobody,
            ..
        } = limit;
        let one_of = listed(limit.wanted);
        if let Some(who) = contradicted(conflicts, field) {
            unknown.get_or_insert_with(|| {
                format!(
                    "it is for {what} {one_of}, and vantage points contradict each other: {who}"
                )
            });
            continue;
        }
        let Some(is) = limit.is.filter(|is| !plain(is).is_empty()) else {
            unknown.get_or_insert_with(|| {
                format!("it is for {what} {one_of}, and {nobody} has told the card's ({field} of its DpuInventory)")
            });
            continue;
        };
        if !limit.wanted.iter().any(|one| (limit.same)(one, is)) {
            return Judgement::NotMet(format!(
                "it is for {what} {one_of}, and the card's is {is} ({field} of its DpuInventory)"
            ));
        }
    }
    unknown.map_or(Judgement::Met, Judgement::NotKnown)
}

fn limits<'a>(joined: Option<&'a JoinedCard>, fits: &'a ImageFits) -> [Limit<'a>; 5] {
    let inventory = joined.map(|joined| &joined.inventory);
    let system = inventory.and_then(|inventory| inventory.system.as_ref());
    let cpu = inventory.and_then(|inventory| inventory.cpu.as_ref());
    let told = |get: fn(&SystemFacts) -> &Option<String>| {
        system.and_then(|system| get(&system.facts).as_deref())
    };
    [
        Limit {
            what: "maker",
            field: "system.vendor",
            wanted: &fits.vendors,
            is: told(|system| &system.vendor),
            nobody: NOBODY,
            same: same_maker,
        },
        Limit {
            what: "family",
            field: "system.family",
            wanted: &fits.families,
            is: told(|system| &system.family),
            nobody: NOBODY,
            same: same_text,
        },
        Limit {
            what: "model",
            field: "system.model",
            wanted: &fits.models,
            is: told(|system| &system.model),
            nobody: NOBODY,
            same: same_text,
        },
        Limit {
            what: "part number",
            field: "system.partNumber",
            wanted: &fits.part_numbers,
            is: told(|system| &system.part_number),
            nobody: NOBODY,
            same: same_text,
        },
        Limit {
            what: "architecture",
            field: "cpu.architecture",
            wanted: &fits.architectures,
            is: cpu.and_then(|cpu| cpu.facts.architecture.as_deref()),
            nobody: NOBODY,
            same: |one, other| architecture(one) == architecture(other),
        },
    ]
}

/// Who says what of that field, if they do not agree.
fn contradicted(conflicts: &[Conflict], field: &str) -> Option<String> {
    if let Some(conflict) = conflicts.iter().find(|one| one.field == field) {
        let said = conflict.said.iter();
        let said = said.map(|said| format!("{} says {}", said.report, said.value));
        return Some(said.collect::<Vec<_>>().join(", "));
    }
    (conflicts.len() >= MOST_CONFLICTS)
        .then(|| "there are more contradictions about this card than are told".to_owned())
}
