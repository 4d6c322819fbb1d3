//! A card whose place nobody vouches for is changed only while somebody sees it there (S13).

use lockstep_crds::PROPOSED_LABEL;
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::HostRole;
use lockstep_planner::view::{LeaseSeen, Sighting};

use crate::world::{World, secs};

/// A card that must be seen in its host.
fn observed() -> World {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_card(0, |card| card.host_refs[0].pairing = Pairing::Observed);
    world
}

fn seen(world: &mut World, host: &str, lasts: i64) {
    let renewed = world.now;
    world.cards[0].sightings.push(Sighting {
        host: host.to_owned(),
        report: format!("host-node-of-{host}"),
        agent: Some(LeaseSeen {
            renewed,
            duration: secs(lasts),
        }),
    });
}

#[track_caller]
fn stalls(world: &mut World, word: &str) {
    world.settle(secs(120));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert_eq!(world.card_says(0), "Stalled Stalled: PairingNotProved");
    let message = world.card_message(0);
    assert!(message.contains(word), "{message}");
}

#[test]
fn what_a_live_agent_sees_is_as_good_as_a_persons_word() {
    let mut world = observed();
    stalls(
        &mut world,
        "nobody has seen that dpu/card1 sits in dpuhost/host1",
    );
    seen(&mut world, "host1", 36_000);
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn what_an_agent_saw_that_is_silent_now_is_not() {
    let mut world = observed();
    seen(&mut world, "host1", 60);
    world.pass(secs(61));
    stalls(&mut world, "host-node-of-host1, whose agent is silent now");
    world.cards[0].sightings[0].agent = None;
    stalls(&mut world, "whose agent is silent now");
}

#[test]
fn a_card_that_is_seen_in_another_host_is_not_in_this_one() {
    for elsewhere in ["host2", ""] {
        let mut world = observed();
        seen(&mut world, "host1", 36_000);
        seen(&mut world, elsewhere, 36_000);
        let place = if elsewhere.is_empty() {
            "a machine that no DpuHost stands for"
        } else {
            "dpuhost/host2"
        };
        stalls(&mut world, place);
        // Its agent has fallen silent: what it said last is no more than that.
        world.cards[0].sightings[1].agent = None;
        world.until("Ready", secs(1800), World::is_ready);
    }
}

#[test]
fn a_proof_that_ends_stops_what_has_not_begun() {
    let mut world = observed();
    seen(&mut world, "host1", 36_000);
    world.round();
    world.until("the hold", secs(300), |w| w.status().hold.is_some());
    world.cards[0].sightings.clear();
    let boots = |w: &World| w.deeds().contains(&"PowerOn dpu/card1");
    world.settle(secs(15));
    let begun = boots(&world);
    world.settle(secs(600));
    assert_eq!(boots(&world), begun, "{}", world.told());
}

#[test]
fn a_host_that_only_stands_in_for_an_unknown_one_gives_no_leave() {
    let mut world = observed();
    world.edit_host(|host| {
        host.role = HostRole::ChassisOnly;
        host.bmc = None;
        host.identity = None;
    });
    let labels = &mut world.host.as_mut().unwrap().metadata.labels;
    labels
        .get_or_insert_default()
        .insert(PROPOSED_LABEL.to_owned(), "id".to_owned());
    stalls(
        &mut world,
        "nobody has seen that dpu/card1 sits in dpuhost/host1",
    );
    // Somebody says that there is no server.
    world.edit_card(0, |card| card.host_refs[0].pairing = Pairing::Asserted);
    world.until("Ready", secs(1800), World::is_ready);
}
