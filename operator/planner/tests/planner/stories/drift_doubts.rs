//! What nobody can tell, and what Lockstep itself has done or left undone: neither begins a drift, and none of
//! it ends one.

use jiff::SignedDuration;
use lockstep_crds::boot_policy::AllowedMethod::{LocalStorage, VirtualMedia};
use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::drift::OnDrift;
use lockstep_crds::host::{ComponentRecord, Disruption, HostRole};
use lockstep_crds::observed::Offer;
use lockstep_crds::report::Vantage;
use lockstep_crds::{ComponentRequirement, ImageChoice, LocalRef};
use lockstep_planner::view::{ComponentSeen, Required};

use super::drift::{
    change_firmware, drift, drifted, ended, events, kept, never_drifted, reinstalled, with_firmware,
};
use super::roll_back::{is_back, named, updating};
use super::wipe::wipe;
use crate::world::build::{by_family, image};
use crate::world::machine::{FIRMWARE, Firmware};
use crate::world::{World, secs};

const LONG: i64 = 3600;

fn component(world: &World) -> &ComponentRecord {
    &kept(world).components[0]
}

#[test]
fn without_its_policy_nobody_can_tell_whether_firmware_is_wanted_and_it_is_not_written_again() {
    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    let before = drift(&world).to_vec();
    let policy = world.policy.take();
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert_eq!(drifted(&world).status, "True");
    world.policy = policy;
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");

    let mut world = with_firmware();
    let policy = world.policy.take();
    world.settle(secs(60));
    change_firmware(&mut world, "bmc-z");
    world.settle(secs(600));
    never_drifted(&world);
    world.policy = policy;
    world.settle(secs(600));
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn as_long_as_the_choice_is_not_made_firmware_that_drifted_has_drifted() {
    let choice = |family: &str| ImageChoice {
        firmware_refs: Some(vec![LocalRef {
            name: "bmc-b".to_owned(),
        }]),
        ..by_family(family, "os-1")
    };
    let mut world = with_firmware();
    world.cards[0].family = Some("one".to_owned());
    world.edit_policy(|policy| policy.image_choices = vec![choice("one")]);
    world.settle(secs(300));
    change_firmware(&mut world, "bmc-z");
    let before = drift(&world).to_vec();
    assert_eq!(before.len(), 1, "{}", world.told());
    world.cards[0].family = None;
    world.edit_policy(|policy| policy.image_choices = vec![choice("two")]);
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    world.cards[0].family = Some("two".to_owned());
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn firmware_that_is_wanted_by_no_name_any_more_is_forgotten_though_another_name_is_missing() {
    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    world.gone.insert("bmc-c".to_owned());
    world.cards[0].firmware = vec!["bmc-c".to_owned()];
    world.settle(secs(300));
    assert!(drift(&world).is_empty() && kept(&world).components.is_empty());
    ended(&world, "nothing is wanted there now");
}

/// A card that runs `ab-6` from slot B, and whose boot order leads to slot A: `trouble` keeps it from being
/// put right.
fn left_alone(trouble: impl Fn(&mut World)) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.image_ref = named("ab-5");
        policy.install.methods = vec![LocalStorage, VirtualMedia];
        policy.on_drift = OnDrift::Repair;
    });
    world.cards[0].machine.boot_entry = Some(Offer::Offered);
    world.until("ab-5", secs(LONG), World::is_ready);
    world.settle(secs(120));
    world.cards[0].machine.installers_lead = false;
    world.edit_policy(|policy| policy.image_ref = named("ab-6"));
    let runs = |w: &World| w.cards[0].os.as_ref().map(|os| os.image.clone());
    world.until("ab-6", secs(LONG), |w| runs(w) == Some(image("ab-6")));
    trouble(&mut world);
    world.settle(secs(600));
    world
}

