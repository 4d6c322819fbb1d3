//! Changes: each needs a proof of identity read just before, and uses it up.

use nv_redfish::core::action::ActionTarget;
use nv_redfish::core::{Action, Bmc as _, ModificationResponse, ODataId};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Failure, Link, Unread};
use crate::document::error_message;
use crate::error::BmcError;
use crate::identity::prove_identity;
use crate::scrub::Scrub;
use crate::transport::TransportError;

/// The right to change one thing once: the machine's identity was proved by
/// the read just before. Every change uses it up.
pub(crate) struct Proven<'a> {
    pub(super) link: &'a mut Link,
    /// The ComputerSystem that the proof was read from.
    pub(crate) system: Value,
    /// Its path.
    pub(crate) system_path: String,
}

/// One changing request.
pub(crate) struct Change<'a> {
    /// For errors.
    pub(crate) verb: &'static str,
    /// Where it goes.
    pub(crate) path: &'a str,
    /// What it says.
    pub(crate) body: Value,
    /// The image URL that it speaks of: it must not show in errors.
    pub(crate) image: Option<&'a str>,
}

impl Change<'_> {
    /// What must not show in the answer to it.
    pub(super) fn scrub(&self, link: &Link) -> Scrub {
        match self.image {
            Some(url) => link.scrub.and_image(url),
            None => link.scrub.clone(),
        }
    }
}

impl Proven<'_> {
    /// POSTs to an action target, once.
    pub(crate) async fn post(self, change: Change<'_>, deadline: Instant) -> Result<(), BmcError> {
        let target = ActionTarget::new(change.path.to_owned());
        let action = Action::<Value, Value>::new(target);
        let reply = timeout_at(deadline, self.link.repaired.action(&action, &change.body)).await;
        self.conclude(&change, reply)
    }

    /// PATCHes a resource, once.
    pub(crate) async fn patch(self, change: Change<'_>, deadline: Instant) -> Result<(), BmcError> {
        let id = ODataId::from(change.path.to_owned());
        let reply = timeout_at(
            deadline,
            self.link
                .repaired
                .update::<Value, Value>(&id, None, &change.body),
        )
        .await;
        self.conclude(&change, reply)
    }

    fn conclude<E>(
        self,
        change: &Change<'_>,
        reply: Result<Result<ModificationResponse<Value>, Failure>, E>,
    ) -> Result<(), BmcError> {
        let link = self.link;
        let Ok(reply) = reply else {
            let lost = TransportError::Lost("no answer before the deadline".to_owned());
            return Err(link.unchanged(change, Failure::Transport(lost)));
        };
        match reply {
            // HTTP 200 around an error object.
            Ok(ModificationResponse::Entity(body)) if body.get("error").is_some() => {
                Err(BmcError::OutcomeUnknown {
                    address: link.origin.clone(),
                    verb: change.verb,
                    reason: error_message(&body.to_string(), &change.scrub(link)),
                })
            }
            Ok(_) => Ok(()),
            // A success that nv-redfish finds odd is a success all the same.
            Err(Failure::Transport(TransportError::Status { status, .. }))
                if (200..300).contains(&status) =>
            {
                Ok(())
            }
            Err(failure) => Err(link.unchanged(change, failure)),
        }
    }
}

impl Link {
    /// Reads the ComputerSystem and proves that it is the expected machine.
    pub(crate) async fn prove(&mut self, deadline: Instant) -> Result<Proven<'_>, BmcError> {
        let system = self.system(deadline).await?;
        let identity = self.identity(&system);
        prove_identity(&identity, &self.target.expected).map_err(|mismatch| {
            BmcError::Stranger {
                address: self.origin.clone(),
                mismatch,
            }
        })?;
        Ok(Proven {
            system_path: identity.system_path,
            link: self,
            system,
        })
    }

    /// What a failed change means for the caller. Whatever may have reached
    /// the BMC, and was not refused by it, is an unknown outcome.
    pub(super) fn unchanged(&self, change: &Change<'_>, failure: Failure) -> BmcError {
        let address = self.origin.clone();
        let verb = change.verb;
        let scrub = change.scrub(self);
        let unknown = |reason: String| BmcError::OutcomeUnknown {
            address: address.clone(),
            verb,
            reason: scrub.clean(&reason),
        };
        match failure {
            Failure::Decode(error) => unknown(error.to_string()),
            Failure::Transport(error) => match error {
                TransportError::Status { status, body }
                    if (300..500).contains(&status) && status != 408 =>
                {
                    BmcError::Refused {
                        detail: error_message(&body, &scrub),
                        address,
                        verb,
                        status,
                    }
                }
                TransportError::Status { status, body } => {
                    unknown(format!("HTTP {status}: {}", error_message(&body, &scrub)))
                }
                TransportError::Lost(reason) | TransportError::Unusable(reason) => unknown(reason),
                error @ (TransportError::TooLong { .. }
                | TransportError::NoRoom(_)
                | TransportError::Crowded(_)
                | TransportError::Undecodable(_)) => unknown(error.to_string()),
                TransportError::NotConnected(_)
                | TransportError::Untrusted(_)
                | TransportError::Rejected(_) => {
                    self.unread(change.path, Unread::Failed(Failure::Transport(error)))
                }
            },
        }
    }
}
