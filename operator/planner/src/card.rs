//! What one card needs next: install, adopt, clean up, or be left alone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, Expects, ImageFacts, Step, Target, TargetKind};
use lockstep_crds::host::{ArmedEffect, CardRecord};
use lockstep_crds::observed::{Offer, PowerState};
use lockstep_crds::report::{BmcReport, ImageState, MediaOwner};
use lockstep_crds::{DpuHostStatus, names};

use crate::host::{self, Leave};
use crate::intent::{Draft, Intent, plain};
use crate::reach;
use crate::reason::Reason;
use crate::stage;
use crate::view::{CardView, View, Wanted};

/// How long the store may take to fetch and verify an image.
const FETCH: SignedDuration = SignedDuration::from_hours(2);

/// Brings the records of the cards up to what is seen: new cards, images
/// running, effects armed. Forgets cards that are gone with nothing armed.
pub fn absorb(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    record.cards.retain(|kept| {
        let open = record
            .directives
            .iter()
            .any(|open| open.target.uid == kept.uid);
        view.cards.iter().any(|card| is_of(kept, card)) || open
    });
    for card in &view.cards {
        let Wanted::Image(wanted) = &card.wanted else {
            continue;
        };
        let position = record.cards.iter().position(|kept| is_of(kept, card));
        let mut kept = match position {
            Some(index) => record.cards.remove(index),
            None => fresh(card, wanted),
        };
        card.name().clone_into(&mut kept.name);
        card.uid().clone_into(&mut kept.uid);
        notice_os(card, &mut kept, now);
        if supersedes(&kept, card, wanted) && !in_flight(view, &kept, now) {
            kept = CardRecord {
                armed: kept.armed,
                ..fresh(card, wanted)
            };
            notice_os(card, &mut kept, now);
        }
        let busy = record
            .directives
            .iter()
            .any(|open| open.target.uid == kept.uid);
        if let Some(bmc) = view.card_bmc(card, now).filter(|_| !busy) {
            notice_bmc(bmc, &mut kept, now);
        }
        record.cards.push(kept);
    }
    record.cards.sort_by(|a, b| a.name.cmp(&b.name));
}

fn is_of(kept: &CardRecord, card: &CardView) -> bool {
    let physical = card.physical_id();
    if physical.is_empty() {
        kept.uid == card.uid()
    } else {
        kept.physical_id == physical
    }
}

fn fresh(card: &CardView, wanted: &ImageFacts) -> CardRecord {
    CardRecord {
        name: card.name(),
        uid: card.uid(),
        physical_id: card.physical_id(),
        image: Some(wanted.clone()),
        attempts: 0,
        retry_token: card.dpu.spec.retry_token.clone(),
        epoch_before: None,
        booted_at: None,
        given_up: false,
        observed_at: None,
        armed: Vec::new(),
    }
}

/// Whether the user wants something else than what the record is about.
fn supersedes(kept: &CardRecord, card: &CardView, wanted: &ImageFacts) -> bool {
    kept.image.as_ref().map(|image| &image.digest) != Some(&wanted.digest)
        || kept.retry_token != card.dpu.spec.retry_token
}

/// Whether an install may still be writing: it is let finish before another begins.
fn in_flight(view: &View, kept: &CardRecord, now: Timestamp) -> bool {
    let timeout = view
        .policy
        .as_ref()
        .map_or(0, |policy| policy.spec.install.os_timeout_seconds);
    kept.observed_at.is_none()
        && kept
            .booted_at
            .as_ref()
            .is_some_and(|at| now < at.0 + SignedDuration::from_secs(timeout))
}

fn notice_os(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let Some(os) = card.live_os(now) else { return };
    let runs_it = kept
        .image
        .as_ref()
        .is_some_and(|image| os.image_digest.as_ref() == Some(&image.digest));
    let same_boot = kept.booted_at.is_some() && kept.epoch_before.as_ref() == Some(&os.boot_epoch);
    if runs_it && !same_boot && kept.observed_at.is_none() {
        kept.observed_at = Some(Time(now));
        kept.given_up = false;
    }
}

