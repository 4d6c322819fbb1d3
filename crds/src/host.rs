//! `DpuHost`: one server, the unit of planning, locking and disruption.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::{BmcEndpoint, LocalRef, MachineIdentity};
use crate::boot_policy::{HoldMechanism, OnInstallFailure};
use crate::directive::{ActivatedBy, Directive, ImageFacts, OutcomeKind, Step, WorkOrder};
use crate::open_enum::open_enum;

/// One server and what may be done to it. Its status is the truth of the whole
/// power domain: hold, directives, armed effects, attempts.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuHost",
    namespaced,
    doc = "One server that holds cards: how its BMC is reached, which policy governs it, and how far it may be disturbed.",
    crates(kube_core = "::kube_core"),
    status = "DpuHostStatus",
    shortname = "dpuh",
    category = "xpu",
    derive = "PartialEq",
    selectable = ".spec.site",
    selectable = ".spec.nodeName",
    selectable = ".status.nodeName",
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Power", type_ = "string", json_path = ".status.power"),
    printcolumn(name = "Hold", type_ = "string", json_path = ".status.hold.state"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
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
        .message("identity cannot be changed or unset once it is given: delete the object and create it for the other machine"),
    validation = Rule::new("self.role != 'ChassisOnly' || (!has(self.bmc) && !has(self.nodeName))")
        .message("a ChassisOnly host has neither bmc nor nodeName"),
    validation = Rule::new("self.role == 'Server' || self.disruption == 'Never'")
        .message("disruption Allowed is for role Server only")
)]
pub struct DpuHostSpec {
    /// The site whose agent reaches this machine. Immutable.
    #[schemars(
        length(min = 1, max = 50),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default = "default_site")]
    pub site: String,
    /// `Server`; `ChassisOnly` for a box that only gives cards power;
    /// `Infrastructure` for hosts that are never held or cycled by plan.
    #[serde(default)]
    pub role: HostRole,
    /// The host's own BMC. Without one the host can be neither held off nor released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcEndpoint>,
    /// Which machine must answer behind that BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<MachineIdentity>,
    /// The Kubernetes Node that runs on this host, if one does.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The policy that governs this host and its cards.
    pub policy_ref: LocalRef,
    /// Whether a host that is up may be taken down by plan.
    #[serde(default)]
    pub disruption: Disruption,
    /// Stops every power, reset and media action at once, work orders included (S16).
    #[serde(default)]
    pub hands_off: bool,
    /// Whether card slots keep power while the host is off, where you know it.
    /// A measurement that says otherwise wins.
    #[serde(default)]
    pub slot_power_when_host_off: SlotPower,
    /// Whether what runs on this host may touch its cards: `Trusted` lets the host's agent install
    /// them over rshim. `Isolated` keeps everything of theirs with their BMCs.
    #[serde(default)]
    pub trust_domain: TrustDomain,
}

fn default_site() -> String {
    "default".to_owned()
}

/// What kind of box this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostRole {
    /// An ordinary server.
    #[default]
    Server,
    /// Power and slots, no server.
    ChassisOnly,
    /// A server that other things depend on.
    Infrastructure,
}

/// Whether a running host may be disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Disruption {
    /// A host that is up stays up.
    #[default]
    Never,
    /// A host that is up may be taken down once it is proved drained.
    Allowed,
}

/// Whose side a host is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrustDomain {
    /// It may be in anybody's hands: nothing reaches a card through it.
    #[default]
    Isolated,
    /// Who is root there may be root on its cards.
    Trusted,
}

/// Whether slots keep power while the host is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SlotPower {
    /// Cards stay powered.
    Yes,
    /// Cards lose power with the host.
    No,
    /// Nobody has said or measured.
    #[default]
    Unknown,
}

open_enum! {
    /// Whether slots were found to keep power while the host is off.
    pub enum MeasuredSlotPower {
        /// Cards stay powered.
        Yes,
        /// Cards lose power with the host.
        No,
    }
}

