//! What a BMC does not offer is not asked of it, and nothing is begun that would need it.

use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_crds::host::Disruption;
use lockstep_crds::observed::{Offer, PowerState};

use crate::world::{World, secs};

fn lists(kinds: &[&str]) -> Vec<String> {
    kinds.iter().map(|kind| (*kind).to_owned()).collect()
}

#[track_caller]
fn untouched(world: &mut World, says: &str, words: &str) {
    world.settle(secs(1200));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert!(world.effects.is_empty() && world.status().hold.is_none());
    assert_eq!(world.card_says(0), says);
    let message = world.card_message(0);
    assert!(message.contains(words), "{message}");
}

/// An Intel E2100 can be shut down and restarted, and never powered on: once it was down, it
/// would stay so.
#[test]
fn a_card_that_cannot_be_powered_on_is_not_shut_down_for_an_install() {
    for on in [false, true] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.power_on_host();
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        if on {
            world.cards[0].disk = Some(crate::world::build::image("os-2"));
            world.power_on_card(0);
        }
        world.cards[0].machine.reset_types = lists(&["GracefulShutdown", "GracefulRestart"]);
        untouched(
            &mut world,
            "Stalled Stalled: CapabilityMissing",
            "the BMC offers no reset of type On or ForceOn, only GracefulShutdown, GracefulRestart",
        );
        assert!(world.card_message(0).contains("goes on by itself"));
        assert_eq!(world.host_says(), "Stalled: CapabilityMissing");
        world.cards[0].machine.reset_types.push("ForceOn".into());
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn a_card_that_cannot_be_taken_down_is_left_alone_while_it_is_on() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].disk = Some(crate::world::build::image("os-2"));
    world.power_on_card(0);
    world.cards[0].machine.reset_types = lists(&["On", "ForceRestart"]);
    untouched(
        &mut world,
        "Stalled Stalled: CapabilityMissing",
        "no reset of type ForceOff",
    );
    world.power_off_card(0);
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn power_that_cannot_be_cut_is_not_tried_to_be() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].disk = Some(crate::world::build::image("os-2"));
    world.power_on_card(0);
    world.cards[0].machine.reset_types = lists(&["On", "GracefulShutdown"]);
    world.cards[0].machine.deaf = true;
    world.until("it is asked", secs(600), |w| {
        w.card_says(0) == "Stalled Stalled: CapabilityMissing"
    });
    let message = world.card_message(0);
    assert!(message.contains("power it off yourself"), "{message}");
    world.settle(secs(1200));
    let cut = |d: &Directive| d.action.kind == ActionKind::ForceOff;
    assert!(!world.recorded.iter().any(cut), "{}", world.told());
    world.power_off_card(0);
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_host_that_could_not_be_powered_on_again_is_not_held_off() {
    for on in [false, true] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        if on {
            world.power_on_host();
        }
        world.host_machine.reset_types = lists(&["ForceOff", "GracefulShutdown"]);
        untouched(
            &mut world,
            "Stalled Stalled: CapabilityMissing",
            "PoweredOff needs a BMC that takes it down and powers it on again",
        );
        world.host_machine.reset_types.push("On".into());
        world.until("Ready", secs(3600), World::is_ready);
    }
}

/// A card on auxiliary power whose BMC shows its FRU data and little else (R157).
#[test]
fn a_bmc_that_shows_but_who_the_card_is_gets_no_install() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.power_on_host();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.cards[0].machine.virtual_media = Offer::NotRead;
    world.settle(secs(60));
    assert_eq!(world.card_says(0), "Inspecting Reconciling: Inspecting");
    untouched(
        &mut world,
        "Stalled Stalled: Inspecting",
        "offers virtual media has not been read",
    );
    world.cards[0].machine.virtual_media = Offer::NotOffered;
    untouched(
        &mut world,
        "Stalled Stalled: CapabilityMissing",
        "offers no virtual media that can hold an image",
    );
    // Off alone is nothing to wait for: it is powered on to install.
    world.cards[0].machine.virtual_media = Offer::Offered;
    assert_eq!(world.cards[0].machine.power, PowerState::Off);
    world.until("Ready", secs(3600), World::is_ready);
}
