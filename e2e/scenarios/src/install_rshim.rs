//! `install-rshim`: cards that are reached over the rshim of their hosts and by no other way, with a
//! real API server, operator, site agent and store, and on each host its real agent. Below it is an
//! imitation of the rshim driver, as a file system; a simulator plays power and BMCs.
//!
//! Judged by what came at the far end of each rshim, byte for byte, by how often each card was
//! reset, and by the simulator's counts of what each BMC was asked.

mod boot_stream;
mod objects;
mod pair;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Api;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::host::{CardRecord, InstallFailure};
use lockstep_crds::{Dpu, DpuHost, DpuReport, names};
use lockstep_lab::image::{Image, seed};
use lockstep_rshim_imitation::Imitation;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::{Fleet, Listen, Strike};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::pair::{Mishap, Pair};
use crate::image_server::ImageServer;
use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{PASSWORD, secrets};
use crate::story;
use crate::world::{Simulated, World};

/// How much faster than life machines boot.
const SCALE: u32 = 20;
/// Bytes of the boot stream, its slot left out.
const SIZE: usize = 4 << 20;
/// Bytes a second of a slow rshim: time enough to die meanwhile.
const SLOW: u64 = 300_000;
/// For a card whose first push is cut off, and which is watched for minutes before the second.
const PATIENCE: Duration = Duration::from_secs(1200);
const SOON: Duration = Duration::from_secs(240);
const QUIET: Duration = Duration::from_secs(20);
/// Between looks at what happens.
const LOOK: Duration = Duration::from_millis(100);

/// A host with a card, and what is out of the ordinary there.
struct Case {
    host: &'static str,
    card: &'static str,
    node: &'static str,
    /// Another program pushes to the card.
    busy: bool,
    /// The host is not trusted with its card.
    isolated: bool,
    /// Bytes a second; without it as fast as they come.
    rate: Option<u64>,
    mishap: Option<Mishap>,
    /// Words of the failure of its first push.
    fails: Option<&'static str>,
}

const ORDINARY: Case = Case {
    host: "host-1",
    card: "card-1",
    node: "node-1",
    busy: false,
    isolated: false,
    rate: Some(2_000_000),
    mishap: None,
    fails: None,
};
const BUSY: usize = 1;
const ISOLATED: usize = 2;

static CASES: [Case; 5] = [
    ORDINARY,
    Case {
        host: "host-2",
        card: "card-2",
        node: "node-2",
        busy: true,
        ..ORDINARY
    },
    Case {
        host: "host-3",
        card: "card-3",
        node: "node-3",
        isolated: true,
        ..ORDINARY
    },
    Case {
        host: "host-4",
        card: "card-4",
        node: "node-4",
        rate: Some(SLOW),
        mishap: Some(Mishap::AgentKilled(40)),
        fails: Some("died while it pushed"),
        ..ORDINARY
    },
    Case {
        host: "host-5",
        card: "card-5",
        node: "node-5",
        rate: None,
        mishap: Some(Mishap::CardStops(60)),
        fails: Some("took nothing more"),
        ..ORDINARY
    },
];

fn fleet() -> String {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for Case { host, card, .. } in &CASES {
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}}}]\n  cards:\n  \
             - {{name: {card}, personality: bluefield-3, password: {PASSWORD}, \
             slots: [{{host: {host}, number: 1, slotPower: standby}}]}}\n"
        );
    }
    yaml
}

