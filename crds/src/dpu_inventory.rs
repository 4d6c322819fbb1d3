//! `DpuInventory`: one card, joined from every vantage point that saw it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inventory::{
    BmcFacts, CapabilityRecord, CpuFacts, DiskList, FirmwareList, Functions, MemoryFacts,
    NamedFunctions, OffloadList, OsFacts, PortList, SecureBootFacts, SystemFacts, TpmFacts,
};
use crate::open_enum::open_enum;
use crate::report::Vantage;

/// The joined inventory of one card. It has the name of its `Dpu`, is owned by it, and is
/// written by the operator alone, when something changes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuInventory",
    plural = "dpuinventories",
    namespaced,
    doc = "What one card is made of, joined from its BMC, its own operating system, its host and its host's BMC. Written by the operator; users read it.",
    crates(kube_core = "::kube_core"),
    shortname = "dpuinv",
    category = "xpu",
    derive = "PartialEq",
    printcolumn(
        name = "Family",
        type_ = "string",
        json_path = ".spec.system.facts.family"
    ),
    printcolumn(
        name = "Serial",
        type_ = "string",
        json_path = ".spec.system.facts.serialNumber"
    ),
    printcolumn(
        name = "Part",
        type_ = "string",
        json_path = ".spec.system.facts.partNumber"
    ),
    printcolumn(name = "Cores", type_ = "integer", json_path = ".spec.cpu.facts.cores"),
    printcolumn(
        name = "Memory",
        type_ = "integer",
        json_path = ".spec.memory.facts.totalBytes",
        priority = 1
    ),
    printcolumn(
        name = "Completeness",
        type_ = "string",
        json_path = ".spec.completeness"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuInventorySpec {
    /// Whether everything that a card must show is known, and nobody contradicts anybody.
    pub completeness: Completeness,
    /// Groups that are missing, each with who could tell it.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// What vantage points contradict each other in.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// Who tells of this card.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<ViewOfCard>,
    /// The hosts it sits in, as far as they are seen.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<SeenInHost>,
    /// Who made it and how it is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Sourced<SystemFacts>>,
    /// Firmware components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Sourced<FirmwareList>>,
    /// Its operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Sourced<OsFacts>>,
    /// Its processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Sourced<CpuFacts>>,
    /// Its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Sourced<MemoryFacts>>,
    /// Its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<Sourced<DiskList>>,
    /// Its network ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Sourced<PortList>>,
    /// PCI functions on its own side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Sourced<Functions>>,
    /// Its trusted platform module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Sourced<TpmFacts>>,
    /// Secure boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<Sourced<SecureBootFacts>>,
    /// What it takes off its operating system's hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offloads: Option<Sourced<OffloadList>>,
    /// Its BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Sourced<BmcFacts>>,
    /// What it can be asked to do, as probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Sourced<CapabilityRecord>>,
}

open_enum! {
    /// How much of a card is known.
    #[derive(Default)]
    pub enum Completeness {
        /// Everything that a card must show.
        Complete,
        /// Something is missing.
        #[default]
        Partial,
        /// Two vantage points contradict each other.
        Conflicting,
    }
}

/// A group of facts and where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sourced<T> {
    /// The vantage point whose word stands.
    pub from: Vantage,
    /// The report that told it.
    #[schemars(length(max = 253))]
    pub report: String,
    /// When that report last changed.
    pub observed_at: Time,
    /// Other vantage points that filled in what the first one did not tell.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completed_from: Vec<Vantage>,
    /// The facts.
    pub facts: T,
}

/// A group that nobody has told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// The group or field, such as `system.serialNumber`.
    #[schemars(length(max = 64))]
    pub what: String,
    /// Why, and who could tell it.
    #[schemars(length(max = 256))]
    pub why: String,
}

/// A field about which vantage points say different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The field, such as `system.serialNumber`.
    #[schemars(length(max = 64))]
    pub field: String,
    /// Who says what.
    #[schemars(length(max = 8))]
    pub said: Vec<Said>,
}

/// One vantage point's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Who.
    pub from: Vantage,
    /// The report that told it.
    #[schemars(length(max = 253))]
    pub report: String,
    /// What.
    #[schemars(length(max = 256))]
    pub value: String,
}

/// A report that tells of a card, and why it is believed to be about this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewOfCard {
    /// Where it is seen from.
    pub from: Vantage,
    /// The report.
    #[schemars(length(max = 253))]
    pub report: String,
    /// What joins it: `serialNumber`, `systemUuid`, `deviceSerial`, `mac`, or `name` for the
    /// card's own agent and its named BMC.
    #[schemars(length(max = 8), inner(length(max = 64)))]
    pub joined_by: Vec<String>,
}

/// A host that a card sits in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenInHost {
    /// The `DpuHost`; empty while there is none for that machine.
    #[schemars(length(max = 253))]
    #[serde(default)]
    pub name: String,
    /// How the pairing is known.
    pub pairing: KnownPairing,
    /// Who saw it, and by what it is proved.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Slot.
    #[schemars(length(max = 96))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// PCI addresses as that host numbers them.
    #[schemars(length(max = 16), inner(length(max = 16)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// The same by name (`pf0`, `pf0vf3`, `pf0sf88`), with interfaces and with how many virtual
    /// functions are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<NamedFunctions>,
    /// System UUID of that host.
    #[schemars(length(max = 36))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<String>,
    /// The Node that runs there, as its agent says.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
}

open_enum! {
    /// How it is known that a card sits in a host.
    #[derive(Default)]
    pub enum KnownPairing {
        /// The host's operating system or its BMC sees this very card.
        Observed,
        /// The user vouches for it.
        Asserted,
        /// Nobody has seen it there.
        #[default]
        Unknown,
    }
}
