//! Images that are layers of artefacts in a registry.

use lockstep_store::{Accounts, Digest, StoreConfig};
use serde_json::json;

use crate::origin::Origin;
use crate::registry::{Registry, index, manifest, open, wanted};
use crate::site::{Site, image};
use crate::tls::Authority;

const SIZE: usize = 600_000;

fn nobody() -> Accounts {
    Accounts::default()
}

#[tokio::test]
async fn the_layer_with_the_digest_is_the_image() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let (other, bytes) = (image(1, 1000), image(2, SIZE));
    registry.has(&other);
    registry.has(&bytes);
    let pushed = registry.push(Some("v1"), &manifest(&[&other, &bytes]));
    let source = registry.source(":v1", &nobody());
    let request = wanted(&bytes, std::slice::from_ref(&source));
    let fetch = store.fetch(&request);
    let progress = fetch.progress();
    assert_eq!(fetch.await.unwrap().size, SIZE as u64);
    assert_eq!(progress.borrow().url, Some(source.place.to_string()));
    assert_eq!(std::fs::read(site.blob(&request.digest)).unwrap(), bytes);
    let blob = format!("blobs/{}", request.digest);
    assert_eq!(registry.take_paths(), ["manifests/v1", &blob]);
    let pins = store.pins(&request.digest);
    assert_eq!(pins.len(), 1);
    assert_eq!((pins[0].manifest, pins[0].size), (pushed, SIZE as u64));
    assert_eq!(pins[0].source, source.place.to_string());
}

#[tokio::test]
async fn a_digest_names_the_manifest_and_nothing_else_will_do() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(3, SIZE);
    let pushed = registry.artefact(&bytes);
    let request = wanted(&bytes, &[registry.source(&format!("@{pushed}"), &nobody())]);
    // Correct JSON with the right layer, but other bytes.
    let forged = format!("{} ", manifest(&[&bytes]));
    registry.forge(&pushed.to_string(), forged.as_bytes());
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "DigestMismatch", "{error}");
    assert!(store.pins(&request.digest).is_empty());
    registry.artefact(&bytes);
    store.fetch(&request).await.unwrap();
}

#[tokio::test]
async fn an_index_is_searched_for_the_digest() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let (x86, arm) = (image(4, SIZE), image(5, SIZE));
    registry.has(&arm);
    let absent = Digest::of(b"a platform that this mirror does not hold");
    let manifests = [
        absent,
        registry.push(None, &manifest(&[&x86])),
        registry.push(None, &manifest(&[&arm])),
    ];
    let top = registry.push(Some("v1"), &index(&manifests));
    let request = wanted(&arm, &[registry.source(":v1", &nobody())]);
    store.fetch(&request).await.unwrap();
    assert_eq!(store.pins(&request.digest)[0].manifest, top);
}

#[tokio::test]
async fn a_tag_is_resolved_once_whatever_it_says_later() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(6, SIZE);
    let pushed = registry.artefact(&bytes);
    let request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    // The first try finds the tag and no layer yet.
    registry.redirect_blobs("https://elsewhere.invalid/blob");
    store.fetch(&request).await.unwrap_err();
    registry.take_paths();
    registry.push(Some("v1"), &manifest(&[&image(7, 10)]));
    drop(store);
    // Neither another try nor another process asks for the tag again.
    let store = open(&site, &authority);
    store.fetch(&request).await.unwrap_err();
    let blob = format!("blobs/{}", request.digest);
    assert_eq!(registry.take_paths(), [blob]);
    assert_eq!(store.pins(&request.digest)[0].manifest, pushed);
}

#[tokio::test]
async fn an_artefact_without_the_image_is_told_and_not_pinned() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let (bytes, other) = (image(8, SIZE), image(9, 10));
    registry.artefact(&other);
    let request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "NotInArtefact");
    assert!(error.is_permanent());
    let said = error.to_string();
    for part in [&request.digest, &Digest::of(&other)] {
        assert!(said.contains(&part.to_string()), "{said}");
    }
    assert!(said.contains("part-1.iso with sha256:"), "{said}");
    // The right one is pushed under the same tag.
    registry.artefact(&bytes);
    store.fetch(&request).await.unwrap();
}

