//! By which of the policy's ways an image takes onto a card, and what becomes of a way that fails.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{self, UefiHttp, VirtualMedia};
use lockstep_crds::host::ArmedEffect;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::Offer;

use crate::world::agent::Fault;
use crate::world::build::image;
use crate::world::machine::HttpBoot;
use crate::world::{World, secs};

/// One card whose BMC offers both ways, under a policy that names these.
fn world(methods: &[AllowedMethod], makes_of_http: HttpBoot) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = methods.to_vec();
        policy.install.os_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.cards[0].machine.uefi_http = Some(Offer::Offered);
    world.cards[0].machine.makes_of_http = makes_of_http;
    world
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

#[track_caller]
fn nothing_is_armed(world: &World) {
    let machine = &world.cards[0].machine;
    let left = machine.media.is_some()
        || machine.boot_override
        || machine.http_uri.is_some()
        || machine.http_override;
    assert!(!left, "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty(), "{}", world.told());
}

#[test]
fn the_only_way_of_the_policy_is_taken_whatever_the_bmc_makes_of_it() {
    for makes in [
        HttpBoot::Keeps,
        HttpBoot::Forgets,
        HttpBoot::Fetches,
        HttpBoot::FetchesAndHides,
    ] {
        let mut world = world(&[UefiHttp], makes);
        world.until("Ready", secs(900), World::is_ready);
        world.settle(secs(300));
        assert_eq!(
            world.deeds(),
            [
                "HoldHost dpuhost/host1",
                "StageHttpBoot dpu/card1",
                "PowerOn dpu/card1",
                "ReleaseHost dpuhost/host1",
                "ClearInstall dpu/card1",
            ],
            "{makes:?}"
        );
        nothing_is_armed(&world);
        let kept = &world.status().cards[0];
        assert_eq!(kept.method, Some(InstallMethod::UefiHttp), "{makes:?}");
        assert!(kept.failed_methods.is_empty());
    }
}

#[test]
fn what_is_armed_is_told_while_it_is() {
    let mut world = world(&[UefiHttp], HttpBoot::Keeps);
    world.until("armed", secs(300), |w| {
        w.cards[0].machine.http_uri.is_some()
    });
    world.round();
    assert_eq!(
        world.status().cards[0].armed,
        [ArmedEffect::BootOverride, ArmedEffect::HttpBootUri]
    );
    world.delete_card(0);
    world.settle(secs(900));
    assert_eq!(count(&world, "ClearInstall"), 1, "{}", world.told());
    assert!(world.cards[0].machine.http_uri.is_none() && !world.cards[0].machine.http_override);
}

#[test]
fn each_failed_attempt_goes_on_with_the_next_way_and_what_worked_comes_first_afterwards() {
    let mut world = world(&[UefiHttp, VirtualMedia], HttpBoot::LeadsNowhere);
    world.until("Ready", secs(3600), World::is_ready);
    world.settle(secs(60));
    let deeds = world.deeds();
    let ways: Vec<&&str> = deeds
        .iter()
        .filter(|deed| deed.starts_with("Stage") || deed.starts_with("Clear"))
        .collect();
    assert_eq!(
        ways,
        [
            &"StageHttpBoot dpu/card1",
            &"ClearInstall dpu/card1",
            &"StageInstall dpu/card1",
            &"ClearInstall dpu/card1"
        ],
        "{}",
        world.told()
    );
    nothing_is_armed(&world);
    let kept = &world.status().cards[0];
    assert_eq!(
        (kept.attempts, &kept.method),
        (2, &Some(InstallMethod::VirtualMedia))
    );
    assert_eq!(kept.failed_methods, [InstallMethod::UefiHttp]);

    // Another image begins with what worked.
    world.power_off_host();
    world.edit_card(0, |card| {
        card.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.until("os-2", secs(3600), |w| {
        w.cards[0].disk == Some(image("os-2")) && w.is_ready()
    });
    assert_eq!(count(&world, "StageHttpBoot"), 1, "{}", world.told());

    // A changed token begins with the policy's first again.
    world.cards[0].machine.makes_of_http = HttpBoot::Keeps;
    world.power_off_host();
    world.edit_card(0, |card| {
        card.retry_token = Some("again".into());
        card.image_ref = None;
    });
    world.until("again", secs(3600), |w| count(w, "StageHttpBoot") == 2);
    world.until("Ready", secs(3600), World::is_ready);
    assert!(world.status().cards[0].failed_methods.is_empty());
}

#[test]
fn ways_take_turns_as_long_as_the_policy_allows_attempts() {
    let mut world = world(&[UefiHttp, VirtualMedia], HttpBoot::Keeps);
    world.edit_policy(|policy| policy.install.max_attempts = 4);
    world.cards[0].dead = true;
    world.settle(secs(20_000));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    let staged: Vec<&str> = world
        .deeds()
        .into_iter()
        .filter(|deed| deed.starts_with("Stage"))
        .collect();
    assert_eq!(
        staged,
        [
            "StageHttpBoot dpu/card1",
            "StageInstall dpu/card1",
            "StageHttpBoot dpu/card1",
            "StageInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    assert!(!world.cards[0].machine.is_armed(), "{}", world.told());
}

#[test]
fn a_way_that_cannot_be_armed_is_left_for_the_next_and_without_one_a_person_is_asked() {
    let mut both = world(&[UefiHttp, VirtualMedia], HttpBoot::DropsUrl);
    both.until("Ready", secs(7200), World::is_ready);
    assert_eq!(count(&both, "StageHttpBoot"), 4, "{}", both.told());
    assert_eq!(count(&both, "PowerOn dpu"), 1, "{}", both.told());
    nothing_is_armed(&both);

    let mut only = world(&[UefiHttp], HttpBoot::DropsUrl);
    only.settle(secs(7200));
    assert_eq!(only.card_says(0), "Stalled Stalled: DirectiveFailed");
    assert!(only.card_message(0).contains("the URL was dropped"));
    assert_eq!(count(&only, "PowerOn dpu"), 0, "{}", only.told());

    // Nor can the other be armed: it ends.
    let mut none = world(&[VirtualMedia, UefiHttp], HttpBoot::DropsUrl);
    none.agent.faults = std::iter::repeat_n(Fault::Refused, 40).collect();
    none.settle(secs(20_000));
    assert_eq!(none.card_says(0), "Stalled Stalled: DirectiveFailed");
    let tried = none
        .recorded
        .iter()
        .filter(|d| d.action.kind.arms_install());
    assert_eq!(tried.count(), 8, "{}", none.told());
}

#[test]
fn what_is_not_offered_is_passed_over_and_nothing_open_is_refused_before_the_first_effect() {
    let mut second = world(&[UefiHttp, VirtualMedia], HttpBoot::Keeps);
    second.cards[0].machine.uefi_http = Some(Offer::NotOffered);
    second.until("Ready", secs(900), World::is_ready);
    assert_eq!(count(&second, "StageInstall"), 1);

    for (uefi_http, foreign, words) in [
        (Some(Offer::NotOffered), false, "no boot target UefiHttp"),
        (None, false, "upgrade the site agent"),
        (Some(Offer::Offered), true, "did not set; empty it"),
    ] {
        let mut none = world(&[VirtualMedia, UefiHttp], HttpBoot::Keeps);
        none.cards[0].machine.virtual_media = Offer::NotOffered;
        none.cards[0].machine.uefi_http = uefi_http;
        none.cards[0].machine.foreign_uri = foreign;
        none.settle(secs(1200));
        assert_eq!(none.card_says(0), "Stalled Stalled: CapabilityMissing");
        assert!(none.recorded.is_empty(), "{}", none.told());
        let message = none.card_message(0);
        assert!(message.contains("VirtualMedia: its BMC offers no virtual media"));
        assert!(message.contains(words), "{message}");
        none.cards[0].machine.uefi_http = Some(Offer::Offered);
        none.cards[0].machine.foreign_uri = false;
        none.until("Ready", secs(3600), World::is_ready);
        assert_eq!(count(&none, "StageHttpBoot"), 1);
    }
}

#[test]
fn what_was_not_read_is_waited_for_and_no_reason_to_take_a_later_way() {
    let mut world = world(&[UefiHttp, VirtualMedia], HttpBoot::Keeps);
    world.cards[0].machine.uefi_http = Some(Offer::NotRead);
    world.settle(secs(60));
    assert_eq!(world.card_says(0), "Inspecting Reconciling: Inspecting");
    world.settle(secs(1200));
    assert_eq!(world.card_says(0), "Stalled Stalled: Inspecting");
    assert!(world.recorded.is_empty(), "{}", world.told());
    world.cards[0].machine.uefi_http = Some(Offer::Offered);
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(count(&world, "StageHttpBoot"), 1);
    assert_eq!(count(&world, "StageInstall"), 0);
}

#[test]
fn a_later_way_that_was_not_read_keeps_nobody_waiting() {
    let mut world = world(&[VirtualMedia, UefiHttp], HttpBoot::Keeps);
    world.cards[0].machine.uefi_http = Some(Offer::NotRead);
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(count(&world, "StageInstall"), 1);
}

#[test]
fn what_another_way_has_armed_is_taken_back_before_the_policys_way_is_armed() {
    for (before, after) in [(VirtualMedia, UefiHttp), (UefiHttp, VirtualMedia)] {
        let mut world = world(&[before], HttpBoot::Keeps);
        // The operator does not see it armed before the policy is another.
        while world.cards[0].machine.media.is_none() && world.cards[0].machine.http_uri.is_none() {
            world.operator_step();
            world.pass(secs(5));
            world.agent_step();
        }
        world.edit_policy(|policy| policy.install.methods = vec![after]);
        world.until("Ready", secs(900), World::is_ready);
        world.settle(secs(60));
        assert_eq!(count(&world, "PowerOn dpu"), 1, "{}", world.told());
        assert_eq!(count(&world, "ClearInstall"), 2, "{}", world.told());
        let kept = &world.status().cards[0];
        assert_eq!(kept.method, Some(after.into()), "{}", world.told());
        nothing_is_armed(&world);
    }
}

#[test]
fn an_install_that_somebody_began_by_this_way_is_adopted() {
    let mut world = world(&[VirtualMedia, UefiHttp], HttpBoot::Keeps);
    world.cards[0]
        .machine
        .set_http_boot(Some(image("os-1")), false);
    world.power_on_card(0);
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(60));
    assert_eq!(count(&world, "PowerOn dpu"), 0, "{}", world.told());
    assert_eq!(count(&world, "Stage"), 0, "{}", world.told());
    let kept = &world.status().cards[0];
    assert_eq!(
        (kept.attempts, &kept.method),
        (1, &Some(InstallMethod::UefiHttp))
    );
    nothing_is_armed(&world);
}

#[test]
fn an_agent_that_does_not_tell_of_the_url_is_not_asked_to_take_it_back() {
    let mut world = world(&[UefiHttp], HttpBoot::Keeps);
    world.until("armed", secs(300), |w| {
        w.cards[0].machine.http_uri.is_some()
    });
    world.edit_policy(|policy| policy.image_ref = None);
    world.cards[0].machine.uefi_http = None;
    world.settle(secs(900));
    assert_eq!(count(&world, "ClearInstall"), 0, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: CapabilityMissing");
    assert!(world.card_message(0).contains("upgrade the site agent"));
    world.cards[0].machine.uefi_http = Some(Offer::Offered);
    world.settle(secs(900));
    nothing_is_armed(&world);
}

#[test]
fn a_boot_over_http_of_somebody_else_stays() {
    let mut world = world(&[VirtualMedia], HttpBoot::Keeps);
    world.cards[0].machine.foreign_uri = true;
    world.cards[0].machine.lasting_override = Some("UefiHttp");
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(600));
    assert_eq!(count(&world, "ClearInstall"), 1, "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty());
}
