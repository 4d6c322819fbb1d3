//! `install-pxe`: the image of first-light by the third way: a policy that names PXE alone, at a
//! site whose agent keeps a folder and whose dnsmasq, ours, answers from it.
//!
//! Witnesses outside our code: the card's serial console, dnsmasq's log, the BMCs' request logs,
//! `kubectl wait`. The card's firmware asks the network and fetches the image itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::inventory::InstallMethod;
use lockstep_lab::front::Request;
use lockstep_lab::image::Behaviour;
use lockstep_lab::{BootNetwork, LabSpec, MachineSpec};
use lockstep_process::{Daemon, Lifetime, Program};
use serde_json::Value;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// The whole story, on a slow machine: TFTP waits for an answer to each of its small pieces.
const STORY: Duration = Duration::from_secs(1500);
const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let mut lab = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
    lab.boot_network = Some("card1".to_owned());
    let mut world = World::start_lab(&context.folder, Kind::Vms, lab, &context.binaries).await?;
    let service = Service::of(&world)?;
    world.start_operator().await?;
    world.start_agent().await?;
    let mut running = service
        .start(&world, world.machines.lab()?.boot_network()?)
        .await?;
    let choices = Choices {
        methods: Some("[Pxe]"),
        os_timeout: 1200,
        host_timeout: 1500,
        ..Choices::default()
    };
    let mac = world.machines.lab()?.boot_network()?.mac().to_owned();
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::booting_card("card1", "host1", &world.bmc("card1")?, &mac),
    ]
    .concat();
    let began = Instant::now();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    let offered = tokio::select! {
        offered = service.offers(SOON * 2) => offered,
        ended = world.watch_over() => Err(ended),
    }?;
    let ready = tokio::select! {
        ready = kubectl.wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY) => ready,
        ended = world.watch_over() => Err(ended),
    };
    running.check()?;
    world.check()?;
    ready?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    let lab = world.machines.lab()?;
    let consoles = [
        ("card1", "Start PXE over IPv4"),
        ("card1", "LOCKSTEP-INSTALLER-SEED found"),
        ("card1", "LOCKSTEP-OS-UP 1.0"),
        ("host1", "HOST-OS-UP"),
    ];
    for (machine, line) in consoles {
        lab.machine(machine)?.console().wait_for(line, SOON).await?;
        report.say(format!("{machine} console: {line}"));
    }
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    requests(&lab.bmc("card1")?.changes(), &mut report)?;
    fetched(running.log(), &offered, &mut report)?;
    service.is_at_rest(SOON).await?;
    report.say("nothing is offered any more, and dnsmasq has ended");
    recorded(&world).await?;
    nowhere_shown(&world, &offered, &mut report).await?;
    running.stop().await?;
    world.stop().await?;
    Ok(report)
}

/// The folder that the site's agent keeps, and what our service keeps for itself.
struct Service {
    folder: PathBuf,
    state: PathBuf,
}

impl Service {
    /// Tells the site's agent, which does not run yet.
    fn of(world: &World) -> Result<Self> {
        let folder = world.folder().join("pxe");
        let config = world.agent_config();
        let mut text = fs::read_to_string(config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        text.push_str(&format!("pxe: {{dir: {}}}\n", folder.display()));
        fs::write(config, text).with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Self {
            state: world.folder().join("pxe-service"),
            folder,
        })
    }

    async fn start(&self, world: &World, network: &BootNetwork) -> Result<Daemon> {
        let what = "the folder that the site's agent keeps for PXE";
        let tftp = self.folder.join("tftp");
        eventually(SOON, what, async || {
            if tftp.is_dir() {
                Look::Holds(())
            } else {
                Look::not_yet("it is not there")
            }
        })
        .await?;
        let [first, last, netmask] = network.free().map(|address| address.to_string());
        let mut args: Vec<OsString> = vec!["pxe".into()];
        for (name, value) in [
            ("--dir", self.folder.clone().into_os_string()),
            ("--state-dir", self.state.clone().into_os_string()),
            ("--interface", network.interface().into()),
            ("--first", first.into()),
            ("--last", last.into()),
            ("--netmask", netmask.into()),
            ("--user", "root".into()),
        ] {
            args.extend([name.into(), value]);
        }
        let program = Program {
            name: "pxe",
            binary: world.agent_binary().to_owned(),
            args,
            env: vec![("RUST_LOG", "info".into())],
            order: 210,
            grace: Duration::from_secs(15),
        };
        Daemon::start(&program, world.folder(), Lifetime::ThisProcess)
    }

