//! What runs already is not installed again, and what should run instead is.

use lockstep_crds::LocalRef;
use lockstep_crds::host::Disruption;

use crate::world::build::image;
use crate::world::{World, secs};

/// A card that runs `version`, put there by somebody else, beside a host that is on.
fn running(version: &str) -> World {
    let mut world = World::new(&["card1"]);
    world.cards[0].disk = Some(image(version));
    world.power_on_host();
    world.power_on_card(0);
    world.pass(secs(60));
    world
}

#[test]
fn the_wanted_image_is_adopted_with_no_directive_at_all() {
    let mut world = running("os-1");
    world.until("Ready", secs(60), World::is_ready);
    world.settle(secs(300));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert_eq!(world.host_says(), "Ready: AsWanted");
    assert_eq!(world.status().seq, 0);
    assert_eq!(world.writes.finalizers, 0);
}

#[test]
fn a_card_without_a_bmc_is_adopted_too() {
    let mut world = running("os-1");
    world.edit_card(0, |card| card.bmc = None);
    world.until("Ready", secs(60), World::is_ready);
    assert!(world.recorded.is_empty());
}

#[test]
fn another_image_on_a_running_host_is_not_installed() {
    let mut world = World::installed(&["card1"]);
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.settle(secs(600));
    assert_eq!(world.host_says(), "Stalled: HostInUse", "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: HostInUse");
    assert!(world.effects.is_empty());
}

#[test]
fn another_image_is_installed_when_the_host_is_off() {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.edit_card(0, |card| {
        card.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.settle(secs(30));
    world.until("Ready", secs(1800), World::is_ready);
    world.settle(secs(30));
    assert_eq!(
        world.deeds(),
        [
            "HoldHost dpuhost/host1",
            "ShutdownGracefully dpu/card1",
            "StageInstall dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    assert_eq!(world.cards[0].os.as_ref().unwrap().image, image("os-2"));
}

#[test]
fn a_host_that_may_be_disturbed_is_shut_down_first() {
    let mut world = World::installed(&["card1"]);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.settle(secs(30));
    world.until("Ready", secs(3600), World::is_ready);
    world.settle(secs(30));
    assert_eq!(
        world.deeds(),
        [
            "ShutdownGracefully dpuhost/host1",
            "HoldHost dpuhost/host1",
            "ShutdownGracefully dpu/card1",
            "StageInstall dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
}

#[test]
fn an_image_changed_in_mid_install_follows_when_the_first_has_ended() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.settle(secs(100));
    assert_eq!(world.deeds().len(), 3, "{}", world.told());
    world.until("os-2", secs(1800), |w| {
        w.cards[0]
            .os
            .as_ref()
            .is_some_and(|os| os.image == image("os-2"))
    });
    world.until("Ready", secs(300), World::is_ready);
    world.settle(secs(30));
    let held = world
        .deeds()
        .iter()
        .filter(|d| d.starts_with("HoldHost"))
        .count();
    assert_eq!(held, 1, "{}", world.told());
}

#[test]
fn nothing_wanted_any_more_takes_back_what_was_armed_and_lets_the_host_go() {
    let mut world = World::new(&["card1"]);
    world.until("armed", secs(300), |w| w.cards[0].machine.media.is_some());
    world.edit_policy(|policy| policy.image_ref = None);
    world.settle(secs(900));
    assert_eq!(world.host_says(), "Idle: NoImageWanted", "{}", world.told());
    assert!(world.cards[0].machine.media.is_none());
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
}
