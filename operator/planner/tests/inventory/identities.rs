//! Which views are of which card (R6).

use serde_json::json;

use crate::site::{HOST_UUID, OTHER_UUID, Site, UUID, conflicts, proposed, said, views};

fn by(report: &str, keys: &[&str]) -> (String, Vec<String>) {
    (
        report.to_owned(),
        keys.iter().map(|key| (*key).to_owned()).collect(),
    )
}

#[test]
fn three_views_with_one_serial_number_are_one_card() {
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .own_agent("c", json!({"system": {"serialNumber": " mt1 "}}))
        .found(
            "x",
            "Card",
            "https://10.0.0.1",
            json!({"inventory": {"system": {"serialNumber": "MT1"}}}),
        )
        .agent("n", "", json!([{"serialNumber": "MT1", "slot": "Slot 3"}]));
    let card = site.joined("c");
    assert_eq!(
        views(&card),
        [
            by("xpu-c", &["name", "serialNumber"]),
            by("bmc-found-x", &["serialNumber"]),
            by("host-n", &["serialNumber"]),
        ]
    );
    assert_eq!(conflicts(&card), Vec::<String>::new());
}

#[test]
fn a_view_joins_through_another() {
    let site = Site::default()
        .card("c", json!({"identity": {"systemUuid": UUID}}))
        .card_bmc(
            "c",
            json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}),
        )
        .agent(
            "n",
            "",
            json!([{"serialNumber": "MT1", "macs": ["b8:3f:d2:00:00:01"]}]),
        )
        .found(
            "x",
            "Card",
            "https://10.0.0.1",
            json!({"inventory": {"system": {"serialNumber": "MT1"}}}),
        );
    let card = site.joined("c");
    assert_eq!(card.inventory.views.len(), 3);
    assert_eq!(card.summary.serial_number.as_deref(), Some("MT1"));
    assert!(
        site.join()
            .proposals
            .iter()
            .all(|p| !format!("{p:?}").contains("Card("))
    );
}

#[test]
fn junk_joins_nobody() {
    for junk in [
        "",
        "None",
        "To be filled by O.E.M.",
        "0000000",
        "Unspecified Serial",
        "\u{ff}\u{ff}",
    ] {
        let site = Site::default()
            .card("a", json!({}))
            .card("b", json!({}))
            .own_agent("a", json!({"system": {"serialNumber": junk, "systemUuid": "00000000-0000-0000-0000-000000000000"}}))
            .own_agent("b", json!({"system": {"serialNumber": junk, "systemUuid": "00000000-0000-0000-0000-000000000000"}}))
            .agent("n", "", json!([{"serialNumber": junk, "deviceSerial": "0000000000000000"}]));
        for card in ["a", "b"] {
            let card = site.joined(card);
            assert_eq!(card.inventory.views.len(), 1, "{junk:?}");
            assert_eq!(conflicts(&card), Vec::<String>::new(), "{junk:?}");
            assert_eq!(card.summary.serial_number, None, "{junk:?}");
        }
        assert!(site.join().proposals.is_empty(), "{junk:?}");
    }
}

#[test]
fn a_uuid_in_the_other_byte_order_is_the_same() {
    let turned = "44454c4c-4200-1035-8052-b4c04f4d3732";
    let site = Site::default()
        .card("c", json!({"identity": {"systemUuid": UUID}}))
        .own_agent(
            "c",
            json!({"system": {"systemUuid": turned.to_uppercase()}}),
        );
    let card = site.joined("c");
    assert_eq!(conflicts(&card), Vec::<String>::new());
    assert_eq!(card.inventory.views.len(), 1);
}

#[test]
fn a_report_about_an_older_object_of_that_name_does_not_count() {
    let site = Site::default().card("c", json!({})).report(
        "xpu-c",
        "CardOs",
        "c",
        json!({"subjectUid": "another", "inventory": {"system": {"serialNumber": "MT1"}}}),
    );
    assert!(site.joined("c").inventory.views.is_empty());
}

#[test]
fn a_named_view_of_another_card_is_a_conflict_and_gives_nothing() {
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .own_agent(
            "c",
            json!({"system": {"serialNumber": "MT2"}, "cpu": {"cores": 16}}),
        );
    let card = site.joined("c");
    assert_eq!(
        said(&card, "system.serialNumber"),
        [
            ("dpu/c".to_owned(), "MT1".to_owned()),
            (
                "xpu-c".to_owned(),
                "MT2: another card answers there".to_owned()
            ),
        ]
    );
    assert!(card.inventory.views.is_empty());
    assert_eq!(card.inventory.cpu, None);
    assert_eq!(card.inventoried.reason, "Conflicting");
    assert!(card.inventoried.message.contains("xpu-c says MT2"));
}

#[test]
fn what_a_cards_own_system_says_against_its_bmc_is_told_and_gives_nothing() {
    let site = Site::default()
        .card("c", json!({}))
        .own_agent("c", json!({"system": {"serialNumber": "MT1"}}))
        .card_bmc("c", json!({"system": {"serialNumber": "MT2"}}));
    let card = site.joined("c");
    assert_eq!(
        said(&card, "system.serialNumber"),
        [
            ("bmc-card-c".to_owned(), "MT2".to_owned()),
            (
                "xpu-c".to_owned(),
                "MT1: another card answers there".to_owned()
            ),
        ]
    );
    assert_eq!(views(&card), [by("bmc-card-c", &["name"])]);
}

