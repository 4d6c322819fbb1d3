//! Cards that boot a stateless image from the network every time.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{SimpleUpdate, UefiHttp, VirtualMedia};
use lockstep_crds::boot_policy::WaitUntil;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{ArmedEffect, Disruption};
use lockstep_crds::observed::Offer;
use lockstep_planner::ledger;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use super::waits;
use crate::world::agent::Fault;
use crate::world::build::image;
use crate::world::machine::HttpBoot;
use crate::world::{World, secs};

const SET: &str = "SetNetworkBoot dpu/card1";

/// One card of which `net-3` is wanted, whose BMC can lead it there.
fn world() -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = vec![UefiHttp];
        policy.install.os_timeout_seconds = 400;
        policy.image_ref = Some(LocalRef {
            name: "net-3".into(),
        });
    });
    world.cards[0].machine.uefi_http = Some(Offer::Offered);
    world
}

/// The same, up with that image, beside its host that is on.
pub fn running() -> World {
    let mut world = world();
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(120));
    world.effects.clear();
    world
}

fn wants(world: &mut World, name: Option<&str>) {
    let image_ref = name.map(|name| LocalRef { name: name.into() });
    world.edit_policy(|policy| policy.image_ref = image_ref);
}

#[track_caller]
fn boots_from_network(world: &World, version: &str) {
    let machine = &world.cards[0].machine;
    assert_eq!(machine.http_uri, Some(image(version)), "{}", world.told());
    assert!(machine.http_override, "{}", world.told());
    let armed = &world.status().cards[0].armed;
    let lasting = [ArmedEffect::BootOverride, ArmedEffect::HttpBootUri];
    assert_eq!(armed, &lasting, "{}", world.told());
}

#[track_caller]
fn nothing_is_armed(world: &World) {
    let machine = &world.cards[0].machine;
    let left = machine.http_uri.is_some() || machine.http_override || machine.boot_override;
    assert!(!left, "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty(), "{}", world.told());
}

fn runs(world: &World) -> Option<&str> {
    let os = world.cards[0].os.as_ref();
    os.map(|os| os.image.version.as_str())
}

#[test]
fn a_stateless_card_comes_up_from_the_network_whenever_it_boots() {
    let mut world = world();
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(300));
    let deeds = [
        "HoldHost dpuhost/host1",
        SET,
        "PowerOn dpu/card1",
        "ReleaseHost dpuhost/host1",
    ];
    assert_eq!(world.deeds(), deeds, "{}", world.told());
    assert_eq!(world.cards[0].disk, None, "nothing was installed");
    boots_from_network(&world, "net-3");
    assert!(world.status().is_at_rest(), "{}", world.told());
    let writes = world.writes.host_status;
    for _ in 0..3 {
        let epoch = world.cards[0].os.as_ref().map(|os| os.epoch.clone());
        world.reboot_card(0);
        world.until("up again", secs(120), |w| {
            let os = w.cards[0].os.as_ref().map(|os| os.epoch.clone());
            os.is_some() && os != epoch
        });
        world.settle(secs(60));
        assert!(world.is_ready() && runs(&world) == Some("net-3"));
    }
    assert_eq!(world.deeds().len(), deeds.len(), "{}", world.told());
    assert_eq!(world.writes.host_status, writes, "a boot costs no write");
}

#[test]
fn a_bmc_that_keeps_it_for_one_boot_is_told_again_after_each() {
    let mut world = world();
    world.cards[0].machine.keeps_override = false;
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(120));
    boots_from_network(&world, "net-3");
    assert_eq!(world.deeds().iter().filter(|deed| **deed == SET).count(), 2);
    for boots in 3..6 {
        world.settle(secs(660));
        world.reboot_card(0);
        world.settle(secs(120));
        assert!(world.is_ready() && runs(&world) == Some("net-3"));
        let set = world.deeds().iter().filter(|deed| **deed == SET).count();
        assert_eq!(set, boots, "{}", world.told());
        boots_from_network(&world, "net-3");
    }
}

