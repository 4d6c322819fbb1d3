//! The mark of a proposal: how the operator knows what it wrote itself.
//!
//! It is the digest of what was written, and the generation that this made the object. A person
//! who changes anything differs in the digest, also where the object was made anew from a backup,
//! which counts from 1 again; one who changed it and changed it back differs in the generation,
//! until the operator takes the mark away from what is theirs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::{DISCOVERED_ADDRESS, Dpu, DpuHost, PROPOSED_LABEL, PROPOSED_SPEC};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::proposed::{annotation, name, proposed_id, uid};
use super::{FAMILY_LABEL, SiteView, Subject, TakenUp, VENDOR_LABEL};

/// Labels of a proposal that are the operator's.
const LABELS: [&str; 3] = [PROPOSED_LABEL, VENDOR_LABEL, FAMILY_LABEL];

/// An object that discovery may have proposed.
pub(super) trait Proposable {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;

    /// What its spec says beyond what every spec of its kind says by default.
    fn said(&self) -> Result<Value, serde_json::Error>;
}

impl Proposable for Dpu {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn said(&self) -> Result<Value, serde_json::Error> {
        beyond_defaults(&self.spec, json!({"hostRefs": []}))
    }
}

impl Proposable for DpuHost {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn said(&self) -> Result<Value, serde_json::Error> {
        beyond_defaults(&self.spec, json!({"policyRef": {"name": ""}}))
    }
}

/// The fields that are not as they are in a spec that says the least. So a field that a later
/// version adds makes no proposal somebody else's.
fn beyond_defaults<S: Serialize + DeserializeOwned>(
    spec: &S,
    least: Value,
) -> Result<Value, serde_json::Error> {
    let default = serde_json::to_value(serde_json::from_value::<S>(least)?)?;
    let mut said = serde_json::to_value(spec)?;
    if let Some(fields) = said.as_object_mut() {
        fields.retain(|field, value| default.get(field) != Some(value));
    }
    Ok(said)
}

/// `None` for what cannot be written down, which is nobody's proposal.
fn digest(object: &impl Proposable) -> Option<String> {
    let labels: BTreeMap<&str, &str> = LABELS
        .iter()
        .filter_map(|label| {
            let labels = object.metadata().labels.as_ref()?;
            Some((*label, labels.get(*label)?.as_str()))
        })
        .collect();
    let mut written = json!({"labels": labels, "spec": object.said().ok()?});
    // However this program is built.
    written.sort_all_objects();
    Some(hex::encode(Sha256::digest(written.to_string())))
}

fn mark(object: &impl Proposable, generation: i64) -> Option<String> {
    Some(format!("{generation}:{}", digest(object)?))
}

/// The mark of an object that is about to be created.
pub(super) fn of_new(object: &impl Proposable) -> Option<String> {
    mark(object, 1)
}

/// The mark of an object that is about to be written, given as it will be: the write goes through
/// only on the object as it was seen, and changes its spec.
pub(super) fn of_changed(object: &impl Proposable) -> Option<String> {
    mark(object, generation(object.metadata()) + 1)
}

/// Only objects that no API server has seen have none.
fn generation(metadata: &ObjectMeta) -> i64 {
    metadata.generation.unwrap_or(1)
}

/// Whether nobody but the operator has written the spec and the operator's labels. A person who
/// changes anything of it, approval included, makes it theirs for good: what the operator writes
/// into it later, such as another address, does not undo that.
pub(super) fn is_as_written(object: &impl Proposable) -> bool {
    let metadata = object.metadata();
    let mark = annotation(metadata, PROPOSED_SPEC);
    let Some((marked, written)) = mark.and_then(|mark| mark.split_once(':')) else {
        return false;
    };
    let now = generation(metadata);
    // Of generation 1 is also what somebody has made anew, from a backup, as it was written.
    (now == 1 || marked == now.to_string()) && digest(object).is_some_and(|is| is == written)
}

/// Whether nobody has put a label or an annotation on it besides the operator's.
pub(super) fn has_no_others(metadata: &ObjectMeta) -> bool {
    let annotations = [DISCOVERED_ADDRESS, PROPOSED_SPEC];
    let only = |all: &Option<BTreeMap<String, String>>, ours: &[&str]| {
        let mut keys = all.iter().flat_map(BTreeMap::keys);
        keys.all(|key| ours.contains(&key.as_str()))
    };
    only(&metadata.labels, &LABELS) && only(&metadata.annotations, &annotations)
}

/// Proposals that a person has changed and that have the mark still.
pub(super) fn taken_up(view: &SiteView<'_>) -> Vec<TakenUp> {
    let cards = view
        .cards
        .iter()
        .filter_map(|card| taken(Subject::Card, *card));
    let hosts = view
        .hosts
        .iter()
        .filter_map(|host| taken(Subject::Host, *host));
    cards.chain(hosts).collect()
}

fn taken(subject: Subject, object: &impl Proposable) -> Option<TakenUp> {
    let metadata = object.metadata();
    let is_marked = proposed_id(metadata).is_some()
        && metadata.deletion_timestamp.is_none()
        && annotation(metadata, PROPOSED_SPEC).is_some();
    (is_marked && !is_as_written(object)).then(|| TakenUp {
        subject,
        name: name(metadata).to_owned(),
        uid: uid(metadata).to_owned(),
    })
}
