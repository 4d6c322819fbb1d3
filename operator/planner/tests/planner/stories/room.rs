//! An image whose installer needs a disk goes onto no card that is known to lack it.

use jiff::SignedDuration;
use lockstep_crds::boot_policy::OnTimeout;
use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::Disruption;
use lockstep_crds::report::Vantage;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{DisksSeen, LeaseSeen, Room};

use super::taint::{dark, until_ready};
use super::waits;
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
fn a_disk_that_is_known_to_be_too_small_stops_an_install_and_one_that_nobody_tells_of_does_not() {
    for up in [false, true] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        if up {
            world.power_on_host();
            world.edit_host(|host| host.disruption = Disruption::Allowed);
        }
        // It was changed since its own system spoke last, and the card's BMC knows.
        let old = told(&world, Vantage::CardOs, 128, GONE);
        let bmc = told(&world, Vantage::CardBmc, 64, LONG);
        needs(&mut world, "os-1", vec![old.clone(), bmc]);
        waits(
            &mut world,
            "ImageDoesNotFit",
            &[
                "os-1 is not made for dpu/card1: it needs a disk of 100 bytes",
                "nvme0n1 with 64, as report of-CardBmc (CardBmc) told at",
            ],
        );
        needs(&mut world, "os-1", vec![old]);
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn a_dark_slot_is_lit_though_nobody_tells_of_its_disk() {
    let mut world = dark(&["card1", "card2"]);
    world.dark_bmcs = true;
    let small = told(&world, Vantage::CardBmc, 64, GONE);
    needs(&mut world, "os-1", vec![small]);
    until_ready(&mut world);
}

#[test]
fn what_is_armed_is_taken_back_before_a_boot_and_never_from_under_an_installer() {
    for boots in [false, true] {
        let mut world = World::new(&["card1"]);
        world.cards[0].dead = true;
        world.edit_policy(|policy| {
            policy.host_wait.on_timeout = OnTimeout::Hold;
            policy.install.os_timeout_seconds = 600;
            policy.hold.orphan_after_seconds = 172_800;
        });
        let enough = told(&world, Vantage::CardBmc, 128, LONG);
        needs(&mut world, "os-1", vec![enough]);
        world.until("what is armed", secs(900), |w| {
            let status = w.host.as_ref().and_then(|host| host.status.as_ref());
            let open = status.iter().flat_map(|status| &status.directives);
            let arms = open
                .map(|open| &open.action.kind)
                .any(ActionKind::arms_install);
            w.cards[0].machine.is_on() || arms && !boots
        });
        let small = told(&world, Vantage::CardBmc, 64, LONG);
        needs(&mut world, "os-1", vec![small]);
        world.settle(secs(3000));
        let says = world.card_says(0);
        assert!(
            says.ends_with("ImageDoesNotFit"),
            "{says}\n{}",
            world.told()
        );
        let is_left = world.cards[0].machine.media.is_some();
        assert_eq!(is_left, boots, "{}", world.told());
    }
}

#[test]
fn neither_firmware_nor_a_service_waits_for_a_disk() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].services = vec!["web-a".to_owned()];
    for image in ["bmc-b", "web-a"] {
        let small = told(&world, Vantage::CardBmc, 64, LONG);
        needs(&mut world, image, vec![small]);
    }
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(60));
    let kept = &world.status().cards[0];
    assert_eq!(
        world.cards[0].machine.firmware.0,
        "bmc-b",
        "{}",
        world.told()
    );
    assert_eq!(kept.services[0].image, "web-a", "{}", world.told());
}
