//! What the guest's own tools say, each held against the same part of the report.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::inventory::{Inventory, PciFunction};
use lockstep_lab::Guest;
use serde_json::Value;

/// How many values of each tool were compared, and which differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    tool: &'static str,
    equal: BTreeMap<&'static str, usize>,
    differ: Vec<String>,
}

impl Comparison {
    /// What follows was said by this tool.
    pub(super) fn by(&mut self, tool: &'static str) {
        self.tool = tool;
    }

    /// What neither of them has was not compared.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make the values for this comparison alone"
    )]
    pub(super) fn hold<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        tool: Option<T>,
        report: Option<T>,
    ) {
        let by = self.tool;
        if tool != report {
            self.differ
                .push(format!("{what}: {by} says {tool:?}, the report {report:?}"));
        } else if tool.is_some() {
            *self.equal.entry(by).or_default() += 1;
        }
    }

    /// How many values are equal, by tool, if all are and every tool said as much as is known of
    /// this hardware: one that says little must not hide behind the others.
    pub(super) fn end(self, at_least: &[(&str, usize)]) -> Result<String> {
        ensure!(self.differ.is_empty(), "{}", self.differ.join("; "));
        for (tool, least) in at_least {
            let compared = self.equal.get(tool).copied().unwrap_or_default();
            ensure!(
                compared >= *least,
                "only {compared} values of {tool} were compared, not {least}"
            );
        }
        let by_tool: Vec<String> = self
            .equal
            .iter()
            .map(|(tool, count)| format!("{tool} {count}"))
            .collect();
        let all: usize = self.equal.values().sum();
        Ok(format!("{all} ({})", by_tool.join(", ")))
    }
}

/// Records of `KEY:\tVALUE`, with a blank line between them.
fn records(text: &str) -> Vec<BTreeMap<&str, &str>> {
    text.split("\n\n")
        .map(|record| {
            record
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| (key.trim(), value.trim()))
                .collect::<BTreeMap<_, _>>()
        })
        .filter(|record| !record.is_empty())
        .collect()
}

/// PCI functions against `lspci`.
pub(super) async fn functions(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("lspci");
    let said = guest.run("/usr/bin/lspci -Dnvmmk").await?;
    let list = inventory.functions.as_ref().context("no functions")?;
    let told: BTreeMap<&str, &PciFunction> = list
        .functions
        .iter()
        .map(|function| (function.address.as_str(), function))
        .collect();
    let records = records(&said);
    result.hold("functions", Some(records.len()), Some(told.len()));
    for record in records {
        let field = |name: &str| record.get(name).copied();
        let address = field("Slot").context("lspci without Slot")?;
        let Some(function) = told.get(address) else {
            result.hold(address, Some(true), None);
            continue;
        };
        let pair = |a: &str, b: &str| Some(format!("{}:{}", field(a)?, field(b)?));
        let id = pair("Vendor", "Device");
        result.hold(address, id, Some(function.id.clone()));
        if let Some(board) = pair("SVendor", "SDevice") {
            result.hold(address, Some(board), function.subsystem_id.clone());
        }
        let class = field("Class").unwrap_or_default();
        let class = format!("{class}{}", field("ProgIf").unwrap_or("00"));
        result.hold(address, Some(class), Some(function.class.clone()));
        result.hold(address, field("Driver"), function.driver.as_deref());
        if let Some(slot) = field("PhySlot") {
            result.hold(address, Some(slot), function.slot.as_deref());
        }
        let details = guest
            .run(&format!("/usr/bin/lspci -Dnvv -s {address}"))
            .await?;
        link(address, &details, function, result);
    }
    Ok(())
}

