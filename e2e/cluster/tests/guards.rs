//! The API server's own judgement of our CRDs, roles and admission policies: it takes them
//! as they are, defaults nothing in them, and each writer is kept to its own objects.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise"
)]

use std::{path::PathBuf, time::Duration};

use lockstep_cluster::{ControlPlane, Kubectl, Look, Options, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "site-lab";
const OPERATOR: &str = "system:serviceaccount:lockstep-system:lockstep-operator";
const SITE_AGENT: &str = "system:serviceaccount:site-lab:lockstep-site-agent";
const OTHER_SITE_AGENT: &str = "system:serviceaccount:other:lockstep-site-agent";
const CARD1: &str = "system:serviceaccount:site-lab:xpu-card1";
const CARD2: &str = "system:serviceaccount:site-lab:xpu-card2";
/// An administrator who is not a member of system:masters.
const PERSON: &str = "alice";

fn workspace(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Namespaces, the site's bindings, and an administrator who may do everything RBAC can give.
const SITES: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: lockstep-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: site-lab}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: everything}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: everything}
subjects:
- {kind: User, name: alice, apiGroup: rbac.authorization.k8s.io}
# RBAC must not be what refuses, where a policy is looked at: agents get it all as well.
- {kind: Group, name: 'system:serviceaccounts:site-lab', apiGroup: rbac.authorization.k8s.io}
- {kind: Group, name: 'system:serviceaccounts:other', apiGroup: rbac.authorization.k8s.io}
- {kind: ServiceAccount, name: lockstep-operator, namespace: lockstep-system}
";

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

struct Cluster {
    kubectl: Kubectl,
}

impl Cluster {
    /// kubectl as somebody else.
    async fn run(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["--as", user, "-n", NAMESPACE];
        all.extend(args);
        self.kubectl.run(&all).await.map_err(|e| format!("{e:#}"))
    }

    async fn write(&self, verb: &str, user: &str, object: &Value) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let mut args = vec![verb, "-f", file.to_str().unwrap()];
        if verb == "apply" {
            args.extend(["--server-side", "--force-conflicts"]);
        }
        self.run(user, &args).await
    }

    async fn allows(&self, verb: &str, user: &str, object: &Value) {
        if let Err(error) = self.write(verb, user, object).await {
            panic!("{user} must be allowed to {verb} {object}: {error}");
        }
    }

    /// Refused, and by this policy.
    async fn refuses(&self, policy: &str, verb: &str, user: &str, object: &Value) {
        let said = self.write(verb, user, object).await;
        is_refused(policy, &format!("{user} {verb} {object}"), said);
    }

    async fn refuses_call(&self, policy: &str, user: &str, args: &[&str]) {
        let said = self.run(user, args).await;
        is_refused(policy, &format!("{user} {args:?}"), said);
    }
}

fn is_refused(policy: &str, what: &str, said: Result<String, String>) {
    match said {
        Ok(said) => panic!("{what} must be refused: {said}"),
        Err(said) => assert!(
            said.contains(&format!("ValidatingAdmissionPolicy '{policy}'")),
            "{what} must be refused by {policy}: {said}"
        ),
    }
}

fn report(name: &str, uptime: i64) -> Value {
    let (vantage, subject) = [
        ("CardOs", "xpu-"),
        ("CardBmc", "bmc-card-"),
        ("HostBmc", "bmc-host-"),
        ("Site", "site-"),
    ]
    .iter()
    .find_map(|(vantage, prefix)| Some((*vantage, name.strip_prefix(prefix)?)))
    .unwrap_or(("OfANewerRelease", "x"));
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuReport",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "vantage": vantage, "subject": subject, "agentVersion": "0.1.0",
            "observedAt": "2026-11-21T10:00:00Z",
            "reachable": {"ok": true, "since": "2026-11-21T10:00:00Z"},
            "os": {"bootEpoch": "a", "epochSource": "boot_id", "uptimeSeconds": uptime},
        },
    })
}

