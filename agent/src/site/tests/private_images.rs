//! Images whose sources need the accounts of a Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use lockstep_store::Pin;

use super::*;
use crate::site::images;
use crate::site::signature_source::SignatureReader;
use crate::site::wanted::{Wanted, WantedImage, WantedSignature, WantedSource};

pub(super) const REPORT: &str = "dpureports/site-s";

fn reason(report: &Value) -> String {
    let image = &report["spec"]["images"][0];
    let word = image["reason"].as_str().or(image["state"].as_str());
    word.unwrap_or_default().to_owned()
}

/// A server of the image on loopback, as a source.
pub(super) async fn mirror(image: Vec<u8>) -> WantedSource {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.iso", listener.local_addr().unwrap());
    let router = Router::new().route("/a.iso", get(move || async move { image }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    source(&url)
}

fn source(text: &str) -> WantedSource {
    WantedSource {
        place: text.parse().unwrap(),
        pull_secret: None,
    }
}

#[tokio::test]
async fn the_manifest_that_a_source_was_pinned_to_is_told() {
    let bench = bench();
    let image = vec![8; 1000];
    let digest = Digest::of(&image);
    let dir = tempfile::tempdir().unwrap();
    let pin = |source: &str, manifest: &[u8]| Pin {
        image: digest,
        source: source.to_owned(),
        manifest: Digest::of(manifest),
        size: 1000,
    };
    // The registry has gone since.
    let registry = "oci://127.0.0.1:1/os:1";
    let pins = [
        pin("oci://127.0.0.1:1/os:0", b"not wanted"),
        pin(registry, b"wanted"),
    ];
    std::fs::write(
        dir.path().join("pins.json"),
        serde_json::to_vec(&pins).unwrap(),
    )
    .unwrap();
    let mut config = StoreConfig::new(dir.path(), 1_000_000);
    config.limits.attempts = 1;
    let site = Site {
        store: Store::open(config).unwrap(),
        ..Site::clone(&bench.site)
    };
    let image = WantedImage {
        signatures: Vec::new(),
        digest,
        size: None,
        sources: vec![source(registry), mirror(image).await],
    };
    let (_wanted, watched) = watch::channel(Some(Wanted::from([(digest, image)])));
    let ending = CancellationToken::new();
    let task = tokio::spawn(images::run(Arc::new(site), watched, ending.clone()));
    let report = bench
        .api
        .until(REPORT, |now| reason(now) == "Verified")
        .await;
    let told = &report["spec"]["images"][0]["manifest"];
    assert_eq!(*told, Digest::of(b"wanted").to_string());
    ending.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_secret_is_awaited_and_its_password_stands_nowhere() {
    let bench = bench();
    let image = vec![7; 1000];
    let digest = Digest::of(&image);
    let source = WantedSource {
        pull_secret: Some("pull".to_owned()),
        ..mirror(image).await
    };
    let image = WantedImage {
        signatures: Vec::new(),
        digest,
        size: None,
        sources: vec![source],
    };
    let (wanted, watched) = watch::channel(Some(Wanted::from([(digest, image.clone())])));
    let ending = CancellationToken::new();
    let task = tokio::spawn(images::run(
        Arc::clone(&bench.site),
        watched,
        ending.clone(),
    ));
    let told = |wanted: &'static str| bench.api.until(REPORT, move |now| reason(now) == wanted);
    let report = told("SecretMissing").await;
    let message = report["spec"]["images"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("Secret pull") && message.contains("create it"),
        "{message}"
    );

    // As the Secret of a BMC is: it may not be sent anywhere.
    let data =
        json!({"username": STANDARD.encode("u"), "password": STANDARD.encode("very-secret")});
    let mut secret = json!({
        "metadata": {"name": "pull"}, "type": "kubernetes.io/basic-auth", "data": data,
    });
    bench.api.put("secrets/pull", secret.clone());
    told("SecretInvalid").await;

    secret["metadata"]["annotations"] =
        json!({"provisioning.opiproject.org/account-host": "images.test"});
    bench.api.put("secrets/pull", secret);
    told("Verified").await;
    let everything = format!("{:?} {:?}", bench.api.get(REPORT), bench.api.writes());
    assert!(!everything.contains("very-secret"));
    let debug = format!("{:?} {:?}", image, wanted.borrow());
    assert!(!debug.contains("very-secret"));
    ending.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn an_envelope_is_read_with_the_account_of_its_image() {
    let envelope = r#"{"payloadType": "t", "payload": "eA==", "signatures": [{"sig": "eQ=="}]}"#;
    let bench = bench();
    let reader = SignatureReader {
        client: bench.site.client.clone(),
        namespace: "site".to_owned(),
        store: bench.site.store.clone(),
        digest: Digest::of(b"image"),
    };
    let source = WantedSource {
        pull_secret: Some("pull".to_owned()),
        ..mirror(envelope.as_bytes().to_vec()).await
    };
    let wanted = WantedSignature::Dsse(vec![source]);
    let told = reader.read(&wanted).await;
    assert_eq!(told.reason.as_deref(), Some("SecretMissing"));
    bench.api.put(
        "secrets/pull",
        json!({
            "metadata": {
                "name": "pull",
                "annotations": {"provisioning.opiproject.org/account-host": "images.test"},
            },
            "type": "kubernetes.io/basic-auth",
            "data": {"username": STANDARD.encode("u"), "password": STANDARD.encode("p")},
        }),
    );
    assert_eq!(
        reader.read(&wanted).await.envelope.as_deref(),
        Some(envelope)
    );
}
