//! What callers get of a running control plane: clients, credentials, addresses, folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::{Client, Config, config::Kubeconfig};

use super::{ControlPlane, apiserver};
use crate::{
    audit::AuditLog,
    kubeconfig::{self, Credential},
    kubectl::Kubectl,
    pki::{Pair, Subject, write_secret},
    ports::Ports,
    tools::Tools,
};

impl ControlPlane {
    /// A client with every right.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Kubeconfig of the administrator; self-contained.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig_path(&self.options.state)
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.tools, self.kubeconfig(), &self.options.state)
    }

    /// File of the CA certificate, PEM.
    pub fn ca_path(&self) -> PathBuf {
        self.pki.file("ca.crt")
    }

    /// Where clients on this machine reach the apiserver.
    pub fn url(&self) -> String {
        url(self.ports)
    }

    /// Where a QEMU guest with user networking reaches the apiserver.
    pub fn guest_url(&self) -> String {
        format!("https://{}:{}", apiserver::GUEST_VIEW, self.ports.apiserver)
    }

    /// The apiserver's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.apiserver
    }

    /// The apiserver's log of writes.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.audit_log_path())
    }

    /// File of the apiserver's log of writes.
    pub fn audit_log_path(&self) -> PathBuf {
        self.options.state.join("audit.log")
    }

    /// The folder that everything lies in.
    pub fn state(&self) -> &Path {
        &self.options.state
    }

    /// Where the programs' logs lie.
    pub fn logs(&self) -> PathBuf {
        self.options.state.join("logs")
    }

    /// The programs it runs from; extend with [`Tools::ensure`].
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Kubeconfig text for `subject` by client certificate, for clients that reach the apiserver at `url`.
    ///
    /// # Errors
    /// When the subject does not fit into a certificate.
    pub fn kubeconfig_for(&self, subject: &Subject, url: &str) -> Result<String> {
        let pair = self.pki.client(subject)?;
        Ok(kubeconfig::render(
            url,
            self.pki.ca(),
            &Credential::Certificate(&pair),
        ))
    }

    /// Kubeconfig text for the bearer of `token`, for clients that reach the apiserver at `url`.
    pub fn kubeconfig_for_token(&self, token: &str, url: &str) -> String {
        kubeconfig::render(url, self.pki.ca(), &Credential::Token(token))
    }

    /// Writes the kubeconfig of `subject` for programs that reach the apiserver at `url`.
    pub(crate) fn write_kubeconfig(&self, path: &Path, subject: &Subject, url: &str) -> Result<()> {
        write_secret(path, &self.kubeconfig_for(subject, url)?)
    }

    pub(crate) fn server_certificate(&self, subject: &Subject, names: Vec<String>) -> Result<Pair> {
        self.pki.server(subject, names)
    }

    /// The CA certificate, PEM.
    pub fn ca(&self) -> &str {
        self.pki.ca()
    }

    pub(crate) fn has_controller_manager(&self) -> bool {
        self.controller_manager.is_some()
    }
}

pub(super) fn url(ports: Ports) -> String {
    format!("https://127.0.0.1:{}", ports.apiserver)
}

pub(super) fn kubeconfig_path(state: &Path) -> PathBuf {
    state.join("admin.kubeconfig")
}

pub(super) async fn connect(kubeconfig: &str) -> Result<Client> {
    let kubeconfig =
        Kubeconfig::from_yaml(kubeconfig).context("our own kubeconfig is unreadable")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .context("our own kubeconfig is incomplete")?;
    Client::try_from(config).context("cannot make a Kubernetes client")
}
