//! A wanted image that does not come up, and the way back to the last good one.

use lockstep_crds::boot_policy::AllowedMethod::{self, SimpleUpdate, VirtualMedia};
use lockstep_crds::boot_policy::{OnInstallFailure, OnTimeout};
use lockstep_crds::host::{CardRecord, Disruption};
use lockstep_crds::observed::Offer;
use lockstep_crds::report::UpdateState;
use lockstep_crds::{ImageRules, LocalRef};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use crate::world::build::{dpu, image};
use crate::world::machine::{CardOs, Update};
use crate::world::{World, secs};

pub(super) const LONG: i64 = 1800;

pub(super) fn named(name: &str) -> Option<LocalRef> {
    Some(LocalRef { name: name.into() })
}

/// Cards that run `os-1`, in a host that may be disturbed, under a policy that goes back. `os-2` is
/// wanted, and its system does not come up.
pub(super) fn updating(cards: &[&str]) -> World {
    let mut world = World::installed(cards);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.install.on_failure = OnInstallFailure::RollBack;
        policy.install.os_timeout_seconds = 200;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 80_000;
        policy.image_ref = named("os-2");
    });
    world.broken.insert("os-2".into());
    world
}

pub(super) fn kept(world: &World) -> &CardRecord {
    &world.status().cards[0]
}

pub(super) fn is_back(world: &World) -> bool {
    world.card_says(0) == "Degraded Stalled: RolledBack"
}

pub(super) fn runs(world: &World, version: &str) -> bool {
    let os = world.cards[0].os.as_ref();
    os.is_some_and(|os| os.image == image(version))
}

/// The images that the card was powered on for, in order.
pub(super) fn booted(world: &World) -> Vec<String> {
    let images = world.recorded.iter().filter(|one| {
        let what = lockstep_planner::ledger::what(one);
        what == "PowerOn dpu/card1"
    });
    images
        .filter_map(|one| Some(one.action.image.as_ref()?.version.clone()))
        .skip(1)
        .collect()
}

#[track_caller]
pub(super) fn says(world: &World, words: &[&str]) {
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn a_card_whose_new_image_does_not_come_up_gets_the_last_good_one_again() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    assert!(runs(&world, "os-1") && world.host_machine.is_on());
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1"]);
    assert_eq!(world.host_says(), "Stalled: RolledBack");
    assert!(world.status().hold.is_none() && kept(&world).armed.is_empty());
    let status = world.cards[0].dpu.as_ref().unwrap().status.clone().unwrap();
    assert_eq!(status.wanted_image, Some(image("os-2")));
    assert_eq!(status.image, Some(image("os-1")));
    says(
        &world,
        &[
            "runs os-1 since 2026-01-01T",
            "because os-2 did not come up (the last install begun at 2026-01-01T",
            "by VirtualMedia: not reported by 2026-01-01T",
            "then the card is on, in stage OsStarting; look at the card's console)",
            "and was given up at 2026-01-01T",
            "change retryToken on the Dpu",
            "name another one in imageRef",
        ],
    );
    assert_eq!(kept(&world).failures.len(), 2);
    let phases = world.phases("card1");
    assert!(phases.contains(&"Recovering".to_owned()), "{phases:?}");
    let told = world
        .story
        .iter()
        .filter(|line| line.contains("event RollingBack"));
    assert_eq!(told.count(), 1, "{}", world.told());

    // It stays with that, and costs nothing.
    world.settle(secs(60));
    let (deeds, writes) = (world.deeds().len(), world.writes.total());
    world.settle(secs(LONG));
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
    assert_eq!(world.writes.total(), writes, "{}", world.told());
}

#[test]
fn the_image_that_runs_is_accepted_by_naming_it() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    let deeds = world.deeds().len();
    world.edit_policy(|policy| policy.image_ref = named("os-1"));
    world.until("accepted", secs(60), World::is_ready);
    world.settle(secs(300));
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
    assert!(kept(&world).roll_back.is_none() && kept(&world).failures.is_empty());
}

#[test]
fn a_new_retry_token_begins_anew_and_what_comes_up_is_the_next_good_one() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    world.broken.clear();
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("os-2", secs(LONG), |w| w.is_ready() && runs(w, "os-2"));
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1", "os-2"]);
    let good = kept(&world).last_good.as_ref().unwrap();
    assert_eq!((good.name.as_str(), &good.image), ("os-2", &image("os-2")));
}

