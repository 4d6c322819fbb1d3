//! Hosts: their Node, platform, slots and who takes part when they boot.

use serde_json::json;

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site, proposed};

fn known() -> Site {
    Site::default().host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
}

#[test]
fn a_node_is_bound_by_the_uuid_of_its_machine_whatever_its_name() {
    for node in ["n", "renamed"] {
        let joined = known().agent(node, HOST_UUID, json!([])).join();
        assert_eq!(joined.hosts["h"].node_name.as_deref(), Some(node));
        assert!(joined.proposals.is_empty());
    }
}

#[test]
fn a_reinstalled_host_is_the_same_host() {
    let before = known().agent("n", HOST_UUID, json!([])).join();
    let mut site = known().agent("n", &HOST_UUID.to_uppercase(), json!([]));
    let report = site.reports.get_mut("host-n").unwrap();
    report.agent_version = "9.9.9".to_owned();
    assert_eq!(site.join().hosts, before.hosts);
}

#[test]
fn two_nodes_that_claim_one_machine_bind_none_and_are_told() {
    let joined = known()
        .agent("n", HOST_UUID, json!([]))
        .agent("m", HOST_UUID, json!([]))
        .join();
    assert_eq!(joined.hosts["h"].node_name, None);
    assert!(joined.hosts["h"].contradictions[0].contains("m, n"));
}

#[test]
fn the_node_that_the_spec_names_is_tied_unless_its_machine_is_another() {
    let named = |uuid: &str| {
        Site::default()
            .host(
                "h",
                json!({"nodeName": "n", "identity": {"systemUuid": HOST_UUID}}),
            )
            .agent("n", uuid, json!([]))
            .join()
    };
    assert_eq!(named("").hosts["h"].node_name.as_deref(), Some("n"));
    let other = named(OTHER_HOST_UUID);
    assert_eq!(other.hosts["h"].node_name, None);
    assert!(other.hosts["h"].contradictions[0].contains("Node n"));
}

#[test]
fn where_the_uuid_is_junk_a_card_that_both_see_proves_the_machine() {
    let junk = "00000000-0000-0000-0000-000000000000";
    let site = Site::default()
        .host("h", json!({}))
        .host("g", json!({}))
        .host_bmc("h", json!({"cards": [{"serialNumber": "MT1"}]}))
        .host_bmc("g", json!({"cards": [{"serialNumber": "MT2"}]}));
    let joined = site
        .clone()
        .agent("n", junk, json!([{"serialNumber": "mt1"}]))
        .agent("m", junk, json!([{"serialNumber": "MT2"}]))
        .join();
    assert_eq!(joined.hosts["h"].node_name.as_deref(), Some("n"));
    assert_eq!(joined.hosts["g"].node_name.as_deref(), Some("m"));
    let twice = site
        .agent("n", junk, json!([{"serialNumber": "MT1"}]))
        .agent("m", junk, json!([{"serialNumber": "MT1"}]))
        .join();
    assert_eq!(twice.hosts["h"].node_name, None);
}

/// The BMC of `h` was read last before the card was moved to a machine whose firmware shows no UUID.
#[test]
fn the_machine_that_a_card_was_moved_to_is_not_the_host_that_it_came_from() {
    let told = json!({
        "machine": {"systemUuid": HOST_UUID},
        "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]},
    });
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .found("f2", "Host", "https://10.0.1.1", told)
        .agent("elsewhere", "", json!([{"serialNumber": "MT1"}]));
    let joined = site.join();
    assert_eq!(joined.hosts["h"].node_name, None);
    let seen_by = joined.cards["c"].witnesses.iter();
    let seen_by: Vec<_> = seen_by
        .map(|one| (one.host.as_str(), one.report.as_str()))
        .collect();
    assert_eq!(
        seen_by,
        [("", "host-elsewhere"), ("h", "bmc-found-f2")],
        "one word against the other: nothing is done to the card"
    );
}

