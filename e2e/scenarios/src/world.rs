//! Everything one scenario needs: control plane, BMCs, operator and agent, started as users run them.

mod install;
mod machines;
mod programs;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lockstep_cluster::audit::Mark;
use lockstep_cluster::{ControlPlane, Options};
use lockstep_lab::{FakeBmcs, Lab, LabSpec, MachineSpec};
use lockstep_process::Daemon;

pub use self::machines::{Kind, Machines, Simulated};
use self::programs::OPERATORS;
use crate::artefacts::Binaries;
use crate::objects;

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "lockstep-system";

/// A running world.
pub struct World {
    /// The Kubernetes control plane.
    pub control_plane: ControlPlane,
    /// The machines and their BMCs.
    pub machines: Machines,
    binaries: Binaries,
    folder: PathBuf,
    specs: Vec<MachineSpec>,
    operator: Option<Daemon>,
    /// Changes with every replacement: two run at the same time then.
    operator_name: &'static str,
    agent: Option<Daemon>,
    agent_config: PathBuf,
    store_port: u16,
}

impl World {
    /// Starts control plane and machines in `folder`, and installs CRDs, RBAC and guards.
    /// Operator and agent are not started yet.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start(
        folder: &Path,
        kind: Kind,
        specs: Vec<MachineSpec>,
        binaries: &Binaries,
    ) -> Result<Self> {
        Self::start_lab(folder, kind, LabSpec::new(specs), binaries).await
    }

    /// As [`World::start`], for BMCs with certificates or credentials of their own.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start_lab(
        folder: &Path,
        kind: Kind,
        lab: LabSpec,
        binaries: &Binaries,
    ) -> Result<Self> {
        let specs = lab.machines.clone();
        let machines = match kind {
            Kind::Vms => Machines::Vms(Lab::up(&folder.join("lab"), lab).await?),
            Kind::Fake => Machines::Fake(FakeBmcs::up(&folder.join("lab"), &lab).await?),
            Kind::Nothing => Machines::Nothing,
        };
        Self::start_with(folder, machines, specs, binaries).await
    }

    /// As [`World::start`], on a simulated fleet. Needs neither root nor packages.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start_simulated(
        folder: &Path,
        simulated: Simulated,
        binaries: &Binaries,
    ) -> Result<Self> {
        let machines = Machines::Simulated(simulated);
        Self::start_with(folder, machines, Vec::new(), binaries).await
    }

    async fn start_with(
        folder: &Path,
        machines: Machines,
        specs: Vec<MachineSpec>,
        binaries: &Binaries,
    ) -> Result<Self> {
        let folder = folder.to_owned();
        let control_plane = ControlPlane::start(Options::new(folder.join("cluster"))).await?;
        let store_port = free_port()?;
        let agent_config = folder.join("agent.yaml");
        let world = Self {
            control_plane,
            machines,
            binaries: binaries.clone(),
            specs,
            operator: None,
            operator_name: OPERATORS[0],
            agent: None,
            agent_config,
            store_port,
            folder,
        };
        world.install().await?;
        world.write_agent_config()?;
        Ok(world)
    }

    /// The folder of this world.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's configuration file, for scenarios that change it.
    pub fn agent_config(&self) -> &Path {
        &self.agent_config
    }

    /// The site's store, as machines on loopback reach it.
    pub fn store_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.store_port)
    }

    /// The agent's program, for its other roles.
    pub fn agent_binary(&self) -> &Path {
        &self.binaries.agent
    }

    /// The BMC of a machine, as a user describes it.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn bmc(&self, name: &str) -> Result<objects::Bmc> {
        let spec = self
            .specs
            .iter()
            .find(|spec| spec.name == name)
            .with_context(|| format!("no machine {name}"))?;
        Ok(objects::Bmc {
            address: self.machines.bmc(name)?.url(),
            uuid: spec.uuid.clone(),
        })
    }

    /// Where the audit log stands now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        self.control_plane.audit_log().mark()
    }

    /// Stops everything that is still running.
    ///
    /// # Errors
    /// When something cannot be stopped.
    pub async fn stop(mut self) -> Result<()> {
        for daemon in [self.agent.take(), self.operator.take()]
            .into_iter()
            .flatten()
        {
            daemon.stop().await?;
        }
        self.control_plane.stop().await?;
        self.machines.down()
    }
}

/// A port of loopback that is free now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}
