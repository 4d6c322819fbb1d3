//! What the site's report tells of images when the agent starts anew.

use std::pin::pin;

use futures::poll;

use super::installs::publish;
use super::*;
use crate::site::images;
use crate::site::wanted::{Wanted, WantedImage, WantedSignature, WantedSource};

const REPORT: &str = "dpureports/site-s";

fn wanted(digest: Digest, source: &str) -> (Digest, WantedImage) {
    let source = WantedSource {
        place: source.parse().unwrap(),
        pull_secret: None,
    };
    let image = WantedImage {
        digest,
        size: None,
        sources: vec![source],
        signatures: Vec::new(),
    };
    (digest, image)
}

/// The site with a store in a folder, as a process finds it.
fn opened(bench: &Bench, folder: &std::path::Path) -> Arc<Site> {
    let mut config = StoreConfig::new(folder, 1_000_000);
    config.limits.attempts = 1;
    Arc::new(Site {
        store: Store::open(config).unwrap(),
        ..Site::clone(&bench.site)
    })
}

/// What the process before told, of this release.
fn told_before(bench: &Bench, digest: Digest, size: u64, signatures: &Value) {
    let image = json!({
        "digest": digest.to_string(), "state": "Verified", "sizeBytes": size, "seedSlot": "One",
        "efiProgram": false, "signatures": signatures,
    });
    let report = json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuReport",
        "metadata": {"name": "site-s"},
        "spec": {
            "vantage": "Site", "subject": "s", "agentVersion": env!("CARGO_PKG_VERSION"),
            "observedAt": "2026-01-01T00:00:00Z", "images": [image],
        },
    });
    bench.api.put(REPORT, report);
}

#[tokio::test]
async fn a_restart_takes_back_nothing_that_the_store_still_has() {
    let bench = bench();
    let folder = tempfile::tempdir().unwrap();
    let digest = publish(&opened(&bench, folder.path()).store).await;
    let site = opened(&bench, folder.path());
    let size = site.store.info(&digest).unwrap().size;
    told_before(&bench, digest, size, &json!([]));
    let (sender, watched) = watch::channel(None);
    let ending = CancellationToken::new();
    let mut run = pin!(images::run(site, watched, ending.clone()));
    // Nobody knows yet what is wanted.
    for _ in 0..100 {
        assert!(poll!(&mut run).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.api.writes(), Vec::<String>::new());

    let other = wanted(Digest::of(b"another"), "http://127.0.0.1:1/b.iso");
    let stored = wanted(digest, "http://127.0.0.1:1/a.iso");
    sender.send_replace(Some(Wanted::from([stored, other])));
    let failed = bench.api.until(REPORT, |now| {
        let images = now["spec"]["images"].as_array();
        images.is_some_and(|images| images.iter().any(|one| one["state"] == "Failed"))
    });
    let report = tokio::select! {
        () = &mut run => None,
        report = failed => Some(report),
    };
    let report = report.unwrap();
    let images = report["spec"]["images"].as_array().unwrap();
    let kept = images
        .iter()
        .find(|one| one["digest"] == digest.to_string());
    assert_eq!(kept.unwrap()["state"], "Verified");
    assert_eq!(bench.api.writes().len(), 1, "{:?}", bench.api.writes());
    ending.cancel();
    run.await;
}

#[tokio::test]
async fn what_the_store_has_lost_is_told_as_there_no_more() {
    let bench = bench();
    let folder = tempfile::tempdir().unwrap();
    // A source that takes its time.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = format!("http://{}/a.iso", listener.local_addr().unwrap());
    let digest = Digest::of(b"lost");
    told_before(&bench, digest, 4, &json!([]));
    let images = Wanted::from([wanted(digest, &source)]);
    let (_sender, watched) = watch::channel(Some(images));
    let ending = CancellationToken::new();
    let site = opened(&bench, folder.path());
    let task = tokio::spawn(images::run(site, watched, ending.clone()));
    let is_told = |now: &Value| {
        let images = now["spec"]["images"].as_array();
        images.is_some_and(|images| images.iter().any(|one| one["state"] == "Verified"))
    };
    bench.api.until(REPORT, |now| !is_told(now)).await;
    ending.cancel();
    task.await.unwrap();
    drop(listener);
}

#[tokio::test]
async fn a_signature_that_was_read_stays_where_its_server_is_down_at_the_restart() {
    let bench = bench();
    let folder = tempfile::tempdir().unwrap();
    let digest = publish(&opened(&bench, folder.path()).store).await;
    let site = opened(&bench, folder.path());
    let size = site.store.info(&digest).unwrap().size;
    let (down, never) = ("http://127.0.0.1:1/a.dsse", "http://127.0.0.1:1/b.dsse");
    let before = json!([{"source": down, "envelope": "read before"}]);
    told_before(&bench, digest, size, &before);
    let signed_at = |source: &str| {
        WantedSignature::Dsse(vec![WantedSource {
            place: source.parse().unwrap(),
            pull_secret: None,
        }])
    };
    let (digest, image) = wanted(digest, "http://127.0.0.1:1/a.iso");
    let image = WantedImage {
        signatures: vec![signed_at(down), signed_at(never)],
        ..image
    };
    let (_sender, watched) = watch::channel(Some(Wanted::from([(digest, image)])));
    let ending = CancellationToken::new();
    let task = tokio::spawn(images::run(site, watched, ending.clone()));
    // Both are told at once.
    let is_told = |now: &Value| now["spec"]["images"][0]["signatures"][1]["reason"].is_string();
    let report = bench.api.until(REPORT, is_told).await;
    let first = &report["spec"]["images"][0]["signatures"][0];
    assert_eq!(first["envelope"], "read before", "{first}");
    assert_eq!(first["source"], down);
    ending.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn why_an_image_failed_is_told_of_the_sources_that_it_has_now() {
    let bench = bench();
    let folder = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"nowhere");
    let at = |source: &str| Some(Wanted::from([wanted(digest, source)]));
    let (sender, watched) = watch::channel(at("http://127.0.0.1:1/first.iso"));
    let ending = CancellationToken::new();
    let site = opened(&bench, folder.path());
    let task = tokio::spawn(images::run(site, watched, ending.clone()));
    let names = |now: &Value, source: &str| {
        let message = now["spec"]["images"][0]["message"].as_str();
        message.is_some_and(|message| message.contains(source))
    };
    let first = bench.api.until(REPORT, |now| names(now, "first.iso")).await;
    sender.send_replace(at("http://127.0.0.1:1/second.iso"));
    let second = bench
        .api
        .until(REPORT, |now| names(now, "second.iso"))
        .await;
    let reason = |report: &Value| report["spec"]["images"][0]["reason"].clone();
    assert_eq!(reason(&first), reason(&second));
    ending.cancel();
    task.await.unwrap();
}
