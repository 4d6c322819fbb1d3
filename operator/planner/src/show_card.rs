//! A card's status for people: its phase, derived, and what its agents show.

use jiff::Timestamp;
use lockstep_crds::condition;
use lockstep_crds::directive::{ActionKind, Directive, TargetKind};
use lockstep_crds::dpu::BootEpoch;
use lockstep_crds::host::CardRecord;
use lockstep_crds::{DpuHostStatus, DpuStatus, Phase};

use crate::approval::is_refusal;
use crate::bundle;
use crate::card;
use crate::decision::Decision;
use crate::drift_words;
use crate::firmware;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::roll_back;
use crate::show_choice::show_choice;
use crate::show_drift::show_drift;
use crate::show_filesystems::show_filesystems;
use crate::show_inventory::{is_under_way, show_card_inventory};
use crate::show_services::show_services;
use crate::shown::{Shown, show_channel};
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// Reason of `Reconciling`, and of an event, of a card that gets its last good image again.
pub(crate) const ROLLING_BACK: &str = "RollingBack";

/// The next status of a card, from its own share of the verdict.
pub(crate) fn show_card(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    intent: &Intent,
    overall: &Decision,
    now: Timestamp,
) -> DpuStatus {
    let before = card.dpu.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = card.dpu.metadata.generation;
    let kept = record.cards.iter().find(|kept| kept.uid == card.uid());
    let (phase, mut shown) = phase(view, record, card, kept, intent, overall, now);
    if let Some(namesake) = card::namesake(card, now).filter(|told| !shown.message.contains(told)) {
        let before = &shown.message;
        shown.message = format!("{before}; the card's own agent reports image {namesake}");
    }
    status.observed_generation = generation;
    status.phase = Some(phase);
    status.message = Some(condition::truncated(&shown.message));
    if let Some(wipe) = kept.and_then(|kept| kept.wipe.as_ref()) {
        status.wipe = Some(wipe.clone());
    }
    let back = kept.and_then(|kept| roll_back::goes_back(kept, card));
    status.wanted_image = match (back, &card.wanted) {
        (Some(back), _) => Some(back.from.clone()),
        (None, Wanted::Image(image)) => Some(image.clone()),
        (None, Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing) => None,
    };
    if let Some(bmc) = view.card_bmc(card, now) {
        status.capabilities = Some(bmc.capabilities.clone());
    }
    if let (Some(report), Some(os)) = (&card.os, card.live_os(now)) {
        status.image =
            os.image_digest
                .clone()
                .zip(os.image_version.clone())
                .map(|(digest, version)| lockstep_crds::directive::ImageFacts {
                    digest,
                    version,
                    stateless: false,
                    slot: None,
                });
        status.agent_version = Some(report.agent_version.clone());
        status.addresses.clone_from(&os.addresses);
        if status.boot_epoch.as_ref().map(|epoch| &epoch.value) != Some(&os.boot_epoch) {
            status.boot_epoch = Some(BootEpoch {
                value: os.boot_epoch.clone(),
                source: os.epoch_source.clone(),
                seen_at: report.observed_at.clone(),
            });
        }
    }
    shown.write(&mut status.conditions, generation, now);
    show_channel(
        &mut status.conditions,
        card.dpu.spec.bmc.as_ref(),
        generation,
        now,
    );
    show_filesystems(record, card, &mut status, now);
    show_choice(view, card, &mut status, now);
    show_drift(view, record, card, &mut status, now);
    show_services(view, record, card, intent, &mut status, now);
    // A card that has nothing to do itself may still wait for its host.
    let reconciling = condition::find(&status.conditions, condition::RECONCILING).is_some();
    let under_way = reconciling || is_under_way(intent);
    show_card_inventory(
        &before,
        status,
        card.joined.as_ref(),
        generation,
        under_way,
        now,
    )
}

