//! What a BMC writes down: its system event log, and, for the judge, what it
//! was asked.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::clock::Moment;
use crate::fault::Fault;

/// One entry of the system event log.
#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) id: u64,
    pub(crate) at: Moment,
    pub(crate) message: String,
}

/// How often it was asked, for the judge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// By `METHOD path`.
    pub(crate) by_path: BTreeMap<String, u64>,
    pub(crate) total: u64,
    /// Answered with 401, but for those of sessions that had ended.
    pub(crate) unauthorized: u64,
    /// How often each fault was met.
    pub(crate) met: BTreeMap<Fault, u64>,
    /// When the first and the last one came, in real time.
    pub(crate) span: Option<(Instant, Instant)>,
}

impl Requests {
    /// Distinct paths that are counted one by one; a stranger's walk must not fill memory.
    const MOST_PATHS: usize = 2_000;

    pub(crate) fn count(&mut self, method: &str, path: &str) {
        self.total += 1;
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        let key = format!("{method} {path}");
        if self.by_path.len() < Self::MOST_PATHS || self.by_path.contains_key(&key) {
            *self.by_path.entry(key).or_default() += 1;
        }
    }
}
