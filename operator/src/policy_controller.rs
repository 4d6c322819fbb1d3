//! `DpuBootPolicy` status: whether what the policy names exists.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::{DpuBootPolicy, DpuBootPolicyStatus, LocalRef};
use lockstep_planner::decision::Explanation;
use lockstep_planner::{Reason, arriving};
use lockstep_trust::Signers;

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
        let is_missing = |image: &&LocalRef| !world.images.exists(&key.sibling(&image.name));
        let missing = policy.spec.images_named().find(is_missing);
        let missing = missing.map(|image| image.name.clone());
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
    let why = match (missing, unusable_signer(policy)) {
        (None, None) => Explanation::new(Reason::AsWanted, "the policy is in force"),
        (_, Some(signer)) => Explanation::new(Reason::SignerUnusable, signer),
        (Some(image), None) => Explanation::new(
            Reason::ImageNotFound,
            format!("DpuImage {image} does not exist"),
        ),
    };
    let generation = policy.metadata.generation;
    let mut status = policy.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let fares = if why.reason == Reason::AsWanted {
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

/// Which signer's key cannot be used, and why.
fn unusable_signer(policy: &DpuBootPolicy) -> Option<String> {
    let rules = policy.spec.images.as_ref()?;
    let signers = Signers::new(&rules.signers);
    let (name, error) = signers.unusable.first()?;
    Some(format!("of signer {name} {error}"))
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

    #[test]
    fn a_key_that_cannot_be_used_is_told() {
        let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let spec = serde_json::json!({
            "images": {"require": "Signed", "signers": [{"name": "releases", "publicKey": key}]},
        });
        let policy = DpuBootPolicy::new("p", serde_json::from_value(spec).unwrap());
        let status = status(&policy, None, &Time(Timestamp::UNIX_EPOCH));
        let stalled = condition::find(&status.conditions, condition::STALLED).unwrap();
        assert_eq!(stalled.reason, "SignerUnusable");
        assert!(
            stalled
                .message
                .contains("of signer releases its publicKey is of no kind")
        );
    }
}
