//! The API server's own judgement of our CRDs, roles and admission policies: it takes them
//! as they are, defaults nothing in them, and each writer is kept to its own objects.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise"
)]

mod approval;
mod cluster;
mod hosts;
mod image_trust;
mod objects;
mod writers;

use std::{path::PathBuf, time::Duration};

use lockstep_cluster::{ControlPlane, Look, Options, eventually};
use serde_json::Value;

use cluster::Cluster;
use objects::{lease, report};

const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "site-lab";
const OPERATOR: &str = "system:serviceaccount:lockstep-system:lockstep-operator";
const SITE_AGENT: &str = "system:serviceaccount:site-lab:lockstep-site-agent";
const OTHER_SITE_AGENT: &str = "system:serviceaccount:other:lockstep-site-agent";
const CARD1: &str = "system:serviceaccount:site-lab:xpu-card1";
const CARD2: &str = "system:serviceaccount:site-lab:xpu-card2";
/// An administrator who is not a member of system:masters.
const PERSON: &str = "alice";
/// Somebody who may edit every object, and has no other verb.
const EDITOR: &str = "bob";

/// Somebody who makes images and does nothing else.
const AUTHOR: &str = "carol";

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
apiVersion: v1
kind: Namespace
metadata: {name: site-lab-hosts}
---
apiVersion: v1
kind: Namespace
metadata: {name: other-hosts}
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
- {kind: Group, name: 'system:serviceaccounts:site-lab-hosts', apiGroup: rbac.authorization.k8s.io}
- {kind: Group, name: 'system:serviceaccounts:other-hosts', apiGroup: rbac.authorization.k8s.io}
- {kind: ServiceAccount, name: lockstep-operator, namespace: lockstep-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: editing}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch, create, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: editing}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: editing}
subjects:
- {kind: User, name: bob, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: authors, namespace: site-lab}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-image-author}
subjects:
- {kind: User, name: carol, apiGroup: rbac.authorization.k8s.io}
";

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

    writers::reports(&cluster).await;
    writers::leases(&cluster).await;
    hosts::hosts(&plane, &cluster).await;
    writers::identities(&cluster).await;
    writers::statuses(&cluster).await;
    approval::approvals(&cluster).await;
    approval::marks_of_proposals(&cluster).await;
    approval::approving_policies(&cluster).await;
    image_trust::policies(&cluster).await;
    image_trust::authors(&cluster).await;
    approval::proposals(&cluster).await;
    approval::inventories(&cluster).await;
    writers::namespaces_can_go(&cluster).await;
}

async fn kinds_are_served(cluster: &Cluster) {
    let kubectl = &cluster.kubectl;
    kubectl.wait_for_crds().await.unwrap();
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
            cluster
                .write("create", PERSON, &approval::inventory("probe"))
                .await,
            cluster
                .write("create", EDITOR, &approval::card("probe", false, None))
                .await,
            cluster
                .write("create", OPERATOR, &approval::card("probe", false, None))
                .await,
            cluster
                .write("create", EDITOR, &image_trust::policy("probe", None))
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
