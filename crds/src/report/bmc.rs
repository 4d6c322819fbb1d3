//! What a BMC shows of the machine that it stands for, and what it can do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fetch::FetchReport;
use super::media::{BootEntriesReport, MediaReport, PxeReport};
use super::update::{BusyReport, ComponentReport, ComponentUpdate, UpdateReport};
use crate::bmc::MachineIdentity;
use crate::observed::{BootStage, Knowledge, Offer, PowerState};

/// What a BMC shows of the one system it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcReport {
    /// The machine.
    pub identity: MachineIdentity,
    /// SHA-256 of the BMC's TLS public key, in lower-case hex; absent without TLS.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pin: Option<String>,
    /// Address and port that it was read at: what a DNS name led to.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_at: Option<String>,
    /// Maker and model.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Firmware of the system.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
    /// Power state; absent if it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerState>,
    /// Since when the power state is what it is, as far as this agent has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_since: Option<Time>,
    /// Boot stage, with `stageKnowledge` telling why it may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<BootStage>,
    /// Whether the stage is known, cannot be known, or was not read.
    pub stage_knowledge: Knowledge,
    /// Boot override in force, such as `Cd`; `None` when disabled.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_override: Option<String>,
    /// Virtual media.
    pub media: MediaReport,
    /// The URL for UEFI HTTP boot (`Boot.HttpBootUri`); absent from agents that do not tell. One
    /// of this site's store that another card was given counts as nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_boot: Option<MediaReport>,
    /// The site's PXE service, for a card; absent from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pxe: Option<PxeReport>,
    /// The boot entries of a card, where one of its images has a slot; absent where nobody asks for
    /// them, and from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_entries: Option<BootEntriesReport>,
    /// The update that this BMC was asked for last, until it is forgotten by a `ClearInstall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateReport>,
    /// The components that firmware images wanted of this card are for. Absent: the agent's release
    /// does not tell.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<ComponentReport>>,
    /// The update of a component that this BMC was asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_update: Option<ComponentUpdate>,
    /// What is written at this BMC, whoever began it, or whether it is is not known: its machine keeps
    /// its power meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<BusyReport>,
    /// Digest of the image that the site's store has ready for this very card, by whichever way
    /// it gets there.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<String>,
    /// Why whoever was given the URL of an image of this card may get nothing, as the site's store
    /// sees it. Where bytes are read nothing is told, nor of what came before a restart of the agent.
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetches: Vec<FetchReport>,
    /// What this BMC offers.
    pub capabilities: BmcCapabilities,
}

/// The outcome of probing a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcCapabilities {
    /// Redfish ResetTypes it says it allows.
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reset_types: Vec<String>,
    /// Boot override targets it says it allows.
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_targets: Vec<String>,
    /// Virtual media that can hold an ISO.
    pub virtual_media: Offer,
    /// UEFI HTTP boot from a URL that the BMC is given: the boot target and `HttpBootUri`; absent
    /// from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uefi_http: Option<Offer>,
    /// The same as what it boots from until something else is set: a lasting boot override; absent
    /// from agents that do not know how to set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_boot: Option<Offer>,
    /// Updates of the card's operating system that the BMC fetches from this site's store
    /// (`UpdateService.SimpleUpdate` with the store's protocol, and a component that stands for
    /// the system); absent from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simple_update: Option<Offer>,
    /// The same that are sent to the BMC (`MultipartHttpPushUri`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipart_push: Option<Offer>,
    /// The longest image that this BMC takes for an update, in bytes (`MaxImageSizeBytes`); absent if
    /// it does not say, and from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_image_bytes: Option<i64>,
    /// A restart of the BMC that restarts the whole card and is the way to have it boot what it is
    /// armed with (Intel IPU: `Manager.Reset`); absent from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_restart: Option<Offer>,
    /// A boot of one boot entry, once (boot target `UefiBootNext`, which the BMC must list); absent
    /// from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_entry: Option<Offer>,
    /// Redfish sessions.
    pub sessions: Offer,
    /// BootProgress.
    pub boot_progress: Offer,
    /// PowerRestorePolicy.
    pub power_restore_policy: Offer,
}
