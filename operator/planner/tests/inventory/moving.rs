//! Whoever changed a proposal decides about it from then on, wherever its BMC goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::dpu::Pairing;
use lockstep_crds::{LocalRef, PROPOSED_SPEC};
use lockstep_planner::inventory::Subject;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, Site, conflicts};

fn card() -> Value {
    json!({"inventory": {"system": {"serialNumber": "MT1", "family": "BlueField-3"}}})
}

fn host() -> Value {
    json!({"inventory": {"system": {"systemUuid": HOST_UUID}}})
}

fn card_at(site: Site, address: &str) -> Site {
    site.found("f1", "Card", address, card())
}

fn host_at(site: Site, address: &str) -> Site {
    site.found("f2", "Host", address, host())
}

fn proposed_card() -> Site {
    card_at(Site::default(), "https://10.0.0.1").apply()
}

fn proposed_host() -> Site {
    host_at(Site::default(), "https://10.0.1.1").apply()
}

/// The policy of the card's host approves it.
fn approving(site: Site) -> Site {
    let policy = site.hosts[0].spec.policy_ref.name.clone();
    let approve = json!({"discovered": {"approve": [{"families": ["BlueField-3"]}]}});
    site.policy(&policy, approve)
}

fn address(site: &Site) -> String {
    site.cards[0].spec.bmc.as_ref().unwrap().address.clone()
}

#[test]
fn no_policy_gives_an_approval_again_that_was_taken_back_when_the_bmc_moves() {
    let mut site = approving(proposed_card()).apply();
    assert!(site.cards[0].spec.approved);
    site.edit_card(0, |card| card.approved = false);
    let mut site = site.apply().apply();
    assert!(!site.cards[0].spec.approved, "as long as it stays");
    for to in ["https://10.0.0.8", "https://10.0.0.9", "https://10.0.0.1"] {
        site = card_at(site, to).apply().apply().apply();
        assert_eq!(address(&site), to, "it is followed all the same");
        assert_eq!(conflicts(&site.joined("dpu-mt1")), Vec::<String>::new());
        assert!(!site.cards[0].spec.approved, "at {to}");
    }
}

#[test]
fn what_a_person_wrote_into_a_proposal_is_not_approved_when_the_bmc_moves() {
    for change in [
        |card: &mut lockstep_crds::DpuSpec| {
            let name = "theirs".to_owned();
            card.image_ref = Some(LocalRef { name });
        },
        |card: &mut lockstep_crds::DpuSpec| card.paused = true,
        |card: &mut lockstep_crds::DpuSpec| card.host_refs[0].pairing = Pairing::Asserted,
    ] {
        let mut site = proposed_card();
        site.edit_card(0, change);
        let site = card_at(site, "https://10.0.0.9").apply();
        assert_eq!(address(&site), "https://10.0.0.9");
        let site = approving(site).apply().apply();
        assert!(!site.cards[0].spec.approved, "{:?}", site.cards[0].spec);
    }
}

#[test]
fn what_nobody_changed_is_approved_wherever_its_bmc_has_moved() {
    let site = card_at(proposed_card(), "https://10.0.0.8").apply();
    let site = card_at(site, "https://10.0.0.9").apply();
    assert!(approving(site).apply().cards[0].spec.approved);
}

#[test]
fn a_host_that_a_person_keeps_hands_off_is_not_proposed_anew_after_a_move() {
    let mut site = proposed_host();
    site.edit_host(0, |host| host.hands_off = true);
    let site = host_at(site, "https://10.0.1.2").apply();
    // Then its range is given another Secret, and it has yet another address.
    let mut other = host();
    other["found"] = json!({"endpoint": {"credentials": "other"}});
    let site = site.found("f2", "Host", "https://10.0.1.3", other.clone());
    let site = site.apply().apply();
    assert_eq!(site.hosts.len(), 1);
    let kept = &site.hosts[0].spec;
    assert!(kept.hands_off);
    assert_eq!(kept.bmc.as_ref().unwrap().address, "https://10.0.1.2");

    // Left as it was, it is.
    let site = host_at(proposed_host(), "https://10.0.1.2").apply();
    let site = site.found("f2", "Host", "https://10.0.1.3", other);
    let anew = site.apply().apply().hosts[0].spec.bmc.clone().unwrap();
    assert_eq!(anew.credentials_ref.name, "other");
}

