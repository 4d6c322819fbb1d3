//! From a verdict to what people and tools see: statuses, conditions, finalizers, events.
//!
//! Writes are the budget: nothing here changes with time alone, and while a
//! directive is carried out or a card boots, the status that announced it stands.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::bmc::TlsTrust;
use lockstep_crds::condition::{self, BMC_CHANNEL_INSECURE, READY, RECONCILING, STALLED};
use lockstep_crds::directive::{ActionKind, Step, TargetKind};
use lockstep_crds::dpu::BootEpoch;
use lockstep_crds::host::CardRecord;
use lockstep_crds::{BmcEndpoint, DpuHostStatus, DpuStatus, Phase};

use crate::card;
use crate::decision::{Decision, Explanation, Finalizers, Plan, Transition};
use crate::intent::Intent;
use crate::plan::Verdict;
use crate::reason::Reason;
use crate::view::{CardView, View, Wanted};

/// Completes a plan from what was decided.
pub(crate) fn finish(
    view: &View,
    before: &DpuHostStatus,
    mut record: DpuHostStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> Plan {
    let known =
        before.step.is_some() && before.observed_generation == view.host.metadata.generation;
    let host_status =
        if known && is_quiet(&verdict.decision) && record.hold.is_some() == before.hold.is_some() {
            before.clone()
        } else {
            show_host(view, &mut record, verdict, now);
            record.clone()
        };
    let cards: Vec<(String, DpuStatus)> = view
        .cards
        .iter()
        .zip(&verdict.cards)
        .map(|(card, intent)| {
            (
                card.name(),
                show_card(view, &record, card, intent, &verdict.decision, now),
            )
        })
        .collect();
    let finalizers = finalizers(view, &host_status, &verdict.cards);
    Plan {
        service_accounts: service_accounts(&verdict.decision),
        events: transitions(view, before, &host_status, &cards, &verdict.cards),
        look_again: look_again(view, &record, &verdict.decision, now),
        decision: verdict.decision.clone(),
        host_status,
        cards,
        finalizers,
    }
}

/// Waits that were announced when the directive was recorded.
fn is_quiet(decision: &Decision) -> bool {
    matches!(decision, Decision::Await(why, _)
        if matches!(why.reason, Reason::DirectivePending | Reason::AwaitingOs))
}

fn show_host(view: &View, record: &mut DpuHostStatus, verdict: &Verdict, now: Timestamp) {
    record.observed_generation = view.host.metadata.generation;
    if let Some(bmc) = view.host_bmc(now) {
        record.power.clone_from(&bmc.power);
    }
    let (step, shown) = match &verdict.decision {
        Decision::Start(_) => (
            record.step.clone(),
            Shown::progress("Working", verdict.message.clone()),
        ),
        Decision::Await(why, _) => (
            Some(step_of(why.reason, record)),
            Shown::progress(why.reason.as_str(), why.message.clone()),
        ),
        Decision::Hold(why) => (record.step.clone(), Shown::idle(why)),
        Decision::Stalled(why) => (record.step.clone(), Shown::stalled(why)),
        Decision::Settled => (Some(Step::Settled), Shown::ready("as wanted")),
    };
    record.step = Some(step.unwrap_or(Step::Inspect));
    record.message = Some(condition::truncated(&shown.message));
    let generation = view.host.metadata.generation;
    shown.write(&mut record.conditions, generation, now);
    show_channel(
        &mut record.conditions,
        view.host.spec.bmc.as_ref(),
        generation,
        now,
    );
}

fn step_of(reason: Reason, record: &DpuHostStatus) -> Step {
    match reason {
        Reason::Inspecting => Step::Inspect,
        Reason::FetchingImage => Step::FetchImage,
        Reason::AwaitingHost => Step::AwaitHost,
        Reason::AwaitingOs => Step::AwaitOs,
        _ => record.step.clone().unwrap_or(Step::Inspect),
    }
}

/// What the three kstatus conditions say.
struct Shown {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: String,
    message: String,
}

impl Shown {
    fn ready(message: impl Into<String>) -> Self {
        Self {
            ready: true,
            reconciling: false,
            stalled: false,
            reason: Reason::AsWanted.as_str().to_owned(),
            message: message.into(),
        }
    }

    fn progress(reason: &str, message: String) -> Self {
        Self {
            ready: false,
            reconciling: true,
            stalled: false,
            reason: reason.to_owned(),
            message,
        }
    }

    fn stalled(why: &Explanation) -> Self {
        Self {
            ready: false,
            reconciling: false,
            stalled: true,
            reason: why.reason.as_str().to_owned(),
            message: why.message.clone(),
        }
    }

    fn idle(why: &Explanation) -> Self {
        Self {
            stalled: false,
            ..Self::stalled(why)
        }
    }

    fn write(&self, conditions: &mut Vec<Condition>, generation: Option<i64>, now: Timestamp) {
        let now = Time(now);
        condition::set(
            conditions,
            READY,
            self.ready,
            &self.reason,
            &self.message,
            generation,
            &now,
        );
        for (type_, holds) in [(RECONCILING, self.reconciling), (STALLED, self.stalled)] {
            if holds {
                condition::set(
                    conditions,
                    type_,
                    true,
                    &self.reason,
                    &self.message,
                    generation,
                    &now,
                );
            } else {
                condition::remove(conditions, type_);
            }
        }
    }
}

fn show_channel(
    conditions: &mut Vec<Condition>,
    bmc: Option<&BmcEndpoint>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let insecure = bmc.and_then(|bmc| match bmc.tls.trust {
        TlsTrust::NoVerification => Some("NoVerification"),
        TlsTrust::PlainHttp => Some("PlainHttp"),
        TlsTrust::Ca | TlsTrust::PinnedKey => None,
    });
    match insecure {
        Some(trust) => {
            let message = format!(
                "tls.trust is {trust}: whoever is on the path can read the BMC's credentials and change what it does. Use Ca or PinnedKey"
            );
            condition::set(
                conditions,
                BMC_CHANNEL_INSECURE,
                true,
                trust,
                &message,
                generation,
                &Time(now),
            );
        }
        None => {
            condition::remove(conditions, BMC_CHANNEL_INSECURE);
        }
    }
}

fn show_card(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    intent: &Intent,
    overall: &Decision,
    now: Timestamp,
) -> DpuStatus {
    let mut status = card.dpu.status.clone().unwrap_or_default();
    let generation = card.dpu.metadata.generation;
    let kept = record.cards.iter().find(|kept| kept.uid == card.uid());
    let (phase, shown) = phase(view, record, card, kept, intent, overall, now);
    status.observed_generation = generation;
    status.phase = Some(phase);
    status.message = Some(condition::truncated(&shown.message));
    status.wanted_image = match &card.wanted {
        Wanted::Image(image) => Some(image.clone()),
        Wanted::Missing(_) | Wanted::Nothing => None,
    };
    if let Some(bmc) = view.card_bmc(card, now) {
        status.capabilities = Some(bmc.capabilities.clone());
    }
    if let (Some(report), Some(os)) = (&card.os, card.live_os(now)) {
        status.image = os
            .image_digest
            .clone()
            .zip(os.image_version.clone())
            .map(|(digest, version)| lockstep_crds::directive::ImageFacts { digest, version });
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
    status
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
            Intent::Done => "nothing is left to undo".to_owned(),
        };
        return (Phase::Deleting, Shown::progress("Deleting", message));
    }
    let version = match &card.wanted {
        Wanted::Image(image) => image.version.as_str(),
        Wanted::Missing(_) | Wanted::Nothing => "",
    };
    let installed = card::is_installed(record, card);
    let clean = kept.is_some_and(|kept| kept.armed.is_empty());
    let live = card.live_os(now).is_some();
    let at_work = installed && live && clean && record.hold.is_none();
    match intent {
        Intent::Stall(why) if at_work && is_of_the_domain(why.reason) => running(version),
        Intent::Stall(why)
            if matches!(why.reason, Reason::CardAgentSilent | Reason::CardPoweredOff) =>
        {
            (Phase::Degraded, Shown::stalled(why))
        }
        Intent::Stall(why) => (Phase::Stalled, Shown::stalled(why)),
        Intent::Hold(_) | Intent::Wait(..) if at_work && !awaits_host(overall) => running(version),
        Intent::Hold(why) => (Phase::Available, Shown::idle(why)),
        Intent::Wait(why, _) => match why.reason {
            Reason::CardAgentSilent => (
                Phase::Degraded,
                Shown::progress(why.reason.as_str(), why.message.clone()),
            ),
            Reason::Inspecting | Reason::Adopting => (
                Phase::Inspecting,
                Shown::progress(why.reason.as_str(), why.message.clone()),
            ),
            Reason::FetchingImage
            | Reason::DirectivePending
            | Reason::AwaitingOs
            | Reason::ShuttingDown => under_way(view, installed, version),
            _ => {
                let phase = if installed {
                    Phase::Activating
                } else {
                    Phase::Installing
                };
                (
                    phase,
                    Shown::progress(why.reason.as_str(), why.message.clone()),
                )
            }
        },
        Intent::Act(_) => under_way(view, installed, version),
        Intent::Done if at_work && !awaits_host(overall) => running(version),
        Intent::Done => under_way(view, installed, version),
    }
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

fn finalizers(view: &View, status: &DpuHostStatus, intents: &[Intent]) -> Finalizers {
    let cards = view
        .cards
        .iter()
        .zip(intents)
        .filter(|(card, intent)| {
            let armed = status
                .cards
                .iter()
                .any(|kept| kept.uid == card.uid() && !kept.armed.is_empty());
            armed && !cancelled_but_armed(card, intent)
        })
        .map(|(card, _)| card.name())
        .collect();
    let host_directive = status.directives.iter().any(|open| {
        matches!(
            open.action.kind,
            ActionKind::HoldHost | ActionKind::ReleaseHost
        )
    });
    Finalizers {
        host: status.hold.is_some() || host_directive,
        cards,
    }
}

/// A card that is being deleted and whose BMC cannot be brought to take back what
/// it accepted: it is let go, and said so (S15).
fn cancelled_but_armed(card: &CardView, intent: &Intent) -> bool {
    card.dpu.metadata.deletion_timestamp.is_some() && matches!(intent, Intent::Stall(_))
}

fn service_accounts(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Start(directives) => directives
            .iter()
            .filter(|directive| directive.action.kind == ActionKind::StageInstall)
            .map(|directive| directive.target.name.clone())
            .collect(),
        Decision::Await(..) | Decision::Hold(_) | Decision::Stalled(_) | Decision::Settled => {
            Vec::new()
        }
    }
}

