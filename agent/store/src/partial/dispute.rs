//! Sources that do not go on with what another one gave: which of them is out of date shows later.

use std::time::Duration;

use tokio::time::Instant;

use super::{Active, Session};
use crate::inner::lock;

/// What a fetch has found of that.
#[derive(Debug, Default)]
pub(super) struct Dispute {
    /// The running attempt's source does not go on with what another one gave.
    balked: bool,
    /// That of any attempt did not, and nothing has come since.
    disputed: bool,
    /// Whoever has the whole image may give it anew.
    anew: bool,
}

impl Session {
    /// Whether what was received is from another source than this one.
    pub(crate) fn is_of_another(&self, url: &str) -> bool {
        self.received > 0 && self.resume.as_ref().is_some_and(|resume| resume.url != url)
    }

    /// A new attempt: nothing has been found of it yet.
    pub(crate) fn begin_attempt(&mut self) {
        self.dispute.balked = false;
    }

    /// This source has an image of another size than what another one gave is of. Where the size is
    /// told it is the one that is wrong; else that shows later.
    pub(crate) fn has_other_size(&mut self) {
        self.dispute.balked = true;
        if self.wanted.is_none() {
            self.keep_in_dispute();
        }
    }

    /// This source does not go on with what another one gave, whichever image it has.
    pub(crate) fn does_not_go_on(&mut self) {
        self.dispute.balked = true;
        self.keep_in_dispute();
    }

    fn keep_in_dispute(&mut self) {
        self.dispute.disputed = true;
        let Active { inner, digest } = &*self.active;
        if let Some(partial) = lock(&inner.state).partials.get_mut(digest) {
            partial.disputed.get_or_insert_with(Instant::now);
        }
    }

    /// Ends the dispute: what was received grows, or is gone.
    pub(super) fn settle(&mut self) {
        self.dispute = Dispute {
            balked: self.dispute.balked,
            ..Dispute::default()
        };
        let Active { inner, digest } = &*self.active;
        if let Some(partial) = lock(&inner.state).partials.get_mut(digest) {
            partial.disputed = None;
        }
    }

    /// Whether the running attempt found that its source does not go on with what another one gave.
    pub(crate) fn has_balked(&self) -> bool {
        self.dispute.balked
    }

    /// For how long nothing has come to what was received, counted in this process from the first time
    /// that a source did not go on with it; `None` if all that answer would.
    pub(crate) fn disputed_for(&self) -> Option<Duration> {
        let Active { inner, digest } = &*self.active;
        let state = lock(&inner.state);
        let since = state.partials.get(digest)?.disputed;
        since
            .filter(|_| self.dispute.disputed)
            .map(|since| since.elapsed())
    }

    /// From here on whoever has the whole image gives it anew, but the source that began. What was
    /// received stays until then.
    pub(crate) fn ask_anew(&mut self) {
        self.dispute.anew = true;
    }

    /// Whether that is so.
    pub(crate) fn is_asked_anew(&self) -> bool {
        self.dispute.anew
    }
}
