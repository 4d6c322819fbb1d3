//! Which replica reconciles. An economy, not a safety: two leaders are harmless,
//! because every write is a compare-and-swap.
//!
//! `evaluate` is pure. Another's Lease is judged by our own clock, from the
//! moment we saw it change. A leader that cannot renew in time ends the process.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Name of the Lease.
pub const LEASE: &str = "lockstep-operator";
/// For how long a renewal is good.
const DURATION: SignedDuration = SignedDuration::from_secs(60);
/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// How fast the election goes. Few writes matter more than a quick takeover.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often the Lease is renewed.
    pub renew_every: Duration,
    /// How often a candidate looks, and how soon a failed renewal is repeated.
    pub look_every: Duration,
    /// After so long without a renewal the leader gives up, well before others take over.
    pub give_up: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            renew_every: Duration::from_secs(20),
            look_every: Duration::from_secs(5),
            give_up: Duration::from_secs(45),
        }
    }
}

/// Leadership cannot be had or kept.
#[derive(Debug, Error)]
pub enum LeaderError {
    /// It went to somebody else, or nobody knows.
    #[error("leadership was lost: {0}. This process ends; its successor begins afresh")]
    Lost(String),
}

/// What a replica may do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: create it.
    Create,
    /// Nobody holds it, or its holder is silent: take it.
    Acquire,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it.
    Yield,
}

/// What `me` may do about a Lease that we saw change last at `changed`.
pub fn evaluate(lease: Option<&LeaseSpec>, me: &str, changed: Timestamp, now: Timestamp) -> Step {
    let Some(lease) = lease else {
        return Step::Create;
    };
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    let duration = lease.lease_duration_seconds.map_or(DURATION, |seconds| {
        SignedDuration::from_secs(i64::from(seconds))
    });
    if holder == me {
        Step::Renew
    } else if holder.is_empty() || now.duration_since(changed) > duration {
        Step::Acquire
    } else {
        Step::Yield
    }
}

/// The Lease that `me` writes next: `before` with us as its holder.
fn claimed(before: Option<&Lease>, me: &str, namespace: &str, now: Timestamp) -> Lease {
    let mut lease = before.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let now = MicroTime(now);
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        spec.acquire_time = Some(now.clone());
    }
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(now);
    lease
}

/// A replica's part in the election.
pub struct Candidate {
    api: Api<Lease>,
    namespace: String,
    me: String,
    metrics: Metrics,
    pace: Pace,
    /// The Lease as we wrote it last, while nothing suggests that it is not so any more.
    held: Option<Lease>,
    /// resourceVersion of another's Lease, and since when we have seen it so.
    seen: Option<(Option<String>, Timestamp)>,
}

impl Candidate {
    /// A candidate with a name that no other process has.
    pub fn new(client: Client, namespace: &str, me: String, metrics: Metrics) -> Self {
        let api = Api::namespaced(client, namespace);
        Self {
            api,
            namespace: namespace.to_owned(),
            me,
            metrics,
            pace: Pace::default(),
            held: None,
            seen: None,
        }
    }