    fn conf(&self) -> Result<String> {
        let path = self.folder.join("dnsmasq.d/lockstep.conf");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn boot_files(&self) -> Result<Vec<String>> {
        let tftp = self.folder.join("tftp");
        let entries = fs::read_dir(&tftp)
            .with_context(|| format!("cannot read {}", tftp.display()))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        entries.collect()
    }

    /// The name of the only boot file, once there is one.
    async fn offers(&self, deadline: Duration) -> Result<String> {
        let offered = eventually(deadline, "a boot file is offered", async || {
            let (files, conf) = match (self.boot_files(), self.conf()) {
                (Ok(files), Ok(conf)) => (files, conf),
                (Err(error), _) | (_, Err(error)) => return Look::Never(error),
            };
            match files.as_slice() {
                [file] if conf.contains(file.as_str()) => Look::Holds(file.clone()),
                _ => Look::not_yet(format!("{} files", files.len())),
            }
        })
        .await?;
        Ok(offered)
    }

    async fn is_at_rest(&self, deadline: Duration) -> Result<()> {
        ensure!(self.boot_files()?.is_empty(), "a boot file is left");
        ensure!(self.conf()?.is_empty(), "dnsmasq is told of an offer");
        eventually(deadline, "dnsmasq ends", async || {
            let pid = fs::read_to_string(self.state.join("dnsmasq.pid")).unwrap_or_default();
            let command = fs::read(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
            if command.starts_with(b"dnsmasq") {
                Look::not_yet("it runs")
            } else {
                Look::Holds(())
            }
        })
        .await?;
        Ok(())
    }
}

/// `Boot` of a PATCH, if it is one.
fn boot(request: &Request) -> Option<Value> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    (request.method.as_str() == "PATCH").then(|| body["Boot"].clone())
}

fn sets_pxe(boot: &Value) -> bool {
    boot["BootSourceOverrideTarget"] == "Pxe"
}

/// One PATCH arms the card, one power-on follows, one PATCH takes the override back.
fn requests(changes: &[Request], report: &mut Report) -> Result<()> {
    let what: Vec<&str> = changes
        .iter()
        .map(|request| match boot(request) {
            Some(boot) if sets_pxe(&boot) => {
                if boot["BootSourceOverrideEnabled"] == "Once"
                    && boot.get("BootSourceOverrideMode").is_none()
                {
                    "armed"
                } else {
                    "armed, and not once or with a mode"
                }
            }
            Some(_) => "disarmed",
            None if request.path.contains("ComputerSystem.Reset") => "reset",
            None => "something else",
        })
        .collect();
    ensure!(
        what == ["armed", "reset", "disarmed"],
        "the card's BMC was {}",
        what.join(", ")
    );
    report.figure("changing requests at the card's BMC", changes.len());
    report.say("the card's BMC was armed by one PATCH and disarmed by one");
    Ok(())
}

/// dnsmasq sent what was offered, whole.
fn fetched(log: &Path, file: &str, report: &mut Report) -> Result<()> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let sent = |line: &&str| line.contains("sent ") && line.contains(file);
    ensure!(
        text.lines().any(|line| sent(&line)),
        "dnsmasq did not send the boot file, see {}",
        log.display()
    );
    report.say("dnsmasq sent the boot file");
    Ok(())
}

/// The record tells the way, and nothing is armed any more.
async fn recorded(world: &World) -> Result<()> {
    story::await_host(
        &world.control_plane,
        "host1",
        "installed by Pxe, with nothing armed",
        SOON,
        |host| {
            let cards = host.status.iter().flat_map(|status| &status.cards);
            let mut cards = cards.filter(|card| card.armed.is_empty());
            cards.any(|card| card.method == Some(InstallMethod::Pxe))
        },
    )
    .await?;
    Ok(())
}

/// The name of the file is a capability: no object, and no log of operator and site agent shows it.
async fn nowhere_shown(world: &World, file: &str, report: &mut Report) -> Result<()> {
    let kinds = "dpus,dpuhosts,dpuimages,dpubootpolicies,dpureports,dpuinventories,events";
    let kubectl = world.control_plane.kubectl();
    let objects = kubectl
        .run(&["get", kinds, "-n", NAMESPACE, "-o", "json"])
        .await?;
    ensure!(!objects.contains(file), "an object shows the boot file");
    let logs = world.folder().join("logs");
    for name in ["agent.log", "operator.log"] {
        let log = logs.join(name);
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        ensure!(
            !text.contains(file),
            "{} shows the boot file",
            log.display()
        );
    }
    report.say("no object of the site and no log of operator and agent shows the boot file");
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn request(method: Method, path: &str, body: &Value) -> Request {
        Request {
            at: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            system: "x".to_owned(),
            method,
            path: path.to_owned(),
            body: body.to_string(),
            authorized: true,
            forwarded: true,
            status: Some(204),
            delivered: true,
        }
    }

    #[test]
    fn one_patch_on_and_one_back_pass_and_anything_else_does_not() {
        let system = "/redfish/v1/Systems/x";
        let set = |target: &str, enabled: &str| {
            let boot = json!({
                "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled,
            });
            request(Method::PATCH, system, &json!({"Boot": boot}))
        };
        let arm = set("Pxe", "Once");
        let back = set("Hdd", "Continuous");
        let reset = format!("{system}/Actions/ComputerSystem.Reset");
        let on = request(Method::POST, &reset, &json!({"ResetType": "On"}));
        let judge = |changes: &[Request]| requests(changes, &mut Report::default()).is_ok();
        assert!(judge(&[arm.clone(), on.clone(), back.clone()]));
        for bad in [
            vec![arm.clone(), arm.clone(), on.clone(), back.clone()],
            vec![arm.clone(), on.clone()],
            vec![on.clone(), arm, back.clone()],
            vec![set("Pxe", "Continuous"), on, back],
        ] {
            assert!(!judge(&bad), "{}", bad.len());
        }
    }
}
