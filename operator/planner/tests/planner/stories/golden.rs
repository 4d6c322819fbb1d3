//! The golden image: what goes onto a card when neither the wanted image nor the last good one does.

use lockstep_crds::boot_policy::AllowedMethod::{Rshim, VirtualMedia};
use lockstep_crds::boot_policy::OnInstallFailure;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use super::roll_back::{LONG, booted, is_back, kept, named, runs, says, updating};
use crate::world::build::{GOLDEN, image};
use crate::world::{World, secs};

/// As [`updating`], where neither the new image nor the one before comes up, and the policy names a
/// golden image.
fn ruined() -> World {
    let mut world = updating(&["card1"]);
    world.broken.insert("os-1".into());
    world.edit_policy(|policy| policy.install.golden_image_ref = named(GOLDEN));
    world
}

#[test]
fn a_card_on_which_nothing_comes_up_gets_the_golden_image_and_stays_with_it() {
    let mut world = ruined();
    world.until("golden", secs(LONG * 2), is_back);
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1", "os-1", GOLDEN]);
    assert!(runs(&world, GOLDEN) && world.host_machine.is_on());
    assert!(world.status().hold.is_none() && kept(&world).armed.is_empty());
    let status = world.cards[0].dpu.as_ref().unwrap().status.clone().unwrap();
    assert_eq!(status.wanted_image, Some(image("os-2")));
    says(
        &world,
        &[
            "runs the golden image os-0 since 2026-01-01T",
            "because os-2 did not come up (the last install begun at 2026-01-01T",
            "os-1, its last good image, did not come up either (the last install begun at",
            "change retryToken on the Dpu",
        ],
    );
    let told = world.story.iter();
    let told = told.filter(|line| line.contains("event RollingBack"));
    assert_eq!(told.count(), 2, "{}", world.told());
    // The golden image is none that was wanted.
    let good = kept(&world).last_good.as_ref().unwrap();
    assert_eq!(good.image, image("os-1"));

    world.settle(secs(60));
    let (deeds, writes) = (world.deeds().len(), world.writes.total());
    world.settle(secs(LONG));
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
    assert_eq!(world.writes.total(), writes, "{}", world.told());
}

#[test]
fn a_last_good_image_that_comes_up_needs_no_golden_one() {
    let mut world = ruined();
    world.broken.remove("os-1");
    world.until("back", secs(LONG), is_back);
    assert!(runs(&world, "os-1"));
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1"]);
}

#[test]
fn a_card_that_has_run_nothing_gets_the_golden_image_at_once() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.install.on_failure = OnInstallFailure::RollBack;
        policy.install.os_timeout_seconds = 200;
        policy.install.golden_image_ref = named(GOLDEN);
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 80_000;
    });
    world.broken.insert("os-1".into());
    world.until("golden", secs(LONG), is_back);
    assert!(runs(&world, GOLDEN));
    says(
        &world,
        &["runs the golden image os-0", "because os-1 did not"],
    );
}

#[test]
fn a_last_good_image_that_may_not_go_there_is_passed_over() {
    let not = Judgement::NotMet("its signer was taken away".to_owned());
    let mut world = ruined();
    world.until("installing", secs(LONG), |w| w.is_installing(0));
    let found = Vetting {
        trust: not,
        ..Vetting::of_nothing()
    };
    world.vetted.insert("os-1".into(), found.clone());
    world.until("golden", secs(LONG), is_back);
    assert_eq!(booted(&world), ["os-2", "os-2", GOLDEN]);

    // A golden image is judged as any other.
    let mut world = ruined();
    world.vetted.insert(GOLDEN.into(), found);
    world.settle(secs(LONG * 2));
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1", "os-1"]);
    assert_eq!(world.card_says(0), "Stalled Stalled: ImageUntrusted");
    says(&world, &["going back to the golden image os-0"]);
    world.vetted.clear();
    world.until("golden", secs(LONG), is_back);
}

