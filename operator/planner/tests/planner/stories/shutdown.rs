//! A running card is asked to shut down, then made to, as far as its stage allows (S1, S5).

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::UnobservableStageAction;
use lockstep_crds::observed::{BootStage, Knowledge};

use crate::world::{World, secs};

/// An installed card that has to run another image; its host is off, and it is deaf.
fn to_stop(deaf: bool) -> World {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.cards[0].machine.deaf = deaf;
    world.edit_card(0, |card| {
        card.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world
}

fn at(world: &World, what: &str) -> Option<jiff::Timestamp> {
    world
        .effects
        .iter()
        .find(|e| e.what.starts_with(what))
        .map(|e| e.at)
}

#[test]
fn asked_first_and_cut_after_the_grace() {
    let mut world = to_stop(true);
    world.until("cut", secs(900), |w| at(w, "ForceOff").is_some());
    let asked = at(&world, "ShutdownGracefully").unwrap();
    let cut = at(&world, "ForceOff").unwrap();
    assert!(cut.duration_since(asked) >= secs(120), "{}", world.told());
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn without_grace_it_is_cut_at_once() {
    let mut world = to_stop(true);
    world.edit_policy(|policy| policy.install.shutdown_grace_seconds = 0);
    world.until("Ready", secs(1800), World::is_ready);
    world.settle(secs(5));
    assert_eq!(at(&world, "ShutdownGracefully"), None);
}

#[test]
fn a_stage_that_forbids_it_is_waited_for_then_told() {
    let mut world = to_stop(true);
    world.cards[0].machine.stage = Some(BootStage::FirmwareUpdating);
    world.settle(secs(300));
    assert_eq!(
        world.host_says(),
        "Reconciling: StageForbids",
        "{}",
        world.told()
    );
    world.settle(secs(1200));
    assert_eq!(
        world.host_says(),
        "Stalled: StageForbids",
        "{}",
        world.told()
    );
    assert!(at(&world, "ForceOff").is_none() && at(&world, "ShutdownGracefully").is_none());
    world.cards[0].machine.stage = Some(BootStage::OsHalted);
    world.until("cut", secs(900), |w| at(w, "ForceOff").is_some());
}

#[test]
fn a_stage_of_a_newer_release_is_not_taken_for_safe() {
    let mut world = to_stop(true);
    world.cards[0].machine.stage = Some(BootStage::from("RewritingReality"));
    world.settle(secs(3000));
    assert!(
        world.effects.iter().all(|e| e.what.starts_with("HoldHost")),
        "{}",
        world.told()
    );
}

#[test]
fn a_stage_that_was_not_read_authorises_nothing() {
    let mut world = to_stop(true);
    world.cards[0].machine.knowledge = Knowledge::NotRead;
    world.settle(secs(3000));
    assert_eq!(world.host_says(), "Stalled: Inspecting", "{}", world.told());
    assert!(world.effects.iter().all(|e| e.what.starts_with("HoldHost")));
}

#[test]
fn a_stage_that_cannot_be_told_is_left_alone_unless_the_policy_says_otherwise() {
    let mut world = to_stop(true);
    world.cards[0].machine.knowledge = Knowledge::NotOffered;
    world.cards[0].os = None;
    world.cards[0].os_lease = None;
    world.settle(secs(3000));
    assert_eq!(
        world.host_says(),
        "Stalled: StageNotObservable",
        "{}",
        world.told()
    );
    assert!(at(&world, "ForceOff").is_none());
    world.edit_policy(|policy| {
        policy.unobservable_stage.action = UnobservableStageAction::SafeAfter;
        policy.unobservable_stage.dump_grace_seconds = 6000;
    });
    let on = world.cards[0].machine.power_since;
    world.until("cut", secs(9000), |w| at(w, "ForceOff").is_some());
    assert!(
        at(&world, "ForceOff").unwrap() >= on + secs(6000),
        "{}",
        world.told()
    );
}

#[test]
fn a_system_that_says_it_runs_may_be_asked_where_no_stage_is_told() {
    let mut world = to_stop(false);
    world.cards[0].machine.knowledge = Knowledge::NotOffered;
    world.until("asked", secs(300), |w| {
        at(w, "ShutdownGracefully").is_some()
    });
    world.until("off", secs(300), |w| !w.cards[0].machine.is_on());
    assert!(at(&world, "ForceOff").is_none());
}

#[test]
fn a_power_cut_that_keeps_failing_ends() {
    use crate::world::agent::Fault;
    let mut world = to_stop(true);
    world.agent.faults = std::iter::repeat_n(Fault::Fine, 2)
        .chain(std::iter::repeat_n(Fault::Refused, 100))
        .collect();
    world.settle(secs(20_000));
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: DirectiveFailed",
        "{}",
        world.told()
    );
    let asked = world
        .effects
        .iter()
        .filter(|e| e.what.starts_with("Shutdown"))
        .count();
    assert_eq!(asked, 1, "{}", world.told());
}

#[test]
fn a_host_is_not_shut_down_while_a_card_of_it_is_busy() {
    let mut world = World::installed(&["card1", "card2"]);
    world.edit_host(|host| host.disruption = lockstep_crds::host::Disruption::Allowed);
    world.cards[1].machine.stage = Some(BootStage::OsCrashDumping);
    world.edit_card(0, |card| {
        card.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.settle(secs(3000));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.host_says(), "Stalled: StageForbids");
    world.cards[1].machine.stage = Some(BootStage::OsRunning);
    world.until("asked", secs(300), |w| {
        at(w, "ShutdownGracefully dpuhost").is_some()
    });
}
