//! Machines in whose place another answers.

use std::time::Duration;

use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use crate::site::attended::Attendance;

use super::fleet::{Manner, bench, range, until, unverified};

const MINUTE: Duration = Duration::from_secs(60);

/// A card is replaced, and the new one answers at the same address with another key.
#[tokio::test(start_paused = true)]
async fn a_machine_in_whose_place_another_answers_is_missing_and_stays_so() {
    let bench = bench(&unverified("[10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    bench.all_told().await;
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
    // The worker of the new one vouches for that one alone.
    for _ in 0..60 {
        let seen = Attendance {
            at: Instant::now(),
            pin: Some(SpkiPin::of(b"key of SN-2")),
            machine: None,
            service: None,
        };
        bench.means.site.attended.saw(key, seen);
        tokio::time::sleep(MINUTE).await;
        assert!(bench.is_missing("SN-1"));
    }
    bench.means.site.attended.lost(key);
    // The new one; out of reach and missing, the old one.
    assert_eq!(bench.writes(), writes + 3);
    let before = bench.found("SN-1");
    // What fails there now and then is no news of a machine that is elsewhere.
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Refuses);
    tokio::time::sleep(2 * MINUTE).await;
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Answers);
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(bench.found("SN-1"), before);
    // Once an hour it is looked whether the old one was put back.
    let more = bench.fleet.calls("explore").len() - reads;
    assert!(more <= 4, "{more}");
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
async fn a_machine_whose_bmc_shows_nothing_any_more_is_missing_and_comes_back_when_it_is_shown() {
    let bench = bench(&unverified("[10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    let told = bench.found("SN-1").unwrap();
    // For some minutes, as while it starts.
    let bare = |is_bare: bool| {
        bench.fleet.change(key, |bmc| {
            bmc.is_bare = is_bare;
            bmc.key = Some("after a start".to_owned());
        });
    };
    bare(true);
    until(8 * MINUTE, "it is out of reach", || {
        bench.found("SN-1").unwrap()["reachable"]["reason"] == "SystemNotFound"
    })
    .await;
    bare(false);
    until(2 * MINUTE, "it is back", || {
        bench.found("SN-1").unwrap()["reachable"]["ok"] == true
    })
    .await;
    bench.fleet.replace(key, "SN-1");
    tokio::time::sleep(20 * MINUTE).await;
    assert!(!bench.is_missing("SN-1") && bench.failed(key).is_none());
    // For good.
    let (writes, reads) = (bench.writes(), bench.fleet.calls("explore").len());
    bare(true);
    tokio::time::sleep(9 * MINUTE).await;
    assert!(!bench.is_missing("SN-1"));
    until(6 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    let reachable = bench.found("SN-1").unwrap()["reachable"].clone();
    assert_eq!(reachable["reason"], "SystemNotFound", "{reachable}");
    assert_eq!(bench.failed(key).as_deref(), Some("SystemNotFound"));
    tokio::time::sleep(120 * MINUTE).await;
    assert!(bench.is_missing("SN-1"));
    // Out of reach, missing, and one line in the report about the search.
    assert_eq!(bench.writes(), writes + 3);
    let reads = bench.fleet.calls("explore").len() - reads;
    assert!((20..=45).contains(&reads), "{reads}");
    bare(false);
    until(12 * MINUTE, "it is back", || !bench.is_missing("SN-1")).await;
    let mut back = bench.found("SN-1").unwrap();
    let key = &mut back["found"]["endpoint"]["shownKeySha256"];
    *key = told["found"]["endpoint"]["shownKeySha256"].clone();
    assert_eq!(back["found"], told["found"]);
    search.end().await;
}
