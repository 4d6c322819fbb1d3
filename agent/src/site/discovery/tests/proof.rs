//! What a BMC proved itself by, and what ends that: its report's deletion, and nothing else.

use std::time::Duration;

use lockstep_crds::names;
use lockstep_redfish::SpkiPin;
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{Bench, Manner, bench, range, report_of, secret, until};

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "https://10.0.0.1";

pub(super) fn pin(key: &str) -> String {
    SpkiPin::of(key.as_bytes()).to_string()
}

pub(super) fn shown_to(bench: &Bench, to: &str, key: &str) -> usize {
    let explored = bench.fleet.calls("explore");
    let those = explored
        .iter()
        .filter(|call| call.to == to && call.pinned.as_deref() == Some(&pin(key)));
    those.count()
}

/// A stranger's key answers where a BMC was, of which nobody deletes the report.
pub(super) async fn assert_a_stranger_is_shown_nothing(bench: &Bench, at: &str, case: &str) {
    bench.fleet.change(at, |bmc| {
        bmc.manner = Manner::Answers;
        bmc.key = Some("a stranger's".to_owned());
    });
    tokio::time::sleep(60 * MINUTE).await;
    assert!(bench.found("SN-1").is_some(), "nobody deleted it");
    assert_eq!(
        shown_to(bench, at, "a stranger's"),
        0,
        "{case}: name and password were shown to another key"
    );
}

pub(super) const PINNED_AND_NOT: &str = "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.66.0.66], credentialsRef: {name: guests}, tls: {trust: NoVerification}}";
const GUEST: &str = "https://10.66.0.66";

/// One BMC at two addresses of one range; the first is silent for some looks.
#[tokio::test(start_paused = true)]
async fn the_key_of_an_address_is_kept_when_the_other_one_of_its_bmc_takes_over() {
    let bench = bench(&range("addresses: [10.0.0.1, 'fd00::1']"));
    let six = "https://[fd00::1]";
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.put(six, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    let is_first = bench.address("SN-1").as_deref() == Some(KEY);
    let (first, other) = if is_first { (KEY, six) } else { (six, KEY) };
    until(10 * MINUTE, "both are told", || {
        bench.found("SN-1").unwrap()["found"]["alsoAt"] == json!([other])
    })
    .await;
    bench.fleet.change(first, |bmc| bmc.manner = Manner::Dead);
    until(10 * MINUTE, "the other one stands for it", || {
        bench.address("SN-1").as_deref() == Some(other)
    })
    .await;
    assert_a_stranger_is_shown_nothing(&bench, first, "the other address").await;
    search.end().await;
}

/// The second address is in a range without verification.
#[tokio::test(start_paused = true)]
async fn a_pin_outlives_an_address_without_verification() {
    let bench = bench(PINNED_AND_NOT);
    secret(&bench.api, "guests", "g", "b");
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    // It is relayed there, or has a second address.
    bench.fleet.put(GUEST, "SN-1");
    tokio::time::sleep(20 * MINUTE).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    tokio::time::sleep(20 * MINUTE).await;
    assert_a_stranger_is_shown_nothing(&bench, KEY, "no verification").await;
    search.end().await;
}

/// What an endpoint without verification showed when it was identified it need not show when it
/// is read.
#[tokio::test(start_paused = true)]
async fn who_goes_by_a_key_reads_from_that_key() {
    let bench = bench(PINNED_AND_NOT);
    secret(&bench.api, "guests", "g", "b");
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    bench.fleet.put(GUEST, "SN-1");
    until(20 * MINUTE, "it moves for its key", || {
        bench.address("SN-1").as_deref() == Some(GUEST)
    })
    .await;
    let explored = bench.fleet.calls("explore");
    let there: Vec<_> = explored.iter().filter(|call| call.to == GUEST).collect();
    assert!(
        there
            .iter()
            .all(|call| call.pinned.as_deref() == Some(&pin("key of SN-1"))),
        "read from whoever answered: {there:?}"
    );
    search.end().await;
}

/// Two ranges, each with a certificate authority of its own.
#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_authority_takes_no_machine_over() {
    let bench = bench(
        "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: Ca, caConfigMapRef: {name: ours}}}
    - {addresses: [10.66.0.66], credentialsRef: {name: guests}, tls: {trust: Ca, caConfigMapRef: {name: theirs}}}",
    );
    secret(&bench.api, "guests", "g", "b");
    for name in ["ours", "theirs"] {
        bench.api.put(
            &format!("configmaps/{name}"),
            json!({"metadata": {"name": name}, "data": {"ca.crt": name}}),
        );
    }
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    bench.fleet.put(GUEST, "SN-1");
    bench
        .fleet
        .change(GUEST, |bmc| bmc.key = Some("a stranger's".to_owned()));
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.address("SN-1").as_deref(), Some(KEY));
    search.end().await;
}

