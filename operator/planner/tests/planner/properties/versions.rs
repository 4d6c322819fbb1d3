//! Whatever is written as a version: what cannot be told is never a fit, and numbers are numbers.

use std::cmp::Ordering;

use lockstep_crds::ComponentRequirement;
use lockstep_crds::report::Vantage;
use lockstep_crds::version::compare;
use lockstep_planner::requirement::{Judgement, judge};
use lockstep_planner::view::{ComponentSeen, Required};
use proptest::prelude::*;

/// What makers write, and what they do not.
fn versions() -> impl Strategy<Value = String> {
    prop_oneof![
        "(BF-|v|)[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[0-9]{1,2})?(-rc[0-9]|-g[0-9a-f]{4})?",
        "[A-Za-z0-9.~_-]{0,12}",
        "\\PC{0,8}",
    ]
}

fn numbers() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![0..3_u32, any::<u32>()], 1..5)
}

fn dotted(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(".")
}

/// Longer lists with nothing but zeros behind are the same version.
fn bare(mut numbers: Vec<u32>) -> Vec<u32> {
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

fn required(running: &str, least: Option<&str>, below: Option<&str>) -> Required {
    Required {
        requirement: ComponentRequirement {
            component: "x".into(),
            at_least: least.map(str::to_owned),
            below: below.map(str::to_owned),
        },
        seen: vec![ComponentSeen {
            name: "x".into(),
            running: Some(running.to_owned()),
            pending: None,
            from: Vantage::CardBmc,
            report: "bmc-card-x".into(),
            inspected: None,
            agent: None,
        }],
        contradicted: None,
    }
}

proptest! {
    #[test]
    fn numbers_compare_as_numbers(one in numbers(), other in numbers()) {
        let told = compare(&dotted(&one), &dotted(&other));
        prop_assert_eq!(told, Some(bare(one).cmp(&bare(other))));
    }

    #[test]
    fn nothing_is_above_and_below_the_same(one in versions(), other in versions()) {
        if let (Some(there), Some(back)) = (compare(&one, &other), compare(&other, &one)) {
            prop_assert_eq!(there, back.reverse());
        }
        prop_assert!(matches!(compare(&one, &one), None | Some(Ordering::Equal)));
    }

    #[test]
    fn a_fit_is_between_its_bounds(
        running in versions(),
        least in prop::option::of(versions()),
        below in prop::option::of(versions()),
    ) {
        let required = required(&running, least.as_deref(), below.as_deref());
        let orders = [&least, &below].map(|bound| bound.as_ref().map(|b| compare(&running, b)));
        let fits = [
            orders[0].is_none_or(|order| order.is_some_and(Ordering::is_ge)),
            orders[1].is_none_or(|order| order.is_some_and(Ordering::is_lt)),
        ];
        match judge(&required, |_| true) {
            Judgement::Met => prop_assert!(fits[0] && fits[1]),
            Judgement::NotMet(why) => {
                prop_assert!(why.contains("no version") || fits != [true, true]);
            }
            Judgement::NotKnown(_) => {
                let is_open = |order: &Option<Option<Ordering>>| *order == Some(None);
                prop_assert!(orders.iter().any(is_open));
            }
        }
        // Nobody is alive who says so.
        let silent = judge(&required, |_| false);
        prop_assert_ne!(silent, Judgement::Met);
    }
}
