//! Who may approve, and what the operator may do to what discovery has found.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{CARD1, EDITOR, NAMESPACE, OPERATOR, PERSON, SITE_AGENT};

const CARDS: &str = "lockstep-proposed-dpus";
const HOSTS: &str = "lockstep-proposed-dpuhosts";

fn object(kind: &str, name: &str, proposed: bool, spec: &Value) -> Value {
    let labels = if proposed {
        json!({"provisioning.opiproject.org/proposed": "id"})
    } else {
        json!({})
    };
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    })
}

pub(crate) fn card(name: &str, proposed: bool, approved: Option<bool>) -> Value {
    let mut spec = json!({
        "hostRefs": [{"name": "host1"}],
        "bmc": {
            "address": "https://10.0.0.1", "credentialsRef": {"name": "bmc"},
            "tls": {"trust": "NoVerification"},
        },
    });
    if let Some(approved) = approved {
        spec["approved"] = json!(approved);
    }
    object("Dpu", name, proposed, &spec)
}

fn host(name: &str, proposed: bool) -> Value {
    let bmc = &card(name, proposed, None)["spec"]["bmc"];
    let spec = json!({"policyRef": {"name": "p"}, "bmc": bmc});
    object("DpuHost", name, proposed, &spec)
}

pub(crate) fn inventory(name: &str) -> Value {
    object(
        "DpuInventory",
        name,
        false,
        &json!({"completeness": "Partial"}),
    )
}

fn patch<'a>(resource: &'a str, name: &'a str, change: &'a str) -> [&'a str; 6] {
    ["patch", resource, name, "--type=merge", "-p", change]
}

