//! Hosts by Supermicro.
//!
//! Known of them, and seen by probing: the boot override for an inserted image is `UsbCd` on some.
//! No public source of a hold ceiling was found.

use super::generic::HOST as ANY;
use super::{Clue, Vendor};

pub(super) const HOST: Vendor = Vendor {
    table: "supermicro",
    clues: &[Clue::Maker("Supermicro"), Clue::Maker("Super Micro")],
    ..ANY
};
