//! How many endpoints are looked at together, in classes of their own. Pure.
//!
//! What failed the last time waits for itself only: it has a few slots of its own. An endpoint
//! of the main class that gives no answer at all for [`PATIENCE`] moves to those few as well, so
//! that its neighbours get its slot back.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an endpoint of the main class may keep its slot without any answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A plain connect.
    Knock,
    /// An endpoint that nothing speaks against.
    Main,
    /// An endpoint that failed the last time, or keeps everybody waiting.
    Doubtful,
}

/// Every class, the one first whose endpoints wait the least for others.
pub(super) const CLASSES: [Class; 3] = [Class::Main, Class::Doubtful, Class::Knock];

#[derive(Debug)]
struct Taken {
    class: Class,
    since: Instant,
    answered: bool,
}

/// The slots and who has them.
#[derive(Debug)]
pub(super) struct Slots {
    concurrency: usize,
    taken: BTreeMap<String, Taken>,
}

impl Slots {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            taken: BTreeMap::new(),
        }
    }

    fn room(&self, class: Class) -> usize {
        match class {
            Class::Knock | Class::Main => self.concurrency,
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
            answered: false,
        };
        self.taken.insert(who, taken);
    }

    /// It answers, so it keeps its slot to the end.
    pub(super) fn answered(&mut self, who: &str) {
        if let Some(taken) = self.taken.get_mut(who) {
            taken.answered = true;
        }
    }

    pub(super) fn give_back(&mut self, who: &str) {
        self.taken.remove(who);
    }

    /// Moves out of the main class whoever has kept it waiting, as far as there is room.
    pub(super) fn part(&mut self, now: Instant) {
        let doubtful = self
            .taken
            .values()
            .filter(|taken| taken.class == Class::Doubtful)
            .count();
        let room = self.room(Class::Doubtful).saturating_sub(doubtful);
        let late = self
            .taken
            .values_mut()
            .filter(|taken| keeps_waiting(taken) && now >= taken.since + PATIENCE);
        for taken in late.take(room) {
            taken.class = Class::Doubtful;
        }
    }

    /// When [`Slots::part`] has something to do again.
    pub(super) fn wake(&self) -> Option<Instant> {
        if !self.is_free(Class::Doubtful) {
            return None;
        }
        let waiting = self.taken.values().filter(|taken| keeps_waiting(taken));
        waiting.map(|taken| taken.since + PATIENCE).min()
    }
}

fn keeps_waiting(taken: &Taken) -> bool {
    taken.class == Class::Main && !taken.answered
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
        slots.answered("reads");
        assert!(!slots.is_free(Class::Main) && slots.is_free(Class::Doubtful));
        assert_eq!(slots.wake(), Some(start + PATIENCE));
        slots.part(start + PATIENCE);
        assert!(slots.is_free(Class::Main) && !slots.is_free(Class::Doubtful));
        slots.take("next".to_owned(), Class::Main, start + PATIENCE);
        slots.part(start + PATIENCE * 9);
        // The few are taken, so this one stays where it is.
        assert!(!slots.is_free(Class::Main));
        assert_eq!(slots.wake(), None);
        slots.give_back("hangs");
        slots.part(start + PATIENCE * 9);
        assert!(slots.is_free(Class::Main));
    }

    proptest! {
        #[test]
        fn no_class_is_ever_overbooked(steps in prop::collection::vec((0_u8..5, 0_usize..12), 1..200)) {
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
                    _ => {
                        now += PATIENCE;
                        slots.part(now);
                    }
                }
                for (class, most) in CLASSES.into_iter().zip([5, 1, 5]) {
                    let taken = slots.taken.values().filter(|taken| taken.class == class).count();
                    prop_assert!(taken <= most, "{class:?}: {taken}");
                }
            }
        }
    }
}
