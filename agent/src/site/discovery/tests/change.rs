//! Machines that move, go, come back, or are shown twice.

use std::time::Duration;

use super::fleet::{Bench, Manner, bench, range, until};

const MINUTE: Duration = Duration::from_secs(60);

/// One range of these addresses, behind which any key will do.
fn unverified(addresses: &str) -> String {
    format!(
        "  ranges:\n    - {{addresses: {addresses}, credentialsRef: {{name: c}}, tls: {{trust: NoVerification}}}}"
    )
}

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
    bench
        .api
        .remove(&format!("dpureports/bmc-found-{}", Bench::id("SN-5")));
    until(10 * MINUTE, "there is room again", || {
        bench.found("SN-REAL").is_some()
    })
    .await;
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
    until(5 * MINUTE, "all is told", || {
        bench.api.get("dpureports/scan-s").is_some()
    })
    .await;
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
    until(5 * MINUTE, "all is told", || {
        bench.api.get("dpureports/scan-s").is_some()
    })
    .await;
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

/// A card is replaced, and the new one answers at the same address with another key.
#[tokio::test(start_paused = true)]
async fn a_machine_in_whose_place_another_answers_is_missing_and_stays_so() {
    let bench = bench(&unverified("[10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(5 * MINUTE, "all is told", || {
        bench.api.get("dpureports/scan-s").is_some()
    })
    .await;
    let writes = bench.writes();
    bench.fleet.replace(key, "SN-2");
    until(2 * MINUTE, "the new one is found", || {
        bench.found("SN-2").is_some()
    })
    .await;
    tokio::time::sleep(8 * MINUTE).await;
    let reachable = bench.found("SN-1").unwrap()["reachable"].clone();
    assert_eq!(reachable["reason"], "AnotherMachine", "{reachable}");
    assert!(!bench.is_missing("SN-1"));
    until(5 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    tokio::time::sleep(2 * MINUTE).await;
    let reads = bench.fleet.calls("explore").len();
    assert!(reads <= 1 + 13, "{reads}");
    for _ in 0..60 {
        tokio::time::sleep(2 * MINUTE).await;
        assert!(bench.is_missing("SN-1"));
    }
    // The new one; out of reach and missing, the old one.
    assert_eq!(bench.writes(), writes + 3);
    let before = bench.found("SN-1");
    // What fails there now and then is no news of a machine that is elsewhere.
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Refuses);
    tokio::time::sleep(2 * MINUTE).await;
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Answers);
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(bench.found("SN-1"), before);
    assert_eq!(bench.fleet.calls("explore").len(), reads);
    let told = bench.writes();
    // Nor is a new process.
    search.end().await;
    let search = bench.start();
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.writes(), told);
    // It is put back.
    bench.fleet.replace(key, "SN-1");
    until(2 * MINUTE, "it is back", || !bench.is_missing("SN-1")).await;
    assert_eq!(bench.found("SN-1").unwrap()["reachable"]["ok"], true);
    search.end().await;
}

/// The same with a key that stays, as where the BMC is that of a chassis.
#[tokio::test(start_paused = true)]
async fn a_machine_that_its_bmc_shows_no_more_is_missing() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench
        .fleet
        .change(key, |bmc| bmc.serial = "SN-2".to_owned());
    until(8 * 60 * MINUTE, "the new one is found", || {
        bench.found("SN-2").is_some()
    })
    .await;
    until(15 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    tokio::time::sleep(48 * 60 * MINUTE).await;
    assert!(bench.is_missing("SN-1"));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_its_bmc_leaves_out_for_some_minutes_is_not_missing() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench
        .fleet
        .change(key, |bmc| bmc.serial = "SN-2".to_owned());
    until(8 * 60 * MINUTE, "another is found", || {
        bench.found("SN-2").is_some()
    })
    .await;
    tokio::time::sleep(5 * MINUTE).await;
    bench
        .fleet
        .change(key, |bmc| bmc.serial = "SN-1".to_owned());
    until(2 * MINUTE, "it is back", || {
        bench.found("SN-1").unwrap()["reachable"]["ok"] == true
    })
    .await;
    tokio::time::sleep(60 * MINUTE).await;
    assert!(!bench.is_missing("SN-1") && bench.is_missing("SN-2"));
    search.end().await;
}

/// A card is replaced at its address, and goes on in another place.
#[tokio::test(start_paused = true)]
async fn a_machine_in_whose_place_another_answers_is_followed_to_its_new_address() {
    let bench = bench(&unverified("[10.0.0.1, 10.0.0.2]"));
    let (one, two) = ("https://10.0.0.1", "https://10.0.0.2");
    bench.fleet.put(one, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.replace(one, "SN-2");
    until(20 * MINUTE, "it is missing", || {
        bench.found("SN-2").is_some() && bench.is_missing("SN-1")
    })
    .await;
    bench.fleet.put(two, "SN-1");
    until(15 * MINUTE, "it is followed", || {
        bench.address("SN-1").as_deref() == Some(two)
    })
    .await;
    until(MINUTE, "that is told", || bench.failed(two).is_none()).await;
    assert!(!bench.is_missing("SN-1"));
    let writes = bench.writes();
    tokio::time::sleep(24 * 60 * MINUTE).await;
    assert_eq!(bench.writes(), writes);
    assert_eq!(bench.address("SN-1").as_deref(), Some(two));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_identity_the_other_has_the_report_once_the_first_is_another_machine() {
    let bench = bench(&unverified("[10.0.0.1, 10.0.0.2]"));
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
    bench.fleet.replace(one, "SN-2");
    until(3 * MINUTE, "the other has it", || {
        bench.address("SN-1").as_deref() == Some(two) && bench.failed(two).is_none()
    })
    .await;
    tokio::time::sleep(30 * MINUTE).await;
    assert!(!bench.is_missing("SN-1"));
    assert_eq!(bench.address("SN-2").as_deref(), Some(one));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_followed_as_they_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dnsmasq.leases");
    let bench = bench(&format!(
        "  leases:
    - {{file: {}, networks: [10.0.0.0/24], credentialsRef: {{name: c}}, tls: {{trust: PinFirstSeen}}}}",
        file.display()
    ));
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
