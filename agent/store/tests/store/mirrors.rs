//! Sources that have different images.

use std::time::Duration;

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
        let config = site.config();
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
        store = Store::open(StoreConfig {
            limits: FetchLimits {
                disputed: Duration::ZERO,
                ..config.limits
            },
            ..config
        })
        .unwrap();
        store.fetch(&wanted).await.unwrap();
        assert_eq!(good.seen().pop().unwrap().sent, size);
    }
}
