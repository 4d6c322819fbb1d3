//! What stands for the systems of simulated cards.
//!
//! The simulator says what a card has booted from, or what its BMC was given to write. Where it
//! boots an image, its medium is read
//! as an installer would read it, and the seed that the site agent laid into it for this card is
//! kept as on the card's disk. Where it boots from that disk, the product's own agent for cards
//! is started with that seed and a boot id of its own; when the card loses power or boots anew,
//! it ends. Nothing that Lockstep decides by is made up here but the boot id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_lab::image::{Image, seed};
use lockstep_process::{Daemon, Lifetime, Program};
use lockstep_xpusim::Fleet;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::stage::Stage;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::objects::NAMESPACE;
use crate::world::World;

/// Between looks at the simulator's log.
const LOOK: Duration = Duration::from_millis(100);

/// The systems of all cards.
pub(crate) struct CardSystems {
    ending: CancellationToken,
    failed: Arc<Mutex<Option<anyhow::Error>>>,
    task: JoinHandle<()>,
}

/// One card.
#[derive(Default)]
struct Card {
    /// Position in the log of its power domain.
    read: u64,
    boots: u64,
    boots_from_disk: bool,
    /// The seed on the medium that it has booted.
    on_medium: Option<String>,
    /// The seed on its disk.
    on_disk: Option<String>,
    running: Option<Daemon>,
}

/// What every card needs.
struct Surroundings {
    fleet: Arc<Fleet>,
    folder: PathBuf,
    agent: PathBuf,
    /// Where the seed lies in the image.
    slot: usize,
    http: reqwest::Client,
}

