//! `host-in-use`: a host that is up, or whose Node is Ready, is not touched; nor are its cards.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_lab::MachineSpec;
use lockstep_lab::image::Behaviour;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(120);
const QUIET: Duration = Duration::from_secs(15);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = vec![
        MachineSpec::card("card1"),
        MachineSpec::host("host1"),
        MachineSpec::card("card2"),
        MachineSpec::host("host2"),
    ];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world
        .machines
        .lab()?
        .machine("host1")?
        .press_power_button()
        .await?;
    world
        .machines
        .lab()?
        .machine("host1")?
        .wait_for_power(true, SOON)
        .await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices::default();
    let node_bound = objects::host("host2", &world.bmc("host2")?, &choices)
        .replace("policyRef:", "nodeName: node2\n  policyRef:");
    let yaml = [
        READY_NODE.to_owned(),
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
        node_bound,
        objects::card("card2", "host2", &world.bmc("card2")?),
    ]
    .concat();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    kubectl
        .run(&[
            "patch",
            "node",
            "node2",
            "--subresource=status",
            "--type=merge",
            "-p",
            NODE_READY,
        ])
        .await?;
    for card in ["card1", "card2"] {
        let found = story::await_card(&world.control_plane, card, "HostInUse", SOON, |card| {
            story::reason(card) == "HostInUse"
        })
        .await?;
        report.say(format!(
            "{card}: {}",
            found
                .status
                .and_then(|status| status.message)
                .unwrap_or_default()
        ));
    }
    let untouched = async || {
        for name in ["card1", "host1", "card2", "host2"] {
            if !world.machines.bmc(name)?.changes().is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    story::stays_so(QUIET, "no change at any BMC", untouched).await?;
    ensure!(
        world.machines.lab()?.machine("host1")?.is_on(),
        "the host went off"
    );
    report.say("changing requests to the four BMCs: 0");
    world.check()?;
    world.stop().await?;
    Ok(report)
}

const READY_NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node2}\n---\n";
const NODE_READY: &str = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"","lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
