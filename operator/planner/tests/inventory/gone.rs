//! Machines that are gone: what nobody took up is withdrawn, all else is marked.

use lockstep_crds::report::Vantage;
use lockstep_planner::inventory::Subject;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_UUID, Site, UUID, proposed};

const GONE: &str = "2026-05-02T12:00:00Z";

fn card(uuid: &str, missing_since: Option<&str>) -> Value {
    json!({
        "found": {"missingSince": missing_since}, "inventory": {"system": {"systemUuid": uuid}},
    })
}

fn host(missing_since: Option<&str>) -> Value {
    json!({
        "found": {"missingSince": missing_since},
        "inventory": {"system": {"systemUuid": HOST_UUID}, "cards": [{"serialNumber": "MT1"}]},
    })
}

/// A card that was found and proposed, and is missing since noon of the second.
fn missing() -> Site {
    Site::default()
        .on_may(2)
        .found("f1", "Card", "https://10.0.0.1", card(UUID, None))
        .apply()
        .found("f1", "Card", "https://10.0.0.1", card(UUID, Some(GONE)))
}

/// What its own worker tells of the BMC of that card.
fn worker(site: Site, ok: bool, since: &str) -> Site {
    let name = format!("dpu-{UUID}");
    let told = json!({
        "subjectUid": format!("uid-{name}"), "reachable": {"ok": ok, "since": since},
    });
    site.report(&format!("bmc-card-{name}"), "CardBmc", &name, told)
}

fn withdrawn(site: &Site) -> Vec<(Subject, String)> {
    let gone = site.join().withdrawals;
    gone.into_iter()
        .map(|one| (one.subject, one.name))
        .collect()
}

fn names(site: &Site) -> Vec<String> {
    let hosts = site.hosts.iter();
    hosts
        .map(|host| host.metadata.name.clone().unwrap())
        .collect()
}

fn is_settled(site: &Site) -> bool {
    let joined = site.join();
    joined.proposals.is_empty() && joined.withdrawals.is_empty() && joined.moves.is_empty()
}

#[test]
fn a_proposal_that_nobody_took_up_goes_a_day_after_its_machine() {
    let site = missing();
    let mut nearly = site.clone();
    nearly.now = "2026-05-03T11:59:59Z".parse().unwrap();
    assert!(is_settled(&nearly), "it is marked only");
    let site = site.on_may(3);
    let name = format!("dpu-{UUID}");
    let both = [(Subject::Card, name.clone()), (Subject::Host, name)];
    assert_eq!(withdrawn(&site), both);
    let gone = &site.join().withdrawals[0];
    assert!(
        gone.why.contains("2026-05-02T12:00:00Z") && gone.why.contains("proposed again"),
        "{gone:?}"
    );
    let site = site.apply();
    assert!(site.cards.is_empty() && site.hosts.is_empty());
    assert!(is_settled(&site) && is_settled(&site.clone().on_may(9)));
    let back = site.found("f1", "Card", "https://10.0.0.1", card(UUID, None));
    assert_eq!(proposed(&back.join()).0, [format!("dpu-{UUID}")]);
    assert!(is_settled(&back.apply().on_may(9)));
}

#[test]
fn identities_that_a_bmc_makes_up_leave_no_proposals_behind() {
    let uuid = |day: i8| format!("00000000-0000-4000-8000-0000000000{day:02}");
    let mut site = Site::default();
    for day in 1..20 {
        // Today it shows another identity than yesterday, and to yesterday's worker as well.
        let since = format!("2026-05-{day:02}T00:00:00Z");
        let id = |day: i8| format!("f{day}");
        if day > 1 {
            let told = card(&uuid(day - 1), Some(&since));
            site = site.found(&id(day - 1), "Card", "https://10.0.0.1", told);
        }
        let told = card(&uuid(day), None);
        site = site
            .found(&id(day), "Card", "https://10.0.0.1", told)
            .on_may(day);
        for name in site
            .cards
            .clone()
            .iter()
            .filter_map(|card| card.metadata.name.clone())
        {
            let told = json!({
                "subjectUid": format!("uid-{name}"), "reachable": {"ok": true, "since": since},
                "inventory": {"system": {"systemUuid": uuid(day)}},
            });
            site = site.report(&format!("bmc-card-{name}"), "CardBmc", &name, told);
        }
        site = site.apply().apply().apply();
        assert!(is_settled(&site), "{day}: {:#?}", site.join());
        assert!(site.cards.len() <= 2, "{day}: {}", site.cards.len());
        assert_eq!(site.cards.len(), site.hosts.len(), "{day}");
    }
}

