//! Cards that a policy approves.

use lockstep_crds::PROPOSED_LABEL;
use lockstep_crds::dpu::Pairing;
use lockstep_crds::dpu_inventory::KnownPairing;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site, UUID};

fn site(selector: Value) -> Site {
    Site::default()
        .policy("p", json!({"discovered": {"approve": [selector]}}))
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .agent(
            "n",
            HOST_UUID,
            json!([
                {"serialNumber": "MT1", "family": "BlueField-3", "partNumber": "P-1"},
            ]),
        )
        .apply()
}

fn approved(site: &Site) -> Vec<String> {
    site.join()
        .approvals
        .iter()
        .map(|approval| approval.why.clone())
        .collect()
}

#[test]
fn what_fits_a_selector_is_approved() {
    for (selector, why) in [
        (
            json!({"families": ["BlueField-2", "bluefield-3"]}),
            "family BlueField-3",
        ),
        (
            json!({"partNumbers": ["p1"], "serialNumbers": ["mt1"]}),
            "part number P-1, serial number MT1",
        ),
        (json!({"pairingObserved": true}), "it is seen in its host"),
    ] {
        let why = format!("policy p approves it: {why}");
        assert_eq!(approved(&site(selector.clone())), [why], "{selector}");
    }
}

#[test]
fn what_does_not_fit_is_not() {
    for selector in [
        json!({"families": ["BlueField-2"]}),
        json!({"families": ["BlueField-3"], "serialNumbers": ["MT2"]}),
        json!({"partNumbers": ["P-2"]}),
        json!({"serialNumbers": ["MT-1"]}),
        json!({}),
        json!({"families": []}),
    ] {
        assert!(approved(&site(selector.clone())).is_empty(), "{selector}");
    }
}

#[test]
fn a_pairing_that_is_asked_for_must_be_seen() {
    let mut site = site(json!({"pairingObserved": true}));
    site.reports.clear();
    assert!(approved(&site).is_empty());
}

#[test]
fn a_conflict_is_never_approved() {
    let site = site(json!({"serialNumbers": ["MT1"]}))
        .own_agent("dpu-mt1", json!({"system": {"partNumber": "P-2"}}));
    assert_eq!(site.joined("dpu-mt1").inventoried.reason, "Conflicting");
    assert!(approved(&site).is_empty());
}

#[test]
fn a_cards_own_word_is_no_serial_number_to_approve_it_by() {
    let found = |system: Value| {
        Site::default()
            .policy(
                "p",
                json!({"discovered": {"approve": [{"serialNumbers": ["MT9"]}]}}),
            )
            .found(
                "f",
                "Card",
                "https://10.0.0.1",
                json!({"inventory": {"system": system}}),
            )
            .apply()
    };
    let told = found(json!({"systemUuid": UUID, "serialNumber": "MT9"}));
    assert_eq!(approved(&told).len(), 1);
    let untold = found(json!({"systemUuid": UUID}));
    let card = untold.cards[0].metadata.name.clone().unwrap();
    let word = untold.own_agent(&card, json!({"system": {"serialNumber": "MT9"}}));
    assert_eq!(
        word.joined(&card).summary.serial_number.as_deref(),
        Some("MT9")
    );
    assert!(approved(&word).is_empty());
}

#[test]
fn a_card_that_anothers_own_word_claims_is_left_to_a_person() {
    let site = site(json!({"families": ["BlueField-3"]}));
    assert_eq!(approved(&site).len(), 1);
    let adopted = site
        .card(
            "mine",
            json!({"hostRefs": [{"name": "h", "pairing": "Asserted"}]}),
        )
        .own_agent("mine", json!({"system": {"serialNumber": "MT1"}}));
    assert!(approved(&adopted).is_empty());
}

#[test]
fn only_proposed_cards_that_wait_and_stay_are_approved() {
    let mut mine = site(json!({"serialNumbers": ["MT1"]}));
    mine.cards[0].metadata.labels = None;
    assert!(approved(&mine).is_empty(), "a user's");
    let mut done = site(json!({"serialNumbers": ["MT1"]}));
    done.cards[0].spec.approved = true;
    assert!(approved(&done).is_empty(), "approved already");
    let yielding = site(json!({"serialNumbers": ["MT1"]})).card(
        "mine",
        json!({"hostRefs": [{"name": "h"}], "identity": {"serialNumber": "MT1"}}),
    );
    assert!(approved(&yielding).is_empty(), "it gives way");
    let mut other = site(json!({"serialNumbers": ["MT1"]}));
    other.hosts[0].spec.policy_ref.name = "another".to_owned();
    assert!(
        approved(&other).is_empty(),
        "another policy governs its host"
    );
}

#[test]
fn a_policy_approves_a_card_once_and_never_over_a_person() {
    let mut site = site(json!({"serialNumbers": ["MT1"]})).apply();
    assert!(site.cards[0].spec.approved);
    site.edit_card(0, |card| card.approved = false);
    assert!(approved(&site).is_empty());
    let mut by_hand = crate::approving::site(json!({"serialNumbers": ["MT1"]}));
    by_hand.edit_card(0, |card| card.approved = true);
    by_hand.edit_card(0, |card| card.approved = false);
    assert!(approved(&by_hand).is_empty());
}

