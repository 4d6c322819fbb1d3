//! Which PCI ids belong to an xPU. Adding a card is adding lines here.
//!
//! An id stands here only if no plain NIC has it too: Intel's NetSec accelerator shows its host
//! the ids of an E810 (8086:1599, VF 1889) and of an E823 on its own side (124c, 124d), so PCI
//! alone does not tell it, and its SMBIOS does. Names are those of the PCI ID Repository
//! (pci-ids.ucw.cz) where it has the id, else those of the driver or tool named beside the line.

use serde::{Deserialize, Serialize};

use super::Id;

/// What a function is to its card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Carries packets.
    Network,
    /// Manages the card: rshim, or a driver's control channel.
    Management,
    /// Storage or acceleration.
    Device,
    /// A port of the switch on the card.
    Bridge,
    /// A virtual function with an id of its own.
    VirtualFunction,
    /// The card's firmware is broken or held back: it answers as this instead of as itself. No
    /// new card, and no healthy one.
    Recovery,
    /// Seen by the card's own processors, not by a host.
    CardSide,
}

/// One id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The vendor.
    pub vendor: Id,
    /// The device.
    pub device: Id,
    /// Who makes the card.
    pub maker: &'static str,
    /// The family: `BlueField-3`.
    pub family: &'static str,
    /// What the function is.
    pub role: Role,
}

const NVIDIA: (u16, &str) = (0x15b3, "NVIDIA");
const INTEL: (u16, &str) = (0x8086, "Intel");
const AMD: (u16, &str) = (0x1dd8, "AMD Pensando");
const MARVELL: (u16, &str) = (0x177d, "Marvell");

/// Every id we know.
pub const MODELS: &[Model] = &[
    line(NVIDIA, 0xa2d2, "BlueField", Role::Network),
    line(NVIDIA, 0xa2d6, "BlueField-2", Role::Network),
    // A BlueField-3 Lx: its BMC calls it a BlueField-3.
    line(NVIDIA, 0xa2d9, "BlueField-3", Role::Network),
    line(NVIDIA, 0xa2dc, "BlueField-3", Role::Network),
    line(NVIDIA, 0xa2df, "BlueField-4", Role::Network),
    line(NVIDIA, 0xc2d2, "BlueField", Role::Management),
    line(NVIDIA, 0xc2d3, "BlueField-2", Role::Management),
    line(NVIDIA, 0xc2d4, "BlueField-3", Role::Management),
    line(NVIDIA, 0xc2d5, "BlueField-3", Role::Management),
    line(NVIDIA, 0xc2d6, "BlueField-4", Role::Management),
    line(NVIDIA, 0x1975, "BlueField", Role::Bridge),
    line(NVIDIA, 0x1978, "BlueField-2", Role::Bridge),
    line(NVIDIA, 0x197a, "BlueField-3", Role::Bridge),
    line(NVIDIA, 0x197b, "BlueField-3", Role::Bridge),
    line(NVIDIA, 0xa2d3, "BlueField", Role::VirtualFunction),
    // "Flash Recovery", also called livefish (mstflint); the second of each is its secure form.
    line(NVIDIA, 0x0211, "BlueField", Role::Recovery),
    line(NVIDIA, 0x0214, "BlueField-2", Role::Recovery),
    line(NVIDIA, 0x0215, "BlueField-2", Role::Recovery),
    line(NVIDIA, 0x021a, "BlueField-3", Role::Recovery),
    line(NVIDIA, 0x021b, "BlueField-3", Role::Recovery),
    line(NVIDIA, 0x021c, "BlueField-3", Role::Recovery),
    line(NVIDIA, 0x021d, "BlueField-3", Role::Recovery),
    line(NVIDIA, 0x0220, "BlueField-4", Role::Recovery),
    line(NVIDIA, 0x0221, "BlueField-4", Role::Recovery),
    // Linux idpf; its virtual functions have the same id and are told by their `physfn`.
    line(INTEL, 0x1452, "IPU E2000", Role::Network),
    line(AMD, 0x1000, "DSC", Role::Bridge),
    line(AMD, 0x0002, "DSC", Role::Bridge),
    line(AMD, 0x1001, "DSC", Role::Bridge),
    line(AMD, 0x1002, "DSC", Role::Network),
    line(AMD, 0x1003, "DSC", Role::VirtualFunction),
    line(AMD, 0x1004, "DSC", Role::Management),
    line(AMD, 0x1005, "DSC", Role::Device),
    line(AMD, 0x1006, "DSC", Role::VirtualFunction),
    line(AMD, 0x1007, "DSC", Role::Device),
    line(AMD, 0x1009, "DSC", Role::Network),
    line(AMD, 0x100a, "DSC", Role::Management),
    line(AMD, 0x100b, "DSC", Role::VirtualFunction),
    line(AMD, 0x100c, "DSC", Role::Management),
    line(AMD, 0x100d, "DSC", Role::VirtualFunction),
    // Linux octeon_ep and octeon_ep_vf.
    line(MARVELL, 0xb100, "Octeon TX2", Role::Network),
    line(MARVELL, 0xb103, "Octeon TX2", Role::VirtualFunction),
    line(MARVELL, 0xb200, "Octeon TX2", Role::Network),
    line(MARVELL, 0xb203, "Octeon TX2", Role::VirtualFunction),
    line(MARVELL, 0xb400, "Octeon TX2", Role::Network),
    line(MARVELL, 0xb403, "Octeon TX2", Role::VirtualFunction),
    line(MARVELL, 0xb900, "Octeon 10", Role::Network),
    line(MARVELL, 0xb903, "Octeon 10", Role::VirtualFunction),
    line(MARVELL, 0xba00, "Octeon 10", Role::Network),
    line(MARVELL, 0xba03, "Octeon 10", Role::VirtualFunction),
    line(MARVELL, 0xbc00, "Octeon 10", Role::Network),
    line(MARVELL, 0xbc03, "Octeon 10", Role::VirtualFunction),
    line(MARVELL, 0xbd00, "Octeon 10", Role::Network),
    line(MARVELL, 0xbd03, "Octeon 10", Role::VirtualFunction),
    line(MARVELL, 0xa063, "Octeon", Role::CardSide),
    line(MARVELL, 0xa0f7, "Octeon", Role::CardSide),
];

const fn line(
    (vendor, maker): (u16, &'static str),
    device: u16,
    family: &'static str,
    role: Role,
) -> Model {
    Model {
        vendor: Id(vendor),
        device: Id(device),
        maker,
        family,
        role,
    }
}

/// The line of an id.
pub fn model(vendor: Id, device: Id) -> Option<&'static Model> {
    MODELS
        .iter()
        .find(|model| model.vendor == vendor && model.device == device)
}
