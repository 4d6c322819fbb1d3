//! What the structures say. Texts have lost their padding and are never placeholders.

use serde::{Deserialize, Serialize};

/// Type 0: the host's own firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bios {
    /// Who made it.
    pub vendor: Option<String>,
    /// Its version, in the vendor's own words.
    pub version: Option<String>,
    /// Its date as written, mostly `mm/dd/yyyy`.
    pub date: Option<String>,
    /// Major and minor release, as `3.12`.
    pub release: Option<String>,
}

/// Type 1: the machine as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct System {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its product name.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID in lower case, in the byte order that the kernel shows.
    pub uuid: Option<String>,
    /// Its stock keeping unit.
    pub sku: Option<String>,
    /// Its product family.
    pub family: Option<String>,
}

/// Type 2: a board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseboard {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its product name.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number: on BlueField the one that counts.
    pub serial: Option<String>,
    /// The owner's own label.
    pub asset_tag: Option<String>,
}

/// Type 3: an enclosure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chassis {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// The number of its type in the specification (17 = main server chassis).
    pub kind: u8,
    /// Its serial number.
    pub serial: Option<String>,
    /// The owner's own label.
    pub asset_tag: Option<String>,
}

/// Type 4: a processor socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// The socket's name.
    pub socket: Option<String>,
    /// Whether a processor is in it.
    pub populated: bool,
    /// Who made the processor.
    pub manufacturer: Option<String>,
    /// Its name in words.
    pub version: Option<String>,
    /// Its cores.
    pub cores: Option<u16>,
    /// Those of them that the firmware enabled.
    pub enabled_cores: Option<u16>,
    /// Its threads.
    pub threads: Option<u16>,
    /// The highest clock that the socket supports, in MHz.
    pub max_mhz: Option<u16>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its part number.
    pub part_number: Option<String>,
}

/// Where in PCI something is, as the firmware numbered the buses at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PciLocation {
    /// The segment, which Linux calls domain.
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// The device.
    pub device: u8,
    /// The function.
    pub function: u8,
}

/// Whether something is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SlotUse {
    /// Nothing is in it.
    Available,
    /// Something is.
    InUse,
    /// The slot exists, but this machine cannot use it.
    Unavailable,
    /// The firmware does not know.
    Unknown,
}

/// Type 9: a slot for cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// What is printed beside it.
    pub designation: Option<String>,
    /// The number of its type in the specification.
    pub kind: u8,
    /// Whether something is in it.
    pub usage: SlotUse,
    /// The slot number.
    pub id: Option<u16>,
    /// Lanes of its data bus, where the specification gives a number.
    pub lanes: Option<u8>,
    /// Whether cards may come and go while the machine runs.
    pub hot_plug: Option<bool>,
    /// Where its card is.
    pub location: Option<PciLocation>,
}

/// Type 16: DIMM sockets that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryArray {
    /// The handle by which the DIMMs name it.
    pub handle: u16,
    /// Whether it is system memory, not cache, video or flash memory.
    pub system_memory: bool,
    /// Whether errors are corrected (single or multiple bits); `None` when not known.
    pub corrects_errors: Option<bool>,
    /// The most that it may hold, in bytes.
    pub max_bytes: Option<u64>,
    /// Its sockets.
    pub sockets: Option<u16>,
}

/// Type 17: a DIMM socket and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryDevice {
    /// The handle of its array.
    pub array: u16,
    /// What is printed beside it.
    pub locator: Option<String>,
    /// Its bank.
    pub bank: Option<String>,
    /// Its size in bytes: zero when the socket is empty, `None` when not known.
    pub bytes: Option<u64>,
    /// What it is (`DDR4`, `DDR5` …), where the specification has a name for it.
    pub kind: Option<String>,
    /// The highest speed, in megatransfers a second.
    pub max_mts: Option<u32>,
    /// The speed in use, in megatransfers a second.
    pub configured_mts: Option<u32>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its part number.
    pub part_number: Option<String>,
}

/// Type 41: a device on the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnboardDevice {
    /// What the board's documents call it.
    pub designation: Option<String>,
    /// The number of its type in the specification (5 = Ethernet).
    pub kind: u8,
    /// Whether the firmware enabled it.
    pub enabled: bool,
    /// Which of its type.
    pub instance: u8,
    /// Where it is.
    pub location: Option<PciLocation>,
}
