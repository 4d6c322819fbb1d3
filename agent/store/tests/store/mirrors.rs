//! Sources that have different images.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use lockstep_store::{FetchLimits, Store, StoreConfig};

use crate::origin::{Fault, Origin};
use crate::resume::{CUT, SIZE, begun};
use crate::site::{Site, image, request};

/// A mirror that has another version of the image.
async fn stale(bytes: &[u8], fault: Option<Fault>) -> Origin {
    let mirror = Origin::start(bytes).await;
    mirror.always(fault);
    mirror
}

#[tokio::test]
async fn a_mirror_of_another_size_costs_nothing_that_was_received() {
    for (other, fault) in [
        (image(23, CUT / 2), None),
        (image(24, SIZE + 1000), None),
        (image(25, SIZE - 1), None),
        (image(26, SIZE + 1000), Some(Fault::IgnoreRange)),
    ] {
        for is_told in [true, false] {
            let (site, bytes) = (Site::new(), image(27, SIZE));
            let store = site.open();
            let first = begun(&store, &bytes).await;
            let mirror = stale(&other, fault.clone()).await;
            let mut wanted = request(&bytes, &[first.url(), mirror.url()]);
            wanted.size = wanted.size.filter(|_| is_told);
            // As long as the first does not answer.
            for _ in 0..2 {
                store.fetch(&wanted).await.unwrap_err();
                assert_eq!(store.status().partial_bytes, CUT as u64, "{fault:?}");
            }
            let before = first.seen().len();
            first.always(None);
            store.fetch(&wanted).await.unwrap();
            assert_eq!(first.seen()[before].sent, SIZE - CUT, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn what_only_a_stale_source_gave_is_given_up_in_the_end() {
    for (size, fault) in [
        (CUT / 2, None),
        (SIZE + 1000, None),
        (SIZE + 1000, Some(Fault::IgnoreRange)),
    ] {
        let (site, bytes) = (Site::new(), image(28, size));
        let mut store = site.open();
        let first = Origin::start(&image(29, SIZE)).await;
        first.next([Fault::CutAfter(CUT)]);
        first.always(Fault::Status(503));
        let good = stale(&bytes, Some(Fault::Status(503))).await;
        let mut wanted = request(&bytes, &[first.url(), good.url()]);
        wanted.size = None;
        store.fetch(&wanted).await.unwrap_err();
        good.always(fault);
        let error = store.fetch(&wanted).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        drop(store);
        // The time for which it is kept is over.
        store = hasty(&site);
        store.fetch(&wanted).await.unwrap();
        assert_eq!(good.seen().pop().unwrap().sent, size);
    }
}

/// A store that keeps for no time at all what is in dispute.
fn hasty(site: &Site) -> Store {
    let config = site.config();
    Store::open(StoreConfig {
        limits: FetchLimits {
            disputed: Duration::ZERO,
            ..config.limits
        },
        ..config
    })
    .unwrap()
}

#[tokio::test]
async fn where_the_size_is_told_it_decides_at_once() {
    // What is of that size stays, whatever others have.
    let (site, bytes) = (Site::new(), image(30, SIZE));
    let store = hasty(&site);
    let first = begun(&store, &bytes).await;
    for (other, fault) in [
        (image(31, CUT / 2), None),
        (image(32, SIZE + 1000), None),
        (image(33, SIZE + 1000), Some(Fault::IgnoreRange)),
    ] {
        let mirror = stale(&other, fault.clone()).await;
        let wanted = request(&bytes, &[first.url(), mirror.url()]);
        store.fetch(&wanted).await.unwrap_err();
        assert_eq!(store.status().partial_bytes, CUT as u64, "{fault:?}");
    }
    // What is of another one goes, though nobody disputes it.
    let (site, bytes) = (Site::new(), image(34, SIZE));
    let store = site.open();
    let first = Origin::start(&image(35, SIZE + 1000)).await;
    first.next([Fault::CutAfter(CUT)]);
    first.always(Fault::Status(503));
    let good = Origin::start(&bytes).await;
    let mut wanted = request(&bytes, &[first.url(), good.url()]);
    good.next([Fault::Status(404)]);
    let told = wanted.size.take();
    store.fetch(&wanted).await.unwrap_err();
    assert_eq!(store.status().partial_bytes, CUT as u64);
    wanted.size = told;
    store.fetch(&wanted).await.unwrap();
    let last = good.seen().pop().unwrap();
    assert_eq!((last.range, last.sent), (None, SIZE));
}

#[tokio::test]
async fn the_time_counts_from_the_first_dispute_whatever_the_clock_says() {
    let (site, bytes) = (Site::new(), image(36, SIZE + 1000));
    let store = site.open();
    let first = Origin::start(&image(37, SIZE)).await;
    first.next([Fault::CutAfter(CUT)]);
    first.always(Fault::Status(503));
    let good = stale(&bytes, Some(Fault::Status(503))).await;
    let mut wanted = request(&bytes, &[first.url(), good.url()]);
    wanted.size = None;
    store.fetch(&wanted).await.unwrap_err();
    good.always(None);
    let written = |at: SystemTime| {
        let hex = wanted.digest.hex();
        let part = site.path("partial").join(format!("{hex}.part"));
        let part = File::options().write(true).open(part).unwrap();
        part.set_modified(at).unwrap();
    };
    let hour = Duration::from_secs(3600);
    // For long nobody asked for it.
    written(SystemTime::now() - hour);
    for minutes in [9, 0] {
        store.fetch(&wanted).await.unwrap_err();
        assert_eq!(store.status().partial_bytes, CUT as u64);
        // The clock is set back.
        written(SystemTime::now() + hour);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        tokio::time::resume();
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    store.fetch(&wanted).await.unwrap();
}

#[tokio::test]
async fn what_comes_in_between_ends_a_dispute() {
    let (site, bytes) = (Site::new(), image(38, SIZE));
    let store = site.open();
    let first = begun(&store, &bytes).await;
    let mirror = stale(&image(39, SIZE + 1000), None).await;
    let mut wanted = request(&bytes, &[first.url(), mirror.url()]);
    wanted.size = None;
    let wait = |minutes: u64| async move {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        tokio::time::resume();
    };
    store.fetch(&wanted).await.unwrap_err();
    wait(9).await;
    first.next([Fault::CutAfter(100_000)]);
    store.fetch(&wanted).await.unwrap_err();
    wait(9).await;
    store.fetch(&wanted).await.unwrap_err();
    assert_eq!(store.status().partial_bytes, CUT as u64 + 100_000);
}

#[tokio::test]
async fn who_has_another_image_is_asked_once_each_time() {
    let (site, bytes) = (Site::new(), image(40, SIZE));
    let store = site.open();
    let first = begun(&store, &bytes).await;
    let longer = stale(&image(41, SIZE + 1000), None).await;
    let shorter = stale(&image(42, CUT / 2), None).await;
    let whole = stale(&image(43, SIZE + 1), Some(Fault::IgnoreRange)).await;
    let mirrors = [longer, shorter, whole];
    let mut sources = vec![first.url()];
    sources.extend(mirrors.iter().map(Origin::url));
    let mut wanted = request(&bytes, &sources);
    wanted.size = None;
    for times in 1..3 {
        store.fetch(&wanted).await.unwrap_err();
        let asked = mirrors.iter().map(Origin::requests);
        assert_eq!(asked.collect::<Vec<_>>(), [times; 3]);
    }
}

#[tokio::test]
async fn a_mirror_that_tells_no_size_costs_nothing_that_was_received() {
    for (other, fault) in [
        (image(44, CUT + 1000), Fault::UntoldTotal),
        (image(45, SIZE + 1000), Fault::UntoldTotal),
        (image(46, CUT / 2), Fault::IgnoreRangeChunked),
        (image(47, SIZE + 1000), Fault::IgnoreRangeChunked),
    ] {
        for is_told in [true, false] {
            let (site, bytes) = (Site::new(), image(48, SIZE));
            let store = site.open();
            let first = begun(&store, &bytes).await;
            let mirror = stale(&other, Some(fault.clone())).await;
            let mut wanted = request(&bytes, &[first.url(), mirror.url()]);
            wanted.size = wanted.size.filter(|_| is_told);
            store.fetch(&wanted).await.unwrap_err();
            assert_eq!(store.status().partial_bytes, CUT as u64, "{fault:?}");
            let before = first.requests();
            first.always(None);
            store.fetch(&wanted).await.unwrap();
            assert_eq!(first.seen()[before].sent, SIZE - CUT, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_mirror_that_tells_no_size_and_has_the_image_gives_it() {
    for (fault, sent) in [
        (Fault::UntoldTotal, SIZE - CUT),
        (Fault::IgnoreRangeChunked, SIZE),
    ] {
        let (site, bytes) = (Site::new(), image(49, SIZE));
        let store = hasty(&site);
        let first = begun(&store, &bytes).await;
        let mirror = stale(&bytes, Some(fault)).await;
        let wanted = request(&bytes, &[first.url(), mirror.url()]);
        store.fetch(&wanted).await.unwrap();
        assert_eq!(mirror.seen().pop().unwrap().sent, sent);
    }
}

#[tokio::test]
async fn nobody_goes_on_blindly_where_no_size_is_known_at_all() {
    let (site, bytes) = (Site::new(), image(50, SIZE));
    drop(site.open());
    let mirror = stale(&image(51, SIZE), Some(Fault::UntoldTotal)).await;
    let mut wanted = request(&bytes, &[mirror.url()]);
    wanted.size = None;
    let name = |end: &str| {
        let hex = wanted.digest.hex();
        site.path("partial").join(format!("{hex}.{end}"))
    };
    fs::write(name("part"), &bytes[..CUT]).unwrap();
    let note = r#"{"url":"http://127.0.0.1:1/x","validator":"\"v1\"","total":null}"#;
    fs::write(name("json"), note).unwrap();
    let store = site.open();
    let error = store.fetch(&wanted).await.unwrap_err();
    assert!(error.to_string().contains("is not told"), "{error}");
    assert_eq!(store.status().partial_bytes, CUT as u64);
}