#[test]
fn a_boot_order_that_was_never_put_right_leads_elsewhere_by_itself() {
    type Edit = fn(&mut World, bool);
    let troubles: [(&str, Edit); 3] = [
        ("paused", |w, there| {
            w.edit_card(0, |card| card.paused = there);
        }),
        ("mode", |w, there| {
            let mode = if there {
                PolicyMode::Plan
            } else {
                PolicyMode::Enforce
            };
            w.edit_policy(|policy| policy.mode = mode);
        }),
        ("role", |w, there| {
            let role = if there {
                HostRole::Infrastructure
            } else {
                HostRole::Server
            };
            w.edit_host(|host| host.role = role);
        }),
    ];
    for (what, trouble) in troubles {
        let mut world = left_alone(|world| trouble(world, true));
        assert!(kept(&world).observed_at.is_some(), "{}", world.told());
        world.settle_disk(0);
        world.reboot_card(0);
        world.settle(secs(300));
        trouble(&mut world, false);
        world.settle(secs(LONG));
        let os = world.cards[0].os.as_ref().map(|os| os.image.clone());
        assert_eq!(os, Some(image("ab-5")), "{what}: {}", world.told());
        never_drifted(&world);
        assert_eq!(world.card_says(0), "Stalled Stalled: OtherSlotRuns");
        let said = world.card_message(0);
        for word in ["ab-6", "ab-5", "Card OS B", "retryToken"] {
            assert!(said.contains(word), "{what} {word}: {said}");
        }
        assert_eq!(kept(&world).repairs, None);
    }
}

#[test]
fn a_boot_order_that_was_right_and_that_somebody_changed_is_a_drift_and_is_not_put_back() {
    let mut world = left_alone(|_| {});
    assert!(world.is_ready(), "{}", world.told());
    assert!(kept(&world).slots.iter().any(|one| one.first_at.is_some()));
    world.cards[0].machine.put_first("Card OS A");
    world.settle_disk(0);
    world.reboot_card(0);
    world.until("drift", secs(300), |w| !drift(w).is_empty());
    world.settle(secs(LONG));
    assert_eq!(world.card_says(0), "Stalled Stalled: SystemChanged");
    assert_eq!(kept(&world).repairs, None, "{}", world.told());
    let told = drifted(&world).message;
    assert!(
        told.contains("its boot order leads to another slot"),
        "{told}"
    );
}

#[test]
fn a_slot_that_leads_the_boot_order_and_is_not_what_runs_is_blamed_on_nobody() {
    let mut world = left_alone(|_| {});
    assert!(world.is_ready(), "{}", world.told());
    // What leads does not come up: its firmware boots what comes after it.
    world.cards[0].machine.put_first("Card OS A");
    world.settle_disk(0);
    world.cards[0].machine.put_first("Card OS B");
    world.reboot_card(0);
    world.settle(secs(LONG));
    let os = world.cards[0].os.as_ref().map(|os| os.image.clone());
    assert_eq!(os, Some(image("ab-5")), "{}", world.told());
    never_drifted(&world);
    assert_eq!(world.card_says(0), "Stalled Stalled: OtherSlotRuns");
    let said = world.card_message(0);
    for word in ["leads its boot order", "does not come up", "console"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(kept(&world).repairs, None);
}

#[test]
fn a_withdrawn_approval_neither_ends_a_drift_of_firmware_nor_has_it_written() {
    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    let before = drift(&world).to_vec();
    for approved in [false, true] {
        world.edit_card(0, |card| card.approved = approved);
        world.settle(secs(600));
        assert_eq!(drift(&world), before, "{}", world.told());
        assert_eq!(drifted(&world).status, "True");
    }
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(events(&world, "DriftEnded"), 0, "{}", world.told());
}

#[test]
fn that_nothing_is_wanted_for_a_while_is_no_proof_of_what_runs() {
    let mut world = updating(&["card1"]);
    world.until("back", 2 * secs(LONG), is_back);
    for host in ["host2", "host1"] {
        world.edit_card(0, |card| card.host_refs[0].name = host.to_owned());
        if host == "host2" {
            world.installs_by_hand(0, "ab-5");
        }
        world.settle(secs(300));
    }
    let wanted = world.policy.as_ref().unwrap().spec.image_ref.clone();
    for image_ref in [None, wanted] {
        assert!(kept(&world).has_left, "{}", world.told());
        world.edit_policy(|policy| policy.image_ref = image_ref.clone());
        world.settle(secs(300));
        never_drifted(&world);
    }
}

/// The image brings firmware for the card's BMC.
fn brings(world: &mut World) {
    world.cards[0].brought = vec![Required {
        requirement: ComponentRequirement {
            component: FIRMWARE.to_owned(),
            at_least: Some("1".to_owned()),
            below: None,
        },
        seen: vec![ComponentSeen {
            name: FIRMWARE.to_owned(),
            running: Some("2".to_owned()),
            pending: None,
            from: Vantage::CardOs,
            report: "xpu-card1".to_owned(),
            inspected: None,
            agent: None,
        }],
        contradicted: None,
    }];
}

#[test]
fn firmware_that_an_install_of_ours_brought_along_contradicts_what_is_wanted_and_is_no_drift() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
    brings(&mut world);
    world.until("installing", secs(LONG), |w| w.is_installing(0));
    assert!(component(&world).observed_at.is_some());
    "bmc-z".clone_into(&mut world.cards[0].machine.firmware.0);
    world.until("its system", secs(LONG), |w| kept(w).observed_at.is_some());
    world.settle(secs(300));
    never_drifted(&world);
    assert_eq!(component(&world).brought.as_deref(), Some("bmc-z"));
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareContradicted");
    let said = world.card_message(0);
    for word in ["bmc-z", "bmc-b", "os-1", "firmwareRefs"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // What comes after it is somebody's change.
    let hour = secs(2 * LONG);
    world.settle(hour);
    never_drifted(&world);
    change_firmware(&mut world, "bmc-y");
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    change_firmware(&mut world, "bmc-b");
    assert!(drift(&world).is_empty() && component(&world).brought.is_none());
    change_firmware(&mut world, "bmc-z");
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
}

#[test]
fn what_firmware_changes_to_during_an_install_is_told_once_that_is_over() {
    let mut world = with_firmware();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| policy.image_ref = named("os-2"));
    world.until("installing", secs(LONG), |w| w.is_installing(0));
    change_firmware(&mut world, "bmc-z");
    if kept(&world).observed_at.is_none() {
        never_drifted(&world);
    }
    world.until("its system", secs(LONG), |w| kept(w).observed_at.is_some());
    world.until("drift", secs(300), |w| !drift(w).is_empty());
}

