//! Why an endpoint is not told of in a report of its own, in words and with the remedy. Pure.

use lockstep_redfish::{BmcError, UnreadSystem};

use crate::site::judge::Refusal;
use crate::site::target::NOT_ANSWERED;

/// Longest message that a scan report takes.
const LONGEST: usize = 256;

/// What a failure says about the machine that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearing {
    /// Nothing listens or answers there, or something else does.
    Gone,
    /// It answers as before, and could not be read.
    There,
    /// Nothing: it answers for what it showed, and this is about something else behind it.
    Beside,
}

/// An endpoint failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A condition reason.
    pub(super) reason: &'static str,
    /// What happened and what helps.
    pub(super) message: String,
    /// What it says about the machine that was there.
    pub(super) bearing: Bearing,
}

impl Failure {
    pub(super) fn new(reason: &'static str, message: impl Into<String>, bearing: Bearing) -> Self {
        Self {
            reason,
            message: clipped(&message.into(), LONGEST),
            bearing,
        }
    }

    /// Nothing listens.
    pub(super) fn closed(key: &str, why: &str) -> Self {
        let message = format!(
            "{key}: {why}; check that the BMC has power and that the address and port are right"
        );
        Self::new("Unreachable", message, Bearing::Gone)
    }

    /// A call outlived every deadline of its own.
    pub(super) fn hung(key: &str) -> Self {
        let message = format!(
            "{key} was still busy with one call after all its deadlines; it is asked again by itself. If this lasts, reset the BMC"
        );
        Self::new("NoAnswer", message, Bearing::Gone)
    }

    /// The service root could not be read. `None` if earlier calls took all the time, which says
    /// nothing about the endpoint; nor does a want of memory here.
    pub(super) fn of_identify(error: &BmcError) -> Option<Self> {
        if is_our_own(error) {
            return None;
        }
        let is_other = matches!(
            error,
            BmcError::BadAnswer { .. } | BmcError::ReadFailed { status: 404, .. }
        );
        let reason = if is_other {
            "NotRedfish"
        } else {
            error.category()
        };
        Some(Self::of(error, reason, Bearing::Gone))
    }

    /// What is behind a BMC that was identified could not be read.
    pub(super) fn of_explore(error: &BmcError) -> Option<Self> {
        if is_our_own(error) {
            return None;
        }
        Some(Self::of(error, error.category(), Bearing::There))
    }

    /// Some of the systems that a BMC lists could not be read.
    pub(super) fn of_unread(unread: &[UnreadSystem]) -> Option<Self> {
        let first = unread.first()?;
        let what = format!(
            "not read of what it lists: {} in all, and of them {}: {}",
            unread.len(),
            first.path,
            first.why
        );
        let message = with_remedy(&what, first.why.remedy());
        Some(Self::new("SystemNotRead", message, Bearing::Beside))
    }

    /// Whatever is there was something else too often.
    pub(super) fn restless(key: &str) -> Self {
        let message = format!(
            "{key} shows another key or other machines again and again and is read every few minutes only: give each BMC an address of its own, and name none that a proxy or a balancer shares out"
        );
        Self::new("MachinesAlternate", message, Bearing::Beside)
    }

    fn of(error: &BmcError, reason: &'static str, bearing: Bearing) -> Self {
        let message = with_remedy(&error.to_string(), error.remedy());
        Self::new(reason, message, bearing)
    }

    /// Secret or ConfigMap are missing or wrong, or could not be read.
    pub(super) fn of_refusal(refusal: &Refusal, bearing: Bearing) -> Self {
        let reason = match refusal.reason.as_str() {
            "SecretMissing" => "SecretMissing",
            "SecretInvalid" => "SecretInvalid",
            "CaMissing" => "CaMissing",
            "CredentialsForbidden" => "CredentialsForbidden",
            NOT_ANSWERED => NOT_ANSWERED,
            _ => "CredentialsUnusable",
        };
        Self::new(reason, refusal.message.clone(), bearing)
    }
}

/// Whether what failed is the agent's own and says nothing about the endpoint.
fn is_our_own(error: &BmcError) -> bool {
    matches!(error, BmcError::Busy { .. } | BmcError::Crowded { .. })
}

/// What happened, clipped so that the remedy stays whole.
fn with_remedy(what: &str, remedy: &str) -> String {
    let room = LONGEST.saturating_sub(remedy.chars().count() + 2);
    format!("{}; {remedy}", clipped(what, room))
}

/// The text, cut to so many characters.
pub(super) fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_leaves_room_for_its_remedy() {
        let error = BmcError::NoAnswer {
            address: "https://10.0.0.7".to_owned(),
            path: "/redfish/v1".to_owned(),
            reason: "x".repeat(1000),
        };
        let failure = Failure::of_identify(&error).unwrap();
        assert!(failure.message.ends_with(error.remedy()), "{failure:?}");
        assert_eq!(failure.message.chars().count(), LONGEST);
    }

    #[test]
    fn what_is_no_redfish_service_is_told_apart_and_a_busy_lane_or_agent_is_no_failure() {
        let address = "https://10.0.0.7".to_owned();
        let busy = BmcError::Busy {
            address: address.clone(),
        };
        assert_eq!(Failure::of_identify(&busy), None);
        assert_eq!(Failure::of_explore(&busy), None);
        let crowded = BmcError::Crowded {
            address: address.clone(),
            path: "/redfish/v1".to_owned(),
            reason: "full".to_owned(),
        };
        assert_eq!(Failure::of_identify(&crowded), None);
        assert_eq!(Failure::of_explore(&crowded), None);
        let web = BmcError::BadAnswer {
            address,
            path: "/redfish/v1".to_owned(),
            reason: "no JSON".to_owned(),
        };
        assert_eq!(Failure::of_identify(&web).unwrap().reason, "NotRedfish");
    }
}
