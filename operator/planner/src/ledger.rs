//! The books: which directives are open, how they ended, and what that changes in the record.
//!
//! An executor writes `accepted` before it acts and the outcome together with
//! the facts it saw afterwards. So whatever is concluded here can be concluded
//! again from the same report, and need not be written down at once.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::HostWait;
use lockstep_crds::directive::{ActionKind, ActivatedBy, Directive, OutcomeKind, TargetKind};
use lockstep_crds::host::{
    ArmedEffect, CardRecord, FailedDirective, FinishedDirective, HeldBy, HoldState, HoldStatus,
    ReleaseReason,
};

use crate::admit::DIRECTIVE_TRIES;
use crate::card_record::begins_to_come_up;
use crate::custody;
use crate::fetch;
use crate::firmware_record;
use crate::flash;
use crate::give_back;
use crate::push;
use crate::road;
use crate::slot_power;
use crate::standing::{Standing, is_put_off, standing};
use crate::view::{CardView, View};
use crate::waiting_firmware;
use crate::wipe;

/// What was put off and not tried again for so long was not wanted meanwhile.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);
/// An install that began so long after its record has the whole of its time from when it was seen.
const LATE: SignedDuration = SignedDuration::from_mins(1);
/// Directives remembered in `status.history`.
const HISTORY: usize = 8;
/// Most that it holds: requests to shut down are remembered as long as they count.
const LONGEST_HISTORY: usize = 24;
/// Seconds of the years 2000 to 2500.
const CLOCKS: RangeInclusive<i64> = 946_684_800..=16_725_225_600;
/// Longest time in which a directive of any release may land.
const LONGEST_SETTLE: i64 = 604_800;
/// Most that anything is counted to.
const MOST: i64 = 1 << 53;
/// Longest message, in characters, kept of a directive or an install that ended.
const MESSAGE: usize = 240;

/// A message that fits the record, cut between two words.
pub(crate) fn shortened(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MESSAGE) else {
        return text.to_owned();
    };
    let kept = &text[..end];
    let kept = kept.rsplit_once(' ').map_or(kept, |(words, _)| words);
    format!("{kept} …")
}

/// Whether the record holds a value that this release does not understand.
/// Nothing may be done on top of it.
pub fn unknown_value(record: &DpuHostStatus) -> Option<String> {
    let directive = record.directives.iter().find_map(|directive| {
        match (&directive.action.kind, &directive.target.kind) {
            (ActionKind::Unrecognized(kind), _) => Some(format!("action {kind}")),
            (_, TargetKind::Unrecognized(kind)) => Some(format!("target {kind}")),
            _ => None,
        }
    });
    let hold = record.hold.as_ref().and_then(|hold| {
        if let HoldState::Unrecognized(state) = &hold.state {
            return Some(format!("hold state {state}"));
        }
        if let HeldBy::Unrecognized(mechanism) = &hold.mechanism {
            return Some(format!("hold mechanism {mechanism}"));
        }
        match &hold.releasing {
            Some(ReleaseReason::Unrecognized(reason)) => Some(format!("release reason {reason}")),
            Some(_) | None => None,
        }
    });
    let armed = record
        .cards
        .iter()
        .flat_map(|card| &card.armed)
        .find_map(|effect| match effect {
            ArmedEffect::Unrecognized(effect) => Some(format!("armed effect {effect}")),
            ArmedEffect::VirtualMedia
            | ArmedEffect::BootOverride
            | ArmedEffect::HttpBootUri
            | ArmedEffect::Update
            | ArmedEffect::HostOffer
            | ArmedEffect::PxeOffer
            | ArmedEffect::BootEntry => None,
        });
    let activation = record
        .cards
        .iter()
        .flat_map(|card| &card.components)
        .flat_map(|one| {
            let waits = one.waits.as_ref();
            [
                &one.activation,
                waits.map_or(&None, |waits| &waits.activation),
            ]
        })
        .find_map(|activation| match activation {
            Some(ActivatedBy::Unrecognized(how)) => Some(format!("activation {how}")),
            Some(ActivatedBy::BmcReset | ActivatedBy::CardPowerCycle) | None => None,
        });
    directive
        .or(hold)
        .or(armed)
        .or(activation)
        .or_else(|| no_clock(record))
}

