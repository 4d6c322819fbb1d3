//! What the conditions of hosts and cards say, in kstatus terms.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::BmcEndpoint;
use lockstep_crds::bmc::TlsTrust;
use lockstep_crds::condition::{self, BMC_CHANNEL_INSECURE, READY, RECONCILING, STALLED};

use crate::decision::Explanation;
use crate::reason::Reason;

/// That time as the API server hands it out again: a message that names a fraction of a second would be
/// another one after the next read.
pub(crate) fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What the three kstatus conditions say.
pub(crate) struct Shown {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: String,
    pub(crate) message: String,
}

impl Shown {
    pub(crate) fn ready(message: impl Into<String>) -> Self {
        Self {
            ready: true,
            reconciling: false,
            stalled: false,
            reason: Reason::AsWanted.as_str().to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn progress(reason: &str, message: String) -> Self {
        Self {
            ready: false,
            reconciling: true,
            stalled: false,
            reason: reason.to_owned(),
            message,
        }
    }

    pub(crate) fn stalled(why: &Explanation) -> Self {
        Self {
            ready: false,
            reconciling: false,
            stalled: true,
            reason: why.reason.as_str().to_owned(),
            message: why.message.clone(),
        }
    }

    pub(crate) fn idle(why: &Explanation) -> Self {
        Self {
            stalled: false,
            ..Self::stalled(why)
        }
    }

    pub(crate) fn write(
        &self,
        conditions: &mut Vec<Condition>,
        generation: Option<i64>,
        now: Timestamp,
    ) {
        let now = Time(now);
        condition::set(
            conditions,
            READY,
            self.ready,
            &self.reason,
            &self.message,
            generation,
            &now,
        );
        for (type_, holds) in [(RECONCILING, self.reconciling), (STALLED, self.stalled)] {
            if holds {
                condition::set(
                    conditions,
                    type_,
                    true,
                    &self.reason,
                    &self.message,
                    generation,
                    &now,
                );
            } else {
                condition::remove(conditions, type_);
            }
        }
    }
}

pub(crate) fn show_channel(
    conditions: &mut Vec<Condition>,
    bmc: Option<&BmcEndpoint>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let insecure = bmc.and_then(|bmc| match bmc.tls.trust {
        TlsTrust::NoVerification => Some("NoVerification"),
        TlsTrust::PlainHttp => Some("PlainHttp"),
        TlsTrust::Ca | TlsTrust::PinnedKey => None,
    });
    match insecure {
        Some(trust) => {
            let message = format!(
                "tls.trust is {trust}: whoever is on the path can read the BMC's credentials and change what it does. Use Ca or PinnedKey"
            );
            condition::set(
                conditions,
                BMC_CHANNEL_INSECURE,
                true,
                trust,
                &message,
                generation,
                &Time(now),
            );
        }
        None => {
            condition::remove(conditions, BMC_CHANNEL_INSECURE);
        }
    }
}
