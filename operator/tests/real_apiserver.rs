//! The operator's binary against a real API server, with the rights that
//! `config/rbac` gives it and under the guards of `config/admission`.
//!
//! Builds the control plane if the cache does not hold it, and fails if it cannot.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_cluster::audit::Write;
use lockstep_cluster::{ControlPlane, Kubectl, Look, Options, Subject, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(30);
const OPERATOR: &str = "system:serviceaccount:lockstep-system:lockstep-operator";
const SITE_AGENT: &str = "system:serviceaccount:site-lab:lockstep-site-agent";
const GUARD: &str = "validatingadmissionpolicybinding/lockstep-report-writers";

const SITE: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: lockstep-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: site-lab}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: everything}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everything-of-the-site}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: everything}
subjects:
- {kind: Group, name: 'system:serviceaccounts:site-lab', apiGroup: rbac.authorization.k8s.io}
";

const OBJECTS: &str = r"
apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuBootPolicy
metadata: {name: policy, namespace: site-lab}
spec: {mode: Enforce, imageRef: {name: image}}
---
apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuImage
metadata: {name: image, namespace: site-lab}
spec:
  version: '1.0'
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  sources: ['http://127.0.0.1:1/image']
---
apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuHost
metadata: {name: host, namespace: site-lab}
spec: {site: lab, role: ChassisOnly, policyRef: {name: policy}}
---
apiVersion: provisioning.opiproject.org/v1alpha1
kind: Dpu
metadata: {name: card, namespace: site-lab}
spec:
  site: lab
  hostRefs: [{name: host, pairing: Asserted}]
  identity: {serialNumber: S1}
  bmc:
    address: http://127.0.0.1:2
    credentialsRef: {name: secret}
    tls: {trust: PlainHttp}
---
apiVersion: provisioning.opiproject.org/v1alpha1
kind: Dpu
metadata: {name: alone, namespace: site-lab}
spec: {site: lab, hostRefs: [{name: nowhere}]}
";

/// One replica of the operator.
struct Replica {
    child: Child,
    port: u16,
}

impl Replica {
    fn start(plane: &ControlPlane, folder: &Path, name: &str, sites: &str) -> Self {
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        let operator = Subject::user(OPERATOR);
        let text = plane.kubeconfig_for(&operator, &plane.url()).unwrap();
        std::fs::write(&kubeconfig, text).unwrap();
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_lockstep-operator"))
            .args([
                "run",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--site-namespaces",
                sites,
            ])
            .env("KUBECONFIG", kubeconfig)
            .env("HOSTNAME", name)
            .env("RUST_LOG", "info,lockstep_operator=debug")
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, port }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn shows(&self, path: &str, text: &str) {
        eventually(SOON, format!("{path} shows {text}"), || async {
            match self.get(path).await {
                Some(answer) if answer.contains(text) => Look::Holds(()),
                answer => Look::not_yet(format!("{answer:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Asks it to stop and waits until it has.
    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap();
        let status = tokio::time::timeout(SOON, self.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{status}");
    }
}

struct Cluster {
    admin: Kubectl,
    folder: PathBuf,
}

impl Cluster {
    async fn object(&self, what: &str) -> Value {
        let args = ["-n", "site-lab", "get", what, "-o", "json"];
        serde_json::from_str(&self.admin.run(&args).await.unwrap()).unwrap()
    }

    /// Waits until an object's condition has that status and reason.
    async fn condition(&self, what: &str, type_: &str, status: &str, reason: &str) {
        eventually(
            SOON,
            format!("{what} has {type_}={status}, {reason}"),
            || async {
                let object = self.object(what).await;
                let conditions = object["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let found = conditions.iter().any(|condition| {
                    condition["type"] == type_
                        && condition["status"] == status
                        && condition["reason"] == reason
                });
                if found {
                    Look::Holds(())
                } else {
                    Look::not_yet(object["status"].to_string())
                }
            },
        )
        .await
        .unwrap();
    }

    /// Writes an object as the site's agent.
    async fn report(&self, object: &Value) {
        let file = self.folder.join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let apply = [
            "--as",
            SITE_AGENT,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            file,
        ];
        self.admin.run(&apply).await.unwrap();
    }
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn site_lease(renewed: jiff::Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "site-lab", "namespace": "site-lab",
            "labels": {"provisioning.opiproject.org/agent": "site"}},
        "spec": {"holderIdentity": "agent", "leaseDurationSeconds": 600,
            "renewTime": format!("{renewed:.6}")},
    })
}

fn site_report(state: &str) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuReport",
        "metadata": {"name": "site-lab", "namespace": "site-lab"},
        "spec": {
            "vantage": "Site", "subject": "lab", "agentVersion": "0.1.0",
            "observedAt": "2026-11-21T10:00:00Z",
            "images": [{
                "digest": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "state": state,
            }],
        },
    })
}