#[test]
fn a_card_stays_as_it_is_unless_the_policy_says_otherwise() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| policy.install.on_failure = OnInstallFailure::Stall);
    world.settle(secs(LONG));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says(
        &world,
        &[
            "2 install(s) of os-2 did not end in a report from the card's own agent, last begun at",
            "By VirtualMedia: OsNotSeen: not reported by",
            "in stage OsStarting",
        ],
    );
    assert_eq!(booted(&world), ["os-2", "os-2"]);
    world.edit_policy(|policy| policy.install.on_failure = OnInstallFailure::RollBack);
    world.until("back", secs(LONG), is_back);
}

#[test]
fn a_policy_that_goes_back_no_more_stops_a_way_back_that_has_not_begun() {
    let mut world = updating(&["card1"]);
    world.until("given up", secs(LONG), |w| kept(w).roll_back.is_some());
    world.edit_policy(|policy| policy.install.on_failure = OnInstallFailure::Stall);
    world.settle(secs(LONG));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says(
        &world,
        &["os-1 is not installed again, for the policy's install.onFailure is Stall"],
    );
    assert_eq!(booted(&world), ["os-2", "os-2"], "{}", world.told());
}

#[test]
fn a_last_good_image_that_does_not_come_up_either_uses_up_its_attempts() {
    let mut world = updating(&["card1"]);
    world.broken.insert("os-1".into());
    world.settle(secs(LONG));
    assert_eq!(booted(&world), ["os-2", "os-2", "os-1", "os-1"]);
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    says(
        &world,
        &[
            "os-2 did not come up (the last install begun at",
            "going back to os-1: 2 install(s) of os-1 did not end in a report",
        ],
    );
    let failed: Vec<&str> = kept(&world)
        .failures
        .iter()
        .map(|one| one.image.version.as_str())
        .collect();
    assert_eq!(failed, ["os-2", "os-2", "os-1", "os-1"]);
}

#[test]
fn a_card_that_has_run_nothing_has_nothing_to_go_back_to() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.install.on_failure = OnInstallFailure::RollBack;
        policy.install.os_timeout_seconds = 200;
    });
    world.broken.insert("os-1".into());
    world.settle(secs(LONG));
    says(
        &world,
        &[
            "The card was not seen to run another image, so there is none to go back to",
            "By VirtualMedia: OsNotSeen: not reported by",
        ],
    );
    assert!(kept(&world).last_good.is_none() && kept(&world).roll_back.is_none());

    // Nor has one whose wanted image is the last that it ran.
    let mut world = World::installed(&["card1"]);
    world.edit_policy(|policy| {
        policy.install.on_failure = OnInstallFailure::RollBack;
        policy.install.os_timeout_seconds = 200;
    });
    world.broken.insert("os-1".into());
    world.power_off_host();
    world.power_off_card(0);
    world.pass(secs(300));
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(LONG));
    says(
        &world,
        &["It is the last image that the card was seen to run"],
    );
}

#[test]
fn what_may_not_go_onto_the_card_any_more_does_not_go_back_onto_it() {
    let vet = |trust, fit, security_version| Vetting {
        room: None,
        trust,
        fit,
        security_version,
    };
    let met = || Judgement::Met;
    let not = |why: &str| Judgement::NotMet(why.to_owned());
    type Change = Box<dyn Fn(&mut World)>;
    let vetted = |found: Vetting| -> Change {
        Box::new(move |world| {
            world.vetted.insert("os-1".into(), found.clone());
        })
    };
    let table: Vec<(Change, &str, &str)> = vec![
        (
            vetted(vet(not("its signer was taken away"), met(), 0)),
            "ImageUntrusted",
            "its signer was taken away",
        ),
        (
            vetted(vet(met(), not("it is for maker Intel"), 0)),
            "ImageDoesNotFit",
            "it is for maker Intel",
        ),
        (
            Box::new(|world| {
                world.edit_policy(|policy| {
                    policy.images = Some(ImageRules {
                        minimum_security_version: Some(3),
                        ..ImageRules::default()
                    });
                });
            }),
            "SecurityVersionTooLow",
            "and the policy asks for 3",
        ),
        (
            Box::new(|world| {
                world.catalogue.remove("os-1");
            }),
            "ImageNotFound",
            "DpuImage os-1 with sha256:1111",
        ),
        (
            Box::new(|world| {
                world.catalogue.insert("os-1".into(), image("os-7"));
            }),
            "ImageNotFound",
            "DpuImage os-1 with sha256:1111",
        ),
    ];
    for (change, reason, words) in table {
        let mut world = updating(&["card1"]);
        world.vetted.insert("os-2".into(), vet(met(), met(), 3));
        world.until("installing", secs(LONG), |w| w.is_installing(0));
        change(&mut world);
        world.settle(secs(LONG));
        assert_eq!(
            world.card_says(0),
            format!("Stalled Stalled: {reason}"),
            "{}",
            world.told()
        );
        says(
            &world,
            &["os-2 did not come up", "going back to os-1", words],
        );
        assert_eq!(booted(&world), ["os-2", "os-2"], "{}", world.told());
        // Once that is put right it goes on by itself.
        world.vetted.clear();
        world.catalogue.insert("os-1".into(), image("os-1"));
        world.edit_policy(|policy| policy.images = None);
        world.until("back", secs(LONG), is_back);
    }
}

