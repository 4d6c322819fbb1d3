//! From a view to a plan: absorb what is seen, ask every machine what it needs, weigh, record.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, PolicyMode};
use lockstep_crds::directive::{ActionKind, Directive, TargetKind};
use lockstep_crds::host::{ArmedEffect, ReleaseReason, WaitRecord};

use crate::decision::{Decision, Explanation, Plan};
use crate::intent::{Draft, Intent, Limit};
use crate::project;
use crate::reason::Reason;
use crate::view::View;
use crate::{card, host, ledger, slot_power};

/// Seconds within which an executor must accept a directive.
const ACCEPT_WITHIN: SignedDuration = SignedDuration::from_secs(180);
/// How long only to observe after the record turned out older than reality.
const ADOPTING: SignedDuration = SignedDuration::from_secs(60);
/// Failures in a row of one directive before a person is asked.
const DIRECTIVE_TRIES: usize = 4;
/// First pause after a failed directive; it doubles.
const RETRY_PAUSE_SECS: i64 = 15;

/// What every machine of the power domain needs, and what is decided of it.
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// The card's own share, in the order of the view's cards.
    pub(crate) cards: Vec<Intent>,
    /// What people read while the directives of a `Start` are carried out.
    pub(crate) message: String,
}

/// Decides what to do about a power domain at `now`.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let before = view.host.status.clone().unwrap_or_default();
    if let Some(what) = ledger::unknown_value(&before) {
        let why = Explanation::new(
            Reason::UnknownRecord,
            format!("the record of this host holds {what}, which this release does not know"),
        );
        let verdict = Verdict {
            cards: vec![Intent::Stall(why.clone()); view.cards.len()],
            message: why.message.clone(),
            decision: Decision::Stalled(why),
        };
        return project::finish(view, &before, before.clone(), &verdict, now);
    }
    let mut record = before.clone();
    let adopting = adopt_newer(view, &mut record);
    slot_power::measure(view, &mut record, now);
    ledger::conclude(view, &mut record, now);
    host::absorb_custody(view, &mut record, now);
    card::absorb(view, &mut record, now);
    let verdict = if adopting {
        everyone(
            view,
            Intent::wait(
                Reason::Adopting,
                "the record is older than what the agents have done (was a backup restored?): observing before anything is decided",
                ADOPTING,
            ),
            &mut record,
            now,
        )
    } else {
        decide(view, &mut record, now)
    };
    project::finish(view, &before, record, &verdict, now)
}

/// A record whose numbers are behind its executors' was restored from the past.
/// Numbers go on from the executors', open directives of the past are dropped.
fn adopt_newer(view: &View, record: &mut DpuHostStatus) -> bool {
    let highest = ledger::highest_accepted(view);
    let behind = highest > record.seq;
    if behind {
        record.seq = highest;
        record.directives.clear();
    }
    behind || waiting_for(record, Reason::Adopting)
}

fn waiting_for(record: &DpuHostStatus, reason: Reason) -> bool {
    record
        .wait
        .as_ref()
        .is_some_and(|wait| wait.reason == reason.as_str())
}

/// The same answer for the host and all of its cards.
fn everyone(view: &View, intent: Intent, record: &mut DpuHostStatus, now: Timestamp) -> Verdict {
    // The end of adopting is not a failure: the wait is simply over.
    if let (Intent::Wait(why, _), Some(wait)) = (&intent, &record.wait)
        && why.reason == Reason::Adopting
        && waiting_for(record, Reason::Adopting)
        && now >= wait.deadline.0
    {
        record.wait = None;
        return decide(view, record, now);
    }
    let intent = limited(intent, record, now);
    Verdict {
        decision: as_decision(&intent),
        cards: vec![intent; view.cards.len()],
        message: String::new(),
    }
}