open_enum! {
    /// How a hold shows at the host.
    pub enum HoldState {
        /// The host is being taken down for it, or is down already; its BMC has not been told yet.
        Beginning,
        /// The host is kept powered off.
        PoweredOff,
        /// The host runs and its Node is tainted.
        NodeTainted,
        /// The host is up though it should be held.
        HoldBroken,
    }
}

open_enum! {
    /// The mechanism of a hold in force: a value of `hold.mechanisms` as the record keeps it.
    pub enum HeldBy {
        /// The host's BMC keeps it powered off.
        PoweredOff,
        /// The host may run, and its Node is tainted.
        NodeTainted,
    }
}

impl From<HoldMechanism> for HeldBy {
    fn from(mechanism: HoldMechanism) -> Self {
        match mechanism {
            HoldMechanism::PoweredOff => Self::PoweredOff,
            HoldMechanism::NodeTainted => Self::NodeTainted,
        }
    }
}

open_enum! {
    /// Why a hold ended.
    pub enum ReleaseReason {
        /// The policy's condition was met.
        Ready,
        /// The wait timed out and the policy says go on, or power off.
        Timeout,
        /// A person asked for it.
        Manual,
        /// The site agent carried out an expired work order.
        Orphaned,
        /// The host could not be taken down, or its BMC would not keep it off.
        Refused,
    }
}

open_enum! {
    /// Effects that a device has accepted and that have not landed or been taken back.
    pub enum ArmedEffect {
        /// Our virtual media is (or may be) inserted.
        VirtualMedia,
        /// Our boot override is (or may be) set. Of a card that runs a stateless image that is
        /// the wanted state, and stays.
        BootOverride,
        /// Our URL for UEFI HTTP boot is (or may be) set.
        HttpBootUri,
        /// The BMC was (or may have been) asked to write our image, and that is not over.
        Update,
        /// The image is (or may be) offered to the agent of the card's host.
        HostOffer,
        /// The image is (or may be) offered to the card's firmware by the site's PXE service.
        PxeOffer,
        /// The next boot goes (or may go) to a boot entry that we named.
        BootEntry,
    }
}

/// What is known and wanted of a power domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuHostStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The highest directive number ever used.
    #[serde(default)]
    pub seq: i64,
    /// Directives that are wanted or whose end has not been concluded.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<Directive>,
    /// The step the power domain is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What is awaited, refused or wrong, with the remedy.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The wait in progress, so that its deadline outlives the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitRecord>,
    /// The fresh reading of all machines that precedes what is begun; gone when the power domain is at rest again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<crate::inspection::Inspection>,
    /// The host's power state as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<crate::observed::PowerState>,
    /// The directive that this host keeps failing, until it succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedDirective>,
    /// The hold in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// The end of the last hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// What has been measured about slot power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_power: Option<SlotPowerStatus>,
    /// The Node that was seen to run on this machine, where `spec.nodeName` names none.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// How this platform boots and holds, as far as its BMC tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<crate::inventory::BootPlatform>,
    /// Slots of this machine and what is in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<crate::inventory::Slots>,
    /// Who takes part when this machine and its cards boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actors: Option<crate::inventory::Actors>,
    /// What this machine can be asked to do, as probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<crate::inventory::CapabilityRecord>,
    /// What has been done to each card, kept until it is undone or superseded.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<CardRecord>,
    /// The last directives that ended, newest last.
    #[schemars(length(max = 24))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<FinishedDirective>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus) and what else must be said.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A wait with a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitRecord {
    /// What is awaited: a condition reason.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// Until when.
    pub deadline: Time,
}

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// Number of the directive that began it, be it one that takes the host down, or for a taint the last one before it;
    /// a work order with a lower number belongs to another hold.
    #[serde(default)]
    pub seq: i64,
    /// How the host is held.
    pub mechanism: HeldBy,
    /// How it shows.
    pub state: HoldState,
    /// Since when.
    pub since: Time,
    /// When the policy's wait ends.
    pub deadline: Time,
    /// What the site agent does if nobody ends the hold; a taint needs none, for nothing
    /// at the machine keeps the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_order: Option<WorkOrder>,
    /// Why it is being ended, from the moment its release was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releasing: Option<ReleaseReason>,
    /// The Node that is tainted for it, whatever the spec names later.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Who or what broke the hold, for `HoldBroken`.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_by: Option<String>,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Why.
    pub reason: ReleaseReason,
    /// When.
    pub at: Time,
}

