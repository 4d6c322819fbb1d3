//! A card that runs something else than it was seen to run as wanted: told, since when, until when, and
//! of what that is not told.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lockstep_crds::boot_policy::AllowedMethod::{LocalStorage, VirtualMedia};
use lockstep_crds::condition;
use lockstep_crds::drift::Drift;
use lockstep_crds::host::{CardRecord, Disruption};
use lockstep_crds::observed::Offer;

use super::roll_back::{is_back, named, updating};
use super::wipe::wipe;
use crate::world::build::image;
use crate::world::machine::Firmware;
use crate::world::{World, secs};

const LONG: i64 = 3600;

pub(super) fn kept(world: &World) -> &CardRecord {
    &world.status().cards[0]
}

pub(super) fn drift(world: &World) -> &[Drift] {
    &kept(world).drift
}

pub(super) fn drifted(world: &World) -> Condition {
    let status = world.cards[0].dpu.as_ref().unwrap().status.as_ref();
    let mut conditions = status.unwrap().conditions.iter();
    let found = conditions.find(|condition| condition.type_ == "Drifted");
    found.unwrap().clone()
}

fn is_told(world: &World) -> bool {
    let status = world.cards[0].dpu.as_ref().unwrap().status.as_ref();
    condition::find(&status.unwrap().conditions, condition::DRIFTED).is_some()
}

pub(super) fn events(world: &World, reason: &str) -> usize {
    let mark = format!("event {reason}:");
    world
        .story
        .iter()
        .filter(|line| line.contains(&mark))
        .count()
}

/// The last event that a drift has ended says why.
#[track_caller]
pub(super) fn ended(world: &World, why: &str) {
    let mut story = world.story.iter().rev();
    let last = story.find(|line| line.contains("event DriftEnded:"));
    assert!(last.unwrap().contains(why), "{why}: {}", world.told());
}

/// Nothing of the card is told to have drifted, nor was.
#[track_caller]
pub(super) fn never_drifted(world: &World) {
    assert!(drift(world).is_empty(), "{}", world.told());
    assert_eq!(events(world, "DriftBegan"), 0, "{}", world.told());
}

/// A card that runs `os-1`, and soon `os-2`, which nobody wants.
pub(super) fn reinstalled() -> World {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    world.installs_by_hand(0, "os-2");
    world.until("drift", secs(300), |w| !drift(w).is_empty());
    world
}

/// A card that runs `os-1`, and `bmc-b` at its BMC.
pub(super) fn with_firmware() -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Restarts;
    world.until("Ready", secs(LONG), World::is_ready);
    world.settle(secs(120));
    world.effects.clear();
    world
}

pub(super) fn change_firmware(world: &mut World, version: &str) {
    version.clone_into(&mut world.cards[0].machine.firmware.0);
    world.settle(secs(60));
}

