//! A record older than reality, and a record that this release cannot read.

use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::{ArmedEffect, HoldState};

use crate::world::{World, secs};

/// First light, restored at `late` from what was recorded at `early`.
fn restored(early: i64, late: i64) -> World {
    let mut world = World::new(&["card1"]);
    world.settle(secs(early));
    let host = world.host.as_ref().and_then(|host| host.status.clone());
    let card = world.cards[0]
        .dpu
        .as_ref()
        .and_then(|dpu| dpu.status.clone());
    world.settle(secs(late - early));
    world.host.as_mut().unwrap().status = host;
    world.cards[0].dpu.as_mut().unwrap().status = card;
    world.tell("restored");
    world
}

#[test]
fn any_backup_at_any_time_repeats_no_effect() {
    for early in (0..180).step_by(10) {
        for late in (early + 5..230).step_by(15) {
            let mut world = restored(early, late);
            world.recorded.clear();
            let told = |world: &World| format!("{early} {late}\n{}", world.told());
            let end = world.now + secs(3000);
            while !(world.is_ready() && world.host_says() == "Ready: AsWanted") {
                assert!(world.now < end, "{}", told(&world));
                world.round();
            }
            let boots = world
                .deeds()
                .iter()
                .filter(|d| **d == "PowerOn dpu/card1")
                .count();
            assert_eq!(boots, 1, "{}", told(&world));
            let stages = world
                .deeds()
                .iter()
                .filter(|d| d.starts_with("StageInstall"))
                .count();
            assert!(stages <= 2, "{}", told(&world));
            assert!(
                world.host_machine.is_on() && world.host_machine.custody.is_none(),
                "{}",
                told(&world)
            );
            assert!(world.cards[0].machine.media.is_none(), "{}", told(&world));
        }
    }
}

#[test]
fn only_observing_comes_first() {
    let mut world = restored(10, 60);
    world.operator_step();
    assert_eq!(
        world.host_says(),
        "Reconciling: Adopting",
        "{}",
        world.told()
    );
    let effects = world.effects.len();
    world.settle(secs(45));
    assert_eq!(world.effects.len(), effects);
    assert_eq!(world.host_says(), "Reconciling: Adopting");
}

#[test]
fn a_hold_that_the_record_has_lost_is_found_again_and_ended() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.host.as_mut().unwrap().status = None;
    world.operator_step();
    let hold = world.status().hold.clone().unwrap();
    assert_eq!(hold.seq, world.host_machine.custody.as_ref().unwrap().seq);
    world.until("Ready", secs(900), World::is_ready);
    assert!(world.host_machine.is_on());
}

/// A card that was another host's comes with the higher numbers of that host.
#[test]
fn a_card_from_another_host_is_no_backup() {
    use lockstep_crds::directive::OutcomeKind;
    use lockstep_crds::report::{Execution, Outcome};
    let mut world = World::new(&["card1", "card2"]);
    let second = world.cards.pop().unwrap();
    world.until("recorded", secs(300), |w| !w.recorded.is_empty());
    let open = world.status().directives.clone();
    world.cards.push(second);
    world.cards[1].machine.execution = Some(Execution {
        accepted: 50,
        outcome: Some(Outcome {
            result: OutcomeKind::Done,
            reason: None,
            message: None,
        }),
    });
    world.agent.idle = true;
    world.round();
    let after = &world.status().directives;
    assert!(after.starts_with(&open), "{}", world.told());
    assert!(world.status().seq >= 50);
    assert!(!world.host_says().contains("Adopting"));
    world.agent.idle = false;
    world.until("Ready", secs(1800), World::is_ready);
}

fn unreadable(edit: impl FnOnce(&mut DpuHostStatus)) {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    edit(world.host.as_mut().unwrap().status.as_mut().unwrap());
    let before = world.status().clone();
    let effects = world.effects.len();
    world.settle(secs(7200));
    assert_eq!(
        world.host_says(),
        "Stalled: UnknownRecord",
        "{}",
        world.told()
    );
    assert_eq!(world.effects.len(), effects);
    let after = world.status();
    assert_eq!(
        (
            &after.directives,
            &after.hold,
            &after.cards,
            &after.history,
            after.seq
        ),
        (
            &before.directives,
            &before.hold,
            &before.cards,
            &before.history,
            before.seq
        )
    );
}

#[test]
fn what_is_not_understood_is_kept_and_not_built_upon() {
    unreadable(|status| {
        let mut directive = lockstep_directive();
        directive.action.kind = "Levitate".into();
        status.directives.push(directive);
    });
    unreadable(|status| {
        let mut directive = lockstep_directive();
        directive.target.kind = "Rack".into();
        status.directives.push(directive);
    });
    unreadable(|status| {
        status.hold.get_or_insert_with(hold).state = HoldState::from("FrozenInTime");
    });
    unreadable(|status| {
        status.hold.get_or_insert_with(hold).releasing = Some("Whim".into());
    });
    unreadable(|status| status.cards[0].armed = vec![ArmedEffect::from("PendingFirmware")]);
}

fn hold() -> lockstep_crds::host::HoldStatus {
    serde_json::from_value(serde_json::json!({
        "mechanism": "PoweredOff", "state": "PoweredOff",
        "since": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T01:00:00Z",
    }))
    .unwrap()
}

fn lockstep_directive() -> lockstep_crds::directive::Directive {
    serde_json::from_value(serde_json::json!({
        "seq": 3, "step": "BootCard", "executor": "default",
        "target": {"kind": "Card", "name": "cardX", "uid": "uid-cardX"},
        "action": {"kind": "PowerOn"}, "expects": {},
        "issuedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:03:00Z",
        "settleSeconds": 60,
    }))
    .unwrap()
}
