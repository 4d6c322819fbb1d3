//! Cards that are installed over the rshim of their host.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{self, Rshim, VirtualMedia};
use lockstep_crds::boot_policy::{HoldMechanism, OnInstallFailure, WaitUntil};
use lockstep_crds::host::{ArmedEffect, Disruption, TrustDomain};
use lockstep_crds::inventory::{HostAccess, InstallMethod};
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::build::image;
use crate::world::host_agent::Push;
use crate::world::{World, secs};

/// A host that is off, to be held by taint until its card, which is on with it, runs its image.
fn world(methods: &[AllowedMethod]) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_policy(|policy| {
        policy.install.methods = methods.to_vec();
        policy.hold.mechanisms = vec![HoldMechanism::NodeTainted];
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
        policy.install.os_timeout_seconds = 400;
    });
    world.edit_host(|host| {
        host.node_name = Some("node1".into());
        host.disruption = Disruption::Allowed;
        host.trust_domain = TrustDomain::Trusted;
    });
    world.cards[0].disk = Some(image("os-2"));
    world.power_on_card(0);
    world.has_host_agent();
    world
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

/// Refused before any effect on the card, in words that say what.
#[track_caller]
fn refused(mut world: World, reason: &str, words: &[&str]) {
    world.settle(secs(900));
    assert_eq!(
        world.card_says(0),
        format!("Stalled Stalled: {reason}"),
        "{}",
        world.told()
    );
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(world.deeds(), Vec::<&str>::new(), "{}", world.told());
}

#[test]
fn the_host_is_brought_up_under_its_taint_and_pushes() {
    let mut world = world(&[Rshim]);
    world.until("Ready", secs(2400), World::is_ready);
    world.settle(secs(300));
    assert_eq!(
        world.deeds(),
        [
            "PowerOn dpuhost/host1",
            "OfferImage dpu/card1",
            "PushImage dpu/card1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
    let kept = &world.status().cards[0];
    assert_eq!(kept.method, Some(InstallMethod::Rshim));
    assert!(kept.armed.is_empty() && kept.failed_methods.is_empty());
    assert!(world.cards[0].machine.granted.is_none() && world.tainted.is_empty());
}

/// The host is up and the image offered, and the agent that is to take it never starts.
fn offered_to_nobody(world: &mut World) {
    world.until("the host", secs(900), |w| {
        w.host_agent.as_ref().unwrap().runs
    });
    world.host_agent.as_mut().unwrap().runs = false;
    world.until("offered", secs(900), |w| {
        let armed = &w.status().cards[0].armed;
        w.cards[0].machine.granted.is_some() && armed.contains(&ArmedEffect::HostOffer)
    });
}

#[test]
fn what_is_offered_is_told_and_taken_back_with_the_card() {
    let mut world = world(&[Rshim]);
    offered_to_nobody(&mut world);
    assert_eq!(world.status().cards[0].armed, [ArmedEffect::HostOffer]);
    world.delete_card(0);
    world.settle(secs(900));
    assert!(world.cards[0].machine.granted.is_none(), "{}", world.told());
    assert_eq!(count(&world, "PushImage"), 0);
}

#[test]
fn an_isolated_host_is_refused_before_the_first_effect() {
    let mut isolated = world(&[Rshim]);
    isolated.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    refused(
        isolated,
        "Unsupported",
        &["Rshim: dpuhost/host1 is Isolated", "trustDomain: Trusted"],
    );
    for (access, words) in [
        (
            HostAccess {
                host_rshim: Some("Disabled".into()),
                ..HostAccess::default()
            },
            "hostRshim Disabled",
        ),
        (
            HostAccess {
                host_privilege: Some("restricted".into()),
                ..HostAccess::default()
            },
            "hostPrivilege Restricted",
        ),
        (
            HostAccess {
                mode: Some("NicMode".into()),
                ..HostAccess::default()
            },
            "NIC mode",
        ),
    ] {
        let mut locked = world(&[Rshim]);
        locked.cards[0].machine.host_access = Some(access);
        refused(locked, "Unsupported", &[words]);
    }
}

#[test]
fn what_the_way_lacks_is_told() {
    let mut held_off = world(&[Rshim]);
    held_off.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::PoweredOff]);
    refused(held_off, "CapabilityMissing", &["put NodeTainted first"]);
    let mut without = world(&[Rshim]);
    without.host_agent = None;
    refused(
        without,
        "CapabilityMissing",
        &["no agent has ever reported"],
    );
    let mut blind = world(&[Rshim]);
    blind.cards[0].in_host.as_mut().unwrap().rshim = None;
    refused(blind, "CapabilityMissing", &["sees no rshim of it"]);
    let mut unnamed = world(&[Rshim]);
    unnamed.edit_host(|host| host.node_name = None);
    refused(
        unnamed,
        "CapabilityMissing",
        &["spec.nodeName of dpuhost/host1"],
    );
    let mut reads_only = world(&[Rshim]);
    reads_only.host_agent.as_mut().unwrap().execution = None;
    refused(reads_only, "CapabilityMissing", &["needs access: Install"]);
    let mut not_waiting = world(&[Rshim]);
    not_waiting.edit_policy(|policy| policy.host_wait.until = WaitUntil::None);
    refused(
        not_waiting,
        "CapabilityMissing",
        &["is not held while", "hostWait.until OsRunning"],
    );
    let mut nameless = world(&[Rshim]);
    nameless.cards[0].in_host.as_mut().unwrap().serial_number = None;
    refused(nameless, "CapabilityMissing", &["reads no serial number"]);
}

