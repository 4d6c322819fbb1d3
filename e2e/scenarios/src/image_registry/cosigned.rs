//! What cosign puts beside an artefact, by its specification and with signatures by openssl: read
//! by the store, and judged as the operator does.

use anyhow::{Result, bail, ensure};
use lockstep_crds::report::{ArtefactSignature, ArtefactSignatures, StoredSignature};
use lockstep_crds::{DpuImageSpec, ImageRules};
use lockstep_store::Digest;
use lockstep_store_process::{Answer, Order};
use lockstep_trust::{Trust, appraise};
use serde_json::{Value, json};

use super::service::{MANIFEST, PASSWORD, Service, layer};
use super::{SIZE, Trial, image};
use crate::image_trust::signing::Signer;
use crate::store_process::StoreProcess;

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What is beside the artefact, case by case: the words of the refusal, or none.
pub(super) async fn run(trial: &Trial, service: &Service) -> Result<()> {
    let folder = trial.folder.join("signing");
    let releases = Signer::of(&folder, "releases").await?;
    let stranger = Signer::of(&folder, "stranger").await?;
    let mut signer = releases.in_policy()?;
    signer["acceptsManifests"] = true.into();
    let rules = json!({"require": "Signed", "signers": [signer]});
    let (bytes, other) = (image(3), image(4));
    let signed = service.push("signed", &bytes).await?;
    let another = service.push("another", &other).await?;
    let mut look = Look {
        store: trial.store("cosigned", 2 * SIZE).await?,
        rules: serde_json::from_value(rules)?,
        image: Digest::of(&bytes),
        source: service.source(":signed"),
        accounts: service.accounts(PASSWORD),
    };
    look.refuses("cosign has not signed the artefact").await?;

    let beside = Beside { service, signed };
    beside.simple(&stranger, &signed).await?;
    look.refuses("not signed by any of the policy's signers (releases)")
        .await?;
    beside.simple(&releases, &another).await?;
    look.refuses(&format!("of another manifest: {another}"))
        .await?;
    let payload = payload(&signed);
    let made = releases.made(&payload).await?;
    let flipped = payload.replace("cards/os", "cards/ot");
    beside.put_simple(&flipped, &made).await?;
    look.refuses("not signed by any of the policy's signers (releases)")
        .await?;
    beside.put_simple(&payload, &made).await?;
    look.trusts(0).await?;
    look.accepts_manifests(false);
    look.refuses("signed plainly in the name of releases")
        .await?;
    look.accepts_manifests(true);

    // Beside the signature of before, and found first.
    beside.bundle(&stranger, &sign(&signed)).await?;
    look.trusts(0).await?;
    beside.put_simple(&flipped, &made).await?;
    look.refuses("not signed by any of the policy's signers (releases)")
        .await?;
    beside.bundle(&releases, &sign(&another)).await?;
    look.refuses(&format!("of another manifest: {another}"))
        .await?;
    beside.bundle(&releases, &sign(&signed)).await?;
    look.trusts(0).await?;
    look.accepts_manifests(false);
    look.refuses("signed plainly in the name of releases")
        .await?;
    beside.bundle(&releases, &attest(&signed)).await?;
    look.trusts(3).await?;
    look.store.end().await
}

fn payload(manifest: &Digest) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.example.com/cards/os"},
            "image": {"docker-manifest-digest": manifest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// What `cosign sign` says of a manifest.
fn sign(manifest: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": manifest.hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
}

/// What `cosign attest` says of it with a predicate of ours.
fn attest(manifest: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "subject": [{"name": "registry.example.com/cards/os", "digest": {"sha256": manifest.hex()}}],
        "predicateType": "https://provisioning.opiproject.org/image/v1",
        "predicate": {"version": "1.0.0", "securityVersion": 3},
    })
}

/// Puts signatures beside an artefact.
struct Beside<'a> {
    service: &'a Service,
    signed: Digest,
}

