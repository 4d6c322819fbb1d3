//! A host with one card, below what the product sees of them: the imitation of the card's rshim in
//! the host's files, and the two systems. The simulator plays both machines' power and BMCs.
//!
//! The host's agent runs while the host's system does. A card that is reset over its rshim boots
//! in the simulator; once its installer has said that it is done, it boots what came over: the
//! seed in its slot is what the card's own agent is started with. Nothing that Lockstep decides by
//! is made up here but boot ids.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lockstep_lab::image::seed;
use lockstep_process::{Daemon, Lifetime, Program};
use lockstep_rshim_imitation::Imitation;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::reset::ResetType;
use lockstep_xpusim::stage::Stage;
use lockstep_xpusim::{Fleet, Strike};
use serde_json::json;

use super::Case;
use crate::simulated_fleet::card_systems;
use crate::world::World;

/// Between lines that an installer says.
const PAUSE: Duration = Duration::from_secs(2);
/// Between words of a kubelet about its Node.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A PCI function of the card: where it stands, and what it is.
const FUNCTIONS: [(&str, &str, &str); 2] =
    [("0", "0xa2dc", "0x020000"), ("2", "0xc2d5", "0x080100")];

/// What goes wrong while an image is pushed, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// The agent of the host is killed when the card has this share of the image, in percent.
    AgentKilled(usize),
    /// The card takes nothing more after that share.
    CardStops(usize),
}

/// How a program of this pair is started.
pub(super) struct Programs {
    pub(super) folder: PathBuf,
    pub(super) agent: PathBuf,
    /// Arguments of the host's agent.
    pub(super) args: Vec<OsString>,
    pub(super) kubeconfig: PathBuf,
}

/// A host with its card.
pub(super) struct Pair {
    pub(super) case: &'static Case,
    pub(super) imitation: Imitation,
    /// Whoever has the rshim before.
    stranger: Option<Child>,
    programs: Programs,
    fleet: Arc<Fleet>,
    size: usize,
    mishap: Option<Mishap>,
    /// Position in the log of the power domain.
    read: u64,
    boots: u64,
    resets: usize,
    /// When each reset over rshim was seen.
    pub(super) reset_at: Vec<Timestamp>,
    installing: bool,
    on_disk: Option<String>,
    host_agent: Option<Daemon>,
    card_agent: Option<Daemon>,
    nodes: Api<Node>,
    /// When the Node's readiness was told last, and what was told.
    kubelet: Option<(Instant, bool)>,
}

impl Pair {
    pub(super) fn new(
        case: &'static Case,
        imitation: Imitation,
        programs: Programs,
        world: &World,
        fleet: &Arc<Fleet>,
        size: usize,
    ) -> Result<Self> {
        machine_at(imitation.root(), fleet, case)?;
        {
            let mut card = imitation.card();
            card.installs(PAUSE);
            card.whole = size;
            card.rate = case.rate;
            if let Some(Mishap::CardStops(percent)) = case.mishap {
                card.takes = Some(size / 100 * percent);
            }
        }
        let stranger = case.busy.then(|| stranger(&imitation)).transpose()?;
        let resets = imitation.card().resets;
        let runs = fleet.state(case.host)?.stage == Some(Stage::OsRunning);
        let mut pair = Self {
            case,
            imitation,
            stranger,
            programs,
            fleet: Arc::clone(fleet),
            size,
            mishap: case.mishap,
            read: 0,
            boots: 0,
            resets,
            reset_at: Vec::new(),
            installing: false,
            on_disk: None,
            host_agent: None,
            card_agent: None,
            nodes: Api::all(world.control_plane.client()),
            kubelet: None,
        };
        // The simulator's log begins with what happens, and not with what is so.
        if runs {
            pair.host_agent = Some(pair.start_host_agent()?);
        }
        Ok(pair)
    }

    /// Who has the rshim.
    pub(super) fn stranger(&self) -> Option<u32> {
        self.stranger.as_ref().map(Child::id)
    }

    pub(super) fn end_stranger(&mut self) -> Result<()> {
        let Some(mut stranger) = self.stranger.take() else {
            return Ok(());
        };
        stranger.kill().context("cannot end the stranger")?;
        stranger.wait().context("the stranger does not end")?;
        Ok(())
    }

