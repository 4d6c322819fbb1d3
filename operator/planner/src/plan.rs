//! From a view to a plan: absorb what is seen, ask every machine what it needs, weigh, record.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, PolicyMode};
use lockstep_crds::directive::{ActionKind, TargetKind};

use crate::admit::{self, admit, collect, issue};
use crate::approval::{is_approved, is_refusal, refused};
use crate::arriving::arriving;
use crate::decision::{Decision, Explanation, Plan};
use crate::intent::{Draft, Intent, TaintStep};
use crate::project;
use crate::reason::Reason;
use crate::view::{CardView, View};
use crate::wait::{self, as_decision, limited, weigh};
use crate::{
    card, custody, flash, give_back, host, inspection, joining, ledger, push, repair, roll_back,
    services, slot_power, taint, takedown, torn, wipe,
};

/// How long only to observe after the record turned out older than reality.
const ADOPTING: SignedDuration = SignedDuration::from_secs(60);

/// What every machine of the power domain needs, and what is decided of it.
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// The card's own share, in the order of the view's cards.
    pub(crate) cards: Vec<Intent>,
    /// What people read while the directives of a `Start` are carried out.
    pub(crate) message: String,
    /// When a draft that was refused for now may be admitted.
    pub(crate) retries: Vec<Timestamp>,
    /// Whether Nodes are made to look as the record says.
    pub(crate) taints_follow: bool,
    /// The hold by taint that was booked now.
    pub(crate) booked: Option<TaintStep>,
    /// Whether something waits for everything to be read once more, or to be joined.
    pub(crate) awaits_inspection: bool,
    /// The record with which a repair begins after that: what it goes by is to be read.
    pub(crate) repairs_then: Option<DpuHostStatus>,
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
            cards: shares(view, &Intent::Stall(why.clone())),
            message: String::new(),
            retries: Vec::new(),
            taints_follow: false,
            booked: None,
            awaits_inspection: false,
            repairs_then: None,
            decision: Decision::Stalled(why),
        };
        return project::finish(view, &before, before.clone(), &verdict, now);
    }
    let seen = flash::beside_bmcs(view, now);
    let view = &*seen;
    let mut record = before.clone();
    let adopting = adopt_newer(view, &mut record, now);
    ledger::conclude(view, &mut record, now);
    custody::absorb(view, &mut record, adopting, now);
    let aimed = wipe::aimed(view, &before);
    card::absorb(&aimed, &mut record, now);
    let again = wipe::aimed(view, &record);
    if again
        .cards
        .iter()
        .zip(&aimed.cards)
        .any(|(now, then)| now.wanted != then.wanted)
    {
        // A wipe has come to its end just now: what is wanted after it counts from here on.
        card::absorb(&again, &mut record, now);
    }
    let view = &*again;
    takedown::absorb(view, &mut record, now);
    slot_power::measure(view, &mut record, now);
    let aimed = roll_back::aimed(view, &record);
    let view = &*aimed;
    if !adopting {
        services::offer(view, &mut record, now);
    }
    let verdict = if adopting {
        let why = Intent::wait(
            Reason::Adopting,
            "the record is older than what the agents have done (was a backup restored?): observing before anything is decided",
            ADOPTING,
        );
        everyone(view, why, &mut record, now)
    } else {
        decide(view, &mut record, now)
    };
    project::finish(view, &before, record, &verdict, now)
}

/// A record whose numbers are behind its executors' was restored from the past.
/// Numbers go on from the executors', open directives of the past are dropped. A card that came
/// from another host brings that host's numbers, which say nothing of this record.
fn adopt_newer(view: &View, record: &mut DpuHostStatus, now: Timestamp) -> bool {
    let is_new = *record == DpuHostStatus::default();
    // The agent of a host goes on counting where another object for that host had ended.
    let highest = ledger::highest_accepted(view, |_| true).max(push::accepted(view, record));
    let of_ours = ledger::highest_accepted(view, |card| is_new || card::is_recorded(record, card));
    let is_behind = of_ours > record.seq;
    record.seq = record.seq.max(highest);
    if is_behind {
        record.directives.clear();
        if let Some(hold) = record.hold.as_mut() {
            hold.releasing = None;
        }
        return true;
    }
    let waiting = record
        .wait
        .take_if(|wait| wait::is_for(Some(wait), Reason::Adopting) && now >= wait.deadline.0);
    waiting.is_none() && wait::is_for(record.wait.as_ref(), Reason::Adopting)
}

