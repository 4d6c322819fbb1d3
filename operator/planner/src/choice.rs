//! Which image is wanted of a card, and by whose word: its own, one of the policy's choices, or the
//! policy's for all others.
//!
//! Facts choose an image once. After anything was done with it, it stays until a person asks anew, by an
//! edit of the choices or `retryToken`: a card whose inventory is corrected must not lose its system by it.

use lockstep_crds::boot_policy::{DpuBootPolicySpec, InventorySelector};
use lockstep_crds::host::CardRecord;
use lockstep_crds::{ChosenImage, Dpu, ImageChoice, LocalRef};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::requirement::Judgement;

/// By whose word an image is wanted of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Neither the card nor its policy names one for it.
    Nothing,
    /// `imageRef` of the card.
    Own(String),
    /// `imageRef` of a policy without choices.
    Policy(String),
    /// The choices of the policy came to this.
    Chosen(ChosenImage, Standing),
    /// Whether a choice fits is not known, so nothing is wanted yet; why.
    NotKnown(String),
}

/// How what was chosen stands to what is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The choices come to it; by what.
    Fits(String),
    /// They came to it, and what nobody can tell now is no reason to change that.
    Kept(String),
    /// They would come to something else, and something was done with it; to what.
    Differs(String),
}

impl Choice {
    /// Name of the `DpuImage` that is wanted.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Own(image) | Self::Policy(image) => Some(image),
            Self::Chosen(chosen, _) => Some(&chosen.image),
            Self::Nothing | Self::NotKnown(_) => None,
        }
    }

    /// What the choices of the policy came to.
    pub fn chosen(&self) -> Option<&ChosenImage> {
        match self {
            Self::Chosen(chosen, _) => Some(chosen),
            Self::Nothing | Self::Own(_) | Self::Policy(_) | Self::NotKnown(_) => None,
        }
    }
}

/// The firmware images that are wanted of a card. None as long as it is not known which choice is its
/// own, if that decides about firmware.
pub fn firmware_named<'a>(
    dpu: &'a Dpu,
    policy: Option<&'a DpuBootPolicySpec>,
    choice: &Choice,
) -> &'a [LocalRef] {
    let own = dpu.spec.firmware_refs.as_deref();
    match policy {
        Some(policy) if is_firmware_known(dpu, Some(policy), choice) => {
            policy.firmware_for(&dpu.spec, choice.chosen())
        }
        Some(_) | None => own.unwrap_or_default(),
    }
}

/// Whether somebody can tell which firmware is wanted of a card: the policy may be gone, or the choice that
/// decides about it not made yet.
pub(crate) fn is_firmware_known(
    dpu: &Dpu,
    policy: Option<&DpuBootPolicySpec>,
    choice: &Choice,
) -> bool {
    let decides = |policy: &DpuBootPolicySpec| {
        let mut choices = policy.image_choices.iter();
        choices.any(|one| one.firmware_refs.is_some())
    };
    let is_chosen = !matches!(choice, Choice::NotKnown(_));
    dpu.spec.firmware_refs.is_some() || policy.is_some_and(|policy| is_chosen || !decides(policy))
}