impl Beside<'_> {
    async fn simple(&self, signer: &Signer, manifest: &Digest) -> Result<()> {
        let payload = payload(manifest);
        let made = signer.made(&payload).await?;
        self.put_simple(&payload, &made).await
    }

    async fn put_simple(&self, payload: &str, made: &str) -> Result<()> {
        self.service.upload(payload.as_bytes()).await?;
        let mut layer = layer(payload.as_bytes(), SIMPLE);
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": made});
        let tag = format!("sha256-{}.sig", self.signed.hex());
        self.put(&tag, layer, json!({})).await?;
        Ok(())
    }

    /// As a referrer, under the tag that stands for the list where a registry has none.
    async fn bundle(&self, signer: &Signer, said: &Value) -> Result<()> {
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "of-the-key"}},
            "dsseEnvelope": signer.seal("", &said.to_string()).await?,
        })
        .to_string();
        self.service.upload(bundle.as_bytes()).await?;
        let subject = json!({
            "mediaType": MANIFEST, "digest": self.signed.to_string(), "size": 1,
        });
        let more = json!({"artifactType": BUNDLE, "subject": subject});
        let referrer = self
            .put("referrer", layer(bundle.as_bytes(), BUNDLE), more)
            .await?;
        let mut listed = json!({
            "mediaType": MANIFEST, "digest": referrer.to_string(), "size": 1,
        });
        listed["artifactType"] = BUNDLE.into();
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [listed],
        });
        let tag = format!("sha256-{}", self.signed.hex());
        self.service.put(&tag, &index).await?;
        Ok(())
    }

    async fn put(&self, reference: &str, layer: Value, more: Value) -> Result<Digest> {
        let empty = super::service::layer(b"{}", EMPTY);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [layer],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            manifest[key] = value.clone();
        }
        self.service.put(reference, &manifest).await
    }
}

/// Reads what is beside the artefact, and judges it.
struct Look {
    store: StoreProcess,
    rules: ImageRules,
    image: Digest,
    source: String,
    accounts: Value,
}

impl Look {
    /// Whether a plain signature counts.
    fn accepts_manifests(&mut self, accepted: bool) {
        for signer in &mut self.rules.signers {
            signer.accepts_manifests = accepted;
        }
    }

    async fn found(&mut self) -> Result<(Trust, i64)> {
        let order = Order::Cosigned {
            digest: self.image,
            source: self.source.clone(),
            accounts: Some(self.accounts.clone()),
        };
        let answer = self.store.order(&order).await?;
        let Answer::Beside {
            manifests,
            signatures,
        } = answer
        else {
            bail!("nothing was told of what is beside the artefact: {answer:?}");
        };
        let signatures = signatures.into_iter();
        let told = StoredSignature {
            source: self.source.clone(),
            envelope: None,
            artefact: Some(ArtefactSignatures {
                manifests,
                signatures: signatures
                    .map(|(document, signature)| ArtefactSignature {
                        document,
                        signature,
                    })
                    .collect(),
            }),
            reason: None,
            message: None,
        };
        let image: DpuImageSpec = serde_json::from_value(json!({
            "version": "1.0.0", "digest": self.image.to_string(), "sources": [self.source],
            "signatures": [{"cosign": {"sources": [self.source]}}],
        }))?;
        let found = appraise(Some(&self.rules), &image, Some(&[told]));
        Ok((found.trust, found.security_version))
    }

    async fn refuses(&mut self, words: &str) -> Result<()> {
        let found = self.found().await?.0;
        ensure!(
            matches!(&found, Trust::Refused(why) if why.contains(words)),
            "expected a refusal with {words:?}, found {found:?}"
        );
        Ok(())
    }

    async fn trusts(&mut self, security_version: i64) -> Result<()> {
        let found = self.found().await?;
        let expected = (Trust::Signed("releases".to_owned()), security_version);
        ensure!(found == expected, "expected {expected:?}, found {found:?}");
        Ok(())
    }
}
