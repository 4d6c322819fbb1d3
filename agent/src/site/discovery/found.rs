//! The report about a BMC that was found. Pure.
//!
//! It is written on change only, so every stamp keeps its old value while nothing but time has
//! moved on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::{FoundBmc, FoundEndpoint, FoundTrust, Reachability, Vantage};
use lockstep_redfish::{ExploredSystem, SpkiPin};

use crate::config::FirstTrust;
use crate::site::discovery::failure::clipped;
use crate::site::discovery::identity;
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
    let trust = proof(target, pin, known);
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

/// What its BMC proves itself by. One that was found by its key goes by that also in a range where
/// nothing is verified, and so does one that left an address at which it had a certificate: else it
/// would be anybody's from then on.
fn proof(target: &Target, pin: Option<&SpkiPin>, known: Option<&DpuReportSpec>) -> FoundTrust {
    let before = known.and_then(|known| known.found.as_ref());
    let has_more = before.is_some_and(|found| match &found.endpoint.trust {
        FoundTrust::PinnedKey => true,
        FoundTrust::Ca | FoundTrust::Unrecognized(_) => found.endpoint.address != target.key,
        FoundTrust::NoVerification | FoundTrust::PlainHttp => false,
    });
    match target.access.trust {
        FirstTrust::Ca => FoundTrust::Ca,
        FirstTrust::PinFirstSeen => FoundTrust::PinnedKey,
        FirstTrust::NoVerification if has_more && pin.is_some() => FoundTrust::PinnedKey,
        FirstTrust::NoVerification => FoundTrust::NoVerification,
        FirstTrust::PlainHttp => FoundTrust::PlainHttp,
    }
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

/// Whether an endpoint that showed this key lacks what the machine's BMC proved itself by. At its
/// own address it may have a certificate in place of that, if the range asks for one by now.
pub(super) fn lacks_proof(spec: &DpuReportSpec, target: &Target, pin: Option<&str>) -> bool {
    let Some(endpoint) = spec.found.as_ref().map(|found| &found.endpoint) else {
        return false;
    };
    let access = &target.access;
    let is_its_own = endpoint.address == target.key;
    let has_certificate = access.trust == FirstTrust::Ca;
    match endpoint.trust {
        FoundTrust::PinnedKey => !(is_same_key(spec, pin) || is_its_own && has_certificate),
        FoundTrust::Ca => {
            let is_same_bundle = has_certificate && endpoint.ca_config_map == access.ca;
            !(is_its_own || is_same_bundle || is_same_key(spec, pin))
        }
        FoundTrust::NoVerification | FoundTrust::PlainHttp => false,
        FoundTrust::Unrecognized(_) => !is_its_own,
    }
}

/// The key by which the machine's BMC is known, if it is by any.
pub(super) fn key(spec: &DpuReportSpec) -> Option<&str> {
    let endpoint = &spec.found.as_ref()?.endpoint;
    match endpoint.trust {
        FoundTrust::PinnedKey => endpoint.pinned_key_sha256.as_deref(),
        FoundTrust::Ca => endpoint.shown_key_sha256.as_deref(),
        FoundTrust::NoVerification | FoundTrust::PlainHttp | FoundTrust::Unrecognized(_) => None,
    }
}

/// Whether that is it.
pub(super) fn is_same_key(spec: &DpuReportSpec, pin: Option<&str>) -> bool {
    pin.is_some() && pin == key(spec)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::discovery::territory::Territory;

    fn found(trust: &str, ca: Option<&str>, pinned: Option<&str>) -> DpuReportSpec {
        let endpoint = serde_json::json!({
            "address": "https://10.0.0.1", "credentials": "c", "trust": trust,
            "caConfigMap": ca, "pinnedKeySha256": pinned, "shownKeySha256": "first",
        });
        let at = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut spec = DpuReportSpec::new(Vantage::FoundBmc, "f", "0", at);
        let found = serde_json::json!({
            "site": "s", "role": "Card", "recognisedBy": "x", "sources": [], "endpoint": endpoint,
        });
        spec.found = Some(serde_json::from_value(found).unwrap());
        spec
    }

    /// The endpoint at one of two addresses, in a range of such trust.
    fn target(is_its_own: bool, trust: &str) -> Target {
        let host = if is_its_own { "10.0.0.1" } else { "10.0.0.2" };
        let (scheme, tls) = match trust {
            "ours" | "theirs" => (
                "https",
                format!("{{trust: Ca, caConfigMapRef: {{name: {trust}}}}}"),
            ),
            "PlainHttp" => ("http", "{trust: PlainHttp}".to_owned()),
            other => ("https", format!("{{trust: {other}}}")),
        };
        let key = format!("{scheme}://{host}");
        let section = serde_yaml::from_str(&format!(
            "ranges: [{{addresses: ['{key}'], credentialsRef: {{name: c}}, tls: {tls}}}]"
        ))
        .unwrap();
        let territory = Territory::new(&section).unwrap();
        let mut named = territory.named(&[], jiff::Timestamp::UNIX_EPOCH);
        named.targets.remove(&key).unwrap()
    }

    #[test]
    fn who_proves_less_than_a_machine_did_lacks_its_proof() {
        let (first, other) = (Some("first"), Some("other"));
        let pinned = found("PinnedKey", None, first);
        let certified = found("Ca", Some("ours"), None);
        let unproved = found("NoVerification", None, None);
        for (spec, is_its_own, trust, shown, lacks) in [
            (&pinned, false, "PinFirstSeen", first, false),
            (&pinned, false, "NoVerification", first, false),
            (&pinned, false, "NoVerification", other, true),
            (&pinned, false, "PlainHttp", None, true),
            (&pinned, false, "ours", other, true),
            (&pinned, true, "ours", other, false),
            (&pinned, true, "NoVerification", other, true),
            (&certified, false, "ours", other, false),
            (&certified, false, "theirs", other, true),
            (&certified, false, "PinFirstSeen", first, false),
            (&certified, false, "NoVerification", other, true),
            (&certified, true, "theirs", other, false),
            (&unproved, false, "PlainHttp", None, false),
            (&unproved, false, "NoVerification", other, false),
        ] {
            let told = lacks_proof(spec, &target(is_its_own, trust), shown);
            assert_eq!(told, lacks, "{spec:?} {is_its_own} {trust} {shown:?}");
        }
    }

    #[test]
    fn a_machine_that_was_found_by_its_key_stays_so_where_nothing_is_verified() {
        let pin = SpkiPin::of(b"first");
        let certified = found("Ca", Some("ours"), None);
        for (known, is_its_own, trust, told) in [
            (
                Some(found("PinnedKey", None, None)),
                true,
                "NoVerification",
                "PinnedKey",
            ),
            (Some(found("PinnedKey", None, None)), true, "ours", "Ca"),
            (
                Some(certified.clone()),
                false,
                "NoVerification",
                "PinnedKey",
            ),
            (Some(certified), true, "NoVerification", "NoVerification"),
            (
                Some(found("NoVerification", None, None)),
                false,
                "PinFirstSeen",
                "PinnedKey",
            ),
            (None, false, "NoVerification", "NoVerification"),
        ] {
            let proved = proof(&target(is_its_own, trust), Some(&pin), known.as_ref());
            assert_eq!(serde_json::json!(proved), told, "{known:?} {trust}");
        }
    }
}