/// `LnkCap: …, Speed 2.5GT/s, Width x1` and `Total VFs: 4, Number of VFs: 0`, where they stand.
fn link(address: &str, details: &str, function: &PciFunction, result: &mut Comparison) {
    let after = |text: &str, word: &str| -> Option<String> {
        let rest = &text[text.find(word)? + word.len()..];
        let end = rest.find([',', ' ', '\n']).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let line = |name: &str| details.lines().find(|line| line.contains(name));
    if let (Some(most), Some(link)) = (line("LnkCap:"), &function.link) {
        let width = after(most, "Width x").and_then(|width| width.parse().ok());
        let speed = after(most, "Speed ").and_then(|speed| mts(&speed));
        result.hold(address, width, link.max_width);
        result.hold(address, speed, link.max_speed_mts);
    }
    let count = |name: &str| after(details, name).and_then(|vfs| vfs.parse().ok());
    let told = function.sr_iov.as_ref();
    result.hold(address, count("Total VFs: "), told.map(|vfs| vfs.total));
    result.hold(
        address,
        count("Number of VFs: "),
        told.map(|vfs| vfs.enabled),
    );
}

fn mts(speed: &str) -> Option<i64> {
    let giga = speed.strip_suffix("GT/s")?;
    let (whole, part) = giga.split_once('.').unwrap_or((giga, "0"));
    Some(whole.parse::<i64>().ok()? * 1000 + part.parse::<i64>().ok()? * 100)
}

/// The machine, memory and slots against `dmidecode`.
pub(super) async fn firmware(
    guest: &mut Guest,
    inventory: &Inventory,
    serial: &str,
    result: &mut Comparison,
) -> Result<()> {
    result.by("dmidecode");
    let system = inventory.system.as_ref().context("no system")?;
    for (keyword, told) in [
        ("system-uuid", &system.system_uuid),
        ("system-manufacturer", &system.vendor),
        ("system-product-name", &system.model),
        (serial, &system.serial_number),
    ] {
        let said = guest
            .run(&format!("/usr/sbin/dmidecode -s {keyword}"))
            .await?;
        let said = Some(said.trim().to_owned());
        result.hold(keyword, said, told.clone());
    }
    let said = guest.run("/usr/sbin/dmidecode -q -t 17").await?;
    let memory = inventory.memory.as_ref().context("no memory")?;
    let modules = records(&said);
    result.hold(
        "memory sockets",
        Some(modules.len()),
        Some(memory.modules.len()),
    );
    for (record, module) in modules.iter().zip(&memory.modules) {
        let field = |name: &str| record.get(name).map(|value| (*value).to_owned());
        let known = |name: &str| field(name).filter(|value| value != "Not Specified");
        let size = match field("Size").as_deref() {
            Some("No Module Installed") => Some(0),
            size => size
                .and_then(|size| size.strip_suffix(" MB"))
                .and_then(|size| size.parse::<i64>().ok())
                .map(|size| size << 20),
        };
        result.hold("Locator", field("Locator"), module.locator.clone());
        result.hold("Size", size, module.size_bytes);
        result.hold(
            "Serial",
            known("Serial Number"),
            module.serial_number.clone(),
        );
        result.hold("Part", known("Part Number"), module.part_number.clone());
        let speed = field("Configured Memory Speed")
            .and_then(|speed| speed.strip_suffix(" MT/s").map(str::to_owned))
            .and_then(|speed| speed.parse().ok());
        result.hold("Speed", speed, module.speed_mts);
    }
    let said = guest.run("/usr/sbin/dmidecode -q -t 9").await?;
    let slots = inventory.slots.as_ref().context("no slots")?;
    let records = records(&said);
    result.hold("slots", Some(records.len()), Some(slots.slots.len()));
    for (record, slot) in records.iter().zip(&slots.slots) {
        let field = |name: &str| record.get(name).copied();
        result.hold("slot", field("Designation"), Some(slot.name.as_str()));
        let in_use = field("Current Usage").map(|usage| usage == "In Use");
        result.hold("slot in use", in_use, slot.in_use);
    }
    Ok(())
}

/// Processors against `lscpu`.
pub(super) async fn processors(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("lscpu");
    let said = guest.run("/usr/bin/lscpu -J").await?;
    let said: Value = serde_json::from_str(&said).context("lscpu")?;
    let mut fields = BTreeMap::new();
    flatten(&said["lscpu"], &mut fields);
    let cpu = inventory.cpu.as_ref().context("no cpu")?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<i64>().ok());
    let sockets = number("Socket(s):");
    let cores = number("Core(s) per socket:");
    result.hold("sockets", sockets, cpu.sockets);
    let all = sockets.zip(cores).map(|(sockets, cores)| sockets * cores);
    result.hold("cores", all, cpu.cores);
    result.hold("threads", number("CPU(s):"), cpu.threads);
    let text = |name: &str| fields.get(name).cloned();
    result.hold(
        "architecture",
        text("Architecture:"),
        cpu.architecture.clone(),
    );
    result.hold("model", text("Model name:"), cpu.model.clone());
    Ok(())
}

