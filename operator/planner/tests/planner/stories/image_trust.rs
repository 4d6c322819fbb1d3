//! An image that is not trusted, not made for a card, or too old goes nowhere (S9, R53).

use lockstep_crds::ImageRules;
use lockstep_crds::boot_policy::{HostWait, WaitUntil};
use lockstep_crds::host::Disruption;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use crate::world::build::image;
use crate::world::{World, secs};

fn found(trust: Judgement, fit: Judgement, security_version: i64) -> Vetting {
    Vetting {
        room: None,
        trust,
        fit,
        security_version,
    }
}

fn not_met(why: &str) -> Judgement {
    Judgement::NotMet(why.to_owned())
}

fn not_known(why: &str) -> Judgement {
    Judgement::NotKnown(why.to_owned())
}

fn vet(world: &mut World, version: &str, vetting: Vetting) {
    world.vetted.insert(version.to_owned(), vetting);
}

fn minimum(world: &mut World, security_version: i64) {
    world.edit_policy(|policy| {
        policy.images = Some(ImageRules {
            minimum_security_version: Some(security_version),
            ..ImageRules::default()
        });
    });
}

fn wants(world: &mut World, version: &str) {
    let image = Some(lockstep_crds::LocalRef {
        name: version.to_owned(),
    });
    world.edit_policy(|policy| policy.image_ref = image);
}

