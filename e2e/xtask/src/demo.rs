//! `cargo xtask demo`: the main job, live.

use anyhow::Result;

use crate::e2e;

pub(crate) async fn run() -> Result<()> {
    println!("A card VM and a host VM, both off, behind Redfish BMCs; a Kubernetes control plane;");
    println!(
        "the operator and the site agent. Four objects are applied: watch the card get to Ready."
    );
    e2e::run_named("first-light").await?;
    let folder = crate::state::folder("e2e/first-light")?;
    println!("\nLook at it:");
    println!(
        "  consoles   {0}/lab/machines/*/console.log",
        folder.display()
    );
    println!(
        "  operator   {0}/logs/operator.log   agent {0}/logs/agent.log",
        folder.display()
    );
    println!(
        "  every apiserver request that changed something: {}/cluster/logs",
        folder.display()
    );
    Ok(())
}
