//! What only drivers tell: `devlink` and `ethtool` in the guest, each held against the report.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::inventory::Inventory;
use lockstep_lab::{BuiltModule, Guest};
use serde_json::Value;

use super::tools::Comparison;

/// The kernel's own simulated card, which Debian does not build.
pub(crate) const NETDEVSIM: BuiltModule = BuiltModule {
    name: "netdevsim",
    folder: "drivers/net/netdevsim",
    option: "CONFIG_NETDEVSIM=m",
    needs: &["psample"],
};

/// Ports of the simulated card.
const PORTS: usize = 2;

/// What ethtool lists and is no offload.
const PROPERTIES: [&str; 7] = [
    "highdma",
    "loopback",
    "netns-local",
    "rx-all",
    "rx-fcs",
    "tx-lockless",
    "vlan-challenged",
];

/// Old names that ethtool keeps for what the kernel calls otherwise.
const OLD_NAMES: [(&str, &str); 8] = [
    ("generic-receive-offload", "rx-gro"),
    ("generic-segmentation-offload", "tx-generic-segmentation"),
    ("large-receive-offload", "rx-lro"),
    ("ntuple-filters", "rx-ntuple-filter"),
    ("receive-hashing", "rx-hashing"),
    ("rx-checksumming", "rx-checksum"),
    ("rx-vlan-offload", "rx-vlan-hw-parse"),
    ("tx-vlan-offload", "tx-vlan-hw-insert"),
];

/// Makes the simulated card.
pub(super) async fn plug_simulated(guest: &mut Guest) -> Result<()> {
    let make = format!("echo '1 {PORTS}' > /sys/bus/netdevsim/new_device");
    guest.run(&make).await?;
    Ok(())
}

/// Versions and ports of the simulated card against `devlink`.
pub(super) async fn devlink(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("devlink");
    let said = guest.run("/sbin/devlink -j dev info").await?;
    let said: Value = serde_json::from_str(&said).context("devlink dev info")?;
    let devices = said["info"].as_object().context("devlink tells nothing")?;
    ensure!(devices.len() == 1, "devlink tells of {said}");
    let firmware = inventory.firmware.as_ref().context("no firmware")?;
    for device in devices.values() {
        let versions = &device["versions"];
        let running = versions["running"].as_object().context("nothing runs")?;
        for (name, running) in running {
            let told = firmware.components.iter().find(|one| one.name == *name);
            result.hold(
                name,
                running.as_str(),
                told.and_then(|one| one.running.as_deref()),
            );
        }
    }
    let said = guest.run("/sbin/devlink -j port show").await?;
    let said: Value = serde_json::from_str(&said).context("devlink port show")?;
    let listed = said["port"].as_object().context("devlink has no ports")?;
    let listed: BTreeSet<&str> = listed
        .values()
        .filter_map(|port| port["netdev"].as_str())
        .collect();
    ensure!(listed.len() == PORTS, "devlink tells of the ports {said}");
    let ports = &inventory.ports.as_ref().context("no ports")?.ports;
    let told: BTreeSet<&str> = ports
        .iter()
        .filter(|port| port.driver.as_deref() == Some("netdevsim"))
        .map(|port| port.name.as_str())
        .collect();
    result.hold("ports of netdevsim", Some(listed), Some(told));
    Ok(())
}

/// The driver of every port against `ethtool`.
pub(super) async fn names(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("ethtool");
    for port in &inventory.ports.as_ref().context("no ports")?.ports {
        let name = &port.name;
        let said = guest.run(&format!("/usr/sbin/ethtool -i {name}")).await?;
        let driver = said.lines().find_map(|line| line.strip_prefix("driver: "));
        let what = format!("the driver of {name}");
        result.hold(&what, driver, port.driver.as_deref());
    }
    Ok(())
}

/// Offloads of every port against `ethtool`.
pub(super) async fn offloads(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("ethtool");
    let told = inventory.offloads.as_ref().context("no offloads")?;
    ensure!(told.omitted == 0, "{} offloads left out", told.omitted);
    let ports = &inventory.ports.as_ref().context("no ports")?.ports;
    // Whether it is on, by feature and port.
    let mut listed: BTreeMap<(String, &str), bool> = BTreeMap::new();
    for port in ports {
        let said = guest
            .run(&format!("/usr/sbin/ethtool --json -k {}", port.name))
            .await?;
        let said: Value = serde_json::from_str(&said).context("ethtool -k")?;
        let features = said[0].as_object().context("ethtool tells nothing")?;
        for (feature, state) in features {
            let old = OLD_NAMES.iter().find(|(old, _)| old == feature);
            let feature = old.map_or(feature.as_str(), |(_, new)| new);
            // Of a heading over several features it says neither.
            let (Some(on), Some(fixed)) = (state["active"].as_bool(), state["fixed"].as_bool())
            else {
                continue;
            };
            if (on || !fixed) && !PROPERTIES.contains(&feature) {
                listed.insert((feature.to_owned(), &port.name), on);
            }
        }
    }
    let mut unmatched: BTreeSet<&(String, &str)> = listed.keys().collect();
    for offload in &told.offloads {
        let mut on_all = Some(true);
        for port in &offload.ports {
            let key = (offload.name.clone(), port.as_str());
            let on = listed.get(&key).copied();
            let what = format!("{} of {port}", offload.name);
            // Told twice, it is missing here.
            let is_there = unmatched.remove(&key).then_some(true);
            result.hold(&what, is_there, Some(true));
            on_all = on_all.zip(on).map(|(all, on)| all && on);
        }
        let what = format!("{} on all of {}", offload.name, offload.ports.join(", "));
        result.hold(&what, on_all, Some(offload.on));
    }
    for (feature, port) in unmatched {
        result.hold(&format!("{feature} of {port}"), Some(true), None);
    }
    Ok(())
}
