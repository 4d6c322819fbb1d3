//! Intel IPU E2100.
//!
//! Sources: intel/ipu-redfish 1.6.4 for the name of the service and `SystemType: DPU`; the
//! product name in the SMBIOS of its Arm complex. The family is called as its PCI id is: E2000
//! and E2100 share one. Its system offers no reset that reads inserted media; `Manager.Reset` restarts
//! the whole card, which is how its documents install it. It shows no boot progress and no firmware inventory, which probing finds.

use super::generic::CARD;
use super::{Clue, Vendor};

pub(super) const E2100: Vendor = Vendor {
    table: "intel-e2100",
    family: Some("IPU E2000"),
    clues: &[
        Clue::Model("IPU Adapter E21"),
        Clue::Model("IPU Adapter E20"),
        Clue::Service("Intel IPU"),
        Clue::PartNumber("E2100-"),
        Clue::Maker("Infrastructure Processing Unit"),
    ],
    // Linux idpf.
    pci: &[(0x8086, 0x1452)],
    restarts_with_bmc: true,
    ..CARD
};
