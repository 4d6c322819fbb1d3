//! `install-devlink`: firmware that the agent of a host flashes by devlink, with a real API server, site
//! agent and store, and in a VM the real agent of the host on Debian's kernel, whose netdevsim plays the
//! card's driver. A simulator plays the BMCs.
//!
//! Directives are recorded here, in the operator's place: it asks for none of a device that is in no report
//! of a card, as netdevsim is, which is no PCI device. netdevsim writes nothing and lists one version
//! for ever, so what it proves is the way there: judged by what the kernel's log says that it loaded, by
//! the sum of that file by a program that is not ours, and by what `devlink monitor` heard of the driver.

mod host;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::report::{ImageState, Outcome};
use lockstep_crds::{Dpu, DpuReport, names};
use lockstep_lab::image::Image;
use lockstep_xpusim::Listen;
use serde_json::{Value, json};

use self::host::{FIRMWARE, HANDLE, HostVm, SERIAL};
use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE, SITE};
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{PASSWORD, secrets};
use crate::world::{OPERATOR_NAMESPACE, Simulated, World};

const HOST: &str = "host-1";
const CARD: &str = "card-1";
const NODE: &str = "node-1";
/// What netdevsim lists of itself, and the version for it.
const COMPONENT: &str = "fw.mgmt";
const LISTED: &str = "10.20.30";
/// One that it will never list.
const NEW: &str = "10.20.31";
const SOON: Duration = Duration::from_secs(240);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let new = artefacts::firmware(&context.folder, NEW)?;
    let listed = artefacts::firmware(&context.folder, LISTED)?;
    let new_at = ImageServer::serve(new.path.clone()).await?;
    let listed_at = ImageServer::serve(listed.path.clone()).await?;
    let fleet = format!(
        "domains:\n- hosts: [{{name: {HOST}, personality: dell-host, password: {PASSWORD}}}]\n  cards:\n  \
         - {{name: {CARD}, personality: bluefield-3, password: {PASSWORD}, \
         slots: [{{host: {HOST}, number: 1, slotPower: standby}}]}}\n"
    );
    let simulated = Simulated::start(&fleet, Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let yaml = [
        secrets(&[&simulated])?,
        host::rights(NODE),
        objects::policy("none", &Choices::default()),
        objects::firmware_image("new", &new, &new_at.url("new.fwpkg"), "Firmware", COMPONENT),
        objects::firmware_image(
            "listed",
            &listed,
            &listed_at.url("listed.fwpkg"),
            "Firmware",
            COMPONENT,
        ),
        simulated.object(
            "DpuHost",
            HOST,
            "trust: NoVerification",
            &format!("  policyRef: {{name: policy}}\n  nodeName: {NODE}\n  trustDomain: Isolated\n"),
        )?,
        simulated.object(
            "Dpu",
            CARD,
            "trust: NoVerification",
            &format!(
                "  hostRefs: [{{name: {HOST}, pairing: Asserted}}]\n  firmwareRefs: [{{name: new}}, {{name: listed}}]\n"
            ),
        )?,
    ];
    let state = simulated.fleet.state(HOST)?;
    let (uuid, serial) = (state.uuid, state.serial);
    let of_card = simulated.fleet.state(CARD)?.serial;
    let mut world = World::start_simulated(&context.folder, simulated, &context.binaries).await?;
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml.concat()).await?;
    world.start_agent().await?;
    let began = Instant::now();
    let vm = HostVm::start(&world, NODE, (&uuid, &serial)).await?;
    report.figure("seconds to boot the host", began.elapsed().as_secs());
    let mut story = Story {
        world,
        vm,
        seq: 0,
        of_card,
    };
    story.ready([&new, &listed]).await?;
    story.isolated_is_refused(&new, &mut report).await?;
    story.unlisted_is_refused(&new, &mut report).await?;
    story.flashed_and_not_believed(&new, &mut report).await?;
    story.what_runs_is_not_written(&listed, &mut report).await?;
    story.killed_in_the_middle(&new, &mut report).await?;
    story.not_found_by_the_kernel(&new, &mut report).await?;
    report.say("netdevsim wrote nothing and lists one version for ever: no firmware was replaced");
    story.vm.stop().await?;
    story.world.stop().await?;
    Ok(report)
}

struct Story {
    world: World,
    vm: HostVm,
    seq: i64,
    /// Serial number of the card by its BMC.
    of_card: String,
}

