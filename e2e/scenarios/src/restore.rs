//! `restore`: etcd goes back to a snapshot that is older than what was done since.
//!
//! First without machines: at the snapshot one card is being armed and the other has
//! not begun. Both go on to their power-on, with their hosts held; then etcd forgets
//! that. Then with VMs: at the snapshot the card is being armed, and it is Ready and
//! its host released when etcd forgets that. Operator and agent are not restarted.
//! Witnesses: the BMCs' request logs, the consoles.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use kube::Api;
use lockstep_cluster::{ControlPlane, Look, eventually};
use lockstep_crds::observed::PowerState;
use lockstep_crds::{DpuHost, DpuReport, names};
use lockstep_lab::MachineSpec;
use lockstep_lab::front::{Fault, Front, Rule};
use lockstep_lab::image::Behaviour as Installer;

use crate::artefacts;
use crate::image_server::{Behaviour, ImageServer};
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(180);
/// From nothing to Ready, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
/// How long the first effect takes to reach its BMC: time enough for a snapshot.
const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// How long nothing must happen once the record is true again.
const QUIET: Duration = Duration::from_secs(15);
/// The card that is being armed at the snapshot, and the one that has not begun.
const PAIRS: [(&str, &str); 2] = [("card1", "host1"), ("card2", "host2")];

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    while_installing(&context, &mut report).await?;
    while_ready(&context, &mut report).await?;
    Ok(report)
}

async fn while_installing(context: &Context, report: &mut Report) -> Result<()> {
    let early = artefacts::medium(&context.folder, "early")?;
    let late = artefacts::medium(&context.folder, "late")?;
    let server = ImageServer::serve(early.path.clone()).await?;
    let late_server = ImageServer::serve(late.path.clone()).await?;
    late_server.behave(Behaviour::NotFound);
    let machines = PAIRS
        .into_iter()
        .flat_map(|(card, host)| [MachineSpec::card(card), MachineSpec::host(host)]);
    let mut world = World::start(
        &context.folder,
        Kind::Fake,
        machines.collect(),
        &context.binaries,
    )
    .await?;
    world.start_operator().await?;
    world.start_agent().await?;

    let first = world.machines.bmc("card1")?;
    first.add_rule(Rule::on(Method::POST, "InsertMedia", Fault::Delay(ON_ITS_WAY)).once());
    let choices = Choices::default();
    let second_card = objects::card("card2", "host2", &world.bmc("card2")?)
        .replace("  identity:", "  imageRef: {name: late}\n  identity:");
    let yaml = [
        objects::policy("early", &choices),
        objects::image("early", &early, &server.url("early.iso")),
        objects::image("late", &late, &late_server.url("late.iso")),
        objects::host("host2", &world.bmc("host2")?, &choices),
        second_card,
    ]
    .concat();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    story::await_card(
        &world.control_plane,
        "card2",
        "waiting for its image",
        SOON,
        |card| story::reason(card) == "ImageUnavailable",
    )
    .await?;
    let yaml = [
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    kubectl.apply_text(&yaml).await?;
    first
        .wait_for("InsertMedia at card1's BMC", SOON, |request| {
            request.path.ends_with("InsertMedia")
        })
        .await?;
    let snapshot = context.folder.join("snapshot.db");
    world.control_plane.snapshot(&snapshot).await?;
    late_server.behave(Behaviour::Honest);
    for (card, host) in PAIRS {
        powered_on(&world, card).await?;
        let effects = effects(world.machines.bmc(card)?);
        ensure!(
            effects == ["InsertMedia", "PATCH", "Reset On"],
            "{card}: {effects:?}"
        );
        let held = record(&world.control_plane, host).await?.hold.is_some();
        ensure!(held, "{host} is not held");
        report.say(format!(
            "{card}: {}; the snapshot was taken {}",
            effects.join(", "),
            if card == "card1" {
                "while the first was on its way"
            } else {
                "before the first"
            }
        ));
    }
    let before = all_effects(&world)?;

    world.control_plane.restart_from(&snapshot).await?;
    for (_, host) in PAIRS {
        let found = story::await_host(&world.control_plane, host, "Adopting", SOON, |host| {
            story::host_reason(host) == "Adopting"
        })
        .await?;
        let status = found.status.unwrap_or_default();
        report.say(format!("{host}: {}", status.message.unwrap_or_default()));
    }
    for (card, host) in PAIRS {
        let found = story::await_host(&world.control_plane, host, "AwaitingOs", SOON, |host| {
            story::host_reason(host) == "AwaitingOs"
        })
        .await?;
        let status = found.status.unwrap_or_default();
        ensure!(status.hold.is_some(), "{host}: its hold was forgotten");
        ensure!(
            status.directives.is_empty(),
            "{host}: directives after the restoration"
        );
        let kept = status
            .cards
            .iter()
            .find(|kept| kept.name == card)
            .with_context(|| format!("{host} has no record of {card}"))?;
        ensure!(
            kept.booted_at.is_some() && kept.attempts == 1,
            "{card}: its install was not adopted: {kept:?}"
        );
        report.say(format!(
            "{host}: held, {card} awaited again, number {} goes on",
            status.seq
        ));
    }
    story::stays_so(QUIET, "no effect after the restoration", async || {
        Ok(all_effects(&world)? == before)
    })
    .await?;
    report.say(format!(
        "effects at the four BMCs after the restoration: 0 (before it: {})",
        before.len()
    ));
    world.check()?;
    world.stop().await
}

async fn while_ready(context: &Context, report: &mut Report) -> Result<()> {
    let image = artefacts::installer(&context.binaries, "1.0", Installer::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let folder = context.folder.join("vms");
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let card = world.machines.bmc("card1")?;
    card.add_rule(Rule::on(Method::POST, "InsertMedia", Fault::Delay(ON_ITS_WAY)).once());
    let choices = Choices::default();
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    card.wait_for("InsertMedia at card1's BMC", SOON, |request| {
        request.path.ends_with("InsertMedia")
    })
    .await?;
    let snapshot = folder.join("snapshot.db");
    world.control_plane.snapshot(&snapshot).await?;
    kubectl
        .wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY)
        .await?;
    let lab = world.machines.lab()?;
    lab.machine("host1")?
        .console()
        .wait_for("HOST-OS-UP", SOON)
        .await?;
    let before = machines_say(&world)?;

    world.control_plane.restart_from(&snapshot).await?;
    story::await_host(&world.control_plane, "host1", "Adopting", SOON, |host| {
        story::host_reason(host) == "Adopting"
    })
    .await?;
    let kubectl = world.control_plane.kubectl();
    kubectl
        .wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY)
        .await?;
    story::stays_so(
        QUIET,
        "no effect and no boot after the restoration",
        async || Ok(machines_say(&world)? == before),
    )
    .await?;
    let status = record(&world.control_plane, "host1").await?;
    ensure!(status.hold.is_none(), "the host is held again");
    report.say(format!(
        "VMs: Ready, restored, adopted, Ready again; effects and boots before: {}; after: 0",
        before.join(", ")
    ));
    world.check()?;
    world.stop().await
}

