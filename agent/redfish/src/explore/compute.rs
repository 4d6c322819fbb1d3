//! Processors and memory.

use lockstep_crds::inventory::{CpuFacts, MemoryFacts, MemoryModule};
use serde_json::Value;

use super::System;
use super::machine::{meaningful, serial_number};
use super::walk::{Listed, Walk};
use crate::document::{decimal, number, short, text};

/// Processors that are read.
const MOST_PROCESSORS: usize = 8;

/// Memory modules that are read.
const MOST_MODULES: usize = 32;

pub(super) async fn cpu(walk: &mut Walk<'_>, system: &System) -> Option<CpuFacts> {
    let listed = walk
        .members("cpu", &system.document, "Processors", MOST_PROCESSORS)
        .await;
    let facts = processors(&system.document, &listed.unwrap_or_default());
    (facts != CpuFacts::default()).then_some(facts)
}

/// Each by itself where all of them told, else their summary.
fn processors(system: &Value, listed: &Listed) -> CpuFacts {
    let is_cpu = |one: &&Value| text(one, "ProcessorType").is_none_or(|kind| kind == "CPU");
    let all: Vec<&Value> = listed.documents.iter().map(|(_, one)| &**one).collect();
    let cpus: Vec<&Value> = all.into_iter().filter(is_cpu).collect();
    let sum = |key: &str| {
        let told = cpus.iter().map(|cpu| number(cpu, key));
        total(told).filter(|_| !cpus.is_empty() && listed.wanting() == 0)
    };
    let summary = system.get("ProcessorSummary");
    let summed = |key: &str| summary.and_then(|summary| number(summary, key));
    let count = i64::try_from(cpus.len())
        .ok()
        .filter(|count| *count > 0 && listed.wanting() == 0);
    let first = cpus.first().copied();
    CpuFacts {
        architecture: first.and_then(architecture),
        model: first
            .and_then(|cpu| short(cpu, "Model", 128))
            .or_else(|| short(summary?, "Model", 128)),
        sockets: count.or_else(|| summed("Count")),
        cores: sum("TotalCores").or_else(|| summed("CoreCount")),
        threads: sum("TotalThreads").or_else(|| summed("LogicalProcessorCount")),
    }
}

/// What all of them come to, if each is told and the sum is a number.
fn total(mut all: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    all.try_fold(0_i64, |sum, one| sum.checked_add(one?))
}

/// As kernels call it.
fn architecture(cpu: &Value) -> Option<String> {
    let told = short(cpu, "InstructionSet", 32);
    Some(match told.as_deref() {
        Some("ARM-A64") => "aarch64".to_owned(),
        Some("x86-64") => "x86_64".to_owned(),
        Some(other) => other.to_owned(),
        None => short(cpu, "ProcessorArchitecture", 32)?,
    })
}

pub(super) async fn memory(walk: &mut Walk<'_>, system: &System) -> Option<MemoryFacts> {
    let listed = walk
        .members("memory", &system.document, "Memory", MOST_MODULES)
        .await;
    let facts = modules(&system.document, &listed.unwrap_or_default());
    (facts != MemoryFacts::default()).then_some(facts)
}

fn modules(system: &Value, listed: &Listed) -> MemoryFacts {
    let modules: Vec<MemoryModule> = listed
        .documents
        .iter()
        .map(|(_, one)| module(one))
        .collect();
    let sum = total(modules.iter().map(|module| module.size_bytes));
    let sum = sum.filter(|_| !modules.is_empty() && listed.wanting() == 0);
    let summary = system.get("MemorySummary");
    let told = summary.and_then(|summary| decimal(summary, "TotalSystemMemoryGiB"));
    MemoryFacts {
        total_bytes: told.and_then(gibibytes).or(sum),
        usable_bytes: None,
        modules,
        omitted: listed.wanting(),
    }
}

fn gibibytes(gib: f64) -> Option<i64> {
    /// Far more than a machine has, and far less than does not fit.
    const MOST: f64 = 1_048_576.0;
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let bytes = (gib * 1_073_741_824.0) as i64;
    (gib > 0.0 && gib < MOST).then_some(bytes)
}

fn module(one: &Value) -> MemoryModule {
    let state = one.get("Status").and_then(|status| text(status, "State"));
    let size = number(one, "CapacityMiB").and_then(|mib| mib.checked_mul(1 << 20));
    MemoryModule {
        locator: ["DeviceLocator", "Id", "Name"]
            .iter()
            .find_map(|key| short(one, key, 64)),
        size_bytes: if state.as_deref() == Some("Absent") {
            Some(0)
        } else {
            size
        },
        kind: short(one, "MemoryDeviceType", 32),
        speed_mts: number(one, "OperatingSpeedMhz"),
        serial_number: serial_number(one),
        part_number: meaningful(one, "PartNumber"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(documents: &[Value], omitted: i64) -> Listed {
        let named = |(index, one): (usize, &Value)| (format!("/{index}"), one.clone().into());
        Listed {
            documents: documents.iter().enumerate().map(named).collect(),
            omitted,
            dead: 0,
        }
    }

    #[test]
    fn processors_are_summed_and_accelerators_are_not_counted() {
        let one = json!({"ProcessorType": "CPU", "TotalCores": 32, "TotalThreads": "64",
            "InstructionSet": "x86-64", "Model": "Example"});
        let gpu = json!({"ProcessorType": "GPU", "TotalCores": 9999});
        let facts = processors(&json!({}), &listed(&[gpu, one.clone(), one.clone()], 0));
        let wanted = CpuFacts {
            architecture: Some("x86_64".to_owned()),
            model: Some("Example".to_owned()),
            sockets: Some(2),
            cores: Some(64),
            threads: Some(128),
        };
        assert_eq!(facts, wanted);
        // One could not be read: its cores are missing in a sum.
        let summary = json!({"ProcessorSummary": {"Count": 2, "CoreCount": 64}});
        let facts = processors(&summary, &listed(&[one], 1));
        assert_eq!(
            (facts.sockets, facts.cores, facts.threads),
            (Some(2), Some(64), None)
        );
        assert_eq!(
            processors(&json!({"ProcessorSummary": [1]}), &Listed::default()),
            CpuFacts::default()
        );
    }

    #[test]
    fn memory_is_what_the_summary_says_else_what_its_modules_are() {
        let one = json!({"Id": "DIMM0", "CapacityMiB": 16384, "SerialNumber": "NO DIMM",
            "MemoryDeviceType": "DDR5", "OperatingSpeedMhz": 4800});
        let empty = json!({"Id": "DIMM1", "CapacityMiB": null, "Status": {"State": "Absent"}});
        let facts = modules(&json!({}), &listed(&[one.clone(), empty], 0));
        assert_eq!(facts.total_bytes, Some(16 << 30));
        assert_eq!(facts.modules[1].size_bytes, Some(0));
        let summary = json!({"MemorySummary": {"TotalSystemMemoryGiB": 15.5}});
        assert_eq!(
            modules(&summary, &listed(&[one], 0)).total_bytes,
            Some(31 << 29)
        );
        let absurd = json!({"MemorySummary": {"TotalSystemMemoryGiB": 1e300}});
        assert_eq!(modules(&absurd, &Listed::default()).total_bytes, None);
    }
}
