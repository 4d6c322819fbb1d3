//! `DpuImage`: one artefact, immutable, named by its digest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LocalRef;

/// An image that can be installed on cards. The spec cannot change: make a new
/// `DpuImage` for a new version and point the policy or the card at it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "provisioning.opiproject.org",
    version = "v1alpha1",
    kind = "DpuImage",
    namespaced,
    doc = "An image for cards, an operating system, firmware or a service: where it is, what its bytes must be, and how it will be recognised once it runs.",
    crates(kube_core = "::kube_core"),
    status = "DpuImageStatus",
    shortname = "dpuimg",
    category = "xpu",
    derive = "PartialEq",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
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
    printcolumn(name = "Cards", type_ = "integer", json_path = ".status.cards.wanted"),
    printcolumn(
        name = "Running",
        type_ = "integer",
        json_path = ".status.cards.running"
    ),
    printcolumn(
        name = "Fits",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Fits')].status",
        priority = 1
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
#[x_kube(
    validation = Rule::new("has(self.component) == (has(self.kind) && self.kind in ['Bmc', 'Firmware'])").message("an image of kind Bmc or Firmware needs component, the id in the FirmwareInventory that tells its version; one of kind Os has none")
)]
#[x_kube(
    validation = Rule::new("!has(self.activation) || (has(self.kind) && self.kind in ['Bmc', 'Firmware'])").message("activation is of firmware, kind Bmc or Firmware: an operating system runs when the card has booted it")
)]
#[x_kube(
    validation = Rule::new("!has(self.writtenBy) || self.writtenBy != 'HostDevlink' || has(self.kind) && self.kind == 'Firmware' && (!has(self.activation) || self.activation == 'CardPowerCycle')").message("writtenBy: HostDevlink is of kind Firmware, which runs once the card was powered off and on (activation: CardPowerCycle)")
)]
#[x_kube(
    validation = Rule::new("has(self.service) == (has(self.kind) && self.kind == 'App')").message("an image of kind App needs service, the name under which cards run it; one of another kind has none")
)]
#[x_kube(
    validation = Rule::new("!has(self.kind) || !(self.kind in ['App', 'Bmc', 'Firmware']) || !has(self.boot) || self.boot == 'Installed'").message("boot is of operating systems: a service is started by the card's own agent, and firmware runs by itself")
)]
#[x_kube(
    validation = Rule::new("!has(self.kind) || self.kind in ['Os', 'Bundle'] || !has(self.files) || size(self.files) == 0").message("files are of images of kinds Os and Bundle: firmware is the same on every card")
)]
#[x_kube(
    validation = Rule::new("!has(self.kind) || self.kind != 'Wiper' || !has(self.boot) || self.boot == 'Installed'").message("an image of kind Wiper is booted once: boot: Stateless would boot it for ever")
)]
#[x_kube(
    validation = Rule::new("(has(self.brings) && size(self.brings) > 0) == (has(self.kind) && self.kind == 'Bundle')").message("an image of kind Bundle needs brings, the firmware that its installer writes; one of another kind has none")
)]
#[x_kube(
    validation = Rule::new("!has(self.slot) || ((!has(self.kind) || self.kind == 'Os') && (!has(self.boot) || self.boot == 'Installed'))").message("slot is of images of kind Os that are installed: nothing else lies in a slot of the card's disk")
)]
#[x_kube(
    validation = Rule::new("!has(self.kind) || !(self.kind in ['App', 'Bmc', 'Firmware']) || !has(self.fits) || !has(self.fits.minimumDiskBytes)").message("fits.minimumDiskBytes is of images that a card boots: it is the disk that an installer needs, and neither firmware nor a service has one")
)]
#[x_kube(
    validation = Rule::new(oci_sources_are_whole()).message("an oci source is oci://REGISTRY/REPOSITORY:TAG or oci://REGISTRY/REPOSITORY@sha256:DIGEST, without user name and password; the repository is in lower case")
)]
#[x_kube(
    validation = Rule::new("!has(self.pullSecretRef) || self.sources.exists(source, !source.startsWith('http://')) || (has(self.signatures) && self.signatures.exists(signature, has(signature.cosign) || (has(signature.dsse) && signature.dsse.sources.exists(source, !source.startsWith('http://')))))").message("pullSecretRef is of no use with http sources alone: an account is shown over https and to oci registries only")
)]
pub struct DpuImageSpec {
    /// What the image is.
    #[serde(default)]
    pub kind: ImageKind,
    /// What of the card a `Bmc` or `Firmware` image is for, by its id in the `FirmwareInventory` of the
    /// card's BMC, such as `BMC_Firmware` or `DPU_NIC`: there the version is read that runs. With
    /// `writtenBy: HostDevlink` by its name in `devlink dev info`, such as `fw.mgmt`.
    #[schemars(length(min = 1, max = 96), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The service that an `App` image is: a card runs one image at a time under that name, and another
    /// image of that name takes its place.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What lets firmware run once it is written. Absent is `BmcReset` for kind `Bmc`, and
    /// `CardPowerCycle` for kind `Firmware`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<FirmwareActivation>,
    /// Who writes a `Firmware` image to the card. Absent is `CardBmc`. For `HostDevlink` the policy's
    /// `install.methods` must name `DevlinkFlash`, and the host be trusted with its cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<FirmwareWriter>,
    /// Version: of a system for people, its agent reports it; of firmware as the `FirmwareInventory` or
    /// the driver lists it.
    #[schemars(length(min = 1, max = 63))]
    pub version: String,
    /// `sha256:` and 64 hex digits over the whole file. Nothing unverified is ever served to a card.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// How cards run it. `Stateless` cards need a way of the policy's `install.methods` that leads to
    /// the network at every boot: `UefiHttp`.
    #[serde(default)]
    pub boot: ImageBoot,
    /// The slot of the card's own disk that it installs itself into. What is in the other slots must
    /// stay as it is, so that a card can be booted from there again without an install
    /// (`LocalStorage` of the policy's `install.methods`). Absent: it may overwrite the whole disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<ImageSlot>,
    /// Size of the file in bytes; when given, a source of another size is refused early.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Where the same bytes are, tried in order: HTTP(S) URLs, and artefacts of OCI registries as
    /// `oci://REGISTRY/REPOSITORY:TAG` or `oci://REGISTRY/REPOSITORY@sha256:DIGEST`, of which a
    /// layer has the digest above. A tag is resolved once. Redirects to another host are refused.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(min = 10, max = 1024),
            regex(pattern = r"^(https?://[^\s@]+|oci://\S+)$")
        )
    )]
    pub sources: Vec<String>,
    /// Secret of the same namespace with the accounts for `sources` and `signatures`, of type
    /// `kubernetes.io/dockerconfigjson`; or `kubernetes.io/basic-auth`, and then its annotation
    /// `provisioning.opiproject.org/account-host` says which host, with or without a port, the
    /// account is for. Each account is shown to its own host alone, over https. Read by the site
    /// agent and by nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
    /// What must run on a card before this image is installed there, by its inventory. All of it
    /// must hold; until it does nothing is done to the card or its host. A card that runs the
    /// image already is adopted whatever stands here.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<ComponentRequirement>,
    /// What a `Bundle` brings beside its system: each of these, or a later version, must run before
    /// the card is Ready.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["component".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brings: Vec<BroughtComponent>,
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
    /// Files of each card's own, which lie over the file slots of the image while it is served to
    /// that card. Nothing is done to a card whose files cannot be made.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ImageFile>,
}

