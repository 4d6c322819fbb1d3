//! `dead-man`: operator and API server are gone while a host is held. The site agent alone
//! ends the hold as its work order says; where that says keep, a person releases it offline.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::host::ReleaseReason;
use lockstep_lab::MachineSpec;
use lockstep_lab::image::Behaviour;
use tokio::process::Command;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(180);
/// The shortest that the API allows.
const ORPHAN_AFTER: u32 = 60;

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "hangs", Behaviour::Hangs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = ["card1", "card2"]
        .map(MachineSpec::card)
        .into_iter()
        .chain(["host1", "host2"].map(MachineSpec::host))
        .collect();
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let image = objects::image("hangs", &image, &server.url("hangs.iso"));
    world.control_plane.kubectl().apply_text(&image).await?;

    held(&world, "RestoreAndRelease", "1").await?;
    blackout(&mut world).await?;
    let lab = world.machines.lab()?;
    lab.machine("host1")?.wait_for_power(true, SOON).await?;
    lab.machine("host1")?
        .console()
        .wait_for("HOST-OS-UP", SOON)
        .await?;
    report.say("RestoreAndRelease: the agent alone powered the host on when its order expired");
    daybreak(&mut world).await?;
    story::await_host(&world.control_plane, "host1", "Orphaned", SOON, |host| {
        host.status.as_ref().is_some_and(|status| {
            status.hold.is_none()
                && status
                    .release
                    .as_ref()
                    .is_some_and(|release| release.reason == ReleaseReason::Orphaned)
        })
    })
    .await?;
    let resets = world.machines.bmc("host1")?.changes().len();
    ensure!(
        resets == 1,
        "{resets} changes at the host's BMC instead of one power-on"
    );
    report.say(
        "RestoreAndRelease: recorded as Orphaned once the API server was back; one power-on in all",
    );

    held(&world, "KeepHeld", "2").await?;
    blackout(&mut world).await?;
    let past_expiry = Duration::from_secs(u64::from(ORPHAN_AFTER) + 15);
    let lab = world.machines.lab()?;
    story::stays_so(past_expiry, "the host stays held", async || {
        Ok(!lab.machine("host2")?.is_on())
    })
    .await?;
    report.say("KeepHeld: the host stayed off past the order's expiry");
    world.kill_agent().await?;
    let out = release_offline(&context, &world, "host2").await?;
    let lab = world.machines.lab()?;
    lab.machine("host2")?.wait_for_power(true, SOON).await?;
    report.say(format!("offline release: {}", out.trim()));
    world.stop().await?;
    Ok(report)
}

/// Gets a host held, with its card booting for ever.
async fn held(world: &World, on_orphan: &'static str, number: &str) -> Result<()> {
    let choices = Choices {
        on_orphan,
        orphan_after: ORPHAN_AFTER,
        host_timeout: 50,
        ..Choices::default()
    };
    let (card, host) = (format!("card{number}"), format!("host{number}"));
    let yaml = [
        objects::policy("hangs", &choices),
        objects::host(&host, &world.bmc(&host)?, &choices),
        objects::card(&card, &host, &world.bmc(&card)?),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    story::await_host(&world.control_plane, &host, "held", SOON, |host| {
        host.status
            .as_ref()
            .is_some_and(|status| status.hold.is_some())
    })
    .await?;
    Ok(())
}

async fn blackout(world: &mut World) -> Result<()> {
    world.kill_operator().await?;
    world.control_plane.stop_apiserver().await
}

async fn daybreak(world: &mut World) -> Result<()> {
    world.control_plane.start_apiserver().await?;
    world.start_operator().await
}

async fn release_offline(context: &Context, world: &World, host: &str) -> Result<String> {
    let done = Command::new(&context.binaries.agent)
        .args(["release", "--host", host, "--state-dir"])
        .arg(world.folder().join("agent/state"))
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run the agent")?;
    ensure!(
        done.status.success(),
        "the offline release failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