/// A measurement of slot power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotPowerStatus {
    /// What was found.
    pub value: MeasuredSlotPower,
    /// How it was found.
    #[schemars(length(max = 256))]
    pub evidence: String,
    /// When.
    pub at: Time,
}

/// What Lockstep has done, and may have to undo, at one card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CardRecord {
    /// Name of the `Dpu`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// uid of the `Dpu` when the record was made.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The card itself (system UUID or serial): attempts belong to it, whatever the uid.
    #[schemars(length(max = 64))]
    pub physical_id: String,
    /// The image being installed or last installed: the wanted one, or under `rollBack` the last
    /// good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// The choice of the policy by which that image is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<crate::image_choice::ChosenImage>,
    /// Installs begun for this image on this card.
    #[serde(default)]
    pub attempts: i64,
    /// The way by which the last of those installs was begun: once its image was observed, the
    /// one that worked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<crate::inventory::InstallMethod>,
    /// Ways that failed on this card and have not worked since, the latest last. They are tried
    /// after the others, for other images too, until `spec.retryToken` changes.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_methods: Vec<crate::inventory::InstallMethod>,
    /// `spec.retryToken` for which `attempts` counts.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
    /// Boot epoch of the card's operating system before this install, if one was seen.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_before: Option<String>,
    /// When the card was powered on for this install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_at: Option<Time>,
    /// Until when that install may be writing to the card. Later edits of the policy only make it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_ends: Option<Time>,
    /// Since when the card is being stopped, or is off, for an install. It is powered on again
    /// if nobody wants that install any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Time>,
    /// The host's wait ended without this card; not tried again for the same image and token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// When this install was concluded, by the observation of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// What the card runs that nobody asked Lockstep for, in the place of what it was seen to run as wanted.
    #[schemars(length(max = 9))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<crate::drift::Drift>,
    /// How often the wanted image was put back, by the policy's `onDrift`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<crate::drift::DriftRepairs>,
    /// The card has left this host, which knows nothing of what was asked for it meanwhile: what system it came
    /// back with is no drift before the one that is wanted was seen to run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_left: bool,
    /// The wanted image that the card was seen to run last, as its own agent told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<GoodImage>,
    /// The installs that failed since a person last wanted something else of the card, oldest first.
    #[schemars(length(max = 10))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<InstallFailure>,
    /// The wanted image was given up, and `lastGood` or the golden image is on its way back, or runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_back: Option<RollBack>,
    /// What was put into the slots of the card's own disk, as far as nothing was written over it since.
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotRecord>,
    /// The highest security version of an image that the card was seen to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_version: Option<i64>,
    /// What was seen of, and done to, each component that a firmware image is wanted for.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRecord>,
    /// The services that the card may fetch and is to run.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<crate::service::OfferedService>,
    /// When all that the image brings was first seen to run, beside its system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_at: Option<Time>,
    /// What services have had of security versions, the latest last.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_floors: Vec<crate::service::ServiceFloor>,
    /// The card was powered off and on for its firmware, and its own system is awaited again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycled: Option<PowerCycled>,
    /// Effects accepted by the card's BMC, or by the site's store for it, and not yet taken back (S15).
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub armed: Vec<ArmedEffect>,
    /// What was last made ready for an install of the card, and of what values, until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedImage>,
    /// The last wipe of the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<crate::wipe::WipeRecord>,
    /// What this card waits for, so that its deadline outlives the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitRecord>,
    /// The directive that this card keeps failing, until it succeeds or something else is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedDirective>,
}

/// An image with the files that were made for a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StagedImage {
    /// Digest of the image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// What its files were made of but for secrets, as in directives; absent if it has none.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
}

