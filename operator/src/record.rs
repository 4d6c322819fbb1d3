//! Carries a [`Plan`] out: protect, record, taint, conclude, tell, let go. In that order.
//!
//! The host's status is the record. It is written with the resourceVersion of
//! the very object that the plan was made from, so a directive is recorded at
//! most once, whoever else plans at the same time. Nothing is written that the
//! API server has already.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use lockstep_crds::{Dpu, FINALIZER};
use lockstep_planner::{Plan, View};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::key::Key;
use crate::merge_patch::difference;
use crate::writes::{Cause, Ours, WriteError, Writes};

/// A plan that could not be carried out, or only in part. What was written
/// stands; the rest is planned again.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A write did not go through.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An object is being deleted and was not protected, so nothing is begun for it.
    #[error(
        "{0} is being deleted, so it cannot be protected by a finalizer any more and nothing new \
         is begun. Create it again once it is gone"
    )]
    TooLate(String),
    /// The API server dropped part of a status.
    #[error(
        "the API server did not keep all of the status of {0}: its CRD is older than this operator. \
         Upgrade the CRDs (chart lockstep-crds) to the release of the operator"
    )]
    Pruned(String),
    /// A defect of this build.
    #[error("a status cannot be expressed in JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What has to happen to our finalizer on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Keep,
    Set(Vec<String>),
    TooLate,
}

/// What has to happen to `finalizers` so that ours is, or is not, among them.
fn finalizer_change(meta: &ObjectMeta, wanted: bool) -> Change {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let present = finalizers.iter().any(|name| name == FINALIZER);
    match (wanted, present) {
        (true, true) | (false, false) => Change::Keep,
        (true, false) if meta.deletion_timestamp.is_some() => Change::TooLate,
        (true, false) => {
            finalizers.push(FINALIZER.to_owned());
            Change::Set(finalizers)
        }
        (false, true) => {
            finalizers.retain(|name| name != FINALIZER);
            Change::Set(finalizers)
        }
    }
}

/// Whether writing this plan's host status records a directive.
pub fn records(view: &View, plan: &Plan) -> bool {
    let last = view.host.status.as_ref().map_or(0, |status| status.seq);
    plan.host_status
        .directives
        .iter()
        .any(|directive| directive.seq > last)
}

/// Does what `plan` says about the objects that `view` was made from.
///
/// # Errors
/// If a write did not go through. Nothing of a later stage was begun then,
/// except that one card's status does not wait for another's.
pub async fn carry_out(writes: &Writes, view: &View, plan: &Plan) -> Result<(), RecordError> {
    let recording = records(view, plan);
    let mut host = view.host.clone();
    let mut cards: BTreeMap<String, Dpu> = view
        .cards
        .iter()
        .map(|card| (card.name(), card.dpu.clone()))
        .collect();

    if plan.finalizers.host {
        host = protect(writes, host, recording).await?;
    }
    for name in &plan.finalizers.cards {
        if let Some(card) = cards.remove(name) {
            cards.insert(name.clone(), protect(writes, card, recording).await?);
        }
    }
    // A `Start` that the policy's mode only shows makes no identities.
    for name in plan.service_accounts.iter().filter(|_| recording) {
        if let Some(card) = cards.get(name) {
            writes.account(card).await?;
        }
    }
    // A host without a status is one of which nothing has been said.
    let said = host.status.clone().unwrap_or_default();
    let news = status_difference(Some(&said), &plan.host_status)?.is_some();
    // Only what differs is sent: fields of a newer release stay as they are, but for those
    // inside a list that differs, which is replaced.
    let change = status_difference(host.status.as_ref(), &plan.host_status)?;
    if let Some(change) = change.filter(|_| news) {
        let cause = if recording {
            Cause::Record
        } else {
            Cause::Conclude
        };
        host = writes.patch_status(&host, &change, cause).await?;
        kept(&host, &plan.host_status)?;
    }
    // A record that was not written is not proved by a write to be the newest.
    let follows = !plan.taints.is_empty() || !plan.withdrawn_accounts.is_empty();
    if follows && host.resource_version() == view.host.resource_version() {
        writes.still(&host).await?;
    }
    // Nodes follow the record, and what is taken back is taken back before its host is let go.
    for change in &plan.taints {
        writes.taint(&view.host_uid(), change).await?;
    }
    // Before the status that says that it was done.
    for name in &plan.withdrawn_accounts {
        if let Some(card) = cards.get(name) {
            writes.withdraw_account(card).await?;
        }
    }
    conclude_cards(writes, plan, &mut cards).await?;
    for transition in &plan.events {
        let about = match &transition.card {
            Some(name) => cards.get(name).map(|card| card.object_ref(&())),
            None => Some(host.object_ref(&())),
        };
        if let Some(about) = about {
            writes.event(&about, transition).await;
        }
    }
    for (name, card) in &cards {
        if !plan.finalizers.cards.contains(name) {
            let_go(writes, card).await?;
        }
    }
    if !plan.finalizers.host {
        let_go(writes, &host).await?;
    }
    Ok(())
}

