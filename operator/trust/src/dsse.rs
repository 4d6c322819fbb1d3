//! DSSE v1 envelopes: <https://github.com/secure-systems-lab/dsse>.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::json;
use crate::refusal::{Refusal, quoted};
use crate::signer::{Signer, Signers};

/// Longest envelope that is read, in bytes. One over an image takes about 1 KiB.
pub const LONGEST_ENVELOPE: usize = 16 * 1024;

/// Most signatures of one envelope: each may cost one verification for each of the policy's keys.
pub const MOST_SIGNATURES: usize = 4;

/// Both alphabets are in use, with padding and without.
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// An envelope, taken apart and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    /// Anybody may write this: it says which key to try, and proves nothing.
    key_id: String,
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload_type: String,
    payload: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Deserialize)]
struct WrittenSignature {
    #[serde(default)]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// # Errors
    /// If the bytes are no envelope, or are beyond a bound.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > LONGEST_ENVELOPE {
            return Err(Refusal::TooLong(text.len()));
        }
        Self::of(json::parse(text).map_err(|error| Refusal::NotJson(shown(&error)))?)
    }

    /// The same of JSON that holds no key twice and has been measured.
    pub(crate) fn of(value: Value) -> Result<Self, Refusal> {
        let written: Written =
            serde_json::from_value(value).map_err(|error| Refusal::NotAnEnvelope(shown(&error)))?;
        match written.signatures.len() {
            0 => return Err(Refusal::NoSignature),
            1..=MOST_SIGNATURES => {}
            many => return Err(Refusal::TooManySignatures(many)),
        }
        let signatures = written.signatures.into_iter().map(|one| {
            Ok(Signature {
                key_id: one.keyid.unwrap_or_default(),
                bytes: decoded("sig", &one.sig)?,
            })
        });
        Ok(Self {
            signatures: signatures.collect::<Result<_, Refusal>>()?,
            payload: decoded("payload", &written.payload)?,
            payload_type: written.payload_type,
        })
    }

    /// Who signed it, with what was signed: its type and its bytes.
    ///
    /// # Errors
    /// If none of the signers did.
    pub fn opened<'a, 'b>(
        &'a self,
        signers: &'b Signers,
    ) -> Result<(&'b Signer, &'a str, &'a [u8]), Refusal> {
        let message = pae(&self.payload_type, &self.payload);
        let mut bad = None;
        for signature in &self.signatures {
            let named = signers.usable.iter();
            let named: Vec<_> = named.filter(|one| one.name == signature.key_id).collect();
            let tried = if named.is_empty() {
                signers.usable.iter().collect()
            } else {
                named.clone()
            };
            let made = |signer: &&&Signer| signer.made(&signature.bytes, &message);
            if let Some(signer) = tried.iter().find(made) {
                return Ok((signer, &self.payload_type, &self.payload));
            }
            bad = bad.or(named.first().map(|signer| signer.name.clone()));
        }
        Err(match bad {
            Some(name) => Refusal::BadSignature(name),
            None => Refusal::UnknownKey(signers.names()),
        })
    }
}

/// What is signed: type and payload with their lengths, so that neither can pass for the other.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

fn decoded(what: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    let url_safe = text.contains(['-', '_']);
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine
        .decode(text)
        .map_err(|error| Refusal::NotAnEnvelope(format!("{what} is no base64: {error}")))
}

fn shown(error: &serde_json::Error) -> String {
    quoted(&error.to_string())
}
