//! A set of VMs with their BMCs, brought up and taken down together; and the same BMCs without
//! VMs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::Mutex;

use crate::boot_network::BootNetwork;
use crate::console::Console;
use crate::coupling::Coupling;
use crate::deadline::eventually;
use crate::domain::{self, Disk, MachineSpec, SlotPower};
use crate::emulator::{Credentials, Driver, Emulator};
use crate::front::{Front, HttpBoot, Request, TlsIdentity};
use crate::held::Held;
use crate::hypervisor::{self, GRACE, Hypervisor};
use crate::nvram::Nvram;
use crate::requirements;

/// A machine's disk, in its folder.
const DISK: &str = "disk.qcow2";

/// What a lab consists of.
#[derive(Debug, Clone)]
pub struct LabSpec {
    /// The machines.
    pub machines: Vec<MachineSpec>,
    /// What every BMC takes.
    pub credentials: Credentials,
    /// Address of this machine that the BMC ports listen on.
    pub listen: IpAddr,
    /// Certificates by machine name; a BMC without one speaks plain HTTP.
    pub tls: BTreeMap<String, TlsIdentity>,
    /// Names of VMs whose own firmware fetches `HttpBootUri`. The emulator's way with the others
    /// is to download it itself and to insert a CD.
    pub http_boot: BTreeSet<String>,
    /// Certificates (DER) by machine name, of the authority that the firmware of a VM trusts when it
    /// fetches over HTTPS.
    pub authorities: BTreeMap<String, Vec<u8>>,
    /// Name of the VM that has a second interface, from which its firmware boots by PXE.
    pub boot_network: Option<String>,
}

impl LabSpec {
    /// These machines, on loopback, without TLS.
    pub fn new(machines: impl IntoIterator<Item = MachineSpec>) -> Self {
        Self {
            machines: machines.into_iter().collect(),
            credentials: Credentials::default(),
            listen: Ipv4Addr::LOCALHOST.into(),
            tls: BTreeMap::new(),
            http_boot: BTreeSet::new(),
            authorities: BTreeMap::new(),
            boot_network: None,
        }
    }

    fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for machine in &self.machines {
            ensure!(
                !machine.name.is_empty()
                    && machine
                        .name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "machine name {:?} must be letters, digits and `-`",
                machine.name
            );
            ensure!(
                names.insert(&machine.name),
                "two machines are named {}",
                machine.name
            );
        }
        for machine in &self.machines {
            match &machine.slot_power {
                SlotPower::Independent => {}
                SlotPower::CoupledTo(host) => ensure!(
                    host != &machine.name && names.contains(host),
                    "{} is coupled to {host}, which is no other machine of this lab",
                    machine.name
                ),
            }
        }
        for name in self.tls.keys() {
            ensure!(
                names.contains(name),
                "a certificate is for {name}, which is no machine"
            );
        }
        let trusting = self.authorities.keys();
        for name in self
            .http_boot
            .iter()
            .chain(&self.boot_network)
            .chain(trusting)
        {
            ensure!(
                names.contains(name),
                "{name} boots over the network, or trusts somebody, and is no machine"
            );
        }
        Ok(())
    }
}

/// The emulator and one front per machine.
#[derive(Debug)]
struct Bmcs {
    // Before the emulator, so that no request meets a dying one on drop.
    fronts: BTreeMap<String, Front>,
    emulator: Mutex<Emulator>,
    credentials: Credentials,
}

impl Bmcs {
    async fn up(state: &Path, spec: &LabSpec, driver: Driver<'_>) -> Result<Self> {
        let has_firmware = matches!(driver, Driver::Libvirt(_));
        let emulator = Emulator::start(state, driver, &spec.credentials).await?;
        let mut fronts = BTreeMap::new();
        for machine in &spec.machines {
            let http_boot = (has_firmware && spec.http_boot.contains(&machine.name)).then(|| {
                let nvram = Nvram::of(&machine_folder(state, &machine.name));
                let (state, name) = (state.to_owned(), machine.name.clone());
                HttpBoot::new(nvram, move || hypervisor::is_on(&state, &name))
            });
            let front = Front::open(
                (spec.listen, 0).into(),
                emulator.port(),
                &machine.uuid,
                spec.tls.get(&machine.name).cloned(),
                http_boot,
            )
            .await?;
            fronts.insert(machine.name.clone(), front);
        }
        Ok(Self {
            fronts,
            emulator: Mutex::new(emulator),
            credentials: spec.credentials.clone(),
        })
    }

    fn down(mut self) -> Result<()> {
        self.fronts.clear();
        self.emulator.get_mut().stop()
    }

    fn bmc(&self, name: &str) -> Result<&Front> {
        match self.fronts.get(name) {
            Some(front) => Ok(front),
            None => bail!("this lab has no machine {name}"),
        }
    }
}

