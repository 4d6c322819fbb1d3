//! containerd: configuration and command line.

use anyhow::{Context, Result};

use super::{image, namespace::INSIDE};

pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// The configuration file.
pub(super) fn config() -> String {
    let pause = image::PAUSE;
    format!(
        r#"version = 3
root = "{INSIDE}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{SOCKET}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
# Sandboxes ask for a negative score, which is refused inside a container or a small VM.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
conf_dir = "{INSIDE}/cni"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

/// What a node needs from the machine and cannot build itself.
pub(super) fn check_machine() -> Result<()> {
    let needed = [
        (
            "runc",
            &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"][..],
            "runc",
        ),
        (
            "the CNI plugin bridge",
            &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"],
            "containernetworking-plugins",
        ),
        ("nft", &["/usr/sbin/nft", "/usr/bin/nft"], "nftables"),
    ];
    for (what, places, package) in needed {
        places
            .iter()
            .find(|place| std::path::Path::new(place).exists())
            .with_context(|| {
                format!(
                    "a node needs {what}, which is at none of {}; `apt-get install {package}`",
                    places.join(", ")
                )
            })?;
    }
    Ok(())
}
