//! kube-apiserver: certificates, audit policy, command line.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use super::etcd;
use lockstep_process::Program;

use crate::{
    pki::{Pki, Subject},
    ports::Ports,
    tools::{Tool, Tools},
};

/// Where a QEMU guest with user networking finds the host's loopback.
pub(super) const GUEST_VIEW: &str = "10.0.2.2";
/// First address of the Service range: the `kubernetes` Service.
pub(crate) const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Records every write, with what was sent unless it is confidential, and no read.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources:
  - group: ''
    resources: [secrets, serviceaccounts/token]
  - group: authentication.k8s.io
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// Issues the certificates and writes the files that [`program`] names.
pub(super) fn prepare(pki: &Pki, state: &Path, extra_sans: &[String]) -> Result<()> {
    let names = [
        "127.0.0.1",
        "localhost",
        GUEST_VIEW,
        SERVICE_ADDRESS,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(extra_sans.iter().cloned())
    .collect();
    pki.write_server("apiserver", &Subject::user("kube-apiserver"), names)?;
    pki.write_client(
        "apiserver-kubelet-client",
        &Subject::user("kube-apiserver-kubelet-client").in_group("system:masters"),
    )?;
    let policy = policy_file(state);
    std::fs::write(&policy, AUDIT_POLICY)
        .with_context(|| format!("cannot write {}", policy.display()))
}

fn policy_file(state: &Path) -> std::path::PathBuf {
    state.join("audit-policy.yaml")
}

pub(super) fn program(
    tools: &Tools,
    pki: &Pki,
    ports: Ports,
    state: &Path,
    audit_log: &Path,
) -> Program {
    let file = |name: &str| pki.file(name).display().to_string();
    Program {
        name: "kube-apiserver",
        binary: tools.path(Tool::KubeApiserver),
        args: [
            format!("--etcd-servers={}", etcd::client_url(ports)),
            "--bind-address=127.0.0.1".to_owned(),
            // Without it the server looks for a default route, and ends where there is none.
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", ports.apiserver),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            format!(
                "--kubelet-client-certificate={}",
                file("apiserver-kubelet-client.crt")
            ),
            format!(
                "--kubelet-client-key={}",
                file("apiserver-kubelet-client.key")
            ),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--audit-policy-file={}", policy_file(state).display()),
            format!("--audit-log-path={}", audit_log.display()),
            "--audit-log-format=json".to_owned(),
            // Rotation would hide writes from whoever counts them.
            "--audit-log-maxsize=8192".to_owned(),
            "--profiling=false".to_owned(),
        ]
        .map(Into::into)
        .into(),
        env: Vec::new(),
        order: 2,
        // It waits a minute for watches to end by themselves; etcd holds everything already.
        grace: Duration::from_secs(2),
    }
}
