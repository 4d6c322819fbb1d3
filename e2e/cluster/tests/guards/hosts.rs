//! The agents of hosts: one ServiceAccount in a namespace that is called after the site's, told
//! apart by the node in each Pod's token.

use lockstep_cluster::{ControlPlane, Kubectl};
use serde_json::Value;

use crate::cluster::{Cluster, is_refused};
use crate::objects::{lease, report};
use crate::{CARD1, NAMESPACE, OPERATOR, PERSON, SITE_AGENT};

const REPORTS: &str = "lockstep-report-writers";
const LEASES: &str = "lockstep-agent-leases";
/// Where the agents of the site's hosts run, and those of another one's.
const HOSTS: &str = "site-lab-hosts";
const OTHER_HOSTS: &str = "other-hosts";

/// Two nodes, one of which is called as the other one begins, and one called like a card; a Pod
/// of the agent on each. There is no kubelet: nothing starts.
fn nodes_and_pods() -> String {
    let mut yaml = String::new();
    for namespace in [NAMESPACE, HOSTS, OTHER_HOSTS] {
        yaml += &format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: lockstep-host-agent, namespace: {namespace}}}
---"
        );
    }
    for node in ["node1", "node10", "xpu-card1"] {
        yaml += &format!(
            "
apiVersion: v1
kind: Node
metadata: {{name: {node}}}
---"
        );
    }
    for (namespace, node) in [
        (HOSTS, "node1"),
        (HOSTS, "node10"),
        (HOSTS, "xpu-card1"),
        (NAMESPACE, "node1"),
        (OTHER_HOSTS, "node1"),
    ] {
        yaml += &format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: agent-on-{node}, namespace: {namespace}}}
spec:
  nodeName: {node}
  serviceAccountName: lockstep-host-agent
  containers: [{{name: agent, image: none.test/agent}}]
---"
        );
    }
    yaml
}

/// kubectl with the token of an agent, as its Pod has it.
struct Agent {
    kubectl: Kubectl,
    _folder: tempfile::TempDir,
}

impl Agent {
    async fn new(plane: &ControlPlane, namespace: &str, pod: Option<&str>) -> Self {
        let mut args = vec!["-n", namespace, "create", "token", "lockstep-host-agent"];
        if let Some(pod) = pod {
            args.extend(["--bound-object-kind=Pod", "--bound-object-name", pod]);
        }
        let token = plane.kubectl().run(&args).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = plane.kubeconfig_for_token(token.trim(), &plane.url());
        std::fs::write(&kubeconfig, text).unwrap();
        Self {
            kubectl: Kubectl::new(plane.tools(), kubeconfig, folder.path()),
            _folder: folder,
        }
    }

    async fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["-n", NAMESPACE];
        all.extend(args);
        let said = self.kubectl.run(&all).await;
        said.map_err(|error| format!("{error:#}"))
    }

    async fn write(&self, verb: &str, object: &Value) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        self.run(&[verb, "-f", file.path().to_str().unwrap()]).await
    }

    async fn allows(&self, verb: &str, object: &Value) {
        if let Err(error) = self.write(verb, object).await {
            panic!("an agent must be allowed to {verb} {object}: {error}");
        }
    }

    async fn refuses(&self, policy: &str, verb: &str, object: &Value) {
        let said = self.write(verb, object).await;
        is_refused(policy, &format!("{verb} {object}"), said);
    }
}

pub(crate) async fn hosts(plane: &ControlPlane, cluster: &Cluster) {
    cluster.kubectl.apply_text(&nodes_and_pods()).await.unwrap();
    let node1 = Agent::new(plane, HOSTS, Some("agent-on-node1")).await;
    let node10 = Agent::new(plane, HOSTS, Some("agent-on-node10")).await;
    let namesake = Agent::new(plane, HOSTS, Some("agent-on-xpu-card1")).await;
    let unbound = Agent::new(plane, HOSTS, None).await;
    // Neither the site's own namespace, where no such Pod belongs, nor the hosts of another site.
    let beside = Agent::new(plane, NAMESPACE, Some("agent-on-node1")).await;
    let elsewhere = Agent::new(plane, OTHER_HOSTS, Some("agent-on-node1")).await;
    let strangers = [&node10, &namesake, &unbound, &beside, &elsewhere];

    let name = "host-node1";
    for agent in strangers {
        agent.refuses(REPORTS, "create", &report(name, 1)).await;
    }
    for user in [CARD1, SITE_AGENT, OPERATOR, PERSON] {
        cluster
            .refuses(REPORTS, "create", user, &report(name, 1))
            .await;
    }
    // Whoever is only called so has no node.
    let called_so = "system:serviceaccount:site-lab-hosts:lockstep-host-agent";
    cluster
        .refuses(REPORTS, "create", called_so, &report(name, 1))
        .await;
    node1.allows("create", &report(name, 1)).await;
    node1.allows("replace", &report(name, 2)).await;
    node10.refuses(REPORTS, "replace", &report(name, 3)).await;
    unbound.refuses(REPORTS, "replace", &report(name, 3)).await;
    beside.refuses(REPORTS, "replace", &report(name, 3)).await;
    elsewhere
        .refuses(REPORTS, "replace", &report(name, 3))
        .await;
    for name in [
        "host-node10",
        "host-node",
        "bmc-host-node1",
        "xpu-node1",
        "site-node1",
        "scan-node1",
    ] {
        node1.refuses(REPORTS, "create", &report(name, 1)).await;
    }
    // A node that is called like a card is no card.
    let card = report("xpu-card1", 1);
    namesake.refuses(REPORTS, "create", &card).await;
    namesake
        .allows("create", &report("host-xpu-card1", 1))
        .await;

    let alive = lease("host-node1", true, "host-node1");
    for agent in strangers {
        agent.refuses(LEASES, "create", &alive).await;
    }
    node1
        .refuses(LEASES, "create", &lease("host-node1", false, "me"))
        .await;
    node1.allows("create", &alive).await;
    node10
        .refuses(LEASES, "replace", &lease("host-node1", true, "me"))
        .await;
    for name in ["host-node10", "site-lab", "xpu-node1", "leader"] {
        for labelled in [true, false] {
            node1
                .refuses(LEASES, "create", &lease(name, labelled, "me"))
                .await;
        }
    }

    // Agents delete nothing and stand in the way of nothing.
    for (policy, args) in [
        (REPORTS, vec!["delete", "dpureport", "host-node1"]),
        (LEASES, vec!["delete", "lease", "host-node1"]),
        (
            REPORTS,
            vec![
                "patch",
                "dpureport",
                "host-node1",
                "--type=merge",
                "-p",
                r#"{"metadata":{"finalizers":["example.com/stay"]}}"#,
            ],
        ),
    ] {
        let said = node1.run(&args).await;
        is_refused(policy, &format!("{args:?}"), said);
    }

    // Without a kubelet Pods do not go by themselves.
    for namespace in [NAMESPACE, HOSTS, OTHER_HOSTS] {
        let args = ["delete", "pod", "--all", "--force", "--grace-period=0"];
        let mut all = vec!["-n", namespace];
        all.extend(args);
        cluster.kubectl.run(&all).await.unwrap();
    }
}
