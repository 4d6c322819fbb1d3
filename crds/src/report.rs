//! `DpuReport`: what one agent identity sees. Facts with time, never conclusions.
//!
//! Names: `site-SITE` (image store), `scan-SITE`, `bmc-card-DPU`, `bmc-host-DPUHOST` and
//! `bmc-found-ID` (site agent), `host-NODE` (agent on a host), `xpu-DPU` (the card's own
//! agent). A BMC's hot facts and what it is made of stand in two objects, `bmc-card-DPU` and
//! `bmc-found-ID`, for the first change often; where both change once a boot they stand in one.
//! Every group is optional and the schema only grows: agents may be as old as the image on
//! their card.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::MachineIdentity;
use crate::directive::OutcomeKind;
use crate::inspection::Inspected;
use crate::inventory::Inventory;
use crate::observed::{BootStage, Knowledge, Offer, PowerState};
use crate::open_enum::open_enum;

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

open_enum! {
    /// What the site's store has seen of whoever was given the URL of an image and does not get it.
    pub enum FetchState {
        /// Nobody has asked for that URL or connected from the address of the BMC.
        NotReached,
        /// The address of the BMC has more connections than the store takes from one.
        TooManyConnections,
        /// It connected from the address of the BMC, and asked for nothing.
        NotAsked,
        /// From the address of the BMC the store's certificate was refused.
        NotTrusted,
        /// The same, as out of date.
        NotInDate,
        /// From the address of the BMC something else is spoken than the store speaks.
        ProtocolDiffers,
        /// What was asked for is not what the URL names, or not any more, or in another way than by
        /// GET or HEAD.
        UrlRefused,
        /// The length was asked for, and no byte.
        LengthOnly,
        /// Bytes were asked for that the image does not have.
        RangeRefused,
        /// The connection ended before all was sent that was asked for.
        CutShort,
        /// The store could not read the image.
        StoreFailed,
    }
}

/// What keeps somebody from one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FetchReport {
    /// Digest of the image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// What was seen.
    pub state: FetchState,
    /// What there is to add, such as an address, a status or a number of bytes.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

open_enum! {
    /// What a BMC tells of an update. None of it proves that the image runs.
    pub enum UpdateState {
        /// It was (or may have been) asked for, and nothing is told of it yet.
        Asked,
        /// A task says that it goes on.
        Running,
        /// The task says that it went well, or the BMC shows the version as written.
        Ended,
        /// The task says that it went wrong.
        Failed,
        /// Nothing tells what became of it.
        Lost,
    }
}

/// An update that a card's BMC was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateReport {
    /// Digest of our image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// By which way.
    pub method: crate::inventory::InstallMethod,
    /// When it was asked for.
    pub since: Time,
    /// What is told of it.
    pub state: UpdateState,
    /// How far it is as its task says, in steps of 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// What the BMC says, or what is missing.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A component that the card's BMC may write, as its FirmwareInventory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its id there.
    #[schemars(length(max = 96))]
    pub name: String,
    /// The version that runs.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Another version that is written and does not run yet.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Whether the BMC fetches an image for it from the site's store.
    pub simple_update: Offer,
    /// Whether the BMC takes an image for it that is sent.
    pub multipart_push: Offer,
}

/// An update of a component that a card's BMC was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentUpdate {
    /// Number of the directive that asked for it.
    pub seq: i64,
    /// Id of the component.
    #[schemars(length(max = 96))]
    pub component: String,
    /// What is told of it.
    #[serde(flatten)]
    pub update: UpdateReport,
}

open_enum! {
    /// Whose URL a BMC holds. The URL itself is a capability and is not shown.
    pub enum MediaOwner {
        /// There is none.
        Nobody,
        /// An image served by this site's store.
        Lockstep,
        /// Somebody else's.
        Foreign,
    }
}

/// What a BMC holds to boot from: virtual media, or the URL for HTTP boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MediaReport {
    /// Whose it is.
    pub owner: MediaOwner,
    /// Digest of our image, when it is ours.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The site's PXE service, as it is for one card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PxeReport {
    /// Whether the site's agent keeps one supplied.
    pub supplied: bool,
    /// Digest of the image that it offers to the card's firmware.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The addresses to which it does.
    #[schemars(length(max = 8), inner(length(max = 17)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
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
    /// A restart of the BMC that restarts the whole card and is the way to have it boot what it is
    /// armed with (Intel IPU: `Manager.Reset`); absent from agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_restart: Option<Offer>,
    /// Redfish sessions.
    pub sessions: Offer,
    /// BootProgress.
    pub boot_progress: Offer,
    /// PowerRestorePolicy.
    pub power_restore_policy: Offer,
}