fn by_operator(writes: &[Write]) -> Vec<String> {
    let ours = writes
        .iter()
        .filter(|write| write.user == OPERATOR && !write.is_lease());
    ours.map(|write| format!("{} {} {:?}", write.verb, write.kind_path(), write.name))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_tells_what_it_sees_and_the_next_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let cluster = Cluster {
        admin: plane.kubectl(),
        folder: folder.path().to_owned(),
    };
    cluster.admin.apply_text(SITE).await.unwrap();
    // As this build has them: what is generated from it is checked elsewhere.
    for crd in lockstep_crds::all() {
        let crd = serde_json::to_string(&crd).unwrap();
        cluster.admin.apply_text(&crd).await.unwrap();
    }
    for path in ["config/rbac", "config/admission"] {
        cluster.admin.apply(&workspace(path)).await.unwrap();
    }

    let first = Replica::start(&plane, folder.path(), "first", "all");
    first.shows("/readyz", "200 OK").await;
    first.shows("/livez", "200 OK").await;
    first.shows("/metrics", "lockstep_leader 1").await;
    first.shows("/metrics", "lockstep_guards_intact 1").await;

    cluster.admin.apply_text(OBJECTS).await.unwrap();
    cluster
        .condition("dpubp/policy", "Ready", "True", "AsWanted")
        .await;
    cluster
        .condition("dpuimg/image", "Reconciling", "True", "FetchingImage")
        .await;
    cluster
        .condition("dpu/alone", "Stalled", "True", "HostNotFound")
        .await;
    cluster
        .condition("dpuh/host", "Ready", "False", "SiteAgentSilent")
        .await;
    cluster
        .condition("dpu/card", "Ready", "False", "SiteAgentSilent")
        .await;

    cluster.report(&site_lease(jiff::Timestamp::now())).await;
    cluster.report(&site_report("Verified")).await;
    cluster
        .condition("dpuimg/image", "Ready", "True", "Verified")
        .await;
    cluster
        .condition("dpu/card", "Ready", "False", "Inspecting")
        .await;

    let guard = cluster.object(GUARD).await;
    cluster.admin.run(&["delete", GUARD]).await.unwrap();
    cluster
        .condition("dpu/card", "Ready", "False", "AdmissionGuardMissing")
        .await;
    first.shows("/metrics", "lockstep_guards_intact 0").await;
    let mut restored = guard;
    restored["metadata"] = json!({"name": restored["metadata"]["name"]});
    cluster
        .admin
        .apply_text(&restored.to_string())
        .await
        .unwrap();
    cluster
        .condition("dpu/card", "Ready", "False", "Inspecting")
        .await;

    nothing_is_written_when_nothing_happens(&plane, &cluster).await;
    a_directive_is_recorded(&cluster).await;

    let second = Replica::start(&plane, folder.path(), "second", "site-lab");
    second.shows("/readyz", "200 OK").await;
    second.shows("/metrics", "lockstep_leader 0").await;
    first.stop().await;
    let mark = plane.audit_log().mark().unwrap();
    second.shows("/metrics", "lockstep_leader 1").await;
    second
        .shows("/metrics", "controller=\"host\",result=\"ok\"")
        .await;
    let writes = plane.audit_log().writes_since(mark).unwrap();
    assert_eq!(
        by_operator(&writes),
        Vec::<String>::new(),
        "it begins nothing anew"
    );
    let delete = [
        "-n",
        "site-lab",
        "delete",
        "--wait=false",
        "dpu/alone",
        "dpu/card",
    ];
    cluster.admin.run(&delete).await.unwrap();
    eventually(
        SOON,
        "only the card with something to undo stays",
        || async {
            let cards = cluster.object("dpu").await;
            let left: Vec<&Value> = cards["items"].as_array().into_iter().flatten().collect();
            match left[..] {
                [card] if card["status"]["phase"] == "Deleting" => Look::Holds(()),
                _ => Look::not_yet(&cards),
            }
        },
    )
    .await
    .unwrap();
    second.stop().await;
    plane.stop().await.unwrap();
}

