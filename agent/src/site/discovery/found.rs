//! The report about a BMC that was found. Pure.
//!
//! It is written on change only, so every stamp keeps its old value while nothing but time has
//! moved on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::{FoundBmc, FoundEndpoint, FoundTrust, Reachability, Vantage};
use lockstep_redfish::{ExploredSystem, SpkiPin};

use crate::site::discovery::failure::clipped;
use crate::site::discovery::identity;
use crate::site::discovery::proof;
use crate::site::discovery::territory::Target;

/// Contradictions in one inventory.
const MOST_CONTRADICTIONS: usize = 16;

/// Further addresses of one BMC that are told.
const MOST_ALIASES: usize = 4;

/// How a contradiction between endpoints begins.
const TWICE: &str = "IdentityTwice: ";

/// The report about a machine that was just read. `known` is what was told of it before; its
/// `observed_at` is the caller's to keep.
pub(super) fn report(
    site: &str,
    id: &str,
    target: &Target,
    pin: Option<&SpkiPin>,
    system: ExploredSystem,
    known: Option<&DpuReportSpec>,
    at: &Time,
) -> DpuReportSpec {
    let trust = proof::of(target, pin, known);
    let pinned = (trust == FoundTrust::PinnedKey).then_some(pin).flatten();
    let version = env!("CARGO_PKG_VERSION");
    let mut spec = DpuReportSpec::new(Vantage::FoundBmc, id, version, at.clone());
    spec.machine = identity::machine(&system.identity);
    spec.found = Some(FoundBmc {
        site: site.to_owned(),
        role: system.role,
        recognised_by: clipped(&system.recognised_by, 256),
        endpoint: FoundEndpoint {
            address: target.key.clone(),
            system_path: system.system_path,
            credentials: target.access.credentials.clone(),
            trust,
            ca_config_map: target.access.ca.clone(),
            pinned_key_sha256: pinned.map(ToString::to_string),
            shown_key_sha256: pin.map(ToString::to_string),
        },
        sources: sources(target),
        also_at: also_at(known, &target.key),
        missing_since: None,
    });
    spec.reachable = Some(reachable(known, at));
    let mut inventory = system.inventory;
    let before = known.and_then(|known| known.inventory.as_ref());
    if let (Some(now), Some(before)) = (
        inventory.capabilities.as_mut(),
        before.and_then(|before| before.capabilities.as_ref()),
    ) {
        let probed = std::mem::replace(&mut now.probed_at, before.probed_at.clone());
        if now != before {
            now.probed_at = probed;
        }
    }
    spec.inventory = Some(inventory);
    spec
}

/// Its other addresses as they were told before.
fn also_at(known: Option<&DpuReportSpec>, key: &str) -> Vec<String> {
    let found = known.and_then(|known| known.found.as_ref());
    let told = found.map(|found| found.also_at.clone()).unwrap_or_default();
    told.into_iter().filter(|other| other != key).collect()
}

/// Tells that the same BMC answers at another address, too; true if that is news.
pub(super) fn tell_alias(spec: &mut DpuReportSpec, key: &str) -> bool {
    let Some(found) = &mut spec.found else {
        return false;
    };
    let is_told = found.also_at.iter().any(|other| other == key);
    if is_told || found.also_at.len() >= MOST_ALIASES {
        return false;
    }
    found.also_at.push(key.to_owned());
    found.also_at.sort();
    true
}

/// Tells that another BMC answers at that address by now; true if that is news.
pub(super) fn end_alias(spec: &mut DpuReportSpec, key: &str) -> bool {
    let Some(found) = &mut spec.found else {
        return false;
    };
    let before = found.also_at.len();
    found.also_at.retain(|other| other != key);
    found.also_at.len() != before
}

/// The addresses at which a BMC was seen beside that of its report.
pub(super) fn aliases(spec: &DpuReportSpec) -> &[String] {
    spec.found.as_ref().map_or(&[], |found| &found.also_at)
}

fn sources(target: &Target) -> Vec<String> {
    let sources = target.sources.iter().take(4);
    sources.map(|source| clipped(source, 64)).collect()
}

/// It answers: since it did not, or for as long as it has.
fn reachable(known: Option<&DpuReportSpec>, at: &Time) -> Reachability {
    let before = known.and_then(|known| known.reachable.as_ref());
    Reachability {
        ok: true,
        since: before
            .filter(|before| before.ok)
            .map_or_else(|| at.clone(), |before| before.since.clone()),
        reason: None,
        message: None,
    }
}

/// The key that its endpoint was found with.
pub(super) fn pin(spec: &DpuReportSpec) -> Option<&str> {
    let found = spec.found.as_ref()?;
    found.endpoint.pinned_key_sha256.as_deref()
}

/// The key that its endpoint showed when it was read last.
pub(super) fn shown_key(spec: &DpuReportSpec) -> Option<&str> {
    let found = spec.found.as_ref()?;
    found.endpoint.shown_key_sha256.as_deref()
}

/// The Secret that its endpoint was logged in to with.
pub(super) fn credentials(spec: &DpuReportSpec) -> Option<&String> {
    let found = spec.found.as_ref()?;
    Some(&found.endpoint.credentials)
}

/// Makes the report say that the machine is there, and how it is looked at now; tells whether
/// that is news.
pub(super) fn is_back(spec: &mut DpuReportSpec, target: &Target, at: &Time) -> bool {
    let before = spec.clone();
    spec.reachable = Some(reachable(Some(&before), at));
    if let Some(found) = &mut spec.found {
        found.missing_since = None;
        found.sources = sources(target);
    }
    if *spec == before {
        return false;
    }
    spec.observed_at = at.clone();
    true
}

/// Tells of the other endpoints that show the same identity; true if that is news.
pub(super) fn tell_rivals(spec: &mut DpuReportSpec, holder: &str, rivals: &[&str]) -> bool {
    let told: Vec<String> = rivals
        .iter()
        .map(|rival| {
            let text = format!(
                "{TWICE}{holder} and {rival} both show this identity; correct the serial number or UUID of one"
            );
            clipped(&text, 256)
        })
        .collect();
    tell(spec, |line| line.starts_with(TWICE), told)
}

/// Tells that one BMC shows this machine twice; true if that is news.
pub(super) fn tell_paths(spec: &mut DpuReportSpec, paths: &[&String; 2]) -> bool {
    let [first, second] = paths;
    let text = clipped(&format!("{second} shows the same identity as {first}"), 256);
    let same = text.clone();
    tell(spec, |line| *line == same, vec![text])
}

fn tell(
    spec: &mut DpuReportSpec,
    is_replaced: impl Fn(&String) -> bool,
    told: Vec<String>,
) -> bool {
    let Some(inventory) = &mut spec.inventory else {
        return false;
    };
    let before = inventory.contradictions.clone();
    inventory.contradictions.retain(|line| !is_replaced(line));
    // Ours first: what does not fit is the BMC's own.
    inventory.contradictions.splice(0..0, told);
    inventory.contradictions.truncate(MOST_CONTRADICTIONS);
    inventory.contradictions != before
}
