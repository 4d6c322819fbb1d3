//! How fast a source is.

use std::time::Duration;

use crate::FetchLimits;

/// Measures a source over a window of the time spent waiting for it; what our
/// own disk takes is not the source's fault.
pub(crate) struct Pace {
    window: Duration,
    min_bytes: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(limits: &FetchLimits) -> Self {
        Self {
            window: limits.stall_window,
            min_bytes: limits.stall_min_bytes,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    pub(crate) fn tick(&self) -> Duration {
        (self.window / 4).min(Duration::from_secs(1))
    }

    pub(crate) fn count(&mut self, waited: Duration, bytes: u64) {
        self.waited += waited;
        self.bytes += bytes;
    }

    /// What came in the window that has just ended, if that is too little.
    pub(crate) fn stalled(&mut self) -> Option<(u64, Duration)> {
        if self.waited < self.window {
            return None;
        }
        let (waited, bytes) = (self.waited, self.bytes);
        self.waited = Duration::ZERO;
        self.bytes = 0;
        (bytes < self.min_bytes).then_some((bytes, waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_counts_waiting_only_and_starts_anew_each_window() {
        let limits = FetchLimits {
            stall_window: Duration::from_secs(10),
            stall_min_bytes: 100,
            ..FetchLimits::default()
        };
        let mut pace = Pace::new(&limits);
        pace.count(Duration::from_secs(9), 1);
        assert_eq!(pace.stalled(), None, "the window has not ended");
        pace.count(Duration::from_secs(1), 99);
        assert_eq!(pace.stalled(), None, "enough came");
        pace.count(Duration::from_secs(10), 99);
        assert_eq!(pace.stalled(), Some((99, Duration::from_secs(10))));
    }
}