#[test]
fn a_golden_image_that_does_not_come_up_uses_up_its_attempts_and_another_may_be_named() {
    let mut world = ruined();
    world.broken.insert(GOLDEN.into());
    world.settle(secs(LONG * 3));
    let tried = ["os-2", "os-2", "os-1", "os-1", GOLDEN, GOLDEN];
    assert_eq!(booted(&world), tried);
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says(&world, &["no way leads on from a golden image"]);

    world.edit_policy(|policy| policy.install.golden_image_ref = None);
    world.settle(secs(LONG));
    assert_eq!(booted(&world), tried, "{}", world.told());

    // A person who wants it tried again says so as ever.
    world.edit_policy(|policy| policy.install.golden_image_ref = named(GOLDEN));
    world.broken.clear();
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("os-2", secs(LONG), |w| w.is_ready() && runs(w, "os-2"));
}

#[test]
fn a_golden_image_that_is_named_late_is_taken_then() {
    let mut world = ruined();
    world.edit_policy(|policy| policy.install.golden_image_ref = None);
    world.settle(secs(LONG));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says(&world, &["install.goldenImageRef names no golden image"]);
    world.edit_policy(|policy| policy.install.golden_image_ref = named(GOLDEN));
    world.until("golden", secs(LONG), is_back);
}

#[test]
fn a_golden_image_does_not_go_through_the_host() {
    let mut world = ruined();
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    world.until("os-1 tried", secs(LONG * 2), |w| {
        booted(w).last().map(String::as_str) == Some("os-1")
    });
    world.edit_policy(|policy| policy.install.methods = vec![Rshim]);
    world.settle(secs(LONG));
    assert!(!booted(&world).contains(&GOLDEN.to_owned()));
    says(&world, &["by its BMC alone, not through its host"]);
    world.edit_policy(|policy| policy.install.methods = vec![Rshim, VirtualMedia]);
    world.until("golden", secs(LONG), is_back);
}

#[test]
fn a_card_that_came_up_with_its_last_good_image_after_all_is_left_with_it() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| {
        policy.install.max_attempts = 1;
        policy.install.golden_image_ref = named(GOLDEN);
    });
    world.until("power", secs(LONG), |w| !booted(w).is_empty());
    // Its BMC forgets what it said, the disk is not touched, and the image on it is withdrawn.
    world.cards[0].machine.boot_override = false;
    world.catalogue.remove("os-1");
    world.until("back", secs(LONG), is_back);
    assert!(runs(&world, "os-1"), "{}", world.told());
    assert_eq!(booted(&world), ["os-2"], "{}", world.told());
}

#[test]
fn a_last_good_image_that_is_barred_on_the_way_gives_way_to_the_golden_one() {
    let mut world = ruined();
    world.until("os-1 tried", secs(LONG * 2), |w| {
        booted(w).last().map(String::as_str) == Some("os-1")
    });
    world.catalogue.remove("os-1");
    world.until("golden", secs(LONG), is_back);
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1", GOLDEN]);
}

#[test]
fn an_edit_of_the_policy_changes_nothing_of_a_golden_image_under_way() {
    let mut world = ruined();
    world.broken.insert(GOLDEN.into());
    world.until("golden tried", secs(LONG * 3), |w| {
        booted(w).last().map(String::as_str) == Some(GOLDEN)
    });
    world.edit_policy(|policy| policy.install.golden_image_ref = None);
    world.settle(secs(LONG));
    let tried = ["os-2", "os-2", "os-1", "os-1", GOLDEN, GOLDEN];
    assert_eq!(booted(&world), tried, "{}", world.told());
}

#[test]
fn what_a_card_has_run_as_golden_counts_against_older_images() {
    let mut world = ruined();
    let newer = Vetting {
        security_version: 5,
        ..Vetting::of_nothing()
    };
    world.vetted.insert(GOLDEN.into(), newer);
    world.until("golden", secs(LONG * 2), is_back);
    world.settle(secs(60));
    assert_eq!(kept(&world).security_version, Some(5));
}