fn transitions(
    view: &View,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    cards: &[(String, DpuStatus)],
    intents: &[Intent],
) -> Vec<Transition> {
    let mut events = Vec::new();
    if before.hold.is_some() && after.hold.is_none() {
        let reason = after
            .release
            .as_ref()
            .map_or("Manual", |release| release.reason.as_str());
        events.push(Transition {
            card: None,
            reason: "HostReleased".to_owned(),
            message: format!("the hold ended: {reason}"),
            warning: reason != "Ready",
        });
    }
    for ((card, (name, status)), intent) in view.cards.iter().zip(cards).zip(intents) {
        let was = card
            .dpu
            .status
            .as_ref()
            .and_then(|status| status.phase.clone());
        if cancelled_but_armed(card, intent) {
            events.push(Transition {
                card: Some(name.clone()),
                reason: "CancelledButArmed".to_owned(),
                message: "deleted while its BMC may still hold our media or boot override: eject and reset them by hand".to_owned(),
                warning: true,
            });
        }
        if was == status.phase {
            continue;
        }
        let message = status.message.clone().unwrap_or_default();
        match &status.phase {
            Some(Phase::Stalled | Phase::Degraded) => {
                let reason = condition::find(&status.conditions, READY)
                    .map_or_else(|| "Stalled".to_owned(), |ready| ready.reason.clone());
                events.push(Transition {
                    card: Some(name.clone()),
                    reason,
                    message,
                    warning: true,
                });
            }
            Some(Phase::Ready) => events.push(Transition {
                card: Some(name.clone()),
                reason: "Ready".to_owned(),
                message,
                warning: false,
            }),
            _ => {}
        }
    }
    events
}

fn look_again(
    view: &View,
    record: &DpuHostStatus,
    decision: &Decision,
    now: Timestamp,
) -> Option<Timestamp> {
    let awaited = match decision {
        Decision::Await(_, until) => Some(*until),
        Decision::Start(_) | Decision::Hold(_) | Decision::Stalled(_) | Decision::Settled => None,
    };
    let hold = record.hold.as_ref().map(|hold| hold.deadline.0);
    let silence = view
        .cards
        .iter()
        .filter_map(|card| card.os_agent)
        .map(|lease| lease.renewed + lease.duration + SignedDuration::from_secs(1));
    awaited
        .into_iter()
        .chain(hold)
        .chain(silence)
        .filter(|at| *at > now)
        .min()
}
