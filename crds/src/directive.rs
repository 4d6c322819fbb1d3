//! `Directive`: one effect that the operator wants from one agent now.
//!
//! The operator records directives in `DpuHost.status.directives` with a
//! compare-and-swap; `seq` grows by one in that very write and nothing
//! recomputes it. The executor writes `accepted: seq` to its report *before*
//! it acts and never acts on that seq again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::action::ActionKind;
use crate::bmc::MachineIdentity;
use crate::boot_policy::OnOrphan;
use crate::image::{FirmwareActivation, ImageSlot};
use crate::observed::PowerState;
use crate::open_enum::open_enum;
use crate::wipe::WipeOrder;

open_enum! {
    /// The steps of a power domain's journey, in their usual order.
    pub enum Step {
        /// Facts about host and cards are awaited.
        Inspect,
        /// The image is fetched and verified by the site's store.
        FetchImage,
        /// The host is (being) held.
        HoldHost,
        /// A running card is shut down before its install.
        StopCard,
        /// Media or HTTP boot URL, and boot override, are armed on the card.
        StageInstall,
        /// The card is powered on to install.
        BootCard,
        /// The card's BMC is given the image, which it writes by itself.
        UpdateCard,
        /// The card's BMC is given firmware, which it writes by itself.
        UpdateFirmware,
        /// The card's BMC restarts, or the card is powered off and on, so that firmware which was
        /// written runs.
        ActivateFirmware,
        /// The card's own agent is awaited.
        AwaitOs,
        /// Media, HTTP boot URL and boot override are taken back.
        ClearInstall,
        /// The boot entry of what the card runs becomes the first of its boot order.
        SetBootOrder,
        /// The host is released.
        ReleaseHost,
        /// The host is awaited.
        AwaitHost,
        /// Nothing is left to do.
        Settled,
    }
}

open_enum! {
    /// What lets firmware run that is written: `activation` of its image, as records keep it.
    pub enum ActivatedBy {
        /// The card's BMC restarts.
        BmcReset,
        /// The card is powered off and on.
        CardPowerCycle,
    }
}

impl From<FirmwareActivation> for ActivatedBy {
    fn from(activation: FirmwareActivation) -> Self {
        match activation {
            FirmwareActivation::BmcReset => Self::BmcReset,
            FirmwareActivation::CardPowerCycle => Self::CardPowerCycle,
        }
    }
}

open_enum! {
    /// What a directive is aimed at.
    pub enum TargetKind {
        /// A `Dpu`.
        Card,
        /// A `DpuHost`.
        Host,
    }
}

open_enum! {
    /// How an accepted directive ended, as its executor saw it.
    pub enum OutcomeKind {
        /// The effect was sent and seen, or the wanted state was there already.
        Done,
        /// Certainly no effect: refused before it was sent.
        Failed,
        /// A part of it took effect, and certainly no other part will.
        Partly,
        /// The executor cannot say. Observation must.
        Unknown,
    }
}

/// One effect wanted from one executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Directive {
    /// Grows by one with every directive of this `DpuHost`, for ever.
    pub seq: i64,
    /// The step this directive serves.
    pub step: Step,
    /// Name of the site whose agent executes it; of `PushImage` and `FlashFirmware`, the report of the host's agent.
    #[schemars(length(max = 253))]
    pub executor: String,
    /// The machine.
    pub target: Target,
    /// The effect.
    pub action: Action,
    /// What the executor must find, in the same BMC session, or refuse.
    pub expects: Expects,
    /// Everything this action may take down: `dpu/NAME`, `dpuhost/NAME`.
    #[schemars(length(max = 32), inner(length(max = 260)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blast_radius: Vec<String>,
    /// When it was recorded.
    pub issued_at: Time,
    /// It must not be accepted after this.
    pub deadline: Time,
    /// Seconds after acceptance within which its effect may still land.
    pub settle_seconds: i64,
}

