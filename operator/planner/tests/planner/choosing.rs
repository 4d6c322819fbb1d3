//! Which image a card gets, for every order of choices and everything that may be known of the card (R42).

use lockstep_crds::boot_policy::{DpuBootPolicySpec, InventorySelector};
use lockstep_crds::host::CardRecord;
use lockstep_crds::{Dpu, LocalRef};
use lockstep_planner::choice::{Choice, Standing, choose, firmware_named};
use lockstep_planner::requirement::Judgement;
use proptest::prelude::*;
use serde_json::json;

use crate::world::build::{by_family, dpu};

/// What is known of whether a choice fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Fits,
    FitsNot,
    Nothing,
}

fn known() -> impl Strategy<Value = Known> {
    prop_oneof![
        3 => Just(Known::Fits),
        4 => Just(Known::FitsNot),
        2 => Just(Known::Nothing),
    ]
}

/// A choice may also ask for a label, which the card has or lacks.
fn labels() -> impl Strategy<Value = Option<bool>> {
    prop_oneof![2 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))]
}

#[derive(Clone, Debug)]
struct Case {
    choices: Vec<(Option<bool>, Known, Known)>,
    others: bool,
    own: bool,
    begun: bool,
    asked_anew: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let choices = prop::collection::vec((labels(), known(), known()), 0..5);
    let rest = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        any::<bool>(),
        any::<bool>(),
    );
    (choices, rest).prop_map(|(choices, (others, own, begun, asked_anew))| Case {
        choices,
        others,
        own,
        begun,
        asked_anew,
    })
}

fn named(name: &str) -> LocalRef {
    LocalRef {
        name: name.to_owned(),
    }
}

fn policy(case: &Case) -> DpuBootPolicySpec {
    let mut policy: DpuBootPolicySpec = serde_json::from_str("{}").unwrap();
    policy.image_ref = case.others.then(|| named("others"));
    let choices = case.choices.iter().enumerate();
    policy.image_choices = choices
        .map(|(n, (label, ..))| {
            let mut choice = by_family(&n.to_string(), &format!("image-{n}"));
            let label = label.map(|has| if has { "there" } else { "missing" });
            let label = label.map(|label| (label.to_owned(), "yes".to_owned()));
            choice.match_labels = label.into_iter().collect();
            choice
        })
        .collect();
    policy
}

fn card(case: &Case) -> Dpu {
    let mut card = dpu("card1");
    card.metadata.labels = Some([("there".to_owned(), "yes".to_owned())].into());
    card.spec.image_ref = case.own.then(|| named("own"));
    card
}

fn judge(facts: &[Known], selector: &InventorySelector) -> Judgement {
    let n: usize = selector.families[0].parse().unwrap();
    match facts[n] {
        Known::Fits => Judgement::Met,
        Known::FitsNot => Judgement::NotMet("no".to_owned()),
        Known::Nothing => Judgement::NotKnown("who knows".to_owned()),
    }
}

/// What the order of words alone comes to: `Err` where nobody can tell.
fn by_order(case: &Case, facts: &[Known]) -> Result<Option<String>, ()> {
    if case.own {
        return Ok(Some("own".to_owned()));
    }
    let labels = case.choices.iter().map(|(label, ..)| *label);
    for (n, (label, fact)) in labels.zip(facts).enumerate() {
        match (label, fact) {
            (Some(false), _) | (_, Known::FitsNot) => {}
            (_, Known::Fits) => return Ok(Some(format!("image-{n}"))),
            (_, Known::Nothing) => return Err(()),
        }
    }
    Ok(case.others.then(|| "others".to_owned()))
}

fn image(choice: &Choice) -> Result<Option<String>, ()> {
    match choice {
        Choice::NotKnown(_) => Err(()),
        Choice::Nothing | Choice::Own(_) | Choice::Policy(_) | Choice::Chosen(..) => {
            Ok(choice.image().map(str::to_owned))
        }
    }
}