fn decide(view: &View, record: &mut DpuHostStatus, now: Timestamp) -> Verdict {
    let Some(policy) = &view.policy else {
        let name = &view.host.spec.policy_ref.name;
        let why = Intent::stall(
            Reason::PolicyNotFound,
            format!("DpuBootPolicy {name} does not exist"),
        );
        return everyone(view, why, record, now);
    };
    let spec = &policy.spec;
    if let Some(closed) = host::gate(view, now) {
        return everyone(view, closed, record, now);
    }
    let mut cards: Vec<Intent> = view
        .cards
        .iter()
        .map(|card| card::intent(view, record, spec, card, now))
        .collect();
    let ready = view
        .cards
        .iter()
        .all(|card| card::is_installed(record, card));
    let host = host::intent(view, record, spec, ready, now);
    let drafts = collect(view, record, spec, &cards, &host, now);
    let (drafts, refusals) = admit(record, drafts, now);
    for refusal in &refusals {
        for (card, intent) in view.cards.iter().zip(&mut cards) {
            let same = refusal.draft.target.kind == TargetKind::Card
                && refusal.draft.target.uid == card.uid();
            if same || matches!(intent, Intent::Act(draft) if draft.target == refusal.draft.target)
            {
                *intent = refusal.instead.clone();
            }
        }
    }
    if spec.mode != PolicyMode::Enforce {
        return shown_only(view, spec, &drafts, cards, record, now);
    }
    if !drafts.is_empty() {
        let messages: Vec<&str> = drafts.iter().map(|draft| draft.message.as_str()).collect();
        let message = messages.join("; ");
        let directives = drafts
            .into_iter()
            .map(|draft| issue(view, record, draft, now))
            .collect();
        record.wait = None;
        return Verdict {
            decision: Decision::Start(directives),
            cards,
            message,
        };
    }
    let host = match refusals
        .iter()
        .find(|refusal| refusal.draft.target.kind == TargetKind::Host)
    {
        Some(refusal) => refusal.instead.clone(),
        None => host,
    };
    let overall = weigh(&host, &cards);
    let overall = limited(overall, record, now);
    let cards = cards
        .into_iter()
        .map(|card| expired(card, record, now))
        .collect();
    Verdict {
        decision: as_decision(&overall),
        cards,
        message: String::new(),
    }
}

/// Every effect that somebody needs, one for each machine; a card that is armed
/// brings along the hold that its power-on will need.
fn collect(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    cards: &[Intent],
    host: &Intent,
    now: Timestamp,
) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut add = |draft: &Draft| {
        if drafts.iter().all(|other| other.target != draft.target) {
            drafts.push(draft.clone());
        }
    };
    if let Intent::Act(draft) = host {
        add(draft);
    }
    for (card, intent) in view.cards.iter().zip(cards) {
        let Intent::Act(draft) = intent else { continue };
        add(draft);
        if draft.action.kind == ActionKind::StageInstall
            && let Some(hold) = card::wanted_hold(view, record, spec, card, now)
        {
            add(&hold);
        }
    }
    drafts
}

/// A draft that may not become a directive now, and what is said instead.
struct Refusal {
    draft: Draft,
    instead: Intent,
}

/// Keeps the drafts that may become directives now: none for a machine that has
/// one open, none that just failed, at most one destructive in the domain (S2, S7).
fn admit(record: &DpuHostStatus, drafts: Vec<Draft>, now: Timestamp) -> (Vec<Draft>, Vec<Refusal>) {
    let mut admitted: Vec<Draft> = Vec::new();
    let mut refused = Vec::new();
    let destructive_open = record
        .directives
        .iter()
        .any(|open| open.action.kind.is_destructive());
    for draft in drafts {
        let destructive = draft.action.kind.is_destructive();
        let open = record
            .directives
            .iter()
            .find(|open| open.target == draft.target || destructive_open || destructive);
        let instead = if let Some(open) = open {
            Some(Intent::wait_until(
                Reason::DirectivePending,
                format!(
                    "waiting for directive {} ({})",
                    open.seq,
                    ledger::what(open)
                ),
                open.deadline.0
                    + ledger::CLOCK_SKEW
                    + SignedDuration::from_secs(open.settle_seconds),
            ))
        } else if destructive && !admitted.is_empty() {
            Some(Intent::wait_until(
                Reason::DirectivePending,
                "waiting for another machine of this host",
                now + ACCEPT_WITHIN,
            ))
        } else {
            pause_after_failure(record, &draft, now)
        };
        match instead {
            Some(instead) => refused.push(Refusal { draft, instead }),
            None => admitted.push(draft),
        }
    }
    if admitted
        .iter()
        .any(|draft| draft.action.kind.is_destructive())
    {
        admitted.truncate(1);
    }
    (admitted, refused)
}

