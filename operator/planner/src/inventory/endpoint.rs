//! BMC endpoints: as a spec names them, as they were found, and from the one to the other.

use std::collections::BTreeMap;

use lockstep_crds::bmc::place;
use lockstep_crds::report::{FoundEndpoint, FoundTrust};
use lockstep_crds::{BmcEndpoint, BmcTls, DpuReportSpec, LocalRef, TlsTrust};

use super::keys::Key;

/// The paths of the systems that were found behind each address.
pub(super) type Paths = BTreeMap<String, Vec<String>>;

/// Of what is found now.
pub(super) fn paths(reports: &BTreeMap<&str, &DpuReportSpec>) -> Paths {
    let mut paths = Paths::new();
    let found = reports.values().filter_map(|spec| spec.found.as_ref());
    for found in found.filter(|found| found.missing_since.is_none()) {
        paths
            .entry(place(&found.endpoint.address))
            .or_default()
            .push(path(found.endpoint.system_path.as_deref()));
    }
    paths
}

/// As `BmcEndpoint.systemPath` asks for.
fn is_path_of_system(path: &str) -> bool {
    let name = path.strip_prefix("/redfish/v1/Systems/");
    let is_named = name.is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    is_named && path.chars().count() <= 255
}

fn path(system_path: Option<&str>) -> String {
    system_path
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_owned()
}

/// A spec without a path means the only system that was found behind the address.
pub(super) fn key_of_spec(bmc: &BmcEndpoint, paths: &Paths) -> Option<Key> {
    let only = paths
        .get(&place(&bmc.address))
        .filter(|paths| paths.len() == 1)
        .and_then(|paths| paths.first());
    let wanted = match (&bmc.system_path, only) {
        // One that serves a single system is found without its path.
        (Some(_), Some(only)) if only.is_empty() => only.clone(),
        (Some(wanted), Some(_) | None) => path(Some(wanted)),
        (None, Some(only)) => only.clone(),
        (None, None) => String::new(),
    };
    Key::endpoint(&bmc.address, &wanted)
}

pub(super) fn key_of_found(endpoint: &FoundEndpoint) -> Option<Key> {
    Key::endpoint(&endpoint.address, &path(endpoint.system_path.as_deref()))
}

/// What `spec.bmc` says for an endpoint that was found.
///
/// # Errors
///
/// In words, what of it no spec can say.
pub(super) fn to_spec(found: &FoundEndpoint) -> Result<BmcEndpoint, String> {
    let reference = |name: &str| LocalRef {
        name: name.to_owned(),
    };
    let plain = found.address.starts_with("http://");
    let (trust, bundle, pin) = match &found.trust {
        FoundTrust::Ca => {
            let bundle = found.ca_config_map.as_deref();
            let bundle = bundle.ok_or("trust Ca without a bundle")?;
            (TlsTrust::Ca, Some(reference(bundle)), None)
        }
        FoundTrust::PinnedKey => {
            let pin = found.pinned_key_sha256.clone();
            let pin = pin.ok_or("trust PinnedKey without a key")?;
            (TlsTrust::PinnedKey, None, Some(pin))
        }
        FoundTrust::NoVerification => (TlsTrust::NoVerification, None, None),
        FoundTrust::PlainHttp => (TlsTrust::PlainHttp, None, None),
        FoundTrust::Unrecognized(trust) => {
            return Err(format!("a trust that this release does not know: {trust}"));
        }
    };
    if plain != (trust == TlsTrust::PlainHttp) {
        return Err("an address whose scheme contradicts its trust".to_owned());
    }
    if found.credentials.is_empty() {
        return Err("no Secret with credentials".to_owned());
    }
    if let Some(path) = &found.system_path
        && !is_path_of_system(path)
    {
        return Err(format!("a path that no spec can name: {path}"));
    }
    Ok(BmcEndpoint {
        address: found.address.trim_end_matches('/').to_owned(),
        system_path: found.system_path.clone(),
        credentials_ref: reference(&found.credentials),
        tls: BmcTls {
            trust,
            ca_config_map_ref: bundle,
            pinned_key_sha256: pin,
        },
    })
}
