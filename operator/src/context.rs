//! What every controller shares: the world, the writing end, the figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Resource;
use lockstep_crds::DpuHost;
use lockstep_planner::decision::Transition;

use crate::key::Key;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::patience::Patience;
use crate::queue::Ended;
use crate::world::World;
use crate::writes::Writes;

/// The world, shared between the watches that write it and the controllers that read it.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<RwLock<World>>);

impl Shared {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(RwLock::new(world)))
    }

    /// The world to read. Never held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, World> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world to change. Never held across an await.
    pub fn write(&self) -> RwLockWriteGuard<'_, World> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every controller shares.
pub struct Context {
    /// Everything seen.
    pub world: Shared,
    /// The writing end.
    pub writes: Writes,
    /// The figures.
    pub metrics: Metrics,
    /// What people were told last of each host that is not looked after, so that
    /// they are told once.
    told: Mutex<BTreeMap<Key, String>>,
    patience: Mutex<Patience>,
    image_pace: Mutex<Pace>,
}

impl Context {
    /// Puts the shared parts together.
    pub fn new(world: Shared, writes: Writes, metrics: Metrics) -> Self {
        Self {
            world,
            writes,
            metrics,
            told: Mutex::default(),
            patience: Mutex::default(),
            image_pace: Mutex::default(),
        }
    }

    /// Tells people, in an event, why a host is not looked after; once, until it is again.
    pub async fn complain(&self, host: &DpuHost, reason: &str, message: String) {
        let news = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(Key::of(host), message.clone()).as_ref() != Some(&message)
        };
        if news {
            let reason = reason.to_owned();
            let complaint = Transition {
                card: None,
                reason,
                message,
                warning: true,
            };
            self.writes.event(&host.object_ref(&()), &complaint).await;
        }
    }

    /// Whether a host waits for the next join, and not for long yet.
    pub(crate) fn is_patient(&self, host: &Key, waits: bool, now: Instant) -> bool {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        patience.lasts(host, waits, now)
    }

    /// When the status of each image was written. Never held across an await.
    pub(crate) fn image_pace(&self) -> MutexGuard<'_, Pace> {
        self.image_pace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The host is looked after again.
    pub fn content(&self, host: &Key) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(host);
    }
}

/// How a reconcile ended: a word for metrics, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `ok`, `gone`, `behind`, `paced`, `conflict`, `unreadable` or `error`.
    pub result: &'static str,
    /// What the queue is told.
    pub ended: Ended,
}

impl Outcome {
    /// How long to wait for a watch that must deliver something soon.
    const WATCH_LAG: Duration = Duration::from_secs(1);

    /// Done until something changes.
    pub fn done(result: &'static str) -> Self {
        Self {
            result,
            ended: Ended::Done,
        }
    }

    /// To be looked at again at `at`, but not within a second from now.
    pub fn again(result: &'static str, at: Timestamp, now: Timestamp) -> Self {
        let pause = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        let at = Instant::now() + pause.max(Self::WATCH_LAG);
        Self {
            result,
            ended: Ended::Again(at),
        }
    }

    /// The cache lags behind; the watch will wake us, and if not, a second is soon enough.
    pub fn soon(result: &'static str) -> Self {
        Self {
            result,
            ended: Ended::Again(Instant::now() + Self::WATCH_LAG),
        }
    }

    /// To be tried again, ever more slowly.
    pub fn failed() -> Self {
        Self {
            result: "error",
            ended: Ended::Failed,
        }
    }
}