impl Story {
    async fn report(&self, name: &str) -> Result<DpuReport> {
        let reports: Api<DpuReport> = Api::namespaced(self.world.control_plane.client(), NAMESPACE);
        Ok(reports.get(name).await?)
    }

    /// The store has the firmware, the card runs by its BMC, and the host's agent takes directives.
    async fn ready(&mut self, images: [&Image; 2]) -> Result<()> {
        let name = names::site(SITE);
        eventually(SOON, "both images in the store", async || {
            let report = match self.report(&name).await {
                Ok(report) => report,
                Err(error) => return Look::not_yet(error),
            };
            let has = |image: &&Image| {
                let digest = format!("sha256:{}", image.sha256);
                let mut stored = report.spec.images.iter();
                stored.any(|one| one.digest == digest && one.state == ImageState::Verified)
            };
            if images.iter().all(has) {
                Look::Holds(())
            } else {
                Look::not_yet(format!("{:?}", report.spec.images))
            }
        })
        .await?;
        let name = names::card_bmc(CARD);
        eventually(
            SOON,
            "the card's BMC tells that its system runs",
            async || {
                let report = match self.report(&name).await {
                    Ok(report) => report,
                    Err(error) => return Look::not_yet(error),
                };
                let bmc = report.spec.bmc;
                let stage = bmc.as_ref().and_then(|bmc| bmc.stage.clone());
                match stage {
                    Some(stage) if stage.as_str() == "OsRunning" => Look::Holds(()),
                    stage => Look::not_yet(format!("stage {stage:?}")),
                }
            },
        )
        .await?;
        let name = names::host(NODE);
        let takes = eventually(
            SOON,
            "the host's agent takes directives",
            async || match self.report(&name).await {
                Ok(report) if report.spec.execution.is_some() => Look::Holds(()),
                Ok(_) => Look::not_yet("it says nothing of that"),
                Err(error) => Look::not_yet(error),
            },
        )
        .await;
        if takes.is_err() {
            let log = self.vm.log().await?;
            takes.with_context(|| format!("the agent says: {log}"))?;
        }
        Ok(())
    }

    /// Records a directive to flash that image for that component.
    async fn record(&mut self, image: &Image, component: &str) -> Result<()> {
        self.seq += 1;
        let dpus: Api<Dpu> = Api::namespaced(self.world.control_plane.client(), NAMESPACE);
        let uid = dpus.get(CARD).await?.uid().context("a Dpu without uid")?;
        let now = Timestamp::now();
        let directive = json!({
            "seq": self.seq, "step": "UpdateFirmware", "executor": names::host(NODE),
            "target": {"kind": "Card", "name": CARD, "uid": uid},
            "action": {
                "kind": "FlashFirmware", "component": component, "activation": "CardPowerCycle",
                "image": {
                    "digest": format!("sha256:{}", image.sha256), "version": image.version,
                },
            },
            "expects": {
                "identity": {"serialNumber": self.of_card}, "power": "On", "safeStage": true,
                "devlink": {"handle": HANDLE, "serialNumber": SERIAL},
            },
            "blastRadius": [format!("dpu/{CARD}")],
            "issuedAt": now.to_string(),
            "deadline": (now + SignedDuration::from_secs(120)).to_string(),
            "settleSeconds": 600,
        });
        let status = json!({"status": {"seq": self.seq, "directives": [directive]}});
        let operator = format!("--as=system:serviceaccount:{OPERATOR_NAMESPACE}:lockstep-operator");
        self.patch(&["--subresource=status", &operator], &status)
            .await
    }

    async fn patch(&self, more: &[&str], patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let args = [
            "patch",
            "dpuhost",
            HOST,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &patch,
        ];
        let kubectl = self.world.control_plane.kubectl();
        kubectl.run(&[&args[..], more].concat()).await?;
        Ok(())
    }

