//! Everything in one reading.

use std::time::Duration;

use crate::filesystems::{Filesystem, filesystems};
use crate::{
    Fact, LocalAddress, OsRelease, Root, Tpm, addresses, architecture, boot_id, hostname,
    kernel_release, memory_bytes, os_release, product_name, product_serial, product_uuid,
    system_vendor, tpm, uptime,
};

/// All facts of the machine, as of one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// See [`boot_id`].
    pub boot_id: Fact<String>,
    /// See [`uptime`].
    pub uptime: Fact<Duration>,
    /// See [`os_release`].
    pub os_release: Fact<OsRelease>,
    /// See [`kernel_release`].
    pub kernel_release: Fact<String>,
    /// See [`hostname`].
    pub hostname: Fact<String>,
    /// See [`architecture`].
    pub architecture: &'static str,
    /// See [`addresses`].
    pub addresses: Fact<Vec<LocalAddress>>,
    /// See [`product_uuid`].
    pub product_uuid: Fact<String>,
    /// See [`product_serial`].
    pub product_serial: Fact<String>,
    /// See [`product_name`].
    pub product_name: Fact<String>,
    /// See [`system_vendor`].
    pub system_vendor: Fact<String>,
    /// See [`tpm`].
    pub tpm: Fact<Tpm>,
    /// See [`memory_bytes`].
    pub memory_bytes: Fact<u64>,
    /// See [`filesystems`].
    pub filesystems: Fact<Vec<Filesystem>>,
}

impl LocalFacts {
    /// Reads every fact once; never fails as a whole.
    pub fn read(root: &Root) -> Self {
        Self {
            boot_id: boot_id(root),
            uptime: uptime(root),
            os_release: os_release(root),
            kernel_release: kernel_release(root),
            hostname: hostname(root),
            architecture: architecture(),
            addresses: addresses(root),
            product_uuid: product_uuid(root),
            product_serial: product_serial(root),
            product_name: product_name(root),
            system_vendor: system_vendor(root),
            tpm: tpm(root),
            memory_bytes: memory_bytes(root),
            filesystems: filesystems(root),
        }
    }
}