#[test]
fn a_bmc_that_makes_a_medium_of_the_url_is_left_so() {
    for makes in [HttpBoot::Fetches, HttpBoot::FetchesAndHides] {
        let mut world = world();
        world.cards[0].machine.makes_of_http = makes;
        world.until("Ready", secs(900), World::is_ready);
        world.reboot_card(0);
        world.settle(secs(1500));
        let set = world.deeds().iter().filter(|deed| **deed == SET).count();
        assert_eq!(set, 1, "{}", world.told());
        let cleared = world.deeds().contains(&"ClearInstall dpu/card1");
        assert!(!cleared && world.is_ready(), "{}", world.told());
        assert!(world.status().is_at_rest(), "{}", world.told());
        assert_eq!(runs(&world), Some("net-3"));
    }
}

#[test]
fn what_is_lost_is_set_again_beside_a_host_in_use_but_not_over_and_over() {
    let mut world = running();
    world.edit_host(|host| host.disruption = Disruption::Never);
    world.cards[0].machine.lose_override();
    world.until("set again", secs(900), |w| w.cards[0].machine.http_override);
    world.settle(secs(60));
    assert_eq!(world.deeds(), [SET], "{}", world.told());
    assert!(world.is_ready(), "{}", world.told());

    world.cards[0].machine.lose_override();
    world.until("told", secs(700), |w| {
        w.card_says(0).ends_with("NetworkBootLost")
    });
    assert_eq!(world.deeds(), [SET], "{}", world.told());
    let message = world.card_message(0);
    assert!(message.contains("it is set again at"), "{message}");
    world.until("set again", secs(700), |w| w.cards[0].machine.http_override);
    world.settle(secs(60));
    assert_eq!(world.deeds(), [SET, SET], "{}", world.told());
    assert!(world.host_machine.is_on() && world.is_ready());
}

#[test]
fn a_card_that_came_up_with_something_else_is_led_back_and_rebooted_by_nobody() {
    let mut world = running();
    world.cards[0].disk = Some(image("os-1"));
    world.cards[0].machine.lose_override();
    world.reboot_card(0);
    world.until("told", secs(1500), |w| {
        w.card_says(0).ends_with("InstallFailed")
    });
    world.settle(secs(120));
    assert_eq!(world.deeds(), [SET], "{}", world.told());
    assert_eq!(runs(&world), Some("os-1"));
    let message = world.card_message(0);
    assert!(
        message.contains("reboot it, or change retryToken"),
        "{message}"
    );
    world.reboot_card(0);
    world.until("Ready", secs(300), World::is_ready);
    assert_eq!(runs(&world), Some("net-3"));
}

#[test]
fn another_stateless_image_takes_one_reboot_and_an_installed_one_ends_it() {
    let mut world = running();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    wants(&mut world, Some("net-4"));
    world.until("Ready", secs(1500), |w| {
        runs(w) == Some("net-4") && w.is_ready()
    });
    world.settle(secs(120));
    boots_from_network(&world, "net-4");
    let count = |world: &World, what: &str| {
        let deeds = world.deeds();
        deeds.iter().filter(|deed| **deed == what).count()
    };
    assert_eq!(count(&world, SET), 1, "{}", world.told());
    assert_eq!(count(&world, "PowerOn dpu/card1"), 1, "{}", world.told());
    assert_eq!(count(&world, "ClearInstall dpu/card1"), 0);

    for (methods, staged) in [
        (vec![UefiHttp], "StageHttpBoot dpu/card1"),
        (vec![VirtualMedia], "StageInstall dpu/card1"),
    ] {
        let mut world = world.clone();
        world.edit_policy(|policy| policy.install.methods = methods);
        wants(&mut world, Some("os-2"));
        world.until("Ready", secs(2500), |w| {
            runs(w) == Some("os-2") && w.is_ready()
        });
        world.settle(secs(120));
        assert_eq!(count(&world, staged), 1, "{}", world.told());
        assert_eq!(world.cards[0].disk, Some(image("os-2")));
        nothing_is_armed(&world);
    }
}

