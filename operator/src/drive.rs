//! Runs a [`Queue`]: takes wishes in, starts reconciles, stops between them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::queue::{Ended, Queue};
use crate::server::Pulse;

/// How many reconciles of one controller run at a time.
const CONCURRENCY: usize = 16;
/// How long one reconcile may take: several calls of ten seconds each.
const RUN_DEADLINE: Duration = Duration::from_secs(120);
/// How long wakes gather before they are acted on. Objects are applied in bursts, and a
/// status written between the first and the last of them would be one write too many.
const GATHER: Duration = Duration::from_millis(300);
/// At least this often the controller shows that it is alive.
const PULSE: Duration = Duration::from_secs(10);

/// A controller that cannot go on. The process ends, and its successor begins afresh.
#[derive(Debug, Error)]
pub enum DriveError {
    /// A reconcile panicked.
    #[error("a reconcile of controller {0} ended abnormally: {1}")]
    Abnormal(&'static str, JoinError),
    /// Nobody can wake this controller any more.
    #[error("nobody wakes controller {0} any more")]
    Abandoned(&'static str),
}

/// Reconciles keys as they are woken until `stop`, then waits for those that run.
///
/// # Errors
/// If a reconcile panics, or nobody can wake the controller any more.
pub async fn drive<F, R>(
    name: &'static str,
    context: Arc<Context>,
    mut wakes: UnboundedReceiver<Key>,
    reconcile: F,
    pulse: Pulse,
    stop: CancellationToken,
) -> Result<(), DriveError>
where
    F: Fn(Arc<Context>, Key) -> R,
    R: Future<Output = Outcome> + Send + 'static,
{
    let mut queue = Queue::new(CONCURRENCY);
    let mut runs: JoinSet<(Key, Ended)> = JoinSet::new();
    while !stop.is_cancelled() {
        pulse.beat();
        let now = Instant::now();
        while let Some(key) = queue.pop(now) {
            let run = reconcile(Arc::clone(&context), key.clone());
            runs.spawn(timed(name, Arc::clone(&context), key, run));
        }
        let latest = now + PULSE;
        let wait = queue.next_due().map_or(latest, |at| at.min(latest));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = runs.join_next() => conclude(name, &mut queue, ended)?,
            woken = wakes.recv() => {
                let key = woken.ok_or(DriveError::Abandoned(name))?;
                let at = Instant::now() + GATHER;
                queue.wake(key, at);
                // One pass over the queue serves all that came together.
                while let Ok(key) = wakes.try_recv() {
                    queue.wake(key, at);
                }
            }
            () = tokio::time::sleep_until(wait.into()) => {}
        }
    }
    tracing::debug!(controller = name, running = queue.running(), "stopping");
    while let Some(ended) = runs.join_next().await {
        conclude(name, &mut queue, ended)?;
    }
    Ok(())
}

fn conclude(
    name: &'static str,
    queue: &mut Queue,
    ended: Result<(Key, Ended), JoinError>,
) -> Result<(), DriveError> {
    let (key, ended) = ended.map_err(|error| DriveError::Abnormal(name, error))?;
    queue.ended(&key, ended, Instant::now());
    Ok(())
}

async fn timed(
    name: &'static str,
    context: Arc<Context>,
    key: Key,
    run: impl Future<Output = Outcome>,
) -> (Key, Ended) {
    let began = Instant::now();
    let outcome = tokio::time::timeout(RUN_DEADLINE, run)
        .await
        .unwrap_or_else(|_| {
            let seconds = RUN_DEADLINE.as_secs();
            tracing::error!(controller = name, %key, seconds, "a reconcile was cut off");
            Outcome::failed()
        });
    context
        .metrics
        .reconciled(name, outcome.result, began.elapsed());
    (key, outcome.ended)
}
