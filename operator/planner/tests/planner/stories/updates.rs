//! Installs that the card's BMC carries out: it is given the image, and tells of its task whatever
//! it likes. Only the card's own agent is believed.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{self, MultipartPush, SimpleUpdate, VirtualMedia};
use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::{ArmedEffect, Disruption};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::{BootStage, Offer, PowerState};
use lockstep_crds::report::UpdateState;

use crate::world::agent::Fault;
use crate::world::build::image;
use crate::world::machine::Update;
use crate::world::{World, secs};

/// One card whose BMC takes updates, under a policy that names these ways.
fn world(methods: &[AllowedMethod], makes: Update) -> World {
    let mut world = World::new(&["card1"]);
    offers(&mut world, methods, makes);
    world
}

fn offers(world: &mut World, methods: &[AllowedMethod], makes: Update) {
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.methods = methods.to_vec();
        policy.install.os_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    let machine = &mut world.cards[0].machine;
    machine.simple_update = Some(Offer::Offered);
    machine.multipart_push = Some(Offer::Offered);
    machine.makes_of_updates = makes;
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn reasons(world: &World) -> Vec<&str> {
    let failures = &world.status().cards[0].failures;
    failures.iter().map(|one| one.reason.as_str()).collect()
}

#[test]
fn an_update_is_asked_for_once_under_the_hold_and_believed_by_the_cards_own_word() {
    for (way, deed, method) in [
        (
            SimpleUpdate,
            "PullUpdate dpu/card1",
            InstallMethod::SimpleUpdate,
        ),
        (
            MultipartPush,
            "PushUpdate dpu/card1",
            InstallMethod::MultipartPush,
        ),
    ] {
        for makes in [Update::Writes, Update::LosesTask, Update::NeverEnds] {
            let mut world = world(&[way], makes);
            world.until("Ready", secs(900), World::is_ready);
            world.settle(secs(300));
            assert_eq!(
                world.deeds(),
                [
                    "HoldHost dpuhost/host1",
                    deed,
                    "ReleaseHost dpuhost/host1",
                    "ClearInstall dpu/card1",
                ],
                "{makes:?}"
            );
            let kept = &world.status().cards[0];
            let method = Some(method.clone());
            assert_eq!((kept.attempts, &kept.method), (1, &method), "{makes:?}");
            assert!(kept.armed.is_empty() && kept.failures.is_empty());
            assert!(world.cards[0].machine.update.is_none(), "{makes:?}");
        }
    }
}

#[test]
fn a_running_card_is_updated_as_it_is_and_only_in_a_stage_in_which_it_may_be_reset() {
    let mut world = World::installed(&["card1"]);
    offers(&mut world, &[SimpleUpdate], Update::Writes);
    world.power_off_host();
    world.cards[0].machine.stage = Some(BootStage::OsCrashDumping);
    let newer = |card: &mut lockstep_crds::DpuSpec| {
        card.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    };
    world.edit_card(0, newer);
    world.settle(secs(300));
    assert_eq!(count(&world, "PullUpdate"), 0, "{}", world.told());
    world.cards[0].machine.stage = Some(BootStage::OsRunning);
    world.until("os-2", secs(900), |w| {
        w.cards[0].disk == Some(image("os-2")) && w.is_ready()
    });
    let deeds = world.deeds();
    let powers = |deed: &&&str| deed.starts_with("PowerOn dpu/") || deed.starts_with("ForceOff");
    assert_eq!(deeds.iter().filter(powers).count(), 0, "{}", world.told());
    assert_eq!(count(&world, "PullUpdate"), 1, "{}", world.told());
}

#[test]
fn nothing_cuts_a_card_off_while_its_bmc_writes() {
    let mut world = world(&[SimpleUpdate], Update::Writes);
    world.until("writing", secs(300), |w| w.is_installing(0));
    world.round();
    let kept = &world.status().cards[0];
    assert_eq!(kept.armed, [ArmedEffect::Update]);
    assert!(kept.booted_at.is_some() && kept.install_ends.is_some());
    let directive = world.recorded.last().unwrap();
    assert!(directive.expects.safe_stage);
    assert!(directive.expects.host.as_ref().unwrap().without_update);
    // Another image, and the end of the card's object: both wait for what was begun.
    world.delete_card(0);
    world.settle(secs(60));
    assert!(world.is_installing(0) && world.cards[0].machine.is_on());
    world.settle(secs(1200));
    assert_eq!(count(&world, "PullUpdate"), 1, "{}", world.told());
    assert!(world.cards[0].machine.update.is_none(), "{}", world.told());
}

#[test]
fn each_lie_of_a_task_has_its_reason_and_leads_to_the_next_way() {
    for (makes, reason) in [
        (Update::Fails, "TaskFailed"),
        (Update::KeepsOld, "ImageNotSeen"),
        (Update::Restarts, "TaskLost"),
    ] {
        let mut world = world(&[SimpleUpdate, VirtualMedia], makes);
        world.until("Ready", secs(3600), World::is_ready);
        world.settle(secs(60));
        assert_eq!(reasons(&world), [reason], "{}", world.told());
        let kept = &world.status().cards[0];
        assert_eq!(
            (kept.attempts, &kept.method),
            (2, &Some(InstallMethod::VirtualMedia))
        );
        assert_eq!(kept.failed_methods, [InstallMethod::SimpleUpdate]);
        assert_eq!(kept.failures[0].method, InstallMethod::SimpleUpdate);
        assert_eq!(
            (count(&world, "PullUpdate"), count(&world, "StageInstall")),
            (1, 1),
            "{makes:?}"
        );
        assert!(world.cards[0].machine.update.is_none(), "{makes:?}");
    }
}

#[test]
fn nothing_else_is_begun_while_a_task_says_that_it_runs() {
    for next in [VirtualMedia, MultipartPush] {
        let mut world = world(&[SimpleUpdate, next], Update::Hangs);
        world.settle(secs(3600));
        assert_eq!(reasons(&world), ["TaskStuck"], "{}", world.told());
        assert_eq!(world.card_says(0), "Stalled Stalled: StageForbids");
        let message = world.card_message(0);
        for words in ["says that its update still runs", "restart that BMC"] {
            assert!(message.contains(words), "{words}: {message}");
        }
        assert_eq!(
            world.deeds(),
            ["HoldHost dpuhost/host1", "PullUpdate dpu/card1"],
            "{}",
            world.told()
        );
        world.cards[0].machine.says_of_update(UpdateState::Lost);
        world.cards[0].machine.makes_of_updates = Update::Writes;
        world.until("Ready", secs(3600), World::is_ready);
        let method = InstallMethod::from(next);
        assert_eq!(world.status().cards[0].method, Some(method));
    }
}

#[test]
fn the_old_image_that_comes_up_again_is_told_at_once() {
    for makes in [Update::KeepsOld, Update::Restarts] {
        let mut world = World::installed(&["card1"]);
        offers(&mut world, &[SimpleUpdate, MultipartPush], makes);
        world.edit_policy(|policy| policy.install.os_timeout_seconds = 20_000);
        world.power_off_host();
        world.edit_card(0, |card| {
            card.image_ref = Some(LocalRef {
                name: "os-2".into(),
            });
        });
        world.settle(secs(2400));
        assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
        assert_eq!(reasons(&world), ["OldImageRuns", "OldImageRuns"]);
        let message = world.card_message(0);
        assert!(
            message
                .contains("By SimpleUpdate: OldImageRuns: the card has booted since and runs os-1"),
            "{message}"
        );
        assert!(
            message.contains("By MultipartPush: OldImageRuns"),
            "{message}"
        );
    }
}

#[test]
fn attempts_are_budgeted_and_their_causes_kept_until_the_token_changes() {
    let mut world = world(&[SimpleUpdate], Update::Fails);
    world.edit_policy(|policy| policy.install.max_attempts = 3);
    world.settle(secs(7200));
    assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
    assert_eq!(reasons(&world), ["TaskFailed"; 3]);
    assert_eq!(count(&world, "PullUpdate"), 3, "{}", world.told());
    world.cards[0].machine.makes_of_updates = Update::Writes;
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("Ready", secs(3600), World::is_ready);
    assert!(world.status().cards[0].failures.is_empty());
}

#[test]
fn an_update_that_had_failed_is_no_attempt_of_a_later_token() {
    for seconds in (20..320).step_by(20) {
        let mut world = world(&[SimpleUpdate], Update::Fails);
        world.edit_policy(|policy| policy.install.max_attempts = 2);
        let asked = world.now + secs(seconds);
        world.until("asked again", secs(3600), |world| world.now >= asked);
        let before = count(&world, "PullUpdate");
        world.edit_card(0, |card| card.retry_token = Some("again".into()));
        world.until("begun anew", secs(3600), |world| {
            let kept = &world.status().cards[0];
            kept.retry_token.as_deref() == Some("again")
        });
        world.settle(secs(900));
        assert_eq!(world.card_says(0), "Stalled Stalled: InstallFailed");
        assert_eq!(reasons(&world), ["TaskFailed"; 2], "{}", world.told());
        let since = count(&world, "PullUpdate") - before;
        assert!(since >= 2, "{since} after {seconds}s\n{}", world.told());
    }
}

#[test]
fn an_update_that_goes_on_is_adopted_with_what_ran_before_it() {
    let mut world = World::installed(&["card1"]);
    offers(&mut world, &[SimpleUpdate], Update::Hangs);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.until("asked for", secs(3600), |world| {
        count(world, "PullUpdate") == 1
    });
    world.settle(secs(200));
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("over its time", secs(600), |world| {
        world.card_says(0).ends_with("StageForbids")
    });
    // The time that it has by default is longer.
    world.policy = None;
    world.settle(secs(600));
    assert_eq!(count(&world, "PullUpdate"), 1, "{}", world.told());
    assert!(world.status().cards[0].epoch_before.is_some());
}

#[test]
fn what_may_have_been_asked_for_counts_and_what_certainly_was_not_does_not() {
    for fault in [Fault::LostReply, Fault::CrashAfter] {
        let mut world = world(&[SimpleUpdate], Update::Writes);
        world.agent.faults = [Fault::Fine, fault].into();
        while !world.agent.alive || !world.is_ready() {
            world.agent_starts();
            world.round();
            assert!(world.deeds().len() < 10, "{}", world.told());
        }
        assert_eq!(count(&world, "PullUpdate"), 1, "{fault:?}");
    }
    // Nobody knows whether it arrived: it is awaited as if it had.
    let mut lost = world(&[SimpleUpdate], Update::Writes);
    lost.agent.faults = [Fault::Fine, Fault::LostCall].into();
    lost.until("Ready", secs(3600), World::is_ready);
    assert_eq!(reasons(&lost), ["TaskLost"]);
    assert_eq!(lost.status().cards[0].attempts, 2);

    for fault in [Fault::Refused, Fault::Half, Fault::CrashBefore] {
        let mut world = world(&[SimpleUpdate], Update::Writes);
        world.edit_policy(|policy| policy.install.max_attempts = 1);
        world.agent.faults = [Fault::Fine, fault].into();
        while !world.is_ready() {
            world.agent_starts();
            world.round();
            assert!(
                world.now < crate::world::build::start() + secs(7200),
                "{}",
                world.told()
            );
        }
        assert_eq!(world.status().cards[0].attempts, 1, "{fault:?}");
    }
}

#[test]
fn a_way_that_is_not_offered_is_passed_over_with_its_reason() {
    for (offer, words) in [
        (
            Some(Offer::NotOffered),
            "SimpleUpdate: its BMC offers no SimpleUpdate",
        ),
        (None, "upgrade the site agent"),
    ] {
        let mut none = world(&[SimpleUpdate, MultipartPush], Update::Writes);
        none.cards[0].machine.simple_update.clone_from(&offer);
        none.cards[0].machine.multipart_push = offer;
        none.settle(secs(1200));
        assert_eq!(none.card_says(0), "Stalled Stalled: CapabilityMissing");
        assert!(
            none.card_message(0).contains(words),
            "{}",
            none.card_message(0)
        );
        assert!(none.recorded.is_empty(), "{}", none.told());
        none.cards[0].machine.simple_update = Some(Offer::NotOffered);
        none.cards[0].machine.multipart_push = Some(Offer::Offered);
        none.until("Ready", secs(3600), World::is_ready);
        assert_eq!(count(&none, "PushUpdate"), 1);
    }
}

#[test]
fn an_update_that_the_record_knows_nothing_of_is_adopted() {
    let mut world = world(&[SimpleUpdate], Update::Writes);
    world.cards[0].machine.power = PowerState::On;
    world.begin_update(0, &image("os-1"), InstallMethod::MultipartPush);
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(60));
    assert_eq!(count(&world, "PullUpdate"), 0, "{}", world.told());
    let kept = &world.status().cards[0];
    assert_eq!(
        (kept.attempts, &kept.method),
        (1, &Some(InstallMethod::MultipartPush))
    );
    assert_eq!(count(&world, "ClearInstall"), 1, "{}", world.told());
}

