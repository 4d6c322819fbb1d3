//! The YAML a user would write for one host with one card.

use lockstep_lab::image::{Image, Slot};
use serde_json::Value;

/// Namespace of the site in every scenario.
pub const NAMESPACE: &str = "site-a";
/// Name of the site.
pub const SITE: &str = "a";

/// One machine's BMC as a user describes it.
#[derive(Clone, Debug)]
pub struct Bmc {
    /// Base URL.
    pub address: String,
    /// System UUID.
    pub uuid: String,
}

/// What varies between scenarios.
#[derive(Clone, Debug)]
pub struct Choices {
    /// `Observe`, `Plan` or `Enforce`.
    pub mode: &'static str,
    /// `hostWait.until`.
    pub until: &'static str,
    /// `hostWait.onTimeout`.
    pub on_timeout: &'static str,
    /// `hostWait.timeoutSeconds`.
    pub host_timeout: u32,
    /// `install.osTimeoutSeconds`.
    pub os_timeout: u32,
    /// `install.shutdownGraceSeconds`.
    pub shutdown_grace: u32,
    /// `hold.onOrphan`.
    pub on_orphan: &'static str,
    /// `hold.orphanAfterSeconds`.
    pub orphan_after: u32,
    /// `disruption` of the host.
    pub disruption: &'static str,
    /// `slotPowerWhenHostOff` of the host.
    pub slot_power: &'static str,
    /// `hold.mechanisms`.
    pub mechanisms: &'static str,
    /// `install.methods`, where it is not left out.
    pub methods: Option<&'static str>,
    /// `install.onFailure`, where it is not left out.
    pub on_failure: Option<&'static str>,
    /// `install.goldenImageRef`, where there is one.
    pub golden: Option<&'static str>,
    /// `nodeName` of the host.
    pub node: Option<&'static str>,
    /// `unobservableStage: SafeAfter` this many seconds, instead of `Refuse`.
    pub safe_after: Option<u32>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            mode: "Enforce",
            until: "OsRunning",
            on_timeout: "Hold",
            host_timeout: 900,
            os_timeout: 600,
            shutdown_grace: 5,
            on_orphan: "KeepHeld",
            orphan_after: 3600,
            disruption: "Never",
            slot_power: "Yes",
            mechanisms: "[PoweredOff]",
            methods: None,
            on_failure: None,
            golden: None,
            node: None,
            safe_after: None,
        }
    }
}

/// A Secret with BMC credentials.
pub fn secret(name: &str, username: &str, password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         type: kubernetes.io/basic-auth\nstringData: {{username: {username}, password: {password}}}\n---\n"
    )
}

/// A policy named `policy`.
pub fn policy(image: &str, choices: &Choices) -> String {
    format!(
        "apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuBootPolicy
metadata: {{name: policy, namespace: {NAMESPACE}}}
spec:
  mode: {mode}
  order: XpuFirst
  imageRef: {{name: {image}}}
  hostWait: {{until: {until}, timeoutSeconds: {host_timeout}, onTimeout: {on_timeout}}}
  hold: {{mechanisms: {mechanisms}, onOrphan: {on_orphan}, orphanAfterSeconds: {orphan_after}}}
  install: {{{methods}{on_failure}{golden}osTimeoutSeconds: {os_timeout}, maxAttempts: 1, shutdownGraceSeconds: {shutdown_grace}}}
{unobservable}---
",
        unobservable = choices.safe_after.map_or_else(String::new, |seconds| {
            format!("  unobservableStage: {{action: SafeAfter, dumpGraceSeconds: {seconds}}}\n")
        }),
        mode = choices.mode,
        until = choices.until,
        on_timeout = choices.on_timeout,
        host_timeout = choices.host_timeout,
        mechanisms = choices.mechanisms,
        methods = choices
            .methods
            .map_or_else(String::new, |methods| format!("methods: {methods}, ")),
        on_failure = choices
            .on_failure
            .map_or_else(String::new, |then| format!("onFailure: {then}, ")),
        golden = choices.golden.map_or_else(String::new, |golden| {
            format!("goldenImageRef: {{name: {golden}}}, ")
        }),
        on_orphan = choices.on_orphan,
        orphan_after = choices.orphan_after,
        os_timeout = choices.os_timeout,
        shutdown_grace = choices.shutdown_grace,
    )
}

