//! Which services may be offered to a card (S9).

use lockstep_crds::DpuHostStatus;
use lockstep_crds::service::OfferedService;

use crate::approval::is_approved;
use crate::requirement::Judgement;
use crate::view::{CardView, View};
use crate::wipe;

/// Whether everything that is offered from now on is wanted, vetted, and no older than is allowed.
pub(super) fn are_allowed(view: &View, before: &DpuHostStatus, after: &DpuHostStatus) -> bool {
    view.cards.iter().all(|card| {
        let uid = card.uid();
        let was = before.record_of(&uid).map(|kept| kept.services.as_slice());
        let is = after.record_of(&uid).map(|kept| kept.services.as_slice());
        let was = was.unwrap_or_default();
        let known = |new: &OfferedService| was.iter().any(|old| is_same(old, new));
        let mut fresh = is.unwrap_or_default().iter().filter(|new| !known(new));
        fresh.all(|new| is_allowed(view, card, was, new))
    })
}

fn is_same(old: &OfferedService, new: &OfferedService) -> bool {
    old.service == new.service && old.digest == new.digest
}

fn is_allowed(view: &View, card: &CardView, was: &[OfferedService], new: &OfferedService) -> bool {
    let rules = view
        .policy
        .as_ref()
        .and_then(|policy| policy.spec.images.as_ref());
    let minimum = rules.and_then(|rules| rules.minimum_security_version);
    let ran = was.iter().filter(|old| old.service == new.service);
    let ran = ran.filter_map(|old| old.security_version).max();
    let mut wanted = card.services.iter().filter_map(|one| one.image.as_ref());
    is_approved(card)
        && !wipe::is_aimed(card)
        && wanted.any(|image| {
            image.service == new.service
                && image.facts.digest == new.digest
                && image.vetting.trust == Judgement::Met
                && image.vetting.fit == Judgement::Met
                && Some(image.vetting.security_version) >= ran.max(minimum)
        })
}
