//! A machine of which somebody wants to know anew what it is made of.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inspection::Inspected;
use lockstep_crds::names;
use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use super::fleet::{Bench, Manner, Search, bench, range, until};
use crate::site::attended::Attendance;

const MINUTE: Duration = Duration::from_secs(60);

fn asked(second: i64) -> Inspected {
    Inspected {
        host_uid: "uid-h".to_owned(),
        asked_at: Time(jiff::Timestamp::from_second(second).unwrap()),
    }
}

fn of_h() -> Inspected {
    asked(1)
}

fn of_g() -> Inspected {
    Inspected {
        host_uid: "uid-g".to_owned(),
        ..asked(2)
    }
}

/// Inspections ask for machines with these serial numbers.
fn want(bench: &Bench, asked: &[(&str, Inspected)]) {
    let wanted = asked.iter().map(|(serial, inspected)| {
        let report = names::found_bmc(&Bench::id(serial));
        (report, inspected.clone())
    });
    bench.means.site.inventories.want(wanted.collect());
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_read_at_once_where_an_inspection_asks_for_it() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    // Its worker vouches for it, so that the search need not look.
    let attendance = Attendance {
        at: Instant::now(),
        pin: Some(SpkiPin::of(b"key of SN-1")),
        machine: None,
        service: None,
    };
    bench.means.site.attended.saw(key, attendance);
    let answers = |second: i64| {
        let told = bench.found("SN-1").unwrap();
        let wanted = format!("1970-01-01T00:00:{second:02}Z");
        told["inspected"]["askedAt"] == wanted
    };
    let wants = |second| want(&bench, &[("SN-1", asked(second))]);
    let reads = bench.fleet.calls("explore").len();
    wants(1);
    until(MINUTE / 10, "it is read", || answers(1)).await;
    assert_eq!(bench.fleet.calls("explore").len(), reads + 1);
    // While it is read something else is asked for: what is being read does not answer that.
    wants(2);
    until(MINUTE / 10, "it is being read", || {
        bench.fleet.calls("explore").len() == reads + 2
    })
    .await;
    wants(3);
    until(MINUTE / 10, "it is read again", || answers(3)).await;
    assert_eq!(bench.fleet.calls("explore").len(), reads + 3);
    // What fails is tried again, and nothing is answered meanwhile.
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Refuses);
    wants(4);
    tokio::time::sleep(MINUTE).await;
    assert!(answers(3));
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Answers);
    until(20 * MINUTE, "it is read at last", || answers(4)).await;
    // A machine that nobody found is nobody's to read.
    want(&bench, &[("SN-1", asked(4)), ("SN-9", asked(5))]);
    tokio::time::sleep(MINUTE).await;
    assert!(answers(4));
    search.end().await;
}

async fn start_with_two_behind_one(bench: &Bench) -> Search {
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    bench
        .fleet
        .change(key, |bmc| bmc.others = vec!["SN-2".to_owned()]);
    let search = bench.start();
    until(MINUTE, "found", || {
        bench.found("SN-1").is_some() && bench.found("SN-2").is_some()
    })
    .await;
    search
}

/// One BMC lists the cards of two hosts.
#[tokio::test(start_paused = true)]
async fn two_hosts_ask_for_machines_behind_one_bmc_and_both_are_answered() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let search = start_with_two_behind_one(&bench).await;
    let says = |serial: &str| bench.found(serial).unwrap()["inspected"]["hostUid"].clone();
    want(&bench, &[("SN-1", of_h()), ("SN-2", of_g())]);
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(
        (says("SN-1"), says("SN-2")),
        ("uid-h".into(), "uid-g".into())
    );
    search.end().await;
}

/// The first is answered, and works on; then the second asks.
#[tokio::test(start_paused = true)]
async fn what_answers_one_host_goes_on_answering_it_when_another_asks() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let search = start_with_two_behind_one(&bench).await;
    let says = |serial: &str| bench.found(serial).unwrap()["inspected"]["hostUid"].clone();
    want(&bench, &[("SN-1", of_h())]);
    until(MINUTE, "answered", || says("SN-1") == "uid-h").await;
    want(&bench, &[("SN-1", of_h()), ("SN-2", of_g())]);
    until(MINUTE, "answered", || says("SN-2") == "uid-g").await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(says("SN-1"), "uid-h");
    search.end().await;
}

/// The report of the machine comes a moment after its worker asked.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_found_after_it_was_asked_for_is_answered() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    let search = bench.start();
    tokio::time::sleep(MINUTE).await;
    want(&bench, &[("SN-1", of_h())]);
    tokio::time::sleep(MINUTE).await;
    bench.fleet.put(key, "SN-1");
    until(60 * MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(
        bench.found("SN-1").unwrap()["inspected"]["hostUid"],
        "uid-h"
    );
    search.end().await;
}

/// The key of another BMC answers at the address of a machine of which an inspection asks.
#[tokio::test(start_paused = true)]
async fn a_bmc_that_cannot_answer_an_inspection_is_not_read_whole_at_every_look() {
    let bench = bench(&range("addresses: [10.0.0.1, 10.0.0.2]"));
    let (key, two) = ("https://10.0.0.1", "https://10.0.0.2");
    let reads = |to: &str| {
        let explored = bench.fleet.calls("explore");
        explored.iter().filter(|call| call.to == to).count()
    };
    bench.fleet.put(key, "SN-1");
    bench.fleet.put(two, "SN-2");
    let search = bench.start();
    until(MINUTE, "they are found", || {
        bench.found("SN-1").is_some() && bench.found("SN-2").is_some()
    })
    .await;
    // As where a chassis has two controllers, and the other one took the address.
    bench
        .fleet
        .change(key, |bmc| bmc.key = Some("key of SN-2".to_owned()));
    tokio::time::sleep(30 * MINUTE).await;
    let before = reads(key);
    tokio::time::sleep(60 * MINUTE).await;
    let unasked = reads(key) - before;
    want(&bench, &[("SN-1", of_h())]);
    tokio::time::sleep(60 * MINUTE).await;
    let asked = reads(key) - before - unasked;
    assert!(
        asked <= 12,
        "{asked} whole reads in an hour, {unasked} where nobody asks"
    );
    search.end().await;
}