impl CardSystems {
    /// Begins to follow the simulator's log.
    pub(crate) fn start(
        world: &World,
        fleet: &Arc<Fleet>,
        cards: &[&'static str],
        image: &Image,
    ) -> Result<Self> {
        let bytes = std::fs::read(&image.path)
            .with_context(|| format!("cannot read {}", image.path.display()))?;
        let around = Surroundings {
            fleet: Arc::clone(fleet),
            folder: world.folder().to_owned(),
            agent: world.agent_binary().to_owned(),
            slot: seed::find(&bytes)?,
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        let from = around.slot as u64;
        fleet.keep_of_images(&(from..from + seed::SIZE as u64));
        let ending = CancellationToken::new();
        let failed: Arc<Mutex<Option<anyhow::Error>>> = Arc::default();
        let task = tokio::spawn({
            let (ending, failed) = (ending.clone(), Arc::clone(&failed));
            let cards = cards.iter().map(|name| (*name, Card::default())).collect();
            async move {
                if let Err(error) = follow(&around, cards, &ending).await {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        });
        Ok(Self {
            ending,
            failed,
            task,
        })
    }

    /// Fails if a card's system could not be started, or has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.as_ref() {
            Some(error) => bail!("the system of a card: {error:#}"),
            None => Ok(()),
        }
    }

    /// Waits until each of these cards is Ready, by its name and what a failure is to be told with, unless
    /// something else of the world ends meanwhile.
    pub(crate) async fn await_ready(
        &self,
        world: &mut World,
        cards: &[(&str, String)],
        within: Duration,
    ) -> Result<()> {
        let began = Instant::now();
        for (card, detail) in cards {
            let kubectl = world.control_plane.kubectl();
            let name = format!("dpu/{card}");
            let left = within.saturating_sub(began.elapsed());
            let ready = tokio::select! {
                ready = kubectl.wait(NAMESPACE, &name, "condition=Ready", left) => ready,
                ended = world.watch_over() => Err(ended),
            };
            self.check()?;
            ready.with_context(|| format!("{name} ({detail})"))?;
        }
        Ok(())
    }

    /// Ends them all.
    pub(crate) async fn stop(self) -> Result<()> {
        self.ending.cancel();
        self.task.await.context("following the simulator's log")
    }
}

async fn follow(
    around: &Surroundings,
    mut cards: BTreeMap<&'static str, Card>,
    ending: &CancellationToken,
) -> Result<()> {
    loop {
        for (name, card) in &mut cards {
            card.catch_up(around, name).await.context(*name)?;
        }
        tokio::select! {
            () = ending.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    for card in cards.into_values() {
        if let Some(running) = card.running {
            running.stop().await?;
        }
    }
    Ok(())
}

impl Card {
    async fn catch_up(&mut self, around: &Surroundings, name: &'static str) -> Result<()> {
        for effect in around.fleet.effects(name, self.read)? {
            self.read = effect.seq + 1;
            if effect.machine != name {
                continue;
            }
            match effect.what {
                What::Booted { boots, .. } => {
                    self.boots = boots;
                    self.end().await?;
                }
                What::PoweredOff { .. } => self.end().await?,
                What::BootedFrom { source } => {
                    self.boots_from_disk = source == "disk";
                    if !self.boots_from_disk {
                        self.on_medium = Some(around.seed_on(&source).await?);
                    }
                }
                // Its BMC writes the image by itself.
                What::ImageArrived { .. } => self.on_medium = around.seed_in(name)?,
                What::Installed { .. } => self.on_disk = self.on_medium.take(),
                What::Reached {
                    stage: Stage::OsRunning,
                } if self.boots_from_disk => {
                    if let Some(seed) = &self.on_disk {
                        let Surroundings { folder, agent, .. } = around;
                        self.running = Some(boot(folder, agent, name, seed, self.boots)?);
                    }
                }
                What::PoweredOn { .. }
                | What::Reached { .. }
                | What::Damaged { .. }
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
        match &mut self.running {
            Some(running) => running.check(),
            None => Ok(()),
        }
    }

    async fn end(&mut self) -> Result<()> {
        match self.running.take() {
            // Power goes without a word.
            Some(running) => running.kill().await,
            None => Ok(()),
        }
    }
}

impl Surroundings {
    /// The seed of the image that the card's BMC was given last; firmware has none.
    fn seed_in(&self, name: &str) -> Result<Option<String>> {
        let part = self.fleet.image_part(name)?;
        let text = String::from_utf8_lossy(&part).trim().to_owned();
        Ok(text.starts_with('{').then_some(text))
    }

    /// Reads the medium at this URL as an installer does: whole, and the seed out of its slot.
    async fn seed_on(&self, url: &str) -> Result<String> {
        let answer = self.http.get(url).send().await;
        // The URL is a capability: it must not show in an error.
        let answer = answer.map_err(reqwest::Error::without_url)?;
        ensure!(
            answer.status().is_success(),
            "its medium cannot be read: HTTP {}",
            answer.status()
        );
        let bytes = answer.bytes().await.map_err(reqwest::Error::without_url)?;
        let slot = bytes
            .get(self.slot..self.slot + seed::SIZE)
            .context("the medium is shorter than the image")?;
        let text = str::from_utf8(slot).context("the seed is no text")?.trim();
        ensure!(text.starts_with('{'), "the medium carries no seed");
        Ok(text.to_owned())
    }
}

/// Starts a card's agent, in a root of its own below `folder`.
pub(crate) fn boot(
    folder: &Path,
    agent: &Path,
    name: &'static str,
    seed: &str,
    boots: u64,
) -> Result<Daemon> {
    let root = folder.join("cards").join(name);
    let file = root.join("seed.json");
    for (path, text) in [
        ("seed.json", seed.to_owned()),
        ("proc/sys/kernel/random/boot_id", boot_id(name, boots)),
        ("proc/sys/kernel/osrelease", "6.12.0-simulated".to_owned()),
        ("proc/uptime", "1.00 1.00".to_owned()),
        (
            "etc/os-release",
            "PRETTY_NAME=\"simulated card\"".to_owned(),
        ),
    ] {
        write(&root.join(path), &text)?;
    }
    let program = Program {
        name,
        binary: agent.to_owned(),
        args: vec![
            "xpu".into(),
            "--seed".into(),
            file.into(),
            "--root".into(),
            root.into(),
        ],
        env: vec![("RUST_LOG", "info".into())],
        order: 300,
        grace: Duration::from_secs(5),
    };
    Daemon::start(&program, folder, Lifetime::ThisProcess)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, format!("{text}\n")))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Another one for every boot of every card, in the kernel's form.
fn boot_id(name: &str, boots: u64) -> String {
    let digest = hex::encode(&Sha256::digest(format!("{name} {boots}"))[..16]);
    format!(
        "{}-{}-4{}-8{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..]
    )
}
