//! What a person changed in a proposal stays theirs, also in objects that are made anew from a
//! backup: with the same labels and annotations, another uid, and a generation of 1.

use lockstep_crds::{Dpu, PROPOSED_SPEC};
use serde_json::json;

use crate::site::{HOST_UUID, Site, proposed_card, proposed_host};

/// A card that is found in a host, and a policy that approves it.
fn proposed() -> Site {
    Site::default()
        .policy(
            "p",
            json!({"discovered": {"approve": [{"serialNumbers": ["MT1"]}]}}),
        )
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .apply()
}

fn found_card() -> Site {
    let shown = json!({"inventory": {"system": {"serialNumber": "MT1"}}});
    Site::default()
        .found("f1", "Card", "https://10.0.0.1", shown)
        .apply()
}

fn found_host() -> Site {
    let shown = json!({"inventory": {"system": {"systemUuid": HOST_UUID}}});
    Site::default()
        .found("f2", "Host", "https://10.0.1.1", shown)
        .apply()
}

#[test]
fn a_proposal_that_nobody_changed_is_approved_after_a_restore_as_before() {
    assert_eq!(proposed().join().approvals.len(), 1);
    assert_eq!(proposed().restore().join().approvals.len(), 1);
}

#[test]
fn what_a_person_changed_is_not_approved_after_a_restore() {
    let mut site = proposed();
    site.edit_card(0, |card| card.paused = true);
    assert!(site.join().approvals.is_empty());
    // The operator had no time to notice.
    let site = site.restore();
    assert!(site.join().approvals.is_empty());
    assert!(site.apply().join().approvals.is_empty());
}

#[test]
fn an_approval_that_is_taken_back_after_a_restore_stays_taken_back() {
    let mut site = proposed().apply().restore();
    assert!(site.cards[0].spec.approved);
    site.edit_card(0, |card| card.approved = false);
    assert!(site.join().approvals.is_empty());
    assert!(site.apply().join().approvals.is_empty());
}

/// It is as discovery wrote it, word for word.
#[test]
fn an_approval_that_was_taken_back_before_a_restore_stays_taken_back() {
    let mut site = proposed();
    site.edit_card(0, |card| card.approved = true);
    assert_eq!(site.join().taken_up[0].name, "dpu-mt1");
    let mut site = site.apply();
    assert!(site.join().taken_up.is_empty());
    site.edit_card(0, |card| card.approved = false);
    assert!(site.join().approvals.is_empty());
    assert!(site.restore().join().approvals.is_empty());
}

#[test]
fn what_a_person_changed_and_changed_back_unnoticed_is_theirs() {
    let mut site = proposed();
    site.edit_card(0, |card| card.approved = true);
    site.edit_card(0, |card| card.approved = false);
    assert!(site.join().approvals.is_empty());
}

#[test]
fn hands_off_of_a_proposed_host_outlives_a_restore() {
    let mine = |site: Site| {
        let own = json!({"identity": {"systemUuid": HOST_UUID}});
        site.restore().host("mine", own).join().withdrawals
    };
    assert_eq!(mine(found_host()).len(), 1, "left as it was, it gives way");
    let mut changed = found_host();
    changed.edit_host(0, |host| host.hands_off = true);
    assert!(mine(changed).is_empty());
}

/// Also the mark of an earlier version, which knew the generation alone.
#[test]
fn a_proposal_without_the_mark_is_nobodys_to_withdraw_or_approve() {
    for mark in [None, Some("1"), Some("1:"), Some("00")] {
        let (mut card, mut host) = (proposed(), found_host());
        for meta in [&mut card.cards[0].metadata, &mut host.hosts[0].metadata] {
            let annotations = meta.annotations.get_or_insert_default();
            annotations.remove(PROPOSED_SPEC).unwrap();
            annotations.extend(mark.map(|mark| (PROPOSED_SPEC.to_owned(), mark.to_owned())));
        }
        assert!(card.join().approvals.is_empty(), "{mark:?}");
        let host = host.host("mine", json!({"identity": {"systemUuid": HOST_UUID}}));
        assert!(host.join().withdrawals.is_empty(), "{mark:?}");
    }
}