#[test]
fn whoever_still_sees_it_keeps_it() {
    let sees = json!([{"serialNumber": "MT1"}]);
    let of = |missing_since: Option<&str>| {
        let mut of = card(UUID, missing_since);
        of["inventory"]["system"]["serialNumber"] = json!("MT1");
        of
    };
    let by_host = Site::default()
        .found("f1", "Card", "https://10.0.0.1", of(None))
        .agent("n", HOST_UUID, sees)
        .apply()
        .found("f1", "Card", "https://10.0.0.1", of(Some(GONE)));
    for (site, who) in [
        (by_host, "the agent on its host"),
        (
            worker(missing(), true, "2026-05-01T00:00:00Z"),
            "its own worker",
        ),
        (
            worker(missing(), false, "2026-05-08T13:00:00Z"),
            "its own worker, yesterday",
        ),
    ] {
        let site = site.on_may(9);
        assert!(is_settled(&site), "{who}: {:#?}", site.join().withdrawals);
    }
    let silent = worker(missing(), false, "2026-05-08T12:00:00Z").on_may(9);
    assert_eq!(withdrawn(&silent).len(), 2);
    assert!(is_settled(&silent.apply()));
}

#[test]
fn what_a_person_touched_or_something_was_begun_for_is_marked_and_stays() {
    let mut approved = missing();
    approved.edit_card(0, |card| card.approved = true);
    let mut no_more = approved.clone();
    no_more.edit_card(0, |card| card.approved = false);
    let mut changed = missing();
    changed.edit_card(0, |card| card.paused = true);
    let mut begun = missing();
    begun.cards[0].metadata.finalizers = Some(vec![lockstep_crds::FINALIZER.to_owned()]);
    let mut recorded = missing();
    let uid = recorded.cards[0].metadata.uid.clone().unwrap();
    let status = json!({"cards": [{"name": "c", "uid": uid, "physicalId": "p"}]});
    recorded.hosts[0].status = Some(serde_json::from_value(status).unwrap());
    let mut own = missing();
    own.cards[0].metadata.labels = None;
    for site in [approved, no_more, changed, begun, recorded, own] {
        let site = site.on_may(30);
        let joined = site.join();
        assert!(joined.withdrawals.is_empty(), "{:#?}", joined.withdrawals);
        let card = joined.cards.values().next().unwrap();
        assert!(
            card.inventoried
                .message
                .contains("not found any more since")
        );
    }
    // A host in which something was changed keeps standing for the card that goes.
    let mut host = missing().on_may(30);
    host.edit_host(0, |host| host.hands_off = true);
    assert_eq!(withdrawn(&host), [(Subject::Card, format!("dpu-{UUID}"))]);
    assert!(is_settled(&host.apply()));
}

