//! Every endpoint, what became of it and when it is looked at next. Pure.
//!
//! In steady state an endpoint costs one small request a poll interval, and none of the search's
//! while the worker of an object looks at the same BMC. It is read whole when it
//! is new, when what it shows to everybody changed, when its credentials changed, and once a
//! refresh interval. What fails is asked again after pauses that double.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use lockstep_redfish::Identified;
use tokio::time::Instant;

use crate::site::attended::Attendance;
use crate::site::discovery::failure::Failure;
use crate::site::discovery::reread::{Reread, Seen, Whole};
use crate::site::discovery::slots::Class;
use crate::site::discovery::territory::{Target, add_sources};

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// How often things happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two looks at an endpoint that answers.
    pub(super) poll: Duration,
    /// Between two readings of one about which nothing changed.
    pub(super) refresh: Duration,
}

/// What became of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was not looked at yet.
    NotYet,
    /// Reports of its own tell of it.
    Identified,
    /// None does.
    Failed(Failure),
}

/// When an endpoint that answers is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// After a poll interval.
    Poll,
    /// When it is to be read anew: another endpoint stands for the same BMC.
    Refresh,
}

#[derive(Debug)]
struct Entry {
    named: Option<Target>,
    scanned: Option<Target>,
    class: Class,
    due: Instant,
    running: bool,
    /// It was asked for while it was looked at.
    again: bool,
    /// A report tells of it.
    told: bool,
    /// It was asked for, so that nobody else's look will do.
    asked: bool,
    /// When the look began that is under way, and the last one that had an answer.
    begun: Instant,
    answered: Instant,
    failures: u32,
    turns: u32,
    reread: Reread,
    outcome: Outcome,
    /// What it came to when it was last logged in to.
    verdict: Outcome,
    next: Next,
}

impl Entry {
    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.named.iter().chain(&self.scanned)
    }
}

/// All endpoints.
#[derive(Debug)]
pub(super) struct Book {
    pace: Pace,
    entries: BTreeMap<String, Entry>,
    /// What is not under way, by class, the next one first.
    queues: BTreeMap<Class, BTreeSet<(Instant, String)>>,
}

