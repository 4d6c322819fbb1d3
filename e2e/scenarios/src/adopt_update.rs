//! `adopt-update`: a card that runs the wanted image is adopted without a single change at its BMC;
//! another image on the policy reinstalls it, host and card shut down first, and released again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_lab::MachineSpec;
use lockstep_lab::image::Behaviour;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const STORY: Duration = Duration::from_secs(420);
const SOON: Duration = Duration::from_secs(120);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let first = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let second = artefacts::installer(&context.binaries, "2.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(first.path.clone()).await?;
    let newer = ImageServer::serve(second.path.clone()).await?;
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let kubectl = world.control_plane.kubectl();
    let choices = Choices::default();
    let images = [
        objects::image("v1", &first, &server.url("v1.iso")),
        objects::image("v2", &second, &newer.url("v2.iso")),
    ]
    .concat();
    kubectl.apply_text(&images).await?;
    let pair = |choices: &Choices| -> Result<String> {
        Ok([
            objects::host("host1", &world.bmc("host1")?, choices),
            objects::card("card1", "host1", &world.bmc("card1")?),
        ]
        .concat())
    };
    kubectl
        .apply_text(&[objects::policy("v1", &choices), pair(&choices)?].concat())
        .await?;
    ready_with(&world, &first.sha256, STORY).await?;
    let lab = world.machines.lab()?;
    lab.machine("host1")?
        .console()
        .wait_for("HOST-OS-UP", SOON)
        .await?;
    report.say("installed 1.0");

    let changes = |name: &str| -> Result<usize> { Ok(lab.bmc(name)?.changes().len()) };
    let before = (changes("card1")?, changes("host1")?);
    story::delete(&world.control_plane, &["dpuhost/host1"], SOON).await?;
    kubectl.apply_text(&pair(&choices)?).await?;
    story::await_host(&world.control_plane, "host1", "as wanted", SOON, |host| {
        story::host_reason(host) == "AsWanted"
    })
    .await?;
    ready_with(&world, &first.sha256, SOON).await?;
    ensure!(
        (changes("card1")?, changes("host1")?) == before,
        "adopting changed something at a BMC"
    );
    report.say("the host's record deleted and made anew: adopted, no change at either BMC");

    kubectl.apply_text(&objects::policy("v2", &choices)).await?;
    story::await_card(&world.control_plane, "card1", "HostInUse", SOON, |card| {
        story::reason(card) == "HostInUse"
    })
    .await?;
    ensure!(
        (changes("card1")?, changes("host1")?) == before,
        "a host that is up was disturbed without leave"
    );
    report.say(
        "image changed on the policy while the host is up: HostInUse, no change at either BMC",
    );

    let allowed = Choices {
        disruption: "Allowed",
        safe_after: Some(60),
        ..choices
    };
    kubectl
        .apply_text(&[objects::policy("v2", &allowed), pair(&allowed)?].concat())
        .await?;
    ready_with(&world, &second.sha256, STORY).await?;
    lab.machine("card1")?
        .console()
        .wait_for("LOCKSTEP-OS-UP 2.0", SOON)
        .await?;
    let off: Vec<String> = lab
        .bmc("host1")?
        .changes()
        .iter()
        .skip(before.1)
        .filter_map(lockstep_lab::front::Request::reset_type)
        .collect();
    report.say(format!(
        "disruption allowed: 2.0 runs; the host's resets: {}",
        off.join(", ")
    ));
    ensure!(
        off == ["GracefulShutdown", "ForceOff", "On"],
        "the host was not shut down gracefully, then off, then on"
    );
    world.check()?;
    world.stop().await?;
    Ok(report)
}

async fn ready_with(world: &World, sha256: &str, deadline: Duration) -> Result<()> {
    let digest = format!("sha256:{sha256}");
    let card = story::await_card(
        &world.control_plane,
        "card1",
        "Ready with its image",
        deadline,
        |card| {
            let image = card
                .status
                .as_ref()
                .and_then(|status| status.image.as_ref());
            story::reason(card) == "AsWanted" && image.is_some_and(|image| image.digest == digest)
        },
    )
    .await?;
    card.status.context("no status")?;
    Ok(())
}
