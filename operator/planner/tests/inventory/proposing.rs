//! What discovery proposes, and what it leaves alone (R1, R2).

use lockstep_crds::dpu::Pairing;
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::host::{Disruption, HostRole};
use lockstep_crds::{PROPOSED_LABEL, TlsTrust};
use lockstep_planner::inventory::{FAMILY_LABEL, Subject, VENDOR_LABEL};
use serde_json::{Value, json};

use crate::site::{
    HOST_UUID, OTHER_UUID, Site, UUID, conflicts, proposed, proposed_card, proposed_host,
};

fn card(serial: &str) -> Value {
    json!({"inventory": {"system": {
        "serialNumber": serial, "systemUuid": UUID, "vendor": "Mellanox Technologies", "family": "BlueField-3",
    }}})
}

fn host(serial: &str) -> Value {
    json!({"inventory": {"system": {"serialNumber": serial, "systemUuid": HOST_UUID}}})
}

#[test]
fn a_card_is_proposed_in_the_host_that_sees_it() {
    let site = Site::default()
        .policy("z", json!({"discovered": {}}))
        .policy("a", json!({}))
        .found("f1", "Card", "https://10.0.0.1", card("MT_1"))
        .found("f2", "Host", "https://10.0.1.1", host("SRV1"))
        .agent(
            "n",
            HOST_UUID,
            json!([{"serialNumber": "mt_1", "slot": "Slot 3"}]),
        );
    let joined = site.join();
    assert_eq!(
        proposed(&joined),
        (vec!["dpu-mt-1".to_owned()], vec!["host-srv1".to_owned()])
    );
    let card = proposed_card(&joined, "dpu-mt-1");
    assert!(!card.spec.approved);
    assert_eq!(card.spec.site, "berlin");
    assert_eq!(card.spec.host_refs[0].name, "host-srv1");
    assert_eq!(card.spec.host_refs[0].pairing, Pairing::Observed);
    let identity = card.spec.identity.as_ref().unwrap();
    assert_eq!(
        identity.serial_number.as_deref(),
        Some("MT_1"),
        "as its BMC shows it"
    );
    assert_eq!(identity.system_uuid.as_deref(), Some(UUID));
    let bmc = card.spec.bmc.as_ref().unwrap();
    assert_eq!(
        (bmc.address.as_str(), bmc.credentials_ref.name.as_str()),
        ("https://10.0.0.1", "bmc")
    );
    assert_eq!(bmc.tls.trust, TlsTrust::PinnedKey);
    let labels = card.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[PROPOSED_LABEL], "f1");
    assert_eq!(labels[VENDOR_LABEL], "NVIDIA");
    assert_eq!(labels[FAMILY_LABEL], "BlueField-3");
    let host = proposed_host(&joined, "host-srv1");
    assert_eq!(host.spec.disruption, Disruption::Never);
    assert_eq!(host.spec.policy_ref.name, "z");
    assert_eq!(host.spec.role, HostRole::Server);
    assert!(host.spec.bmc.is_some());

    let site = site.apply();
    let again = site.join();
    assert!(
        again.proposals.is_empty() && again.withdrawals.is_empty(),
        "{again:#?}"
    );
    assert_eq!(
        again.cards["dpu-mt-1"].places[0].pairing,
        KnownPairing::Observed
    );
    assert_eq!(again.hosts["host-srv1"].node_name.as_deref(), Some("n"));
}

