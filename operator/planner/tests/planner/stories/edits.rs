//! Edits in mid-operation: what was begun goes by what was recorded when it began.

use lockstep_crds::boot_policy::{HoldMechanism, OnTimeout};
use lockstep_crds::host::{Disruption, SlotPower};
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::{World, secs};

/// Nothing reaches a machine for that long, in which the installer goes on writing.
#[track_caller]
fn undisturbed(world: &mut World, seconds: i64) {
    let before = world.effects.len();
    let end = world.now + secs(seconds);
    while world.now < end && world.is_installing(0) {
        world.round();
    }
    assert_eq!(world.effects.len(), before, "{}", world.told());
}

#[test]
fn a_shorter_os_timeout_does_not_cut_an_install_off() {
    for going in [false, true] {
        let mut world = World::new(&["card1"]);
        world.edit_policy(|policy| policy.install.shutdown_grace_seconds = 0);
        world.until("booting", secs(300), |w| w.is_installing(0));
        world.settle(secs(35));
        world.edit_policy(|policy| policy.install.os_timeout_seconds = 30);
        if going {
            world.delete_card(0);
        }
        undisturbed(&mut world, 600);
    }
}

#[test]
fn deleting_the_policy_does_not_shorten_an_install() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 80_000);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.cards[0].machine.coming[0].0 = world.now + secs(20_000);
    world.policy = None;
    world.delete_card(0);
    undisturbed(&mut world, 5000);
    assert!(world.is_installing(0));
}

#[test]
fn a_longer_os_timeout_gives_an_install_more_time_for_good() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 300);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.settle(secs(30));
    world.cards[0].machine.coming[0].0 = world.now + secs(2000);
    let first = world.status().cards[0].install_ends.clone();
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 3000);
    world.settle(secs(30));
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 300);
    undisturbed(&mut world, 1500);
    assert!(world.status().cards[0].install_ends > first);
}

#[test]
fn a_wait_that_times_out_does_not_power_the_host_on_under_an_installer() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 900;
        policy.host_wait.on_timeout = OnTimeout::Continue;
        policy.install.os_timeout_seconds = 3600;
    });
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.cards[0].machine.coming[0].0 = world.now + secs(3000);
    undisturbed(&mut world, 1500);
    let message = world.status().message.clone().unwrap();
    assert!(
        message.contains("the host goes on when it has ended"),
        "{message}"
    );
    world.until("the host", secs(3000), |w| w.host_machine.is_on());
    assert!(!world.is_installing(0), "{}", world.told());
}

#[test]
fn nothing_new_begins_once_the_wait_is_over() {
    let mut world = World::new(&["card1", "card2"]);
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 900;
        policy.host_wait.on_timeout = OnTimeout::Continue;
        policy.install.os_timeout_seconds = 3600;
    });
    world.cards[1].machine.answers = false;
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.cards[0].machine.coming[0].0 = world.now + secs(3000);
    world.settle(secs(1200));
    world.cards[1].machine.answers = true;
    world.settle(secs(600));
    assert!(world.is_installing(0));
    assert!(!world.cards[1].machine.is_on(), "{}", world.told());
}

#[test]
fn a_taint_does_not_move_to_another_node() {
    let mut world = World::new(&["card1"]);
    world.coupled = true;
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    world.edit_host(|host| {
        host.node_name = Some("node1".into());
        host.disruption = Disruption::Allowed;
        host.slot_power_when_host_off = SlotPower::No;
    });
    let evicts = |world: &World, node: &str| {
        let effects = world.tainted.get(node);
        effects.is_some_and(|effects| effects.contains(&TaintEffect::NoExecute))
    };
    world.until("tainted", secs(600), |w| evicts(w, "node1"));
    world.edit_host(|host| host.node_name = Some("node2".into()));
    let before = world.effects.len();
    world.settle(secs(60));
    assert!(evicts(&world, "node1") && !evicts(&world, "node2"));
    assert_eq!(world.card_says(0), "Stalled Stalled: HoldNeedsNode");
    assert_eq!(world.effects.len(), before, "{}", world.told());
    world.edit_host(|host| host.node_name = Some("node1".into()));
    world.until("Ready", secs(1800), World::is_ready);
    assert!(world.tainted.is_empty());
}

#[test]
fn a_node_that_gets_ready_while_its_bmc_says_off_stops_what_goes_on() {
    for disruption in [Disruption::Never, Disruption::Allowed] {
        let mut world = World::new(&["card1"]);
        world.node = Some(NodeSeen {
            ready: Readiness::NotReady,
            boot_id: None,
        });
        world.edit_host(|host| {
            host.node_name = Some("node1".into());
            host.disruption = disruption;
        });
        // The card runs something else, and is on.
        world.cards[0].disk = Some(crate::world::build::image("os-2"));
        world.power_on_card(0);
        world.settle(secs(30));
        world.until("held", secs(600), |w| w.status().hold.is_some());
        let before = world.effects.len();
        world.node = Some(NodeSeen {
            ready: Readiness::Ready,
            boot_id: None,
        });
        world.settle(secs(300));
        assert_eq!(world.effects.len(), before, "{}", world.told());
        assert_eq!(world.card_says(0), "Stalled Stalled: DrainNotProved");
    }
}
