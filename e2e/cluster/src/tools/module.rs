//! Which program comes from which Go module, and with which flags.

/// One program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The store.
    Etcd,
    /// Takes snapshots of a running etcd.
    Etcdctl,
    /// Makes a data folder from a snapshot.
    Etcdutl,
    /// The API server.
    KubeApiserver,
    /// Garbage collection, namespaces, service accounts, workloads.
    KubeControllerManager,
    /// Gives pods a node.
    KubeScheduler,
    /// Runs pods.
    Kubelet,
    /// Gives Services their addresses on the node.
    KubeProxy,
    /// The command line client.
    Kubectl,
    /// The container runtime.
    Containerd,
    /// What containerd starts for each pod.
    ContainerdShim,
    /// containerd's own client; imports images.
    Ctr,
    /// The chart installer.
    Helm,
    /// A registry of images and other artefacts.
    Registry,
}

impl Tool {
    /// File name of the program.
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Containerd => "containerd",
            // containerd derives this name from the runtime type `io.containerd.runc.v2`.
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Helm => "helm",
            Self::Registry => "registry",
        }
    }

    /// The main package.
    pub(super) const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Self::Etcdutl => "go.etcd.io/etcd/etcdutl/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Containerd => "github.com/containerd/containerd/v2/cmd/containerd",
            Self::ContainerdShim => {
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
            }
            Self::Ctr => "github.com/containerd/containerd/v2/cmd/ctr",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Registry => "github.com/distribution/distribution/v3/cmd/registry",
        }
    }

    pub(super) const fn module(self) -> &'static Module {
        match self {
            Self::Etcd | Self::Etcdctl | Self::Etcdutl => &ETCD,
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => &KUBERNETES,
            Self::Containerd | Self::ContainerdShim | Self::Ctr => &CONTAINERD,
            Self::Helm => &HELM,
            Self::Registry => &REGISTRY,
        }
    }
}

/// A pinned Go module definition.
#[derive(Debug)]
pub(super) struct Module {
    /// The module whose release people know, for messages.
    pub(super) shown: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    pub(super) flags: &'static [&'static str],
}

const ETCD: Module = Module {
    shown: "go.etcd.io/etcd v3.6.8",
    go_mod: include_str!("../../tools/etcd/go.mod"),
    go_sum: include_str!("../../tools/etcd/go.sum"),
    flags: &["-ldflags=-s -w"],
};

const KUBERNETES: Module = Module {
    shown: "k8s.io/kubernetes v1.36.3",
    go_mod: include_str!("../../tools/kubernetes/go.mod"),
    go_sum: include_str!("../../tools/kubernetes/go.sum"),
    // Without these the server calls itself v0.0.0, and clients that compare versions misbehave;
    // client-go's are what the programs call themselves in the audit log.
    flags: &["-ldflags=-s -w \
          -X k8s.io/component-base/version.gitVersion=v1.36.3 \
          -X k8s.io/component-base/version.gitMajor=1 \
          -X k8s.io/component-base/version.gitMinor=36 \
          -X k8s.io/component-base/version.gitTreeState=clean \
          -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 \
          -X k8s.io/client-go/pkg/version.gitCommit=v1.36.3"],
};

const CONTAINERD: Module = Module {
    shown: "github.com/containerd/containerd v2.4.2",
    go_mod: include_str!("../../tools/containerd/go.mod"),
    go_sum: include_str!("../../tools/containerd/go.sum"),
    flags: &[
        "-tags=no_btrfs,no_devmapper,no_zfs",
        "-ldflags=-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
    ],
};

const HELM: Module = Module {
    shown: "helm.sh/helm v4.3.1",
    go_mod: include_str!("../../tools/helm/go.mod"),
    go_sum: include_str!("../../tools/helm/go.sum"),
    flags: &["-ldflags=-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1"],
};

const REGISTRY: Module = Module {
    shown: "github.com/distribution/distribution v3.1.2",
    go_mod: include_str!("../../tools/registry/go.mod"),
    go_sum: include_str!("../../tools/registry/go.sum"),
    flags: &["-ldflags=-s -w"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Group;

    #[test]
    fn every_program_is_pinned_by_its_module() {
        for group in [
            Group::ControlPlane,
            Group::Node,
            Group::Helm,
            Group::Registry,
        ] {
            for tool in group.tools() {
                let module = tool.module();
                assert!(
                    module.go_mod.contains(&format!("{}\n", tool.package())),
                    "{} is no tool of its go.mod",
                    tool.binary()
                );
                let version = module.shown.rsplit(' ').next().unwrap();
                assert!(module.go_sum.contains(&format!(" {version} h1:")));
            }
        }
    }

    #[test]
    fn staging_modules_follow_the_kubernetes_release() {
        let replaced: Vec<_> = KUBERNETES
            .go_mod
            .lines()
            .filter(|line| line.contains("=> k8s.io/"))
            .collect();
        assert!(replaced.len() > 25);
        for line in replaced {
            assert!(line.ends_with(" v0.36.3"), "{line}");
        }
    }
}
