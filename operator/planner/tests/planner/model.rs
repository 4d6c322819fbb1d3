//! First light with a host and one card, the way back from an image that does not come up, and a power
//! cycle for firmware, all orders of steps: an exhaustive search.
//!
//! The site's agent and the operator take turns in every order, and time passes when
//! neither has anything to do. A few things may go wrong: a step, in every way that
//! [`Fault`] and [`Crash`] know, or somebody is slower than time. Breadth first, so
//! that what is found is found on the shortest path.
//!
//! `MODEL_FAULTS=3 cargo test -p lockstep-planner model` looks further.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::OnInstallFailure;

use crate::world::agent::Fault;
use crate::world::build::{GOLDEN, image};
use crate::world::machine::Firmware;
use crate::world::operator::Crash;
use crate::world::{World, secs};

/// Seconds of the world's time that are searched.
const HORIZON: i64 = 900;

#[derive(Clone)]
struct State {
    world: World,
    faults: u8,
}

impl State {
    /// Everything that the future depends on.
    fn key(&self) -> u64 {
        let world = &self.world;
        let card = &world.cards[0];
        let status = world.host.as_ref().and_then(|host| host.status.as_ref());
        let mut hasher = DefaultHasher::new();
        format!(
            "{} {} {} {:?} {status:?} {:?} {:?} {:?} {:?} {:?}",
            world.now,
            self.faults,
            world.agent.alive,
            world.agent.lease,
            world.host_machine,
            card.machine,
            card.disk,
            card.os.as_ref().map(|os| &os.epoch),
            card.os_lease,
        )
        .hash(&mut hasher);
        hasher.finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Agent(Fault),
    AgentDies,
    AgentStarts,
    Operator(Crash),
    Time,
}

fn first() -> State {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    // The image has been fetched.
    world.agent_step();
    world.agent_step();
    State { world, faults: 0 }
}

fn turns(state: &State, faults: u8) -> Vec<Turn> {
    let world = &state.world;
    let mut turns = vec![Turn::Operator(Crash::Never)];
    if !world.agent.alive {
        turns.push(Turn::AgentStarts);
        return turns;
    }
    turns.push(Turn::Agent(Fault::Fine));
    if state.faults == faults {
        return turns;
    }
    turns.push(Turn::AgentDies);
    turns.push(Turn::Operator(Crash::AfterRecord));
    let acts = [&world.host_machine, &world.cards[0].machine]
        .into_iter()
        .filter_map(|machine| machine.execution.as_ref())
        .any(|execution| execution.outcome.is_none());
    if acts {
        let faults = [
            Fault::LostReply,
            Fault::LostCall,
            Fault::Late(40),
            Fault::CrashBefore,
            Fault::CrashAfter,
            Fault::Refused,
            Fault::Half,
        ];
        turns.extend(faults.map(Turn::Agent));
    }
    turns
}

/// The world checks every plan and every effect by itself, and panics with its story.
fn next(last: &State, turn: Turn) -> State {
    let mut next = last.clone();
    let world = &mut next.world;
    let fine = matches!(
        turn,
        Turn::Agent(Fault::Fine) | Turn::AgentStarts | Turn::Operator(Crash::Never)
    );
    next.faults += u8::from(!fine);
    match turn {
        Turn::Agent(fault) => {
            world.agent.faults = [fault].into();
            world.agent_step();
            world.agent.faults.clear();
        }
        Turn::AgentDies => world.agent_dies(),
        Turn::AgentStarts => world.agent_starts(),
        Turn::Operator(crash) => {
            world.operator_step_to(crash);
        }
        Turn::Time => world.pass(secs(60)),
    }
    let early = world.host_machine.is_on() && world.cards[0].os.is_none();
    assert!(!early, "the host is up before its card\n{}", world.told());
    next
}

/// A card that runs `os-1` and was powered on for `os-2`, which is among the broken ones, a moment
/// before it is given up. Its host is held off.
fn broken_update(broken: &[&str], golden: bool) -> State {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world
        .broken
        .extend(broken.iter().map(|&version| version.to_owned()));
    world.edit_policy(|policy| {
        policy.install.max_attempts = 1;
        policy.install.golden_image_ref = golden.then(|| LocalRef {
            name: GOLDEN.into(),
        });
        policy.install.os_timeout_seconds = 150;
        policy.install.on_failure = OnInstallFailure::RollBack;
        policy.image_ref = Some(LocalRef {
            name: "os-2".into(),
        });
    });
    world.until("power", secs(900), |world| world.is_installing(0));
    let last = world.now + secs(140);
    while world.now < last {
        world.round();
    }
    world.story.clear();
    State { world, faults: 0 }
}

/// A card that runs its system and whose BMC has just written firmware of its network interface, a
/// moment before it is powered off and on for that. Its host is held off.
fn written_firmware() -> State {
    let mut world = World::installed(&["card1"]);
    world.power_off_host();
    world.edit_policy(|policy| policy.install.max_attempts = 1);
    world.cards[0].firmware = vec!["nic-d".to_owned()];
    world.cards[0].machine.makes_of_firmware = Firmware::Waits;
    world.until("written", secs(900), |world| {
        world.cards[0].machine.firmware.1.is_some()
    });
    world.story.clear();
    State { world, faults: 0 }
}

/// Searches all that may follow; returns how many of the states are such as is hoped for.
fn search(first: State, faults: u8, hoped: impl Fn(&World) -> bool) -> usize {
    let end = first.world.now + secs(HORIZON);
    let mut seen = HashSet::from([first.key()]);
    let mut edge = vec![first];
    let mut good = 0;
    let mut depth = 0;
    while !edge.is_empty() {
        depth += 1;
        let mut found = Vec::new();
        for state in &edge {
            let key = state.key();
            let mut idle = true;
            let mut nexts = Vec::new();
            for turn in turns(state, faults) {
                let next = next(state, turn);
                idle &= next.faults > state.faults || next.key() == key;
                nexts.push(next);
            }
            if idle || state.faults < faults {
                let mut next = next(state, Turn::Time);
                next.faults = state.faults + u8::from(!idle);
                nexts.push(next);
            }
            for next in nexts {
                let in_time = next.world.now <= end;
                if in_time && seen.insert(next.key()) {
                    good += usize::from(hoped(&next.world));
                    found.push(next);
                }
            }
        }
        edge = found;
    }
    println!(
        "{} states to depth {depth}, {good} of them as hoped for",
        seen.len()
    );
    assert!(good > 0, "what is hoped for never comes, to depth {depth}");
    good
}

fn faults(unless_asked: u8) -> u8 {
    std::env::var("MODEL_FAULTS").map_or(unless_asked, |faults| faults.parse().unwrap())
}

#[test]
fn first_light_in_every_order() {
    search(first(), faults(2), World::is_settled);
}

/// The world itself sees to it that nothing goes onto the card but what it has run, within its
/// attempts and once.
#[test]
fn the_way_back_in_every_order() {
    search(broken_update(&["os-2"], false), faults(1), |world| {
        is_back(world, "os-1")
    });
}

#[test]
fn the_way_on_to_the_golden_image_in_every_order() {
    let broken = broken_update(&["os-2", "os-1"], true);
    search(broken, faults(1), |world| is_back(world, GOLDEN));
}

fn is_back(world: &World, version: &str) -> bool {
    let back = world.card_says(0) == "Degraded Stalled: RolledBack";
    let os = world.cards[0].os.as_ref();
    let runs = os.is_some_and(|os| os.image == image(version));
    assert!(!back || runs, "it is not back\n{}", world.told());
    back
}

/// The host is up at no time before the card's own system is again, which a search asserts of each step.
#[test]
fn a_power_cycle_for_firmware_in_every_order() {
    search(written_firmware(), faults(1), |world| {
        let done = world.is_settled();
        let runs = world.cards[0].machine.firmware == ("nic-d".to_owned(), None);
        assert!(!done || runs, "the old firmware runs\n{}", world.told());
        done
    });
}

impl World {
    fn is_settled(&self) -> bool {
        let host = self.host.as_ref().and_then(|host| host.status.as_ref());
        host.is_some() && self.host_says() == "Ready: AsWanted"
    }
}