/// One imitation for each card.
fn mount() -> Result<Vec<Imitation>> {
    let mounted = CASES.iter().map(|_| Imitation::mount());
    mounted.collect::<std::io::Result<_>>().context(
        "no imitation of an rshim can be mounted, and without one this scenario shows nothing: it needs /dev/fuse (modprobe fuse), root, and mount and umount in PATH",
    )
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let imitations = mount()?;
    let image = boot_stream::write(&context.folder, "1.0", SIZE)?;
    let images = ImageServer::serve(image.path.clone()).await?;
    let simulated = Simulated::start(&fleet(), Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let yaml = [
        secrets(&[&simulated])?,
        objects::policy(),
        crate::objects::image("v1", &image, &images.url("v1.bfb")),
        objects::machines(&simulated, &CASES)?,
    ];
    let fleet = Arc::clone(&simulated.fleet);
    let mut world = World::start_simulated(&context.folder, simulated, &context.binaries).await?;
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&objects::nodes(&CASES)).await?;
    let machines = Machines::start(&world, imitations, &fleet, &image).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let mut story = Story {
        world,
        machines,
        fleet,
        image,
    };
    story.hosts_have_told_and_go_off().await?;
    let began = Instant::now();
    let kubectl = story.world.control_plane.kubectl();
    kubectl.apply_text(&yaml.concat()).await?;
    story.isolated_is_refused(&mut report).await?;
    story.busy_is_told(&mut report).await?;
    for case in CASES.iter().filter(|case| !case.isolated) {
        story.installed(case, began, &mut report).await?;
    }
    story.isolated_stays_untouched().await?;
    story.trusted_at_last(&mut report).await?;
    report.figure(
        "seconds from apply to the last Ready",
        began.elapsed().as_secs(),
    );
    report.say("the rshims were regular files of a FUSE file system, not character devices");
    story.machines.stop().await?;
    story.world.stop().await?;
    Ok(report)
}

