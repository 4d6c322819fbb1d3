//! Small files beside an image.

use std::time::Duration;

use lockstep_store::{FetchError, SourcePolicy, Store, StoreConfig};

use crate::origin::{Fault, Origin};
use crate::site::{Site, impatient};

const MOST: usize = 16_384;

#[tokio::test]
async fn a_small_file_is_read_whole_and_not_kept() {
    let (site, bytes) = (Site::new(), vec![b'x'; MOST]);
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    assert_eq!(
        store.document(&origin.url().into(), MOST).await.unwrap(),
        bytes
    );
    origin.always(Fault::Chunked);
    assert_eq!(
        store.document(&origin.url().into(), MOST).await.unwrap(),
        bytes
    );
    assert!(site.names("sha256").is_empty() && site.names("partial").is_empty());
}

#[tokio::test]
async fn what_goes_wrong_has_its_own_name() {
    let site = Site::new();
    let store = Store::open(impatient(site.config())).unwrap();
    let origin = Origin::start(&vec![b'x'; MOST + 1]).await;
    let table = [
        (None, "DocumentTooLarge"),
        (Some(Fault::Chunked), "DocumentTooLarge"),
        (Some(Fault::CutAfter(10)), "Truncated"),
        (Some(Fault::StallAfter(10)), "TooSlow"),
        (Some(Fault::Trickle(Duration::from_millis(50))), "TooSlow"),
        (Some(Fault::Silence), "TooSlow"),
        (Some(Fault::Status(404)), "NotFound"),
        (Some(Fault::Status(403)), "Unauthorized"),
        (Some(Fault::Status(503)), "ServerError"),
        (Some(Fault::Status(206)), "InvalidResponse"),
        (
            Some(Fault::Redirect("http://127.0.0.1:9/x".to_owned())),
            "RedirectRefused",
        ),
    ];
    for (fault, category) in table {
        origin.always(fault.clone());
        let most = match fault {
            None | Some(Fault::Chunked) => MOST,
            Some(_) => 2 * MOST,
        };
        let error = store
            .document(&origin.url().into(), most)
            .await
            .unwrap_err();
        assert_eq!(error.category(), category, "{fault:?}: {error}");
        assert!(!error.remedy().is_empty());
    }
}

#[tokio::test]
async fn its_address_must_be_allowed_as_an_images() {
    let site = Site::new();
    let config = StoreConfig {
        sources: SourcePolicy::Networks(vec!["192.0.2.0/24".parse().unwrap()]),
        ..site.config()
    };
    let (store, origin) = (Store::open(config).unwrap(), Origin::start(b"x").await);
    let error = store
        .document(&origin.url().into(), MOST)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::SourceNotAllowed { .. }),
        "{error}"
    );
    assert_eq!(origin.requests(), 0);
}
