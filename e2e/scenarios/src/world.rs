//! Everything one scenario needs: control plane, BMCs, operator and agent, started as users run them.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lockstep_cluster::audit::Mark;
use lockstep_cluster::{ControlPlane, Look, Options, eventually};
use lockstep_lab::front::Front;
use lockstep_lab::{FakeBmcs, Lab, LabSpec, MachineSpec};
use lockstep_process::{Daemon, Lifetime, Program};

use crate::artefacts::{Binaries, workspace};
use crate::objects::{self, NAMESPACE, SITE};

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "lockstep-system";

/// Names of the operator and its successor, for logs.
const OPERATORS: [&str; 2] = ["operator", "operator-successor"];

/// The machines of a scenario.
pub enum Machines {
    /// VMs with firmware and TPM.
    Vms(Lab),
    /// BMCs without machines.
    Fake(FakeBmcs),
}

impl Machines {
    /// The BMC of a machine.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn bmc(&self, name: &str) -> Result<&Front> {
        match self {
            Self::Vms(lab) => lab.bmc(name),
            Self::Fake(fake) => fake.bmc(name),
        }
    }

    /// The VMs.
    ///
    /// # Errors
    /// When there are none.
    pub fn lab(&self) -> Result<&Lab> {
        match self {
            Self::Vms(lab) => Ok(lab),
            Self::Fake(_) => bail!("this scenario has no VMs"),
        }
    }

    /// Kills the Redfish emulator.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_emulator(&mut self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.kill_emulator().await,
            Self::Fake(fake) => fake.kill_emulator().await,
        }
    }

    /// Starts the Redfish emulator again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart_emulator(&mut self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.restart_emulator().await,
            Self::Fake(fake) => fake.restart_emulator().await,
        }
    }

    fn down(self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.down(),
            Self::Fake(fake) => fake.down(),
        }
    }
}

