//! What a platform can be asked to do, and how it boots and holds, as far as its BMC tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observed::{BootStage, Offer};
use crate::open_enum::open_enum;

/// One thing that was probed: whether it is offered, which values, and where that stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// Whether the platform offers it.
    pub offer: Offer,
    /// Values that it says it allows; absent where it does not say.
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Path of the document that told, or the table of this release that did.
    #[schemars(length(max = 255))]
    pub source: String,
}

open_enum! {
    /// A way to get an image onto a card.
    pub enum InstallMethod {
        /// Redfish virtual media.
        VirtualMedia,
        /// Redfish `UpdateService.SimpleUpdate`: the BMC pulls.
        SimpleUpdate,
        /// Redfish multipart push.
        MultipartPush,
        /// UEFI HTTP boot by boot override.
        UefiHttp,
        /// PXE by boot override.
        Pxe,
        /// From the host over rshim.
        Rshim,
        /// From the host by `devlink flash`.
        DevlinkFlash,
        /// From the card's own disk, where it was installed before, by a one-time boot of its entry.
        LocalStorage,
    }
}

/// What one card or host can really be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityRecord {
    /// When this was probed. Absent where nothing was asked: a family without a Redfish service is
    /// declared by its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed_at: Option<Time>,
    /// The table of vendor knowledge that was applied, such as `bluefield-3`; `generic` without one.
    #[schemars(length(max = 64))]
    pub vendor_table: String,
    /// `ComputerSystem.Reset`, with its reset types.
    pub reset: Probed,
    /// `Manager.Reset`.
    pub bmc_reset: Probed,
    /// Boot override, with its targets.
    pub boot_override: Probed,
    /// Virtual media that hold an ISO.
    pub virtual_media: Probed,
    /// `UpdateService.SimpleUpdate`, with its transfer protocols.
    pub simple_update: Probed,
    /// Multipart push.
    pub multipart_push: Probed,
    /// Boot progress.
    pub boot_progress: Probed,
    /// The stage in which a boot is complete in the mode the card is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_stage: Option<BootStage>,
    /// Secure boot through the BMC.
    pub secure_boot: Probed,
    /// SPDM measurements through `ComponentIntegrity`.
    pub spdm: Probed,
    /// Redfish sessions.
    pub sessions: Probed,
    /// Server-sent events.
    pub events: Probed,
    /// Ways in that follow from the above, in no order.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_methods: Vec<InstallMethod>,
}

/// How a platform boots and holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootPlatform {
    /// Boot order, by option name.
    #[schemars(length(max = 32), inner(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_order: Vec<String>,
    /// What the machine does when mains power returns.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_restore_policy: Option<String>,
    /// Whether the host's watchdog is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_enabled: Option<bool>,
    /// What the watchdog does when it expires.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_action: Option<String>,
    /// Whether option ROMs of PCIe cards run, where a firmware setting tells.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_roms: Option<String>,
    /// The longest that this platform can be held in its firmware, in seconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ceiling_seconds: Option<i64>,
    /// Where the ceiling is known from.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ceiling_source: Option<String>,
    /// Firmware (BIOS) version.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
}

/// What a card's host may do to the card, and the mode that the card is in. As told, in the words
/// of its BMC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostAccess {
    /// Mode, such as `DpuMode`, `NicMode`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What the host may do, such as `Privileged`, `Restricted`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_privilege: Option<String>,
    /// Whether the host may use rshim, such as `Enabled`, `Disabled`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_rshim: Option<String>,
}

/// Who takes part when a host and its cards boot; each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actors {
    /// The host's UEFI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_firmware: Option<Actor>,
    /// The host's BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_bmc: Option<Actor>,
    /// BMCs of the cards.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub card_bmcs: Vec<Actor>,
    /// Firmware of the cards.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub card_firmware: Vec<Actor>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// The object it belongs to: `dpu/NAME` or `dpuhost/NAME`.
    #[schemars(length(max = 260))]
    pub of: String,
    /// Its version, where it is known.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The report that tells of it.
    #[schemars(length(max = 253))]
    pub seen_by: String,
}
