//! Signatures by cosign over the manifest of an artefact, by a key and offline: neither
//! certificates nor transparency logs are looked at.
//!
//! - A simple signature: the signature of a payload that names the manifest's digest
//!   (`specs/SIGNATURE_SPEC.md` of cosign). All that it says is that the manifest was signed.
//! - A sigstore bundle, which holds a DSSE envelope around an in-toto statement about the
//!   manifest, or the signature of the manifest itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_crds::DpuImageSpec;
use lockstep_crds::report::ArtefactSignature;
use serde::Deserialize;
use serde_json::Value;

use crate::artefact::Artefact;
use crate::dsse::{Envelope, LONGEST_ENVELOPE};
use crate::json;
use crate::purpose::Purpose;
use crate::refusal::{Refusal, quoted};
use crate::signer::{Signer, Signers};
use crate::statement::{InToto, Statement};

/// `critical.type` of a simple signature by cosign.
pub const SIMPLE_TYPE: &str = "cosign container image signature";
/// What the statement in a bundle of `cosign sign` is about.
pub const SIGN_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Versions of bundles that differ in nothing that is looked at here.
const BUNDLES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

#[derive(Deserialize)]
struct Simple {
    critical: Critical,
}

/// Whoever writes more here means it to be a limit, says the format's specification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    /// Where the artefact was when it was signed; mirrors have it too.
    #[serde(default, rename = "identity")]
    _identity: Value,
    image: SimpleImage,
    #[serde(rename = "type")]
    of_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SimpleImage {
    #[serde(alias = "Docker-manifest-digest")]
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    #[serde(default)]
    verification_material: VerificationMaterial,
    #[serde(default)]
    dsse_envelope: Option<Value>,
    #[serde(default)]
    message_signature: Option<MessageSignature>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationMaterial {
    #[serde(default)]
    certificate: Option<Value>,
    #[serde(default, rename = "x509CertificateChain")]
    chain: Option<Value>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

/// Who signed the artefact, and what they say of the image.
///
/// # Errors
/// If no signer did, or it is about something else.
pub fn confirmed(
    signature: &ArtefactSignature,
    artefact: &Artefact,
    signers: &Signers,
    image: &DpuImageSpec,
) -> Result<(String, Statement), Refusal> {
    let document = signature.document.as_bytes();
    if document.len() > LONGEST_ENVELOPE {
        return Err(Refusal::TooLong(document.len()));
    }
    let (signer, said) = match &signature.signature {
        Some(made) => (simple(document, made, artefact, signers)?, None),
        None => bundle(document, artefact, signers)?,
    };
    if said.is_none() {
        let purpose = Purpose::default().agrees(image);
        purpose.map_err(|_| Refusal::PlainForMore)?;
        if !signer.accepts_manifests {
            return Err(Refusal::Plain(signer.name.clone()));
        }
    }
    // Whoever signs the manifest signs what it says of itself, and nothing else.
    let said = said.unwrap_or_else(|| {
        let mut versions = artefact.versions.iter();
        let another = versions.find(|version| **version != image.version);
        Statement {
            digests: vec![artefact.digest.clone()],
            version: another.unwrap_or(&image.version).clone(),
            security_version: 0,
            fits: None,
            purpose: Purpose::default(),
        }
    });
    said.agrees(image)?;
    Ok((signer.name.clone(), said))
}

fn simple<'a>(
    payload: &[u8],
    made: &str,
    artefact: &Artefact,
    signers: &'a Signers,
) -> Result<&'a Signer, Refusal> {
    let signer = signers.who_made(&decoded(made)?, payload)?;
    let malformed =
        |error: serde_json::Error| Refusal::PayloadMalformed(quoted(&error.to_string()));
    let value = json::parse(payload).map_err(malformed)?;
    let Simple { critical } = serde_json::from_value(value).map_err(malformed)?;
    if critical.of_type != SIMPLE_TYPE {
        let told = format!("its type is {:?}", critical.of_type);
        return Err(Refusal::PayloadMalformed(quoted(&told)));
    }
    names(&[critical.image.docker_manifest_digest], artefact)?;
    Ok(signer)
}

fn bundle<'a>(
    text: &[u8],
    artefact: &Artefact,
    signers: &'a Signers,
) -> Result<(&'a Signer, Option<Statement>), Refusal> {
    let malformed = |error: serde_json::Error| Refusal::BundleMalformed(quoted(&error.to_string()));
    let value = json::parse(text).map_err(malformed)?;
    let bundle: Bundle = serde_json::from_value(value).map_err(malformed)?;
    if !BUNDLES.contains(&bundle.media_type.as_str()) {
        let told = format!("its mediaType is {:?}", bundle.media_type);
        return Err(Refusal::BundleMalformed(quoted(&told)));
    }
    let found = match (bundle.dsse_envelope, bundle.message_signature) {
        (Some(envelope), None) => enveloped(envelope, artefact, signers),
        (None, Some(message)) => {
            let made = decoded(&message.signature)?;
            let signer = signers.who_made(&made, &artefact.bytes);
            signer.map(|signer| (signer, None))
        }
        (None, None) | (Some(_), Some(_)) => {
            let told = "it holds not one of dsseEnvelope and messageSignature";
            return Err(Refusal::BundleMalformed(told.to_owned()));
        }
    };
    let material = bundle.verification_material;
    let by_certificate = material.certificate.is_some() || material.chain.is_some();
    match found {
        Err(Refusal::UnknownKey(names)) if by_certificate => Err(Refusal::ByCertificate(names)),
        found => found,
    }
}

/// What is said in an envelope; nothing, beyond that the manifest was signed, by `cosign sign`.
fn enveloped<'a>(
    envelope: Value,
    artefact: &Artefact,
    signers: &'a Signers,
) -> Result<(&'a Signer, Option<Statement>), Refusal> {
    let envelope = Envelope::of(envelope)?;
    let (signer, payload_type, payload) = envelope.opened(signers)?;
    let signed = InToto::parse(payload_type, payload)?;
    names(&signed.digests, artefact)?;
    let says_more = signed.predicate_type != SIGN_PREDICATE_TYPE;
    let said = says_more.then(|| Statement::of(signed)).transpose()?;
    Ok((signer, said))
}

fn names(digests: &[String], artefact: &Artefact) -> Result<(), Refusal> {
    if digests.contains(&artefact.digest) {
        return Ok(());
    }
    let told = digests.first().map_or("none", String::as_str);
    Err(Refusal::OtherManifest(quoted(told)))
}

fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(text)
        .map_err(|error| Refusal::SignatureMalformed(error.to_string()))
}
