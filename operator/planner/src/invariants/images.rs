//! Which images may go onto a card (S9).

use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::OnInstallFailure;
use lockstep_crds::directive::{ActionKind, Directive, ImageFacts, TargetKind};

use crate::requirement::Judgement;
use crate::view::{View, Wanted};
use crate::wipe;

/// Whether the image that a card is to get is the one that is wanted, or the last that the card was
/// seen to run while that one is given up; and whether it may go there.
pub(super) fn is_allowed(
    view: &View,
    directive: &Directive,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
) -> bool {
    let of_card = directive.target.kind == TargetKind::Card;
    let clears = directive.action.kind == ActionKind::ClearInstall;
    let Some(image) = directive
        .action
        .image
        .as_ref()
        .filter(|_| of_card && !clears)
    else {
        return true;
    };
    let uid = directive.target.uid.as_str();
    let card = view.cards.iter().find(|card| card.uid() == uid);
    let kept = after.cards.iter().find(|kept| kept.uid == uid);
    let (Some(card), Some(kept), Some(policy)) = (card, kept, &view.policy) else {
        return false;
    };
    let rules = policy.spec.images.as_ref();
    let minimum = rules.and_then(|rules| rules.minimum_security_version);
    if directive.action.kind.is_firmware() {
        let named = directive.action.component.as_ref();
        let mut wanted = card.firmware.iter().filter_map(|one| one.image.as_ref());
        let ran = before.cards.iter().filter(|kept| kept.uid == uid);
        let ran = ran.flat_map(|kept| &kept.components);
        let ran = ran.filter(|one| Some(&one.component) == named);
        let ran = ran.filter_map(|one| one.security_version).max();
        return wanted.any(|wanted| {
            wanted.facts == *image
                && Some(&wanted.component) == named
                && wanted.vetting.trust == Judgement::Met
                && wanted.vetting.fit == Judgement::Met
                && Some(wanted.vetting.security_version) >= ran.max(minimum)
        });
    }
    let is_wanted = card.wanted == Wanted::Image(image.clone());
    let fallback = card.fallback.as_ref();
    let fallback = fallback.filter(|fallback| fallback.image == *image);
    let given_up = kept.roll_back.as_ref().is_some_and(|back| {
        matches!(&card.wanted, Wanted::Image(wanted) if wanted.digest == back.from.digest)
            && policy.spec.install.on_failure == OnInstallFailure::RollBack
    });
    let good = kept.last_good.as_ref();
    let is_good = |image: &ImageFacts| good.is_some_and(|good| good.image.digest == image.digest);
    let vetting = if is_wanted && kept.roll_back.is_none() {
        &card.vetting
    } else if let Some(fallback) = fallback.filter(|_| given_up && is_good(image)) {
        &fallback.vetting
    } else {
        return false;
    };
    let records = before.cards.iter().chain(&after.cards);
    let records = records.filter(|kept| kept.uid == uid);
    let ran = records.filter_map(|kept| kept.security_version).max();
    let ran = ran.filter(|_| !wipe::is_aimed(card));
    vetting.trust == Judgement::Met
        && vetting.fit == Judgement::Met
        && Some(vetting.security_version) >= ran.max(minimum)
}
