//! Hosts by Lenovo.
//!
//! Known of them, and a matter of resets rather than of an inventory: a restart of some models
//! cuts the power of their cards. No public source of a hold ceiling was found.

use super::generic::HOST as ANY;
use super::{Clue, Vendor};

pub(super) const HOST: Vendor = Vendor {
    table: "lenovo",
    clues: &[Clue::Maker("Lenovo")],
    ..ANY
};
