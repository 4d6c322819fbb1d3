//! The control plane as a whole: start, outage, snapshot, restoration, end.

mod access;
mod apiserver;
mod controller_manager;
mod etcd;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use lockstep_process::{Daemon, Lifetime, Program};
use tokio::net::TcpStream;

use self::access::{connect, kubeconfig_path, url};
pub(crate) use self::apiserver::SERVICE_ADDRESS;
use crate::{
    deadline::{Look, eventually},
    kubeconfig::{self, Credential},
    options::Options,
    pki::{Pki, Subject, write_secret},
    ports::Ports,
    tools::{Group, Tools},
};

/// For the apiserver to be ready on a loaded machine; it takes about five seconds on an idle one.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// For programs that an earlier process left running.
const RECORDED_GRACE: Duration = Duration::from_secs(10);

/// A running control plane. Dropping it stops it.
pub struct ControlPlane {
    // Dropped in this order: whoever talks to another one ends first.
    controller_manager: Option<Daemon>,
    apiserver: Option<Daemon>,
    etcd: Option<Daemon>,
    options: Options,
    tools: Tools,
    pki: Pki,
    ports: Ports,
    client: Client,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ControlPlane")
            .field("state", &self.options.state)
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Builds the tools if need be, starts everything, and returns when it is ready to be used.
    ///
    /// # Errors
    /// When the tools cannot be built, when the state folder is in use or not writable, and
    /// when a program ends or is not ready in time: with the end of its log.
    pub async fn start(mut options: Options) -> Result<Self> {
        let tools = Tools::ensure(&[Group::ControlPlane]).await?;
        // The programs run with paths from here; a relative one would depend on the caller's folder.
        options.state = std::path::absolute(&options.state)
            .with_context(|| format!("{} is no usable path", options.state.display()))?;
        let state = &options.state;
        for folder in ["", "logs", "pids"].map(|name| state.join(name)) {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        refuse_running(state)?;
        let pki = Pki::open(state.join("pki"))?;
        let ports = choose_ports(state)?;
        let url = url(ports);
        apiserver::prepare(&pki, state, &options.extra_sans)?;
        controller_manager::prepare(&pki, state, &url)?;
        let admin = pki.client(&Subject::user("admin").in_group("system:masters"))?;
        let admin = kubeconfig::render(&url, pki.ca(), &Credential::Certificate(&admin));
        write_secret(&kubeconfig_path(state), &admin)?;
        let client = connect(&admin).await?;

        let mut this = Self {
            controller_manager: None,
            apiserver: None,
            etcd: None,
            options,
            tools,
            pki,
            ports,
            client,
        };
        this.start_programs().await?;
        Ok(this)
    }

    /// Stops everything and waits until it is gone. The state folder stays.
    ///
    /// # Errors
    /// When a program cannot be stopped.
    pub async fn stop(mut self) -> Result<()> {
        self.stop_programs().await
    }

    /// Leaves everything running after this process ends, for [`Self::stop_recorded`].
    ///
    /// # Errors
    /// When it was started with [`Lifetime::ThisProcess`]: the kernel would kill it anyway.
    pub fn detach(mut self) -> Result<()> {
        ensure!(
            self.options.lifetime == Lifetime::UntilStopped,
            "this control plane is bound to this process; start it with Lifetime::UntilStopped to detach it"
        );
        [
            &mut self.controller_manager,
            &mut self.apiserver,
            &mut self.etcd,
        ]
        .into_iter()
        .filter_map(Option::take)
        .for_each(Daemon::release);
        Ok(())
    }

    /// Stops what an earlier process left running in the folder `state`; returns the names of
    /// the programs that did run. Only processes that are still the recorded ones are touched.
    ///
    /// # Errors
    /// When a program cannot be stopped or a record cannot be read.
    pub fn stop_recorded(state: &Path) -> Result<Vec<String>> {
        lockstep_process::stop_recorded(&state.join("pids"), RECORDED_GRACE)
    }

    /// Takes the apiserver away; etcd and the controller manager stay. Does nothing if it is away.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop_apiserver(&mut self) -> Result<()> {
        stop(&mut self.apiserver).await
    }