/// All pairs, followed.
struct Machines {
    pairs: Vec<Arc<Mutex<Pair>>>,
    ending: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Machines {
    async fn start(
        world: &World,
        imitations: Vec<Imitation>,
        fleet: &Arc<Fleet>,
        image: &Image,
    ) -> Result<Self> {
        let ending = CancellationToken::new();
        let (mut pairs, mut tasks) = (Vec::new(), Vec::new());
        let size = usize::try_from(image.size)?;
        for (case, imitation) in CASES.iter().zip(imitations) {
            let programs = objects::programs(world, case, imitation.root().to_owned()).await?;
            let pair = Pair::new(case, imitation, programs, world, fleet, size)?;
            let pair = Arc::new(Mutex::new(pair));
            pairs.push(Arc::clone(&pair));
            let ending = ending.clone();
            tasks.push(tokio::spawn(async move {
                while !ending.is_cancelled() {
                    pair.lock().await.catch_up().await.context(case.host)?;
                    tokio::time::sleep(LOOK).await;
                }
                pair.lock().await.stop().await
            }));
        }
        Ok(Self {
            pairs,
            ending,
            tasks,
        })
    }

    /// Returns as soon as one of them cannot be followed any more.
    async fn fails(&self) -> anyhow::Error {
        loop {
            if let Some(task) = self.tasks.iter().position(JoinHandle::is_finished) {
                let host = CASES[task].host;
                return anyhow::anyhow!("{host} is not followed any more; see its log");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.ending.cancel();
        for task in self.tasks.drain(..) {
            task.await.context("following a host and its card")??;
        }
        Ok(())
    }
}

struct Story {
    world: World,
    machines: Machines,
    fleet: Arc<Fleet>,
    image: Image,
}

impl Story {
    /// What the agents of the hosts told while those ran is what is known of their rshims, and that
    /// they push.
    async fn hosts_have_told_and_go_off(&mut self) -> Result<()> {
        let reports: Api<DpuReport> = Api::namespaced(self.world.control_plane.client(), NAMESPACE);
        for case in &CASES {
            let name = names::host(case.node);
            let what = format!("{name} tells of an rshim, and that it takes directives");
            let told = eventually(SOON, what, async || match reports.get(&name).await {
                Ok(report) => {
                    let takes = report.spec.execution.is_some();
                    let cards = report.spec.inventory.map(|inventory| inventory.cards);
                    let mut cards = cards.iter().flatten();
                    if takes && cards.any(|card| card.rshim.as_deref() == Some("rshim0")) {
                        Look::Holds(())
                    } else {
                        Look::not_yet("not yet")
                    }
                }
                Err(error) => Look::not_yet(error),
            });
            tokio::select! {
                told = told => told?,
                error = self.machines.fails() => return Err(error),
            }
            let reset = objects::OFF;
            self.fleet.strike(case.host, Strike::Press { reset })?;
        }
        Ok(())
    }

    async fn isolated_is_refused(&mut self, report: &mut Report) -> Result<()> {
        let card = CASES[ISOLATED].card;
        let plane = &self.world.control_plane;
        let refused = story::await_card(plane, card, "refused", SOON, |card| {
            story::reason(card) == "Unsupported"
        });
        let message = message(&refused.await?);
        ensure!(
            message.contains("is Isolated") && message.contains("trustDomain: Trusted"),
            "the refusal does not say why, or what to do: {message}"
        );
        report.say(format!("{card}: {message}"));
        self.isolated_stays_untouched().await
    }

    async fn isolated_stays_untouched(&mut self) -> Result<()> {
        let Case { host, card, .. } = CASES[ISOLATED];
        let resets = self.resets(ISOLATED).await;
        ensure!(resets == 0, "{card} was reset {resets} times");
        for name in [host, card] {
            for path in self.fleet.requests(name)?.by_path.into_keys() {
                let changes = !path.starts_with("GET ") && !path.contains("/Sessions");
                ensure!(!changes, "{name} got {path}");
            }
        }
        Ok(())
    }

    async fn resets(&self, pair: usize) -> usize {
        self.machines.pairs[pair].lock().await.reset_at.len()
    }

    /// Somebody else pushes: it is said who, nothing is pushed, and nothing is lost by it.
    async fn busy_is_told(&mut self, report: &mut Report) -> Result<()> {
        let Case { host, card, .. } = CASES[BUSY];
        let pair = Arc::clone(&self.machines.pairs[BUSY]);
        let pid = pair.lock().await.stranger().context("nobody is there")?;
        let named = format!("sleep (pid {pid})");
        let plane = &self.world.control_plane;
        let told = story::await_card(plane, card, "says who has the rshim", SOON, |card| {
            message(card).contains(&named)
        });
        let told = tokio::select! {
            told = told => told?,
            error = self.machines.fails() => return Err(error),
        };
        report.say(format!("{card}: {}", message(&told)));
        story::stays_so(QUIET, "nobody pushes beside another", async || {
            Ok(self.resets(BUSY).await == 0)
        })
        .await?;
        let kept = self.record(host).await?;
        ensure!(
            kept.failures.is_empty(),
            "{card}: what was not begun failed: {kept:?}"
        );
        pair.lock().await.end_stranger()?;
        report.say(format!(
            "{card}: nothing was pushed beside {named}, which ends"
        ));
        Ok(())
    }

    /// Ready, by the very bytes of the image, and as many pushes as there had to be.
    async fn installed(&mut self, case: &Case, began: Instant, report: &mut Report) -> Result<()> {
        let Case { host, card, .. } = case;
        let kubectl = self.world.control_plane.kubectl();
        let left = PATIENCE.saturating_sub(began.elapsed());
        let name = format!("dpu/{card}");
        let ready = kubectl.wait(NAMESPACE, &name, "condition=Ready", left);
        tokio::select! {
            ready = ready => drop(ready.with_context(|| name.clone())?),
            error = self.machines.fails() => return Err(error),
            ended = self.world.watch_over() => return Err(ended),
        }
        let index = CASES.iter().position(|one| one.card == *card);
        let pair = Arc::clone(&self.machines.pairs[index.context("no such case")?]);
        let pair = pair.lock().await;
        arrived(&pair, &self.image)?;
        let kept = self.record(host).await?;
        let method = kept
            .method
            .as_ref()
            .map(|method| method.as_str().to_owned());
        ensure!(
            method.as_deref() == Some("Rshim") && kept.armed.is_empty(),
            "{card}: installed by {method:?}, {:?} is armed",
            kept.armed
        );
        let way = pushed(&pair, &kept)?;
        self.unhurt(card)?;
        report.say(format!(
            "{card}: {} bytes at the far end, those of the image with the card's own seed{way}",
            self.image.size
        ));
        Ok(())
    }

    /// No reset in a stage in which there must be none.
    fn unhurt(&self, name: &str) -> Result<()> {
        for effect in self.fleet.effects(name, 0)? {
            if let What::Damaged { stage, cause } = effect.what {
                bail!("{} was hurt in {stage:?} by {cause:?}", effect.machine);
            }
        }
        Ok(())
    }

    async fn trusted_at_last(&mut self, report: &mut Report) -> Result<()> {
        let case = &CASES[ISOLATED];
        let patch = "{\"spec\":{\"trustDomain\":\"Trusted\"}}";
        let kubectl = self.world.control_plane.kubectl();
        let target = ["patch", "dpuhost", case.host, "-n", NAMESPACE];
        let args = [&target[..], &["--type=merge", "-p", patch]].concat();
        kubectl.run(&args).await?;
        self.installed(case, Instant::now(), report).await
    }

    async fn record(&self, host: &str) -> Result<CardRecord> {
        let hosts: Api<DpuHost> = Api::namespaced(self.world.control_plane.client(), NAMESPACE);
        let status = hosts.get(host).await?.status;
        let kept = status.and_then(|status| status.cards.into_iter().next());
        kept.with_context(|| format!("nothing is recorded on {host}"))
    }
}

fn message(card: &Dpu) -> String {
    let status = card.status.as_ref();
    let message = status.and_then(|status| status.message.clone());
    message.unwrap_or_default()
}

/// Byte for byte the image, but for its slot, which holds this card's seed.
fn arrived(pair: &Pair, image: &Image) -> Result<()> {
    let card = pair.case.card;
    let wanted = std::fs::read(&image.path)
        .with_context(|| format!("cannot read {}", image.path.display()))?;
    let came = pair.imitation.card().received.clone();
    ensure!(
        came.len() == wanted.len(),
        "{card}: {} bytes came instead of {}",
        came.len(),
        wanted.len()
    );
    let slot = wanted.len() - seed::SIZE;
    if let Some(at) = (0..slot).find(|at| came[*at] != wanted[*at]) {
        bail!("{card}: another byte came at {at}");
    }
    let laid = str::from_utf8(&came[slot..]).context("the seed is no text")?;
    let laid: serde_json::Value = serde_json::from_str(laid.trim_end_matches(' '))
        .with_context(|| format!("{card}: its slot"))?;
    ensure!(
        laid["dpu"] == card && laid["imageDigest"] == format!("sha256:{}", image.sha256),
        "{card}: it was given the seed of {} for {}",
        laid["dpu"],
        laid["imageDigest"]
    );
    Ok(())
}

/// As many resets as there had to be, none before it was known what became of the one before it.
fn pushed(pair: &Pair, kept: &CardRecord) -> Result<String> {
    let Case { card, fails, .. } = pair.case;
    let resets = &pair.reset_at;
    ensure!(
        usize::try_from(kept.attempts) == Ok(resets.len()),
        "{card}: {} attempts, and reset {} times",
        kept.attempts,
        resets.len()
    );
    let Some(words) = fails else {
        ensure!(
            resets.len() == 1 && kept.failures.is_empty(),
            "{card}: reset {} times, failed as {:?}",
            resets.len(),
            kept.failures
        );
        return Ok(String::new());
    };
    let [
        InstallFailure {
            reason,
            message,
            at,
            ..
        },
    ] = &kept.failures[..]
    else {
        bail!("{card}: failed as {:?} and not once", kept.failures);
    };
    ensure!(
        reason == "PushBroken" && message.contains(words),
        "{card}: failed as {reason}: {message}"
    );
    ensure!(
        resets.len() == 2 && resets[1] > at.0,
        "{card}: reset at {resets:?}, and the failure was known at {}",
        at.0
    );
    Ok(format!(
        ", after {reason} {} s into the first push: {message}",
        at.0.duration_since(resets[0]).as_secs()
    ))
}
