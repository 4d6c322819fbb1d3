//! Addresses that a BMC leaves, has beside its first, or shares its identity at.

use std::time::Duration;

use lockstep_crds::names;
use lockstep_redfish::SpkiPin;
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{
    Bench, Manner, bench, leased, range, report_of, secret, system, until, unverified,
};
use super::proof::{PINNED_AND_NOT, assert_a_stranger_is_shown_nothing};
use crate::site::attended::Attendance;

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "https://10.0.0.1";
const TWO: &str = "https://10.0.0.2";
const GUEST: &str = "https://10.66.0.66";

const PINNED_AND_CA: &str = "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.66.0.66], credentialsRef: {name: guests}, tls: {trust: Ca, caConfigMapRef: {name: ours}}}";

/// A DHCP lease moves; the new address is looked at before the old one is missed. Then a new BMC
/// gets the old address.
#[tokio::test(start_paused = true)]
async fn a_new_bmc_gets_the_address_that_another_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dnsmasq.leases");
    let bench = bench(&leased(&file));
    bench.fleet.put(KEY, "SN-1");
    std::fs::write(&file, "0 52:54:00:00:00:01 10.0.0.1 * *\n").unwrap();
    let search = bench.start();
    until(5 * MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    tokio::time::sleep(20 * MINUTE).await;
    bench.fleet.readdress(KEY, "https://10.0.0.77");
    std::fs::write(&file, "0 52:54:00:00:00:01 10.0.0.77 * *\n").unwrap();
    until(10 * MINUTE, "it is followed", || {
        bench.address("SN-1").as_deref() == Some("https://10.0.0.77")
    })
    .await;
    tokio::time::sleep(60 * MINUTE).await;
    bench.fleet.put(KEY, "SN-2");
    std::fs::write(
        &file,
        "0 52:54:00:00:00:01 10.0.0.77 * *\n0 52:54:00:00:00:02 10.0.0.1 * *\n",
    )
    .unwrap();
    tokio::time::sleep(20 * MINUTE).await;
    assert!(
        bench.found("SN-2").is_some(),
        "{:?} alsoAt {}",
        bench.failed(KEY),
        bench.found("SN-1").unwrap()["found"]["alsoAt"]
    );
    search.end().await;
}

/// One BMC at an address with a pin and at one under a CA. The first loses some looks, the agent
/// restarts.
#[tokio::test(start_paused = true)]
async fn a_pin_outlives_a_takeover_under_a_ca_and_a_restart() {
    for restart in [false, true] {
        let bench = bench(PINNED_AND_CA);
        secret(&bench.api, "guests", "g", "b");
        bench.api.put(
            "configmaps/ours",
            json!({"metadata": {"name": "ours"}, "data": {"ca.crt": "x"}}),
        );
        bench.fleet.put(KEY, "SN-1");
        let search = bench.start();
        until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
        bench.fleet.put(GUEST, "SN-1");
        tokio::time::sleep(20 * MINUTE).await;
        bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
        until(30 * MINUTE, "it goes", || {
            bench.address("SN-1").as_deref() == Some(GUEST)
        })
        .await;
        tokio::time::sleep(5 * MINUTE).await;
        let search = if restart {
            search.end().await;
            bench.start()
        } else {
            search
        };
        let case = format!("restart {restart}");
        assert_a_stranger_is_shown_nothing(&bench, KEY, &case).await;
        search.end().await;
    }
}

/// Two machines with one serial number and two keys, in one pinned range.
#[tokio::test(start_paused = true)]
async fn two_with_one_identity_and_two_keys_are_told_as_two() {
    let bench = bench(&range("addresses: [10.0.0.1, 10.0.0.2]"));
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.put(TWO, "SN-1");
    bench
        .fleet
        .change(TWO, |bmc| bmc.key = Some("another".to_owned()));
    let search = bench.start();
    until(10 * MINUTE, "the second is told as another", || {
        let told = [KEY, TWO].map(|key| bench.failed(key));
        told.iter()
            .flatten()
            .any(|reason| reason == "IdentityTwice")
    })
    .await;
    search.end().await;
}

