//! Debian packages for everything that the CI tier runs.

use anyhow::Result;
use lockstep_lab::requirements;

/// What a node of the lab and the packing of images need.
const NODE: [&str; 6] = [
    "buildah",
    "busybox-static",
    "containernetworking-plugins",
    "iproute2",
    "nftables",
    "runc",
];

/// Makes sure that a node can be started and images be packed; installs what is missing as root.
/// Blocking.
///
/// # Errors
/// When packages are missing and cannot be installed: with the command to run.
pub fn ensure_node() -> Result<()> {
    requirements::ensure_these(&NODE)
}

/// The same for VMs and nodes.
///
/// # Errors
/// As [`ensure_node`].
pub fn ensure() -> Result<()> {
    requirements::ensure()?;
    ensure_node()
}