/// Nothing was done to the card or its host, and people read why.
#[track_caller]
fn is_refused(world: &mut World, reason: &str, words: &[&str]) {
    world.settle(secs(1200));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert!(world.effects.is_empty() && world.tainted.is_empty());
    assert!(world.status().hold.is_none(), "{}", world.told());
    assert_eq!(world.card_says(0), format!("Stalled Stalled: {reason}"));
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn what_must_not_go_onto_a_card_is_refused_before_anything_is_begun() {
    let met = || Judgement::Met;
    let table: [(Vetting, &str, &[&str]); 5] = [
        (
            found(not_met("it is not signed"), met(), 0),
            "ImageUntrusted",
            &[
                "os-1 (sha256:1111",
                "does not go onto dpu/card1: it is not signed",
                "Have the image signed",
            ],
        ),
        (
            found(met(), not_met("it is for maker Intel"), 0),
            "ImageDoesNotFit",
            &[
                "os-1 is not made for dpu/card1: it is for maker Intel",
                "Name an image that is made for this card",
            ],
        ),
        (
            found(not_known("no answer"), met(), 0),
            "ImageTrustNotKnown",
            &[
                "may be trusted is not known: no answer",
                "Look at the sources in spec.signatures",
            ],
        ),
        (
            found(met(), not_known("nobody told"), 0),
            "ImageFitNotKnown",
            &[
                "is made for dpu/card1 is not known: nobody told",
                "DpuInventory",
            ],
        ),
        // What needs a person is told before what may come by itself.
        (
            found(not_known("no answer"), not_met("it is for maker Intel"), 0),
            "ImageDoesNotFit",
            &[],
        ),
    ];
    for up in [false, true] {
        for (vetting, reason, words) in &table {
            let mut world = World::new(&["card1"]);
            world.strict = true;
            if up {
                world.power_on_host();
                world.edit_host(|host| host.disruption = Disruption::Allowed);
            }
            vet(&mut world, "os-1", vetting.clone());
            is_refused(&mut world, reason, words);
            world.vetted.clear();
            world.until("Ready", secs(3600), World::is_ready);
        }
    }
}

#[test]
fn what_is_not_known_yet_is_waited_for_first() {
    for (vetting, reason) in [
        (
            found(not_known("x"), Judgement::Met, 0),
            "ImageTrustNotKnown",
        ),
        (found(Judgement::Met, not_known("x"), 0), "ImageFitNotKnown"),
    ] {
        let mut world = World::new(&["card1"]);
        vet(&mut world, "os-1", vetting);
        world.settle(secs(60));
        assert_eq!(
            world.card_says(0),
            format!("Inspecting Reconciling: {reason}")
        );
    }
}

#[test]
fn an_image_below_the_policys_security_version_is_refused() {
    let mut world = World::new(&["card1"]);
    vet(&mut world, "os-1", found(Judgement::Met, Judgement::Met, 2));
    minimum(&mut world, 3);
    is_refused(
        &mut world,
        "SecurityVersionTooLow",
        &[
            "its security version is 2, and the policy asks for 3",
            "or a higher one in imageRef",
        ],
    );
    minimum(&mut world, 2);
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_card_that_has_run_a_higher_security_version_does_not_go_back() {
    for fresh in [false, true] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        vet(&mut world, "os-2", found(Judgement::Met, Judgement::Met, 7));
        vet(&mut world, "os-1", found(Judgement::Met, Judgement::Met, 6));
        wants(&mut world, "os-2");
        if fresh {
            // It was adopted, and never installed by us.
            world.cards[0].disk = Some(image("os-2"));
            world.power_on_card(0);
        }
        world.until("Ready", secs(3600), World::is_ready);
        world.settle(secs(120));
        assert_eq!(world.status().cards[0].security_version, Some(7));
        let (deeds, host) = (world.deeds().len(), world.host_says());
        wants(&mut world, "os-1");
        world.settle(secs(1200));
        assert_eq!(
            world.card_says(0),
            "Stalled Stalled: SecurityVersionTooLow",
            "{}",
            world.told()
        );
        let message = world.card_message(0);
        let why = "its security version is 6, and the card has run 7";
        assert!(message.contains(why), "{message}");
        assert_eq!(world.deeds().len(), deeds, "{}", world.told());
        assert_eq!(host, "Ready: AsWanted");
        // As good as what ran is good enough.
        vet(&mut world, "os-1", found(Judgement::Met, Judgement::Met, 7));
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        world.until("os-1", secs(3600), World::is_ready);
    }
}

#[test]
fn what_runs_already_is_adopted_all_the_same() {
    for vetting in [
        found(not_met("x"), Judgement::Met, 0),
        found(Judgement::Met, not_met("x"), 0),
        found(not_known("x"), not_known("x"), 0),
    ] {
        let mut world = World::new(&["card1"]);
        vet(&mut world, "os-1", vetting);
        minimum(&mut world, 9);
        world.cards[0].disk = Some(image("os-1"));
        world.power_on_card(0);
        world.until("Ready", secs(1800), World::is_ready);
        assert!(world.effects.is_empty(), "{}", world.told());
        assert_eq!(world.status().cards[0].security_version, None);
    }
}

#[test]
fn a_host_is_not_held_for_another_card_either() {
    let mut world = World::new(&["card1", "card2"]);
    world.strict = true;
    let own = Some(lockstep_crds::LocalRef {
        name: "os-2".into(),
    });
    world.edit_card(0, |card| card.image_ref = own);
    vet(&mut world, "os-2", found(not_met("x"), Judgement::Met, 0));
    is_refused(&mut world, "ImageUntrusted", &[]);
    assert_eq!(world.card_says(1), "Stalled Stalled: HoldWouldNotEnd");
    assert!(world.card_message(1).contains("known to be trusted"));
    world.edit_policy(|policy| {
        policy.host_wait = HostWait {
            until: WaitUntil::None,
            ..policy.host_wait.clone()
        };
    });
    world.until("card2", secs(3600), |w| {
        w.card_says(1) == "Ready Ready: AsWanted"
    });
    assert!(world.recorded.iter().all(|d| d.target.name == "card2"));
}

/// Whoever presses the button of a card that is armed has it installed.
#[test]
fn what_is_armed_is_taken_back_when_its_image_is_not_trusted_any_more() {
    for (vetting, is_final) in [
        (found(not_met("revoked"), Judgement::Met, 0), true),
        (found(not_known("silent"), Judgement::Met, 0), false),
    ] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.until("hold and medium", secs(300), |w| w.recorded.len() == 2);
        vet(&mut world, "os-1", vetting);
        world.settle(secs(1500));
        let deeds = world.deeds();
        assert!(!deeds.contains(&"PowerOn dpu/card1"), "{}", world.told());
        let armed = !world.status().cards[0].armed.is_empty();
        assert_eq!(armed, !is_final, "{}", world.told());
        world.vetted.clear();
        world.until("Ready", secs(3600), World::is_ready);
    }
}
