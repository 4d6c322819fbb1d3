//! kubectl, as a user would call it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use tokio::process::Command;

use crate::{
    command,
    deadline::{Look, eventually},
    tools::{Tool, Tools},
};

/// Longest time one call may take, unless another is given.
const DEADLINE: Duration = Duration::from_secs(60);
/// For the API server to serve what was just applied, on a loaded machine.
const CRD_DEADLINE: Duration = Duration::from_secs(60);
/// Between kubectl's own time limit and the end of our patience with it.
const SLACK: Duration = Duration::from_secs(5);

/// kubectl with the credentials of one user.
#[derive(Debug, Clone)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// kubectl with `kubeconfig`; what it remembers about the server goes below `state`.
    pub fn new(tools: &Tools, kubeconfig: PathBuf, state: &Path) -> Self {
        Self {
            binary: tools.path(Tool::Kubectl),
            kubeconfig,
            cache: state.join("kubectl-cache"),
        }
    }

    /// Runs `kubectl ARGS` and returns what it prints.
    ///
    /// # Errors
    /// When it fails or takes longer than a minute: with its own words.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        command::run(self.command(args), None, DEADLINE).await
    }

    /// Applies the YAML in `text`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn apply_text(&self, text: &str) -> Result<String> {
        command::run(self.command(&["apply", "-f", "-"]), Some(text), DEADLINE).await
    }

    /// Applies a file, every file of a folder, or a folder with a kustomization.
    ///
    /// # Errors
    /// When the server refuses any of it.
    pub async fn apply(&self, path: &Path) -> Result<String> {
        let kustomized = ["kustomization.yaml", "kustomization.yml", "Kustomization"]
            .iter()
            .any(|name| path.join(name).is_file());
        let mut command = self.command(&["apply", if kustomized { "-k" } else { "-f" }]);
        command.arg(path);
        command::run(command, None, DEADLINE).await
    }

    /// `kubectl wait --for=CONDITION TARGET`, at most for `deadline`.
    ///
    /// # Errors
    /// When the condition does not come true in time.
    pub async fn wait(
        &self,
        namespace: &str,
        target: &str,
        condition: &str,
        deadline: Duration,
    ) -> Result<String> {
        let condition = format!("--for={condition}");
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let command = self.command(&["wait", "-n", namespace, target, &condition, &timeout]);
        command::run(command, None, deadline + SLACK).await
    }

    /// Waits until the API server serves every CustomResourceDefinition.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_for_crds(&self) -> Result<()> {
        let args = ["wait", "--for=condition=Established", "crd", "--all"];
        eventually(CRD_DEADLINE, "every CRD being served", async || {
            // kubectl does not wait for one that has no conditions at all yet: it fails.
            match self.run(&args).await {
                Ok(_met) => Look::Holds(()),
                Err(error) => Look::not_yet(format!("{error:#}")),
            }
        })
        .await?;
        Ok(())
    }

    /// The command itself, for callers that want to watch it run (`kubectl get -w`).
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(args)
            .env_remove("KUBECONFIG")
            .kill_on_drop(true);
        command
    }
}
