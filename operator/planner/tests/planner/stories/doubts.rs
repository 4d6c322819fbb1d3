//! Things that look like something else: requests that were not sent, settings of others,
//! words about an earlier object, looks that are older than they seem.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::{
    BootOrder, OnTimeout, PolicyMode, UnobservableStageAction, WaitUntil,
};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{Disruption, MeasuredSlotPower, ReleaseReason, SlotPower};
use lockstep_crds::observed::{BootStage, Knowledge};
use lockstep_planner::plan;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::agent::Fault;
use crate::world::{World, secs};

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

fn wants(world: &mut World, index: usize, image: &str) {
    let image = LocalRef { name: image.into() };
    world.edit_card(index, |card| card.image_ref = Some(image));
}

#[test]
fn a_request_to_shut_down_that_failed_was_not_made() {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.cards[0].machine.deaf = true;
    wants(&mut world, 0, "os-2");
    // The hold goes well, the first requests do not.
    world.agent.faults = [Fault::Fine, Fault::Refused, Fault::Refused].into();
    world.until("cut", secs(1800), |w| count(w, "ForceOff") > 0);
    let at = |what: &str| {
        let effect = world.effects.iter().find(|e| e.what.starts_with(what));
        effect
            .unwrap_or_else(|| panic!("no {what}\n{}", world.told()))
            .at
    };
    let waited = at("ForceOff").duration_since(at("ShutdownGracefully"));
    assert!(waited >= secs(120), "{waited}\n{}", world.told());
}

#[test]
fn a_boot_override_of_somebody_else_stays_and_is_not_taken_for_ours() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].machine.lasting_override = Some("Pxe");
    // The medium is inserted, and the override is not set: that is not staged.
    world.agent.faults = [Fault::Fine, Fault::Half].into();
    world.until("Ready", secs(1800), World::is_ready);
    assert_eq!(count(&world, "PowerOn dpu"), 1, "{}", world.told());
    world.settle(secs(60));
    let (seq, writes) = (world.status().seq, world.writes.host_status);
    world.settle(secs(600));
    assert_eq!(world.status().seq, seq, "{}", world.told());
    assert_eq!(world.writes.host_status, writes, "{}", world.told());
    assert!(world.status().cards[0].armed.is_empty());
}

#[test]
fn what_the_agent_of_an_earlier_object_said_is_not_said_of_this_one() {
    let world = World::installed(&["card1"]);
    let mut view = world.view().unwrap();
    assert!(view.cards[0].live_os(world.now).is_some());
    view.cards[0].dpu.metadata.uid = Some("uid-again".into());
    assert!(view.cards[0].live_os(world.now).is_none());
    // One that was installed by other means need not know its object.
    view.cards[0].os.as_mut().unwrap().subject_uid = String::new();
    assert!(view.cards[0].live_os(world.now).is_some());
}

#[test]
fn a_card_that_is_given_to_another_host_is_let_finish_its_install() {
    let mut world = World::new(&["card1"]);
    world.until("the install", secs(300), |w| w.cards[0].machine.is_on());
    world.round();
    world.round();
    let moved = world.cards[0].dpu.take();
    assert!(moved.is_some());
    let until = world.now + secs(1700);
    while world.now < until {
        world.round();
        assert!(!world.host_machine.is_on(), "{}", world.told());
    }
    world.until("the release", secs(2400), |w| w.host_machine.is_on());
}

#[test]
fn the_last_look_at_a_card_whose_slot_goes_dark_proves_nothing() {
    let mut world = World::installed(&["card1"]);
    world.edit_host(|host| host.slot_power_when_host_off = SlotPower::No);
    world.power_off_host();
    world.settle(secs(590));
    assert_eq!(world.status().slot_power, None, "{}", world.told());
    world.settle(secs(60));
    let measured = world.status().slot_power.clone().unwrap();
    assert_eq!(measured.value, MeasuredSlotPower::Yes);
    // And a person may have it measured anew.
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.round();
    let anew = world.status().slot_power.clone().unwrap();
    assert!(anew.at > measured.at, "{}", world.told());
}

/// Two installed cards in a host that is up and may be disturbed, the first wanting another image.
fn beside(waits: bool) -> World {
    let mut world = World::installed(&["card1", "card2"]);
    world.host_machine.stage = Some(BootStage::OsRunning);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        if !waits {
            policy.order = BootOrder::Parallel;
            policy.host_wait.until = WaitUntil::None;
        }
    });
    world
}

