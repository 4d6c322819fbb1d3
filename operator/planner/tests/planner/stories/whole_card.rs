//! Cards that boot what they are armed with when all of them is restarted by their BMC.

use lockstep_crds::boot_policy::{BootOrder, HoldMechanism, UnobservableStageAction, WaitUntil};
use lockstep_crds::host::Disruption;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::{BootStage, Knowledge, Offer, PowerState};
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::agent::Fault;
use crate::world::{World, secs};

const RESTART: &str = "RestartCard dpu/card1";

/// One such card, which is on, as it always is.
fn world() -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.os_timeout_seconds = 1500;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    let machine = &mut world.cards[0].machine;
    machine.power = PowerState::On;
    machine.stage = Some(BootStage::OsRunning);
    machine.card_restart = Some(Offer::Offered);
    machine.reset_types = ["GracefulShutdown", "GracefulRestart"]
        .map(String::from)
        .into();
    world
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

#[test]
fn it_is_armed_while_it_runs_and_restarted_once_with_its_host_held_off() {
    let mut world = world();
    world.until("Ready", secs(1800), World::is_ready);
    world.settle(secs(300));
    assert_eq!(
        world.deeds(),
        [
            "HoldHost dpuhost/host1",
            "StageInstall dpu/card1",
            RESTART,
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    let kept = &world.status().cards[0];
    let installed = (kept.attempts, &kept.method);
    assert_eq!(installed, (1, &Some(InstallMethod::VirtualMedia)));
}

#[test]
fn it_is_not_begun_with_beside_a_host_that_would_be_up() {
    let orders = |order, until| (order, until, HoldMechanism::PoweredOff, true);
    for (order, until, mechanism, host_on) in [
        orders(BootOrder::HostFirst, WaitUntil::None),
        orders(BootOrder::Parallel, WaitUntil::None),
        (
            BootOrder::HostFirst,
            WaitUntil::None,
            HoldMechanism::PoweredOff,
            false,
        ),
        (
            BootOrder::XpuFirst,
            WaitUntil::OsRunning,
            HoldMechanism::NodeTainted,
            true,
        ),
        (
            BootOrder::XpuFirst,
            WaitUntil::OsRunning,
            HoldMechanism::NodeTainted,
            false,
        ),
    ] {
        let mut world = world();
        world.node = Some(NodeSeen {
            ready: Readiness::NotReady,
            boot_id: None,
        });
        world.edit_host(|host| {
            host.disruption = Disruption::Allowed;
            host.node_name = Some("node1".into());
        });
        world.edit_policy(|policy| {
            policy.order = order;
            policy.host_wait.until = until;
            policy.hold.mechanisms = vec![mechanism];
        });
        if host_on {
            world.power_on_host();
        }
        world.settle(secs(900));
        assert_eq!(
            world.card_says(0),
            "Stalled Stalled: HostStaysUp",
            "{order:?} {host_on}"
        );
        assert!(world.deeds().is_empty(), "{}", world.told());
    }
}

#[test]
fn one_that_is_off_is_left_to_a_person() {
    let mut world = world();
    world.cards[0].machine.power = PowerState::Off;
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Degraded Stalled: CardPoweredOff");
    assert!(world.deeds().is_empty(), "{}", world.told());
}

#[test]
fn one_whose_stage_nobody_can_tell_is_begun_with_where_the_policy_may_guess() {
    let mut world = world();
    world.cards[0].machine.knowledge = Knowledge::NotOffered;
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: StageNotObservable");
    assert!(world.deeds().is_empty(), "{}", world.told());
    world.edit_policy(|policy| {
        policy.unobservable_stage.action = UnobservableStageAction::SafeAfter;
    });
    world.until("Ready", secs(1800), World::is_ready);
    assert_eq!(count(&world, RESTART), 1, "{}", world.told());
}

#[test]
fn a_fault_at_any_effect_leads_to_the_image_all_the_same() {
    for effect in 0..5 {
        for fault in [
            Fault::LostReply,
            Fault::CrashAfter,
            Fault::CrashBefore,
            Fault::Refused,
        ] {
            let mut world = world();
            let fine = std::iter::repeat_n(Fault::Fine, effect);
            world.agent.faults = fine.chain([fault]).collect();
            let end = world.now + secs(9000);
            while !world.is_ready() {
                assert!(world.now < end, "{effect} {fault:?}\n{}", world.told());
                world.round();
                if !world.agent.alive {
                    world.pass(secs(20));
                    world.agent_starts();
                }
            }
            world.settle(secs(900));
            let restarts = count(&world, RESTART);
            let twice = matches!(fault, Fault::CrashBefore | Fault::Refused);
            assert!(
                restarts == 1 || twice && restarts == 2,
                "{fault:?} {}",
                world.told()
            );
        }
    }
}

#[test]
fn a_restart_by_somebody_else_once_it_is_armed_is_the_install() {
    let mut world = world();
    // It has been on for longer than an install takes.
    world.cards[0].machine.power_since = world.now - secs(86_400);
    world.until("armed", secs(300), |world| {
        world.cards[0].machine.boot_override
    });
    world.restart_card(0);
    world.until("Ready", secs(1800), World::is_ready);
    assert_eq!(count(&world, RESTART), 0, "{}", world.told());
    assert_eq!(world.status().cards[0].attempts, 1);
}
