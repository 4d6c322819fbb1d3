//! `DpuBootPolicy`: how the hosts that name it, and their cards, may be treated.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::LocalRef;
use crate::drift::OnDrift;
use crate::image_choice::ImageChoice;
use crate::image_rules::ImageRules;
use crate::inventory::InstallMethod;

/// Boot order, waits and limits for the hosts whose `policyRef` names this policy.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuBootPolicy",
    plural = "dpubootpolicies",
    namespaced,
    doc = "Who boots first, who waits for whom and how long, and how far Lockstep may go, for the hosts that name this policy.",
    crates(kube_core = "::kube_core"),
    status = "DpuBootPolicyStatus",
    shortname = "dpubp",
    category = "xpu",
    derive = "PartialEq",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Order", type_ = "string", json_path = ".spec.order"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.imageRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
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
    validation = Rule::new("self.hostWait.until == 'None' || self.order == 'XpuFirst'")
        .message("a host that waits for its cards needs order XpuFirst"),
    validation = Rule::new("!(self.hostWait.until == 'None' && self.hostWait.onTimeout != 'Hold')")
        .message("hostWait.onTimeout other than Hold needs hostWait.until other than None"),
    validation = Rule::new("self.hostWait.until == 'None' || self.hold.orphanAfterSeconds >= self.hostWait.timeoutSeconds")
        .message("hold.orphanAfterSeconds must be at least hostWait.timeoutSeconds: a work order must not end a wait that is still allowed"),
    validation = Rule::new("!has(self.imageChoices) || self.imageChoices.all(one, self.imageChoices.exists_one(other, other.name == one.name))")
        .message("imageChoices must not use a name twice")
)]
pub struct DpuBootPolicySpec {
    /// `Observe` reads and reports, `Plan` also publishes the next decision, `Enforce` carries it out.
    #[serde(default)]
    pub mode: PolicyMode,
    /// Images for the cards that do not name one, by what a card is. The first that fits counts; a
    /// card that none fits gets `imageRef`. Nothing later counts while it is not known whether an
    /// earlier one fits.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_choices: Vec<ImageChoice>,
    /// Image for the cards that do not name one, and that none of `imageChoices` fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<LocalRef>,
    /// Firmware images that the cards are to run, each of another component: the BMC writes one at a
    /// time, before an operating system is installed. Cards that no image is wanted of get theirs too: to leave
    /// a card alone, pause it.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware_refs: Vec<LocalRef>,
    /// Services that the cards are to run once their operating system does, each under another name.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_refs: Vec<LocalRef>,
    /// What an image needs before it goes onto a card, whoever names it. Absent: its digest alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageRules>,
    /// Who boots first.
    #[serde(default)]
    pub order: BootOrder,
    /// What the host waits for.
    #[serde(default)]
    pub host_wait: HostWait,
    /// How the host is held and what ends a hold that nobody looks after.
    #[serde(default)]
    pub hold: HoldPolicy,
    /// How cards are installed and when an install has failed.
    #[serde(default)]
    pub install: InstallPolicy,
    /// What becomes of a card that runs something else than it was seen to run as wanted, which nobody asked
    /// Lockstep for. Under `hostWait.onTimeout: Hold` a repair that fails leaves the host held: set `Continue` beside
    /// `Repair` where that is not wanted.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// What to do when a platform cannot tell its boot stage.
    #[serde(default)]
    pub unobservable_stage: UnobservableStage,
    /// What becomes of cards and hosts that discovery finds. Discovery puts what it proposes
    /// under the first policy of the namespace, by name, that has this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<DiscoveredPolicy>,
}

/// What becomes of what discovery finds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveredPolicy {
    /// A proposed card that fits one of these is approved without a person. Setting it takes
    /// the verb `approve` on `dpus`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<InventorySelector>,
}

/// Cards by what they are made of. Everything given must fit, and something must be given: a
/// selector whose only key is misspelt must not fit every card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.families) && size(self.families) > 0) || (has(self.partNumbers) && size(self.partNumbers) > 0) || (has(self.serialNumbers) && size(self.serialNumbers) > 0) || (has(self.pairingObserved) && self.pairingObserved)")
        .message("a selector needs families, partNumbers, serialNumbers or pairingObserved: true")
)]
pub struct InventorySelector {
    /// Families, such as `BlueField-3`.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Part numbers.
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_numbers: Vec<String>,
    /// Serial numbers.
    #[schemars(length(max = 256), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serial_numbers: Vec<String>,
    /// Whether the card must have been seen in its host, by the host or its BMC.
    #[serde(default)]
    pub pairing_observed: bool,
}

/// How far Lockstep goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyMode {
    /// Read and report only.
    Observe,
    /// Also publish the next decision; change nothing.
    #[default]
    Plan,
    /// Carry decisions out.
    Enforce,
}

/// Who boots first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BootOrder {
    /// Cards first; the host may wait for them.
    #[default]
    XpuFirst,
    /// The host first, then its cards.
    HostFirst,
    /// Neither waits.
    Parallel,
}

