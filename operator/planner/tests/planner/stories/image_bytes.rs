//! An image that cannot be installed as it is holds no host, and one that does not go one way goes another.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{
    self, LocalStorage, MultipartPush, Pxe, Rshim, SimpleUpdate, UefiHttp, VirtualMedia,
};
use lockstep_crds::directive::Step;
use lockstep_crds::host::{Disruption, TrustDomain};
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BootStreamReport, ImageState, SeedSlot};

use super::slots::{wants, with_both};
use super::taint::dark;
use super::waits;
use crate::world::agent::Fault;
use crate::world::build::image;
use crate::world::stored::Bytes;
use crate::world::{World, secs};

/// A card whose BMC offers everything, under a policy that names these ways.
fn world(methods: &[AllowedMethod]) -> World {
    let mut world = World::new(&["card1"]);
    offers(&mut world, methods);
    world
}

fn offers(world: &mut World, methods: &[AllowedMethod]) {
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = methods.to_vec();
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.edit_card(0, |card| {
        card.boot_macs = vec!["02:00:00:00:00:01".to_owned()];
    });
    let machine = &mut world.cards[0].machine;
    machine.uefi_http = Some(Offer::Offered);
    machine.simple_update = Some(Offer::Offered);
    machine.multipart_push = Some(Offer::Offered);
    machine.boot_entry = Some(Offer::Offered);
    machine.pxe = Some(true);
}

/// What an ISO with a seed slot is.
fn iso() -> Bytes {
    Bytes {
        size: Some(1000),
        boot_stream: None,
        seed_slot: Some(SeedSlot::One),
        efi_program: Some(false),
    }
}

fn stream() -> Bytes {
    Bytes {
        boot_stream: Some(BootStreamReport {
            families: vec!["BlueField-3".to_owned()],
            fault: None,
        }),
        ..iso()
    }
}

fn with_slot(slot: SeedSlot) -> Bytes {
    Bytes {
        seed_slot: Some(slot),
        ..iso()
    }
}

fn has(world: &mut World, version: &str, bytes: Bytes) {
    world.bytes.insert(image(version).digest, bytes);
}

