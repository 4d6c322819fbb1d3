//! What the kernel tells over netlink and not in files: firmware versions (devlink), offloads
//! (ethtool) and permanent addresses (rtnetlink). Only [`flash`] changes anything.
//!
//! Netlink speaks of the network namespace that asks and of the running machine, whatever root
//! the files are read under: an agent in a container asks from the host's network namespace.

mod devlink;
mod ethtool;
mod flash;
mod link;
mod message;
mod socket;
mod told;

pub use devlink::{
    DeviceInfo, Handle, HandleError, Version, VersionKind, device, devices,
    parse as parse_device_info,
};
pub use ethtool::{Features, offloads, parse as parse_features};
pub use flash::{FlashError, Progress, flash};
pub use link::{PermanentAddress, parse as parse_link, permanent_addresses};
pub use message::{Attribute, Message, MessageError, attributes, messages};
pub use told::Told;

#[cfg(test)]
mod tests;