#[test]
fn a_card_is_not_stopped_while_one_beside_it_must_not_lose_power() {
    for waits in [false, true] {
        let mut world = beside(waits);
        world.cards[1].machine.stage = Some(BootStage::FirmwareUpdating);
        wants(&mut world, 0, "os-2");
        world.settle(secs(300));
        assert!(world.effects.is_empty(), "{}", world.told());
        assert_eq!(world.host_says(), "Reconciling: StageForbids");
        world.cards[1].machine.stage = Some(BootStage::OsRunning);
        world.until("stopped", secs(300), |w| count(w, "Shutdown") > 0);
    }
}

#[test]
fn a_host_whose_stage_cannot_be_told_is_not_risked_either() {
    let mut world = beside(false);
    world.host_machine.knowledge = Knowledge::NotOffered;
    wants(&mut world, 0, "os-2");
    world.settle(secs(300));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.host_says(), "Stalled: StageNotObservable");
    world.edit_policy(|policy| {
        policy.unobservable_stage.action = UnobservableStageAction::SafeAfter;
        policy.unobservable_stage.dump_grace_seconds = 60;
    });
    world.until("stopped", secs(300), |w| count(w, "Shutdown") > 0);
}

#[test]
fn a_node_that_is_silent_or_missing_is_not_drained() {
    let silent = NodeSeen {
        ready: Readiness::Unknown,
        boot_id: None,
    };
    for (node, words) in [(Some(silent), "says nothing"), (None, "does not exist")] {
        let mut world = beside(true);
        world.edit_host(|host| host.node_name = Some("node1".into()));
        world.node = node;
        wants(&mut world, 0, "os-2");
        world.settle(secs(300));
        assert!(world.effects.is_empty(), "{}", world.told());
        assert_eq!(world.host_says(), "Stalled: DrainNotProved");
        let message = world.status().message.clone().unwrap();
        assert!(message.contains(words), "{message}");
        world.node = Some(NodeSeen {
            ready: Readiness::NotReady,
            boot_id: None,
        });
        world.until("stopped", secs(300), |w| count(w, "Shutdown") > 0);
    }
}

#[test]
fn a_bmc_that_says_off_of_a_host_whose_node_is_ready_is_not_believed() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| {
        host.node_name = Some("node1".into());
        host.disruption = Disruption::Allowed;
    });
    world.node = Some(NodeSeen {
        ready: Readiness::Ready,
        boot_id: None,
    });
    world.settle(secs(300));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.host_says(), "Stalled: DrainNotProved");
}

