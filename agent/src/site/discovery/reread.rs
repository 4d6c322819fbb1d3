//! When an endpoint that answers is read whole. Pure.
//!
//! It is read when it shows something new, when its time has come, and when somebody asks. One
//! that shows something new again and again is left at rest in between, so that two machines at
//! one address are not read whole at every look, for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_redfish::{Identified, Service, SpkiPin};
use tokio::time::Instant;

use crate::site::discovery::book::{about, backoff};

/// Changes in a row that are taken as they come: a machine is replaced, and put back.
const TAKEN_AT_ONCE: u32 = 3;

/// Between two readings of one that lacks a machine.
const HOUR: Duration = Duration::from_secs(3600);

/// What an endpoint showed to everybody when it was read last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pin: Option<SpkiPin>,
    pub(super) service: Service,
    /// Version of the credentials it was read with.
    version: String,
}

impl Seen {
    pub(super) fn new(identified: &Identified, version: &str) -> Self {
        Self {
            pin: identified.tls_pin.clone(),
            service: identified.service.clone(),
            version: version.to_owned(),
        }
    }

    fn shows(&self, identified: &Identified) -> bool {
        *self == Self::new(identified, &self.version)
    }

    fn shows_as(&self, other: &Self) -> bool {
        self.pin == other.pin && self.service == other.service
    }
}

/// What came of reading an endpoint whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// What it showed to everybody.
    pub(super) seen: Seen,
    /// The machines that are behind it.
    pub(super) here: BTreeSet<String>,
    /// When it is to be read whole again, although it shows that still.
    pub(super) again: Again,
}

/// When an endpoint is to be read whole again that shows what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// When its time has come.
    AtRefresh,
    /// At the next look.
    Next,
    /// Soon, and the later the more often that was in vain.
    Soon,
    /// Some time later: a machine that it had may be put back.
    Hourly,
}

/// What was read of one endpoint, and when that is done again.
#[derive(Debug)]
pub(super) struct Reread {
    seen: Option<Seen>,
    here: BTreeSet<String>,
    read_at: Option<Instant>,
    refresh_at: Instant,
    /// It was asked that it is read at the next look.
    asked: bool,
    /// From when on it is to be read again before that, and how often that was so in a row.
    again_at: Option<Instant>,
    in_vain: u32,
    /// How often it was something else when it was read, and until when it is at rest for that.
    changes: u32,
    rest_until: Option<Instant>,
    /// It was seen to be something else while it was at rest.
    strayed: bool,
    /// Version of the credentials that it refuses for good.
    barred: Option<String>,
}

impl Reread {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seen: None,
            here: BTreeSet::new(),
            read_at: None,
            refresh_at: now,
            asked: false,
            again_at: None,
            in_vain: 0,
            changes: 0,
            rest_until: None,
            strayed: false,
            barred: None,
        }
    }

    /// What it showed when it was read.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// When it was read last.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// When it is read if nothing about it changes.
    pub(super) fn next_at(&self) -> Instant {
        self.again_at
            .map_or(self.refresh_at, |at| at.min(self.refresh_at))
    }

    /// Whether nobody asked that it is read at the next look.
    pub(super) fn is_quiet(&self) -> bool {
        !self.asked
    }

    /// It is to be read at the next look.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Credentials of this version are refused for good.
    pub(super) fn bar(&mut self, version: &str) {
        self.barred = Some(version.to_owned());
    }

    /// It shows something else, and is at rest.
    pub(super) fn strays(&mut self) {
        self.strayed = true;
    }

    /// Whether it shows what it showed when it was read last.
    pub(super) fn is_as_before(&self, identified: &Identified) -> bool {
        let seen = self.seen.as_ref();
        seen.is_some_and(|seen| seen.shows(identified))
    }

    /// Whether it is to be read, with credentials of this version.
    pub(super) fn is_due(&self, identified: &Identified, version: &str, now: Instant) -> bool {
        if self.barred.as_deref() == Some(version) {
            return false;
        }
        let Some(seen) = &self.seen else {
            return true;
        };
        if self.asked || seen.version != version {
            return true;
        }
        if self.rest_until.is_some_and(|until| now < until) {
            return false;
        }
        let is_time = self.again_at.is_some_and(|at| now >= at) || now >= self.refresh_at;
        is_time || !seen.shows(identified)
    }

    fn is_change(&self, seen: &Seen, here: &BTreeSet<String>) -> bool {
        let before = self.seen.as_ref();
        let is_other = |before: &Seen| !before.shows_as(seen) || self.here != *here;
        self.strayed || before.is_some_and(is_other)
    }

    /// Whether it was something else so often that it is at rest after this.
    pub(super) fn is_restless(&self, seen: &Seen, here: &BTreeSet<String>) -> bool {
        self.changes >= TAKEN_AT_ONCE && self.is_change(seen, here)
    }

    /// It was read. `refresh` is how long that is good for; `key` and `turn` spread that.
    pub(super) fn take(
        &mut self,
        whole: Whole,
        refresh: Duration,
        (key, turn): (&str, u32),
        now: Instant,
    ) {
        let Whole { seen, here, again } = whole;
        let is_restless = self.is_restless(&seen, &here);
        if self.is_change(&seen, &here) {
            self.changes = self.changes.saturating_add(1);
        } else if now >= self.refresh_at {
            self.changes = 0;
        }
        self.rest_until = is_restless.then(|| now + backoff(self.changes, key, turn));
        self.in_vain = match again {
            Again::AtRefresh | Again::Next | Again::Hourly => 0,
            Again::Soon => self.in_vain.saturating_add(1),
        };
        // After its rest it proves that it is one thing again.
        self.again_at = self.rest_until.or(match again {
            Again::AtRefresh => None,
            Again::Next => Some(now),
            Again::Hourly => Some(now + about(HOUR, key, turn)),
            Again::Soon => Some(now + backoff(self.in_vain, key, turn)),
        });
        self.refresh_at = now + about(refresh, key, turn);
        self.read_at = Some(now);
        self.seen = Some(seen);
        self.here = here;
        self.asked = false;
        self.strayed = false;
        self.barred = None;
    }
}