/// An image in a slot of a card's own disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotRecord {
    /// The image, with its slot.
    pub image: ImageFacts,
    /// What its files were made of but for secrets, as in directives; absent if it has none.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// When it was first seen to run there. Until then it may be there in part only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
    /// When its boot entry was first seen to come first in the boot order, since the card was seen to run the
    /// image. Till then a boot of another slot is nobody's change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Time>,
}

/// A card that ran its image was powered off and on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerCycled {
    /// When it was powered on.
    pub at: Time,
    /// Boot epoch of its operating system before, if one was seen.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_before: Option<String>,
}

/// One component of a card, and the firmware image that is wanted for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRecord {
    /// Its id in the FirmwareInventory of the card's BMC, or its name in `devlink dev info`.
    #[schemars(length(max = 96))]
    pub component: String,
    /// The image that it is to run.
    pub image: ImageFacts,
    /// Name of its `DpuImage`: while that is gone, nobody can tell that it is not wanted any more.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// `spec.retryToken` for which `attempts` counts.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
    /// Updates begun for this image.
    #[serde(default)]
    pub attempts: i64,
    /// Number of the directive that began the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// By which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<crate::inventory::InstallMethod>,
    /// What ran before it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Time>,
    /// Until when the new version must run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Time>,
    /// What lets it run once it is written. Absent is `BmcReset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivatedBy>,
    /// The version that is written and does not run yet: armed until the BMC restarts, or the card
    /// is powered off and on (S15).
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// When whoever wrote it first told that it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Time>,
    /// When the BMC was asked to restart for it, or the card was powered on for it, or was seen off and on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Time>,
    /// What was written there last and was not let run since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitingFirmware>,
    /// Set as long as nobody knows whether all of what its host was to write is there: Lockstep
    /// changes the power of neither the card nor its host then. Ends with an update that is written, with
    /// another `retryToken`, or, unless it hangs, once somebody has powered the card off and on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<TornFirmware>,
    /// When the wanted version was first seen to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// The host's wait ended without it; not tried again for the same image and token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// The version that an image which brings firmware along has put in its place, by an install of ours.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<String>,
    /// The card has left this host since: as `hasLeft` of the card.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_left: bool,
    /// The highest security version of an image that the component was seen to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_version: Option<i64>,
}

/// Firmware that is written at a component and waits for what lets it run, whatever is wanted there now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFirmware {
    /// Its version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// Digest of its image, if that is known.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When whoever wrote it first told that it is written.
    pub since: Time,
    /// What lets it run. Absent is `BmcReset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivatedBy>,
    /// Whether the card was seen off since: on after that, it was powered off and on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_off: bool,
}

/// Firmware of which a part alone may be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TornFirmware {
    /// Since when.
    pub since: Time,
    /// `spec.retryToken` at that time; another one says that a person has looked.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
    /// Whether it may be being written still. Another `retryToken` says that this has ended, and the next
    /// one that all of it is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hangs: bool,
    /// Whether the card was seen off since, or since it came back to this host. Of one that left it:
    /// whether the host was, since the card left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_off: bool,
    /// Whether the card has left this host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
}

/// An image that a card was seen to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoodImage {
    /// Name of its `DpuImage`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What it is.
    pub image: ImageFacts,
    /// The way by which it was installed; absent if somebody else had put it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<crate::inventory::InstallMethod>,
    /// When it was first seen to run.
    pub seen_at: Time,
}

/// How one install failed: it did not end in a report from the card's own agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallFailure {
    /// What was installed.
    pub image: ImageFacts,
    /// The component, if it was an update of firmware.
    #[schemars(length(max = 96))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Which of the installs of this image it was, counted from 1.
    pub attempt: i64,
    /// The way that it took.
    pub method: crate::inventory::InstallMethod,
    /// When it began: when the card was powered on for it, or its BMC or its host's agent was asked.
    pub begun_at: Time,
    /// A condition reason: `TaskFailed`, `TaskStuck`, `TaskLost`, `OldImageRuns`, `ImageNotSeen`,
    /// `OsNotSeen`, `VersionNotSeen` of firmware, of a push what ended it, such as `PushBroken` or `InstallerFailed`, or
    /// what the site's store saw of a fetch, such as `StoreNotReached`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What was seen, and what helps.
    #[schemars(length(max = 300))]
    pub message: String,
    /// When that was concluded.
    pub at: Time,
}