#[test]
fn a_policy_approves_only_what_stands_as_it_was_proposed() {
    let mut changed = site(json!({"serialNumbers": ["MT1"]}));
    changed.edit_card(0, |card| card.host_refs[0].pairing = Pairing::Asserted);
    assert!(approved(&changed).is_empty());
    // Somebody's own object with the label of a proposal, about a card that nobody has seen.
    let mut unseen = Site::default()
        .policy(
            "p",
            json!({"discovered": {"approve": [{"serialNumbers": ["MT1"]}]}}),
        )
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card(
            "mine",
            json!({"approved": false, "identity": {"serialNumber": "MT1"}}),
        );
    let label = (PROPOSED_LABEL.to_owned(), "x".to_owned());
    unseen.cards[0].metadata.labels = Some([label].into());
    assert!(approved(&unseen).is_empty());
}

#[test]
fn what_a_bmc_showed_that_is_missing_approves_nothing() {
    let host = |missing: Option<&str>| {
        json!({
            "found": {"missingSince": missing},
            "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]},
        })
    };
    let site = Site::default()
        .policy(
            "p",
            json!({"discovered": {"approve": [{"pairingObserved": true}]}}),
        )
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .found("f2", "Host", "https://10.0.1.1", host(None))
        .apply()
        .found(
            "f2",
            "Host",
            "https://10.0.1.1",
            host(Some("2025-01-01T00:00:00Z")),
        );
    assert!(
        site.join().approvals.is_empty(),
        "{:?}",
        site.join().approvals
    );
}

#[test]
fn a_card_that_is_gone_is_not_seen_in_its_slot() {
    let site = Site::default()
        .policy(
            "p",
            json!({"discovered": {"approve": [{"pairingObserved": true}]}}),
        )
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .apply()
        .agent(
            "n",
            HOST_UUID,
            json!([{"serialNumber": "MT1", "health": "Gone"}]),
        );
    let places = site.joined("dpu-mt1").places;
    assert!(
        site.join().approvals.is_empty(),
        "{:?}",
        site.join().approvals
    );
    assert!(
        places.iter().all(|p| p.pairing != KnownPairing::Observed),
        "{places:#?}"
    );
}

/// What each selector approves while some are silent.
fn approved_while_silent(site: &Site, silent: &[&str]) -> Vec<String> {
    let mut site = site.clone();
    for report in silent {
        site = site.silent(report);
    }
    approved(&site)
}

#[test]
fn only_who_is_alive_proves_the_pairing_that_is_asked_for() {
    let by_agent = site(json!({"pairingObserved": true}));
    assert_eq!(approved_while_silent(&by_agent, &[]).len(), 1);
    assert!(approved_while_silent(&by_agent, &["host-n"]).is_empty());
    let families = site(json!({"families": ["BlueField-3"]}));
    let asked_for_nothing = approved_while_silent(&families, &["host-n"]);
    assert_eq!(asked_for_nothing.len(), 1, "no pairing is asked for");

    let told = json!({
        "machine": {"systemUuid": HOST_UUID},
        "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]},
    });
    let by_both = by_agent.found("f2", "Host", "https://10.0.1.1", told.clone());
    let bmc = "bmc-found-f2";
    assert_eq!(approved_while_silent(&by_both, &["host-n"]).len(), 1);
    assert_eq!(approved_while_silent(&by_both, &[bmc]).len(), 1);
    assert!(approved_while_silent(&by_both, &["host-n", bmc]).is_empty());
    let mut missing = told;
    missing["found"] = json!({"missingSince": "2026-05-01T00:00:00Z"});
    let missing = by_both.found("f2", "Host", "https://10.0.1.1", missing);
    assert!(approved_while_silent(&missing, &["host-n"]).is_empty());
}

#[test]
fn every_host_that_a_card_names_needs_somebody_alive_who_sees_it() {
    let sees = || json!([{"serialNumber": "MT1"}]);
    let selector = json!({"discovered": {"approve": [{"pairingObserved": true}]}});
    let site = Site::default()
        .policy("p", selector)
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host("i", json!({"identity": {"systemUuid": OTHER_HOST_UUID}}))
        .agent("n", HOST_UUID, sees())
        .agent("m", OTHER_HOST_UUID, sees())
        .apply();
    assert_eq!(site.cards[0].spec.host_refs.len(), 2);
    assert_eq!(approved_while_silent(&site, &[]).len(), 1);
    for silent in ["host-n", "host-m"] {
        assert!(
            approved_while_silent(&site, &[silent]).is_empty(),
            "{silent}"
        );
    }
}

#[test]
fn a_card_that_somebody_alive_sees_in_an_unknown_machine_too_is_not_approved() {
    let sees = || json!([{"serialNumber": "MT1"}]);
    let selector = json!({"discovered": {"approve": [{"pairingObserved": true}]}});
    let site = Site::default()
        .policy("p", selector)
        .host("h", json!({"nodeName": "n"}))
        .agent("n", "", sees())
        .apply();
    assert_eq!(site.cards[0].spec.host_refs[0].name, "h");
    let site = site.agent("m", OTHER_HOST_UUID, sees());
    assert!(site.joined("dpu-mt1").inventory.conflicts.is_empty());
    assert!(approved_while_silent(&site, &[]).is_empty());
    assert_eq!(approved_while_silent(&site, &["host-m"]).len(), 1);
}
