//! Interruptions, crashes, and what a process finds when it starts.

use std::fs;

use lockstep_store::{FetchPhase, GrantError, OpenError, Progress, Store, StoreConfig};

use crate::origin::{Fault, Origin};
use crate::site::{Site, image, mode, request, until};

const SIZE: usize = 3_000_000;
const CUT: usize = 1_200_000;

#[tokio::test]
async fn a_cut_download_continues_where_it_stopped() {
    let (site, bytes) = (Site::new(), image(1, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.next([Fault::CutAfter(CUT), Fault::Status(503)]);
    store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    let seen = origin.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].range, None);
    for later in &seen[1..] {
        assert_eq!(later.range, Some(format!("bytes={CUT}-")));
        assert_eq!(later.if_range.as_deref(), Some("\"v1\""));
    }
    assert_eq!(seen[2].sent, SIZE - CUT);
}

#[tokio::test]
async fn a_changed_image_is_fetched_whole() {
    let (site, old, new) = (Site::new(), image(2, SIZE), image(3, SIZE));
    let (store, origin) = (site.open(), Origin::start(&old).await);
    let wanted = request(&new, &[origin.url()]);
    origin.next([Fault::CutAfter(CUT)]);
    origin.always(Fault::Status(503));
    assert!(store.fetch(&wanted).await.is_err());
    origin.always(None);
    origin.replace(&new, Some("v2"));
    store.fetch(&wanted).await.unwrap();
    let last = origin.seen().pop().unwrap();
    assert_eq!(last.if_range.as_deref(), Some("\"v1\""));
    assert_eq!(last.sent, SIZE);
}