#[test]
fn a_medium_that_is_armed_is_taken_back_before_an_update() {
    let mut world = world(&[VirtualMedia], Update::Writes);
    while world.cards[0].machine.media.is_none() {
        world.operator_step();
        world.pass(secs(5));
        world.agent_step();
    }
    world.edit_policy(|policy| policy.install.methods = vec![SimpleUpdate]);
    world.until("Ready", secs(900), World::is_ready);
    world.settle(secs(60));
    assert_eq!(count(&world, "PowerOn dpu"), 0, "{}", world.told());
    assert_eq!(count(&world, "ClearInstall"), 2, "{}", world.told());
    assert!(world.cards[0].machine.media.is_none());
}

#[test]
fn another_token_in_the_moment_in_which_a_request_is_given_up_begins_anew_at_once() {
    let mut world = world(&[SimpleUpdate], Update::Writes);
    world.until("asked", secs(900), |w| {
        let mut recorded = w.recorded.iter();
        recorded.any(|one| one.action.kind == ActionKind::PullUpdate)
    });
    world.agent.idle = true;
    world.pass(secs(260));
    world.edit_card(0, |card| card.retry_token = Some("again".to_owned()));
    world.settle(secs(120));
    world.agent.idle = false;
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(world.status().cards[0].attempts, 1, "{}", world.told());
}