/// Chooses the image of a card. `kept`: its record. `judge`: whether the card fits a selector.
pub fn choose(
    dpu: &Dpu,
    policy: Option<&DpuBootPolicySpec>,
    kept: Option<&CardRecord>,
    judge: impl Fn(&InventorySelector) -> Judgement,
) -> Choice {
    if let Some(own) = &dpu.spec.image_ref {
        return Choice::Own(own.name.clone());
    }
    let Some(policy) = policy else {
        return Choice::Nothing;
    };
    if policy.image_choices.is_empty() {
        let named = policy.image_ref.as_ref();
        return named.map_or(Choice::Nothing, |named| Choice::Policy(named.name.clone()));
    }
    let among = all(dpu, policy);
    let now = first_that_fits(dpu, policy, &among, &judge);
    let recorded = kept.and_then(|kept| Some((kept, kept.chosen.as_ref()?)));
    let Some((kept, recorded)) = recorded else {
        return chosen_now(now);
    };
    let same_token = recorded.retry_token == dpu.spec.retry_token;
    let is_begun = is_begun(policy, recorded, kept);
    let is_kept = is_begun && same_token;
    let same_question = same_token && recorded.among == among;
    let stay = |standing: Standing| Choice::Chosen(recorded.clone(), standing);
    match now {
        Err(why) if is_begun && (same_question || stands(dpu, policy, recorded, &judge)) => {
            stay(Standing::Kept(why))
        }
        Ok((new, _))
            if is_kept
                && !is_same(new.as_ref(), recorded)
                && among.contains(&recorded.by)
                && is_old(&among, new.as_ref(), recorded) =>
        {
            stay(Standing::Differs(new.as_ref().map_or_else(
                || "none of imageChoices, and the policy has no imageRef".to_owned(),
                |new| format!("{} by {}", new.image, in_words(new)),
            )))
        }
        now => chosen_now(now),
    }
}

/// Whether what the choices come to now stood there when the other one was chosen.
fn is_old(among: &[String], new: Option<&ChosenImage>, recorded: &ChosenImage) -> bool {
    let by = new.map_or(among.last(), |new| Some(&new.by));
    by.is_some_and(|by| recorded.among.contains(by))
}

type Found = Result<(Option<ChosenImage>, String), String>;

fn chosen_now(now: Found) -> Choice {
    match now {
        Ok((Some(new), by)) => Choice::Chosen(new, Standing::Fits(by)),
        Ok((None, _)) => Choice::Nothing,
        Err(why) => Choice::NotKnown(why),
    }
}

/// What the choices come to, and by what; or why nobody can tell.
fn first_that_fits(
    dpu: &Dpu,
    policy: &DpuBootPolicySpec,
    among: &[String],
    judge: &impl Fn(&InventorySelector) -> Judgement,
) -> Found {
    let found = |choice: Option<&String>, image: &str, by: Option<&String>| ChosenImage {
        choice: choice.cloned(),
        image: image.to_owned(),
        by: by.cloned().unwrap_or_default(),
        among: among.to_vec(),
        retry_token: dpu.spec.retry_token.clone(),
    };
    for (choice, by) in policy.image_choices.iter().zip(among) {
        match fits(dpu, choice, judge) {
            Judgement::Met => {
                let chosen = found(Some(&choice.name), &choice.image_ref.name, Some(by));
                return Ok((Some(chosen), asks_for(choice)));
            }
            Judgement::NotMet(_) => {}
            Judgement::NotKnown(why) => {
                return Err(format!(
                    "whether choice {} of imageChoices fits the card is not known: {why}",
                    choice.name
                ));
            }
        }
    }
    let others = policy.image_ref.as_ref();
    Ok((
        others.map(|others| found(None, &others.name, among.last())),
        "none of imageChoices fits".to_owned(),
    ))
}

/// Labels first: a card that lacks one is not asked what it is.
fn fits(
    dpu: &Dpu,
    choice: &ImageChoice,
    judge: &impl Fn(&InventorySelector) -> Judgement,
) -> Judgement {
    match lacks_label(dpu, choice) {
        Some(lack) => Judgement::NotMet(format!("it is for the label {lack}")),
        None => choice.cards.as_ref().map_or(Judgement::Met, judge),
    }
}

/// The first label of the choice that the card does not have.
fn lacks_label(dpu: &Dpu, choice: &ImageChoice) -> Option<String> {
    let labels = dpu.metadata.labels.as_ref();
    let has = |key: &String| labels.and_then(|labels| labels.get(key));
    let mut wanted = choice.match_labels.iter();
    let lack = wanted.find(|(key, value)| has(key) != Some(value));
    lack.map(|(key, value)| format!("{key}={value}"))
}