fn notice_bmc(bmc: &BmcReport, kept: &mut CardRecord, now: Timestamp) {
    let ours = bmc.media.owner == MediaOwner::Lockstep;
    let overridden = bmc.boot_override.is_some();
    let override_armed = overridden && (ours || kept.armed.contains(&ArmedEffect::BootOverride));
    kept.armed = [
        (ours, ArmedEffect::VirtualMedia),
        (override_armed, ArmedEffect::BootOverride),
    ]
    .into_iter()
    .filter_map(|(armed, effect)| armed.then_some(effect))
    .collect();
    // An install that this record knows nothing of (the record is older than
    // reality) is adopted rather than begun again.
    let installs_wanted =
        ours && bmc.media.digest.as_ref() == kept.image.as_ref().map(|image| &image.digest);
    let unknown_boot = kept.booted_at.is_none() && kept.observed_at.is_none();
    if installs_wanted && unknown_boot && bmc.power == Some(PowerState::On) {
        kept.booted_at = Some(bmc.power_since.clone().unwrap_or(Time(now)));
        kept.attempts = kept.attempts.max(1);
    }
}

/// Whether the wanted image has been seen running on the card since its install.
pub fn is_installed(record: &DpuHostStatus, card: &CardView) -> bool {
    let Wanted::Image(wanted) = &card.wanted else {
        return false;
    };
    record.cards.iter().any(|kept| {
        kept.uid == card.uid()
            && kept.observed_at.is_some()
            && kept.image.as_ref().map(|image| &image.digest) == Some(&wanted.digest)
    })
}