    /// At another pace than the usual one.
    #[must_use]
    pub fn at(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Waits until this replica leads. `false` if it is stopped before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        loop {
            match self.campaign().await {
                Ok(true) => {
                    tracing::info!(me = self.me, "leading");
                    self.metrics.leads(true);
                    return true;
                }
                Ok(false) => tracing::debug!(me = self.me, "somebody else leads"),
                Err(error) => {
                    tracing::warn!(error, "leadership cannot be asked for; tried again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(self.pace.look_every) => {}
            }
        }
    }

    /// Keeps leading until `stop`, then gives the Lease up.
    ///
    /// # Errors
    /// If it cannot be renewed in time, or somebody else holds it.
    pub async fn keep(mut self, stop: CancellationToken) -> Result<(), LeaderError> {
        let mut renewed = tokio::time::Instant::now();
        let mut pause = self.pace.renew_every;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.renew().await {
                Ok(true) => {
                    renewed = tokio::time::Instant::now();
                    self.pace.renew_every
                }
                Ok(false) => {
                    self.metrics.leads(false);
                    return Err(LeaderError::Lost(
                        "somebody else holds the Lease".to_owned(),
                    ));
                }
                Err(error) if renewed.elapsed() > self.pace.give_up => {
                    self.metrics.leads(false);
                    return Err(LeaderError::Lost(error));
                }
                Err(error) => {
                    tracing::warn!(error, "the Lease was not renewed; tried again");
                    self.pace.look_every
                }
            };
        }
        self.metrics.leads(false);
        self.vacate().await;
        Ok(())
    }

    /// Takes the Lease if that is allowed; tells whether it is ours.
    async fn campaign(&mut self) -> Result<bool, String> {
        let (lease, since) = self.look().await?;
        let now = Timestamp::now();
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let claimed = claimed(lease.as_ref(), &self.me, &self.namespace, now);
        let taken = match evaluate(spec, &self.me, since, now) {
            Step::Yield => return Ok(false),
            Step::Create => in_time(self.api.create(&params(), &claimed)).await?,
            Step::Acquire | Step::Renew => {
                in_time(self.api.replace(LEASE, &params(), &claimed)).await?
            }
        };
        self.metrics.wrote("Lease", "leader");
        self.held = Some(taken);
        Ok(true)
    }

    /// Renews the Lease if it is ours; tells whether it is.
    async fn renew(&mut self) -> Result<bool, String> {
        // A renewal needs no read: a conflict tells that somebody else wrote,
        // and without an answer the Lease is read again the next time.
        let lease = match self.held.take() {
            Some(lease) => lease,
            None => match self.look().await?.0 {
                Some(lease) => lease,
                None => return Ok(false),
            },
        };
        let now = Timestamp::now();
        match evaluate(lease.spec.as_ref(), &self.me, now, now) {
            Step::Renew => {}
            Step::Create | Step::Acquire | Step::Yield => return Ok(false),
        }
        let claimed = claimed(Some(&lease), &self.me, &self.namespace, now);
        let renewed = in_time(self.api.replace(LEASE, &params(), &claimed)).await?;
        self.metrics.wrote("Lease", "leader");
        self.held = Some(renewed);
        Ok(true)
    }

    /// Reads the Lease and tells since when it has been what it is.
    async fn look(&mut self) -> Result<(Option<Lease>, Timestamp), String> {
        let now = Timestamp::now();
        let Some(lease) = in_time(self.api.get_opt(LEASE)).await? else {
            return Ok((None, now));
        };
        let version = lease.resource_version();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            Some(_) | None => now,
        };
        self.seen = Some((version, since));
        Ok((Some(lease), since))
    }

    /// Gives the Lease up, so that a successor need not wait.
    async fn vacate(&mut self) {
        let Some(mut lease) = self.held.take() else {
            return;
        };
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match in_time(self.api.replace(LEASE, &params(), &lease)).await {
            Ok(_) => {
                self.metrics.wrote("Lease", "leader");
                tracing::info!("leadership given up");
            }
            Err(error) => tracing::warn!(error, "the Lease was not given up and must run out"),
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some("lockstep-leader".to_owned()),
        ..PostParams::default()
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CALL_DEADLINE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn held(by: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(60),
            // Another machine's clock, far behind ours: it must not matter.
            renew_time: Some(MicroTime(at(-9000))),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn who_may_do_what() {
        let table = [
            (None, 0, Step::Create),
            (Some(held("me")), 0, Step::Renew),
            (Some(held("me")), 9000, Step::Renew),
            (Some(held("")), 0, Step::Acquire),
            (Some(held("other")), 0, Step::Yield),
            (Some(held("other")), 60, Step::Yield),
            (Some(held("other")), 61, Step::Acquire),
            (Some(LeaseSpec::default()), 0, Step::Acquire),
        ];
        for (lease, unchanged_for, step) in table {
            let found = evaluate(lease.as_ref(), "me", at(0), at(unchanged_for));
            assert_eq!(found, step, "{lease:?} {unchanged_for}");
        }
    }

    #[test]
    fn a_claim_keeps_what_the_swap_compares() {
        let mut lease = Lease {
            spec: Some(held("other")),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some("7".into());
        let taken = claimed(Some(&lease), "me", "system", at(0));
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.lease_transitions, Some(5));
        assert_eq!(spec.acquire_time, Some(MicroTime(at(0))));
        let renewed = claimed(Some(&taken), "me", "system", at(20)).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(5));
        assert_eq!(renewed.acquire_time, Some(MicroTime(at(0))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(20))));
    }
}
