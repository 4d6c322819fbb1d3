//! Proposals that give way, machines that move, cards that are replaced.

use lockstep_planner::inventory::Subject;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, Site, conflicts, proposed, proposed_card, said};

fn card(serial: &str) -> Value {
    json!({"inventory": {"system": {"serialNumber": serial, "family": "BlueField-3"}}})
}

fn proposed_site() -> Site {
    Site::default()
        .found("f1", "Card", "https://10.0.0.1", card("MT1"))
        .apply()
}

fn bmc(address: &str) -> Value {
    json!({"address": address, "credentialsRef": {"name": "own"}, "tls": {"trust": "NoVerification"}})
}

#[test]
fn a_proposal_gives_way_to_a_users_object() {
    for spec in [
        json!({"identity": {"serialNumber": "MT1"}}),
        json!({"bmc": bmc("https://10.0.0.1")}),
    ] {
        let site = proposed_site().card("mine", spec);
        let joined = site.join();
        assert_eq!(joined.withdrawals.len(), 2, "{joined:#?}");
        let gone = &joined.withdrawals[0];
        assert_eq!(
            (gone.subject, gone.name.as_str(), gone.uid.as_str()),
            (Subject::Card, "dpu-mt1", "uid-dpu-mt1")
        );
        assert_eq!(gone.why, "dpu/mine is about the same card");
        assert_eq!(conflicts(&joined.cards["mine"]), Vec::<String>::new());
        let site = site.apply();
        let settled = site.join();
        assert_eq!((site.cards.len(), site.hosts.len()), (1, 0));
        assert!(settled.proposals.is_empty() && settled.withdrawals.is_empty());
    }
}

#[test]
fn what_was_approved_or_acted_on_stays() {
    let mut approved = proposed_site().card("mine", json!({"identity": {"serialNumber": "MT1"}}));
    approved.cards[0].spec.approved = true;
    let joined = approved.join();
    assert!(joined.withdrawals.is_empty());
    assert_eq!(conflicts(&joined.cards["mine"]), ["system.serialNumber"]);

    let mut finalizer = proposed_site().card("mine", json!({"identity": {"serialNumber": "MT1"}}));
    finalizer.cards[0].metadata.finalizers = Some(vec![lockstep_crds::FINALIZER.to_owned()]);
    assert!(finalizer.join().withdrawals.is_empty());

    let mut acted_on = proposed_site().card("mine", json!({"identity": {"serialNumber": "MT1"}}));
    let record = json!({"seq": 3, "cards": [{"name": "dpu-mt1", "uid": "uid-dpu-mt1", "physicalId": "MT1"}]});
    acted_on.hosts[0].status = Some(serde_json::from_value(record).unwrap());
    assert!(acted_on.join().withdrawals.is_empty());
}

#[test]
fn a_proposed_host_gives_way_with_the_unapproved_cards_that_name_it() {
    let site = Site::default()
        .found(
            "f2",
            "Host",
            "https://10.0.1.1",
            json!({"inventory": {"system": {"systemUuid": HOST_UUID}}}),
        )
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .apply()
        .host("mine", json!({"identity": {"systemUuid": HOST_UUID}}));
    let joined = site.join();
    let gone: Vec<_> = joined.withdrawals.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(gone, ["dpu-mt1", &format!("host-{HOST_UUID}")]);
    let settled = site.clone().apply().apply();
    assert_eq!(settled.cards[0].spec.host_refs[0].name, "mine");
    assert!(settled.join().withdrawals.is_empty());
    let mut approved = site;
    approved.cards[0].spec.approved = true;
    assert!(approved.join().withdrawals.is_empty());
}

