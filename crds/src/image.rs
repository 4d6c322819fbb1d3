//! `DpuImage`: one artefact, immutable, named by its digest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// An image that can be installed on cards. The spec cannot change: make a new
/// `DpuImage` for a new version and point the policy or the card at it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuImage",
    namespaced,
    doc = "An operating system image for cards: where it is, what its bytes must be, and how it will be recognised once it runs.",
    crates(kube_core = "::kube_core"),
    status = "DpuImageStatus",
    shortname = "dpuimg",
    category = "xpu",
    derive = "PartialEq",
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".spec.digest",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a DpuImage is immutable: create another one for other bytes")
)]
pub struct DpuImageSpec {
    /// Version as the running system will report it.
    #[schemars(length(min = 1, max = 63))]
    pub version: String,
    /// `sha256:` and 64 hex digits over the whole file. Nothing unverified is ever served to a card.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Size of the file in bytes; when given, a source of another size is refused early.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// HTTP(S) URLs of the same bytes, tried in order. Redirects to another host are refused.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 10, max = 1024), regex(pattern = r"^https?://[^\s@]+$"))
    )]
    pub sources: Vec<String>,
    /// What must run on a card before this image is installed there, by its inventory. All of it
    /// must hold; until it does nothing is done to the card or its host. A card that runs the
    /// image already is adopted whatever stands here.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<ComponentRequirement>,
    /// Which cards the image is made for. Everything given must hold; a card of which nobody has
    /// told what is asked waits. A card that runs the image already is adopted whatever stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<ImageFits>,
    /// Grows when a release closes a hole that must not be opened again: a card that has run a
    /// higher one does not get this image, nor does a policy that wants more. Absent is 0. Where
    /// the policy wants signed images, what was signed counts, and this must say the same if given.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_version: Option<i64>,
    /// Where signatures of the image are. Who may sign stands in the policy.
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<ImageSignature>,
}

/// One signature of an image, by how it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.dsse)").message("a signature needs dsse: this release knows no other form")
)]
pub struct ImageSignature {
    /// A DSSE envelope in a file of its own, over an in-toto statement that names the image's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsse: Option<DsseFile>,
}

/// A DSSE envelope in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DsseFile {
    /// HTTP(S) URLs of the same envelope, of at most 16 KiB, tried in order. Redirects to another
    /// host are refused.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 10, max = 1024), regex(pattern = r"^https?://[^\s@]+$"))
    )]
    pub sources: Vec<String>,
}

/// Cards by what they are made of. What is given must hold, and a list holds if the card is one
/// of it; letters and digits count, in either case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.vendors) ? size(self.vendors) : 0, has(self.families) ? size(self.families) : 0, has(self.models) ? size(self.models) : 0, has(self.partNumbers) ? size(self.partNumbers) : 0, has(self.architectures) ? size(self.architectures) : 0].exists(many, many > 0)")
        .message("fits needs vendors, families, models, partNumbers or architectures: an empty one would fit every card")
)]
pub struct ImageFits {
    /// Makers, under whichever name they go by.
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vendors: Vec<String>,
    /// Families, such as `BlueField-3`.
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Models, as `spec.system.model` of the card's `DpuInventory` has them.
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Part numbers.
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_numbers: Vec<String>,
    /// Machine architectures, such as `aarch64`.
    #[schemars(length(max = 4), inner(length(min = 1, max = 32)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
}

/// A range that the running version of one component must lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.atLeast) || has(self.below)").message("a requirement needs atLeast, below, or both")
)]
#[x_kube(
    validation = Rule::new("!has(self.atLeast) || !has(self.below) || self.atLeast != self.below").message("no version is at least this one and below it: below must be higher than atLeast")
)]
pub struct ComponentRequirement {
    /// The component, as `spec.firmware` of the card's `DpuInventory` calls it, such as
    /// `BMC_Firmware` or `fw.mgmt`; only letters and digits count, in either case. `Bmc` is the
    /// BMC of any card.
    #[schemars(length(min = 1, max = 96), regex(pattern = r"[A-Za-z0-9]"))]
    pub component: String,
    /// The lowest version that will do.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^\S+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// The lowest version that will not do any more.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^\S+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// What became of the image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuImageStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Fetched`: bytes with that digest are in the sites' stores. `Verified`: what the policies that
    /// want the image ask of its signatures holds. `Ready`, `Reconciling`, `Stalled`: both, or why not.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