/// A time or span in the record that no clock and no release can have written: somebody
/// has edited it. Sums of it would leave what can be told in time.
fn no_clock(record: &DpuHostStatus) -> Option<String> {
    let of_waits = record
        .cards
        .iter()
        .map(|card| &card.wait)
        .chain([&record.wait])
        .flatten()
        .flat_map(|wait| [&wait.since, &wait.deadline]);
    let of_installs = record.cards.iter().flat_map(|card| {
        let failures = card.failures.iter();
        failures.flat_map(|failure| [&failure.begun_at, &failure.at])
    });
    let of_failures = record
        .cards
        .iter()
        .map(|card| &card.failed)
        .chain([&record.failed])
        .flatten()
        .flat_map(|failed| std::iter::once(&failed.at).chain(&failed.put_off_since))
        .chain(of_installs);
    let of_cards = record
        .cards
        .iter()
        .flat_map(|card| {
            let installs = [&card.booted_at, &card.install_ends];
            installs
                .into_iter()
                .chain([&card.observed_at, &card.stopping])
        })
        .flatten();
    let of_images = record.cards.iter().flat_map(|card| {
        let good = card.last_good.iter().map(|good| &good.seen_at);
        let slots = card.slots.iter();
        let slots = slots.flat_map(|one| one.seen_at.iter().chain(&one.first_at));
        let back = card.roll_back.iter().map(|back| &back.since);
        let cycled = card.cycled.iter().map(|cycled| &cycled.at);
        let drift = card.drift.iter();
        let drift = drift.flat_map(|one| std::iter::once(&one.since).chain(&one.steady_since));
        let repairs = card
            .repairs
            .iter()
            .filter_map(|repairs| repairs.last_at.as_ref());
        let known = good.chain(back).chain(cycled).chain(slots);
        known.chain(drift).chain(repairs)
    });
    let of_components = record.cards.iter().flat_map(|card| {
        card.components.iter().flat_map(|one| {
            let begun = [&one.begun_at, &one.ends, &one.written_at];
            let let_run = [&one.reset_at, &one.observed_at];
            let known = begun.into_iter().chain(let_run).flatten();
            known.chain(one.waits.iter().map(|waits| &waits.since))
        })
    });
    let of_holds = record
        .hold
        .iter()
        .flat_map(|hold| [&hold.since, &hold.deadline]);
    let of_directives = record
        .directives
        .iter()
        .flat_map(|open| [&open.issued_at, &open.deadline]);
    let of_history = record.history.iter().map(|entry| &entry.at);
    let others = record.release.iter().map(|release| &release.at);
    let time = of_waits
        .chain(of_failures)
        .chain(of_cards)
        .chain(of_images)
        .chain(of_components)
        .chain(of_holds)
        .chain(of_directives)
        .chain(of_history)
        .chain(others)
        .find(|time| !CLOCKS.contains(&time.0.as_second()))
        .map(|time| format!("the time {}", time.0));
    let span = record
        .directives
        .iter()
        .map(|open| open.settle_seconds)
        .find(|seconds| !(0..=LONGEST_SETTLE).contains(seconds))
        .map(|seconds| format!("a directive that may land for {seconds} s"));
    let count = record
        .cards
        .iter()
        .flat_map(|card| {
            let components = card.components.iter().map(|one| one.attempts);
            let repairs = card.repairs.iter().map(|repairs| repairs.begun);
            components.chain(repairs).chain([card.attempts])
        })
        .chain([record.seq])
        .find(|count| !(0..=MOST).contains(count))
        .map(|count| format!("the number {count}"));
    time.or(span).or(count)
}

/// The highest directive number that any executor of this power domain has accepted, for the
/// host or for one of those cards.
pub fn highest_accepted(view: &View, counts: impl Fn(&CardView) -> bool) -> i64 {
    let cards = view.cards.iter().filter(|card| counts(card));
    std::iter::once(view.host_report.as_ref())
        .chain(cards.map(|card| card.report.as_ref()))
        .flatten()
        .filter_map(|report| report.execution.as_ref())
        .map(|execution| execution.accepted)
        .max()
        .unwrap_or(0)
}

/// `PowerOn dpu/card1`: how a directive is named in history, events and messages.
pub fn what(directive: &Directive) -> String {
    named(
        &directive.action.kind,
        &directive.target.kind,
        &directive.target.name,
    )
}

/// The same name before there is a directive.
pub(crate) fn named(action: &ActionKind, target: &TargetKind, name: &str) -> String {
    let kind = match target {
        TargetKind::Card => "dpu",
        TargetKind::Host | TargetKind::Unrecognized(_) => "dpuhost",
    };
    format!("{action} {kind}/{name}")
}

/// What such a name says was done.
pub(crate) fn kind_of(what: &str) -> ActionKind {
    ActionKind::from(what.split_once(' ').map_or(what, |(kind, _)| kind))
}

/// Whether a line of history is about that machine.
pub(crate) fn is_about(what: &str, machine: &str) -> bool {
    what.split_once(' ').is_some_and(|(_, of)| of == machine)
}

