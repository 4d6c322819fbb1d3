//! Whether a card keeps power while its host is off: measured when it shows, asserted otherwise.
//!
//! `Yes` is measured whenever a card is seen on while its host is off. `No` is
//! measured when a card was told twice in a row to power on beside a host that is
//! off, and stayed off: one lost call proves nothing. What was seen to be `Yes` stays
//! so: then the card fails for another reason. A changed `retryToken` forgets a
//! measured `No`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{Directive, OutcomeKind};
use lockstep_crds::host::{SlotPower, SlotPowerStatus};
use lockstep_crds::observed::PowerState;

use crate::ledger;
use crate::view::View;

/// Longest evidence that the record holds.
const EVIDENCE: usize = 256;

/// Books what the present power states show about slot power.
pub fn measure(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let known = record.slot_power.as_ref().map(|known| known.value);
    if !host_is_off(view, now) || known == Some(SlotPower::Yes) {
        return;
    }
    let lit = view.cards.iter().find(|card| {
        view.card_bmc(card, now)
            .is_some_and(|bmc| bmc.power == Some(PowerState::On))
    });
    if let Some(card) = lit {
        let evidence = format!("dpu/{} is on while the host is off", card.name());
        record.slot_power = Some(measured(SlotPower::Yes, &evidence, now));
    }
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
        .find(|entry| ledger::is_about(&entry.what, machine));
    let again =
        before.is_some_and(|entry| entry.what == what && entry.outcome == OutcomeKind::Unknown);
    let known = record.slot_power.as_ref().map(|known| known.value);
    if again && host_is_off(view, now) && known != Some(SlotPower::Yes) {
        let evidence = format!(
            "dpu/{} was powered on twice while the host was off, and stayed off",
            directive.target.name
        );
        record.slot_power = Some(measured(SlotPower::No, &evidence, now));
    }
}

fn host_is_off(view: &View, now: Timestamp) -> bool {
    view.host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::Off))
}

fn measured(value: SlotPower, evidence: &str, now: Timestamp) -> SlotPowerStatus {
    SlotPowerStatus {
        value,
        evidence: evidence.chars().take(EVIDENCE).collect(),
        at: Time(now),
    }
}

/// What to go by: a measurement, else what the user says.
pub fn effective(view: &View, record: &DpuHostStatus) -> SlotPower {
    record
        .slot_power
        .as_ref()
        .map_or(view.host.spec.slot_power_when_host_off, |known| known.value)
}