#[test]
fn a_fraction_of_a_second_costs_no_write() {
    let writes = |fraction: i64| {
        let mut world = World::installed(&["card1"]);
        world.strict = true;
        world.pass(SignedDuration::from_millis(fraction));
        world.installs_by_hand(0, "os-2");
        world.until("drift", secs(300), |w| !drift(w).is_empty());
        world.settle(secs(600));
        (world.writes.host_status, world.writes.card_status)
    };
    assert_eq!(writes(700), writes(0));
    assert_eq!(writes(0).0, 1);
}

#[test]
fn a_boot_of_a_card_that_drifted_is_worth_no_write_where_nothing_is_put_back() {
    let mut world = reinstalled();
    world.settle(secs(60));
    let one = drift(&world)[0].clone();
    assert!(one.boot_epoch.is_none() && one.steady_since.is_none());
    let writes = world.writes.host_status;
    for _ in 0..3 {
        world.reboot_card(0);
        world.settle(secs(60));
    }
    assert_eq!(world.writes.host_status, writes, "{}", world.told());
    world.edit_policy(|policy| policy.on_drift = OnDrift::Repair);
    world.settle(secs(60));
    assert!(drift(&world)[0].steady_since.is_some());
}

#[test]
fn a_card_that_came_back_is_judged_thing_by_thing() {
    let mut world = updating(&["card1"]);
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
    world.until("back", 2 * secs(LONG), is_back);
    assert!(component(&world).observed_at.is_some(), "{}", world.told());
    for host in ["host2", "host1"] {
        world.edit_card(0, |card| card.host_refs[0].name = host.to_owned());
        world.cards[0].machine.tells_components = false;
        world.settle(secs(300));
    }
    // Its system was seen as wanted, its firmware was not seen.
    assert!(!kept(&world).has_left && component(&world).has_left);
    world.installs_by_hand(0, "ab-5");
    world.settle(secs(300));
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    world.cards[0].machine.tells_components = true;
    change_firmware(&mut world, "bmc-z");
    world.edit_policy(|policy| policy.image_ref = named("os-1"));
    world.settle(secs(300));
    assert!(component(&world).has_left, "{}", world.told());
    assert!(
        drift(&world)
            .iter()
            .all(lockstep_crds::drift::Drift::is_system)
    );
    let is_firmware = |line: &&String| line.contains("DriftBegan") && line.contains("bmc-z");
    assert_eq!(world.story.iter().filter(is_firmware).count(), 0);
    change_firmware(&mut world, "bmc-b");
    assert!(!component(&world).has_left, "{}", world.told());
}

