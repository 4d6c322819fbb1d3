//! Reads one signature of an image where it is kept, and tells of it in words of the report.

use kube::Client;
use lockstep_crds::condition;
use lockstep_crds::report::{ArtefactSignature, ArtefactSignatures, StoredSignature};
use lockstep_store::{Cosigned, Digest, FetchError, Store};
use serde_json::Value;

use crate::site::judge::Refusal;
use crate::site::keyring::Keyring;
use crate::site::wanted::{WantedSignature, WantedSource};

/// Longest envelope, in bytes, as the schema of reports has it.
pub(super) const LONGEST: usize = 16 * 1024;
/// Longest place of a signature in the schema, in characters.
pub(super) const MOST_SOURCE: usize = 1024;
/// Longest message of a signature in the schema, in characters.
const MOST_MESSAGE: usize = 512;
/// What is looked for where a DSSE envelope, or an artefact with what cosign put beside it, is named.
const ENVELOPE: &str = "the signature";
const ARTEFACT: &str = "the artefact with its signature";

/// Reads the signatures of one image.
pub(crate) struct SignatureReader {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) store: Store,
    pub(crate) digest: Digest,
}

impl SignatureReader {
    /// The signature from the first place that gives one.
    pub(super) async fn read(&self, wanted: &WantedSignature) -> StoredSignature {
        match wanted {
            WantedSignature::Dsse(sources) => self.envelope(sources).await,
            WantedSignature::Cosign(sources) => self.beside(sources).await,
        }
    }

    async fn envelope(&self, sources: &[WantedSource]) -> StoredSignature {
        let keyring = Keyring::read(&self.client, &self.namespace, sources).await;
        let mut failed = unread("", None, None);
        for source in sources {
            let place = source.place.to_string();
            let source = match keyring.open(source) {
                Ok(source) => source,
                Err(refusal) => {
                    failed = no_account(&place, refusal);
                    continue;
                }
            };
            match self.store.document(&source, LONGEST).await.map(as_envelope) {
                Ok(Some(envelope)) => {
                    return StoredSignature {
                        envelope: Some(envelope),
                        ..unread(&place, None, None)
                    };
                }
                Ok(None) => {
                    let error = FetchError::InvalidResponse {
                        url: place.clone(),
                        reason: "it is no DSSE envelope: a JSON object with payloadType, payload and at least one of signatures".to_owned(),
                    };
                    failed = not_fetched(ENVELOPE, &place, &error);
                }
                Err(error) => failed = not_fetched(ENVELOPE, &place, &error),
            }
        }
        failed
    }

    /// An artefact without a signature is told as such, unless a mirror has one.
    async fn beside(&self, sources: &[WantedSource]) -> StoredSignature {
        let keyring = Keyring::read(&self.client, &self.namespace, sources).await;
        let mut unsigned = None;
        let mut failed = unread("", None, None);
        for source in sources {
            let place = source.place.to_string();
            let source = match keyring.open(source) {
                Ok(source) => source,
                Err(refusal) => {
                    failed = no_account(&place, refusal);
                    continue;
                }
            };
            match self.store.cosigned(self.digest, &source).await {
                Ok(found) => {
                    let is_signed = !found.signatures.is_empty();
                    let missed = found.unread.as_ref();
                    let missed = missed.map(|error| not_fetched(ARTEFACT, &place, error));
                    let told = StoredSignature {
                        artefact: Some(told(found)),
                        ..missed.unwrap_or_else(|| unread(&place, None, None))
                    };
                    if is_signed {
                        return told;
                    }
                    unsigned = unsigned.or(Some(told));
                }
                Err(error) => failed = not_fetched(ARTEFACT, &place, &error),
            }
        }
        // Only if every mirror says so is there none.
        match unsigned {
            Some(unsigned) if failed.reason.is_none() => unsigned,
            Some(_) | None => failed,
        }
    }
}

fn told(found: Cosigned) -> ArtefactSignatures {
    let signatures = found.signatures.into_iter();
    ArtefactSignatures {
        manifests: found.manifests,
        signatures: signatures
            .map(|one| ArtefactSignature {
                document: one.document,
                signature: one.signature,
            })
            .collect(),
    }
}

/// `what` is what was looked for there: the store speaks of images.
fn not_fetched(what: &str, source: &str, error: &FetchError) -> StoredSignature {
    let message = if matches!(error, FetchError::NotFound { .. }) {
        format!("{error}; upload {what} there, or correct the source in spec.signatures")
    } else {
        format!("{error}; {}", error.remedy())
    };
    unread(source, Some(error.category().to_owned()), Some(message))
}

fn no_account(source: &str, refusal: Refusal) -> StoredSignature {
    unread(source, Some(refusal.reason), Some(refusal.message))
}

fn unread(source: &str, reason: Option<String>, message: Option<String>) -> StoredSignature {
    let short = |text: String| {
        condition::truncated(&text)
            .chars()
            .take(MOST_MESSAGE)
            .collect()
    };
    StoredSignature {
        source: source.chars().take(MOST_SOURCE).collect(),
        envelope: None,
        artefact: None,
        reason,
        message: message.map(short),
    }
}

/// A login page or an error page is passed over for the next source, and takes nothing away that was
/// read before. What an envelope is worth is not judged here.
fn as_envelope(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let written: Value = serde_json::from_str(&text).ok()?;
    let has_text = |field: &str| written.get(field).is_some_and(Value::is_string);
    let signatures = written.get("signatures").and_then(Value::as_array);
    let is_signed = signatures.is_some_and(|signatures| !signatures.is_empty());
    (has_text("payloadType") && has_text("payload") && is_signed).then_some(text)
}
