//! `install-virtual-media`: the signed image of `install-uefi-http` and `install-pxe` by another road:
//! a policy that takes all three, and virtual media first. Then signed images that the card must not get:
//! one that it has outrun, and one for another architecture.
//!
//! Witnesses outside our code: the card's and the host's serial consoles, the BMCs' request logs,
//! `kubectl wait`, signatures made by openssl.

use std::future;
use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_lab::MachineSpec;
use lockstep_lab::image::INSTALLER_DONE;

use crate::objects::Choices;
use crate::registry::Context;
use crate::report::Report;
use crate::three_roads::{self, Install, Road, Signed};
use crate::world::{Kind, World};

/// The whole story, on a slow machine.
const STORY: Duration = Duration::from_secs(600);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let signed = Signed::make(&context).await?;
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    let offers = three_roads::supply_pxe(&world)?.join("tftp");
    world.start_operator().await?;
    world.start_agent().await?;
    let done = format!("{INSTALLER_DONE} 1.0");
    let install = Install {
        road: Road::VirtualMedia,
        choices: Choices::default(),
        within: STORY,
        shows: &["QEMU DVD-ROM", &done],
    };
    let nothing = future::ready(Ok(()));
    signed
        .install(&mut world, &install, nothing, None, &mut report)
        .await?;
    signed
        .went_by(&world, Road::VirtualMedia, &mut report)
        .await?;
    let offered = std::fs::read_dir(&offers)?.count();
    ensure!(offered == 0, "{offered} files are offered by PXE too");
    signed
        .keeps_others_out(&context, &world, &mut report)
        .await?;
    world.stop().await?;
    Ok(report)
}
