//! Where cards sit, and how that is known (R7, R9, R14).

use lockstep_crds::dpu_inventory::KnownPairing;
use serde_json::json;

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site, conflicts, said};

fn two_hosts() -> Site {
    Site::default()
        .host("a", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
}

#[test]
fn a_host_that_reads_the_serial_number_proves_the_place() {
    let site = two_hosts()
        .card("c", json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}))
        .agent("n", HOST_UUID, json!([
            {"serialNumber": "MT1", "slot": "Slot 3", "functions": ["0000:3b:00.0", "0000:3b:00.1"],
             "named": {"functions": (0..40).map(|n| json!({
                 "name": format!("pf0vf{n}"), "physical": 0, "virtual": n, "address": "0000:3b:00.2",
             })).collect::<Vec<_>>(), "omitted": 7}},
        ]))
        .host_bmc("a", json!({"cards": [{"serialNumber": "MT1", "slot": "PCIe.3"}]}));
    let card = site.joined("c");
    let place = &card.inventory.hosts[0];
    assert_eq!(
        (place.name.as_str(), &place.pairing),
        ("a", &KnownPairing::Observed)
    );
    assert_eq!(place.slot.as_deref(), Some("Slot 3"));
    assert_eq!(place.functions, ["0000:3b:00.0", "0000:3b:00.1"]);
    let named = place.named.as_ref().unwrap();
    assert_eq!(named.functions[3].name, "pf0vf3");
    assert_eq!((named.functions.len(), named.omitted), (32, 15));
    assert_eq!(place.system_uuid.as_deref(), Some(HOST_UUID));
    assert_eq!(place.node_name.as_deref(), Some("n"));
    assert_eq!(
        place.proof.as_deref(),
        Some(
            "the host's operating system (host-n) sees serial number MT1; \
             the host's BMC (bmc-host-a) sees serial number MT1"
        )
    );
    assert_eq!(card.places.len(), 1);
    assert_eq!(conflicts(&card), Vec::<String>::new());
}

#[test]
fn addresses_prove_no_place() {
    let site = two_hosts()
        .card("c", json!({"hostRefs": [{"name": "a"}]}))
        .own_agent(
            "c",
            json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}),
        )
        .agent("n", HOST_UUID, json!([{"macs": ["b8:3f:d2:00:00:01"]}]));
    let card = site.joined("c");
    assert_eq!(card.places[0].pairing, KnownPairing::Unknown);
    assert!(
        card.places[0]
            .proof
            .as_ref()
            .unwrap()
            .contains("proves nothing")
    );
}

#[test]
fn what_nobody_saw_is_the_users_word_or_unknown() {
    let site = two_hosts().card(
        "c",
        json!({"hostRefs": [{"name": "a", "pairing": "Asserted"}, {"name": "b", "pairing": "Observed"}]}),
    );
    let places = site.joined("c").places;
    assert_eq!(
        (places[0].name.as_str(), &places[0].pairing),
        ("a", &KnownPairing::Asserted)
    );
    assert_eq!(
        (places[1].name.as_str(), &places[1].pairing),
        ("b", &KnownPairing::Unknown)
    );
}

#[test]
fn a_card_that_is_seen_elsewhere_is_a_conflict_that_says_so() {
    let site = two_hosts()
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        )
        .agent(
            "n",
            OTHER_HOST_UUID,
            json!([{"serialNumber": "MT1", "slot": "2"}]),
        );
    let card = site.joined("c");
    assert_eq!(
        said(&card, "hosts"),
        [
            ("dpu/c".to_owned(), "it sits in dpuhost/a".to_owned()),
            (
                "host-n".to_owned(),
                "it is seen in dpuhost/b, slot 2".to_owned()
            ),
        ]
    );
    let strange = "11111111-2222-4333-8444-555555555555";
    let site = two_hosts()
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        )
        .agent("n", strange, json!([{"serialNumber": "MT1"}]));
    assert!(said(&site.joined("c"), "hosts")[1].1.contains(strange));
}

#[test]
fn a_host_without_identity_may_be_the_machine_that_sees_the_card() {
    let site = Site::default()
        .host("a", json!({}))
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        )
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]));
    assert_eq!(conflicts(&site.joined("c")), Vec::<String>::new());
}

#[test]
fn one_card_serves_two_hosts_and_one_host_holds_several_cards() {
    let site = two_hosts()
        .card("c", json!({"hostRefs": [{"name": "a"}, {"name": "b"}], "identity": {"serialNumber": "MT1"}}))
        .card("d", json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT2"}}))
        .agent("n", HOST_UUID, json!([
            {"serialNumber": "MT1", "slot": "1"}, {"serialNumber": "MT2", "slot": "2"},
        ]))
        .agent("m", OTHER_HOST_UUID, json!([{"serialNumber": "MT1", "slot": "7"}]));
    let joined = site.join();
    let places = &joined.cards["c"].places;
    assert!(
        places
            .iter()
            .all(|place| place.pairing == KnownPairing::Observed)
    );
    let slots: Vec<_> = places
        .iter()
        .map(|p| (p.name.as_str(), p.slot.as_deref()))
        .collect();
    assert_eq!(slots, [("a", Some("1")), ("b", Some("7"))]);
    assert_eq!(joined.cards["d"].places[0].slot.as_deref(), Some("2"));
    assert_eq!(conflicts(&joined.cards["c"]), Vec::<String>::new());
    let firmware = joined.hosts["a"].actors.as_ref();
    assert_eq!(firmware, None, "nobody told of any firmware");
}

#[test]
fn cards_that_were_swapped_are_told_where_they_are() {
    let spec = |host: &str, serial: &str| json!({"hostRefs": [{"name": host}], "identity": {"serialNumber": serial}});
    let site = two_hosts()
        .card("c", spec("a", "MT1"))
        .card("d", spec("b", "MT2"))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT2"}]))
        .agent("m", OTHER_HOST_UUID, json!([{"serialNumber": "MT1"}]));
    let joined = site.join();
    assert_eq!(
        said(&joined.cards["c"], "hosts")[1].1,
        "it is seen in dpuhost/b"
    );
    assert_eq!(
        said(&joined.cards["d"], "hosts")[1].1,
        "it is seen in dpuhost/a"
    );
    assert!(joined.proposals.is_empty());
}
