//! Firmware that the driver of a card's host writes, as the host's agent asks it to by devlink.
//!
//! It leads through the host as a push over rshim does, so the same holds: the host is trusted with its
//! cards, a person has named its Node, and whoever holds it leaves it on. What the driver lists is the
//! host's word. It stands beside what the card's BMC shows for such a host alone, and only while its
//! agent lives.

use std::borrow::Cow;

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::{
    Action, ActionKind, DevlinkExpects, Directive, Expects, OutcomeKind, Step,
};
use lockstep_crds::host::{CardRecord, ComponentRecord, HeldBy};
use lockstep_crds::image::FirmwareWriter;
use lockstep_crds::inventory::{HostAccess, InstallMethod};
use lockstep_crds::observed::{Offer, PowerState};
use lockstep_crds::report::{BmcReport, ComponentReport, Outcome};

use crate::card::{self, machine};
use crate::firmware::shown;
use crate::firmware_record;
use crate::host;
use crate::intent::{Draft, Intent, plain};
use crate::push;
use crate::reach;
use crate::reason::Reason;
use crate::road::Way;
use crate::view::{CardView, FirmwareImage, SeenInHost, View};

/// Seconds in which the host may have the firmware and its driver write it.
const SETTLES: i64 = 1800;
/// Why its agent does not believe a driver that says that it is done.
const NOT_SEEN: &str = "VersionNotSeen";
/// Why an update is over of which the driver said that it gave up.
const BROKEN: &str = "FlashFailed";
/// What its agent says of a driver that writes no more, when nobody knows what it has written.
const OVER: [&str; 2] = ["FlashInterrupted", "FlashUnclear"];
/// Why an update may be going on of which nothing is told.
const UNTOLD: &str = "FlashNotTold";
/// Components that a message names.
const NAMED: usize = 16;

/// The view in which the cards' BMCs show the components that drivers list, in the place of what they
/// show of the same names.
pub(crate) fn beside_bmcs(view: &View, now: Timestamp) -> Cow<'_, View> {
    let is_believed = push::trusted_agent(view).is_some_and(|agent| push::is_alive(agent, now));
    let record = view.host.status.as_ref();
    let mut joined = Cow::Borrowed(view);
    for (index, card) in view.cards.iter().enumerate() {
        let kept = record.and_then(|record| record.record_of(&card.uid()));
        let names = components(card, kept);
        let shows = card.report.as_ref().is_some_and(|told| told.bmc.is_some());
        if names.is_empty() || !shows {
            continue;
        }
        let listed = card.in_host.as_ref().filter(|_| is_believed);
        let report = joined.to_mut().cards[index].report.as_mut();
        if let Some(bmc) = report.and_then(|report| report.bmc.as_mut()) {
            let components = bmc.components.get_or_insert_default();
            components.retain(|one| !names.contains(&one.name.as_str()));
            components.extend(names.iter().filter_map(|name| component(listed?, name)));
        }
    }
    joined
}

/// The components of a card that its host writes, or has begun to.
fn components<'a>(card: &'a CardView, kept: Option<&'a CardRecord>) -> Vec<&'a str> {
    let images = || {
        card.firmware
            .iter()
            .filter_map(|named| named.image.as_ref())
    };
    let wanted = images().filter(|image| image.writer == FirmwareWriter::HostDevlink);
    let begun = kept.into_iter().flat_map(|kept| &kept.components);
    let begun = begun.filter(|one| is_by_host(one));
    let is_of_bmc = |name: &str| {
        images().any(|image| image.component == name && image.writer == FirmwareWriter::CardBmc)
    };
    let begun = begun.map(|one| one.component.as_str());
    let mut names: Vec<&str> = wanted.map(|image| image.component.as_str()).collect();
    names.extend(begun.filter(|name| !is_of_bmc(name)));
    names.sort_unstable();
    names.dedup();
    names
}

fn component(seen: &SeenInHost, name: &str) -> Option<ComponentReport> {
    let found = seen.firmware.iter().find(|one| one.name == name)?;
    Some(ComponentReport {
        name: name.to_owned(),
        running: found.running.clone(),
        pending: found.pending.clone(),
        simple_update: Offer::NotOffered,
        multipart_push: Offer::NotOffered,
    })
}

