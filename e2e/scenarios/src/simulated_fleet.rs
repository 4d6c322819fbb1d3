//! A simulated fleet with a real control plane, operator, site agent and card agents: what
//! `cargo xtask demo` shows, and the scenario `demo-fleet`.
//!
//! Simulated are the machines and their BMCs (xpusim), nothing else. In place of a card's system
//! runs the product's own agent for cards, with what its installer found on the medium: see
//! `card_systems`. Needs neither root nor packages.

pub(crate) mod card_systems;
pub(crate) mod cases;
mod objects;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Api;
use kube::api::ListParams;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::dpu::Phase;
use lockstep_crds::{Dpu, condition};
use lockstep_xpusim::effect::{Effect, What};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::stage::Stage;
use lockstep_xpusim::{Fleet, Listen, Server, personality};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Machines, Simulated, World};

use card_systems::CardSystems;

/// How much faster than life the machines boot and install.
const SCALE: u32 = 20;
/// For the whole fleet, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
const PASSWORD: &str = "a-good-password-1";

/// Each host with its personality, and the personalities of its cards.
const HOSTS: [(&str, &[&str]); 6] = [
    ("dell-host", &["generic-dpu", "generic-dpu"]),
    ("hpe-host", &["generic-dpu", "generic-dpu"]),
    ("lenovo-host", &["generic-dpu"]),
    ("supermicro-host", &["generic-dpu"]),
    ("generic-host", &["bluefield-3"]),
    ("generic-host", &["bluefield-2"]),
];

/// The cards, in the order of their hosts.
pub const CARDS: [&str; 8] = [
    "card-1", "card-2", "card-3", "card-4", "card-5", "card-6", "card-7", "card-8",
];

/// A running fleet.
pub struct SimulatedFleet {
    /// Control plane, operator and site agent.
    pub world: World,
    fleet: Arc<Fleet>,
    systems: CardSystems,
    images: ImageServer,
}

/// One card as a person wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardLine {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub personality: &'static str,
    /// Its host.
    pub host: String,
    /// The phase that Lockstep shows.
    pub phase: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether Lockstep can install it: through virtual media, which not every BMC offers.
    pub installable: bool,
    /// What the simulator says of it: power, and the boot stage.
    pub machine: String,
    /// The message that Lockstep shows.
    pub message: String,
}

impl CardLine {
    /// Whether it is where it can get: Ready, or Stalled with the reason why not.
    pub fn is_done(&self) -> bool {
        if self.installable {
            self.ready
        } else {
            self.phase == Phase::Stalled.as_str()
        }
    }
}

/// Runs the scenario.
///
/// # Errors
/// When a card does not get to Ready, or anything was done at a BMC that should not have been.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let mut fleet = SimulatedFleet::start(&context).await?;
    let mark = fleet.world.mark()?;
    let began = Instant::now();
    fleet.apply().await?;
    let cards = fleet.await_done().await?;
    let ready = cards.iter().filter(|card| card.ready).count();
    report.figure("cards that got to Ready", ready);
    for card in cards.iter().filter(|card| !card.ready) {
        report.say(format!(
            "{} ({}): {}",
            card.name, card.personality, card.message
        ));
    }
    report.figure(
        "seconds from apply to the last one",
        began.elapsed().as_secs(),
    );
    let writes = story::writes(&fleet.world.control_plane, mark)?;
    report.figure(
        "apiserver writes by operator and agents per card, Leases left out",
        writes.len().div_ceil(CARDS.len()),
    );
    fleet.judge(&cards, &mut report)?;
    fleet.stop().await?;
    Ok(report)
}

