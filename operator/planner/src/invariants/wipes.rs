//! What wipes a card: only what is asked for, confirmed and proved, and nothing else meanwhile.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind, TargetKind};
use lockstep_crds::host::CardRecord;

use crate::view::{CardView, View};

/// `view` is as people ask for it, not as it is planned.
pub(super) fn started(
    view: &View,
    directive: &Directive,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    if directive.target.kind != TargetKind::Card {
        return;
    }
    let uid = directive.target.uid.as_str();
    let Some(card) = view.cards.iter().find(|card| card.uid() == uid) else {
        return;
    };
    let image = directive.action.image.as_ref();
    let wiper = card.wiper.as_ref().map(|wiper| &wiper.image);
    let clears = directive.action.kind == ActionKind::ClearInstall;
    let wipes = image.is_some() && image == wiper && !clears;
    let ordered = directive.action.wipe.as_ref();
    check(
        ordered.is_none() || wipes && directive.action.kind.arms_install(),
        "wipe: an order to wipe went to another image than the one that is asked for",
    );
    let (was, is) = (before.record_of(uid), after.record_of(uid));
    if is_asked(card, was) && is_asked(card, is) {
        check(
            clears || image.is_none() || wipes,
            "wipe: something else was begun with a card that is to be wiped",
        );
        check(
            !directive.action.kind.is_firmware() && !directive.action.kind.is_update(),
            "wipe: firmware was to be written on a card that is to be wiped",
        );
    }
    if !wipes {
        return;
    }
    let Some(wish) = &card.dpu.spec.wipe else {
        check(false, "wipe: nobody asks for it");
        return;
    };
    let identity = card.dpu.spec.identity.clone().unwrap_or_default();
    let confirmed = [&identity.serial_number, &identity.system_uuid];
    let mut confirmed = confirmed.into_iter().flatten();
    check(
        confirmed.any(|id| id.eq_ignore_ascii_case(&wish.confirm)),
        "wipe: the card is not confirmed",
    );
    let until = wish.not_after.0;
    check(
        now <= until && until <= now + SignedDuration::from_hours(24),
        "wipe: outside of the time for which it is asked",
    );
    check(
        view.card_bmc(card, now).is_some() && directive.expects.identity == identity,
        "wipe: which machine it is was not proved",
    );
    let begun = |kept: &CardRecord| {
        let wipe = kept.wipe.as_ref().filter(|wipe| wipe.begun_at.is_some());
        wipe.is_some_and(|wipe| wipe.token == wish.token)
            || kept
                .wipe
                .iter()
                .any(|wipe| wipe.earlier.contains(&wish.token))
    };
    // What was refused before it was sent has booted nothing.
    let boots = |open: &&Directive| {
        let kind = &open.action.kind;
        open.target.uid == uid && (*kind == ActionKind::PowerOn || *kind == ActionKind::RestartCard)
    };
    let opened = before.directives.iter().filter(boots);
    let refused = opened
        .filter_map(|open| after.history.iter().find(|entry| entry.seq == open.seq))
        .any(|entry| entry.outcome == OutcomeKind::Failed);
    check(
        refused || !was.is_some_and(begun),
        "wipe: a token was to be carried out twice",
    );
    let arms = directive.action.kind.arms_install();
    check(
        !arms
            || ordered.is_some_and(|order| order.token == wish.token && order.identity == identity),
        "wipe: a wiper was to be armed without its order, or with another's",
    );
    let staged =
        |kept: &CardRecord| kept.wipe.as_ref().map(|wipe| &wipe.token) == Some(&wish.token);
    check(
        arms || was.is_some_and(staged),
        "wipe: a card was to be booted with the order of another wish",
    );
    let booked = |kept: &CardRecord| {
        kept.wipe
            .as_ref()
            .is_some_and(|wipe| wipe.begun_at.is_some())
    };
    check(
        arms || is.is_some_and(booked),
        "wipe: a boot was to be ordered that is not in the record",
    );
}

fn is_asked(card: &CardView, kept: Option<&CardRecord>) -> bool {
    let Some(wish) = card.dpu.spec.wipe.as_ref() else {
        return false;
    };
    let known = kept.and_then(|kept| kept.wipe.as_ref());
    card.dpu.spec.approved
        && !known.is_some_and(|known| known.token == wish.token && known.is_done())
}