/// What the host waits for, for how long, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostWait {
    /// The condition of all cards of the host that ends the wait.
    #[serde(default)]
    pub until: WaitUntil,
    /// Seconds from the start of the hold.
    #[schemars(range(min = 30, max = 86400))]
    #[serde(default = "HostWait::default_timeout")]
    pub timeout_seconds: i64,
    /// What happens to the host then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

impl HostWait {
    fn default_timeout() -> i64 {
        3600
    }
}

impl Default for HostWait {
    fn default() -> Self {
        Self {
            until: WaitUntil::default(),
            timeout_seconds: Self::default_timeout(),
            on_timeout: OnTimeout::default(),
        }
    }
}

/// What the host waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitUntil {
    /// Nothing: the host is never held.
    #[default]
    None,
    /// Every card's wanted operating system has been seen running.
    OsRunning,
}

/// What becomes of a held host when its wait times out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// The host goes on without the card's services.
    Continue,
    /// The host stays held until a person acts.
    #[default]
    Hold,
    /// The hold ends, and the host is left powered off.
    PowerOff,
}

/// How hosts are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldPolicy {
    /// Mechanisms in the order of preference; the first that the platform can honour is used.
    #[schemars(length(min = 1, max = 4))]
    #[serde(default = "HoldPolicy::default_mechanisms")]
    pub mechanisms: Vec<HoldMechanism>,
    /// What the site agent does by itself when a hold's work order expires: when the API
    /// server cannot be reached, or the DpuHost is gone, or still says the same.
    #[serde(default)]
    pub on_orphan: OnOrphan,
    /// Seconds from the start of a hold until its work order expires.
    #[schemars(range(min = 60, max = 172_800))]
    #[serde(default = "HoldPolicy::default_orphan_after")]
    pub orphan_after_seconds: i64,
}

impl HoldPolicy {
    fn default_mechanisms() -> Vec<HoldMechanism> {
        vec![HoldMechanism::PoweredOff]
    }

    fn default_orphan_after() -> i64 {
        7200
    }
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self {
            mechanisms: Self::default_mechanisms(),
            on_orphan: OnOrphan::default(),
            orphan_after_seconds: Self::default_orphan_after(),
        }
    }
}

/// A way to keep a host from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HoldMechanism {
    /// The host's BMC keeps it powered off. The card's slot must keep power meanwhile.
    PoweredOff,
    /// The host is on, and its Node is tainted `NoExecute` until the cards are ready. For
    /// platforms whose slots have no power while the host is off. The host is powered on
    /// under the taint, and its cards are changed beside it, so this needs `nodeName` and
    /// `disruption: Allowed` on the DpuHost.
    NodeTainted,
}

/// What the site agent does with an orphaned hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnOrphan {
    /// The host stays held.
    #[default]
    KeepHeld,
    /// Stored settings are put back and the host is powered on.
    RestoreAndRelease,
}

/// How cards are installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.methods.all(one, self.methods.exists_one(other, other == one))")
        .message("install.methods must not name a method twice")
)]
#[x_kube(
    validation = Rule::new("!has(self.goldenImageRef) || self.onFailure == 'RollBack'")
        .message("install.goldenImageRef is the last way back, so install.onFailure must be RollBack")
)]
pub struct InstallPolicy {
    /// Ways by which an image may get onto a card, in the order of preference. The first that the
    /// card or its BMC offers is used; after an install that failed, the next. No other way is taken.
    #[schemars(length(min = 1, max = 8))]
    #[serde(default = "InstallPolicy::default_methods")]
    pub methods: Vec<AllowedMethod>,
    /// Seconds from the card's power-on until its own agent must have reported the wanted image.
    #[schemars(range(min = 30, max = 86400))]
    #[serde(default = "InstallPolicy::default_os_timeout")]
    pub os_timeout_seconds: i64,
    /// Seconds from the request for an update of firmware until the new version must run.
    #[schemars(range(min = 30, max = 86400))]
    #[serde(default = "InstallPolicy::default_firmware_timeout")]
    pub firmware_timeout_seconds: i64,
    /// Installs tried per card and image before `onFailure` says what becomes of the card; updates
    /// of firmware are counted per card, image and component.
    #[schemars(range(min = 1, max = 5))]
    #[serde(default = "InstallPolicy::default_attempts")]
    pub max_attempts: i64,
    /// What becomes of a card whose wanted image did not come up in `maxAttempts` installs.
    #[serde(default)]
    pub on_failure: OnInstallFailure,
    /// The golden image: what goes onto a card, by its BMC alone, if its last good image does not
    /// come up either, may not go onto it, or is not known. With `onFailure: RollBack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_image_ref: Option<LocalRef>,
    /// Seconds a card gets to shut down gracefully before its power is cut.
    #[schemars(range(min = 0, max = 3600))]
    #[serde(default = "InstallPolicy::default_shutdown")]
    pub shutdown_grace_seconds: i64,
}