impl SimulatedFleet {
    /// Starts everything; every machine is off and nothing is ordered yet.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start(context: &Context) -> Result<Self> {
        let image = artefacts::medium(&context.folder, "1.0")?;
        let images = ImageServer::serve(image.path.clone()).await?;
        let fleet = Fleet::new(&FleetSpec::parse(&objects::fleet_file())?)?;
        let address = "127.0.0.1:0".parse().context("a loopback address")?;
        let server = Server::start(&fleet, Listen::Ports(address), true).await?;
        let simulated = Simulated {
            fleet: Arc::clone(&fleet),
            server,
        };
        let mut world =
            World::start_simulated(&context.folder, simulated, &context.binaries).await?;
        world.start_operator().await?;
        world.start_agent().await?;
        let systems = CardSystems::start(&world, &fleet, &CARDS, &image)?;
        let this = Self {
            world,
            fleet,
            systems,
            images,
        };
        let url = this.images.url("v1.iso");
        let yaml = objects::before_the_fleet(&this.fleet, this.server()?, &image, &url)?;
        this.world.control_plane.kubectl().apply_text(&yaml).await?;
        Ok(this)
    }

    /// Applies the fleet's objects.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn apply(&self) -> Result<()> {
        let kubectl = self.world.control_plane.kubectl();
        let yaml = objects::machines(&self.fleet, self.server()?)?;
        kubectl.apply_text(&yaml).await?;
        Ok(())
    }

    fn server(&self) -> Result<&Server> {
        match &self.world.machines {
            Machines::Simulated(simulated) => Ok(&simulated.server),
            Machines::Vms(_) | Machines::Fake(_) | Machines::Nothing => {
                bail!("this world is not simulated")
            }
        }
    }

    /// How far every card is.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn look(&self) -> Result<Vec<CardLine>> {
        let api: Api<Dpu> = Api::namespaced(self.world.control_plane.client(), NAMESPACE);
        let known = api.list(&ListParams::default()).await?.items;
        CARDS
            .into_iter()
            .map(|name| {
                let state = self.fleet.state(name)?;
                let status = known
                    .iter()
                    .find(|card| card.metadata.name.as_deref() == Some(name))
                    .and_then(|card| card.status.as_ref());
                let ready = status
                    .and_then(|status| condition::find(&status.conditions, condition::READY))
                    .is_some_and(|ready| ready.status == "True");
                let machine = match state.stage {
                    Some(stage) => format!("{} {stage:?}", state.power.as_str()),
                    None => state.power.as_str().to_owned(),
                };
                let personality = personality::find(state.personality);
                Ok(CardLine {
                    installable: personality.is_some_and(|one| one.media.is_some()),
                    personality: state.personality,
                    host: state.hosts.join(","),
                    phase: status
                        .and_then(|status| status.phase.as_ref())
                        .map_or_else(String::new, |phase| phase.as_str().to_owned()),
                    ready,
                    machine,
                    message: status
                        .and_then(|status| status.message.clone())
                        .unwrap_or_default(),
                    name,
                })
            })
            .collect()
    }

    /// Waits until every card is where it can get.
    ///
    /// # Errors
    /// When one is not in time, or a program has ended.
    pub async fn await_done(&mut self) -> Result<Vec<CardLine>> {
        let done = eventually(PATIENCE, "every card where it can get", async || {
            if let Err(ended) = self.check() {
                return Look::Never(ended);
            }
            match self.look().await {
                Ok(cards) if cards.iter().all(CardLine::is_done) => Look::Holds(cards),
                Ok(cards) => {
                    let waiting = cards.iter().filter(|card| !card.is_done());
                    let waiting: Vec<String> = waiting
                        .map(|card| format!("{} {} ({})", card.name, card.phase, card.message))
                        .collect();
                    Look::not_yet(waiting.join("; "))
                }
                Err(error) => Look::not_yet(format!("{error:#}")),
            }
        });
        Ok(done.await?)
    }

    /// Fails if anything that should run has ended.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.world.check()?;
        self.systems.check()
    }

    /// Stops everything.
    ///
    /// # Errors
    /// When something cannot be stopped.
    pub async fn stop(self) -> Result<()> {
        self.systems.stop().await?;
        self.world.stop().await
    }

    /// What the simulator's log must show: what can be installed was installed, once; the rest
    /// was left alone; no power was cut in a stage in which it must not; and no host started
    /// before its cards' systems ran.
    fn judge(&self, cards: &[CardLine], report: &mut Report) -> Result<()> {
        let mut installed: BTreeSet<String> = BTreeSet::new();
        let mut running: BTreeSet<String> = BTreeSet::new();
        let mut hosts = 0;
        for Effect { machine, what, .. } in self.fleet.all_effects() {
            match what {
                What::Installed { .. } => {
                    ensure!(
                        installed.insert(machine.clone()),
                        "{machine} was installed twice"
                    );
                    // It restarts; what counts is the system on its disk.
                    running.remove(&machine);
                }
                What::Reached {
                    stage: Stage::OsRunning,
                } => {
                    running.insert(machine);
                }
                What::Damaged { stage, cause } => {
                    bail!("{machine} was hurt in {stage:?} by {cause:?}");
                }
                What::PoweredOn { .. } => {
                    let mut own = cards.iter().filter(|card| card.host == machine).peekable();
                    hosts += usize::from(own.peek().is_some());
                    if let Some(card) = own
                        .find(|card| !installed.contains(card.name) || !running.contains(card.name))
                    {
                        bail!("{machine} was powered on before {} ran", card.name);
                    }
                    let card = cards.iter().find(|card| card.name == machine);
                    ensure!(
                        card.is_none_or(|card| card.installable),
                        "{machine} was powered on, and nothing can be installed on it"
                    );
                }
                What::PoweredOff { .. }
                | What::Booted { .. }
                | What::Reached { .. }
                | What::BootedFrom { .. }
                | What::SurpriseLinkDown { .. }
                | What::Ignored { .. }
                | What::Armed { .. }
                | What::Disarmed { .. }
                | What::HttpBootUriSet { .. }
                | What::OverrideSet { .. }
                | What::OverrideConsumed { .. }
                | What::OverrideLost { .. }
                | What::MediaInserted { .. }
                | What::MediaEjected { .. }
                | What::ImageArrived { .. }
                | What::TaskStarted { .. }
                | What::TaskEnded { .. }
                | What::FirmwareActivated { .. }
                | What::Setting { .. }
                | What::RestorePolicySet { .. }
                | What::Login { .. }
                | What::AccountChanged { .. }
                | What::BmcDown
                | What::BmcUp
                | What::FaultSwitched { .. }
                | What::FaultStruck { .. } => {}
            }
        }
        for card in cards {
            ensure!(
                installed.contains(card.name) == card.installable,
                "{} ({}): installed {}",
                card.name,
                card.personality,
                installed.contains(card.name)
            );
        }
        report.figure(
            "cards installed, each once, by the simulator's log",
            installed.len(),
        );
        report.figure("hosts powered on, each after its cards' systems ran", hosts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_as_the_demo_says_it_is() {
        let spec = FleetSpec::parse(&objects::fleet_file()).unwrap();
        let fleet = Fleet::stepped(&spec).unwrap();
        assert_eq!(fleet.names().len(), CARDS.len() + HOSTS.len());
        let mut installable = 0;
        for card in CARDS {
            let state = fleet.state(card).unwrap();
            assert_eq!((state.disk.as_str(), state.hosts.len()), ("", 1), "{card}");
            let personality = personality::find(state.personality).unwrap();
            installable += usize::from(personality.media.is_some());
        }
        assert_eq!(installable, 6);
    }
}
