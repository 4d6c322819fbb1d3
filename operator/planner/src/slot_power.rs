//! Whether a card keeps power while its host is off: measured when it shows, asserted otherwise.
//!
//! `Yes` is measured when a card has been on for `LIT` beside a host that has been off
//! for as long: the two are looked at one after the other, and a card whose slot goes
//! dark with its host is still on in the last look. `No` is measured when a card was told
//! twice in a row to power on beside a host that is off, and stayed off: one lost call
//! proves nothing. What was seen to be `Yes` stays so: then the card fails for another
//! reason. A changed `retryToken` forgets what was measured.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind};
use lockstep_crds::host::{MeasuredSlotPower, SlotPower, SlotPowerStatus};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::ledger;
use crate::view::{CardView, View};

/// Longest evidence that the record holds.
const EVIDENCE: usize = 256;

/// How long a card must be on beside its host that is off: longer than any look is old.
const LIT: SignedDuration = SignedDuration::from_mins(10);

/// Books what the present power states show about slot power.
pub fn measure(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    if is_known_lit(record) {
        return;
    }
    let lit = view
        .cards
        .iter()
        .find(|card| lit_from(view, card, now).is_some_and(|from| from <= now));
    if let Some(card) = lit {
        let evidence = format!(
            "dpu/{} has been on for {} minutes while the host is off",
            card.name(),
            LIT.as_mins()
        );
        record.slot_power = Some(measured(MeasuredSlotPower::Yes, &evidence, now));
    }
}

/// When a measurement of `Yes` is due, if nothing changes.
pub(crate) fn due(view: &View, record: &DpuHostStatus, now: Timestamp) -> Option<Timestamp> {
    if is_known_lit(record) {
        return None;
    }
    let cards = view.cards.iter();
    cards.filter_map(|card| lit_from(view, card, now)).min()
}

fn is_known_lit(record: &DpuHostStatus) -> bool {
    let known = record.slot_power.as_ref().map(|known| &known.value);
    known == Some(&MeasuredSlotPower::Yes)
}

/// From when on a card that is on beside its host that is off proves that its slot is lit.
fn lit_from(view: &View, card: &CardView, now: Timestamp) -> Option<Timestamp> {
    let since = |facts: Option<&BmcReport>, power: PowerState| {
        let facts = facts.filter(|facts| facts.power == Some(power))?;
        facts.power_since.as_ref().map(|since| since.0.min(now))
    };
    let off = since(view.host_bmc(now), PowerState::Off)?;
    let on = since(view.card_bmc(card, now), PowerState::On)?;
    Some(off.max(on) + LIT)
}

/// Books that a card was told to power on and did not, beside a host that is off.
pub(crate) fn note_dead_slot(
    view: &View,
    record: &mut DpuHostStatus,
    directive: &Directive,
    now: Timestamp,
) {
    let what = ledger::what(directive);
    let machine = what.split_once(' ').map_or("", |(_, machine)| machine);
    let before = record
        .history
        .iter()
        .rev()
        .filter(|entry| ledger::is_about(&entry.what, machine))
        // Between two boots it may be disarmed and armed.
        .find(|entry| !is_arming(&entry.what));
    let again =
        before.is_some_and(|entry| entry.what == what && entry.outcome == OutcomeKind::Unknown);
    if again && host_is_off(view, now) && !is_known_lit(record) {
        let evidence = format!(
            "dpu/{} was powered on twice while the host was off, and stayed off",
            directive.target.name
        );
        record.slot_power = Some(measured(MeasuredSlotPower::No, &evidence, now));
    }
}

fn is_arming(what: &str) -> bool {
    let kind = ledger::kind_of(what);
    kind.arms_install() || kind == ActionKind::ClearInstall
}

fn host_is_off(view: &View, now: Timestamp) -> bool {
    view.host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::Off))
}

fn measured(value: MeasuredSlotPower, evidence: &str, now: Timestamp) -> SlotPowerStatus {
    SlotPowerStatus {
        value,
        evidence: evidence.chars().take(EVIDENCE).collect(),
        at: Time(now),
    }
}

/// What to go by: a measurement, else what the user says.
pub fn effective(view: &View, record: &DpuHostStatus) -> SlotPower {
    match record.slot_power.as_ref().map(|known| &known.value) {
        Some(MeasuredSlotPower::Yes) => SlotPower::Yes,
        Some(MeasuredSlotPower::No) => SlotPower::No,
        Some(MeasuredSlotPower::Unrecognized(_)) => SlotPower::Unknown,
        None => view.host.spec.slot_power_when_host_off,
    }
}
