//! Which images may go onto a card (S9).

use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::OnInstallFailure;
use lockstep_crds::directive::{ActionKind, Directive, TargetKind};
use lockstep_crds::image::FirmwareWriter;

use crate::requirement::Judgement;
use crate::view::{View, Wanted};
use crate::wipe;

/// Whether the image that a card is to get is the one that is wanted, or while that one is given up
/// the last that the card was seen to run or the golden one; and whether it may go there, and by
/// that way.
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
    let kind = &directive.action.kind;
    if kind.is_firmware() || *kind == ActionKind::FlashFirmware {
        let named = directive.action.component.as_ref();
        let mut wanted = card.firmware.iter().filter_map(|one| one.image.as_ref());
        let ran = before.cards.iter().filter(|kept| kept.uid == uid);
        let ran = ran.flat_map(|kept| &kept.components);
        let ran = ran.filter(|one| Some(&one.component) == named);
        let ran = ran.filter_map(|one| one.security_version).max();
        return wanted.any(|wanted| {
            wanted.facts == *image
                && Some(&wanted.component) == named
                && (wanted.writer == FirmwareWriter::HostDevlink)
                    == (*kind == ActionKind::FlashFirmware)
                && wanted.vetting.trust == Judgement::Met
                && wanted.vetting.fit == Judgement::Met
                && Some(wanted.vetting.security_version) >= ran.max(minimum)
        });
    }
    let is_wanted = card.wanted == Wanted::Image(image.clone());
    let golden = card.golden.as_ref().map(|golden| &golden.found);
    let mut others = card.fallback.as_deref().into_iter().chain(golden);
    let found = others.find(|found| found.image == *image);
    let given_up = kept.roll_back.as_ref().is_some_and(|back| {
        matches!(&card.wanted, Wanted::Image(wanted) if wanted.digest == back.from.digest)
            && policy.spec.install.on_failure == OnInstallFailure::RollBack
    });
    let goes_back = kept.back_to().filter(|_| given_up);
    let goes_back = goes_back.filter(|back| back.image.digest == image.digest);
    let vetting = match (goes_back, found) {
        (None, _) if is_wanted && kept.roll_back.is_none() => &card.vetting,
        (Some(back), Some(found)) if !(back.is_golden && is_through_host(directive)) => {
            &found.vetting
        }
        _ => return false,
    };
    let records = before.cards.iter().chain(&after.cards);
    let records = records.filter(|kept| kept.uid == uid);
    let ran = records.filter_map(|kept| kept.security_version).max();
    let ran = ran.filter(|_| !wipe::is_aimed(card));
    vetting.trust == Judgement::Met
        && vetting.fit == Judgement::Met
        && Some(vetting.security_version) >= ran.max(minimum)
}

fn is_through_host(directive: &Directive) -> bool {
    matches!(
        directive.action.kind,
        ActionKind::OfferImage | ActionKind::PushImage
    )
}
