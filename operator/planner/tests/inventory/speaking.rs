//! No agent speaks for another: what a card's own system tells takes nothing from anybody.

use std::collections::BTreeSet;

use lockstep_crds::dpu::HostPlace;
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::report::Vantage;
use lockstep_planner::inventory::{JoinedCard, SiteJoin};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::properties::{inventory, sites};
use crate::site::{
    HOST_UUID, OTHER_HOST_UUID, OTHER_UUID, Site, UUID, conflicts, proposed, said, views,
};

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

#[test]
fn a_cards_agent_takes_no_witness_from_another_card() {
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("h2", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .card("a", json!({"identity": {"systemUuid": UUID}}))
        .card_bmc("a", json!({"system": {"systemUuid": UUID}}))
        .card(
            "b",
            json!({"identity": {"systemUuid": OTHER_UUID}, "hostRefs": [{"name": "h2"}]}),
        )
        .card_bmc(
            "b",
            json!({"system": {"systemUuid": OTHER_UUID, "serialNumber": "SB1"}}),
        )
        .agent("n2", OTHER_HOST_UUID, json!([{"serialNumber": "SB1"}]));
    let before = site.joined("b");
    assert_eq!(before.witnesses.len(), 1);
    let site = site.own_agent(
        "a",
        json!({"system": {"systemUuid": UUID, "serialNumber": "SB1"}}),
    );
    let after = site.joined("b");
    assert!(after.is_claimed_by_word);
    assert_eq!(but_for_claims(&after), before);
    assert_eq!(conflicts(&site.joined("a")), ["system.serialNumber"]);
}

#[test]
fn a_cards_own_word_hides_nothing_that_was_found() {
    let uuid_of_another = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("a", json!({"identity": {"serialNumber": "SA1"}}))
        .agent("n", HOST_UUID, json!([{"serialNumber": "SA1"}]))
        .own_agent(
            "a",
            json!({"system": {"serialNumber": "SA1", "systemUuid": UUID}}),
        )
        .found(
            "f",
            "Card",
            "https://10.0.0.9",
            json!({"inventory": {"system": {"systemUuid": UUID}}}),
        );
    assert_eq!(proposed(&uuid_of_another.join()).0.len(), 1);
    let serial_that_a_host_sees = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("h2", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .card("a", json!({"identity": {"systemUuid": UUID}}))
        .card_bmc("a", json!({"system": {"systemUuid": UUID}}))
        .own_agent(
            "a",
            json!({"system": {"systemUuid": UUID, "serialNumber": "SB1"}}),
        )
        .agent("n2", OTHER_HOST_UUID, json!([{"serialNumber": "SB1"}]));
    let joined = serial_that_a_host_sees.join();
    assert_eq!(proposed(&joined).0, ["dpu-sb1"]);
    let places = &joined.cards["a"].places;
    assert!(places.iter().all(|place| place.name == "h"), "{places:?}");
}

#[test]
fn what_only_its_own_agent_tells_is_shown_of_a_card_and_told_where_another_is_known_by_it() {
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("mine", json!({}))
        .own_agent("mine", json!({"system": {"serialNumber": "MT1"}}));
    let alone = site.joined("mine");
    assert_eq!(alone.summary.serial_number.as_deref(), Some("MT1"));
    assert_eq!(conflicts(&alone), Vec::<String>::new());
    let site = site.agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]));
    let seen = site.joined("mine");
    assert_eq!(seen.summary.serial_number.as_deref(), Some("MT1"));
    let by = |report: &str| (report.to_owned(), "MT1".to_owned());
    assert_eq!(
        said(&seen, "system.serialNumber"),
        [by("xpu-mine"), by("host-n")]
    );
    let mut named = site;
    named.edit_card(0, |card| {
        card.identity = serde_json::from_value(json!({"serialNumber": "MT1"})).unwrap();
    });
    let named = named.joined("mine");
    assert_eq!(conflicts(&named), Vec::<String>::new());
    assert_eq!(named.places[0].pairing, KnownPairing::Observed);
}

/// That another card's own system claims what it is known by withholds a policy's approval, and
/// changes nothing else.
fn but_for_claims(card: &JoinedCard) -> JoinedCard {
    JoinedCard {
        is_claimed_by_word: false,
        ..card.clone()
    }
}

/// Where a card sits, without the words that prove it.
fn sits(card: &JoinedCard) -> Vec<HostPlace> {
    let places = card.places.iter().cloned();
    places
        .map(|place| HostPlace {
            proof: None,
            ..place
        })
        .collect()
}

/// What goes, of objects whose own agent did not tell that their card is there.
fn withdrawn(joined: &SiteJoin, but: &BTreeSet<String>) -> Vec<String> {
    let gone = joined.withdrawals.iter().map(|gone| gone.name.clone());
    gone.filter(|name| !but.contains(name)).collect()
}

/// Those who speak, and the objects that are joined as one card with one of them: until one of the
/// two gives way, both show what the card's agent tells.
fn with_their_twins(speakers: &BTreeSet<String>, joined: &SiteJoin) -> BTreeSet<String> {
    let is_twin = |card: &JoinedCard| {
        let mut spoken = speakers.iter().map(|speaker| &joined.cards[speaker]);
        !card.inventory.views.is_empty() && spoken.any(|speaker| speaker == card)
    };
    let twins = joined.cards.iter().filter(|(_, card)| is_twin(card));
    let twins = twins.map(|(name, _)| name.clone());
    twins.chain(speakers.clone()).collect()
}

proptest! {
    #[test]
    fn what_a_cards_own_system_tells_changes_nothing_but_its_own_inventory(
        site in sites(),
        told in prop::collection::vec((any::<Index>(), inventory()), 1..4),
    ) {
        let mut silent = site.apply();
        silent.reports.retain(|_, spec| spec.vantage != Vantage::CardOs);
        prop_assume!(!silent.cards.is_empty());
        let mut spoken = silent.clone();
        let mut speakers = BTreeSet::new();
        for (which, inventory) in told {
            let card = which.get(&silent.cards).metadata.name.clone().unwrap();
            spoken = spoken.own_agent(&card, inventory);
            speakers.insert(card);
        }
        let (before, after) = (silent.join(), spoken.join());
        prop_assert_eq!(&before.proposals, &after.proposals);
        prop_assert_eq!(&before.moves, &after.moves);
        prop_assert_eq!(&before.taken_up, &after.taken_up);
        prop_assert_eq!(&before.hosts, &after.hosts);
        prop_assert_eq!(withdrawn(&before, &speakers), withdrawn(&after, &speakers));
        let own = with_their_twins(&speakers, &before);
        for (name, was) in &before.cards {
            let is = &after.cards[name];
            if own.contains(name) {
                prop_assert_eq!(sits(was), sits(is));
                prop_assert_eq!(&was.witnesses, &is.witnesses);
            } else {
                prop_assert_eq!(was, &but_for_claims(is));
            }
        }
    }
}
