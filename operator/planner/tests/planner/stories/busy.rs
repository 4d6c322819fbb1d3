//! Something is written at a BMC that nobody here began: its machine keeps its power until that ends.

use lockstep_crds::host::Disruption;

use crate::world::{World, secs};

const LONG: i64 = 3600;

/// A card that is to get another image, beside a host that is up and may be disturbed.
fn wants_another() -> World {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.recorded.clear();
    world
}

#[track_caller]
fn keeps_its_power(world: &mut World, words: &[&str]) {
    world.settle(secs(1200));
    assert!(world.deeds().is_empty(), "{}", world.told());
    let says = world.card_says(0);
    assert!(says.ends_with("Reconciling: BmcBusy"), "{says}");
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

fn name_another(world: &mut World) {
    world.edit_policy(|policy| {
        policy.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-2".to_owned(),
        });
    });
}

#[test]
fn a_card_whose_bmc_writes_keeps_its_power_and_then_gets_its_image() {
    let mut world = wants_another();
    world.cards[0].machine.busy = Some(world.now);
    name_another(&mut world);
    keeps_its_power(&mut world, &["dpu/card1", "Update CEC", "since"]);
    world.cards[0].machine.busy = None;
    world.until("Ready", secs(LONG), World::is_ready);
}

#[test]
fn a_host_whose_bmc_writes_keeps_its_power_and_so_do_its_cards() {
    let mut world = wants_another();
    world.host_machine.busy = Some(world.now);
    name_another(&mut world);
    keeps_its_power(&mut world, &["dpuhost/host1", "Update CEC"]);
    world.host_machine.busy = None;
    // It begins anew once the host is held: the card is not stopped before that has ended.
    world.until("held", secs(LONG), |w| {
        w.status().hold.is_some() && !w.host_machine.is_on()
    });
    world.host_machine.busy = Some(world.now);
    world.settle(secs(300));
    assert!(world.cards[0].machine.is_on(), "{}", world.told());
    world.host_machine.busy = None;
    world.until("Ready", secs(LONG), World::is_ready);
}

#[test]
fn what_never_ends_is_told_to_a_person_and_nothing_is_cut() {
    let mut world = wants_another();
    world.cards[0].machine.busy = Some(world.now);
    name_another(&mut world);
    world.until("Stalled", secs(LONG), |w| {
        w.card_says(0) == "Stalled Stalled: BmcBusy"
    });
    let said = world.card_message(0);
    assert!(said.contains("restart it"), "{said}");
    world.settle(secs(2 * LONG));
    assert!(world.deeds().is_empty(), "{}", world.told());
}

#[test]
fn what_is_put_off_is_tried_until_it_can_be_done() {
    let mut world = wants_another();
    world.edit_policy(|policy| policy.host_wait.timeout_seconds = 36_000);
    world.cards[0].machine.hides_busy = true;
    name_another(&mut world);
    world.until("held", secs(LONG), |w| {
        w.status().hold.is_some() && !w.host_machine.is_on()
    });
    world.cards[0].machine.busy = Some(world.now);
    world.settle(secs(1500));
    let says = world.card_says(0);
    assert!(says.ends_with("Reconciling: DirectiveFailed"), "{says}");
    // A person is told as well, and it is tried still.
    world.settle(secs(2 * LONG));
    let failed = world.status().cards[0].failed.as_ref().unwrap();
    assert_eq!(failed.times, 0, "{}", world.told());
    let says = world.card_says(0);
    assert!(says.ends_with("Stalled: DirectiveFailed"), "{says}");
    let said = world.card_message(0);
    assert!(said.contains("put off since"), "{said}");
    world.cards[0].machine.busy = None;
    world.until("Ready", secs(LONG), World::is_ready);
}
