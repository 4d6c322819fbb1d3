//! What agents write.

use serde_json::{Value, json};

use crate::NAMESPACE;

pub(crate) fn report(name: &str, uptime: i64) -> Value {
    let (vantage, subject) = [
        ("CardOs", "xpu-"),
        ("CardBmc", "bmc-card-"),
        ("HostBmc", "bmc-host-"),
        ("FoundBmc", "bmc-found-"),
        ("Scan", "scan-"),
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

pub(crate) fn lease(name: &str, labelled: bool, holder: &str) -> Value {
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
