//! What a port takes off the kernel's hands, and whether hardware does it.

use serde::{Deserialize, Serialize};

use super::{Fact, Port};
use crate::netlink::{Features, Told};

/// Who does what a port offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Implementation {
    /// The device.
    Hardware,
    /// The kernel.
    Software,
    /// The other side of a virtual device, which may be either.
    Unknown,
}

/// Offloads of one port that are done alike, by the kernel's names (`tx-checksum-ipv4`).
/// What stands in neither list the port cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offloads {
    /// Who does them.
    pub implementation: Implementation,
    /// In use.
    pub on: Vec<String>,
    /// Available and turned off.
    pub off: Vec<String>,
}

/// A port and its offloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachinePort {
    /// The port.
    pub port: Port,
    /// What it takes off the kernel's hands.
    pub offloads: Fact<Vec<Offloads>>,
}

/// What the kernel does by itself for any port (`NETIF_F_SOFT_FEATURES` and their like).
const BY_THE_KERNEL: &[&str] = &[
    "rx-gro",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "tx-generic-segmentation",
    "tx-nocache-copy",
];

/// Properties that the kernel lists among the features: nothing is taken off its hands.
const PROPERTIES: &[&str] = &[
    "fcoe-mtu",
    "highdma",
    "loopback",
    "netns-local",
    "rx-all",
    "rx-fcs",
    "tx-lockless",
    "vlan-challenged",
];

/// Drivers of devices that another kernel or a hypervisor plays.
const VIRTUAL_DRIVERS: &[&str] = &[
    "hv_netvsc",
    "netdevsim",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// Adds to each port what the kernel told of it.
pub(super) fn with_offloads(ports: Vec<Port>, told: &Told) -> Vec<MachinePort> {
    ports
        .into_iter()
        .map(|mut port| {
            // Sysfs cannot tell the permanent address once another is in use; the kernel tells
            // it of every port that has one.
            if let (Fact::NotRead(_), Fact::Known(all)) =
                (&port.permanent_mac, &told.permanent_addresses)
            {
                port.permanent_mac = all
                    .iter()
                    .find(|one| one.name == port.name)
                    .map_or(Fact::NotOffered, |one| Fact::Known(one.address.clone()));
            }
            let offloads = told.offloads.as_ref().and_then(|all| {
                all.iter()
                    .find(|features| features.port == port.name)
                    .map_or(Fact::NotOffered, |features| {
                        Fact::Known(sorted(features, &port))
                    })
            });
            MachinePort { port, offloads }
        })
        .collect()
}

fn sorted(features: &Features, port: &Port) -> Vec<Offloads> {
    let own = match &port.driver {
        Fact::Known(Some(driver)) if !VIRTUAL_DRIVERS.contains(&driver.as_str()) => {
            Implementation::Hardware
        }
        Fact::Known(_) | Fact::NotOffered | Fact::NotRead(_) => Implementation::Unknown,
    };
    [own, Implementation::Software]
        .into_iter()
        .map(|implementation| {
            let software = implementation == Implementation::Software;
            let mine = |name: &&String| {
                BY_THE_KERNEL.contains(&name.as_str()) == software
                    && !PROPERTIES.contains(&name.as_str())
            };
            Offloads {
                implementation,
                on: features.active.iter().filter(mine).cloned().collect(),
                off: features
                    .changeable
                    .difference(&features.active)
                    .filter(mine)
                    .cloned()
                    .collect(),
            }
        })
        .collect()
}