/// The remedy that `CertificateChanged` tells, after the endpoint was silent for a moment.
#[tokio::test(start_paused = true)]
async fn who_deletes_the_report_has_it_found_where_it_was_refused() {
    for silent in [false, true] {
        let bench = bench(PINNED_AND_NOT);
        secret(&bench.api, "guests", "g", "b");
        bench.fleet.put(KEY, "SN-1");
        let search = bench.start();
        until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
        // It has another key and another address by now.
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
        bench.fleet.put(GUEST, "SN-1");
        bench
            .fleet
            .change(GUEST, |bmc| bmc.key = Some("its new one".to_owned()));
        until(60 * MINUTE, "it is refused", || {
            bench.failed(GUEST).as_deref() == Some("CertificateChanged")
        })
        .await;
        if silent {
            bench.fleet.change(GUEST, |bmc| bmc.manner = Manner::Dead);
            tokio::time::sleep(2 * MINUTE).await;
            bench
                .fleet
                .change(GUEST, |bmc| bmc.manner = Manner::Answers);
            until(60 * MINUTE, "it is refused", || {
                bench.failed(GUEST).as_deref() == Some("CertificateChanged")
            })
            .await;
        }
        bench.api.remove(&report_of("SN-1"));
        until(15 * MINUTE, &format!("silent {silent}"), || {
            bench.address("SN-1").as_deref() == Some(GUEST)
        })
        .await;
        search.end().await;
    }
}

/// A BMC that lists its own machine and one that was found elsewhere and proved more there.
#[tokio::test(start_paused = true)]
async fn a_machine_beside_one_that_is_refused_stays_in_reach() {
    for pinned in [false, true] {
        let section = if pinned {
            format!(
                "{}\n  refreshSeconds: 600",
                range("addresses: [10.0.0.1, 10.66.0.66]")
            )
        } else {
            format!("{PINNED_AND_NOT}\n  refreshSeconds: 600")
        };
        let bench = bench(&section);
        secret(&bench.api, "guests", "g", "b");
        bench.fleet.put(KEY, "SN-1");
        bench.fleet.put(GUEST, "SN-3");
        let search = bench.start();
        until(MINUTE, "they are found", || {
            bench.found("SN-1").is_some() && bench.found("SN-3").is_some()
        })
        .await;
        // The card is put into that chassis.
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
        bench
            .fleet
            .change(GUEST, |bmc| bmc.others = vec!["SN-1".to_owned()]);
        until(60 * MINUTE, "it is refused", || {
            bench.failed(GUEST).as_deref() == Some("CertificateChanged")
        })
        .await;
        let (begun, writes) = (Instant::now(), bench.writes());
        while begun.elapsed() < 60 * MINUTE {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let reachable = bench.found("SN-3").unwrap()["reachable"].clone();
            assert_eq!(
                reachable["ok"],
                true,
                "pinned {pinned}, {} writes: {reachable}",
                bench.writes() - writes
            );
        }
        search.end().await;
    }
}