/// What becomes of a card whose wanted image does not come up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInstallFailure {
    /// It stays as it is until a person acts.
    #[default]
    Stall,
    /// The image that the card was last seen to run is installed again, if there is one and it may
    /// go onto the card now, and then the one that `goldenImageRef` names; `maxAttempts` counts for
    /// each anew. The host's wait ends with it as with
    /// the wanted one. The card is not Ready then, and none of them is tried again before a
    /// person names another one or changes `retryToken`.
    RollBack,
}

/// A way to get an image onto a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AllowedMethod {
    /// The card's BMC inserts the image as virtual media, and the card boots from them once.
    VirtualMedia,
    /// The card's firmware fetches the image itself, once, from the URL that its BMC is given
    /// (`Boot.HttpBootUri` of the ComputerSystem). Of an image that is `Stateless`: at every boot.
    UefiHttp,
    /// The card's BMC fetches the image and writes it (`UpdateService.SimpleUpdate`). That resets
    /// the card, and its system is not asked to shut down before.
    SimpleUpdate,
    /// The site agent sends the image to the card's BMC, which writes it
    /// (`MultipartHttpPushUri`). The same holds.
    MultipartPush,
    /// The agent of the card's host pushes the image, a boot stream of its maker, over rshim, which
    /// resets the card. For hosts with `trustDomain: Trusted` alone.
    Rshim,
    /// The card's firmware fetches the image by TFTP, once, as the site's PXE service tells it to.
    Pxe,
    /// The card boots its image from the slot of its own disk in which it was seen to run before
    /// (`slot` of the image), by the boot entry of that slot, once; nothing is installed. Once the
    /// image runs, its entry becomes the first of the boot order.
    LocalStorage,
    /// The driver of the card's host writes firmware that names `writtenBy: HostDevlink`, as the
    /// host's agent asks it to. No operating system goes that way. For hosts with
    /// `trustDomain: Trusted` alone.
    DevlinkFlash,
}

impl AllowedMethod {
    /// Every way.
    pub const ALL: [Self; 8] = [
        Self::VirtualMedia,
        Self::UefiHttp,
        Self::SimpleUpdate,
        Self::MultipartPush,
        Self::Rshim,
        Self::Pxe,
        Self::LocalStorage,
        Self::DevlinkFlash,
    ];

    /// Whether an operating system goes that way onto a card.
    pub fn installs(self) -> bool {
        self != Self::DevlinkFlash
    }
}

impl From<AllowedMethod> for InstallMethod {
    fn from(method: AllowedMethod) -> Self {
        match method {
            AllowedMethod::VirtualMedia => Self::VirtualMedia,
            AllowedMethod::UefiHttp => Self::UefiHttp,
            AllowedMethod::SimpleUpdate => Self::SimpleUpdate,
            AllowedMethod::MultipartPush => Self::MultipartPush,
            AllowedMethod::Rshim => Self::Rshim,
            AllowedMethod::Pxe => Self::Pxe,
            AllowedMethod::LocalStorage => Self::LocalStorage,
            AllowedMethod::DevlinkFlash => Self::DevlinkFlash,
        }
    }
}

impl InstallPolicy {
    fn default_methods() -> Vec<AllowedMethod> {
        vec![AllowedMethod::VirtualMedia]
    }

    fn default_os_timeout() -> i64 {
        3600
    }

    fn default_firmware_timeout() -> i64 {
        3600
    }

    fn default_attempts() -> i64 {
        2
    }

    fn default_shutdown() -> i64 {
        120
    }
}

impl Default for InstallPolicy {
    fn default() -> Self {
        Self {
            methods: Self::default_methods(),
            os_timeout_seconds: Self::default_os_timeout(),
            firmware_timeout_seconds: Self::default_firmware_timeout(),
            max_attempts: Self::default_attempts(),
            on_failure: OnInstallFailure::default(),
            golden_image_ref: None,
            shutdown_grace_seconds: Self::default_shutdown(),
        }
    }
}

/// What to assume of a machine that is on and whose platform cannot tell its boot stage (S5).
/// A card whose own agent says that it runs may be shut down whatever stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnobservableStage {
    /// `Refuse` does not cut its power; `SafeAfter` does once it has been on for `dumpGraceSeconds`.
    #[serde(default)]
    pub action: UnobservableStageAction,
    /// Seconds that the machine must have been on.
    #[schemars(range(min = 60, max = 86400))]
    #[serde(default = "UnobservableStage::default_grace")]
    pub dump_grace_seconds: i64,
}

impl UnobservableStage {
    fn default_grace() -> i64 {
        1800
    }
}

impl Default for UnobservableStage {
    fn default() -> Self {
        Self {
            action: UnobservableStageAction::default(),
            dump_grace_seconds: Self::default_grace(),
        }
    }
}

/// See [`UnobservableStage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnobservableStageAction {
    /// Do not cut power on a guess.
    #[default]
    Refuse,
    /// Treat the machine as safe after the grace period.
    SafeAfter,
}

/// What is known of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DpuBootPolicyStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, or what the policy names and does not exist.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
