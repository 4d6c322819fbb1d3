//! `cargo xtask demo`: the main job, live, and then there to look at.

mod fleet;
mod vm;

use std::io::IsTerminal as _;

use anyhow::Result;
use lockstep_cluster::{ControlPlane, Tool};
use lockstep_scenarios::artefacts;
use lockstep_scenarios::registry::Context;

use crate::state;

/// Shows a simulated fleet, or real VMs; then it stays until Ctrl-C. Without a terminal it ends
/// at once.
pub(crate) async fn run(vm: bool) -> Result<()> {
    let context = Context {
        folder: state::fresh_folder("demo")?,
        binaries: artefacts::binaries().await?,
    };
    if vm {
        vm::run(&context).await
    } else {
        fleet::run(&context).await
    }
}

/// How to call the demo's own kubectl in the namespace of its site.
fn kubectl(control_plane: &ControlPlane) -> String {
    format!(
        "{} --kubeconfig {} -n {}",
        control_plane.tools().path(Tool::Kubectl).display(),
        control_plane.kubeconfig().display(),
        lockstep_scenarios::objects::NAMESPACE,
    )
}

/// Returns at Ctrl-C, and at once where nobody could press it.
async fn linger() -> Result<()> {
    if std::io::stdin().is_terminal() {
        println!("It stays until Ctrl-C.");
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}
