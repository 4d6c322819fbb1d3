//! The fleet as the simulator takes it, and as a user would describe it to Lockstep.

use std::collections::BTreeMap;

use anyhow::Result;
use lockstep_lab::image::Image;
use lockstep_xpusim::{Fleet, Server};

use super::{HOSTS, PASSWORD, SCALE};
use crate::objects::{self, Choices, NAMESPACE, SITE};

/// Policy, image, credentials and trust.
pub(super) fn before_the_fleet(
    fleet: &Fleet,
    server: &Server,
    image: &Image,
    url: &str,
) -> Result<String> {
    let mut yaml = objects::policy("v1", &Choices::default()) + &objects::image("v1", image, url);
    let mut vendors = BTreeMap::new();
    yaml += &format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bmc-certificates, namespace: {NAMESPACE}}}\ndata:\n  ca.crt: |\n"
    );
    for name in fleet.names() {
        let state = fleet.state(name)?;
        vendors.insert(state.personality, state.user);
        for line in server.certificate_pem(name)?.lines() {
            yaml += &format!("    {line}\n");
        }
    }
    yaml += "---\n";
    for (personality, user) in vendors {
        yaml += &objects::secret(&format!("bmc-{personality}"), &user, PASSWORD);
    }
    Ok(yaml)
}

/// A DpuHost for each host, a Dpu for each card.
pub(super) fn machines(fleet: &Fleet, server: &Server) -> Result<String> {
    let mut yaml = String::new();
    for name in fleet.names() {
        let state = fleet.state(name)?;
        let (kind, rest) = match state.hosts.first() {
            None => (
                "DpuHost",
                "  policyRef: {name: policy}\n  slotPowerWhenHostOff: \"Yes\"\n".to_owned(),
            ),
            Some(host) => (
                "Dpu",
                format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n"),
            ),
        };
        yaml += &format!(
            "apiVersion: provisioning.opiproject.org/v1alpha1
kind: {kind}
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  site: {SITE}
  identity: {{systemUuid: {uuid}, serialNumber: {serial}}}
  bmc:
    address: {address}
    credentialsRef: {{name: bmc-{personality}}}
    tls: {{trust: Ca, caConfigMapRef: {{name: bmc-certificates}}}}
{rest}---
",
            uuid = state.uuid,
            serial = state.serial,
            address = server.url(name)?,
            personality = state.personality,
        );
    }
    Ok(yaml)
}

/// Everything is off; cards have nothing on their disks, and power whenever there is any.
pub(super) fn fleet_file() -> String {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    let mut card = 0;
    for (position, (host, cards)) in HOSTS.iter().enumerate() {
        let name = format!("host-{}", position + 1);
        yaml += &format!(
            "- hosts: [{{name: {name}, personality: {host}, password: {PASSWORD}, off: true}}]\n  cards:\n"
        );
        for (slot, personality) in cards.iter().enumerate() {
            card += 1;
            yaml += &format!(
                "  - {{name: card-{card}, personality: {personality}, password: {PASSWORD}, off: true, os: '', \
                 slots: [{{host: {name}, number: {}, slotPower: standby}}]}}\n",
                slot + 1
            );
        }
    }
    yaml
}
