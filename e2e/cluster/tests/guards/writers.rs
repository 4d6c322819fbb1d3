//! Who may write what, kind by kind.

use serde_json::json;

use crate::cluster::Cluster;
use crate::objects::{lease, report};
use crate::{CARD1, CARD2, NAMESPACE, OPERATOR, OTHER_SITE_AGENT, PERSON, SITE_AGENT};

/// A ServiceAccount outside all sites that happens to be called like a card's.
const NAMESAKE: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: leases, namespace: default}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: leases-of-namesake, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: leases}
subjects:
- {kind: ServiceAccount, name: xpu-operator, namespace: default}
";

pub(crate) async fn reports(cluster: &Cluster) {
    const POLICY: &str = "lockstep-report-writers";
    let own = report("xpu-card1", 1);
    for user in [CARD2, SITE_AGENT, OTHER_SITE_AGENT, OPERATOR, PERSON] {
        cluster.refuses(POLICY, "create", user, &own).await;
    }
    cluster.allows("create", CARD1, &own).await;
    let table = cluster.run(PERSON, &["get", "dpurep"]).await.unwrap();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["xpu-card1", "CardOs", "true"], "{table}");
    cluster
        .allows("apply", CARD1, &report("xpu-card1", 2))
        .await;
    for user in [CARD2, SITE_AGENT, OTHER_SITE_AGENT, OPERATOR, PERSON] {
        cluster
            .refuses(POLICY, "replace", user, &report("xpu-card1", 3))
            .await;
        cluster
            .refuses(POLICY, "apply", user, &report("xpu-card1", 3))
            .await;
    }
    for name in [
        "bmc-card-card1",
        "bmc-host-host1",
        "bmc-found-27946b599e444fa78e91",
        "scan-lab",
        "site-lab",
    ] {
        for user in [CARD1, OTHER_SITE_AGENT, OPERATOR, PERSON] {
            cluster
                .refuses(POLICY, "create", user, &report(name, 1))
                .await;
        }
        cluster.allows("create", SITE_AGENT, &report(name, 1)).await;
    }
    for name in ["xpu-", "card1", "bmc-card-", "host-node1"] {
        let mut made_up = report(name, 1);
        if name.ends_with('-') {
            made_up["metadata"]["name"] = json!(null);
            made_up["metadata"]["generateName"] = json!(name);
            made_up["spec"]["vantage"] = json!("OfANewerRelease");
        }
        cluster.refuses(POLICY, "create", CARD1, &made_up).await;
        if name != "bmc-card-" {
            cluster
                .refuses(POLICY, "create", SITE_AGENT, &made_up)
                .await;
        }
    }
    // Metadata is not facts, but not for agents, and agents add no finalizer.
    let label = ["label", "dpureport", "xpu-card1", "a=b"];
    cluster.refuses_call(POLICY, CARD2, &label).await;
    cluster.run(PERSON, &label).await.unwrap();
    let finalizer = r#"{"metadata":{"finalizers":["example.com/stay"]}}"#;
    let patch = [
        "patch",
        "dpureport",
        "xpu-card1",
        "--type=merge",
        "-p",
        finalizer,
    ];
    cluster.refuses_call(POLICY, CARD1, &patch).await;
    let delete = ["delete", "dpureport", "xpu-card1"];
    for user in [CARD1, CARD2, SITE_AGENT] {
        cluster.refuses_call(POLICY, user, &delete).await;
        cluster
            .refuses_call(POLICY, user, &["delete", "dpureport", "--all"])
            .await;
    }
    cluster
        .run(PERSON, &["delete", "dpureport", "xpu-card1"])
        .await
        .unwrap();
    // Deleted in the foreground: the garbage collector takes its finalizer away.
    let foreground = [
        "delete",
        "dpureport",
        "site-lab",
        "--cascade=foreground",
        "--timeout=30s",
    ];
    cluster.run(PERSON, &foreground).await.unwrap();
}

