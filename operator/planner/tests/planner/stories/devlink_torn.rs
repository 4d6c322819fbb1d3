//! What is not done with the power of a host one of whose cards may have a part of its firmware alone.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::BootOrder;

use super::*;
use crate::stories::wipe::wipe;
use crate::world::machine::Coming;

/// Firmware of the first card is there in part, and is not written again before a person has looked.
fn torn(world: &mut World) {
    world.host_agent.as_mut().unwrap().flashes = [Flash::BreaksOff, Flash::CutOff].into();
    world.until("torn for good", secs(12_000), |w| {
        is_torn(w) && component(w).attempts == 2 && w.tainted.is_empty()
    });
    world.cards[0].firmware.clear();
    world.settle(secs(300));
    assert!(world.cards[0].machine.half_flashed && is_torn(world));
}

fn wants(world: &mut World, version: &str) {
    let image = LocalRef {
        name: version.to_owned(),
    };
    world.edit_policy(|policy| policy.image_ref = Some(image));
}

/// Nothing changed the power of host or card since.
#[track_caller]
fn keeps_still(world: &mut World, before: usize) {
    world.settle(secs(3000));
    let deeds = &world.deeds()[before..];
    let is_of_power = |deed: &&&str| {
        let kinds = ["PowerOn", "Shutdown", "ForceOff", "Release", "HoldHost"];
        kinds.iter().any(|kind| deed.starts_with(kind))
    };
    assert!(
        !deeds.iter().any(|deed| is_of_power(&deed)),
        "{}",
        world.told()
    );
    assert!(is_torn(world), "{}", world.told());
}

fn has_looked(world: &mut World) {
    world.looks_at_firmware(0);
    world.edit_card(0, |card| card.retry_token = Some("looked".to_owned()));
}

#[test]
fn a_host_that_somebody_has_powered_off_is_not_powered_on() {
    for order in [BootOrder::XpuFirst, BootOrder::HostFirst] {
        let mut world = world();
        torn(&mut world);
        world.edit_policy(|policy| policy.order = order);
        world.power_off_host();
        wants(&mut world, "os-2");
        let before = world.deeds().len();
        keeps_still(&mut world, before);
        assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
        let message = world.card_message(0);
        assert!(message.contains("nor its host is powered on"), "{message}");
        has_looked(&mut world);
        world.until("on", secs(3000), |w| w.host_machine.is_on());
    }
}

#[test]
fn a_card_that_is_to_be_wiped_is_torn_first_and_nobody_is_told_to_power_it_off() {
    let mut world = world();
    torn(&mut world);
    // That a part of it is listed does not make it wait for a power cycle.
    world.cards[0].machine.flashed.1 = Some(NEW.to_owned());
    world.cards[0].machine.hides_flashed = false;
    wants(&mut world, "os-1");
    wipe(&mut world, "once");
    let before = world.deeds().len();
    keeps_still(&mut world, before);
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
    let message = world.card_message(0);
    assert!(!message.contains("runs once"), "{message}");
}

/// Two cards, the first of them torn.
fn two() -> World {
    let mut world = of(&["card1", "card2"]);
    torn(&mut world);
    // It runs what is wanted of it, and is in nobody's way.
    world.edit_card(0, |card| {
        card.image_ref = Some(LocalRef {
            name: "os-1".to_owned(),
        });
    });
    world
}

#[test]
fn a_card_that_has_left_the_host_or_lost_its_bmc_in_the_spec_counts_as_before() {
    type Change = fn(&mut World);
    let changes: [Change; 2] = [
        |world| world.edit_card(0, |card| "host2".clone_into(&mut card.host_refs[0].name)),
        |world| world.edit_card(0, |card| card.bmc = None),
    ];
    for change in changes {
        for is_off in [true, false] {
            let mut world = two();
            change(&mut world);
            world.settle(secs(300));
            wants(&mut world, "os-2");
            if is_off {
                world.power_off_host();
            } else {
                world.node.as_mut().unwrap().ready = Readiness::NotReady;
                let off = vec![HoldMechanism::PoweredOff];
                world.edit_policy(|policy| policy.hold.mechanisms = off);
            }
            let before = world.deeds().len();
            keeps_still(&mut world, before);
            assert_eq!(world.card_says(1), "Stalled Stalled: FirmwareTorn");
            let message = world.card_message(1);
            assert!(message.contains("dpu/card1"), "{message}");
        }
    }
}

#[test]
fn a_card_that_has_left_is_forgotten_once_its_host_was_off_and_on() {
    let mut world = two();
    world.edit_card(0, |card| "host2".clone_into(&mut card.host_refs[0].name));
    world.settle(secs(300));
    world.power_off_host();
    world.settle(secs(300));
    assert!(is_torn(&world));
    world.power_on_host();
    world.until("forgotten", secs(900), |w| !is_torn(w));
}

#[test]
fn what_was_seen_of_the_card_says_nothing_of_the_host_that_it_left() {
    let mut world = with(&[Flash::Hangs]);
    world.until("stalled", secs(4000), is_torn);
    world.cards[0].machine.power = lockstep_crds::observed::PowerState::Off;
    world.settle(secs(60));
    world.edit_card(0, |card| "host2".clone_into(&mut card.host_refs[0].name));
    world.settle(secs(900));
    let one = component(&world);
    assert!(
        one.torn
            .as_ref()
            .is_some_and(|torn| torn.hangs && torn.away)
    );
}

#[test]
fn a_flash_whose_report_is_lost_may_be_going_on() {
    let mut world = with(&[Flash::Stores]);
    world.until("writing", secs(2400), |w| w.writes_firmware(0));
    let agent = world.host_agent.as_mut().unwrap();
    agent.runs = false;
    agent.execution = None;
    world.until("torn", secs(6000), is_torn);
    let one = component(&world);
    assert!(one.torn.as_ref().is_some_and(|torn| torn.hangs));
    assert_eq!(one.attempts, 1);
    assert_eq!(reasons(&world), ["FlashNotTold"]);
}

#[test]
fn that_a_driver_has_ended_does_not_say_that_all_of_it_is_there() {
    let mut world = with(&[Flash::Hangs]);
    world.until("stalled", secs(4000), is_torn);
    world.cards[0].firmware.clear();
    // It ended in the middle, and the person who has looked says no more than that.
    let writes = |(_, coming): &(_, Coming)| matches!(coming, Coming::Flashed(_));
    world.cards[0].machine.coming.retain(|one| !writes(one));
    world.edit_card(0, |card| card.retry_token = Some("ended".to_owned()));
    wants(&mut world, "os-2");
    let before = world.deeds().len();
    keeps_still(&mut world, before);
    let one = component(&world);
    assert!(one.begun_at.is_none() && one.torn.as_ref().is_some_and(|torn| !torn.hangs));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
    has_looked(&mut world);
    world.until("whole", secs(900), |w| !is_torn(w));
}

#[test]
fn a_flash_ends_in_its_time_though_the_bmc_of_its_card_is_silent() {
    let mut world = with(&[Flash::Hangs]);
    world.until("writing", secs(2400), |w| w.writes_firmware(0));
    world.cards[0].machine.answers = false;
    world.until("torn", secs(4000), is_torn);
    assert!(world.status().directives.is_empty(), "{}", world.told());
}
