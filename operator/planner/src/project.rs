//! From a verdict to what people and tools see: statuses, conditions, finalizers, events.
//!
//! Writes are the budget: nothing here changes with time alone, and while a
//! directive is carried out or a card boots, the status that announced it stands.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::condition::{self, READY, RECONCILING};
use lockstep_crds::directive::Step;
use lockstep_crds::host::{CardRecord, HeldBy, HoldState, ReleaseReason};
use lockstep_crds::{DpuHostStatus, DpuStatus, FINALIZER, Phase};

use crate::arriving::arriving;
use crate::card;
use crate::card_record::writing_end;
use crate::decision::{Decision, Finalizers, Plan, Transition};
use crate::drift_words;
use crate::firmware_record;
use crate::inspection;
use crate::intent::{Intent, TaintStep};
use crate::ledger;
use crate::plan::Verdict;
use crate::reason::Reason;
use crate::repair;
use crate::roll_back;
use crate::show_card::{ROLLING_BACK, show_card};
use crate::show_drift;
use crate::show_inventory::show_host_inventory;
use crate::shown::{Shown, show_channel};
use crate::slot_power;
use crate::standing;
use crate::taint;
use crate::takedown;
use crate::view::{CardView, View};
use crate::whole_card;
use crate::wipe;

/// Reason of `Reconciling` while directives are carried out.
const WORKING: &str = "Working";