fn record(choice: &Choice, begun: bool) -> CardRecord {
    let attempts = i64::from(begun);
    let mut record: CardRecord = serde_json::from_value(json!({
        "name": "card1", "uid": "uid-card1", "physicalId": "SN-card1", "attempts": attempts,
    }))
    .unwrap();
    record.chosen = choice.chosen().cloned();
    record
}

proptest! {
    #[test]
    fn the_cards_word_goes_before_the_choices_in_their_order_and_those_before_the_policys(case in cases()) {
        let (policy, mut card) = (policy(&case), card(&case));
        let first: Vec<Known> = case.choices.iter().map(|one| one.1).collect();
        let later: Vec<Known> = case.choices.iter().map(|one| one.2).collect();
        let chosen = choose(&card, Some(&policy), None, |selector| judge(&first, selector));
        prop_assert_eq!(image(&chosen), by_order(&case, &first));

        // What is recorded stays as it is, whatever is told later, if anything was done with it.
        let kept = record(&chosen, case.begun);
        if case.asked_anew {
            card.spec.retry_token = Some("again".to_owned());
        }
        let then = choose(&card, Some(&policy), Some(&kept), |selector| judge(&later, selector));
        let by_now = by_order(&case, &later);
        let expected = match (chosen.chosen(), &by_now) {
            (Some(recorded), Ok(_)) if case.begun && !case.asked_anew => Ok(Some(recorded.image.clone())),
            // Nobody can tell, and it is not known not to fit.
            (Some(recorded), Err(())) if case.begun => {
                let n = recorded.choice.as_ref().map(|name| name.parse::<usize>().unwrap());
                let is_out = n.is_some_and(|n| later[n] == Known::FitsNot);
                if case.asked_anew && is_out { Err(()) } else { Ok(Some(recorded.image.clone())) }
            }
            (_, by_now) => (*by_now).clone(),
        };
        prop_assert_eq!(image(&then), expected);
        let differs = matches!(&then, Choice::Chosen(_, Standing::Differs(_)));
        prop_assert_eq!(differs, by_now.is_ok() && image(&then) != by_now);

        // And it does not change by being recorded.
        let again = record(&then, case.begun);
        let same = choose(&card, Some(&policy), Some(&again), |selector| judge(&later, selector));
        if then.chosen().is_some() {
            prop_assert_eq!(same, then);
        }
    }
}

#[test]
fn firmware_is_of_the_choice_or_of_the_policy_and_of_neither_as_long_as_that_is_not_known() {
    let mut policy: DpuBootPolicySpec = serde_json::from_str("{}").unwrap();
    policy.firmware_refs = vec![named("all")];
    policy.image_choices = vec![by_family("0", "image-0"), by_family("1", "image-1")];
    let mut card = dpu("card1");
    let firmware = |card: &Dpu, policy: &DpuBootPolicySpec, facts: [Known; 2]| -> Vec<String> {
        let choice = choose(card, Some(policy), None, |selector| judge(&facts, selector));
        let named = firmware_named(card, Some(policy), &choice);
        named.iter().map(|one| one.name.clone()).collect()
    };
    let unknown = [Known::Nothing, Known::Fits];
    assert_eq!(
        firmware(&card, &policy, unknown),
        ["all"],
        "no choice says any"
    );
    policy.image_choices[0].firmware_refs = Some(vec![named("first")]);
    assert!(firmware(&card, &policy, unknown).is_empty());
    assert_eq!(
        firmware(&card, &policy, [Known::Fits, Known::Fits]),
        ["first"]
    );
    assert_eq!(
        firmware(&card, &policy, [Known::FitsNot, Known::Fits]),
        ["all"]
    );
    assert_eq!(
        firmware(&card, &policy, [Known::FitsNot, Known::FitsNot]),
        ["all"]
    );
    card.spec.firmware_refs = Some(vec![named("own")]);
    assert_eq!(firmware(&card, &policy, unknown), ["own"]);
}

