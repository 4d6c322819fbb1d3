//! Inventories trickle in: one is written when it has not changed for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long what is told of a card at rest must stand.
const AT_REST: Duration = Duration::from_secs(4);
/// How long it must stand while the card is on its way: its own operating system is about to
/// tell of it, too, and two writes for one card are one too many.
const ON_ITS_WAY: Duration = Duration::from_secs(120);

/// Since when each card's inventory stands as it is.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    since: BTreeMap<String, (Value, Instant)>,
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
        let stands = match self.since.get(card) {
            Some((known, since)) if known == facts => *since,
            Some(_) | None => {
                self.since.insert(card.to_owned(), (facts.clone(), now));
                now
            }
        };
        stands + if on_its_way { ON_ITS_WAY } else { AT_REST }
    }

    /// Forgets every card of which nothing is to be written.
    pub(crate) fn keep(&mut self, is_due: impl Fn(&str) -> bool) {
        self.since.retain(|card, _| is_due(card));
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
}