/// The machine a directive is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Card or host.
    pub kind: TargetKind,
    /// Name of the `Dpu` or `DpuHost`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// uid of that object, so that a re-created namesake is another machine.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// An effect and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What to do.
    pub kind: ActionKind,
    /// Image to stage or to write, for `StageInstall`, `StageHttpBoot`, `SetNetworkBoot`, `StagePxeBoot`,
    /// `PullUpdate`, `PushUpdate`, `OfferImage`, `PushImage`, `PullFirmware`, `PushFirmware` and `FlashFirmware`; of a card's `PowerOn`, the one
    /// that is installed by it; of `StageBootEntry` and `SetBootOrder`, the one whose slot is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// Id of the component that firmware is for, in the FirmwareInventory of the card's BMC; for
    /// `FlashFirmware`, by its name in `devlink dev info`. Of a
    /// card's `ShutdownGracefully`, `ForceOff` and `PowerOn`: the one that is to run after them.
    #[schemars(length(max = 96))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// What lets it run once it is written, for `PullFirmware` and `PushFirmware`. Absent is `BmcReset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivatedBy>,
    /// What the card's own files must be made of but for secrets, for what stages an image: 64 hex
    /// digits. Absent if the image has none.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// What the image that is staged is ordered to wipe. Absent for every image that is not of kind
    /// `Wiper`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<WipeOrder>,
    /// The card's addresses on the network from which it boots, for `StagePxeBoot`.
    #[schemars(length(max = 8), inner(length(max = 17)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_macs: Vec<String>,
    /// Whether `ReleaseHost` also powers the host on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_on: Option<bool>,
    /// The expiring order that comes with `HoldHost`, and with each request that takes a host
    /// down for a hold (S14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_order: Option<WorkOrder>,
}

/// The image a directive or record speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Digest, `sha256:…`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Version.
    #[schemars(length(max = 63))]
    pub version: String,
    /// Whether the card boots it from the network every time, and nothing is installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stateless: bool,
    /// The slot of the card's disk that it installs itself into, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<ImageSlot>,
}

/// What the site agent does by itself when nobody has ended a hold in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrder {
    /// When the order takes effect.
    pub expires_at: Time,
    /// What then happens. What is not understood keeps the host held.
    pub on_orphan: OrphanAction,
}

open_enum! {
    /// What becomes of an orphaned hold: `hold.onOrphan` of the policy, as an order keeps it.
    pub enum OrphanAction {
        /// The host stays held.
        KeepHeld,
        /// Stored settings are put back and the host is powered on.
        RestoreAndRelease,
    }
}

impl From<OnOrphan> for OrphanAction {
    fn from(action: OnOrphan) -> Self {
        match action {
            OnOrphan::KeepHeld => Self::KeepHeld,
            OnOrphan::RestoreAndRelease => Self::RestoreAndRelease,
        }
    }
}

/// How the host of a card must be found just before the card's power is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostExpects {
    /// Name of the `DpuHost`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its power state.
    pub power: PowerState,
    /// Whether no update task may run at its BMC either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_update: bool,
}

/// Preconditions the executor re-reads just before it acts. Absent means not asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expects {
    /// The machine behind the BMC.
    #[serde(default)]
    pub identity: MachineIdentity,
    /// Key pin of the BMC that was observed when the directive was planned.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_key_pin: Option<String>,
    /// Power state that must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerState>,
    /// The boot stage must be read and must not forbid a power cut (S1), unless the platform offers none.
    #[serde(default)]
    pub safe_stage: bool,
    /// The host beside the target, looked at just before too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostExpects>,
    /// The rshim through which the target is reached, for `PushImage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rshim: Option<RshimExpects>,
    /// The devlink device by which the target is reached, for `FlashFirmware`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devlink: Option<DevlinkExpects>,
}

/// A devlink device, and the card that its host must find behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevlinkExpects {
    /// Its bus and its name there: `pci/0000:03:00.0`.
    #[schemars(length(max = 128))]
    pub handle: String,
    /// Serial number of the card, as the host told it.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// PCI device serial number of the card, as the host told it.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_serial: Option<String>,
}

/// An rshim, and the card that its host must find behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RshimExpects {
    /// Its name on the host: `rshim0`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// Serial number of the card, as the host told it.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// PCI device serial number of the card, as the host told it.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_serial: Option<String>,
}
