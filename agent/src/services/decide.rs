//! What is to be done about one service now. Pure.

use lockstep_store::Digest;
use tokio::time::Instant;

/// What is wanted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It runs, with these bytes.
    Run(Digest),
    /// What runs goes on, and nothing is started: it is wanted, and nothing is offered.
    Leave,
    /// It is stopped, and what it left on this card is removed.
    Gone,
}

/// How it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What runs, by its hash.
    pub(super) running: Option<Digest>,
    /// When what runs is ended by force, if it was asked to end.
    pub(super) force_at: Option<Instant>,
    /// Whether the wanted bytes are on this card.
    pub(super) has_bytes: bool,
    /// Whether they are being fetched.
    pub(super) is_fetching: bool,
    /// Not to be tried before this.
    pub(super) retry_at: Option<Instant>,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before the next news.
    Rest,
    /// Get these bytes, and verify them.
    Fetch(Digest),
    /// Start these bytes.
    Start(Digest),
    /// Ask what runs to end.
    Stop,
    /// End it by force.
    Force,
    /// Nothing of it is left: forget it.
    Forget,
}

/// Decides. What runs is stopped for other bytes only once those are here and verified.
pub(super) fn decide(wish: Wish, seen: Seen, now: Instant) -> Step {
    let waits = seen.is_fetching || seen.retry_at.is_some_and(|at| now < at);
    match (seen.running, wish) {
        (Some(_), _) if seen.force_at.is_some_and(|at| at <= now) => Step::Force,
        (Some(_), _) if seen.force_at.is_some() => Step::Rest,
        (Some(_), Wish::Leave) => Step::Rest,
        (Some(_), Wish::Gone) => Step::Stop,
        (Some(running), Wish::Run(wanted)) if running == wanted => Step::Rest,
        (Some(_), Wish::Run(_)) if seen.has_bytes && !waits => Step::Stop,
        (None, Wish::Run(wanted)) if seen.has_bytes && !waits => Step::Start(wanted),
        (_, Wish::Run(wanted)) if !waits => Step::Fetch(wanted),
        (_, Wish::Run(_)) | (None, Wish::Leave) => Step::Rest,
        (None, Wish::Gone) => Step::Forget,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn digest(of: u8) -> Digest {
        Digest::of(&[of])
    }

    fn wishes() -> impl Strategy<Value = Wish> {
        prop_oneof![
            (0_u8..3).prop_map(|of| Wish::Run(digest(of))),
            Just(Wish::Leave),
            Just(Wish::Gone),
        ]
    }

    proptest! {
        /// One copy at a time, of nothing but what is wanted and is here; nothing is stopped for
        /// bytes that are not.
        #[test]
        fn nothing_starts_that_is_not_wanted_whole_and_alone(
            wish in wishes(),
            running in prop::option::of(0_u8..3),
            has_bytes: bool,
            is_fetching: bool,
            force in prop::option::of(-5_i64..5),
            retry in prop::option::of(-5_i64..5),
        ) {
            let now = Instant::now() + Duration::from_secs(60);
            let at = |offset: i64| {
                let seconds = u64::try_from(60 + offset).unwrap();
                now - Duration::from_secs(60) + Duration::from_secs(seconds)
            };
            let running = running.map(digest);
            let seen = Seen {
                running,
                force_at: force.map(at),
                has_bytes,
                is_fetching,
                retry_at: retry.map(at),
            };
            match decide(wish, seen, now) {
                Step::Start(bytes) => {
                    prop_assert_eq!(wish, Wish::Run(bytes));
                    prop_assert!(running.is_none() && has_bytes && !is_fetching);
                }
                Step::Fetch(bytes) => {
                    prop_assert_eq!(wish, Wish::Run(bytes));
                    prop_assert!(!has_bytes && !is_fetching && running != Some(bytes));
                }
                Step::Stop => match wish {
                    Wish::Run(bytes) => prop_assert!(has_bytes && running != Some(bytes)),
                    Wish::Gone => prop_assert!(running.is_some()),
                    Wish::Leave => prop_assert!(false, "what is to be left is stopped"),
                },
                Step::Force => prop_assert!(running.is_some() && force.is_some_and(|at| at <= 0)),
                Step::Forget => prop_assert!(wish == Wish::Gone && running.is_none()),
                Step::Rest => {}
            }
        }
    }

    #[test]
    fn another_version_takes_the_place_of_one_that_runs_until_then() {
        let now = Instant::now();
        let wish = Wish::Run(digest(2));
        let mut seen = Seen {
            running: Some(digest(1)),
            force_at: None,
            has_bytes: false,
            is_fetching: false,
            retry_at: None,
        };
        assert_eq!(decide(wish, seen, now), Step::Fetch(digest(2)));
        seen.is_fetching = true;
        assert_eq!(decide(wish, seen, now), Step::Rest);
        seen.is_fetching = false;
        seen.has_bytes = true;
        assert_eq!(decide(wish, seen, now), Step::Stop);
        seen.force_at = Some(now + Duration::from_secs(1));
        assert_eq!(decide(wish, seen, now), Step::Rest);
        seen.running = None;
        seen.force_at = None;
        assert_eq!(decide(wish, seen, now), Step::Start(digest(2)));
        assert_eq!(decide(Wish::Leave, seen, now), Step::Rest);
        assert_eq!(decide(Wish::Gone, seen, now), Step::Forget);
    }
}