fn phase(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: Option<&CardRecord>,
    intent: &Intent,
    overall: &Decision,
    now: Timestamp,
) -> (Phase, Shown) {
    if card.dpu.metadata.deletion_timestamp.is_some() {
        let message = match intent {
            Intent::Wait(why, _) | Intent::Stall(why) | Intent::Hold(why) => why.message.clone(),
            Intent::Act(draft) => draft.message.clone(),
            Intent::Taint(step) => step.message().to_owned(),
            Intent::Done => "nothing is left to undo".to_owned(),
        };
        return (Phase::Deleting, Shown::progress("Deleting", message));
    }
    let version = match &card.wanted {
        Wanted::Image(image) => image.version.as_str(),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => "",
    };
    let installed = card::is_installed(record, card);
    let clears = |open: &Directive| {
        open.action.kind == ActionKind::ClearInstall && open.target.uid == card.uid()
    };
    let clean =
        kept.is_some_and(CardRecord::is_as_it_stays) && !record.directives.iter().any(clears);
    // What was seen running may have been put out by something else since.
    let runs_it = kept
        .and_then(|kept| kept.image.as_ref())
        .is_some_and(|image| {
            let os = card.live_os(now);
            os.is_some_and(|os| os.image_digest.as_ref() == Some(&image.digest))
        });
    let firm = kept.is_none_or(|kept| {
        firmware::is_as_wanted(view, card, kept, now)
            && bundle::lacks(record, card, kept, now).is_none()
    });
    let at_work =
        !wipe::is_aimed(card) && installed && runs_it && clean && firm && record.hold.is_none();
    let back = kept.and_then(|kept| Some((kept, roll_back::goes_back(kept, card)?)));
    let drifted = kept.and_then(|kept| drift_words::in_short(card, kept));
    let running = || match back {
        _ if let Some(why) = &drifted => (Phase::Degraded, Shown::stalled(why)),
        None => running(version),
        Some((kept, back)) => {
            let why = roll_back::went_back(kept, back);
            (Phase::Degraded, Shown::stalled(&why))
        }
    };
    let under_way = || match back {
        _ if wipe::is_aimed(card) => wiping(view, version),
        Some((_, back)) if !installed => going_back(view, &back.from.version, version),
        Some(_) | None if (installed || card.wanted == Wanted::Nothing) && !firm => updating(view),
        Some(_) | None => under_way(view, installed, version),
    };
    match intent {
        Intent::Hold(why) if is_refusal(intent) => (Phase::Discovered, Shown::idle(why)),
        Intent::Stall(why) if at_work && is_of_the_domain(why.reason) => running(),
        Intent::Stall(why) if at_work && drift_words::is_reason(why.reason.as_str()) => {
            (Phase::Degraded, Shown::stalled(why))
        }
        Intent::Stall(why)
            if matches!(
                why.reason,
                Reason::CardAgentSilent
                    | Reason::CardPoweredOff
                    | Reason::RolledBack
                    | Reason::BundleIncomplete
            ) =>
        {
            (Phase::Degraded, Shown::stalled(why))
        }
        Intent::Stall(why) => (Phase::Stalled, Shown::stalled(why)),
        Intent::Wait(why, _)
            if matches!(why.reason, Reason::NetworkBootLost | Reason::BootOrderLost) =>
        {
            let shown = Shown::progress(why.reason.as_str(), why.message.clone());
            (Phase::Degraded, shown)
        }
        // Where its next boot goes changes nothing about what runs.
        Intent::Act(draft)
            if at_work
                && matches!(
                    draft.action.kind,
                    ActionKind::SetNetworkBoot | ActionKind::SetBootOrder
                ) =>
        {
            running()
        }
        Intent::Hold(_) | Intent::Wait(..) if at_work && !awaits_host(overall) => running(),
        Intent::Hold(why) if why.reason == Reason::Retired => (Phase::Retired, Shown::idle(why)),
        Intent::Hold(why) => (Phase::Available, Shown::idle(why)),
        Intent::Wait(why, _) if is_announced(why.reason) => under_way(),
        Intent::Wait(why, _) => {
            let phase = if why.reason == Reason::CardAgentSilent {
                Phase::Degraded
            } else if matches!(
                why.reason,
                Reason::Inspecting | Reason::Adopting | Reason::ImageNotChosen
            ) {
                Phase::Inspecting
            } else if wipe::is_aimed(card) {
                Phase::Wiping
            } else if (installed || card.wanted == Wanted::Nothing) && !firm {
                Phase::Maintenance
            } else if installed {
                Phase::Activating
            } else if back.is_some() {
                Phase::Recovering
            } else if kept.is_some_and(|kept| kept.attempts > 0 || !kept.armed.is_empty()) {
                Phase::Installing
            } else {
                Phase::Inspecting
            };
            let shown = Shown::progress(why.reason.as_str(), why.message.clone());
            (phase, shown)
        }
        Intent::Act(_) | Intent::Taint(_) => under_way(),
        Intent::Done if at_work && !awaits_host(overall) => running(),
        Intent::Done => under_way(),
    }
}

/// Waits of an install that goes as it should: one status speaks for all of them.
fn is_announced(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::FetchingImage
            | Reason::DirectivePending
            | Reason::AwaitingOs
            | Reason::ShuttingDown
            | Reason::TaintingNode
            | Reason::AwaitingFirmware
    )
}

/// Troubles of the host or site that leave a running card as good as it was.
fn is_of_the_domain(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SiteAgentSilent
            | Reason::AdmissionGuardMissing
            | Reason::PolicyNotFound
            | Reason::UnknownRecord
            | Reason::IdentityConflict
    )
}

/// Whether the host is still on its way up for its cards.
fn awaits_host(overall: &Decision) -> bool {
    match overall {
        Decision::Await(why, _) | Decision::Stalled(why) => why.reason == Reason::AwaitingHost,
        Decision::Start(directives) => directives
            .iter()
            .any(|directive| directive.target.kind == TargetKind::Host),
        Decision::Hold(_) | Decision::Settled => false,
    }
}

fn running(version: &str) -> (Phase, Shown) {
    (Phase::Ready, Shown::ready(format!("runs {version}")))
}

fn going_back(view: &View, from: &str, to: &str) -> (Phase, Shown) {
    let host = view.host_name();
    let message =
        format!("{from} did not come up; going back to {to}, step by step in dpuhost/{host}");
    (Phase::Recovering, Shown::progress(ROLLING_BACK, message))
}

fn wiping(view: &View, version: &str) -> (Phase, Shown) {
    let host = view.host_name();
    let message = format!("wiping the card with {version}, step by step in dpuhost/{host}");
    (Phase::Wiping, Shown::progress("Wiping", message))
}

fn updating(view: &View) -> (Phase, Shown) {
    let steps = format!("step by step in dpuhost/{}", view.host_name());
    let message = format!("the card's firmware is updated, {steps}");
    (
        Phase::Maintenance,
        Shown::progress("UpdatingFirmware", message),
    )
}

fn under_way(view: &View, installed: bool, version: &str) -> (Phase, Shown) {
    let steps = format!("step by step in dpuhost/{}", view.host_name());
    if installed {
        let message =
            format!("{version} runs; the card is cleaned up and its host released, {steps}");
        (Phase::Activating, Shown::progress("Activating", message))
    } else {
        (
            Phase::Installing,
            Shown::progress("Installing", format!("installing {version}, {steps}")),
        )
    }
}
