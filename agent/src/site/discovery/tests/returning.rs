//! Machines that are back, and what keeps them from being seen.

use std::time::Duration;

use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use super::fleet::{Bench, Manner, bench, range, report_of, system, until, unverified};
use crate::site::attended::Attendance;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const KEY: &str = "https://10.0.0.1";

/// The worker of SN-1 sees it.
fn is_attended(bench: &Bench) {
    let seen = Attendance {
        at: Instant::now(),
        pin: Some(SpkiPin::of(b"key of SN-1")),
        machine: Some(system("SN-1", 0).identity),
        service: None,
    };
    bench.means.site.attended.saw(KEY, seen);
}

async fn reachable(bench: &Bench, ok: bool, within: Duration) {
    until(within, &format!("reachable is {ok}"), || {
        bench.found("SN-1").unwrap()["reachable"]["ok"] == ok
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_bmc_refuses_the_credentials_is_out_of_reach() {
    let section = format!("{}\n  refreshSeconds: 600", range("addresses: [10.0.0.1]"));
    let bench = bench(&section);
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench
        .fleet
        .change(KEY, |bmc| bmc.password = "other".to_owned());
    until(HOUR, "the refusal is told", || {
        bench.failed(KEY).as_deref() == Some("CredentialsRefused")
    })
    .await;
    reachable(&bench, false, 10 * MINUTE).await;
    let told = bench.found("SN-1").unwrap()["reachable"].clone();
    assert_eq!(told["reason"], "CredentialsRefused");
    // It is there all the same, and nothing is shown to it again.
    let (shown, writes) = (bench.fleet.calls("explore").len(), bench.writes());
    tokio::time::sleep(48 * HOUR).await;
    assert!(!bench.is_missing("SN-1"));
    assert_eq!(bench.fleet.calls("explore").len(), shown);
    assert_eq!(bench.writes(), writes);
    search.end().await;
}

/// A blade is pulled out for a while; the BMC and its key stay.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_put_back_is_found_within_minutes_if_its_worker_sees_it() {
    for (attended, within) in [(true, 10 * MINUTE), (false, 70 * MINUTE)] {
        let bench = bench(&range("addresses: [10.0.0.1]"));
        bench.fleet.put(KEY, "SN-1");
        let search = bench.start();
        until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
        bench
            .fleet
            .change(KEY, |bmc| bmc.serial = "SN-2".to_owned());
        until(9 * HOUR, "it is missing", || bench.is_missing("SN-1")).await;
        tokio::time::sleep(10 * MINUTE).await;
        bench
            .fleet
            .change(KEY, |bmc| bmc.serial = "SN-1".to_owned());
        let back = Instant::now();
        while bench.is_missing("SN-1") {
            assert!(back.elapsed() < within, "attended: {attended}");
            if attended {
                is_attended(&bench);
            }
            tokio::time::sleep(MINUTE).await;
        }
        search.end().await;
    }
}

/// As some do whose host is off: the BMC shows neither UUID nor serial number.
#[tokio::test(start_paused = true)]
async fn a_machine_that_shows_nothing_to_tell_it_by_is_out_of_reach_and_not_missing() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.change(KEY, |bmc| bmc.serial = String::new());
    until(9 * HOUR, "that is told", || {
        bench.failed(KEY).as_deref() == Some("NotIdentifiable")
    })
    .await;
    reachable(&bench, false, 10 * MINUTE).await;
    let told = bench.found("SN-1").unwrap()["reachable"].clone();
    assert_eq!(told["reason"], "SystemNotRead");
    tokio::time::sleep(6 * HOUR).await;
    assert!(!bench.is_missing("SN-1"));
    bench
        .fleet
        .change(KEY, |bmc| bmc.serial = "SN-1".to_owned());
    reachable(&bench, true, 15 * MINUTE).await;
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_beside_a_nameless_one_is_back_when_it_answers_again() {
    for (manner, is_gone) in [(Manner::Dead, true), (Manner::Refuses, false)] {
        let bench = bench(&range("addresses: [10.0.0.1]"));
        bench.fleet.put(KEY, "SN-1");
        bench
            .fleet
            .change(KEY, |bmc| bmc.others = vec![String::new()]);
        let search = bench.start();
        until(5 * MINUTE, "the other is told", || {
            bench.failed(KEY).as_deref() == Some("NotIdentifiable")
        })
        .await;
        bench.fleet.change(KEY, |bmc| bmc.manner = manner);
        reachable(&bench, false, 30 * MINUTE).await;
        if is_gone {
            until(30 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
        }
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
        reachable(&bench, true, 30 * MINUTE).await;
        assert!(!bench.is_missing("SN-1"));
        search.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_with_one_identity_are_told_where_the_first_serves_a_nameless_one_too() {
    let bench = bench(&unverified("[10.0.0.1, 10.0.0.2]"));
    let two = "https://10.0.0.2";
    bench.fleet.put(KEY, "SN-1");
    bench
        .fleet
        .change(KEY, |bmc| bmc.others = vec![String::new()]);
    bench.fleet.put(two, "SN-1");
    bench.fleet.change(two, |bmc| {
        bmc.key = Some("another".to_owned());
        bmc.manner = Manner::Slow;
    });
    let search = bench.start();
    until(20 * MINUTE, "that is told", || {
        bench.failed(two).as_deref() == Some("IdentityTwice")
    })
    .await;
    let reads = bench.fleet.calls("explore").len();
    tokio::time::sleep(60 * MINUTE).await;
    let more = bench.fleet.calls("explore").len() - reads;
    assert!(more <= 2, "{more} whole reads in an hour");
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_lost_connection_after_a_restart_is_no_news() {
    let bench = bench(&range("networks: [10.0.0.0/29]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    search.end().await;
    let before = bench.found("SN-1").unwrap();
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    let search = bench.start();
    tokio::time::sleep(Duration::from_secs(4)).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
    let begun = Instant::now();
    while begun.elapsed() < 40 * MINUTE {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(bench.found("SN-1").unwrap(), before);
    }
    // Looks that fail again and again are.
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    until(30 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    search.end().await;
}

/// The second address of a BMC has no report of its own.
#[tokio::test(start_paused = true)]
async fn the_key_of_a_second_address_is_remembered_by_the_next_process() {
    let bench = bench(&range("addresses: [10.0.0.1, 'fd00::1']"));
    let six = "https://[fd00::1]";
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.put(six, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    let is_first = bench.address("SN-1").as_deref() == Some(KEY);
    let (first, other) = if is_first { (KEY, six) } else { (six, KEY) };
    let also_at = || bench.found("SN-1").unwrap()["found"]["alsoAt"].clone();
    until(HOUR, "both are told", || {
        also_at() == serde_json::json!([other])
    })
    .await;
    bench.fleet.change(other, |bmc| {
        bmc.key = Some("a stranger's".to_owned());
        bmc.serial = "SN-9".to_owned();
    });
    let shown = || {
        let explored = bench.fleet.calls("explore");
        explored.iter().filter(|call| call.to == other).count()
    };
    let before = shown();
    tokio::time::sleep(7 * HOUR).await;
    assert_eq!(shown(), before, "in one process");
    search.end().await;
    let search = bench.start();
    tokio::time::sleep(HOUR).await;
    assert_eq!(shown(), before, "after a restart");
    assert_eq!(bench.failed(other).as_deref(), Some("CertificateChanged"));
    // Whoever deletes the report means that the new key is right.
    bench.api.remove(&report_of("SN-1"));
    until(10 * MINUTE, "the new one is found", || {
        bench.found("SN-9").is_some()
    })
    .await;
    until(10 * MINUTE, "the first is found", || {
        bench.found("SN-1").is_some()
    })
    .await;
    assert_eq!(bench.address("SN-1").as_deref(), Some(first));
    assert_eq!(also_at(), serde_json::Value::Null);
    search.end().await;
}
