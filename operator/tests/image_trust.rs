//! What plans and statuses learn of an image's signatures, and whom news of them wakes: objects
//! in, answers out. Keys and envelopes are openssl's, as `operator/trust/tests/vectors` keeps them.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use lockstep_crds::image::ImageKind;
use lockstep_crds::{DpuBootPolicy, DpuImage, DpuReport};
use lockstep_operator::assemble::assemble;
use lockstep_operator::table::Entry;
use lockstep_operator::world::World;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::LeaseSeen;
use serde_json::{Value, json};
use support::*;

const KEY: &str = include_str!("../trust/tests/vectors/ed25519.pub.pem");
const OTHER_KEY: &str = include_str!("../trust/tests/vectors/p384.pub.pem");
const ENVELOPE: &str = include_str!("../trust/tests/vectors/ed25519.dsse.json");
/// The image that the envelope is about.
const DIGEST: &str = "sha256:a5df3fde7b200c3fa2791144c7e05c5c2bced4c6ad863d3a4cf76c972c1712f9";

fn signed_image() -> DpuImage {
    let mut image = image("i", "1.0.0");
    image.spec.digest = DIGEST.to_owned();
    image.spec.signatures =
        serde_json::from_value(json!([{"dsse": {"sources": ["http://images/a.dsse"]}}])).unwrap();
    image
}

fn trusting(version: u64, key: &str) -> DpuBootPolicy {
    let mut policy = policy(Some("i"));
    policy.metadata.resource_version = Some(version.to_string());
    policy.spec.images = serde_json::from_value(json!({
        "require": "Signed", "signers": [{"name": "releases", "publicKey": key}],
    }))
    .unwrap();
    policy
}

/// The site's report, with these signatures of the image.
fn stored(version: u64, signatures: &Value) -> DpuReport {
    let images = json!([{"digest": DIGEST, "state": "Verified", "signatures": signatures}]);
    let name = format!("site-{SITE}");
    let mut report = report(&name, "Site", SITE, &json!({"images": images}));
    report.metadata.resource_version = Some(version.to_string());
    report
}

fn passed_on(envelope: &str) -> Value {
    json!([{"source": "http://images/a.dsse", "envelope": envelope}])
}

fn vetting(world: &World) -> Vetting {
    let view = assemble(world, &key("h")).unwrap().unwrap();
    view.cards[0].vetting.clone()
}

#[test]
fn an_image_of_another_kind_than_is_wanted_does_not_fit() {
    let mut world = world();
    put(&mut world, card("c", "h"));
    put(&mut world, host("h"));
    let mut firmware = image("f", "BF-2");
    firmware.spec.kind = ImageKind::Bmc;
    firmware.spec.component = Some("BMC_Firmware".to_owned());
    let named = |os: &str, firmware: &str, version: u64| {
        let mut policy = policy(Some(os));
        policy.metadata.resource_version = Some(version.to_string());
        let named = json!([{"name": firmware}, {"name": "gone"}]);
        policy.spec.firmware_refs = serde_json::from_value(named).unwrap();
        policy
    };
    put(&mut world, image("i", "1.0.0"));
    put(&mut world, named("i", "f", 20));
    let wake = put(&mut world, firmware);
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    let fits = |world: &World| {
        let view = assemble(world, &key("h")).unwrap().unwrap();
        let card = &view.cards[0];
        assert!(card.firmware[1].image.is_none());
        let firmware = card.firmware[0].image.clone().unwrap();
        (
            card.vetting.fit.clone(),
            firmware.component,
            firmware.vetting.fit,
        )
    };
    let met = Judgement::Met;
    assert_eq!(fits(&world), (met.clone(), "BMC_Firmware".to_owned(), met));
    put(&mut world, named("f", "i", 21));
    let (os, component, firmware) = fits(&world);
    assert!(matches!(os, Judgement::NotMet(_)) && component.is_empty());
    assert!(matches!(firmware, Judgement::NotMet(_)));
}

#[test]
fn what_is_told_of_disks_comes_with_who_is_alive_to_tell_it() {
    let mut world = world();
    let dpu = card("c", "h");
    put(&mut world, dpu.clone());
    put(&mut world, host("h"));
    put(&mut world, policy(Some("i")));
    let mut image = image("i", "1.0.0");
    let fits = json!({"families": ["BlueField-3"], "minimumDiskBytes": 100});
    image.spec.fits = serde_json::from_value(fits).unwrap();
    put(&mut world, image);
    let room = |world: &World| vetting(world).room.unwrap();
    assert_eq!((room(&world).wanted, room(&world).told.len()), (100, 0));
    let joined = |world: &mut World, bytes: i64, at_second: i64| {
        let told = |from: &str, report: &str, bytes: i64| {
            serde_json::from_value(json!({
                "from": from, "report": report, "observedAt": at(at_second),
                "facts": {"disks": [{"name": "d", "sizeBytes": bytes}]},
            }))
            .unwrap()
        };
        let disks = vec![
            told("CardOs", "xpu-c", bytes),
            told("CardBmc", "bmc-card-c", 64),
        ];
        join_with(world, &dpu, "BlueField-3", disks)
    };
    joined(&mut world, 128, 0);
    let h = BTreeSet::from([key("h")]);
    assert_eq!(joined(&mut world, 99, 0).hosts, h, "it may not fit now");
    assert!(joined(&mut world, 99, 1).is_empty(), "the same, told later");

    let heard = |world: &World| -> Vec<(String, bool)> {
        let told = room(world).told.into_iter();
        let alive = |agent: Option<LeaseSeen>| agent.is_some_and(|lease| lease.is_fresh(at(10)));
        told.map(|one| (one.report, alive(one.agent))).collect()
    };
    let both = |own, bmc| vec![("xpu-c".to_owned(), own), ("bmc-card-c".to_owned(), bmc)];
    assert_eq!(heard(&world), both(false, false));
    for agent in ["xpu-c", "site-lab"] {
        let entry = Some(Entry::Readable(Arc::new(lease(agent, 10))));
        world.put::<Lease>(&key(agent), entry, at(10));
    }
    assert_eq!(heard(&world), both(true, false), "this BMC does not answer");
    let answers = json!({"reachable": {"ok": true, "since": at(0)}});
    put(&mut world, report("bmc-card-c", "CardBmc", "c", &answers));
    assert_eq!(heard(&world), both(true, true));
}

