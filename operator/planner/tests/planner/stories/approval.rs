//! Nothing is done to a card that nobody has approved, and nothing waits for it.

use lockstep_crds::boot_policy::PolicyMode;

use crate::world::{World, secs};

const REFUSED: &str = "Discovered Idle: NotApproved";

fn unapproved(cards: &[&str], index: usize) -> World {
    let mut world = World::new(cards);
    world.strict = true;
    world.edit_card(index, |card| card.approved = false);
    world
}

fn deeds_at(world: &World, machine: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.ends_with(machine)).count()
}

#[test]
fn a_card_that_was_only_found_is_left_alone_until_it_is_approved() {
    let mut world = unapproved(&["card1"], 0);
    world.settle(secs(1200));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert_eq!(world.card_says(0), REFUSED);
    assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
    assert!(
        world.status().cards.is_empty(),
        "it takes no place in the record"
    );
    let message = world.card_message(0);
    assert!(message.contains("kubectl patch dpu card1"), "{message}");
    assert!(message.contains("verb approve"), "{message}");

    world.edit_card(0, |card| card.approved = true);
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn the_host_and_its_other_cards_do_not_wait_for_it() {
    let mut world = unapproved(&["card1", "card2"], 1);
    let first = |w: &World| w.card_says(0) == "Ready Ready: AsWanted";
    world.until("card1 Ready", secs(1800), first);
    world.until("settled", secs(60), |w| w.host_says() == "Ready: AsWanted");
    assert!(world.host_machine.is_on(), "{}", world.told());
    assert_eq!(deeds_at(&world, "dpu/card2"), 0, "{}", world.told());
    assert_eq!(world.card_says(1), REFUSED);
}

#[test]
fn what_the_whole_domain_waits_for_says_nothing_of_it() {
    let troubles: [fn(&mut World); 4] = [
        |world| world.edit_host(|host| host.hands_off = true),
        |world| world.edit_policy(|policy| policy.mode = PolicyMode::Observe),
        |world| world.guards_intact = false,
        |world| world.policy = None,
    ];
    for (index, trouble) in troubles.into_iter().enumerate() {
        let mut world = unapproved(&["card1"], 0);
        trouble(&mut world);
        world.settle(secs(60));
        assert_eq!(world.card_says(0), REFUSED, "{index}\n{}", world.told());
    }
}

#[test]
fn what_was_begun_for_it_ends_at_the_next_safe_point() {
    for step in 0..5 {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.until("the step", secs(900), |w| w.effects.len() >= step);
        world.edit_card(0, |card| card.approved = false);
        let boots = |w: &World| {
            let deeds = w.deeds();
            deeds
                .iter()
                .filter(|deed| **deed == "PowerOn dpu/card1")
                .count()
        };
        // What is recorded already ends.
        world.settle(secs(15));
        let before = boots(&world);
        world.settle(secs(3600));
        assert_eq!(boots(&world), before, "step {step}\n{}", world.told());
        let card = &world.cards[0].machine;
        assert!(
            card.media.is_none() && !card.boot_override,
            "{}",
            world.told()
        );
        let status = world.status();
        assert!(status.hold.is_none() && status.directives.is_empty());
        assert_eq!(world.card_says(0), REFUSED, "step {step}\n{}", world.told());
        assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());

        world.edit_card(0, |card| card.approved = true);
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn a_card_that_nobody_approved_does_not_keep_a_hold_from_beginning() {
    let mut world = unapproved(&["card1", "card2"], 1);
    // What would be an obstacle of a card that is waited for.
    world.edit_card(1, |card| card.identity = None);
    world.until("card1 Ready", secs(1800), |w| {
        w.card_says(0) == "Ready Ready: AsWanted"
    });
    assert_eq!(world.card_says(1), REFUSED);
}
