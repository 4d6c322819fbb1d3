//! A host that waits for its cards, and how the wait ends.

use lockstep_crds::boot_policy::{OnOrphan, OnTimeout};
use lockstep_crds::host::ReleaseReason;
use lockstep_crds::observed::BootStage;

use crate::world::agent::Fault;
use crate::world::{World, secs};

/// A card that never boots, under a policy with short waits.
fn dead_card(on_timeout: OnTimeout) -> World {
    let mut world = World::new(&["card1"]);
    world.cards[0].dead = true;
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 900;
        policy.host_wait.on_timeout = on_timeout;
        policy.install.os_timeout_seconds = 600;
        policy.hold.orphan_after_seconds = 172_800;
    });
    world
}

fn released(world: &World) -> Option<ReleaseReason> {
    let release = world.status().release.as_ref()?;
    Some(release.reason.clone())
}

fn count(world: &World, what: &str) -> usize {
    world
        .deeds()
        .iter()
        .filter(|deed| deed.starts_with(what))
        .count()
}

#[test]
fn continue_lets_the_host_go_without_its_card() {
    let mut world = dead_card(OnTimeout::Continue);
    world.until("the release", secs(1800), |w| w.host_machine.is_on());
    world.settle(secs(20_000));
    assert_eq!(released(&world), Some(ReleaseReason::Timeout));
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: InstallFailed",
        "{}",
        world.told()
    );
    assert_eq!(
        (count(&world, "HoldHost"), count(&world, "PowerOn")),
        (1, 2),
        "{}",
        world.told()
    );
    // The next reset of the card must not begin another install, of which nobody knows.
    assert_eq!(world.deeds().last(), Some(&"ClearInstall dpu/card1"));
    assert!(!world.cards[0].machine.is_armed(), "{}", world.told());
    let deeds = world.effects.len();
    world.settle(secs(20_000));
    assert_eq!(world.effects.len(), deeds, "{}", world.told());
}

#[test]
fn what_an_installer_that_is_only_slow_reads_is_not_taken_from_it() {
    let mut world = dead_card(OnTimeout::Continue);
    world.until("the install", secs(900), |w| w.cards[0].machine.is_on());
    world.cards[0].machine.stage = Some(BootStage::FirmwareUpdating);
    world.settle(secs(20_000));
    assert!(world.cards[0].machine.media.is_some(), "{}", world.told());
    let said = world.card_message(0);
    assert!(said.contains("once the card is off"), "{said}");
    world.cards[0].machine.stage = Some(BootStage::OsRunning);
    world.settle(secs(900));
    assert!(!world.cards[0].machine.is_armed(), "{}", world.told());
    let said = world.card_message(0);
    assert!(!said.contains("once the card is off"), "{said}");
}

#[test]
fn power_off_ends_the_hold_and_leaves_the_host_off() {
    let mut world = dead_card(OnTimeout::PowerOff);
    world.until("the release", secs(1200), |w| {
        w.deeds().contains(&"ReleaseHost dpuhost/host1")
    });
    world.settle(secs(20_000));
    assert_eq!(released(&world), Some(ReleaseReason::Timeout));
    assert!(!world.host_machine.is_on() && world.status().hold.is_none());
    assert_eq!(
        (count(&world, "HoldHost"), count(&world, "PowerOn")),
        (1, 2),
        "{}",
        world.told()
    );
    // Another try is a person's choice.
    world.cards[0].dead = false;
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(30));
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(count(&world, "HoldHost"), 2);
    assert!(world.host_machine.is_on());
}

#[test]
fn hold_stays_until_a_person_acts() {
    let mut world = dead_card(OnTimeout::Hold);
    world.settle(secs(30_000));
    assert_eq!(
        world.host_says(),
        "Stalled: HostWaitTimedOut",
        "{}",
        world.told()
    );
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    assert!(!world.host_machine.is_on() && world.status().hold.is_some());
    // Both attempts that the policy allows, and no more.
    assert_eq!(
        (count(&world, "HoldHost"), count(&world, "PowerOn")),
        (1, 2),
        "{}",
        world.told()
    );
    world.cards[0].dead = false;
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(released(&world), Some(ReleaseReason::Ready));
    assert_eq!(count(&world, "HoldHost"), 1);
}

#[test]
fn attempts_outlive_the_object() {
    let mut world = dead_card(OnTimeout::Hold);
    world.settle(secs(30_000));
    let boots = count(&world, "PowerOn");
    world.delete_card(0);
    world.until("gone", secs(600), |w| w.cards[0].dpu.is_none());
    let mut again = crate::world::build::dpu("card1");
    again.metadata.uid = Some("uid-again".into());
    world.cards[0].dpu = Some(again);
    world.settle(secs(10_000));
    assert_eq!(count(&world, "PowerOn"), boots, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
}

#[test]
fn a_work_order_that_ran_out_ends_the_hold_and_it_is_not_taken_again() {
    let mut world = dead_card(OnTimeout::Hold);
    world.edit_policy(|policy| {
        policy.hold.orphan_after_seconds = 1000;
        policy.hold.on_orphan = OnOrphan::RestoreAndRelease;
    });
    world.until("the end of the order", secs(1200), |w| {
        w.host_machine.is_on()
    });
    world.settle(secs(10_000));
    assert_eq!(
        released(&world),
        Some(ReleaseReason::Orphaned),
        "{}",
        world.told()
    );
    assert!(world.status().hold.is_none());
    assert_eq!(count(&world, "HoldHost"), 1);
    // Not even when the host happens to be off again.
    world.power_off_host();
    world.settle(secs(1000));
    assert_eq!(count(&world, "HoldHost"), 1, "{}", world.told());
}

#[test]
fn an_offline_release_is_believed_and_kept() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.disruption = lockstep_crds::host::Disruption::Allowed);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.release_offline();
    world.until("Ready", secs(600), World::is_ready);
    world.settle(secs(60));
    assert_eq!(
        released(&world),
        Some(ReleaseReason::Manual),
        "{}",
        world.told()
    );
    assert_eq!(
        (count(&world, "HoldHost"), count(&world, "ReleaseHost")),
        (1, 0)
    );
}

#[test]
fn a_broken_hold_is_told_and_nothing_new_is_begun() {
    let mut world = World::new(&["card1"]);
    world.agent.faults = [Fault::Fine, Fault::Refused].into();
    world.until("held", secs(300), |w| w.host_machine.custody.is_some());
    world.power_on_host();
    world.settle(secs(60));
    assert_eq!(world.host_says(), "Stalled: HoldBroken", "{}", world.told());
    assert_eq!(count(&world, "PowerOn"), 0);
    world.power_off_host();
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(count(&world, "HoldHost"), 1);
}

#[test]
fn a_hold_broken_while_its_card_installs_shows() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.power_on_host();
    world.settle(secs(20));
    let hold = world.status().hold.clone().unwrap();
    assert_eq!(hold.state.as_str(), "HoldBroken", "{}", world.told());
    world.until("Ready", secs(600), World::is_ready);
    assert!(world.status().hold.is_none());
}
