//! An image whose installer needs a disk goes onto no card that is not known to have one.

use jiff::SignedDuration;
use lockstep_crds::boot_policy::OnTimeout;
use lockstep_crds::host::Disruption;
use lockstep_crds::report::Vantage;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{DisksSeen, LeaseSeen, Room};

use super::waits;
use crate::world::build::image;
use crate::world::{World, secs};

/// What a report tells of the largest disk, by an agent that stays alive for so long.
fn told(world: &World, from: Vantage, bytes: i64, alive: SignedDuration) -> DisksSeen {
    DisksSeen {
        largest: Some(("nvme0n1".into(), bytes)),
        is_whole: true,
        report: format!("of-{from}"),
        from,
        at: world.now,
        agent: Some(LeaseSeen {
            renewed: world.now,
            duration: alive,
        }),
    }
}

/// The image needs 100 bytes, and this is told.
fn needs(world: &mut World, version: &str, told: Vec<DisksSeen>) {
    let vetting = Vetting {
        room: Some(Room { wanted: 100, told }),
        ..Vetting::of_nothing()
    };
    world.vetted.insert(version.into(), vetting);
}

const LONG: SignedDuration = secs_of(360_000);
/// An agent whose Lease has run out before anybody asks.
const GONE: SignedDuration = secs_of(-1);

const fn secs_of(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn a_word_counts_as_long_as_its_agent_is_alive() {
    for up in [false, true] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        if up {
            world.power_on_host();
            world.edit_host(|host| host.disruption = Disruption::Allowed);
        }
        let old = told(&world, Vantage::CardOs, 128, GONE);
        needs(&mut world, "os-1", vec![old.clone()]);
        waits(
            &mut world,
            "ImageFitNotKnown",
            &[
                "whether os-1 is made for dpu/card1 is not known: it needs a disk of 100 bytes",
                "nvme0n1 with 128, as report of-CardOs (CardOs) told at",
                "which nobody vouches for now",
            ],
        );
        // It was changed since, and the card's BMC knows.
        let bmc = told(&world, Vantage::CardBmc, 64, LONG);
        needs(&mut world, "os-1", vec![old.clone(), bmc]);
        waits(
            &mut world,
            "ImageDoesNotFit",
            &[
                "os-1 is not made for dpu/card1",
                "nvme0n1 with 64, as report of-CardBmc",
            ],
        );
        let bmc = told(&world, Vantage::CardBmc, 100, LONG);
        needs(&mut world, "os-1", vec![old, bmc]);
        world.until("Ready", secs(3600), World::is_ready);
    }
}

/// A card that runs another image, whose own agent tells of its disks until it is off.
fn told_by_itself(world: &mut World) {
    world.strict = true;
    world.cards[0].disk = Some(image("os-2"));
    world.power_on_card(0);
    let own = told(world, Vantage::CardOs, 128, LONG);
    needs(world, "os-1", vec![own]);
    world.round();
}

/// Its agent fell silent so long ago.
fn falls_silent(world: &mut World, before: SignedDuration) {
    let own = DisksSeen {
        agent: Some(LeaseSeen {
            renewed: world.now - before,
            duration: secs(60),
        }),
        ..told(world, Vantage::CardOs, 128, GONE)
    };
    needs(world, "os-1", vec![own]);
}

#[test]
fn a_system_that_was_taken_down_for_the_install_counts_until_it_is_over() {
    let mut world = World::new(&["card1"]);
    world.broken.insert("os-1".into());
    world.edit_policy(|policy| {
        policy.install.os_timeout_seconds = 200;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 80_000;
    });
    told_by_itself(&mut world);
    world.until("the card is off", secs(1800), |w| {
        w.status().cards.iter().any(|kept| kept.stopping.is_some()) && !w.cards[0].machine.is_on()
    });
    falls_silent(&mut world, secs(36_000));
    // The installer wrote over it, so it does not speak again before the next attempt.
    world.until("another attempt", secs(3600), |w| {
        w.status().cards[0].attempts == 2
    });
    world.broken.clear();
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_system_that_went_down_with_its_host_counts_if_it_was_alive_then() {
    for (before, comes_up) in [(secs(50), true), (secs(36_000), false)] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.power_on_host();
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        told_by_itself(&mut world);
        world.until("the hold", secs(900), |w| w.status().hold.is_some());
        world.power_off_card(0);
        falls_silent(&mut world, before);
        world.until("silence", secs(60), |w| {
            let renewed = w.vetted["os-1"].room.as_ref().unwrap().told[0].agent;
            !renewed.is_some_and(|agent| agent.is_fresh(w.now))
        });
        assert!(world.status().cards[0].stopping.is_none());
        world.settle(secs(3000));
        assert_eq!(world.is_ready(), comes_up, "{}", world.told());
    }
}

#[test]
fn a_disk_takes_no_medium_from_under_an_installer_that_is_only_slow() {
    for bytes in [None, Some(64)] {
        let mut world = World::new(&["card1"]);
        world.cards[0].dead = true;
        world.edit_policy(|policy| {
            policy.host_wait.on_timeout = OnTimeout::Hold;
            policy.install.os_timeout_seconds = 600;
            policy.hold.orphan_after_seconds = 172_800;
        });
        let enough = told(&world, Vantage::CardBmc, 128, LONG);
        needs(&mut world, "os-1", vec![enough]);
        world.until("the install", secs(900), |w| w.cards[0].machine.is_on());
        let now = bytes.map(|bytes| told(&world, Vantage::CardBmc, bytes, LONG));
        needs(&mut world, "os-1", now.into_iter().collect());
        world.settle(secs(3000));
        let reason = if bytes.is_none() {
            "ImageFitNotKnown"
        } else {
            "ImageDoesNotFit"
        };
        let says = world.card_says(0);
        assert!(says.ends_with(reason), "{says}\n{}", world.told());
        assert!(world.cards[0].machine.media.is_some(), "{}", world.told());
        assert!(!world.deeds().contains(&"ClearInstall dpu/card1"));
    }
}
