//! Keys and envelopes for these tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_crds::report::StoredSignature;
use lockstep_crds::{DpuImageSpec, ImageRequirement, ImageRules, ImageSigner};
use lockstep_trust::{PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, pae};
use serde_json::{Value, json};

/// What `vectors/make.sh` made, by name.
pub(crate) fn vector(name: &str) -> String {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Digest of the image that the vectors are about.
pub(crate) const DIGEST: &str =
    "sha256:a5df3fde7b200c3fa2791144c7e05c5c2bced4c6ad863d3a4cf76c972c1712f9";

/// Somebody who signs, by a number.
pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn new(number: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap())
    }

    pub(crate) fn signer(&self, name: &str) -> ImageSigner {
        let head = hex::decode("302a300506032b6570032100").unwrap();
        let der = [head.as_slice(), self.0.public_key().as_ref()].concat();
        let body = STANDARD.encode(der);
        ImageSigner {
            name: name.to_owned(),
            public_key: format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"),
            accepts_manifests: false,
        }
    }

    pub(crate) fn made(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        self.0.sign(&pae(payload_type, payload)).as_ref().to_vec()
    }

    /// Over bytes as they are.
    pub(crate) fn over(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    pub(crate) fn signature(&self, key_id: &str, payload_type: &str, payload: &[u8]) -> Value {
        let made = self.made(payload_type, payload);
        json!({"keyid": key_id, "sig": STANDARD.encode(made)})
    }

    /// An envelope around any payload.
    pub(crate) fn seal(&self, payload_type: &str, payload: &[u8]) -> String {
        let signatures = vec![self.signature("", payload_type, payload)];
        envelope(payload_type, payload, &signatures)
    }

    /// An envelope around what this key says of an image.
    pub(crate) fn sign(&self, statement: &Value) -> String {
        self.seal(PAYLOAD_TYPE, statement.to_string().as_bytes())
    }
}

pub(crate) fn envelope(payload_type: &str, payload: &[u8], signatures: &[Value]) -> String {
    json!({
        "payloadType": payload_type, "payload": STANDARD.encode(payload), "signatures": signatures,
    })
    .to_string()
}

pub(crate) fn statement(digest: &str, predicate: Value) -> Value {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "a.iso", "digest": {"sha256": hex, "sha512": "0"}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    })
}

pub(crate) fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// A `DpuImage` of version 1.0.0 with one signature.
pub(crate) fn image(digest: &str) -> DpuImageSpec {
    serde_json::from_value(json!({
        "version": "1.0.0", "digest": digest, "sources": ["http://192.0.2.9/a.iso"],
        "signatures": [{"dsse": {"sources": ["http://192.0.2.9/a.dsse"]}}],
    }))
    .unwrap()
}

/// What is in `one`, and `more`.
pub(crate) fn with(mut one: Value, more: &Value) -> Value {
    let fields = more.as_object().unwrap().clone();
    one.as_object_mut().unwrap().extend(fields);
    one
}

/// A `DpuImage` that says `more`.
pub(crate) fn saying(image: &DpuImageSpec, more: &Value) -> DpuImageSpec {
    let written = serde_json::to_value(image).unwrap();
    serde_json::from_value(with(written, more)).unwrap()
}

pub(crate) fn rules(signers: Vec<ImageSigner>) -> ImageRules {
    ImageRules {
        require: ImageRequirement::Signed,
        signers,
        minimum_security_version: None,
    }
}

pub(crate) fn told(envelope: &str) -> StoredSignature {
    StoredSignature {
        source: "http://192.0.2.9/a.dsse".to_owned(),
        envelope: Some(envelope.to_owned()),
        artefact: None,
        reason: None,
        message: None,
    }
}
