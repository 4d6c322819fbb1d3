//! A BMC that shows what an object is known by and is not the one that it names speaks for nobody.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::host::Disruption;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, Site, UUID, conflicts, proposed, said, views};

const ITS_OWN: &str = "https://10.0.1.1";
const ELSEWHERE: &str = "https://10.66.0.66";

fn pinned(address: &str) -> Value {
    json!({
        "address": address, "credentialsRef": {"name": "own"},
        "tls": {"trust": "PinnedKey", "pinnedKeySha256": "cd".repeat(32)},
    })
}

/// A BMC of which nobody verifies anything.
fn unverified(address: &str) -> Value {
    json!({
        "address": address, "credentialsRef": {"name": "own"}, "tls": {"trust": "NoVerification"},
    })
}

/// Found in a range of which nothing is verified; it shows that key, or none.
fn by_anybody(site: Site, id: &str, role: &str, at: (&str, Option<&str>), told: Value) -> Site {
    let (address, key) = at;
    let mut more = told;
    more["found"]["endpoint"] = json!({
        "address": address, "credentials": "guests", "trust": "NoVerification",
        "pinnedKeySha256": null, "shownKeySha256": key.map(|key| key.repeat(32)),
    });
    site.found(id, role, address, more)
}

fn host_with(cards: Value) -> Value {
    json!({
        "machine": {"systemUuid": HOST_UUID},
        "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": cards},
    })
}

fn the_card() -> Value {
    json!([{"serialNumber": "MT1"}])
}

fn stranger(site: Site, cards: Value) -> Site {
    by_anybody(site, "f9", "Host", (ELSEWHERE, None), host_with(cards))
}

/// What the site agent reads at the BMC that an object names.
fn hot(uid: &str, identity: Value, key: Option<&str>) -> Value {
    json!({
        "subjectUid": uid,
        "reachable": {"ok": true, "since": "2026-05-01T00:00:00Z"},
        "bmc": {
            "identity": identity, "keyPin": key.map(|key| key.repeat(32)),
            "stageKnowledge": "NotRead", "media": {"owner": "Nobody"}, "power": "On",
            "capabilities": {
                "virtualMedia": "NotRead", "sessions": "NotRead", "bootProgress": "NotRead",
                "powerRestorePolicy": "NotRead",
            },
        },
    })
}

fn host(bmc: Value) -> Site {
    let identity = json!({"systemUuid": HOST_UUID});
    Site::default()
        .host("h", json!({"identity": identity, "bmc": bmc}))
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
}

/// The BMC of the host answers where its object says, with the key that its object demands.
fn known_host() -> Site {
    let told = hot("uid-h", json!({"systemUuid": HOST_UUID}), Some("cd"));
    host(pinned(ITS_OWN)).report("bmc-host-h", "HostBmc", "h", told)
}

fn witnesses(site: &Site) -> Vec<String> {
    let witnesses = site.joined("c").witnesses.into_iter();
    witnesses.map(|one| one.report).collect()
}

fn told_of_host(site: &Site) -> Vec<String> {
    let joined = site.join();
    let host = &joined.hosts["h"];
    assert_eq!(host.contradictions, Vec::<String>::new());
    host.strangers.clone()
}