#[test]
fn what_matches_by_one_key_and_contradicts_by_another_is_not_joined() {
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .card_bmc(
            "c",
            json!({"ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]}}),
        )
        .agent(
            "n",
            "",
            json!([{"serialNumber": "MT2", "macs": ["b8:3f:d2:00:00:01"]}]),
        );
    let card = site.joined("c");
    assert_eq!(conflicts(&card), ["ports.mac"]);
    assert_eq!(
        said(&card, "ports.mac")[1],
        (
            "host-n".to_owned(),
            "b8:3f:d2:00:00:01 with serial number MT2".to_owned()
        )
    );
    assert_eq!(card.inventory.views.len(), 1);
    // Another serial number is another card, and what is proposed for it says so itself.
    let site = site.apply();
    assert_eq!(conflicts(&site.joined("dpu-mt2")), ["ports.mac"]);
}

#[test]
fn a_serial_number_that_two_cards_claim_is_a_conflict_on_both_and_joins_nobody() {
    let inventory =
        |uuid: &str| json!({"inventory": {"system": {"serialNumber": "MT1", "systemUuid": uuid}}});
    let site = Site::default()
        .card("a", json!({"identity": {"systemUuid": UUID}}))
        .card("b", json!({"identity": {"systemUuid": OTHER_UUID}}))
        .found("a", "Card", "https://10.0.0.1", inventory(UUID))
        .found("b", "Card", "https://10.0.0.2", inventory(OTHER_UUID))
        .agent("n", "", json!([{"serialNumber": "MT1"}]));
    for card in ["a", "b"] {
        let card = site.joined(card);
        assert_eq!(conflicts(&card), ["system.serialNumber"]);
        assert_eq!(said(&card, "system.serialNumber").len(), 3);
        assert_eq!(card.inventory.views.len(), 1);
        assert_eq!(card.inventoried.reason, "Conflicting");
    }
}

#[test]
fn one_host_cannot_see_one_card_in_two_slots() {
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .agent(
            "n",
            "",
            json!([
                {"serialNumber": "MT1", "slot": "1"}, {"serialNumber": "MT1", "slot": "2"},
            ]),
        );
    let card = site.joined("c");
    assert_eq!(conflicts(&card), ["system.serialNumber"]);
    assert!(card.inventory.views.is_empty());
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .agent(
            "n",
            "",
            json!([
                {"serialNumber": "MT1", "deviceSerial": "b83fd20300010a00", "slot": "1"},
                {"serialNumber": "MT1", "deviceSerial": "b83fd20300010a00", "slot": "2"},
            ]),
        );
    assert_eq!(conflicts(&site.joined("c")), Vec::<String>::new());
}

#[test]
fn two_objects_of_users_for_one_card_are_told_on_both() {
    let site = Site::default()
        .card("a", json!({"identity": {"serialNumber": "MT1"}}))
        .card("b", json!({"identity": {"serialNumber": "mt1"}}));
    for card in ["a", "b"] {
        let said = said(&site.joined(card), "system.serialNumber");
        assert_eq!(said[0].0, format!("dpu/{card}"));
        assert_eq!(said.len(), 2);
    }
    assert!(site.join().withdrawals.is_empty());
}

#[test]
fn what_is_missing_splits_no_card() {
    let of = |uuid: &str, missing: bool| {
        let since = missing.then_some("2026-04-02T00:00:00Z");
        json!({"found": {"missingSince": since}, "inventory": {"system": {"serialNumber": "MT1", "systemUuid": uuid}}})
    };
    // After an update the BMC shows another UUID: another id, and the old report stays for ever.
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .found("old", "Card", "https://10.0.0.1", of(OTHER_UUID, true))
        .found("new", "Card", "https://10.0.0.1", of(UUID, false))
        .agent("n", HOST_UUID, json!([{"serialNumber": "MT1"}]))
        .card("mine", json!({"identity": {"serialNumber": "MT1"}}));
    let card = site.joined("mine");
    assert!(
        !views(&card).is_empty() && proposed(&site.join()).0.is_empty(),
        "views {:?}, conflicts {:?}, proposed beside it {:?}",
        views(&card),
        conflicts(&card),
        proposed(&site.join()).0
    );
}

#[test]
fn a_filler_of_firmware_is_one_in_either_byte_order() {
    let turned = "78563412-3412-7856-90ab-cddeefaabbcc";
    let site = Site::default()
        .found(
            "f1",
            "Card",
            "https://10.0.0.1",
            json!({"inventory": {"system": {"systemUuid": turned}}}),
        )
        .found(
            "f2",
            "Card",
            "https://10.0.0.2",
            json!({"inventory": {"system": {"systemUuid": turned}}}),
        );
    let (cards, _) = proposed(&site.join());
    assert!(
        cards.len() != 1,
        "two BMCs that answer now are one card: {cards:?}"
    );
}
