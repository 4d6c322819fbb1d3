//! What is in the cluster before operator and agent start, and their configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use lockstep_cluster::{Look, eventually};

use super::{Machines, OPERATOR_NAMESPACE, World, free_port};
use crate::artefacts::workspace;
use crate::objects::{self, NAMESPACE, SITE};

/// Where the guests of a lab find this machine's loopback.
const GUESTS_VIEW: &str = "10.0.2.2";

impl World {
    pub(super) async fn install(&self) -> Result<()> {
        let kubectl = self.control_plane.kubectl();
        let root = workspace();
        kubectl.apply_text(&identities()).await?;
        for part in ["crds", "config/rbac", "config/admission"] {
            kubectl
                .apply(&root.join(part))
                .await
                .with_context(|| format!("applying {part}"))?;
        }
        kubectl.wait_for_crds().await?;
        let credentials = match &self.machines {
            Machines::Vms(lab) => lab.credentials(),
            Machines::Fake(fake) => fake.credentials(),
            // Every vendor has its own; they come with the objects.
            Machines::Simulated(_) | Machines::Nothing => return Ok(()),
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

    pub(super) fn write_agent_config(&self) -> Result<()> {
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
  storeUrl: http://{GUESTS_VIEW}:{store_port}
poll: {{intervalSeconds: 2, idleSeconds: 30}}
health: 127.0.0.1:{health}
",
            state = state.display(),
            store_port = self.store_port,
            guest = match &self.machines {
                Machines::Vms(_) | Machines::Fake(_) => self.control_plane.guest_url(),
                Machines::Simulated(_) | Machines::Nothing => self.control_plane.url(),
            },
            ca = self.control_plane.ca_path().display(),
            health = free_port()?,
        );
        std::fs::write(&self.agent_config, config)
            .with_context(|| format!("cannot write {}", self.agent_config.display()))
    }

    /// Kubeconfig of a ServiceAccount, for a day.
    pub(super) async fn kubeconfig(
        &self,
        namespace: &str,
        account: &str,
        file: &str,
    ) -> Result<PathBuf> {
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
    let (account, host) = (lockstep_crds::SITE_AGENT, lockstep_crds::HOST_AGENT);
    let hosts = lockstep_crds::names::hosts(NAMESPACE);
    [
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OPERATOR_NAMESPACE}}}\n---\n"),
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n"),
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: {NAMESPACE}}}\n---\n"),
        binding(
            "lockstep-site-agent",
            &format!("{{kind: ServiceAccount, name: {account}, namespace: {NAMESPACE}}}"),
        ),
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {hosts}}}\n---\n"),
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {host}, namespace: {hosts}}}\n---\n"),
        binding(
            "lockstep-host-agent",
            &format!("{{kind: ServiceAccount, name: {host}, namespace: {hosts}}}"),
        ),
        binding(
            "lockstep-xpu-agent",
            &format!("{{kind: Group, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccounts:{NAMESPACE}'}}"),
        ),
    ]
    .concat()
}
