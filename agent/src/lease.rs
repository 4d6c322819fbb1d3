//! A Lease: the heartbeat of an agent, and the right of a site agent to act.
//!
//! Every write carries the resourceVersion it was decided on. Somebody else's
//! Lease is taken over only after it has been *seen* unchanged for its whole
//! duration and the longest call that its holder may still be in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use lockstep_crds::AGENT_LABEL;
use serde_json::json;
use tokio::time::Instant;

use crate::clock;
use crate::kube_client::{REQUEST_DEADLINE, said};

const MANAGER: &str = "lockstep-agent/lease";

/// For how long a Lease speaks for its holder.
pub const DURATION: Duration = Duration::from_secs(150);

/// Between renewals: from the first to the second.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(75));

/// The longest call to a BMC that a holder can be in when its Lease ends.
pub const LONGEST_CALL: Duration = Duration::from_secs(300);

/// A holder stops acting this long before its Lease ends.
const MARGIN: Duration = Duration::from_secs(15);

/// A Lease was not written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// No answer in time.
    #[error("the API server gave no answer about Lease {0}")]
    NoAnswer(String),
    /// The API server's refusal, or no connection.
    #[error("Lease {name}: {}", said(cause))]
    Api {
        /// The Lease.
        name: String,
        /// What the client said.
        cause: Box<kube::Error>,
    },
}

/// What became of an attempt to hold a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is ours until `DURATION` after the attempt began.
    Held,
    /// It is somebody else's.
    HeldBy(String),
}

/// When to renew it next: never sooner than every 60 s, for each renewal is a
/// write, and in good time for another try.
pub fn renewal() -> Duration {
    rand::random_range(RENEWAL.0..=RENEWAL.1)
}

/// Who wants a Lease, and as what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name of the Lease.
    pub lease: String,
    /// Who we are.
    pub identity: String,
    /// Value of the agent label.
    pub role: &'static str,
    /// How long another holder's Lease must have been seen unchanged before
    /// it is taken; zero where nobody else can have a claim.
    pub patience: Duration,
    /// The object whose end is the Lease's end.
    pub owner: Option<OwnerReference>,
}

/// Keeps one Lease.
#[derive(Debug)]
pub struct LeaseKeeper {
    api: Api<Lease>,
    candidate: Candidate,
    known: Option<Lease>,
    unchanged_since: Option<(String, Instant)>,
}

/// What to do with a Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim {
    Create,
    Renew,
    Take,
    Wait(String),
}

fn claim(holder: Option<Option<&str>>, me: &str, unchanged: Duration, patience: Duration) -> Claim {
    match holder {
        None => Claim::Create,
        Some(Some(holder)) if holder == me => Claim::Renew,
        Some(None | Some("")) => Claim::Take,
        Some(Some(holder)) if unchanged < patience => Claim::Wait(holder.to_owned()),
        Some(Some(_)) => Claim::Take,
    }
}

impl LeaseKeeper {
    /// A keeper; nothing is read yet.
    pub fn new(api: Api<Lease>, candidate: Candidate) -> Self {
        Self {
            api,
            candidate,
            known: None,
            unchanged_since: None,
        }
    }

    /// Renews, creates or takes the Lease, if it is ours to take.
    pub async fn hold(&mut self) -> Result<Hold, LeaseError> {
        if !self.is_ours() {
            self.read().await?;
        }
        let mut result = self.attempt().await;
        if result.as_ref().is_err_and(is_stale) {
            // What we knew was old, so nothing was written: once more with what is there.
            self.read().await?;
            result = self.attempt().await;
        }
        if result.is_err() {
            self.known = None;
        }
        result
    }

    /// Ends our hold, so that another may take the Lease at once. Only for a
    /// holder that has no call left in flight.
    pub async fn give_up(&mut self) -> Result<(), LeaseError> {
        if !self.is_ours() {
            return Ok(());
        }
        let spec = json!({"holderIdentity": null});
        self.patch(spec).await
    }

