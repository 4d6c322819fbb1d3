//! `found-to-ready`: nobody describes a machine. BMCs are found by their addresses, cards are
//! approved by a policy, an image waits for the firmware that it requires, and then goes on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, DpuHost, condition};
use lockstep_xpusim::Listen;
use lockstep_xpusim::effect::What;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{self, PASSWORD};
use crate::simulated_fleet::card_systems::CardSystems;
use crate::story;
use crate::world::{Machines, Simulated, World};

const SOON: Duration = Duration::from_secs(120);
/// For the whole fleet, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the cards are watched while their firmware does not fit.
const QUIET: Duration = Duration::from_secs(15);

/// The cards by name in the simulator: two that an image can be installed on, and one on which
/// none can.
const CARDS: [&str; 3] = ["card-1", "card-2", "card-3"];
const INSTALLABLE: [&str; 2] = ["card-1", "card-2"];

fn fleet() -> String {
    let machine = |name: &str, personality: &str| {
        format!("name: {name}, personality: {personality}, password: {PASSWORD}, off: true")
    };
    let mut yaml = "timeScale: 20\ndomains:\n".to_owned();
    for (number, host, card) in [
        (1, "dell-host", "generic-dpu"),
        (2, "generic-host", "generic-dpu"),
        (3, "supermicro-host", "bluefield-3"),
    ] {
        yaml += &format!(
            "- hosts: [{{{host}}}]\n  cards:\n  - {{{card}, os: '', slots: [{{host: host-{number}, number: 1, slotPower: standby}}]}}\n",
            host = machine(&format!("host-{number}"), host),
            card = machine(&format!("card-{number}"), card),
        );
    }
    yaml
}

/// The policy that proposals name: it approves cards that an image can be installed on, once
/// somebody sees them in their host.
fn policy(image: &str) -> String {
    objects::policy(image, &Choices::default())
        .replace("name: policy", "name: discovered")
        .replace(
            "spec:\n",
            "spec:\n  discovered: {approve: [{partNumbers: [EX-DPU-200], pairingObserved: true}]}\n",
        )
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let images = ImageServer::serve(image.path.clone()).await?;
    let simulated = Simulated::start(&fleet(), Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let section = format!("discovery:\n  ranges:\n{}", simulated.listed()?);
    let secrets = simulated::secrets(&[&simulated])?;
    let fleet = std::sync::Arc::clone(&simulated.fleet);
    let mut world = World::start_simulated(&context.folder, simulated, &context.binaries).await?;
    simulated::configure(world.agent_config(), &section)?;
    world.start_operator().await?;
    let systems = CardSystems::start(&world, &fleet, &CARDS, &image)?;
    let kubectl = world.control_plane.kubectl();
    let needs = |name: &str, bounds: &str| {
        objects::image(name, &image, &images.url("v1.iso")).replace(
            "spec:\n",
            &format!("spec:\n  requires: [{{component: NIC, {bounds}}}]\n"),
        )
    };
    let yaml = [
        secrets,
        policy("newer"),
        needs("newer", "atLeast: \"8.0\""),
        needs("fitting", "atLeast: \"7.12\", below: \"8\""),
    ];
    kubectl.apply_text(&yaml.concat()).await?;
    let began = Instant::now();
    world.start_agent().await?;

    let story = Story::new(&world);
    let names = story.approved(&fleet).await?;
    report.say(format!(
        "found, seen in their hosts and approved: {}",
        names.join(", ")
    ));
    for host in story.hosts.list(&ListParams::default()).await? {
        // Nobody can see that from outside: the one thing that a person has to say.
        let patch = "{\"spec\":{\"slotPowerWhenHostOff\":\"Yes\"}}";
        let name = host.name_any();
        let args = [
            "patch",
            "dpuhost",
            &name,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            patch,
        ];
        kubectl.run(&args).await?;
    }
    for name in &names {
        let why = story::await_card(
            &world.control_plane,
            name,
            "waits for firmware",
            SOON,
            |card| story::reason(card) == "RequirementNotMet",
        )
        .await?;
        let message = why
            .status
            .and_then(|status| status.message)
            .unwrap_or_default();
        ensure!(
            message.contains("7.12.3"),
            "it does not say what runs: {message}"
        );
        report.say(format!("{name}: {message}"));
    }
    let untouched = async || Ok(changes(&world)?.is_empty());
    story::stays_so(
        QUIET,
        "nothing is changed at a BMC while firmware does not fit",
        untouched,
    )
    .await?;

    kubectl.apply_text(&policy("fitting")).await?;
    for name in &names {
        story::await_card(&world.control_plane, name, "Ready", PATIENCE, is_ready).await?;
    }
    systems.check()?;
    report.figure(
        "seconds from the agent's start to Ready",
        began.elapsed().as_secs(),
    );
    let mut installed = BTreeSet::new();
    for effect in fleet.all_effects() {
        if let What::Installed { .. } = effect.what {
            ensure!(
                installed.insert(effect.machine.clone()),
                "{} was installed twice",
                effect.machine
            );
        }
    }
    ensure!(
        installed.iter().eq(&INSTALLABLE),
        "installed were {installed:?}"
    );
    report.figure(
        "cards installed, each once, by the simulator's log",
        installed.len(),
    );
    world.check()?;
    systems.stop().await?;
    world.stop().await?;
    Ok(report)
}

fn is_ready(card: &Dpu) -> bool {
    let status = card.status.as_ref();
    let ready = status.and_then(|status| condition::find(&status.conditions, condition::READY));
    ready.is_some_and(|ready| ready.status == "True")
}

/// Requests that may have changed something.
fn changes(world: &World) -> Result<Vec<String>> {
    match &world.machines {
        Machines::Simulated(simulated) => simulated.changes(),
        Machines::Vms(_) | Machines::Fake(_) | Machines::Nothing => Ok(Vec::new()),
    }
}

struct Story {
    cards: Api<Dpu>,
    hosts: Api<DpuHost>,
}

impl Story {
    fn new(world: &World) -> Self {
        let client = world.control_plane.client();
        Self {
            cards: Api::namespaced(client.clone(), NAMESPACE),
            hosts: Api::namespaced(client, NAMESPACE),
        }
    }

    /// Waits until every card is proposed and those that fit the policy are approved; returns
    /// these.
    async fn approved(&self, fleet: &lockstep_xpusim::Fleet) -> Result<Vec<String>> {
        let serials = INSTALLABLE
            .iter()
            .map(|name| Ok(fleet.state(name)?.serial))
            .collect::<Result<BTreeSet<String>>>()?;
        let cards = eventually(
            SOON,
            "every card is found, and two approved",
            async || match self.cards.list(&ListParams::default()).await {
                Ok(all) => {
                    let approved = all.iter().filter(|card| card.spec.approved).count();
                    if all.items.len() == CARDS.len() && approved == INSTALLABLE.len() {
                        Look::Holds(all.items)
                    } else {
                        Look::not_yet(format!("{} found, {approved} approved", all.items.len()))
                    }
                }
                Err(error) => Look::not_yet(error),
            },
        )
        .await?;
        let approved: Vec<&Dpu> = cards.iter().filter(|card| card.spec.approved).collect();
        let theirs = approved.iter().map(|card| {
            let identity = card.spec.identity.as_ref();
            identity.and_then(|identity| identity.serial_number.clone())
        });
        let theirs = theirs
            .collect::<Option<BTreeSet<String>>>()
            .context("a card without a serial number was approved")?;
        ensure!(theirs == serials, "approved were {theirs:?}");
        Ok(approved.iter().map(|card| card.name_any()).collect())
    }
}
