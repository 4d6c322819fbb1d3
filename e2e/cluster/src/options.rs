//! What a caller may choose about a control plane.

use std::path::PathBuf;

use lockstep_process::Lifetime;

/// How to start a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) state: PathBuf,
    pub(crate) extra_sans: Vec<String>,
    pub(crate) controller_manager: bool,
    pub(crate) lifetime: Lifetime,
}

impl Options {
    /// A control plane with everything in the folder `state`, which is made if it does not
    /// exist. A folder that holds the data of a stopped control plane is continued: same
    /// certificates, same objects, same ports where they are still free.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            extra_sans: Vec::new(),
            controller_manager: true,
            lifetime: Lifetime::ThisProcess,
        }
    }

    /// One more name or address under which clients may reach the apiserver, in addition to
    /// 127.0.0.1, localhost, 10.0.2.2 (the host, seen from a QEMU guest) and `kubernetes.default`.
    #[must_use]
    pub fn san(mut self, name: impl Into<String>) -> Self {
        self.extra_sans.push(name.into());
        self
    }

    /// Without kube-controller-manager: nothing is garbage collected, namespaces do not
    /// finish deleting, ServiceAccounts are not made. Starts faster.
    #[must_use]
    pub fn without_controller_manager(mut self) -> Self {
        self.controller_manager = false;
        self
    }

    /// How long the processes may live; the default is as long as this process.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }
}