#[test]
fn platform_slots_and_actors_come_from_whoever_tells_them() {
    let site = known()
        .card("c", json!({"hostRefs": [{"name": "h"}], "identity": {"serialNumber": "MT1"}}))
        .card("d", json!({"hostRefs": [{"name": "h", "pairing": "Asserted"}]}))
        .host_bmc("h", json!({
            "system": {"systemUuid": HOST_UUID},
            "platform": {"bootOrder": ["Disk", "Net"], "powerRestorePolicy": "LastState", "firmwareVersion": "2.1"},
            "bmc": {"firmwareVersion": "7.0"},
            "slots": {"slots": [{"name": "Slot 3", "inUse": true}]},
            "cards": [{"serialNumber": "MT1", "slot": "Slot 3"}],
        }))
        .card_bmc("c", json!({
            "bmc": {"firmwareVersion": "24.10"},
            "firmware": {"components": [{"name": "uefi", "running": "4.9"}]},
        }))
        .own_agent("d", json!({"firmware": {"components": [{"name": "fw", "running": "32.1"}]}}));
    let host = site.join().hosts["h"].clone();
    assert_eq!(
        host.firmware.unwrap().power_restore_policy.as_deref(),
        Some("LastState")
    );
    assert_eq!(host.slots.unwrap().slots[0].name, "Slot 3");
    let actors = host.actors.unwrap();
    let firmware = actors.host_firmware.unwrap();
    assert_eq!(
        (firmware.of.as_str(), firmware.version.as_deref()),
        ("dpuhost/h", Some("2.1"))
    );
    assert_eq!(actors.host_bmc.unwrap().version.as_deref(), Some("7.0"));
    let shown = |actors: &[lockstep_crds::inventory::Actor]| -> Vec<String> {
        let each = actors.iter();
        each.map(|actor| format!("{} {}", actor.of, actor.version.clone().unwrap()))
            .collect()
    };
    assert_eq!(shown(&actors.card_bmcs), ["dpu/c 24.10"]);
    assert_eq!(shown(&actors.card_firmware), ["dpu/c 4.9", "dpu/d 32.1"]);
}

#[test]
fn an_old_objects_bmc_tells_nothing_of_the_new_one() {
    let more = json!({"subjectUid": "another", "inventory": {"slots": {"slots": [{"name": "1"}]}}});
    let joined = known().report("bmc-host-h", "HostBmc", "h", more).join();
    assert_eq!(joined.hosts["h"].slots, None);
}

#[test]
fn a_serial_number_alone_makes_no_two_bmcs_one_host() {
    // Other makers: the agent's ids differ.
    let of =
        |maker: &str| json!({"inventory": {"system": {"serialNumber": "S1", "vendor": maker}}});
    let site = Site::default()
        .found("f1", "Host", "https://10.0.1.1", of("Dell Inc."))
        .found("f2", "Host", "https://10.0.1.2", of("HPE"));
    let (_, hosts) = proposed(&site.join());
    let settled = site.apply().join();
    let told: Vec<_> = settled
        .hosts
        .values()
        .flat_map(|h| h.contradictions.clone())
        .collect();
    assert!(
        hosts.len() == 2 || !told.is_empty(),
        "one host {hosts:?}, nothing told"
    );
}

#[test]
fn an_agent_that_sees_none_of_the_cards_that_the_bmc_sees_is_not_its_node() {
    let site = Site::default()
        .host("b", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host_bmc(
            "b",
            json!({"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]}),
        )
        .agent("evil", HOST_UUID, json!([{"serialNumber": "ANOTHER"}]));
    let host = site.join().hosts["b"].clone();
    assert!(
        host.node_name.is_none() || !host.contradictions.is_empty(),
        "{:?}, contradictions {:?}",
        host.node_name,
        host.contradictions
    );
}

#[test]
fn an_agent_that_sees_other_cards_than_the_bmc_proves_no_place_and_makes_no_second_host() {
    let told = json!({"inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]}});
    let site = Site::default()
        .found("f", "Host", "https://10.0.1.1", told)
        .agent("evil", HOST_UUID, json!([{"serialNumber": "MT2"}]))
        .apply();
    let joined = site.join();
    assert!(joined.proposals.is_empty(), "{:?}", proposed(&joined));
    assert_eq!(
        site.hosts
            .iter()
            .filter(|host| host.spec.bmc.is_some())
            .count(),
        1
    );
    let host = joined
        .hosts
        .values()
        .find(|host| !host.contradictions.is_empty());
    let said = &host.unwrap().contradictions[0];
    assert!(said.contains("Node evil sees none of the cards"), "{said}");
    let site = site.agent("n", HOST_UUID, json!([{"serialNumber": "mt1"}]));
    let nodes: Vec<_> = site
        .join()
        .hosts
        .values()
        .filter_map(|host| host.node_name.clone())
        .collect();
    assert_eq!(nodes, ["n"]);
}