fn pause_after_failure(record: &DpuHostStatus, draft: &Draft, now: Timestamp) -> Option<Intent> {
    let kind = match draft.target.kind {
        TargetKind::Card => "dpu",
        TargetKind::Host | TargetKind::Unrecognized(_) => "dpuhost",
    };
    let what = format!("{} {kind}/{}", draft.action.kind, draft.target.name);
    let (count, last) = ledger::failures(record, &what);
    let last = last?;
    let detail = last.message.as_deref().unwrap_or("no detail");
    if count >= DIRECTIVE_TRIES {
        let explanation = Explanation::new(
            Reason::DirectiveFailed,
            format!(
                "{what} failed {count} times, last at {}: {detail}. Change retryToken on the Dpu to try again",
                last.at.0
            ),
        );
        return Some(Intent::Stall(explanation));
    }
    let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0);
    let next = last.at.0 + SignedDuration::from_secs(RETRY_PAUSE_SECS * 2_i64.pow(doublings));
    (now < next).then(|| {
        Intent::wait_until(
            Reason::DirectiveFailed,
            format!(
                "{what} failed at {}: {detail}; tried again at {next}",
                last.at.0
            ),
            next,
        )
    })
}

/// Numbers a draft and books what its recording means.
fn issue(view: &View, record: &mut DpuHostStatus, draft: Draft, now: Timestamp) -> Directive {
    record.seq += 1;
    let radius = std::iter::once(host::machine(view))
        .chain(view.cards.iter().map(card::machine))
        .collect();
    let directive = Directive {
        seq: record.seq,
        step: draft.step,
        executor: view.host.spec.site.clone(),
        target: draft.target,
        action: draft.action,
        expects: draft.expects,
        blast_radius: radius,
        issued_at: Time(now),
        deadline: Time(now + ACCEPT_WITHIN),
        settle_seconds: draft.settle_seconds,
    };
    let uid = directive.target.uid.clone();
    match directive.action.kind {
        ActionKind::StageInstall => {
            if let Some(card) = ledger::card_record(record, &uid) {
                card.armed = vec![ArmedEffect::VirtualMedia, ArmedEffect::BootOverride];
            }
        }
        ActionKind::PowerOn if directive.target.kind == TargetKind::Card => {
            let epoch = view
                .cards
                .iter()
                .find(|card| card.uid() == uid)
                .and_then(|card| card.os.as_ref())
                .and_then(|report| report.os.as_ref())
                .map(|os| os.boot_epoch.clone());
            if let Some(card) = ledger::card_record(record, &uid) {
                card.attempts += 1;
                card.booted_at = Some(Time(now));
                card.epoch_before = epoch;
            }
        }
        ActionKind::ReleaseHost => {
            if let Some(hold) = record.hold.as_mut() {
                hold.releasing.clone_from(&draft.release);
            }
            if draft.release == Some(ReleaseReason::Timeout) {
                for card in record
                    .cards
                    .iter_mut()
                    .filter(|card| card.observed_at.is_none())
                {
                    card.given_up = true;
                }
            }
        }
        ActionKind::HoldHost
        | ActionKind::PowerOn
        | ActionKind::ClearInstall
        | ActionKind::ShutdownGracefully
        | ActionKind::ForceOff
        | ActionKind::Unrecognized(_) => {}
    }
    record.step = Some(directive.step.clone());
    record.directives.push(directive.clone());
    directive
}

