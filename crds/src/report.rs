//! `DpuReport`: what one agent identity sees. Facts with time, never conclusions.
//!
//! Names: `site-SITE` (image store), `scan-SITE`, `bmc-card-DPU`, `bmc-host-DPUHOST` and
//! `bmc-found-ID` (site agent), `host-NODE` (agent on a host), `xpu-DPU` (the card's own
//! agent). A BMC's hot facts and what it is made of stand in two objects, `bmc-card-DPU` and
//! `bmc-found-ID`, for the first change often; where both change once a boot they stand in one.
//! Every group is optional and the schema only grows: agents may be as old as the image on
//! their card.

mod bmc;
mod fetch;
mod found;
mod media;
mod os;
mod store;
mod update;

pub use bmc::{BmcCapabilities, BmcReport};
pub use fetch::{FetchReport, FetchState};
pub use found::{FailedEndpoint, FoundBmc, FoundEndpoint, FoundTrust, MachineRole, ScanReport};
pub use media::{BootEntriesReport, BootEntryReport, MediaOwner, MediaReport, PxeReport};
pub use os::{FilesystemReport, FilesystemState, OsReport};
pub use store::{
    ArtefactSignature, ArtefactSignatures, BootStreamReport, ConfigurationTried, ImageState,
    SeedSlot, StoredImage, StoredSignature,
};
pub use update::{BusyReport, ComponentReport, ComponentUpdate, UpdateReport, UpdateState};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::MachineIdentity;
use crate::directive::OutcomeKind;
use crate::inspection::Inspected;
use crate::inventory::Inventory;
use crate::open_enum::open_enum;

/// Images that one report can tell of.
pub const MOST_IMAGES: usize = 256;

/// Hot facts from one vantage point. Written on change only; freshness is the
/// agent's Lease, and `observedAt` is the time of the last change.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuReport",
    namespaced,
    doc = "What one agent sees. Written by that agent alone; users read it.",
    crates(kube_core = "::kube_core"),
    shortname = "dpurep",
    category = "xpu",
    derive = "PartialEq",
    printcolumn(name = "Vantage", type_ = "string", json_path = ".spec.vantage"),
    printcolumn(name = "Reachable", type_ = "string", json_path = ".spec.reachable.ok"),
    printcolumn(name = "Power", type_ = "string", json_path = ".spec.bmc.power"),
    printcolumn(name = "Changed", type_ = "date", json_path = ".spec.observedAt")
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuReportSpec {
    /// Where these facts were seen from.
    pub vantage: Vantage,
    /// The `Dpu`, `DpuHost` or site they are about.
    #[schemars(length(max = 253))]
    pub subject: String,
    /// uid of that object; empty for a site.
    #[schemars(length(max = 64))]
    #[serde(default)]
    pub subject_uid: String,
    /// Version of the agent that writes this.
    #[schemars(length(max = 63))]
    pub agent_version: String,
    /// When these facts last changed.
    pub observed_at: Time,
    /// Whether the target answers, and if not, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<Reachability>,
    /// The last inspection that these facts answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected: Option<Inspected>,
    /// What a BMC shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcReport>,
    /// What the operating system of a card, or of a host, shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsReport>,
    /// Which machine a host's operating system runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineIdentity>,
    /// How a BMC that was found is reached, and what it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundBmc>,
    /// What became of every endpoint that the site agent was told to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanReport>,
    /// What the machine is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Images in the site's store, or on their way there.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<StoredImage>,
    /// The last directive this executor accepted for this target, and its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// The work order that the site agent keeps for this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custody: Option<Custody>,
    /// Whether the files of this card's own can be made, as the site agent tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationTried>,
    /// Services on this card; absent from agents that run none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<crate::service::ServicesReport>,
}

impl DpuReportSpec {
    /// A report of this agent that tells nothing yet.
    pub fn new(vantage: Vantage, subject: &str, agent_version: &str, observed_at: Time) -> Self {
        Self {
            vantage,
            subject: subject.to_owned(),
            subject_uid: String::new(),
            agent_version: agent_version.to_owned(),
            observed_at,
            reachable: None,
            inspected: None,
            bmc: None,
            os: None,
            machine: None,
            found: None,
            scan: None,
            inventory: None,
            images: Vec::new(),
            execution: None,
            custody: None,
            configuration: None,
            services: None,
        }
    }
}

open_enum! {
    /// Where a fact was seen from.
    pub enum Vantage {
        /// The card's BMC.
        CardBmc,
        /// The host's BMC.
        HostBmc,
        /// The card's operating system.
        CardOs,
        /// The site's image store.
        Site,
        /// The host's operating system.
        HostOs,
        /// A BMC that was found by looking for it.
        FoundBmc,
        /// The search for BMCs of a site.
        Scan,
        /// Nowhere: what the spec of an object says, where somebody contradicts it. No report
        /// has this.
        Spec,
    }
}

/// Whether a target answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reachability {
    /// It answered the last time it was asked.
    pub ok: bool,
    /// Since when it does, or does not.
    pub since: Time,
    /// A condition reason, such as `Unreachable`, `CredentialsRefused`, `CertificateUntrusted`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what helps.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The last directive an executor accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Written before the effect; never acted on again.
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub accepted: i64,
    /// How it ended; absent while it is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How a directive ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Done, failed without effect, or unknown.
    pub result: OutcomeKind,
    /// A condition reason.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what helps.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

open_enum! {
    /// What became of a work order.
    pub enum CustodyState {
        /// The order is kept and has not expired.
        Kept,
        /// It expired, and the host was left held as it says.
        ExpiredKeptHeld,
        /// It expired, and the host was released as it says.
        ExpiredReleased,
        /// A person released the host with the offline command.
        ReleasedOffline,
    }
}

/// A work order in the site agent's keeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Custody {
    /// seq of the directive that brought it.
    pub seq: i64,
    /// What became of it.
    pub state: CustodyState,
    /// When it takes, or took, effect.
    pub expires_at: Time,
    /// Whether the settings of the hold were seen in force at the BMC; absent from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<bool>,
    /// Settings that will be put back, as `name=value`.
    #[schemars(length(max = 8), inner(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<String>,
}