/// Effects at the BMCs, and boots on the consoles.
fn machines_say(world: &World) -> Result<Vec<String>> {
    let lab = world.machines.lab()?;
    let mut all = Vec::new();
    for (name, up) in [("card1", "LOCKSTEP-OS-UP"), ("host1", "HOST-OS-UP")] {
        all.extend(effects(lab.bmc(name)?));
        let boots = lab.machine(name)?.console().matching(up).len();
        all.push(format!("{name}: {boots} boot(s)"));
    }
    Ok(all)
}

/// Waits until the site agent has seen the card powered on.
async fn powered_on(world: &World, card: &str) -> Result<()> {
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let name = names::card_bmc(card);
    eventually(SOON, format!("{card} seen on"), async || {
        match reports.get(&name).await {
            Ok(report) => match report.spec.bmc.and_then(|bmc| bmc.power) {
                Some(PowerState::On) => Look::Holds(()),
                power => Look::not_yet(format!("power {power:?}")),
            },
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    Ok(())
}

async fn record(control_plane: &ControlPlane, host: &str) -> Result<lockstep_crds::DpuHostStatus> {
    let hosts: Api<DpuHost> = Api::namespaced(control_plane.client(), NAMESPACE);
    let found = hosts.get(host).await.context("no host")?;
    Ok(found.status.unwrap_or_default())
}

fn all_effects(world: &World) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in PAIRS.into_iter().flat_map(|(card, host)| [card, host]) {
        all.extend(effects(world.machines.bmc(name)?));
    }
    Ok(all)
}

fn effects(bmc: &Front) -> Vec<String> {
    let changes = bmc.changes();
    let done = changes.iter().filter(|request| request.forwarded);
    done.map(|request| match request.reset_type() {
        Some(kind) => format!("Reset {kind}"),
        None if request.method == Method::PATCH => "PATCH".to_owned(),
        None => request
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_start_matches("VirtualMedia.")
            .to_owned(),
    })
    .collect()
}
