//! The Kubernetes programs of a node: configuration files, credentials, command lines.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{containerd, namespace::INSIDE};
use crate::{
    ControlPlane,
    pki::{Subject, write_secret},
};

/// What the node's programs are told about it.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub(super) name: &'a str,
    pub(super) address: Ipv4Addr,
    /// The machine, seen from the node; the apiserver is relayed there.
    pub(super) host: Ipv4Addr,
    pub(super) pods: &'a str,
    pub(super) cgroup: &'a str,
}

/// Writes everything that the node's programs read into the node's folder.
pub(super) fn prepare(plane: &ControlPlane, folder: &Path, node: &Identity<'_>) -> Result<()> {
    let url = format!("https://{}:{}", node.host, plane.port());
    let user = Subject::user(format!("system:node:{}", node.name)).in_group("system:nodes");
    plane.write_kubeconfig(&folder.join("kubelet.kubeconfig"), &user, &url)?;
    let user = Subject::user("system:kube-proxy");
    plane.write_kubeconfig(&folder.join("kube-proxy.kubeconfig"), &user, &url)?;

    let names = vec![node.name.to_owned(), node.address.to_string()];
    let serving = plane.server_certificate(&Subject::user(node.name), names)?;
    write_secret(&folder.join("kubelet.crt"), &serving.certificate)?;
    write_secret(&folder.join("kubelet.key"), &serving.key)?;
    write_secret(&folder.join("ca.crt"), plane.ca())?;
    // Pods get no name server: there is none in the lab, and a dead one costs seconds.
    write_secret(&folder.join("resolv.conf"), "")?;
    write_json(&folder.join("kubelet.json"), &kubelet_config(node))?;
    write_json(&folder.join("kube-proxy.json"), &proxy_config(node))
}

fn kubelet_config(node: &Identity<'_>) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", containerd::SOCKET),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": format!("{INSIDE}/ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": format!("{INSIDE}/kubelet.crt"),
        "tlsPrivateKeyFile": format!("{INSIDE}/kubelet.key"),
        "address": node.address,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup),
        "failCgroupV1": false,
        "failSwapOn": false,
        "resolvConf": format!("{INSIDE}/resolv.conf"),
        "podLogsDir": format!("{INSIDE}/pod-logs"),
        // The disk and memory are the developer's: a nearly full one is no reason to evict.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        // Imported images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}

fn proxy_config(node: &Identity<'_>) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": format!("{INSIDE}/kube-proxy.kubeconfig") },
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clusterCIDR": node.pods,
        // A pod that talks to itself or its neighbour through a Service gets its answer back.
        "nftables": { "masqueradeAll": true },
        // These belong to the machine and cannot be set from a network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

pub(super) fn kubelet_args(node: &Identity<'_>) -> Vec<String> {
    vec![
        format!("--config={INSIDE}/kubelet.json"),
        format!("--kubeconfig={INSIDE}/kubelet.kubeconfig"),
        format!("--root-dir={INSIDE}/kubelet"),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.address),
    ]
}

pub(super) fn proxy_args() -> Vec<String> {
    vec![format!("--config={INSIDE}/kube-proxy.json")]
}

/// The scheduler runs on the machine, beside the apiserver.
pub(super) fn scheduler_args(kubeconfig: &Path, port: u16) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
    ]
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