/// Protection, identity and record pass RBAC and admission.
async fn a_directive_is_recorded(cluster: &Cluster) {
    let card = cluster.object("dpu/card").await;
    let uid = card["metadata"]["uid"].as_str().unwrap();
    cluster.report(&card_report(uid)).await;
    eventually(SOON, "a directive for the card", || async {
        let host = cluster.object("dpuh/host").await;
        if host["status"]["directives"][0]["action"]["kind"] == "StageInstall" {
            Look::Holds(())
        } else {
            Look::not_yet(&host["status"])
        }
    })
    .await
    .unwrap();
    let card = cluster.object("dpu/card").await;
    assert_eq!(
        card["metadata"]["finalizers"],
        json!(["provisioning.opiproject.org/undo"])
    );
    let account = cluster.object("serviceaccount/xpu-card").await;
    assert_eq!(account["metadata"]["ownerReferences"][0]["uid"], uid);
}

fn card_report(uid: &str) -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuReport",
        "metadata": {"name": "bmc-card-card", "namespace": "site-lab"},
        "spec": {
            "vantage": "CardBmc", "subject": "card", "subjectUid": uid,
            "agentVersion": "0.1.0", "observedAt": format!("{now:.0}"),
            "reachable": {"ok": true, "since": format!("{now:.0}")},
            "bmc": {
                "identity": {"serialNumber": "S1"},
                "power": "Off",
                "stageKnowledge": "NotOffered",
                "bootOverride": "None",
                "media": {"owner": "Nobody"},
                "capabilities": {
                    "resetTypes": ["On", "ForceOff", "GracefulShutdown"],
                    "bootTargets": ["None", "Cd", "Hdd"],
                    "virtualMedia": "Offered",
                    "sessions": "Offered",
                    "bootProgress": "NotOffered",
                    "powerRestorePolicy": "NotOffered",
                },
            },
        },
    })
}

/// Renewals of Leases are no events: a window in which only they happen stays empty.
async fn nothing_is_written_when_nothing_happens(plane: &ControlPlane, cluster: &Cluster) {
    let window = Duration::from_secs(10);
    let mark = plane.audit_log().mark().unwrap();
    tokio::time::sleep(window / 2).await;
    cluster.report(&site_lease(jiff::Timestamp::now())).await;
    tokio::time::sleep(window / 2).await;
    let writes = plane.audit_log().writes_since(mark).unwrap();
    assert_eq!(by_operator(&writes), Vec::<String>::new());
    let all = plane.audit_log().writes().unwrap();
    let refused: Vec<_> = all
        .iter()
        .filter(|write| write.user == OPERATOR && write.code >= 400 && write.code != 409)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    for line in by_operator(&all) {
        println!("{line}");
    }
}
