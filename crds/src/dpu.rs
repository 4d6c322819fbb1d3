//! `Dpu`: one card.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::{BmcEndpoint, LocalRef, MachineIdentity};
use crate::directive::ImageFacts;
use crate::open_enum::open_enum;
use crate::service::ServiceStatus;
use crate::wipe::{WipeRecord, WipeSpec};

/// One card: where it sits, how it is reached, what should run on it. Its
/// status is a projection for people; decisions are made from `DpuHost` and reports.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "Dpu",
    namespaced,
    doc = "One DPU, IPU or SmartNIC with its own operating system: its host, its BMC, its identity and the image it should run.",
    crates(kube_core = "::kube_core"),
    status = "DpuStatus",
    shortname = "dpu",
    category = "xpu",
    derive = "PartialEq",
    selectable = ".spec.site",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image.version"),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.hostRefs[0].name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".status.inventory.model",
        priority = 1
    ),
    printcolumn(
        name = "Serial",
        type_ = "string",
        json_path = ".status.inventory.serialNumber",
        priority = 1
    ),
    printcolumn(
        name = "Inventoried",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Inventoried')].reason",
        priority = 1
    ),
    printcolumn(
        name = "Drifted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Drifted')].status",
        priority = 1
    ),
    printcolumn(
        name = "Approved",
        type_ = "boolean",
        json_path = ".spec.approved",
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
    validation = Rule::new("self.site == oldSelf.site").message("site is immutable").field_path(".site"),
    validation = Rule::new("!has(self.identity) || has(self.identity.systemUuid) || has(self.identity.serialNumber)")
        .message("identity needs systemUuid, serialNumber or both").field_path(".identity"),
    validation = Rule::new("!has(oldSelf.identity) || (has(self.identity) && self.identity == oldSelf.identity)")
        .message("identity cannot be changed or unset once it is given: a replaced card is another Dpu"),
    validation = Rule::new("self.hostRefs.all(h, self.hostRefs.exists_one(o, o.name == h.name))")
        .message("hostRefs names a host twice")
)]
pub struct DpuSpec {
    /// The site whose agent reaches this card. Immutable.
    #[schemars(
        length(min = 1, max = 50),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default = "default_site")]
    pub site: String,
    /// The hosts this card serves; the first one gives it power.
    #[schemars(length(min = 1, max = 8))]
    pub host_refs: Vec<HostRef>,
    /// The card's own BMC, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcEndpoint>,
    /// Which card must answer behind that BMC. Needed before anything is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<MachineIdentity>,
    /// MAC addresses from which the card's firmware boots over the network, in lower case. Install
    /// method `Pxe` needs one: what boots from such an address during an install gets the image.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 8),
        inner(
            length(max = 17),
            regex(pattern = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_macs: Vec<String>,
    /// The image this card should run; overrides the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<LocalRef>,
    /// The firmware images this card should run; overrides all of the policy's, also if it is empty.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_refs: Option<Vec<LocalRef>>,
    /// The services this card should run; overrides all of the policy's, also if it is empty.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_refs: Option<Vec<LocalRef>>,
    /// Whether anything may be done to this card. Discovery proposes cards with `false`; setting
    /// it takes the verb `approve` on `dpus`.
    #[serde(default = "default_approved")]
    pub approved: bool,
    /// Stops new effects on this card at the next safe point; what is awaited goes on being observed.
    #[serde(default)]
    pub paused: bool,
    /// Change it, to any other value, to clear this card's failed attempts.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
    /// What the templates of the image's `files` call `values`. They are read when an install is
    /// staged: another value is no reason to install the card again.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<CardValue>,
    /// Wipes the card, once for each token. As long as it is not through nothing else is done to
    /// the card; unset it to give it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<WipeSpec>,
    /// Retires the card, after its `wipe` if there is one: it is powered off and stays so, what is
    /// armed there is taken back, and the identity of its agent is withdrawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// One value of a card, in the form of a container's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)").message("a value needs value or valueFrom, and not both")
)]
pub struct CardValue {
    /// What templates call it: `values.NAME`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// The value. Everybody who may read the `Dpu` sees it.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value is, if it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueSource>,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueSource {
    /// A key of a Secret in the namespace of the `Dpu`, which the site agent alone reads.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The key in its data, which must hold text of 16 KiB at most.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn default_site() -> String {
    "default".to_owned()
}

/// What a person writes is meant.
fn default_approved() -> bool {
    true
}

/// A host that a card serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRef {
    /// Name of the `DpuHost`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// `Asserted`: you say that this card sits in this host. `Observed`: it must be seen
    /// before the host's power is touched for it (S13).
    #[serde(default)]
    pub pairing: Pairing,
}

/// How the pairing of card and host is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pairing {
    /// It must be observed.
    #[default]
    Observed,
    /// The user vouches for it.
    Asserted,
}

open_enum! {
    /// Where a card is on its way, for people. Derived, never an input.
    pub enum Phase {
        /// Known by name only.
        Discovered,
        /// Facts about it are being read.
        Inspecting,
        /// Known and free; nothing is wanted of it, or nothing may be done.
        Available,
        /// Its image is being fetched or installed.
        Installing,
        /// It boots what was installed.
        Activating,
        /// It proves what it booted.
        Attesting,
        /// It runs what it should.
        Ready,
        /// It is out of use by plan.
        Maintenance,
        /// It works, and something is wrong.
        Degraded,
        /// A failure is being repaired.
        Recovering,
        /// It is not trusted.
        Quarantined,
        /// A person is needed.
        Stalled,
        /// It is being let go.
        Deleting,
        /// It is wiped.
        Wiping,
        /// It is off for good, and nothing of it counts any more.
        Retired,
    }
}

/// What is known of a card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the card is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What is awaited, refused or wrong, with the remedy.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The image seen running, as the installer stamped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// The image wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_image: Option<ImageFacts>,
    /// The boot that was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_epoch: Option<BootEpoch>,
    /// Version of the agent in the card's operating system.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Addresses of the card's operating system.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What the card's BMC offers, as probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<crate::report::BmcCapabilities>,
    /// What the card is made of, in short; the whole stands in the `DpuInventory` of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventorySummary>,
    /// The last wipe of the card, and what became of each part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<WipeRecord>,
    /// The hosts it sits in, as far as they are seen.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPlace>,
    /// Its services. Absent: nothing was ever said of any, and its agent leaves what it runs.
    #[schemars(length(max = 24))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceStatus>>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus) and what else must be said.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A card in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventorySummary {
    /// Maker, normalised where this release knows it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Family, else model.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Part number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_number: Option<String>,
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<i64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
}

/// Where a card sits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPlace {
    /// The `DpuHost`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// How the pairing is known.
    pub pairing: crate::dpu_inventory::KnownPairing,
    /// Who saw it, and by what it is proved.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Slot.
    #[schemars(length(max = 96))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
}

/// What changes at every boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootEpoch {
    /// The value.
    #[schemars(length(max = 128))]
    pub value: String,
    /// Where it comes from, such as `boot_id`.
    #[schemars(length(max = 63))]
    pub source: String,
    /// When that boot was first seen.
    pub seen_at: Time,
}