/// Writes each card's status that differs; the first failure is told at the end.
async fn conclude_cards(
    writes: &Writes,
    plan: &Plan,
    cards: &mut BTreeMap<String, Dpu>,
) -> Result<(), RecordError> {
    let mut failed = None;
    for (name, status) in &plan.cards {
        let Some(card) = cards.get_mut(name) else {
            continue;
        };
        match write_status(writes, card, status).await {
            Ok(Some(after)) => *card = after,
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Writes a status if it differs from the current one; returns the object as written.
///
/// # Errors
/// If the write did not go through, or not all of it was kept.
pub async fn write_status<K>(
    writes: &Writes,
    object: &K,
    wanted: &K::Status,
) -> Result<Option<K>, RecordError>
where
    K: Ours + HasStatus<Status: Serialize>,
{
    let Some(change) = status_difference(object.status(), wanted)? else {
        return Ok(None);
    };
    let after = writes
        .patch_status(object, &change, Cause::Conclude)
        .await?;
    kept(&after, wanted)?;
    Ok(Some(after))
}

/// Refuses to go on with an API server that knows less of the status than we do:
/// it would be written again and again, and directives would lose their conditions.
fn kept<K>(after: &K, wanted: &K::Status) -> Result<(), RecordError>
where
    K: Ours + HasStatus<Status: Serialize>,
{
    match status_difference(after.status(), wanted)? {
        None => Ok(()),
        Some(_) => Err(RecordError::Pruned(format!(
            "{} {}",
            K::kind(&()),
            Key::of(after)
        ))),
    }
}

/// Compared as JSON: in memory, times are finer than on the wire.
fn status_difference<S: Serialize>(
    current: Option<&S>,
    wanted: &S,
) -> Result<Option<Value>, RecordError> {
    let current = match current {
        Some(current) => serde_json::to_value(current)?,
        None => Value::Object(serde_json::Map::new()),
    };
    Ok(difference(&current, &serde_json::to_value(wanted)?))
}

async fn protect<K: Ours>(writes: &Writes, object: K, recording: bool) -> Result<K, RecordError> {
    match finalizer_change(object.meta(), true) {
        Change::Keep => Ok(object),
        Change::Set(finalizers) => Ok(writes.finalizers(&object, &finalizers).await?),
        Change::TooLate if recording => Err(RecordError::TooLate(format!(
            "{} {}",
            K::kind(&()),
            object.name_any()
        ))),
        Change::TooLate => Ok(object),
    }
}

/// Removes our finalizer from an object, if it is there.
///
/// # Errors
/// If the write did not go through. An object that is gone is no failure.
pub async fn let_go<K: Ours>(writes: &Writes, object: &K) -> Result<(), RecordError> {
    match finalizer_change(object.meta(), false) {
        Change::Keep | Change::TooLate => Ok(()),
        Change::Set(finalizers) => match writes.finalizers(object, &finalizers).await {
            Ok(_) | Err(WriteError::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(finalizers: &[&str], deleting: bool) -> ObjectMeta {
        ObjectMeta {
            finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn finalizers_come_and_go_beside_those_of_others() {
        let set = |names: &[&str]| Change::Set(names.iter().map(|n| (*n).to_owned()).collect());
        let table = [
            (meta(&["x"], false), true, set(&["x", FINALIZER])),
            (meta(&["x", FINALIZER], false), true, Change::Keep),
            (meta(&["x", FINALIZER], true), false, set(&["x"])),
            (meta(&["x"], true), false, Change::Keep),
            (meta(&["x"], true), true, Change::TooLate),
            (meta(&["x", FINALIZER], true), true, Change::Keep),
        ];
        for (meta, wanted, change) in table {
            assert_eq!(finalizer_change(&meta, wanted), change, "{meta:?} {wanted}");
        }
    }
}
