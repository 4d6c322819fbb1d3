//! The three conditions of kstatus: set, for objects that have no plan of their own, and read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, READY, RECONCILING, STALLED};
use lockstep_crds::{Dpu, DpuHost};

/// Whether a card is being brought to what is wanted of it; one of which nothing is told yet is.
pub(crate) fn is_card_on_its_way(card: &Dpu) -> bool {
    let status = card.status.as_ref();
    status.is_none_or(|status| condition::find(&status.conditions, RECONCILING).is_some())
}

/// Whether a host is.
pub(crate) fn is_host_on_its_way(host: &DpuHost) -> bool {
    let status = host.status.as_ref();
    status.is_some_and(|status| condition::find(&status.conditions, RECONCILING).is_some())
}

/// How an object fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fares {
    /// As wanted.
    Well,
    /// On its way there.
    OnItsWay,
    /// Until a person acts.
    Stuck,
    /// Nothing is to be done, by a person's own choice.
    Idle,
}

/// Why it fares so, and for which generation.
pub(crate) struct Because<'a> {
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) generation: Option<i64>,
}

/// Sets `Ready`; `Reconciling` and `Stalled` are present only while they are true.
pub(crate) fn show(
    conditions: &mut Vec<Condition>,
    fares: Fares,
    because: &Because<'_>,
    now: &Time,
) {
    let Because {
        reason,
        message,
        generation,
    } = *because;
    let ready = fares == Fares::Well;
    condition::set(conditions, READY, ready, reason, message, generation, now);
    for (type_, holds) in [
        (RECONCILING, fares == Fares::OnItsWay),
        (STALLED, fares == Fares::Stuck),
    ] {
        if holds {
            condition::set(conditions, type_, true, reason, message, generation, now);
        } else {
            condition::remove(conditions, type_);
        }
    }
}