/// Whether the last update of the component was asked of the card's host.
pub(crate) fn is_by_host(one: &ComponentRecord) -> bool {
    one.method == Some(InstallMethod::DevlinkFlash)
}

/// Whether policy, host and agent admit it, as far as they tell before anything is done; the version
/// that runs.
pub(crate) fn require_way<'a>(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &'a CardView,
    image: &FirmwareImage,
    now: Timestamp,
) -> Result<&'a str, Intent> {
    let name = &image.component;
    let power = view
        .card_bmc(card, now)
        .and_then(|facts| facts.power.as_ref());
    require_power(card, name, power)?;
    let refused = |reason: Reason, lack: String| {
        let message = format!(
            "{name} of {} is written by its host (writtenBy: HostDevlink): {lack}",
            machine(card)
        );
        Err(Intent::stall(reason, message))
    };
    if !spec.install.methods.contains(&AllowedMethod::DevlinkFlash) {
        let lack = "the policy's install.methods does not name DevlinkFlash".to_owned();
        return refused(Reason::HostCannotWrite, lack);
    }
    match way(view, record, card, spec, name, now) {
        Way::Open => {}
        Way::Closed(lack) | Way::Unfit(_, lack) => return refused(Reason::HostCannotWrite, lack),
        Way::Forbidden(lack) => return refused(Reason::Unsupported, lack),
        Way::Unread(what) => {
            return Err(Intent::wait(
                Reason::Inspecting,
                format!("whether {what} has not been read"),
                reach::SILENCE,
            ));
        }
    }
    let mut listed = card.in_host.iter().flat_map(|seen| &seen.firmware);
    let listed = listed.find(|one| one.name == *name);
    Ok(listed
        .and_then(|one| one.running.as_deref())
        .unwrap_or("none"))
}

fn require_power(card: &CardView, name: &str, power: Option<&PowerState>) -> Result<(), Intent> {
    match power {
        Some(PowerState::On) => Ok(()),
        Some(_) => Err(Intent::stall(
            Reason::CardPoweredOff,
            format!("{} must be on for its host to write {name}", machine(card)),
        )),
        None => Err(Intent::wait(
            Reason::Inspecting,
            format!("waiting for {} to be on or off", machine(card)),
            reach::SILENCE,
        )),
    }
}

fn way(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    spec: &DpuBootPolicySpec,
    name: &str,
    now: Timestamp,
) -> Way {
    let is_off = |hold: &HeldBy| *hold == HeldBy::PoweredOff;
    if record
        .hold
        .as_ref()
        .is_some_and(|hold| is_off(&hold.mechanism))
    {
        return Way::Closed(format!(
            "{} is held powered off, and its agent must run to write it; that is tried again once this hold has ended, with NodeTainted first in the policy's hold.mechanisms",
            host::machine(view)
        ));
    }
    let agent = match push::through_host(view, record, card, spec, locked_out, now) {
        Ok(agent) => agent,
        Err(way) => return way,
    };
    let report = &agent.report;
    let Some(seen) = &card.in_host else {
        return if push::is_alive(agent, now) {
            Way::Closed(format!("{report} does not see it"))
        } else {
            Way::Unread(format!("{report} sees {}", machine(card)))
        };
    };
    if seen.devlink.is_none() {
        return Way::Closed(format!(
            "{report} tells of no devlink device by which it would write: its agent must be told where the kernel of that host looks for firmware (firmwareDir of the chart's hostAgent), the card's driver be loaded there and offer devlink, and the agent be of the operator's release"
        ));
    }
    if device(seen).is_none() {
        return Way::Closed(format!(
            "{report} reads no serial number of it, so nobody can tell it from another card"
        ));
    }
    if seen.firmware.iter().all(|one| one.name != name) {
        let names = seen.firmware.iter().take(NAMED);
        let names: Vec<&str> = names.map(|one| one.name.as_str()).collect();
        return Way::Closed(format!(
            "its driver lists no {name}, only {}; correct component, which takes another DpuImage",
            if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            }
        ));
    }
    Way::Open
}

/// What keeps a host from writing firmware to its card, by the card's BMC.
fn locked_out(access: &HostAccess) -> Option<&'static str> {
    let privilege = access.host_privilege.as_deref()?;
    let restricted = privilege.trim().eq_ignore_ascii_case("Restricted");
    restricted.then_some("the host is restricted (hostPrivilege Restricted)")
}

