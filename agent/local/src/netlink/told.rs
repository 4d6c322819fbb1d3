//! All questions at once.

use std::path::Path;

use super::{DeviceInfo, Features, PermanentAddress, devices, offloads, permanent_addresses};
use crate::Fact;

/// What the kernel told over netlink, for an inventory of the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// See [`devices`].
    pub devices: Fact<Vec<DeviceInfo>>,
    /// See [`offloads`].
    pub offloads: Fact<Vec<Features>>,
    /// See [`permanent_addresses`].
    pub permanent_addresses: Fact<Vec<PermanentAddress>>,
}

impl Told {
    /// Asks the kernel. Only for whoever reads the files of this very machine, from the network
    /// namespace that has its ports.
    pub fn ask() -> Self {
        Self {
            devices: devices(),
            offloads: offloads(),
            permanent_addresses: permanent_addresses(),
        }
    }

    /// Asks the kernel if `root` is that of this very machine, and nothing otherwise.
    pub fn of(root: &Path) -> Self {
        if root == Path::new("/") {
            Self::ask()
        } else {
            Self::nothing("the files may be another machine's")
        }
    }

    /// Asks nothing, for the reason given.
    pub fn nothing(why: &str) -> Self {
        let why = format!("netlink was not asked: {why}");
        Self {
            devices: Fact::NotRead(why.clone()),
            offloads: Fact::NotRead(why.clone()),
            permanent_addresses: Fact::NotRead(why),
        }
    }
}
