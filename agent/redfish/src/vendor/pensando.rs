//! AMD Pensando DSC (Elba, Giglio, Salina): declared, for want of a public Redfish service.
//!
//! Source: Linux's ionic and pds_core drivers: firmware goes in by `devlink dev flash`, into the
//! slot that does not run.

use lockstep_crds::inventory::InstallMethod;

use super::generic::CARD;
use super::{Clue, Vendor};

pub(super) const DSC: Vendor = Vendor {
    table: "pensando-dsc",
    family: Some("DSC"),
    redfish: false,
    clues: &[Clue::Maker("Pensando")],
    pci: &[(0x1dd8, 0x1002), (0x1dd8, 0x1004), (0x1dd8, 0x100c)],
    in_band: &[InstallMethod::DevlinkFlash],
    ..CARD
};