    /// Brings the apiserver back on the same port and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        if self.apiserver.is_none() {
            let program = apiserver::program(
                &self.tools,
                &self.pki,
                self.ports,
                &self.options.state,
                &self.audit_log_path(),
            );
            self.apiserver = Some(self.launch(&program)?);
        }
        self.ready().await
    }

    /// Saves what etcd holds now to `file`, without interrupting anything.
    ///
    /// # Errors
    /// When etcd does not run or the file cannot be written.
    pub async fn snapshot(&self, file: &Path) -> Result<()> {
        etcd::save(&self.tools, self.ports, file).await
    }

    /// Goes back to a snapshot as a disaster recovery does: everything stops, etcd's data are
    /// replaced (with the revision moved ahead, as etcd's documentation asks for Kubernetes),
    /// everything starts again on the same ports with the same certificates.
    ///
    /// # Errors
    /// When the snapshot cannot be restored (everything stays stopped, the data as they were) or
    /// the control plane does not come back.
    pub async fn restart_from(&mut self, snapshot: &Path) -> Result<()> {
        self.stop_programs().await?;
        etcd::restore(&self.tools, self.ports, &self.etcd_data(), snapshot).await?;
        self.start_programs().await
    }

    async fn start_programs(&mut self) -> Result<()> {
        let program = etcd::program(&self.tools, self.ports, &self.etcd_data());
        self.etcd = Some(self.launch(&program)?);
        self.etcd_listens().await?;
        self.start_apiserver().await?;
        if self.options.controller_manager {
            let program = controller_manager::program(
                &self.tools,
                &self.pki,
                self.ports,
                &self.options.state,
            );
            self.controller_manager = Some(self.launch(&program)?);
            self.controllers_work().await?;
        }
        Ok(())
    }

    async fn stop_programs(&mut self) -> Result<()> {
        stop(&mut self.controller_manager).await?;
        stop(&mut self.apiserver).await?;
        stop(&mut self.etcd).await
    }

    fn launch(&self, program: &Program) -> Result<Daemon> {
        Daemon::start(program, &self.options.state, self.options.lifetime)
    }

    fn etcd_data(&self) -> PathBuf {
        self.options.state.join("etcd")
    }

    /// An apiserver that finds no etcd at first waits a second before it looks again.
    async fn etcd_listens(&mut self) -> Result<()> {
        let address = (Ipv4Addr::LOCALHOST, self.ports.etcd_client);
        let etcd = &mut self.etcd;
        eventually(READY_DEADLINE, "etcd listening", async || {
            if let Some(Err(ended)) = etcd.as_mut().map(Daemon::check) {
                return Look::Never(ended);
            }
            match TcpStream::connect(address).await {
                Ok(_connection) => Look::Holds(()),
                Err(error) => Look::not_yet(error),
            }
        })
        .await?;
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let Self {
            client,
            etcd,
            apiserver,
            ..
        } = self;
        eventually(READY_DEADLINE, "kube-apiserver being ready", async || {
            for daemon in [&mut *etcd, &mut *apiserver].into_iter().flatten() {
                if let Err(ended) = daemon.check() {
                    return Look::Never(ended);
                }
            }
            let request = match http::Request::get("/readyz").body(Vec::new()) {
                Ok(request) => request,
                Err(error) => return Look::Never(error.into()),
            };
            match client.request_text(request).await {
                Ok(_ok) => Look::Holds(()),
                Err(error) => Look::not_yet(error),
            }
        })
        .await?;
        Ok(())
    }

    /// The first thing controllers do for everybody: the namespace's own ServiceAccount.
    async fn controllers_work(&mut self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "default");
        let manager = &mut self.controller_manager;
        eventually(
            READY_DEADLINE,
            "kube-controller-manager making the default ServiceAccount",
            async || {
                if let Some(Err(ended)) = manager.as_mut().map(Daemon::check) {
                    return Look::Never(ended);
                }
                match accounts.get_opt("default").await {
                    Ok(Some(_account)) => Look::Holds(()),
                    Ok(None) => Look::not_yet("there is none"),
                    Err(error) => Look::not_yet(error),
                }
            },
        )
        .await?;
        Ok(())
    }
}

async fn stop(daemon: &mut Option<Daemon>) -> Result<()> {
    match daemon.take() {
        Some(daemon) => daemon.stop().await,
        None => Ok(()),
    }
}

fn refuse_running(state: &Path) -> Result<()> {
    for (_path, record) in lockstep_process::recorded(&state.join("pids"))? {
        ensure!(
            !record.identity.runs()?,
            "{} already runs in {} (pid {}); stop it with `cargo xtask cluster down` or choose another state folder",
            record.name,
            state.display(),
            record.identity.pid
        );
    }
    Ok(())
}

fn choose_ports(state: &Path) -> Result<Ports> {
    let file = state.join("ports.json");
    let before = match std::fs::read(&file) {
        Ok(text) => {
            Some(serde_json::from_slice(&text).with_context(|| {
                format!("{} is damaged; remove the state folder", file.display())
            })?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let ports = Ports::choose(before)?;
    std::fs::write(&file, serde_json::to_vec(&ports)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ports)
}
