//! A card whose system somebody changes, under a policy that puts it back: twice for one wish, ten minutes
//! after it was seen, and only where the first step can be taken at once.

use lockstep_crds::boot_policy::AllowedMethod::{UefiHttp, VirtualMedia};
use lockstep_crds::boot_policy::WaitUntil;
use lockstep_crds::condition;
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_crds::drift::{DriftRepairs, OnDrift};
use lockstep_crds::host::Disruption;
use lockstep_crds::observed::{BootStage, Offer};

use super::drift::{drift, drifted, events, kept};
use super::roll_back::{is_back, named, updating};
use super::wipe::wipe;
use crate::world::agent::Fault;
use crate::world::build::{dpu, image};
use crate::world::machine::{Firmware, HttpBoot};
use crate::world::operator::Crash;
use crate::world::{World, secs};

const LONG: i64 = 3600;
const STEADY: i64 = 600;

/// Cards that run `os-1`, in a host that may be disturbed, under a policy that puts back what is changed.
fn repairing(cards: &[&str]) -> World {
    let mut world = World::installed(cards);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.on_drift = OnDrift::Repair;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
        policy.install.os_timeout_seconds = 400;
    });
    world.settle(secs(60));
    world.recorded.clear();
    world.writes = Default::default();
    world
}

fn repairs(world: &World) -> Option<&DriftRepairs> {
    kept(world).repairs.as_ref()
}

fn begun(world: &World) -> i64 {
    repairs(world).map_or(0, |repairs| repairs.begun)
}

/// Somebody installs something else, and that is seen.
fn change(world: &mut World) {
    world.installs_by_hand(0, "os-2");
    world.until("drift", secs(300), |w| !drift(w).is_empty());
}

/// The same, and it is put back.
#[track_caller]
fn change_and_repair(world: &mut World) {
    change(world);
    world.until("repaired", secs(LONG), World::is_ready);
    assert!(drift(world).is_empty(), "{}", world.told());
    assert_eq!(world.cards[0].disk, Some(image("os-1")), "{}", world.told());
    world.settle(secs(120));
}

/// The card stays changed for so long, and nothing is done.
#[track_caller]
fn stays(world: &mut World, seconds: i64) {
    let before = world.recorded.len();
    world.settle(secs(seconds));
    assert_eq!(world.recorded.len(), before, "{}", world.told());
    assert_eq!(drifted(world).status, "True", "{}", world.told());
    assert!(world.status().hold.is_none(), "{}", world.told());
}

/// When it may begin, as people are told.
fn due(world: &World) -> jiff::Timestamp {
    let message = drifted(world).message;
    let (_, due) = message.split_once("installed again, from ").unwrap();
    due.split_once(" on").unwrap().0.parse().unwrap()
}