fn want(world: &mut World, version: &str) {
    let name = version.to_owned();
    world.edit_policy(|policy| policy.image_ref = Some(LocalRef { name }));
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

/// The card gets its image, by this deed.
#[track_caller]
fn goes(world: &mut World, deed: &str) {
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(count(world, deed), 1, "{}", world.told());
}

const FROM_STORE: [AllowedMethod; 5] = [VirtualMedia, UefiHttp, Pxe, SimpleUpdate, MultipartPush];

#[test]
fn without_one_seed_slot_no_host_is_held_and_the_right_image_goes_on_by_itself() {
    let table = [
        (SeedSlot::Absent, "NoSeedSlot", "os-1 has no seed slot"),
        (
            SeedSlot::Ambiguous,
            "SeedSlotAmbiguous",
            "os-1 has more than one seed slot",
        ),
    ];
    for (slot, reason, words) in table {
        for method in FROM_STORE {
            let mut world = world(&[method]);
            has(&mut world, "os-1", with_slot(slot.clone()));
            waits(&mut world, reason, &[words, "dpu/card1"]);
            // A program that says so goes every way.
            let program = Bytes {
                efi_program: Some(true),
                ..iso()
            };
            has(&mut world, "os-2", program);
            want(&mut world, "os-2");
            world.until("Ready", secs(3600), World::is_ready);
            assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
        }
    }
}

#[test]
fn what_an_earlier_agent_does_not_tell_and_a_word_of_a_later_one_stand_in_no_way() {
    for slot in [None, Some(SeedSlot::Unrecognized("Several".to_owned()))] {
        let untold = Bytes {
            seed_slot: slot,
            ..Bytes::default()
        };
        let mut world = world(&[VirtualMedia]);
        has(&mut world, "os-1", untold);
        goes(&mut world, "StageInstall");
    }
}

#[test]
fn what_lies_on_the_cards_disk_needs_no_seed_slot() {
    for (slot, by_entry) in [(SeedSlot::One, 0), (SeedSlot::Absent, 1)] {
        let mut world = with_both(&[VirtualMedia, LocalStorage]);
        // It is told now, by an agent that has read it again.
        let digest = image("ab-5").digest;
        world.store.retain(|stored| stored.digest != digest);
        has(&mut world, "ab-5", with_slot(slot));
        let (staged, booted) = (
            count(&world, "StageInstall"),
            count(&world, "StageBootEntry"),
        );
        wants(&mut world, "ab-5");
        assert_eq!(count(&world, "StageBootEntry") - booted, by_entry);
        assert_eq!(count(&world, "StageInstall") - staged, 1 - by_entry);
    }
}

#[test]
fn a_host_is_not_held_for_a_sibling_either() {
    let mut world = World::new(&["card1", "card2"]);
    offers(&mut world, &[VirtualMedia]);
    let own = Some(LocalRef {
        name: "os-2".to_owned(),
    });
    world.edit_card(0, |card| card.image_ref = own);
    has(&mut world, "os-2", with_slot(SeedSlot::Absent));
    waits(&mut world, "NoSeedSlot", &[]);
    assert_eq!(world.card_says(1), "Stalled Stalled: HoldWouldNotEnd");
    let message = world.card_message(1);
    assert!(message.contains("goes by none of"), "{message}");
    world.edit_card(0, |card| card.image_ref = None);
    world.until("Ready", secs(3600), World::is_ready);
}

/// Two images are asked for, this one is fetched for long, and nothing is begun before the store has it.
#[track_caller]
fn awaits(world: &mut World, version: &str) {
    world.until("both are asked for", secs(60), |w| w.store.len() == 2);
    world.source_hangs = true;
    let awaited = image(version).digest;
    for stored in &mut world.store {
        stored.state = if stored.digest == awaited {
            ImageState::Fetching
        } else {
            ImageState::Verified
        };
    }
    world.settle(secs(1800));
    assert!(world.status().hold.is_none() && world.recorded.is_empty());
}

#[test]
fn a_host_is_not_held_before_the_store_has_read_the_images_of_all_its_cards() {
    let mut world = World::new(&["card1", "card2"]);
    offers(&mut world, &[VirtualMedia]);
    let own = Some(LocalRef {
        name: "os-2".to_owned(),
    });
    world.edit_card(0, |card| card.image_ref = own);
    has(&mut world, "os-2", with_slot(SeedSlot::Absent));
    awaits(&mut world, "os-2");
    assert_eq!(world.status().step, Some(Step::FetchImage));
    world.source_hangs = false;
    waits(&mut world, "NoSeedSlot", &[]);
    assert_eq!(world.card_says(1), "Stalled Stalled: HoldWouldNotEnd");
    assert_eq!(world.deeds(), Vec::<&str>::new());
    has(&mut world, "os-2", with_slot(SeedSlot::One));
    world.store.clear();
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn what_is_armed_is_taken_back_when_an_image_is_wanted_that_goes_no_way() {
    let mut world = world(&[VirtualMedia]);
    has(&mut world, "os-2", with_slot(SeedSlot::Absent));
    world.until("armed", secs(600), |w| w.cards[0].machine.is_armed());
    world.agent.faults = [Fault::Refused].into();
    world.until("refused", secs(600), |w| w.status().directives.is_empty());
    want(&mut world, "os-2");
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: NoSeedSlot");
    assert!(!world.cards[0].machine.is_armed(), "{}", world.told());
    assert!(!world.cards[0].machine.is_on(), "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty());
}

#[test]
fn no_dark_slot_is_lit_for_an_image_that_cannot_be_installed() {
    let mut world = dark(&["card1"]);
    world.dark_bmcs = true;
    has(&mut world, "os-1", with_slot(SeedSlot::Absent));
    world.settle(secs(3000));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert!(world.tainted.is_empty() && world.status().hold.is_none());
    has(&mut world, "os-2", iso());
    want(&mut world, "os-2");
    world.until("lit", secs(600), |w| !w.tainted.is_empty());
}

#[test]
fn a_boot_stream_goes_by_those_who_take_one() {
    let mut world = world(&[VirtualMedia, UefiHttp, Pxe]);
    has(&mut world, "os-1", stream());
    waits(
        &mut world,
        "NoInstallRoad",
        &[
            "VirtualMedia: os-1 is a boot stream (BFB)",
            "UefiHttp: os-1 is a boot stream",
            "Pxe: os-1 is a boot stream",
        ],
    );
    world.edit_policy(|policy| policy.install.methods.push(MultipartPush));
    goes(&mut world, "PushUpdate");
    assert_eq!(count(&world, "StageInstall"), 0);

    let mut world = self::world(&[VirtualMedia, UefiHttp, Pxe]);
    has(&mut world, "os-1", stream());
    waits(&mut world, "NoInstallRoad", &[]);
    has(&mut world, "os-2", iso());
    want(&mut world, "os-2");
    goes(&mut world, "StageInstall");
}

#[test]
fn what_is_no_boot_stream_is_pushed_by_no_host() {
    let mut world = world(&[Rshim]);
    world.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    has(&mut world, "os-1", iso());
    waits(
        &mut world,
        "NoInstallRoad",
        &["Rshim: os-1 is no boot stream (BFB)"],
    );
    // Whom the host may not be trusted with is told as before.
    has(&mut world, "os-2", stream());
    want(&mut world, "os-2");
    waits(&mut world, "Unsupported", &["Rshim: ", "is Isolated"]);
    world.edit_policy(|policy| policy.install.methods = vec![Rshim, SimpleUpdate]);
    goes(&mut world, "PullUpdate");
}

#[test]
fn firmware_is_led_by_pxe_to_programs_alone() {
    let mut world = world(&[Pxe]);
    has(&mut world, "os-1", iso());
    waits(
        &mut world,
        "NoInstallRoad",
        &["Pxe: os-1 is no EFI program", "unified kernel image"],
    );
    world.edit_policy(|policy| policy.install.methods = vec![Pxe, VirtualMedia]);
    goes(&mut world, "StageInstall");
    assert_eq!(count(&world, "StagePxeBoot"), 0, "{}", world.told());
}

#[test]
fn an_image_that_is_too_long_for_the_bmc_is_given_to_it_by_no_update() {
    for method in [SimpleUpdate, MultipartPush] {
        let mut world = world(&[method]);
        has(&mut world, "os-1", iso());
        world.cards[0].machine.max_image_bytes = Some(999);
        waits(
            &mut world,
            "NoInstallRoad",
            &["os-1 has 1000 bytes, and its BMC takes at most 999 (MaxImageSizeBytes)"],
        );
        world.edit_policy(|policy| policy.install.methods = vec![method, VirtualMedia]);
        goes(&mut world, "StageInstall");
    }
    let mut world = world(&[SimpleUpdate]);
    has(&mut world, "os-1", iso());
    world.cards[0].machine.max_image_bytes = Some(1000);
    goes(&mut world, "PullUpdate");
}

#[test]
fn firmware_that_is_too_long_for_the_bmc_holds_no_host() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    // Firmware is written as it is, and no seed is laid over it.
    has(&mut world, "bmc-b", with_slot(SeedSlot::Absent));
    world.cards[0].machine.max_image_bytes = Some(999);
    waits(
        &mut world,
        "CapabilityMissing",
        &["bmc-b has 1000 bytes, and its BMC takes at most 999"],
    );
    world.cards[0].machine.max_image_bytes = None;
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(world.cards[0].machine.firmware.0, "bmc-b");
}

#[test]
fn no_host_is_held_for_firmware_before_the_store_has_read_the_system_that_follows() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    awaits(&mut world, "os-1");
    world.source_hangs = false;
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(world.cards[0].machine.firmware.0, "bmc-b");
}

#[test]
fn no_host_is_held_for_firmware_whose_cards_system_cannot_follow() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    has(&mut world, "os-1", with_slot(SeedSlot::Absent));
    waits(
        &mut world,
        "NoSeedSlot",
        &["held for firmware of dpu/card1", "os-1 has no seed slot"],
    );
    has(&mut world, "os-2", iso());
    want(&mut world, "os-2");
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(world.cards[0].machine.firmware.0, "bmc-b");
    // A system that runs already needs no seed.
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.cards[0].firmware = vec!["bmc-c".to_owned()];
    let digest = image("os-2").digest;
    world.store.retain(|stored| stored.digest != digest);
    has(&mut world, "os-2", with_slot(SeedSlot::Absent));
    world.until("newer firmware", secs(3600), |w| {
        w.cards[0].machine.firmware.0 == "bmc-c"
    });
}
