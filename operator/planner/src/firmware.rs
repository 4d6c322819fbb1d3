//! What a card needs before it gets an operating system: that its BMC writes the firmware that is
//! wanted, one image at a time, and that it runs.
//!
//! All that may be said against an update is said before the host is held for it. What a task tells
//! proves nothing: an update is over when the wanted version is shown as running, or its time is up.
//! What is written and waits for a restart of the BMC or a power cycle of the card is armed until then
//! (S15).

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, ActivatedBy, Step};
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::image::FirmwareWriter;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::{Offer, PowerState};
use lockstep_crds::report::{BmcReport, ComponentReport};

use crate::armed_firmware;
use crate::arriving::arriving;
use crate::card::{self, machine};
use crate::card_record::{install_end, returns_by, supersedes};
use crate::drift_words::firmware_changed;
use crate::failure;
use crate::firmware_activation::activation;
use crate::firmware_record::{is_under_way, of, runs};
use crate::flash;
use crate::host;
use crate::image_bytes;
use crate::install::image_ready;
use crate::intent::{Draft, Intent, plain};
use crate::leave::{Leave, leave};
use crate::obstacle::unread;
use crate::reach;
use crate::reason::Reason;
use crate::requirement;
use crate::stage;
use crate::torn;
use crate::update::{PULL_SETTLES, PUSH_SETTLES};
use crate::vetting;
use crate::view::{CardView, FirmwareImage, View, Wanted};
use crate::waiting_firmware;
use crate::whole_card;
use crate::wipe;

