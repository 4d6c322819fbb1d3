//! Marvell Octeon 10: declared, for want of a Redfish service.
//!
//! Source: Marvell's pcie_ep_octeon_host and the lab tools for its boards: it is managed over a
//! serial line and installed over a network port of its own, neither of which is a way of ours.

use super::generic::CARD;
use super::{Clue, Vendor};

pub(super) const OCTEON_10: Vendor = Vendor {
    table: "octeon-10",
    family: Some("Octeon 10"),
    redfish: false,
    clues: &[Clue::Model("Octeon 10"), Clue::Model("OCTEON-10")],
    pci: &[
        (0x177d, 0xb900),
        (0x177d, 0xba00),
        (0x177d, 0xbc00),
        (0x177d, 0xbd00),
    ],
    ..CARD
};