#[test]
fn a_card_that_only_a_host_sees_is_proposed_without_a_bmc() {
    let site = Site::default()
        .host(
            "h",
            json!({"site": "lab", "identity": {"systemUuid": HOST_UUID}}),
        )
        .agent(
            "n",
            HOST_UUID,
            json!([
                {"serialNumber": "MT1"}, {"serialNumber": "MT2"},
                {"deviceSerial": "b83fd20300010a00"},
            ]),
        );
    let joined = site.join();
    let (cards, hosts) = proposed(&joined);
    assert_eq!(cards, ["dpu-dsn-b83fd20300010a00", "dpu-mt1", "dpu-mt2"]);
    assert!(hosts.is_empty());
    let card = proposed_card(&joined, "dpu-mt1");
    assert_eq!((card.spec.site.as_str(), &card.spec.bmc), ("lab", &None));
    assert_eq!(card.spec.host_refs[0].name, "h");
    assert_eq!(
        proposed_card(&joined, "dpu-dsn-b83fd20300010a00")
            .spec
            .identity,
        None
    );
    let again = site.apply().join();
    assert!(
        again.proposals.is_empty() && again.withdrawals.is_empty(),
        "{again:#?}"
    );
}

#[test]
fn a_host_that_only_its_agent_knows_is_proposed_when_it_holds_a_card() {
    let site = Site::default()
        .agent("empty", HOST_UUID, json!([]))
        .agent("n", OTHER_UUID, json!([{"serialNumber": "MT1"}]))
        .agent("junk", "", json!([{"serialNumber": "MT2"}]));
    let joined = site.join();
    let name = format!("host-{OTHER_UUID}");
    assert_eq!(proposed(&joined).1, [name.clone(), "host-junk".to_owned()]);
    assert_eq!(proposed_host(&joined, &name).spec.node_name, None);
    assert_eq!(
        proposed_host(&joined, "host-junk")
            .spec
            .node_name
            .as_deref(),
        Some("junk")
    );
    let again = site.apply().join();
    assert!(
        again.proposals.is_empty() && again.withdrawals.is_empty(),
        "{again:#?}"
    );
}

#[test]
fn a_card_whose_host_nobody_knows_gets_one_that_stands_in_until_it_is_seen() {
    let site = Site::default().found("f1", "Card", "https://10.0.0.1", card("MT1"));
    let joined = site.join();
    assert_eq!(
        proposed(&joined),
        (vec!["dpu-mt1".to_owned()], vec!["dpu-mt1".to_owned()])
    );
    let stand_in = proposed_host(&joined, "dpu-mt1");
    assert_eq!(stand_in.spec.role, HostRole::ChassisOnly);
    assert_eq!(stand_in.spec.policy_ref.name, "discovered");
    let site = site.apply();
    assert!(site.join().proposals.is_empty());
    assert_eq!(
        site.joined("dpu-mt1").places[0].pairing,
        KnownPairing::Unknown
    );

    let site = site.agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]));
    let site = site.apply();
    let seen = site.join();
    let gone: Vec<(Subject, &str)> = seen
        .withdrawals
        .iter()
        .map(|w| (w.subject, w.name.as_str()))
        .collect();
    assert_eq!(
        gone,
        [(Subject::Card, "dpu-mt1"), (Subject::Host, "dpu-mt1")]
    );
    let site = site.apply().apply();
    assert_eq!(
        site.cards[0].spec.host_refs[0].name,
        format!("host-{HOST_UUID}")
    );
    assert_eq!((site.cards.len(), site.hosts.len()), (1, 1));
    let settled = site.join();
    assert!(settled.proposals.is_empty() && settled.withdrawals.is_empty());
}

#[test]
fn what_was_created_by_half_is_completed() {
    let whole = Site::default()
        .found("f1", "Card", "https://10.0.0.1", card("MT1"))
        .apply();
    let mut only_host = whole.clone();
    only_host.cards.clear();
    assert_eq!(
        proposed(&only_host.join()),
        (vec!["dpu-mt1".to_owned()], vec![])
    );
    assert!(only_host.join().withdrawals.is_empty());
    let mut only_card = whole;
    only_card.hosts.clear();
    assert_eq!(
        proposed(&only_card.join()),
        (vec![], vec!["dpu-mt1".to_owned()])
    );
}