#[test]
fn wanted_anew_its_next_boot_gets_a_new_seed_and_a_silent_card_boots_at_once() {
    let mut world = running();
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(120));
    assert_eq!(world.deeds(), [SET], "{}", world.told());
    assert!(world.is_ready(), "{}", world.told());
    world.effects.clear();

    // Its token has ended.
    world.cards[0].dead = true;
    world.reboot_card(0);
    world.settle(secs(1200));
    assert!(world.deeds().is_empty(), "{}", world.told());
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.policy.as_mut().unwrap().spec.host_wait.until = WaitUntil::None;
    world.cards[0].dead = false;
    world.edit_card(0, |card| card.retry_token = Some("once more".into()));
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(60));
    let deeds = world.deeds();
    assert!(
        deeds.ends_with(&[SET, "PowerOn dpu/card1"]),
        "{}",
        world.told()
    );
    assert_eq!(deeds.iter().filter(|deed| **deed == SET).count(), 1);
    boots_from_network(&world, "net-3");
}

#[test]
fn it_is_taken_back_once_nobody_wants_it() {
    type Change = fn(&mut World);
    let changes: [Change; 4] = [
        |world| world.delete_card(0),
        |world| world.edit_card(0, |card| card.approved = false),
        |world| wants(world, None),
        |world| world.delete_host(),
    ];
    for change in changes {
        let mut world = running();
        change(&mut world);
        world.settle(secs(300));
        assert_eq!(
            world.deeds(),
            ["ClearInstall dpu/card1"],
            "{}",
            world.told()
        );
        let machine = &world.cards[0].machine;
        assert!(machine.http_uri.is_none() && !machine.http_override);
        assert_eq!(runs(&world), Some("net-3"), "what runs goes on");
    }
}

#[test]
fn it_stays_while_the_object_of_its_image_is_gone() {
    let mut world = running();
    world.catalogue.remove("net-3");
    world.settle(secs(300));
    assert!(
        world.card_says(0).ends_with("ImageNotFound"),
        "{}",
        world.told()
    );
    world.reboot_card(0);
    world.settle(secs(120));
    assert_eq!(runs(&world), Some("net-3"));
    assert!(world.deeds().is_empty(), "{}", world.told());
    boots_from_network(&world, "net-3");
}

#[test]
fn what_may_not_go_onto_the_card_any_more_does_not_come_with_its_next_boot() {
    let mut world = running();
    let found = |trust| Vetting {
        room: None,
        trust,
        fit: Judgement::Met,
        security_version: 0,
    };
    let unknown = found(Judgement::NotKnown("nobody knows".into()));
    world.vetted.insert("net-3".into(), unknown);
    world.settle(secs(900));
    assert!(world.deeds().is_empty(), "{}", world.told());
    boots_from_network(&world, "net-3");

    let refused = found(Judgement::NotMet("its signer is gone".into()));
    world.vetted.insert("net-3".into(), refused);
    world.until("told", secs(600), |w| {
        w.card_says(0).ends_with("ImageUntrusted")
    });
    assert_eq!(
        world.deeds(),
        ["ClearInstall dpu/card1"],
        "{}",
        world.told()
    );
    nothing_is_armed(&world);
    assert_eq!(runs(&world), Some("net-3"), "what runs goes on");

    world.vetted.remove("net-3");
    world.until("Ready", secs(600), World::is_ready);
    world.settle(secs(60));
    boots_from_network(&world, "net-3");
}

#[test]
fn nothing_is_begun_where_no_way_leads_to_every_boot() {
    let mut other_ways = world();
    other_ways.edit_policy(|policy| policy.install.methods = vec![VirtualMedia, SimpleUpdate]);
    waits(&mut other_ways, "CapabilityMissing", &["is stateless"]);
    for (offer, words) in [
        (Some(Offer::NotOffered), "no boot override that lasts"),
        (None, "upgrade the site agent"),
    ] {
        let mut world = world();
        world.cards[0].machine.network_boot = offer;
        waits(&mut world, "CapabilityMissing", &[words]);
    }
}