fn flatten(list: &Value, fields: &mut BTreeMap<String, String>) {
    for entry in list.as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (entry["field"].as_str(), entry["data"].as_str()) {
            fields.insert(name.to_owned(), value.to_owned());
        }
        flatten(&entry["children"], fields);
    }
}

/// Disks against `lsblk`.
pub(super) async fn disks(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("lsblk");
    let said = guest
        .run("/usr/bin/lsblk -J -b -d -o NAME,SIZE,MODEL,SERIAL,TYPE")
        .await?;
    let said: Value = serde_json::from_str(&said).context("lsblk")?;
    let disks = &inventory.disks.as_ref().context("no disks")?.disks;
    let listed: Vec<&Value> = said["blockdevices"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| ["disk", "rom"].map(Value::from).contains(&one["type"]))
        .filter(|one| {
            !one["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("fd"))
        })
        .collect();
    result.hold("disks", Some(listed.len()), Some(disks.len()));
    for one in listed {
        let name = one["name"].as_str().unwrap_or_default();
        let Some(disk) = disks.iter().find(|disk| disk.name == name) else {
            result.hold(name, Some(true), None);
            continue;
        };
        let text = |field: &str| one[field].as_str().map(|text| text.trim().to_owned());
        result.hold(name, one["size"].as_i64(), disk.size_bytes);
        result.hold(name, text("model"), disk.model.clone());
        // Without udev lsblk has no serial number of a virtio disk.
        if let Some(serial) = text("serial") {
            result.hold(name, Some(serial), disk.serial_number.clone());
        }
    }
    Ok(())
}

/// Ports against `ip`.
pub(super) async fn ports(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("ip");
    let said = guest.run("/sbin/ip -j -d link").await?;
    let said: Value = serde_json::from_str(&said).context("ip -j link")?;
    let ports = &inventory.ports.as_ref().context("no ports")?.ports;
    let listed: Vec<&Value> = said
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["parentdev"].is_string())
        .collect();
    result.hold("ports", Some(listed.len()), Some(ports.len()));
    for one in listed {
        let name = one["ifname"].as_str().unwrap_or_default();
        let Some(port) = ports.iter().find(|port| port.name == name) else {
            result.hold(name, Some(true), None);
            continue;
        };
        let mac = one["permaddr"].as_str().or(one["address"].as_str());
        result.hold(name, mac, port.mac.as_deref());
        if one["parentbus"] == "pci" {
            result.hold(name, one["parentdev"].as_str(), port.pci_address.as_deref());
        }
    }
    Ok(())
}

/// Kernel and system.
pub(super) async fn system(
    guest: &mut Guest,
    inventory: &Inventory,
    result: &mut Comparison,
) -> Result<()> {
    result.by("kernel");
    let os = inventory.os.as_ref().context("no os")?;
    let kernel = guest.run("uname -r").await?;
    result.hold("kernel", Some(kernel.trim().to_owned()), os.kernel.clone());
    let total = guest
        .run("awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo")
        .await?;
    let memory = inventory
        .memory
        .as_ref()
        .and_then(|memory| memory.usable_bytes);
    result.hold("memory", total.trim().parse().ok(), memory);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_has_is_not_counted_and_what_one_has_differs() {
        let some = |values: &[(Option<u8>, Option<u8>)]| {
            let mut result = Comparison::default();
            result.by("tool");
            for (tool, report) in values {
                result.hold("value", *tool, *report);
            }
            result
        };
        let equal = [(None, None), (Some(1), Some(1))];
        assert_eq!(some(&equal).end(&[("tool", 1)]).unwrap(), "1 (tool 1)");
        assert!(some(&equal).end(&[("tool", 2)]).is_err());
        assert!(some(&equal).end(&[("other", 1)]).is_err());
        for differs in [(Some(1), None), (None, Some(1)), (Some(1), Some(2))] {
            assert!(some(&[differs]).end(&[]).is_err());
        }
    }
}
