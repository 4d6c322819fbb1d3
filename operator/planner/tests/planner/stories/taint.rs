//! A host that is held by the taint of its Node, and one that is up though it was to be held.

use lockstep_crds::boot_policy::{HoldMechanism, OnTimeout, PolicyMode};
use lockstep_crds::host::{Disruption, HeldBy, ReleaseReason, SlotPower};
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::operator::Crash;
use crate::world::{World, secs};

/// A host that is off and takes the power of its slots with it, under a policy that would
/// rather hold it off and may hold it by taint.
pub(super) fn dark(cards: &[&str]) -> World {
    let mut world = World::new(cards);
    world.strict = true;
    world.coupled = true;
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_policy(|policy| {
        policy.hold.mechanisms = vec![HoldMechanism::PoweredOff, HoldMechanism::NodeTainted];
        policy.host_wait.timeout_seconds = 900;
        policy.install.os_timeout_seconds = 600;
    });
    world.edit_host(|host| {
        host.node_name = Some("node1".into());
        host.disruption = Disruption::Allowed;
        host.slot_power_when_host_off = SlotPower::No;
    });
    world
}

fn taint(world: &World) -> Option<TaintEffect> {
    let effects = world.tainted.get("node1")?;
    assert_eq!(effects.len(), 1);
    effects.first().copied()
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

/// No card boots, and no host, on the strength of a taint that is not there.
pub(super) fn until_ready(world: &mut World) {
    let end = world.now + secs(3600);
    while !world.is_ready() {
        assert!(world.now < end, "not Ready\n{}", world.told());
        let before = world.effects.len();
        world.round();
        if world.effects.len() > before && !world.is_ready() {
            let ready = world.status().release.is_some();
            let tainted = taint(world) == Some(TaintEffect::NoExecute);
            assert!(tainted || ready, "{}", world.told());
        }
    }
}

#[test]
fn slots_without_power_lead_to_the_next_mechanism() {
    for dark_bmcs in [false, true] {
        let mut world = dark(&["card1", "card2"]);
        world.dark_bmcs = dark_bmcs;
        until_ready(&mut world);
        world.settle(secs(60));
        assert_eq!(taint(&world), None, "{}", world.told());
        assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
        let release = world.status().release.clone().unwrap();
        assert_eq!(release.reason, ReleaseReason::Ready);
        assert_eq!(count(&world, "PowerOn dpuhost/host1"), 1);
        assert_eq!(count(&world, "HoldHost") + count(&world, "ReleaseHost"), 0);
        let told = world.story.join("\n");
        assert!(
            told.contains("taint of Node node1 (PoweredOff needs slots that keep power"),
            "{told}"
        );
        assert!(
            told.contains("event HostHeld: holding the host by a taint of Node node1"),
            "{told}"
        );
    }
}

#[test]
fn a_mechanism_that_the_host_can_honour_comes_first() {
    let mut world = dark(&["card1"]);
    world.coupled = false;
    world.edit_host(|host| host.slot_power_when_host_off = SlotPower::Yes);
    world.round();
    world.until("the hold", secs(300), |w| {
        w.status()
            .hold
            .as_ref()
            .is_some_and(|hold| hold.mechanism == HeldBy::PoweredOff)
    });
    world.until("Ready", secs(3600), World::is_ready);
    assert!(!world.told().contains("taint of node1"), "{}", world.told());
    assert_eq!(count(&world, "ReleaseHost"), 1);
}

/// Refused before any effect, with the words of every mechanism that was looked at.
fn refused(mut world: World, reason: &str, words: &[&str]) {
    world.settle(secs(600));
    assert_eq!(
        world.card_says(0),
        format!("Stalled Stalled: {reason}"),
        "{}",
        world.told()
    );
    assert_eq!(world.effects.len(), 0, "{}", world.told());
    assert!(world.tainted.is_empty(), "{}", world.told());
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_taint_needs_a_node_and_leave() {
    let slots = "PoweredOff needs slots that keep power";
    let mut unnamed = dark(&["card1"]);
    unnamed.edit_host(|host| host.node_name = None);
    refused(
        unnamed,
        "HoldNeedsSlotPower",
        &[slots, "nodeName is not set"],
    );
    let mut gone = dark(&["card1"]);
    gone.node = None;
    refused(gone, "HoldNeedsSlotPower", &[slots, "node1 does not exist"]);
    let mut never = dark(&["card1"]);
    never.edit_host(|host| host.disruption = Disruption::Never);
    refused(never, "HoldNeedsSlotPower", &[slots, "disruption: Allowed"]);
    let mut off = dark(&["card1"]);
    off.edit_policy(|policy| policy.host_wait.on_timeout = OnTimeout::PowerOff);
    refused(
        off,
        "HoldNeedsSlotPower",
        &[slots, "cannot power the host off"],
    );
    let mut alone = dark(&["card1"]);
    alone.node = None;
    alone.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    refused(alone, "HoldNeedsNode", &["node1 does not exist"]);
}

#[test]
fn a_plan_shows_the_taint_and_does_not_put_it() {
    let mut world = dark(&["card1"]);
    world.edit_policy(|policy| policy.mode = PolicyMode::Plan);
    world.settle(secs(300));
    assert_eq!(world.host_says(), "Idle: PlanOnly");
    let message = world.status().message.clone().unwrap();
    assert!(message.contains("by a taint of Node node1"), "{message}");
    assert!(world.tainted.is_empty() && world.status().hold.is_none());
}

#[test]
fn a_taint_that_somebody_took_away_is_put_again_before_anything_goes_on() {
    let mut world = dark(&["card1"]);
    world.until("the taint", secs(300), |w| taint(w).is_some());
    world.tainted.clear();
    until_ready(&mut world);
    let put = world
        .story
        .iter()
        .filter(|line| line.ends_with("node1: NoExecute"));
    assert_eq!(put.count(), 2, "{}", world.told());
}

#[test]
fn an_operator_that_dies_between_record_and_taint_is_made_up_for() {
    let mut world = dark(&["card1"]);
    while world.host.as_ref().unwrap().status.is_none() || world.status().hold.is_none() {
        world.agent_step();
        world.operator_step_to(Crash::AfterRecord);
        world.pass(secs(5));
    }
    assert_eq!(taint(&world), None, "it died before");
    until_ready(&mut world);
    world.settle(secs(60));
    assert_eq!(taint(&world), None, "{}", world.told());
}

#[test]
fn the_wait_ends_as_the_policy_says() {
    let mut world = dark(&["card1"]);
    world.cards[0].dead = true;
    world.settle(secs(20_000));
    assert_eq!(
        world.host_says(),
        "Stalled: HostWaitTimedOut",
        "{}",
        world.told()
    );
    assert_eq!(taint(&world), Some(TaintEffect::NoExecute));
    assert!(world.host_machine.is_on());
    // A policy that now says PowerOff does not take a host down that is up.
    world.edit_policy(|policy| policy.host_wait.on_timeout = OnTimeout::PowerOff);
    world.settle(secs(600));
    assert_eq!(
        world.host_says(),
        "Stalled: HostWaitTimedOut",
        "{}",
        world.told()
    );
    assert!(world.host_machine.is_on());
    world.edit_policy(|policy| policy.host_wait.on_timeout = OnTimeout::Continue);
    world.settle(secs(600));
    assert_eq!(taint(&world), None, "{}", world.told());
    let release = world.status().release.clone().unwrap();
    assert_eq!(release.reason, ReleaseReason::Timeout);
    let deeds = world.effects.len();
    world.settle(secs(20_000));
    assert_eq!(world.effects.len(), deeds, "{}", world.told());
}

#[test]
fn deletion_lifts_the_taint_before_the_host_is_gone() {
    let mut world = dark(&["card1"]);
    world.until("the taint", secs(300), |w| taint(w).is_some());
    world.delete_host();
    // An operator that dies after it recorded the release leaves the finalizer.
    while world.host.is_some() && world.status().hold.is_some() {
        world.agent_step();
        world.operator_step_to(Crash::AfterRecord);
        world.pass(secs(5));
    }
    assert!(world.host.is_some() && taint(&world).is_some());
    world.until("gone", secs(3600), |w| w.host.is_none());
    assert_eq!(taint(&world), None);
}

#[test]
fn a_host_that_is_up_though_held_takes_no_new_pods() {
    let mut world = dark(&["card1"]);
    world.coupled = false;
    world.edit_host(|host| host.slot_power_when_host_off = SlotPower::Yes);
    world.round();
    world.until("the hold", secs(300), |w| w.status().hold.is_some());
    world.power_on_host();
    world.until("the taint", secs(60), |w| taint(w).is_some());
    assert_eq!(
        taint(&world),
        Some(TaintEffect::NoSchedule),
        "{}",
        world.told()
    );
    world.power_off_host();
    world.until("no taint", secs(60), |w| taint(w).is_none());
    world.power_on_host();
    world.until("the taint", secs(60), |w| taint(w).is_some());
    world.until("Ready", secs(3600), World::is_ready);
    world.settle(secs(60));
    assert_eq!(taint(&world), None, "{}", world.told());
}
