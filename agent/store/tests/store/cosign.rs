//! Signatures that cosign has put beside an artefact.

use lockstep_store::{Accounts, Cosigned, Digest, FetchError, ImageSource, Store};
use serde_json::{Value, json};

use crate::registry::{Registry, Wants, index, manifest, open};
use crate::site::Site;
use crate::tls::Authority;

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IMAGE: &[u8] = b"an image";

struct Bench {
    _site: Site,
    registry: Registry,
    store: Store,
}

impl Bench {
    async fn new() -> Self {
        let (site, authority) = (Site::new(), Authority::new());
        let registry = Registry::start(&authority).await;
        let store = open(&site, &authority);
        Self {
            _site: site,
            registry,
            store,
        }
    }

    fn source(&self) -> ImageSource {
        self.registry.source(":v1", &Accounts::default())
    }

    async fn found(&self) -> Cosigned {
        self.read().await.unwrap()
    }

    async fn read(&self) -> Result<Cosigned, FetchError> {
        self.store.cosigned(Digest::of(IMAGE), &self.source()).await
    }

    /// A manifest of signatures, under a tag or none.
    fn push(&self, tag: Option<&str>, layers: &[Value]) -> Digest {
        self.registry.push(tag, &json!({"layers": layers}))
    }

    /// A layer that is a payload, with what is given out as its signature.
    fn simple(&self, payload: &str, signature: &str) -> Value {
        self.registry.has(payload.as_bytes());
        let mut layer = layer(payload, SIMPLE);
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        layer
    }

    fn bundle(&self, bundle: &str) -> Value {
        self.registry.has(bundle.as_bytes());
        layer(bundle, BUNDLE)
    }
}

fn layer(document: &str, kind: &str) -> Value {
    json!({
        "mediaType": kind, "size": document.len(),
        "digest": Digest::of(document.as_bytes()).to_string(),
    })
}

fn referrer(manifest: &Digest, kind: Option<&str>) -> Value {
    let mut referrer = json!({"digest": manifest.to_string(), "size": 1});
    if let Some(kind) = kind {
        referrer["artifactType"] = kind.into();
    }
    referrer
}

fn tag(manifest: &Digest, end: &str) -> String {
    format!("sha256-{}{end}", manifest.hex())
}

fn told(found: &Cosigned) -> Vec<(&str, Option<&str>)> {
    let signatures = found.signatures.iter();
    signatures
        .map(|one| (one.document.as_str(), one.signature.as_deref()))
        .collect()
}

#[tokio::test]
async fn a_signature_is_found_wherever_cosign_puts_it() {
    let bench = Bench::new().await;
    let signed = bench.registry.artefact(IMAGE);
    let unsigned = bench.found().await;
    assert_eq!(unsigned.manifests, [manifest(&[IMAGE]).to_string()]);
    assert_eq!(told(&unsigned), []);

    let other = json!({"mediaType": "text/plain", "digest": signed.to_string(), "size": 1});
    let layers = [other, bench.simple("payload", "c2ln")];
    bench.push(Some(&tag(&signed, ".sig")), &layers);
    assert_eq!(told(&bench.found().await), [("payload", Some("c2ln"))]);

    // A registry of before has a tag in place of the list.
    let by_tag = bench.push(None, &[bench.bundle("{\"by\": \"tag\"}")]);
    let list = json!({"manifests": [referrer(&by_tag, Some("application/vnd.oci.empty.v1+json"))]});
    bench.registry.push(Some(&tag(&signed, "")), &list);
    let (tagged, simple) = (("{\"by\": \"tag\"}", None), ("payload", Some("c2ln")));
    assert_eq!(told(&bench.found().await), [tagged, simple]);

    let listed = bench.push(None, &[bench.bundle("{\"by\": \"list\"}")]);
    let sbom = bench.push(None, &[bench.bundle("{\"by\": \"nobody\"}")]);
    let twice = bench.push(None, &[bench.simple("payload", "c2ln")]);
    let gone = Digest::of(b"gone");
    let list = [
        referrer(&sbom, Some("application/spdx+json")),
        referrer(&listed, None),
        referrer(&gone, Some(BUNDLE)),
        referrer(
            &twice,
            Some("application/vnd.dev.cosign.artifact.sig.v1+json"),
        ),
    ];
    bench.registry.refers(&signed, json!({"manifests": list}));
    let listed = ("{\"by\": \"list\"}", None);
    assert_eq!(told(&bench.found().await), [simple, listed]);
}

#[tokio::test]
async fn of_an_index_that_nobody_signed_the_manifest_in_it_may_be() {
    let bench = Bench::new().await;
    bench.registry.has(IMAGE);
    let other = bench.registry.push(None, &manifest(&[b"other"]));
    let inner = bench.registry.push(None, &manifest(&[IMAGE]));
    let outer = index(&[other, inner]);
    let signed = bench.registry.push(Some("v1"), &outer);
    let layers = [bench.simple("inner", "c2ln")];
    bench.push(Some(&tag(&inner, ".sig")), &layers);
    let found = bench.found().await;
    let text = manifest(&[IMAGE]).to_string();
    assert_eq!(found.manifests, std::slice::from_ref(&text));
    assert_eq!(told(&found), [("inner", Some("c2ln"))]);

    let layers = [bench.simple("outer", "c2ln")];
    bench.push(Some(&tag(&signed, ".sig")), &layers);
    let found = bench.found().await;
    assert_eq!(found.manifests, [outer.to_string(), text]);
    let both = [("outer", Some("c2ln")), ("inner", Some("c2ln"))];
    assert_eq!(told(&found), both);

    // However much is put beside the index, and the other way round.
    let junk = |of: &str| -> Vec<Value> {
        let numbers = 0..20;
        numbers
            .map(|number| bench.bundle(&format!("{{\"{of}\": {number}}}")))
            .collect()
    };
    bench.push(Some(&tag(&signed, ".sig")), &junk("outer"));
    let found = bench.found().await;
    assert_eq!(told(&found).len(), 8);
    assert_eq!(told(&found).last(), Some(&both[1]));
    bench.push(Some(&tag(&inner, ".sig")), &junk("inner"));
    let found = bench.found().await;
    let of_outer = told(&found).into_iter();
    let of_outer = of_outer.filter(|(document, _)| document.contains("outer"));
    assert_eq!((told(&found).len(), of_outer.count()), (8, 4));
}

