//! What a running operating system tells of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;

/// What the card's operating system shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsReport {
    /// Boot epoch.
    #[schemars(length(max = 128))]
    pub boot_epoch: String,
    /// Where the epoch comes from.
    #[schemars(length(max = 63))]
    pub epoch_source: String,
    /// Seconds since that boot, when the report was made.
    pub uptime_seconds: i64,
    /// Name and version of the operating system.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Version the installer stamped.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// Digest the installer stamped.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Kernel release.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Machine architecture, such as `aarch64`.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Addresses, loopback left out.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What it has wiped: of the system of a `Wiper` image, which tells nothing before it is through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<crate::wipe::WipeReport>,
    /// Filesystems on its disks of which there is something to tell: none, if each is consistent and
    /// was before it was mounted. Absent: the agent does not tell, or cannot read it.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystems: Option<Vec<FilesystemReport>>,
}

open_enum! {
    /// What the kernel of a card tells of a filesystem.
    pub enum FilesystemState {
        /// It was in use when power went, and its journal was replayed: it is consistent.
        Replayed,
        /// It is damaged: it was shut down, or errors were noted since its last check.
        Damaged,
    }
}

/// A filesystem of which there is something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemReport {
    /// Where it is mounted.
    #[schemars(length(max = 128))]
    pub mount_point: String,
    /// Its kind and device, such as `ext4 on vda2`.
    #[schemars(length(max = 128))]
    pub what: String,
    /// What the kernel tells.
    pub state: FilesystemState,
    /// More of it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