/// What an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImageKind {
    /// The operating system of a card: `imageRef` names it.
    #[default]
    Os,
    /// The firmware of a card's BMC, or of what restarts with it: `firmwareRefs` name it.
    Bmc,
    /// A service, one executable file without libraries of its own, which the card's agent runs:
    /// `serviceRefs` name it.
    App,
    /// Firmware of the card itself, such as that of its network interface or its boot firmware:
    /// `firmwareRefs` name it.
    Firmware,
    /// The operating system of a card, and firmware that its installer writes too: `imageRef` names it.
    Bundle,
    /// A system that wipes the card it is booted on, if it was ordered to: `wipe.imageRef` names it.
    Wiper,
}

/// What lets firmware run that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FirmwareActivation {
    /// The card's BMC restarts.
    BmcReset,
    /// The card is powered off and on, by its BMC.
    CardPowerCycle,
}

/// Who writes firmware to a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FirmwareWriter {
    /// The card's BMC.
    #[default]
    CardBmc,
    /// The driver of the card on its host, which the host's agent asks for it by devlink.
    HostDevlink,
}

impl ImageKind {
    /// Whether cards boot it, so that it may need a disk. Firmware is written, and a service is started.
    pub fn is_booted(self) -> bool {
        match self {
            Self::Os | Self::Bundle | Self::Wiper => true,
            Self::Bmc | Self::App | Self::Firmware => false,
        }
    }
}

impl DpuImageSpec {
    /// What lets this firmware run once it is written.
    pub fn activation(&self) -> FirmwareActivation {
        self.activation.unwrap_or(match self.kind {
            ImageKind::Firmware => FirmwareActivation::CardPowerCycle,
            ImageKind::Bmc
            | ImageKind::Os
            | ImageKind::Bundle
            | ImageKind::App
            | ImageKind::Wiper => FirmwareActivation::BmcReset,
        })
    }
}

/// How cards run an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImageBoot {
    /// It installs itself, and the card boots from its own disk from then on. How it got there is
    /// taken back afterwards.
    #[default]
    Installed,
    /// The card boots it from the network every time, and nothing is installed. That it boots from
    /// there is the wanted state: it stays set until another image is wanted, or none.
    Stateless,
}

