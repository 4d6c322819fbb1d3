//! `adopt`: cards that run something already. One runs its maker's system and gets the wanted image;
//! two run the wanted image, one of them under another name, and nothing is changed at any BMC;
//! one says that it runs the wanted version, and what it runs is another image.
//!
//! What the BMCs of all four say of their cards' systems is the same, and none of it is the wanted
//! version. Judged by the simulator's counts of what each BMC was asked, and by its effect log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{Api, ResourceExt};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, DpuHost, names};
use lockstep_lab::image::Image;
use lockstep_process::Daemon;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::reset::ResetType;
use lockstep_xpusim::{Fleet, Listen, Strike};
use serde_json::json;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{PASSWORD, secrets};
use crate::simulated_fleet::card_systems::{self, CardSystems};
use crate::story;
use crate::world::{Simulated, World};

/// How much faster than life BMCs write and cards boot.
const SCALE: u32 = 40;
const VERSION: &str = "1.0";
const SOON: Duration = Duration::from_secs(120);
/// For an install, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const QUIET: Duration = Duration::from_secs(15);
/// Between looks at the simulator's log.
const LOOK: Duration = Duration::from_millis(100);

const FACTORY: &str = "card-1";
const WANTED: &str = "card-2";
const RENAMED: &str = "card-3";
const LIAR: &str = "card-4";
const CARDS: [&str; 4] = [FACTORY, WANTED, RENAMED, LIAR];

fn host_of(card: &str) -> String {
    card.replace("card", "host")
}

fn fleet() -> String {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for card in CARDS {
        let host = host_of(card);
        let off = card == FACTORY;
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}, off: {off}}}]\n  cards:\n  \
             - {{name: {card}, personality: bluefield-3, password: {PASSWORD}, \
             slots: [{{host: {host}, number: 1, slotPower: standby}}]}}\n"
        );
    }
    yaml
}

fn machines(simulated: &Simulated) -> Result<String> {
    let mut yaml = String::new();
    for card in CARDS {
        let host = host_of(card);
        let of_host = "  policyRef: {name: policy}\n  slotPowerWhenHostOff: \"Yes\"\n".to_owned();
        let of_card = format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n");
        for (kind, name, rest) in [("DpuHost", &*host, of_host), ("Dpu", card, of_card)] {
            yaml += &simulated.object(kind, name, "trust: NoVerification", &rest)?;
        }
    }
    Ok(yaml)
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, VERSION)?;
    let images = ImageServer::serve(image.path.clone()).await?;
    let simulated = Simulated::start(&fleet(), Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let choices = Choices {
        methods: Some("[SimpleUpdate]"),
        os_timeout: 100,
        host_timeout: 3000,
        ..Choices::default()
    };
    let yaml = [
        secrets(&[&simulated])?,
        objects::image("v1", &image, &images.url("v1.iso")),
        machines(&simulated)?,
    ];
    let fleet = Arc::clone(&simulated.fleet);
    let mut world = World::start_simulated(&context.folder, simulated, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let systems = CardSystems::start(&world, &fleet, &[FACTORY, LIAR], &image)?;
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml.concat()).await?;
    let wanted = format!("sha256:{}", image.sha256);
    let other = format!("sha256:{}", "0".repeat(64));
    let mut before = Vec::new();
    for (card, version, digest) in [
        (WANTED, VERSION, &wanted),
        (RENAMED, "maker-0.9", &wanted),
        (LIAR, VERSION, &other),
    ] {
        before.push(before_us(&world, card, version, digest).await?);
    }
    // Nothing is wanted of them until their systems have told what they are.
    for card in [WANTED, RENAMED, LIAR] {
        story::await_card(&world.control_plane, card, "told", SOON, |card| {
            let status = card.status.as_ref();
            status.is_some_and(|status| status.image.is_some())
        })
        .await?;
    }
    kubectl.apply_text(&objects::policy("v1", &choices)).await?;
    let stage = Stage {
        world: &world,
        fleet: &fleet,
        image: &image,
    };
    stage.installed(FACTORY, &mut report).await?;
    for card in [WANTED, RENAMED] {
        stage.ready(card).await?;
    }
    stage.lies(&other, &mut report).await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    for card in [WANTED, RENAMED, LIAR] {
        stage.untouched(card)?;
    }
    for card in [WANTED, RENAMED] {
        stage.adopted(card, &mut report).await?;
    }
    let liar = before.pop().context("no liar")?;
    stage.liar_is_installed(liar, &mut report).await?;
    for agent in before {
        agent.stop().await?;
    }
    systems.check()?;
    systems.stop().await?;
    world.check()?;
    world.stop().await?;
    Ok(report)
}

