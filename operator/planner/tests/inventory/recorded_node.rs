//! The Node that a host's status records, and what ends that.

use lockstep_crds::host::Disruption;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_HOST_UUID, Site};

const BEFORE: &str = "2026-04-30T00:00:00Z";
const AFTER: &str = "2026-05-02T00:00:00Z";

fn serial(serial: &str) -> Value {
    json!([{"serialNumber": serial}])
}

/// Facts of that report have last changed then.
fn changed(mut site: Site, report: &str, at: &str) -> Site {
    let told = site.reports.get_mut(report).unwrap();
    told.observed_at.0 = at.parse().unwrap();
    site
}

fn record(site: &mut Site, host: usize, node: &str) {
    site.hosts[host].status = Some(serde_json::from_value(json!({"nodeName": node})).unwrap());
}

/// The host `h`, in whose status Node `n` was recorded.
fn recorded(spec: Value) -> Site {
    let mut site = Site::default().host("h", spec);
    record(&mut site, 0, "n");
    site
}

/// The Node as the operator sees it, where these exist.
fn node(site: &Site, host: &str, exist: &[&str]) -> Option<String> {
    let joined = site.join();
    let object = site
        .hosts
        .iter()
        .find(|one| one.metadata.name.as_deref() == Some(host))
        .unwrap();
    lockstep_planner::node_of(object, joined.hosts.get(host), |node| exist.contains(&node))
}

/// A spare board that ran Node m elsewhere is put into h: its BMC shows that UUID now. The agent of m has
/// been silent since, its report and its Node (NotReady) were left. n boots from its own disk; its
/// agent has not told yet (or has no DaemonSet any more).
#[test]
fn a_silent_agent_of_another_node_takes_no_host_from_the_recorded_one() {
    let site = recorded(json!({}))
        .host_bmc("h", json!({"system": {"systemUuid": OTHER_HOST_UUID}}))
        .agent("n", HOST_UUID, json!([]))
        .agent("m", OTHER_HOST_UUID, json!([]));
    let site = changed(site, "host-m", BEFORE).silent("host-m");
    for (case, site) in [
        ("n has not told yet", site.clone()),
        ("n is silent", site.clone().silent("host-n")),
        ("n has no report", {
            let mut site = site;
            site.reports.remove("host-n");
            site
        }),
    ] {
        let host = &site.join().hosts["h"];
        assert_eq!(
            host.contradictions.len(),
            1,
            "{case}: {:?}",
            host.contradictions
        );
        assert_eq!(
            node(&site, "h", &["n", "m"]).as_deref(),
            Some("n"),
            "{case}"
        );
    }
}

/// The same by a serial number alone (no UUID anywhere).
#[test]
fn a_serial_number_that_a_silent_agent_tells_takes_no_host_from_the_recorded_node() {
    let site = recorded(json!({}))
        .host_bmc("h", json!({"system": {"serialNumber": "S2"}}))
        .agent("n", "", json!([]))
        .report(
            "host-m",
            "HostOs",
            "m",
            json!({"machine": {"serialNumber": "S2"}}),
        )
        .silent("host-m");
    assert_eq!(node(&site, "h", &["n", "m"]).as_deref(), Some("n"));
}

/// The remedy that the text names, where the other machine has the DpuHost that discovery proposed
/// and a person has taken up.
#[test]
fn naming_the_node_in_a_dpuhost_that_was_proposed_ends_it() {
    // Junk UUIDs: the machine has a proposed host by its BMC's serial number.
    let mut site = recorded(json!({}))
        .host_bmc("h", json!({"cards": serial("MT2")}))
        .found(
            "f2",
            "Host",
            "https://10.0.1.2",
            json!({"machine": {"serialNumber": "S2"}, "inventory": {"system": {"serialNumber": "S2"}}}),
        )
        .agent("n", "", serial("MT1"));
    site = changed(site, "bmc-host-h", BEFORE).apply();
    let g = site
        .hosts
        .iter()
        .position(|one| one.metadata.name.as_deref() != Some("h"))
        .unwrap();
    assert_eq!(site.join().hosts["h"].contradictions.len(), 1);
    site.edit_host(g, |host| {
        host.node_name = Some("n".to_owned());
        host.disruption = Disruption::Allowed;
    });
    let site = site.apply();
    let g = site.hosts[g].metadata.name.clone().unwrap();
    let joined = site.join();
    assert_eq!(joined.hosts[&g].node_name.as_deref(), Some("n"));
    assert_eq!(
        joined.hosts["h"].departed.as_deref(),
        Some("n"),
        "{:?}",
        joined.hosts["h"].contradictions
    );
}

