//! Firmware that is written at a component and was not let run since: what proves that it was. An update that
//! is begun after it takes nothing back before it has written (S15).
//!
//! Since when a card is on proves nothing: that begins anew where its power state could not be read in
//! between, or was another one than off. A card was powered off and on if it is on after it was seen off.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::ActivatedBy;
use lockstep_crds::host::{CardRecord, ComponentRecord, WaitingFirmware};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::firmware::shown;
use crate::firmware_record::{is_under_way, runs};

/// Books that an update is written. It waits in the place of whatever waited there.
pub(crate) fn book(one: &mut ComponentRecord, now: Timestamp) {
    if one.written_at.is_some() {
        return;
    }
    one.written_at = Some(Time(now));
    one.pending = Some(one.image.version.clone());
    one.waits = Some(WaitingFirmware {
        version: one.image.version.clone(),
        digest: Some(one.image.digest.clone()),
        since: Time(now),
        activation: one.activation.clone(),
        was_off: false,
    });
}

/// The same of what an older operator has recorded, which knows of no other place for it.
pub(crate) fn take_over(one: &mut ComponentRecord) {
    let Some(since) = one.written_at.clone() else {
        return;
    };
    if one.waits.is_some() || one.reset_at.is_some() {
        return;
    }
    let version = one.pending.as_ref().unwrap_or(&one.image.version).clone();
    let is_of_image = runs(&version, &one.image.version);
    one.waits = Some(WaitingFirmware {
        digest: is_of_image.then(|| one.image.digest.clone()),
        version,
        since,
        activation: one.activation.clone(),
        was_off: false,
    });
    if !is_under_way(one) {
        one.written_at = None;
    }
}

/// Takes in what is seen of the card's power.
pub(crate) fn notice_power(facts: &BmcReport, one: &mut ComponentRecord, now: Timestamp) {
    let Some(waits) = &mut one.waits else { return };
    waits.was_off |= facts.power == Some(PowerState::Off);
    let is_cycled = waits.was_off && facts.power == Some(PowerState::On);
    if is_cycled && is_let_run_by(waits, &ActivatedBy::CardPowerCycle) {
        is_let_run(one, now);
    }
}

/// Takes in that its BMC, which has restarted by whatever, lists it as running. Of an update that has written
/// it, that is seen where its image is.
pub(crate) fn notice_running(facts: &BmcReport, one: &mut ComponentRecord, now: Timestamp) {
    let running = shown(facts, &one.component).and_then(|shown| shown.running.as_deref());
    let runs_now = |waits: &WaitingFirmware| {
        let by_restart = is_let_run_by(waits, &ActivatedBy::BmcReset);
        by_restart && running.is_some_and(|running| runs(running, &waits.version))
    };
    if one.written_at.is_none() && one.waits.as_ref().is_some_and(runs_now) {
        is_let_run(one, now);
    }
}

/// Books that the card's BMC has restarted, as it was asked to.
pub(crate) fn bmc_restarted(kept: &mut CardRecord, now: Timestamp) {
    for one in &mut kept.components {
        let waits = one.waits.as_ref();
        if waits.is_some_and(|waits| is_let_run_by(waits, &ActivatedBy::BmcReset)) {
            is_let_run(one, now);
        }
    }
}

/// What is added to what is said of updates that have failed.
pub(crate) fn note(one: &ComponentRecord) -> String {
    one.waits.as_ref().map_or_else(String::new, |waits| {
        format!(
            "; {} was written there before {} and waits",
            waits.version, waits.since.0
        )
    })
}

/// Whoever did it: it waits no more, and whether it runs shows.
fn is_let_run(one: &mut ComponentRecord, now: Timestamp) {
    one.waits = None;
    one.pending = None;
    // Of an update that is being written still it says nothing.
    if one.written_at.is_some() {
        one.reset_at.get_or_insert(Time(now));
    }
}

/// Whether this lets it run.
pub(crate) fn is_let_run_by(waits: &WaitingFirmware, by: &ActivatedBy) -> bool {
    waits.activation.as_ref().unwrap_or(&ActivatedBy::BmcReset) == by
}

/// Whether it is what the image of the record holds.
pub(crate) fn is_of_image(waits: &WaitingFirmware, one: &ComponentRecord) -> bool {
    waits.digest.as_ref() == Some(&one.image.digest)
}