/// A card's system from before Lockstep knew of it, with the agent that somebody put there.
async fn before_us(
    world: &World,
    card: &'static str,
    version: &str,
    digest: &str,
) -> Result<Daemon> {
    let plane = &world.control_plane;
    let cards: Api<Dpu> = Api::namespaced(plane.client(), NAMESPACE);
    let uid = cards.get(card).await?.uid().context("a Dpu without uid")?;
    let (kubectl, account) = (plane.kubectl(), names::xpu(card));
    // Whoever put the agent there gave it its account.
    let yaml = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: {NAMESPACE}}}\n"
    );
    kubectl.apply_text(&yaml).await?;
    let what = format!("a token for {account}");
    let token = eventually(SOON, what, async || {
        match kubectl
            .run(&["-n", NAMESPACE, "create", "token", &account])
            .await
        {
            Ok(token) => Look::Holds(token),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    let seed = json!({
        "apiServer": plane.url(),
        "ca": plane.ca(),
        "namespace": NAMESPACE,
        "dpu": card,
        "dpuUid": uid,
        "token": token.trim(),
        "imageVersion": version,
        "imageDigest": digest,
    });
    let (folder, agent) = (world.folder(), world.agent_binary());
    card_systems::boot(folder, agent, card, &seed.to_string(), 0)
}

struct Stage<'a> {
    world: &'a World,
    fleet: &'a Fleet,
    image: &'a Image,
}

impl Stage<'_> {
    async fn ready(&self, card: &str) -> Result<()> {
        let kubectl = self.world.control_plane.kubectl();
        let name = format!("dpu/{card}");
        kubectl
            .wait(NAMESPACE, &name, "condition=Ready", PATIENCE)
            .await
            .with_context(|| name.clone())?;
        Ok(())
    }

    /// Once, by the simulator's log.
    async fn installed(&self, card: &str, report: &mut Report) -> Result<()> {
        self.ready(card).await?;
        let effects = self.fleet.effects(card, 0)?;
        let count = |what: fn(&What) -> bool| effects.iter().filter(|one| what(&one.what)).count();
        let installed = count(|what| matches!(what, What::Installed { .. }));
        let hurt = count(|what| matches!(what, What::Damaged { .. }));
        ensure!(
            (installed, hurt) == (1, 0),
            "{card}: installed {installed} times, hurt {hurt} times"
        );
        report.say(format!("{card}: was installed with {VERSION} once"));
        Ok(())
    }

    /// Nothing was changed at the BMC of the card or of its host.
    fn untouched(&self, card: &str) -> Result<()> {
        for name in [card, &host_of(card)] {
            for path in self.fleet.requests(name)?.by_path.into_keys() {
                let changes = !path.starts_with("GET ") && !path.contains("/Sessions");
                ensure!(!changes, "{name} got {path}");
            }
        }
        Ok(())
    }

    async fn adopted(&self, card: &str, report: &mut Report) -> Result<()> {
        let plane = &self.world.control_plane;
        let hosts: Api<DpuHost> = Api::namespaced(plane.client(), NAMESPACE);
        let cards: Api<Dpu> = Api::namespaced(plane.client(), NAMESPACE);
        let host = hosts.get(&host_of(card)).await?;
        ensure!(
            host.status.is_some_and(|status| status.seq == 0),
            "{card}: something was asked of an agent"
        );
        let status = cards.get(card).await?.status.unwrap_or_default();
        let told = status.image.context("it shows no image")?;
        ensure!(
            told.digest == format!("sha256:{}", self.image.sha256),
            "{card} shows {told:?}"
        );
        report.say(format!(
            "{card}: calls itself {}, has the wanted digest: adopted, nothing changed at any BMC",
            told.version
        ));
        Ok(())
    }

    async fn lies(&self, other: &str, report: &mut Report) -> Result<()> {
        let plane = &self.world.control_plane;
        let words = format!(
            "{VERSION}, but of digest {other} and not sha256:{}",
            self.image.sha256
        );
        let told = story::await_card(plane, LIAR, "its digest counts", SOON, |card| {
            let status = card.status.as_ref();
            let message = status.and_then(|status| status.message.as_ref());
            story::reason(card) == "HostInUse"
                && message.is_some_and(|message| message.contains(&words))
        });
        let message = told.await?.status.and_then(|status| status.message);
        report.say(format!("{LIAR}: {}", message.unwrap_or_default()));
        Ok(())
    }

    /// A person takes the host off; the card then gets the image whose name it had.
    async fn liar_is_installed(&self, agent: Daemon, report: &mut Report) -> Result<()> {
        let from = self.fleet.effects(LIAR, 0)?.len() as u64;
        let reset = ResetType::ForceOff;
        self.fleet.strike(&host_of(LIAR), Strike::Press { reset })?;
        let goes = async {
            loop {
                let effects = self.fleet.effects(LIAR, from)?;
                let goes =
                    |what: &What| matches!(what, What::Booted { .. } | What::PoweredOff { .. });
                if effects
                    .iter()
                    .any(|one| one.machine == LIAR && goes(&one.what))
                {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let goes = tokio::time::timeout(PATIENCE, goes).await;
        goes.with_context(|| format!("{LIAR} was not booted"))??;
        agent.kill().await?;
        self.installed(LIAR, report).await
    }
}
