//! Two slots on a card's own disk: an image that lies there still comes back without an install, and
//! only what came up becomes the first of the boot order.

use lockstep_crds::boot_policy::AllowedMethod::{self, LocalStorage, VirtualMedia};
use lockstep_crds::boot_policy::OnInstallFailure;
use lockstep_crds::host::{ArmedEffect, CardRecord, Disruption};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::Offer;
use serde_json::json;

use super::roll_back::named;
use crate::world::agent::Fault;
use crate::world::build::image;
use crate::world::{World, secs};

const A: &str = "Card OS A";
const B: &str = "Card OS B";
const LONG: i64 = 3000;

/// A card whose BMC boots one boot entry once, under a policy that names these ways and wants the
/// image of slot A.
fn world(methods: &[AllowedMethod]) -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.image_ref = named("ab-5");
        policy.install.methods = methods.to_vec();
        policy.install.os_timeout_seconds = 400;
        policy.host_wait.timeout_seconds = 80_000;
        policy.hold.orphan_after_seconds = 90_000;
    });
    world.cards[0].machine.boot_entry = Some(Offer::Offered);
    world
}

/// The same, with `ab-5` in slot A and `ab-6` in slot B, which runs.
pub(super) fn with_both(methods: &[AllowedMethod]) -> World {
    let mut world = world(methods);
    wants(&mut world, "ab-5");
    wants(&mut world, "ab-6");
    assert_eq!(order(&world), [B, A]);
    world
}

fn want(world: &mut World, version: &str) {
    world.edit_policy(|policy| policy.image_ref = named(version));
}

/// The image is wanted, and comes.
#[track_caller]
pub(super) fn wants(world: &mut World, version: &str) {
    want(world, version);
    world.until(version, secs(LONG), |w| w.is_ready() && runs(w, version));
    world.settle(secs(120));
    assert!(world.is_ready() && runs(world, version), "{}", world.told());
    nothing_is_armed(world);
}

fn runs(world: &World, version: &str) -> bool {
    let os = world.cards[0].os.as_ref();
    os.is_some_and(|os| os.image == image(version))
}

fn kept(world: &World) -> &CardRecord {
    &world.status().cards[0]
}

fn order(world: &World) -> Vec<&str> {
    let machine = &world.cards[0].machine;
    let order = machine.boot_order.iter();
    order.map(|one| machine.entries[*one].0.as_str()).collect()
}

#[track_caller]
fn nothing_is_armed(world: &World) {
    let machine = &world.cards[0].machine;
    assert!(machine.media.is_none() && machine.next_entry.is_none());
    assert!(kept(world).armed.is_empty(), "{}", world.told());
}

fn count(world: &World, what: &str) -> usize {
    let deeds = world.deeds();
    deeds.iter().filter(|deed| deed.starts_with(what)).count()
}

#[test]
fn an_image_that_is_in_its_slot_still_is_booted_and_not_installed() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    assert_eq!(count(&world, "StageInstall"), 2, "{}", world.told());
    assert_eq!(count(&world, "SetBootOrder"), 0, "{}", world.told());
    let before = world.deeds().len();
    want(&mut world, "ab-5");
    world.until("armed", secs(900), |w| {
        w.cards[0].machine.next_entry.is_some()
    });
    world.round();
    assert_eq!(kept(&world).armed, [ArmedEffect::BootEntry]);
    // Until it is seen to run the other slot is what a boot by chance leads to.
    assert_eq!(order(&world), [B, A]);
    world.until("ab-5", secs(900), |w| w.is_ready() && runs(w, "ab-5"));
    world.settle(secs(300));
    let deeds = world.deeds();
    let of_card: Vec<&str> = deeds[before..]
        .iter()
        .copied()
        .filter(|one| one.ends_with("card1"))
        .collect();
    assert_eq!(
        of_card,
        [
            "ShutdownGracefully dpu/card1",
            "StageBootEntry dpu/card1",
            "PowerOn dpu/card1",
            "ClearInstall dpu/card1",
            "SetBootOrder dpu/card1",
        ],
        "{}",
        world.told()
    );
    assert_eq!(order(&world), [A, B]);
    nothing_is_armed(&world);
    assert_eq!(kept(&world).method, Some(InstallMethod::LocalStorage));

    // It costs nothing to stay so, and it goes both ways.
    let (deeds, writes) = (world.deeds().len(), world.writes.total());
    world.settle(secs(LONG));
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
    assert_eq!(world.writes.total(), writes, "{}", world.told());
    wants(&mut world, "ab-6");
    assert_eq!(count(&world, "StageInstall"), 2, "{}", world.told());
    assert_eq!(order(&world), [B, A]);
}

