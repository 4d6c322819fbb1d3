//! Reports that do not stand as they were written.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::fleet::{Bench, Manner, bench, range, report_of, until};
use super::proof::{pin, shown_to};

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "https://10.0.0.1";

#[tokio::test(start_paused = true)]
async fn a_report_that_somebody_deleted_is_written_again_once_its_machine_is_read() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.all_told().await;
    for report in [report_of("SN-1"), "dpureports/scan-s".to_owned()] {
        bench.api.remove(&report);
        until(6 * MINUTE, "it is told again", || {
            bench.api.get(&report).is_some()
        })
        .await;
    }
    let writes = bench.writes();
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.writes(), writes);
    // There is nothing to tell of one that is gone.
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    until(30 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
    bench.api.remove(&report_of("SN-1"));
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.found("SN-1"), None);
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Answers);
    until(20 * MINUTE, "it is found anew", || {
        bench.found("SN-1").is_some()
    })
    .await;
    search.end().await;
}

/// As after a restore of an older backup.
#[tokio::test(start_paused = true)]
async fn a_report_that_was_set_back_is_corrected() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    let mut report = bench.api.get(&report_of("SN-1")).unwrap();
    report["spec"]["found"]["missingSince"] = json!("2026-01-01T00:00:00Z");
    bench.api.put(&report_of("SN-1"), report);
    assert!(bench.is_missing("SN-1"));
    until(6 * MINUTE, "it is corrected", || !bench.is_missing("SN-1")).await;
    search.end().await;
}

/// A report that could not be written is not one that an administrator deleted.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_seen_first_counts_although_its_report_is_not_written_yet() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    bench.api.refuse(Some("lockstep-agent/report"));
    let search = bench.start();
    until(5 * MINUTE, "it is read", || {
        bench.fleet.calls("explore").len() == 1
    })
    .await;
    tokio::time::sleep(2 * MINUTE).await;
    bench
        .fleet
        .change(KEY, |bmc| bmc.key = Some("a stranger's".to_owned()));
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.fleet.calls("explore").len(), 1);
    // It counts still when it is written at last, and until somebody deletes that.
    bench.api.refuse(None);
    until(5 * MINUTE, "it is told", || bench.found("SN-1").is_some()).await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.fleet.calls("explore").len(), 1);
    bench.api.remove(&report_of("SN-1"));
    until(10 * MINUTE, "the new key is trusted", || {
        bench.fleet.calls("explore").len() == 2
    })
    .await;
    search.end().await;
}

/// The API server lists out of a cache that does not have the report yet; a read would find it.
#[tokio::test(start_paused = true)]
async fn a_list_that_lacks_a_report_which_exists_forgets_no_key() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.api.lists_without(Some(&report_of("SN-1")));
    bench
        .fleet
        .change(KEY, |bmc| bmc.key = Some("a stranger's".to_owned()));
    tokio::time::sleep(20 * MINUTE).await;
    assert!(bench.found("SN-1").is_some(), "nobody deleted it");
    let shown = bench.fleet.calls("explore");
    assert_eq!(shown.len(), 1, "name and password were shown: {shown:?}");
    search.end().await;
}

/// A stranger in a range of which nothing is verified shows the identity while the BMC is silent.
#[tokio::test(start_paused = true)]
async fn a_stranger_elsewhere_does_not_make_the_first_key_forgotten() {
    let section = "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.66.0.66], credentialsRef: {name: guests}, tls: {trust: NoVerification}}";
    let bench = bench(section);
    super::fleet::secret(&bench.api, "guests", "g", "b");
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    bench.fleet.put("https://10.66.0.66", "SN-1");
    bench.fleet.change("https://10.66.0.66", |bmc| {
        bmc.key = Some("a stranger's".to_owned());
    });
    tokio::time::sleep(60 * MINUTE).await;
    bench.fleet.change(KEY, |bmc| {
        bmc.manner = Manner::Answers;
        bmc.key = Some("a stranger's".to_owned());
    });
    tokio::time::sleep(60 * MINUTE).await;
    let shown = bench.fleet.calls("explore");
    let own: Vec<_> = shown.iter().filter(|call| call.to == KEY).collect();
    assert_eq!(
        own.len(),
        1,
        "name and password were shown to another key: {own:?}"
    );
    // Whoever deletes the report means that it moved there.
    assert_eq!(
        bench.failed("https://10.66.0.66").as_deref(),
        Some("CertificateChanged")
    );
    bench.fleet.change(KEY, |bmc| bmc.manner = Manner::Dead);
    bench.api.remove(&report_of("SN-1"));
    until(10 * MINUTE, "it is found elsewhere", || {
        bench.address("SN-1").as_deref() == Some("https://10.66.0.66")
    })
    .await;
    search.end().await;
}

/// One list out of an old cache, and later somebody deletes the report.
#[tokio::test(start_paused = true)]
async fn a_deletion_is_noticed_although_a_list_lacked_the_report_once() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.all_told().await;
    bench.api.lists_without(Some(&report_of("SN-1")));
    tokio::time::sleep(6 * MINUTE).await;
    bench.api.lists_without(None);
    tokio::time::sleep(6 * MINUTE).await;
    bench.api.remove(&report_of("SN-1"));
    until(60 * MINUTE, "it is told again", || {
        bench.found("SN-1").is_some()
    })
    .await;
    search.end().await;
}

/// The same where the API server gives no answer just when the report is asked for.
#[tokio::test(start_paused = true)]
async fn a_deletion_is_noticed_although_one_question_had_no_answer() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench.all_told().await;
    bench.api.remove(&report_of("SN-1"));
    // Longer than anybody waits for an answer.
    bench.api.read_slowly(&report_of("SN-1"), MINUTE);
    tokio::time::sleep(6 * MINUTE).await;
    bench.api.read_slowly(&report_of("SN-1"), Duration::ZERO);
    until(60 * MINUTE, "it is told again", || {
        bench.found("SN-1").is_some()
    })
    .await;
    search.end().await;
}

/// Certificates were renewed, and somebody deletes all reports; the API server is slow.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_older_than_a_report_makes_nobody_forget_it() {
    let bench = bench(&range(
        "addresses: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6]",
    ));
    let mut serials: Vec<(String, String)> = Vec::new();
    for number in 1..=6 {
        let serial = format!("SN-{number}");
        let key = format!("https://10.0.0.{number}");
        bench.fleet.put(&key, &serial);
        serials.push((serial, key));
    }
    // The first one that is asked for.
    serials.sort_by_key(|(serial, _)| Bench::id(serial));
    let (serial, key) = serials.remove(0);
    let begun = Instant::now();
    let search = bench.start();
    bench.all_told().await;
    bench
        .fleet
        .change(&key, |bmc| bmc.key = Some("its new one".to_owned()));
    for (other, _) in &serials {
        let seconds = Duration::from_secs(14);
        bench.api.read_slowly(&report_of(other), seconds);
    }
    tokio::time::sleep_until(begun + Duration::from_millis(299_900)).await;
    bench.api.remove(&report_of(&serial));
    for (other, _) in &serials {
        bench.api.remove(&report_of(other));
    }
    until(MINUTE, "it is found with its new key", || {
        bench.found(&serial).is_some()
    })
    .await;
    let told = bench.found(&serial).unwrap();
    assert_eq!(
        told["found"]["endpoint"]["pinnedKeySha256"],
        pin("its new one")
    );
    bench
        .fleet
        .change(&key, |bmc| bmc.key = Some("a stranger's".to_owned()));
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(
        shown_to(&bench, &key, "a stranger's"),
        0,
        "name and password were shown to another key"
    );
    search.end().await;
}
