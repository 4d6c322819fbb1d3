//! One card and one host as VMs with real firmware: the scenario `first-light`.

use anyhow::Result;
use lockstep_scenarios::first_light;
use lockstep_scenarios::registry::Context;

pub(super) async fn run(context: &Context) -> Result<()> {
    println!("A card VM and a host VM, both off, behind Redfish BMCs; a Kubernetes control plane;");
    println!(
        "the operator and the site agent. Four objects are applied: watch the card get to Ready."
    );
    let told = first_light::tell(context).await?;
    println!("\n{}", told.report);
    let kubectl = super::kubectl(&told.world.control_plane);
    let folder = context.folder.display();
    println!("Look at it:");
    println!("  {kubectl} get xpu");
    println!("  {kubectl} describe dpu card1");
    println!("  {kubectl} get dpuhost host1 -o yaml");
    println!("  consoles: {folder}/lab/machines/*/console.log");
    println!("  logs: {folder}/logs; every write to the API server: {folder}/cluster/audit.log");
    super::linger().await?;
    told.world.stop().await
}
