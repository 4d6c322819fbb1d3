//! What no vendor's table fits: the standard, and nothing else (DSP0268).
//!
//! Source of the gap of hosts: NVIDIA's bare-metal-manager-core, issue 708: some hosts that were powered
//! on within seconds of a cut stayed off for good, and two minutes were enough. It names no maker, so it
//! is kept for all of them.

use super::{Kind, Vendor};
use crate::gaps::PowerGaps;

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
    power_gaps: PowerGaps::NONE,
    paused_needs_restart: false,
};

/// A host.
pub(super) const HOST: Vendor = Vendor {
    kind: Kind::Host,
    power_gaps: PowerGaps {
        after_cut: 120,
        ..PowerGaps::NONE
    },
    ..CARD
};
