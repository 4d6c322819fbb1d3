//! The three conditions of kstatus, for objects that have no plan of their own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, READY, RECONCILING, STALLED};

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