/// One VM of a running lab.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    state: PathBuf,
    console: Console,
    hypervisor: Arc<Hypervisor>,
}

impl Machine {
    /// What it was made from.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Its serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Whether it has power, seen from its process and not from its BMC.
    pub fn is_on(&self) -> bool {
        hypervisor::is_on(&self.state, &self.spec.name)
    }

    /// Waits until it has, or has no, power.
    pub async fn wait_for_power(&self, on: bool, deadline: Duration) -> Result<()> {
        let what = format!(
            "{} powered {}",
            self.spec.name,
            if on { "on" } else { "off" }
        );
        let look = async || Ok((self.is_on() == on).then_some(()));
        eventually(&what, deadline, Duration::from_millis(50), look).await
    }

    /// Switches it on without its BMC: somebody presses the button.
    pub async fn press_power_button(&self) -> Result<()> {
        self.hypervisor.power_on(&self.spec.name).await
    }

    /// Resets it without its BMC: it boots anew, as by a watchdog.
    pub async fn reset(&self) -> Result<()> {
        self.hypervisor.reset(&self.spec.name).await
    }

    /// Puts a blank disk of so many MiB in the place of its own. It must be off.
    ///
    /// # Errors
    /// When it has power, or no disk can be made.
    pub fn replace_disk(&self, mebibytes: u32) -> Result<()> {
        ensure!(!self.is_on(), "{} is on", self.spec.name);
        let disk = machine_folder(&self.state, &self.spec.name).join(DISK);
        domain::create_disk(&Disk::Blank(mebibytes), &disk)
    }

    /// What it holds, while it is off.
    pub fn held(&self) -> Result<Held> {
        ensure!(!self.is_on(), "{} is on", self.spec.name);
        let disk = machine_folder(&self.state, &self.spec.name).join(DISK);
        Ok(Held::new(
            disk,
            hypervisor::tpm_folder(&self.state, &self.spec.uuid),
        ))
    }

    /// Cuts its power without its BMC.
    pub async fn cut_power(&self) -> Result<()> {
        self.hypervisor.cut_power(&self.spec.name).await
    }
}

/// Running VMs with their BMCs. Dropping it stops everything; [`Lab::down`] also reports errors.
#[derive(Debug)]
pub struct Lab {
    // Order of dropping: nobody switches VMs on while they are stopped.
    couplings: Vec<Coupling>,
    bmcs: Bmcs,
    machines: BTreeMap<String, Machine>,
    hypervisor: Arc<Hypervisor>,
    boot_network: Option<BootNetwork>,
}

impl Lab {
    /// Brings the machines up, powered off, with their BMCs. What an earlier lab left running in
    /// this folder is stopped and what it left there is removed.
    pub async fn up(state: &Path, spec: LabSpec) -> Result<Self> {
        spec.check()?;
        let state = std::path::absolute(state).context("the state folder has no path")?;
        tokio::task::spawn_blocking(requirements::ensure)
            .await
            .context("the task that looks at packages ended early")??;
        clear(&state)?;
        let hypervisor = Arc::new(Hypervisor::start(&state).await?);
        let boot_network = match &spec.boot_network {
            Some(machine) => Some(BootNetwork::up(&state, machine)?),
            None => None,
        };
        let mut machines = BTreeMap::new();
        for machine in &spec.machines {
            let boots_there = spec.boot_network.as_ref() == Some(&machine.name);
            let network = boot_network.as_ref().filter(|_| boots_there);
            let authority = spec.authorities.get(&machine.name).cloned();
            let defined = define(&state, machine, &hypervisor, network, authority).await?;
            machines.insert(machine.name.clone(), defined);
        }
        let bmcs = Bmcs::up(&state, &spec, Driver::Libvirt(&hypervisor)).await?;
        let couplings = spec
            .machines
            .iter()
            .filter_map(|machine| match &machine.slot_power {
                SlotPower::Independent => None,
                SlotPower::CoupledTo(host) => Some(Coupling::enforce(
                    Arc::clone(&hypervisor),
                    state.clone(),
                    machine.name.clone(),
                    host.clone(),
                )),
            })
            .collect();
        Ok(Self {
            couplings,
            bmcs,
            machines,
            hypervisor,
            boot_network,
        })
    }

