//! What a policy asks of the images that go onto its cards.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an image needs before it goes onto a card. Changing it takes the verb `trust` on
/// `dpubootpolicies`, and so does creating a policy: whoever makes images need not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.require != 'Signed' || (has(self.signers) && size(self.signers) > 0)")
        .message("images.require: Signed needs signers: without one no image could ever pass")
)]
pub struct ImageRules {
    /// `Signed`: a signature by one of `signers` over an image's digest. `DigestOnly`: bytes with
    /// the digest that the `DpuImage` says, whoever wrote that. To be said: a misspelt key must not
    /// pass for the looser one.
    pub require: ImageRequirement,
    /// Who may sign images.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<ImageSigner>,
    /// The lowest security version of an image that goes onto a card.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_security_version: Option<i64>,
}

/// See [`ImageRules`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImageRequirement {
    /// A signature by one of the signers.
    Signed,
    /// The digest alone.
    #[default]
    DigestOnly,
}

/// Somebody who may sign images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSigner {
    /// A name for messages; an envelope may give it as `keyid`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    )]
    pub name: String,
    /// Its public key: PEM of a `SubjectPublicKeyInfo` (`BEGIN PUBLIC KEY`), P-256, P-384 or Ed25519.
    #[schemars(
        length(min = 64, max = 1024),
        regex(pattern = r"^\s*-----BEGIN PUBLIC KEY-----\s")
    )]
    pub public_key: String,
    /// Whether it counts too that this key signed the manifest of an artefact, as `cosign sign` does, and
    /// not only a statement about an image for cards. Such a signature does not say what the artefact is
    /// for: set it only if the key signs nothing but images for cards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepts_manifests: bool,
}
