//! `Queue`: which key is reconciled when. Pure; [`crate::drive`] runs it.
//!
//! One run per key at a time; a key woken while it runs runs again; the earliest
//! of several wishes wins; failures back off per key. kube's applier is not used
//! because it needs a reflector store of the kind per watch, which rules out
//! several namespaces, and because its error policy does not count failures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::key::Key;

/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing to do until the key is woken.
    Done,
    /// To be looked at again then, or earlier if woken.
    Again(Instant),
    /// It failed.
    Failed,
}

/// Keys that are due, waiting or running.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    due: BTreeMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
    /// Running keys, and when they were woken meanwhile.
    running: BTreeMap<Key, Option<Instant>>,
    failures: BTreeMap<Key, u32>,
}

impl Queue {
    /// A queue that lets `limit` keys run at a time.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            running: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Wishes that `key` runs at `at` or later, but not earlier.
    pub fn wake(&mut self, key: Key, at: Instant) {
        if let Some(meanwhile) = self.running.get_mut(&key) {
            *meanwhile = Some(meanwhile.map_or(at, |other| other.min(at)));
            return;
        }
        match self.due.get(&key) {
            Some(other) if *other <= at => {}
            Some(other) => {
                self.order.remove(&(*other, key.clone()));
                self.schedule(key, at);
            }
            None => self.schedule(key, at),
        }
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        self.order.insert((at, key.clone()));
        self.due.insert(key, at);
    }

    /// The next key to run now, which counts as running from here on.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        if self.running.len() >= self.limit || self.order.first()?.0 > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    /// When `pop` is worth asking again; `None` while as many run as may.
    pub fn next_due(&self) -> Option<Instant> {
        let at = self.order.first().map(|(at, _)| *at);
        at.filter(|_| self.running.len() < self.limit)
    }

    /// Takes note of the end of a run.
    pub fn ended(&mut self, key: &Key, how: Ended, now: Instant) {
        let meanwhile = self.running.remove(key).flatten();
        let wished = match how {
            Ended::Done => None,
            Ended::Again(at) => Some(at),
            Ended::Failed => {
                let failures = self.failures.entry(key.clone()).or_default();
                let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(6));
                *failures = failures.saturating_add(1);
                Some(now + pause.min(LONGEST_PAUSE))
            }
        };
        if how != Ended::Failed {
            self.failures.remove(key);
        }
        for at in wished.into_iter().chain(meanwhile) {
            self.wake(key.clone(), at);
        }
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("site", name)
    }

    #[test]
    fn one_run_at_a_time_and_the_earliest_wish_wins() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let mut queue = Queue::new(16);
        queue.wake(key("a"), later);
        assert_eq!(queue.pop(now), None);
        queue.wake(key("a"), now);
        assert_eq!(queue.pop(now), Some(key("a")));
        queue.wake(key("a"), now);
        assert_eq!(queue.pop(now), None, "it runs");
        queue.ended(&key("a"), Ended::Again(later), now);
        assert_eq!(queue.pop(now), Some(key("a")), "woken while it ran");
        queue.ended(&key("a"), Ended::Done, now);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn the_limit_holds() {
        let now = Instant::now();
        let mut queue = Queue::new(1);
        queue.wake(key("a"), now);
        queue.wake(key("b"), now);
        assert_eq!(queue.pop(now), Some(key("a")));
        assert_eq!((queue.pop(now), queue.next_due()), (None, None));
        queue.ended(&key("a"), Ended::Done, now);
        assert_eq!(queue.pop(now), Some(key("b")));
    }

    #[test]
    fn failures_back_off_until_there_is_news() {
        let now = Instant::now();
        let mut queue = Queue::new(1);
        queue.wake(key("a"), now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let at = queue.next_due().unwrap();
            assert_eq!(queue.pop(at), Some(key("a")));
            queue.ended(&key("a"), Ended::Failed, at);
            assert_eq!(queue.next_due(), Some(at + Duration::from_secs(seconds)));
        }
        queue.wake(key("a"), now);
        assert_eq!(queue.pop(now), Some(key("a")), "news cuts the pause short");
        queue.ended(&key("a"), Ended::Done, now);
        queue.wake(key("a"), now);
        queue.pop(now);
        queue.ended(&key("a"), Ended::Failed, now);
        assert_eq!(
            queue.next_due(),
            Some(now + FIRST_PAUSE),
            "success clears the count"
        );
    }
}
