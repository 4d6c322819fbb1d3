//! What a machine is made of, in one shape for every vantage point and for the join of them.
//!
//! A group that is absent was not read from there; `unread` says which could have been and why
//! not. Lists are bounded: what does not fit is counted in `omitted`, never dropped in silence.
//! Values are trimmed, and what identifies nothing (placeholders, padding, a UUID of zeros) is
//! left out by the one who writes.

mod pci;
mod platform;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use pci::{
    CardHealth, CardSeen, ErrorHandler, ErrorHandling, Functions, NamedFunction, NamedFunctions,
    PciFunction, PciLink, Slot, Slots, SrIov,
};
pub use platform::{
    Actor, Actors, BootPlatform, CapabilityRecord, HostAccess, InstallMethod, Probed,
};

use crate::open_enum::open_enum;

/// Everything that one vantage point tells of one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Who made it and how it is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemFacts>,
    /// Firmware components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareList>,
    /// The operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsFacts>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuFacts>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFacts>,
    /// Disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<DiskList>,
    /// Network ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortList>,
    /// PCI functions; of a host only those that belong to cards, so that they fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,
    /// Slots and what is in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    /// The cards that are seen from here in another machine than the one this tells of:
    /// by a host's operating system or a host's BMC.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<CardSeen>,
    /// Trusted platform module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmFacts>,
    /// Secure boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBootFacts>,
    /// What hardware or software does for the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offloads: Option<OffloadList>,
    /// Who handles PCIe errors, by root port.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_handling: Vec<ErrorHandling>,
    /// The BMC itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcFacts>,
    /// How the platform boots and holds, as far as its BMC tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<BootPlatform>,
    /// What a card's host may do to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<HostAccess>,
    /// What the platform can be asked to do, as probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapabilityRecord>,
    /// What contradicts itself within this one view, in words.
    #[schemars(length(max = 16), inner(length(max = 256)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
    /// Groups that could be read from here and were not.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// A group that was not read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The group, by its name in [`Inventory`].
    #[schemars(length(max = 64))]
    pub group: String,
    /// What kept it from being read.
    #[schemars(length(max = 256))]
    pub why: String,
}

/// Who made a machine and how it is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemFacts {
    /// Maker, as told.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Model or product name, as told.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Family that this release recognises, such as `BlueField-3`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Serial number of the card; of a host, of the system.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// System UUID in lower case.
    #[schemars(length(max = 36))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<String>,
    /// PCI device serial number, 16 hexadecimal digits.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_serial: Option<String>,
    /// Part number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_number: Option<String>,
    /// Stock keeping unit.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// Asset tag.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<String>,
    /// Hardware revision.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_revision: Option<String>,
    /// Date of manufacture, as told.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufactured: Option<String>,
}

/// Firmware components.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareList {
    /// By name of the component.
    #[schemars(length(max = 48))]
    pub components: Vec<FirmwareComponent>,
    /// How many are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One firmware component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareComponent {
    /// Its name as its source calls it: `BMC_Firmware`, `fw.mgmt`, `bios`.
    #[schemars(length(max = 96))]
    pub name: String,
    /// The version that runs.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// A version that is stored and takes effect later.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Whether its source says that it can be updated there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updateable: Option<bool>,
}

/// The operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsFacts {
    /// Name and version.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kernel release.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Host name.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuFacts {
    /// Machine architecture, such as `aarch64`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Model.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<i64>,
    /// Cores in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<i64>,
    /// Hardware threads in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<i64>,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryFacts {
    /// What is built in, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    /// What the operating system manages, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_bytes: Option<i64>,
    /// Modules, where they are told.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<MemoryModule>,
    /// How many modules are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// A socket for memory and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryModule {
    /// Name of the socket.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
    /// Size in bytes; zero for an empty socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Kind, such as `DDR5`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Mega-transfers a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mts: Option<i64>,
    /// Serial number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Part number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_number: Option<String>,
}

/// Disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskList {
    /// By name.
    #[schemars(length(max = 32))]
    pub disks: Vec<Disk>,
    /// How many are left out, and how many lists or entries of lists could not be read.
    #[serde(default)]
    pub omitted: i64,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Name as its source calls it.
    #[schemars(length(max = 96))]
    pub name: String,
    /// Kind, such as `Nvme`, `Emmc`, `SSD`. What is elsewhere is `NvmeOverFabrics`, `Iscsi` or
    /// `FibreChannel`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Model.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// World wide name.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
}

/// Network ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortList {
    /// By name.
    #[schemars(length(max = 32))]
    pub ports: Vec<Port>,
    /// How many are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One network port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name as its source calls it.
    #[schemars(length(max = 96))]
    pub name: String,
    /// Permanent MAC address in lower case with colons; the one in use where that is not told.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Speed in Mbit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<i64>,
    /// Whether the link is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_up: Option<bool>,
    /// Driver.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// PCI address of its function.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
}

/// Trusted platform module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TpmFacts {
    /// Whether there is one.
    pub present: bool,
    /// Version, such as `2`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Secure boot as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecureBootFacts {
    /// Whether firmware checks what it boots now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Mode, such as `UserMode`, `SetupMode`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

open_enum! {
    /// Who does what a device offers.
    pub enum Implementation {
        /// The device.
        Hardware,
        /// The kernel.
        Software,
        /// Nobody says.
        Unknown,
    }
}

/// Offloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffloadList {
    /// By name.
    #[schemars(length(max = 96))]
    pub offloads: Vec<Offload>,
    /// How many are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One offload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offload {
    /// The kernel's name, such as `tx-checksum-ipv4`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// Who does it.
    pub implementation: Implementation,
    /// Ports that have it, by their names.
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Whether it is in use on all of them.
    pub on: bool,
}

/// A BMC itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcFacts {
    /// Model.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Firmware version.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
    /// UUID of the Redfish service.
    #[schemars(length(max = 36))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_uuid: Option<String>,
    /// Redfish version.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish_version: Option<String>,
    /// MAC addresses of its own network ports.
    #[schemars(length(max = 8), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
}
