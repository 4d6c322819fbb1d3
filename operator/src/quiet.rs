//! Inventories trickle in: one is written when it has not changed for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long what is told of a card at rest must stand.
const AT_REST: Duration = Duration::from_secs(4);
/// How long it must stand while the card is on its way: its own operating system is about to
/// tell of it, too, and two writes for one card are one too many.
const ON_ITS_WAY: Duration = Duration::from_secs(120);

/// What changes again and again is written after so long all the same.
const LONGEST: Duration = Duration::from_secs(300);

/// Since when each card's inventory stands as it is.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    pending: BTreeMap<String, Pending>,
}

#[derive(Debug)]
struct Pending {
    facts: Value,
    /// Since when they stand.
    since: Instant,
    /// Since when there is anything to be written.
    first: Instant,
}

impl Quiet {
    /// When what is to be written of this card has stood long enough.
    pub(crate) fn ends(
        &mut self,
        card: &str,
        facts: &Value,
        on_its_way: bool,
        now: Instant,
    ) -> Instant {
        let new = || Pending {
            facts: facts.clone(),
            since: now,
            first: now,
        };
        let pending = self.pending.entry(card.to_owned()).or_insert_with(new);
        if pending.facts != *facts {
            pending.facts = facts.clone();
            pending.since = now;
        }
        let calm = if on_its_way { ON_ITS_WAY } else { AT_REST };
        (pending.since + calm).min(pending.first + LONGEST)
    }

    /// Forgets every card of which nothing is to be written.
    pub(crate) fn keep(&mut self, is_due: impl Fn(&str) -> bool) {
        self.pending.retain(|card, _| is_due(card));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changes_begins_anew() {
        let mut quiet = Quiet::default();
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(quiet.ends("c", &json!(1), false, begin), begin + AT_REST);
        let later = begin + second;
        assert_eq!(quiet.ends("c", &json!(1), false, later), begin + AT_REST);
        assert_eq!(quiet.ends("c", &json!(1), true, later), begin + ON_ITS_WAY);
        assert_eq!(quiet.ends("c", &json!(2), false, later), later + AT_REST);
        quiet.keep(|card| card != "c");
        let last = later + second;
        assert_eq!(quiet.ends("c", &json!(2), false, last), last + AT_REST);
    }

    #[test]
    fn what_changes_for_ever_is_written_now_and_then() {
        let mut quiet = Quiet::default();
        let begin = Instant::now();
        for second in 0..LONGEST.as_secs() {
            let now = begin + Duration::from_secs(second);
            let ends = quiet.ends("c", &json!(second), false, now);
            assert!(ends > now && ends <= begin + LONGEST);
        }
    }
}