#[test]
fn a_host_goes_once_nothing_names_it() {
    let site = Site::default()
        .found("f2", "Host", "https://10.0.1.1", host(None))
        .apply()
        .found("f2", "Host", "https://10.0.1.1", host(Some(GONE)))
        .on_may(9);
    let host_name = format!("host-{HOST_UUID}");
    let both = [
        (Subject::Card, "dpu-mt1".to_owned()),
        (Subject::Host, host_name.clone()),
    ];
    assert_eq!(withdrawn(&site), both, "nobody else saw the card either");
    assert!(is_settled(&site.clone().apply()));

    let mut approved = site.clone();
    approved.edit_card(0, |card| card.approved = true);
    assert!(is_settled(&approved));
    // Of the card that is found again elsewhere nobody knows the host.
    let there = json!({"inventory": {"system": {"serialNumber": "MT1"}}});
    let found = site.clone();
    let found = found.found("f1", "Card", "https://10.0.0.1", there.clone());
    let found = found.apply().apply().apply();
    assert_eq!(names(&found), ["dpu-mt1"]);
    assert!(is_settled(&found));
    // One that was found with its host and still is keeps it.
    let both = Site::default()
        .found("f1", "Card", "https://10.0.0.1", there)
        .found("f2", "Host", "https://10.0.1.1", host(None))
        .apply()
        .found("f2", "Host", "https://10.0.1.1", host(Some(GONE)))
        .on_may(9);
    assert_eq!(names(&both), [host_name.as_str()]);
    assert!(is_settled(&both));

    let answers = json!({
        "subjectUid": format!("uid-{host_name}"),
        "reachable": {"ok": true, "since": "2026-05-01T00:00:00Z"},
    });
    let answers = site.report(
        &format!("bmc-host-{host_name}"),
        "HostBmc",
        &host_name,
        answers,
    );
    assert_eq!(withdrawn(&answers), [(Subject::Card, "dpu-mt1".to_owned())]);
    assert!(is_settled(&answers.apply()));
}

#[test]
fn what_was_never_found_cannot_be_missing() {
    // A user's BMC shows another machine than it should: that one is proposed by its word.
    let bmc = json!({
        "address": "https://10.0.0.1", "credentialsRef": {"name": "own"},
        "tls": {"trust": "NoVerification"},
    });
    let shows = |site: Site, ok: bool| {
        let told = json!({
            "subjectUid": "uid-mine", "reachable": {"ok": ok, "since": GONE},
            "inventory": {"system": {"systemUuid": OTHER_UUID}},
        });
        site.report("bmc-card-mine", "CardBmc", "mine", told)
    };
    let site = Site::default().host("h", json!({})).card(
        "mine",
        json!({"identity": {"systemUuid": UUID}, "bmc": bmc}),
    );
    let site = shows(site, true).apply();
    let name = format!("dpu-{OTHER_UUID}");
    assert!(
        site.cards
            .iter()
            .any(|card| card.metadata.name.as_ref() == Some(&name))
    );
    let site = shows(site, false).on_may(9);
    assert_eq!(site.reports["bmc-card-mine"].vantage, Vantage::CardBmc);
    assert!(is_settled(&site));
    // Once it is deleted, what was shown so long ago proposes it no more.
    let mut deleted = site;
    deleted
        .cards
        .retain(|card| card.metadata.name.as_ref() != Some(&name));
    deleted
        .hosts
        .retain(|host| host.metadata.name.as_ref() != Some(&name));
    assert!(is_settled(&deleted));
}

#[test]
fn no_host_is_proposed_that_nobody_has_seen_for_long() {
    let card = json!({"inventory": {"system": {"serialNumber": "MT1"}}});
    // The BMC of a user's host shows another machine, and the card in that one.
    let shows = |ok: bool, since: &str| {
        let told = json!({
            "subjectUid": "uid-mine", "reachable": {"ok": ok, "since": since},
            "inventory": {
                "system": {"systemUuid": OTHER_UUID}, "cards": [{"serialNumber": "MT1"}],
            },
        });
        Site::default()
            .on_may(9)
            .host("mine", json!({"identity": {"systemUuid": HOST_UUID}}))
            .found("f1", "Card", "https://10.0.0.1", card.clone())
            .report("bmc-host-mine", "HostBmc", "mine", told)
    };
    let there = [format!("host-{OTHER_UUID}")];
    assert_eq!(proposed(&shows(true, GONE).join()).1, there);
    let since = "2026-05-08T13:00:00Z";
    assert_eq!(proposed(&shows(false, since).join()).1, there);
    let long = shows(false, GONE);
    assert_eq!(proposed(&long.join()).1, ["dpu-mt1"], "one that stands in");
    assert!(is_settled(&long.apply()));
}
