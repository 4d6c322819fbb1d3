//! What an earlier process has left: what it had accepted, and what its card shows since. Pure: no
//! I/O, no clock.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::directive::{Directive, OutcomeKind};
use lockstep_crds::report::{Execution, Outcome};
use lockstep_local::Fact;

use crate::site::execute::End;
use crate::site::journal::{Entry, Stage, restarted};
use crate::site::judge::Refusal;

/// What clocks of operator, host and card may differ by, and a reset may take.
const SLACK: SignedDuration = SignedDuration::from_secs(120);

/// How much of the image a card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// All of it, or it is not known otherwise.
    Whole,
    /// Whoever pushed died, perhaps before the end of it.
    Perhaps,
}

/// What was left.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Left<'a> {
    /// Nothing was ever accepted.
    Nothing,
    /// The report says how it ended.
    Told(i64),
    /// It ended like this, and the report does not say so.
    Ended(Execution),
    /// Its effect may have begun, and so much of its image the card has.
    Begun(&'a Directive, Handed),
    /// The report alone says that it was accepted.
    Unnoted(i64),
}

/// Joins what the report says with the latest note; the higher seq wins. A report that is lost
/// takes no note with it: what was done once is not done again.
pub(super) fn left<'a>(report: Option<&Execution>, note: Option<&'a Entry>) -> Left<'a> {
    let reported = report.map_or(0, |execution| execution.accepted);
    let is_told = report.is_some_and(|execution| execution.outcome.is_some());
    let Some(note) = note.filter(|note| note.directive.seq >= reported) else {
        return match reported {
            0 => Left::Nothing,
            seq if is_told => Left::Told(seq),
            seq => Left::Unnoted(seq),
        };
    };
    let seq = note.directive.seq;
    if is_told && reported == seq {
        return Left::Told(seq);
    }
    let ended = |outcome: Outcome| {
        Left::Ended(Execution {
            accepted: seq,
            outcome: Some(outcome),
        })
    };
    match (note.outcome.clone(), note.stage) {
        (Some(outcome), _) => ended(outcome),
        (None, Stage::Accepted | Stage::Ended) => ended(restarted(
            OutcomeKind::Failed,
            "the host's agent restarted before it touched the card",
        )),
        (None, Stage::Acting) => Left::Begun(&note.directive, Handed::Perhaps),
        (None, Stage::Sent) => Left::Begun(&note.directive, Handed::Whole),
    }
}

/// Whether a card was reset since a directive was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// It has run for longer.
    No,
    /// It has run for less.
    Yes,
    /// It does not say, or the clocks are too close.
    Unclear,
}

/// What a card's uptime says of that.
pub(super) fn reset_since(
    directive: &Directive,
    uptime_seconds: &Fact<u64>,
    now: Timestamp,
) -> Reset {
    let Fact::Known(uptime) = uptime_seconds else {
        return Reset::Unclear;
    };
    let uptime = i64::try_from(*uptime).map_or(SignedDuration::MAX, SignedDuration::from_secs);
    let since = now.duration_since(directive.issued_at.0);
    if uptime > since + SLACK {
        Reset::No
    } else if uptime < since - SLACK {
        Reset::Yes
    } else {
        Reset::Unclear
    }
}

/// The end of a push of which nobody can tell.
pub(super) fn interrupted() -> End {
    End::Unknown(Refusal::new(
        "ExecutorRestarted",
        "the host's agent restarted in the middle; what the card's own agent reports tells what became of it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples;

    fn note(seq: i64, stage: Stage, outcome: Option<OutcomeKind>) -> Entry {
        Entry {
            directive: samples::directive(seq, "PushImage"),
            stage,
            outcome: outcome.map(plain),
        }
    }

    fn plain(result: OutcomeKind) -> Outcome {
        restarted(result, "as it was")
    }

    fn report(accepted: i64, outcome: Option<OutcomeKind>) -> Execution {
        Execution {
            accepted,
            outcome: outcome.map(plain),
        }
    }

    #[test]
    fn the_higher_of_report_and_notes_wins() {
        use OutcomeKind::{Done, Failed};
        let acting = note(4, Stage::Acting, None);
        let sent = note(4, Stage::Sent, None);
        let ended = note(4, Stage::Ended, Some(Done));
        let taken = note(4, Stage::Accepted, None);
        let of = |left: &Left<'_>| match left {
            Left::Nothing => ("nothing", 0, None),
            Left::Told(seq) => ("told", *seq, None),
            Left::Ended(end) => {
                let result = end.outcome.as_ref().map(|outcome| outcome.result.clone());
                ("ended", end.accepted, result)
            }
            Left::Begun(directive, Handed::Perhaps) => ("begun", directive.seq, None),
            Left::Begun(directive, Handed::Whole) => ("sent", directive.seq, None),
            Left::Unnoted(seq) => ("unnoted", *seq, None),
        };
        let cases = [
            (None, None, ("nothing", 0, None)),
            (Some(report(0, None)), None, ("nothing", 0, None)),
            (Some(report(4, Some(Done))), None, ("told", 4, None)),
            (Some(report(4, None)), None, ("unnoted", 4, None)),
            // The report is lost, or was set back.
            (None, Some(&acting), ("begun", 4, None)),
            (None, Some(&ended), ("ended", 4, Some(Done))),
            (None, Some(&taken), ("ended", 4, Some(Failed))),
            (Some(report(0, None)), Some(&acting), ("begun", 4, None)),
            (Some(report(0, None)), Some(&sent), ("sent", 4, None)),
            (
                Some(report(3, Some(Done))),
                Some(&acting),
                ("begun", 4, None),
            ),
            (Some(report(4, None)), Some(&acting), ("begun", 4, None)),
            (
                Some(report(4, None)),
                Some(&ended),
                ("ended", 4, Some(Done)),
            ),
            // The report knows better than a note that was not ended.
            (
                Some(report(4, Some(Done))),
                Some(&acting),
                ("told", 4, None),
            ),
            (
                Some(report(5, Some(Done))),
                Some(&acting),
                ("told", 5, None),
            ),
            (Some(report(5, None)), Some(&acting), ("unnoted", 5, None)),
        ];
        for (report, note, wanted) in cases {
            let found = left(report.as_ref(), note);
            assert_eq!(of(&found), wanted, "{report:?} {note:?}");
        }
    }

    #[test]
    fn only_an_uptime_that_is_clearly_shorter_or_longer_tells_of_a_reset() {
        // Issued ten minutes ago.
        let directive = samples::directive(4, "PushImage");
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        for (uptime, wanted) in [
            (Fact::Known(0), Reset::Yes),
            (Fact::Known(479), Reset::Yes),
            (Fact::Known(480), Reset::Unclear),
            (Fact::Known(720), Reset::Unclear),
            (Fact::Known(721), Reset::No),
            (Fact::Known(u64::MAX), Reset::No),
            (Fact::NotOffered, Reset::Unclear),
            (Fact::NotRead("x".to_owned()), Reset::Unclear),
        ] {
            assert_eq!(reset_since(&directive, &uptime, now), wanted, "{uptime:?}");
        }
    }
}