#[test]
fn a_system_that_somebody_installs_is_told_with_since_when_and_until_when() {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    // Of a card that never drifted nothing is said, by no release.
    assert!(!is_told(&world));
    world.settle(secs(LONG));
    assert_eq!(world.writes.host_status + world.writes.card_status, 0);

    world.installs_by_hand(0, "os-2");
    world.until("drift", secs(300), |w| !drift(w).is_empty());
    let since = drift(&world)[0].since.clone();
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    let one = &drift(&world)[0];
    assert_eq!((&*one.what, &*one.version), ("system", "os-2"));
    assert_eq!(one.digest, Some(image("os-2").digest));
    assert_eq!(world.card_says(0), "Stalled Stalled: SystemChanged");
    let told = drifted(&world);
    assert_eq!((&*told.status, &*told.reason), ("True", "SystemChanged"));
    assert_eq!(told.last_transition_time, since);
    let at = since.0.to_string();
    for message in [&told.message, &world.card_message(0)] {
        for word in [&*at, "os-1", "os-2", "retryToken", "imageRef"] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    assert!(
        told.message.contains("Nothing is done about it"),
        "{told:?}"
    );
    assert_eq!(events(&world, "DriftBegan"), 1, "{}", world.told());

    let writes = world.writes;
    world.settle(secs(LONG));
    assert_eq!(world.writes, writes, "{}", world.told());
    assert!(world.effects.is_empty(), "{}", world.told());
    assert_eq!(drift(&world)[0].since, since);

    world.installs_by_hand(0, "os-1");
    world.until("Ready", secs(300), World::is_ready);
    assert!(drift(&world).is_empty());
    let told = drifted(&world);
    assert_eq!((&*told.status, &*told.reason), ("False", "NoDrift"));
    assert_eq!(events(&world, "DriftEnded"), 1, "{}", world.told());
    ended(&world, "os-1 was seen to run again");
    assert!(world.effects.is_empty() && kept(&world).attempts == 1);
}

#[test]
fn it_goes_on_since_the_first_moment_whatever_comes_in_its_place_and_in_silence() {
    let mut world = reinstalled();
    let since = drift(&world)[0].since.clone();
    world.installs_by_hand(0, "ab-5");
    world.until("another", secs(300), |w| drift(w)[0].version == "ab-5");
    assert_eq!(drift(&world)[0].since, since);
    assert_eq!(events(&world, "DriftBegan"), 2);
    world.cards[0].dead = true;
    world.reboot_card(0);
    world.settle(secs(900));
    assert_eq!(drift(&world)[0].since, since, "{}", world.told());
    assert_eq!(drifted(&world).status, "True");
    assert_eq!(world.card_says(0), "Degraded Stalled: CardAgentSilent");
    assert_eq!(events(&world, "DriftEnded"), 0);
}

#[test]
fn it_ends_with_another_wish_and_with_its_card() {
    let mut world = reinstalled();
    world.edit_policy(|policy| policy.image_ref = named("os-2"));
    world.until("Ready", secs(120), World::is_ready);
    assert!(drift(&world).is_empty() && world.effects.is_empty());
    assert_eq!(drifted(&world).status, "False");
    ended(&world, "that is what is wanted now");

    let mut world = reinstalled();
    world.edit_policy(|policy| policy.image_ref = None);
    world.settle(secs(60));
    assert!(drift(&world).is_empty(), "{}", world.told());
    assert_eq!(drifted(&world).status, "False");
    ended(&world, "nothing is wanted there now");

    let mut world = reinstalled();
    world.edit_policy(|policy| policy.image_ref = named("ab-5"));
    world.settle(secs(60));
    ended(&world, "another image is wanted there now");

    let mut world = reinstalled();
    world.delete_card(0);
    world.settle(secs(60));
    assert!(world.cards[0].dpu.is_none() && world.status().cards.is_empty());
    assert_eq!(events(&world, "DriftEnded"), 0, "{}", world.told());
}

#[test]
fn wanted_anew_it_is_told_until_the_wanted_image_runs() {
    let mut world = reinstalled();
    let since = drift(&world)[0].since.clone();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_card(0, |card| card.retry_token = Some("anew".to_owned()));
    world.until("installing", secs(900), |w| w.is_installing(0));
    assert_eq!(drift(&world)[0].since, since);
    let told = drifted(&world);
    assert_eq!(told.status, "True");
    assert!(told.message.contains("is installed again"), "{told:?}");
    assert!(!told.message.contains("Nothing is done"), "{told:?}");
    world.until("Ready", secs(900), World::is_ready);
    assert!(drift(&world).is_empty());
    assert_eq!(drifted(&world).status, "False");
}

#[test]
fn two_at_one_card_are_listed_each_with_its_time() {
    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    let first = drift(&world)[0].since.clone();
    assert_eq!(drifted(&world).reason, "FirmwareChanged");
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
    assert!(world.card_message(0).contains(&first.0.to_string()));
    world.installs_by_hand(0, "os-2");
    world.until("both", secs(300), |w| drift(w).len() == 2);
    let second = drift(&world)[0].since.clone();
    assert!(second.0 > first.0 && drift(&world)[0].what == "system");
    let told = drifted(&world);
    assert_eq!(
        (&*told.reason, &told.last_transition_time),
        ("SystemChanged", &first)
    );
    let begins = format!("since {} ", first.0);
    assert!(told.message.starts_with(&begins), "{}", told.message);
    for word in [
        "bmc-z and not bmc-b",
        "os-2 and not os-1",
        "image and firmware put there again",
        "drop that firmware",
        &*second.0.to_string(),
    ] {
        assert!(told.message.contains(word), "{word}: {}", told.message);
    }
    change_firmware(&mut world, "bmc-b");
    let told = drifted(&world);
    assert_eq!((&*told.status, drift(&world).len()), ("True", 1));
    assert_eq!(told.last_transition_time, first);
}

#[test]
fn firmware_that_is_not_listed_has_not_changed_and_keeps_nothing() {
    let mut world = with_firmware();
    world.cards[0].machine.tells_components = false;
    world.settle(secs(600));
    never_drifted(&world);
    assert!(world.is_ready(), "{}", world.told());
    // Another system goes onto the card all the same, and its host goes on.
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| policy.image_ref = named("os-2"));
    world.until("os-2", secs(LONG), |w| {
        w.is_ready() && w.cards[0].disk == Some(image("os-2"))
    });
    assert!(world.host_machine.is_on() && world.status().hold.is_none());
}

