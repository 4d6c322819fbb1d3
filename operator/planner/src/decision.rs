//! What the planner can say: [`Decision`], and [`Plan`], a decision with all that follows from it.

use jiff::Timestamp;
use lockstep_crds::directive::Directive;
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::reason::Reason;

/// What is to be done about a power domain now. Everything but `Settled`
/// carries a reason that becomes a condition: nobody waits anonymously.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Record these directives, at most one for each machine and at most one destructive.
    Start(Vec<Directive>),
    /// Something is under way.
    Await(Explanation, Timestamp),
    /// Nothing may be done, by the user's own choice.
    Hold(Explanation),
    /// Nothing can be done until a person acts.
    Stalled(Explanation),
    /// Everything is as wanted.
    Settled,
}

/// A reason and what a person should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The condition reason.
    pub reason: Reason,
    /// What, why, and what happens next or helps.
    pub message: String,
}

impl Explanation {
    /// An explanation that ends with the reason's remedy, if it has one.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some(remedy) = reason.remedy() {
            message.push_str(". ");
            message.push_str(remedy);
        }
        Self { reason, message }
    }
}

/// A decision, and everything to record and show because of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do. Under `mode: Plan` and `Observe` a `Start` is only shown.
    pub decision: Decision,
    /// The host's next status. It holds the directives of a `Start`, so that
    /// writing it with the resourceVersion it was planned from is the recording.
    pub host_status: DpuHostStatus,
    /// The next status of each card, by name.
    pub cards: Vec<(String, DpuStatus)>,
    /// Finalizers to be present before this status is written, or absent after it.
    pub finalizers: Finalizers,
    /// Cards that need a ServiceAccount before a directive stages their image.
    pub service_accounts: Vec<String>,
    /// Cards whose ServiceAccount is made anew before a directive gives them the order to wipe: what
    /// ran there before knows a token of the old one.
    pub renewed_accounts: Vec<String>,
    /// Cards whose ServiceAccount ends, before their status says that they are retired.
    pub withdrawn_accounts: Vec<String>,
    /// Transitions worth an event.
    pub events: Vec<Transition>,
    /// What has to change at Nodes, after the status is written.
    pub taints: Vec<NodeTaint>,
    /// When to look again even if nothing changes.
    pub look_again: Option<Timestamp>,
}

/// Which objects must not vanish, because something would be left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finalizers {
    /// The host: it is held, or a directive is under way.
    pub host: bool,
    /// Cards with armed effects, by name.
    pub cards: Vec<String>,
}

/// How a Node is to be tainted for this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTaint {
    /// Name of the Node.
    pub node: String,
    /// The effect of the one taint that it is to carry for this host; `None` for no taint.
    pub effect: Option<TaintEffect>,
}

/// What a taint of ours does, in the words of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// No new pod that does not tolerate it is scheduled there.
    NoSchedule,
    /// Pods that do not tolerate it are evicted, too.
    NoExecute,
}

impl TaintEffect {
    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// Something that changed and that people want to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Name of the card, or `None` for the host.
    pub card: Option<String>,
    /// Event reason.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// Whether it is a warning.
    pub warning: bool,
}

impl Transition {
    /// A card is let go though its BMC may still hold what we have armed there (S15).
    pub fn cancelled_but_armed(card: &str) -> Self {
        Self {
            card: Some(card.to_owned()),
            reason: "CancelledButArmed".to_owned(),
            message: "let go while its BMC may still hold our media or boot override, or the card firmware that does not run yet, is there in part or may be being written still: eject and reset the former by hand, and see to the latter, its host's kernel log too, before card or host is powered off, on or reset".to_owned(),
            warning: true,
        }
    }
}
