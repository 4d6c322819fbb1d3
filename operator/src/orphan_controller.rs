//! Cards whose host does not exist: nobody plans for them, so this tells their users.
//!
//! Steps aside as soon as the host exists: from then on the host's plan writes
//! their status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use lockstep_crds::{Dpu, DpuStatus, FINALIZER, Phase, condition};
use lockstep_planner::decision::{Explanation, Transition};
use lockstep_planner::view::CardJoined;
use lockstep_planner::{Reason, arriving, not_approved, show_card_inventory};

use crate::context::{Context, Outcome};
use crate::joins::shown;
use crate::key::Key;
use crate::kstatus::{self, Because, Fares};
use crate::record::{RecordError, let_go, write_status};
use crate::writes::WriteError;

/// Tells what a card without a host lacks, or lets it go if it is being deleted.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let found = {
        let world = context.world.read();
        let card = world.cards.get(key).filter(|_| world.is_orphan(key));
        card.map(|card| {
            let joined = world.joins.of(&key.namespace);
            let joined = joined.and_then(|joined| joined.card(&key.name, card));
            (card.clone(), joined.map(shown))
        })
    };
    let Some((card, joined)) = found else {
        return Outcome::done("gone");
    };
    if !context.writes.caught_up(&card) {
        return Outcome::soon("behind");
    }
    let now = Timestamp::now();
    let written = if card.metadata.deletion_timestamp.is_some() {
        // Our finalizer says that something is armed; the record that said what went with the host.
        if card.finalizers().iter().any(|name| name == FINALIZER) {
            let told = Transition::cancelled_but_armed(&card.name_any());
            context.writes.event(&card.object_ref(&()), &told).await;
        }
        let_go(&context.writes, &card).await
    } else if let Some(at) = arriving(&card.metadata, now) {
        return Outcome::again("arriving", at, now);
    } else {
        let status = status(&card, joined.as_ref(), &Time(now));
        write_status(&context.writes, &card, &status)
            .await
            .map(drop)
    };
    match written {
        Ok(()) => Outcome::done("ok"),
        Err(RecordError::Write(WriteError::Conflict(_) | WriteError::Gone(_))) => {
            Outcome::soon("conflict")
        }
        Err(error) => {
            tracing::warn!(dpu = %key, %error, "status not written");
            Outcome::failed()
        }
    }
}

/// The status of a card whose host does not exist. What was known of the card stays.
fn status(card: &Dpu, joined: Option<&CardJoined>, now: &Time) -> DpuStatus {
    let host = card
        .spec
        .host_refs
        .first()
        .map_or("", |host| host.name.as_str());
    let (why, phase, fares) = if card.spec.approved {
        let why = Explanation::new(
            Reason::HostNotFound,
            format!("DpuHost {host} does not exist"),
        );
        (why, Phase::Stalled, Fares::Stuck)
    } else {
        (not_approved(card), Phase::Discovered, Fares::Idle)
    };
    let generation = card.metadata.generation;
    let before = card.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.observed_generation = generation;
    status.phase = Some(phase);
    status.message = Some(condition::truncated(&why.message));
    let because = Because {
        reason: why.reason.as_str(),
        message: &why.message,
        generation,
    };
    kstatus::show(&mut status.conditions, fares, &because, now);
    show_card_inventory(&before, status, joined, generation, false, now.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_without_a_host_is_told_so_once() {
        let mut card: Dpu = serde_json::from_value(serde_json::json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1",
            "kind": "Dpu",
            "metadata": {"name": "card1", "namespace": "site", "generation": 3},
            "spec": {"site": "a", "hostRefs": [{"name": "nowhere"}]},
        }))
        .unwrap();
        let first = status(&card, None, &Time(Timestamp::UNIX_EPOCH));
        let stalled = condition::find(&first.conditions, condition::STALLED).unwrap();
        assert_eq!(
            (stalled.status.as_str(), stalled.reason.as_str()),
            ("True", "HostNotFound")
        );
        assert!(stalled.message.contains("nowhere"));
        assert_eq!(stalled.observed_generation, Some(3));
        card.status = Some(first.clone());
        assert_eq!(
            status(&card, None, &Time(Timestamp::now())),
            first,
            "time alone changes nothing"
        );
    }
}