#[test]
fn a_proposed_object_follows_its_bmc() {
    let site = proposed_site().found("f1", "Card", "https://10.0.0.9", card("MT1"));
    let joined = site.join();
    assert_eq!(joined.moves.len(), 1);
    assert_eq!(
        (
            joined.moves[0].name.as_str(),
            joined.moves[0].address.as_str()
        ),
        ("dpu-mt1", "https://10.0.0.9")
    );
    assert!(joined.withdrawals.is_empty() && joined.proposals.is_empty());
    assert!(site.clone().apply().join().moves.is_empty());
    let answers = |shows: Value| {
        let mut told = json!({
            "subjectUid": "uid-dpu-mt1", "reachable": {"ok": true, "since": "2026-05-01T00:00:00Z"},
        });
        told["inventory"] = json!({"system": shows});
        let site = site.clone();
        site.report("bmc-card-dpu-mt1", "CardBmc", "dpu-mt1", told)
    };
    assert!(
        answers(json!({"serialNumber": "MT1"}))
            .join()
            .moves
            .is_empty(),
        "it answers at both addresses"
    );
    let nameless = answers(json!({"serialNumber": "None"})).join();
    assert_eq!(
        nameless.moves, joined.moves,
        "who answers where it was may be anybody"
    );
}

#[test]
fn an_address_that_a_user_wrote_is_the_users() {
    let site = Site::default()
        .card(
            "mine",
            json!({"identity": {"serialNumber": "MT1"}, "bmc": bmc("https://10.0.0.1")}),
        )
        .found("f1", "Card", "https://10.0.0.9", card("MT1"));
    assert!(site.join().moves.is_empty());
    assert_eq!(
        conflicts(&site.joined("mine")),
        ["bmc.address"],
        "nor is the BMC elsewhere taken for its own"
    );
}

#[test]
fn a_proposed_host_follows_its_bmc() {
    let of = json!({"inventory": {"system": {"systemUuid": HOST_UUID}}});
    let site = Site::default()
        .found("f2", "Host", "https://10.0.1.1", of.clone())
        .apply()
        .found("f2", "Host", "https://10.0.1.2", of);
    let moves = site.join().moves;
    assert_eq!(
        (moves[0].subject, moves[0].address.as_str()),
        (Subject::Host, "https://10.0.1.2")
    );
}

#[test]
fn a_replaced_card_is_a_new_card_that_inherits_nothing() {
    let mut old = card("MT1");
    old["found"] = json!({"missingSince": "2026-05-02T00:00:00Z"});
    let mut site = proposed_site();
    site.cards[0].spec.approved = true;
    let site = site.found("f1", "Card", "https://10.0.0.1", old).found(
        "f3",
        "Card",
        "https://10.0.0.1",
        card("MT2"),
    );
    let joined = site.join();
    assert_eq!(proposed(&joined).0, ["dpu-mt2"]);
    assert!(!proposed_card(&joined, "dpu-mt2").spec.approved);
    assert!(joined.withdrawals.is_empty());
    let before = &joined.cards["dpu-mt1"];
    assert_eq!(
        said(before, "bmc.address")[1].1,
        "10.0.0.1 with serial number MT2"
    );
    assert_eq!(before.summary.serial_number.as_deref(), Some("MT1"));
    assert!(
        before
            .inventoried
            .message
            .contains("not found any more since 2026-05-02")
    );
    let site = site.apply();
    let settled = site.join();
    assert!(settled.proposals.is_empty() && settled.moves.is_empty());
    assert_eq!(conflicts(&settled.cards["dpu-mt2"]), Vec::<String>::new());
}

#[test]
fn a_replaced_card_behind_a_named_bmc_is_proposed_too() {
    let site = Site::default()
        .card("mine", json!({"site": "lab", "identity": {"serialNumber": "MT1"}, "bmc": bmc("https://10.0.0.1")}))
        .card_bmc("mine", json!({"system": {"serialNumber": "MT2"}}));
    let joined = site.join();
    let card = proposed_card(&joined, "dpu-mt2");
    assert_eq!(
        (
            card.spec.site.as_str(),
            card.spec.bmc.unwrap().address.as_str()
        ),
        ("lab", "https://10.0.0.1")
    );
    assert_eq!(conflicts(&joined.cards["mine"]), ["system.serialNumber"]);
    assert!(site.apply().join().proposals.is_empty());
}

