//! The way by PXE: offered by the site to the addresses that a person named.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{self, Pxe, VirtualMedia};
use lockstep_crds::host::ArmedEffect;
use lockstep_crds::inventory::InstallMethod;
use serde_json::json;

use super::waits;
use crate::world::build::image;
use crate::world::{World, secs};

const MAC: &str = "02:00:00:00:00:01";

/// One card whose BMC boots by PXE at a site with the service, under a policy that names these ways.
fn world(methods: &[AllowedMethod]) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = methods.to_vec();
        policy.install.os_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.edit_card(0, |card| card.boot_macs = vec![MAC.to_owned()]);
    world.cards[0].machine.pxe = Some(true);
    world
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

#[track_caller]
fn nothing_is_armed(world: &World) {
    let machine = &world.cards[0].machine;
    let left = machine.media.is_some() || machine.boot_override;
    assert!(!left && !machine.pxe_override, "{}", world.told());
    assert!(machine.pxe_offer.is_none(), "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty(), "{}", world.told());
}

#[test]
fn the_image_is_offered_to_the_named_addresses_and_to_nobody_once_it_runs() {
    let mut world = world(&[Pxe]);
    world.until("armed", secs(300), |w| w.cards[0].machine.pxe_override);
    world.round();
    assert_eq!(
        world.status().cards[0].armed,
        [ArmedEffect::BootOverride, ArmedEffect::PxeOffer]
    );
    let offer = world.cards[0].machine.pxe_offer.clone();
    assert_eq!(offer, Some((image("os-1"), vec![MAC.to_owned()])));
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(300));
    assert_eq!(
        world.deeds(),
        [
            "HoldHost dpuhost/host1",
            "StagePxeBoot dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ]
    );
    nothing_is_armed(&world);
    let kept = &world.status().cards[0];
    assert_eq!(kept.method, Some(InstallMethod::Pxe));
}

#[test]
fn an_offer_that_nobody_wants_any_more_is_taken_back() {
    let mut world = world(&[Pxe]);
    world.until("armed", secs(300), |w| w.cards[0].machine.pxe_override);
    world.delete_card(0);
    world.settle(secs(900));
    assert_eq!(count(&world, "ClearInstall"), 1, "{}", world.told());
    let machine = &world.cards[0].machine;
    assert!(machine.pxe_offer.is_none() && !machine.pxe_override);
}

#[test]
fn firmware_that_finds_no_service_fails_and_the_next_way_is_taken() {
    let mut world = world(&[Pxe, VirtualMedia]);
    world.cards[0].machine.finds_pxe = false;
    world.until("Ready", secs(3600), World::is_ready);
    world.settle(secs(60));
    assert_eq!(count(&world, "StagePxeBoot"), 1, "{}", world.told());
    assert_eq!(count(&world, "StageInstall"), 1, "{}", world.told());
    // What the first armed went before the second did.
    assert_eq!(count(&world, "ClearInstall"), 2, "{}", world.told());
    nothing_is_armed(&world);
    let kept = &world.status().cards[0];
    assert_eq!(kept.failed_methods, [InstallMethod::Pxe]);
}

#[test]
fn what_is_lacking_is_said_before_anything_is_begun() {
    let lacking = |edit: &dyn Fn(&mut World), words: &[&str]| {
        let mut world = world(&[Pxe]);
        edit(&mut world);
        waits(&mut world, "CapabilityMissing", words);
    };
    lacking(
        &|w| w.cards[0].machine.pxe = Some(false),
        &["supplies no PXE service", "pxe.dir"],
    );
    lacking(
        &|w| w.cards[0].machine.pxe = None,
        &["Pxe: the site agent's release does not tell"],
    );
    lacking(
        &|w| w.edit_card(0, |card| card.boot_macs.clear()),
        &["bootMacs of the Dpu"],
    );
    lacking(
        &|w| w.cards[0].machine.boot_targets = vec!["Cd".to_owned(), "Hdd".to_owned()],
        &["no boot target Pxe, only Cd, Hdd"],
    );
}

#[test]
fn no_secret_goes_where_anybody_can_claim_an_address() {
    let mut world = world(&[Pxe]);
    let secret =
        json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    super::configuration::asks(&mut world, "{{ values.token | sh }}", &secret);
    waits(
        &mut world,
        "Unsupported",
        &["Pxe: its files are made of secrets (value token)"],
    );
}

#[test]
fn an_offer_to_the_wrong_address_is_made_anew_once_the_right_one_is_named() {
    let mut world = world(&[Pxe]);
    world.edit_policy(|policy| policy.install.max_attempts = 2);
    world.until("armed", secs(300), |w| w.cards[0].machine.pxe_override);
    // Its BMC keeps `Once` as `Continuous`.
    world.cards[0].machine.override_lasts = true;
    world.cards[0].machine.finds_pxe = false;
    world.until("on", secs(300), |w| w.cards[0].machine.is_on());
    let right = "02:00:00:00:00:02";
    world.edit_card(0, |card| card.boot_macs = vec![right.to_owned()]);
    world.cards[0].machine.finds_pxe = true;
    world.until("offered anew", secs(3600), |w| {
        let offer = w.cards[0].machine.pxe_offer.as_ref();
        offer.is_some_and(|(_, macs)| macs == &[right])
    });
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(count(&world, "StagePxeBoot"), 2, "{}", world.told());
    assert_eq!(count(&world, "PowerOn dpu"), 2, "{}", world.told());
    world.settle(secs(60));
    nothing_is_armed(&world);
}

#[test]
fn a_stateless_image_does_not_go_this_way() {
    let mut world = world(&[Pxe]);
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "net-3".into(),
        });
    });
    waits(
        &mut world,
        "CapabilityMissing",
        &["Pxe: ", "leads to no boot but the next"],
    );
}

#[test]
fn a_lasting_boot_by_pxe_of_somebody_else_stays() {
    let mut world = world(&[VirtualMedia]);
    world.cards[0].machine.lasting_override = Some("Pxe");
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(600));
    assert_eq!(count(&world, "ClearInstall"), 1, "{}", world.told());
    nothing_is_armed(&world);
}
