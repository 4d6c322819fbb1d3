//! Whether a card keeps power while its host is off: measured when it shows, asserted otherwise.
//!
//! `Yes` is measured whenever a card is seen on while its host is off. `No` is
//! measured by [`crate::ledger`], when a card that was told to power on stays
//! off beside a host that is off.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::{SlotPower, SlotPowerStatus};
use lockstep_crds::observed::PowerState;

use crate::view::View;

/// Books what the present power states show about slot power.
pub fn measure(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let host_off = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::Off));
    let known = record.slot_power.as_ref().map(|known| known.value);
    if !host_off || known == Some(SlotPower::Yes) {
        return;
    }
    let lit = view.cards.iter().find(|card| {
        view.card_bmc(card, now)
            .is_some_and(|bmc| bmc.power == Some(PowerState::On))
    });
    if let Some(card) = lit {
        record.slot_power = Some(SlotPowerStatus {
            value: SlotPower::Yes,
            evidence: format!("dpu/{} is on while the host is off", card.name()),
            at: Time(now),
        });
    }
}

/// What to go by: a measurement, else what the user says.
pub fn effective(view: &View, record: &DpuHostStatus) -> SlotPower {
    record
        .slot_power
        .as_ref()
        .map_or(view.host.spec.slot_power_when_host_off, |known| known.value)
}
