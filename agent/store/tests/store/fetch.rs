//! What comes in, what is refused, and what each refusal says.

use std::time::Duration;

use lockstep_store::{FetchError, FetchPhase, ImageRequest, SourcePolicy, Store, StoreConfig};
use url::Url;

use crate::origin::{Fault, Origin};
use crate::site::{Site, image, impatient, request, until, with_slot};

const SIZE: usize = 600_000;

async fn fails(store: &Store, request: &ImageRequest) -> FetchError {
    let error = store.fetch(request).await.unwrap_err();
    assert!(!error.remedy().is_empty() && !error.category().is_empty());
    error
}

#[tokio::test]
async fn a_good_image_is_stored_once() {
    let (site, bytes) = (Site::new(), with_slot(image(1, SIZE), 4096, 65536));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let wanted = request(&bytes, &[origin.url()]);

    let fetch = store.fetch(&wanted);
    let progress = fetch.progress();
    let info = fetch.await.unwrap();
    assert_eq!(info.size, SIZE as u64);
    let slot = info.seed_slot.unwrap();
    assert_eq!((slot.offset, slot.len), (4096, 65536));
    let last = progress.borrow().clone();
    assert_eq!(last.phase, FetchPhase::Stored);
    assert_eq!(
        (last.received, last.total),
        (SIZE as u64, Some(SIZE as u64))
    );
    assert_eq!(last.url, Some(origin.url().to_string()));

    assert_eq!(std::fs::read(site.blob(&wanted.digest)).unwrap(), bytes);
    assert!(site.names("partial").is_empty());
    assert_eq!(store.fetch(&wanted).await.unwrap(), info);
    assert_eq!(store.info(&wanted.digest), Some(info));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn size_need_not_be_known() {
    let (site, bytes) = (Site::new(), image(2, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.always(Fault::Chunked);
    let wanted = ImageRequest {
        size: None,
        ..request(&bytes, &[origin.url()])
    };
    assert_eq!(store.fetch(&wanted).await.unwrap().size, SIZE as u64);
}

#[tokio::test]
async fn other_bytes_never_get_in() {
    let (site, bytes) = (Site::new(), image(3, SIZE));
    let (store, origin) = (site.open(), Origin::start(&image(4, SIZE)).await);
    let wanted = request(&bytes, &[origin.url()]);
    let error = fails(&store, &wanted).await;
    assert_eq!(error.category(), "DigestMismatch");
    assert!(error.is_permanent());
    assert!(error.to_string().contains(&wanted.digest.to_string()));
    assert_eq!(origin.requests(), 1, "the same bytes would come again");
    assert!(site.names("sha256").is_empty() && site.names("partial").is_empty());
    assert_eq!(store.status().partial_bytes, 0);
    assert_eq!(store.info(&wanted.digest), None);
}

#[tokio::test]
async fn a_wrong_size_is_refused_before_the_body() {
    let (site, bytes) = (Site::new(), image(5, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.always(Fault::StallAfter(0));
    let mut wanted = request(&bytes, &[origin.url()]);
    wanted.size = Some(SIZE as u64 + 1);
    let error = fails(&store, &wanted).await;
    assert_eq!(error.category(), "SizeMismatch");
    assert!(error.is_permanent());
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn an_unannounced_oversize_is_cut_off() {
    let (site, bytes) = (Site::new(), image(6, 8 << 20));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.always(Fault::Chunked);
    let mut wanted = request(&bytes, &[origin.url()]);
    wanted.size = Some(100_000);
    assert_eq!(fails(&store, &wanted).await.category(), "SizeMismatch");
    assert!(
        origin.seen()[0].sent < bytes.len(),
        "{}",
        origin.seen()[0].sent
    );
    assert!(site.names("partial").is_empty());
}

#[tokio::test]
async fn an_undersize_without_announcement_is_refused() {
    let (site, bytes) = (Site::new(), image(6, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.always(Fault::Chunked);
    let mut wanted = request(&bytes, &[origin.url()]);
    wanted.size = Some(SIZE as u64 + 1);
    assert_eq!(fails(&store, &wanted).await.category(), "SizeMismatch");
}

#[tokio::test]
async fn images_beyond_the_limit_are_refused() {
    let (site, bytes) = (Site::new(), image(7, SIZE));
    let origin = Origin::start(&bytes).await;
    let store = Store::open(StoreConfig {
        max_image_bytes: SIZE as u64 - 1,
        ..site.config()
    })
    .unwrap();
    let wanted = request(&bytes, &[origin.url()]);
    assert_eq!(fails(&store, &wanted).await.category(), "TooLarge");
    assert_eq!(origin.requests(), 0, "known beforehand");

    let unsized_request = ImageRequest {
        size: None,
        ..wanted
    };
    origin.next([Fault::StallAfter(0)]);
    assert_eq!(fails(&store, &unsized_request).await.category(), "TooLarge");
    origin.next([Fault::Chunked]);
    assert_eq!(fails(&store, &unsized_request).await.category(), "TooLarge");
    assert!(site.names("partial").is_empty());
}

#[tokio::test]
async fn a_server_that_always_cuts_is_given_up() {
    let (site, bytes) = (Site::new(), image(8, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    origin.replace(&bytes, None);
    origin.always(Fault::CutAfter(50_000));
    let error = fails(&store, &request(&bytes, &[origin.url()])).await;
    assert_eq!(error.category(), "Truncated");
    assert!(!error.is_permanent());
    assert_eq!(origin.requests(), 3);
    assert!(origin.seen().iter().all(|seen| seen.range.is_none()));
    assert!(
        site.names("partial").is_empty(),
        "nothing that can be continued"
    );
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let (site, bytes) = (Site::new(), image(9, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let wanted = request(&bytes, &[origin.url()]);
    for (status, category, permanent, requests) in [
        (404, "NotFound", true, 1),
        (410, "NotFound", true, 1),
        (401, "Unauthorized", true, 1),
        (403, "Unauthorized", true, 1),
        (500, "ServerError", false, 3),
        (503, "ServerError", false, 3),
        (429, "ServerError", false, 3),
        (418, "InvalidResponse", false, 3),
        (204, "InvalidResponse", false, 3),
    ] {
        let before = origin.requests();
        origin.always(Fault::Status(status));
        let error = fails(&store, &wanted).await;
        assert_eq!(
            (error.category(), error.is_permanent()),
            (category, permanent)
        );
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(origin.requests() - before, requests, "{status}");
    }
    origin.always(None);
    store
        .fetch(&wanted)
        .await
        .expect("recovers when the cause goes");
}

#[tokio::test]
async fn redirects_stay_within_the_origin() {
    let (site, bytes) = (Site::new(), image(10, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let elsewhere = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);

    origin.next([Fault::Redirect(elsewhere.url().to_string())]);
    let error = fails(&store, &wanted).await;
    assert_eq!(error.category(), "RedirectRefused");
    assert!(error.is_permanent());
    let text = error.to_string();
    assert!(text.contains(origin.url().as_str()) && text.contains(elsewhere.url().as_str()));
    assert_eq!((origin.requests(), elsewhere.requests()), (1, 0));

    let to_https = format!("https://127.0.0.1:{}/image.iso", origin.port);
    origin.next([Fault::Redirect(to_https)]);
    assert_eq!(fails(&store, &wanted).await.category(), "RedirectRefused");

    origin.always(Fault::Redirect("/again".to_owned()));
    let before = origin.requests();
    assert_eq!(fails(&store, &wanted).await.category(), "RedirectRefused");
    assert_eq!(origin.requests() - before, 6);

    origin.always(None);
    origin.next([Fault::Redirect("../other/image.iso?token=x".to_owned())]);
    store.fetch(&wanted).await.unwrap();
    assert_eq!(
        origin.seen().last().unwrap().path,
        "/other/image.iso?token=x"
    );
}

#[tokio::test]
async fn slow_servers_are_cut_off() {
    let (site, bytes) = (Site::new(), image(11, SIZE));
    let store = Store::open(impatient(site.config())).unwrap();
    let origin = Origin::start(&bytes).await;
    let wanted = request(&bytes, &[origin.url()]);
    for fault in [
        Fault::Trickle(Duration::from_millis(2)),
        Fault::StallAfter(100_000),
        Fault::Silence,
    ] {
        let before = origin.requests();
        origin.always(fault.clone());
        let fetch = tokio::time::timeout(Duration::from_secs(20), fails(&store, &wanted));
        let error = fetch.await.expect("bounded");
        assert_eq!(error.category(), "TooSlow", "{fault:?}");
        assert!(!error.is_permanent());
        assert_eq!(origin.requests() - before, 2, "{fault:?}");
    }
    origin.always(None);
    store.fetch(&wanted).await.unwrap();
}

#[tokio::test]
async fn a_slow_but_steady_server_is_not_cut_off() {
    let (site, bytes) = (Site::new(), image(12, 2000));
    let mut config = impatient(site.config());
    config.limits.stall_min_bytes = 10;
    let store = Store::open(config).unwrap();
    let origin = Origin::start(&bytes).await;
    origin.always(Fault::Trickle(Duration::from_micros(100)));
    store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_dead_port_is_unreachable() {
    let (site, bytes) = (Site::new(), image(13, 10));
    let store = site.open();
    let gone = Origin::start(&bytes).await.url();
    let wanted = request(&bytes, &[gone]);
    let error = fails(&store, &wanted).await;
    assert_eq!(error.category(), "Unreachable");
    assert!(!error.is_permanent());
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn unusable_sources_are_never_dialled() {
    let (site, bytes) = (Site::new(), image(14, 10));
    let store = site.open();
    for (url, why) in [
        ("ftp://127.0.0.1/image.iso", "http"),
        ("file:///etc/passwd", "http"),
        ("http://user:word@127.0.0.1/image.iso", "credentials"),
    ] {
        let error = fails(&store, &request(&bytes, &[Url::parse(url).unwrap()])).await;
        assert_eq!(error.category(), "SourceInvalid", "{url}");
        assert!(error.to_string().contains(why) && !error.to_string().contains("word"));
    }
    let error = fails(&store, &request(&bytes, &[])).await;
    assert_eq!(error.category(), "NoSource");
}

#[tokio::test]
async fn only_allowed_networks_are_dialled() {
    let (site, bytes) = (Site::new(), image(15, SIZE));
    let origin = Origin::start(&bytes).await;
    let named = Url::parse(&format!("http://localhost:{}/image.iso", origin.port)).unwrap();
    let open = |network: &str| {
        Store::open(StoreConfig {
            sources: SourcePolicy::Networks(vec![network.parse().unwrap()]),
            ..site.config()
        })
        .unwrap()
    };
    let store = open("10.0.0.0/8");
    for url in [origin.url(), named.clone()] {
        let error = fails(&store, &request(&bytes, &[url])).await;
        assert_eq!(error.category(), "SourceNotAllowed");
        assert!(error.is_permanent());
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
    assert_eq!(origin.requests(), 0);
    drop(store);
    let store = open("127.0.0.0/8");
    store.fetch(&request(&bytes, &[named])).await.unwrap();
}

#[tokio::test]
async fn the_next_source_is_tried() {
    let (site, bytes) = (Site::new(), image(16, SIZE));
    let store = site.open();
    let (missing, wrong) = (
        Origin::start(&bytes).await,
        Origin::start(&image(17, SIZE)).await,
    );
    let good = Origin::start(&bytes).await;
    missing.always(Fault::Status(404));
    let sources = [missing.url(), wrong.url(), good.url()];
    store.fetch(&request(&bytes, &sources)).await.unwrap();
    assert_eq!(
        (missing.requests(), wrong.requests(), good.requests()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn of_several_failures_the_one_that_may_pass_is_told() {
    let (site, bytes) = (Site::new(), image(18, SIZE));
    let store = site.open();
    let (missing, ill) = (Origin::start(&bytes).await, Origin::start(&bytes).await);
    missing.always(Fault::Status(404));
    ill.always(Fault::Status(500));
    for sources in [[missing.url(), ill.url()], [ill.url(), missing.url()]] {
        let error = fails(&store, &request(&bytes, &sources)).await;
        assert_eq!(error.category(), "ServerError");
    }
}

#[tokio::test]
async fn callers_join_one_fetch() {
    let (site, bytes) = (Site::new(), image(19, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let wanted = request(&bytes, &[origin.url()]);
    origin.next([Fault::StallAfter(100_000)]);
    let first = tokio::spawn(store.fetch(&wanted));
    until("the first request", || origin.requests() == 1).await;
    // Whoever began it may go: the others keep it running.
    let second = store.fetch(&wanted);
    let third = store.fetch(&wanted);
    let joined = tokio::spawn(async move { tokio::join!(second, third) });
    first.abort();
    until("bytes", || origin.seen()[0].sent >= 100_000).await;
    assert_eq!(origin.requests(), 1);
    joined.abort();
    assert!(joined.await.unwrap_err().is_cancelled());

    let (a, b) = tokio::join!(store.fetch(&wanted), store.fetch(&wanted));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(origin.requests(), 2);

    let other = image(20, SIZE);
    let missing = request(&other, &[origin.url()]);
    origin.always(Fault::Status(404));
    let (a, b) = tokio::join!(store.fetch(&missing), store.fetch(&missing));
    assert_eq!(a.unwrap_err(), b.unwrap_err());
    assert_eq!(origin.requests(), 3, "an error is shared too");
    assert!(store.fetch(&missing).await.is_err());
    assert_eq!(origin.requests(), 4, "but never remembered");
}

#[tokio::test]
async fn a_size_that_contradicts_the_digest_is_told() {
    let (site, bytes) = (Site::new(), image(21, SIZE));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let mut wanted = request(&bytes, &[origin.url()]);
    store.fetch(&wanted).await.unwrap();
    wanted.size = Some(1);
    assert_eq!(fails(&store, &wanted).await.category(), "SizeMismatch");
}
