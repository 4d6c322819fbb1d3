//! Offering an image to the agent of a card's host. Nothing is sent to any BMC: the card's own
//! medium is ready in the store, and [`host_door`](crate::site::host_door) gives it out.

use lockstep_crds::directive::Directive;

use crate::site::context::Site;
use crate::site::judge::Refusal;
use crate::site::machine::MachineKind;
use crate::site::plan::{Plan, staged_image};
use crate::site::worker::Worker;

/// The refusal of what the agent of a host does.
pub(super) fn of_the_host() -> Refusal {
    Refusal::new(
        "ActionUnsuitable",
        "what goes through the host is pushed or flashed by the agent of the card's host, not by that of its site",
    )
}

impl Site {
    /// Digest of the image that is ready for a card.
    pub(super) fn granted_to(&self, uid: &str) -> Option<String> {
        let grants = self.store.grants();
        let grant = grants.into_iter().find(|grant| grant.card_key == uid)?;
        Some(grant.digest.to_string())
    }

    pub(super) fn is_offered(&self, directive: &Directive) -> bool {
        staged_image(directive)
            .is_ok_and(|(_, digest)| self.store.granted(&digest, &directive.target.uid).is_some())
    }
}

impl Worker {
    /// The next request gives the image's URL to the BMC: what the store saw before is of another
    /// attempt.
    pub(super) fn hand_out(&self, directive: &Directive) {
        if let Ok((_, digest)) = staged_image(directive) {
            self.site.store.hand_out(&digest, &self.current().uid);
        }
    }

    pub(super) fn plan_offer(&self, directive: &Directive) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let (image, digest) = staged_image(directive)?;
        self.require_stored(image, &digest)?;
        Ok(Plan::Act)
    }

    /// One card is offered one image.
    pub(super) async fn end_other_grants(&self, directive: &Directive) -> Result<(), Refusal> {
        let (_, digest) = staged_image(directive)?;
        let uid = &self.current().uid;
        let grants = self.site.store.grants();
        let mut others = grants
            .iter()
            .filter(|grant| grant.card_key == *uid && grant.digest != digest);
        if others.next().is_none() {
            return Ok(());
        }
        self.site
            .store
            .revoke(uid)
            .await
            .map_err(|error| Refusal::new(error.category(), format!("{error}; {}", error.remedy())))
    }
}
