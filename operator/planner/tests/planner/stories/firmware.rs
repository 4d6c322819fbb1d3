//! Firmware of cards' BMCs: written one at a time, before a system, under the hold, and believed by
//! nothing but the version that runs.

use lockstep_crds::host::{ComponentRecord, Disruption};
use lockstep_crds::inventory::InstallMethod;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use super::waits;
use crate::world::agent::Fault;
use crate::world::machine::Firmware;
use crate::world::{World, secs};

fn world(makes: Firmware) -> World {
    let mut world = World::new(&["card1"]);
    wants(&mut world, makes);
    world
}

fn wants(world: &mut World, makes: Firmware) {
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.firmware_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = makes;
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn component(world: &World) -> &ComponentRecord {
    &world.status().cards[0].components[0]
}

fn runs(world: &World) -> &str {
    &world.cards[0].machine.firmware.0
}

#[test]
fn firmware_is_written_once_before_the_system_under_one_hold() {
    let mut world = world(Firmware::Restarts);
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(120));
    assert_eq!(
        world.deeds(),
        [
            "HoldHost dpuhost/host1",
            "PushFirmware dpu/card1",
            "StageInstall dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    let one = component(&world);
    assert_eq!(
        (runs(&world), one.attempts, &one.method),
        ("bmc-b", 1, &Some(InstallMethod::MultipartPush))
    );
    assert!(one.observed_at.is_some() && one.begun_at.is_none() && one.pending.is_none());
    assert_eq!(one.before.as_deref(), Some("bmc-a"));
    let asked = world
        .recorded
        .iter()
        .find(|one| one.action.component.is_some());
    let expects = &asked.unwrap().expects;
    assert!(expects.safe_stage && expects.host.as_ref().unwrap().without_update);
}

#[test]
fn what_runs_already_is_adopted_and_nothing_is_held_for_it() {
    let mut world = World::installed(&["card1"]);
    world.cards[0].machine.firmware.0 = "bmc-b".to_owned();
    wants(&mut world, Firmware::Restarts);
    world.settle(secs(900));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert!(world.is_ready() && component(&world).observed_at.is_some());
}

#[test]
fn a_card_that_runs_is_not_ready_while_its_firmware_is_another_and_its_host_is_taken_down_for_it() {
    let mut world = World::installed(&["card1"]);
    wants(&mut world, Firmware::Restarts);
    world.settle(secs(300));
    assert_eq!(world.card_says(0), "Stalled Stalled: HostInUse");
    assert!(world.effects.is_empty(), "{}", world.told());
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.until("bmc-b", secs(1800), |w| runs(w) == "bmc-b" && w.is_ready());
    world.settle(secs(120));
    assert_eq!(
        world.deeds(),
        [
            "ShutdownGracefully dpuhost/host1",
            "HoldHost dpuhost/host1",
            "PushFirmware dpu/card1",
            "ReleaseHost dpuhost/host1",
        ],
        "{}",
        world.told()
    );
    assert!(world.phases("card1").contains(&"Maintenance".to_owned()));
}

#[test]
fn what_waits_for_a_restart_is_told_as_armed_and_the_bmc_restarted_once() {
    let mut world = world(Firmware::Waits);
    world.until("pending", secs(600), |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    world.settle(secs(20));
    let one = component(&world);
    assert_eq!(one.pending.as_deref(), Some("bmc-b"));
    assert!(one.written_at.is_some() && one.observed_at.is_none());
    assert_eq!((runs(&world), count(&world, "ResetBmc")), ("bmc-a", 0));
    world.until("Ready", secs(1200), World::is_ready);
    assert_eq!(count(&world, "ResetBmc dpu/card1"), 1, "{}", world.told());
    assert!(component(&world).pending.is_none());

    // Its reply is lost, and it is not restarted again for that.
    let mut lost = self::world(Firmware::Waits);
    lost.agent.faults = [Fault::Fine, Fault::Fine, Fault::LostReply].into();
    lost.until("Ready", secs(1200), World::is_ready);
    assert_eq!(count(&lost, "ResetBmc dpu/card1"), 1, "{}", lost.told());
}

#[test]
fn each_lie_has_its_reason_the_other_way_is_tried_and_then_a_person_is_asked() {
    for (makes, reason) in [
        (Firmware::Fails, "TaskFailed"),
        (Firmware::Hangs, "TaskStuck"),
        (Firmware::KeepsOld, "TaskLost"),
    ] {
        let mut world = world(makes);
        world.until("stalled", secs(3600), |w| {
            w.card_says(0) == "Stalled Stalled: FirmwareFailed"
                || (makes == Firmware::Hangs && w.card_says(0).ends_with(": StageForbids"))
        });
        let failures = &world.status().cards[0].failures;
        let reasons: Vec<_> = failures.iter().map(|one| one.reason.as_str()).collect();
        assert!(reasons.iter().all(|one| *one == reason), "{reasons:?}");
        assert!(!reasons.is_empty(), "{}", world.told());
        assert_eq!(failures[0].component.as_deref(), Some("BMC_Firmware"));
        // No system goes onto a card whose firmware is not as wanted.
        assert_eq!(count(&world, "StageInstall"), 0, "{}", world.told());
        if makes == Firmware::Hangs {
            // Nothing else is begun as long as its task says that it runs.
            world.settle(secs(1200));
            assert_eq!(count(&world, "P"), 1, "{}", world.told());
            continue;
        }
        let deeds = [count(&world, "PushFirmware"), count(&world, "PullFirmware")];
        assert_eq!(deeds, [1, 1], "{}", world.told());
        assert!(
            world.card_message(0).contains(reason),
            "{}",
            world.card_message(0)
        );
        world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
        world.edit_card(0, |card| card.retry_token = Some("again".into()));
        world.until("Ready", secs(1800), World::is_ready);
        assert!(
            world.status().cards[0].failures.is_empty(),
            "{}",
            world.told()
        );
    }
}

#[test]
fn what_speaks_against_an_update_is_said_before_anything_is_done() {
    let vetting = |trust, fit| Vetting {
        room: None,
        trust,
        fit,
        security_version: 1,
    };
    let no = || Judgement::NotMet("it is not".to_owned());
    for (found, reason) in [
        (vetting(no(), Judgement::Met), "ImageUntrusted"),
        (vetting(Judgement::Met, no()), "ImageDoesNotFit"),
        (
            vetting(Judgement::Met, Judgement::Met),
            "SecurityVersionTooLow",
        ),
    ] {
        let mut world = world(Firmware::Restarts);
        world.vetted.insert("bmc-b".to_owned(), found);
        world.edit_policy(|policy| {
            let images = policy.images.get_or_insert_default();
            images.minimum_security_version = Some(2);
        });
        let os = Vetting {
            security_version: 2,
            ..Vetting::of_nothing()
        };
        world.vetted.insert("os-1".to_owned(), os);
        waits(&mut world, reason, &["bmc-b"]);
    }
    let mut missing = world(Firmware::Restarts);
    missing.cards[0].firmware = vec!["bmc-missing".to_owned()];
    waits(&mut missing, "ImageNotFound", &["bmc-missing"]);
    let mut older = world(Firmware::Restarts);
    older.cards[0].machine.tells_components = false;
    waits(&mut older, "CapabilityMissing", &["upgrade the site agent"]);
}

#[test]
fn no_older_security_version_than_one_that_ran_is_written() {
    let mut world = world(Firmware::Restarts);
    let of = |security_version| Vetting {
        security_version,
        ..Vetting::of_nothing()
    };
    world.vetted.insert("bmc-b".to_owned(), of(3));
    world.vetted.insert("bmc-c".to_owned(), of(2));
    world.until("Ready", secs(1200), World::is_ready);
    world.effects.clear();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.cards[0].firmware = vec!["bmc-c".to_owned()];
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: SecurityVersionTooLow");
    assert!(
        world.card_message(0).contains("has run 3"),
        "{}",
        world.card_message(0)
    );
    assert!(count(&world, "PushFirmware") == 0 && world.status().hold.is_none());
}

#[test]
fn what_may_have_been_asked_for_counts_and_what_certainly_was_not_does_not() {
    for fault in [Fault::LostReply, Fault::CrashAfter] {
        let mut world = world(Firmware::Restarts);
        world.agent.faults = [Fault::Fine, fault].into();
        while !world.is_ready() {
            world.agent_starts();
            world.round();
            assert!(world.deeds().len() < 12, "{}", world.told());
        }
        assert_eq!(count(&world, "PushFirmware"), 1, "{fault:?}");
    }
    for fault in [Fault::Refused, Fault::CrashBefore] {
        let mut world = world(Firmware::Restarts);
        world.edit_policy(|policy| policy.install.max_attempts = 1);
        world.agent.faults = [Fault::Fine, fault].into();
        while !world.is_ready() {
            world.agent_starts();
            world.round();
            let end = crate::world::build::start() + secs(7200);
            assert!(world.now < end, "{}", world.told());
        }
        assert_eq!(component(&world).attempts, 1, "{fault:?}");
    }
}

#[test]
fn firmware_that_somebody_changes_is_told_and_left_alone() {
    let mut world = world(Firmware::Restarts);
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(120));
    world.effects.clear();
    world.cards[0].machine.firmware.0 = "bmc-z".to_owned();
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn a_deleted_card_is_let_go_after_what_its_bmc_writes_and_what_waits_there_is_told() {
    let mut world = world(Firmware::Waits);
    world.until("writing", secs(300), |w| w.writes_firmware(0));
    world.round();
    world.delete_card(0);
    world.settle(secs(60));
    assert!(world.cards[0].dpu.is_some(), "{}", world.told());
    world.settle(secs(900));
    assert!(world.cards[0].dpu.is_none(), "{}", world.told());
    assert!(
        world.told().contains("CancelledButArmed"),
        "{}",
        world.told()
    );
    assert_eq!(count(&world, "ResetBmc"), 0);
}

#[test]
fn a_bmc_is_not_restarted_for_what_is_not_trusted_any_more() {
    let mut world = world(Firmware::Waits);
    world.until("pending", secs(600), |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    let vetting = Vetting {
        trust: Judgement::NotMet("its key is gone".to_owned()),
        ..Vetting::of_nothing()
    };
    world.vetted.insert("bmc-b".to_owned(), vetting);
    world.settle(secs(200));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareArmed");
    let message = world.card_message(0);
    for word in ["bmc-b", "the BMC of dpu/card1 restarts", "its key is gone"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    world.settle(secs(600));
    assert_eq!(count(&world, "ResetBmc"), 0, "{}", world.told());
    assert_eq!(component(&world).pending.as_deref(), Some("bmc-b"), "S15");
    world.vetted.clear();
    world.until("Ready", secs(3600), World::is_ready);
    assert_eq!(runs(&world), "bmc-b");
}

#[test]
fn what_a_bmc_does_not_list_is_armed_as_long_as_it_was_not_restarted_and_written_over_by_what_runs()
{
    let mut world = world(Firmware::Hides);
    world.until("written", secs(600), |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    let vetting = Vetting {
        trust: Judgement::NotMet("its key is gone".to_owned()),
        ..Vetting::of_nothing()
    };
    world.vetted.insert("bmc-b".to_owned(), vetting);
    world.settle(secs(1200));
    let one = component(&world);
    assert!(one.begun_at.is_none(), "its time is over\n{}", world.told());
    assert_eq!(one.pending.as_deref(), Some("bmc-b"), "S15");
    assert_eq!(count(&world, "ResetBmc"), 0, "{}", world.told());
    world.cards[0].firmware = vec!["bmc-a".to_owned()];
    world.until("Ready", secs(3600), World::is_ready);
    let waits = world.cards[0].machine.firmware.1.as_deref();
    assert_ne!(waits, Some("bmc-b"), "{}", world.told());
    assert_eq!(runs(&world), "bmc-a");
}
