//! `first-light`: from `kubectl apply` to a real machine that boots our image, its host held until then.
//!
//! Witnesses outside our code: both serial consoles, the BMCs' request logs,
//! `kubectl wait`, the apiserver's audit log.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_lab::MachineSpec;
use lockstep_lab::front::Request;
use lockstep_lab::image::Behaviour;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story::{self, Watch};
use crate::world::{Kind, World};

/// The bar: writes of operator and agents from `apply` to Ready, two of them about the image, which are
/// as many for any number of cards that come up together.
const MOST_WRITES: usize = 33;
/// The bar: nothing but Leases for this long afterwards.
const IDLE: Duration = Duration::from_secs(300);
/// The whole story, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
/// For the watching kubectl to show what the waiting one has seen.
const SHOWN: Duration = Duration::from_secs(30);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut told = tell(&context).await?;
    idle(&mut told.world, &mut told.report).await?;
    told.world.stop().await?;
    Ok(told.report)
}

/// The story told to its end, with its world still there to look at.
pub struct Told {
    /// The running world.
    pub world: World,
    /// What was found.
    pub report: Report,
    /// Serves the image as long as the world may ask for it.
    _server: ImageServer,
}

/// Tells the story until everything is Ready and every witness was heard.
///
/// # Errors
/// When anything is not as told.
pub async fn tell(context: &Context) -> Result<Told> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    operator_reacts(&world).await?;
    let watch = Watch::start(&world.control_plane)?;
    let mark = world.mark()?;
    let sent = story::bytes_sent(&world.control_plane).await?;
    let began = Instant::now();

    let choices = Choices::default();
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    let kubectl = world.control_plane.kubectl();
    let ready = tokio::select! {
        ready = kubectl.wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY) => ready,
        ended = world.watch_over() => Err(ended),
    };
    let shown = match &ready {
        Ok(_) => watch.shows("Ready", SHOWN).await,
        Err(_) => Ok(()),
    };
    let lines = watch.stop().await?;
    world.check()?;
    ready?;
    shown?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    witness(&world, &lines, &mut report).await?;

    let writes = story::writes(&world.control_plane, mark)?;
    story::say_writes(&mut report, &writes);
    ensure!(
        writes.len() <= MOST_WRITES,
        "{} apiserver writes, more than the {MOST_WRITES} allowed",
        writes.len()
    );
    let sent = story::bytes_sent(&world.control_plane).await? - sent;
    report.figure("bytes of all bodies sent to the apiserver", sent);
    let whole = fs::metadata(&image.path)?.len();
    ensure!(
        sent < whole / 10,
        "{sent} bytes were sent to the apiserver, of an image of {whole}: is it among them?"
    );
    Ok(Told {
        world,
        report,
        _server: server,
    })
}

/// A user applies to an operator that runs: one whose watches are still on their way would see
/// the objects one after the other, and tell of each.
async fn operator_reacts(world: &World) -> Result<()> {
    let kubectl = world.control_plane.kubectl();
    for (kind, object) in [
        (
            "dpubp",
            objects::policy("none", &Choices::default()).replace("name: policy", "name: earlier"),
        ),
        (
            "dpuh",
            format!(
                "apiVersion: provisioning.opiproject.org/v1alpha1\nkind: DpuHost\n\
                 metadata: {{name: earlier, namespace: {NAMESPACE}}}\n\
                 spec: {{site: elsewhere, role: ChassisOnly, policyRef: {{name: earlier}}}}\n"
            ),
        ),
    ] {
        kubectl.apply_text(&object).await?;
        let target = format!("{kind}/earlier");
        let told = "jsonpath={.status.observedGeneration}=1";
        kubectl.wait(NAMESPACE, &target, told, STORY).await?;
    }
    let objects = ["dpuh/earlier", "dpubp/earlier"];
    story::delete(&world.control_plane, &objects, STORY).await
}

