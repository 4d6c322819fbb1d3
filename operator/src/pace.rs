//! What changes in numbers alone is written now and then: a fleet that comes up changes them once
//! for each of its cards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::key::Key;

/// Between two writes of what changed in numbers alone.
const PAUSE: Duration = Duration::from_secs(15);

/// When each object was written last.
#[derive(Debug, Default)]
pub(crate) struct Pace(BTreeMap<Key, Instant>);

impl Pace {
    /// Until when numbers are not written; `None` if they may be now.
    pub(crate) fn pauses(&self, object: &Key, now: Instant) -> Option<Instant> {
        let until = self.0.get(object).map(|written| *written + PAUSE);
        until.filter(|until| now < *until)
    }

    /// It was written, with its numbers.
    pub(crate) fn written(&mut self, object: &Key, now: Instant) {
        self.0.insert(object.clone(), now);
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, object: &Key) {
        self.0.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_written_at_once_and_the_next_after_a_pause() {
        let mut pace = Pace::default();
        let (image, begin) = (Key::new("lab", "i"), Instant::now());
        assert_eq!(pace.pauses(&image, begin), None);
        pace.written(&image, begin);
        assert_eq!(pace.pauses(&image, begin), Some(begin + PAUSE));
        assert_eq!(pace.pauses(&Key::new("lab", "j"), begin), None);
        assert_eq!(pace.pauses(&image, begin + PAUSE), None);
        pace.forget(&image);
        assert_eq!(pace.pauses(&image, begin), None);
    }
}
