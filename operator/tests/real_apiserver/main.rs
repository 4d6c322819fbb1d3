//! The operator's binary against a real API server, with the rights that
//! `config/rbac` gives it and under the guards of `config/admission`.
//!
//! Builds the control plane if the cache does not hold it, and fails if it cannot.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod cluster;
mod discovery;
mod objects;
mod replica;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_cluster::audit::Write;
use lockstep_cluster::{ControlPlane, Look, Options, eventually};
use serde_json::{Value, json};

use cluster::Cluster;
use objects::{OBJECTS, SITE, card_report, site_lease, site_report};
use replica::Replica;

const SOON: Duration = Duration::from_secs(30);
const OPERATOR: &str = "system:serviceaccount:lockstep-system:lockstep-operator";
const SITE_AGENT: &str = "system:serviceaccount:site-lab:lockstep-site-agent";
const GUARD: &str = "validatingadmissionpolicybinding/lockstep-report-writers";

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
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
    an_inventory_is_told(&cluster).await;
    the_rights_of_discovery_are_there(&cluster).await;
    discovery::a_proposal_is_the_operators_until_somebody_changes_it(&cluster).await;

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
    let mut report = card_report("card", uid);
    cluster.report(&report).await;
    // The host has rested, so what was read before does not count.
    report["spec"]["inspected"] = eventually(SOON, "an inspection", || async {
        let host = cluster.object("dpuh/host").await;
        match host["status"]["inspection"]["askedAt"].as_str() {
            Some(at) => Look::Holds(json!({
                "hostUid": host["metadata"]["uid"], "askedAt": at,
            })),
            None => Look::not_yet(&host["status"]),
        }
    })
    .await
    .unwrap();
    cluster.report(&report).await;
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

/// What a card's BMC shows becomes its inventory, and a word in its status.
async fn an_inventory_is_told(cluster: &Cluster) {
    let card = cluster.object("dpu/alone").await;
    let uid = card["metadata"]["uid"].as_str().unwrap();
    cluster.report(&card_report("alone", uid)).await;
    cluster
        .condition("dpu/alone", "Inventoried", "False", "Partial")
        .await;
    let inventory = eventually(SOON, "the inventory of the card", || async {
        let all = cluster.object("dpuinv").await;
        let mut items = all["items"].as_array().into_iter().flatten();
        match items.find(|one| one["metadata"]["name"] == "alone") {
            Some(inventory) => Look::Holds(inventory.clone()),
            None => Look::not_yet(&all),
        }
    })
    .await
    .unwrap();
    assert_eq!(inventory["metadata"]["ownerReferences"][0]["uid"], uid);
    let facts = &inventory["spec"]["system"]["facts"];
    assert_eq!(facts["serialNumber"], "S1-alone");
}

async fn the_rights_of_discovery_are_there(cluster: &Cluster) {
    for (verb, kind) in [
        ("create", "dpus"),
        ("delete", "dpus"),
        ("create", "dpuhosts"),
        ("delete", "dpuhosts"),
        ("patch", "dpuinventories"),
        ("patch", "nodes"),
    ] {
        let kind = match kind {
            "nodes" => kind.to_owned(),
            ours => format!("{ours}.provisioning.opiproject.org"),
        };
        let ask = [
            "-n", "site-lab", "auth", "can-i", verb, &kind, "--as", OPERATOR,
        ];
        let said = cluster.admin.run(&ask).await.unwrap();
        assert!(said.starts_with("yes"), "{verb} {kind}: {said}");
    }
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