/// Completes a plan from what was decided.
pub(crate) fn finish(
    view: &View,
    before: &DpuHostStatus,
    mut record: DpuHostStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> Plan {
    let generation = view.host.metadata.generation;
    let stands = before.observed_generation == generation
        && is_announced(before)
        && is_quiet(&verdict.decision)
        && only_repeatable(before, &record);
    let says_nothing = !verdict.awaits_inspection
        && (stands || is_unannounced(view, before, &verdict.decision, now));
    let host_status = if says_nothing {
        before.clone()
    } else {
        show_host(view, &mut record, verdict, now);
        let then = verdict.repairs_then.as_ref();
        let then = then.map(|then| repair::with_record(view, then));
        let needs = then.as_ref().unwrap_or(view);
        inspection::follow(view, needs, &mut record, verdict.awaits_inspection, now);
        show_host_inventory(view, before, &mut record, &verdict.decision, now);
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
    // Nothing becomes due in a record that is not understood.
    let nothing = DpuHostStatus::default();
    let known = match ledger::unknown_value(before) {
        Some(_) => &nothing,
        None => &record,
    };
    let finalizers = finalizers(view, &host_status, &verdict.cards);
    let taints = if verdict.taints_follow {
        taint::changes(view, &host_status)
    } else {
        Vec::new()
    };
    Plan {
        service_accounts: service_accounts(&verdict.decision),
        renewed_accounts: renewed_accounts(view, before, &host_status, now),
        withdrawn_accounts: withdrawn_accounts(view, &cards),
        events: transitions(view, before, &host_status, &cards, verdict, now),
        look_again: look_again(view, known, verdict, now),
        decision: verdict.decision.clone(),
        host_status,
        cards,
        finalizers,
        taints,
    }
}

/// A host that has only just been made and waits for first facts: the next word,
/// a moment later, is worth more than "wait".
fn is_unannounced(
    view: &View,
    before: &DpuHostStatus,
    decision: &Decision,
    now: Timestamp,
) -> bool {
    *before == DpuHostStatus::default()
        && arriving(&view.host.metadata, now).is_some()
        && matches!(decision, Decision::Await(why, _)
            if matches!(why.reason, Reason::Inspecting | Reason::SiteAgentSilent))
}

/// Waits that were announced when the directive was recorded.
fn is_quiet(decision: &Decision) -> bool {
    matches!(decision, Decision::Await(why, _)
    if matches!(
        why.reason,
        Reason::DirectivePending | Reason::AwaitingOs | Reason::AwaitingFirmware
    ))
}

/// Whether the status still says what it said when a directive was recorded.
fn is_announced(before: &DpuHostStatus) -> bool {
    let quiet = [
        WORKING,
        Reason::DirectivePending.as_str(),
        Reason::AwaitingOs.as_str(),
        Reason::AwaitingFirmware.as_str(),
    ];
    condition::find(&before.conditions, RECONCILING)
        .is_some_and(|condition| quiet.contains(&condition.reason.as_str()))
}

/// Whether the record differs only in what the next plan will conclude again from
/// the same reports: directives that ended as they should, and what they armed.
fn only_repeatable(before: &DpuHostStatus, record: &DpuHostStatus) -> bool {
    let begins = |status: &DpuHostStatus| status.hold.is_none() || takedown::is_beginning(status);
    let same_hold = match &record.hold {
        Some(hold) if begins(before) && !begins(record) => {
            hold.mechanism == HeldBy::PoweredOff
                && before.directives.iter().any(|open| open.seq == hold.seq)
        }
        after => before.hold == *after,
    };
    let masked = |status: &DpuHostStatus| -> Vec<CardRecord> {
        let mut cards = status.cards.clone();
        for card in &mut cards {
            card.armed.clear();
            card.staged = None;
            card.stopping = None;
        }
        cards
    };
    same_hold
        && before.seq == record.seq
        && before.release == record.release
        && before.failed == record.failed
        && before.wait == record.wait
        && masked(before) == masked(record)
}

fn show_host(view: &View, record: &mut DpuHostStatus, verdict: &Verdict, now: Timestamp) {
    record.observed_generation = view.host.metadata.generation;
    if let Some(bmc) = view.host_bmc(now) {
        record.power.clone_from(&bmc.power);
    }
    let (step, shown) = match &verdict.decision {
        Decision::Start(_) => (
            record.step.clone(),
            Shown::progress(WORKING, verdict.message.clone()),
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
    let by_reason = [
        (Reason::Inspecting, Step::Inspect),
        (Reason::FetchingImage, Step::FetchImage),
        (Reason::AwaitingHost, Step::AwaitHost),
        (Reason::AwaitingOs, Step::AwaitOs),
        (Reason::ImageNotFetched, Step::AwaitOs),
        (Reason::TaintingNode, Step::HoldHost),
    ];
    by_reason
        .into_iter()
        .find_map(|(of, step)| (of == reason).then_some(step))
        .or_else(|| record.step.clone())
        .unwrap_or(Step::Inspect)
}

fn finalizers(view: &View, status: &DpuHostStatus, intents: &[Intent]) -> Finalizers {
    let cards: Vec<String> = view
        .cards
        .iter()
        .zip(intents)
        .filter(|(card, intent)| {
            let owed = status.cards.iter().any(|kept| {
                let writes = kept.components.iter().any(firmware_record::is_under_way);
                let owes = !kept.armed.is_empty() || kept.stopping.is_some() || writes;
                kept.uid == card.uid() && owes
            });
            owed && !is_let_go(view, card, intent)
        })
        .map(|(card, _)| card.name())
        .collect();
    // The record of what is armed at the cards is the host's status: it stays as long as they need it.
    Finalizers {
        host: status.hold.is_some()
            || !view.tainted.is_empty()
            || !status.directives.is_empty()
            || !cards.is_empty(),
        cards,
    }
}

/// A card that is being deleted and whose BMC cannot be brought to take back what
/// it accepted: it is let go, and said so (S15).
fn is_let_go(view: &View, card: &CardView, intent: &Intent) -> bool {
    card::is_going(view, card)
        && matches!(intent, Intent::Stall(why)
            if !matches!(why.reason, Reason::AdmissionGuardMissing | Reason::UnknownRecord))
}

fn is_protected(meta: &ObjectMeta) -> bool {
    let mut finalizers = meta.finalizers.iter().flatten();
    finalizers.any(|name| name == FINALIZER)
}

fn service_accounts(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Start(directives) => directives
            .iter()
            .filter(|directive| {
                let kind = &directive.action.kind;
                kind.arms_install() || kind.is_update()
            })
            .map(|directive| directive.target.name.clone())
            .collect(),
        Decision::Await(..) | Decision::Hold(_) | Decision::Stalled(_) | Decision::Settled => {
            Vec::new()
        }
    }
}

/// A wish whose order is recorded for the first time. A card that is armed while it runs keeps its identity:
/// whoever is root there can read the order and the wiper's token, and its word is needed until it restarts.
fn renewed_accounts(
    view: &View,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    now: Timestamp,
) -> Vec<String> {
    let token = |kept: &CardRecord| kept.wipe.as_ref().map(|wipe| wipe.token.clone());
    let ordered = after.cards.iter().filter(|kept| {
        let known = before.record_of(&kept.uid).and_then(token);
        token(kept).is_some_and(|token| known != Some(token))
    });
    let runs_meanwhile = |kept: &&CardRecord| {
        let card = view.cards.iter().find(|card| card.uid() == kept.uid);
        let facts = card.and_then(|card| view.card_bmc(card, now));
        facts.is_some_and(whole_card::is_restarted)
    };
    ordered
        .filter(|kept| !runs_meanwhile(kept))
        .map(|kept| kept.name.clone())
        .collect()
}

/// The status of a card that is retired is written once its identity is gone, so that a crash
/// between the two has it withdrawn again.
fn withdrawn_accounts(view: &View, cards: &[(String, DpuStatus)]) -> Vec<String> {
    let told = |card: &CardView| {
        card.dpu
            .status
            .as_ref()
            .and_then(|status| status.phase.clone())
    };
    let retires = view.cards.iter().zip(cards).filter(|(card, (_, status))| {
        status.phase == Some(Phase::Retired) && told(card) != Some(Phase::Retired)
    });
    retires.map(|(card, _)| card.name()).collect()
}

fn transitions(
    view: &View,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    cards: &[(String, DpuStatus)],
    verdict: &Verdict,
    now: Timestamp,
) -> Vec<Transition> {
    let mut events = Vec::new();
    // A hold that ended as it should is told by its cards getting Ready; one that was only
    // beginning, at a host that stayed up, needs no word.
    if before.hold.is_some() && after.hold.is_none() && before.release != after.release {
        let reason = after
            .release
            .as_ref()
            .map_or("Manual", |release| release.reason.as_str());
        if reason != ReleaseReason::Ready.as_str() {
            events.push(Transition {
                card: None,
                reason: "HostReleased".to_owned(),
                message: format!("the hold ended: {reason}"),
                warning: true,
            });
        }
    }
    let broken = |status: &DpuHostStatus| {
        status
            .hold
            .as_ref()
            .filter(|hold| hold.state == HoldState::HoldBroken)
            .map(|hold| hold.broken_by.clone().unwrap_or_default())
    };
    if let Some(TaintStep::Begin { message }) = &verdict.booked {
        events.push(Transition {
            card: None,
            reason: "HostHeld".to_owned(),
            message: message.clone(),
            warning: false,
        });
    }
    if let (None, Some(by)) = (broken(before), broken(after)) {
        events.push(Transition {
            card: None,
            reason: Reason::HoldBroken.as_str().to_owned(),
            message: format!("the host is up though it is held: {by}"),
            warning: true,
        });
    }
    for ((card, (name, status)), intent) in view.cards.iter().zip(cards).zip(&verdict.cards) {
        let was = card
            .dpu
            .status
            .as_ref()
            .and_then(|status| status.phase.clone());
        let armed = after
            .cards
            .iter()
            .any(|kept| kept.uid == card.uid() && !kept.armed.is_empty());
        // Told once: by the plan that takes the finalizer away.
        let mut kept = after.cards.iter().filter(|kept| kept.uid == card.uid());
        // Nobody can take back what is written: it runs when the BMC restarts.
        let waits = kept.any(firmware_record::is_armed)
            && card::is_going(view, card)
            && (*intent == Intent::Done || is_let_go(view, card, intent));
        let armed = armed && is_let_go(view, card, intent);
        if (armed || waits) && is_protected(&card.dpu.metadata) {
            events.push(Transition::cancelled_but_armed(name));
        }
        events.extend(gives_up(before, after, card));
        events.extend(show_drift::repair(before, after, card, now));
        let drifts = show_drift::transitions(before, after, card);
        let is_told = drifts.iter().any(|drift| drift.warning);
        events.extend(drifts);
        if was == status.phase {
            continue;
        }
        let message = status.message.clone().unwrap_or_default();
        match &status.phase {
            Some(Phase::Stalled | Phase::Degraded) => {
                let reason = condition::find(&status.conditions, READY)
                    .map_or_else(|| "Stalled".to_owned(), |ready| ready.reason.clone());
                if is_told && drift_words::is_reason(&reason) {
                    continue;
                }
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
            None
            | Some(
                Phase::Discovered
                | Phase::Inspecting
                | Phase::Available
                | Phase::Installing
                | Phase::Activating
                | Phase::Attesting
                | Phase::Maintenance
                | Phase::Recovering
                | Phase::Quarantined
                | Phase::Deleting
                | Phase::Wiping
                | Phase::Retired
                | Phase::Unrecognized(_),
            ) => {}
        }
    }
    events
}

/// Told once of each image: by the plan that gives up the one before.
fn gives_up(before: &DpuHostStatus, after: &DpuHostStatus, card: &CardView) -> Option<Transition> {
    let uid = card.uid();
    let before = before.record_of(&uid).and_then(CardRecord::back_to);
    let kept = after.record_of(&uid)?;
    let (back, to) = (kept.roll_back.as_ref()?, kept.back_to()?);
    (before != Some(to)).then(|| Transition {
        card: Some(card.name()),
        reason: ROLLING_BACK.to_owned(),
        message: format!(
            "{} did not come up, and {} is to go onto the card{}",
            back.from.version,
            roll_back::named(Some(to)),
            if to.is_golden { "" } else { " again" },
        ),
        warning: true,
    })
}

/// The earliest time at which the answer may change though nothing is reported.
fn look_again(
    view: &View,
    record: &DpuHostStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> Option<Timestamp> {
    let awaited = match &verdict.decision {
        Decision::Await(_, until) => Some(*until),
        Decision::Start(_) | Decision::Hold(_) | Decision::Stalled(_) | Decision::Settled => None,
    };
    let of_cards = verdict.cards.iter().filter_map(Intent::until);
    let hold = record.hold.as_ref().map(|hold| hold.deadline.0);
    let directives = record
        .directives
        .iter()
        .flat_map(|open| standing::turning_points(view, open));
    let silence = view
        .cards
        .iter()
        .flat_map(|card| {
            let witnesses = card.sightings.iter().filter_map(|seen| seen.agent);
            card.os_agent.into_iter().chain(witnesses)
        })
        .chain(view.site_agent)
        .chain(view.host_agent.as_ref().and_then(|agent| agent.agent))
        .map(|lease| lease.renewed + lease.duration);
    // What a deletion takes back then is done in every mode, whatever is said till then.
    let installs = record
        .cards
        .iter()
        .filter_map(|kept| writing_end(view, kept, now));
    let just_after = directives
        .chain(silence)
        .map(|at| at + SignedDuration::from_secs(1));
    awaited
        .into_iter()
        .chain(of_cards)
        .chain(verdict.retries.iter().copied())
        .chain(hold)
        .chain(slot_power::due(view, record, now))
        .chain(takedown::due(view, record))
        .chain(wipe::due(view))
        .chain(repair::due(view, record))
        .chain(installs)
        .chain(arriving(&view.host.metadata, now))
        .chain(just_after)
        .filter(|at| *at > now)
        .min()
}
