//! A real Kubernetes control plane on one machine: etcd, kube-apiserver and
//! kube-controller-manager as plain processes, built from pinned Go modules.
//!
//! [`ControlPlane::start`] needs a state folder and nothing else: certificates, ports,
//! logs, the audit log and the records of running processes lie in it. Everything
//! listens on loopback and ends with the process that started it, unless it is
//! detached for `cluster up`. [`audit`] tells who wrote what, [`eventually`] waits for
//! conditions, [`Kubectl`] does what a user would, [`Node`] runs pods.

pub mod audit;
mod command;
mod control_plane;
mod deadline;
mod helm;
mod kubeconfig;
mod kubectl;
mod node;
mod options;
mod pki;
mod ports;
pub mod tools;

pub use control_plane::ControlPlane;
pub use deadline::{Look, WaitError, eventually};
pub use helm::Helm;
pub use kubectl::Kubectl;
pub use lockstep_process::Lifetime;
pub use node::{Image, Node, build_image};
pub use options::Options;
pub use pki::Subject;
pub use tools::{Group, Tool, Tools};
