//! What a store has seen of the way to one image for one card: for whoever has to tell why the
//! card got nothing.

use std::ops::Range;
use std::time::SystemTime;

/// The last thing that was answered under a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The length of the image, without its bytes.
    Headers,
    /// All bytes that were asked for.
    Bytes,
    /// Bytes up to `at`, where the connection ended before all were sent that were asked for.
    Cut {
        /// The first byte that was not sent.
        at: u64,
    },
    /// That the image has no such range.
    NoSuchRange,
    /// That there is neither image nor method of that kind: only `GET` and `HEAD` are answered.
    NoSuchMethod,
    /// That nothing is there, to a request for what had been granted to the card before.
    Ended,
    /// That the image cannot be read here.
    Failed,
}

/// What is remembered of a grant from when it was made or last handed out, or this process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// When it was granted or last handed out; `None`: before this process started, so that something may be unknown.
    pub granted_at: Option<SystemTime>,
    /// Length of the image, once it was asked for.
    pub length: u64,
    /// Whether bytes of it were sent.
    pub has_bytes: bool,
    /// Whether all of it was sent in one response.
    pub is_whole: bool,
    /// Responses being sent now.
    pub active: u64,
    /// What was answered last, and when that was known. Once bytes were sent, of those alone.
    pub last: Option<(Answered, SystemTime)>,
}

impl Sight {
    pub(crate) fn begun() -> Self {
        Self {
            granted_at: Some(SystemTime::now()),
            ..Self::default()
        }
    }

    /// Whoever has read bytes got what the URL is for: what it asks for without getting any after
    /// that, as the end of the image's ranges or an old URL once more, keeps it from nothing.
    pub(crate) fn answered(&mut self, answer: Answered) {
        let without_bytes = match answer {
            Answered::Headers
            | Answered::NoSuchRange
            | Answered::NoSuchMethod
            | Answered::Ended => true,
            Answered::Bytes | Answered::Cut { .. } | Answered::Failed => false,
        };
        if without_bytes && self.has_bytes {
            return;
        }
        self.last = Some((answer, SystemTime::now()));
    }

    pub(crate) fn sends(&mut self, length: u64) {
        self.length = length;
        self.active += 1;
    }

    /// One response could not be gone on with.
    pub(crate) fn failed(&mut self) {
        self.active -= 1;
        self.answered(Answered::Failed);
    }

    /// One response has come to an end, with this left of what was asked for.
    pub(crate) fn sent(&mut self, asked: &Range<u64>, rest: &Range<u64>) {
        self.active -= 1;
        self.has_bytes |= rest.start > asked.start;
        if rest.is_empty() {
            self.is_whole |= *asked == (0..self.length);
            self.answered(Answered::Bytes);
        } else {
            self.answered(Answered::Cut { at: rest.start });
        }
    }
}
