//! Hosts by Dell.
//!
//! Source of the ceiling: iDRAC from 6.00.30 on holds a host for its DPUs before PCIe is
//! enumerated, at most `DPUOSReadyTimeout`, whose default is 10 minutes, and then lets it go on
//! (Dell's and Broadcom's articles on DPU boot synchronization). The value in force stands in
//! attributes of the iDRAC that are not read: a person may have set another.

use super::generic::HOST as ANY;
use super::{Clue, Vendor};

pub(super) const HOST: Vendor = Vendor {
    table: "dell",
    clues: &[Clue::Maker("Dell")],
    hold_ceiling: Some((600, "table dell: default of DPUOSReadyTimeout, not read")),
    ..ANY
};
