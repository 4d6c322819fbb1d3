//! Machines that move, go, come back, or are shown twice.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::config::DiscoverySection;

use super::super::catalogue::{Catalogue, Inspections, Reading};
use super::super::partial::Here;
use super::super::territory::Territory;
use super::fleet::{Bench, Manner, bench, leased, range, system, until, unverified};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_machine_keeps_its_report_at_another_address() {
    let bench = bench(&format!(
        "{}\n  scanIntervalSeconds: 120",
        range("networks: [10.0.0.0/28]")
    ));
    bench.fleet.put("https://10.0.0.1", "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench
        .fleet
        .readdress("https://10.0.0.1", "https://10.0.0.9");
    until(10 * MINUTE, "it is followed", || {
        bench.address("SN-1").as_deref() == Some("https://10.0.0.9")
    })
    .await;
    assert!(!bench.is_missing("SN-1"));
    assert_eq!(bench.failed("https://10.0.0.9"), None);
    search.end().await;
}

/// Some firmware makes up a UUID at each boot, and nobody deletes reports of what is missing.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_another_machine_again_and_again_does_not_fill_the_api_server() {
    let bench = bench(
        "  ranges:
    - {addresses: [10.0.0.1, 10.0.0.2], credentialsRef: {name: c}, tls: {trust: NoVerification}}",
    );
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-0");
    bench.fleet.put("https://10.0.0.2", "SN-ELSEWHERE");
    let search = bench.start();
    for number in 0..40 {
        bench.fleet.change(key, |bmc| {
            bmc.serial = format!("SN-{number}");
            bmc.key = Some(format!("key {number}"));
        });
        tokio::time::sleep(80 * Duration::from_secs(1)).await;
    }
    let told = || {
        let serials = (0..40).map(|number| format!("SN-{number}"));
        serials
            .filter(|serial| bench.found(serial).is_some())
            .count()
    };
    assert_eq!(told(), 8);
    until(5 * MINUTE, "it is told", || {
        bench.failed(key).as_deref() == Some("IdentityChanges")
    })
    .await;
    assert!(bench.found("SN-ELSEWHERE").is_some());
    // One that is known is known again.
    bench.fleet.change(key, |bmc| {
        bmc.serial = "SN-3".to_owned();
        bmc.key = Some("key 3".to_owned());
    });
    until(20 * MINUTE, "it is back", || {
        !bench.is_missing("SN-3") && bench.failed(key).is_none()
    })
    .await;
    // Somebody saw to it that the next one is real.
    bench.fleet.change(key, |bmc| {
        bmc.serial = "SN-REAL".to_owned();
        bmc.key = Some("real key".to_owned());
    });
    tokio::time::sleep(10 * MINUTE).await;
    assert!(bench.found("SN-REAL").is_none());
    // It is read less and less often, so some were never seen.
    let is_gone = |serial: &String| bench.found(serial).is_some() && bench.is_missing(serial);
    let old = || (4..40).map(|one| format!("SN-{one}")).find(is_gone);
    until(30 * MINUTE, "one is missing", || old().is_some()).await;
    let old = Bench::id(&old().unwrap());
    bench.api.remove(&format!("dpureports/bmc-found-{old}"));
    until(10 * MINUTE, "there is room again", || {
        bench.found("SN-REAL").is_some()
    })
    .await;
    search.end().await;
}