#[test]
fn what_runs_again_is_left_alone_though_its_image_is_gone() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    world.catalogue.remove("os-1");
    let deeds = world.deeds().len();
    world.settle(secs(LONG));
    assert!(is_back(&world), "{}", world.told());
    assert_eq!(world.deeds().len(), deeds);
}

#[test]
fn a_wanted_image_that_comes_up_late_is_taken_all_the_same() {
    let mut world = updating(&["card1"]);
    world.until("power", secs(LONG), |w| booted(w).len() == 2);
    world.edit_card(0, |card| card.paused = true);
    world.until("given up", secs(LONG), |w| kept(w).roll_back.is_some());
    let deeds = world.deeds().len();
    world.broken.clear();
    world.cards[0]
        .machine
        .coming
        .push((world.now + secs(10), crate::world::machine::Coming::Up));
    world.until("os-2 runs", secs(300), |w| runs(w, "os-2"));
    world.edit_card(0, |card| card.paused = false);
    world.until("as wanted", secs(600), World::is_ready);
    let after = &world.deeds()[deeds..];
    assert_eq!(
        after,
        ["ReleaseHost dpuhost/host1", "ClearInstall dpu/card1"],
        "{}",
        world.told()
    );
    assert!(kept(&world).roll_back.is_none());
    assert_eq!(kept(&world).last_good.as_ref().unwrap().name, "os-2");
}

#[test]
fn a_card_that_came_up_with_its_old_system_has_gone_back_already() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    world.until("power", secs(LONG), |w| !booted(w).is_empty());
    // Its BMC forgets what it said, and the disk is not touched.
    world.cards[0].machine.boot_override = false;
    world.until("back", secs(LONG), is_back);
    assert_eq!(booted(&world), ["os-2"], "{}", world.told());
    says(&world, &["then xpu-card1 reports image os-1"]);
    let staged = world
        .recorded
        .iter()
        .filter(|one| one.action.kind.arms_install() && one.action.image == Some(image("os-1")));
    assert_eq!(staged.count(), 1, "the first install alone");
}

#[test]
fn the_last_word_of_the_old_system_does_not_count_as_its_return() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| {
        policy.install.max_attempts = 1;
        policy.install.os_timeout_seconds = 30;
    });
    world.until("given up", secs(LONG), |w| kept(w).roll_back.is_some());
    // Its Lease is fresh still.
    let renewed = world.cards[0].os_lease.unwrap();
    assert!(world.now.duration_since(renewed) < crate::world::CARD_LEASE);
    assert!(kept(&world).observed_at.is_none(), "{}", world.told());
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 400);
    world.until("back", secs(LONG), is_back);
    assert_eq!(booted(&world), ["os-2", "os-1"]);
}

#[test]
fn a_card_that_its_host_went_on_without_is_not_taken_back() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 400;
        policy.host_wait.on_timeout = OnTimeout::Continue;
    });
    world.settle(secs(LONG));
    assert!(world.host_machine.is_on() && kept(&world).given_up);
    assert!(kept(&world).roll_back.is_none());
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    let held = world
        .recorded
        .iter()
        .filter(|one| lockstep_planner::ledger::what(one) == "ShutdownGracefully dpuhost/host1");
    assert_eq!(held.count(), 1, "{}", world.told());
}

#[test]
fn another_object_for_the_same_card_does_not_try_what_failed_again() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    let deeds = world.deeds().len();
    world.delete_card(0);
    world.until("gone", secs(300), |w| w.cards[0].dpu.is_none());
    let mut again = dpu("card1");
    again.metadata.uid = Some("uid-again".into());
    world.cards[0].dpu = Some(again);
    world.cards[0].os.as_mut().unwrap().epoch.push_str("-again");
    world.settle(secs(LONG));
    assert!(is_back(&world), "{}", world.told());
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
}

#[test]
fn a_host_goes_on_with_a_card_that_went_back_beside_one_that_did_not() {
    let mut world = updating(&["card1", "card2"]);
    world.edit_card(1, |card| card.image_ref = named("os-1"));
    world.until("back", secs(LONG), is_back);
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
    assert_eq!(world.card_says(1), "Ready Ready: AsWanted");
}