/// Which kind of machines a scenario wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VMs.
    Vms,
    /// Emulated BMCs only.
    Fake,
}

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
        let folder = folder.to_owned();
        let specs = lab.machines.clone();
        let machines = match kind {
            Kind::Vms => Machines::Vms(Lab::up(&folder.join("lab"), lab).await?),
            Kind::Fake => Machines::Fake(FakeBmcs::up(&folder.join("lab"), &lab).await?),
        };
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
            folder,
        };
        world.install().await?;
        world.write_agent_config(store_port)?;
        Ok(world)
    }

    async fn install(&self) -> Result<()> {
        let kubectl = self.control_plane.kubectl();
        let root = workspace();
        kubectl.apply_text(&identities()).await?;
        for part in ["crds", "config/rbac", "config/admission"] {
            kubectl
                .apply(&root.join(part))
                .await
                .with_context(|| format!("applying {part}"))?;
        }
        for crd in lockstep_crds::all() {
            let name = crd.metadata.name.unwrap_or_default();
            kubectl
                .run(&[
                    "wait",
                    "--for=condition=Established",
                    &format!("crd/{name}"),
                    "--timeout=30s",
                ])
                .await?;
        }
        let credentials = match &self.machines {
            Machines::Vms(lab) => lab.credentials(),
            Machines::Fake(fake) => fake.credentials(),
        };
        kubectl
            .apply_text(&objects::secret(
                "bmc",
                &credentials.username,
                &credentials.password,
            ))
            .await?;
        Ok(())
    }

    fn write_agent_config(&self, store_port: u16) -> Result<()> {
        let state = self.folder.join("agent");
        let config = format!(
            "site: {SITE}
namespace: {NAMESPACE}
allowedNetworks: [127.0.0.0/8]
stateDir: {state}/state
store:
  dir: {state}/store
  quotaBytes: 4000000000
  maxImageBytes: 1000000000
  listen: 127.0.0.1:{store_port}
  advertiseUrl: http://127.0.0.1:{store_port}
xpu:
  apiServer: {guest}
  caFile: {ca}
poll: {{intervalSeconds: 2, idleSeconds: 30}}
health: 127.0.0.1:{health}
",
            state = state.display(),
            guest = self.control_plane.guest_url(),
            ca = self.control_plane.ca_path().display(),
            health = free_port()?,
        );
        std::fs::write(&self.agent_config, config)
            .with_context(|| format!("cannot write {}", self.agent_config.display()))
    }

    /// The folder of this world.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's configuration file, for scenarios that change it.
    pub fn agent_config(&self) -> &Path {
        &self.agent_config
    }

    /// The agent's program, for its role in a card.
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

    /// Starts the operator with its own ServiceAccount's rights.
    ///
    /// # Errors
    /// When it cannot be started, or is not ready in time.
    pub async fn start_operator(&mut self) -> Result<()> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let kubeconfig = self
            .kubeconfig(OPERATOR_NAMESPACE, "lockstep-operator", "operator")
            .await?;
        let args = [
            "run",
            "--namespace",
            OPERATOR_NAMESPACE,
            "--listen",
            &listen,
        ];
        let program = Program {
            name: self.operator_name,
            binary: self.binaries.operator.clone(),
            args: args.iter().map(OsString::from).collect(),
            env: vec![
                ("KUBECONFIG", kubeconfig.into()),
                ("RUST_LOG", "info,lockstep_operator=debug".into()),
            ],
            order: 200,
            grace: Duration::from_secs(15),
        };
        self.operator = Some(Daemon::start(
            &program,
            &self.folder,
            Lifetime::ThisProcess,
        )?);
        Ok(())
    }

    /// Starts the site agent with its own ServiceAccount's rights.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_agent(&mut self) -> Result<()> {
        let kubeconfig = self
            .kubeconfig(NAMESPACE, lockstep_crds::SITE_AGENT, "agent")
            .await?;
        let program = Program {
            name: "agent",
            binary: self.binaries.agent.clone(),
            args: vec![
                "site".into(),
                "--config".into(),
                self.agent_config.clone().into(),
            ],
            env: vec![
                ("KUBECONFIG", kubeconfig.into()),
                (
                    "RUST_LOG",
                    "info,lockstep_agent=debug,lockstep_redfish=debug".into(),
                ),
            ],
            order: 201,
            grace: Duration::from_secs(15),
        };
        self.agent = Some(Daemon::start(
            &program,
            &self.folder,
            Lifetime::ThisProcess,
        )?);
        Ok(())
    }

    /// Kills the operator as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_operator(&mut self) -> Result<()> {
        match self.operator.take() {
            Some(operator) => operator.kill().await,
            None => Ok(()),
        }
    }

    /// Replaces the operator as a Deployment does: its successor starts before it is told to end.
    ///
    /// # Errors
    /// When one cannot be started, or the other cannot be stopped.
    pub async fn replace_operator(&mut self) -> Result<()> {
        let outgoing = self.operator.take();
        let [one, other] = OPERATORS;
        self.operator_name = if self.operator_name == one {
            other
        } else {
            one
        };
        self.start_operator().await?;
        match outgoing {
            Some(operator) => operator.stop().await,
            None => Ok(()),
        }
    }

    /// Replaces the site agent as a Deployment that recreates does: it ends before its successor starts.
    ///
    /// # Errors
    /// When one cannot be stopped, or the other cannot be started.
    pub async fn replace_agent(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.stop().await?;
        }
        self.start_agent().await
    }

    /// Ends the leadership of an operator that was killed, so that nobody has to wait until its
    /// Lease is old.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn end_leadership(&self) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.control_plane.client(), OPERATOR_NAMESPACE);
        match leases
            .delete("lockstep-operator", &DeleteParams::default())
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).context("cannot delete the operator's Lease"),
        }
    }

    /// Kills the site agent as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_agent(&mut self) -> Result<()> {
        match self.agent.take() {
            Some(agent) => agent.kill().await,
            None => Ok(()),
        }
    }

    /// Fails if operator or agent has ended by itself, or has panicked and gone on.
    ///
    /// # Errors
    /// With the end of its log, or the line that tells of the panic.
    pub fn check(&mut self) -> Result<()> {
        for daemon in [&mut self.operator, &mut self.agent].into_iter().flatten() {
            daemon.check()?;
        }
        for name in [OPERATORS[0], OPERATORS[1], "agent"] {
            let log = self.folder.join("logs").join(format!("{name}.log"));
            if !log.exists() {
                continue;
            }
            let text =
                std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
            let text = String::from_utf8_lossy(&text);
            if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
                bail!("{name} has panicked: {line}; see {}", log.display());
            }
        }
        Ok(())
    }

    /// Returns, with the end of its log, as soon as operator or agent ends by itself.
    pub async fn watch_over(&mut self) -> anyhow::Error {
        loop {
            if let Err(ended) = self.check() {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
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

    async fn kubeconfig(&self, namespace: &str, account: &str, file: &str) -> Result<PathBuf> {
        let api: Api<ServiceAccount> = Api::namespaced(self.control_plane.client(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(86_400),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let token = eventually(
            Duration::from_secs(30),
            format!("a token for {account}"),
            async || match api
                .create_token_request(account, &PostParams::default(), &request)
                .await
            {
                Ok(answer) => match answer.status {
                    Some(status) => Look::Holds(status.token),
                    None => Look::not_yet("no status"),
                },
                Err(error) => Look::not_yet(error),
            },
        )
        .await?;
        let path = self.folder.join(format!("{file}.kubeconfig"));
        let text = self
            .control_plane
            .kubeconfig_for_token(&token, &self.control_plane.url());
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Namespaces, ServiceAccounts and bindings that a site needs besides the cluster-wide rules.
fn identities() -> String {
    let binding = |role: &str, subject: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
             metadata: {{name: {role}, namespace: {NAMESPACE}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{subject}]\n---\n"
        )
    };
    let account = lockstep_crds::SITE_AGENT;
    [
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OPERATOR_NAMESPACE}}}\n---\n"),
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n"),
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: {NAMESPACE}}}\n---\n"),
        binding(
            "lockstep-site-agent",
            &format!("{{kind: ServiceAccount, name: {account}, namespace: {NAMESPACE}}}"),
        ),
        binding(
            "lockstep-xpu-agent",
            &format!("{{kind: Group, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccounts:{NAMESPACE}'}}"),
        ),
    ]
    .concat()
}

/// A port of loopback that is free now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}
