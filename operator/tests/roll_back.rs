//! What a plan learns of the image that a card may go back to, and whom news of it wakes: objects
//! in, answers out.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;

use lockstep_crds::{DpuHost, DpuImage};
use lockstep_operator::assemble::assemble;
use lockstep_operator::key::Key;
use lockstep_operator::table::Entry;
use lockstep_operator::world::World;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::view::Fallback;
use serde_json::{Value, json};
use support::*;

fn of_digit(name: &str, digit: &str) -> DpuImage {
    let mut image = image(name, name);
    image.spec.digest = format!("sha256:{}", digit.repeat(64));
    image
}

/// A host whose record says that its card, by that uid, was seen to run `old`.
fn recorded(uid: &str, physical: &str) -> DpuHost {
    let mut host = host("h");
    let image = json!({"version": "old", "digest": format!("sha256:{}", "1".repeat(64))});
    let record: Value = json!({
        "name": "c", "uid": uid, "physicalId": physical,
        "lastGood": {"name": "old", "image": image, "seenAt": at(0)},
    });
    host.status = serde_json::from_value(json!({"cards": [record]})).unwrap();
    host
}

fn fallback(world: &World) -> Option<Fallback> {
    let view = assemble(world, &key("h")).unwrap().unwrap();
    view.cards[0].fallback.as_deref().cloned()
}

#[test]
fn the_last_good_image_is_judged_as_a_wanted_one_as_long_as_it_is_there() {
    let mut world = world();
    let mut dpu = card("c", "h");
    dpu.spec.identity = serde_json::from_value(json!({"serialNumber": "S1"})).unwrap();
    put(&mut world, dpu);
    put(&mut world, recorded("uid-Dpu-c", "S1"));
    put(&mut world, policy(Some("new")));
    put(&mut world, of_digit("new", "2"));
    assert_eq!(fallback(&world), None, "there is no such image");

    let wake = put(&mut world, of_digit("old", "1"));
    let h: BTreeSet<Key> = BTreeSet::from([key("h")]);
    assert_eq!(wake.hosts, h, "nobody names it but the record");
    let found = fallback(&world).unwrap();
    assert_eq!(found.image.version, "old");
    assert_eq!(found.vetting.trust, Judgement::Met, "nobody asks");

    let mut asking = policy(Some("new"));
    asking.metadata.resource_version = Some("20".into());
    asking.spec.images = serde_json::from_value(json!({
        "require": "Signed",
        "signers": [{
            "name": "releases",
            "publicKey": include_str!("../trust/tests/vectors/ed25519.pub.pem"),
        }],
    }))
    .unwrap();
    put(&mut world, asking);
    let found = fallback(&world).unwrap();
    assert!(
        matches!(found.vetting.trust, Judgement::NotMet(_)),
        "{:?}",
        found.vetting.trust
    );

    // Another object of the same card goes by its record.
    let mut host = recorded("uid-of-before", "s1");
    host.metadata.resource_version = Some("30".into());
    put(&mut world, host);
    assert!(fallback(&world).is_none(), "another serial number");
    let mut host = recorded("uid-of-before", "S1");
    host.metadata.resource_version = Some("31".into());
    put(&mut world, host);
    assert!(fallback(&world).is_some());

    // Other bytes by that name are another image.
    let mut other = of_digit("old", "3");
    other.metadata.uid = Some("uid-again".into());
    other.metadata.resource_version = Some("40".into());
    let wake = put(&mut world, other);
    assert_eq!(wake.hosts, h);
    assert_eq!(fallback(&world), None);
    let wake = world.put::<DpuImage>(&key("old"), None, at(1));
    assert_eq!(wake.hosts, h);
    assert_eq!(fallback(&world), None);
}

#[test]
fn a_last_good_image_that_cannot_be_read_does_not_look_deleted() {
    let mut world = world();
    put(&mut world, card("c", "h"));
    put(&mut world, recorded("uid-Dpu-c", ""));
    put(&mut world, policy(None));
    let unreadable = Some(Entry::Unreadable("unknown variant".into()));
    world.put::<DpuImage>(&key("old"), unreadable, at(0));
    assert!(assemble(&world, &key("h")).is_err());
}
