//! How much goes on about a machine, which says how often its BMC is asked and how much. Pure.

use lockstep_crds::{DpuHost, DpuHostStatus};

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
        let is_at_rest = host.status.as_ref().is_some_and(DpuHostStatus::is_at_rest);
        if !is_at_rest {
            Self::UnderWay
        } else if has_approved_card {
            Self::Kept
        } else {
            Self::Proposed
        }
    }
}
