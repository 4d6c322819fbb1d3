//! The Kubernetes programs, and others in Go, that the lab runs, built from pinned Go modules.
//!
//! Every program belongs to a Go module definition under `tools/` in this crate
//! (compiled in, so that a build needs no checkout). What is built lies in a cache
//! under the SHA-256 of definition and build flags: the same pins are built once per
//! machine, changed pins never meet old binaries. [`Tools::ensure`] builds what is
//! missing of the groups asked for, and nothing else.

mod build;
mod cache;
mod module;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use cache::Cache;
pub use module::Tool;

/// Programs that are needed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// etcd with its snapshot tools, kube-apiserver, kube-controller-manager, kubectl.
    ControlPlane,
    /// kube-scheduler, kubelet, kube-proxy, containerd with its shim, ctr.
    Node,
    /// helm.
    Helm,
    /// The registry of the distribution project.
    Registry,
}

impl Group {
    /// The programs of this group, in the order in which they are built.
    pub fn tools(self) -> &'static [Tool] {
        match self {
            Self::ControlPlane => &[
                Tool::Etcd,
                Tool::Etcdctl,
                Tool::Etcdutl,
                Tool::Kubectl,
                Tool::KubeApiserver,
                Tool::KubeControllerManager,
            ],
            Self::Node => &[
                Tool::KubeScheduler,
                Tool::KubeProxy,
                Tool::Kubelet,
                Tool::Containerd,
                Tool::ContainerdShim,
                Tool::Ctr,
            ],
            Self::Helm => &[Tool::Helm],
            Self::Registry => &[Tool::Registry],
        }
    }
}

/// Programs that are there and can be run.
#[derive(Debug, Clone)]
pub struct Tools {
    cache: Cache,
}

impl Tools {
    /// Builds what is missing of `groups`, with progress on stderr.
    ///
    /// # Errors
    /// When Go is missing or too old, or a build fails: with the cause and the remedy.
    pub async fn ensure(groups: &[Group]) -> Result<Self> {
        let cache = Cache::from_environment()?;
        for tool in groups.iter().flat_map(|group| group.tools()) {
            build::ensure(&cache, *tool)
                .await
                .with_context(|| format!("cannot provide {}", tool.binary()))?;
        }
        Ok(Self { cache })
    }

    /// Where the program lies. It is there if its group was ensured.
    pub fn path(&self, tool: Tool) -> PathBuf {
        self.cache.binary(tool)
    }

    /// The folder of the program, for a `PATH` in which others look it up.
    pub fn folder(&self, tool: Tool) -> PathBuf {
        let mut path = self.path(tool);
        path.pop();
        path
    }

    /// The cache all programs come from.
    pub fn cache_folder(&self) -> &Path {
        self.cache.root()
    }
}