/// One of several places on a card's own disk, each with a boot entry of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSlot {
    /// Its name, such as `A`. Of two images with the same one the later overwrites the earlier.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    )]
    pub name: String,
    /// `DisplayName` of the UEFI boot option that its installer makes for the slot, as the card's BMC
    /// lists it under `BootOptions`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^\S(.*\S)?$"))]
    pub boot_entry: String,
}

/// One signature of an image, by how it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.dsse) != has(self.cosign)").message("a signature needs dsse or cosign, and not both: two ways are two signatures")
)]
pub struct ImageSignature {
    /// A DSSE envelope in a file of its own, over an in-toto statement that names the image's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsse: Option<DsseFile>,
    /// What `cosign sign --key` has put beside an artefact of which the image is the one layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosign: Option<CosignArtefact>,
}

/// An artefact of an OCI registry that was signed by cosign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct CosignArtefact {
    /// The artefact, as `oci://REGISTRY/REPOSITORY:TAG` or `oci://REGISTRY/REPOSITORY@sha256:DIGEST`,
    /// and its mirrors, tried in order; usually as in `sources` of the image. A tag is resolved once.
    /// The accounts are those of `pullSecretRef`.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(min = 10, max = 1024),
            regex(
                pattern = r"^oci://[^\s/@]+(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$"
            )
        )
    )]
    pub sources: Vec<String>,
}

/// A DSSE envelope in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct DsseFile {
    /// HTTP(S) URLs of the same envelope, of at most 16 KiB, tried in order. Redirects to another
    /// host are refused. The accounts are those of `pullSecretRef`.
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
    /// The disk that its installer needs, in bytes: no install begins on a card of which all who tell of
    /// its disks tell of smaller ones alone. Optical drives, what is attached by USB and what is reached
    /// over a network do not count. Of images that a card boots, and neither of firmware nor of services.
    /// Beside what says which cards they are: upgrade the operator before you use it.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_disk_bytes: Option<i64>,
}

impl ImageFits {
    /// Whether it says what cards are, and not only what they must have room for.
    pub fn names_cards(&self) -> bool {
        let Self {
            vendors,
            families,
            models,
            part_numbers,
            architectures,
            minimum_disk_bytes: _,
        } = self;
        let lists = [vendors, families, models, part_numbers, architectures];
        lists.into_iter().any(|list| !list.is_empty())
    }
}

/// The OCI distribution specification's names of repositories and tags, behind host and port.
fn oci_sources_are_whole() -> String {
    let host = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?";
    let repository = r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)+";
    let reference = r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})";
    format!(
        "self.sources.all(source, !source.startsWith('oci:') || source.matches(r'^oci://{host}{repository}{reference}$'))"
    )
}

/// A file of a card's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageFile {
    /// The file slot of the image in which it lies, such as `user-data` or `bf.cfg`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub slot: String,
    /// Its text, as a Jinja template of `values.NAME` (`spec.values` of the `Dpu`), `dpu.name`,
    /// `dpu.namespace`, `dpu.uid`, `dpu.serialNumber`, `dpu.systemUuid`, `host`, `site`,
    /// `image.name`, `image.version` and `image.digest`. The filters `sh`, `yaml` and `json` quote.
    #[schemars(length(max = 16384))]
    pub template: String,
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

/// Firmware that an image brings along with its system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BroughtComponent {
    /// The component, as `spec.firmware` of the card's `DpuInventory` calls it, such as `DPU_NIC`; only
    /// letters and digits count, in either case.
    #[schemars(length(min = 1, max = 96), regex(pattern = r"[A-Za-z0-9]"))]
    pub component: String,
    /// Its version.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^\S+$"))]
    pub version: String,
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
    /// `Fits`: the cards that want it are such as it is made for.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many sites have it. What changes in numbers and messages alone may be told half a minute late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<ImageSites>,
    /// How many cards want it, and how many run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<ImageCards>,
}

/// The stores of sites, as far as they are to have an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSites {
    /// Sites of which a card wants it, or may have to go back to it.
    pub wanted: i64,
    /// Of these, those in whose store its bytes are.
    pub fetched: i64,
    /// Of these, those whose store cannot have it.
    pub failed: i64,
}

/// The cards of an image's namespace, by what the image is to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageCards {
    /// Cards that want it: they or the policy of their host name it.
    pub wanted: i64,
    /// Of these, those that it is made for.
    pub fits: i64,
    /// Of these, those that it is not made for.
    pub does_not_fit: i64,
    /// Of these, those of which nobody has told what is asked.
    pub not_known: i64,
    /// Cards that run it, whether or not they want it.
    pub running: i64,
}