/// What the host's agent must find; `None` if nothing tells the card from another.
fn device(seen: &SeenInHost) -> Option<DevlinkExpects> {
    let told = seen.serial_number.is_some() || seen.device_serial.is_some();
    Some(DevlinkExpects {
        handle: seen.devlink.clone().filter(|_| told)?,
        serial_number: seen.serial_number.clone(),
        device_serial: seen.device_serial.clone(),
    })
}

/// Asks the host's agent, with leave to change the card.
pub(crate) fn next(
    view: &View,
    card: &CardView,
    image: &FirmwareImage,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Intent, Intent> {
    let FirmwareImage {
        component,
        facts: wanted,
        ..
    } = image;
    require_power(card, component, facts.power.as_ref())?;
    let agent = push::trusted_agent(view).filter(|agent| push::is_alive(agent, now));
    let Some(agent) = agent else {
        return Err(Intent::wait(
            Reason::HostAgentSilent,
            format!(
                "the agent of {}, which is to have {} written to {component} of {}, has not renewed its Lease",
                host::machine(view),
                wanted.version,
                machine(card)
            ),
            reach::SILENCE,
        ));
    };
    let device = card.in_host.as_ref().and_then(device);
    let (Some(device), Some(listed)) = (device, shown(facts, component)) else {
        return Err(Intent::wait(
            Reason::Inspecting,
            format!(
                "what {} lists of {} has not been read",
                agent.report,
                machine(card)
            ),
            reach::SILENCE,
        ));
    };
    Ok(Intent::act(Draft {
        step: Step::UpdateFirmware,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            component: Some(component.clone()),
            activation: Some(image.activation.clone()),
            ..plain(ActionKind::FlashFirmware)
        },
        expects: Expects {
            devlink: Some(device),
            ..card::expects(card, Some(PowerState::On), true)
        },
        settle_seconds: SETTLES,
        message: format!(
            "having {} written by the host of {} to {component}, which runs {}",
            wanted.version,
            machine(card),
            listed.running.as_deref().unwrap_or("none")
        ),
        release: None,
    }))
}

/// Whether its agent tells that the driver writes no more, though not what became of the firmware.
pub(crate) fn is_through(directive: &Directive, outcome: &Outcome) -> bool {
    directive.action.kind == ActionKind::FlashFirmware
        && outcome.result == OutcomeKind::Unknown
        && (is_done(outcome) || is_over(outcome))
}

/// Whether the driver has said that it is done, and its agent sees nothing of that.
fn is_done(outcome: &Outcome) -> bool {
    outcome.reason.as_deref() == Some(NOT_SEEN)
}

fn is_over(outcome: &Outcome) -> bool {
    let reason = outcome.reason.as_deref();
    reason.is_some_and(|reason| OVER.contains(&reason))
}

/// Books how it ended. What a driver says that it has written waits for its activation, listed or not
/// (S15). What may not be whole keeps the card from losing its power (S1), and so does what nobody knows
/// the end of, which needs a person.
pub(crate) fn book(
    view: &View,
    kept: &mut CardRecord,
    directive: &Directive,
    outcome: &OutcomeKind,
    now: Timestamp,
) {
    let execution = push::executor_of(view, directive);
    let execution = execution.and_then(|agent| agent.execution.as_ref());
    let execution = execution.filter(|told| told.accepted == directive.seq);
    let told = execution.and_then(|told| told.outcome.as_ref());
    let reason = told.and_then(|told| told.reason.as_deref());
    let reason = reason.unwrap_or(UNTOLD);
    let said = told.and_then(|told| told.message.as_deref());
    let said = said.unwrap_or("the host's agent tells nothing of its end");
    match outcome {
        OutcomeKind::Failed => firmware_record::never_begun(kept, directive),
        OutcomeKind::Done => firmware_record::written(kept, directive, now),
        OutcomeKind::Partly => {
            firmware_record::torn(view, kept, directive, false, (BROKEN, said), now);
        }
        OutcomeKind::Unknown if told.is_some_and(is_done) => {
            firmware_record::written(kept, directive, now);
        }
        OutcomeKind::Unknown | OutcomeKind::Unrecognized(_) => {
            let hangs = !told.is_some_and(is_over);
            firmware_record::torn(view, kept, directive, hangs, (reason, said), now);
        }
    }
}
