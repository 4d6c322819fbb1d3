//! What the store saw of a BMC that gets nothing from it: the reason of the failure, and what helps.

use lockstep_crds::boot_policy::AllowedMethod::{self, SimpleUpdate, UefiHttp, VirtualMedia};
use lockstep_crds::observed::Offer;
use lockstep_crds::report::FetchState;

use crate::world::agent::Fault;
use crate::world::machine::{Firmware, HttpBoot, Update};
use crate::world::{World, secs};

/// Each thing that is seen, the reason that it is, and words of the remedy.
fn all() -> [(FetchState, &'static str, &'static str); 11] {
    [
        (
            FetchState::NotReached,
            "StoreNotReached",
            "routes, names and firewalls",
        ),
        (
            FetchState::TooManyConnections,
            "StoreCrowded",
            "what else calls from there",
        ),
        (
            FetchState::NotAsked,
            "StoreNotAsked",
            "proxies and firewalls",
        ),
        (
            FetchState::NotTrusted,
            "StoreNotTrusted",
            "give it the authority of store.tls",
        ),
        (FetchState::NotInDate, "ClockDiffers", "set its clock"),
        (
            FetchState::ProtocolDiffers,
            "StoreProtocolDiffers",
            "see the scheme of store.advertiseUrl",
        ),
        (
            FetchState::UrlRefused,
            "StoreUrlRefused",
            "changes long URLs",
        ),
        (FetchState::LengthOnly, "ImageNotRead", "too long for it"),
        (
            FetchState::RangeRefused,
            "ImageRangeRefused",
            "restart the card's BMC",
        ),
        (FetchState::CutShort, "ImageCutShort", "room for it"),
        (
            FetchState::StoreFailed,
            "StoreFailed",
            "log of the site's agent",
        ),
    ]
}

/// A card under a policy of one way and one attempt, whose BMC gets nothing.
fn world(method: AllowedMethod, makes: Update, seen: FetchState) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = vec![method];
        policy.install.os_timeout_seconds = 400;
        policy.install.max_attempts = 1;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    let machine = &mut world.cards[0].machine;
    machine.simple_update = Some(Offer::Offered);
    machine.uefi_http = Some(Offer::Offered);
    machine.makes_of_updates = makes;
    machine.makes_of_http = HttpBoot::LeadsNowhere;
    machine.fetch = Some(seen);
    world
}

fn failures(world: &World) -> Vec<(&str, &str)> {
    let failures = world.status().cards[0].failures.iter();
    failures
        .map(|one| (one.reason.as_str(), one.message.as_str()))
        .collect()
}

/// What the host says that it waits for.
fn awaited(world: &World) -> String {
    let mut conditions = world.status().conditions.iter();
    let reconciling = conditions.find(|one| one.type_ == "Reconciling");
    reconciling.unwrap().message.clone()
}

#[test]
fn a_task_that_failed_is_told_by_what_the_store_saw() {
    for (seen, reason, remedy) in all() {
        let mut world = world(SimpleUpdate, Update::Fails, seen.clone());
        world.settle(secs(900));
        let failures = failures(&world);
        let [(told, message)] = failures.as_slice() else {
            panic!("{failures:?}\n{}", world.told());
        };
        assert_eq!(*told, reason, "{seen}");
        assert!(message.contains(remedy), "{seen}: {message}");
        assert!(message.contains("; TaskFailed: "), "{seen}: {message}");
        assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
        let shown = world.card_message(0);
        assert!(shown.contains(remedy), "{seen}: {shown}");
    }
}