    fn is_ours(&self) -> bool {
        self.holder() == Some(Some(self.candidate.identity.as_str()))
    }

    fn holder(&self) -> Option<Option<&str>> {
        let lease = self.known.as_ref()?;
        Some(
            lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.as_deref()),
        )
    }

    async fn read(&mut self) -> Result<(), LeaseError> {
        let found = self
            .bounded(self.api.get_opt(&self.candidate.lease))
            .await?;
        self.keep(found);
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Hold, LeaseError> {
        let unchanged = self
            .unchanged_since
            .as_ref()
            .map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let candidate = &self.candidate;
        let now = clock::micro_now();
        match claim(
            self.holder(),
            &candidate.identity,
            unchanged,
            candidate.patience,
        ) {
            Claim::Wait(holder) => return Ok(Hold::HeldBy(holder)),
            Claim::Renew => self.patch(json!({"renewTime": now})).await?,
            Claim::Take => {
                let transitions = self
                    .known
                    .as_ref()
                    .and_then(|lease| lease.spec.as_ref()?.lease_transitions)
                    .unwrap_or(0);
                let spec = json!({
                    "holderIdentity": candidate.identity,
                    "leaseDurationSeconds": DURATION.as_secs(),
                    "acquireTime": now,
                    "renewTime": now,
                    "leaseTransitions": transitions.saturating_add(1),
                });
                self.patch(spec).await?;
            }
            Claim::Create => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(candidate.lease.clone()),
                        labels: Some(BTreeMap::from([(
                            AGENT_LABEL.to_owned(),
                            candidate.role.to_owned(),
                        )])),
                        owner_references: candidate.owner.clone().map(|owner| vec![owner]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(candidate.identity.clone()),
                        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                        acquire_time: Some(now.clone()),
                        renew_time: Some(now),
                        ..LeaseSpec::default()
                    }),
                };
                let params = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let found = self.bounded(self.api.create(&params, &lease)).await?;
                self.keep(Some(found));
            }
        }
        Ok(Hold::Held)
    }

    async fn patch(&mut self, spec: serde_json::Value) -> Result<(), LeaseError> {
        let version = self
            .known
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let patch = Patch::Merge(json!({
            "metadata": {
                "resourceVersion": version,
                "labels": {AGENT_LABEL: self.candidate.role},
            },
            "spec": spec,
        }));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = self.candidate.lease.clone();
        let found = self.bounded(self.api.patch(&name, &params, &patch)).await?;
        self.keep(Some(found));
        Ok(())
    }

    fn keep(&mut self, found: Option<Lease>) {
        let version = found
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        match (version, &self.unchanged_since) {
            (Some(version), Some((known, _))) if version == *known => {}
            (Some(version), _) => self.unchanged_since = Some((version, Instant::now())),
            (None, _) => self.unchanged_since = None,
        }
        self.known = found;
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, LeaseError> {
        match tokio::time::timeout(REQUEST_DEADLINE, call).await {
            Err(_) => Err(LeaseError::NoAnswer(self.candidate.lease.clone())),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(cause)) => Err(LeaseError::Api {
                name: self.candidate.lease.clone(),
                cause: Box::new(cause),
            }),
        }
    }
}

fn is_stale(error: &LeaseError) -> bool {
    match error {
        LeaseError::NoAnswer(_) => false,
        LeaseError::Api { cause, .. } => matches!(
            &**cause,
            kube::Error::Api(status)
                if status.is_conflict() || status.is_already_exists() || status.is_not_found()
        ),
    }
}

