//! What one machine needs next, before it is weighed against the others.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::directive::{Action, ActionKind, Expects, Step, Target};
use lockstep_crds::host::ReleaseReason;

use crate::decision::Explanation;
use crate::give_back;
use crate::reason::Reason;

/// What one machine needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// An effect.
    Act(Box<Draft>),
    /// A hold by taint begins or ends: an entry in the record, which the Node follows.
    Taint(TaintStep),
    /// Patience, within a limit.
    Wait(Explanation, Limit),
    /// Nothing, by the user's own choice.
    Hold(Explanation),
    /// A person.
    Stall(Explanation),
    /// Nothing: all is as wanted.
    Done,
}

/// What becomes of a hold by taint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaintStep {
    /// It begins.
    Begin {
        /// What people read.
        message: String,
    },
    /// It ends.
    End {
        /// Why.
        reason: ReleaseReason,
        /// What people read.
        message: String,
    },
}

impl TaintStep {
    /// What people read of it.
    pub fn message(&self) -> &str {
        match self {
            Self::Begin { message } | Self::End { message, .. } => message,
        }
    }
}

/// Until when a wait is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// This long after it began; the beginning is recorded.
    For(SignedDuration),
    /// A time that follows from something recorded already.
    Until(Timestamp),
}

/// A directive without its number and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The step it serves.
    pub step: Step,
    /// The machine.
    pub target: Target,
    /// The effect.
    pub action: Action,
    /// Preconditions for the executor.
    pub expects: Expects,
    /// Seconds after acceptance within which the effect may land.
    pub settle_seconds: i64,
    /// What people read while it is carried out.
    pub message: String,
    /// Why the hold ends, for `ReleaseHost`.
    pub release: Option<ReleaseReason>,
}

impl Draft {
    /// Whether it takes back what was begun.
    pub(crate) fn undoes(&self) -> bool {
        give_back::undoes(&self.target.kind, &self.action)
    }
}

impl Intent {
    /// An effect.
    pub fn act(draft: Draft) -> Self {
        Self::Act(Box::new(draft))
    }

    /// A wait of at most `limit` from when it is first seen.
    pub fn wait(reason: Reason, message: impl Into<String>, limit: SignedDuration) -> Self {
        Self::Wait(Explanation::new(reason, message), Limit::For(limit))
    }

    /// A wait until a recorded deadline.
    pub fn wait_until(reason: Reason, message: impl Into<String>, until: Timestamp) -> Self {
        Self::Wait(Explanation::new(reason, message), Limit::Until(until))
    }

    /// A stall.
    pub fn stall(reason: Reason, message: impl Into<String>) -> Self {
        Self::Stall(Explanation::new(reason, message))
    }

    /// A user's own choice.
    pub fn hold(reason: Reason, message: impl Into<String>) -> Self {
        Self::Hold(Explanation::new(reason, message))
    }

    /// The recorded deadline of a wait that has one.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Wait(_, Limit::Until(until)) => Some(*until),
            Self::Wait(_, Limit::For(_))
            | Self::Act(_)
            | Self::Taint(_)
            | Self::Hold(_)
            | Self::Stall(_)
            | Self::Done => None,
        }
    }
}

/// An action without parameters.
pub fn plain(kind: ActionKind) -> Action {
    Action {
        kind,
        image: None,
        component: None,
        activation: None,
        configuration: None,
        wipe: None,
        boot_macs: Vec::new(),
        power_on: None,
        work_order: None,
    }
}
