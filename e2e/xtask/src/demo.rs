//! `cargo xtask demo`: the main job, live, and then there to look at.

use std::io::IsTerminal as _;

use anyhow::Result;
use lockstep_cluster::Tool;
use lockstep_scenarios::artefacts;
use lockstep_scenarios::first_light;
use lockstep_scenarios::registry::Context;

use crate::state;

/// Tells `first-light`, then keeps its world until Ctrl-C; without a terminal it ends at once.
pub(crate) async fn run() -> Result<()> {
    println!("A card VM and a host VM, both off, behind Redfish BMCs; a Kubernetes control plane;");
    println!(
        "the operator and the site agent. Four objects are applied: watch the card get to Ready."
    );
    let context = Context {
        folder: state::fresh_folder("demo")?,
        binaries: artefacts::binaries().await?,
    };
    let told = first_light::tell(&context).await?;
    println!("\n{}", told.report);
    let control_plane = &told.world.control_plane;
    let kubectl = format!(
        "{} --kubeconfig {} -n {}",
        control_plane.tools().path(Tool::Kubectl).display(),
        control_plane.kubeconfig().display(),
        lockstep_scenarios::objects::NAMESPACE,
    );
    let folder = context.folder.display();
    println!("Look at it:");
    println!("  {kubectl} get xpu");
    println!("  {kubectl} describe dpu card1");
    println!("  {kubectl} get dpuhost host1 -o yaml");
    println!("  consoles: {folder}/lab/machines/*/console.log");
    println!("  logs: {folder}/logs; every write to the API server: {folder}/cluster/audit.log");
    if std::io::stdin().is_terminal() {
        println!("It stays until Ctrl-C.");
        tokio::signal::ctrl_c().await?;
    }
    told.world.stop().await
}