/// Whether this process may act now. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Mandate {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Mandate {
    /// Whether an effect may be begun now.
    pub fn holds(&self) -> bool {
        self.holds_at(Instant::now())
    }

    fn holds_at(&self, now: Instant) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    /// The Lease was held by an attempt that began at `begun`.
    pub fn extend_from(&self, begun: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(begun + DURATION.saturating_sub(MARGIN));
    }

    /// The Lease is somebody else's.
    pub fn end(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;

    #[test]
    fn renewals_are_no_closer_than_the_budget_of_writes_and_leave_time_for_another() {
        for _ in 0..1000 {
            let next = renewal();
            assert!(next >= Duration::from_secs(60), "{next:?}");
            assert!(
                next + Duration::from_secs(60) <= DURATION - MARGIN,
                "{next:?}"
            );
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_its_holder_can_no_longer_act() {
        let (short, long) = (Duration::from_secs(1), DURATION + LONGEST_CALL);
        for (holder, unchanged, wanted) in [
            (None, short, Claim::Create),
            (Some(Some("me")), short, Claim::Renew),
            (Some(Some("other")), short, Claim::Wait("other".to_owned())),
            (
                Some(Some("other")),
                DURATION,
                Claim::Wait("other".to_owned()),
            ),
            (Some(Some("other")), long, Claim::Take),
            (Some(Some("")), short, Claim::Take),
            (Some(None), short, Claim::Take),
        ] {
            assert_eq!(claim(holder, "me", unchanged, long), wanted, "{holder:?}");
        }
    }

    #[test]
    fn a_mandate_ends_before_the_lease() {
        let mandate = Mandate::default();
        let begun = Instant::now();
        assert!(!mandate.holds());
        mandate.extend_from(begun);
        assert!(mandate.holds());
        assert!(mandate.holds_at(begun + DURATION - MARGIN - Duration::from_secs(1)));
        assert!(!mandate.holds_at(begun + DURATION - MARGIN));
        mandate.end();
        assert!(!mandate.holds());
    }

    fn keeper(api: &FakeApi, identity: &str) -> LeaseKeeper {
        let candidate = Candidate {
            lease: "site-s".to_owned(),
            identity: identity.to_owned(),
            role: "site",
            patience: DURATION,
            owner: None,
        };
        LeaseKeeper::new(Api::namespaced(api.client(), "site"), candidate)
    }

    #[tokio::test]
    async fn one_holds_at_a_time_and_a_lease_given_up_is_free_at_once() {
        let api = FakeApi::default();
        let (mut first, mut second) = (keeper(&api, "first"), keeper(&api, "second"));
        assert_eq!(first.hold().await.unwrap(), Hold::Held);
        let waits = Hold::HeldBy("first".to_owned());
        assert_eq!(second.hold().await.unwrap(), waits);
        assert_eq!(first.hold().await.unwrap(), Hold::Held);
        assert_eq!(second.hold().await.unwrap(), waits);
        let lease = api.get("leases/site-s").unwrap();
        assert_eq!(lease["metadata"]["labels"][AGENT_LABEL], "site");
        first.give_up().await.unwrap();
        assert_eq!(second.hold().await.unwrap(), Hold::Held);
        assert_eq!(
            first.hold().await.unwrap(),
            Hold::HeldBy("second".to_owned())
        );
        assert!(
            api.writes()
                .iter()
                .all(|write| write == "leases/site-s lockstep-agent/lease")
        );
    }

    #[tokio::test]
    async fn a_lease_that_vanished_or_changed_is_read_again() {
        let api = FakeApi::default();
        let mut keeper = keeper(&api, "me");
        assert_eq!(keeper.hold().await.unwrap(), Hold::Held);
        api.remove("leases/site-s");
        assert_eq!(keeper.hold().await.unwrap(), Hold::Held);
        let mut taken = api.get("leases/site-s").unwrap();
        taken["spec"]["holderIdentity"] = serde_json::json!("other");
        api.put("leases/site-s", taken);
        assert_eq!(
            keeper.hold().await.unwrap(),
            Hold::HeldBy("other".to_owned())
        );
        api.vanish(true);
        assert!(keeper.hold().await.is_err());
    }
}
