//! helm, as a user would call it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use tokio::process::Command;

use crate::{
    ControlPlane, command,
    tools::{Group, Tool, Tools},
};

/// helm with the credentials of the administrator.
#[derive(Debug, Clone)]
pub struct Helm {
    binary: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    /// helm for `plane`, built if need be; its own files go below the state folder.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn new(plane: &ControlPlane) -> Result<Self> {
        let tools = Tools::ensure(&[Group::Helm]).await?;
        Ok(Self {
            binary: tools.path(Tool::Helm),
            kubeconfig: plane.kubeconfig(),
            home: plane.state().join("helm"),
        })
    }

    /// Runs `helm ARGS` within `deadline` and returns what it prints.
    ///
    /// # Errors
    /// When it fails or takes longer: with its own words.
    pub async fn run(&self, args: &[&str], deadline: Duration) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.home.join("cache"))
            .env("HELM_CONFIG_HOME", self.home.join("config"))
            .env("HELM_DATA_HOME", self.home.join("data"));
        command::run(command, None, deadline).await
    }
}