    /// Follows what has happened since.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        let Case { host, card, .. } = self.case;
        for effect in self.fleet.effects(card, self.read)? {
            self.read = effect.seq + 1;
            let is_host = effect.machine == *host;
            if let What::Booted { boots, .. } = effect.what
                && !is_host
            {
                self.boots = boots;
            }
            if matches!(effect.what, What::Booted { .. } | What::PoweredOff { .. }) {
                let agent = if is_host {
                    &mut self.host_agent
                } else {
                    &mut self.card_agent
                };
                kill(agent).await?;
            }
            let stage = Stage::OsRunning;
            if effect.what == (What::Reached { stage }) {
                if is_host {
                    self.host_agent = Some(self.start_host_agent()?);
                } else {
                    self.card_runs()?;
                }
            }
        }
        self.follow_push().await?;
        self.tell_readiness().await?;
        for agent in [&mut self.host_agent, &mut self.card_agent]
            .into_iter()
            .flatten()
        {
            agent.check()?;
        }
        Ok(())
    }

    fn card_runs(&mut self) -> Result<()> {
        let Programs { folder, agent, .. } = &self.programs;
        if let Some(seed) = &self.on_disk {
            let running = card_systems::boot(folder, agent, self.case.card, seed, self.boots)?;
            self.card_agent = Some(running);
        }
        Ok(())
    }

    /// What comes over the rshim, as the card's machine feels it.
    async fn follow_push(&mut self) -> Result<()> {
        let (resets, came, is_open, done) = {
            let mut card = self.imitation.card();
            let done = card.has_said("Rebooting...");
            (card.resets, card.received.len(), card.boot_open, done)
        };
        if resets > self.resets {
            self.resets = resets;
            self.reset_at.push(Timestamp::now());
            self.on_disk = None;
            self.installing = true;
            self.restart_card()?;
        }
        match self.mishap {
            Some(Mishap::AgentKilled(percent)) if is_open && came > self.size / 100 * percent => {
                self.mishap = None;
                kill(&mut self.host_agent).await?;
                // As whoever runs containers would.
                self.host_agent = Some(self.start_host_agent()?);
            }
            Some(Mishap::CardStops(_)) if self.installing && !is_open => {
                self.mishap = None;
                self.imitation.card().takes = None;
            }
            Some(_) | None => {}
        }
        if self.installing && done {
            self.installing = false;
            self.on_disk = Some(self.seed()?);
            self.restart_card()?;
        }
        Ok(())
    }

    /// As the kubelet of the host does while its system runs, and once when it ends.
    async fn tell_readiness(&mut self) -> Result<()> {
        let ready = self.host_agent.is_some();
        let is_told = self
            .kubelet
            .is_some_and(|(at, told)| told == ready && (!ready || at.elapsed() < HEARTBEAT));
        if is_told {
            return Ok(());
        }
        let now = Timestamp::now();
        let (status, reason) = if ready {
            ("True", "KubeletReady")
        } else {
            ("False", "KubeletNotReady")
        };
        let told = json!({"status": {"conditions": [{
            "type": "Ready", "status": status, "reason": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }]}});
        let (node, params) = (self.case.node, PatchParams::default());
        self.nodes
            .patch_status(node, &params, &Patch::Strategic(told))
            .await
            .with_context(|| format!("the readiness of {node}"))?;
        self.kubelet = Some((Instant::now(), ready));
        Ok(())
    }

    fn restart_card(&self) -> Result<()> {
        let reset = ResetType::ForceRestart;
        Ok(self.fleet.strike(self.case.card, Strike::Press { reset })?)
    }

    /// The seed in what came, as the card's system finds it.
    fn seed(&self) -> Result<String> {
        let card = self.imitation.card();
        let at = self.size - seed::SIZE;
        let slot = card.received.get(at..self.size).context("it is cut")?;
        let text = str::from_utf8(slot).context("the seed is no text")?.trim();
        ensure!(text.starts_with('{'), "what came carries no seed");
        Ok(text.to_owned())
    }

    fn start_host_agent(&self) -> Result<Daemon> {
        let Programs {
            folder,
            agent,
            args,
            kubeconfig,
        } = &self.programs;
        let program = Program {
            name: self.case.host,
            binary: agent.clone(),
            args: args.clone(),
            env: vec![
                ("KUBECONFIG", kubeconfig.into()),
                ("RUST_LOG", "info,lockstep_agent=debug".into()),
            ],
            order: 250,
            grace: Duration::from_secs(5),
        };
        Daemon::start(&program, folder, Lifetime::ThisProcess)
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.end_stranger()?;
        for agent in [self.host_agent.take(), self.card_agent.take()]
            .into_iter()
            .flatten()
        {
            agent.stop().await?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Err(error) = self.end_stranger() {
            eprintln!("{}: {error:#}", self.case.host);
        }
    }
}

async fn kill(agent: &mut Option<Daemon>) -> Result<()> {
    match agent.take() {
        // Power goes without a word, and so does what is killed.
        Some(agent) => agent.kill().await,
        None => Ok(()),
    }
}

/// Another program on the host that pushes to the card, and does not come to an end.
fn stranger(imitation: &Imitation) -> Result<Child> {
    let boot = std::fs::OpenOptions::new()
        .write(true)
        .open(imitation.file("boot"))
        .context("the rshim's boot")?;
    let mut sleep = Command::new("sleep");
    // Nobody but it ends it if this process is killed.
    sleep.arg("3600").stdout(boot);
    sleep.spawn().context("cannot start sleep")
}

/// The files of the host, with its card at 0000:03:00.
fn machine_at(root: &Path, fleet: &Fleet, case: &Case) -> Result<()> {
    let (host, card) = (fleet.state(case.host)?, fleet.state(case.card)?);
    let dmi = "sys/class/dmi/id";
    let mut files = vec![
        (format!("{dmi}/product_uuid"), line(&host.uuid)),
        (format!("{dmi}/product_serial"), line(&host.serial)),
        (
            "etc/os-release".to_owned(),
            line("PRETTY_NAME=\"simulated host\""),
        ),
    ];
    for (function, device, class) in FUNCTIONS {
        let folder = format!("sys/bus/pci/devices/0000:03:00.{function}");
        for (file, text) in [("vendor", "0x15b3"), ("device", device), ("class", class)] {
            files.push((format!("{folder}/{file}"), line(text)));
        }
        files.push((format!("{folder}/vpd"), vital_product_data(&card.serial)?));
    }
    for (path, bytes) in files {
        let path = root.join(path);
        let folder = path.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, bytes))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\n").into_bytes()
}

fn vital_product_data(serial: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(serial.len()).context("a serial number that is too long")?;
    let mut bytes = b"\x82\x05\x00Card1\x90".to_vec();
    bytes.extend((u16::from(length) + 3).to_le_bytes());
    bytes.extend(b"SN");
    bytes.push(length);
    bytes.extend(serial.as_bytes());
    bytes.push(0x78);
    Ok(bytes)
}
