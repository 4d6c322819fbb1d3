//! Wishes to wipe and to retire cards, among everything else that happens.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::LocalRef;
use lockstep_crds::wipe::{WipeResult, WipeSpec};
use proptest::prelude::*;

use super::events::{Event, events, happen};
use super::{Start, begin, config, ends, rest, starts};
use crate::world::{World, secs};

/// What a person wants of the first card, or something else that happens.
#[derive(Clone, Debug)]
enum Next {
    /// A wish with that token, confirmed or not, good for so many seconds.
    Wipe(&'static str, bool, i64),
    GivesUp,
    Retires(bool),
    /// What the wiper tells from now on.
    Wipes(WipeResult),
    /// The wiper's system does not come up any more, or does again.
    Breaks(bool),
    Happens(Event),
}

fn next() -> impl Strategy<Value = Next> {
    let tokens = prop_oneof![Just("a"), Just("b"), Just("c")];
    let lasts = prop_oneof![4 => 600..80_000_i64, 1 => -600..600_i64, 1 => Just(90_000)];
    prop_oneof![
        4 => (tokens, prop::bool::weighted(0.9), lasts)
            .prop_map(|(token, confirmed, lasts)| Next::Wipe(token, confirmed, lasts)),
        1 => Just(Next::GivesUp),
        1 => any::<bool>().prop_map(Next::Retires),
        1 => prop_oneof![
            Just(WipeResult::Wiped),
            Just(WipeResult::Failed),
            Just(WipeResult::NotSupported),
        ]
        .prop_map(Next::Wipes),
        1 => any::<bool>().prop_map(Next::Breaks),
        16 => events().prop_map(Next::Happens),
    ]
}

fn takes(world: &mut World, next: &Next, spare: &mut Option<lockstep_crds::DpuBootPolicy>) {
    match next {
        Next::Wipe(token, confirmed, lasts) => {
            let serial = world.cards[0].machine.identity.serial_number.clone();
            let serial = serial.unwrap_or_default().replace("-other", "");
            let wish = WipeSpec {
                token: (*token).to_owned(),
                confirm: if *confirmed {
                    serial
                } else {
                    "another".to_owned()
                },
                not_after: Time(world.now + SignedDuration::from_secs(*lasts)),
                image_ref: LocalRef {
                    name: "wiper-9".to_owned(),
                },
                diskless: false,
            };
            world.edit_card(0, |card| card.wipe = Some(wish));
        }
        Next::GivesUp => world.edit_card(0, |card| card.wipe = None),
        Next::Retires(retired) => world.edit_card(0, |card| card.retired = *retired),
        Next::Wipes(result) => world.cards[0].wipes = result.clone(),
        Next::Breaks(breaks) => {
            if *breaks {
                world.broken.insert("wiper-9".to_owned());
            } else {
                world.broken.remove("wiper-9");
            }
        }
        Next::Happens(event) => happen(world, event, spare),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 2, ..config() })]

    /// That nothing is wiped without being asked, on a stranger, or twice by one token is checked
    /// with every plan, and where the wiper runs.
    #[test]
    fn a_card_is_wiped_as_it_is_asked_whatever_happens(
        start in starts(),
        disrupt in prop::bool::weighted(0.8),
        seconds in 0..2400_i64,
        nexts in prop::collection::vec(next(), 1..40),
    ) {
        let mut world = begin(&Start { disrupt, ..start });
        rest(&mut world, seconds);
        let mut spare = None;
        for next in &nexts {
            world.tell(format!("-- {next:?}"));
            takes(&mut world, next, &mut spare);
            world.pass(secs(1));
        }
        world.tell("-- calm");
        ends(&mut world);
    }
}
