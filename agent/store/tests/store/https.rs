//! Certificates: the configured CA and nothing else.

use axum::Router;
use axum::routing::get;
use lockstep_store::{OpenError, Store, StoreConfig};
use url::Url;

use crate::site::{Site, image, request};
use crate::tls::Authority;

async fn server(authority: &Authority, name: &str, bytes: Vec<u8>) -> Url {
    let router = Router::new().route("/image.iso", get(move || async move { bytes.clone() }));
    let (port, _serving) = authority.serve(name, router).await;
    Url::parse(&format!("https://127.0.0.1:{port}/image.iso")).unwrap()
}

#[tokio::test]
async fn only_the_configured_authority_is_trusted() {
    let (site, bytes) = (Site::new(), image(1, 100_000));
    let (ours, theirs) = (Authority::new(), Authority::new());
    let store = Store::open(StoreConfig {
        ca_bundle: Some(ours.pem.clone().into_bytes()),
        ..site.config()
    })
    .unwrap();
    for (issuer, name) in [(&theirs, "127.0.0.1"), (&ours, "127.0.0.2")] {
        let url = server(issuer, name, bytes.clone()).await;
        let error = store.fetch(&request(&bytes, &[url])).await.unwrap_err();
        assert_eq!(error.category(), "TlsUntrusted", "{error}");
        assert!(error.is_permanent());
    }
    let url = server(&ours, "127.0.0.1", bytes.clone()).await;
    store.fetch(&request(&bytes, &[url])).await.unwrap();
}

#[tokio::test]
async fn a_renewed_bundle_counts_from_the_next_request_on() {
    let (site, bytes) = (Site::new(), image(3, 1000));
    let (before, after) = (Authority::new(), Authority::new());
    let store = Store::open(StoreConfig {
        ca_bundle: Some(before.pem.clone().into_bytes()),
        ..site.config()
    })
    .unwrap();
    let trusts = store.trusts();
    let url = server(&after, "127.0.0.1", bytes.clone()).await;
    let wanted = request(&bytes, &[url]);
    assert!(store.trust(b"nonsense").is_err());
    let error = store.fetch(&wanted).await.unwrap_err();
    assert_eq!(error.category(), "TlsUntrusted", "{error}");
    assert!(!trusts.has_changed().unwrap());
    store.trust(after.pem.as_bytes()).unwrap();
    assert!(trusts.has_changed().unwrap());
    store.fetch(&wanted).await.unwrap();
    let url = server(&before, "127.0.0.1", bytes).await;
    let other = image(4, 1000);
    let error = store.fetch(&request(&other, &[url])).await.unwrap_err();
    assert_eq!(error.category(), "TlsUntrusted", "{error}");
}

#[tokio::test]
async fn without_a_bundle_an_unknown_authority_is_not_trusted() {
    let (site, bytes) = (Site::new(), image(2, 1000));
    let url = server(&Authority::new(), "127.0.0.1", bytes.clone()).await;
    let error = site
        .open()
        .fetch(&request(&bytes, &[url]))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "TlsUntrusted", "{error}");
}

#[tokio::test]
async fn a_bundle_without_certificates_is_refused() {
    let site = Site::new();
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let opened = Store::open(StoreConfig {
            ca_bundle: Some(pem.as_bytes().to_vec()),
            ..site.config()
        });
        assert!(matches!(opened, Err(OpenError::CaBundle { .. })), "{pem}");
    }
}
