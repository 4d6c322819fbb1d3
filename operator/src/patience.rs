//! A host that was edited is joined anew in a moment: nothing is said of that so soon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::key::Key;

/// How long a pass over a namespace takes that has to wait for the one before it.
const MOMENT: Duration = Duration::from_secs(5);

/// Since when hosts wait for the next join.
#[derive(Debug, Default)]
pub(crate) struct Patience(BTreeMap<Key, Instant>);

impl Patience {
    /// Whether a host waits, and has for no more than a moment.
    pub(crate) fn lasts(&mut self, host: &Key, waits: bool, now: Instant) -> bool {
        if !waits {
            self.0.remove(host);
            return false;
        }
        let since = *self.0.entry(host.clone()).or_insert(now);
        now < since + MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_a_moment_and_begins_anew_once_there_was_a_join() {
        let mut patience = Patience::default();
        let (host, begin) = (Key::new("lab", "h"), Instant::now());
        assert!(!patience.lasts(&host, false, begin));
        assert!(patience.lasts(&host, true, begin));
        assert!(!patience.lasts(&host, true, begin + MOMENT));
        assert!(!patience.lasts(&host, true, begin + 2 * MOMENT));
        assert!(!patience.lasts(&host, false, begin + 2 * MOMENT));
        assert!(patience.0.is_empty());
        assert!(patience.lasts(&host, true, begin + 2 * MOMENT));
    }
}