#[test]
fn labels_and_annotations_of_a_person_are_not_lost_with_a_proposal() {
    // The range gets another Secret.
    let anew = |site: Site| {
        let moved = json!({
            "inventory": {"system": {"serialNumber": "MT1"}},
            "found": {"endpoint": {"credentials": "other"}},
        });
        let site = site.found("f1", "Card", "https://10.0.0.2", moved);
        site.join().withdrawals
    };
    assert!(!anew(found_card()).is_empty(), "left as it was, it is");
    let theirs = ("example.com/rack".to_owned(), "7".to_owned());
    let mut labelled = found_card();
    let labels = &mut labelled.cards[0].metadata.labels;
    labels.get_or_insert_default().extend([theirs.clone()]);
    assert!(anew(labelled).is_empty());
    let mut annotated = found_card();
    let annotations = &mut annotated.cards[0].metadata.annotations;
    annotations.get_or_insert_default().extend([theirs.clone()]);
    assert!(anew(annotated).is_empty());
    // A policy may approve it all the same: nothing is lost by that.
    let mut open = proposed();
    let labels = &mut open.cards[0].metadata.labels;
    labels.get_or_insert_default().extend([theirs]);
    assert_eq!(open.join().approvals.len(), 1);
}

#[test]
fn a_label_of_the_operator_that_a_person_changed_makes_it_theirs() {
    let mut site = proposed();
    let labels = site.cards[0].metadata.labels.as_mut().unwrap();
    labels.insert(
        lockstep_planner::inventory::FAMILY_LABEL.to_owned(),
        "other".to_owned(),
    );
    let joined = site.join();
    assert!(joined.approvals.is_empty());
    assert_eq!(joined.taken_up.len(), 1);
}

/// However the API server writes it down: with what is left out, and in whatever order.
#[test]
fn a_proposal_is_known_in_whatever_form_it_is_read_back() {
    let empty = Site::default().policy(
        "p",
        json!({"discovered": {"approve": [{"serialNumbers": ["MT1"]}]}}),
    );
    let shown = json!({
        "inventory": {"system": {"serialNumber": "MT1", "systemUuid": HOST_UUID}},
    });
    let site = empty.found("f1", "Card", "https://10.0.0.1", shown);
    let joined = site.join();
    let name = joined.proposals.iter().find_map(|proposal| match proposal {
        lockstep_planner::inventory::Proposal::Card(card) => card.metadata.name.clone(),
        lockstep_planner::inventory::Proposal::Host(_) => None,
    });
    let card = proposed_card(&joined, &name.unwrap());
    let host = proposed_host(&joined, &card.spec.host_refs[0].name);
    let text = |fields: &serde_json::Map<String, serde_json::Value>, backwards: bool| {
        let mut parts: Vec<String> = fields
            .iter()
            .map(|(key, value)| format!("{}:{value}", json!(key)))
            .collect();
        if backwards {
            parts.reverse();
        }
        format!("{{{}}}", parts.join(","))
    };
    for backwards in [false, true] {
        for spare in [false, true] {
            let mut object = serde_json::to_value(&card).unwrap();
            object["metadata"]["uid"] = json!("uid-x");
            object["metadata"]["generation"] = json!(1);
            let spec = object["spec"].as_object_mut().unwrap();
            if spare {
                spec.remove("paused").unwrap();
                spec["hostRefs"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("pairing");
            } else {
                spec.insert("imageRef".to_owned(), json!(null));
            }
            let spec = text(spec, backwards);
            object["spec"] = json!(null);
            let object = object
                .to_string()
                .replace(r#""spec":null"#, &format!(r#""spec":{spec}"#));
            let mut read = site.clone();
            read.cards
                .push(serde_json::from_str::<Dpu>(&object).unwrap());
            read.hosts.push(host.clone());
            let joined = read.join();
            assert!(joined.taken_up.is_empty(), "{object}");
            assert_eq!(joined.approvals.len(), 1, "{object}");
        }
    }
}