/// Under Observe and Plan: say what is, or what would be done, and record nothing.
fn shown_only(
    view: &View,
    spec: &DpuBootPolicySpec,
    drafts: &[Draft],
    mut cards: Vec<Intent>,
    record: &mut DpuHostStatus,
    now: Timestamp,
) -> Verdict {
    let observe = spec.mode == PolicyMode::Observe;
    let next = drafts.first().map_or_else(
        || "nothing to do".to_owned(),
        |draft| format!("next would be: {}", draft.message),
    );
    for (card, intent) in view.cards.iter().zip(&mut cards) {
        if observe && *intent != Intent::Done {
            *intent = Intent::hold(Reason::ObserveOnly, "the policy's mode is Observe");
        } else if let Intent::Act(draft) = intent {
            let message = format!(
                "the policy's mode is Plan; {}: {}",
                card::machine(card),
                draft.message
            );
            *intent = Intent::hold(Reason::PlanOnly, message);
        }
    }
    let overall = if observe {
        Intent::hold(Reason::ObserveOnly, "the policy's mode is Observe")
    } else if drafts.is_empty() {
        limited(weigh(&Intent::Done, &cards), record, now)
    } else {
        Intent::hold(
            Reason::PlanOnly,
            format!("the policy's mode is Plan; {next}"),
        )
    };
    Verdict {
        decision: as_decision(&overall),
        cards,
        message: String::new(),
    }
}

/// One answer for the whole power domain: what is under way comes before what is
/// stuck, so that a stuck card does not hide that others go on.
fn weigh(host: &Intent, cards: &[Intent]) -> Intent {
    let rank = |intent: &Intent| match intent {
        Intent::Act(_) => 0,
        Intent::Wait(..) => 1,
        Intent::Stall(_) => 2,
        Intent::Hold(_) => 3,
        Intent::Done => 4,
    };
    std::iter::once(host)
        .chain(cards)
        .min_by_key(|intent| rank(intent))
        .cloned()
        .unwrap_or(Intent::Done)
}

/// Anchors a wait in the record, and turns one that has lasted too long into a stall (S6).
fn limited(intent: Intent, record: &mut DpuHostStatus, now: Timestamp) -> Intent {
    let Intent::Wait(why, limit) = &intent else {
        record.wait = None;
        return intent;
    };
    match limit {
        Limit::Until(_) => record.wait = None,
        Limit::For(span) if !waiting_for(record, why.reason) => {
            record.wait = Some(WaitRecord {
                reason: why.reason.as_str().to_owned(),
                since: Time(now),
                deadline: Time(now + *span),
            });
        }
        Limit::For(_) => {}
    }
    expired(intent, record, now)
}

fn expired(intent: Intent, record: &DpuHostStatus, now: Timestamp) -> Intent {
    let Intent::Wait(why, limit) = &intent else {
        return intent;
    };
    let deadline = match limit {
        Limit::Until(at) => Some(*at),
        Limit::For(_) => record
            .wait
            .as_ref()
            .filter(|wait| wait.reason == why.reason.as_str())
            .map(|wait| wait.deadline.0),
    };
    match deadline {
        Some(deadline) if now >= deadline => {
            let message = match &record.wait {
                Some(wait) => format!("{}; so since {}", why.message, wait.since.0),
                None => format!("{}; the time for it ended at {deadline}", why.message),
            };
            Intent::Stall(Explanation {
                reason: why.reason,
                message,
            })
        }
        Some(deadline) => Intent::Wait(why.clone(), Limit::Until(deadline)),
        None => intent,
    }
}

fn as_decision(intent: &Intent) -> Decision {
    match intent {
        Intent::Act(draft) => Decision::Hold(Explanation {
            reason: Reason::PlanOnly,
            message: draft.message.clone(),
        }),
        Intent::Wait(why, Limit::Until(until)) => Decision::Await(why.clone(), *until),
        Intent::Wait(why, Limit::For(_)) => Decision::Stalled(why.clone()),
        Intent::Hold(why) => Decision::Hold(why.clone()),
        Intent::Stall(why) => Decision::Stalled(why.clone()),
        Intent::Done => Decision::Settled,
    }
}