#[test]
fn a_store_that_has_lost_an_image_does_not_keep_it_from_its_card() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    world
        .store
        .retain(|stored| stored.digest != image("ab-5").digest);
    world.source_ok = false;
    wants(&mut world, "ab-5");
    assert_eq!(count(&world, "StageInstall"), 2, "{}", world.told());
}

#[test]
fn a_slot_whose_image_does_not_come_up_any_more_is_left_by_itself_and_written_anew() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    wants(&mut world, "ab-5");
    world.broken.insert("ab-6".into());
    world.cards[0].machine.falls_back = true;
    want(&mut world, "ab-6");
    world.until("fallen back", secs(900), |w| !kept(w).failures.is_empty());
    let failure = &kept(&world).failures[0];
    assert_eq!(failure.method, InstallMethod::LocalStorage);
    assert_eq!(failure.reason, "OldImageRuns");
    assert!(failure.message.contains("runs ab-5"), "{}", failure.message);
    assert!(runs(&world, "ab-5") && order(&world) == [A, B]);
    world.broken.clear();
    world.until("ab-6", secs(LONG), |w| w.is_ready() && runs(w, "ab-6"));
    assert_eq!(count(&world, "StageInstall"), 3, "{}", world.told());
    assert_eq!(kept(&world).method, Some(InstallMethod::VirtualMedia));
}

#[test]
fn the_way_back_leads_to_the_other_slot_and_installs_nothing() {
    for falls_back in [true, false] {
        let mut world = with_both(&[LocalStorage, VirtualMedia]);
        world.edit_policy(|policy| policy.install.on_failure = OnInstallFailure::RollBack);
        world.broken.insert("ab-7".into());
        world.cards[0].machine.falls_back = falls_back;
        want(&mut world, "ab-7");
        world.until("back", secs(LONG), |w| {
            w.card_says(0) == "Degraded Stalled: RolledBack"
        });
        world.settle(secs(300));
        assert!(runs(&world, "ab-6"), "{}", world.told());
        // Twice the new image, and nothing else.
        assert_eq!(count(&world, "StageInstall"), 4, "{}", world.told());
        assert_eq!(count(&world, "StageBootEntry"), 1, "{}", world.told());
        assert_eq!(order(&world), [B, A]);
        nothing_is_armed(&world);
    }
}

#[test]
fn what_was_written_over_is_installed_again() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    // It takes the slot of `ab-5`.
    wants(&mut world, "ab-7");
    wants(&mut world, "ab-5");
    assert_eq!(count(&world, "StageBootEntry"), 0, "{}", world.told());
    // An image that names no slot may leave nothing.
    wants(&mut world, "ab-6");
    assert_eq!(count(&world, "StageBootEntry"), 1, "{}", world.told());
    wants(&mut world, "os-1");
    assert!(kept(&world).slots.is_empty(), "{}", world.told());
    wants(&mut world, "ab-6");
    assert_eq!(count(&world, "StageBootEntry"), 1, "{}", world.told());
}

#[test]
fn an_install_that_was_only_begun_has_written_over_its_slot() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    world.broken.insert("ab-7".into());
    want(&mut world, "ab-7");
    world.until("begun", secs(900), |w| w.is_installing(0));
    want(&mut world, "ab-5");
    world.until("ab-5", secs(LONG), |w| w.is_ready() && runs(w, "ab-5"));
    assert_eq!(count(&world, "StageBootEntry"), 0, "{}", world.told());
}

