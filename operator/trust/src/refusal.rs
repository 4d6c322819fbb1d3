//! Why an envelope does not count, in words for conditions.

use thiserror::Error;

use crate::dsse::{LONGEST_ENVELOPE, MOST_SIGNATURES};
use crate::statement::{PAYLOAD_TYPE, PREDICATE_TYPE};

/// Why an envelope does not count. What it quotes is shortened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// More bytes than any envelope needs.
    #[error("the envelope has {0} bytes, of which at most {LONGEST_ENVELOPE} are read")]
    TooLong(usize),
    /// Not JSON, or a key stands twice in it.
    #[error("the envelope is no sound JSON: {0}")]
    NotJson(String),
    /// JSON, and no envelope.
    #[error("it is no DSSE envelope: {0}")]
    NotAnEnvelope(String),
    /// Nobody has signed it.
    #[error("the envelope holds no signature")]
    NoSignature,
    /// More signatures than are tried.
    #[error("the envelope holds {0} signatures, and at most {MOST_SIGNATURES} are tried")]
    TooManySignatures(usize),
    /// A signature names a signer of the policy, whose key does not verify it.
    #[error("its signature in the name of {0} is not by that key over these bytes")]
    BadSignature(String),
    /// No key of the policy verifies any of its signatures.
    #[error("it is not signed by any of the policy's signers ({0})")]
    UnknownKey(String),
    /// Signed, and something else than a statement.
    #[error("what is signed has payload type {0:?}, not {PAYLOAD_TYPE:?}")]
    OtherPayloadType(String),
    /// Signed, and not as statements are.
    #[error("what is signed is no statement that this release understands: {0}")]
    StatementMalformed(String),
    /// A statement about something else than images for cards.
    #[error("what is signed has predicate type {0:?}, not {PREDICATE_TYPE:?}")]
    OtherPredicate(String),
    /// An artefact beside which there is no signature.
    #[error("cosign has not signed the artefact; sign it with cosign sign --key")]
    Unsigned,
    /// What was passed on as manifests of an artefact are none.
    #[error("its manifest cannot be read: {0}")]
    NotAManifest(String),
    /// An index and a manifest that it does not list.
    #[error("the index that is signed does not list the manifest {0}")]
    NotInIndex(String),
    /// A container image, and no file for a card.
    #[error("what is signed is a container image and not an artefact of one file")]
    ContainerImage,
    /// An artefact of several files, or of none.
    #[error("the artefact that is signed has {0} layers, and must have the image as its one layer")]
    NotOneLayer(usize),
    /// An artefact of another file.
    #[error("it is the signature of another image: the artefact's one layer is {0}")]
    OtherLayer(String),
    /// The signature of something else in the registry.
    #[error("it is the signature of another manifest: {0}")]
    OtherManifest(String),
    /// No base64.
    #[error("its signature is no base64: {0}")]
    SignatureMalformed(String),
    /// Signed, and no payload of a simple signature by cosign.
    #[error("what is signed is no payload of cosign that this release understands: {0}")]
    PayloadMalformed(String),
    /// No bundle, or one of another version.
    #[error("it is no sigstore bundle that this release understands: {0}")]
    BundleMalformed(String),
    /// Signed without a key.
    #[error(
        "it is signed by a certificate and not by the key of any of the policy's signers ({0}); sign with cosign sign --key"
    )]
    ByCertificate(String),
    /// Signed plainly, by a key of which the policy takes statements alone.
    #[error(
        "it is signed plainly in the name of {0}, which does not say that it is for cards; sign a statement with cosign attest, or set acceptsManifests on that signer of the policy if its key signs nothing else"
    )]
    Plain(String),
    /// Signed plainly, and no operating system without files.
    #[error(
        "it is signed plainly, which says nothing of kind, component, service and files: that counts for an image of kind Os without files alone; sign a statement with cosign attest"
    )]
    PlainForMore,
    /// A statement about other bytes.
    #[error("it is the signature of another image: {0}")]
    OtherImage(String),
    /// The `DpuImage` gives these bytes another version than the signer.
    #[error("version {signed:?} was signed, and the DpuImage says {said:?}")]
    OtherVersion {
        /// As signed.
        signed: String,
        /// As the `DpuImage` says.
        said: String,
    },
    /// Likewise the security version.
    #[error("securityVersion {signed} was signed, and the DpuImage says {said}")]
    OtherSecurityVersion {
        /// As signed.
        signed: i64,
        /// As the `DpuImage` says.
        said: i64,
    },
    /// The `DpuImage` makes something else of the bytes.
    #[error(
        "{field} {signed} was signed, and the DpuImage says {said}; sign a statement that names what the image is"
    )]
    OtherPurpose {
        /// `kind`, `component` or `service`.
        field: &'static str,
        /// As signed.
        signed: String,
        /// As the `DpuImage` says.
        said: String,
    },
    /// The `DpuImage` puts another text into a slot.
    #[error(
        "for files.{slot} {signed} was signed, and the template in the DpuImage has {said}; sign a statement with the digest of each template"
    )]
    OtherFile {
        /// The slot.
        slot: String,
        /// Digest of the template, as signed.
        signed: String,
        /// Digest of that of the `DpuImage`.
        said: String,
    },
}

impl Refusal {
    /// Whether it may be about another manifest.
    pub(crate) fn is_of_other_bytes(&self) -> bool {
        matches!(self, Self::OtherManifest(_) | Self::UnknownKey(_))
    }
}

/// Text of somebody else's, at most so long that a message can hold it.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 96;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        kept.push('…');
    }
    kept
}
