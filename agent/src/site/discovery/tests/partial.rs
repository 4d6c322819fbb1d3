//! BMCs of several machines that cannot be read to the end.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_redfish::{BmcError, Explored, UnreadSystem};
use tokio::time::Instant;

use super::super::catalogue::{Catalogue, Inspections, Reading};
use super::super::territory::Territory;
use super::fleet::{Bench, Manner, bench, system, until, unverified};

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "https://10.0.0.1";

/// A BMC of three machines, all of which are found.
async fn of_three() -> (Bench, super::fleet::Search) {
    let bench = bench(&unverified("[10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.change(KEY, |bmc| {
        bmc.others = vec!["SN-2".to_owned(), "SN-3".to_owned()];
    });
    let search = bench.start();
    until(5 * MINUTE, "all are found", || {
        bench.api.get("dpureports/scan-s").is_some() && bench.found("SN-3").is_some()
    })
    .await;
    (bench, search)
}

/// From now on these are answered with an error; something new makes the search read the BMC.
fn refuse(bench: &Bench, serials: &[&str]) {
    bench.fleet.change(KEY, |bmc| {
        bmc.unreadable = serials.iter().map(|&serial| serial.to_owned()).collect();
        bmc.key = Some(format!("without {serials:?}"));
    });
}

fn is_reachable(bench: &Bench, serial: &str) -> bool {
    bench.found(serial).unwrap()["reachable"]["ok"] == true
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_listed_and_cannot_be_read_is_out_of_reach_and_is_read_again_soon() {
    let (bench, search) = of_three().await;
    refuse(&bench, &["SN-2"]);
    until(3 * MINUTE, "it is told", || {
        bench.failed(KEY).as_deref() == Some("SystemNotRead")
    })
    .await;
    assert!(is_reachable(&bench, "SN-2"));
    until(6 * MINUTE, "nobody can vouch for it", || {
        !is_reachable(&bench, "SN-2")
    })
    .await;
    let told = bench.found("SN-2").unwrap()["reachable"].clone();
    assert_eq!(told["reason"], "SystemNotRead");
    let (writes, reads) = (bench.writes(), bench.fleet.calls("explore").len());
    tokio::time::sleep(120 * MINUTE).await;
    assert!(!bench.is_missing("SN-2"));
    assert!(is_reachable(&bench, "SN-1") && is_reachable(&bench, "SN-3"));
    assert_eq!(bench.writes(), writes);
    let reads = bench.fleet.calls("explore").len() - reads;
    assert!((8..=24).contains(&reads), "{reads}");
    bench.fleet.change(KEY, |bmc| bmc.unreadable.clear());
    until(12 * MINUTE, "it is read", || bench.failed(KEY).is_none()).await;
    assert!(is_reachable(&bench, "SN-2"));
    let reads = bench.fleet.calls("explore").len();
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.fleet.calls("explore").len(), reads);
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_another_stands_in_for_is_missing_also_where_a_third_cannot_be_read() {
    let (bench, search) = of_three().await;
    bench
        .fleet
        .change(KEY, |bmc| bmc.others[0] = "SN-4".to_owned());
    refuse(&bench, &["SN-3"]);
    until(30 * MINUTE, "it is missing", || bench.is_missing("SN-2")).await;
    assert_eq!(bench.found("SN-4").unwrap()["reachable"]["ok"], true);
    assert!(!bench.is_missing("SN-3") && !is_reachable(&bench, "SN-3"));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_was_out_of_reach_and_can_be_read_in_part_makes_nobody_missing() {
    let (bench, search) = of_three().await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    until(9 * MINUTE, "it is out of reach", || {
        !is_reachable(&bench, "SN-2")
    })
    .await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
    refuse(&bench, &["SN-2"]);
    until(10 * MINUTE, "the others are back", || {
        is_reachable(&bench, "SN-1") && is_reachable(&bench, "SN-3")
    })
    .await;
    tokio::time::sleep(60 * MINUTE).await;
    assert!(!bench.is_missing("SN-2") && !is_reachable(&bench, "SN-2"));
    bench.fleet.change(KEY, |bmc| bmc.unreadable.clear());
    until(12 * MINUTE, "it is back", || is_reachable(&bench, "SN-2")).await;
    search.end().await;
}

/// One machine of a BMC has no identity, which is told; the others are there all the same.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_one_machine_does_not_add_up_lost_answers_of_another() {
    let bench = bench(&unverified("[10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    bench
        .fleet
        .change(KEY, |bmc| bmc.others = vec![String::new()]);
    let search = bench.start();
    until(5 * MINUTE, "it is told", || {
        bench.failed(KEY).as_deref() == Some("NotIdentifiable")
    })
    .await;
    for _ in 0..6 {
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Refuses);
        let failures = || bench.fleet.calls("identify").len();
        let before = failures();
        while failures() == before {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
        tokio::time::sleep(10 * MINUTE).await;
        assert!(is_reachable(&bench, "SN-1") && !bench.is_missing("SN-1"));
    }
    search.end().await;
}

#[test]
fn what_was_not_read_may_be_whoever_was_there_or_if_that_is_nobody_anyone_not_seen() {
    let section = "ranges: [{addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: NoVerification}}]";
    let territory = Territory::new(&serde_yaml::from_str(section).unwrap()).unwrap();
    let target = &territory.named(&[], Timestamp::UNIX_EPOCH).targets[KEY];
    let (now, at) = (Instant::now(), Time(Timestamp::UNIX_EPOCH));
    let at_path = |serial: &str, path: &str| {
        let mut system = system(serial, 0);
        system.identity.system_path = path.to_owned();
        system.system_path = Some(path.to_owned());
        system
    };
    let unread = |path: &str| UnreadSystem {
        path: path.to_owned(),
        why: BmcError::Busy {
            address: KEY.to_owned(),
        },
    };
    let ids = |serials: &[&str]| -> BTreeSet<String> {
        serials.iter().map(|&serial| Bench::id(serial)).collect()
    };
    let mut catalogue = Catalogue::default();
    let explored = Explored {
        systems: vec![at_path("SN-A", "/s/1"), at_path("SN-B", "/s/2/")],
        unread: Vec::new(),
    };
    let here = catalogue.here(KEY, &explored);
    let reading = Reading {
        target,
        pin: None,
        here: &here,
        asked: &Inspections::new(),
        is_restless: false,
        systems: explored.systems,
    };
    catalogue.read(reading, now, &at);
    for (read, not_read, may_be_there) in [
        (&[("SN-A", "/s/1")][..], &[][..], &[][..]),
        (&[("SN-A", "/s/1")], &["/s/2"], &["SN-B"]),
        (&[("SN-A", "/s/1")], &["/s/9"], &["SN-B"]),
        // Another is where it was.
        (&[("SN-A", "/s/1"), ("SN-C", "/s/2")], &["/s/9"], &[]),
        (&[("SN-C", "/s/1")], &["/s/2/"], &["SN-B"]),
        // Where one has moved, the others may have, too.
        (&[("SN-A", "/s/2")], &["/s/1"], &["SN-B"]),
        (&[], &["/s/1"], &["SN-A"]),
        (&[], &["/s/9"], &["SN-A", "SN-B"]),
    ] {
        let explored = Explored {
            systems: read.iter().map(|(one, path)| at_path(one, path)).collect(),
            unread: not_read.iter().map(|path| unread(path)).collect(),
        };
        let here = catalogue.here(KEY, &explored);
        assert_eq!(
            here.unread,
            ids(may_be_there),
            "{read:?} without {not_read:?}"
        );
    }
}
