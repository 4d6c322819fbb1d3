//! The cards that share a host: what one of them is in the middle of binds the others (S1),
//! and a hold that waits for all of them must be one that can end.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::host::CardRecord;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::card;
use crate::card_record::hazard_end;
use crate::host::machine;
use crate::intent::Intent;
use crate::obstacle::{obstacle, unread};
use crate::reason::Reason;
use crate::stage;
use crate::torn;
use crate::view::{CardView, View};

/// The cards beside one that is on and is going to be stopped: that may take the host
/// down, and the host them (S1).
pub(crate) fn require_quiet_siblings(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Result<(), Intent> {
    let is_off = |facts: &BmcReport| facts.power == Some(PowerState::Off);
    if view.card_bmc(card, now).is_some_and(is_off) {
        return Ok(());
    }
    // Of its own nothing is under way but what this is to bring to its end.
    let is_other = |other: &&CardView| other.uid() != card.uid();
    none_installs(view.cards.iter().filter(is_other), view, record, now)?;
    may_lose_power(with_bmc(view).filter(is_other), view, spec, now)
}

fn with_bmc(view: &View) -> impl Iterator<Item = &CardView> {
    let cards = view.cards.iter();
    cards.filter(|card| card.dpu.spec.bmc.is_some())
}

/// A host that is held waits for every card that lacks its image: for one that cannot be
/// installed as things are, it would wait for ever, and for one whose image is not read yet, for that.
pub(crate) fn require_installable(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    asking: &CardView,
    now: Timestamp,
) -> Result<(), Intent> {
    let others = || view.cards.iter().filter(|card| card.uid() != asking.uid());
    for card in others() {
        if let Some(why) = obstacle(view, record, spec, card, now) {
            return Err(Intent::stall(
                Reason::HoldWouldNotEnd,
                format!(
                    "{} would be held for {} too, which cannot be installed: {why}",
                    machine(view),
                    card::machine(card)
                ),
            ));
        }
    }
    let mut unread = others().filter_map(|card| unread(view, record, spec, card, now));
    unread.next().map_or(Ok(()), Err)
}

/// Every card shares the host's fate: none may be in the middle of something (S1).
pub(crate) fn require_quiet_cards(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    require_no_install(view, record, now)?;
    may_lose_power(with_bmc(view), view, spec, now)
}

fn may_lose_power<'a>(
    cards: impl Iterator<Item = &'a CardView>,
    view: &'a View,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    for card in cards {
        let facts = card::proved(view, card, now)?;
        stage::is_not_updating(&card::machine(card), facts)?;
        stage::is_at_rest(&card::machine(card), facts)?;
        if facts.power != Some(PowerState::Off) {
            stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
        }
    }
    Ok(())
}

/// A host's power must not change under an installer.
pub(crate) fn require_no_install(
    view: &View,
    record: &DpuHostStatus,
    now: Timestamp,
) -> Result<(), Intent> {
    none_installs(view.cards.iter(), view, record, now)
}

/// Going by what is recorded, whatever is seen of a card now.
fn none_installs<'a>(
    cards: impl Iterator<Item = &'a CardView>,
    view: &View,
    record: &DpuHostStatus,
    now: Timestamp,
) -> Result<(), Intent> {
    for card in cards {
        if let Some(until) = card::writes_until(view, record, card, now) {
            return Err(Intent::wait_until(
                Reason::AwaitingOs,
                format!("an install is under way on {}", card::machine(card)),
                until,
            ));
        }
        let kept = record.record_of(&card.uid());
        if let Some(why) = kept.and_then(torn::stalled) {
            return Err(why);
        }
    }
    let is_gone = |kept: &&CardRecord| !card::is_here(view, kept);
    let gone = || record.cards.iter().filter(is_gone);
    if let Some(until) = gone().filter_map(|kept| hazard_end(view, kept, now)).max() {
        return Err(left_behind(until));
    }
    gone().find_map(torn::stalled).map_or(Ok(()), Err)
}

/// An installer goes on writing though its card has been moved to another host.
pub(crate) fn left_behind(until: Timestamp) -> Intent {
    Intent::wait_until(
        Reason::AwaitingOs,
        "a card that belongs to another host now may still be installing in this one",
        until,
    )
}
