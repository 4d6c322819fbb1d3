//! Reports of the search as the API server holds them, compared with what was written.
//!
//! Somebody may delete one, and a backup may bring back an older one. What was written once is no
//! proof that it stands, so from time to time names and versions are listed.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use lockstep_crds::DpuReport;
use tokio::time::Instant;

use crate::kube_client::{REQUEST_DEADLINE, said};

/// Reports as they were listed.
#[derive(Debug)]
pub(super) struct Held {
    /// When the list was begun.
    pub(super) begun: Instant,
    /// The resourceVersions, by name.
    pub(super) versions: BTreeMap<String, String>,
}

/// All reports of a namespace, out of the API server's cache: it may be older than what was read
/// or written last, so a report that it lacks may exist.
///
/// # Errors
/// It does not answer, or refuses; then nothing is known.
pub(super) async fn list(client: &Client, namespace: &str) -> Result<Held, String> {
    let begun = Instant::now();
    let api: Api<DpuReport> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().match_any();
    let listed = tokio::time::timeout(REQUEST_DEADLINE, api.list_metadata(&params)).await;
    let listed = match listed {
        Ok(Ok(listed)) => listed,
        Ok(Err(error)) => return Err(said(&error)),
        Err(_) => return Err("no answer in time".to_owned()),
    };
    let versions = listed.items.into_iter().map(|report| {
        let version = report.resource_version().unwrap_or_default();
        (report.name_any(), version)
    });
    Ok(Held {
        begun,
        versions: versions.collect(),
    })
}
