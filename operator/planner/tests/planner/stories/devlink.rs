//! Firmware that the driver of a card's host writes, as the agent of that host asks it to.

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{DevlinkFlash, VirtualMedia};
use lockstep_crds::boot_policy::{HoldMechanism, WaitUntil};
use lockstep_crds::directive::{ActionKind, ActivatedBy};
use lockstep_crds::host::{ComponentRecord, Disruption, TrustDomain};
use lockstep_crds::inventory::{HostAccess, InstallMethod};
use lockstep_planner::standing::over;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::build::image;
use crate::world::host_agent::Flash;
use crate::world::{World, secs};

#[path = "devlink_torn.rs"]
mod torn;

const OLD: &str = "dev-a";
const NEW: &str = "dev-d";

/// A card that runs its image and is on, in a host that is off, is trusted with it and has an agent.
fn world() -> World {
    of(&["card1"])
}

/// The same of several cards, of which the first is to get firmware.
fn of(cards: &[&str]) -> World {
    let mut world = World::new(cards);
    world.strict = true;
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_policy(|policy| {
        policy.install.methods = vec![VirtualMedia, DevlinkFlash];
        policy.install.firmware_timeout_seconds = 2400;
        policy.hold.mechanisms = vec![HoldMechanism::NodeTainted];
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.edit_host(|host| {
        host.node_name = Some("node1".into());
        host.disruption = Disruption::Allowed;
        host.trust_domain = TrustDomain::Trusted;
    });
    for index in 0..cards.len() {
        world.cards[index].disk = Some(image("os-1"));
        world.power_on_card(index);
    }
    world.cards[0].firmware = vec![NEW.to_owned()];
    world.has_host_agent();
    world
}

/// The first card's record of that component, once there is one.
fn known(world: &World) -> Option<&ComponentRecord> {
    let status = world.host.as_ref()?.status.as_ref()?;
    status.cards.first()?.components.first()
}

fn with(flashes: &[Flash]) -> World {
    let mut world = world();
    let agent = world.host_agent.as_mut().unwrap();
    agent.flashes = flashes.iter().copied().collect();
    world
}

fn component(world: &World) -> &ComponentRecord {
    known(world).unwrap()
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn runs(world: &World) -> &str {
    &world.cards[0].machine.flashed.0
}

fn done(world: &mut World) {
    let is_done = |w: &World| w.is_ready() && runs(w) == NEW;
    world.until("Ready", secs(9000), is_done);
    world.settle(secs(300));
    let one = component(world);
    assert!(one.observed_at.is_some() && one.pending.is_none() && one.begun_at.is_none());
    assert_eq!(one.method, Some(InstallMethod::DevlinkFlash));
    assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
    assert!(world.host_machine.is_on() && world.tainted.is_empty());
}

#[test]
fn a_trusted_host_is_brought_up_under_its_taint_writes_and_the_card_is_cycled_once() {
    let mut world = world();
    world.until("written", secs(2400), |w| {
        known(w).is_some_and(|one| one.written_at.is_some())
    });
    let one = component(&world);
    assert_eq!(one.pending.as_deref(), Some(NEW), "S15");
    assert_eq!(one.activation, Some(ActivatedBy::CardPowerCycle));
    assert!(one.observed_at.is_none() && runs(&world) == OLD);
    done(&mut world);
    assert_eq!(
        world.deeds(),
        [
            "PowerOn dpuhost/host1",
            "FlashFirmware dpu/card1",
            "ShutdownGracefully dpu/card1",
            "PowerOn dpu/card1",
        ],
        "{}",
        world.told()
    );
    let mut recorded = world.recorded.iter();
    let flash = recorded.find(|one| one.action.kind == ActionKind::FlashFirmware);
    let flash = flash.unwrap();
    assert_eq!(flash.executor, "host-node1");
    assert_eq!(flash.action.component.as_deref(), Some("fw.mgmt"));
    let device = flash.expects.devlink.as_ref().unwrap();
    assert_eq!(device.handle, "pci/0000:03:00.0");
    assert_eq!(device.serial_number.as_deref(), Some("SN-card1"), "S13");
    assert!(flash.expects.safe_stage && flash.expects.power.is_some());
    assert_eq!(component(&world).attempts, 1);
    // What such a host lists is not believed any more, and what was seen stands.
    world.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    world.settle(secs(300));
    assert!(world.is_ready(), "{}", world.card_says(0));
}

/// Refused before the first effect, in words that say what.
#[track_caller]
fn refused(mut world: World, reason: &str, words: &[&str]) {
    world.settle(secs(900));
    let says = format!("Stalled Stalled: {reason}");
    assert_eq!(world.card_says(0), says, "{}", world.told());
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(world.deeds(), Vec::<&str>::new(), "{}", world.told());
    assert!(world.status().hold.is_none() && world.tainted.is_empty());
}

#[test]
fn firmware_by_an_isolated_host_is_refused_before_the_first_effect() {
    let mut isolated = world();
    isolated.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    let words = ["dpuhost/host1 is Isolated", "writtenBy: HostDevlink"];
    refused(isolated, "Unsupported", &words);
    let mut restricted = world();
    restricted.cards[0].machine.host_access = Some(HostAccess {
        host_privilege: Some("Restricted".into()),
        ..HostAccess::default()
    });
    refused(restricted, "Unsupported", &["hostPrivilege Restricted"]);
}

#[test]
fn what_a_host_lacks_for_writing_firmware_is_told() {
    type Change = fn(&mut World);
    let lacks: [(&str, Change); 9] = [
        ("install.methods does not name DevlinkFlash", |world| {
            world.edit_policy(|policy| policy.install.methods = vec![VirtualMedia]);
        }),
        ("put NodeTainted first", |world| {
            let off = vec![HoldMechanism::PoweredOff];
            world.edit_policy(|policy| policy.hold.mechanisms = off);
        }),
        ("hostWait.until OsRunning", |world| {
            world.edit_policy(|policy| policy.host_wait.until = WaitUntil::None);
        }),
        ("spec.nodeName of dpuhost/host1", |world| {
            world.edit_host(|host| host.node_name = None);
        }),
        ("no agent has ever reported", |world| {
            world.host_agent = None;
        }),
        ("needs access: Install", |world| {
            world.host_agent.as_mut().unwrap().execution = None;
        }),
        ("firmwareDir", |world| {
            world.cards[0].in_host.as_mut().unwrap().devlink = None;
        }),
        ("reads no serial number", |world| {
            world.cards[0].in_host.as_mut().unwrap().serial_number = None;
        }),
        ("lists no fw.mgmt, only fw.undi", |world| {
            let seen = world.cards[0].in_host.as_mut().unwrap();
            "fw.undi".clone_into(&mut seen.firmware[0].name);
        }),
    ];
    for (words, change) in lacks {
        let mut world = world();
        change(&mut world);
        refused(world, "HostCannotWrite", &[words]);
    }
    let mut uncycled = world();
    uncycled.cards[0].machine.reset_types = vec!["GracefulRestart".to_owned()];
    refused(uncycled, "CapabilityMissing", &["powered off and on"]);
    let mut off = world();
    off.power_off_card(0);
    off.settle(secs(900));
    assert_eq!(off.card_says(0), "Degraded Stalled: CardPoweredOff");
    assert!(off.card_message(0).contains("must be on for its host"));
    assert!(off.deeds().is_empty() && off.status().hold.is_none());
    let mut bare = world();
    bare.edit_card(0, |card| card.bmc = None);
    refused(bare, "NoInstallRoad", &["no BMC to tell when its host may"]);
}

#[test]
fn nothing_is_written_while_the_host_is_held_powered_off() {
    let mut world = world();
    world.cards[0].firmware.clear();
    world.cards[0].disk = None;
    world.cards[0].machine.flashed.0 = "dev-b".to_owned();
    world.power_off_card(0);
    let off = vec![HoldMechanism::PoweredOff];
    world.edit_policy(|policy| policy.hold.mechanisms = off);
    world.round();
    world.until("held", secs(600), |w| w.status().hold.is_some());
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    world.cards[0].firmware = vec![NEW.to_owned()];
    world.until("told", secs(2400), |w| {
        w.card_message(0)
            .contains("is held powered off, and its agent must run")
    });
    assert_eq!(count(&world, "FlashFirmware"), 0);
}

#[test]
fn a_driver_that_nobody_heard_say_that_it_is_done_is_asked_anew_whatever_it_lists() {
    for (flash, asked) in [(Flash::DiesMeanwhile, 2), (Flash::DiesBefore, 1)] {
        let mut world = with(&[flash]);
        done(&mut world);
        assert_eq!(count(&world, "FlashFirmware"), asked);
        assert_eq!(component(&world).attempts, 2, "its end was not known");
        assert_eq!(reasons(&world), ["FlashInterrupted"]);
    }
}

fn reasons(world: &World) -> Vec<&str> {
    let failures = &world.status().cards[0].failures;
    failures.iter().map(|one| one.reason.as_str()).collect()
}

fn is_torn(world: &World) -> bool {
    known(world).is_some_and(|one| one.torn.is_some())
}

#[test]
fn what_was_stored_before_does_not_end_a_flash_that_was_cut_off() {
    let mut world = with(&[Flash::CutOff, Flash::Stores]);
    world.cards[0].machine.flashed.1 = Some(NEW.to_owned());
    world.until("torn", secs(2400), is_torn);
    assert_eq!(reasons(&world), ["FlashInterrupted"]);
    let one = component(&world);
    assert!(one.written_at.is_none() && one.begun_at.is_none());
    assert_eq!(count(&world, "PowerOn dpu/card1"), 0, "{}", world.told());
    done(&mut world);
    assert!(!is_torn(&world));
    assert_eq!(count(&world, "FlashFirmware"), 2);
    assert_eq!(count(&world, "PowerOn dpu/card1"), 1);
}

#[test]
fn a_card_whose_firmware_may_not_be_whole_is_not_powered_off_for_anything() {
    let mut world = with(&[Flash::BreaksOff, Flash::CutOff]);
    world.until("stalled", secs(12_000), |w| {
        w.card_says(0) == "Stalled Stalled: FirmwareFailed"
    });
    let message = world.card_message(0);
    assert!(message.contains("leave host and card on"), "{message}");
    world.edit_policy(|policy| policy.host_wait.timeout_seconds = 900);
    world.cards[0].firmware.clear();
    world.edit_policy(|policy| {
        policy.image_ref = Some(LocalRef {
            name: "os-2".to_owned(),
        });
    });
    world.settle(secs(3000));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
    assert_eq!(count(&world, "ShutdownGracefully dpu/card1"), 0);
    assert_eq!(count(&world, "PowerOn dpu/card1"), 0, "{}", world.told());
    // Its power state could not be read for a while, and begins anew.
    for tells in [false, true] {
        let now = world.now;
        world.cards[0].machine.tells_power(tells, now);
        world.settle(secs(300));
        assert!(is_torn(&world), "{}", world.told());
    }
    // Somebody else has done it.
    world.power_off_card(0);
    world.settle(secs(300));
    assert!(is_torn(&world) && count(&world, "PowerOn dpu/card1") == 0);
    world.power_on_card(0);
    world.until("forgiven", secs(900), |w| !is_torn(w));
    world.settle(secs(900));
    assert_ne!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
}

#[test]
fn a_driver_that_hangs_is_left_to_a_person_however_long_that_takes() {
    let mut world = with(&[Flash::Hangs]);
    world.cards[0].machine.flashed.1 = Some(NEW.to_owned());
    world.until("stalled", secs(4000), |w| {
        w.card_says(0) == "Stalled Stalled: FirmwareTorn"
    });
    let message = world.card_message(0);
    let words = ["nobody knows whether that has ended", "fw.mgmt"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    world.settle(secs(12_000));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareTorn");
    assert!(component(&world).begun_at.is_some(), "it is not closed");
    assert_eq!(reasons(&world), ["FlashHangs"]);
    assert_eq!(count(&world, "FlashFirmware"), 1);
    assert_eq!(count(&world, "ShutdownGracefully dpu/card1"), 0);
    world.looks_at_firmware(0);
    world.edit_card(0, |card| card.retry_token = Some("looked".to_owned()));
    done(&mut world);
    assert_eq!(count(&world, "FlashFirmware"), 2);
    assert_eq!(count(&world, "PowerOn dpu/card1"), 1);
}

#[test]
fn the_word_of_a_host_that_is_trusted_no_more_ends_no_flash() {
    let mut world = with(&[Flash::Stores]);
    world.until("writing", secs(2400), |w| w.writes_firmware(0));
    world.edit_host(|host| host.trust_domain = TrustDomain::Isolated);
    world.until("stalled", secs(4000), |w| {
        w.card_says(0) == "Stalled Stalled: FirmwareTorn"
    });
    assert_eq!(reasons(&world), ["FlashNotTold"], "{}", world.told());
    assert!(component(&world).written_at.is_none());
    assert_eq!(count(&world, "ShutdownGracefully dpu/card1"), 0);
}

#[test]
fn an_update_is_awaited_as_long_as_its_driver_may_write_and_its_card_takes_to_come_back() {
    let mut world = world();
    world.edit_policy(|policy| policy.install.firmware_timeout_seconds = 60);
    world.until("begun", secs(2400), |w| {
        known(w).is_some_and(|one| one.begun_at.is_some())
    });
    let mut recorded = world.recorded.iter();
    let flash = recorded.find(|one| one.action.kind == ActionKind::FlashFirmware);
    let written = over(flash.unwrap());
    let ends = component(&world).ends.as_ref().unwrap().0;
    assert!(
        ends >= written + secs(900),
        "{ends}, though it writes until {written}"
    );
    done(&mut world);
}

#[test]
fn a_flash_that_was_refused_is_no_attempt() {
    let mut world = with(&[Flash::Refused, Flash::Refused]);
    done(&mut world);
    assert_eq!(component(&world).attempts, 1);
    assert_eq!(count(&world, "FlashFirmware"), 1);
}

#[test]
fn what_a_driver_stores_and_does_not_list_is_armed_and_runs_after_the_cycle() {
    let mut world = with(&[Flash::Hides]);
    world.until("armed", secs(2400), |w| {
        known(w).is_some_and(|one| one.pending.is_some())
    });
    done(&mut world);
    assert_eq!(count(&world, "FlashFirmware"), 1);
}

#[test]
fn each_lie_of_a_driver_has_its_reason_and_leaves_card_and_host_running() {
    for (flash, stays, reason, cycles) in [
        (Flash::BreaksOff, false, "FlashFailed", 0),
        (Flash::KeepsOld, false, "VersionNotSeen", 2),
        (Flash::Stores, true, "VersionNotSeen", 2),
    ] {
        let mut world = with(&[flash, flash]);
        world.cards[0].machine.keeps_flashed = stays;
        world.until("stalled", secs(12_000), |w| {
            w.card_says(0) == "Stalled Stalled: FirmwareFailed"
        });
        world.settle(secs(900));
        let failures = &world.status().cards[0].failures;
        let reasons: Vec<_> = failures.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(reasons, [reason, reason], "{}", world.told());
        assert_eq!(count(&world, "FlashFirmware"), 2);
        assert_eq!(count(&world, "PowerOn dpu/card1"), cycles, "{flash:?}");
        assert!(world.cards[0].os.is_some() && world.host_machine.is_on());
        assert!(world.status().hold.is_none() && world.tainted.is_empty());
        assert_eq!(runs(&world), OLD);
    }
}