/// The same answer for the host and all of its cards.
fn everyone(view: &View, intent: Intent, record: &mut DpuHostStatus, now: Timestamp) -> Verdict {
    let intent = limited(intent, &mut record.wait, now);
    for card in &mut record.cards {
        card.wait = None;
    }
    Verdict {
        decision: as_decision(&intent),
        cards: shares(view, &intent),
        message: String::new(),
        retries: Vec::new(),
        taints_follow: false,
        booked: None,
        awaits_inspection: false,
        repairs_then: None,
    }
}

/// Each card's share of an answer for the host and all of its cards.
fn shares(view: &View, intent: &Intent) -> Vec<Intent> {
    let share = |card: &CardView| {
        if is_approved(card) {
            intent.clone()
        } else {
            refused(card)
        }
    };
    view.cards.iter().map(share).collect()
}

fn decide(view: &View, record: &mut DpuHostStatus, now: Timestamp) -> Verdict {
    if let Some(closed) = host::gate(view, now) {
        return everyone(view, closed, record, now);
    }
    let spec = view.policy.as_ref().map(|policy| &policy.spec);
    // Without a policy, only what was begun is being undone.
    let mode = spec.map_or(PolicyMode::Enforce, |spec| spec.mode);
    let (mut host, mut cards) = intents(view, record, spec, now);
    let drifted = spec.filter(|spec| repair::may_be(record, spec));
    let drifted = drifted.filter(|_| !is_about_to_act(view, record, spec, (&host, &cards), now));
    let repair = drifted.map_or_else(repair::Next::default, |spec| {
        repair::next(view, record, spec, now)
    });
    if let Some(begun) = repair.begins {
        *record = begun;
        (host, cards) = intents(view, record, spec, now);
    }
    let goes_ahead = |intent: &Intent| mode == PolicyMode::Enforce || undoes_deleted(view, intent);
    // It is read meanwhile: else each of the two would be awaited again after the other.
    let first = joining::awaited(view).or_else(|| inspection::awaited(view, now));
    let mut awaits_inspection = repair.awaits_reading.is_some();
    if let Some(first) = first.as_ref().filter(|_| mode == PolicyMode::Enforce) {
        awaits_inspection |= taint::put_off(&mut cards, first);
    }
    let booked = taint_step(&host, &cards).filter(|step| goes_ahead(&Intent::Taint(step.clone())));
    if let Some(step) = &booked {
        taint::book(view, record, step, now);
        (host, cards) = intents(view, record, spec, now);
    }
    yield_to_release(&host, &mut cards);
    let (drafts, only_shown): (Vec<Draft>, Vec<Draft>) =
        collect(view, record, spec, &cards, &host, now)
            .into_iter()
            .filter(|draft| torn::forbids(view, record, draft, now).is_none())
            .partition(|draft| mode == PolicyMode::Enforce || clears_deleted(view, draft));
    let held_back = |intent: &Intent| !goes_ahead(intent);
    match mode {
        PolicyMode::Enforce => {}
        PolicyMode::Plan => show_only(&mut host, &mut cards, &only_shown, held_back),
        PolicyMode::Observe => observe_only(&mut host, &mut cards, held_back),
    }
    let mut retries = repair.retries;
    let (drafts, mut refusals) = admit(record, drafts, now);
    let (drafts, too_early) = put_off(drafts, first.as_ref());
    awaits_inspection |= !too_early.is_empty();
    refusals.extend(too_early);
    for admit::Refusal { draft, instead } in &refusals {
        retries.extend(instead.until());
        retries.extend(admit::tried_again(record, draft));
        for intent in std::iter::once(&mut host).chain(&mut cards) {
            if matches!(&*intent, Intent::Act(wanted) if wanted.target == draft.target) {
                *intent = instead.clone();
            }
        }
    }
    let message = join(&drafts);
    let host = limited(host, &mut record.wait, now);
    let cards: Vec<Intent> = view
        .cards
        .iter()
        .zip(cards)
        .map(|(card, intent)| {
            let mut unrecorded = None;
            let slot = ledger::card_record(record, &card.uid())
                .map_or(&mut unrecorded, |kept| &mut kept.wait);
            limited(intent, slot, now)
        })
        .collect();
    let decision = if !drafts.is_empty() {
        let directives = drafts
            .into_iter()
            .map(|draft| issue(view, record, draft, now))
            .collect();
        Decision::Start(directives)
    } else {
        overall(record, mode, &host, &cards, now)
    };
    Verdict {
        decision,
        cards,
        message,
        retries,
        taints_follow: mode == PolicyMode::Enforce || host::is_going(view),
        booked,
        awaits_inspection,
        repairs_then: repair.awaits_reading,
    }
}