#[tokio::test]
async fn a_cut_download_goes_on_without_a_validator() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(10, SIZE);
    registry.artefact(&bytes);
    registry.cut_after(250_000);
    let request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    store.fetch(&request).await.unwrap();
    let asked = registry.take_asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(asked[2].range.as_deref(), Some("bytes=250000-"));
    assert_eq!(asked[2].if_range, None);
    assert_eq!(std::fs::read(site.blob(&request.digest)).unwrap(), bytes);
}

#[tokio::test]
async fn a_download_goes_on_in_another_process() {
    let (site, authority) = (Site::new(), Authority::new());
    let registry = Registry::start(&authority).await;
    let bytes = image(11, SIZE);
    registry.artefact(&bytes);
    registry.cut_after(250_000);
    let request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    let mut config = StoreConfig {
        ca_bundle: Some(authority.pem.clone().into_bytes()),
        ..site.config()
    };
    config.limits.attempts = 1;
    let store = lockstep_store::Store::open(config).unwrap();
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "Truncated");
    drop(store);
    registry.take_paths();
    let store = open(&site, &authority);
    store.fetch(&request).await.unwrap();
    let asked = registry.take_asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].range.as_deref(), Some("bytes=250000-"));
}

#[tokio::test]
async fn damaged_layers_never_get_in() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(12, SIZE);
    registry.artefact(&bytes);
    let mut damaged = bytes.clone();
    damaged[SIZE / 2] ^= 1;
    registry.replace_blob(&bytes, &damaged);
    let request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "DigestMismatch");
    assert!(site.names("sha256").is_empty() && site.names("partial").is_empty());
}

#[tokio::test]
async fn sizes_are_judged_by_the_manifest() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(13, SIZE);
    registry.artefact(&bytes);
    let mut request = wanted(&bytes, &[registry.source(":v1", &nobody())]);
    request.size = Some(1);
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "SizeMismatch");
    let mut huge = manifest(&[&bytes]);
    huge["layers"][0]["size"] = json!(1_u64 << 40);
    registry.push(Some("v2"), &huge);
    let mut request = wanted(&bytes, &[registry.source(":v2", &nobody())]);
    request.size = None;
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "TooLarge");
    let paths = registry.take_paths();
    assert!(
        paths.iter().all(|path| path.starts_with("manifests/")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn manifests_are_bounded_and_have_to_be_some() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(14, SIZE);
    registry.has(&bytes);
    let padded = format!("{}{}", manifest(&[&bytes]), " ".repeat(4 << 20));
    for (name, body, why) in [
        ("long", padded.as_str(), "longer"),
        ("page", "<html>log in</html>", "no manifest"),
    ] {
        registry.forge(name, body.as_bytes());
        let request = wanted(&bytes, &[registry.source(&format!(":{name}"), &nobody())]);
        let error = store.fetch(&request).await.unwrap_err();
        assert_eq!(error.category(), "InvalidResponse");
        assert!(error.to_string().contains(why), "{error}");
    }
    let request = wanted(&bytes, &[registry.source(":absent", &nobody())]);
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "NotFound");
}

#[tokio::test]
async fn layers_elsewhere_are_not_followed() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let elsewhere = Registry::start(&authority).await;
    let bytes = image(15, SIZE);
    registry.artefact(&bytes);
    elsewhere.artefact(&bytes);
    let url = format!(
        "https://{}/v2/cards/os/blobs/{}",
        elsewhere.host(),
        Digest::of(&bytes)
    );
    registry.redirect_blobs(&url);
    let request = wanted(&bytes, &[registry.source(":v1", &registry.account())]);
    let error = store.fetch(&request).await.unwrap_err();
    assert_eq!(error.category(), "RedirectRefused");
    assert!(elsewhere.take_asked().is_empty());
}

#[tokio::test]
async fn a_registry_that_is_down_is_passed_over() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let bytes = image(16, SIZE);
    registry.status(Some(503));
    let source = registry.source(":v1", &nobody());
    let error = store
        .fetch(&wanted(&bytes, std::slice::from_ref(&source)))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "ServerError");
    assert!(!error.is_permanent());
    let mirror = Origin::start(&bytes).await;
    let request = wanted(&bytes, &[source, mirror.url().into()]);
    store.fetch(&request).await.unwrap();
    assert_eq!(mirror.requests(), 1);
    assert!(store.pins(&request.digest).is_empty());
}