#[test]
fn the_seventeenth_card_is_refused_and_the_others_go_on() {
    let names: Vec<String> = (1..=17).map(|n| format!("card{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    world.settle(secs(1200));
    assert_eq!(world.status().cards.len(), 16);
    assert_eq!(
        world.card_says(16),
        "Stalled Stalled: TooManyCards",
        "{}",
        world.told()
    );
    for index in 0..16 {
        assert_eq!(world.card_says(index), "Ready Ready: AsWanted");
    }
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
    // A place that is free is taken.
    world.delete_card(0);
    world.until("the last", secs(1800), |w| {
        w.card_says(16) == "Ready Ready: AsWanted" || w.card_says(16).contains("HostInUse")
    });
}

#[test]
fn no_hold_is_begun_that_a_card_would_keep_from_ending() {
    let mut world = World::new(&["card1", "card2"]);
    world.strict = true;
    world.edit_card(1, |card| card.host_refs[0].pairing = Pairing::Observed);
    world.settle(secs(600));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: HoldWouldNotEnd");
    let message = world.card_message(0);
    assert!(message.contains("dpu/card2"), "{message}");
    world.edit_card(1, |card| card.host_refs[0].pairing = Pairing::Asserted);
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn a_time_that_no_clock_shows_is_of_now() {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.cards[0].os = None;
    world.cards[0].os_lease = None;
    world.cards[0].machine.knowledge = Knowledge::NotOffered;
    world.cards[0].machine.power_since = Timestamp::MAX;
    world.edit_policy(|policy| {
        policy.unobservable_stage.action = UnobservableStageAction::SafeAfter;
    });
    wants(&mut world, 0, "os-2");
    world.settle(secs(300));
    let mut view = world.view().unwrap();
    let media = &mut view.cards[0]
        .report
        .as_mut()
        .unwrap()
        .bmc
        .as_mut()
        .unwrap()
        .media;
    media.owner = lockstep_crds::report::MediaOwner::Lockstep;
    media.digest = Some("sha256:of-another".into());
    view.host_report
        .as_mut()
        .unwrap()
        .bmc
        .as_mut()
        .unwrap()
        .power_since = Some(Time(Timestamp::MAX));
    plan(&view, world.now);
}

#[test]
fn a_system_that_fell_silent_when_asked_is_not_cut_off_in_the_dark() {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.cards[0].machine.knowledge = Knowledge::NotOffered;
    world.cards[0].machine.deaf = true;
    wants(&mut world, 0, "os-2");
    world.until("asked", secs(300), |w| count(w, "Shutdown") > 0);
    world.round();
    // Its agent is gone, and what the machine does nobody can tell.
    world.cards[0].os = None;
    world.settle(secs(3000));
    assert_eq!(count(&world, "ForceOff"), 0, "{}", world.told());
    assert_eq!(world.host_says(), "Stalled: StageNotObservable");
}

#[test]
fn a_card_of_another_site_and_a_host_that_lost_its_bmc_are_told() {
    let mut world = World::new(&["card1"]);
    world.edit_card(0, |card| card.site = "elsewhere".into());
    world.settle(secs(300));
    assert_eq!(world.card_says(0), "Stalled Stalled: SitesDiffer");
    assert!(world.effects.is_empty(), "{}", world.told());

    let mut world = World::new(&["card1"]);
    world.round();
    world.until("the hold", secs(300), |w| w.status().hold.is_some());
    world.edit_host(|host| host.bmc = None);
    world.delete_card(0);
    world.settle(secs(6000));
    assert_eq!(world.host_says(), "Stalled: HostStateUnknown");
    assert_eq!(count(&world, "ReleaseHost"), 0, "{}", world.told());
}

#[test]
fn a_wait_that_lasted_too_long_says_what_helps() {
    let mut world = beside(true);
    world.host_machine.stage = Some(BootStage::FirmwareUpdating);
    wants(&mut world, 0, "os-2");
    world.settle(secs(300));
    let patient = world.status().message.clone().unwrap();
    assert!(!patient.contains("Look at"), "{patient}");
    world.settle(secs(900));
    assert_eq!(world.host_says(), "Stalled: StageForbids");
    let message = world.status().message.clone().unwrap();
    assert!(
        message.contains("Look at the machine's console"),
        "{message}"
    );
}

#[test]
fn a_machine_is_asked_once_however_much_happens_beside_it() {
    let names = ["card1", "card2", "card3", "card4", "card5", "card6"];
    let mut world = World::installed(&names);
    world.power_off_host();
    world.edit_policy(|policy| policy.install.shutdown_grace_seconds = 1800);
    for index in 0..names.len() {
        world.cards[index].machine.deaf = true;
        wants(&mut world, index, "os-2");
    }
    world.until("all cut", secs(40_000), |w| {
        count(w, "ForceOff") == names.len()
    });
    for name in names {
        let asked = count(&world, &format!("ShutdownGracefully dpu/{name}"));
        assert_eq!(asked, 1, "{name}\n{}", world.told());
    }
}

#[test]
fn a_host_that_boots_first_is_up_before_its_cards_are_changed() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.order = BootOrder::HostFirst;
        policy.host_wait.until = WaitUntil::None;
    });
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.until("the card is armed", secs(600), |w| {
        count(w, "StageInstall") > 0
    });
    assert_eq!(world.host_machine.stage, Some(BootStage::OsRunning));
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn a_host_that_boots_first_is_not_powered_on_under_the_installer_of_another_card() {
    let mut world = World::new(&["card1", "card2"]);
    world.edit_policy(|policy| {
        policy.order = BootOrder::HostFirst;
        policy.host_wait.until = WaitUntil::None;
    });
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_card(1, |card| card.paused = true);
    let powered = |w: &World| count(w, "PowerOn dpuhost/host1");
    world.until("the card installs", secs(1800), |w| {
        count(w, "PowerOn dpu/card1") > 0
    });
    // Somebody else powers the host off.
    world.power_off_host();
    world.edit_card(1, |card| card.paused = false);
    let before = powered(&world);
    world.until("installed", secs(3600), |w| {
        let kept = w.status().cards.iter().find(|kept| kept.name == "card1");
        let is_seen = kept.is_some_and(|kept| kept.observed_at.is_some());
        assert!(is_seen || powered(w) == before, "{}", w.told());
        is_seen
    });
    world.until("Ready", secs(3600), World::is_ready);
    assert!(powered(&world) > before, "{}", world.told());
}

#[test]
fn deletion_takes_back_what_was_begun_in_every_mode() {
    for mode in [PolicyMode::Plan, PolicyMode::Observe] {
        let mut world = World::new(&["card1", "card2"]);
        world.round();
        world.until("armed", secs(300), |w| {
            w.status().cards.iter().any(|card| !card.armed.is_empty())
        });
        world.edit_policy(|policy| policy.mode = mode);
        world.round();
        let seq = world.status().seq;
        world.settle(secs(300));
        assert_eq!(world.status().seq, seq, "nothing new in mode {mode:?}");
        world.delete_card(0);
        world.until("the card is gone", secs(6000), |w| w.cards[0].dpu.is_none());
        assert!(!world.host_machine.is_on(), "its host is another matter");
        world.delete_host();
        world.until("the host is gone", secs(6000), |w| w.host.is_none());
        assert!(world.host_machine.is_on(), "{}", world.told());
    }
}

#[test]
fn a_release_that_fails_at_first_ends_as_it_was_going_to() {
    for on_timeout in [OnTimeout::PowerOff, OnTimeout::Continue] {
        let mut world = World::new(&["card1"]);
        world.cards[0].dead = true;
        world.edit_policy(|policy| {
            policy.host_wait.timeout_seconds = 300;
            policy.host_wait.on_timeout = on_timeout;
            policy.install.os_timeout_seconds = 600;
        });
        // Hold, medium and boot go well, the release does not.
        world.agent.faults = [Fault::Fine, Fault::Fine, Fault::Fine, Fault::Refused].into();
        world.settle(secs(1000));
        let release = world.status().release.clone().unwrap();
        assert_eq!(release.reason, ReleaseReason::Timeout, "{}", world.told());
        let on = on_timeout == OnTimeout::Continue;
        assert_eq!(world.host_machine.is_on(), on, "{}", world.told());
        assert!(world.status().cards[0].given_up);
    }
}

#[test]
fn no_hold_is_begun_beside_a_card_whose_image_is_missing() {
    let mut world = World::new(&["card1", "card2"]);
    wants(&mut world, 1, "os-9");
    world.settle(secs(600));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: HoldWouldNotEnd");
    wants(&mut world, 1, "os-2");
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn a_record_that_no_clock_can_have_written_is_not_built_upon() {
    let mut world = World::new(&["card1"]);
    world.until("the install", secs(300), |w| w.cards[0].machine.is_on());
    let never = Time(Timestamp::MAX);
    let edits: [fn(&mut lockstep_crds::DpuHostStatus, Time); 5] = [
        |status, time| status.hold.as_mut().unwrap().deadline = time,
        |status, time| status.cards[0].booted_at = Some(time),
        |status, time| status.directives[0].deadline = time,
        |status, _| status.directives[0].settle_seconds = i64::MAX,
        |status, _| status.seq = i64::MAX,
    ];
    for edit in edits {
        let mut view = world.view().unwrap();
        edit(view.host.status.as_mut().unwrap(), never.clone());
        let plan = plan(&view, world.now);
        let lockstep_planner::Decision::Stalled(why) = plan.decision else {
            panic!("{:?}", plan.decision);
        };
        assert_eq!(why.reason.as_str(), "UnknownRecord");
    }
}

#[test]
fn a_host_that_came_up_since_it_was_seen_is_looked_at_again() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| {
        policy.order = BootOrder::Parallel;
        policy.host_wait.until = WaitUntil::None;
    });
    world.until("the power-on is recorded", secs(300), |w| {
        let last = w.recorded.last();
        last.is_some_and(|last| last.step.as_str() == "BootCard")
    });
    // Somebody presses its button before the agent gets to the card.
    world.power_on_host();
    world.settle(secs(300));
    assert_eq!(count(&world, "PowerOn dpu"), 0, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: HostInUse");
    world.power_off_host();
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn an_install_that_begins_late_has_its_whole_time() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.install.os_timeout_seconds = 400);
    world.until("the order", secs(300), |w| {
        let status = w.host.as_ref().and_then(|host| host.status.as_ref());
        let mut ordered = status.into_iter().flat_map(|status| &status.directives);
        ordered.any(|one| one.step.as_str() == "BootCard")
    });
    world.cards[0].dead = true;
    world.pass(secs(150));
    world.until("on", secs(60), |w| w.cards[0].machine.is_on());
    let on = world.cards[0].machine.power_since;
    world.settle(secs(30));
    let end = world.status().cards[0].install_ends.as_ref().unwrap().0;
    assert!(end >= on + secs(400), "{end}: {}", world.told());
}
