//! PCI: functions, slots, cards as a host sees them, and who handles errors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;

/// PCI functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Functions {
    /// By address.
    #[schemars(length(max = 64))]
    pub functions: Vec<PciFunction>,
    /// How many are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One physical PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PciFunction {
    /// `0000:3b:00.0`.
    #[schemars(length(max = 16))]
    pub address: String,
    /// Vendor and device id: `15b3:a2dc`.
    #[schemars(length(max = 9))]
    pub id: String,
    /// Vendor and device id of the board.
    #[schemars(length(max = 9))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem_id: Option<String>,
    /// Class code, six hexadecimal digits.
    #[schemars(length(max = 6))]
    pub class: String,
    /// Driver that is bound.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// NUMA node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<i64>,
    /// Its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PciLink>,
    /// Virtual functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sr_iov: Option<SrIov>,
    /// Physical slot by the kernel's name.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
}

/// A PCIe link, now and at best.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PciLink {
    /// Lanes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// Lanes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_width: Option<i64>,
    /// Mega-transfers a second and lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mts: Option<i64>,
    /// The same at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_speed_mts: Option<i64>,
}

/// Functions of a card by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedFunctions {
    /// Every physical one, and of the others the lowest indices.
    #[schemars(length(max = 32))]
    pub functions: Vec<NamedFunction>,
    /// How many virtual functions and subfunctions are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One function of a card on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedFunction {
    /// `pf0` for a physical function, `pf0vf3` for a virtual one, `pf0sf88` for a subfunction;
    /// with `d1` and so on before it where the card is several PCI devices.
    #[schemars(length(max = 32))]
    pub name: String,
    /// Which PCI device of the card, in order of address.
    #[serde(default)]
    pub device: i64,
    /// Index of the physical function.
    pub physical: i64,
    /// Index of the virtual function.
    #[serde(rename = "virtual", default, skip_serializing_if = "Option::is_none")]
    pub virtual_index: Option<i64>,
    /// Number of the subfunction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<i64>,
    /// PCI address as this host numbers it; a subfunction has that of its physical function.
    #[schemars(length(max = 16))]
    pub address: String,
    /// Network interface, unless it was given to a container or a virtual machine.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Virtual functions of a physical one: how many it can have, and how many of them are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sr_iov: Option<SrIov>,
}

/// Virtual functions of a physical one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SrIov {
    /// How many it can have.
    pub total: i64,
    /// How many there are: those are used, the rest remains.
    pub enabled: i64,
}

/// Slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slots {
    /// By name.
    #[schemars(length(max = 32))]
    pub slots: Vec<Slot>,
    /// How many are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// The name that is printed beside it.
    #[schemars(length(max = 96))]
    pub name: String,
    /// Whether something is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<bool>,
    /// Lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<i64>,
    /// Whether it may be changed while the host runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_plug: Option<bool>,
    /// PCI addresses of the functions in it.
    #[schemars(length(max = 16), inner(length(max = 16)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

open_enum! {
    /// How a card answers over PCI.
    pub enum CardHealth {
        /// As itself.
        Answers,
        /// With a recovery id: its firmware is broken or held back. It is the card that was
        /// there before, not a new one.
        Recovery,
        /// It is listed and answers with ones only.
        Gone,
    }
}

/// A card as the host that it sits in sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CardSeen {
    /// Maker, as told.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Family that this release recognises.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Serial number from its vital product data, or from the host's BMC.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// PCI device serial number, 16 hexadecimal digits.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_serial: Option<String>,
    /// Part number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_number: Option<String>,
    /// Slot by the name that is printed beside it, else by the kernel's or the BMC's name.
    #[schemars(length(max = 96))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// PCI addresses of its functions as this host numbers them.
    #[schemars(length(max = 16), inner(length(max = 16)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// The same by name, with what they are divided into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<NamedFunctions>,
    /// MAC addresses of its ports, in lower case with colons.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// How it answers; a BMC does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<CardHealth>,
    /// Its rshim on this host.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rshim: Option<String>,
    /// Its devlink device on this host, by bus and name there: `pci/0000:03:00.0`. That is the one
    /// which tells `firmware`. Told by an agent alone that can have firmware written by it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devlink: Option<String>,
    /// Versions of its firmware by its driver's account.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<super::FirmwareComponent>,
    /// What it can be asked to do, of a family that has no Redfish service to probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Box<super::CapabilityRecord>>,
}

open_enum! {
    /// Who handles PCIe errors below a root port.
    pub enum ErrorHandler {
        /// The operating system.
        Native,
        /// Firmware: a link that drops may take the host down.
        FirmwareFirst,
        /// Nobody: the operating system was told to leave them.
        Nobody,
        /// Nobody says.
        Unknown,
    }
}

/// Who handles PCIe errors below one root port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorHandling {
    /// PCI address of the port.
    #[schemars(length(max = 16))]
    pub root_port: String,
    /// Who handles them.
    pub handler: ErrorHandler,
    /// Whether the port contains them (DPC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<bool>,
    /// Whether the port's hot-plug is native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_plug: Option<bool>,
}
