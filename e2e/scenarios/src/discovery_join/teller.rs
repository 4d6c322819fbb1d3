//! What agents would tell, told under their identities: the admission policies are in force.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use lockstep_cluster::ControlPlane;
use lockstep_crds::{AGENT_LABEL, DpuReport, DpuReportSpec, HOST_AGENT, SITE_AGENT, names};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use crate::objects::NAMESPACE;

/// The claim of a projected token that names its Node.
const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// The site agent.
    Site,
    /// The agent on the host that runs as this Node.
    Host(&'a str),
    /// The agent in this card's operating system.
    Card(&'a str),
}

impl Who<'_> {
    /// Namespace and name of the ServiceAccount.
    fn account(self) -> (String, String) {
        match self {
            Self::Site => (NAMESPACE.to_owned(), SITE_AGENT.to_owned()),
            Self::Host(_) => (names::hosts(NAMESPACE), HOST_AGENT.to_owned()),
            Self::Card(dpu) => (NAMESPACE.to_owned(), names::xpu(dpu)),
        }
    }

    fn lease(self) -> (String, &'static str) {
        match self {
            Self::Site => (names::site(crate::objects::SITE), "site"),
            Self::Host(node) => (names::host(node), "host"),
            Self::Card(dpu) => (names::xpu(dpu), "xpu"),
        }
    }
}

/// Speaks for agents.
pub(super) struct Teller<'a> {
    pub(super) control_plane: &'a ControlPlane,
}

impl Teller<'_> {
    /// Writes reports under the agent's own identity.
    pub(super) async fn tell(
        &self,
        who: Who<'_>,
        reports: impl IntoIterator<Item = (String, DpuReportSpec)>,
    ) -> Result<()> {
        for (name, spec) in reports {
            let mut report = DpuReport::new(&name, spec);
            report.metadata.namespace = Some(NAMESPACE.to_owned());
            self.apply(who, &report)
                .await
                .with_context(|| format!("{who:?} tells {name}"))?;
        }
        Ok(())
    }

    /// Renews the agent's Lease, good for five minutes.
    pub(super) async fn live(&self, who: Who<'_>) -> Result<()> {
        let (name, role) = who.lease();
        let now = MicroTime(Timestamp::now());
        let mut lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(name.clone()),
                lease_duration_seconds: Some(300),
                renew_time: Some(now.clone()),
                acquire_time: Some(now),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        lease.metadata.name = Some(name);
        lease.metadata.namespace = Some(NAMESPACE.to_owned());
        lease.metadata.labels = Some([(AGENT_LABEL.to_owned(), role.to_owned())].into());
        self.apply(who, &lease).await
    }

    async fn apply(&self, who: Who<'_>, object: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(object).context("an object cannot be written down")?;
        let (home, account) = who.account();
        let user = format!("--as=system:serviceaccount:{home}:{account}");
        let all = "--as-group=system:serviceaccounts".to_owned();
        let site = format!("--as-group=system:serviceaccounts:{home}");
        let mut args = vec![
            user,
            all,
            site,
            "--as-group=system:authenticated".to_owned(),
        ];
        if let Who::Host(node) = who {
            args.push(format!("--as-user-extra={NODE_CLAIM}={node}"));
        }
        args.extend(
            [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=lockstep-agent",
                "-f",
                "-",
            ]
            .map(str::to_owned),
        );
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = self
            .control_plane
            .kubectl()
            .command(&args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .context("cannot start kubectl")?;
        let mut stdin = child
            .stdin
            .take()
            .context("kubectl has no standard input")?;
        stdin.write_all(text.as_bytes()).await?;
        drop(stdin);
        let done = child.wait_with_output().await?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }
}
