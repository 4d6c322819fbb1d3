//! Room: who is thrown out, who stays, and when there is none.

use std::collections::BTreeMap;

use lockstep_store::{Demand, FetchError, Store, StoreConfig};

use crate::origin::{Fault, Origin};
use crate::site::{Site, image, request};

const SIZE: usize = 400_000;

/// A store of which it is known that nothing is wanted.
fn open(site: &Site, quota: usize) -> Store {
    let store = untold(site, quota);
    store.want(BTreeMap::new());
    store
}

fn untold(site: &Site, quota: usize) -> Store {
    Store::open(StoreConfig {
        quota_bytes: quota as u64,
        max_image_bytes: u64::MAX,
        ..site.config()
    })
    .unwrap()
}

#[tokio::test]
async fn the_least_recently_used_image_goes() {
    let site = Site::new();
    let store = open(&site, 2 * SIZE + 1000);
    let images: Vec<Vec<u8>> = (1..=3).map(|seed| image(seed, SIZE)).collect();
    let mut wanted = Vec::new();
    for bytes in &images {
        let origin = Origin::start(bytes).await;
        wanted.push((request(bytes, &[origin.url()]), origin));
    }
    store.fetch(&wanted[0].0).await.unwrap();
    store.fetch(&wanted[1].0).await.unwrap();
    // The first is used again, which also the next process knows.
    store.grant(wanted[0].0.digest, "card", None).await.unwrap();
    store.revoke("card").await.unwrap();
    drop(store);

    let store = open(&site, 2 * SIZE + 1000);
    store.fetch(&wanted[2].0).await.unwrap();
    let kept = |at: usize| store.info(&wanted[at].0.digest).is_some();
    assert!(kept(0) && !kept(1) && kept(2));
    assert_eq!(site.names("sha256").len(), 4);
    assert_eq!(store.status().blob_bytes, 2 * SIZE as u64);
}

#[tokio::test]
async fn a_granted_image_is_never_evicted() {
    let site = Site::new();
    let store = open(&site, 2 * SIZE - 1);
    let (first, second) = (image(4, SIZE), image(5, SIZE));
    let (a, b) = (Origin::start(&first).await, Origin::start(&second).await);
    let (a, b) = (
        (request(&first, &[a.url()]), a),
        (request(&second, &[b.url()]), b),
    );
    store.fetch(&a.0).await.unwrap();
    store.grant(a.0.digest, "card", None).await.unwrap();

    let error = store.fetch(&b.0).await.unwrap_err();
    assert_eq!(error.category(), "QuotaExceeded");
    assert!(!error.is_permanent(), "passes when the card has finished");
    assert!(matches!(error, FetchError::QuotaExceeded { held, .. } if held == SIZE as u64));
    assert!(store.info(&a.0.digest).is_some());
    assert!(site.names("partial").is_empty());

    store.revoke("card").await.unwrap();
    store.fetch(&b.0).await.unwrap();
    assert!(store.info(&a.0.digest).is_none());
}

#[tokio::test]
async fn an_image_larger_than_the_quota_evicts_nothing() {
    let site = Site::new();
    let store = open(&site, 2 * SIZE);
    let (small, large) = (image(6, SIZE), image(7, 2 * SIZE + 1));
    let (a, b) = (Origin::start(&small).await, Origin::start(&large).await);
    store.fetch(&request(&small, &[a.url()])).await.unwrap();
    b.next([Fault::StallAfter(0)]);
    let error = store.fetch(&request(&large, &[b.url()])).await.unwrap_err();
    assert_eq!(
        (error.category(), error.is_permanent()),
        ("QuotaExceeded", true)
    );

    b.always(Fault::Chunked);
    let mut sizeless = request(&large, &[b.url()]);
    sizeless.size = None;
    let error = store.fetch(&sizeless).await.unwrap_err();
    assert_eq!(error.category(), "QuotaExceeded", "noticed while it comes");
    assert!(store.status().blob_bytes + store.status().partial_bytes <= 2 * SIZE as u64);
}

#[tokio::test]
async fn an_abandoned_download_makes_room() {
    let site = Site::new();
    let store = open(&site, SIZE + 1000);
    let (first, second) = (image(8, SIZE), image(9, SIZE));
    let (a, b) = (Origin::start(&first).await, Origin::start(&second).await);
    a.next([Fault::CutAfter(SIZE / 2)]);
    a.always(Fault::Status(503));
    assert!(store.fetch(&request(&first, &[a.url()])).await.is_err());
    assert_eq!(store.status().partials, 1);
    store.fetch(&request(&second, &[b.url()])).await.unwrap();
    assert_eq!(store.status().partials, 0);
    assert!(site.names("partial").is_empty());
}

