//! What the BMC of a machine proved itself by, and who proves as much. Pure.

use lockstep_crds::report::FoundTrust;
use lockstep_crds::{DpuReportSpec, MachineIdentity};
use lockstep_redfish::SpkiPin;

use crate::config::FirstTrust;
use crate::site::discovery::found;
use crate::site::discovery::territory::Target;

/// What its BMC proves itself by. One that was found by its key goes by that also in a range where
/// nothing is verified, and so does one that left an address at which it had a certificate: else it
/// would be anybody's from then on.
pub(super) fn of(
    target: &Target,
    pin: Option<&SpkiPin>,
    known: Option<&DpuReportSpec>,
) -> FoundTrust {
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

/// Whether an endpoint that showed this key lacks what the machine's BMC proved itself by. At its
/// own address it may have a certificate in place of that, if the range asks for one by now.
pub(super) fn is_lacked(spec: &DpuReportSpec, target: &Target, pin: Option<&str>) -> bool {
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
fn is_same_key(spec: &DpuReportSpec, pin: Option<&str>) -> bool {
    pin.is_some() && pin == key(spec)
}

/// Whether an endpoint that showed this key and this machine is the BMC at another address. Makers
/// leave one key in many BMCs, and one UUID in many boards, so nothing that both tell may differ.
pub(super) fn is_same_bmc(
    spec: &DpuReportSpec,
    pin: Option<&str>,
    shown: Option<&MachineIdentity>,
) -> bool {
    let differ = |one: &Option<String>, other: &Option<String>| matches!((one, other), (Some(one), Some(other)) if one != other);
    let is_another = spec
        .machine
        .as_ref()
        .zip(shown)
        .is_some_and(|(one, other)| {
            differ(&one.system_uuid, &other.system_uuid)
                || differ(&one.serial_number, &other.serial_number)
        });
    pin.is_some() && pin == found::shown_key(spec) && !is_another
}

/// Whether an endpoint in a range of that trust proves more than the one with the report did.
pub(super) fn proves_more(spec: &DpuReportSpec, target: &Target) -> bool {
    let is_proved = match target.access.trust {
        FirstTrust::Ca | FirstTrust::PinFirstSeen => true,
        FirstTrust::NoVerification | FirstTrust::PlainHttp => false,
    };
    let found = spec.found.as_ref();
    is_proved
        && found.is_some_and(|found| match found.endpoint.trust {
            FoundTrust::NoVerification | FoundTrust::PlainHttp => true,
            FoundTrust::PinnedKey | FoundTrust::Ca | FoundTrust::Unrecognized(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use lockstep_crds::report::Vantage;

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
            let told = is_lacked(spec, &target(is_its_own, trust), shown);
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
            let proved = of(&target(is_its_own, trust), Some(&pin), known.as_ref());
            assert_eq!(serde_json::json!(proved), told, "{known:?} {trust}");
        }
    }

    #[test]
    fn one_key_and_nothing_that_differs_is_one_bmc() {
        let mut spec = found("NoVerification", None, None);
        let identity = |uuid: &str, serial: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            MachineIdentity {
                system_uuid: some(uuid),
                serial_number: some(serial),
            }
        };
        spec.machine = Some(identity("u", "s"));
        for (pin, shown, is_same) in [
            ("first", identity("u", "s"), true),
            ("first", identity("u", ""), true),
            // Boards with one UUID and the key that their maker left in.
            ("first", identity("u", "other"), false),
            ("other", identity("u", "s"), false),
        ] {
            let told = is_same_bmc(&spec, Some(pin), Some(&shown));
            assert_eq!(told, is_same, "{pin} {shown:?}");
        }
        assert!(!is_same_bmc(&spec, None, None));
    }

    #[test]
    fn only_what_was_found_without_proof_can_be_proved_more_of() {
        for (known, trust, is_more) in [
            ("NoVerification", "PinFirstSeen", true),
            ("NoVerification", "ours", true),
            ("NoVerification", "NoVerification", false),
            ("PlainHttp", "PinFirstSeen", true),
            ("PinnedKey", "ours", false),
            ("Ca", "PinFirstSeen", false),
        ] {
            let told = proves_more(&found(known, None, None), &target(false, trust));
            assert_eq!(told, is_more, "{known} {trust}");
        }
    }
}