/// What the card's firmware needs next; `None` if all of it runs as wanted and nothing else waits there,
/// or nothing may begin because an install is under way.
pub(crate) fn next(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Intent> {
    if install_end(view, kept, now).is_some() {
        return None;
    }
    if let Some(open) = kept.components.iter().find(|one| is_under_way(one)) {
        if let Some(why) = torn::hanging(kept, open) {
            return Some(why);
        }
        let next = activation(view, record, spec, card, kept, open, now);
        return Some(next.unwrap_or_else(|why| why));
    }
    if let Some(until) = returns_by(view, kept).filter(|until| now < *until) {
        return Some(Intent::wait_until(
            Reason::AwaitingOs,
            format!(
                "{} was powered off and on for its firmware; its own agent must report before {until}",
                machine(card)
            ),
            until,
        ));
    }
    for wanted in &card.firmware {
        let Some(image) = &wanted.image else {
            return Some(missing(card, &wanted.name, now));
        };
        if !is_settled(view, card, kept, image, now) {
            let beside = armed_firmware::refused_beside(
                &image.component,
                &image.activation,
                view,
                card,
                kept,
            );
            if let Some(why) = beside {
                return Some(armed_firmware::told(why));
            }
            if let Some(why) = torn::stalled_beside(kept, &image.component) {
                return Some(why);
            }
            let next = update(view, record, spec, card, kept, image, now);
            return Some(next.unwrap_or_else(|why| why));
        }
    }
    // An install would take the card's power, or let it run.
    let torn = torn::stalled(kept);
    torn.or_else(|| armed_firmware::refused(view, card, kept).map(armed_firmware::told))
}

/// Whether everything that is wanted of the card's firmware was seen running, and nothing else is
/// seen now.
pub(crate) fn is_as_wanted(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> bool {
    card.firmware.iter().all(|wanted| {
        let image = wanted.image.as_ref();
        image.is_some_and(|image| is_settled(view, card, kept, image, now))
    }) && !kept.components.iter().any(is_under_way)
        && kept.cycled.is_none()
}

/// Whether the host waits for the card's firmware: as long as something can be done about it.
pub(crate) fn awaits(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> bool {
    let mut components = kept.components.iter();
    // One that the host went on without is let run when it does.
    if kept.cycled.is_some() || components.any(|one| is_under_way(one) && !one.given_up) {
        return true;
    }
    let mut components = kept.components.iter();
    // Nothing of it begins before a wipe is through.
    if components.any(is_under_way) || wipe::is_asked(card) {
        return false;
    }
    let Some(policy) = &view.policy else {
        return false;
    };
    let next = next(view, record, &policy.spec, card, kept, now);
    matches!(
        next,
        Some(Intent::Act(_) | Intent::Wait(..) | Intent::Taint(_))
    )
}

fn is_settled(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    image: &FirmwareImage,
    now: Timestamp,
) -> bool {
    let seen = of(kept, image).is_some_and(|one| one.observed_at.is_some());
    let shown = view
        .card_bmc(card, now)
        .and_then(|facts| shown(facts, &image.component))
        .and_then(|shown| shown.running.as_deref());
    // A BMC that says nothing now has not taken it back.
    seen && shown.is_none_or(|running| runs(running, &image.facts.version))
}

pub(crate) fn shown<'a>(facts: &'a BmcReport, component: &str) -> Option<&'a ComponentReport> {
    let mut components = facts.components.iter().flatten();
    components.find(|one| one.name == component)
}

fn missing(card: &CardView, name: &str, now: Timestamp) -> Intent {
    match arriving(&card.dpu.metadata, now) {
        Some(until) => Intent::wait_until(
            Reason::Inspecting,
            format!("waiting for DpuImage {name}"),
            until,
        ),
        None => Intent::stall(
            Reason::ImageNotFound,
            format!("DpuImage {name}, which firmwareRefs name, does not exist"),
        ),
    }
}

/// Who is asked to write an update.
enum By<'a> {
    Bmc { is_sent: bool, running: &'a str },
    Host,
}

/// Asks for the update, once nothing speaks against it and the host is held as the policy says.
fn update(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    image: &FirmwareImage,
    now: Timestamp,
) -> Result<Intent, Intent> {
    if card.dpu.spec.bmc.is_none() {
        let lack = match image.writer {
            FirmwareWriter::CardBmc => "to write it",
            FirmwareWriter::HostDevlink => {
                "to tell when its host may write it, nor to power it off and on afterwards"
            }
        };
        return Err(Intent::stall(
            Reason::NoInstallRoad,
            format!("firmware is wanted on the card, and it has no BMC {lack}"),
        ));
    }
    card::require_one_host(card)?;
    let facts = card::proved(view, card, now)?;
    let Some(one) = of(kept, image) else {
        return Err(Intent::wait(
            Reason::Inspecting,
            "waiting for facts about this card's firmware",
            reach::SILENCE,
        ));
    };
    vetting::allows(
        &image.vetting,
        spec,
        &machine(card),
        one.security_version,
        &image.facts,
    )?;
    if whole_card::is_restarted(facts) && image.activation == ActivatedBy::BmcReset {
        whole_card::may_begin(view, record, spec, card, facts, now)?;
    }
    let by = match image.writer {
        FirmwareWriter::CardBmc => {
            let (shown, running) = component(card, facts, image)?;
            may_begin(spec, card, kept, one, running)?;
            By::Bmc {
                is_sent: is_sent(card, kept, image, shown)?,
                running,
            }
        }
        FirmwareWriter::HostDevlink => {
            let running = flash::require_way(view, record, spec, card, image, now)?;
            may_begin(spec, card, kept, one, running)?;
            By::Host
        }
    };
    requirement::all_met(
        record,
        card,
        kept,
        &image.facts.version,
        &image.requirements,
        now,
    )?;
    image_ready(view, &image.facts)?;
    require_room(view, card, image, facts)?;
    if image.activation == ActivatedBy::CardPowerCycle {
        require_cycle(card, facts, &image.component)?;
    }
    let leave = leave(view, record, spec, card, now);
    let begins_hold = matches!(
        leave,
        Ok(Leave::AfterHold(_)) | Err(Intent::Act(_) | Intent::Taint(_))
    );
    if begins_hold && !kept.given_up {
        require_system(view, record, spec, card, now)?;
    }
    let leave = leave?;
    if let Leave::AfterHold(hold) = leave {
        return Ok(Intent::Act(hold));
    }
    if !is_armed_as_it_stays(spec, card, kept) {
        return Ok(card::clear(view, kept, card, now));
    }
    require_quiet(spec, card, facts, now)?;
    let By::Bmc { is_sent, running } = by else {
        return flash::next(view, card, image, facts, now);
    };
    let (kind, settle_seconds, how) = if is_sent {
        (ActionKind::PushFirmware, PUSH_SETTLES, "sending")
    } else {
        (ActionKind::PullFirmware, PULL_SETTLES, "offering")
    };
    Ok(Intent::act(Draft {
        step: Step::UpdateFirmware,
        target: card::target(card),
        action: Action {
            image: Some(image.facts.clone()),
            component: Some(image.component.clone()),
            activation: Some(image.activation.clone()),
            ..plain(kind)
        },
        expects: card::expects(card, facts.power.clone(), true),
        settle_seconds,
        message: format!(
            "{how} {} to the BMC of {}, to be written to {}, which runs {running}",
            image.facts.version,
            machine(card),
            image.component
        ),
        release: None,
    }))
}

/// A host that is held for firmware of a card stays held for its system, which is to come next.
fn require_system(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Result<(), Intent> {
    if card::is_installed(record, card) {
        return Ok(());
    }
    if let Some(unread) = unread(view, record, spec, card, now) {
        return Err(unread);
    }
    image_bytes::keeps_out(view, spec, card).map_or(Ok(()), |(reason, lack)| {
        Err(Intent::stall(
            reason,
            format!(
                "{} would be held for firmware of {} and then for its system, which goes onto it by none of the policy's install.methods: {lack}",
                host::machine(view),
                machine(card)
            ),
        ))
    })
}

/// Whether its BMC takes as much, if that is to write it.
fn require_room(
    view: &View,
    card: &CardView,
    image: &FirmwareImage,
    facts: &BmcReport,
) -> Result<(), Intent> {
    let lack = match image.writer {
        FirmwareWriter::CardBmc => image_bytes::not_updated_by(view, &image.facts, facts),
        FirmwareWriter::HostDevlink => None,
    };
    lack.map_or(Ok(()), |lack| {
        Err(Intent::stall(
            Reason::CapabilityMissing,
            format!("{} of {}: {lack}", image.component, machine(card)),
        ))
    })
}

/// What the BMC shows of the component, and the version that runs.
fn component<'a>(
    card: &CardView,
    facts: &'a BmcReport,
    image: &FirmwareImage,
) -> Result<(&'a ComponentReport, &'a str), Intent> {
    let name = &image.component;
    if facts.components.is_none() {
        return Err(Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "the site agent's release does not tell of firmware of {}; upgrade the site agent to the operator's release",
                machine(card)
            ),
        ));
    }
    let unread = || {
        Intent::wait(
            Reason::Inspecting,
            format!("{name} of {} has not been read", machine(card)),
            reach::SILENCE,
        )
    };
    let shown = shown(facts, name).ok_or_else(unread)?;
    let offers = [&shown.simple_update, &shown.multipart_push];
    match &shown.running {
        Some(running) => Ok((shown, running)),
        None if offers.iter().all(|offer| **offer == Offer::NotOffered) => Err(Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "the FirmwareInventory of {} lists no {name}; correct component, which takes another DpuImage",
                machine(card)
            ),
        )),
        None => Err(unread()),
    }
}