#[tokio::test]
async fn a_volume_that_is_too_small_is_told_before_the_download() {
    let site = Site::new();
    let store = open(&site, usize::MAX);
    let bytes = image(10, 1000);
    let origin = Origin::start(&bytes).await;
    origin.always(Fault::Chunked);
    let mut wanted = request(&bytes, &[origin.url()]);
    wanted.size = Some(1 << 60);
    let error = store.fetch(&wanted).await.unwrap_err();
    assert_eq!(error.category(), "DiskFull");
    assert!(!error.is_permanent());
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_wanted_image_is_not_evicted_for_another_and_what_all_need_is_told() {
    let site = Site::new();
    let store = open(&site, 2 * SIZE + 1000);
    let images: Vec<Vec<u8>> = (11..=13).map(|seed| image(seed, SIZE)).collect();
    let mut requests = Vec::new();
    for bytes in &images {
        let origin = Origin::start(bytes).await;
        requests.push((request(bytes, &[origin.url()]), origin));
    }
    let wanted = |chosen: &[usize]| -> BTreeMap<_, _> {
        let chosen = chosen.iter().map(|&at| &requests[at].0);
        chosen.map(|each| (each.digest, each.size)).collect()
    };
    // The golden image lies longest.
    store.want(wanted(&[0, 1, 2]));
    store.fetch(&requests[0].0).await.unwrap();
    store.fetch(&requests[1].0).await.unwrap();
    for _ in 0..3 {
        let error = store.fetch(&requests[2].0).await.unwrap_err();
        let all = Demand {
            images: 3,
            bytes: 3 * SIZE as u64,
            of_unknown_size: 0,
        };
        assert!(
            matches!(error, FetchError::QuotaExceeded { wanted, .. } if wanted == Some(all)),
            "{error}"
        );
        assert!(error.to_string().contains("take 1200000 bytes together"));
    }
    assert_eq!(store.status().blobs, 2);
    assert_eq!((requests[0].1.requests(), requests[1].1.requests()), (1, 1));

    store.want(wanted(&[0, 2]));
    store.fetch(&requests[2].0).await.unwrap();
    let there = |at: usize| store.info(&requests[at].0.digest).is_some();
    assert!(there(0) && !there(1) && there(2));
}

#[tokio::test]
async fn after_a_restart_nothing_goes_before_it_is_told_what_is_wanted() {
    let site = Site::new();
    let store = open(&site, SIZE + 1000);
    let (first, second) = (image(14, SIZE), image(15, SIZE));
    let (a, b) = (Origin::start(&first).await, Origin::start(&second).await);
    let (a, b) = (
        request(&first, &[a.url()]),
        (request(&second, &[b.url()]), b),
    );
    store.fetch(&a).await.unwrap();
    drop(store);

    let store = untold(&site, SIZE + 1000);
    let error = store.fetch(&b.0).await.unwrap_err();
    assert_eq!(error.category(), "QuotaExceeded");
    let words = "is not known as long as an object of the site cannot be read";
    assert!(error.to_string().contains(words), "{error}");
    store.cannot_read(Some("DpuImage i9".to_owned()));
    let error = store.fetch(&b.0).await.unwrap_err();
    let words = "is not known as long as DpuImage i9 cannot be read, so all stay";
    assert!(error.to_string().contains(words), "{error}");
    // Once it was known, what was wanted then stays.
    store.want(BTreeMap::from([(a.digest, a.size), (b.0.digest, b.0.size)]));
    let error = store.fetch(&b.0).await.unwrap_err();
    let words = "take 800000 bytes together, and what was wanted before stays as long as DpuImage i9 cannot be read";
    assert!(error.to_string().contains(words), "{error}");
    store.cannot_read(None);
    let error = store.fetch(&b.0).await.unwrap_err();
    assert!(!error.to_string().contains("cannot be read"), "{error}");
    assert!(store.info(&a.digest).is_some());
    store.want(BTreeMap::from([(b.0.digest, b.0.size)]));
    store.fetch(&b.0).await.unwrap();
    assert!(store.info(&a.digest).is_none());
}