#[test]
fn one_that_hangs_says_so_while_it_is_awaited() {
    let mut world = world(VirtualMedia, Update::Writes, FetchState::NotTrusted);
    // Nothing comes of a medium whose bytes are not there.
    world.cards[0].dead = true;
    world.until("booting", secs(600), |w| w.is_installing(0));
    world.settle(secs(60));
    assert_eq!(world.host_says(), "Reconciling: ImageNotFetched");
    let message = awaited(&world);
    for words in [
        "powered on to install",
        "So far the card's BMC refused the certificate",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(world.card_says(0).starts_with("Installing Reconciling"));
    assert!(world.card_message(0).contains("refused the certificate"));
    // It is seen to read: nothing stands in its way any more.
    world.cards[0].machine.fetch = None;
    world.settle(secs(30));
    assert_eq!(world.host_says(), "Reconciling: AwaitingOs");
    world.cards[0].machine.fetch = Some(FetchState::NotTrusted);
    world.settle(secs(900));
    let failures = failures(&world);
    assert_eq!(failures[0].0, "StoreNotTrusted", "{failures:?}");
    assert!(failures[0].1.contains("; OsNotSeen: "), "{failures:?}");
}

#[test]
fn firmware_that_fetches_by_itself_is_told_of_as_that() {
    let mut world = world(UefiHttp, Update::Writes, FetchState::LengthOnly);
    world.settle(secs(1200));
    let failures = failures(&world);
    assert_eq!(failures[0].0, "ImageNotRead", "{}", world.told());
    let words = "the card's firmware asked the site's store for the image's length";
    assert!(failures[0].1.contains(words), "{failures:?}");

    let mut world = self::world(UefiHttp, Update::Writes, FetchState::NotReached);
    world.settle(secs(1200));
    let failures = self::failures(&world);
    assert_eq!(failures[0].0, "StoreNotReached", "{}", world.told());
    let words = "the card's firmware did not connect, or broke TLS off";
    assert!(failures[0].1.contains(words), "{failures:?}");
    assert!(failures[0].1.contains("xpu.storeUrl"), "{failures:?}");
    assert!(!failures[0].1.contains("the card's BMC"), "{failures:?}");
}

#[test]
fn the_same_is_told_of_firmware_that_its_bmc_fetches() {
    let mut world = world(VirtualMedia, Update::Writes, FetchState::UrlRefused);
    world.edit_policy(|policy| policy.install.max_attempts = 2);
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Fails;
    world.settle(secs(30));
    world.until("given up", secs(3600), |w| failures(w).len() == 2);
    // The first was sent to it: nobody fetched that.
    let reasons: Vec<&str> = failures(&world).iter().map(|one| one.0).collect();
    assert_eq!(
        reasons,
        ["TaskFailed", "StoreUrlRefused"],
        "{}",
        world.told()
    );
}

#[test]
fn a_drive_that_is_left_in_the_middle_is_no_failure_of_its_own() {
    let mut world = world(VirtualMedia, Update::Writes, FetchState::CutShort);
    world.cards[0].dead = true;
    world.settle(secs(1200));
    assert_eq!(failures(&world)[0].0, "OsNotSeen", "{}", world.told());
}

#[test]
fn what_was_installed_in_spite_of_it_is_installed() {
    for method in [SimpleUpdate, VirtualMedia] {
        let mut world = world(method, Update::Writes, FetchState::NotReached);
        world.until("Ready", secs(900), World::is_ready);
        assert!(failures(&world).is_empty());
    }
}

#[test]
fn a_bmc_that_refuses_a_medium_is_told_with_why() {
    let mut world = world(VirtualMedia, Update::Writes, FetchState::NotInDate);
    // As a BMC that reads a medium when it is inserted, and puts it back at once.
    world.agent.faults.extend([Fault::Fine, Fault::Half]);
    world.settle(secs(10));
    world.until("refused", secs(900), |w| {
        w.status().cards[0].failed.is_some()
    });
    let failed = world.status().cards[0].failed.clone().unwrap();
    assert!(failed.what.starts_with("StageInstall"), "{failed:?}");
    let message = failed.message.unwrap();
    for words in ["out of date for the card's BMC", "no boot override"] {
        assert!(message.contains(words), "{words}: {message}");
    }
}
