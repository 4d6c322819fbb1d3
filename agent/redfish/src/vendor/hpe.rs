//! Hosts by HPE.
//!
//! Source of the settings: the attribute registries of HPE's servers, where `PciSlot1OptionROM`
//! and its like are Enabled or Disabled.

use super::generic::HOST as ANY;
use super::{Clue, Vendor};

pub(super) const HOST: Vendor = Vendor {
    table: "hpe",
    clues: &[
        Clue::Maker("HPE"),
        Clue::Maker("Hewlett Packard Enterprise"),
    ],
    option_roms: Some(("PciSlot", "OptionROM")),
    ..ANY
};