#[test]
fn an_entry_that_is_gone_or_there_twice_leaves_the_other_ways() {
    type Edit = fn(&mut World);
    let edits: [(Edit, &str); 6] = [
        (
            |w| w.cards[0].machine.entries[0].0 = "Other".into(),
            "lists no boot entry Card OS A",
        ),
        (
            |w| w.cards[0].machine.entries.push((A.into(), None)),
            "lists several boot entries Card OS A",
        ),
        (
            |w| w.cards[0].machine.boot_entry = Some(Offer::NotOffered),
            "lists no boot target UefiBootNext",
        ),
        (
            |w| w.cards[0].machine.boot_entry = None,
            "the site agent's release does not tell",
        ),
        (
            |w| w.cards[0].machine.card_restart = Some(Offer::Offered),
            "boots no entry once",
        ),
        (|_| {}, ""),
    ];
    for (edit, words) in edits {
        let mut world = with_both(&[LocalStorage, VirtualMedia]);
        world.edit_policy(|policy| policy.install.methods = vec![LocalStorage]);
        edit(&mut world);
        world.settle(secs(700));
        let deeds = world.deeds().len();
        want(&mut world, "ab-5");
        if words.is_empty() {
            world.until("ab-5", secs(900), |w| w.is_ready() && runs(w, "ab-5"));
            continue;
        }
        world.settle(secs(900));
        assert_eq!(world.card_says(0), "Stalled Stalled: CapabilityMissing");
        let message = world.card_message(0);
        assert!(message.contains(words), "{words}: {message}");
        assert_eq!(world.deeds().len(), deeds, "{}", world.told());
        if words.contains("boot entry Card OS A") {
            world.edit_policy(|policy| policy.install.methods.push(VirtualMedia));
            world.until("ab-5", secs(LONG), |w| w.is_ready() && runs(w, "ab-5"));
        }
    }
}

#[test]
fn files_of_other_values_are_not_taken_for_those_that_are_wanted() {
    let asks = |world: &mut World, value: &str| {
        let values = json!([{"name": "role", "value": value}]);
        let inputs = super::configuration::asks(world, "{{ values.role | sh }}", &values);
        super::configuration::tried(world, &inputs, None);
    };
    let mut world = world(&[LocalStorage, VirtualMedia]);
    asks(&mut world, "edge");
    wants(&mut world, "ab-5");
    wants(&mut world, "ab-6");
    wants(&mut world, "ab-5");
    assert_eq!(count(&world, "StageBootEntry"), 1, "{}", world.told());
    asks(&mut world, "core");
    wants(&mut world, "ab-6");
    assert_eq!(count(&world, "StageBootEntry"), 1, "{}", world.told());
    assert_eq!(count(&world, "StageInstall"), 3, "{}", world.told());
}

#[test]
fn a_slot_is_known_by_the_values_that_were_staged_and_not_by_those_of_its_power_on() {
    let asks = |world: &mut World, value: &str| {
        let values = json!([{"name": "role", "value": value}]);
        let inputs = super::configuration::asks(world, "{{ values.role | sh }}", &values);
        super::configuration::tried(world, &inputs, None);
        inputs.digest()
    };
    let mut world = world(&[LocalStorage, VirtualMedia]);
    let edge = asks(&mut world, "edge");
    wants(&mut world, "ab-5");
    want(&mut world, "ab-6");
    world.until("asked", secs(900), |w| {
        let asked = w.recorded.iter().map(lockstep_planner::ledger::what);
        asked
            .filter(|what| what == "StageInstall dpu/card1")
            .count()
            == 2
    });
    assert_eq!(kept(&world).booted_at, None, "{}", world.told());
    assert_eq!(kept(&world).image, Some(image("ab-6")));
    let core = asks(&mut world, "core");
    world.until("ab-6", secs(LONG), |w| w.is_ready() && runs(w, "ab-6"));
    // What was staged is kept, and is what its slot holds.
    assert_eq!(count(&world, "StageInstall"), 2, "{}", world.told());
    let told = |world: &World, version: &str| {
        let mut slots = kept(world).slots.iter();
        let slot = slots.find(|one| one.image == image(version)).unwrap();
        slot.configuration.clone()
    };
    assert_eq!(told(&world, "ab-6"), Some(edge));
    wants(&mut world, "ab-5");
    wants(&mut world, "ab-6");
    assert_eq!(count(&world, "StageBootEntry"), 0, "{}", world.told());
    assert_eq!(told(&world, "ab-6"), Some(core));
    assert_eq!(kept(&world).staged, None);
}