/// One BMC with two addresses that makes up machines at one, and shows them at the other.
#[tokio::test(start_paused = true)]
async fn two_addresses_that_make_up_machines_in_turn_do_not_fill_the_api_server() {
    let bench = bench(&unverified("[10.0.0.1, 10.0.0.2]"));
    let (one, two) = ("https://10.0.0.1", "https://10.0.0.2");
    for key in [one, two] {
        bench.fleet.put(key, "SN-0");
        bench.fleet.change(key, |bmc| {
            bmc.manner = Manner::Dead;
            bmc.key = Some("one key".to_owned());
        });
    }
    let search = bench.start();
    let serial = |round: u32, number: u32| format!("SN{round}X{number}");
    for round in 0..6 {
        for (shows, silent) in [(one, two), (two, one)] {
            bench.fleet.change(silent, |bmc| bmc.manner = Manner::Dead);
            bench.fleet.change(shows, |bmc| {
                bmc.manner = Manner::Answers;
                bmc.serial = serial(round, 0);
                bmc.others = (1..8).map(|number| serial(round, number)).collect();
                bmc.service.redfish_version = Some(format!("1.{round}"));
            });
            tokio::time::sleep(50 * MINUTE).await;
        }
    }
    let all = (0..6).flat_map(|round| (0..8).map(move |number| serial(round, number)));
    let told = all.filter(|serial| bench.found(serial).is_some()).count();
    assert_eq!(told, 16);
    assert_eq!(bench.failed(two).as_deref(), Some("IdentityChanges"));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_machines_that_swap_addresses_are_followed_by_their_keys() {
    let bench = bench(&range("networks: [10.0.0.0/29]"));
    let (one, two) = ("https://10.0.0.1", "https://10.0.0.2");
    bench.fleet.put(one, "SN-1");
    bench.fleet.put(two, "SN-2");
    let search = bench.start();
    until(MINUTE, "both are found", || {
        bench.found("SN-1").is_some() && bench.found("SN-2").is_some()
    })
    .await;
    bench.fleet.readdress(one, "aside");
    bench.fleet.readdress(two, one);
    bench.fleet.readdress("aside", two);
    until(10 * MINUTE, "both are followed", || {
        bench.address("SN-1").as_deref() == Some(two)
            && bench.address("SN-2").as_deref() == Some(one)
    })
    .await;
    tokio::time::sleep(30 * MINUTE).await;
    assert!(!bench.is_missing("SN-1") && !bench.is_missing("SN-2"));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_gone_is_marked_after_a_grace_and_cleared_when_it_is_back() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    let told = bench.found("SN-1").unwrap();
    let writes = bench.writes();
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Dead);
    tokio::time::sleep(8 * MINUTE).await;
    assert!(!bench.is_missing("SN-1"));
    assert_eq!(bench.found("SN-1").unwrap()["reachable"]["ok"], false);
    until(10 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    let reachable = bench.found("SN-1").unwrap()["reachable"].clone();
    assert_eq!(reachable["reason"], "Unreachable");
    tokio::time::sleep(120 * MINUTE).await;
    // Out of reach, missing, and one line in the report about the search.
    assert_eq!(bench.writes(), writes + 3);
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Answers);
    until(15 * MINUTE, "it is back", || !bench.is_missing("SN-1")).await;
    let mut back = bench.found("SN-1").unwrap();
    assert_eq!(back["reachable"]["ok"], true);
    assert_eq!(back["found"], told["found"]);
    back["reachable"] = told["reachable"].clone();
    back["observedAt"] = told["observedAt"].clone();
    assert_eq!(back, told);
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_nothing_names_any_more_is_missing_and_not_deleted() {
    let bench = bench(&range("networks: [10.0.0.0/29]"));
    bench.fleet.put("https://10.0.0.1", "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    search.end().await;
    bench
        .fleet
        .change("https://10.0.0.1", |bmc| bmc.manner = Manner::Dead);
    let search = bench.start();
    until(30 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_identity_the_first_keeps_the_report_and_both_are_told() {
    let bench = bench(
        "  ranges:
    - {addresses: [10.0.0.1, 10.0.0.2], credentialsRef: {name: c}, tls: {trust: NoVerification}}",
    );
    let (one, two) = ("https://10.0.0.1", "https://10.0.0.2");
    bench.fleet.put(one, "SN-1");
    bench.fleet.put(two, "SN-1");
    bench.fleet.change(two, |bmc| {
        bmc.key = Some("another".to_owned());
        bmc.manner = Manner::Slow;
    });
    let search = bench.start();
    until(10 * MINUTE, "it is told", || {
        bench.failed(two).as_deref() == Some("IdentityTwice")
    })
    .await;
    assert_eq!(bench.address("SN-1").as_deref(), Some(one));
    let told = |bench: &Bench| {
        let spec = bench.found("SN-1").unwrap();
        spec["inventory"]["contradictions"][0]
            .as_str()
            .map(str::to_owned)
    };
    let contradiction = told(&bench).unwrap();
    assert!(
        contradiction.contains(one) && contradiction.contains(two),
        "{contradiction}"
    );
    let (writes, reads) = (bench.writes(), bench.fleet.calls("explore").len());
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.writes(), writes);
    assert_eq!(bench.fleet.calls("explore").len(), reads);
    // The first goes: the other takes the report over, and there is no contradiction any more.
    bench.fleet.change(one, |bmc| bmc.manner = Manner::Dead);
    until(10 * MINUTE, "the other has it", || {
        bench.address("SN-1").as_deref() == Some(two) && told(&bench).is_none()
    })
    .await;
    until(10 * MINUTE, "it is no failure any more", || {
        bench.failed(two).is_none()
    })
    .await;
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_bmc_at_two_addresses_is_one_machine_and_no_contradiction() {
    let bench = bench(&range("addresses: [10.0.0.1, 'fd00::1']"));
    let (four, six) = ("https://10.0.0.1", "https://[fd00::1]");
    bench.fleet.put(four, "SN-1");
    bench.fleet.put(six, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    assert_eq!((bench.failed(four), bench.failed(six)), (None, None));
    let spec = bench.found("SN-1").unwrap();
    assert!(spec["inventory"].get("contradictions").is_none());
    let asked = bench.fleet.calls("identify").len();
    tokio::time::sleep(60 * MINUTE).await;
    let asked = bench.fleet.calls("identify").len() - asked;
    assert!(asked <= 60, "both addresses are asked: {asked}");
    let holder = bench.address("SN-1").unwrap();
    let other = if holder == four { six } else { four };
    bench.fleet.change(&holder, |bmc| bmc.manner = Manner::Dead);
    until(5 * MINUTE, "the other address takes over", || {
        bench.address("SN-1").as_deref() == Some(other)
    })
    .await;
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_followed_as_they_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dnsmasq.leases");
    let bench = bench(&leased(&file));
    bench.fleet.put("https://10.0.0.1", "SN-1");
    let search = bench.start();
    let told = format!("file://{}", file.display());
    until(5 * MINUTE, "the missing file is told", || {
        bench.failed(&told).as_deref() == Some("LeaseFileUnreadable")
    })
    .await;
    std::fs::write(&file, "0 52:54:00:00:00:01 10.0.0.1 * *\n").unwrap();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    // The lease moves, and so does the machine; a line is garbled on the way.
    bench
        .fleet
        .readdress("https://10.0.0.1", "https://10.0.0.77");
    std::fs::write(&file, "garbled\n0 52:54:00:00:00:01 10.0.0.77 * *\n").unwrap();
    until(10 * MINUTE, "it is followed", || {
        bench.address("SN-1").as_deref() == Some("https://10.0.0.77")
            && bench.failed(&told).as_deref() == Some("LeaseFileMalformed")
    })
    .await;
    search.end().await;
}

#[test]
fn a_machine_was_shown_when_its_worker_saw_it_and_not_when_the_search_heard_of_it() {
    let section: DiscoverySection = serde_yaml::from_str(
        "ranges: [{addresses: [10.0.0.1, 10.0.0.2], credentialsRef: {name: c}, tls: {trust: NoVerification}}]",
    )
    .unwrap();
    let territory = Territory::new(&section).unwrap();
    let targets = territory.named(&[], Timestamp::UNIX_EPOCH).targets;
    let (one, two) = (&targets["https://10.0.0.1"], &targets["https://10.0.0.2"]);
    let mut catalogue = Catalogue::default();
    let at = Time(Timestamp::UNIX_EPOCH);
    let begun = Instant::now();
    let read = |catalogue: &mut Catalogue, target, minutes| {
        let systems = vec![system("SN-1", 0)];
        let reading = Reading {
            target,
            pin: None,
            here: &Here {
                shown: [Bench::id("SN-1")].into(),
                ..Here::default()
            },
            is_restless: false,
            systems,
            asked: &Inspections::new(),
        };
        catalogue.read(reading, begun + minutes * MINUTE, &at)
    };
    read(&mut catalogue, one, 0);
    assert!(read(&mut catalogue, two, 10).is_open);
    // It may have moved since the worker saw it.
    catalogue.answered(one, begun + 9 * MINUTE, &at);
    assert!(read(&mut catalogue, two, 11).is_open);
    catalogue.answered(one, begun + 12 * MINUTE, &at);
    let refused = read(&mut catalogue, two, 13).failure.unwrap();
    assert_eq!(refused.reason, "IdentityTwice");
}

/// By it the operator knows the same BMC at another address.
#[test]
fn the_key_that_was_shown_is_told_whatever_the_trust_rests_on() {
    for (trust, address, is_pinned) in [
        ("NoVerification", "https://10.0.0.1", false),
        ("PinFirstSeen", "https://10.0.0.1", true),
        ("PlainHttp", "http://10.0.0.1", false),
    ] {
        let section: DiscoverySection = serde_yaml::from_str(&format!(
            "ranges: [{{addresses: ['{address}'], credentialsRef: {{name: c}}, tls: {{trust: {trust}}}}}]"
        ))
        .unwrap();
        let territory = Territory::new(&section).unwrap();
        let targets = territory.named(&[], Timestamp::UNIX_EPOCH).targets;
        let pin = "ab".repeat(32).parse().unwrap();
        let shown = (trust != "PlainHttp").then_some(&pin);
        let mut catalogue = Catalogue::default();
        let reading = Reading {
            target: &targets[address],
            pin: shown,
            systems: vec![system("SN-1", 0)],
            here: &Here {
                shown: [Bench::id("SN-1")].into(),
                ..Here::default()
            },
            is_restless: false,
            asked: &Inspections::new(),
        };
        catalogue.read(reading, Instant::now(), &Time(Timestamp::UNIX_EPOCH));
        let told = catalogue.take_changed().remove(0).found.unwrap().endpoint;
        let shown = shown.map(ToString::to_string);
        assert_eq!(told.pinned_key_sha256, shown.clone().filter(|_| is_pinned));
        assert_eq!(told.shown_key_sha256, shown, "{trust}");
    }
}