#[test]
fn a_proposal_demands_only_what_a_found_bmc_shows_where_it_is_proved() {
    let uuid_alone = json!({
        "machine": {"systemUuid": UUID},
        "inventory": {
            "system": {"systemUuid": UUID, "serialNumber": "MT1"},
            "ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]},
        },
    });
    let joined = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .found("f", "Card", "https://10.0.0.1", uuid_alone)
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .join();
    let card = proposed_card(&joined, "dpu-mt1");
    assert_eq!(card.spec.host_refs[0].name, "h");
    let demanded = json!({"systemUuid": UUID});
    assert_eq!(
        json!(card.spec.identity),
        demanded,
        "what its chassis tells is not proved"
    );
    let host = json!({"machine": {"systemUuid": HOST_UUID}});
    let agent = json!({
        "machine": {"systemUuid": HOST_UUID, "serialNumber": "SRV1"},
        "inventory": {"cards": []},
    });
    let joined = Site::default()
        .found("f", "Host", "https://10.0.0.1", host)
        .report("host-n", "HostOs", "n", agent)
        .join();
    let host = proposed_host(&joined, "host-srv1");
    assert_eq!(json!(host.spec.identity), json!({"systemUuid": HOST_UUID}));
}

#[test]
fn cards_that_share_an_address_alone_are_two() {
    let joined = Site::default()
        .agent(
            "n",
            HOST_UUID,
            json!([{"serialNumber": "A1", "macs": ["b8:3f:d2:00:00:01"]}]),
        )
        .agent(
            "m",
            OTHER_UUID,
            json!([{"serialNumber": "B1", "macs": ["b8:3f:d2:00:00:01"]}]),
        )
        .join();
    assert_eq!(proposed(&joined).0, ["dpu-a1", "dpu-b1"]);
}

#[test]
fn existing_objects_are_adopted() {
    let found = Site::default().found("f1", "Card", "https://10.0.0.1", card("MT1"));
    let bmc = json!({
        "address": "https://10.0.0.1/", "credentialsRef": {"name": "own"}, "tls": {"trust": "NoVerification"},
    });
    for spec in [
        json!({"identity": {"serialNumber": "mt1"}}),
        json!({"identity": {"systemUuid": UUID}}),
        json!({"bmc": bmc}),
    ] {
        let joined = found.clone().card("mine", spec.clone()).join();
        assert!(proposed(&joined).0.is_empty(), "{spec}");
        let views: Vec<_> = joined.cards["mine"]
            .inventory
            .views
            .iter()
            .map(|v| v.report.as_str())
            .collect();
        assert_eq!(views, ["bmc-found-f1"], "{spec}");
    }
}

#[test]
fn one_bmc_with_two_systems_is_two_cards() {
    let at = |path: &str, uuid: &str| {
        json!({
            "found": {"endpoint": {"systemPath": path}}, "inventory": {"system": {"systemUuid": uuid}},
        })
    };
    let bmc = |path: &str| {
        json!({"bmc": {
            "address": "https://10.0.0.1", "systemPath": path, "credentialsRef": {"name": "own"},
            "tls": {"trust": "NoVerification"},
        }})
    };
    let site = Site::default()
        .found(
            "f1",
            "Card",
            "https://10.0.0.1",
            at("/redfish/v1/Systems/1", UUID),
        )
        .found(
            "f2",
            "Card",
            "https://10.0.0.1",
            at("/redfish/v1/Systems/2", OTHER_UUID),
        )
        .card("mine", bmc("/redfish/v1/Systems/2"));
    let joined = site.join();
    assert_eq!(proposed(&joined).0, [format!("dpu-{UUID}")]);
    assert_eq!(
        joined.cards["mine"]
            .inventory
            .system
            .as_ref()
            .unwrap()
            .facts
            .system_uuid
            .as_deref(),
        Some(OTHER_UUID)
    );
    assert_eq!(conflicts(&joined.cards["mine"]), Vec::<String>::new());
}