#[test]
fn firmware_that_was_seen_changed_is_not_as_wanted_because_nobody_lists_it() {
    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    let since = drift(&world)[0].since.clone();
    world.cards[0].machine.tells_components = false;
    world.settle(secs(300));
    assert_eq!(drift(&world)[0].since, since, "{}", world.told());
    assert_eq!(world.card_says(0), "Degraded Stalled: FirmwareChanged");
    assert_eq!(world.host_says(), "Stalled: FirmwareChanged");
    assert_eq!(drifted(&world).status, "True");
    world.cards[0].machine.tells_components = true;
    change_firmware(&mut world, "bmc-b");
    assert!(
        drift(&world).is_empty() && world.is_ready(),
        "{}",
        world.told()
    );
}

#[test]
fn an_object_that_is_made_again_changes_nothing_about_it() {
    let mut world = reinstalled();
    let before = drift(&world).to_vec();
    world.catalogue.remove("os-1");
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert_eq!(drifted(&world).status, "True");
    world.catalogue.insert("os-1".to_owned(), image("os-1"));
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: SystemChanged");

    let mut world = with_firmware();
    change_firmware(&mut world, "bmc-z");
    let before = drift(&world).to_vec();
    world.gone.insert("bmc-b".to_owned());
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    world.gone.clear();
    world.settle(secs(600));
    assert_eq!(drift(&world), before, "{}", world.told());
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn firmware_that_changes_while_its_object_is_gone_is_not_written_again_by_that() {
    let mut world = with_firmware();
    world.gone.insert("bmc-b".to_owned());
    world.settle(secs(60));
    change_firmware(&mut world, "bmc-z");
    never_drifted(&world);
    world.gone.clear();
    world.settle(secs(600));
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: FirmwareChanged");
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn nothing_is_told_of_a_system_whose_image_nobody_can_name_now() {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    world.catalogue.remove("os-1");
    world.installs_by_hand(0, "os-2");
    world.settle(secs(600));
    never_drifted(&world);
}

#[test]
fn what_a_card_went_back_to_is_wanted_and_another_is_not() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    world.catalogue.remove("os-1");
    world.settle(secs(600));
    never_drifted(&world);
    assert_eq!(world.card_says(0), "Degraded Stalled: RolledBack");
    world.installs_by_hand(0, "ab-5");
    world.settle(secs(300));
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: SystemChanged");
    let told = drifted(&world).message;
    assert!(told.contains("ab-5 and not os-1"), "{told}");
    for message in [told, world.card_message(0)] {
        for word in ["name os-1 in imageRef to have it back", "tries os-2 again"] {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(!message.contains("going back"), "{message}");
    }
}

#[test]
fn a_trial_of_a_slot_an_install_and_a_wipe_are_none() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.edit_policy(|policy| {
        policy.image_ref = named("ab-5");
        policy.install.methods = vec![LocalStorage, VirtualMedia];
    });
    world.cards[0].machine.boot_entry = Some(Offer::Offered);
    for version in ["ab-5", "ab-6", "ab-5"] {
        world.edit_policy(|policy| policy.image_ref = named(version));
        let runs = |w: &World| w.cards[0].os.as_ref().map(|os| os.image.clone());
        world.until(version, secs(LONG), |w| {
            w.is_ready() && runs(w) == Some(image(version))
        });
        world.settle(secs(300));
    }
    wipe(&mut world, "one");
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
    world.settle(secs(60));
    world.edit_card(0, |card| card.wipe = None);
    world.until("Ready", secs(LONG), World::is_ready);
    never_drifted(&world);
    // What somebody puts first in the boot order is one.
    let turned = world.cards[0].machine.boot_order.last().copied().unwrap();
    let name = world.cards[0].machine.entries[turned].0.clone();
    world.installs_by_hand(0, "ab-6");
    world.cards[0].machine.put_first(&name);
    world.settle_disk(0);
    world.reboot_card(0);
    world.until("slot", secs(600), |w| !drift(w).is_empty());
    assert_eq!(drift(&world)[0].version, "ab-6");
}

#[test]
fn a_card_that_comes_back_from_another_host_runs_what_was_asked_for_there() {
    let mut world = updating(&["card1"]);
    world.until("back", secs(LONG), is_back);
    let move_to = |world: &mut World, host: &str| {
        let host = host.to_owned();
        world.edit_card(0, |card| card.host_refs[0].name = host);
        world.settle(secs(120));
    };
    move_to(&mut world, "host2");
    assert!(kept(&world).has_left, "{}", world.told());
    world.installs_by_hand(0, "ab-5");
    world.settle(secs(120));
    move_to(&mut world, "host1");
    never_drifted(&world);
    assert!(kept(&world).has_left);
    world.installs_by_hand(0, "os-1");
    world.settle(secs(300));
    assert!(!kept(&world).has_left, "{}", world.told());
    world.installs_by_hand(0, "ab-5");
    world.settle(secs(300));
    assert_eq!(drift(&world).len(), 1, "{}", world.told());
}

#[test]
fn a_card_is_never_ready_and_drifted_whatever_keeps_it_from_being_planned() {
    type Edit = fn(&mut World, bool);
    let troubles: [(&str, Edit); 4] = [
        ("guards", |w, there| w.guards_intact = !there),
        ("conflict", |w, there| {
            w.conflicts = if there {
                vec!["two hosts".to_owned()]
            } else {
                Vec::new()
            };
        }),
        ("handsOff", |w, there| {
            w.edit_host(|host| host.hands_off = there);
        }),
        ("paused", |w, there| {
            w.edit_card(0, |card| card.paused = there);
        }),
    ];
    for (what, trouble) in troubles {
        let mut world = World::installed(&["card1"]);
        world.strict = true;
        trouble(&mut world, true);
        world.settle(secs(60));
        world.installs_by_hand(0, "os-2");
        world.settle(secs(300));
        assert!(
            !world.card_says(0).contains("Ready"),
            "{what}: {}",
            world.told()
        );
        assert_eq!(drifted(&world).status, "True", "{what}");
        trouble(&mut world, false);
        world.settle(secs(120));
        assert_eq!(drifted(&world).status, "True", "{what}");
        trouble(&mut world, true);
        world.installs_by_hand(0, "os-1");
        world.settle(secs(300));
        assert_eq!(drifted(&world).status, "False", "{what}: {}", world.told());
    }
}

#[test]
fn a_stateless_card_that_came_up_from_its_disk_has_failed_to_boot() {
    let mut world = super::network_boot::running();
    world.cards[0].disk = Some(image("os-2"));
    world.cards[0].machine.http_uri = None;
    world.cards[0].machine.lose_override();
    world.reboot_card(0);
    world.settle(secs(300));
    let os = world.cards[0].os.as_ref();
    assert_eq!(os.map(|os| os.image.clone()), Some(image("os-2")));
    assert!(!world.is_ready(), "{}", world.told());
    never_drifted(&world);
}
