//! Operator and site agent as processes: started, killed, replaced, watched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use lockstep_process::{Daemon, Lifetime, Program};

use super::{OPERATOR_NAMESPACE, World, free_port};
use crate::objects::NAMESPACE;

/// Names of the operator and its successor, for logs.
pub(super) const OPERATORS: [&str; 2] = ["operator", "operator-successor"];
const AGENT: &str = "agent";

impl World {
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
        self.operator = Some(self.launch(
            self.operator_name,
            &self.binaries.operator,
            args.map(OsString::from).into(),
            kubeconfig,
            "info,lockstep_operator=debug",
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
        self.agent = Some(self.launch(
            AGENT,
            &self.binaries.agent,
            vec![
                "site".into(),
                "--config".into(),
                self.agent_config.clone().into(),
            ],
            kubeconfig,
            "info,lockstep_agent=debug,lockstep_redfish=debug",
        )?);
        Ok(())
    }

    fn launch(
        &self,
        name: &'static str,
        binary: &Path,
        args: Vec<OsString>,
        kubeconfig: PathBuf,
        log: &str,
    ) -> Result<Daemon> {
        let program = Program {
            name,
            binary: binary.to_owned(),
            args,
            env: vec![("KUBECONFIG", kubeconfig.into()), ("RUST_LOG", log.into())],
            // After everything of the control plane.
            order: 200,
            grace: Duration::from_secs(15),
        };
        Daemon::start(&program, &self.folder, Lifetime::ThisProcess)
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
        for name in [OPERATORS[0], OPERATORS[1], AGENT] {
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
}