#[test]
fn what_is_no_card_or_identifies_nothing_is_not_proposed() {
    let junk = json!({"inventory": {"system": {"serialNumber": "Default string"}}});
    let site = Site::default()
        .found("junk", "Card", "https://10.0.0.1", junk)
        .found("unclear", "Unclear", "https://10.0.0.2", card("MT2"))
        .found(
            "gone",
            "Card",
            "https://10.0.0.3",
            json!({
                "found": {"missingSince": "2026-05-02T00:00:00Z"},
                "inventory": {"system": {"serialNumber": "MT3"}},
            }),
        )
        .agent(
            "n",
            HOST_UUID,
            json!([{"serialNumber": "MT4", "health": "Recovery"}]),
        );
    assert!(proposed(&site.join()).0.is_empty());
}

#[test]
fn a_name_that_another_card_has_gets_a_suffix() {
    let site = Site::default()
        .card(
            "dpu-mt1",
            json!({"identity": {"serialNumber": "quite another"}}),
        )
        .found("f1", "Card", "https://10.0.0.1", card("MT1"));
    let (cards, _) = proposed(&site.join());
    assert_eq!(cards.len(), 1);
    assert!(cards[0].starts_with("dpu-mt1-"), "{cards:?}");
    let site = site.apply();
    assert!(site.join().proposals.is_empty());
}

#[test]
fn two_cards_that_claim_one_serial_number_are_named_by_their_uuids() {
    let of =
        |uuid: &str| json!({"inventory": {"system": {"serialNumber": "MT1", "systemUuid": uuid}}});
    let site = Site::default()
        .found("f1", "Card", "https://10.0.0.1", of(UUID))
        .found("f2", "Card", "https://10.0.0.2", of(OTHER_UUID))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]));
    let joined = site.join();
    let mut names = [format!("dpu-{UUID}"), format!("dpu-{OTHER_UUID}")];
    names.sort();
    assert_eq!(proposed(&joined).0, names);
    let again = site.apply().join();
    assert!(
        again.proposals.is_empty() && again.withdrawals.is_empty(),
        "{again:#?}"
    );
    for card in again.cards.values() {
        assert_eq!(conflicts(card), ["system.serialNumber"], "{card:#?}");
    }
}

#[test]
fn an_endpoint_that_no_spec_can_say_is_left_out_and_told() {
    let mut more = card("MT1");
    more["found"] = json!({"endpoint": {"trust": "Blockchain"}});
    let site = Site::default().found("f1", "Card", "https://10.0.0.1", more);
    assert_eq!(proposed_card(&site.join(), "dpu-mt1").spec.bmc, None);
    let site = site.apply();
    let missing = site.joined("dpu-mt1").inventory.missing;
    let told = missing
        .iter()
        .find(|missing| missing.what == "spec.bmc")
        .unwrap();
    assert!(told.why.contains("https://10.0.0.1") && told.why.contains("Blockchain"));
    assert!(site.join().withdrawals.is_empty());
}

#[test]
fn a_proposal_that_knew_no_bmc_gives_way_to_one_that_does() {
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .apply()
        .found("f1", "Card", "https://10.0.0.1", card("MT1"));
    assert_eq!(site.join().withdrawals.len(), 1);
    let site = site.apply().apply();
    assert!(site.cards[0].spec.bmc.is_some());
    assert!(site.join().withdrawals.is_empty());
}

#[test]
fn proposals_are_bounded_and_come_to_an_end() {
    let mut site = Site::default();
    for n in 0..300 {
        let more = json!({"inventory": {"system": {"serialNumber": format!("MT{n:04}")}}});
        site = site.found(
            &format!("f{n}"),
            "Card",
            &format!("https://10.0.{}.{}", n / 200, n % 200),
            more,
        );
    }
    let mut rounds = 0;
    while !site.join().proposals.is_empty() {
        assert!(site.join().proposals.len() <= 256);
        site = site.apply();
        rounds += 1;
        assert!(rounds < 5);
    }
    assert_eq!((site.cards.len(), site.hosts.len()), (300, 300));
}

