//! How many endpoints are looked at together, in classes of their own. Pure.
//!
//! What failed the last time waits for itself only: it has a few slots of its own. An endpoint
//! of the main class that gives no answer at all for [`PATIENCE`] moves to those few as well, so
//! that its neighbours get its slot back. One that answered and then takes far longer to be read
//! than others do moves out of their way, too: it may have stalled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// How long an endpoint of the main class may keep its slot without any answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long reading one may take before it is known how long it usually does.
const FIRST_READING: Duration = Duration::from_secs(12);

/// Readings that tell how long one usually takes, at least and at most.
const READINGS: (usize, usize) = (8, 64);

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A plain connect.
    Knock,
    /// An endpoint that nothing speaks against.
    Main,
    /// An endpoint that failed the last time, or keeps everybody waiting.
    Doubtful,
    /// An endpoint that is being read for longer than others. Nothing begins here.
    Long,
}

/// Every class, the one first whose endpoints wait the least for others.
pub(super) const CLASSES: [Class; 3] = [Class::Main, Class::Doubtful, Class::Knock];

#[derive(Debug)]
struct Taken {
    class: Class,
    since: Instant,
    /// Since when it is being read.
    read_since: Option<Instant>,
}

/// The slots and who has them.
#[derive(Debug)]
pub(super) struct Slots {
    concurrency: usize,
    taken: BTreeMap<String, Taken>,
    /// How long the last ones took to be read.
    readings: VecDeque<Duration>,
}

