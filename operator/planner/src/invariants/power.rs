//! When a machine may be taken down, or its power cut.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::UnobservableStageAction;
use lockstep_crds::directive::{ActionKind, Directive, TargetKind};
use lockstep_crds::host::{CardRecord, Disruption, SlotPower};
use lockstep_crds::observed::{BootStage, Knowledge, PowerState};
use lockstep_crds::report::{BmcReport, UpdateState};

use crate::armed_firmware;
use crate::card;
use crate::slot_power;
use crate::view::{CardView, Readiness, View};

/// What holds of everything that takes a machine down.
pub(super) fn taken_down(
    view: &View,
    directive: &Directive,
    record: &DpuHostStatus,
    facts: Option<&BmcReport>,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let Some(facts) = facts else { return };
    check(
        directive.expects.safe_stage,
        "S1: a power cut that does not ask for the stage",
    );
    let on_host = directive.target.kind == TargetKind::Host;
    let node_ready = view
        .node
        .as_ref()
        .is_some_and(|node| node.ready != Readiness::NotReady);
    check(
        !on_host || (view.host.spec.disruption == Disruption::Allowed && !node_ready),
        "S12: a host was to be taken down",
    );
    check(
        !on_host || directive.action.work_order.is_some(),
        "S14: a host was to be taken down without a work order",
    );
    let target = view
        .cards
        .iter()
        .find(|card| card.uid() == directive.target.uid);
    let is_off = !on_host && facts.power == Some(PowerState::Off);
    check(
        is_off || stage_allows(view, facts, target, now),
        "S1, S5: a power cut in a stage that forbids it or is not known",
    );
    let installing = |card: &CardView| {
        card::writes_until(view, record, card, now).is_some() && card.live_os(now).is_none()
    };
    for card in &view.cards {
        let hit = on_host || card.uid() == directive.target.uid;
        let forbids = card
            .report
            .as_ref()
            .and_then(|report| report.bmc.as_ref())
            .filter(|bmc| bmc.power != Some(PowerState::Off))
            .and_then(|bmc| bmc.stage.as_ref())
            .is_some_and(BootStage::forbids_power_cut);
        check(
            !(hit && forbids),
            "S1: a power cut that hits a card in stage 7, 8 or 10",
        );
        check(
            !(hit && installing(card)),
            "S1: a power cut that hits an install",
        );
        let bmc = view.card_bmc(card, now);
        let update = bmc.and_then(|bmc| bmc.update.as_ref());
        let firmware = bmc.and_then(|bmc| bmc.component_update.as_ref());
        let mut updates = update.into_iter().chain(firmware.map(|told| &told.update));
        check(
            !(hit && updates.any(|update| update.state == UpdateState::Running)),
            "S1: a power cut that hits a card whose BMC says that its update runs",
        );
    }
}

/// What holds of everything that changes the power of a card's slot.
pub(super) fn keeps_the_torn(
    view: &View,
    directive: &Directive,
    after: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let kind = &directive.action.kind;
    let of_power = kind.disturbs_firmware();
    let host_on = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::On));
    let starts_host = directive.action.power_on == Some(true) && !host_on;
    let on_host = directive.target.kind == TargetKind::Host;
    let goes = |kept: &CardRecord| {
        let mut cards = view.cards.iter();
        let card = cards.find(|card| card.uid() == kept.uid);
        *kind == ActionKind::PowerOn && card.is_some_and(|card| card::is_going(view, card))
    };
    let hit = |kept: &&CardRecord| on_host || kept.uid == directive.target.uid && !goes(kept);
    let is_torn = |kept: &CardRecord| kept.components.iter().any(|one| one.torn.is_some());
    check(
        !(of_power || starts_host) || !after.cards.iter().filter(hit).any(is_torn),
        "S1: a power change that hits a card whose firmware may not be whole",
    );
}

/// What holds of everything that changes the host's power, along with which slots may go.
pub(super) fn keeps_the_refused(
    view: &View,
    directive: &Directive,
    after: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let host_on = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::On));
    let starts_host = directive.action.power_on == Some(true) && !host_on;
    let changes = directive.action.kind.is_of_power() || starts_host;
    let on_host = directive.target.kind == TargetKind::Host;
    let goes_along = slot_power::effective(view, after) != SlotPower::Yes;
    let lets_run = |card: &CardView| {
        let kept = after.record_of(&card.uid());
        let refused = |kept| armed_firmware::refused(view, card, kept);
        kept.and_then(refused).is_some()
    };
    check(
        !(on_host && changes && goes_along && view.cards.iter().any(lets_run)),
        "S9: the host's power was to be changed, which lets firmware run that is not wanted or not trusted any more",
    );
}

/// Whether what is known of the stage authorises a power cut.
fn stage_allows(view: &View, facts: &BmcReport, card: Option<&CardView>, now: Timestamp) -> bool {
    match facts.stage_knowledge {
        Knowledge::Known => facts
            .stage
            .as_ref()
            .is_some_and(|stage| !stage.forbids_power_cut()),
        Knowledge::NotOffered => {
            let rule = view
                .policy
                .as_ref()
                .map(|policy| &policy.spec.unobservable_stage);
            let waited = rule.is_some_and(|rule| {
                let grace = SignedDuration::from_secs(rule.dump_grace_seconds);
                let since = facts.power_since.as_ref();
                rule.action == UnobservableStageAction::SafeAfter
                    && since.is_some_and(|since| now >= since.0 + grace)
            });
            waited || card.is_some_and(|card| card.live_os(now).is_some())
        }
        Knowledge::NotRead | Knowledge::Unrecognized(_) => false,
    }
}