#[tokio::test]
async fn what_cannot_be_read_hides_nothing_that_can_and_is_told() {
    let bench = Bench::new().await;
    let signed = bench.registry.artefact(IMAGE);
    let good = bench.push(None, &[bench.bundle("{\"good\": 1}")]);
    let broken = Digest::of(b"no manifest");
    bench.registry.forge(&broken.to_string(), b"no manifest");
    let list = [referrer(&broken, Some(BUNDLE)), referrer(&good, None)];
    bench.registry.refers(&signed, json!({"manifests": list}));
    let found = bench.found().await;
    assert_eq!(told(&found), [("{\"good\": 1}", None)]);
    let unread = found.unread.expect("one could not be read");
    assert_eq!(unread.category(), "InvalidResponse", "{unread}");
    let list = [referrer(&broken, Some(BUNDLE))];
    bench.registry.refers(&signed, json!({"manifests": list}));
    assert_eq!(
        bench.read().await.unwrap_err().category(),
        "InvalidResponse",
        "it may be the one that counts"
    );
}

#[tokio::test]
async fn the_tag_stands_for_what_it_led_to_and_the_account_is_shown() {
    let bench = Bench::new().await;
    let first = bench.registry.artefact(IMAGE);
    let layers = [bench.simple("payload", "c2ln")];
    bench.push(Some(&tag(&first, ".sig")), &layers);
    bench.registry.wants(Wants::Basic);
    let refused = bench.read().await.unwrap_err();
    assert_eq!(refused.category(), "Unauthorized");
    let source = bench.registry.source(":v1", &bench.registry.account());
    let read = || bench.store.cosigned(Digest::of(IMAGE), &source);
    assert_eq!(told(&read().await.unwrap()).len(), 1);
    let moved = json!({"annotations": {}, "layers": manifest(&[IMAGE])["layers"]});
    bench.registry.push(Some("v1"), &moved);
    assert_eq!(
        read().await.unwrap().manifests,
        [manifest(&[IMAGE]).to_string()]
    );
}

#[tokio::test]
async fn what_anybody_may_have_pushed_is_bounded() {
    let bench = Bench::new().await;
    let signed = bench.registry.artefact(IMAGE);
    let signatures = tag(&signed, ".sig");
    let long = bench.bundle(&" ".repeat(16 * 1024 + 1));
    bench.push(Some(&signatures), std::slice::from_ref(&long));
    let error = bench.read().await.unwrap_err();
    assert!(error.to_string().contains("16384 bytes"), "{error}");
    let forged = bench.bundle("{}");
    bench.registry.replace_blob(b"{}", b"[]");
    bench.push(Some(&signatures), &[forged]);
    assert_eq!(bench.read().await.unwrap_err().category(), "DigestMismatch");
    let binary = json!({"mediaType": BUNDLE, "digest": Digest::of(&[0xff]).to_string(), "size": 1});
    bench.registry.has(&[0xff]);
    bench.push(Some(&signatures), &[binary]);
    assert_eq!(
        bench.read().await.unwrap_err().category(),
        "InvalidResponse"
    );
    let endless = bench.simple("endless", &"A".repeat(1025));
    let mut layers = vec![long, endless];
    layers.extend((0..30).map(|number| bench.bundle(&format!("{{\"n\": {number}}}"))));
    bench.push(Some(&signatures), &layers);
    assert_eq!(
        told(&bench.found().await).len(),
        8,
        "what cannot be read is passed over"
    );

    let many: Vec<Value> = (0..100)
        .map(|number| {
            let layer = bench.bundle(&format!("{{\"of\": {number}}}"));
            referrer(&bench.push(None, &[layer]), Some(BUNDLE))
        })
        .collect();
    bench.registry.refers(&signed, json!({"manifests": many}));
    bench.registry.take_asked();
    assert_eq!(told(&bench.found().await).len(), 8);
    let asked = bench.registry.take_paths();
    assert_eq!(asked.len(), 1 + 1 + 16 + 1 + 8, "{asked:?}");
}

#[tokio::test]
async fn what_is_no_artefact_or_has_trouble_says_so() {
    let bench = Bench::new().await;
    let file: ImageSource = "https://192.0.2.1/a.iso"
        .parse::<url::Url>()
        .unwrap()
        .into();
    let error = bench.store.cosigned(Digest::of(IMAGE), &file).await;
    assert_eq!(error.unwrap_err().category(), "SourceInvalid");
    assert_eq!(bench.read().await.unwrap_err().category(), "NotFound");
    bench.registry.artefact(b"another image");
    assert_eq!(bench.read().await.unwrap_err().category(), "NotInArtefact");
    bench.registry.artefact(IMAGE);
    bench.registry.status(Some(503));
    assert_eq!(bench.read().await.unwrap_err().category(), "ServerError");
}