/// The way back to the last good image, or to the golden one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollBack {
    /// The wanted image, which did not come up.
    pub from: ImageFacts,
    /// Since when it is not tried any more.
    pub since: Time,
    /// The golden image, if the way leads to that one, and not to `lastGood`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<NamedImage>,
}

/// An image, and the object that tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedImage {
    /// Name of its `DpuImage`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What it is.
    pub image: ImageFacts,
}

/// A directive that did not do what it should, and how often in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedDirective {
    /// What it asked for, and of what: `PowerOn dpu/card1`.
    #[schemars(length(max = 300))]
    pub what: String,
    /// How often in a row.
    pub times: i64,
    /// The last time.
    pub at: Time,
    /// Since when its executor has been putting it off, because something else went on or could
    /// not be looked at. That is no failure, and is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off_since: Option<Time>,
    /// Why, where that is known.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One line of history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedDirective {
    /// The directive's number.
    pub seq: i64,
    /// What it asked for, and of what: `PowerOn dpu/card1`.
    #[schemars(length(max = 300))]
    pub what: String,
    /// How it ended.
    pub outcome: OutcomeKind,
    /// Why, where that is not plain.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When its end was concluded.
    pub at: Time,
}

/// Where a card goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackTo<'a> {
    /// Name of the `DpuImage`.
    pub name: &'a str,
    /// What it is.
    pub image: &'a ImageFacts,
    /// Whether it is the golden image, and not the last good one.
    pub is_golden: bool,
}

impl GoodImage {
    /// As where its card goes back to.
    pub fn way_back(&self) -> BackTo<'_> {
        BackTo {
            name: &self.name,
            image: &self.image,
            is_golden: false,
        }
    }
}

impl CardRecord {
    /// The image that the card gets in place of the one that is wanted of it, where that one was
    /// given up and nobody has wanted something else since.
    pub fn goes_back_to(&self, digest: &str, retry_token: Option<&str>) -> Option<BackTo<'_>> {
        let back = self.roll_back.as_ref()?;
        let same_wish = back.from.digest == digest && self.retry_token.as_deref() == retry_token;
        self.back_to().filter(|_| same_wish)
    }

    /// The image that the way back leads to, as long as the card is on it or has gone it.
    pub fn back_to(&self) -> Option<BackTo<'_>> {
        let back = self.roll_back.as_ref()?;
        let golden = back.golden.as_ref().map(|golden| BackTo {
            name: &golden.name,
            image: &golden.image,
            is_golden: true,
        });
        golden.or_else(|| self.last_good.as_ref().map(GoodImage::way_back))
    }

    /// Whether nothing is armed there but what a card that runs a stateless image boots from.
    pub fn is_as_it_stays(&self) -> bool {
        let image = self.image.as_ref();
        let stays = self.observed_at.is_some() && image.is_some_and(|image| image.stateless);
        self.armed.iter().all(|effect| match effect {
            ArmedEffect::HttpBootUri | ArmedEffect::BootOverride => stays,
            // Some BMCs make a medium of the URL.
            ArmedEffect::VirtualMedia => stays && self.armed.contains(&ArmedEffect::HttpBootUri),
            ArmedEffect::Update
            | ArmedEffect::HostOffer
            | ArmedEffect::PxeOffer
            | ArmedEffect::BootEntry
            | ArmedEffect::Unrecognized(_) => false,
        })
    }

    /// The last good image, if the card may have to go back to it.
    pub fn fallback(&self, on_failure: OnInstallFailure) -> Option<&GoodImage> {
        let may = on_failure == OnInstallFailure::RollBack || self.roll_back.is_some();
        self.last_good.as_ref().filter(|_| may)
    }
}

impl DpuHostStatus {
    /// The record of the card with that uid.
    pub fn record_of(&self, uid: &str) -> Option<&CardRecord> {
        self.cards.iter().find(|kept| kept.uid == uid)
    }
}