/// What was tried before, and what was seen.
fn may_begin(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    one: &ComponentRecord,
    running: &str,
) -> Result<(), Intent> {
    let ComponentRecord {
        component, image, ..
    } = one;
    let version = &image.version;
    if one.observed_at.is_some() && one.brought.as_deref() == Some(running) {
        let system = kept.image.as_ref().map_or("its image", |it| &it.version);
        return Err(Intent::stall(
            Reason::FirmwareContradicted,
            format!(
                "{component} of {} was seen to run {version}, which firmwareRefs want, and runs {running} since an install brought that along; {system} is installed there",
                machine(card)
            ),
        ));
    }
    if one.observed_at.is_some() {
        return Err(Intent::Stall(firmware_changed(card, kept, one, running)));
    }
    if one.given_up {
        return Err(Intent::stall(
            Reason::FirmwareFailed,
            format!(
                "the hold of the host ended before {component} ran {version}, and it is not tried again; {} update(s) begun",
                one.attempts
            ),
        ));
    }
    if one.attempts >= spec.install.max_attempts {
        return Err(Intent::stall(
            Reason::FirmwareFailed,
            format!(
                "{} update(s) of {component} to {version} did not end in its running; it runs {running}{}{}{}",
                one.attempts,
                torn::note(one),
                waiting_firmware::note(one),
                failure::told(kept, image)
            ),
        ));
    }
    Ok(())
}

/// Whether the BMC is sent the image, where it takes that, or fetches it; after one of them failed the
/// other is tried.
fn is_sent(
    card: &CardView,
    kept: &CardRecord,
    image: &FirmwareImage,
    shown: &ComponentReport,
) -> Result<bool, Intent> {
    let (push, pull) = (&shown.multipart_push, &shown.simple_update);
    let unread = |offer: &Offer| matches!(offer, Offer::NotRead | Offer::Unrecognized(_));
    if unread(push) || unread(pull) {
        return Err(Intent::wait(
            Reason::Inspecting,
            format!(
                "how the BMC of {} takes {} has not been read",
                machine(card),
                image.component
            ),
            reach::SILENCE,
        ));
    }
    let failed = failure::last_of(kept, &image.facts).map(|failure| &failure.method);
    match (*push == Offer::Offered, *pull == Offer::Offered) {
        (true, true) => Ok(failed != Some(&InstallMethod::MultipartPush)),
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "the BMC of {} neither fetches an image for {} by the protocol of the site's store nor takes one that is sent",
                machine(card),
                image.component
            ),
        )),
    }
}

/// What a power cycle of the card needs of its BMC, before anything is written for it.
fn require_cycle(card: &CardView, facts: &BmcReport, component: &str) -> Result<(), Intent> {
    stage::may_be_cycled(facts).map_err(|lack| {
        Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "{component} runs once {} was powered off and on, and its BMC cannot do that: {lack}",
                machine(card)
            ),
        )
    })
}

/// Whether nothing is armed that would come with the card's next boot, but the stateless image that it
/// runs and may run still.
pub(crate) fn is_armed_as_it_stays(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
) -> bool {
    let stays = |wanted| kept.is_as_it_stays() && !supersedes(kept, card, wanted);
    match &card.wanted {
        _ if kept.armed.is_empty() => true,
        Wanted::Image(wanted) => stays(wanted) && vetting::passed(spec, card, kept, wanted).is_ok(),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => false,
    }
}

/// A restart of a BMC may take its card along, and so may what it writes.
pub(crate) fn require_quiet(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<(), Intent> {
    stage::is_not_updating(&machine(card), facts)?;
    match facts.power {
        Some(PowerState::Off) => Ok(()),
        Some(PowerState::On) => stage::may_cut_power(&card::running(card, facts, now), spec, now),
        Some(_) | None => Err(Intent::wait(
            Reason::Inspecting,
            format!("waiting for {} to be on or off", machine(card)),
            reach::SILENCE,
        )),
    }
}