#[test]
fn of_two_proposals_for_one_card_the_older_stays() {
    let mut site = proposed_site();
    let mut twin = site.cards[0].clone();
    twin.metadata.name = Some("a-twin".to_owned());
    twin.metadata.uid = Some("uid-a-twin".to_owned());
    let time = |text: &str| Some(serde_json::from_value(json!(text)).unwrap());
    site.cards[0].metadata.creation_timestamp = time("2026-01-01T00:00:00Z");
    twin.metadata.creation_timestamp = time("2026-01-02T00:00:00Z");
    site.cards.push(twin);
    let gone: Vec<String> = site
        .join()
        .withdrawals
        .iter()
        .map(|w| w.name.clone())
        .collect();
    assert_eq!(gone, ["a-twin"]);
}

#[test]
fn what_a_person_wrote_into_a_proposal_stays() {
    // Its host is seen, and its BMC found, only later.
    let mut card_changed = proposed_site();
    card_changed.edit_card(0, |card| card.paused = true);
    let settled = card_changed
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .apply()
        .apply();
    assert!(settled.cards[0].spec.paused);
    for change in [
        |host: &mut lockstep_crds::DpuHostSpec| host.hands_off = true,
        |host: &mut lockstep_crds::DpuHostSpec| host.policy_ref.name = "observe".to_owned(),
    ] {
        let mut site = Site::default()
            .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
            .apply();
        site.edit_host(0, change);
        let wanted = site.hosts[0].spec.clone();
        let of = json!({"inventory": {"system": {"systemUuid": HOST_UUID}}});
        let site = site.found("f2", "Host", "https://10.0.1.1", of).apply();
        assert_eq!(site.hosts[0].spec, wanted);
        assert!(site.join().proposals.is_empty());
    }
}

#[test]
fn nothing_moves_to_where_other_credentials_are_configured() {
    let of = |credentials: &str| {
        let mut of = card("MT1");
        of["found"] = json!({"endpoint": {"credentials": credentials}});
        of
    };
    let site = Site::default()
        .found("f1", "Card", "https://10.0.0.1", of("narrow"))
        .apply()
        .found("f1", "Card", "https://10.0.0.9", of("wide"));
    assert!(site.join().moves.is_empty());
    let mut approved = site.clone();
    approved.edit_card(0, |card| card.approved = true);
    let kept = approved.apply().cards[0].spec.bmc.clone().unwrap();
    assert_eq!(kept.address, "https://10.0.0.1");
    // Nobody has taken it up yet: it is proposed anew, with what is configured there.
    let anew = site.apply().apply();
    let bmc = anew.cards[0].spec.bmc.clone().unwrap();
    assert_eq!(
        (bmc.address.as_str(), bmc.credentials_ref.name.as_str()),
        ("https://10.0.0.9", "wide")
    );
    assert!(anew.join().withdrawals.is_empty());
}

#[test]
fn an_address_that_a_person_wrote_into_a_proposal_is_theirs() {
    let mut site = proposed_site();
    site.edit_card(0, |card| {
        card.bmc.as_mut().unwrap().address = "https://bmc1.example".to_owned();
        card.approved = true;
    });
    assert!(site.join().moves.is_empty());
    // Ours is followed, approved or not.
    let mut ours = proposed_site();
    ours.edit_card(0, |card| card.approved = true);
    let moved = ours.found("f1", "Card", "https://10.0.0.9", card("MT1"));
    let moved = moved
        .apply()
        .found("f1", "Card", "https://10.0.0.8", card("MT1"));
    let addresses: Vec<String> = moved.join().moves.into_iter().map(|m| m.address).collect();
    assert_eq!(addresses, ["https://10.0.0.8"]);
}