#[test]
fn a_boot_that_nobody_wants_any_more_is_taken_back() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    want(&mut world, "ab-5");
    world.until("armed", secs(900), |w| {
        w.cards[0].machine.next_entry.is_some()
    });
    want(&mut world, "ab-6");
    world.until("back", secs(900), |w| w.is_ready() && runs(w, "ab-6"));
    world.settle(secs(300));
    nothing_is_armed(&world);
    assert_eq!(order(&world), [B, A]);
}

#[test]
fn an_order_that_an_installer_left_is_put_right_beside_a_host_in_use() {
    let mut world = world(&[VirtualMedia]);
    wants(&mut world, "ab-5");
    world.cards[0].machine.installers_lead = false;
    want(&mut world, "ab-6");
    world.until("ab-6", secs(LONG), |w| runs(w, "ab-6"));
    world.edit_host(|host| host.disruption = Disruption::Never);
    world.settle(secs(900));
    assert!(world.is_ready(), "{}", world.told());
    assert_eq!(order(&world), [B, A]);
    assert_eq!(count(&world, "SetBootOrder"), 1, "{}", world.told());
    assert!(world.host_machine.is_on());
    world.reboot_card(0);
    world.settle(secs(300));
    assert!(runs(&world, "ab-6") && world.is_ready());
}

#[test]
fn an_order_that_somebody_changes_back_is_put_right_no_oftener_than_that() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    world.cards[0].machine.put_first(A);
    world.until("right", secs(1500), |w| order(w) == [B, A]);
    world.settle(secs(60));
    world.cards[0].machine.put_first(A);
    world.until("told", secs(1500), |w| {
        w.card_says(0).ends_with("BootOrderLost") || order(w) == [B, A]
    });
    world.until("right again", secs(1500), |w| order(w) == [B, A]);
    let orders = world
        .recorded
        .iter()
        .filter(|one| lockstep_planner::ledger::what(one) == "SetBootOrder dpu/card1");
    let at: Vec<_> = orders.map(|one| one.issued_at.0).collect();
    assert!(
        at.len() == 2 && at[1].duration_since(at[0]) >= secs(600),
        "{at:?}"
    );
}

#[test]
fn a_bmc_that_refuses_the_order_is_told_of_and_the_card_runs_on() {
    let mut world = with_both(&[LocalStorage, VirtualMedia]);
    let deeds = world.deeds().len();
    world.cards[0].machine.put_first(A);
    world.agent.faults.extend([Fault::Refused; 8]);
    world.settle(secs(1500));
    assert!(world.is_ready(), "{}", world.told());
    let failed = world.status().cards[0].failed.as_ref().unwrap();
    assert_eq!(
        (failed.what.as_str(), failed.times),
        ("SetBootOrder dpu/card1", 4)
    );
    assert!(runs(&world, "ab-6"));
    let told = world.recorded.len();
    world.settle(secs(7200));
    assert_eq!(world.recorded.len(), told, "it is not asked for ever");
    assert_eq!(world.deeds().len(), deeds, "{}", world.told());
    world.agent.faults.clear();
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.until("right", secs(900), |w| order(w) == [B, A] && w.is_ready());
}

#[test]
fn whatever_is_lost_on_the_way_it_comes_from_its_slot_in_the_end() {
    let faults = [
        Fault::LostReply,
        Fault::LostCall,
        Fault::Late(20),
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Refused,
    ];
    let before = with_both(&[LocalStorage, VirtualMedia]);
    for fault in faults {
        for at in 0..8 {
            let mut world = before.clone();
            world.agent.faults.extend(vec![Fault::Fine; at]);
            world.agent.faults.push_back(fault);
            want(&mut world, "ab-5");
            for _ in 0..LONG / 10 {
                world.round();
                world.agent_starts();
                if world.is_ready() && runs(&world, "ab-5") && order(&world) == [A, B] {
                    break;
                }
            }
            assert!(
                world.is_ready() && runs(&world, "ab-5"),
                "{fault:?} at {at}\n{}",
                world.told()
            );
            world.settle(secs(300));
            assert_eq!(order(&world), [A, B], "{fault:?} at {at}\n{}", world.told());
            nothing_is_armed(&world);
        }
    }
}