/// What a choice looks at, in words.
fn asks_for(choice: &ImageChoice) -> String {
    let cards = choice.cards.clone().unwrap_or_default();
    let of_cards = [
        (!cards.families.is_empty(), "its family"),
        (!cards.part_numbers.is_empty(), "its part number"),
        (!cards.serial_numbers.is_empty(), "its serial number"),
    ];
    let of_cards = of_cards.into_iter().filter(|(is_asked, _)| *is_asked);
    let of_cards = of_cards.map(|(_, what)| what.to_owned());
    let labels = choice.match_labels.iter();
    let labels = labels.map(|(key, value)| format!("label {key}={value}"));
    let all: Vec<String> = of_cards.chain(labels).collect();
    format!("it fits by {}", all.join(", "))
}

/// The choice, for people.
pub(crate) fn in_words(chosen: &ChosenImage) -> String {
    chosen.choice.as_ref().map_or_else(
        || "imageRef, for none of imageChoices fits".to_owned(),
        |choice| format!("choice {choice} of imageChoices"),
    )
}

fn is_same(new: Option<&ChosenImage>, recorded: &ChosenImage) -> bool {
    new.is_some_and(|new| new.choice == recorded.choice && new.image == recorded.image)
}

/// Whether what is recorded is still one of the choices, and not one that is known not to fit.
fn stands(
    dpu: &Dpu,
    policy: &DpuBootPolicySpec,
    recorded: &ChosenImage,
    judge: &impl Fn(&InventorySelector) -> Judgement,
) -> bool {
    let Some(name) = &recorded.choice else {
        let others = policy.image_ref.as_ref();
        return others.is_some_and(|others| others.name == recorded.image);
    };
    let mut choices = policy.image_choices.iter();
    choices.any(|choice| {
        let is_it = choice.name == *name && choice.image_ref.name == recorded.image;
        is_it && !matches!(fits(dpu, choice, judge), Judgement::NotMet(_))
    })
}

/// Whether anything was done to the card with what is recorded.
fn is_begun(policy: &DpuBootPolicySpec, recorded: &ChosenImage, kept: &CardRecord) -> bool {
    let mut choices = policy.image_choices.iter();
    let choice = choices.find(|choice| Some(&choice.name) == recorded.choice.as_ref());
    let brings_firmware = choice.is_some_and(|choice| choice.firmware_refs.is_some());
    kept.attempts > 0
        || kept.booted_at.is_some()
        || kept.observed_at.is_some()
        || kept.roll_back.is_some()
        || brings_firmware && kept.components.iter().any(|one| one.attempts > 0)
}

/// All that an image is chosen from, as digests: of each choice in its order, and of the `imageRef` for
/// all others.
fn all(dpu: &Dpu, policy: &DpuBootPolicySpec) -> Vec<String> {
    let choices = policy.image_choices.iter();
    let choices = choices.map(|choice| of_choice(dpu, choice));
    choices.chain([of_others(policy)]).collect()
}

/// Digest of a choice, and of whether the card has its labels. What it says of firmware is no part of it:
/// that is read when it is wanted, and an edit of it is no reason to choose a system anew.
fn of_choice(dpu: &Dpu, choice: &ImageChoice) -> String {
    let choice = ImageChoice {
        firmware_refs: None,
        ..choice.clone()
    };
    let has_labels = lacks_label(dpu, &choice).is_none();
    digest(json!({"choice": choice, "hasLabels": has_labels}))
}

fn of_others(policy: &DpuBootPolicySpec) -> String {
    digest(json!({"imageRef": policy.image_ref}))
}

fn digest(mut written: serde_json::Value) -> String {
    // However this program is built.
    written.sort_all_objects();
    let mut digest = hex::encode(Sha256::digest(written.to_string()));
    digest.truncate(16);
    digest
}