#[test]
fn what_no_agent_can_have_accepted_moves_no_numbers_and_closes_the_way() {
    for (trusted, accepted) in [
        (TrustDomain::Isolated, 12_345),
        (TrustDomain::Isolated, i64::MAX),
        (TrustDomain::Trusted, i64::MAX),
        (TrustDomain::Trusted, (1 << 53) + 1),
        (TrustDomain::Trusted, -1),
    ] {
        let mut world = world(&[Rshim, VirtualMedia]);
        world.edit_host(|host| host.trust_domain = trusted);
        let agent = world.host_agent.as_mut().unwrap();
        agent.execution.as_mut().unwrap().accepted = accepted;
        world.until("Ready", secs(2400), World::is_ready);
        assert_eq!(count(&world, "PushImage"), 0, "{}", world.told());
        assert!(world.status().seq < 100, "{}", world.status().seq);
    }
    let mut alone = world(&[Rshim]);
    let agent = alone.host_agent.as_mut().unwrap();
    agent.execution.as_mut().unwrap().accepted = i64::MAX;
    refused(alone, "CapabilityMissing", &["which was never given"]);
}

#[test]
fn an_agent_that_has_counted_for_another_object_goes_on_counting() {
    let mut world = world(&[Rshim]);
    let agent = world.host_agent.as_mut().unwrap();
    agent.execution.as_mut().unwrap().accepted = 12_345;
    world.until("Ready", secs(2400), World::is_ready);
    assert_eq!(count(&world, "PushImage"), 1, "{}", world.told());
    assert!(world.status().seq > 12_345);
}

#[test]
fn a_host_that_may_not_push_leaves_the_other_ways() {
    let mut world = world(&[Rshim, VirtualMedia]);
    world.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    world.until("Ready", secs(2400), World::is_ready);
    assert_eq!(count(&world, "OfferImage") + count(&world, "PushImage"), 0);
    assert_eq!(count(&world, "StageInstall"), 1);
}

