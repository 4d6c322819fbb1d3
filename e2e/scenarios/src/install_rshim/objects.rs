//! What a user writes for these hosts and cards, and what the chart makes of `access: Install`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lockstep_cluster::ControlPlane;
use lockstep_crds::{HOST_AGENT, SITE_AGENT, names};
use lockstep_xpusim::reset::ResetType;

use super::Case;
use super::pair::Programs;
use crate::objects::{self, Choices, NAMESPACE};
use crate::world::{Simulated, World, free_port};

/// What a person presses.
pub(super) const OFF: ResetType = ResetType::ForceOff;

/// For whom a token for the site's store is made.
const AUDIENCE: &str = "lockstep-image-store";

/// Rights of the agents, and for each host its Node with the Pod of its agent.
pub(super) fn nodes(cases: &[Case]) -> String {
    let hosts = names::hosts(NAMESPACE);
    let mut yaml = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: lockstep-host-installer, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-host-installer}}
subjects: [{{kind: ServiceAccount, name: {HOST_AGENT}, namespace: {hosts}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: lockstep-token-reviewer-{NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-token-reviewer}}
subjects: [{{kind: ServiceAccount, name: {SITE_AGENT}, namespace: {NAMESPACE}}}]
---
"
    );
    for case in cases {
        yaml += &objects::node(case.node);
        yaml += &format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: agent-{node}, namespace: {hosts}}}
spec:
  nodeName: {node}
  serviceAccountName: {HOST_AGENT}
  tolerations: [{{operator: Exists}}]
  containers: [{{name: agent, image: none.test/agent}}]
---
",
            node = case.node
        );
    }
    yaml
}

/// How the agent of a host is started, with the tokens of its Pod.
pub(super) async fn programs(world: &World, case: &Case, root: PathBuf) -> Result<Programs> {
    let folder = world.folder().join(case.host);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let plane = &world.control_plane;
    let (kubeconfig, token) = (folder.join("kubeconfig"), folder.join("store-token"));
    let text = plane.kubeconfig_for_token(&of_pod(plane, case, &[]).await?, &plane.url());
    let audience = ["--audience", AUDIENCE];
    let to_store = of_pod(plane, case, &audience).await?;
    for (path, text) in [(&kubeconfig, text), (&token, to_store)] {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let health = free_port()?.to_string();
    Ok(Programs {
        folder: world.folder().to_owned(),
        agent: world.agent_binary().to_owned(),
        args: vec![
            "host".into(),
            "--node".into(),
            case.node.into(),
            "--namespace".into(),
            NAMESPACE.into(),
            "--root".into(),
            root.into(),
            "--health-port".into(),
            health.into(),
            "--store".into(),
            world.store_url().into(),
            "--store-token".into(),
            token.into(),
            "--work-dir".into(),
            folder.join("work").into(),
        ],
        kubeconfig,
    })
}

async fn of_pod(plane: &ControlPlane, case: &Case, more: &[&str]) -> Result<String> {
    let hosts = names::hosts(NAMESPACE);
    let pod = format!("agent-{}", case.node);
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
    let of = ["-n", &hosts, "create", "token", HOST_AGENT];
    let kubectl = plane.kubectl();
    let token = kubectl.run(&[&of[..], &bound, more].concat()).await?;
    Ok(token.trim().to_owned())
}

/// The policy: these cards are reached over rshim and by no other way.
pub(super) fn policy() -> String {
    let choices = Choices {
        methods: Some("[Rshim]"),
        mechanisms: "[NodeTainted]",
        os_timeout: 300,
        host_timeout: 3000,
        ..Choices::default()
    };
    objects::policy("v1", &choices).replace("maxAttempts: 1", "maxAttempts: 2")
}

/// Hosts and cards.
pub(super) fn machines(simulated: &Simulated, cases: &[Case]) -> Result<String> {
    let mut yaml = String::new();
    for case in cases {
        let trust = if case.isolated { "Isolated" } else { "Trusted" };
        let of_host = format!(
            "  policyRef: {{name: policy}}\n  nodeName: {}\n  trustDomain: {trust}\n  \
             disruption: Allowed\n  slotPowerWhenHostOff: \"Yes\"\n",
            case.node
        );
        let of_card = format!("  hostRefs: [{{name: {}, pairing: Asserted}}]\n", case.host);
        for (kind, name, rest) in [("DpuHost", case.host, of_host), ("Dpu", case.card, of_card)] {
            yaml += &simulated.object(kind, name, "trust: NoVerification", &rest)?;
        }
    }
    Ok(yaml)
}
