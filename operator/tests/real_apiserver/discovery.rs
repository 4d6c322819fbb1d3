//! What discovery proposes, as the API server stores it and reads it back.

use lockstep_cluster::{Look, eventually};
use lockstep_crds::{PROPOSED_LABEL, PROPOSED_SPEC};
use serde_json::{Value, json};

use crate::SOON;
use crate::cluster::Cluster;

fn found() -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuReport",
        "metadata": {"name": "bmc-found-id1", "namespace": "site-lab"},
        "spec": {
            "vantage": "FoundBmc", "subject": "id1", "agentVersion": "0.1.0",
            "observedAt": "2026-11-21T10:00:00Z",
            "reachable": {"ok": true, "since": "2026-11-21T10:00:00Z"},
            "found": {
                "role": "Card", "recognisedBy": "SystemType DPU", "sources": ["list"],
                "site": "lab",
                "endpoint": {
                    "address": "https://127.0.0.1:3", "credentials": "bmc",
                    "trust": "NoVerification",
                },
            },
            "inventory": {"system": {
                "serialNumber": "MT1", "vendor": "NVIDIA", "family": "BlueField-3",
            }},
        },
    })
}

/// The mark of the object that discovery proposed, once that is as it should be.
async fn proposed(cluster: &Cluster, kind: &str, is: fn(&Value) -> bool) -> (String, Value) {
    eventually(SOON, format!("the proposed {kind}"), || async {
        let all = cluster.object(kind).await;
        let mut items = all["items"].as_array().into_iter().flatten();
        let object = items.find(|one| !one["metadata"]["labels"][PROPOSED_LABEL].is_null());
        match object {
            Some(object) if is(object) => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let mark = object["metadata"]["annotations"][PROPOSED_SPEC].clone();
                Look::Holds((format!("{kind}/{name}"), mark))
            }
            other => Look::not_yet(format!("{other:?}")),
        }
    })
    .await
    .unwrap()
}

/// What it reads back counts as written by itself: a policy approves it, and its mark stays.
pub(crate) async fn a_proposal_is_the_operators_until_somebody_changes_it(cluster: &Cluster) {
    let policy = json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuBootPolicy",
        "metadata": {"name": "found", "namespace": "site-lab"},
        "spec": {"mode": "Observe", "discovered": {"approve": [{"families": ["BlueField-3"]}]}},
    });
    cluster.admin.apply_text(&policy.to_string()).await.unwrap();
    cluster.report(&found()).await;
    let is_approved = |card: &Value| card["spec"]["approved"] == true;
    let (card, mark) = proposed(cluster, "dpu", is_approved).await;
    assert!(mark.as_str().unwrap().starts_with("2:"), "{mark}");
    let (host, mark) = proposed(cluster, "dpuh", |_| true).await;
    assert!(mark.as_str().unwrap().starts_with("1:"), "{mark}");

    let unmarked = |object: &Value| object["metadata"]["annotations"][PROPOSED_SPEC].is_null();
    let changes = [
        ("dpu", &card, json!({"spec": {"approved": false}})),
        ("dpuh", &host, json!({"spec": {"handsOff": true}})),
    ];
    for (kind, object, change) in changes {
        cluster.change(object, &change).await;
        proposed(cluster, kind, unmarked).await;
    }
    let still = cluster.object(&card).await;
    assert_eq!(still["spec"]["approved"], false, "no policy gives it again");

    // Nothing of it stays for those who look next.
    let mut gone = found();
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25);
    gone["spec"]["found"]["missingSince"] = json!(format!("{since:.0}"));
    cluster.report(&gone).await;
    eventually(SOON, "it is not found any more", || async {
        let conditions = &cluster.object(&card).await["status"]["conditions"];
        if conditions.to_string().contains("is not found any more") {
            Look::Holds(())
        } else {
            Look::not_yet(conditions)
        }
    })
    .await
    .unwrap();
    for object in [&card, &host, "dpubp/found", "dpurep/bmc-found-id1"] {
        let delete = ["-n", "site-lab", "delete", object];
        cluster.admin.run(&delete).await.unwrap();
    }
}
