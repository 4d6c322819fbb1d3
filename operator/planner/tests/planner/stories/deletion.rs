//! Deleting works at every step, takes back what was armed, and strands nothing.

use lockstep_crds::boot_policy::OnTimeout;

use crate::world::{World, secs};

/// Nothing of ours is left on the machines, and no power is cut on the way.
#[track_caller]
fn clean(world: &World) {
    assert!(world.cards[0].machine.media.is_none(), "{}", world.told());
    assert!(!world.cards[0].machine.boot_override, "{}", world.told());
    assert!(world.host_machine.custody.is_none(), "{}", world.told());
    let cut = world.deeds().iter().any(|d| d.starts_with("ForceOff"));
    assert!(!cut, "{}", world.told());
}

/// Rounds of first light after which something is deleted.
fn moments() -> impl Iterator<Item = i64> {
    (0..200).step_by(5)
}

#[test]
fn a_card_at_any_moment() {
    for moment in moments() {
        let mut world = World::new(&["card1"]);
        world.settle(secs(moment));
        let held = world.deeds().contains(&"HoldHost dpuhost/host1");
        world.delete_card(0);
        world.until("gone", secs(5000), |w| w.cards[0].dpu.is_none());
        world.settle(secs(600));
        clean(&world);
        assert_eq!(
            world.host_says(),
            "Ready: AsWanted",
            "{moment}\n{}",
            world.told()
        );
        assert!(world.status().hold.is_none());
        assert_eq!(
            world.host_machine.is_on(),
            held || world.host_machine.is_on()
        );
        assert!(
            !held || world.host_machine.is_on(),
            "stranded at {moment}\n{}",
            world.told()
        );
    }
}

#[test]
fn a_host_at_any_moment() {
    for moment in moments() {
        let mut world = World::new(&["card1"]);
        world.settle(secs(moment));
        let held = world.deeds().contains(&"HoldHost dpuhost/host1");
        world.delete_host();
        world.until("gone", secs(5000), |w| w.host.is_none());
        clean(&world);
        assert!(
            !held || world.host_machine.is_on(),
            "stranded at {moment}\n{}",
            world.told()
        );
    }
}

#[test]
fn everything_at_once_and_the_policy_with_it() {
    for moment in moments() {
        let mut world = World::new(&["card1"]);
        world.settle(secs(moment));
        let held = world.deeds().contains(&"HoldHost dpuhost/host1");
        world.policy = None;
        world.catalogue.clear();
        world.delete_card(0);
        world.delete_host();
        world.until("gone", secs(5000), |w| {
            w.host.is_none() && w.cards[0].dpu.is_none()
        });
        clean(&world);
        assert!(
            !held || world.host_machine.is_on(),
            "stranded at {moment}\n{}",
            world.told()
        );
    }
}

#[test]
fn the_policy_alone_stops_everything_and_strands_nothing_that_is_deleted_later() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    let deeds = world.effects.len();
    world.policy = None;
    world.settle(secs(7200));
    assert_eq!(world.effects.len(), deeds, "{}", world.told());
    assert_eq!(world.host_says(), "Stalled: PolicyNotFound");
    world.delete_card(0);
    world.until("gone", secs(600), |w| w.cards[0].dpu.is_none());
    world.until("released", secs(600), |w| w.host_machine.is_on());
    clean(&world);
}

#[test]
fn a_card_whose_bmc_is_lost_is_let_go_and_said_so() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.host_wait.on_timeout = OnTimeout::Continue);
    world.until("armed", secs(300), |w| w.cards[0].machine.media.is_some());
    world.cards[0].machine.answers = false;
    world.delete_card(0);
    world.until("gone", secs(3600), |w| w.cards[0].dpu.is_none());
    assert!(
        world.told().matches("event CancelledButArmed").count() == 1,
        "{}",
        world.told()
    );
    world.until("released", secs(3600), |w| w.host_machine.is_on());
}

#[test]
fn finalizers_are_there_only_while_something_must_be_undone() {
    let mut world = World::new(&["card1"]);
    let guarded = |world: &World| {
        let host = world.host.as_ref().unwrap().metadata.finalizers.clone();
        let card = world.cards[0]
            .dpu
            .as_ref()
            .unwrap()
            .metadata
            .finalizers
            .clone();
        let is_set = |finalizers: Option<Vec<String>>| finalizers.is_some_and(|f| !f.is_empty());
        (is_set(host), is_set(card))
    };
    assert_eq!(guarded(&world), (false, false));
    world.agent_step();
    world.operator_step();
    assert_eq!(guarded(&world), (false, false));
    world.until("recorded", secs(60), |w| !w.recorded.is_empty());
    assert_eq!(guarded(&world), (true, true));
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(guarded(&world), (false, false));
}

#[test]
fn a_deleted_card_does_not_hold_up_its_neighbour() {
    let mut world = World::new(&["card1", "card2"]);
    world.until("both boot", secs(300), |w| {
        w.is_installing(0) && w.is_installing(1)
    });
    world.delete_card(0);
    world.until("gone", secs(5000), |w| w.cards[0].dpu.is_none());
    world.until("the host", secs(900), |w| w.host_machine.is_on());
    world.settle(secs(60));
    assert_eq!(
        world.card_says(1),
        "Ready Ready: AsWanted",
        "{}",
        world.told()
    );
    clean(&world);
}
