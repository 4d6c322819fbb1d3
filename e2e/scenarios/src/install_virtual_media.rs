//! `install-virtual-media`: the signed image of `install-uefi-http` and `install-pxe` by another road:
//! a policy that takes all three, and virtual media first.
//!
//! Witnesses outside our code: the card's and the host's serial consoles, the BMCs' request logs,
//! `kubectl wait`, signatures made by openssl.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lockstep_lab::MachineSpec;
use lockstep_lab::image::{HOST_UP, INSTALLER_DONE, OS_UP};

use crate::objects::{Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::three_roads::{self, Road, Signed};
use crate::world::{Kind, World};

/// The whole story, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);

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
    let yaml = signed.objects(&world, Road::VirtualMedia, &Choices::default())?;
    let began = Instant::now();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    let ready = tokio::select! {
        ready = kubectl.wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY) => ready,
        ended = world.watch_over() => Err(ended),
    };
    world.check()?;
    ready?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    let lab = world.machines.lab()?;
    let consoles = [
        ("card1", "QEMU DVD-ROM".to_owned()),
        ("card1", format!("{INSTALLER_DONE} 1.0")),
        ("card1", format!("{OS_UP} 1.0")),
        ("host1", HOST_UP.to_owned()),
    ];
    for (machine, line) in consoles {
        let console = lab.machine(machine)?.console();
        console.wait_for(&line, SOON).await?;
        report.say(format!("{machine} console: {line}"));
    }
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    signed
        .went_by(&world, Road::VirtualMedia, &mut report)
        .await?;
    let offered = std::fs::read_dir(&offers)?.count();
    ensure!(offered == 0, "{offered} files are offered by PXE too");
    world.stop().await?;
    Ok(report)
}
