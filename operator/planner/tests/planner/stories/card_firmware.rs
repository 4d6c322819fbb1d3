//! Firmware of cards themselves: it runs once the card was powered off and on, under all that a power cut
//! of the card takes, and the host goes on once the card's own system does again.

use lockstep_crds::boot_policy::{OnTimeout, WaitUntil};
use lockstep_crds::directive::{ActionKind, ActivatedBy, TargetKind};
use lockstep_crds::host::{ComponentRecord, Disruption};
use lockstep_crds::observed::PowerState;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::Readiness;

use super::waits;
use crate::world::agent::Fault;
use crate::world::machine::Firmware;
use crate::world::{World, secs};

const OLD: &str = "bmc-a";
const NEW: &str = "nic-d";

fn wants(world: &mut World, makes: Firmware) {
    world.strict = true;
    world.edit_policy(|policy| {
        policy.install.firmware_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.cards[0].firmware = vec![NEW.to_owned()];
    world.cards[0].machine.makes_of_firmware = makes;
}

/// A card that runs its system, in a host that may be taken down.
fn running(makes: Firmware) -> World {
    let mut world = World::installed(&["card1"]);
    wants(&mut world, makes);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn component(world: &World) -> &ComponentRecord {
    &world.status().cards[0].components[0]
}

fn is_done(world: &World) -> bool {
    world.is_ready() && runs(world) == NEW
}

fn runs(world: &World) -> &str {
    &world.cards[0].machine.firmware.0
}

/// Rounds until that is so, in none of which the host is up before its card's system, once it is held.
fn until(world: &mut World, what: &str, done: impl Fn(&World) -> bool) {
    let end = world.now + secs(3600);
    while !done(world) {
        world.agent_starts();
        world.round();
        let held = world.status().hold.is_some();
        let early = held && world.host_machine.is_on() && world.cards[0].os.is_none();
        assert!(!early, "the host is up too early\n{}", world.told());
        assert!(world.now < end, "{what} did not come\n{}", world.told());
    }
}

#[test]
fn card_firmware_runs_after_one_power_cycle_and_the_host_goes_on_with_the_cards_system() {
    let mut world = running(Firmware::Waits);
    let before = world.recorded.len();
    until(&mut world, "written", |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    world.round();
    world.round();
    let one = component(&world);
    assert_eq!(one.pending.as_deref(), Some(NEW), "S15");
    assert_eq!(one.activation, Some(ActivatedBy::CardPowerCycle));
    assert!(one.observed_at.is_none() && runs(&world) == OLD);
    until(&mut world, "Ready", is_done);
    world.settle(secs(120));
    assert_eq!(
        world.deeds(),
        [
            "ShutdownGracefully dpuhost/host1",
            "HoldHost dpuhost/host1",
            "PushFirmware dpu/card1",
            "ShutdownGracefully dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
        ],
        "{}",
        world.told()
    );
    let of_card = world.recorded.iter().skip(before).filter(|one| {
        one.target.kind == TargetKind::Card && one.action.kind != ActionKind::PushFirmware
    });
    for told in of_card {
        assert_eq!(told.action.component.as_deref(), Some("BMC_Firmware"));
        assert!(told.expects.host.is_some(), "S12: {told:?}");
    }
    let one = component(&world);
    assert!(one.observed_at.is_some() && one.pending.is_none() && one.begun_at.is_none());
    assert_eq!((runs(&world), one.attempts), (NEW, 1));
    let kept = &world.status().cards[0];
    assert!(kept.cycled.is_none() && kept.stopping.is_none());
    assert!(world.phases("card1").contains(&"Maintenance".to_owned()));
    assert!(world.host_machine.is_on());
}

#[test]
fn a_card_without_a_system_is_powered_on_for_its_firmware_and_installed_afterwards() {
    let mut world = World::new(&["card1"]);
    wants(&mut world, Firmware::Waits);
    until(&mut world, "Ready", World::is_ready);
    world.settle(secs(120));
    assert_eq!(
        world.deeds(),
        [
            "HoldHost dpuhost/host1",
            "PushFirmware dpu/card1",
            "PowerOn dpu/card1",
            "ShutdownGracefully dpu/card1",
            "StageInstall dpu/card1",
            "PowerOn dpu/card1",
            "ReleaseHost dpuhost/host1",
            "ClearInstall dpu/card1",
        ],
        "{}",
        world.told()
    );
    assert_eq!(runs(&world), NEW);
}

#[test]
fn each_lie_about_card_firmware_has_its_reason_and_leaves_the_card_running() {
    for (makes, reason, cycles) in [
        (Firmware::Fails, "TaskFailed", 0),
        (Firmware::KeepsOld, "TaskLost", 0),
        (Firmware::Stays, "VersionNotSeen", 2),
    ] {
        let mut world = running(makes);
        until(&mut world, "stalled", |w| {
            w.card_says(0) == "Stalled Stalled: FirmwareFailed"
        });
        world.settle(secs(600));
        let failures = &world.status().cards[0].failures;
        let reasons: Vec<_> = failures.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(reasons, [reason, reason], "{}", world.told());
        let deeds = [count(&world, "PushFirmware"), count(&world, "PullFirmware")];
        assert_eq!(deeds, [1, 1], "{}", world.told());
        assert_eq!(count(&world, "PowerOn dpu/card1"), cycles, "{makes:?}");
        let waits = component(&world).pending.as_deref();
        assert_eq!(waits, (makes == Firmware::Stays).then_some(NEW), "S15");
        // What ran goes on: the card and its host are up.
        assert!(world.cards[0].os.is_some() && world.host_machine.is_on());
        assert!(world.status().hold.is_none(), "{}", world.told());
        assert_eq!(runs(&world), OLD);
    }
}

#[test]
fn what_is_listed_as_running_before_it_can_is_not_believed_and_what_is_not_listed_is_armed() {
    for makes in [Firmware::Boasts, Firmware::Hides] {
        let mut world = running(makes);
        until(&mut world, "written", |w| {
            w.cards[0].machine.firmware.1.is_some()
        });
        world.round();
        world.round();
        let one = component(&world);
        assert!(one.observed_at.is_none(), "{makes:?}\n{}", world.told());
        assert_eq!(one.pending.as_deref(), Some(NEW), "S15: {makes:?}");
        until(&mut world, "Ready", is_done);
        assert_eq!((runs(&world), count(&world, "PowerOn dpu/")), (NEW, 1));
    }
}

#[test]
fn what_is_listed_as_running_and_never_could_is_not_believed_when_its_time_is_over() {
    let mut world = running(Firmware::Boasts);
    until(&mut world, "written", |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    world.edit_card(0, |card| card.paused = true);
    world.settle(secs(6000));
    let one = component(&world);
    assert!(one.observed_at.is_none(), "{}", world.told());
    assert!(one.begun_at.is_none(), "its time is over\n{}", world.told());
    world.edit_card(0, |card| card.paused = false);
    until(&mut world, "Ready", is_done);
    assert_eq!(runs(&world), NEW);
}

#[test]
fn nothing_is_cut_while_a_task_says_that_it_runs_and_it_goes_on_once_that_is_gone() {
    let mut world = running(Firmware::Hangs);
    until(&mut world, "patience", |w| {
        w.card_says(0).ends_with(": StageForbids")
    });
    assert!(
        world.card_message(0).contains("its update still runs"),
        "{}",
        world.card_message(0)
    );
    world.settle(secs(1800));
    assert_eq!(count(&world, "PushFirmware"), 1, "{}", world.told());
    let taken_down = ["ShutdownGracefully dpu/", "ForceOff dpu/", "PowerOn dpu/"];
    assert!(taken_down.iter().all(|what| count(&world, what) == 0));
    let failed = &world.status().cards[0].failures[0];
    assert_eq!(failed.reason, "TaskStuck");
    // A person restarts the BMC.
    let now = world.now;
    world.cards[0].machine.makes_of_firmware = Firmware::Waits;
    world.cards[0].machine.restart_bmc(now);
    until(&mut world, "Ready", is_done);
    assert_eq!(runs(&world), NEW);
}

#[test]
fn a_power_cycle_whose_reply_is_lost_is_not_repeated_and_one_that_was_refused_is() {
    let fine = [Fault::Fine; 4];
    for fault in [
        Fault::LostReply,
        Fault::CrashAfter,
        Fault::CrashBefore,
        Fault::Refused,
        Fault::Late(40),
    ] {
        let mut world = running(Firmware::Waits);
        world.edit_policy(|policy| policy.install.max_attempts = 1);
        // Shutdown and hold of the host, the update, the card's shutdown; then its power.
        world.agent.faults = fine.into_iter().chain([fault]).collect();
        until(&mut world, "Ready", is_done);
        assert_eq!(count(&world, "PowerOn dpu/card1"), 1, "{fault:?}");
        assert_eq!((runs(&world), component(&world).attempts), (NEW, 1));
    }
}

#[test]
fn a_card_that_is_deleted_while_it_is_stopped_for_firmware_runs_again() {
    let mut world = running(Firmware::Waits);
    until(&mut world, "stopped", |w| !w.cards[0].machine.is_on());
    world.delete_card(0);
    world.settle(secs(900));
    assert!(world.cards[0].dpu.is_none(), "{}", world.told());
    assert!(world.cards[0].machine.is_on(), "{}", world.told());
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
}

#[test]
fn a_host_whose_wait_ends_meanwhile_waits_for_what_was_begun() {
    let mut world = running(Firmware::Waits);
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 120;
        policy.host_wait.on_timeout = OnTimeout::Continue;
    });
    until(&mut world, "Ready", is_done);
    assert_eq!((runs(&world), component(&world).attempts), (NEW, 1));
    assert!(!component(&world).given_up && world.host_machine.is_on());
}

#[test]
fn a_host_is_held_until_a_card_is_back_or_as_long_as_its_policy_says() {
    let mut world = running(Firmware::Waits);
    world.edit_policy(|policy| {
        policy.host_wait.timeout_seconds = 1800;
        policy.host_wait.on_timeout = OnTimeout::Continue;
        policy.install.os_timeout_seconds = 300;
    });
    until(&mut world, "written", |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    world.cards[0].dead = true;
    until(&mut world, "silence", |w| {
        w.card_says(0).ends_with(": CardAgentSilent")
    });
    assert!(world.status().hold.is_some() && !world.host_machine.is_on());
    world.until("the host", secs(1800), |w| w.host_machine.is_on());
    let released = world.status().release.as_ref();
    assert_eq!(released.unwrap().reason.as_str(), "Timeout");
    assert_eq!(runs(&world), NEW);
}

#[test]
fn a_card_that_cannot_be_cycled_is_not_begun_with() {
    let mut world = World::new(&["card1"]);
    wants(&mut world, Firmware::Waits);
    world.cards[0].machine.reset_types = vec!["GracefulRestart".to_owned()];
    waits(
        &mut world,
        "CapabilityMissing",
        &["powered off and on", "only GracefulRestart"],
    );
}

#[test]
fn a_card_of_which_no_system_is_wanted_gets_its_firmware() {
    for version in [NEW, "bmc-b"] {
        let mut world = World::new(&["card1"]);
        wants(&mut world, Firmware::Waits);
        world.cards[0].firmware = vec![version.to_owned()];
        world.edit_policy(|policy| policy.image_ref = None);
        until(&mut world, "released", |w| {
            runs(w) == version && w.status().hold.is_none()
        });
        world.settle(secs(300));
        assert_eq!(world.card_says(0), "Available Idle: NoImageWanted");
        assert!(world.host_machine.is_on(), "{}", world.told());
        let released = world.status().release.as_ref();
        assert_eq!(released.unwrap().reason.as_str(), "Ready");
        assert_eq!(count(&world, "StageInstall"), 0);
        assert_eq!(component(&world).attempts, 1);
    }
}

#[test]
fn firmware_runs_beside_a_host_that_is_not_held_too() {
    for (version, deed) in [(NEW, "PowerOn dpu/card1"), ("bmc-b", "ResetBmc dpu/card1")] {
        let mut world = running(Firmware::Waits);
        world.cards[0].firmware = vec![version.to_owned()];
        world.edit_policy(|policy| policy.host_wait.until = WaitUntil::None);
        until(&mut world, "Ready", |w| w.is_ready() && runs(w) == version);
        assert_eq!(count(&world, deed), 1, "{}", world.told());
        assert_eq!(count(&world, "HoldHost"), 0);
        assert_eq!(component(&world).attempts, 1);
    }
}

fn distrust(world: &mut World, version: &str) {
    let vetting = Vetting {
        trust: Judgement::NotMet("its key is gone".to_owned()),
        ..Vetting::of_nothing()
    };
    world.vetted.insert(version.to_owned(), vetting);
}

/// Written at the card, which runs on without it; as its BMC and the record tell.
fn written(makes: Firmware) -> World {
    let mut world = running(makes);
    until(&mut world, "written", |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    world
}

const CYCLES: [&str; 3] = ["ShutdownGracefully dpu/", "ForceOff dpu/", "PowerOn dpu/"];

#[test]
fn what_is_written_and_not_trusted_any_more_is_not_let_run_and_told() {
    for makes in [Firmware::Waits, Firmware::Hides] {
        let mut world = written(makes);
        distrust(&mut world, NEW);
        world.settle(secs(900));
        assert_eq!(world.card_says(0), "Stalled Stalled: ImageUntrusted");
        assert!(
            CYCLES.iter().all(|what| count(&world, what) == 0),
            "{}",
            world.told()
        );
        assert_eq!(component(&world).pending.as_deref(), Some(NEW), "S15");
        assert!(world.status().hold.is_none() && world.host_machine.is_on());
        world.vetted.clear();
        until(&mut world, "Ready", is_done);
    }
}

#[test]
fn what_is_written_and_not_wanted_any_more_is_told_until_it_is_written_over_or_somebody_lets_it_run()
 {
    for makes in [Firmware::Waits, Firmware::Hides] {
        let mut world = written(makes);
        world.cards[0].firmware.clear();
        world.settle(secs(900));
        assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareArmed");
        let message = world.card_message(0);
        for word in [
            "nic-d",
            "BMC_Firmware",
            "powered off and on",
            "firmwareRefs",
        ] {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(CYCLES.iter().all(|what| count(&world, what) == 0));
        assert!(world.status().hold.is_none() && world.host_machine.is_on());
        let mut other = world.clone();
        world.cards[0].firmware = vec!["nic-e".to_owned()];
        until(&mut world, "Ready", |w| w.is_ready() && runs(w) == "nic-e");
        other.power_off_card(0);
        other.round();
        other.power_on_card(0);
        other.settle(secs(900));
        assert_eq!(runs(&other), NEW);
        assert!(other.status().cards[0].components.is_empty());
        assert!(other.is_ready(), "{}", other.told());
    }
}

/// Its power state cannot be read for a while, or is another one than off: then it is on, as it was before.
fn blinks(world: &mut World) {
    for tells in [false, true] {
        let now = world.now;
        world.cards[0].machine.tells_power(tells, now);
        world.settle(secs(60));
    }
    for power in [PowerState::Paused, PowerState::On] {
        let machine = &mut world.cards[0].machine;
        machine.power = power;
        machine.power_since = world.now;
        world.settle(secs(60));
    }
}

#[test]
fn a_power_state_that_could_not_be_read_for_a_while_is_no_power_cycle() {
    let mut hides = written(Firmware::Hides);
    hides.cards[0].firmware.clear();
    hides.settle(secs(300));
    blinks(&mut hides);
    assert_eq!(component(&hides).pending.as_deref(), Some(NEW), "S15");
    assert_eq!(hides.card_says(0), "Stalled Stalled: FirmwareArmed");
    let mut boasts = written(Firmware::Boasts);
    boasts.edit_card(0, |card| card.paused = true);
    boasts.settle(secs(60));
    assert!(component(&boasts).begun_at.is_some() && !is_done(&boasts));
    blinks(&mut boasts);
    assert!(component(&boasts).observed_at.is_none(), "S9");
    assert!(!boasts.is_ready() && runs(&boasts) == OLD);
    for mut world in [hides, boasts] {
        world.power_off_card(0);
        world.round();
        world.power_on_card(0);
        world.settle(secs(120));
        assert_eq!(runs(&world), NEW);
        let mut kept = world.status().cards[0].components.iter();
        assert!(kept.all(|one| one.pending.is_none() && one.waits.is_none()));
    }
}

#[test]
fn what_waits_is_told_though_an_update_that_was_begun_after_it_failed() {
    // The version that runs was to be written over it.
    let mut hides = written(Firmware::Hides);
    hides.cards[0].firmware = vec!["nic-a".to_owned()];
    hides.cards[0].machine.firmware.0 = "nic-a".to_owned();
    hides.cards[0].machine.makes_of_firmware = Firmware::FailsAndHides;
    // It was to be written again, once its time was over.
    let mut boasts = written(Firmware::Boasts);
    boasts.edit_card(0, |card| card.paused = true);
    boasts.settle(secs(6000));
    assert!(component(&boasts).begun_at.is_none(), "its time is over");
    boasts.cards[0].machine.makes_of_firmware = Firmware::FailsAndBoasts;
    boasts.edit_card(0, |card| card.paused = false);
    for mut world in [hides, boasts] {
        world.settle(secs(3000));
        assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareFailed");
        let message = world.card_message(0);
        assert!(message.contains("nic-d was written there"), "{message}");
        let one = component(&world);
        assert!(one.observed_at.is_none(), "S9\n{}", world.told());
        assert_eq!(one.pending.as_deref(), Some(NEW), "S15");
        assert!(world.cards[0].machine.firmware.1.is_some());
        world.power_off_card(0);
        world.round();
        world.power_on_card(0);
        world.settle(secs(120));
        assert_eq!(runs(&world), NEW);
        assert!(component(&world).waits.is_none() && component(&world).pending.is_none());
    }
}

#[test]
fn the_version_that_runs_is_written_again_over_one_that_waits() {
    let mut world = written(Firmware::Waits);
    world.cards[0].firmware = vec!["nic-a".to_owned()];
    world.cards[0].machine.firmware.0 = "nic-a".to_owned();
    until(&mut world, "Ready", |w| {
        w.is_ready() && w.cards[0].machine.firmware.1.is_none()
    });
    assert_eq!(runs(&world), "nic-a");
}

#[test]
fn a_card_that_was_stopped_for_firmware_stays_off_once_that_may_not_run() {
    let mut world = running(Firmware::Waits);
    until(&mut world, "stopped", |w| !w.cards[0].machine.is_on());
    distrust(&mut world, NEW);
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareArmed");
    let message = world.card_message(0);
    assert!(message.contains("its key is gone"), "{message}");
    assert_eq!(count(&world, "PowerOn dpu/"), 0, "{}", world.told());
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
    let mut deleted = world.clone();
    deleted.delete_card(0);
    deleted.settle(secs(300));
    assert!(deleted.cards[0].dpu.is_none(), "{}", deleted.told());
    assert!(deleted.told().contains("event CancelledButArmed"));
    assert_eq!(count(&deleted, "PowerOn dpu/"), 0);
    // One that may go there is written over it.
    world.cards[0].firmware = vec!["nic-e".to_owned()];
    world.until("Ready", secs(3600), |w| w.is_ready() && runs(w) == "nic-e");
}

#[test]
fn a_host_whose_slots_go_along_with_it_is_not_powered_on_over_firmware_that_may_not_run() {
    let mut world = super::taint::dark(&["card1", "card2"]);
    world.until("Ready", secs(3600), World::is_ready);
    world.settle(secs(60));
    world.node.as_mut().unwrap().ready = Readiness::NotReady;
    world.edit_policy(|policy| {
        policy.install.firmware_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.cards[0].firmware = vec![NEW.to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Waits;
    world.until("written", secs(3600), |w| {
        w.cards[0].machine.firmware.1.is_some()
    });
    distrust(&mut world, NEW);
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: ImageUntrusted");
    // Somebody powers the host off, and another card's install needs it on.
    world.power_off_host();
    world.edit_card(1, |card| {
        card.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-2".into(),
        });
    });
    let before = count(&world, "PowerOn dpuhost/");
    world.settle(secs(900));
    assert_eq!(count(&world, "PowerOn dpuhost/"), before, "S9");
    assert!(!world.host_machine.is_on(), "{}", world.told());
    assert_eq!(world.card_says(1), "Stalled Stalled: FirmwareArmed");
    let message = world.card_message(1);
    assert!(message.contains("dpu/card1"), "{message}");
    // One that may run is no obstacle.
    world.vetted.clear();
    world.until("on", secs(3000), |w| w.host_machine.is_on());
}

#[test]
fn a_wiper_is_not_booted_over_firmware_that_may_not_run() {
    let mut world = written(Firmware::Waits);
    distrust(&mut world, NEW);
    world.settle(secs(300));
    super::wipe::wipe(&mut world, "one");
    world.settle(secs(900));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareArmed");
    assert!(CYCLES.iter().all(|what| count(&world, what) == 0));
}

#[test]
fn a_card_that_was_stopped_for_firmware_that_failed_runs_again_also_if_another_system_is_wanted() {
    let mut world = running(Firmware::Waits);
    world.edit_policy(|policy| {
        policy.install.max_attempts = 1;
        policy.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-2".into(),
        });
    });
    until(&mut world, "stopped", |w| !w.cards[0].machine.is_on());
    world.edit_card(0, |card| card.paused = true);
    world.settle(secs(900));
    assert!(component(&world).begun_at.is_none(), "its time is over");
    world.edit_card(0, |card| card.paused = false);
    world.until("on again", secs(900), |w| w.cards[0].machine.is_on());
    until(&mut world, "Ready", is_done);
    let os = world.cards[0].os.as_ref().unwrap();
    assert_eq!(os.image.version, "os-2");
}

#[test]
fn a_card_that_boots_from_the_network_and_is_given_up_while_it_is_stopped_runs_again_at_once() {
    let mut world = super::network_boot::running();
    wants(&mut world, Firmware::Waits);
    world.edit_policy(|policy| policy.install.firmware_timeout_seconds = 7200);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.until("stopped", secs(1800), |w| !w.cards[0].machine.is_on());
    world.release_offline();
    world.until("on again", secs(900), |w| w.cards[0].machine.is_on());
    assert!(world.told().contains("powering dpu/card1 on again"));
}
