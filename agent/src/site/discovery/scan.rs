//! The report about the search itself. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::{FailedEndpoint, ScanReport, Vantage};

use crate::site::discovery::book::{Book, Outcome};
use crate::site::discovery::failure::clipped;
use crate::site::discovery::leases::Known;
use crate::site::worker::keep_time;

/// Endpoints that one report tells of.
const MOST_FAILED: usize = 1024;

/// Lines and addresses of a lease file that are named.
const MOST_NAMED: usize = 3;

/// The report. A failure for the same reason keeps its words: they are no news.
pub(super) fn report(
    site: &str,
    book: &Book,
    silent: usize,
    files: Vec<FailedEndpoint>,
    known: Option<&DpuReportSpec>,
    at: &Time,
) -> DpuReportSpec {
    let before = known.and_then(|known| known.scan.as_ref());
    let told: BTreeMap<(&str, &str), &FailedEndpoint> = before
        .iter()
        .flat_map(|scan| &scan.failed)
        .map(|failed| ((failed.address.as_str(), failed.reason.as_str()), failed))
        .collect();
    let mut identified = 0_i64;
    let mut failed = files;
    for (key, target, outcome) in book.outcomes() {
        match outcome {
            Outcome::NotYet => {}
            Outcome::Identified => identified += 1,
            Outcome::Failed(failure) => failed.push(FailedEndpoint {
                address: clipped(key, 255),
                source: clipped(target.sources.first().map_or("", String::as_str), 64),
                reason: failure.reason.to_owned(),
                message: failure.message.clone(),
            }),
        }
    }
    for one in &mut failed {
        if let Some(before) = told.get(&(one.address.as_str(), one.reason.as_str())) {
            one.message.clone_from(&before.message);
        }
    }
    let omitted = failed.len().saturating_sub(MOST_FAILED);
    failed.truncate(MOST_FAILED);
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let version = env!("CARGO_PKG_VERSION");
    let mut spec = DpuReportSpec::new(Vantage::Scan, site, version, at.clone());
    spec.scan = Some(ScanReport {
        identified,
        silent: count(silent),
        failed,
        omitted: count(omitted),
    });
    keep_time(spec, known)
}

/// What is wrong with lease files. `outside` counts, by file, the leased addresses that no
/// network has a way in to.
pub(super) fn files(known: &[Known], outside: &[Vec<std::net::IpAddr>]) -> Vec<FailedEndpoint> {
    let mut failed = Vec::new();
    for (at, file) in known.iter().enumerate() {
        let address = clipped(&format!("file://{}", file.path.display()), 255);
        let mut tell = |reason: &str, message: String| {
            failed.push(FailedEndpoint {
                address: address.clone(),
                source: "lease".to_owned(),
                reason: reason.to_owned(),
                message: clipped(&message, 256),
            });
        };
        if let Some(why) = &file.unreadable {
            tell(
                "LeaseFileUnreadable",
                format!(
                    "{why}; mount the folder of the lease file into the agent's Pod, or correct leases[].file"
                ),
            );
        }
        if !file.leases.malformed.is_empty() {
            let count = file.leases.malformed.len();
            let first = file.leases.malformed.iter().take(MOST_NAMED);
            let lines: Vec<String> = first
                .map(|(line, why)| format!("line {line}: {why}"))
                .collect();
            tell(
                "LeaseFileMalformed",
                format!(
                    "{count} lines are no leases ({}); check that this is the lease file of a dnsmasq",
                    lines.join("; ")
                ),
            );
        }
        if let Some(addresses) = outside.get(at).filter(|list| !list.is_empty()) {
            let first = addresses.iter().take(MOST_NAMED);
            let named: Vec<String> = first.map(ToString::to_string).collect();
            tell(
                "LeaseOutsideNetworks",
                format!(
                    "{} leased addresses lie in no network that has credentials here ({}) and are not looked at; if they are BMCs, add their network",
                    addresses.len(),
                    named.join(", ")
                ),
            );
        }
    }
    failed
}
