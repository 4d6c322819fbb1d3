//! Ids of BMCs that were found, which what was proposed for them has as its label: so it stays
//! theirs when they answer elsewhere, also where their identity is contested.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::DpuReportSpec;

use super::endpoint;
use super::keys::Key;
use super::naming::label;
use super::proposed::proposed_id;

/// Every BMC that was found, by its id, and where it answers now.
pub(super) struct Found(BTreeMap<String, Option<Key>>);

/// The key of a BMC that was found.
pub(super) fn of_report(spec: &DpuReportSpec) -> Option<Key> {
    spec.found.as_ref()?;
    label(&spec.subject).map(Key::Found)
}

impl Found {
    pub(super) fn of(reports: &BTreeMap<&str, &DpuReportSpec>) -> Self {
        let found = reports.values().filter_map(|spec| {
            let found = spec.found.as_ref()?;
            let now = found.missing_since.is_none();
            let place = now.then(|| endpoint::key_of_found(&found.endpoint));
            Some((label(&spec.subject)?, place.flatten()))
        });
        Self(found.collect())
    }

    /// The key of the BMC that an object was proposed for.
    pub(super) fn key(&self, object: &ObjectMeta) -> Option<Key> {
        let id = proposed_id(object)?;
        self.0.contains_key(id).then(|| Key::Found(id.to_owned()))
    }

    /// Where that one answers now.
    pub(super) fn place(&self, object: &ObjectMeta) -> Option<Key> {
        self.0.get(proposed_id(object)?)?.clone()
    }
}
