//! What is taken down for an install is held, or comes up again, whatever happens on the way.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::{OnOrphan, OnTimeout, PolicyMode};
use lockstep_crds::host::{Disruption, HoldState, HostRole, ReleaseReason};

use crate::world::agent::Fault;
use crate::world::{World, secs};

/// An installed card that is to run another image, and a host that is on and may be disturbed.
fn disturbing() -> World {
    let mut world = World::installed(&["card1"]);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.host_wait.on_timeout = OnTimeout::Continue;
        policy.hold.on_orphan = OnOrphan::RestoreAndRelease;
        policy.host_wait.timeout_seconds = 900;
        policy.install.os_timeout_seconds = 600;
    });
    wants(&mut world, Some("os-2"));
    world
}

fn wants(world: &mut World, image: Option<&str>) {
    let image = image.map(|name| LocalRef { name: name.into() });
    world.edit_policy(|policy| policy.image_ref = image);
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn hold(world: &World) -> Option<HoldState> {
    let status = world.host.as_ref()?.status.as_ref()?;
    status.hold.as_ref().map(|hold| hold.state.clone())
}

/// Undoes the wish at many moments of the taking down. That the host is never off without a
/// record is checked in every round.
#[track_caller]
fn comes_up(undo: impl Fn(&mut World)) {
    for moment in (0..120).step_by(10) {
        let mut world = disturbing();
        world.settle(secs(moment));
        undo(&mut world);
        world.settle(secs(4000));
        assert!(
            world.host_machine.is_on() && hold(&world).is_none(),
            "off, undone at {moment}\n{}",
            world.told()
        );
    }
}

#[test]
fn deleting_the_card_brings_the_host_up() {
    comes_up(|world| world.delete_card(0));
}

#[test]
fn deleting_the_host_brings_it_up() {
    comes_up(World::delete_host);
}

#[test]
fn an_image_that_is_not_wanted_any_more_brings_the_host_up() {
    comes_up(|world| wants(world, None));
    comes_up(|world| wants(world, Some("os-1")));
}

#[test]
fn a_paused_card_lets_its_host_go_when_the_wait_is_over() {
    comes_up(|world| world.edit_card(0, |card| card.paused = true));
}

#[test]
fn deletion_brings_the_host_up_in_every_mode() {
    comes_up(|world| {
        world.edit_policy(|policy| policy.mode = PolicyMode::Plan);
        world.settle(secs(300));
        world.delete_host();
    });
}

#[test]
fn the_taking_down_is_in_the_record_from_the_first_request() {
    let mut world = disturbing();
    world.until("recorded", secs(300), |w| !w.status().directives.is_empty());
    assert_eq!(hold(&world), Some(HoldState::Beginning));
    assert!(world.host_machine.is_on());
    let finalizers = world.host.as_ref().unwrap().metadata.finalizers.as_ref();
    assert!(finalizers.is_some_and(|names| !names.is_empty()));
    world.until("held", secs(300), |w| {
        hold(w) == Some(HoldState::PoweredOff)
    });
    assert!(!world.host_machine.is_on());
    world.until("Ready", secs(1800), World::is_ready);
}

/// Nobody is there any more: neither operator nor API server.
#[test]
fn a_host_that_nobody_tends_after_it_was_asked_comes_up_by_its_work_order() {
    let mut world = disturbing();
    world.until("asked", secs(300), |w| count(w, "ShutdownGracefully") == 1);
    let order = world.host_machine.custody.clone().unwrap();
    assert_eq!(order.in_force, Some(false), "it is not held yet");
    let mut was_off = false;
    while world.now < order.expires_at.0 + secs(60) {
        world.agent_step();
        world.pass(secs(5));
        was_off |= !world.host_machine.is_on();
        assert_eq!(
            was_off && world.host_machine.is_on(),
            was_off && world.now >= order.expires_at.0
        );
    }
    assert!(was_off && world.host_machine.is_on());
    world.settle(secs(600));
    assert_eq!(hold(&world), None, "{}", world.told());
    let release = world.status().release.clone().unwrap();
    assert_eq!(release.reason, ReleaseReason::Orphaned);
    assert!(world.host_machine.is_on(), "it is not taken down again");
}

#[test]
fn a_hold_that_the_bmc_refuses_for_good_ends_with_the_host_up() {
    let mut world = disturbing();
    let refusals = std::iter::repeat_n(Fault::Refused, 4);
    world.agent.faults = [Fault::Fine].into_iter().chain(refusals).collect();
    world.settle(secs(20_000));
    assert!(world.host_machine.is_on(), "{}", world.told());
    let release = world.status().release.clone().unwrap();
    assert_eq!(release.reason, ReleaseReason::Refused, "{}", world.told());
    assert_eq!(count(&world, "ShutdownGracefully"), 1, "not tried again");
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn a_release_after_a_refused_hold_stays_decided_though_it_fails_at_first() {
    let mut world = disturbing();
    let refusals = std::iter::repeat_n(Fault::Refused, 6);
    world.agent.faults = [Fault::Fine].into_iter().chain(refusals).collect();
    world.until("up", secs(4000), |w| {
        w.host_machine.is_on() && hold(w).is_none()
    });
    assert_eq!(count(&world, "HoldHost"), 0, "{}", world.told());
    world.settle(secs(4000));
    assert_eq!(count(&world, "ShutdownGracefully"), 1, "{}", world.told());
}

#[test]
fn a_host_that_becomes_infrastructure_meanwhile_is_not_held() {
    let mut world = disturbing();
    world.until("asked", secs(300), |w| count(w, "ShutdownGracefully") == 1);
    world.edit_host(|host| {
        host.role = HostRole::Infrastructure;
        host.disruption = Disruption::Never;
    });
    world.until("off", secs(60), |w| !w.host_machine.is_on());
    world.until("up", secs(600), |w| w.host_machine.is_on());
    assert_eq!(count(&world, "HoldHost"), 0, "{}", world.told());
}

#[test]
fn a_power_cut_that_the_bmc_refuses_for_good_ends_the_hold_that_was_beginning() {
    let mut world = disturbing();
    world.host_machine.deaf = true;
    let refusals = std::iter::repeat_n(Fault::Refused, 4);
    world.agent.faults = [Fault::Fine].into_iter().chain(refusals).collect();
    world.settle(secs(20_000));
    assert_eq!(hold(&world), None, "{}", world.told());
    assert_eq!(count(&world, "ShutdownGracefully"), 1, "not tried again");
    assert!(world.host_machine.is_on());
}

#[test]
fn a_host_that_is_off_is_held_though_the_image_is_lost_meanwhile() {
    let mut world = disturbing();
    world.until("asked", secs(300), |w| count(w, "ShutdownGracefully") == 1);
    world.source_ok = false;
    world.store.clear();
    world.until("held", secs(300), |w| {
        hold(w) == Some(HoldState::PoweredOff)
    });
    let held = world.status().hold.clone().unwrap();
    assert!(held.work_order.is_some(), "{}", world.told());
    world.until("released", secs(1800), |w| w.host_machine.is_on());
}

#[test]
fn a_host_that_does_not_obey_is_forgotten_once_nobody_wants_it_down() {
    let mut world = disturbing();
    world.host_machine.deaf = true;
    world.until("asked", secs(300), |w| count(w, "ShutdownGracefully") == 1);
    wants(&mut world, Some("os-1"));
    world.settle(secs(60));
    assert_eq!(hold(&world), Some(HoldState::Beginning), "it may obey yet");
    assert_eq!(world.host_says(), "Reconciling: ShuttingDown");
    world.settle(secs(600));
    assert_eq!(hold(&world), None, "{}", world.told());
    // It was up all along: only its work order goes.
    let deeds = world.deeds();
    assert_eq!(
        deeds,
        [
            "ShutdownGracefully dpuhost/host1",
            "ReleaseHost dpuhost/host1"
        ]
    );
    assert_eq!(world.host_machine.custody, None);
    assert_eq!(world.host_says(), "Ready: AsWanted");
}

#[test]
fn what_was_asked_for_another_wish_is_asked_again() {
    for card in [false, true] {
        let mut world = World::installed(&["card1"]);
        let machine = if card {
            world.power_off_host();
            world.cards[0].machine.deaf = true;
            "dpu/card1"
        } else {
            world.edit_host(|host| host.disruption = Disruption::Allowed);
            world.host_machine.deaf = true;
            "dpuhost/host1"
        };
        let asked = format!("ShutdownGracefully {machine}");
        wants(&mut world, Some("os-2"));
        world.until("asked", secs(600), |w| count(w, &asked) == 1);
        world.settle(secs(20));
        // Withdrawn; the machine goes on running.
        wants(&mut world, Some("os-1"));
        world.settle(secs(4000));
        if card {
            world.power_off_host();
        }
        wants(&mut world, Some("os-2"));
        world.until("asked", secs(60), |w| count(w, &asked) == 2);
        world.settle(secs(60));
        assert_eq!(count(&world, "ForceOff"), 0, "{}", world.told());
        world.until("cut", secs(600), |w| count(w, "ForceOff") == 1);
    }
}

#[test]
fn a_request_that_waited_for_leave_too_long_is_made_again() {
    let mut world = disturbing();
    world.host_machine.deaf = true;
    world.until("asked", secs(300), |w| count(w, "ShutdownGracefully") == 1);
    world.edit_host(|host| host.disruption = Disruption::Never);
    world.settle(secs(4000));
    assert_eq!(world.card_says(0), "Stalled Stalled: HostInUse");
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.until("asked", secs(60), |w| count(w, "ShutdownGracefully") == 2);
    assert_eq!(count(&world, "ForceOff"), 0, "{}", world.told());
}

#[test]
fn a_card_that_was_stopped_for_nothing_runs_again() {
    for undone in ["unset", "deleted", "back"] {
        for off in [false, true] {
            let mut world = World::installed(&["card1"]);
            world.power_off_host();
            wants(&mut world, Some("os-2"));
            world.until("stopped", secs(900), |w| {
                count(w, "ShutdownGracefully dpu") == 1 && w.cards[0].machine.is_on() != off
            });
            match undone {
                "unset" => wants(&mut world, None),
                "deleted" => world.delete_card(0),
                _ => wants(&mut world, Some("os-1")),
            }
            world.settle(secs(3000));
            let told = || format!("{undone} {off}\n{}", world.told());
            assert!(world.cards[0].machine.is_on(), "{}", told());
            assert!(world.host_machine.is_on(), "{}", told());
            assert_eq!(count(&world, "ForceOff"), 0, "{}", told());
            assert_eq!(world.cards[0].dpu.is_none(), undone == "deleted");
        }
    }
}
