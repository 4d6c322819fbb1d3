//! `cargo xtask cluster up|down`.

use anyhow::Result;
use lockstep_cluster::{ControlPlane, Lifetime, Options};

use crate::state;

pub(crate) async fn up() -> Result<()> {
    let folder = state::folder("cluster")?;
    let options = Options::new(&folder).lifetime(Lifetime::UntilStopped);
    let control_plane = ControlPlane::start(options).await?;
    println!("control plane at {}", control_plane.url());
    println!("export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!(
        "kubectl is {}",
        control_plane
            .tools()
            .path(lockstep_cluster::Tool::Kubectl)
            .display()
    );
    println!("stop it with: cargo xtask cluster down");
    control_plane.detach()
}

pub(crate) async fn down() -> Result<()> {
    for stopped in ControlPlane::stop_recorded(&state::folder("cluster")?)? {
        println!("stopped {stopped}");
    }
    Ok(())
}