/// Firmware is named anew whenever it is wanted; it is the system that must not change by itself.
#[test]
fn an_edit_of_a_choices_firmware_or_of_a_label_that_no_choice_asks_for_is_no_reason_to_choose_anew()
{
    let mut policy: DpuBootPolicySpec = serde_json::from_str("{}").unwrap();
    policy.image_choices = vec![by_family("0", "image-0"), by_family("1", "image-1")];
    policy.image_choices[1].match_labels = [("ring".to_owned(), "a".to_owned())].into();
    let mut card = dpu("card1");
    let first = choose(&card, Some(&policy), None, |s| judge(&[Known::Fits; 2], s));
    let kept = record(&first, true);
    let later = [Known::FitsNot, Known::Fits];
    let chosen = |card: &Dpu, policy: &DpuBootPolicySpec| {
        let choice = choose(card, Some(policy), Some(&kept), |s| judge(&later, s));
        choice.image().map(str::to_owned)
    };
    card.metadata.labels = Some([("rack".to_owned(), "7".to_owned())].into());
    policy.image_choices[0].firmware_refs = Some(vec![named("f")]);
    assert_eq!(chosen(&card, &policy).as_deref(), Some("image-0"));
    card.metadata.labels = Some([("ring".to_owned(), "a".to_owned())].into());
    assert_eq!(chosen(&card, &policy).as_deref(), Some("image-1"));
}

#[test]
fn an_edit_beside_it_moves_no_card_that_its_facts_would_move() {
    let choice = |name: &str, family: &str, image: &str| -> lockstep_crds::ImageChoice {
        serde_json::from_value(json!({
            "name": name, "cards": {"families": [family]}, "imageRef": {"name": image},
        }))
        .unwrap()
    };
    let mut policy: DpuBootPolicySpec = serde_json::from_str("{}").unwrap();
    policy.image_ref = Some(named("others"));
    policy.image_choices = vec![
        choice("two", "BF2", "image-2"),
        choice("three", "BF3", "image-3"),
    ];
    let mut card: Dpu = serde_json::from_value(json!({
        "metadata": {"name": "card1"}, "spec": {"site": "a", "hostRefs": [{"name": "host1"}]},
    }))
    .unwrap();
    let family = |is: &'static str| {
        move |selector: &InventorySelector| {
            if selector.families.iter().any(|one| one == is) {
                Judgement::Met
            } else {
                Judgement::NotMet("another".to_owned())
            }
        }
    };
    let first = choose(&card, Some(&policy), None, family("BF2"));
    let kept = record(&first, true);
    let image_now = |policy: &DpuBootPolicySpec, card: &Dpu, is| {
        let chosen = choose(card, Some(policy), Some(&kept), family(is));
        image(&chosen).unwrap().unwrap()
    };
    assert_eq!(
        image_now(&policy, &card, "BF3"),
        "image-2",
        "its facts move nothing"
    );
    let mut edited = policy.clone();
    edited
        .image_choices
        .insert(0, choice("one", "BF1", "image-1"));
    edited.image_ref = Some(named("newer"));
    assert_eq!(
        image_now(&edited, &card, "BF3"),
        "image-2",
        "nor does an edit beside"
    );
    assert_eq!(
        image_now(&edited, &card, "BF9"),
        "newer",
        "what it comes to is new"
    );
    edited.image_choices[2].image_ref = named("image-3b");
    assert_eq!(image_now(&edited, &card, "BF3"), "image-3b");
    edited.image_choices.remove(1);
    edited.image_choices[1] = policy.image_choices[1].clone();
    assert_eq!(
        image_now(&edited, &card, "BF3"),
        "image-3",
        "its own choice is gone"
    );
    card.spec.retry_token = Some("again".to_owned());
    assert_eq!(
        image_now(&policy, &card, "BF3"),
        "image-3",
        "a person asks anew"
    );
}
