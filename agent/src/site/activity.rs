//! How much goes on about a machine, which says how often its BMC is asked and how much. Pure.

use lockstep_crds::DpuHost;
use lockstep_crds::condition;
use lockstep_crds::directive::Step;
use lockstep_crds::host::CardRecord;

/// What goes on about a host and the cards that it gives power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something is done to them or awaited of them: every look is at everything.
    UnderWay,
    /// A card was approved: what is seen last is what the next plan is made on, and a person may
    /// be at work on the machine.
    Kept,
    /// No card was approved: nothing is planned, whatever is seen.
    Proposed,
}

impl Activity {
    /// Of a host. `has_approved_card`: whether a card that it gives power was approved.
    pub fn of(host: &DpuHost, has_approved_card: bool) -> Self {
        let Some(status) = &host.status else {
            return Self::UnderWay;
        };
        let is_armed = |card: &CardRecord| !card.armed.is_empty() || card.stopping.is_some();
        let holds = |kind: &str| {
            let found = condition::find(&status.conditions, kind);
            found.is_some_and(|condition| condition.status == "True")
        };
        let is_judged = condition::find(&status.conditions, condition::READY).is_some();
        let is_quiet =
            status.step == Some(Step::Settled) || is_judged && !holds(condition::RECONCILING);
        if !is_quiet
            || !status.directives.is_empty()
            || status.hold.is_some()
            || status.cards.iter().any(is_armed)
        {
            Self::UnderWay
        } else if has_approved_card {
            Self::Kept
        } else {
            Self::Proposed
        }
    }
}