    /// The machine of this name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        match self.machines.get(name) {
            Some(machine) => Ok(machine),
            None => bail!("this lab has no machine {name}"),
        }
    }

    /// The network from which a VM boots by PXE.
    pub fn boot_network(&self) -> Result<&BootNetwork> {
        self.boot_network
            .as_ref()
            .context("no machine of this lab has a boot network")
    }

    /// The BMC of the machine of this name.
    pub fn bmc(&self, name: &str) -> Result<&Front> {
        self.bmcs.bmc(name)
    }

    /// Base address of a machine's BMC.
    pub fn bmc_url(&self, name: &str) -> Result<String> {
        Ok(self.bmc(name)?.url())
    }

    /// Every request to a machine's BMC so far.
    pub fn requests(&self, name: &str) -> Result<Vec<Request>> {
        Ok(self.bmc(name)?.requests())
    }

    /// The emulator's own log of requests, with VMs and without: `<state>/logs/sushy.log`.
    pub fn emulator_log(state: &Path) -> PathBuf {
        state.join("logs/sushy.log")
    }

    /// What every BMC of this lab takes.
    pub fn credentials(&self) -> &Credentials {
        &self.bmcs.credentials
    }

    /// Kills the emulator behind all BMCs; their ports stay open and cut every request.
    pub async fn kill_emulator(&self) -> Result<()> {
        self.bmcs.emulator.lock().await.kill().await
    }

    /// Starts the emulator again with the state it had.
    pub async fn restart_emulator(&self) -> Result<()> {
        self.bmcs.emulator.lock().await.restart().await
    }

    /// Stops everything.
    pub fn down(mut self) -> Result<()> {
        self.couplings.clear();
        let bmcs = self.bmcs.down();
        self.hypervisor.stop()?;
        bmcs
    }

    /// Stops whatever a lab in this folder left running; returns the names of what it stopped.
    pub fn stop_recorded(state: &Path) -> Result<Vec<String>> {
        let state = std::path::absolute(state).context("the state folder has no path")?;
        let mut stopped = hypervisor::stop_vms(&state)?;
        stopped.extend(lockstep_process::stop_recorded(&state.join("pids"), GRACE)?);
        Ok(stopped)
    }
}

/// BMCs without machines: sushy-tools' fake systems behind the same fronts. They change power one
/// to eleven seconds after the request, boot nothing, and need neither root nor VMs.
#[derive(Debug)]
pub struct FakeBmcs(Bmcs);

impl FakeBmcs {
    /// Brings up a BMC for every machine of the specification, of which only name, UUID and MAC
    /// are used.
    pub async fn up(state: &Path, spec: &LabSpec) -> Result<Self> {
        spec.check()?;
        let state = std::path::absolute(state).context("the state folder has no path")?;
        clear(&state)?;
        Ok(Self(
            Bmcs::up(&state, spec, Driver::Fake(&spec.machines)).await?,
        ))
    }

    /// The BMC of this name.
    pub fn bmc(&self, name: &str) -> Result<&Front> {
        self.0.bmc(name)
    }

    /// What every BMC takes.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Lets every BMC take another account as well: a password was changed.
    pub async fn add_account(&self, credentials: &Credentials) -> Result<()> {
        self.0.emulator.lock().await.add_account(credentials).await
    }

    /// As [`Lab::kill_emulator`].
    pub async fn kill_emulator(&self) -> Result<()> {
        self.0.emulator.lock().await.kill().await
    }

    /// As [`Lab::restart_emulator`].
    pub async fn restart_emulator(&self) -> Result<()> {
        self.0.emulator.lock().await.restart().await
    }

    /// Stops everything.
    pub fn down(self) -> Result<()> {
        self.0.down()
    }
}

fn machine_folder(state: &Path, name: &str) -> PathBuf {
    state.join("machines").join(name)
}

async fn define(
    state: &Path,
    spec: &MachineSpec,
    hypervisor: &Arc<Hypervisor>,
    network: Option<&BootNetwork>,
    authority: Option<Vec<u8>>,
) -> Result<Machine> {
    let folder = machine_folder(state, &spec.name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let disk = folder.join(DISK);
    let (kind, made) = (spec.disk.clone(), disk.clone());
    tokio::task::spawn_blocking(move || domain::create_disk(&kind, &made))
        .await
        .context("the task that makes a disk ended early")??;
    let console = folder.join("console.log");
    let nvram = Nvram::of(&folder);
    if let Some(authority) = authority {
        let nvram = nvram.clone();
        tokio::task::spawn_blocking(move || nvram.trust(&authority))
            .await
            .context("the task that enrols an authority ended early")??;
    }
    let definition = domain::definition(spec, &disk, &nvram, &console, network)?;
    hypervisor
        .define(&definition, &folder.join("domain.xml"))
        .await?;
    Ok(Machine {
        spec: spec.clone(),
        state: state.to_owned(),
        console: Console::follow(&console)?,
        hypervisor: Arc::clone(hypervisor),
    })
}

/// Stops and removes what an earlier lab left in this folder.
fn clear(state: &Path) -> Result<()> {
    let stopped = Lab::stop_recorded(state)?;
    if !stopped.is_empty() {
        tracing::warn!(
            programs = stopped.join(" "),
            "stopped what an earlier lab left"
        );
    }
    for part in ["libvirt", "machines", "sushy", "logs", "pids"] {
        let folder = state.join(part);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))
}
