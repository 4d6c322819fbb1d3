//! What the API server refuses for what it says, and not for the moment: tried again later, so that
//! it keeps nothing else of its namespace waiting.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two tries. What is wrong with them changes with the reports they come from, or with the cluster.
const AGAIN: Duration = Duration::from_secs(600);

/// Writes that were refused, by what they were for.
#[derive(Debug, Default)]
pub(crate) struct Refused(BTreeMap<String, Instant>);

impl Refused {
    /// Whether it may be tried.
    pub(crate) fn is_due(&self, what: &str, now: Instant) -> bool {
        self.0.get(what).is_none_or(|until| *until <= now)
    }

    /// It was refused.
    pub(crate) fn note(&mut self, what: String, now: Instant) {
        self.0.retain(|_, until| *until > now);
        self.0.insert(what, now + AGAIN);
    }

    /// When the first of them may be tried again.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().filter(|until| **until > now).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_tried_again_later() {
        let mut refused = Refused::default();
        let now = Instant::now();
        assert!(refused.is_due("dpu/a", now));
        refused.note("dpu/a".to_owned(), now);
        assert!(!refused.is_due("dpu/a", now) && refused.is_due("dpu/b", now));
        assert_eq!(refused.next(now), Some(now + AGAIN));
        assert!(refused.is_due("dpu/a", now + AGAIN));
        refused.note("dpu/b".to_owned(), now + AGAIN);
        assert_eq!(refused.0.len(), 1);
    }
}
