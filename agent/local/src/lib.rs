//! Facts of the local machine, read from files under an injectable [`Root`].
//!
//! Every fact is a [`Fact`]: known, never offered by this platform, or not
//! read this time and why. Nothing is guessed, nothing is cached, nothing is
//! written, and a missing or strange file never fails the whole reading.
//!
//! [`LocalFacts::read`] takes what a running system says, `inventory` what is
//! built into the machine; each fact can also be read alone through its own
//! function. All reads are synchronous and bounded in size. Whatever parses
//! bytes is a plain `parse` function of its own.

mod address;
pub mod cpu;
pub mod disks;
mod dmi;
mod fact;
mod facts;
pub mod filesystems;
pub mod hot_plug;
pub mod inventory;
mod kernel;
pub mod memory;
pub mod netlink;
mod os_release;
pub mod pci;
pub mod ports;
mod root;
pub mod rshim;
pub mod secure_boot;
pub mod sensors;
pub mod smbios;
mod tpm;
pub mod uevent;
pub mod vpd;

pub use address::{LocalAddress, addresses};
pub use dmi::{product_name, product_serial, product_uuid, system_vendor};
pub use fact::Fact;
pub use facts::LocalFacts;
pub use kernel::{architecture, boot_id, hostname, kernel_release, memory_bytes, uptime};
pub use os_release::{OsRelease, OsReleaseError, os_release};
pub use root::Root;
pub use tpm::{Tpm, tpm};
