//! `DpuBootPolicy` status: whether what the policy names exists.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::{DpuBootPolicy, DpuBootPolicyStatus};
use lockstep_planner::decision::Explanation;
use lockstep_planner::{Reason, arriving};

use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::kstatus::{self, Because, Fares};
use crate::record::{RecordError, write_status};
use crate::writes::WriteError;

/// Tells whether a policy can be followed.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let (policy, missing) = {
        let world = context.world.read();
        let Some(policy) = world.policies.get(key).cloned() else {
            return Outcome::done("gone");
        };
        let image = policy
            .spec
            .image_ref
            .as_ref()
            .map(|image| image.name.clone());
        let missing = image.filter(|image| !world.images.exists(&key.sibling(image)));
        (policy, missing)
    };
    if !context.writes.caught_up(&policy) {
        return Outcome::soon("behind");
    }
    let now = Timestamp::now();
    if missing.is_some()
        && let Some(at) = arriving(&policy.metadata, now)
    {
        return Outcome::again("arriving", at, now);
    }
    let status = status(&policy, missing.as_deref(), &Time(now));
    match write_status(&context.writes, &policy, &status).await {
        Ok(_) => Outcome::done("ok"),
        Err(RecordError::Write(WriteError::Conflict(_) | WriteError::Gone(_))) => {
            Outcome::soon("conflict")
        }
        Err(error) => {
            tracing::warn!(policy = %key, %error, "status not written");
            Outcome::failed()
        }
    }
}

fn status(policy: &DpuBootPolicy, missing: Option<&str>, now: &Time) -> DpuBootPolicyStatus {
    let why = match missing {
        None => Explanation::new(Reason::AsWanted, "the policy is in force"),
        Some(image) => Explanation::new(
            Reason::ImageNotFound,
            format!("DpuImage {image} does not exist"),
        ),
    };
    let generation = policy.metadata.generation;
    let mut status = policy.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let fares = if missing.is_none() {
        Fares::Well
    } else {
        Fares::Stuck
    };
    let because = Because {
        reason: why.reason.as_str(),
        message: &why.message,
        generation,
    };
    kstatus::show(&mut status.conditions, fares, &because, now);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::condition;

    #[test]
    fn a_policy_is_ready_unless_its_image_is_missing() {
        let policy = DpuBootPolicy::new("p", serde_json::from_str("{}").unwrap());
        let now = Time(Timestamp::UNIX_EPOCH);
        let found = |missing| {
            let status = status(&policy, missing, &now);
            let ready = condition::find(&status.conditions, condition::READY).unwrap();
            (ready.status.clone(), ready.reason.clone())
        };
        assert_eq!(found(None), ("True".to_owned(), "AsWanted".to_owned()));
        assert_eq!(
            found(Some("x")),
            ("False".to_owned(), "ImageNotFound".to_owned())
        );
    }
}
