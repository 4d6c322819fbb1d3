//! `crash-points`: operator, site agent and Redfish emulator are killed at every recorded step of
//! an install in turn, and replies are lost after their effect. The result is the same, and
//! nothing is done twice.
//!
//! The points, and what counts as struck, are those of [`crate::strike`]. The Lease of a killed
//! operator is ended by hand, so that its minute is not waited for each time. Witness: what
//! reached the BMCs.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_lab::image::{Behaviour, Image};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::journey::Pair;
use crate::objects;
use crate::registry::Context;
use crate::report::Report;
use crate::strike::{Story, Strike, choices};
use crate::world::{Kind, World};

/// Runs the scenario on BMCs without machines: lost replies, operator, site agent.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let stories = [
        (Strike::LostReply, pair("card1", "host1")),
        (Strike::Operator, pair("card2", "host2")),
        (Strike::Agent, pair("card3", "host3")),
    ];
    play(context, &stories).await
}

/// Runs it for the emulator, which takes its time to start again.
///
/// # Errors
/// When anything is not as told.
pub async fn run_on_emulator(context: Context) -> Result<Report> {
    play(context, &[(Strike::Emulator, pair("card1", "host1"))]).await
}

async fn play(context: Context, stories: &[(Strike, Pair)]) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = stories.iter().flat_map(|(_, pair)| pair.machines());
    let mut world = World::start(
        &context.folder,
        Kind::Fake,
        machines.collect(),
        &context.binaries,
    )
    .await?;
    begin(&mut world, &image, &server).await?;
    for (strike, pair) in stories {
        let mut story = Story::new(*strike, *pair, Some(image.clone()));
        story.play(&mut world, &mut report).await?;
    }
    world.check()?;
    world.stop().await?;
    Ok(report)
}

/// Runs it on VMs: all three are killed at once, at every point of one real install.
///
/// # Errors
/// When anything is not as told.
pub async fn run_on_vms(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let pair = pair("card1", "host1");
    let machines = pair.machines().to_vec();
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    begin(&mut world, &image, &server).await?;
    let mut story = Story::new(Strike::Everybody, pair, None);
    story.play(&mut world, &mut report).await?;
    let lab = world.machines.lab()?;
    for (machine, line) in [("card1", "LOCKSTEP-OS-UP 1.0"), ("host1", "HOST-OS-UP")] {
        let console = lab.machine(machine)?.console();
        console.wait_for(line, Duration::from_secs(120)).await?;
        let boots = console.matching(line).len();
        ensure!(
            boots == 1,
            "{machine}: its system came up {boots} times instead of once"
        );
        report.say(format!("console of {machine}: its system came up once"));
    }
    world.check()?;
    world.stop().await?;
    Ok(report)
}

const fn pair(card: &'static str, host: &'static str) -> Pair {
    Pair { card, host }
}

/// Operator and agent run, policy and image are there.
async fn begin(world: &mut World, image: &Image, server: &ImageServer) -> Result<()> {
    world.start_operator().await?;
    world.start_agent().await?;
    let yaml = [
        objects::policy("v1", &choices()),
        objects::image("v1", image, &server.url("v1.iso")),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    Ok(())
}
