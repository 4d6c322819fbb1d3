//! Lost replies, dead agents, silent BMCs, refusals: observed, never repeated blindly.

use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::MeasuredSlotPower;
use lockstep_crds::report::{Custody, CustodyState};

use crate::world::agent::Fault;
use crate::world::operator::Crash;
use crate::world::{World, secs};

fn count(world: &World, what: &str) -> usize {
    world
        .deeds()
        .iter()
        .filter(|deed| deed.starts_with(what))
        .count()
}

/// First light with one fault at the n-th effect; the agent comes back by itself.
fn with_fault(nth: usize, fault: Fault) -> World {
    let mut world = World::new(&["card1"]);
    world.agent.faults = std::iter::repeat_n(Fault::Fine, nth)
        .chain([fault])
        .collect();
    let end = world.now + secs(6000);
    while !world.is_done() {
        assert!(world.now < end, "{nth} {fault:?}\n{}", world.told());
        world.round();
        if !world.agent.alive {
            world.pass(secs(20));
            world.agent_starts();
        }
    }
    world
}

impl World {
    fn is_done(&self) -> bool {
        let host = self.host.as_ref().and_then(|host| host.status.as_ref());
        host.is_some() && self.host_says() == "Ready: AsWanted" && self.is_ready()
    }
}

#[test]
fn one_fault_at_every_effect_and_the_result_is_the_same() {
    for nth in 0..5 {
        for fault in [
            Fault::LostReply,
            Fault::LostCall,
            Fault::Late(40),
            Fault::CrashBefore,
            Fault::CrashAfter,
            Fault::Refused,
            Fault::Half,
        ] {
            let world = with_fault(nth, fault);
            // A call that never reached its machine is made again, no other is; an agent
            // that dies forgets what it had accepted for the other machine, too.
            let again = match fault {
                Fault::LostCall | Fault::Refused | Fault::Half => 1..=1,
                Fault::CrashBefore => 1..=2,
                Fault::CrashAfter => 0..=1,
                Fault::Fine | Fault::LostReply | Fault::Late(_) => 0..=0,
            };
            let told = format!("{nth} {fault:?}\n{}", world.told());
            let halves = usize::from(fault == Fault::Half && nth == 1);
            assert_eq!(world.effects.len(), 5 + halves, "{told}");
            assert!(again.contains(&(world.recorded.len() - 5)), "{told}");
            assert_eq!(count(&world, "PowerOn dpu/card1"), 1, "{told}");
            assert!(
                world.host_machine.is_on() && world.cards[0].machine.media.is_none(),
                "{told}"
            );
        }
    }
}

#[test]
fn operators_that_die_at_every_write_change_nothing() {
    for every in 1..12 {
        for crash in [Crash::BeforeRecord, Crash::AfterRecord] {
            let mut world = World::new(&["card1"]);
            let mut step = 0;
            while world.now < crate::world::build::start() + secs(1500) {
                step += 1;
                world.agent_step();
                let now = if step % every == 0 {
                    Crash::Never
                } else {
                    crash
                };
                world.operator_step_to(now);
                world.pass(secs(5));
            }
            assert!(world.is_done(), "{every} {crash:?}\n{}", world.told());
            assert_eq!(world.effects.len(), 5, "{}", world.told());
        }
    }
}

#[test]
fn two_operators_are_harmless() {
    let mut world = World::new(&["card1"]);
    while world.now < crate::world::build::start() + secs(1000) {
        world.agent_step();
        world.operator_step();
        world.operator_step();
        world.pass(secs(5));
    }
    assert!(
        world.is_done() && world.effects.len() == 5,
        "{}",
        world.told()
    );
}

#[test]
fn a_bmc_that_is_long_silent_stalls_and_goes_on() {
    let mut world = World::new(&["card1"]);
    world.until("armed", secs(300), |w| w.cards[0].machine.media.is_some());
    world.cards[0].machine.answers = false;
    world.settle(secs(60));
    assert_eq!(
        world.host_says(),
        "Reconciling: BmcUnreachable",
        "{}",
        world.told()
    );
    world.settle(secs(900));
    assert_eq!(
        world.host_says(),
        "Stalled: BmcUnreachable",
        "{}",
        world.told()
    );
    assert_eq!(count(&world, "PowerOn"), 0);
    world.cards[0].machine.answers = true;
    world.until("Ready", secs(900), World::is_ready);
    assert_eq!(world.effects.len(), 5);
}

#[test]
fn a_bmc_that_is_silent_while_its_card_boots_leaves_no_stale_complaint() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.cards[0].machine.answers = false;
    world.settle(secs(30));
    assert_eq!(
        world.host_says(),
        "Reconciling: BmcUnreachable",
        "{}",
        world.told()
    );
    world.cards[0].machine.answers = true;
    world.settle(secs(20));
    assert_eq!(
        world.host_says(),
        "Reconciling: AwaitingOs",
        "{}",
        world.told()
    );
}

#[test]
fn a_site_agent_that_is_silent_stalls_and_goes_on() {
    let mut world = World::new(&["card1"]);
    world.until("armed", secs(300), |w| w.cards[0].machine.media.is_some());
    world.agent_dies();
    world.settle(secs(200));
    assert_eq!(
        world.host_says(),
        "Reconciling: SiteAgentSilent",
        "{}",
        world.told()
    );
    world.settle(secs(900));
    assert_eq!(
        world.host_says(),
        "Stalled: SiteAgentSilent",
        "{}",
        world.told()
    );
    world.agent_starts();
    world.until("Ready", secs(1200), World::is_ready);
    assert_eq!(world.effects.len(), 5, "{}", world.told());
}

