//! The image of a card by its joined inventory: what plans are given, and whom news wake (R42).
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;

use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost};
use lockstep_operator::assemble::assemble;
use lockstep_operator::joins::Joined;
use lockstep_operator::world::World;
use lockstep_planner::choice::{Choice, Standing};
use lockstep_planner::view::{CardView, Wanted};
use serde_json::json;
use support::*;

/// BlueField-3 gets `new` and firmware `f`, canaries `newest`, others `old`.
fn by_family(version: u64) -> DpuBootPolicy {
    let mut policy = policy(Some("old"));
    policy.metadata.resource_version = Some(version.to_string());
    policy.spec.image_choices = serde_json::from_value(json!([
        {"name": "canary", "matchLabels": {"ring": "canary"}, "imageRef": {"name": "newest"}},
        {"name": "bf3", "cards": {"families": ["BlueField-3"]},
         "imageRef": {"name": "new"}, "firmwareRefs": [{"name": "f"}]},
    ]))
    .unwrap();
    policy
}

/// The host, whose record says what was chosen for the card and that it runs.
fn recorded(version: u64, chosen: &Choice) -> DpuHost {
    let mut host = host("h");
    host.metadata.resource_version = Some(version.to_string());
    host.status = serde_json::from_value(json!({"cards": [{
        "name": "c", "uid": "uid-Dpu-c", "physicalId": "", "attempts": 1, "chosen": chosen.chosen(),
    }]}))
    .unwrap();
    host
}

fn seen(world: &World) -> CardView {
    let view = assemble(world, &key("h")).unwrap().unwrap();
    view.cards[0].clone()
}

fn version(card: &CardView) -> Option<&str> {
    match &card.wanted {
        Wanted::Image(image) => Some(&image.version),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    }
}

fn world_with(dpu: &Dpu) -> World {
    let mut world = world();
    put(&mut world, dpu.clone());
    put(&mut world, host("h"));
    put(&mut world, by_family(20));
    for (name, version) in [("old", "1"), ("new", "2"), ("newest", "3")] {
        put(&mut world, image(name, version));
    }
    world
}

#[test]
fn the_card_gets_what_its_joined_inventory_chooses_and_keeps_it_while_nothing_is_joined() {
    let dpu = card("c", "h");
    let mut world = world_with(&dpu);
    let Wanted::Unchosen(why) = seen(&world).wanted else {
        panic!("{:?}", seen(&world).wanted)
    };
    assert!(
        why.contains("choice bf3") && why.contains("system.family"),
        "{why}"
    );
    assert!(seen(&world).firmware.is_empty());

    let wake = join(&mut world, &dpu, "BlueField-3");
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    let found = seen(&world);
    assert_eq!(version(&found), Some("2"));
    assert_eq!(found.firmware[0].name, "f");

    put(&mut world, recorded(30, &found.choice));
    join(&mut world, &dpu, "BlueField-2");
    let found = seen(&world);
    assert_eq!(
        (version(&found), found.firmware[0].name.as_str()),
        (Some("2"), "f")
    );
    assert!(matches!(
        found.choice,
        Choice::Chosen(_, Standing::Differs(_))
    ));

    // As an operator sees it that has just been started.
    world.joined(&key("c").namespace, Joined::default());
    let found = seen(&world);
    assert_eq!(version(&found), Some("2"));
    assert!(matches!(found.choice, Choice::Chosen(_, Standing::Kept(_))));
}

#[test]
fn a_label_or_an_image_of_its_own_is_followed_at_once() {
    let mut dpu = card("c", "h");
    let mut world = world_with(&dpu);
    join(&mut world, &dpu, "BlueField-2");
    assert_eq!(version(&seen(&world)), Some("1"));
    let found = seen(&world);
    put(&mut world, recorded(30, &found.choice));
    dpu.metadata.resource_version = Some("31".to_owned());
    dpu.metadata.labels = Some([("ring".to_owned(), "canary".to_owned())].into());
    let wake = put(&mut world, dpu.clone());
    assert!(wake.hosts.contains(&key("h")));
    assert_eq!(version(&seen(&world)), Some("3"));
    dpu.metadata.resource_version = Some("32".to_owned());
    dpu.spec.image_ref = serde_json::from_value(json!({"name": "new"})).unwrap();
    put(&mut world, dpu);
    assert_eq!(version(&seen(&world)), Some("2"));
}

#[test]
fn an_image_that_only_a_choice_names_wakes_the_policy_and_its_hosts() {
    let mut world = world();
    put(&mut world, card("c", "h"));
    put(&mut world, host("h"));
    put(&mut world, by_family(20));
    for name in ["new", "newest", "f"] {
        let wake = put(&mut world, image(name, "1"));
        assert_eq!(wake.hosts, BTreeSet::from([key("h")]), "{name}");
        assert_eq!(wake.policies, BTreeSet::from([key("policy")]), "{name}");
    }
    let wake = put(&mut world, image("other", "1"));
    assert!(wake.hosts.is_empty() && wake.policies.is_empty());
}