fn lease(name: &str, labelled: bool, holder: &str) -> Value {
    let labels = if labelled {
        json!({"provisioning.opiproject.org/agent": "xpu"})
    } else {
        json!({})
    };
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 90},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_keeps_every_writer_to_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let admin = plane.kubectl();
    admin.apply_text(SITES).await.unwrap();
    for path in ["crds", "config/rbac", "config/admission"] {
        admin.apply(&workspace(path)).await.unwrap();
    }
    let cluster = Cluster { kubectl: admin };
    kinds_are_served(&cluster).await;
    nothing_is_defaulted(&cluster).await;
    in_force(&cluster).await;

    reports(&cluster).await;
    leases(&cluster).await;
    identities(&cluster).await;
    statuses(&cluster).await;
    namespaces_can_go(&cluster).await;
}

async fn kinds_are_served(cluster: &Cluster) {
    let kubectl = &cluster.kubectl;
    kubectl
        .run(&[
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ])
        .await
        .unwrap();
    let crds: Value =
        serde_json::from_str(&kubectl.run(&["get", "crd", "-o", "json"]).await.unwrap()).unwrap();
    for crd in crds["items"].as_array().unwrap() {
        for condition in crd["status"]["conditions"].as_array().unwrap() {
            let (kind, status) = (&condition["type"], &condition["status"]);
            let fine = if kind == "NonStructuralSchema" {
                "False"
            } else {
                "True"
            };
            assert!(
                status == fine || kind == "Terminating" || kind == "StorageMigrating",
                "{}: {condition}",
                crd["metadata"]["name"]
            );
        }
    }
}

/// The operator compares what it carries with what the cluster has.
async fn nothing_is_defaulted(cluster: &Cluster) {
    for file in std::fs::read_dir(workspace("config/admission")).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("kustomization.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let ours: Value = serde::Deserialize::deserialize(document).unwrap();
            let (kind, name) = (&ours["kind"], &ours["metadata"]["name"]);
            let args = [
                "get",
                kind.as_str().unwrap(),
                name.as_str().unwrap(),
                "-o",
                "json",
            ];
            let theirs: Value =
                serde_json::from_str(&cluster.kubectl.run(&args).await.unwrap()).unwrap();
            assert_eq!(ours["spec"], theirs["spec"], "{}", path.display());
        }
    }
}

/// Policies are in force some moments after they were written, and free of type warnings.
async fn in_force(cluster: &Cluster) {
    eventually(SOON, "the policies in force", async || {
        let probes = [
            cluster
                .write("create", PERSON, &report("xpu-probe", 1))
                .await,
            cluster
                .write("create", PERSON, &lease("xpu-probe", true, "x"))
                .await,
            cluster
                .run(SITE_AGENT, &["create", "token", "default"])
                .await,
            cluster
                .run(SITE_AGENT, &["create", "serviceaccount", "probe"])
                .await,
        ];
        for probe in &probes {
            if !probe
                .as_ref()
                .is_err_and(|said| said.contains("ValidatingAdmissionPolicy"))
            {
                return Look::not_yet(format!("{probe:?}"));
            }
        }
        Look::Holds(())
    })
    .await
    .unwrap();
    let policies = eventually(SOON, "the type check of the policies", async || {
        let text = cluster
            .kubectl
            .run(&["get", "validatingadmissionpolicy", "-o", "json"])
            .await
            .unwrap();
        let policies: Value = serde_json::from_str(&text).unwrap();
        let checked = policies["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|policy| policy["status"]["observedGeneration"].is_i64());
        if checked {
            Look::Holds(policies)
        } else {
            Look::not_yet("not checked yet")
        }
    })
    .await
    .unwrap();
    for policy in policies["items"].as_array().unwrap() {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(
            warnings.is_null(),
            "{}: {warnings:#}",
            policy["metadata"]["name"]
        );
    }
}

async fn reports(cluster: &Cluster) {
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
    for name in ["bmc-card-card1", "bmc-host-host1", "site-lab"] {
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

async fn leases(cluster: &Cluster) {
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

async fn identities(cluster: &Cluster) {
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

async fn statuses(cluster: &Cluster) {
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
async fn namespaces_can_go(cluster: &Cluster) {
    let args = ["delete", "namespace", NAMESPACE, "--timeout=50s"];
    cluster.kubectl.run(&args).await.unwrap();
}