#[test]
fn a_push_that_breaks_off_goes_on_with_the_next_way() {
    let mut world = world(&[Rshim, VirtualMedia]);
    let agent = world.host_agent.as_mut().unwrap();
    agent.pushes = [Push::BreaksOff].into();
    world.until("Ready", secs(4800), World::is_ready);
    world.settle(secs(300));
    assert_eq!(count(&world, "PushImage"), 1, "{}", world.told());
    let kept = &world.status().cards[0];
    assert_eq!(
        (kept.attempts, &kept.method),
        (2, &Some(InstallMethod::VirtualMedia))
    );
    assert_eq!(kept.failed_methods, [InstallMethod::Rshim]);
    assert!(kept.armed.is_empty() && world.cards[0].machine.granted.is_none());
    let failure = &kept.failures[0];
    assert_eq!(
        (kept.failures.len(), &failure.method, &*failure.reason),
        (1, &InstallMethod::Rshim, "PushBroken")
    );
    assert_eq!(failure.message, "as it was");
}

#[test]
fn a_push_that_broke_off_or_does_not_come_up_is_followed_by_that_of_the_last_good_image() {
    for (push, reason) in [
        (Push::BreaksOff, "PushBroken"),
        (Push::Installs, "OsNotSeen"),
    ] {
        let mut world = world(&[Rshim]);
        world.until("os-1", secs(2400), World::is_ready);
        world.settle(secs(60));
        world.power_off_host();
        world.node.as_mut().unwrap().ready = Readiness::NotReady;
        world.host_agent.as_mut().unwrap().pushes = [push].into();
        world.broken.insert("os-2".into());
        world.edit_policy(|policy| {
            policy.install.on_failure = OnInstallFailure::RollBack;
            policy.install.max_attempts = 1;
        });
        world.edit_card(0, |card| {
            card.image_ref = Some(LocalRef {
                name: "os-2".into(),
            });
        });
        world.until("back", secs(6000), |w| {
            w.card_says(0) == "Degraded Stalled: RolledBack"
        });
        world.settle(secs(300));
        let kept = &world.status().cards[0];
        let failures: Vec<&str> = kept.failures.iter().map(|one| &*one.reason).collect();
        assert_eq!(failures, [reason], "{}", world.told());
        assert_eq!(kept.failures[0].image, image("os-2"));
        assert!(kept.armed.is_empty() && kept.failed_methods.is_empty());
        assert_eq!(world.cards[0].disk, Some(image("os-1")));
        assert_eq!(count(&world, "PushImage"), 3, "{}", world.told());
        let message = world.card_message(0);
        assert!(message.contains("by Rshim: "), "{message}");
    }
}

#[test]
fn a_busy_rshim_is_tried_again_and_counts_as_no_install() {
    let mut world = world(&[Rshim]);
    let agent = world.host_agent.as_mut().unwrap();
    agent.pushes = [Push::Busy, Push::Busy].into();
    world.until("Ready", secs(4800), World::is_ready);
    assert_eq!(world.status().cards[0].attempts, 1, "{}", world.told());
}

#[test]
fn an_agent_that_dies_in_the_middle_pushes_nothing_twice() {
    for (push, pushes) in [(Push::DiesBefore, 1), (Push::DiesAfter, 1)] {
        let mut world = world(&[Rshim]);
        world.host_agent.as_mut().unwrap().pushes = [push].into();
        world.until("Ready", secs(12_000), World::is_ready);
        assert_eq!(
            count(&world, "PushImage"),
            pushes,
            "{push:?}\n{}",
            world.told()
        );
    }
}

#[test]
fn a_silent_agent_is_waited_for_and_then_told() {
    let mut world = world(&[Rshim]);
    offered_to_nobody(&mut world);
    world.settle(secs(1500));
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: HostAgentSilent",
        "{}",
        world.told()
    );
    assert_eq!(count(&world, "PushImage"), 0);
    world.host_agent.as_mut().unwrap().runs = true;
    world.until("Ready", secs(2400), World::is_ready);
}

#[test]
fn a_card_that_is_off_is_not_pushed_to() {
    let mut world = world(&[Rshim]);
    world.power_off_card(0);
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Degraded Stalled: CardPoweredOff");
    assert_eq!(count(&world, "OfferImage") + count(&world, "PushImage"), 0);
    world.power_on_card(0);
    world.until("Ready", secs(2400), World::is_ready);
}
