//! Firmware that a card's host writes: whatever becomes of it, and of host and card meanwhile.

use lockstep_crds::boot_policy::AllowedMethod::{DevlinkFlash, VirtualMedia};
use lockstep_crds::boot_policy::{BootOrder, HoldMechanism};
use lockstep_crds::host::{HostRole, SlotPower};
use proptest::prelude::*;

use super::events::{events, flashes, happen};
use super::{Start, begin, config, ends, rest, starts};
use crate::world::secs;

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 4, ..config() })]

    #[test]
    fn firmware_that_a_host_writes_comes_to_an_end_whatever_happens(
        start in starts(),
        made in prop::collection::vec(flashes(), 0..4),
        keeps in any::<bool>(),
        stored in any::<bool>(),
        seconds in 30..2000_i64,
        events in prop::collection::vec(events(), 0..40),
    ) {
        let mut world = begin(&Start {
            order: BootOrder::XpuFirst,
            waits: true,
            role: HostRole::Server,
            slot: SlotPower::Yes,
            mechanisms: vec![HoldMechanism::NodeTainted],
            coupled: false,
            disrupt: true,
            node: true,
            host_on: false,
            cards_run: true,
            restarted: false,
            methods: vec![VirtualMedia, DevlinkFlash],
            pushes: (true, true),
            ..start
        });
        for card in &mut world.cards {
            card.firmware = vec!["dev-e".to_owned()];
            card.machine.keeps_flashed = keeps;
            card.machine.flashed.1 = stored.then(|| "dev-e".to_owned());
        }
        world.host_agent.as_mut().unwrap().flashes = made.into();
        world.pass(secs(60));
        rest(&mut world, seconds);
        let mut spare = None;
        for event in &events {
            world.tell(format!("-- {event:?}"));
            happen(&mut world, event, &mut spare);
        }
        world.tell("-- calm");
        ends(&mut world);
    }
}