/// Keeps back whatever begins something, while it is read or joined what that rests on.
fn put_off(drafts: Vec<Draft>, first: Option<&Intent>) -> (Vec<Draft>, Vec<admit::Refusal>) {
    let Some(first) = first else {
        return (drafts, Vec::new());
    };
    let (undoing, beginning): (Vec<Draft>, Vec<Draft>) =
        drafts.into_iter().partition(Draft::undoes);
    let refused = beginning.into_iter().map(|draft| admit::Refusal {
        draft,
        instead: first.clone(),
    });
    (undoing, refused.collect())
}

/// Whether an intent only takes back what was begun, of an object that is being deleted.
/// That is done in every mode: a deletion that waits for another one strands the machine.
fn undoes_deleted(view: &View, intent: &Intent) -> bool {
    match intent {
        Intent::Act(draft) => clears_deleted(view, draft),
        Intent::Taint(TaintStep::End { .. }) => host::is_going(view),
        Intent::Taint(TaintStep::Begin { .. })
        | Intent::Wait(..)
        | Intent::Hold(_)
        | Intent::Stall(_)
        | Intent::Done => false,
    }
}

fn clears_deleted(view: &View, draft: &Draft) -> bool {
    match draft.action.kind {
        ActionKind::ReleaseHost => host::is_going(view),
        ActionKind::ClearInstall => {
            let mut cards = view.cards.iter();
            cards.any(|card| card.uid() == draft.target.uid && card::is_going(view, card))
        }
        ActionKind::PowerOn => {
            let mut cards = view.cards.iter();
            give_back::is_of(&draft.target.kind, &draft.action)
                && cards.any(|card| card.uid() == draft.target.uid && card::is_going(view, card))
        }
        ActionKind::HoldHost
        | ActionKind::StageInstall
        | ActionKind::StageHttpBoot
        | ActionKind::SetNetworkBoot
        | ActionKind::StagePxeBoot
        | ActionKind::StageBootEntry
        | ActionKind::SetBootOrder
        | ActionKind::PullUpdate
        | ActionKind::PushUpdate
        | ActionKind::PullFirmware
        | ActionKind::PushFirmware
        | ActionKind::ResetBmc
        | ActionKind::RestartCard
        | ActionKind::OfferImage
        | ActionKind::PushImage
        | ActionKind::FlashFirmware
        | ActionKind::ShutdownGracefully
        | ActionKind::ForceOff
        | ActionKind::Unrecognized(_) => false,
    }
}

/// What the host and each of its cards need next.
fn intents(
    view: &View,
    record: &DpuHostStatus,
    spec: Option<&DpuBootPolicySpec>,
    now: Timestamp,
) -> (Intent, Vec<Intent>) {
    let cards = view
        .cards
        .iter()
        .map(|card| card::intent(view, record, spec, card, now))
        .collect();
    let host = host_intent(view, record, now);
    (torn::guarded(view, record, host, now), cards)
}

