//! What runs already is not installed again, and what should run instead is.

use lockstep_crds::LocalRef;
use lockstep_crds::directive::ImageFacts;
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

/// Another image under the name of the wanted one.
fn namesake() -> ImageFacts {
    ImageFacts {
        digest: format!("sha256:{}", "f".repeat(64)),
        version: "os-1".to_owned(),
        stateless: false,
        slot: None,
    }
}

#[track_caller]
fn says_which(world: &World) {
    let message = world.card_message(0);
    let (runs, wanted) = (namesake().digest, image("os-1").digest);
    assert!(
        message.contains(&format!("os-1, but of digest {runs} and not {wanted}")),
        "{message}"
    );
}

#[test]
fn a_card_that_lies_about_its_version_is_not_adopted_and_it_is_told_why() {
    let mut world = running("os-1");
    world.cards[0].disk = Some(namesake());
    world.power_off_card(0);
    world.power_on_card(0);
    world.settle(secs(600));
    assert_eq!(world.card_says(0), "Stalled Stalled: HostInUse");
    says_which(&world);
    assert!(world.effects.is_empty(), "{}", world.told());
    world.power_off_host();
    world.until("Ready", secs(2400), World::is_ready);
    assert_eq!(world.cards[0].disk, Some(image("os-1")), "{}", world.told());
}

#[test]
fn an_install_that_ends_in_a_namesake_has_failed_and_says_so() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    world.until("installing", secs(600), |w| w.is_installing(0));
    world.broken.insert("os-1".into());
    world.until("written", secs(600), |w| {
        w.cards[0].disk == Some(image("os-1"))
    });
    world.broken.clear();
    world.cards[0].disk = Some(namesake());
    world.power_off_card(0);
    world.power_on_card(0);
    world.settle(secs(4800));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says_which(&world);
}

/// What was seen running counts for the hold; what is told now counts for what is shown.
#[test]
fn a_card_that_runs_something_else_by_now_is_not_shown_ready_whatever_holds_it() {
    for other in [namesake(), image("os-2")] {
        let mut world = World::installed(&["card1"]);
        assert!(world.is_ready());
        world.edit_card(0, |card| card.paused = true);
        world.settle(secs(60));
        assert_eq!(world.card_says(0), "Ready Ready: AsWanted");
        world.cards[0].disk = Some(other.clone());
        world.power_off_card(0);
        world.power_on_card(0);
        world.settle(secs(300));
        let says = world.card_says(0);
        assert!(!says.contains("Ready:"), "{other:?}: {says}");
        world.edit_card(0, |card| card.paused = false);
        world.settle(secs(300));
        assert_eq!(world.card_says(0), "Stalled Stalled: SystemChanged");
        let message = world.card_message(0);
        assert!(message.contains("now reports image"), "{message}");
        assert_eq!(
            message.contains("of digest"),
            other == namesake(),
            "{message}"
        );
    }
}
