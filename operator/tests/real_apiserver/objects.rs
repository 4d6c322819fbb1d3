//! What the test writes: a site with its objects, and what the site's agent reports of them.

use serde_json::{Value, json};

pub(crate) const SITE: &str = r"
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

pub(crate) const OBJECTS: &str = r"
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
  identity: {serialNumber: S1-card}
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

pub(crate) fn site_lease(renewed: jiff::Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "site-lab", "namespace": "site-lab",
            "labels": {"provisioning.opiproject.org/agent": "site"}},
        "spec": {"holderIdentity": "agent", "leaseDurationSeconds": 300,
            "renewTime": format!("{renewed:.6}")},
    })
}

pub(crate) fn site_report(state: &str) -> Value {
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

/// What the BMC of that card shows.
pub(crate) fn card_report(card: &str, uid: &str) -> Value {
    let now = jiff::Timestamp::now();
    let (name, serial) = (format!("bmc-card-{card}"), format!("S1-{card}"));
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "DpuReport",
        "metadata": {"name": name, "namespace": "site-lab"},
        "spec": {
            "vantage": "CardBmc", "subject": card, "subjectUid": uid,
            "agentVersion": "0.1.0", "observedAt": format!("{now:.0}"),
            "reachable": {"ok": true, "since": format!("{now:.0}")},
            "bmc": {
                "identity": {"serialNumber": serial},
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
