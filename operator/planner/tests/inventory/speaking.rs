//! No agent speaks for another: what a card's own system tells takes nothing from anybody.

use lockstep_crds::dpu_inventory::KnownPairing;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site, UUID, conflicts, proposed, views};

fn card(serial: &str) -> Value {
    json!({"inventory": {"system": {"serialNumber": serial, "family": "BlueField-3"}}})
}

#[test]
fn a_cards_agent_that_tells_of_a_bmc_takes_no_other_card_over() {
    let site = Site::default()
        .host("a", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .found("v", "Card", "https://10.0.0.2", card("VICTIM"))
        .agent("nb", OTHER_HOST_UUID, json!([{"serialNumber": "VICTIM"}]))
        .apply();
    assert!(
        site.cards
            .iter()
            .any(|c| c.metadata.name.as_deref() == Some("dpu-victim"))
    );
    // The attacker's card, a user's object, sits in host a.
    let more = json!({
        "subjectUid": "uid-evil",
        "inventory": {"system": {"serialNumber": "EVIL"}},
        "bmc": {
            "identity": {"serialNumber": "VICTIM"}, "stageKnowledge": "NotOffered",
            "media": {"owner": "None"}, "capabilities": {"virtualMedia": "NotRead", "sessions": "NotRead", "bootProgress": "NotRead", "powerRestorePolicy": "NotRead"},
        },
    });
    let site = site.card(
        "evil",
        json!({"hostRefs": [{"name": "a"}], "identity": {"serialNumber": "EVIL"}}),
    );
    let before = site.join();
    assert!(before.withdrawals.is_empty());
    let site = site.report("xpu-evil", "CardOs", "evil", more);
    let joined = site.join();
    let gone: Vec<_> = joined
        .withdrawals
        .iter()
        .map(|w| (w.subject, w.name.clone()))
        .collect();
    assert!(
        gone.is_empty(),
        "the victim's object is deleted: {gone:?}; views of evil: {:?}",
        views(&joined.cards["evil"])
    );
}

#[test]
fn a_cards_agent_that_contradicts_its_bmc_takes_no_other_card_over() {
    let site = Site::default()
        .host("a", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .agent("nb", OTHER_HOST_UUID, json!([{"serialNumber": "VICTIM"}]))
        .apply()
        .card(
            "evil",
            json!({"hostRefs": [{"name": "b"}], "identity": {"systemUuid": UUID}}),
        )
        // Its own BMC, which nobody on the card can change, tells its serial number.
        .card_bmc(
            "evil",
            json!({"system": {"serialNumber": "EVIL", "systemUuid": UUID}}),
        )
        .agent("na", HOST_UUID, json!([{"serialNumber": "EVIL"}]))
        .own_agent(
            "evil",
            json!({"system": {"serialNumber": "VICTIM", "systemUuid": UUID}}),
        );
    let joined = site.join();
    let gone: Vec<_> = joined
        .withdrawals
        .iter()
        .map(|w| (w.subject, w.name.clone()))
        .collect();
    let places: Vec<_> = joined.cards["evil"]
        .places
        .iter()
        .map(|p| (p.name.clone(), p.pairing.clone()))
        .collect();
    assert!(
        gone.is_empty() && !places.contains(&("b".to_owned(), KnownPairing::Observed)),
        "withdrawn {gone:?}; evil is placed {places:?}; conflicts {:?}",
        conflicts(&joined.cards["evil"])
    );
}

#[test]
fn no_object_gives_way_to_what_a_card_says_of_itself() {
    let site = Site::default()
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .found("v", "Card", "https://10.0.0.2", card("VICTIM"))
        .agent("nb", OTHER_HOST_UUID, json!([{"serialNumber": "VICTIM"}]))
        .apply()
        .card("evil", json!({"hostRefs": [{"name": "b"}]}))
        .own_agent("evil", card("VICTIM")["inventory"].clone());
    let joined = site.join();
    assert!(joined.withdrawals.is_empty(), "{:?}", joined.withdrawals);
    assert_eq!(conflicts(&joined.cards["evil"]), ["system.serialNumber"]);
    let named = site.card(
        "mine",
        json!({"hostRefs": [{"name": "b"}], "identity": {"serialNumber": "VICTIM"}}),
    );
    let gone = named.join().withdrawals;
    assert_eq!(
        gone[0].why, "dpu/mine is about the same card",
        "whose spec says so"
    );
}

#[test]
fn an_agent_tells_what_it_is_there_for_only() {
    let found = json!({
        "subjectUid": "uid-evil",
        "found": {
            "role": "Card", "recognisedBy": "SystemType", "sources": [], "site": "berlin",
            "endpoint": {"address": "https://10.6.6.6", "credentials": "bmc", "trust": "NoVerification"},
        },
        "inventory": {"system": {"serialNumber": "MT1"}},
    });
    for vantage in ["CardOs", "FoundBmc", "CardBmc"] {
        let site = Site::default().card("evil", json!({})).report(
            "xpu-evil",
            vantage,
            "evil",
            found.clone(),
        );
        assert!(proposed(&site.join()).0.is_empty(), "{vantage}");
        assert!(views(&site.joined("evil")).is_empty(), "{vantage}");
    }
    let host = json!({"machine": {"systemUuid": HOST_UUID}});
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .report("xpu-evil", "HostOs", "n", host);
    assert_eq!(site.join().hosts["h"].node_name, None);
}

#[test]
fn a_bmc_that_tells_another_card_than_its_inventory_was_read_of_says_so() {
    let more = json!({
        "subjectUid": "uid-c",
        "bmc": {
            "identity": {"serialNumber": "MT2"}, "stageKnowledge": "NotOffered", "media": {"owner": "None"},
            "capabilities": {"virtualMedia": "NotRead", "sessions": "NotRead", "bootProgress": "NotRead", "powerRestorePolicy": "NotRead"},
        },
        "inventory": {"system": {"serialNumber": "MT1"}},
    });
    let site = Site::default()
        .card("c", json!({}))
        .report("bmc-card-c", "CardBmc", "c", more.clone())
        .found("f", "Card", "https://10.0.0.1", card("MT1"));
    assert_eq!(views(&site.joined("c")).len(), 1, "it is not that card");
    assert_eq!(conflicts(&site.joined("c")), ["view"]);
    let named = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .report("bmc-card-c", "CardBmc", "c", more);
    assert_eq!(conflicts(&named.joined("c")), ["system.serialNumber"]);
}

#[test]
fn a_host_agent_that_claims_a_serial_number_hides_no_card() {
    let site = Site::default()
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .card(
            "mine",
            json!({"hostRefs": [{"name": "b"}], "identity": {"serialNumber": "MT1"}}),
        )
        .found("f1", "Card", "https://10.0.0.1", card("MT1"))
        .agent(
            "nb",
            OTHER_HOST_UUID,
            json!([{"serialNumber": "MT1", "deviceSerial": "b83fd20300010a00"}]),
        );
    assert_eq!(views(&site.joined("mine")).len(), 2);
    // Another node tells of a card with that serial number and a device serial of its own.
    let site = site.agent(
        "evil",
        HOST_UUID,
        json!([{"serialNumber": "MT1", "deviceSerial": "ffeeddccbbaa0099"}]),
    );
    let mine = site.joined("mine");
    assert!(
        !views(&mine).is_empty(),
        "nothing is known of the card any more: {:?}",
        conflicts(&mine)
    );
}

#[test]
fn a_cards_agent_that_claims_a_serial_number_hides_no_card() {
    let site = Site::default()
        .host("b", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .card(
            "mine",
            json!({"hostRefs": [{"name": "b"}], "identity": {"serialNumber": "MT1"}}),
        )
        .found("f1", "Card", "https://10.0.0.1", card("MT1"))
        .agent("nb", OTHER_HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .card(
            "evil",
            json!({"hostRefs": [{"name": "b"}], "identity": {"systemUuid": UUID}}),
        )
        .own_agent(
            "evil",
            json!({"system": {"serialNumber": "MT1", "systemUuid": UUID}}),
        );
    let mine = site.joined("mine");
    assert!(
        !views(&mine).is_empty(),
        "nothing is known of the card any more: {:?}",
        conflicts(&mine)
    );
    assert_eq!(
        mine.places[0].pairing,
        KnownPairing::Observed,
        "and it is observed nowhere"
    );
}

/// A serial number that is seen twice falls to a user's object only while the proposal is there.
#[test]
fn a_proposal_that_would_come_back_as_it_is_does_not_give_way() {
    let ports = json!({"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}], "omitted": 0});
    let site = Site::default()
        .card("c0", json!({"identity": {"serialNumber": "MT3"}}))
        .found(
            "f0",
            "Card",
            "https://10.0.0.0",
            json!({"inventory": {"system": {"systemUuid": UUID}, "ports": ports}}),
        )
        .agent(
            "n0",
            HOST_UUID,
            json!([
                {"serialNumber": "MT3", "slot": "0"},
                {"serialNumber": "MT3", "slot": "1", "macs": ["b8:3f:d2:00:00:01"]},
            ]),
        )
        .apply();
    let joined = site.join();
    assert!(joined.withdrawals.is_empty(), "{:?}", joined.withdrawals);
    assert!(joined.proposals.is_empty());
}