#[tokio::test]
async fn a_change_that_the_server_hides_costs_one_more_download() {
    let (site, old, new) = (Site::new(), image(4, SIZE), image(5, SIZE));
    let (store, origin) = (site.open(), Origin::start(&old).await);
    let wanted = request(&new, &[origin.url()]);
    origin.next([Fault::CutAfter(CUT)]);
    origin.always(Fault::Status(503));
    assert!(store.fetch(&wanted).await.is_err());
    origin.always(None);
    origin.replace(&new, Some("v1"));
    let before = origin.requests();
    store.fetch(&wanted).await.unwrap();
    let sent: Vec<usize> = origin.seen()[before..]
        .iter()
        .map(|seen| seen.sent)
        .collect();
    assert_eq!(sent.last(), Some(&SIZE));
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_all_again() {
    let (site, bytes) = (Site::new(), image(6, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.next([Fault::CutAfter(CUT), Fault::IgnoreRange]);
    store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    assert_eq!(origin.seen()[1].sent, SIZE);
}

#[tokio::test]
async fn a_wrong_range_is_not_believed() {
    let (site, bytes) = (Site::new(), image(7, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.next([Fault::CutAfter(CUT), Fault::ShiftedRange]);
    store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    let seen = origin.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!((&seen[2].range, seen[2].sent), (&None, SIZE));
}

#[tokio::test]
async fn a_shrunk_image_is_fetched_whole() {
    let (site, old) = (Site::new(), image(8, SIZE));
    let new = image(9, CUT / 2);
    let (store, origin) = (site.open(), Origin::start(&old).await);
    let mut wanted = request(&new, &[origin.url()]);
    wanted.size = None;
    origin.next([Fault::CutAfter(CUT)]);
    origin.always(Fault::Status(503));
    assert!(store.fetch(&wanted).await.is_err());
    origin.always(None);
    // The validator hides the change, so the server answers 416.
    origin.replace(&new, Some("v1"));
    store.fetch(&wanted).await.unwrap();
    let last = origin.seen().pop().unwrap();
    assert_eq!((last.range, last.sent), (None, CUT / 2));
}

/// The first source sends so much, and then nothing any more.
async fn begun(store: &Store, bytes: &[u8]) -> Origin {
    let first = Origin::start(bytes).await;
    first.next([Fault::CutAfter(CUT)]);
    first.always(Fault::Status(503));
    let fetched = store.fetch(&request(bytes, &[first.url()])).await;
    assert!(fetched.is_err());
    first
}

#[tokio::test]
async fn a_mirror_sends_only_what_the_first_source_did_not() {
    let (site, bytes) = (Site::new(), image(10, SIZE));
    let store = site.open();
    let first = begun(&store, &bytes).await;
    let second = Origin::start(&bytes).await;
    second.next([Fault::Status(500), Fault::CutAfter(CUT + 100_000)]);
    let sources = [first.url(), second.url()];
    store.fetch(&request(&bytes, &sources)).await.unwrap();
    let seen = second.seen();
    assert_eq!(seen.len(), 3);
    for one in &seen {
        assert_eq!(one.if_range, None, "the validator is of another server");
        assert!(one.range.is_some());
    }
    let sent: usize = seen.iter().map(|one| one.sent).sum();
    assert_eq!(sent, SIZE - CUT);
}

#[tokio::test]
async fn a_mirror_of_something_else_costs_one_more_download() {
    let (site, bytes) = (Site::new(), image(20, SIZE));
    let store = site.open();
    let first = begun(&store, &image(21, SIZE)).await;
    drop(first);
    // What the first source gave was never the image.
    let wrong = site.names("partial");
    let hex = request(&bytes, &[]).digest.hex();
    for name in wrong {
        let to = format!("{hex}.{}", name.rsplit('.').next().unwrap());
        fs::rename(
            site.path("partial").join(name),
            site.path("partial").join(to),
        )
        .unwrap();
    }
    drop(store);
    let (store, second) = (site.open(), Origin::start(&bytes).await);
    let wanted = request(&bytes, &[second.url()]);
    store.fetch(&wanted).await.unwrap();
    let sent: Vec<usize> = second.seen().iter().map(|one| one.sent).collect();
    assert_eq!(sent, [SIZE - CUT, SIZE]);
}

#[tokio::test]
async fn what_was_received_is_kept_where_there_is_no_room_to_begin_anew() {
    let (site, bytes) = (Site::new(), image(22, SIZE));
    let store = site.open();
    drop(begun(&store, &bytes).await);
    drop(store);
    let store = Store::open(StoreConfig {
        quota_bytes: SIZE as u64 - 1,
        ..site.config()
    })
    .unwrap();
    let second = Origin::start(&bytes).await;
    second.always(Fault::IgnoreRange);
    let wanted = request(&bytes, &[second.url()]);
    let error = store.fetch(&wanted).await.unwrap_err();
    assert_eq!(error.category(), "QuotaExceeded");
    drop(store);
    let store = site.open();
    assert_eq!(store.status().partial_bytes, CUT as u64);
    second.always(None);
    let before = second.requests();
    store.fetch(&wanted).await.unwrap();
    assert_eq!(second.seen()[before].sent, SIZE - CUT);
}

#[tokio::test]
async fn a_fresh_signature_in_the_query_still_resumes() {
    let (site, bytes) = (Site::new(), image(11, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.next([Fault::CutAfter(CUT)]);
    origin.always(Fault::Status(503));
    let signed = |query: &str| request(&bytes, &[origin.at(&format!("/image.iso?{query}"))]);
    let error = store.fetch(&signed("signature=secret")).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    let note = fs::read_to_string(
        site.path("partial")
            .join(format!("{}.json", signed("").digest.hex())),
    );
    assert!(!note.unwrap().contains("secret"));
    origin.always(None);
    store.fetch(&signed("signature=other")).await.unwrap();
    let last = origin.seen().pop().unwrap();
    assert!(last.range.is_some() && last.path.ends_with("signature=other"));
}

#[tokio::test]
async fn a_crash_costs_only_what_was_not_written() {
    let (site, bytes) = (Site::new(), image(12, SIZE));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let part = site
        .path("partial")
        .join(format!("{}.part", wanted.digest.hex()));

    let store = site.open();
    origin.next([Fault::StallAfter(CUT)]);
    let fetch = tokio::spawn(store.fetch(&wanted));
    let on_disk = || fs::metadata(&part).map_or(0, |meta| meta.len());
    until("bytes on disk", || on_disk() == CUT as u64).await;
    fetch.abort();
    assert!(fetch.await.unwrap_err().is_cancelled());
    assert_eq!(mode(&part), 0o600);
    drop(store);

    let store = site.open();
    assert_eq!(store.status().partial_bytes, CUT as u64);
    let fetch = store.fetch(&wanted);
    let progress = fetch.progress();
    fetch.await.unwrap();
    assert_eq!(progress.borrow().resumed_from, CUT as u64);
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].range, Some(format!("bytes={CUT}-")));
    assert_eq!(
        seen[1].sent,
        SIZE - CUT,
        "the first part is not asked for again"
    );
}

#[tokio::test]
async fn a_fetch_dropped_while_it_verifies_is_taken_over() {
    let (site, bytes) = (Site::new(), image(19, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let wanted = request(&bytes, &[origin.url()]);
    let fetch = store.fetch(&wanted);
    let mut progress = fetch.progress();
    let fetch = tokio::spawn(fetch);
    let verifying = |progress: &Progress| progress.phase == FetchPhase::Verifying;
    progress.wait_for(verifying).await.unwrap();
    fetch.abort();
    assert!(fetch.await.unwrap_err().is_cancelled());
    store.fetch(&wanted).await.unwrap();
    assert_eq!(origin.requests(), 1);
    assert!(site.names("partial").is_empty());
    assert_eq!(fs::read(site.blob(&wanted.digest)).unwrap(), bytes);
}

#[tokio::test]
async fn a_crash_before_publishing_needs_no_request() {
    let (site, bytes) = (Site::new(), image(13, SIZE));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let name = |end: &str| {
        site.path("partial")
            .join(format!("{}.{end}", wanted.digest.hex()))
    };
    drop(site.open());
    fs::write(name("part"), &bytes).unwrap();
    let note = format!(
        r#"{{"url":"{}","validator":"\"v1\"","total":{SIZE}}}"#,
        origin.url()
    );
    fs::write(name("json"), note).unwrap();

    site.open().fetch(&wanted).await.unwrap();
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn bytes_damaged_by_a_crash_are_fetched_again() {
    let (site, bytes) = (Site::new(), image(14, SIZE));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let store = site.open();
    origin.next([Fault::CutAfter(CUT)]);
    origin.always(Fault::Status(503));
    assert!(store.fetch(&wanted).await.is_err());
    drop(store);
    let part = site
        .path("partial")
        .join(format!("{}.part", wanted.digest.hex()));
    let mut damaged = fs::read(&part).unwrap();
    damaged[1000..2000].fill(0);
    fs::write(&part, damaged).unwrap();
    origin.always(None);
    site.open().fetch(&wanted).await.unwrap();
    assert_eq!(origin.seen().pop().unwrap().sent, SIZE);
}

#[tokio::test]
async fn garbage_is_removed_at_start() {
    let (site, bytes) = (Site::new(), image(15, 1000));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let store = site.open();
    store.fetch(&wanted).await.unwrap();
    drop(store);
    let (hex, other) = (wanted.digest.hex(), "0".repeat(64));
    for name in [
        format!("sha256/{other}.json"),
        format!("sha256/{}.json.tmp", wanted.digest.hex()),
        "sha256/readme".to_owned(),
        format!("partial/{hex}.part"),
        format!("partial/{hex}.json"),
        format!("partial/{other}.part"),
        format!("partial/{}.json", "1".repeat(64)),
        "partial/x".to_owned(),
    ] {
        fs::write(site.path(&name), "garbage").unwrap();
    }
    let store = site.open();
    assert_eq!(site.names("sha256"), [hex.clone(), format!("{hex}.json")]);
    assert!(site.names("partial").is_empty());
    store.fetch(&wanted).await.unwrap();
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_blob_damaged_on_disk_is_reported_and_replaced() {
    let (site, bytes) = (Site::new(), image(16, SIZE));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let store = site.open();
    store.fetch(&wanted).await.unwrap();
    drop(store);
    let blob = site.blob(&wanted.digest);
    let mut damaged = bytes.clone();
    damaged[SIZE / 2] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, damaged).unwrap();

    let store = site.open();
    assert!(
        store.info(&wanted.digest).is_some(),
        "nobody has looked yet"
    );
    let error = store.grant(wanted.digest, "card", None).await.unwrap_err();
    assert!(matches!(error, GrantError::Damaged { .. }), "{error}");
    assert!(!blob.exists());
    assert_eq!(store.status().damaged, [wanted.digest]);
    let error = store.grant(wanted.digest, "card", None).await.unwrap_err();
    assert!(matches!(error, GrantError::NotStored { .. }), "{error}");

    store.fetch(&wanted).await.unwrap();
    assert!(store.status().damaged.is_empty());
    store.grant(wanted.digest, "card", None).await.unwrap();
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_lost_sidecar_is_written_again() {
    let (site, bytes) = (Site::new(), image(17, 1000));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let store = site.open();
    let info = store.fetch(&wanted).await.unwrap();
    drop(store);
    let sidecar = site
        .path("sha256")
        .join(format!("{}.json", wanted.digest.hex()));
    fs::write(&sidecar, "{").unwrap();
    let store = site.open();
    assert_eq!(store.fetch(&wanted).await.unwrap(), info);
    drop(store);
    assert!(fs::read_to_string(&sidecar).unwrap().contains("size"));
}

#[tokio::test]
async fn files_are_private_and_blobs_read_only() {
    let (site, bytes) = (Site::new(), image(18, 1000));
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    let mut config = site.config();
    config.dir = site.path("made/by/the/store");
    let store = Store::open(config.clone()).unwrap();
    store.fetch(&wanted).await.unwrap();
    store.grant(wanted.digest, "card", None).await.unwrap();
    for folder in ["", "sha256", "partial"] {
        assert_eq!(mode(&config.dir.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(&config.dir.join("grants.json")), 0o600);
    assert_eq!(
        mode(&config.dir.join("sha256").join(wanted.digest.hex())),
        0o444
    );
}

#[tokio::test]
async fn the_folder_has_one_owner() {
    let site = Site::new();
    let store = site.open();
    assert!(matches!(
        Store::open(site.config()),
        Err(OpenError::Locked { .. })
    ));
    drop(store);
    site.open();
}
