//! Until when a push may begin, and by when it must be over. Pure: no I/O, no clock.
//!
//! Once a directive's time is over, the operator no longer waits for it and goes on by another way.
//! Two that write to one card would be the end of it (S7), so the time of a push ends with that of its
//! directive, however late it began.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::directive::Directive;

use crate::site::judge::Refusal;

/// The longest time to settle that anybody gives.
const LONGEST: i64 = 3600;

/// What a push takes at the slowest.
#[derive(Clone, Copy, Debug)]
pub(in crate::host) struct Pace {
    pub(in crate::host) bytes_per_second: u64,
    /// For the reset, and for whatever is slower than that for a while.
    pub(in crate::host) beside: Duration,
}

impl Default for Pace {
    /// By PCIe it goes several times as fast.
    fn default() -> Self {
        Self {
            bytes_per_second: 2 << 20,
            beside: Duration::from_secs(60),
        }
    }
}

impl Pace {
    fn of(self, bytes: u64) -> SignedDuration {
        let seconds = bytes / self.bytes_per_second.max(1);
        let all = self.beside.saturating_add(Duration::from_secs(seconds));
        SignedDuration::try_from(all).unwrap_or(SignedDuration::MAX)
    }
}

/// When the operator no longer waits for the directive.
pub(in crate::host) fn over(directive: &Directive) -> Timestamp {
    let settles = directive.settle_seconds.clamp(0, LONGEST);
    let span = SignedDuration::from_secs(settles);
    directive
        .deadline
        .0
        .saturating_add(span)
        .unwrap_or(Timestamp::MAX)
}

/// What is left of the directive's time before a push of so many bytes must have begun; nothing is
/// known of the image as long as that is none.
pub(in crate::host) fn left(
    directive: &Directive,
    bytes: u64,
    pace: Pace,
    now: Timestamp,
) -> Duration {
    let left = over(directive).duration_since(now) - pace.of(bytes);
    Duration::try_from(left).unwrap_or(Duration::ZERO)
}

/// Whether so many bytes can be pushed in what is left of the directive's time.
pub(in crate::host) fn check(
    directive: &Directive,
    bytes: u64,
    pace: Pace,
    now: Timestamp,
) -> Result<(), Refusal> {
    if left(directive, bytes, pace, now).is_zero() {
        return Err(too_late(directive, bytes, now));
    }
    Ok(())
}

/// The refusal of what comes too late.
pub(in crate::host) fn too_late(directive: &Directive, bytes: u64, now: Timestamp) -> Refusal {
    let size = if bytes == 0 {
        "the image".to_owned()
    } else {
        format!("{bytes} bytes")
    };
    Refusal::new(
        "TooLate",
        format!(
            "nothing was done to the card: the operator waits for this until {}, and at {now} there was not enough time left to push or to flash {size}; it plans anew. If that goes on, look at the network from the site's store to this host",
            over(directive)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples;

    /// Accepted until 00:01, settled by 00:11.
    fn push() -> Directive {
        let mut push = samples::directive(1, "PushImage");
        push.settle_seconds = 600;
        push
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    const PACE: Pace = Pace {
        bytes_per_second: 10,
        beside: Duration::from_secs(60),
    };

    #[test]
    fn a_push_begins_only_if_it_can_be_over_when_the_operator_stops_waiting() {
        for (now, bytes, ok) in [
            ("00:00:00", 0, true),
            ("00:09:59", 0, true),
            ("00:10:00", 0, false),
            // 100 s more.
            ("00:08:19", 1000, true),
            ("00:08:20", 1000, false),
            ("01:00:00", 0, false),
            ("00:00:00", u64::MAX, false),
        ] {
            let told = check(&push(), bytes, PACE, at(now));
            assert_eq!(told.is_ok(), ok, "{now} {bytes}");
            if let Err(refusal) = told {
                assert_eq!(refusal.reason, "TooLate");
                assert!(
                    refusal.message.contains("2026-01-01T00:11:00Z"),
                    "{}",
                    refusal.message
                );
            }
        }
    }

    #[test]
    fn no_directive_is_waited_for_longer_than_any_settles() {
        for (settles, wanted) in [(-5, "00:01:00"), (0, "00:01:00"), (i64::MAX, "01:01:00")] {
            let mut push = push();
            push.settle_seconds = settles;
            assert_eq!(over(&push), at(wanted));
        }
    }
}