#[test]
fn a_bmc_that_drops_the_url_is_asked_four_times_and_nothing_boots() {
    let mut world = world();
    world.cards[0].machine.makes_of_http = HttpBoot::DropsUrl;
    world.settle(secs(3000));
    assert!(
        world.card_says(0).ends_with("DirectiveFailed"),
        "{}",
        world.told()
    );
    let set = world.deeds().iter().filter(|deed| **deed == SET).count();
    assert_eq!(set, 4, "{}", world.told());
    assert!(!world.cards[0].machine.is_on());
}

#[test]
fn a_card_that_runs_it_already_is_adopted_and_led_there_from_now_on() {
    let mut world = world();
    world.cards[0].disk = Some(image("net-3"));
    world.power_on_host();
    world.power_on_card(0);
    world.pass(secs(60));
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(120));
    assert_eq!(world.deeds(), [SET], "{}", world.told());
    boots_from_network(&world, "net-3");
}

#[test]
fn a_renewal_that_does_not_land_is_asked_for_again() {
    let mut world = running();
    world.agent.faults = [Fault::Refused].into();
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(600));
    let set = world.deeds().iter().filter(|deed| **deed == SET).count();
    assert_eq!(set, 1, "{}", world.told());
    assert!(
        world
            .recorded
            .iter()
            .filter(|one| ledger::what(one) == SET)
            .count()
            > 2
    );
    assert!(world.is_ready(), "{}", world.told());
}

#[test]
fn firmware_that_waits_keeps_no_card_from_its_network_boot() {
    let mut world = running();
    world.cards[0].firmware = vec!["bmc-missing".to_owned()];
    world.settle(secs(60));
    world.cards[0].machine.lose_override();
    world.settle(secs(120));
    boots_from_network(&world, "net-3");

    let untrusted = Vetting {
        trust: Judgement::NotMet("its signer was taken away".to_owned()),
        ..Vetting::of_nothing()
    };
    world.vetted.insert("net-3".into(), untrusted);
    world.settle(secs(120));
    nothing_is_armed(&world);
}

#[test]
fn an_update_of_firmware_leaves_the_network_boot_as_it_is() {
    let mut world = running();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.cards[0].machine.simple_update = Some(Offer::Offered);
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.settle(secs(1200));
    let cleared = world.deeds().contains(&"ClearInstall dpu/card1");
    assert!(!cleared, "{}", world.told());
    assert!(
        world.deeds().iter().any(|deed| deed.contains("Firmware")),
        "{}",
        world.told()
    );
    boots_from_network(&world, "net-3");
}

#[test]
fn what_never_came_up_and_may_not_go_there_any_more_is_taken_back() {
    let mut world = world();
    world.broken.insert("net-3".into());
    world.settle(secs(2400));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    boots_from_network(&world, "net-3");
    let untrusted = Vetting {
        trust: Judgement::NotMet("its signer was taken away".to_owned()),
        ..Vetting::of_nothing()
    };
    world.vetted.insert("net-3".into(), untrusted);
    world.settle(secs(120));
    nothing_is_armed(&world);
}

#[test]
fn the_same_bytes_as_a_stateless_image_are_another_wish() {
    let mut world = world();
    let installed = ImageFacts {
        stateless: false,
        slot: None,
        ..image("net-3")
    };
    world.catalogue.insert("live-3".into(), installed);
    wants(&mut world, Some("live-3"));
    world.until("Ready", secs(900), World::is_ready);
    wants(&mut world, Some("net-3"));
    world.settle(secs(300));
    assert!(world.is_ready(), "{}", world.told());
    boots_from_network(&world, "net-3");
    assert!(world.status().is_at_rest(), "{}", world.told());
}

#[test]
fn a_foreign_medium_in_the_place_of_the_url_is_told_and_not_fought() {
    let mut world = world();
    world.cards[0].machine.makes_of_http = HttpBoot::FetchesAndHides;
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(120));
    world.effects.clear();
    world.cards[0].machine.foreign_media = true;
    world.settle(secs(3600));
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: ForeignMedia",
        "{}",
        world.told()
    );
    let set = world.deeds().iter().filter(|deed| **deed == SET).count();
    assert_eq!(set, 1, "{}", world.told());
    world.cards[0].machine.foreign_media = false;
    world.settle(secs(900));
    assert!(world.is_ready(), "{}", world.told());
}
