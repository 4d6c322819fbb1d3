//! `install-pxe`: the signed image of `install-virtual-media` and `install-uefi-http` by another road:
//! a policy that takes all three, and PXE first, at a site whose agent keeps a folder and whose
//! dnsmasq, ours, answers from it.
//!
//! Witnesses outside our code: the card's serial console, dnsmasq's log, the BMCs' request logs,
//! `kubectl wait`, signatures made by openssl. The card's firmware asks the network and fetches the
//! image itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::{BootNetwork, LabSpec, MachineSpec};
use lockstep_process::{Daemon, Lifetime, Program};

use crate::objects::Choices;
use crate::registry::Context;
use crate::report::Report;
use crate::three_roads::{self, Install, Road, Signed};
use crate::world::{Kind, World};

/// The whole story, on a slow machine: TFTP waits for an answer to each of its small pieces.
const STORY: Duration = Duration::from_secs(1500);
const SOON: Duration = Duration::from_secs(120);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let signed = Signed::make(&context).await?;
    let mut lab = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
    lab.boot_network = Some("card1".to_owned());
    let mut world = World::start_lab(&context.folder, Kind::Vms, lab, &context.binaries).await?;
    let service = Service::of(&world)?;
    world.start_operator().await?;
    world.start_agent().await?;
    let mut running = service
        .start(&world, world.machines.lab()?.boot_network()?)
        .await?;
    let install = Install {
        road: Road::Pxe,
        choices: Choices {
            os_timeout: 1200,
            host_timeout: 1500,
            ..Choices::default()
        },
        within: STORY,
        shows: &["Start PXE over IPv4", "LOCKSTEP-INSTALLER-SEED found"],
    };
    let offers = service.offers(SOON * 2);
    let offered = signed
        .install(
            &mut world,
            &install,
            offers,
            Some(&mut running),
            &mut report,
        )
        .await?;
    fetched(running.log(), &offered, &mut report)?;
    service.is_at_rest(SOON).await?;
    report.say("nothing is offered any more, and dnsmasq has ended");
    signed.went_by(&world, Road::Pxe, &mut report).await?;
    // dnsmasq, which serves the file, does name it.
    let logs = ["agent.log", "operator.log"];
    let logs = logs.map(|name| world.folder().join("logs").join(name));
    three_roads::nowhere_shown(&world, &offered, &logs, &mut report).await?;
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
        Ok(Self {
            state: world.folder().join("pxe-service"),
            folder: three_roads::supply_pxe(world)?,
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