#[track_caller]
fn awaits(world: &World, words: &[&str]) {
    let message = drifted(world).message;
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn a_changed_system_is_put_back_after_ten_minutes_twice_and_then_a_person_is_asked() {
    let mut world = repairing(&["card1"]);
    for times in 1..=2 {
        change(&mut world);
        let steady = drift(&world)[0].steady_since.clone().unwrap().0;
        let due = due(&world);
        assert!((STEADY..=3 * STEADY).contains(&due.duration_since(steady).as_secs()));
        awaits(&world, &["If it goes on"]);
        let left = due.duration_since(world.now).as_secs();
        stays(&mut world, left - 10);
        world.until("begun", secs(120), |w| begun(w) == times);
        assert!(world.now >= due);
        assert_eq!(
            events(&world, "DriftRepair"),
            usize::try_from(times).unwrap()
        );
        assert_eq!(drifted(&world).status, "True");
        awaits(&world, &["is installed again, which has not ended"]);
        world.until("repaired", secs(LONG), World::is_ready);
        assert!(world.host_machine.is_on() && world.status().hold.is_none());
        world.settle(secs(120));
    }
    change(&mut world);
    stays(&mut world, 2 * LONG);
    assert_eq!(world.card_says(0), "Stalled Stalled: DriftRepairsSpent");
    let spent = drifted(&world);
    assert_eq!(spent.reason, "DriftRepairsSpent");
    for message in [spent.message, world.card_message(0)] {
        for word in ["os-1", "os-2", "2 times", "retryToken", "Find out who"] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let writes = world.writes;
    world.settle(secs(LONG));
    assert_eq!(world.writes, writes, "{}", world.told());

    // A person asks for it: that is no repair, and two more may follow.
    world.edit_card(0, |card| card.retry_token = Some("again".to_owned()));
    world.until("Ready", secs(LONG), World::is_ready);
    assert_eq!(repairs(&world), None);
    change_and_repair(&mut world);
    assert_eq!(begun(&world), 1);
}

#[test]
fn by_default_it_is_shown_and_another_image_begins_to_count_anew() {
    let mut world = repairing(&["card1"]);
    world.edit_policy(|policy| policy.on_drift = OnDrift::default());
    change(&mut world);
    stays(&mut world, LONG);
    awaits(&world, &["onDrift is Show"]);
    world.edit_policy(|policy| policy.on_drift = OnDrift::Repair);
    world.until("repaired", secs(LONG), World::is_ready);
    assert_eq!(begun(&world), 1);
    world.edit_policy(|policy| policy.image_ref = named("os-2"));
    world.until("os-2", secs(LONG), |w| {
        w.is_ready() && w.cards[0].disk == Some(image("os-2"))
    });
    assert_eq!(repairs(&world), None, "{}", world.told());
}

#[test]
fn what_is_in_the_way_is_told_and_neither_host_nor_siblings_wait_for_it() {
    type Edit = fn(&mut World, bool);
    let troubles: [(&str, &str, Edit); 9] = [
        ("host", "HostInUse", |w, there| {
            w.edit_host(|host| {
                host.disruption = if there {
                    Disruption::Never
                } else {
                    Disruption::Allowed
                };
            });
        }),
        ("mode", "mode is Plan", |w, there| {
            use lockstep_crds::boot_policy::PolicyMode::{Enforce, Plan};
            w.edit_policy(|policy| policy.mode = if there { Plan } else { Enforce });
        }),
        ("handsOff", "HandsOff", |w, there| {
            w.edit_host(|host| host.hands_off = there);
        }),
        ("guards", "AdmissionGuardMissing", |w, there| {
            w.guards_intact = !there;
        }),
        ("paused", "Paused", |w, there| {
            w.edit_card(0, |card| card.paused = there);
        }),
        ("busy", "BmcBusy", |w, there| {
            w.cards[0].machine.busy = there.then_some(w.now);
        }),
        ("stage", "StageForbids", |w, there| {
            let stage = if there {
                BootStage::FirmwareUpdating
            } else {
                BootStage::OsRunning
            };
            w.cards[0].machine.stage = Some(stage);
        }),
        ("media", "ForeignMedia", |w, there| {
            w.cards[0].machine.foreign_media = there;
        }),
        ("store", "FetchingImage", |w, there| {
            w.source_ok = !there;
            if there {
                w.store.clear();
            }
        }),
    ];
    for (what, says, trouble) in troubles {
        let mut world = repairing(&["card1", "card2"]);
        change(&mut world);
        trouble(&mut world, true);
        let writes = world.writes;
        stays(&mut world, 4 * STEADY);
        let message = drifted(&world).message;
        let is_told =
            message.contains(says) || what == "store" && message.contains("ImageUnavailable");
        assert!(is_told, "{what}: {message}");
        assert_eq!(begun(&world), 0, "{what}");
        assert!(
            world.host_machine.is_on() && world.effects.is_empty(),
            "{what}"
        );
        assert!(
            world.card_says(1).contains("Ready") || what != "host",
            "{what}"
        );
        let more = world.writes.host_status - writes.host_status;
        assert!(more <= 8, "{what}: {more} writes\n{}", world.told());
        let more = world.writes.card_status - writes.card_status;
        assert!(more <= 8, "{what}: {more} of cards\n{}", world.told());
        trouble(&mut world, false);
        world.until("repaired", secs(LONG), World::is_ready);
        assert_eq!(begun(&world), 1, "{what}: {}", world.told());
    }
}

#[test]
fn a_sibling_that_cannot_be_installed_keeps_the_host_from_being_held_for_a_repair() {
    let mut world = repairing(&["card1", "card2"]);
    world.edit_card(1, |card| card.image_ref = named("os-9"));
    change(&mut world);
    stays(&mut world, LONG);
    awaits(&world, &["HoldWouldNotEnd", "card2"]);
    assert_eq!(begun(&world), 0);
}

#[test]
fn cards_of_a_host_that_were_changed_together_are_put_back_in_one_outage() {
    for apart in [0, 90, 2 * STEADY] {
        let mut world = repairing(&["card1", "card2"]);
        world.installs_by_hand(0, "os-2");
        world.settle(secs(apart));
        world.installs_by_hand(1, "os-2");
        let drifted = |world: &World| world.status().cards.iter().all(|one| !one.drift.is_empty());
        if apart < STEADY {
            world.until("drift", secs(300), drifted);
        }
        let counts = |world: &World| {
            let cards = world.status().cards.iter();
            let counts = cards.map(|one| one.repairs.as_ref().map_or(0, |it| it.begun));
            counts.collect::<Vec<_>>()
        };
        world.until("one", secs(LONG), |w| counts(w).contains(&1));
        let together = apart < STEADY;
        assert_eq!(counts(&world), [1, i64::from(together)], "{}", world.told());
        world.until("both", 2 * secs(LONG), |w| {
            w.is_ready() && counts(w) == [1, 1]
        });
        let holds = |one: &&Directive| one.action.kind == ActionKind::HoldHost;
        let outages = world.recorded.iter().filter(holds).count();
        assert_eq!(outages, if together { 1 } else { 2 }, "{}", world.told());
    }
}

#[test]
fn cards_that_are_put_back_without_a_hold_are_so_one_by_one() {
    let mut world = repairing(&["card1", "card2"]);
    world.edit_policy(|policy| policy.host_wait.until = WaitUntil::None);
    for index in [0, 1] {
        world.installs_by_hand(index, "os-2");
    }
    let all = |world: &World| world.status().cards.iter().all(|one| !one.drift.is_empty());
    world.until("drift", secs(300), all);
    world.until("one", secs(LONG), |w| begun(w) == 1);
    assert_eq!(world.status().cards[1].repairs, None, "{}", world.told());
    world.until("both", 2 * secs(LONG), |w| {
        let mut cards = w.status().cards.iter();
        w.is_ready() && cards.all(|one| one.repairs.as_ref().is_some_and(|it| it.begun == 1))
    });
}

#[test]
fn no_host_is_taken_down_for_a_repair_and_then_waits_for_a_sibling() {
    let mut world = repairing(&["card1", "card2"]);
    change(&mut world);
    world.source_hangs = true;
    world.edit_card(1, |card| card.image_ref = named("ab-5"));
    world.settle(secs(4 * STEADY));
    assert_eq!(begun(&world), 0, "{}", world.told());
    assert!(
        world.host_machine.is_on() && world.effects.is_empty(),
        "{}",
        world.told()
    );
    awaits(&world, &["card2"]);
    world.source_hangs = false;
    world.until("both", 2 * secs(LONG), |w| w.is_ready() && begun(w) == 1);
}

#[test]
fn a_card_that_boots_again_and_again_does_not_keep_its_sibling_changed() {
    let mut world = repairing(&["card1", "card2"]);
    for index in [0, 1] {
        world.installs_by_hand(index, "os-2");
    }
    let end = world.now + secs(4 * STEADY);
    while world.now < end && begun(&world) == 0 {
        world.settle(secs(STEADY / 2));
        world.reboot_card(1);
    }
    assert_eq!(begun(&world), 1, "{}", world.told());
    assert_eq!(world.status().cards[1].repairs, None, "{}", world.told());
}

#[test]
fn a_sibling_that_needs_a_person_does_not_keep_a_card_changed() {
    let mut world = repairing(&["card1", "card2"]);
    // It runs from the network, and its BMC does not keep what leads its next boot there.
    world.edit_policy(|policy| policy.install.methods = vec![UefiHttp, VirtualMedia]);
    world.cards[1].machine.uefi_http = Some(Offer::Offered);
    world.cards[1].machine.keeps_override = false;
    world.edit_card(1, |card| card.image_ref = named("net-3"));
    let runs = |w: &World| w.cards[1].os.as_ref().map(|os| os.image.clone());
    world.until("net-3", secs(LONG), |w| {
        w.is_ready() && runs(w) == Some(image("net-3"))
    });
    world.settle(secs(120));
    world.cards[1].machine.makes_of_http = HttpBoot::DropsUrl;
    world.reboot_card(1);
    world.until("refused", secs(LONG), |w| {
        w.card_says(1) == "Stalled Stalled: DirectiveFailed"
    });
    change(&mut world);
    world.until("repaired", secs(LONG), |w| drift(w).is_empty());
    assert_eq!(begun(&world), 1, "{}", world.told());
}

#[test]
fn ten_minutes_are_of_one_boot_and_silence_begins_nothing() {
    let mut world = repairing(&["card1"]);
    change(&mut world);
    stays(&mut world, STEADY - 120);
    world.reboot_card(0);
    stays(&mut world, STEADY - 60);
    assert_eq!(begun(&world), 0);
    world.cards[0].dead = true;
    world.reboot_card(0);
    stays(&mut world, LONG);
    assert_eq!(begun(&world), 0);
    awaits(&world, &["nobody tells now what the card runs"]);
    world.cards[0].dead = false;
    world.reboot_card(0);
    stays(&mut world, STEADY - 60);
    world.until("repaired", secs(LONG), World::is_ready);
    assert_eq!(begun(&world), 1);
}

#[test]
fn firmware_is_shown_only_and_keeps_a_system_from_being_put_back_beside_it() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
    world.until("Ready", secs(LONG), World::is_ready);
    world.edit_policy(|policy| policy.on_drift = OnDrift::Repair);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.settle(secs(120));
    "bmc-z".clone_into(&mut world.cards[0].machine.firmware.0);
    world.settle(secs(60));
    stays(&mut world, LONG);
    awaits(&world, &["bmc-z", "no firmware"]);
    change(&mut world);
    world.until("both", secs(300), |w| drift(w).len() == 2);
    stays(&mut world, LONG);
    awaits(&world, &["FirmwareChanged", "firmwareRefs"]);
    "bmc-b".clone_into(&mut world.cards[0].machine.firmware.0);
    world.until("repaired", secs(LONG), World::is_ready);
    assert_eq!(begun(&world), 1);
}

#[test]
fn a_repair_that_fails_is_not_begun_again_nor_one_that_goes_back() {
    let mut world = repairing(&["card1"]);
    change(&mut world);
    world.broken.insert("os-1".to_owned());
    world.until("begun", secs(LONG), |w| begun(w) == 1);
    world.until("failed", secs(LONG), |w| {
        w.card_says(0) == "Stalled Stalled: InstallFailed"
    });
    awaits(&world, &["did not come up", "condition Ready"]);
    stays_failed(&mut world);
    assert_eq!(begun(&world), 1, "{}", world.told());

    let mut world = updating(&["card1"]);
    world.edit_policy(|policy| policy.on_drift = OnDrift::Repair);
    world.until("back", secs(LONG), is_back);
    world.installs_by_hand(0, "ab-5");
    world.until("drift", secs(300), |w| !drift(w).is_empty());
    stays(&mut world, LONG);
    awaits(&world, &["had gone back to another image"]);
}

#[track_caller]
fn stays_failed(world: &mut World) {
    let before = world.recorded.len();
    world.broken.clear();
    // Somebody changes it once more, and nothing was seen to run as wanted meanwhile.
    world.power_on_card(0);
    world.installs_by_hand(0, "os-2");
    world.settle(secs(2 * LONG));
    let is_clear = |one: &lockstep_crds::directive::Directive| {
        one.action.kind == lockstep_crds::directive::ActionKind::ClearInstall
    };
    let more = world.recorded[before..].iter().filter(|one| !is_clear(one));
    assert_eq!(more.count(), 0, "{}", world.told());
}

#[test]
fn it_is_counted_in_the_record_of_the_card_which_a_wipe_leaves_and_a_deletion_does_not() {
    let mut world = repairing(&["card1"]);
    change_and_repair(&mut world);
    wipe(&mut world, "one");
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
    world.edit_card(0, |card| card.wipe = None);
    world.until("Ready", secs(LONG), World::is_ready);
    assert_eq!(begun(&world), 1, "{}", world.told());
    assert_eq!(events(&world, "DriftRepair"), 1, "{}", world.told());
    change_and_repair(&mut world);
    change(&mut world);
    stays(&mut world, LONG);
    assert_eq!(world.card_says(0), "Stalled Stalled: DriftRepairsSpent");

    let mut world = repairing(&["card1"]);
    change_and_repair(&mut world);
    let again = world.cards[0].dpu.clone();
    world.delete_card(0);
    world.settle(secs(60));
    assert!(world.cards[0].dpu.is_none() && world.status().cards.is_empty());
    let mut again = dpu_again(again);
    again.status = None;
    world.cards[0].dpu = Some(again);
    world.reboot_card(0);
    world.until("Ready", secs(LONG), World::is_ready);
    assert_eq!(repairs(&world), None, "{}", world.told());
    assert_eq!(events(&world, "DriftRepair"), 1, "{}", world.told());
}

fn dpu_again(before: Option<lockstep_crds::Dpu>) -> lockstep_crds::Dpu {
    let mut again = before.unwrap_or_else(|| dpu("card1"));
    again.metadata.uid = Some("uid-again".to_owned());
    again.metadata.finalizers = None;
    again
}

#[test]
fn no_repair_begins_at_a_host_that_is_off_or_held_nor_where_the_boot_order_leads_elsewhere() {
    let mut world = repairing(&["card1"]);
    world.power_off_host();
    change(&mut world);
    world.settle(secs(LONG));
    assert_eq!(begun(&world), 0, "{}", world.told());
    awaits(&world, &["its host is not known to be on"]);

    let mut world = repairing(&["card1", "card2"]);
    world.broken.insert("ab-5".to_owned());
    change(&mut world);
    world.edit_card(1, |card| card.image_ref = named("ab-5"));
    world.until("held", secs(LONG), |w| w.status().hold.is_some());
    assert_eq!(begun(&world), 0, "{}", world.told());
    world.settle(secs(300));
    assert_eq!(begun(&world), 0, "{}", world.told());
    assert_eq!(drifted(&world).status, "True");
}

#[test]
fn operators_that_die_while_they_record_it_neither_lose_nor_repeat_a_count() {
    for crash in [Crash::BeforeRecord, Crash::AfterRecord] {
        let mut world = repairing(&["card1"]);
        for _ in 0..3 {
            change(&mut world);
            let end = world.now + secs(2 * LONG);
            while world.now < end {
                world.agent_step();
                world.operator_step_to(crash);
                world.operator_step_to(if begun(&world) > 1 {
                    Crash::Never
                } else {
                    crash
                });
                world.operator_step();
                world.pass(secs(10));
            }
        }
        assert_eq!(begun(&world), 2, "{crash:?}\n{}", world.told());
        assert_eq!(world.card_says(0), "Stalled Stalled: DriftRepairsSpent");
    }
}

#[test]
fn an_effect_that_fails_at_first_is_of_the_same_repair() {
    let mut world = repairing(&["card1"]);
    world.agent.faults = [
        Fault::Fine,
        Fault::LostReply,
        Fault::Refused,
        Fault::LostCall,
    ]
    .into();
    change(&mut world);
    world.until("repaired", secs(2 * LONG), World::is_ready);
    assert_eq!(begun(&world), 1, "{}", world.told());
}

#[test]
fn the_condition_says_since_when_through_a_repair() {
    let mut world = repairing(&["card1"]);
    change(&mut world);
    let since = drift(&world)[0].since.clone();
    world.until("begun", secs(LONG), |w| begun(w) == 1);
    assert_eq!(drifted(&world).last_transition_time, since);
    let status = world.cards[0].dpu.as_ref().unwrap().status.as_ref();
    let ready = condition::find(&status.unwrap().conditions, condition::READY);
    assert_eq!(ready.unwrap().status, "False");
}
