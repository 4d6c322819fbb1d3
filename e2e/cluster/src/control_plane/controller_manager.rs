//! kube-controller-manager: credentials and command line.

use std::{path::Path, time::Duration};

use anyhow::Result;
use lockstep_process::Program;

use crate::{
    kubeconfig::{self, Credential},
    pki::{Pki, Subject, write_secret},
    ports::Ports,
    tools::{Tool, Tools},
};

const KUBECONFIG: &str = "controller-manager.kubeconfig";

/// Writes the kubeconfig that [`program`] names.
pub(super) fn prepare(pki: &Pki, state: &Path, url: &str) -> Result<()> {
    let pair = pki.client(&Subject::user("system:kube-controller-manager"))?;
    let text = kubeconfig::render(url, pki.ca(), &Credential::Certificate(&pair));
    write_secret(&state.join(KUBECONFIG), &text)
}

pub(super) fn program(tools: &Tools, pki: &Pki, ports: Ports, state: &Path) -> Program {
    let file = |name: &str| pki.file(name).display().to_string();
    Program {
        name: "kube-controller-manager",
        binary: tools.path(Tool::KubeControllerManager),
        args: [
            format!("--kubeconfig={}", state.join(KUBECONFIG).display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", ports.controller_manager),
            // There is one; a Lease would only be noise in the count of writes.
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            // Its own limit makes it take seconds to give its controllers their accounts.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            "--profiling=false".to_owned(),
        ]
        .map(Into::into)
        .into(),
        env: Vec::new(),
        order: 3,
        grace: Duration::from_secs(3),
    }
}