/// What the card needs next.
pub fn intent(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Intent {
    let kept = record.cards.iter().find(|kept| kept.uid == card.uid());
    if card.dpu.metadata.deletion_timestamp.is_some() {
        return kept.map_or(Intent::Done, |kept| undo(view, kept, card, now));
    }
    if let Some(conflict) = card.conflicts.first() {
        return Intent::stall(Reason::IdentityConflict, conflict.clone());
    }
    let wanted = match &card.wanted {
        Wanted::Nothing => {
            return Intent::hold(Reason::NoImageWanted, "no image is wanted on this card");
        }
        Wanted::Missing(name) => {
            return Intent::stall(
                Reason::ImageNotFound,
                format!("DpuImage {name} does not exist"),
            );
        }
        Wanted::Image(image) => image,
    };
    let Some(kept) = kept else {
        return Intent::wait(
            Reason::Inspecting,
            "waiting for facts about this card",
            reach::SILENCE,
        );
    };
    if kept.observed_at.is_some() && !supersedes(kept, card, wanted) {
        return installed(view, kept, card, wanted, now);
    }
    match install(view, record, spec, card, kept, wanted, now) {
        Ok(draft) if card.dpu.spec.paused => Intent::hold(
            Reason::Paused,
            format!("paused; the next step would be: {}", draft.message),
        ),
        Ok(draft) => Intent::Act(draft),
        Err(why) => why,
    }
}

/// The card was seen with the wanted image: clean up, and watch that it stays so.
fn installed(
    view: &View,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Intent {
    if !kept.armed.is_empty() {
        return clear(view, kept, card, now);
    }
    match card.live_os(now) {
        Some(os) if os.image_digest.as_ref() == Some(&wanted.digest) => Intent::Done,
        Some(os) => Intent::stall(
            Reason::InstallFailed,
            format!(
                "the card was installed with {} and now reports image {}",
                wanted.version,
                os.image_version.as_deref().unwrap_or("(unknown)")
            ),
        ),
        None if view
            .card_bmc(card, now)
            .is_some_and(|bmc| bmc.power == Some(PowerState::Off)) =>
        {
            Intent::stall(
                Reason::CardPoweredOff,
                "the card is installed and powered off",
            )
        }
        None => Intent::wait(
            Reason::CardAgentSilent,
            "the agent in the card's operating system has not renewed its Lease",
            reach::SILENCE,
        ),
    }
}

fn undo(view: &View, kept: &CardRecord, card: &CardView, now: Timestamp) -> Intent {
    if kept.armed.is_empty() {
        return Intent::Done;
    }
    if in_flight(view, kept, now) {
        return Intent::wait(
            Reason::UndoingBeforeDelete,
            "an install is under way; media and boot override are taken back when its system is seen or its time is over",
            SignedDuration::from_hours(24),
        );
    }
    clear(view, kept, card, now)
}

fn clear(view: &View, kept: &CardRecord, card: &CardView, now: Timestamp) -> Intent {
    match proved(view, card, now) {
        Ok(_) => Intent::Act(Draft {
            step: Step::ClearInstall,
            target: target(card),
            action: Action {
                image: kept.image.clone(),
                ..plain(ActionKind::ClearInstall)
            },
            expects: expects(card, None, false),
            settle_seconds: 60,
            message: format!("taking media and boot override back from {}", machine(card)),
            release: None,
        }),
        Err(why) => why,
    }
}

#[expect(clippy::too_many_arguments, reason = "one card in its whole context")]
fn install(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Result<Draft, Intent> {
    if card.dpu.spec.bmc.is_none() {
        return Err(Intent::stall(
            Reason::NoInstallRoad,
            "the card runs another image than wanted and has no BMC",
        ));
    }
    if card.dpu.spec.host_refs.len() > 1 {
        return Err(Intent::stall(
            Reason::SeveralHostsUnsupported,
            "the card names several hosts",
        ));
    }
    let facts = proved(view, card, now)?;
    if facts.capabilities.virtual_media == Offer::NotOffered {
        return Err(Intent::stall(
            Reason::CapabilityMissing,
            "the card's BMC offers no virtual media that can hold an image",
        ));
    }
    if let Some(boot) = booting(spec, kept, now) {
        return Err(boot);
    }
    if kept.given_up || kept.attempts >= spec.install.max_attempts {
        return Err(failed(kept, wanted));
    }
    image_ready(view, wanted)?;
    if facts.media.owner == MediaOwner::Foreign {
        return Err(Intent::stall(
            Reason::ForeignMedia,
            "media that Lockstep did not insert are in the card's BMC",
        ));
    }
    let leave = host::leave(view, record, spec, card, now)?;
    match facts.power {
        Some(PowerState::Off) => {}
        Some(PowerState::On) => return Err(stop(record, spec, card, facts, now)),
        Some(_) | None => {
            return Err(Intent::wait(
                Reason::Inspecting,
                format!("waiting for {} to be on or off", machine(card)),
                reach::SILENCE,
            ));
        }
    }
    let staged = facts.media.owner == MediaOwner::Lockstep
        && facts.media.digest.as_ref() == Some(&wanted.digest)
        && facts.boot_override.is_some();
    if !staged {
        return Ok(stage_install(card, wanted));
    }
    match leave {
        Leave::Granted => Ok(boot(card, wanted, spec)),
        Leave::AfterHold(hold) => Ok(*hold),
    }
}

/// The hold that the card's install waits for, if it does; it goes to the host's BMC
/// while the card, which is off, is armed through its own.
pub fn wanted_hold(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Option<Draft> {
    match host::leave(view, record, spec, card, now) {
        Ok(Leave::AfterHold(hold)) => Some(*hold),
        Ok(Leave::Granted) | Err(_) => None,
    }
}

fn booting(spec: &DpuBootPolicySpec, kept: &CardRecord, now: Timestamp) -> Option<Intent> {
    let booted = kept.booted_at.as_ref()?;
    let deadline = booted.0 + SignedDuration::from_secs(spec.install.os_timeout_seconds);
    (now < deadline).then(|| {
        Intent::wait_until(
            Reason::AwaitingOs,
            format!(
                "powered on to install {}; its own agent must report that image before {deadline}",
                kept.image
                    .as_ref()
                    .map_or("its image", |image| &image.version)
            ),
            deadline,
        )
    })
}

fn failed(kept: &CardRecord, wanted: &ImageFacts) -> Intent {
    let since = kept
        .booted_at
        .as_ref()
        .map_or_else(String::new, |at| format!(", last powered on at {}", at.0));
    Intent::stall(
        Reason::InstallFailed,
        format!(
            "{} install(s) of {} did not end in a report from the card's own agent{since}",
            kept.attempts, wanted.version
        ),
    )
}

fn image_ready(view: &View, wanted: &ImageFacts) -> Result<(), Intent> {
    let fetching = || {
        Intent::wait(
            Reason::FetchingImage,
            format!(
                "the site's store fetches and verifies {} ({})",
                wanted.version, wanted.digest
            ),
            FETCH,
        )
    };
    let stored = view
        .images
        .iter()
        .find(|image| image.digest == wanted.digest)
        .ok_or_else(fetching)?;
    match stored.state {
        ImageState::Verified => Ok(()),
        ImageState::Fetching | ImageState::Unrecognized(_) => Err(fetching()),
        ImageState::Failed => Err(Intent::stall(
            Reason::ImageUnavailable,
            format!(
                "the site's store could not get {} ({}): {}",
                wanted.version,
                stored.reason.as_deref().unwrap_or("unknown"),
                stored.message.as_deref().unwrap_or("no detail")
            ),
        )),
    }
}

fn stop(
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Intent {
    stage::stop(
        stage::Machine {
            name: machine(card),
            target: target(card),
            expects: expects(card, Some(PowerState::On), true),
            facts,
            os_runs: card.live_os(now).is_some(),
        },
        record,
        spec,
        Step::StopCard,
        now,
    )
}

fn stage_install(card: &CardView, wanted: &ImageFacts) -> Draft {
    Draft {
        step: Step::StageInstall,
        target: target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::StageInstall)
        },
        expects: expects(card, Some(PowerState::Off), false),
        settle_seconds: 900,
        message: format!(
            "inserting {} as virtual media of {} and setting its next boot to it",
            wanted.version,
            machine(card)
        ),
        release: None,
    }
}

fn boot(card: &CardView, wanted: &ImageFacts, spec: &DpuBootPolicySpec) -> Draft {
    Draft {
        step: Step::BootCard,
        target: target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::PowerOn)
        },
        expects: expects(card, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: format!(
            "powering {} on to install {}; its own agent must report that image within {} s",
            machine(card),
            wanted.version,
            spec.install.os_timeout_seconds
        ),
        release: None,
    }
}

fn proved<'a>(view: &'a View, card: &'a CardView, now: Timestamp) -> Result<&'a BmcReport, Intent> {
    reach::proved(
        &machine(card),
        &card.uid(),
        card.dpu.spec.identity.as_ref(),
        view.card_bmc(card, now),
        card.report.as_ref(),
    )
}

/// `dpu/NAME`.
pub fn machine(card: &CardView) -> String {
    format!("dpu/{}", card.name())
}

/// Name of the card's own agent's ServiceAccount, report and Lease.
pub fn agent(card: &CardView) -> String {
    names::xpu(&card.name())
}

fn target(card: &CardView) -> Target {
    Target {
        kind: TargetKind::Card,
        name: card.name(),
        uid: card.uid(),
    }
}

fn expects(card: &CardView, power: Option<PowerState>, safe_stage: bool) -> Expects {
    Expects {
        identity: card.dpu.spec.identity.clone().unwrap_or_default(),
        bmc_key_pin: card
            .report
            .as_ref()
            .and_then(|report| report.bmc.as_ref())
            .and_then(|bmc| bmc.key_pin.clone()),
        power,
        safe_stage,
    }
}
