//! Simulated time: `start + scale × elapsed + skipped`.
//!
//! The simulator proper never reads a clock; it is told the [`Moment`]. So a
//! test steps time by hand, and a run with the same steps is the same run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// A point in simulated time: milliseconds since the fleet began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
pub struct Moment(u64);

impl Moment {
    /// When the fleet began.
    pub const START: Self = Self(0);

    /// The moment that much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// How much later this is than `earlier`; nothing if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds since the fleet began.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// The moment as a date, for a fleet that began at `start`.
    pub fn date(self, start: Timestamp) -> Timestamp {
        let since = i64::try_from(self.0).unwrap_or(i64::MAX);
        start
            .saturating_add(SignedDuration::from_millis(since))
            .unwrap_or(start)
    }
}

/// The clock of a fleet.
#[derive(Debug)]
pub struct Clock {
    start: Timestamp,
    began: Instant,
    scale: f64,
    skipped: AtomicU64,
}

impl Clock {
    /// A clock that runs `scale` times as fast as the real one. With 0 it
    /// stands still but for [`Clock::skip`].
    pub fn new(start: Timestamp, scale: f64) -> Self {
        Self {
            start,
            began: Instant::now(),
            scale: if scale.is_finite() {
                scale.max(0.0)
            } else {
                1.0
            },
            skipped: AtomicU64::new(0),
        }
    }

    /// A clock that only [`Clock::skip`] moves.
    pub fn stepped(start: Timestamp) -> Self {
        Self::new(start, 0.0)
    }

    /// Lets that much time pass at once.
    pub fn skip(&self, time: Duration) {
        self.skipped.fetch_add(millis(time), Ordering::SeqCst);
    }

    /// The moment it is.
    pub fn now(&self) -> Moment {
        let run = self.began.elapsed().as_secs_f64() * self.scale;
        let skipped = Duration::from_millis(self.skipped.load(Ordering::SeqCst));
        Moment::START
            .plus(Duration::try_from_secs_f64(run).unwrap_or(Duration::MAX))
            .plus(skipped)
    }

    /// The date at which the fleet began.
    pub fn start(&self) -> Timestamp {
        self.start
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_moves_by_its_steps_alone() {
        let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Moment::START);
        clock.skip(Duration::from_secs(90));
        assert_eq!(clock.now().millis(), 90_000);
        assert_eq!(
            clock.now().date(clock.start()).to_string(),
            "1970-01-01T00:01:30Z"
        );
    }

    #[test]
    fn a_scaled_clock_runs_ahead_of_the_real_one() {
        let clock = Clock::new(Timestamp::UNIX_EPOCH, 1e6);
        let before = clock.now();
        while clock.began.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        assert!(clock.now().since(before) >= Duration::from_secs(1000));
    }

    #[test]
    fn no_scale_breaks_it() {
        for scale in [f64::NAN, f64::INFINITY, -4.0] {
            let clock = Clock::new(Timestamp::UNIX_EPOCH, scale);
            assert!(clock.now().millis() < 60_000);
        }
    }
}