impl Book {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            entries: BTreeMap::new(),
            queues: BTreeMap::new(),
        }
    }

    /// What lists and leases name now. What only a lease named that has ended is forgotten.
    pub(super) fn retarget(&mut self, named: &BTreeMap<String, Target>, now: Instant) {
        let mut gone = Vec::new();
        for (key, entry) in &mut self.entries {
            entry.named = named.get(key).cloned();
            if entry.targets().next().is_none() {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.forget(&key);
        }
        for (key, target) in named {
            if !self.entries.contains_key(key) {
                // Where it listens is known, so that a plain connect tells whether anything does.
                let class = target.socket.map_or(Class::Main, |_| Class::Knock);
                self.begin(target, class, now);
            }
        }
    }

    /// A scan found something listening.
    pub(super) fn found(&mut self, target: &Target, now: Instant) {
        match self.entries.get_mut(&target.key) {
            Some(entry) => entry.scanned = Some(target.clone()),
            None => self.begin(target, Class::Main, now),
        }
    }

    /// A scan found something listening once, and a report tells of it.
    pub(super) fn remember(&mut self, target: &Target, now: Instant) {
        self.begin(target, Class::Main, now);
        if let Some(entry) = self.entries.get_mut(&target.key) {
            entry.told = true;
        }
    }

    fn begin(&mut self, target: &Target, class: Class, now: Instant) {
        let Slot::Vacant(place) = self.entries.entry(target.key.clone()) else {
            return;
        };
        let (named, scanned) = if target.named {
            (Some(target.clone()), None)
        } else {
            (None, Some(target.clone()))
        };
        place.insert(Entry {
            named,
            scanned,
            class,
            due: now,
            running: false,
            again: false,
            told: false,
            asked: false,
            begun: now,
            answered: now,
            failures: 0,
            turns: 0,
            reread: Reread::new(now),
            outcome: Outcome::NotYet,
            verdict: Outcome::NotYet,
            next: Next::Poll,
        });
        self.enqueue(class, now, &target.key);
    }

    /// Forgets an endpoint.
    pub(super) fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.dequeue(entry.class, entry.due, key);
        }
    }

    fn enqueue(&mut self, class: Class, due: Instant, key: &str) {
        let queue = self.queues.entry(class).or_default();
        queue.insert((due, key.to_owned()));
    }

    fn dequeue(&mut self, class: Class, due: Instant, key: &str) {
        if let Some(queue) = self.queues.get_mut(&class) {
            queue.remove(&(due, key.to_owned()));
        }
    }

    pub(super) fn is_tracked(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The endpoint with everything that names it.
    pub(super) fn target(&self, key: &str) -> Option<Target> {
        let mut targets = self.entries.get(key)?.targets();
        let mut target = targets.next()?.clone();
        for other in targets {
            add_sources(&mut target.sources, &other.sources);
        }
        Some(target)
    }

    /// The next endpoint of a class whose time has come; it is under way from now on.
    pub(super) fn next(&mut self, class: Class, now: Instant) -> Option<String> {
        if self.wake(class)? > now {
            return None;
        }
        let (_, key) = self.queues.get_mut(&class)?.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        entry.running = true;
        entry.begun = now;
        entry.turns = entry.turns.wrapping_add(1);
        Some(key)
    }

    /// When the first of a class is due.
    pub(super) fn wake(&self, class: Class) -> Option<Instant> {
        let first = self.queues.get(&class)?.first();
        first.map(|(due, _)| *due)
    }

    /// Something listens there: it is looked at without delay.
    pub(super) fn listens(&mut self, key: &str, now: Instant) {
        let class = match self.entries.get(key).map(|entry| &entry.outcome) {
            Some(Outcome::Failed(failure)) if failure.reason != "Unreachable" => Class::Doubtful,
            Some(Outcome::NotYet | Outcome::Identified | Outcome::Failed(_)) | None => Class::Main,
        };
        self.put_back(key, class, now);
    }

    /// It failed. A scanned address that never was anything and falls silent is one of the many.
    pub(super) fn failed(&mut self, key: &str, failure: Failure, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let silent = failure.reason == "Unreachable";
        let is_known = entry.told || entry.reread.seen().is_some();
        if silent && entry.named.is_none() && !is_known {
            self.forget(key);
            return;
        }
        entry.failures = entry.failures.saturating_add(1);
        let known_door = entry.targets().any(|target| target.socket.is_some());
        let class = if silent && known_door {
            Class::Knock
        } else {
            Class::Doubtful
        };
        let pause = backoff(entry.failures, key, entry.turns);
        entry.outcome = Outcome::Failed(failure);
        self.put_back(key, class, now + pause);
    }

    /// Nothing could be found out, and nothing speaks against it.
    pub(super) fn postponed(&mut self, key: &str, now: Instant) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let (class, pause) = (entry.class, self.poll_pause(key, entry.turns));
        self.put_back(key, class, now + pause);
    }

    /// It answered. `read` is what came of it if it was read whole.
    pub(super) fn answered(
        &mut self,
        key: &str,
        outcome: Outcome,
        read: Option<Whole>,
        next: Next,
        now: Instant,
    ) {
        let refresh = self.pace.refresh;
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.failures = 0;
        entry.answered = entry.begun;
        entry.outcome = outcome;
        if let Some(whole) = read {
            let spread_by = (key, entry.turns);
            entry.reread.take(whole, refresh, spread_by, now);
            entry.verdict = entry.outcome.clone();
            entry.next = next;
        }
        let (turns, next_at) = (entry.turns, entry.reread.next_at());
        let due = match next {
            Next::Poll => now + self.poll_pause(key, turns),
            Next::Refresh => next_at,
        };
        self.put_back(key, Class::Main, due);
    }

    /// It answered and is not read whole: it is still what it came to when it was.
    pub(super) fn unchanged(&mut self, key: &str, now: Instant) {
        if let Some(entry) = self.entries.get(key) {
            let (verdict, next) = (entry.verdict.clone(), entry.next);
            self.answered(key, verdict, None, next, now);
        }
    }

    /// Until when a look at an endpoint may wait, of which another was had: one that was
    /// identified, that nothing asks to be read, and that shows the key with which it was read.
    /// The service is another if the other saw that after it was asked here.
    pub(super) fn may_wait(&self, key: &str, look: &Attendance, now: Instant) -> Option<Instant> {
        let entry = self.entries.get(key)?;
        let reread = &entry.reread;
        let is_identified = entry.outcome == Outcome::Identified;
        let is_quiet = is_identified && reread.is_quiet() && !entry.asked;
        let is_as_read = reread.seen().is_some_and(|seen| {
            let is_other =
                |(at, service): &(Instant, _)| *at > entry.answered && *service != seen.service;
            seen.pin == look.pin && !look.service.as_ref().is_some_and(is_other)
        });
        let next_at = reread.next_at();
        // Longer than whoever looks there waits between two looks.
        let until = look.at + self.pace.poll.mul_f64(1.5);
        (is_quiet && is_as_read && now < next_at && now < until).then_some(until.min(next_at))
    }

    /// It is read at the next look, if it was not read for so long.
    pub(super) fn read_if_older(&mut self, key: &str, age: Duration, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.reread.read_at().is_some_and(|at| now >= at + age)
        {
            entry.reread.ask();
        }
    }

    /// It is looked at then and not before.
    pub(super) fn waits(&mut self, key: &str, until: Instant) {
        self.put_back(key, Class::Main, until);
    }

    /// Never less than the interval, so that no BMC is asked more often.
    fn poll_pause(&self, key: &str, turns: u32) -> Duration {
        self.pace.poll.mul_f64(1.0 + spread(key, turns) / 5.0)
    }

    /// Credentials of this version are refused there for good.
    pub(super) fn bar(&mut self, key: &str, version: &str, failure: Failure) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.reread.bar(version);
            entry.verdict = Outcome::Failed(failure);
            entry.next = Next::Poll;
        }
    }

    /// Why it failed when it was last logged in to.
    pub(super) fn verdict(&self, key: &str) -> Option<&Failure> {
        match &self.entries.get(key)?.verdict {
            Outcome::Failed(failure) => Some(failure),
            Outcome::NotYet | Outcome::Identified => None,
        }
    }

    /// The endpoints that failed so when they were last logged in to.
    pub(super) fn refused(&self, reason: &str) -> Vec<String> {
        let all = self.entries.iter();
        let refused = all.filter(|(_, entry)| match &entry.verdict {
            Outcome::Failed(failure) => failure.reason == reason,
            Outcome::NotYet | Outcome::Identified => false,
        });
        refused.map(|(key, _)| key.clone()).collect()
    }

    /// Whether an endpoint that was identified is to be read whole, with credentials of this
    /// version.
    pub(super) fn is_to_be_read(
        &self,
        key: &str,
        identified: &Identified,
        version: &str,
        now: Instant,
    ) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.reread.is_due(identified, version, now))
    }

    /// Whether it shows what it showed when it was read last.
    pub(super) fn is_as_before(&self, key: &str, identified: &Identified) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.reread.is_as_before(identified))
    }

    /// It shows something else, and is not read for that now.
    pub(super) fn strays(&mut self, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.reread.strays();
        }
    }

    /// Whether an endpoint that was read, and showed this, was something else too often.
    pub(super) fn is_restless(&self, key: &str, seen: &Seen, here: &BTreeSet<String>) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.reread.is_restless(seen, here))
    }

    /// It is looked at as soon as a slot is free; with `read` it is also read whole.
    pub(super) fn hurry(&mut self, key: &str, read: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if read {
            entry.reread.ask();
        }
        if entry.running {
            entry.again = true;
            return;
        }
        let class = entry.class;
        self.put_back(key, class, now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.asked = true;
        }
    }

    /// The credentials of these endpoints changed.
    pub(super) fn credentials_changed(&mut self, is_of: impl Fn(&Target) -> bool, now: Instant) {
        let changed: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.targets().next().is_some_and(&is_of))
            .map(|(key, _)| key.clone())
            .collect();
        for key in changed {
            self.hurry(&key, true, now);
        }
    }

    fn put_back(&mut self, key: &str, class: Class, due: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = (entry.class, entry.due);
        let due = if entry.again { entry.due.min(due) } else { due };
        entry.running = false;
        entry.asked = std::mem::take(&mut entry.again);
        entry.class = class;
        entry.due = due;
        self.dequeue(before.0, before.1, key);
        self.enqueue(class, due, key);
    }

    /// Every endpoint with its outcome.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&String, &Target, &Outcome)> {
        self.entries.iter().filter_map(|(key, entry)| {
            let target = entry.targets().next()?;
            Some((key, target, &entry.outcome))
        })
    }
}

/// The pause after so many failures in a row.
pub(super) fn backoff(failures: u32, key: &str, turn: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = PAUSES.0.saturating_mul(2_u32.saturating_pow(doublings));
    pause.min(PAUSES.1).mul_f64(0.5 + spread(key, turn) / 2.0)
}

/// About so long.
pub(super) fn about(span: Duration, key: &str, turn: u32) -> Duration {
    span.mul_f64(0.9 + spread(key, turn) / 5.0)
}

/// A number from 0 to 1 that differs from endpoint to endpoint and from turn to turn.
fn spread(key: &str, turn: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (key, turn).hash(&mut hasher);
    f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
}
