//! A card that somebody changes again and again, under a policy that puts it back.

use lockstep_crds::boot_policy::AllowedMethod;
use lockstep_crds::host::{HostRole, SlotPower};
use proptest::prelude::*;

use super::events::{Event, events, happen};
use super::{Start, begin, config, ends, rest, starts};
use crate::world::secs;

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 4, ..config() })]

    /// How often is counted by the world, for each wish.
    #[test]
    fn a_card_that_is_changed_again_and_again_is_put_back_twice_whatever_happens(
        start in starts(),
        changes in prop::collection::vec(
            (0..1500_i64, prop::collection::vec(events(), 0..6)), 1..7,
        ),
    ) {
        let mut world = begin(&Start {
            role: HostRole::Server,
            slot: SlotPower::Yes,
            coupled: false,
            node: false,
            disrupt: true,
            guess: true,
            repairs: true,
            restarted: false,
            methods: vec![AllowedMethod::VirtualMedia],
            ..start
        });
        rest(&mut world, 1800);
        let mut spare = None;
        for (seconds, events) in &changes {
            world.installs_by_hand(0, "os-2");
            rest(&mut world, *seconds);
            for event in events {
                world.tell(format!("-- {event:?}"));
                happen(&mut world, event, &mut spare);
            }
        }
        happen(&mut world, &Event::Repairs(true), &mut spare);
        world.tell("-- calm");
        ends(&mut world);
        // Now nothing hinders a repair but how often it was done.
        for _ in 0..3 {
            world.installs_by_hand(0, "os-2");
            world.pass(secs(60));
            ends(&mut world);
        }
    }
}
