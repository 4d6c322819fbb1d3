//! When which endpoint is looked at: the book alone, without anything that takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use lockstep_redfish::{Identified, Service, SpkiPin};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::site::attended::Attendance;

use super::super::book::{Book, Next, Outcome, Pace};
use super::super::failure::{Bearing, Failure};
use super::super::reread::{Again, Seen, Whole};
use super::super::slots::Class;
use super::super::territory::{Target, Territory};

const POLL: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(6 * 3600);

fn book() -> Book {
    Book::new(Pace {
        poll: POLL,
        refresh: REFRESH,
    })
}

fn territory() -> Territory {
    let section = "ranges: [{networks: [10.0.0.0/24], addresses: [10.0.0.1, bmc.example], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}]";
    Territory::new(&serde_yaml::from_str(section).unwrap()).unwrap()
}

fn named() -> BTreeMap<String, Target> {
    territory().named(&[], Timestamp::UNIX_EPOCH).targets
}

fn scanned() -> Target {
    let ip = "10.0.0.7".parse().unwrap();
    territory().scanned_endpoint(ip, 443).unwrap()
}

fn identified(key: &str, service: &str) -> Identified {
    Identified {
        remote: "10.0.0.1:443".parse().unwrap(),
        tls_pin: Some(SpkiPin::of(key.as_bytes())),
        service: Service {
            uuid: Some(service.to_owned()),
            redfish_version: None,
        },
        vendor: None,
        product: None,
    }
}

fn failure(reason: &'static str) -> Failure {
    Failure::new(reason, "why", Bearing::Gone)
}

const LISTED: &str = "https://10.0.0.1";

/// A book in which the listed endpoint was read whole.
fn read(now: Instant) -> Book {
    let mut book = book();
    book.retarget(&named(), now);
    assert_eq!(book.next(Class::Knock, now).as_deref(), Some(LISTED));
    book.listens(LISTED, now);
    while let Some(key) = book.next(Class::Main, now) {
        let seen = Seen::new(&identified("k", "s"), "1");
        let whole = Whole {
            seen,
            here: BTreeSet::new(),
            again: Again::AtRefresh,
        };
        book.answered(&key, Outcome::Identified, Some(whole), Next::Poll, now);
    }
    book
}

#[test]
fn what_is_new_is_knocked_at_if_its_door_is_known() {
    let now = Instant::now();
    let mut book = book();
    book.retarget(&named(), now);
    assert_eq!(book.next(Class::Knock, now).as_deref(), Some(LISTED));
    assert_eq!(
        book.next(Class::Main, now).as_deref(),
        Some("https://bmc.example")
    );
    // What is under way is not begun again.
    assert_eq!(book.next(Class::Knock, now + POLL * 99), None);
    book.listens(LISTED, now);
    assert_eq!(book.next(Class::Main, now).as_deref(), Some(LISTED));
}

#[test]
fn it_is_read_whole_only_when_something_speaks_for_it() {
    let now = Instant::now();
    let mut book = read(now);
    let is_due = |book: &Book, key: &str, service: &str, version: &str, later: Duration| {
        book.is_to_be_read(LISTED, &identified(key, service), version, now + later)
    };
    let minute = Duration::from_secs(60);
    assert!(!is_due(&book, "k", "s", "1", minute));
    assert!(is_due(&book, "other", "s", "1", minute));
    assert!(is_due(&book, "k", "other", "1", minute));
    assert!(is_due(&book, "k", "s", "2", minute));
    assert!(is_due(&book, "k", "s", "1", REFRESH.mul_f64(1.1)));
    assert!(!is_due(&book, "k", "s", "1", REFRESH.mul_f64(0.9) - minute));
    book.hurry(LISTED, true, now);
    assert!(is_due(&book, "k", "s", "1", minute));
    book.bar(LISTED, "2", failure("CredentialsRefused"));
    assert!(!is_due(&book, "other", "s", "2", REFRESH * 2));
    assert!(is_due(&book, "k", "s", "3", minute));
}

