//! What a signer says of an image: an in-toto statement, v1.
//!
//! ```json
//! {"_type": "https://in-toto.io/Statement/v1",
//!  "subject": [{"name": "card-os-1.0.0.iso", "digest": {"sha256": "…"}}],
//!  "predicateType": "https://provisioning.opiproject.org/image/v1",
//!  "predicate": {"version": "1.0.0", "securityVersion": 3, "fits": {"families": ["BlueField-3"]},
//!                "kind": "Os", "files": {"bf.cfg": "sha256:…"}}}
//! ```
//!
//! Of the predicate every field is understood or the statement refused: what a later release adds
//! may be a limit. Elsewhere fields that in-toto has and this has no use for are passed over.

use std::collections::BTreeMap;

use lockstep_crds::image::ImageKind;
use lockstep_crds::{DpuImageSpec, ImageFits};
use serde::Deserialize;

use crate::json;
use crate::purpose::Purpose;
use crate::refusal::{Refusal, quoted};

/// `payloadType` of an envelope around a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The one before, which differs in nothing that is looked at here; `cosign attest` writes it.
const EARLIER_TYPE: &str = "https://in-toto.io/Statement/v0.1";
/// `predicateType` of a statement about an image for cards.
pub const PREDICATE_TYPE: &str = "https://provisioning.opiproject.org/image/v1";

/// Highest security version, as in the schema.
const HIGHEST: i64 = i32::MAX as i64;

/// What somebody says of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Digests of the images, `sha256:…`.
    pub digests: Vec<String>,
    /// Their version.
    pub version: String,
    /// Their security version.
    pub security_version: i64,
    /// The cards that they are made for.
    pub fits: Option<ImageFits>,
    /// As what they go onto cards.
    pub purpose: Purpose,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(rename = "_type")]
    of_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: serde_json::Value,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Predicate {
    version: String,
    #[serde(default)]
    security_version: i64,
    #[serde(default)]
    fits: Option<Fits>,
    #[serde(default)]
    kind: ImageKind,
    #[serde(default)]
    component: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct Fits {
    vendors: Vec<String>,
    families: Vec<String>,
    models: Vec<String>,
    part_numbers: Vec<String>,
    architectures: Vec<String>,
    minimum_disk_bytes: Option<i64>,
}

/// What any in-toto statement has.
pub(crate) struct InToto {
    /// Of what it speaks, `sha256:…`.
    pub(crate) digests: Vec<String>,
    pub(crate) predicate_type: String,
    predicate: serde_json::Value,
}

impl InToto {
    pub(crate) fn parse(payload_type: &str, payload: &[u8]) -> Result<Self, Refusal> {
        if payload_type != PAYLOAD_TYPE {
            return Err(Refusal::OtherPayloadType(quoted(payload_type)));
        }
        let value = json::parse(payload).map_err(|error| malformed(&error))?;
        let written: Written = serde_json::from_value(value).map_err(|error| malformed(&error))?;
        if ![STATEMENT_TYPE, EARLIER_TYPE].contains(&written.of_type.as_str()) {
            let told = format!("_type {}", written.of_type);
            return Err(Refusal::StatementMalformed(quoted(&told)));
        }
        let digests = written.subject.iter();
        let digests = digests.filter_map(|subject| subject.digest.get("sha256"));
        Ok(Self {
            digests: digests.map(|hex| format!("sha256:{hex}")).collect(),
            predicate_type: written.predicate_type,
            predicate: written.predicate,
        })
    }
}

impl Statement {
    /// Reads what was signed.
    ///
    /// # Errors
    /// If it is no statement about an image, or says something that is not understood.
    pub fn parse(payload_type: &str, payload: &[u8]) -> Result<Self, Refusal> {
        Self::of(InToto::parse(payload_type, payload)?)
    }

    pub(crate) fn of(written: InToto) -> Result<Self, Refusal> {
        if written.predicate_type != PREDICATE_TYPE {
            return Err(Refusal::OtherPredicate(quoted(&written.predicate_type)));
        }
        let predicate: Predicate =
            serde_json::from_value(written.predicate).map_err(|error| malformed(&error))?;
        if !(0..=HIGHEST).contains(&predicate.security_version) {
            let told = format!("securityVersion {}", predicate.security_version);
            return Err(Refusal::StatementMalformed(told));
        }
        let disk = predicate
            .fits
            .as_ref()
            .and_then(|fits| fits.minimum_disk_bytes);
        if let Some(bytes) = disk.filter(|bytes| *bytes < 1) {
            let told = format!("fits.minimumDiskBytes {bytes}");
            return Err(Refusal::StatementMalformed(told));
        }
        Ok(Self {
            digests: written.digests,
            version: predicate.version,
            security_version: predicate.security_version,
            fits: predicate.fits.map(ImageFits::from),
            purpose: Purpose {
                kind: predicate.kind,
                component: predicate.component,
                service: predicate.service,
                files: predicate.files,
            },
        })
    }

    /// # Errors
    /// If the statement is about other bytes, or says something else of them.
    pub(crate) fn confirms(&self, image: &DpuImageSpec) -> Result<(), Refusal> {
        if !self.digests.contains(&image.digest) {
            let told = self.digests.first().map_or("none", String::as_str);
            return Err(Refusal::OtherImage(quoted(told)));
        }
        self.agrees(image)
    }

    /// # Errors
    /// If the `DpuImage` says something else than was signed.
    pub(crate) fn agrees(&self, image: &DpuImageSpec) -> Result<(), Refusal> {
        if self.version != image.version {
            return Err(Refusal::OtherVersion {
                signed: quoted(&self.version),
                said: image.version.clone(),
            });
        }
        match image.security_version {
            Some(said) if said != self.security_version => {
                return Err(Refusal::OtherSecurityVersion {
                    signed: self.security_version,
                    said,
                });
            }
            Some(_) | None => {}
        }
        self.purpose.agrees(image)
    }
}

impl From<Fits> for ImageFits {
    fn from(fits: Fits) -> Self {
        Self {
            vendors: fits.vendors,
            families: fits.families,
            models: fits.models,
            part_numbers: fits.part_numbers,
            architectures: fits.architectures,
            minimum_disk_bytes: fits.minimum_disk_bytes,
        }
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::StatementMalformed(quoted(&error.to_string()))
}
