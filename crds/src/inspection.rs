//! The fresh reading of a power domain that precedes whatever is begun there, and the rest that
//! it ends.
//!
//! While a domain is at rest its agents look at little and seldom. What they saw then is no
//! ground for anything: the operator asks for an inspection first, its agents read everything
//! and repeat in their reports which inspection that answers. Times are compared for being the
//! same and never for their order, so that nobody's clock counts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DpuHostStatus;
use crate::condition::{self, READY, RECONCILING};
use crate::directive::Step;

/// Most reports that one inspection names.
pub const MOST_REPORTS: usize = 64;

/// A fresh reading that the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// When it was asked for, by the operator's clock.
    pub asked_at: Time,
    /// Reports of a search of which the machines are read too, for they alone tell versions that
    /// an image requires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub reports: Vec<String>,
}

/// The inspection that a report answers: everything in it was read after that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// uid of the `DpuHost` for which it was asked.
    #[schemars(length(max = 64))]
    pub host_uid: String,
    /// When it was asked for.
    pub asked_at: Time,
}

impl Inspection {
    /// What a report says that answers it.
    pub fn of(&self, host_uid: &str) -> Inspected {
        Inspected {
            host_uid: host_uid.to_owned(),
            asked_at: self.asked_at.clone(),
        }
    }
}

impl DpuHostStatus {
    /// Whether nothing is done to the power domain, or awaited of it: agents look at everything
    /// all the time only where something is. A domain that nobody has judged yet is not at rest.
    pub fn is_at_rest(&self) -> bool {
        let is_true = |kind: &str| {
            let found = condition::find(&self.conditions, kind);
            found.is_some_and(|condition| condition.status == "True")
        };
        let is_judged = condition::find(&self.conditions, READY).is_some();
        let mut cards = self.cards.iter();
        let awaits_nothing = self.step == Some(Step::Settled) || is_judged && !is_true(RECONCILING);
        awaits_nothing
            && self.inspection.is_none()
            && self.directives.is_empty()
            && self.hold.is_none()
            && cards.all(|card| card.stopping.is_none() && card.is_as_it_stays())
    }
}