#[test]
fn a_service_is_seen_as_it_is_wanted_and_as_it_is_offered() {
    let mut world = world();
    put(&mut world, card("c", "h"));
    put(&mut world, host("h"));
    let mut policy = policy(Some("i"));
    let named = json!([{"name": "web-2"}, {"name": "i"}, {"name": "gone"}]);
    policy.spec.service_refs = serde_json::from_value(named).unwrap();
    put(&mut world, policy);
    put(&mut world, image("i", "1.0.0"));
    let mut web = image("web-2", "2");
    web.spec.kind = ImageKind::App;
    web.spec.service = Some("web".to_owned());
    let wake = put(&mut world, web);
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]));
    let view = assemble(&world, &key("h")).unwrap().unwrap();
    let services = &view.cards[0].services;
    let web = services[0].image.as_ref().unwrap();
    assert_eq!(
        (web.service.as_str(), &web.vetting.fit),
        ("web", &Judgement::Met)
    );
    let system = services[1].image.as_ref().unwrap();
    assert!(matches!(system.vetting.fit, Judgement::NotMet(_)));
    assert!(services[2].image.is_none() && view.cards[0].offered.is_empty());
}

#[test]
fn what_the_sites_agent_passes_on_is_judged_by_the_policys_signers() {
    let mut world = world();
    let dpu = card("c", "h");
    put(&mut world, dpu.clone());
    put(&mut world, host("h"));
    put(&mut world, policy(Some("i")));
    assert_eq!(vetting(&world), Vetting::of_nothing(), "no such image");
    put(&mut world, signed_image());
    assert_eq!(vetting(&world).trust, Judgement::Met, "nobody asks");

    let (h, i) = (BTreeSet::from([key("h")]), BTreeSet::from([key("i")]));
    let wake = put(&mut world, trusting(20, KEY));
    assert_eq!((&wake.hosts, &wake.images), (&h, &i));
    assert!(matches!(vetting(&world).trust, Judgement::NotKnown(_)));

    let wake = put(&mut world, stored(30, &passed_on(ENVELOPE)));
    assert_eq!((&wake.hosts, &wake.images), (&h, &i));
    let found = vetting(&world);
    assert_eq!((found.trust, found.security_version), (Judgement::Met, 3));
    let Judgement::NotKnown(why) = found.fit else {
        panic!("nothing has been joined: {:?}", found.fit);
    };
    assert!(
        why.contains("maker NVIDIA"),
        "what was signed counts: {why}"
    );

    // A mirror that serves something else, or an agent that makes something up.
    let bent = ENVELOPE.replace("eyJ", "eyK");
    put(&mut world, stored(31, &passed_on(&bent)));
    let found = vetting(&world);
    let Judgement::NotMet(why) = found.trust else {
        panic!("{:?}", found.trust);
    };
    assert!(
        why.contains("not signed by any of the policy's signers"),
        "{why}"
    );
    assert_eq!(found.security_version, 0);
    put(&mut world, stored(32, &passed_on(ENVELOPE)));
    assert_eq!(vetting(&world).trust, Judgement::Met);

    // A signer that is taken away takes its images with it.
    put(&mut world, trusting(21, OTHER_KEY));
    assert!(matches!(vetting(&world).trust, Judgement::NotMet(_)));
}

#[test]
fn what_a_card_is_decides_whether_the_signed_image_is_made_for_it() {
    let mut world = world();
    let dpu = card("c", "h");
    put(&mut world, dpu.clone());
    put(&mut world, host("h"));
    put(&mut world, trusting(20, KEY));
    put(&mut world, signed_image());
    put(&mut world, stored(30, &passed_on(ENVELOPE)));
    join(&mut world, &dpu, "BlueField-3");
    assert_eq!(vetting(&world).fit, Judgement::Met);
    let wake = join(&mut world, &dpu, "BlueField-2");
    assert_eq!(wake.hosts, BTreeSet::from([key("h")]), "it may not fit now");
    let Judgement::NotMet(why) = vetting(&world).fit else {
        panic!("it fits");
    };
    assert!(
        why.contains("for family BlueField-3, and the card's is BlueField-2"),
        "{why}"
    );
}