#[test]
fn no_path_is_proposed_that_no_spec_can_name() {
    let at = |path: &str, serial: &str| {
        json!({
            "found": {"endpoint": {"systemPath": path}},
            "inventory": {"system": {"serialNumber": serial}},
        })
    };
    let long = format!("/redfish/v1/Systems/{}", "x".repeat(300));
    let site = Site::default()
        .found(
            "f1",
            "Card",
            "https://10.0.0.1",
            at("/redfish/v1/Oem/a b", "A1"),
        )
        .found("f2", "Card", "https://10.0.0.1", at(&long, "A2"))
        .found(
            "f3",
            "Card",
            "https://10.0.0.1",
            at("/redfish/v1/Systems/3", "A3"),
        );
    let joined = site.join();
    let bmc = |name: &str| proposed_card(&joined, name).spec.bmc;
    assert_eq!((bmc("dpu-a1"), bmc("dpu-a2")), (None, None));
    assert!(bmc("dpu-a3").is_some());
}

#[test]
fn an_object_is_adopted_however_its_address_is_written() {
    let mut failed = Vec::new();
    for (found, address) in [
        ("https://10.0.0.1", "https://10.0.0.1:443"),
        ("https://10.0.0.1", "https://[::ffff:10.0.0.1]"),
        ("https://[fd00::1]", "https://[FD00:0:0::1]"),
        ("https://bmc.example", "https://bmc.example."),
    ] {
        let bmc = json!({"address": address, "credentialsRef": {"name": "own"}, "tls": {"trust": "NoVerification"}});
        let site = Site::default()
            .found("f1", "Card", found, card("MT1"))
            .card("mine", json!({"bmc": bmc}));
        if !proposed(&site.join()).0.is_empty() {
            failed.push(address);
        }
    }
    assert!(failed.is_empty(), "duplicated: {failed:?}");
}

#[test]
fn a_contested_card_that_moves_is_not_proposed_a_second_time() {
    let of = |device: &str| json!({"inventory": {"system": {"serialNumber": "MT1", "deviceSerial": device}}});
    let site = Site::default()
        .found("f1", "Card", "https://10.0.0.1", of("b83fd20300010a00"))
        .found("f2", "Card", "https://10.0.0.2", of("b83fd20300010b00"))
        .apply();
    assert_eq!(site.cards.len(), 2);
    let site = site
        .apply()
        .found("f1", "Card", "https://10.0.0.9", of("b83fd20300010a00"));
    assert!(
        proposed(&site.join()).0.is_empty(),
        "{:?}",
        proposed(&site.join())
    );
}

#[test]
fn a_serial_number_alone_makes_no_two_bmcs_that_answer_now_one_card() {
    let of = |serial: &str| json!({"inventory": {"system": {"serialNumber": serial}}});
    let site = Site::default()
        .found("f1", "Card", "https://10.0.0.1", of("MT1"))
        .found("f2", "Card", "https://10.0.0.2", of("MT1"));
    let joined = site.join();
    assert_eq!(proposed(&joined).0, ["dpu-f1", "dpu-f2"]);
    let site = site.apply();
    for moved in [
        site.clone(),
        site.found("f1", "Card", "https://10.0.0.9", of("MT1"))
            .apply(),
    ] {
        let settled = moved.join();
        assert!(settled.proposals.is_empty() && settled.withdrawals.is_empty());
        assert!(settled.moves.is_empty());
        for (card, view) in [("dpu-f1", "bmc-found-f1"), ("dpu-f2", "bmc-found-f2")] {
            let card = &settled.cards[card];
            assert_eq!(conflicts(card), ["system.serialNumber"]);
            assert_eq!(card.inventory.views[0].report, view);
        }
    }
    let same = |address: &str, id: &str, more: Site| more.found(id, "Card", address, card("MT1"));
    let one = same(
        "https://10.0.0.2",
        "f2",
        same("https://10.0.0.1", "f1", Site::default()),
    );
    assert_eq!(
        proposed(&one.join()).0,
        ["dpu-mt1"],
        "their UUID is one, too"
    );
}