/// What the card's operating system shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsReport {
    /// Boot epoch.
    #[schemars(length(max = 128))]
    pub boot_epoch: String,
    /// Where the epoch comes from.
    #[schemars(length(max = 63))]
    pub epoch_source: String,
    /// Seconds since that boot, when the report was made.
    pub uptime_seconds: i64,
    /// Name and version of the operating system.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Version the installer stamped.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// Digest the installer stamped.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Kernel release.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Machine architecture, such as `aarch64`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Addresses, loopback left out.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What it has wiped: of the system of a `Wiper` image, which tells nothing before it is through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<crate::wipe::WipeReport>,
}

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
    /// Signatures of the image, as their sources gave them out; one that is not there has not been
    /// tried yet. Nobody has judged them: that is the operator's.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<StoredSignature>,
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

open_enum! {
    /// What a BMC stands for.
    pub enum MachineRole {
        /// A card.
        Card,
        /// A host.
        Host,
        /// It shows nothing that tells.
        Unclear,
    }
}

/// A BMC that was found by looking for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundBmc {
    /// What it stands for.
    pub role: MachineRole,
    /// What tells so, such as `SystemType DPU` or `Model BlueField-3 DPU`.
    #[schemars(length(max = 256))]
    pub recognised_by: String,
    /// The site whose agent found it; a proposed object belongs to it.
    #[schemars(length(max = 50))]
    #[serde(default)]
    pub site: String,
    /// How it was reached; a proposed object takes this over.
    pub endpoint: FoundEndpoint,
    /// How it was found: `list`, `range 10.0.0.0/24`, `lease 52:54:00:12:34:56`.
    #[schemars(length(max = 4), inner(length(max = 64)))]
    pub sources: Vec<String>,
    /// Other addresses at which the same BMC answers, with the same key.
    #[schemars(length(max = 4), inner(length(max = 255)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_at: Vec<String>,
    /// Since when it was not found any more; the report stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
}

open_enum! {
    /// The values of `TlsTrust`, as an agent reports them.
    pub enum FoundTrust {
        /// The certificate chains to the site's bundle and names the address.
        Ca,
        /// The key is the one that was seen first.
        PinnedKey,
        /// Encrypted, but nobody checks by whom.
        NoVerification,
        /// Not even encrypted.
        PlainHttp,
    }
}

/// How a BMC that was found is reached: what `spec.bmc` of its object will say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundEndpoint {
    /// Base URL of the Redfish service.
    #[schemars(length(max = 255))]
    pub address: String,
    /// Path of the ComputerSystem, where the BMC serves several.
    #[schemars(length(max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// The Secret of the range that it was found in.
    #[schemars(length(max = 253))]
    pub credentials: String,
    /// What the trust in the channel rests on.
    pub trust: FoundTrust,
    /// The ConfigMap with the bundle, for `Ca`.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<String>,
    /// SHA-256 of the public key, in lower-case hex, for `PinnedKey`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_key_sha256: Option<String>,
    /// SHA-256 of the public key that it showed when it was read, in lower-case hex, whatever the
    /// trust rests on: by it the same BMC is known at another address. Absent without TLS.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_key_sha256: Option<String>,
}

/// The search for BMCs of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanReport {
    /// Endpoints that were identified and are told of in reports of their own.
    pub identified: i64,
    /// Addresses of ranges where nothing listens.
    pub silent: i64,
    /// Endpoints that are listed, leased, or answered, and could not be identified.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEndpoint>,
    /// How many of those are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// An endpoint that could not be identified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedEndpoint {
    /// Its URL.
    #[schemars(length(max = 255))]
    pub address: String,
    /// How it came to be looked at.
    #[schemars(length(max = 64))]
    pub source: String,
    /// A condition reason, such as `Unreachable`, `NoAnswer`, `NotRedfish`, `CredentialsRefused`,
    /// `CredentialsNotAllowed`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened and what helps.
    #[schemars(length(max = 256))]
    pub message: String,
}