/// An image named as given.
pub fn image(name: &str, image: &Image, url: &str) -> String {
    format!(
        "apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuImage
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  version: \"{version}\"
  digest: sha256:{sha256}
  sizeBytes: {size}
  sources: [\"{url}\"]
---
",
        version = image.version,
        sha256 = image.sha256,
        size = image.size,
    )
}

/// The same, with the place of its signature.
pub fn signed_image(name: &str, of: &Image, url: &str, signature: &str) -> String {
    let named = format!("  signatures: [{{dsse: {{sources: [\"{signature}\"]}}}}]\n---\n");
    image(name, of, url).replace("---\n", &named)
}

/// A policy that asks this of its images (`spec.images`).
pub fn requiring(policy: &str, images: &Value) -> String {
    policy.replace("  imageRef:", &format!("  images: {images}\n  imageRef:"))
}

/// The same, which cards boot from the network every time.
pub fn stateless_image(name: &str, of: &Image, url: &str) -> String {
    let digest = format!("digest: sha256:{}", of.sha256);
    image(name, of, url).replace(&digest, &format!("{digest}\n  boot: Stateless"))
}

/// The same, which installs itself into a slot of the card's disk.
pub fn slot_image(name: &str, of: &Image, url: &str, slot: Slot) -> String {
    let digest = format!("digest: sha256:{}", of.sha256);
    let entry = slot.boot_entry();
    let slot = format!("{digest}\n  slot: {{name: {slot:?}, bootEntry: {entry}}}");
    image(name, of, url).replace(&digest, &slot)
}

/// An image of firmware of that kind, for that component.
pub fn firmware_image(name: &str, of: &Image, url: &str, kind: &str, component: &str) -> String {
    let firmware = format!("spec:\n  kind: {kind}\n  component: {component}\n");
    image(name, of, url).replace("spec:\n", &firmware)
}

/// The same, which wipes a card.
pub fn wiper_image(name: &str, of: &Image, url: &str) -> String {
    let digest = format!("digest: sha256:{}", of.sha256);
    image(name, of, url).replace(&digest, &format!("{digest}\n  kind: Wiper"))
}

/// A host named as given, under the policy named `policy`.
pub fn host(name: &str, bmc: &Bmc, choices: &Choices) -> String {
    format!(
        "apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuHost
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  site: {SITE}
  bmc:
    address: {address}
    credentialsRef: {{name: bmc}}
    tls: {{trust: PlainHttp}}
  identity: {{systemUuid: {uuid}}}
  policyRef: {{name: policy}}
  disruption: {disruption}
  slotPowerWhenHostOff: \"{slot_power}\"
{node}---
",
        address = bmc.address,
        uuid = bmc.uuid,
        disruption = choices.disruption,
        slot_power = choices.slot_power,
        node = choices
            .node
            .map_or_else(String::new, |node| format!("  nodeName: {node}\n")),
    )
}

/// A card named as given, in that host.
pub fn card(name: &str, host: &str, bmc: &Bmc) -> String {
    format!(
        "apiVersion: provisioning.opiproject.org/v1alpha1
kind: Dpu
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  site: {SITE}
  hostRefs: [{{name: {host}, pairing: Asserted}}]
  bmc:
    address: {address}
    credentialsRef: {{name: bmc}}
    tls: {{trust: PlainHttp}}
  identity: {{systemUuid: {uuid}}}
---
",
        address = bmc.address,
        uuid = bmc.uuid,
    )
}

/// The same, whose firmware boots over the network from that address.
pub fn booting_card(name: &str, host: &str, bmc: &Bmc, mac: &str) -> String {
    let card = card(name, host, bmc);
    card.replace("\n  bmc:", &format!("\n  bootMacs: [\"{mac}\"]\n  bmc:"))
}

/// A Node without a kubelet.
pub fn node(name: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n---\n")
}