#[test]
fn a_bmc_that_is_not_the_hosts_proves_no_place() {
    let site = stranger(known_host(), the_card());
    let joined = site.joined("c");
    let observed = |place: &lockstep_crds::dpu::HostPlace| place.pairing == KnownPairing::Observed;
    assert!(!joined.places.iter().any(observed), "{:#?}", joined.places);
    assert!(joined.witnesses.is_empty(), "{:#?}", joined.witnesses);
    assert_eq!(views(&joined), Vec::new(), "and tells nothing of the card");
    let told = told_of_host(&site);
    let [told] = told.as_slice() else {
        panic!("{told:?}")
    };
    for part in [
        "bmc-found-f9",
        ELSEWHERE,
        ITS_OWN,
        "shows its system UUID",
        "correct spec.bmc",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_bmc_that_is_not_the_hosts_takes_no_node_and_no_witness_away() {
    let with_its_own = known_host()
        .found("f2", "Host", ITS_OWN, {
            let mut told = host_with(the_card());
            told["found"] = json!({"endpoint": {"pinnedKeySha256": "cd".repeat(32)}});
            told
        })
        .agent("n", HOST_UUID, the_card());
    let before = ["bmc-found-f2".to_owned(), "host-n".to_owned()];
    assert_eq!(witnesses(&with_its_own), before);
    for cards in [json!([{"serialNumber": "X9"}]), the_card(), json!([])] {
        let site = stranger(with_its_own.clone(), cards);
        assert_eq!(witnesses(&site), before);
        let joined = site.join();
        assert_eq!(joined.hosts["h"].node_name.as_deref(), Some("n"));
        assert_eq!(conflicts(&joined.cards["c"]), Vec::<String>::new());
        assert_eq!(told_of_host(&site).len(), 1);
    }
}

/// The agent reads a serial number, too, of which the object says nothing.
#[test]
fn a_bmc_that_shows_what_the_hosts_agent_tells_takes_no_node_away() {
    for machine in [
        json!({"serialNumber": "S1"}),
        json!({"serialNumber": "S1", "systemUuid": HOST_UUID}),
    ] {
        let site = known_host().report(
            "host-n",
            "HostOs",
            "n",
            json!({
                "machine": {"systemUuid": HOST_UUID, "serialNumber": "S1"},
                "inventory": {"cards": the_card()},
            }),
        );
        let told = json!({"machine": machine, "inventory": {"cards": the_card()}});
        let site = by_anybody(site, "f9", "Host", (ELSEWHERE, None), told);
        let joined = site.join();
        assert_eq!(joined.hosts["h"].node_name.as_deref(), Some("n"));
        assert_eq!(witnesses(&site), ["host-n"]);
        assert_eq!(proposed(&joined), (vec![], vec![]));
    }
}

#[test]
fn a_bmc_that_is_not_the_cards_tells_nothing_of_it() {
    let identity = json!({"systemUuid": UUID, "serialNumber": "MT1"});
    let told = json!({
        "machine": identity,
        "inventory": {
            "system": identity,
            "firmware": {"components": [{"name": "fw.mgmt", "running": "99.0"}], "omitted": 0},
        },
    });
    let spec = json!({"identity": {"serialNumber": "MT1"}, "bmc": pinned("https://10.0.0.1")});
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("c", spec)
        .report(
            "bmc-card-c",
            "CardBmc",
            "c",
            hot("uid-c", identity, Some("cd")),
        );
    let own = site.clone();
    let site = by_anybody(site, "f9", "Card", (ELSEWHERE, None), told.clone());
    let joined = site.joined("c");
    assert!(joined.inventory.firmware.is_none(), "{:?}", views(&joined));
    assert_eq!(conflicts(&joined), ["bmc.address"]);
    let said = said(&joined, "bmc.address");
    assert_eq!(said[0], ("dpu/c".to_owned(), "https://10.0.0.1".to_owned()));
    assert!(said[1].1.contains(ELSEWHERE), "{said:?}");
    assert!(said[1].1.contains("correct spec.bmc"), "{said:?}");
    assert_eq!(
        proposed(&site.join()),
        (vec![], vec![]),
        "nor is it another card"
    );
    let own = by_anybody(own, "f9", "Card", (ELSEWHERE, Some("cd")), told);
    assert!(own.joined("c").inventory.firmware.is_some(), "by its key");
}

#[test]
fn what_a_stranger_lists_is_no_ground_to_approve_a_card() {
    let approve = json!({"discovered": {"approve": [{"pairingObserved": true}]}});
    let site = Site::default()
        .policy("p", approve)
        .host(
            "h",
            json!({"identity": {"systemUuid": HOST_UUID}, "bmc": pinned(ITS_OWN)}),
        )
        .found(
            "f1",
            "Card",
            "https://10.0.0.1",
            json!({"inventory": {"system": {"serialNumber": "MT1"}}}),
        );
    let site = stranger(site, the_card()).apply();
    assert!(
        site.join().approvals.is_empty(),
        "{:?}",
        site.join().approvals
    );
}

#[test]
fn a_bmc_speaks_for_its_host_at_another_address_where_its_key_proves_it() {
    let name = "https://bmc-h.example";
    for address in ["https://10.0.1.1", "https://[fd00::1]"] {
        for (bmc, own, shown, is_its) in [
            (pinned(name), None, Some("cd"), true),
            (pinned(name), None, Some("ab"), false),
            (pinned(name), None, None, false),
            (unverified(name), Some("ab"), Some("ab"), true),
            (unverified(name), Some("ab"), Some("ee"), false),
            (unverified(name), Some("ab"), None, false),
            (unverified(name), None, Some("ab"), false),
            (unverified(name), None, None, false),
            // The user writes the same address in another way.
            (unverified(&format!("{address}:443/")), None, None, true),
            (unverified(address), Some("ab"), Some("ee"), true),
            // It answers there, and not with the key that is demanded, or not over TLS.
            (pinned(address), None, Some("ab"), false),
            (
                unverified(&address.replace("https", "http")),
                None,
                None,
                false,
            ),
        ] {
            let told = hot("uid-h", json!({"systemUuid": HOST_UUID}), own);
            let site = host(bmc.clone()).report("bmc-host-h", "HostBmc", "h", told);
            let site = by_anybody(site, "f2", "Host", (address, shown), host_with(the_card()));
            let case = format!("{bmc} {own:?} {shown:?} at {address}");
            let expected: &[&str] = if is_its { &["bmc-found-f2"] } else { &[] };
            assert_eq!(witnesses(&site), expected, "{case}");
            assert_eq!(told_of_host(&site).is_empty(), is_its, "{case}");
            assert_eq!(proposed(&site.join()), (vec![], vec![]), "{case}");
        }
    }
}

/// Its maker left the same key in every BMC, and whoever has one of them has it.
#[test]
fn a_key_that_other_machines_show_proves_no_bmc_at_another_address() {
    let other = |uuid: &str| json!({"machine": {"systemUuid": uuid}});
    let also = |site: Site, key: &str, told: Value| {
        by_anybody(site, "f3", "Host", ("https://10.0.1.3", Some(key)), told)
    };
    for (bmc, own) in [(pinned(ITS_OWN), None), (unverified(ITS_OWN), Some("cd"))] {
        let told = hot("uid-h", json!({"systemUuid": HOST_UUID}), own);
        let site = host(bmc).report("bmc-host-h", "HostBmc", "h", told);
        let at = |address| {
            let place = (address, Some("cd"));
            by_anybody(site.clone(), "f2", "Host", place, host_with(the_card()))
        };
        let mut gone = other(UUID);
        gone["found"] = json!({"missingSince": "2026-05-01T00:00:00Z"});
        let mut itself = gone.clone();
        itself["machine"] = json!({"systemUuid": HOST_UUID});
        for (case, site, is_its) in [
            ("its own key", at(ELSEWHERE), true),
            ("another key", also(at(ELSEWHERE), "ee", other(UUID)), true),
            (
                "the key of others",
                also(at(ELSEWHERE), "cd", other(UUID)),
                false,
            ),
            (
                "where it answers",
                also(at(ITS_OWN), "cd", other(UUID)),
                true,
            ),
            (
                "nobody knows which",
                also(at(ELSEWHERE), "cd", json!({})),
                true,
            ),
            (
                "not there for now",
                also(at(ELSEWHERE), "cd", gone.clone()),
                false,
            ),
            (
                "not there, where it answers",
                also(at(ITS_OWN), "cd", gone),
                true,
            ),
            (
                "itself, under another id",
                also(at(ELSEWHERE), "cd", itself.clone()),
                true,
            ),
        ] {
            let expected: &[&str] = if is_its { &["bmc-found-f2"] } else { &[] };
            assert_eq!(vouching(&site, "h"), expected, "{case} {own:?}");
            assert_eq!(told_of_host(&site).is_empty(), is_its, "{case} {own:?}");
        }
        // Of one BMC that serves two systems.
        let mut second = also(at(ELSEWHERE), "cd", other(UUID));
        let found = second
            .reports
            .get_mut("bmc-found-f3")
            .unwrap()
            .found
            .as_mut();
        found.unwrap().endpoint.system_path = Some("/redfish/v1/Systems/2".to_owned());
        assert_eq!(vouching(&second, "h"), ["bmc-found-f2"], "{own:?}");
    }
}

/// That one was found first, and a host was proposed for it.
#[test]
fn the_proposal_for_a_stranger_gives_way_and_does_not_come_back() {
    let site = stranger(Site::default(), json!([])).apply();
    assert_eq!(site.hosts.len(), 1);
    let site = site.host(
        "h",
        json!({"identity": {"systemUuid": HOST_UUID}, "bmc": pinned(ITS_OWN)}),
    );
    let joined = site.join();
    assert_eq!(joined.withdrawals.len(), 1);
    assert_eq!(proposed(&joined), (vec![], vec![]));
    let site = site.apply();
    assert_eq!(site.hosts.len(), 1);
    assert_eq!(proposed(&site.join()), (vec![], vec![]));
    assert_eq!(told_of_host(&site).len(), 1);
}

#[test]
fn a_stranger_that_is_not_found_any_more_is_not_told() {
    let gone = json!({
        "machine": {"systemUuid": HOST_UUID},
        "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": the_card()},
        "found": {"missingSince": "2026-05-01T00:00:00Z"},
    });
    let site = known_host().found("f9", "Host", ELSEWHERE, gone);
    assert_eq!(told_of_host(&site), Vec::<String>::new());
    assert_eq!(views(&site.joined("c")), Vec::new());
}

/// Another maker's machine with the same serial number.
#[test]
fn what_contradicts_the_host_is_another_machine_and_no_stranger() {
    let site = Site::default().host(
        "h",
        json!({"identity": {"systemUuid": HOST_UUID, "serialNumber": "S1"}, "bmc": pinned(ITS_OWN)}),
    );
    let other = json!({"inventory": {"system": {"systemUuid": UUID, "serialNumber": "S1"}}});
    let site = site.found("f9", "Host", ELSEWHERE, other);
    assert_eq!(told_of_host(&site), Vec::<String>::new());
    assert_eq!(proposed(&site.join()).1.len(), 1);
}

/// Who vouches for the card in that host.
fn vouching(site: &Site, host: &str) -> Vec<String> {
    let witnesses = site.joined("c").witnesses.into_iter();
    let there = witnesses.filter(|one| one.host == host);
    there.map(|one| one.report).collect()
}

/// The stranger was found first, and a host was proposed for it that stays for a person's card.
#[test]
fn a_proposal_that_is_kept_for_a_stranger_does_not_make_it_speak_for_the_host() {
    let site = stranger(Site::default(), json!([])).apply();
    let own = site.hosts[0].metadata.name.clone().unwrap();
    let refers = json!({"identity": {"serialNumber": "K1"}, "hostRefs": [{"name": own}]});
    let bmc = json!({"identity": {"systemUuid": HOST_UUID}, "bmc": pinned(ITS_OWN)});
    let told = hot("uid-h", json!({"systemUuid": HOST_UUID}), Some("cd"));
    let site = site
        .host("h", bmc)
        .card("k", refers)
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .report("bmc-host-h", "HostBmc", "h", told);
    let mut site = stranger(site, the_card());
    for pass in 0..3 {
        assert_eq!(witnesses(&site), Vec::<String>::new(), "pass {pass}");
        site = site.apply();
    }
}

/// Another object names that BMC, and says nothing of its identity.
#[test]
fn a_bmc_that_another_object_names_does_not_speak_for_the_host() {
    let site = known_host().host("a", json!({"bmc": unverified(ELSEWHERE)}));
    let site = stranger(site, the_card());
    assert_eq!(vouching(&site, "h"), Vec::<String>::new());
}

#[test]
fn a_strangers_card_bmc_that_is_missing_is_not_told() {
    let identity = json!({"systemUuid": UUID, "serialNumber": "MT1"});
    let spec = json!({"identity": {"serialNumber": "MT1"}, "bmc": pinned("https://10.0.0.1")});
    let own = hot("uid-c", identity.clone(), Some("cd"));
    let site = Site::default()
        .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
        .card("c", spec)
        .report("bmc-card-c", "CardBmc", "c", own);
    let told = json!({
        "machine": identity, "inventory": {"system": identity},
        "found": {"missingSince": "2026-05-01T00:00:00Z"},
    });
    let site = by_anybody(site, "f9", "Card", (ELSEWHERE, None), told);
    assert_eq!(conflicts(&site.joined("c")), Vec::<String>::new());
}

/// A host that discovery proposed for the BMC `f2`, with its card; a person took it up, or not.
fn proposed_for_its_bmc(told: Value, taken_up: bool) -> (Site, String) {
    let mut site = Site::default().found("f2", "Host", ITS_OWN, told).apply();
    if taken_up {
        site.edit_host(0, |host| host.disruption = Disruption::Allowed);
    }
    let own = site.hosts[0].metadata.name.clone().unwrap();
    let refers = json!({"identity": {"serialNumber": "MT1"}, "hostRefs": [{"name": own}]});
    (site.card("c", refers), own)
}

#[test]
fn a_second_bmc_with_its_uuid_does_not_speak_for_a_host_that_was_proposed() {
    for taken_up in [true, false] {
        let (site, own) = proposed_for_its_bmc(host_with(json!([])), taken_up);
        let site = stranger(site, the_card());
        assert_eq!(vouching(&site, &own), Vec::<String>::new(), "{taken_up}");
        let joined = site.join();
        let [told] = joined.hosts[&own].strangers.as_slice() else {
            panic!("{:?}", joined.hosts[&own])
        };
        for part in ["bmc-found-f9", ELSEWHERE, ITS_OWN, "shows its system UUID"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(joined.hosts[&own].contradictions, Vec::<String>::new());
        assert_eq!(proposed(&joined), (vec![], vec![]));
        assert_eq!((joined.withdrawals, joined.moves), (vec![], vec![]));
    }
}

#[test]
fn what_a_stranger_lists_in_a_proposed_host_is_no_ground_to_approve_a_card() {
    let approve = json!({"discovered": {"approve": [{"pairingObserved": true}]}});
    let card = json!({"inventory": {"system": {"serialNumber": "MT1"}}});
    let site = Site::default()
        .policy("p", approve)
        .found("f1", "Card", "https://10.0.0.1", card)
        .found("f2", "Host", ITS_OWN, host_with(json!([])))
        .apply();
    let mut site = stranger(site, the_card());
    for pass in 0..3 {
        assert!(site.join().approvals.is_empty(), "pass {pass}");
        site = site.apply();
    }
}

/// Its BMC showed a serial number alone when it was found, and has another id since it shows a UUID.
#[test]
fn the_bmc_of_a_host_that_was_proposed_speaks_for_it_also_under_another_id() {
    let identity = json!({"systemUuid": HOST_UUID, "serialNumber": "S1"});
    let key = json!({"endpoint": {"pinnedKeySha256": "ab".repeat(32)}});
    let told = json!({
        "machine": identity, "inventory": {"system": identity, "cards": the_card()}, "found": key,
    });
    let before = json!({
        "machine": {"serialNumber": "S1"}, "inventory": {"system": {"serialNumber": "S1"}},
    });
    for taken_up in [true, false] {
        for (address, is_its) in [(ITS_OWN, true), (ELSEWHERE, true), (ELSEWHERE, false)] {
            let (mut site, own) = proposed_for_its_bmc(before.clone(), taken_up);
            let old = site.reports.get_mut("bmc-found-f2").unwrap();
            let gone = "2026-05-01T00:00:00Z".parse().unwrap();
            old.found.as_mut().unwrap().missing_since = Some(Time(gone));
            let mut told = told.clone();
            if !is_its {
                told["found"] = json!({"endpoint": {"pinnedKeySha256": "ee".repeat(32)}});
            }
            let site = site.found("f3", "Host", address, told);
            let expected: &[&str] = if is_its { &["bmc-found-f3"] } else { &[] };
            let case = format!("{address} {is_its} {taken_up}");
            assert_eq!(vouching(&site, &own), expected, "{case}");
            let joined = site.join();
            assert_eq!(joined.hosts[&own].strangers.is_empty(), is_its, "{case}");
            let follows = is_its && address == ELSEWHERE;
            assert_eq!(joined.moves.len(), usize::from(follows), "{case}");
        }
    }
}

/// The id is that of the host's own BMC, wherever it answers. A key that is pinned where a person
/// took the host up is asked, too: anybody can have the id.
#[test]
fn the_bmc_that_a_host_was_proposed_for_speaks_for_it_wherever_it_is_found() {
    let pin = |site: &mut Site, key: Option<&str>| {
        site.edit_host(0, |host| {
            let tls = &mut host.bmc.as_mut().unwrap().tls;
            tls.pinned_key_sha256 = key.map(|key| key.repeat(32));
        });
    };
    // What discovery pinned is "ab".
    for (taken_up, pinned, key, is_its) in [
        (false, Some("ab"), "ab", true),
        (false, Some("ab"), "ee", true),
        (true, Some("ab"), "ab", true),
        (true, Some("ab"), "ee", false),
        (true, Some("ee"), "ee", true),
        (true, Some("ee"), "ab", false),
        (true, None, "ee", true),
    ] {
        let told = |trust: &str| {
            let mut told = host_with(the_card());
            let mut endpoint = json!({"trust": trust, "shownKeySha256": key.repeat(32)});
            endpoint["pinnedKeySha256"] = match trust {
                "PinnedKey" => endpoint["shownKeySha256"].clone(),
                _ => Value::Null,
            };
            told["found"] = json!({"endpoint": endpoint});
            told
        };
        for trust in ["PinnedKey", "NoVerification"] {
            let (mut site, own) = proposed_for_its_bmc(host_with(json!([])), false);
            if taken_up {
                pin(&mut site, pinned);
            }
            let site = site.found("f2", "Host", ELSEWHERE, told(trust));
            let case = format!("{taken_up} {pinned:?} {key} {trust}");
            let expected: &[&str] = if is_its { &["bmc-found-f2"] } else { &[] };
            assert_eq!(vouching(&site, &own), expected, "{case}");
            let joined = site.join();
            assert_eq!(joined.hosts[&own].strangers.is_empty(), is_its, "{case}");
        }
    }
}

/// Nobody knows a BMC of it: the one that is found first is as good as any.
#[test]
fn a_host_that_was_proposed_for_its_agent_gets_the_bmc_that_is_found_later() {
    let mut site = Site::default().agent("n", HOST_UUID, the_card()).apply();
    assert_eq!(site.hosts.len(), 1, "{:?}", site.hosts);
    let own = site.hosts[0].metadata.name.clone().unwrap();
    site.edit_host(0, |host| host.disruption = Disruption::Allowed);
    let refers = json!({"identity": {"serialNumber": "MT1"}, "hostRefs": [{"name": own}]});
    site.cards.clear();
    let site = stranger(site.card("c", refers), the_card());
    let both = ["bmc-found-f9", "host-n"];
    assert_eq!(vouching(&site, &own), both);
    assert!(site.join().hosts[&own].strangers.is_empty());
}

/// A BMC of a maker whose BMCs all show one key.
fn of_that_maker(site: Site, id: &str, role: &str, at: (&str, &str), machine: Value) -> Site {
    let told = json!({"machine": machine.clone(), "inventory": {"system": machine}});
    by_anybody(site, id, role, (at.0, Some(at.1)), told)
}

/// Cards of a maker that are known by serial numbers alone: each shows the key of all.
#[test]
fn a_key_that_cards_without_a_uuid_share_proves_nothing_elsewhere() {
    for pinned_key in [true, false] {
        let at = "https://10.0.0.1";
        let bmc = if pinned_key {
            pinned(at)
        } else {
            unverified(at)
        };
        let identity = json!({"serialNumber": "MT1"});
        let mut site = Site::default()
            .host("h", json!({"identity": {"systemUuid": HOST_UUID}}))
            .card("c", json!({"identity": identity, "bmc": bmc}))
            .report(
                "bmc-card-c",
                "CardBmc",
                "c",
                hot("uid-c", identity.clone(), Some("cd")),
            );
        for n in 2..9 {
            let told = json!({"serialNumber": format!("MT{n}")});
            site = of_that_maker(
                site,
                &format!("f{n}"),
                "Card",
                (&format!("https://10.0.0.{n}"), "cd"),
                told,
            );
        }
        let site = of_that_maker(site, "f99", "Card", (ELSEWHERE, "cd"), identity);
        let told = conflicts(&site.joined("c"));
        assert_eq!(told, ["bmc.address"], "pinned: {pinned_key}");
    }
}

/// `spec.bmc` is a name, the search finds an address, and every BMC of the fleet shows one key: where
/// the site agent was led by the name, it is the host's own.
#[test]
fn a_bmc_that_its_object_names_by_dns_is_its_own_where_that_name_leads() {
    let name = "https://bmc-h.example";
    for bmc in [pinned(name), unverified(name)] {
        for (peer, found_at, is_its) in [
            (Some("10.0.1.1:443"), ITS_OWN, true),
            (Some("[::ffff:10.0.1.1]:443"), ITS_OWN, true),
            (Some("[fd00::1]:443"), "https://[fd00::1]", true),
            (Some("10.0.1.1:443"), ELSEWHERE, false),
            (Some("10.0.1.1:8443"), ITS_OWN, false),
            (Some("10.0.1.1:443"), "http://10.0.1.1", false),
            (None, ITS_OWN, false),
        ] {
            let mut told = hot("uid-h", json!({"systemUuid": HOST_UUID}), Some("cd"));
            told["bmc"]["answersAt"] = json!(peer);
            let site = host(bmc.clone()).report("bmc-host-h", "HostBmc", "h", told);
            let place = (found_at, Some("cd"));
            let site = by_anybody(site, "f2", "Host", place, host_with(the_card()));
            let other = json!({"systemUuid": UUID});
            let site = of_that_maker(site, "f3", "Host", ("https://10.0.1.3", "cd"), other);
            let expected: &[&str] = if is_its { &["bmc-found-f2"] } else { &[] };
            let case = format!("{peer:?} {found_at} {bmc}");
            assert_eq!(vouching(&site, "h"), expected, "{case}");
            assert_eq!(told_of_host(&site).is_empty(), is_its, "{case}");
        }
    }
}

/// Where another BMC answers at that address now, its key is asked as ever.
#[test]
fn where_a_name_leads_a_pinned_key_decides_still() {
    let mut told = hot("uid-h", json!({"systemUuid": HOST_UUID}), Some("cd"));
    told["bmc"]["answersAt"] = json!("10.0.1.1:443");
    let site = host(pinned("https://bmc-h.example")).report("bmc-host-h", "HostBmc", "h", told);
    let place = (ITS_OWN, Some("ee"));
    let site = by_anybody(site, "f2", "Host", place, host_with(the_card()));
    assert_eq!(vouching(&site, "h"), Vec::<String>::new());
}