/// Whether any machine is to do something now, or in a while. What is refused until a person does something
/// is neither.
fn is_about_to_act(
    view: &View,
    record: &DpuHostStatus,
    spec: Option<&DpuBootPolicySpec>,
    (host, cards): (&Intent, &[Intent]),
    now: Timestamp,
) -> bool {
    let mut drafts = collect(view, record, spec, cards, host, now);
    drafts.retain(|draft| torn::forbids(view, record, draft, now).is_none());
    let (admitted, refused) = admit(record, drafts, now);
    let is_put_off = |one: &admit::Refusal| {
        matches!(one.instead, Intent::Wait(..)) || admit::tried_again(record, &one.draft).is_some()
    };
    taint_step(host, cards).is_some() || !admitted.is_empty() || refused.iter().any(is_put_off)
}

/// The hold by taint that begins or ends now.
fn taint_step(host: &Intent, cards: &[Intent]) -> Option<TaintStep> {
    std::iter::once(host)
        .chain(cards)
        .find_map(|intent| match intent {
            Intent::Taint(step) => Some(step.clone()),
            Intent::Act(_)
            | Intent::Wait(..)
            | Intent::Hold(_)
            | Intent::Stall(_)
            | Intent::Done => None,
        })
}

fn host_intent(view: &View, record: &DpuHostStatus, now: Timestamp) -> Intent {
    let intent = host::intent(view, record, now);
    if intent == Intent::Done && view.policy.is_none() && !host::is_going(view) {
        let name = &view.host.spec.policy_ref.name;
        if let Some(until) = arriving(&view.host.metadata, now) {
            let message = format!("waiting for DpuBootPolicy {name}");
            return Intent::wait_until(Reason::Inspecting, message, until);
        }
        return Intent::stall(
            Reason::PolicyNotFound,
            format!("DpuBootPolicy {name} does not exist"),
        );
    }
    intent
}

/// While the host is being released nothing new begins that counts on its hold.
fn yield_to_release(host: &Intent, cards: &mut [Intent]) {
    let releases =
        matches!(host, Intent::Act(draft) if draft.action.kind == ActionKind::ReleaseHost);
    if !releases {
        return;
    }
    for intent in cards {
        let yields = matches!(&*intent, Intent::Act(draft)
            if draft.action.kind != ActionKind::ClearInstall || draft.target.kind == TargetKind::Host);
        if yields {
            *intent = Intent::wait(
                Reason::DirectivePending,
                "waiting for the release of the host",
                admit::ACCEPT_WITHIN,
            );
        }
    }
}

fn join(drafts: &[Draft]) -> String {
    let messages: Vec<&str> = drafts.iter().map(|draft| draft.message.as_str()).collect();
    messages.join("; ")
}

/// Under Plan: say what would be done.
fn show_only(
    host: &mut Intent,
    cards: &mut [Intent],
    drafts: &[Draft],
    held_back: impl Fn(&Intent) -> bool,
) {
    let next = match taint_step(host, cards) {
        Some(step) => step.message().to_owned(),
        None => join(drafts),
    };
    for intent in std::iter::once(host).chain(cards) {
        if matches!(intent, Intent::Act(_) | Intent::Taint(_)) && held_back(intent) {
            *intent = Intent::hold(
                Reason::PlanOnly,
                format!("the policy's mode is Plan; next would be: {next}"),
            );
        }
    }
}

/// Under Observe: say only whether all is as wanted.
fn observe_only(host: &mut Intent, cards: &mut [Intent], held_back: impl Fn(&Intent) -> bool) {
    for intent in std::iter::once(host).chain(cards) {
        if *intent != Intent::Done && !is_refusal(intent) && held_back(intent) {
            *intent = Intent::hold(Reason::ObserveOnly, "the policy's mode is Observe");
        }
    }
}

/// The decision when nothing is recorded.
fn overall(
    record: &DpuHostStatus,
    mode: PolicyMode,
    host: &Intent,
    cards: &[Intent],
    now: Timestamp,
) -> Decision {
    let cards = cards.iter().filter(|intent| !is_refusal(intent));
    let decision = as_decision(&weigh(host, cards));
    match (&decision, record.directives.first()) {
        (Decision::Settled, Some(open)) => {
            as_decision(&limited(host::pending(open), &mut None, now))
        }
        (Decision::Settled, None) if mode == PolicyMode::Observe => Decision::Hold(
            Explanation::new(Reason::ObserveOnly, "the policy's mode is Observe"),
        ),
        _ => decision,
    }
}
