//! The policy chooses a card's image by what the card is (R42).

use lockstep_crds::condition;

use super::waits;
use crate::world::build::{by_family, image};
use crate::world::{World, secs};

/// A card under a policy with these choices, and `os-1` for all others.
fn world(choices: &[(&str, &str)], family: Option<&str>) -> World {
    let mut world = World::new(&["card1"]);
    chooses(&mut world, choices);
    told(&mut world, family);
    world
}

fn chooses(world: &mut World, choices: &[(&str, &str)]) {
    let choices = choices
        .iter()
        .map(|(family, image)| by_family(family, image));
    world.edit_policy(|policy| policy.image_choices = choices.collect());
}

fn told(world: &mut World, family: Option<&str>) {
    world.cards[0].family = family.map(str::to_owned);
}

fn is_ready_with(world: &mut World, version: &str) {
    let disk = Some(image(version));
    world.until(version, secs(1500), |w| {
        w.cards[0].disk == disk && w.is_ready()
    });
    world.settle(secs(60));
}

/// Status, reason and message of the condition that tells what was chosen.
fn chosen(world: &World) -> (String, String, String) {
    let status = world.cards[0]
        .dpu
        .as_ref()
        .unwrap()
        .status
        .as_ref()
        .unwrap();
    let condition = condition::find(&status.conditions, condition::IMAGE_CHOSEN).unwrap();
    (
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    )
}

/// Nothing is done to a card that runs, and the condition says so.
#[track_caller]
fn is_left_alone(world: &mut World, says: (&str, &str), words: &[&str]) {
    world.effects.clear();
    world.settle(secs(600));
    assert!(
        world.effects.is_empty() && world.is_ready(),
        "{}",
        world.told()
    );
    let (status, reason, message) = chosen(world);
    assert_eq!((status.as_str(), reason.as_str()), says, "{message}");
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn the_first_choice_that_fits_is_installed_and_told_and_the_policys_image_goes_to_all_others() {
    let table = [
        (
            Some("new"),
            "os-2",
            "choice new of imageChoices of DpuBootPolicy policy: it fits by its family",
        ),
        (
            Some("old"),
            "os-1",
            "by imageRef, for none of imageChoices fits of DpuBootPolicy policy",
        ),
    ];
    for (family, version, words) in table {
        let mut world = world(&[("new", "os-2"), ("new", "net-3")], family);
        is_ready_with(&mut world, version);
        is_left_alone(&mut world, ("True", "Chosen"), &[version, words]);
    }
}

#[test]
fn nothing_is_done_while_it_is_not_known_which_choice_fits() {
    let mut world = world(&[("new", "os-2"), ("old", "os-1")], None);
    let words = [
        "whether choice new of imageChoices fits the card is not known",
        "nobody has told the card's family",
        "spec.missing says who could tell it",
    ];
    waits(&mut world, "ImageNotChosen", &words);
    let (status, reason, _) = chosen(&world);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ImageNotChosen")
    );
    told(&mut world, Some("old"));
    is_ready_with(&mut world, "os-1");
}

#[test]
fn a_card_that_names_an_image_is_not_asked_what_it_is() {
    let mut world = world(&[("new", "os-2")], None);
    world.edit_card(0, |card| {
        card.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-1".into(),
        });
    });
    is_ready_with(&mut world, "os-1");
    let status = world.cards[0]
        .dpu
        .as_ref()
        .unwrap()
        .status
        .as_ref()
        .unwrap();
    assert!(condition::find(&status.conditions, condition::IMAGE_CHOSEN).is_none());
    assert!(world.status().cards[0].chosen.is_none());
}

#[test]
fn facts_that_change_leave_a_card_that_runs_alone_until_a_person_asks_anew() {
    let mut world = world(&[("new", "os-2")], Some("new"));
    is_ready_with(&mut world, "os-2");
    told(&mut world, None);
    is_left_alone(
        &mut world,
        ("True", "Kept"),
        &["os-2", "as it was chosen before"],
    );
    told(&mut world, Some("old"));
    let words = ["os-2", "it would be os-1 by imageRef", "change retryToken"];
    is_left_alone(&mut world, ("False", "ImageChoiceDiffers"), &words);
    // What nobody can tell is no reason to forget what was chosen, whoever asks.
    told(&mut world, None);
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(1200));
    assert_eq!(world.cards[0].disk, Some(image("os-2")), "{}", world.told());
    told(&mut world, Some("old"));
    world.power_off_host();
    is_ready_with(&mut world, "os-1");
    is_left_alone(&mut world, ("True", "Chosen"), &["os-1"]);
}

#[test]
fn an_edit_of_the_choices_is_followed_as_one_of_the_image_is() {
    let mut world = world(&[("new", "os-1")], Some("new"));
    is_ready_with(&mut world, "os-1");
    chooses(&mut world, &[("new", "os-2")]);
    world.settle(secs(300));
    // Its host is in use.
    assert_eq!(world.cards[0].disk, Some(image("os-1")), "{}", world.told());
    world.power_off_host();
    is_ready_with(&mut world, "os-2");
}

#[test]
fn a_choice_that_is_added_while_nobody_can_tell_waits_beside_the_card_that_runs() {
    let mut world = world(&[("new", "os-1")], Some("new"));
    is_ready_with(&mut world, "os-1");
    told(&mut world, None);
    chooses(&mut world, &[("newest", "os-2"), ("new", "os-1")]);
    is_left_alone(&mut world, ("True", "Kept"), &["choice newest"]);
    // It is none of the choices any more: what it is to get is not known.
    chooses(&mut world, &[("newest", "os-2")]);
    world.effects.clear();
    world.settle(secs(1200));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: ImageNotChosen");
    told(&mut world, Some("newest"));
    world.power_off_host();
    is_ready_with(&mut world, "os-2");
}

#[test]
fn a_fact_that_is_corrected_before_anything_was_done_counts() {
    let mut world = world(&[("new", "os-2")], Some("old"));
    world.source_ok = false;
    world.settle(secs(120));
    assert_eq!(
        world.status().cards[0].chosen.as_ref().unwrap().image,
        "os-1"
    );
    told(&mut world, Some("new"));
    world.source_ok = true;
    is_ready_with(&mut world, "os-2");
    assert!(
        !world.cards[0].ran.contains(&image("os-1").digest),
        "{}",
        world.told()
    );
}

#[test]
fn a_choice_of_an_image_that_does_not_exist_is_told() {
    let mut world = world(&[("new", "os-9")], Some("new"));
    waits(
        &mut world,
        "ImageNotFound",
        &["DpuImage os-9 does not exist"],
    );
}