/// Concludes every open directive that has ended and books its effects.
pub fn conclude(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let open = std::mem::take(&mut record.directives);
    for directive in open {
        match standing(view, &directive, now) {
            Standing::Open => record.directives.push(directive),
            Standing::Ended(outcome, message) => {
                let message = if outcome == OutcomeKind::Done {
                    message
                } else {
                    fetch::beside(view, &directive, message, now)
                };
                let message = message.map(|text| shortened(&text));
                book(view, record, &directive, &outcome, now);
                let put_off = is_put_off(view, &directive);
                tally(record, &directive, &outcome, message.clone(), put_off, now);
                record.history.push(FinishedDirective {
                    seq: directive.seq,
                    what: what(&directive),
                    outcome,
                    message,
                    at: Time(now),
                });
            }
        }
    }
    forget_history(record);
}

/// Forgets the oldest, but not when a machine was last asked to shut down, as long as
/// nothing was tried with it since: it would be asked again, and again.
fn forget_history(record: &mut DpuHostStatus) {
    let asked = ActionKind::ShutdownGracefully.as_str();
    while record.history.len() > HISTORY {
        let pending = |index: usize, entry: &FinishedDirective| {
            let machine = entry
                .what
                .split_once(' ')
                .map_or("", |(_, machine)| machine);
            let later = &record.history[index + 1..];
            entry.what.starts_with(asked)
                && !later.iter().any(|entry| is_about(&entry.what, machine))
        };
        let oldest = record
            .history
            .iter()
            .enumerate()
            .position(|(index, entry)| !pending(index, entry))
            .filter(|_| record.history.len() <= LONGEST_HISTORY);
        match oldest {
            Some(index) => record.history.remove(index),
            None if record.history.len() > LONGEST_HISTORY => record.history.remove(0),
            None => return,
        };
    }
}

/// Counts failures in a row of one directive on one machine. A success of another
/// directive in between does not end the row: two that undo each other must end too.
fn tally(
    record: &mut DpuHostStatus,
    directive: &Directive,
    outcome: &OutcomeKind,
    message: Option<String>,
    is_put_off: bool,
    now: Timestamp,
) {
    let what = what(directive);
    let Some(slot) = failed_slot(record, directive) else {
        return;
    };
    let same = slot.as_ref().filter(|failed| failed.what == what);
    if *outcome == OutcomeKind::Done {
        if same.is_some() {
            *slot = None;
        }
        return;
    }
    let before = same.map_or(0, |failed| failed.times);
    // What was put off until something else has ended is no failure.
    let times = before + i64::from(!is_put_off);
    let put_off_since = is_put_off.then(|| {
        // One of another day is another wait.
        let earlier = same.filter(|failed| now < failed.at.0 + LONGEST_REST);
        let earlier = earlier.and_then(|failed| failed.put_off_since.clone());
        earlier.unwrap_or(Time(now))
    });
    *slot = Some(FailedDirective {
        times,
        what,
        at: Time(now),
        put_off_since,
        message,
    });
    if times >= DIRECTIVE_TRIES
        && let Some(method) = road::method_of(&directive.action.kind)
        && method.installs()
        && let Some(card) = card_record(record, &directive.target.uid)
    {
        road::add(&mut card.failed_methods, method.into());
    }
}

fn failed_slot<'a>(
    record: &'a mut DpuHostStatus,
    directive: &Directive,
) -> Option<&'a mut Option<FailedDirective>> {
    match directive.target.kind {
        TargetKind::Host => Some(&mut record.failed),
        TargetKind::Card => card_record(record, &directive.target.uid).map(|card| &mut card.failed),
        TargetKind::Unrecognized(_) => None,
    }
}

