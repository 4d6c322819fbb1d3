//! From nothing to Ready, and what it costs.

use lockstep_crds::host::ReleaseReason;

use crate::world::{World, secs};

const DEEDS: [&str; 5] = [
    "HoldHost dpuhost/host1",
    "StageInstall dpu/card1",
    "PowerOn dpu/card1",
    "ReleaseHost dpuhost/host1",
    "ClearInstall dpu/card1",
];

#[test]
fn one_card() {
    let mut world = World::new(&["card1"]);
    // The operator is there before the agents are.
    world.operator_step();
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(300));
    println!("{}", world.story.join("\n"));
    println!("{:?}, {} in all", world.writes, world.writes.total());

    assert_eq!(world.deeds(), DEEDS);
    assert_eq!(
        world.phases("card1"),
        ["Inspecting", "Installing", "Activating", "Ready"]
    );
    assert_eq!(world.host_says(), "Ready: AsWanted");
    let status = world.status();
    assert_eq!(status.seq, 5);
    assert!(status.hold.is_none() && status.directives.is_empty() && status.wait.is_none());
    assert_eq!(
        status.release.as_ref().unwrap().reason,
        ReleaseReason::Ready
    );
    assert!(world.host_machine.is_on(), "the host was not released");
    assert!(world.cards[0].machine.media.is_none() && !world.cards[0].machine.boot_override);
    assert!(
        world
            .host
            .as_ref()
            .unwrap()
            .metadata
            .finalizers
            .as_ref()
            .unwrap()
            .is_empty()
    );
    // The budget of the whole story: writes are what a fleet's speed is made of.
    assert!(world.writes.host_status <= 7, "{:?}", world.writes);
    assert!(world.writes.card_status <= 4, "{:?}", world.writes);
}

#[test]
fn nothing_is_written_when_nothing_happens() {
    let mut world = World::installed(&["card1"]);
    world.settle(secs(3600));
    assert_eq!(world.writes.total(), 0, "{}", world.told());
    assert!(world.effects.is_empty());
}

#[test]
fn the_host_is_held_before_its_card_boots_and_until_its_system_runs() {
    let mut world = World::new(&["card1"]);
    world.until("Ready", secs(900), World::is_ready);
    let at = |what: &str| {
        world
            .effects
            .iter()
            .find(|e| e.what.starts_with(what))
            .unwrap()
            .at
    };
    let ran = world.cards[0].os_report.as_ref().unwrap().observed_at.0;
    assert!(at("HoldHost") < at("PowerOn"));
    assert!(at("ReleaseHost") >= ran);
}

#[test]
fn two_cards_share_one_hold_and_one_release() {
    let mut world = World::new(&["card1", "card2"]);
    world.until("Ready", secs(1800), World::is_ready);
    world.settle(secs(60));
    let count = |what: &str| world.deeds().iter().filter(|d| d.starts_with(what)).count();
    assert_eq!(
        (count("HoldHost"), count("ReleaseHost")),
        (1, 1),
        "{}",
        world.told()
    );
    assert_eq!(
        (
            count("StageInstall"),
            count("PowerOn"),
            count("ClearInstall")
        ),
        (2, 2, 2)
    );
    assert_eq!(world.host_says(), "Ready: AsWanted");
}

#[test]
fn a_node_is_awaited_once() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.node_name = Some("node1".into()));
    world.node = Some(lockstep_planner::view::NodeSeen {
        ready: lockstep_planner::view::Readiness::NotReady,
        boot_id: None,
    });
    world.until("the release", secs(900), |w| {
        w.deeds().contains(&"ReleaseHost dpuhost/host1")
    });
    world.until("waiting for the node", secs(60), |w| {
        w.host_says() == "Reconciling: AwaitingHost"
    });
    assert_eq!(world.card_says(0), "Activating Reconciling: Activating");
    world.until("Ready", secs(300), World::is_ready);
    assert!(
        world.writes.host_status <= 7,
        "{:?}\n{}",
        world.writes,
        world.told()
    );
    // A Node that leaves later is none of our doing.
    world.node.as_mut().unwrap().ready = lockstep_planner::view::Readiness::NotReady;
    world.settle(secs(7200));
    assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
}

#[test]
fn a_chassis_has_no_host_to_hold() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| {
        host.role = lockstep_crds::host::HostRole::ChassisOnly;
        host.bmc = None;
        host.identity = None;
    });
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(60));
    assert_eq!(
        world.deeds(),
        [
            "StageInstall dpu/card1",
            "PowerOn dpu/card1",
            "ClearInstall dpu/card1"
        ]
    );
    assert_eq!(world.host_says(), "Ready: AsWanted");
}

#[test]
fn host_first_needs_leave_to_disturb_it() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.order = lockstep_crds::boot_policy::BootOrder::HostFirst;
        policy.host_wait.until = lockstep_crds::boot_policy::WaitUntil::None;
    });
    world.settle(secs(300));
    assert_eq!(world.host_says(), "Stalled: DisruptionNotAllowed");
    assert!(world.effects.is_empty(), "{}", world.told());
    world.edit_host(|host| host.disruption = lockstep_crds::host::Disruption::Allowed);
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(world.deeds()[0], "PowerOn dpuhost/host1");
}
