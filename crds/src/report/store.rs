//! What a site's store has, and whose signatures came with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;

open_enum! {
    /// How far the store is with an image.
    pub enum ImageState {
        /// Its bytes are on their way.
        Fetching,
        /// All bytes are there and are the right ones.
        Verified,
        /// It could not be had; see reason.
        Failed,
    }
}

open_enum! {
    /// Where an image has room for the seed of the card that gets it.
    pub enum SeedSlot {
        /// In one place, as it must be.
        One,
        /// Nowhere.
        Absent,
        /// In more than one place, so nobody can say which is meant.
        Ambiguous,
    }
}

/// One image in the site's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredImage {
    /// Digest, `sha256:…`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// How far it is.
    pub state: ImageState,
    /// Size when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// A condition reason, for `Failed`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what helps.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Digest of the manifest, or index, that the source in an OCI registry stood for when it was
    /// resolved.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// What it is, if it is a boot stream (BFB) of BlueField cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_stream: Option<BootStreamReport>,
    /// Whether it has a seed slot, without which no card is installed with it; absent until all bytes
    /// are there, and from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_slot: Option<SeedSlot>,
    /// Whether it is a program for UEFI (a PE file), which alone firmware loads by PXE; absent as
    /// `seedSlot` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efi_program: Option<bool>,
    /// Signatures of the image, as their sources gave them out; one that is not there has not been
    /// tried yet. Nobody has judged them: that is the operator's.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<StoredSignature>,
}

/// What the bytes of a boot stream say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootStreamReport {
    /// Families of cards that it has a boot loader for, such as `BlueField-3`.
    #[schemars(length(max = 16), inner(length(max = 32)))]
    pub families: Vec<String>,
    /// Why no card boots from it: it is not whole.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A signature of an image: the envelope, what stands beside an artefact, or why there is neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredSignature {
    /// The URL that was asked last, without its query; or the artefact.
    #[schemars(length(max = 1024))]
    pub source: String,
    /// The DSSE envelope, as it came.
    #[schemars(length(max = 16_384))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
    /// What cosign has put beside an artefact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefact: Option<ArtefactSignatures>,
    /// A condition reason, where there is none, or not all that is beside an artefact could be read.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what helps.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An artefact of a registry and its signatures, as the registry gave them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtefactSignatures {
    /// The manifest beside which the signatures are. If that is an index, then the manifest in it
    /// that has the image.
    #[schemars(length(max = 2), inner(length(max = 16_384)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// The signatures of either, with none if the registry has none.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<ArtefactSignature>,
}

/// One signature by cosign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtefactSignature {
    /// A sigstore bundle, which holds its signature, or the payload of a simple signature.
    #[schemars(length(max = 16_384))]
    pub document: String,
    /// The signature over such a payload, in base64.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What came of making a card's files. No value stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationTried {
    /// What they were made of but for secrets: 64 hex digits.
    #[schemars(length(max = 64))]
    pub inputs: String,
    /// Whether they can be made, and fit their slots.
    pub ok: bool,
    /// A condition reason when not.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong, and what helps.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_earlier_agent_does_not_tell_is_not_known_and_a_later_word_is_kept() {
        let read = |told: &serde_json::Value| -> StoredImage {
            serde_json::from_value(told.clone()).unwrap()
        };
        let earlier = json!({"digest": "sha256:00", "state": "Verified", "sizeBytes": 7});
        let image = read(&earlier);
        assert_eq!((&image.seed_slot, image.efi_program), (&None, None));
        assert_eq!(serde_json::to_value(&image).unwrap(), earlier);

        let later = json!({
            "digest": "sha256:00", "state": "Verified", "seedSlot": "Several", "efiProgram": false,
        });
        let image = read(&later);
        assert_eq!(
            image.seed_slot,
            Some(SeedSlot::Unrecognized("Several".to_owned()))
        );
        assert_eq!(image.efi_program, Some(false));
        assert_eq!(serde_json::to_value(&image).unwrap(), later);
    }
}