    /// How the last directive ended.
    async fn outcome(&mut self) -> Result<Outcome> {
        let (name, seq) = (names::host(NODE), self.seq);
        let told = eventually(
            SOON,
            format!("the end of directive {seq}"),
            async || match self.report(&name).await {
                Ok(report) => match report.spec.execution {
                    Some(execution) if execution.accepted == seq => match execution.outcome {
                        Some(outcome) => Look::Holds(outcome),
                        None => Look::not_yet("it goes on"),
                    },
                    execution => Look::not_yet(format!("{execution:?}")),
                },
                Err(error) => Look::not_yet(error),
            },
        )
        .await;
        match told {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                let log = self.vm.log().await?;
                Err(error).with_context(|| format!("the agent says: {log}"))
            }
        }
    }

    /// The directive ends so, with this reason and these words.
    async fn ends(&mut self, result: &str, reason: Option<&str>, words: &str) -> Result<String> {
        let outcome = self.outcome().await?;
        let message = outcome.message.clone().unwrap_or_default();
        ensure!(
            outcome.result.as_str() == result
                && outcome.reason.as_deref() == reason
                && message.contains(words),
            "ended as {outcome:?}, not as {result} {reason:?} with {words:?}"
        );
        Ok(message)
    }

    /// The kernel has loaded firmware of ours so often.
    async fn loaded(&mut self, times: usize) -> Result<()> {
        let loaded = self.vm.loaded().await?;
        ensure!(
            loaded.len() == times,
            "the kernel loaded {loaded:?}, and {times} times were meant"
        );
        ensure!(self.vm.left().await?.is_empty(), "firmware stays there");
        Ok(())
    }

    async fn isolated_is_refused(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.record(image, COMPONENT).await?;
        let why = self.ends("Failed", Some("Unsupported"), "Isolated").await?;
        self.loaded(0).await?;
        report.say(format!("an isolated host: {why}"));
        self.patch(&[], &json!({"spec": {"trustDomain": "Trusted"}}))
            .await
    }

    async fn unlisted_is_refused(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.record(image, "fw.undi").await?;
        let why = self
            .ends("Failed", Some("ComponentNotListed"), COMPONENT)
            .await?;
        self.loaded(0).await?;
        report.say(format!("a component that the driver does not list: {why}"));
        Ok(())
    }

    /// The driver says that it is done, and lists what it listed before.
    async fn flashed_and_not_believed(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.vm.listen().await?;
        self.record(image, COMPONENT).await?;
        self.vm.loads(1).await?;
        // The driver writes for seconds, and until then it lies there.
        let lying = self.vm.lying(&image.sha256).await?;
        ensure!(
            lying == image.sha256,
            "{} was to be flashed, and {lying} lay there",
            image.sha256
        );
        let words = format!("running {LISTED}, stored {LISTED}, not {NEW}");
        let why = self.ends("Unknown", Some("VersionNotSeen"), &words).await?;
        self.loaded(1).await?;
        let loaded = self.vm.loaded().await?;
        let name = format!("lockstep/{}", image.sha256);
        ensure!(
            loaded.iter().all(|line| line.ends_with(&name)),
            "the kernel loaded {loaded:?}"
        );
        let heard = self.vm.heard().await?;
        for words in ["Preparing to flash", "Flashing"] {
            ensure!(
                heard.contains(words),
                "devlink monitor heard no {words:?}: {heard}"
            );
        }
        let log = self.vm.log().await?;
        for words in ["Flashing, 50 %", "Flashing done"] {
            ensure!(log.contains(words), "the agent tells no {words:?}: {log}");
        }
        report.say(format!(
            "the kernel loaded {name}, byte for byte, the driver told its progress, and its word was not believed: {why}"
        ));
        Ok(())
    }

    async fn what_runs_is_not_written(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.record(image, COMPONENT).await?;
        let why = self
            .ends("Failed", Some("RunsAlready"), "nothing was written")
            .await?;
        self.loaded(1).await?;
        report.say(format!("the version that runs: {why}"));
        Ok(())
    }

    /// The driver goes on without whoever asked; nothing is asked again.
    async fn killed_in_the_middle(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.record(image, COMPONENT).await?;
        self.vm.loads(2).await?;
        self.vm.kill_agent().await?;
        self.vm.start_agent(FIRMWARE).await?;
        let why = self
            .ends("Unknown", Some("FlashInterrupted"), LISTED)
            .await?;
        self.loaded(2).await?;
        report.say(format!("an agent killed while the driver wrote: {why}"));
        Ok(())
    }

    async fn not_found_by_the_kernel(&mut self, image: &Image, report: &mut Report) -> Result<()> {
        self.vm.kill_agent().await?;
        self.vm.start_agent("/run/elsewhere").await?;
        self.record(image, COMPONENT).await?;
        let words = "failed to locate the requested firmware file";
        let why = self.ends("Failed", Some("FlashRefused"), words).await?;
        self.loaded(2).await?;
        report.say(format!("a folder that the kernel does not search: {why}"));
        Ok(())
    }
}