impl Slots {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            taken: BTreeMap::new(),
            readings: VecDeque::new(),
        }
    }

    fn room(&self, class: Class) -> usize {
        match class {
            Class::Knock | Class::Main | Class::Long => self.concurrency,
            Class::Doubtful => self.concurrency.div_ceil(8),
        }
    }

    pub(super) fn is_free(&self, class: Class) -> bool {
        let taken = self.taken.values().filter(|taken| taken.class == class);
        taken.count() < self.room(class)
    }

    pub(super) fn take(&mut self, who: String, class: Class, now: Instant) {
        let taken = Taken {
            class,
            since: now,
            read_since: None,
        };
        self.taken.insert(who, taken);
    }

    /// It answers, so it may keep its slot for as long as it takes to read it.
    pub(super) fn answered(&mut self, who: &str, now: Instant) {
        if let Some(taken) = self.taken.get_mut(who) {
            taken.read_since = Some(now);
        }
    }

    /// It was read whole.
    pub(super) fn was_read(&mut self, who: &str, now: Instant) {
        let taken = self.taken.remove(who);
        let Some(since) = taken.and_then(|taken| taken.read_since) else {
            return;
        };
        if self.readings.len() == READINGS.1 {
            self.readings.pop_front();
        }
        self.readings.push_back(now - since);
    }

    /// How long an endpoint may be read before it makes room for others: twice as long as half of them take.
    fn longest_reading(&self) -> Duration {
        if self.readings.len() < READINGS.0 {
            return FIRST_READING;
        }
        let mut sorted: Vec<Duration> = self.readings.iter().copied().collect();
        sorted.sort();
        (2 * sorted[sorted.len() / 2]).max(PATIENCE)
    }

    /// Until when whoever has a slot may keep it, and where it goes then.
    fn until(&self, taken: &Taken) -> Option<(Instant, Class)> {
        match (taken.class, taken.read_since) {
            (Class::Main, None) => Some((taken.since + PATIENCE, Class::Doubtful)),
            (Class::Main | Class::Doubtful, Some(since)) => {
                Some((since + self.longest_reading(), Class::Long))
            }
            (Class::Doubtful, None) | (Class::Knock | Class::Long, _) => None,
        }
    }

    pub(super) fn give_back(&mut self, who: &str) {
        self.taken.remove(who);
    }

    /// Moves out of the way whoever has kept others waiting, as far as there is room.
    pub(super) fn part(&mut self, now: Instant) {
        let due: Vec<(String, Class)> = self
            .taken
            .iter()
            .filter_map(|(who, taken)| {
                let (until, class) = self.until(taken)?;
                (now >= until).then(|| (who.clone(), class))
            })
            .collect();
        for (who, class) in due {
            if self.is_free(class)
                && let Some(taken) = self.taken.get_mut(&who)
            {
                taken.class = class;
            }
        }
    }

    /// When [`Slots::part`] has something to do again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let ends = self.taken.values().filter_map(|taken| self.until(taken));
        ends.filter(|(_, class)| self.is_free(*class))
            .map(|(until, _)| until)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_that_hangs_gives_its_slot_back_and_one_that_answers_keeps_it() {
        let start = Instant::now();
        let mut slots = Slots::new(2);
        slots.take("hangs".to_owned(), Class::Main, start);
        slots.take("reads".to_owned(), Class::Main, start);
        slots.answered("reads", start + PATIENCE * 9);
        assert!(!slots.is_free(Class::Main) && slots.is_free(Class::Doubtful));
        assert_eq!(slots.wake(), Some(start + PATIENCE));
        slots.part(start + PATIENCE);
        assert!(slots.is_free(Class::Main) && !slots.is_free(Class::Doubtful));
        slots.take("next".to_owned(), Class::Main, start + PATIENCE);
        slots.part(start + PATIENCE * 9);
        // The few are taken, so this one stays where it is.
        assert!(!slots.is_free(Class::Main));
        let read = start + PATIENCE * 9 + FIRST_READING;
        assert_eq!(slots.wake(), Some(read));
        slots.give_back("hangs");
        slots.part(start + PATIENCE * 9);
        assert!(slots.is_free(Class::Main));
    }

    #[test]
    fn one_that_stalls_while_it_is_read_makes_room_sooner_where_others_are_quick() {
        let start = Instant::now();
        let mut slots = Slots::new(1);
        let second = Duration::from_secs(1);
        let read = |slots: &mut Slots, took: Duration| {
            slots.take("other".to_owned(), Class::Main, start);
            slots.answered("other", start);
            slots.was_read("other", start + took);
        };
        for (readings, took, until) in [
            (READINGS.0 - 1, second, FIRST_READING),
            (1, second, PATIENCE),
            // Where all are slow, slow is no sign of anything.
            (READINGS.1, second * 40, second * 80),
        ] {
            for _ in 0..readings {
                read(&mut slots, took);
            }
            slots.take("stalls".to_owned(), Class::Main, start);
            slots.answered("stalls", start + second);
            assert_eq!(slots.wake(), Some(start + second + until), "{took:?}");
            slots.part(start + until);
            assert!(!slots.is_free(Class::Main));
            slots.part(start + second + until);
            assert!(slots.is_free(Class::Main) && !slots.is_free(Class::Long));
            assert_eq!(slots.wake(), None);
            slots.give_back("stalls");
        }
    }

    proptest! {
        #[test]
        fn no_class_is_ever_overbooked(steps in prop::collection::vec((0_u8..6, 0_usize..12), 1..200)) {
            let mut now = Instant::now();
            let mut slots = Slots::new(5);
            for (step, who) in steps {
                let who = who.to_string();
                match step {
                    class @ 0..=2 => {
                        let class = CLASSES[usize::from(class)];
                        if slots.is_free(class) && !slots.taken.contains_key(&who) {
                            slots.take(who, class, now);
                        }
                    }
                    3 => slots.give_back(&who),
                    4 => slots.answered(&who, now),
                    _ => {
                        now += PATIENCE;
                        slots.part(now);
                    }
                }
                let all = [(Class::Main, 5), (Class::Doubtful, 1), (Class::Knock, 5), (Class::Long, 5)];
                for (class, most) in all {
                    let taken = slots.taken.values().filter(|taken| taken.class == class).count();
                    prop_assert!(taken <= most, "{class:?}: {taken}");
                }
            }
        }
    }
}