/// At the second address of a BMC another machine was before, whose report somebody deletes.
#[tokio::test(start_paused = true)]
async fn the_report_of_another_machine_says_nothing_about_the_key_of_a_second_address() {
    let bench = bench(&range("addresses: [10.0.0.1, 10.0.0.2]"));
    let two = "https://10.0.0.2";
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.put(two, "SN-9");
    let search = bench.start();
    until(MINUTE, "they are found", || {
        bench.found("SN-1").is_some() && bench.found("SN-9").is_some()
    })
    .await;
    bench.fleet.replace(two, "SN-1");
    until(60 * MINUTE, "that one is gone", || bench.is_missing("SN-9")).await;
    assert_eq!(bench.address("SN-1").as_deref(), Some(KEY));
    assert_eq!(
        bench.found("SN-1").unwrap()["found"]["alsoAt"],
        json!([two])
    );
    bench
        .fleet
        .change(two, |bmc| bmc.key = Some("a stranger's".to_owned()));
    until(10 * MINUTE, "that is told", || {
        bench.failed(two).as_deref() == Some("CertificateChanged")
    })
    .await;
    bench.api.remove(&report_of("SN-9"));
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(
        shown_to(&bench, two, "a stranger's"),
        0,
        "the report of SN-1, which has that address in alsoAt, was not deleted"
    );
    search.end().await;
}

/// One BMC at an address where its key is pinned and at one without verification, as of IPv4 and
/// IPv6. The first one loses a few looks.
#[tokio::test(start_paused = true)]
async fn one_bmc_at_two_addresses_does_not_become_two() {
    let bench = bench(PINNED_AND_NOT);
    secret(&bench.api, "guests", "g", "b");
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.put(GUEST, "SN-1");
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(
        bench.found("SN-1").unwrap()["found"]["alsoAt"],
        json!([GUEST])
    );
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    tokio::time::sleep(3 * MINUTE).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
    // Until it is read whole again.
    tokio::time::sleep(8 * 60 * MINUTE).await;
    let told = bench.found("SN-1").unwrap()["inventory"]["contradictions"].clone();
    assert_eq!(
        (bench.failed(KEY), bench.failed(GUEST), told),
        (None, None, json!(null))
    );
    search.end().await;
}

/// The administrator says that this BMC has no TLS any more.
#[tokio::test(start_paused = true)]
async fn a_bmc_that_has_no_key_any_more_is_found_once_its_report_is_deleted() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    search.end().await;
    let plain = "http://10.0.0.1";
    bench.fleet.readdress(KEY, plain);
    bench.fleet.change(plain, |bmc| bmc.key = None);
    let section = "ranges: [{addresses: ['http://10.0.0.1'], credentialsRef: {name: c}, tls: {trust: PlainHttp}}]";
    let search = bench.start_with(section);
    until(60 * MINUTE, "it is refused", || {
        bench.failed(plain).as_deref() == Some("CertificateChanged")
    })
    .await;
    assert_eq!(bench.address("SN-1").as_deref(), Some(KEY));
    bench.api.remove(&report_of("SN-1"));
    until(10 * MINUTE, "it is found", || {
        bench.address("SN-1").as_deref() == Some(plain)
    })
    .await;
    search.end().await;
}

/// What is told names the report that is to be deleted, and the key that is to be compared.
#[tokio::test(start_paused = true)]
async fn a_refusal_tells_its_remedy_to_the_end() {
    let bench = bench(PINNED_AND_NOT);
    secret(&bench.api, "guests", "g", "b");
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    bench.fleet.put(GUEST, "SN-1");
    bench
        .fleet
        .change(GUEST, |bmc| bmc.key = Some("its new one".to_owned()));
    until(60 * MINUTE, "it is refused", || {
        bench.failed(GUEST).as_deref() == Some("CertificateChanged")
    })
    .await;
    let message = bench.message(GUEST);
    assert!(
        message.contains(&names::found_bmc(&Bench::id("SN-1"))),
        "{message}"
    );
    assert!(message.contains(&pin("its new one")), "{message}");
    search.end().await;
}