/// A range is not verified any more, the BMC has another key, and the worker of its object knows that.
#[tokio::test(start_paused = true)]
async fn who_is_refused_at_its_own_address_is_read_seldom_though_a_worker_sees_it() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    search.end().await;
    bench
        .fleet
        .change(KEY, |bmc| bmc.key = Some("boot 2".to_owned()));
    let section = "ranges: [{addresses: ['10.0.0.1'], credentialsRef: {name: c}, tls: {trust: NoVerification}}]";
    let search = bench.start_with(section);
    until(10 * MINUTE, "it is refused", || {
        bench.failed(KEY).as_deref() == Some("CertificateChanged")
    })
    .await;
    let before = bench.fleet.calls("explore").len();
    for _ in 0..120 {
        let attendance = Attendance {
            at: Instant::now(),
            pin: Some(SpkiPin::of(b"boot 2")),
            machine: Some(system("SN-1", 0).identity),
            service: None,
        };
        bench.means.site.attended.saw(KEY, attendance);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let reads = bench.fleet.calls("explore").len() - before;
    assert!(reads <= 2, "{reads} whole reads in an hour");
    search.end().await;
}

/// One BMC that is found without verification first, and at a second address later.
#[tokio::test(start_paused = true)]
async fn one_bmc_that_was_found_without_proof_is_one_at_two_addresses() {
    for (section, other, speaks, trust) in [
        (PINNED_AND_NOT.to_owned(), KEY, KEY, "PinnedKey"),
        (
            unverified("[10.0.0.1, 10.66.0.66]"),
            KEY,
            GUEST,
            "NoVerification",
        ),
    ] {
        let bench = bench(&section);
        secret(&bench.api, "guests", "g", "b");
        bench.fleet.put(GUEST, "SN-1");
        let search = bench.start();
        until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
        bench.fleet.put(other, "SN-1");
        until(60 * MINUTE, "both are told", || {
            bench.found("SN-1").unwrap()["found"]["alsoAt"].is_array()
        })
        .await;
        let found = bench.found("SN-1").unwrap()["found"].clone();
        assert_eq!(found["endpoint"]["address"], speaks, "{found}");
        assert_eq!(found["endpoint"]["trust"], trust, "{found}");
        assert_eq!((bench.failed(KEY), bench.failed(GUEST)), (None, None));
        let (begun, writes) = (Instant::now(), bench.writes());
        while begun.elapsed() < 60 * MINUTE {
            tokio::time::sleep(MINUTE).await;
            assert_eq!((bench.failed(KEY), bench.failed(GUEST)), (None, None));
        }
        assert_eq!(bench.writes(), writes, "it stays so");
        if trust == "PinnedKey" {
            search.end().await;
            let search = bench.start();
            assert_a_stranger_is_shown_nothing(&bench, KEY, "after a restart").await;
            search.end().await;
        } else {
            search.end().await;
        }
    }
}

/// A machine that is gone was at the address to which another one moved, whose BMC is replaced.
#[tokio::test(start_paused = true)]
async fn a_refusal_names_each_report_that_keeps_a_key_at_the_address() {
    let bench = bench(&range("addresses: [10.0.0.1, 10.0.0.2]"));
    bench.fleet.put(KEY, "SN-1");
    bench.fleet.put(TWO, "SN-2");
    let search = bench.start();
    bench.all_told().await;
    bench.fleet.change(TWO, |bmc| bmc.manner = Manner::Dead);
    bench.fleet.replace(KEY, "SN-2");
    until(60 * MINUTE, "it moved, the other one is missing", || {
        bench.address("SN-2").as_deref() == Some(KEY) && bench.is_missing("SN-1")
    })
    .await;
    bench
        .fleet
        .change(KEY, |bmc| bmc.key = Some("its new one".to_owned()));
    until(30 * MINUTE, "it is refused", || {
        bench.failed(KEY).as_deref() == Some("CertificateChanged")
    })
    .await;
    let message = bench.message(KEY);
    for serial in ["SN-1", "SN-2"] {
        let report = names::found_bmc(&Bench::id(serial));
        assert!(message.contains(&report), "{message}");
        bench.api.remove(&report_of(serial));
    }
    until(15 * MINUTE, "it is found", || {
        bench.address("SN-2").as_deref() == Some(KEY)
    })
    .await;
    search.end().await;
}