#[test]
fn a_running_card_stays_ready_while_its_site_agent_is_silent() {
    let mut world = World::installed(&["card1"]);
    world.agent_dies();
    world.settle(secs(1800));
    assert_eq!(world.host_says(), "Stalled: SiteAgentSilent");
    assert_eq!(
        world.card_says(0),
        "Ready Ready: AsWanted",
        "{}",
        world.told()
    );
}

#[test]
fn an_executor_that_takes_nothing_up_is_asked_a_few_times_and_then_a_person_is() {
    let mut world = World::new(&["card1"]);
    world.agent.idle = true;
    world.settle(secs(7200));
    assert_eq!(
        world.host_says(),
        "Stalled: DirectiveFailed",
        "{}",
        world.told()
    );
    let asked = world.recorded.len();
    assert_eq!(asked, 8, "{}", world.told());
    world.settle(secs(7200));
    assert_eq!(world.recorded.len(), asked, "{}", world.told());
    world.agent.idle = false;
    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(10));
    world.until("Ready", secs(900), World::is_ready);
}

#[test]
fn a_bmc_that_keeps_refusing_is_left_alone() {
    let mut world = World::new(&["card1"]);
    world.agent.faults = std::iter::repeat_n(Fault::Fine, 2)
        .chain(std::iter::repeat_n(Fault::Refused, 100))
        .collect();
    world.settle(secs(7200));
    assert_eq!(world.recorded.len(), 2 + 4, "{}", world.told());
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: DirectiveFailed",
        "{}",
        world.told()
    );
    let gaps: Vec<i64> = world.recorded[2..]
        .windows(2)
        .map(|pair| {
            pair[1]
                .issued_at
                .0
                .duration_since(pair[0].issued_at.0)
                .as_secs()
        })
        .collect();
    assert!(gaps[0] < gaps[1] && gaps[1] < gaps[2], "{gaps:?}");
}

#[test]
fn a_card_that_stays_dark_beside_its_host_shows_that_slots_have_no_power() {
    let mut world = World::new(&["card1"]);
    world.coupled = true;
    // The BMC takes the call and nothing comes of it.
    world.agent.faults = std::iter::repeat_n(Fault::Fine, 2)
        .chain(std::iter::repeat_n(Fault::LostCall, 100))
        .collect();
    world.settle(secs(3000));
    let measured = world.status().slot_power.clone().unwrap();
    assert_eq!(measured.value, MeasuredSlotPower::No, "{}", world.told());
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: HoldNeedsSlotPower",
        "{}",
        world.told()
    );
    let tries = world
        .recorded
        .iter()
        .filter(|d| d.action.kind.as_str() == "PowerOn")
        .count();
    assert_eq!(tries, 2, "{}", world.told());
}

#[test]
fn a_lost_reply_is_waited_for_as_long_as_it_may_land() {
    let mut world = World::new(&["card1"]);
    world.agent.faults = [Fault::Fine, Fault::Fine, Fault::LostCall].into();
    world.until("the lost call", secs(300), |w| w.agent.faults.is_empty());
    let lost = world.now;
    world.until("another call", secs(600), |w| w.recorded.len() == 4);
    let waited = world.now.duration_since(lost).as_secs();
    assert!((60..200).contains(&waited), "{waited}\n{}", world.told());
}

/// The order file is written before anything is sent, so it is there however the request ended.
#[test]
fn an_order_whose_setting_is_not_in_force_is_no_hold() {
    for fault in [Fault::LostCall, Fault::Refused] {
        let mut world = World::new(&["card1"]);
        world.agent.faults = [fault, fault].into();
        world.until("held", secs(900), |w| {
            count(w, "HoldHost") == 1 || !w.agent.faults.is_empty()
        });
        while count(&world, "HoldHost") == 0 {
            world.round();
            let open = world.status().directives.iter();
            let hold = open
                .rev()
                .find(|open| open.action.kind == ActionKind::HoldHost);
            if let Some(hold) = hold.cloned() {
                world.host_machine.custody = Some(Custody {
                    seq: hold.seq,
                    state: CustodyState::Kept,
                    in_force: Some(false),
                    expires_at: hold.action.work_order.unwrap().expires_at,
                    previous: vec!["PowerRestorePolicy=LastState".into()],
                });
            }
            assert_eq!(count(&world, "PowerOn"), 0, "{}", world.told());
            assert!(
                world.now < crate::world::build::start() + secs(2000),
                "{}",
                world.told()
            );
        }
        world.until("Ready", secs(1800), World::is_ready);
    }
}

#[test]
fn what_must_be_undone_is_never_given_up() {
    let mut world = World::new(&["card1"]);
    world.until("booting", secs(300), |w| w.is_installing(0));
    world.delete_card(0);
    world.delete_host();
    world.agent.faults = [Fault::Refused; 8].into();
    world.until("refused", secs(4000), |w| w.agent.faults.len() < 4);
    world.until("gone", secs(6000), |w| w.host.is_none());
    assert!(world.host_machine.is_on(), "{}", world.told());
}

#[test]
fn a_long_message_of_an_executor_is_cut_between_words() {
    let mut world = World::new(&["card1"]);
    world.until("recorded", secs(60), |w| !w.recorded.is_empty());
    let seq = world.recorded[0].seq;
    let long = "the BMC refused it at length ".repeat(20);
    world.host_machine.execution = Some(lockstep_crds::report::Execution {
        accepted: seq,
        outcome: Some(lockstep_crds::report::Outcome {
            result: lockstep_crds::directive::OutcomeKind::Failed,
            reason: None,
            message: Some(long.clone()),
        }),
    });
    world.until("failed", secs(60), |w| w.status().failed.is_some());
    let told = world.status().failed.clone().unwrap().message.unwrap();
    let words = told.strip_suffix(" …").unwrap();
    assert!(long.starts_with(&format!("{words} ")), "{told}");
}