/// Nobody does anything: nothing is written but Leases, nothing is changed at a BMC.
async fn idle(world: &mut World, report: &mut Report) -> Result<()> {
    let mark = world.mark()?;
    let changes = |world: &World| -> Result<usize> {
        let card = world.machines.bmc("card1")?.changes().len();
        Ok(card + world.machines.bmc("host1")?.changes().len())
    };
    let before = changes(world)?;
    tokio::select! {
        () = tokio::time::sleep(IDLE) => {}
        ended = world.watch_over() => return Err(ended),
    }
    let writes = story::writes(&world.control_plane, mark)?;
    for write in &writes {
        report.say(format!("idle write: {write}"));
    }
    report.figure(
        "writes besides Leases while idle for 5 minutes",
        writes.len(),
    );
    ensure!(writes.is_empty(), "written while idle: {}", writes[0]);
    ensure!(changes(world)? == before, "a BMC was changed while idle");
    Ok(())
}

async fn witness(world: &World, lines: &[String], report: &mut Report) -> Result<()> {
    let lab = world.machines.lab()?;
    let card = lab.machine("card1")?.console();
    let host = lab.machine("host1")?.console();
    let os_up = card
        .matching("LOCKSTEP-OS-UP 1.0")
        .first()
        .cloned()
        .context("the card's console never showed its system")?;
    host.wait_for("HOST-OS-UP", Duration::from_secs(120))
        .await?;
    report.say("host console: its system came up");
    let host_first = host
        .lines()
        .first()
        .cloned()
        .context("the host's console is empty")?;
    ensure!(
        host_first.instant > os_up.instant,
        "the host's firmware started before the card's system was up"
    );
    report.figure(
        "seconds from the card's system to the host's firmware",
        host_first.instant.duration_since(os_up.instant).as_secs(),
    );
    host.wait_for("HOST-OS-UP", Duration::from_secs(120))
        .await?;
    report.say("host console: its system is up after the card's");

    let card_changes = lab.bmc("card1")?.changes();
    let host_changes = lab.bmc("host1")?.changes();
    report.say(format!(
        "card BMC, changing requests: {}",
        shown(&card_changes)
    ));
    report.say(format!(
        "host BMC, changing requests: {}",
        shown(&host_changes)
    ));
    expect(&card_changes, "VirtualMedia.InsertMedia", 1)?;
    expect(&card_changes, "VirtualMedia.EjectMedia", 1)?;
    expect(&card_changes, "ComputerSystem.Reset", 1)?;
    expect(&card_changes, "PATCH", 2)?;
    ensure!(
        card_changes.len() == 5,
        "the card's BMC was asked for something else too"
    );
    expect(&host_changes, "ComputerSystem.Reset", 1)?;
    ensure!(
        host_changes.len() == 1,
        "the host's BMC was asked for something else too"
    );

    let phases = phases(lines);
    report.say(format!("kubectl get dpu -w: {}", phases.join(" → ")));
    ensure!(
        phases.last().map(String::as_str) == Some("Ready"),
        "the last phase shown is not Ready"
    );
    Ok(())
}

fn shown(requests: &[Request]) -> String {
    let all: Vec<String> = requests
        .iter()
        .map(|request| {
            let reset = request
                .reset_type()
                .map_or_else(String::new, |kind| format!(" {kind}"));
            let end = request.path.rsplit('/').next().unwrap_or_default();
            format!("{} {end}{reset}", request.method)
        })
        .collect();
    all.join(", ")
}

fn expect(requests: &[Request], what: &str, times: usize) -> Result<()> {
    let found = requests
        .iter()
        .filter(|request| request.path.contains(what) || request.method.as_str() == what)
        .count();
    ensure!(
        found == times,
        "{what}: {found} requests instead of {times}"
    );
    Ok(())
}

/// The phases that `kubectl get -w` showed, without repetitions.
pub fn phases(lines: &[String]) -> Vec<String> {
    let mut phases: Vec<String> = lines
        .iter()
        .filter(|line| !line.starts_with("NAME"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|phase| phase.chars().all(char::is_alphabetic))
        .map(str::to_owned)
        .collect();
    phases.dedup();
    phases
}
