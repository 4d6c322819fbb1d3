//! Where cards sit, and how that is known (R7, R9, R14).

use lockstep_crds::dpu_inventory::KnownPairing;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site, UUID, conflicts, said};

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

/// Who vouches for what: report and host.
fn witnesses(site: &Site) -> Vec<(String, String)> {
    let witnesses = site.joined("c").witnesses.into_iter();
    witnesses.map(|one| (one.report, one.host)).collect()
}

/// A card with a serial number in host `a`, which has an identity.
fn in_a() -> Site {
    two_hosts().card(
        "c",
        json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
    )
}

/// The BMC of a host that was found, its machine, and what it sees there.
fn found(site: Site, uuid: &str, more: Value) -> Site {
    let told = json!({
        "reachable": {"ok": true, "since": "2026-05-01T00:00:00Z"},
        "machine": {"systemUuid": uuid},
        "inventory": {"cards": [{"serialNumber": "MT1"}]},
    });
    let mut told = told;
    merge(&mut told, more);
    site.found("id", "Host", "https://10.0.0.1", told)
}

fn merge(usual: &mut Value, more: Value) {
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        match usual.get_mut(&key) {
            Some(place) if place.is_object() => merge(place, value),
            Some(_) | None => usual[key] = value,
        }
    }
}

#[test]
fn whoever_looks_from_inside_the_host_and_reads_the_serial_number_is_a_witness() {
    let word = |report: &str, host: &str| (report.to_owned(), host.to_owned());
    let site = in_a()
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .host_bmc("a", json!({"cards": [{"serialNumber": "MT1"}]}));
    let site = found(site, HOST_UUID, json!({}));
    assert_eq!(
        witnesses(&site),
        ["bmc-found-id", "bmc-host-a", "host-n"].map(|report| word(report, "a"))
    );
    // Whoever sees but an address is none, though others prove the place.
    let site = in_a()
        .card_bmc(
            "c",
            json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}),
        )
        .agent("n", HOST_UUID, json!([{"macs": ["b8:3f:d2:00:00:01"]}]));
    assert_eq!(
        witnesses(&found(site, HOST_UUID, json!({}))),
        [word("bmc-found-id", "a")]
    );
    // Two Nodes on one machine: one of them is wrong.
    let site = in_a()
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .agent("m", HOST_UUID, json!([{"serialNumber": "MT1"}]));
    assert!(witnesses(&site).is_empty());
}

#[test]
fn a_word_from_another_machine_speaks_against_the_place_also_where_it_could_not_speak_for_one() {
    let word = |report: &str, host: &str| (report.to_owned(), host.to_owned());
    let here = || found(in_a(), HOST_UUID, json!({}));
    let sees = || json!([{"serialNumber": "MT1"}]);
    let two_nodes =
        here()
            .agent("new", OTHER_HOST_UUID, sees())
            .agent("old", OTHER_HOST_UUID, json!([]));
    assert_eq!(
        witnesses(&two_nodes),
        [word("bmc-found-id", "a"), word("host-new", "b")]
    );
    let strange = "11111111-2222-4333-8444-555555555555";
    let no_object = here()
        .agent("new", strange, sees())
        .agent("old", strange, sees());
    assert_eq!(
        witnesses(&no_object),
        [
            word("host-new", ""),
            word("host-old", ""),
            word("bmc-found-id", "a")
        ]
    );
    let at_odds = json!({"inventory": {"contradictions": ["two serial numbers"]}});
    let at_odds = found(in_a(), OTHER_HOST_UUID, at_odds).agent("n", HOST_UUID, sees());
    assert_eq!(
        witnesses(&at_odds),
        [word("host-n", "a"), word("bmc-found-id", "b")]
    );
}

