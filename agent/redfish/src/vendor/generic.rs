//! What no vendor's table fits: the standard, and nothing else (DSP0268).

use super::{Kind, Vendor};

/// A card.
pub(super) const CARD: Vendor = Vendor {
    table: "generic",
    family: None,
    kind: Kind::Card,
    redfish: true,
    restarts_with_bmc: false,
    clues: &[],
    pci: &[],
    pci_recovery: &[],
    part_number_in: &[],
    mode: Some(&[]),
    host_access_in: None,
    in_band: &[],
    option_roms: None,
    hold_ceiling: None,
};

/// A host.
pub(super) const HOST: Vendor = Vendor {
    kind: Kind::Host,
    ..CARD
};