#[test]
fn host_and_card_say_the_same_of_firmware_alone_that_is_not_listed_any_more() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_policy(|policy| policy.image_ref = None);
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
    world.until("firmware", secs(LONG), |w| {
        let record = w.host.as_ref().and_then(|host| host.status.as_ref());
        let mut cards = record.into_iter().flat_map(|record| &record.cards);
        cards.any(|kept| kept.components.iter().any(|one| one.observed_at.is_some()))
    });
    world.settle(secs(LONG));
    change_firmware(&mut world, "bmc-z");
    for listed in [true, false] {
        world.cards[0].machine.tells_components = listed;
        world.settle(secs(300));
        assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
        assert_eq!(world.host_says(), "Stalled: FirmwareChanged");
        assert_eq!(drifted(&world).status, "True");
    }
}

#[test]
fn what_is_asked_for_and_does_not_begin_ends_nothing() {
    let mut world = reinstalled();
    let before = drift(&world).to_vec();
    let goes_on = |world: &World| {
        assert_eq!(drift(world), before, "{}", world.told());
        assert_eq!(drifted(world).status, "True");
        assert_eq!(events(world, "DriftEnded"), 0, "{}", world.told());
    };
    for approved in [false, true] {
        world.edit_card(0, |card| card.approved = approved);
        world.settle(secs(300));
        goes_on(&world);
    }
    // Without its wiper, then refused, then not wanted any more.
    wipe(&mut world, "one");
    let wiper = world.catalogue.remove("wiper-9").unwrap();
    world.settle(secs(300));
    goes_on(&world);
    world.edit_card(0, |card| {
        if let Some(wipe) = &mut card.wipe {
            wipe.confirm = "another".to_owned();
        }
    });
    world.catalogue.insert("wiper-9".to_owned(), wiper);
    world.settle(secs(300));
    assert_eq!(world.card_says(0), "Stalled Stalled: WipeRefused");
    goes_on(&world);
    assert!(drifted(&world).message.contains("os-2 and not os-1"));
    world.edit_host(|host| host.disruption = Disruption::Never);
    world.edit_card(0, |card| card.wipe = None);
    world.settle(secs(300));
    goes_on(&world);
    // What runs meanwhile is told, though what is wanted was asked for anew.
    world.installs_by_hand(0, "ab-5");
    world.until("a third", secs(300), |w| drift(w)[0].version == "ab-5");
    assert_eq!(drift(&world)[0].since, before[0].since);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    wipe(&mut world, "two");
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
    assert!(drift(&world).is_empty(), "{}", world.told());
    ended(&world, "booted to be wiped");
}

#[test]
fn an_install_that_is_given_up_has_put_nothing_back() {
    for goes_back in [false, true] {
        let mut world = reinstalled();
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        world.edit_policy(|policy| {
            use lockstep_crds::boot_policy::OnInstallFailure::{RollBack, Stall};
            policy.install.on_failure = if goes_back { RollBack } else { Stall };
            policy.install.golden_image_ref = goes_back.then(|| LocalRef {
                name: crate::world::build::GOLDEN.to_owned(),
            });
            policy.install.os_timeout_seconds = 200;
            policy.host_wait.timeout_seconds = 80_000;
            policy.hold.orphan_after_seconds = 80_000;
        });
        world.broken.insert("os-1".to_owned());
        world.edit_card(0, |card| card.retry_token = Some("anew".to_owned()));
        if goes_back {
            world.until("begins", secs(LONG), |w| kept(w).roll_back.is_some());
            assert_eq!(drift(&world).len(), 1, "{}", world.told());
            world.until("back", secs(LONG), is_back);
            assert!(drift(&world).is_empty(), "{}", world.told());
            ended(&world, "has gone back to");
            continue;
        }
        world.until("failed", secs(LONG), |w| {
            w.card_says(0) == "Stalled Stalled: InstallFailed"
        });
        let told = drifted(&world);
        assert_eq!((&*told.status, drift(&world).len()), ("True", 1));
        for word in ["did not come up", "retryToken"] {
            assert!(told.message.contains(word), "{told:?}");
        }
    }
}

#[test]
fn where_something_else_runs_that_is_nobodys_change_the_condition_does_not_say_that_nothing_does() {
    let mut world = reinstalled();
    world.installs_by_hand(0, "os-1");
    world.until("Ready", secs(300), World::is_ready);
    assert_eq!(drifted(&world).status, "False");
    world.catalogue.remove("os-1");
    world.installs_by_hand(0, "os-2");
    world.settle(secs(300));
    let told = drifted(&world);
    assert_eq!((&*told.status, &*told.reason), ("Unknown", "NotJudged"));
    assert!(told.message.contains("condition Ready"), "{told:?}");
    world.catalogue.insert("os-1".to_owned(), image("os-1"));
    world.settle(secs(300));
    assert_eq!(drifted(&world).status, "True");
}