#[test]
fn a_look_waits_while_somebody_else_looks_unless_it_was_asked_for() {
    let now = Instant::now();
    let mut book = read(now);
    let look = |at: Instant| Attendance {
        at,
        pin: Some(SpkiPin::of(b"k")),
        machine: None,
        service: None,
    };
    let at = now + POLL;
    let later = at + POLL;
    assert_eq!(
        book.may_wait(LISTED, &look(at), later),
        Some(at + POLL * 3 / 2)
    );
    // Where another key is seen, who has it is to be found out.
    for pin in [None, Some(SpkiPin::of(b"other"))] {
        let other = Attendance {
            at,
            pin,
            machine: None,
            service: None,
        };
        assert_eq!(book.may_wait(LISTED, &other, later), None);
    }
    // What was seen too long ago counts for nothing, and a reading that is due is made.
    assert_eq!(book.may_wait(LISTED, &look(at), at + POLL * 3 / 2), None);
    let due = now + REFRESH.mul_f64(1.1);
    assert_eq!(book.may_wait(LISTED, &look(due), due), None);
    let second = Duration::from_secs(1);
    let mut last = now + REFRESH.mul_f64(0.9) - second;
    while book
        .may_wait(LISTED, &look(last + second), last + second)
        .is_some()
    {
        last += second;
    }
    let until = book.may_wait(LISTED, &look(last), last).unwrap();
    assert!(last < until && until <= last + second);
    // Whoever asks for a look means this one.
    book.hurry(LISTED, false, later);
    assert_eq!(book.may_wait(LISTED, &look(at), later), None);
    while book.next(Class::Main, later).as_deref() != Some(LISTED) {}
    book.hurry(LISTED, false, later);
    book.unchanged(LISTED, later);
    assert_eq!(book.may_wait(LISTED, &look(at), later), None);
    while book.next(Class::Main, later).as_deref() != Some(LISTED) {}
    book.unchanged(LISTED, later);
    assert!(book.may_wait(LISTED, &look(at), later).is_some());
    // Nobody vouches for what failed.
    book.failed(LISTED, failure("NoAnswer"), later);
    assert_eq!(book.may_wait(LISTED, &look(at), later), None);
}

#[test]
fn failures_wait_longer_and_longer_and_apart_from_the_rest() {
    let start = Instant::now();
    let mut book = read(start);
    let mut now = start + POLL * 2;
    let mut pauses = Vec::new();
    let mut class = Class::Main;
    for _ in 0..12 {
        while book.next(class, now).as_deref() != Some(LISTED) {
            now += Duration::from_secs(1);
        }
        let failed_at = now;
        book.failed(LISTED, failure("NoAnswer"), now);
        class = Class::Doubtful;
        pauses.push(book.wake(class).unwrap() - failed_at);
        now = book.wake(class).unwrap();
    }
    assert!(pauses[0] <= Duration::from_secs(10));
    for (at, pause) in pauses.iter().enumerate() {
        let longest = Duration::from_secs((10 << at).min(600));
        assert!(*pause <= longest && *pause >= longest / 2, "{pauses:?}");
    }
}

#[test]
fn a_scanned_address_that_never_was_a_bmc_and_falls_silent_is_forgotten() {
    let now = Instant::now();
    let mut book = book();
    let target = scanned();
    book.found(&target, now);
    assert_eq!(book.next(Class::Main, now).as_ref(), Some(&target.key));
    book.failed(&target.key, failure("NotRedfish"), now);
    assert!(book.is_tracked(&target.key));
    book.failed(&target.key, failure("Unreachable"), now);
    assert!(!book.is_tracked(&target.key));
    assert_eq!(book.wake(Class::Doubtful), None);
}

#[test]
fn one_that_is_asked_for_while_it_is_looked_at_is_looked_at_again() {
    let now = Instant::now();
    let mut book = read(now);
    let later = now + POLL * 2;
    let mut begun = Vec::new();
    while let Some(key) = book.next(Class::Main, later) {
        begun.push(key);
    }
    assert!(begun.iter().any(|key| key == LISTED));
    book.hurry(LISTED, false, later);
    assert_eq!(book.next(Class::Main, later), None);
    book.unchanged(LISTED, later);
    assert_eq!(book.next(Class::Main, later).as_deref(), Some(LISTED));
}

proptest! {
    /// Whatever happens to an endpoint, it is in one queue or under way, and one that answers
    /// is asked at most once a poll interval.
    #[test]
    fn no_endpoint_is_lost_or_asked_too_often(steps in prop::collection::vec(0_u8..6, 1..60)) {
        let mut now = Instant::now();
        let mut book = read(now);
        let mut asked: Option<Instant> = None;
        for step in steps {
            let due = [Class::Knock, Class::Main, Class::Doubtful]
                .into_iter()
                .filter_map(|class| book.wake(class))
                .min();
            prop_assert!(due.is_some());
            now = now.max(due.unwrap());
            let key = [Class::Knock, Class::Main, Class::Doubtful]
                .into_iter()
                .find_map(|class| book.next(class, now))
                .unwrap();
            let is_listed = key == LISTED;
            if is_listed && let Some(before) = asked.take() {
                prop_assert!(now >= before + POLL);
            }
            match step {
                0 => book.failed(&key, failure("NoAnswer"), now),
                1 => book.failed(&key, failure("Unreachable"), now),
                2 => book.listens(&key, now),
                3 => book.postponed(&key, now),
                4 => book.answered(&key, Outcome::NotYet, None, Next::Poll, now),
                _ => book.unchanged(&key, now),
            }
            if is_listed && step >= 3 {
                asked = Some(now);
            }
            prop_assert!(book.is_tracked(LISTED));
        }
    }
}
