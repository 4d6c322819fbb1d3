//! One power domain: observe, plan, record, conclude. Decides nothing itself.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use lockstep_planner::{Decision, Plan, Reason, View, plan};

use crate::assemble::assemble;
use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::record::{RecordError, carry_out, records};
use crate::writes::WriteError;

/// Every host is looked at this often even if nothing changes.
const RESYNC: SignedDuration = SignedDuration::from_mins(10);

/// Plans for a host and carries the plan out.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let now = Timestamp::now();
    let (assembled, host, joined) = {
        let world = context.world.read();
        let host = world.hosts.get(key).cloned();
        (assemble(&world, key), host, world.is_joined(&key.namespace))
    };
    let view = match assembled {
        Ok(Some(view)) => view,
        Ok(None) => {
            context.content(key);
            context.is_patient(key, false, Instant::now());
            return Outcome::done("gone");
        }
        Err(error) => {
            tracing::error!(host = %key, %error, "not planned");
            if let Some(host) = host {
                context
                    .complain(&host, "NotPlanned", error.to_string())
                    .await;
            }
            return Outcome::done("unreadable");
        }
    };
    // Which Node runs on a host, and which cards sit in it, is known by joining all reports. Of a host
    // that was edited since, the planner knows that nobody knows.
    if !joined || !caught_up(context, &view) {
        return Outcome::soon("behind");
    }
    let plan = plan(&view, now);
    // What is only said while the host is joined anew would be taken back in a moment.
    let is_patient = context.is_patient(key, view.joined.is_none(), Instant::now());
    if is_patient && !records(&view, &plan) && plan.taints.is_empty() {
        return Outcome::soon("behind");
    }
    let (decision, reason) = describe(&plan.decision);
    context.metrics.decided(decision, reason);
    tracing::debug!(host = %key, decision, reason, "planned");
    match carry_out(&context.writes, &view, &plan).await {
        Ok(()) => {
            context.content(key);
            tell(key, &view, &plan);
            let resync = now + RESYNC;
            Outcome::again(
                "ok",
                plan.look_again.map_or(resync, |at| at.min(resync)),
                now,
            )
        }
        Err(RecordError::Write(WriteError::Conflict(what))) => {
            tracing::debug!(host = %key, %what, "changed meanwhile, planned again");
            Outcome::soon("conflict")
        }
        Err(RecordError::Write(WriteError::Gone(what))) => {
            tracing::debug!(host = %key, %what, "gone meanwhile, planned again");
            Outcome::soon("conflict")
        }
        Err(error) => {
            tracing::warn!(host = %key, %error, "the plan was not carried out");
            context
                .complain(&view.host, "NotCarriedOut", error.to_string())
                .await;
            Outcome::failed()
        }
    }
}

fn caught_up(context: &Context, view: &View) -> bool {
    context.writes.caught_up(&view.host)
        && view
            .cards
            .iter()
            .all(|card| context.writes.caught_up(&card.dpu))
}

fn tell(key: &Key, view: &View, plan: &Plan) {
    if !records(view, plan) {
        return;
    }
    let last = view.host.status.as_ref().map_or(0, |status| status.seq);
    for directive in &plan.host_status.directives {
        if directive.seq > last {
            tracing::info!(
                host = %key,
                seq = directive.seq,
                step = %directive.step,
                action = %directive.action.kind,
                target = %directive.target.name,
                "directive recorded"
            );
        }
    }
}

/// A decision in two words, for metrics.
fn describe(decision: &Decision) -> (&'static str, &'static str) {
    match decision {
        Decision::Start(_) => ("Start", "Start"),
        Decision::Await(why, _) => ("Await", why.reason.as_str()),
        Decision::Hold(why) => ("Hold", why.reason.as_str()),
        Decision::Stalled(why) => ("Stalled", why.reason.as_str()),
        Decision::Settled => ("Settled", Reason::AsWanted.as_str()),
    }
}