#[test]
fn a_found_bmc_vouches_only_for_the_machine_that_it_is_proved_to_be() {
    let word = |host: &str| vec![("bmc-found-id".to_owned(), host.to_owned())];
    assert_eq!(witnesses(&found(in_a(), HOST_UUID, json!({}))), word("a"));
    // Its word from another machine speaks against the place.
    assert_eq!(
        witnesses(&found(in_a(), OTHER_HOST_UUID, json!({}))),
        word("b")
    );
    let strange = "11111111-2222-4333-8444-555555555555";
    assert_eq!(witnesses(&found(in_a(), strange, json!({}))), word(""));
    // A serial number that the object demands is another one there.
    let twin = Site::default()
        .host(
            "a",
            json!({"identity": {"systemUuid": HOST_UUID, "serialNumber": "S1"}}),
        )
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        );
    for (serial, host) in [("S1", Some("a")), ("S2", Some(""))] {
        let shows = json!({"machine": {"serialNumber": serial}});
        let told = witnesses(&found(twin.clone(), HOST_UUID, shows));
        assert_eq!(told, host.map_or_else(Vec::new, word), "{serial}");
    }
    let nothing: Vec<(String, String)> = Vec::new();
    // Nobody has said which machine the host is, by name of the BMC alone.
    let unnamed = Site::default()
        .host(
            "a",
            json!({"bmc": {
                "address": "https://10.0.0.1", "credentialsRef": {"name": "bmc"},
                "tls": {"trust": "NoVerification"},
            }}),
        )
        .card(
            "c",
            json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "MT1"}}),
        );
    assert_eq!(witnesses(&found(unnamed, HOST_UUID, json!({}))), nothing);
    for (more, why) in [
        (
            json!({"found": {"missingSince": "2026-05-01T00:00:00Z"}}),
            "it is found no more",
        ),
        (json!({"found": {"role": "Unclear"}}), "it may be no host"),
        (
            json!({"inventory": {"contradictions": ["IdentityTwice: x"]}}),
            "another shows the same",
        ),
        (
            json!({"inventory": {"cards": [{"serialNumber": "MT2"}]}}),
            "another card",
        ),
        (json!({"inventory": {"cards": []}}), "no card"),
    ] {
        assert_eq!(witnesses(&found(in_a(), HOST_UUID, more)), nothing, "{why}");
    }
}

#[test]
fn addresses_prove_no_place() {
    let site = two_hosts()
        .card("c", json!({"hostRefs": [{"name": "a"}]}))
        .card_bmc(
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

#[test]
fn addresses_prove_no_place_where_two_views_of_the_host_agree_either() {
    let site = Site::default()
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .agent(
            "nb",
            OTHER_HOST_UUID,
            json!([{"serialNumber": "VICTIM", "macs": ["b8:3f:d2:00:00:01"]}]),
        )
        .host_bmc(
            "b",
            json!({"cards": [{"serialNumber": "VICTIM", "macs": ["b8:3f:d2:00:00:01"]}]}),
        )
        .card(
            "evil",
            json!({"hostRefs": [{"name": "b"}], "identity": {"systemUuid": UUID}}),
        )
        .own_agent(
            "evil",
            json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}),
        );
    let places = site.joined("evil").places;
    assert!(
        places.iter().all(|p| p.pairing != KnownPairing::Observed),
        "{places:#?}"
    );
}

#[test]
fn what_is_missing_proves_no_place_beside_an_address_either() {
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("mine", json!({"hostRefs": [{"name": "h"}], "identity": {"serialNumber": "MT1"}}))
        .own_agent("mine", json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}))
        .agent("n", HOST_UUID, json!([{"macs": ["b8:3f:d2:00:00:01"]}]))
        .found("f2", "Host", "https://10.0.1.1", json!({
            "found": {"missingSince": "2025-01-01T00:00:00Z"},
            "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]},
        }));
    let place = site.joined("mine").inventory.hosts[0].clone();
    assert_ne!(place.pairing, KnownPairing::Observed, "{place:?}");
}

#[test]
fn what_only_the_cards_own_system_tells_proves_no_place() {
    // Its BMC shows no serial number, and what sits in the host is another card.
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("c", json!({"identity": {"systemUuid": UUID}}))
        .card_bmc("c", json!({"system": {"systemUuid": UUID}}))
        .own_agent(
            "c",
            json!({"system": {"systemUuid": UUID, "serialNumber": "ANOTHERS-1"}}),
        )
        .agent("n", HOST_UUID, json!([{"serialNumber": "ANOTHERS-1"}]));
    let witnesses = site.joined("c").witnesses;
    assert!(witnesses.is_empty(), "{witnesses:?}");
}