/// A person names the Node at the other host; no agent tells of it.
#[test]
fn naming_the_node_elsewhere_ends_the_record_where_no_agent_tells() {
    let site = recorded(json!({"identity": {"systemUuid": HOST_UUID}}))
        .host(
            "g",
            json!({"identity": {"systemUuid": OTHER_HOST_UUID}, "nodeName": "n"}),
        )
        .host_bmc("h", json!({"system": {"systemUuid": HOST_UUID}}));
    assert_eq!(node(&site, "h", &["n"]), None);
    let told = site.agent("n", HOST_UUID, json!([])).silent("host-n");
    assert_eq!(
        node(&told, "h", &["n"]).as_deref(),
        Some("n"),
        "it told of h"
    );
}

/// Two machines with one UUID: the other's object demands it. h's own BMC shows the UUID that the agent
/// tells, and the Node leaves h all the same.
#[test]
fn a_node_whose_uuid_the_hosts_own_bmc_shows_has_not_left() {
    let site = recorded(json!({}))
        .host("g", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host_bmc("h", json!({"system": {"systemUuid": HOST_UUID}}))
        .host_bmc("g", json!({"system": {"systemUuid": HOST_UUID}}))
        .agent("n", HOST_UUID, json!([]));
    let site = changed(site, "bmc-host-h", BEFORE);
    let host = &site.join().hosts["h"];
    assert_eq!(host.departed, None, "{:?}", host.contradictions);
}

/// The two steps of it: a machine with the same UUID stands at g; then h is given a UUID of its own, as
/// the message asks. Its agent tells the old one until it boots.
#[test]
fn the_remedy_against_two_machines_with_one_uuid_frees_no_host_in_use() {
    let new = "11111111-2222-4333-8444-555555555555";
    let site = recorded(json!({"identity": {"serialNumber": "S1"}}))
        .host("g", json!({"identity": {"systemUuid": HOST_UUID}}))
        .host_bmc(
            "h",
            json!({"system": {"systemUuid": HOST_UUID, "serialNumber": "S1"}}),
        )
        .host_bmc("g", json!({"system": {"systemUuid": HOST_UUID}}))
        .agent("n", HOST_UUID, json!([]));
    let mut site = changed(site, "bmc-host-h", BEFORE);
    for host in ["h", "g"] {
        let node = node(&site, host, &["n"]);
        let at = usize::from(host == "g");
        site.hosts[at].status = Some(serde_json::from_value(json!({"nodeName": node})).unwrap());
    }
    let site = site.host_bmc(
        "h",
        json!({"system": {"systemUuid": new, "serialNumber": "S1"}}),
    );
    let host = site.join().hosts["h"].clone();
    assert!(
        node(&site, "h", &["n"]).is_some() || !host.contradictions.is_empty(),
        "free though n runs there: {host:?}"
    );
}

/// Once the recorded Node is deleted, the Node that a card proves alone is the host's.
#[test]
fn a_deleted_node_gives_way() {
    let site = recorded(json!({}))
        .host_bmc("h", json!({"cards": serial("MT1")}))
        .agent("m", "", serial("MT1"));
    assert_eq!(node(&site, "h", &["n", "m"]).as_deref(), Some("n"));
    assert_eq!(node(&site, "h", &["m"]).as_deref(), Some("m"));
    let mut later = site;
    later.hosts[0].status = None;
    assert_eq!(node(&later, "h", &["m"]).as_deref(), Some("m"));
    assert!(later.join().hosts["h"].contradictions.is_empty());
}

/// `spec.nodeName` settles each of them.
#[test]
fn a_name_in_the_spec_ends_every_contradiction() {
    for (case, site) in [
        (
            "uuid",
            recorded(json!({"nodeName": "n"}))
                .host_bmc("h", json!({"system": {"systemUuid": OTHER_HOST_UUID}}))
                .agent("n", HOST_UUID, json!([])),
        ),
        (
            "cards",
            recorded(json!({"nodeName": "n"}))
                .host_bmc("h", json!({"cards": serial("MT2")}))
                .agent("n", "", serial("MT1")),
        ),
    ] {
        assert_eq!(node(&site, "h", &["n"]).as_deref(), Some("n"), "{case}");
    }
}

/// An agent that is alive tells the UUID that the BMC shows (hosts are not trusted, and UUIDs can be set), and
/// no agent runs on the recorded Node any more. The same facts as those of a Node that was renamed
/// without its object being deleted.
#[test]
fn another_agent_that_is_alive_does_not_take_the_host_from_the_recorded_node() {
    let site = recorded(json!({}))
        .host_bmc("h", json!({"system": {"systemUuid": HOST_UUID}}))
        .agent("m", HOST_UUID, json!([]));
    assert_eq!(node(&site, "h", &["n", "m"]).as_deref(), Some("n"));
    assert_eq!(
        node(&site, "h", &["m"]).as_deref(),
        Some("m"),
        "n is deleted"
    );
}

/// What its BMC lists since then, and another host, whose BMC shows another UUID.
fn lists(cards: Value, at: &str) -> Site {
    let site = recorded(json!({}))
        .host("g", json!({}))
        .host_bmc("g", json!({"system": {"systemUuid": OTHER_HOST_UUID}}));
    changed(
        site.host_bmc("h", json!({"cards": cards})),
        "bmc-host-h",
        at,
    )
}

/// The Node that is recorded stays: `told` stands in what contradicts it, or nothing does.
fn assert_it_stays(site: &Site, told: Option<&str>, case: &str) {
    let host = site.join().hosts["h"].clone();
    assert_eq!(host.departed, None, "{case}");
    let node = lockstep_planner::node_of(&site.hosts[0], Some(&host), |_| true);
    assert_eq!(node.as_deref(), Some("n"), "{case}");
    match (told, host.contradictions.as_slice()) {
        (None, []) => {}
        (Some(told), [said]) => {
            for part in [
                told,
                "status.nodeName records Node n",
                "spec.nodeName",
                "delete the DpuReport host-n",
            ] {
                assert!(said.contains(part), "{case}: {part}: {said}");
            }
        }
        (_, said) => panic!("{case}: {said:?}"),
    }
}

#[test]
fn silence_and_empty_lists_say_nothing_against_a_recorded_node() {
    for (case, site) in [
        ("no report", lists(serial("MT1"), AFTER)),
        (
            "it tells nothing",
            lists(serial("MT1"), AFTER).agent("n", "", json!([])),
        ),
        (
            "the host is off",
            lists(json!([]), AFTER).agent("n", "", serial("MT1")),
        ),
    ] {
        assert_it_stays(&site, None, case);
    }
    let there = lists(serial("MT1"), AFTER).agent("n", "", serial("MT1"));
    let host = there.join().hosts["h"].clone();
    assert_eq!(host.node_name.as_deref(), Some("n"));
    assert_eq!(host.contradictions, Vec::<String>::new());
}

/// A card was replaced in its host, and the agent has not told since; or it went elsewhere with the
/// Node. These are the same facts.
#[test]
fn a_recorded_node_stays_and_is_told_where_its_agent_sees_other_cards() {
    let told = Some("host-n sees none of the cards that bmc-host-h lists");
    for at in [BEFORE, AFTER] {
        let site = lists(serial("MT2"), at).agent("n", "", serial("MT1"));
        assert_it_stays(&site, told, at);
        assert_it_stays(&site.silent("host-n"), told, at);
    }
}

/// The board was replaced, or the BMC shows another UUID since its update.
#[test]
fn a_recorded_node_stays_and_is_told_where_its_agent_tells_another_uuid() {
    let told = Some("host-n tells another system UUID than bmc-host-h");
    for at in [BEFORE, AFTER] {
        let shown = json!({"system": {"systemUuid": OTHER_HOST_UUID}});
        let site = recorded(json!({})).host_bmc("h", shown);
        let site = changed(site, "bmc-host-h", at).agent("n", HOST_UUID, json!([]));
        assert_it_stays(&site, told, at);
        assert_it_stays(&site.silent("host-n"), told, at);
    }
    let site = recorded(json!({"identity": {"systemUuid": HOST_UUID}}));
    let site = site.agent("n", OTHER_HOST_UUID, serial("MT1"));
    let told = Some("host-n tells another system UUID than this host is known by");
    assert_it_stays(&site, told, "the spec");
    // Discovery proposes a host for the machine of which that agent alone tells.
    let site = site
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .apply();
    assert_eq!(site.hosts.len(), 2, "{:?}", site.hosts);
    assert_it_stays(&site, told, "proposed");
}

#[test]
fn a_recorded_node_ends_when_its_agent_is_newly_proved_on_another_host() {
    let moved = || lists(serial("MT2"), BEFORE).agent("n", OTHER_HOST_UUID, serial("MT1"));
    let host = moved().join().hosts["h"].clone();
    assert_eq!(host.departed.as_deref(), Some("n"));
    assert_eq!(host.contradictions, Vec::<String>::new());
    assert_eq!(moved().join().hosts["g"].node_name.as_deref(), Some("n"));
    let sees_its_card = lists(serial("MT1"), BEFORE).agent("n", OTHER_HOST_UUID, serial("MT1"));
    for (case, site) in [
        ("its agent is silent", moved().silent("host-n")),
        ("that BMC does not answer", moved().silent("bmc-host-g")),
        (
            "as old as what the BMC says",
            changed(moved(), "host-n", BEFORE),
        ),
        (
            "not later than clocks differ",
            changed(moved(), "host-n", "2026-04-30T00:00:59Z"),
        ),
        (
            "the BMC was read since",
            changed(moved(), "bmc-host-h", AFTER),
        ),
        ("it sees the card that is there", sees_its_card),
    ] {
        let host = site.join().hosts["h"].clone();
        assert_eq!(host.departed, None, "{case}");
        assert_eq!(host.contradictions.len(), 1, "{case}");
    }
}

#[test]
fn a_recorded_node_ends_when_a_person_names_it_on_another_host_and_its_agent_agrees() {
    let junk = |name: &str| {
        recorded(json!({}))
            .host("g", json!({"nodeName": name}))
            .host_bmc("h", json!({"cards": serial("MT2")}))
            .agent("n", "", serial("MT1"))
    };
    let moved = changed(junk("n"), "bmc-host-h", BEFORE);
    assert_eq!(moved.join().hosts["h"].departed.as_deref(), Some("n"));
    let told = Some("host-n sees none of the cards");
    assert_it_stays(&moved.clone().silent("host-n"), told, "silent");
    assert_it_stays(&junk("n"), told, "as old");
    assert_it_stays(&junk("m"), told, "another is named");
}

/// The card was moved to the machine of `m` since the BMC of `h` was read.
#[test]
fn another_proof_takes_no_host_from_the_node_that_is_recorded() {
    let site = lists(serial("MT1"), BEFORE).agent("m", "", serial("MT1"));
    let told = Some("host-m tells of this machine, too");
    assert_it_stays(&site, told, "no report");
    let site = site.agent("n", "", json!([]));
    assert_it_stays(&site, told, "it sees none any more");
    let mut unrecorded = site;
    unrecorded.hosts[0].status = None;
    let host = unrecorded.join().hosts["h"].clone();
    assert_eq!(host.node_name.as_deref(), Some("m"));
    let known = recorded(json!({"identity": {"systemUuid": HOST_UUID}}));
    let known = known
        .agent("m", HOST_UUID, json!([]))
        .agent("n", "", serial("MT1"));
    assert_it_stays(&known, told, "by the UUID");
    let host = &known.join().hosts["h"];
    let node = lockstep_planner::node_of(&known.hosts[0], Some(host), |node| node != "n");
    assert_eq!(node.as_deref(), Some("m"), "n is deleted");
}