#[test]
fn a_proposal_that_a_person_paused_gives_way_to_no_other_object_after_a_move() {
    let mine = |site: Site| {
        card_at(site, "https://10.0.0.9")
            .apply()
            .card("mine", json!({"identity": {"serialNumber": "MT1"}}))
    };
    let mut paused = proposed_card();
    paused.edit_card(0, |card| card.paused = true);
    assert!(mine(paused).join().withdrawals.is_empty());
    let gone = mine(proposed_card()).join().withdrawals;
    assert_eq!(gone[0].subject, Subject::Card, "left as it was, it does");
}

#[test]
fn an_address_that_a_person_wrote_is_not_followed_when_the_bmc_moves_later() {
    let mut site = proposed_card();
    site.edit_card(0, |card| {
        card.bmc.as_mut().unwrap().address = "https://10.0.0.5".to_owned();
    });
    let site = card_at(site, "https://10.0.0.9").apply();
    assert_eq!(address(&site), "https://10.0.0.5");
}

/// What happens to a card and its host that were found.
#[derive(Clone, Debug)]
enum Event {
    CardMoves(u8),
    HostMoves(u8),
    PolicyApproves,
    PersonEditsCard(u8),
    PersonEditsHost,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..6_u8).prop_map(Event::CardMoves),
        3 => (1..6_u8).prop_map(Event::HostMoves),
        1 => Just(Event::PolicyApproves),
        1 => (0..3_u8).prop_map(Event::PersonEditsCard),
        1 => Just(Event::PersonEditsHost),
    ]
}

/// Whether an object passes for one that nobody but the operator has written.
fn as_written(metadata: &ObjectMeta) -> bool {
    let mut annotations = metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == PROPOSED_SPEC)
}

proptest! {
    #[test]
    fn only_what_no_person_has_written_passes_for_the_operators(
        events in prop::collection::vec(event(), 1..16),
    ) {
        let site = card_at(Site::default(), "https://10.0.0.1");
        let site = host_at(site, "https://10.0.1.1");
        let mut site = site
            .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
            .apply();
        prop_assert_eq!((site.cards.len(), site.hosts.len()), (1, 1));
        let (mut card_edited, mut host_edited) = (false, false);
        for event in events {
            match event {
                Event::CardMoves(at) => site = card_at(site, &format!("https://10.0.0.{at}")),
                Event::HostMoves(at) => site = host_at(site, &format!("https://10.0.1.{at}")),
                Event::PolicyApproves if site.policies.is_empty() => site = approving(site),
                Event::PolicyApproves => {}
                Event::PersonEditsCard(how) => {
                    card_edited = true;
                    site.edit_card(0, |card| match how {
                        0 => card.approved = !card.approved,
                        1 => card.paused = !card.paused,
                        _ => card.site = "elsewhere".to_owned(),
                    });
                }
                Event::PersonEditsHost => {
                    host_edited = true;
                    site.edit_host(0, |host| host.hands_off = !host.hands_off);
                }
            }
            let approved = site.cards[0].spec.approved;
            site = site.apply();
            prop_assert_eq!((site.cards.len(), site.hosts.len()), (1, 1));
            prop_assert_eq!(as_written(&site.cards[0].metadata), !card_edited);
            prop_assert_eq!(as_written(&site.hosts[0].metadata), !host_edited);
            prop_assert_eq!(&site.join().taken_up, &[]);
            prop_assert!(!card_edited || site.cards[0].spec.approved == approved);
        }
    }
}