#[test]
fn a_record_of_an_older_release_learns_what_its_card_runs() {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| policy.image_ref = named("os-1"));
    let host = world.host.as_mut().unwrap();
    host.status.as_mut().unwrap().cards[0].last_good = None;
    world.round();
    let good = kept(&world).last_good.clone().unwrap();
    assert_eq!((good.name.as_str(), good.image), ("os-1", image("os-1")));
    assert_eq!(Some(&good.seen_at), kept(&world).observed_at.as_ref());
    world.edit_policy(|policy| policy.image_ref = named("os-2"));
    world.until("back", secs(LONG), is_back);
}

/// As [`updating`], by ways that the card's BMC offers too.
fn updating_by(methods: &[AllowedMethod], makes: Update) -> World {
    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| policy.install.methods = methods.to_vec());
    let machine = &mut world.cards[0].machine;
    machine.simple_update = Some(Offer::Offered);
    machine.makes_of_updates = makes;
    world
}

/// The images that the card's BMC was given to write, in order.
fn updated(world: &World) -> Vec<String> {
    let updates = world
        .recorded
        .iter()
        .filter(|one| one.action.kind.is_update());
    updates
        .filter_map(|one| Some(one.action.image.as_ref()?.version.clone()))
        .collect()
}

/// The failed installs: of which image, by which way, and why.
fn failed(world: &World) -> Vec<String> {
    let failures = kept(world).failures.iter();
    failures
        .map(|one| format!("{} {} {}", one.image.version, one.method, one.reason))
        .collect()
}

#[test]
fn what_the_cards_bmc_wrote_and_does_not_come_up_is_written_over_by_it_with_the_last_good_one() {
    let mut world = updating_by(&[SimpleUpdate], Update::Writes);
    world.until("back", secs(LONG), is_back);
    assert!(runs(&world, "os-1") && world.host_machine.is_on());
    assert_eq!(updated(&world), ["os-2", "os-2", "os-1"]);
    assert_eq!(booted(&world), [""; 0], "{}", world.told());
    let failure = "os-2 SimpleUpdate ImageNotSeen";
    assert_eq!(failed(&world), [failure, failure]);
    assert!(world.status().hold.is_none() && kept(&world).armed.is_empty());
    assert!(world.cards[0].machine.update.is_none(), "{}", world.told());
    says(&world, &["by SimpleUpdate: not reported by"]);
}

#[test]
fn the_old_system_that_comes_up_after_an_update_is_the_last_good_one_and_stays() {
    for makes in [Update::KeepsOld, Update::Restarts] {
        let mut world = updating_by(&[SimpleUpdate], makes);
        world.edit_policy(|policy| policy.install.max_attempts = 1);
        world.until("back", secs(LONG), is_back);
        assert!(runs(&world, "os-1"));
        world.settle(secs(300));
        assert_eq!(updated(&world), ["os-2"], "{}", world.told());
        assert_eq!(failed(&world), ["os-2 SimpleUpdate OldImageRuns"]);
        assert!(kept(&world).armed.is_empty() && world.host_machine.is_on());
        says(
            &world,
            &["by SimpleUpdate: the card has booted since and runs os-1"],
        );
    }
}

#[test]
fn the_way_back_takes_the_way_by_which_the_good_image_came_and_clears_what_another_left() {
    let mut world = updating_by(&[SimpleUpdate, VirtualMedia], Update::Hangs);
    world.until("stuck", secs(LONG), |w| !failed(w).is_empty());
    world.cards[0].machine.says_of_update(UpdateState::Lost);
    world.until("back", secs(LONG), is_back);
    assert_eq!((updated(&world).len(), runs(&world, "os-1")), (1, true));
    assert_eq!(booted(&world), ["os-2", "os-1"], "{}", world.told());
    assert_eq!(
        failed(&world),
        ["os-2 SimpleUpdate TaskStuck", "os-2 VirtualMedia OsNotSeen"]
    );
    assert!(world.cards[0].machine.update.is_none(), "{}", world.told());
}

#[test]
fn what_comes_up_while_the_bmc_writes_the_good_image_is_not_taken_for_the_end() {
    let mut world = updating_by(&[SimpleUpdate], Update::Writes);
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    world.until("os-1 is written", secs(LONG), |w| {
        updated(w) == ["os-2", "os-1"] && w.is_installing(0)
    });
    world.cards[0].os = Some(CardOs {
        image: image("os-2"),
        epoch: "late".into(),
        wiped: None,
    });
    while world.is_installing(0) {
        world.round();
        assert!(kept(&world).roll_back.is_some(), "{}", world.told());
        assert!(kept(&world).observed_at.is_none(), "{}", world.told());
    }
    world.until("back", secs(LONG), is_back);
    assert_eq!(updated(&world), ["os-2", "os-1"], "{}", world.told());
}
