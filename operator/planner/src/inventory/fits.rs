//! Whether a card is one that an image is made for, by its joined inventory.

use lockstep_crds::ImageFits;
use lockstep_crds::dpu_inventory::Conflict;

use super::JoinedCard;
use super::conflicts::{MOST_CONFLICTS, architecture};
use super::vendors::{plain, same_maker};
use crate::requirement::Judgement;

/// Whether what is known of a card holds for `fits`. What vantage points contradict each other
/// in is not known.
pub fn fits(joined: Option<&JoinedCard>, fits: &ImageFits) -> Judgement {
    let system = joined.and_then(|joined| joined.inventory.system.as_ref());
    let system = system.map(|system| &system.facts);
    let cpu = joined.and_then(|joined| joined.inventory.cpu.as_ref());
    let told = |get: fn(&lockstep_crds::inventory::SystemFacts) -> &Option<String>| {
        system.and_then(|system| get(system).as_deref())
    };
    let same_text = |one: &str, other: &str| plain(one) == plain(other);
    let same_architecture = |one: &str, other: &str| architecture(one) == architecture(other);
    type Same<'a> = &'a dyn Fn(&str, &str) -> bool;
    let asked: [(&str, &str, &[String], Option<&str>, Same<'_>); 5] = [
        (
            "maker",
            "system.vendor",
            &fits.vendors,
            told(|system| &system.vendor),
            &same_maker,
        ),
        (
            "family",
            "system.family",
            &fits.families,
            told(|system| &system.family),
            &same_text,
        ),
        (
            "model",
            "system.model",
            &fits.models,
            told(|system| &system.model),
            &same_text,
        ),
        (
            "part number",
            "system.partNumber",
            &fits.part_numbers,
            told(|system| &system.part_number),
            &same_text,
        ),
        (
            "architecture",
            "cpu.architecture",
            &fits.architectures,
            cpu.and_then(|cpu| cpu.facts.architecture.as_deref()),
            &same_architecture,
        ),
    ];
    let conflicts = joined.map_or(&[][..], |joined| &joined.inventory.conflicts);
    let mut unknown = None;
    for (what, field, wanted, is, same) in asked {
        if wanted.is_empty() {
            continue;
        }
        let one_of = wanted.join(", ");
        if let Some(who) = contradicted(conflicts, field) {
            unknown.get_or_insert_with(|| {
                format!(
                    "it is for {what} {one_of}, and vantage points contradict each other: {who}"
                )
            });
            continue;
        }
        let Some(is) = is.filter(|is| !plain(is).is_empty()) else {
            unknown.get_or_insert_with(|| {
                format!("it is for {what} {one_of}, and nobody has told the card's ({field} of its DpuInventory)")
            });
            continue;
        };
        if !wanted.iter().any(|one| same(one, is)) {
            return Judgement::NotMet(format!(
                "it is for {what} {one_of}, and the card's is {is} ({field} of its DpuInventory)"
            ));
        }
    }
    unknown.map_or(Judgement::Met, Judgement::NotKnown)
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