/// A person who may edit everything, and approve nothing.
pub(crate) async fn approvals(cluster: &Cluster) {
    const POLICY: &str = "lockstep-approvals";
    const APPROVE: &str = r#"{"spec":{"approved":true}}"#;
    cluster
        .refuses(POLICY, "create", EDITOR, &card("a", false, None))
        .await;
    let approved = card("a", false, Some(true));
    cluster.refuses(POLICY, "create", EDITOR, &approved).await;
    let open = card("a", false, Some(false));
    cluster.allows("create", EDITOR, &open).await;
    let refused = cluster.run(EDITOR, &patch("dpu", "a", APPROVE)).await;
    let said = refused.unwrap_err();
    for word in ["verb approve on dpus", "lockstep-admin", NAMESPACE] {
        assert!(said.contains(word), "{said}");
    }
    // Leaving the field out is approving, too.
    cluster
        .refuses(POLICY, "replace", EDITOR, &card("a", false, None))
        .await;
    cluster
        .run(PERSON, &patch("dpu", "a", APPROVE))
        .await
        .unwrap();
    let paused = patch("dpu", "a", r#"{"spec":{"paused":true}}"#);
    cluster.run(EDITOR, &paused).await.unwrap();
    let taken_back = patch("dpu", "a", r#"{"spec":{"approved":false}}"#);
    cluster.run(EDITOR, &taken_back).await.unwrap();
    cluster
        .refuses_call(POLICY, EDITOR, &patch("dpu", "a", APPROVE))
        .await;
    cluster
        .allows("create", PERSON, &card("b", false, None))
        .await;
    // Another card is another approval.
    for other in [
        r#"{"hostRefs":[{"name":"host2"}]}"#,
        r#"{"identity":{"serialNumber":"MT1"}}"#,
        r#"{"bmc":{"address":"https://10.0.0.2"}}"#,
        // Whatever boots from there during an install is given what is the card's.
        r#"{"bootMacs":["02:00:00:00:00:11"]}"#,
    ] {
        let change = format!(r#"{{"spec":{other}}}"#);
        let call = patch("dpu", "b", &change);
        let said = cluster.run(EDITOR, &call).await.unwrap_err();
        assert!(said.contains("say for which card"), "{said}");
    }
    for change in [
        r#"{"spec":{"bmc":{"credentialsRef":{"name":"rotated"}}}}"#,
        r#"{"spec":{"approved":false,"identity":{"serialNumber":"MT1"}}}"#,
    ] {
        cluster
            .run(EDITOR, &patch("dpu", "b", change))
            .await
            .unwrap();
    }
}

/// Nobody makes an object pass for a proposal, which a policy may approve, who may not approve.
pub(crate) async fn marks_of_proposals(cluster: &Cluster) {
    const POLICY: &str = "lockstep-approvals";
    let mark = |kind: &str, name: &str| {
        format!(r#"{{"metadata":{{"{kind}":{{"provisioning.opiproject.org/{name}":"2"}}}}}}"#)
    };
    let marks = [
        mark("labels", "proposed"),
        mark("annotations", "proposed-spec"),
        mark("annotations", "discovered-address"),
    ];
    cluster
        .refuses(POLICY, "create", EDITOR, &card("m", true, Some(false)))
        .await;
    cluster
        .allows("create", EDITOR, &card("m", false, Some(false)))
        .await;
    for change in &marks {
        cluster
            .refuses_call(POLICY, EDITOR, &patch("dpu", "m", change))
            .await;
        cluster
            .run(PERSON, &patch("dpu", "m", change))
            .await
            .unwrap();
    }
    let other = r#"{"metadata":{"labels":{"rack":"7"}},"spec":{"paused":true}}"#;
    cluster
        .run(EDITOR, &patch("dpu", "m", other))
        .await
        .unwrap();
    let gone = r#"{"metadata":{"labels":{"provisioning.opiproject.org/proposed":null}}}"#;
    cluster.run(EDITOR, &patch("dpu", "m", gone)).await.unwrap();
}

/// So is letting a policy approve.
pub(crate) async fn approving_policies(cluster: &Cluster) {
    const POLICY: &str = "lockstep-approving-policies";
    let policy = |spec: Value| object("DpuBootPolicy", "approving", false, &spec);
    let families = |families: &[&str]| json!({"discovered": {"approve": [{"families": families}]}});
    let approves = policy(families(&["A"]));
    let open = policy(json!({"discovered": {}}));
    cluster.allows("create", PERSON, &open).await;
    cluster.refuses(POLICY, "apply", EDITOR, &approves).await;
    cluster.allows("apply", PERSON, &approves).await;
    let observe = patch("dpubp", "approving", r#"{"spec":{"mode":"Plan"}}"#);
    cluster.run(EDITOR, &observe).await.unwrap();
    let wider = families(&["A", "B"]);
    let wider = json!({"spec": wider}).to_string();
    cluster
        .refuses_call(POLICY, EDITOR, &patch("dpubp", "approving", &wider))
        .await;
    let none = patch(
        "dpubp",
        "approving",
        r#"{"spec":{"discovered":{"approve":null}}}"#,
    );
    cluster.run(EDITOR, &none).await.unwrap();
}

/// The operator does to its own proposals what discovery needs, and to others' objects nothing.
pub(crate) async fn proposals(cluster: &Cluster) {
    cluster
        .refuses(CARDS, "create", OPERATOR, &card("p", false, Some(false)))
        .await;
    cluster
        .refuses(CARDS, "create", OPERATOR, &card("p", true, Some(true)))
        .await;
    cluster
        .allows("create", OPERATOR, &card("p", true, Some(false)))
        .await;
    cluster
        .refuses(HOSTS, "create", OPERATOR, &host("p", false))
        .await;
    cluster.allows("create", OPERATOR, &host("p", true)).await;
    cluster
        .allows("create", PERSON, &card("theirs", false, Some(false)))
        .await;
    cluster
        .allows("create", PERSON, &host("theirs", false))
        .await;

    let moved = r#"{"spec":{"bmc":{"address":"https://10.0.0.2"}}}"#;
    let unlabelled = r#"{"metadata":{"labels":{"provisioning.opiproject.org/proposed":null}}}"#;
    let labelled = r#"{"metadata":{"labels":{"provisioning.opiproject.org/proposed":"x"}}}"#;
    let protected = r#"{"metadata":{"finalizers":["provisioning.opiproject.org/undo"]}}"#;
    let free = r#"{"metadata":{"finalizers":[]}}"#;
    for (policy, resource) in [(CARDS, "dpu"), (HOSTS, "dpuhost")] {
        let change = async |name: &str, change: &str| {
            cluster.run(OPERATOR, &patch(resource, name, change)).await
        };
        change("p", moved).await.unwrap();
        for name in ["p", "theirs"] {
            change(name, protected).await.unwrap();
            change(name, free).await.unwrap();
        }
        let beyond = [
            ("p", unlabelled),
            ("theirs", labelled),
            ("theirs", moved),
            (
                "p",
                r#"{"spec":{"bmc":{"credentialsRef":{"name":"other"}}}}"#,
            ),
            (
                "p",
                r#"{"spec":{"bmc":{"systemPath":"/redfish/v1/Systems/2"}}}"#,
            ),
            (
                "p",
                r#"{"spec":{"bmc":{"tls":{"trust":"Ca","caConfigMapRef":{"name":"ca"}}}}}"#,
            ),
            ("p", r#"{"spec":{"bmc":null}}"#),
            ("p", r#"{"spec":{"identity":{"serialNumber":"S1"}}}"#),
        ];
        let of_kind: &[(&str, &str)] = match resource {
            "dpu" => &[
                ("p", r#"{"spec":{"hostRefs":[{"name":"host2"}]}}"#),
                ("p", r#"{"spec":{"imageRef":{"name":"os"}}}"#),
                ("p", r#"{"spec":{"paused":true}}"#),
                ("theirs", r#"{"spec":{"approved":true}}"#),
            ],
            _ => &[
                ("p", r#"{"spec":{"nodeName":"n"}}"#),
                ("p", r#"{"spec":{"disruption":"Allowed"}}"#),
            ],
        };
        for (name, beyond) in beyond.iter().chain(of_kind) {
            let call = patch(resource, name, beyond);
            cluster.refuses_call(policy, OPERATOR, &call).await;
        }
        cluster
            .refuses_call(policy, OPERATOR, &["delete", resource, "theirs"])
            .await;
    }
    cluster
        .run(OPERATOR, &["delete", "dpuhost", "p"])
        .await
        .unwrap();
    let approve = patch("dpu", "p", r#"{"spec":{"approved":true}}"#);
    cluster.run(OPERATOR, &approve).await.unwrap();
    let take_back = patch("dpu", "p", r#"{"spec":{"approved":false}}"#);
    cluster.refuses_call(CARDS, OPERATOR, &take_back).await;
    cluster
        .refuses_call(CARDS, OPERATOR, &["delete", "dpu", "p"])
        .await;
    cluster.run(PERSON, &take_back).await.unwrap();
    cluster
        .run(OPERATOR, &["delete", "dpu", "p"])
        .await
        .unwrap();
}

pub(crate) async fn inventories(cluster: &Cluster) {
    const POLICY: &str = "lockstep-inventory-writers";
    for user in [PERSON, EDITOR, SITE_AGENT, CARD1] {
        cluster
            .refuses(POLICY, "create", user, &inventory("i"))
            .await;
    }
    cluster.allows("create", OPERATOR, &inventory("i")).await;
    let change = patch("dpuinv", "i", r#"{"spec":{"completeness":"Complete"}}"#);
    for user in [PERSON, SITE_AGENT, CARD1] {
        cluster.refuses_call(POLICY, user, &change).await;
    }
    cluster.run(OPERATOR, &change).await.unwrap();
    cluster
        .run(PERSON, &["label", "dpuinv", "i", "a=b"])
        .await
        .unwrap();
    // Deleted in the foreground: the garbage collector takes its finalizer away.
    let foreground = [
        "delete",
        "dpuinv",
        "i",
        "--cascade=foreground",
        "--timeout=30s",
    ];
    cluster.run(PERSON, &foreground).await.unwrap();
}