pub(crate) async fn leases(cluster: &Cluster) {
    const POLICY: &str = "lockstep-agent-leases";
    let own = lease("xpu-card1", true, "card1");
    for user in [CARD2, SITE_AGENT, OTHER_SITE_AGENT, OPERATOR, PERSON] {
        cluster.refuses(POLICY, "create", user, &own).await;
    }
    cluster.allows("create", CARD1, &own).await;
    let renewed = lease("xpu-card1", true, "card1-again");
    cluster.allows("apply", CARD1, &renewed).await;
    for user in [CARD2, SITE_AGENT, OTHER_SITE_AGENT, OPERATOR, PERSON] {
        // Neither by keeping the label nor by taking it off.
        cluster
            .refuses(POLICY, "replace", user, &lease("xpu-card1", true, "me"))
            .await;
        cluster
            .refuses(POLICY, "replace", user, &lease("xpu-card1", false, "me"))
            .await;
    }
    cluster
        .refuses(
            POLICY,
            "replace",
            CARD1,
            &lease("xpu-card1", false, "card1"),
        )
        .await;
    for labelled in [true, false] {
        for name in ["site-lab", "lockstep-operator", "xpu-card2", "anything"] {
            cluster
                .refuses(POLICY, "create", CARD1, &lease(name, labelled, "card1"))
                .await;
        }
    }
    cluster
        .allows("create", SITE_AGENT, &lease("site-lab", true, "site"))
        .await;
    for user in [CARD1, SITE_AGENT] {
        cluster
            .refuses_call(POLICY, user, &["delete", "lease", "site-lab"])
            .await;
    }
    cluster
        .run(PERSON, &["delete", "lease", "xpu-card1"])
        .await
        .unwrap();
    // Other Leases are none of our business, nor is a namesake that is no card's agent.
    cluster
        .allows("create", PERSON, &lease("leader", false, "x"))
        .await;
    let mut namesake = lease("leader", false, "x");
    namesake["metadata"]["namespace"] = json!("default");
    cluster.kubectl.apply_text(NAMESAKE).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), namesake.to_string()).unwrap();
    cluster
        .kubectl
        .run(&[
            "--as",
            "system:serviceaccount:default:xpu-operator",
            "create",
            "-f",
            file.path().to_str().unwrap(),
        ])
        .await
        .unwrap();
}

pub(crate) async fn identities(cluster: &Cluster) {
    const POLICY: &str = "lockstep-xpu-identities";
    let make = |name| ["create", "serviceaccount", name];
    cluster.run(OPERATOR, &make("xpu-card1")).await.unwrap();
    cluster
        .refuses_call(POLICY, OPERATOR, &make("lockstep-site-agent"))
        .await;
    cluster
        .refuses_call(POLICY, SITE_AGENT, &make("xpu-card3"))
        .await;
    cluster.run(PERSON, &make("anything")).await.unwrap();
    let token = |name| ["create", "token", name];
    cluster.run(SITE_AGENT, &token("xpu-card1")).await.unwrap();
    cluster
        .refuses_call(POLICY, SITE_AGENT, &token("anything"))
        .await;
    cluster
        .refuses_call(POLICY, OTHER_SITE_AGENT, &token("xpu-card1"))
        .await;
    cluster
        .refuses_call(POLICY, OPERATOR, &token("xpu-card1"))
        .await;
    cluster.run(PERSON, &token("xpu-card1")).await.unwrap();
}

pub(crate) async fn statuses(cluster: &Cluster) {
    const POLICY: &str = "lockstep-status-writers";
    let spec = json!({
        "dpu": {"hostRefs": [{"name": "host1"}]},
        "dpuhost": {"policyRef": {"name": "p"}},
        "dpubootpolicy": {},
        "dpuimage": {
            "version": "1", "digest": format!("sha256:{}", "0".repeat(64)),
            "sources": ["http://images.test/a"],
        },
    });
    for (resource, kind) in [
        ("dpu", "Dpu"),
        ("dpuhost", "DpuHost"),
        ("dpuimage", "DpuImage"),
        ("dpubootpolicy", "DpuBootPolicy"),
    ] {
        let object = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": kind,
            "metadata": {"name": "x", "namespace": NAMESPACE}, "spec": spec[resource],
        });
        cluster.allows("create", PERSON, &object).await;
        let patch = [
            "patch",
            resource,
            "x",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"observedGeneration":1}}"#,
        ];
        for user in [PERSON, SITE_AGENT, CARD1] {
            cluster.refuses_call(POLICY, user, &patch).await;
        }
        cluster.run(OPERATOR, &patch).await.unwrap();
        let again = [
            "-n",
            NAMESPACE,
            "patch",
            resource,
            "x",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"observedGeneration":2}}"#,
        ];
        cluster.kubectl.run(&again).await.unwrap();
    }
}

/// With everything in it: the namespace controller deletes what agents may not.
pub(crate) async fn namespaces_can_go(cluster: &Cluster) {
    let args = ["delete", "namespace", NAMESPACE, "--timeout=50s"];
    cluster.kubectl.run(&args).await.unwrap();
}
