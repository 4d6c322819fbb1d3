//! Keys that may sign images, as a policy gives them.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_crds::ImageSigner;
use thiserror::Error;

use crate::refusal::Refusal;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A kind of key: the DER of its `SubjectPublicKeyInfo` up to the key itself, the length of the
/// whole, and how it verifies. ECDSA signatures are DER, as `openssl dgst -sign` writes them.
type Kind = (&'static [u8], usize, &'static dyn VerificationAlgorithm);

/// RFC 5480 for the curves, with the point uncompressed; RFC 8410 for Ed25519.
const KINDS: [Kind; 3] = [
    (
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04",
        91,
        &ECDSA_P256_SHA256_ASN1,
    ),
    (
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04",
        120,
        &ECDSA_P384_SHA384_ASN1,
    ),
    (
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        44,
        &ED25519,
    ),
];

/// Why a signer's key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is not one block of PEM.
    #[error("its publicKey is not one PEM block BEGIN PUBLIC KEY with nothing around it")]
    NotPem,
    /// Another kind of key.
    #[error("its publicKey is of no kind that is supported, which are P-256, P-384 and Ed25519")]
    OtherKind,
    /// The point is not on the curve.
    #[error("its publicKey is not a key that can exist")]
    NotAKey,
}

/// Somebody who may sign images.
pub struct Signer {
    /// What the policy calls it.
    pub name: String,
    /// Whether it counts that it signed a manifest, and no statement.
    pub(crate) accepts_manifests: bool,
    key: ParsedPublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.name).finish()
    }
}

impl Signer {
    /// # Errors
    /// If the key cannot be used.
    pub fn new(signer: &ImageSigner) -> Result<Self, KeyError> {
        let der = der_of(&signer.public_key)?;
        let kind = KINDS
            .iter()
            .find(|(begins, length, _)| der.len() == *length && der.starts_with(begins));
        let (_, _, algorithm) = kind.ok_or(KeyError::OtherKind)?;
        let key = ParsedPublicKey::new(*algorithm, &der).map_err(|_| KeyError::NotAKey)?;
        Ok(Self {
            name: signer.name.clone(),
            accepts_manifests: signer.accepts_manifests,
            key,
        })
    }

    pub(crate) fn made(&self, signature: &[u8], message: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

/// The DER in one block of PEM.
fn der_of(pem: &str) -> Result<Vec<u8>, KeyError> {
    let body = pem.trim().strip_prefix(BEGIN);
    let body = body.and_then(|rest| rest.strip_suffix(END));
    let text: String = body
        .ok_or(KeyError::NotPem)?
        .split_ascii_whitespace()
        .collect();
    STANDARD.decode(text).map_err(|_| KeyError::NotPem)
}

/// Whoever may sign by a policy.
#[derive(Debug, Default)]
pub struct Signers {
    /// Those whose keys can be used.
    pub usable: Vec<Signer>,
    /// Those whose keys cannot, by name, and why. No signature is theirs.
    pub unusable: Vec<(String, KeyError)>,
}

impl Signers {
    /// The signers of a policy.
    pub fn new(signers: &[ImageSigner]) -> Self {
        let mut found = Self::default();
        for signer in signers {
            match Signer::new(signer) {
                Ok(signer) => found.usable.push(signer),
                Err(error) => found.unusable.push((signer.name.clone(), error)),
            }
        }
        found
    }

    /// Whose signature over a message this is.
    pub(crate) fn who_made(&self, signature: &[u8], message: &[u8]) -> Result<&Signer, Refusal> {
        let mut usable = self.usable.iter();
        let found = usable.find(|signer| signer.made(signature, message));
        found.ok_or_else(|| Refusal::UnknownKey(self.names()))
    }

    /// Their names, for messages.
    pub(crate) fn names(&self) -> String {
        let usable = self.usable.iter().map(|signer| signer.name.clone());
        let unusable = self.unusable.iter();
        let unusable = unusable.map(|(name, error)| format!("{name}, but {error}"));
        usable.chain(unusable).collect::<Vec<_>>().join("; ")
    }
}