fn book(
    view: &View,
    record: &mut DpuHostStatus,
    directive: &Directive,
    outcome: &OutcomeKind,
    now: Timestamp,
) {
    let landed = *outcome == OutcomeKind::Done;
    let kind = &directive.action.kind;
    if landed
        && (kind.is_update() || *kind == ActionKind::PushImage)
        && let Some(card) = card_record(record, &directive.target.uid)
    {
        begins_to_come_up(view, card, now);
    }
    if landed && *kind == ActionKind::PowerOn {
        booted_late(view, record, directive, now);
    }
    if landed
        && matches!(kind, ActionKind::ResetBmc | ActionKind::RestartCard)
        && let Some(card) = card_record(record, &directive.target.uid)
    {
        waiting_firmware::bmc_restarted(card, now);
    }
    match directive.action.kind {
        ActionKind::HoldHost if landed => {
            let timeout = host_wait(view).timeout_seconds;
            record.hold = Some(HoldStatus {
                seq: directive.seq,
                mechanism: HeldBy::PoweredOff,
                state: HoldState::PoweredOff,
                since: directive.issued_at.clone(),
                deadline: Time(directive.issued_at.0 + SignedDuration::from_secs(timeout)),
                work_order: directive.action.work_order.clone(),
                releasing: None,
                node: None,
                broken_by: None,
            });
        }
        ActionKind::ReleaseHost => {
            if landed {
                match record.hold.take().map(|hold| hold.releasing) {
                    Some(Some(reason)) => custody::end_hold(record, reason, now),
                    Some(None) => record.release = None,
                    None => {}
                }
            } else if let Some(hold) = record.hold.as_mut() {
                hold.releasing = None;
            }
        }
        // Of a card that belongs to this host no more nobody has seen that it stayed off.
        ActionKind::PowerOn
            if directive.target.kind == TargetKind::Card
                && !landed
                && !give_back::is_of(&directive.target.kind, &directive.action)
                && (*outcome == OutcomeKind::Failed || is_here(view, directive)) =>
        {
            if *outcome != OutcomeKind::Failed {
                slot_power::note_dead_slot(view, record, directive, now);
            }
            if let Some(card) = card_record(record, &directive.target.uid) {
                if directive.action.component.is_some() {
                    firmware_record::never_begun(card, directive);
                } else {
                    // A wiper that was off again before anybody looked may have wiped: a person decides.
                    if *outcome == OutcomeKind::Failed {
                        wipe::never_begun(card);
                    }
                    never_begun(card);
                }
            }
        }
        // Its executor keeps a note of each that may have been sent, which shows in the facts.
        ActionKind::PullUpdate | ActionKind::PushUpdate
            if !landed && (*outcome == OutcomeKind::Failed || is_here(view, directive)) =>
        {
            if let Some(card) = card_record(record, &directive.target.uid) {
                never_begun(card);
            }
        }
        // One of which nobody can say whether it was sent is awaited like one that was.
        ActionKind::RestartCard if *outcome == OutcomeKind::Failed => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                wipe::never_begun(card);
                never_begun(card);
            }
        }
        // What it is led to may be of an earlier wish, with a seed that has grown old.
        ActionKind::SetNetworkBoot if !landed => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                card.method = None;
            }
        }
        ActionKind::PullFirmware | ActionKind::PushFirmware
            if !landed && (*outcome == OutcomeKind::Failed || is_here(view, directive)) =>
        {
            if let Some(card) = card_record(record, &directive.target.uid) {
                firmware_record::never_begun(card, directive);
            }
        }
        ActionKind::ResetBmc if *outcome == OutcomeKind::Failed => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                firmware_record::never_begun(card, directive);
            }
        }
        ActionKind::PushImage => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                push::book(view, card, directive, outcome, now);
            }
        }
        ActionKind::FlashFirmware => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                flash::book(view, card, directive, outcome, now);
            }
        }
        ActionKind::PowerOn if directive.target.kind == TargetKind::Card && landed => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                card.stopping = None;
            }
        }
        // Its executor has seen that nothing of ours is left; what else it found there stays.
        ActionKind::ClearInstall if landed => {
            if let Some(card) = card_record(record, &directive.target.uid) {
                card.armed.clear();
                card.staged = None;
            }
        }
        ActionKind::HoldHost
        | ActionKind::PowerOn
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
        | ActionKind::ClearInstall
        | ActionKind::ShutdownGracefully
        | ActionKind::ForceOff
        | ActionKind::Unrecognized(_) => {}
    }
}

/// A slow executor powers a card on for its install when much of the time since the record has gone: it
/// counts from when the BMC says that the card went on.
fn booted_late(view: &View, record: &mut DpuHostStatus, directive: &Directive, now: Timestamp) {
    let boots = directive.action.image.is_some() && directive.action.component.is_none();
    let mut cards = view.cards.iter();
    let card = cards.find(|card| boots && card.uid() == directive.target.uid);
    let since = card
        .and_then(|card| view.card_bmc(card, now))
        .and_then(|bmc| bmc.power_since.as_ref())
        .map(|since| since.0.min(now))
        .filter(|since| *since > directive.issued_at.0 + LATE);
    if let (Some(since), Some(kept)) = (since, card_record(record, &directive.target.uid)) {
        begins_to_come_up(view, kept, since);
    }
}

/// Takes back what was booked with an install of which it is certain that nothing came.
pub(crate) fn never_begun(card: &mut CardRecord) {
    card.booted_at = None;
    card.install_ends = None;
    card.attempts = (card.attempts - 1).max(0);
}

fn is_here(view: &View, directive: &Directive) -> bool {
    let mut cards = view.cards.iter();
    cards.any(|card| card.uid() == directive.target.uid)
}

/// The policy's wait, or while the policy is missing the one it would have by default.
pub(crate) fn host_wait(view: &View) -> HostWait {
    view.policy
        .as_ref()
        .map(|policy| policy.spec.host_wait.clone())
        .unwrap_or_default()
}

/// The record of the card with that uid.
pub fn card_record<'a>(record: &'a mut DpuHostStatus, uid: &str) -> Option<&'a mut CardRecord> {
    record.cards.iter_mut().find(|card| card.uid == uid)
}
