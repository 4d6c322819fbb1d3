//! Which of the effects that machines need may become directives now, and what their recording books.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::{ActionKind, Directive, Expects, HostExpects, TargetKind};
use lockstep_crds::host::{FailedDirective, ReleaseReason};

use crate::card_record::ends_at;
use crate::decision::Explanation;
use crate::intent::{Draft, Intent};
use crate::reason::Reason;
use crate::view::{CardView, View};
use crate::{
    card, custody, firmware_record, host, install, ledger, network_boot, push, road, slots,
    takedown, wipe,
};

/// Seconds within which an executor must accept a directive.
pub const ACCEPT_WITHIN: SignedDuration = SignedDuration::from_secs(180);
/// Failures in a row of one directive before a person is asked.
pub const DIRECTIVE_TRIES: i64 = 4;
/// First pause after a failed directive; it doubles.
const RETRY_PAUSE_SECS: i64 = 15;
/// Pause before what was put off for something else is tried again.
const PUT_OFF: SignedDuration = SignedDuration::from_mins(1);
/// How long what is put off is tried that often, before a person is told as well.
const PUT_OFF_PATIENCE: SignedDuration = SignedDuration::from_mins(30);
/// Pause between two tries to take something back, once it has failed that often.
const UNDO_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Entries of a directive's blast radius.
const RADIUS: usize = 32;
/// Directives that the record holds at one time.
const OPEN: usize = 8;

/// A draft that may not become a directive now, and what is said instead.
pub(crate) struct Refusal {
    pub(crate) draft: Draft,
    pub(crate) instead: Intent,
}

/// Every effect that somebody needs, one for each machine; a card that is armed
/// brings along the hold that its power-on will need.
pub(crate) fn collect(
    view: &View,
    record: &DpuHostStatus,
    spec: Option<&DpuBootPolicySpec>,
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
        let kept = card::record_of(record, card);
        let is_alone = network_boot::needs_no_leave(kept, draft.action.image.as_ref());
        if draft.action.kind.arms_install()
            && !is_alone
            && let Some(spec) = spec
            && let Some(hold) = install::wanted_hold(view, record, spec, card, now)
        {
            add(&hold);
        }
        add(draft);
    }
    drafts
}

/// Keeps the drafts that may become directives now: none for a machine that has
/// one open, none that just failed, at most one destructive in the domain (S2, S7).
pub(crate) fn admit(
    record: &DpuHostStatus,
    drafts: Vec<Draft>,
    now: Timestamp,
) -> (Vec<Draft>, Vec<Refusal>) {
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
        let alone = destructive
            || admitted
                .iter()
                .any(|other| other.action.kind.is_destructive());
        let full = record.directives.len() + admitted.len() >= OPEN;
        let instead = if let Some(open) = open {
            Some(host::pending(open))
        } else if full || (alone && !admitted.is_empty()) {
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
    (admitted, refused)
}

/// The failures in a row of that very effect.
fn failed_before<'a>(record: &'a DpuHostStatus, draft: &Draft) -> Option<&'a FailedDirective> {
    let target = &draft.target;
    let what = ledger::named(&draft.action.kind, &target.kind, &target.name);
    let failed = match target.kind {
        TargetKind::Host => record.failed.as_ref(),
        TargetKind::Card => record
            .cards
            .iter()
            .find(|kept| kept.uid == target.uid)
            .and_then(|kept| kept.failed.as_ref()),
        TargetKind::Unrecognized(_) => None,
    };
    failed.filter(|failed| failed.what == what)
}

fn pause_after_failure(record: &DpuHostStatus, draft: &Draft, now: Timestamp) -> Option<Intent> {
    let target = &draft.target;
    let FailedDirective {
        what,
        times,
        at,
        put_off_since,
        message,
    } = failed_before(record, draft)?;
    let detail = message.as_deref().unwrap_or("no detail");
    if let Some(since) = put_off_since {
        return put_off(what, detail, since.0, at.0, now);
    }
    if *times >= DIRECTIVE_TRIES && draft.undoes() {
        let next = at.0 + UNDO_PAUSE;
        return (now < next).then(|| {
            Intent::Stall(Explanation::new(
                Reason::DirectiveFailed,
                format!(
                    "{what} failed {times} times, last at {}: {detail}. Correct that; it is tried again at {next}",
                    at.0
                ),
            ))
        });
    }
    if *times >= DIRECTIVE_TRIES {
        return Some(Intent::Stall(Explanation::new(
            Reason::DirectiveFailed,
            format!(
                "{what} failed {times} times, last at {}: {detail}. Change retryToken on {} to have it tried again",
                at.0,
                if target.kind == TargetKind::Card {
                    "the Dpu"
                } else {
                    "a Dpu of this host"
                }
            ),
        )));
    }
    let doublings = u32::try_from(times - 1).unwrap_or(0);
    let next = at.0 + SignedDuration::from_secs(RETRY_PAUSE_SECS * 2_i64.pow(doublings));
    (now < next).then(|| {
        Intent::wait_until(
            Reason::DirectiveFailed,
            format!("{what} failed at {}: {detail}; tried again at {next}", at.0),
            next,
        )
    })
}

/// What else goes on may take long: it is waited for, and after a while a person is told as well.
fn put_off(
    what: &str,
    detail: &str,
    since: Timestamp,
    last: Timestamp,
    now: Timestamp,
) -> Option<Intent> {
    if last.duration_since(since) < PUT_OFF_PATIENCE {
        let next = last + PUT_OFF;
        return (now < next).then(|| {
            Intent::wait_until(
                Reason::DirectiveFailed,
                format!("{what} was put off at {last}: {detail}; tried again at {next}"),
                next,
            )
        });
    }
    let next = last + UNDO_PAUSE;
    (now < next).then(|| {
        Intent::stall(
            Reason::DirectiveFailed,
            format!(
                "{what} has been put off since {since}, last at {last}: {detail}. See to it that this ends; it is tried again at {next}"
            ),
        )
    })
}

/// When a draft that was refused for its failures may be tried again, if it may.
pub(crate) fn tried_again(record: &DpuHostStatus, draft: &Draft) -> Option<Timestamp> {
    let failed = failed_before(record, draft)?;
    let is_tried_again = draft.undoes() || failed.put_off_since.is_some();
    is_tried_again.then_some(failed.at.0 + UNDO_PAUSE)
}

/// Everything that an action may take down. Of more cards than a directive can name, those with a
/// record come first, and the rest is counted.
fn blast_radius(view: &View, record: &DpuHostStatus, draft: &Draft) -> Vec<String> {
    let host = host::machine(view);
    match draft.target.kind {
        TargetKind::Card => vec![format!("dpu/{}", draft.target.name), host],
        TargetKind::Host | TargetKind::Unrecognized(_) => {
            let mut cards: Vec<&CardView> = view.cards.iter().collect();
            cards.sort_by_key(|card| card::record_of(record, card).is_none());
            let named = if cards.len() < RADIUS {
                cards.len()
            } else {
                RADIUS - 2
            };
            let more = cards.len() - named;
            let rest = (more > 0).then(|| format!("{more} more cards of {host}"));
            let cards = cards.into_iter().take(named).map(card::machine);
            std::iter::once(host).chain(cards).chain(rest).collect()
        }
    }
}

/// How the host must be found when a card's power is changed beside it: as the plan saw it.
fn host_beside(view: &View, draft: &Draft, now: Timestamp) -> Option<HostExpects> {
    let updates = draft.action.kind.is_update() || draft.action.kind.is_firmware();
    let of_power = draft.action.kind.is_of_power();
    if draft.target.kind != TargetKind::Card || !(of_power || updates) {
        return None;
    }
    let power = view.host_bmc(now)?.power.clone()?;
    Some(HostExpects {
        name: view.host_name(),
        uid: view.host_uid(),
        power,
        without_update: updates,
    })
}

/// Books that an install begins: an update by that way, or else what was armed before.
fn begin_install(
    view: &View,
    record: &mut DpuHostStatus,
    directive: &Directive,
    method: Option<AllowedMethod>,
    now: Timestamp,
) {
    let uid = &directive.target.uid;
    let seen = view.cards.iter().find(|card| card.uid() == *uid);
    let wiper = seen.and_then(|card| card.wiper.as_ref());
    let epoch = seen
        .and_then(|card| card.os.as_ref())
        .and_then(|report| report.os.as_ref())
        .map(|os| os.boot_epoch.clone());
    let Some(card) = ledger::card_record(record, uid) else {
        return;
    };
    card.failed_methods = road::failed_methods(card);
    if let Some(method) = method {
        card.armed = road::arms(method);
        slots::book_staged(card, &directive.action);
    }
    let method = method.unwrap_or_else(|| road::way_of(&card.armed));
    card.method = Some(method.into());
    card.attempts += 1;
    card.booted_at = Some(Time(now));
    card.install_ends = Some(ends_at(view, now));
    card.epoch_before = epoch;
    if method != AllowedMethod::LocalStorage {
        slots::book_install(card, seen, directive.action.image.as_ref());
    }
    if let Some(image) = &directive.action.image {
        wipe::book_boot(card, image, wiper.map(|wiper| &wiper.image));
    }
}

/// Books that an update of firmware begins, or what lets it run.
fn begin_firmware(view: &View, record: &mut DpuHostStatus, directive: &Directive, now: Timestamp) {
    let uid = &directive.target.uid;
    let mut cards = view.cards.iter();
    let card = cards.find(|card| card.uid() == *uid);
    if let (Some(card), Some(kept)) = (card, ledger::card_record(record, uid)) {
        firmware_record::begin(view, card, kept, directive, now);
    }
}

/// Numbers a draft and books what its recording means.
pub(crate) fn issue(
    view: &View,
    record: &mut DpuHostStatus,
    draft: Draft,
    now: Timestamp,
) -> Directive {
    record.seq += 1;
    let expects = Expects {
        host: host_beside(view, &draft, now),
        ..draft.expects.clone()
    };
    let directive = Directive {
        seq: record.seq,
        blast_radius: blast_radius(view, record, &draft),
        step: draft.step,
        executor: push::executor(view, &draft.action.kind),
        target: draft.target,
        action: draft.action,
        expects,
        issued_at: Time(now),
        deadline: Time(now + ACCEPT_WITHIN),
        settle_seconds: draft.settle_seconds,
    };
    match directive.action.kind {
        ActionKind::StageInstall
        | ActionKind::StageHttpBoot
        | ActionKind::SetNetworkBoot
        | ActionKind::StagePxeBoot
        | ActionKind::StageBootEntry
        | ActionKind::OfferImage => {
            if let Some(method) = road::method_of(&directive.action.kind)
                && let Some(card) = ledger::card_record(record, &directive.target.uid)
            {
                card.armed = road::arms(method);
                slots::book_staged(card, &directive.action);
                if let Some(seen) = view.cards.iter().find(|one| one.uid() == card.uid) {
                    wipe::book_order(seen, card);
                }
                if directive.action.kind == ActionKind::SetNetworkBoot {
                    card.method = Some(method.into());
                }
            }
        }
        ActionKind::PowerOn
            if directive.target.kind == TargetKind::Card && directive.action.image.is_some() =>
        {
            begin_install(view, record, &directive, None, now);
        }
        ActionKind::PowerOn if directive.action.component.is_some() => {
            begin_firmware(view, record, &directive, now);
        }
        ActionKind::PullUpdate | ActionKind::PushUpdate => {
            let method = road::method_of(&directive.action.kind);
            begin_install(view, record, &directive, method, now);
        }
        ActionKind::PullFirmware
        | ActionKind::PushFirmware
        | ActionKind::FlashFirmware
        | ActionKind::ResetBmc => {
            begin_firmware(view, record, &directive, now);
        }
        ActionKind::PushImage | ActionKind::RestartCard => {
            begin_install(view, record, &directive, None, now);
        }
        ActionKind::ReleaseHost => {
            // So that it stays decided though the release fails at first.
            if draft.release == Some(ReleaseReason::Refused) {
                custody::give_up(record);
            }
            if let Some(hold) = record.hold.as_mut() {
                hold.releasing.clone_from(&draft.release);
            }
        }
        ActionKind::ShutdownGracefully | ActionKind::ForceOff => {
            takedown::book(view, record, &directive, now);
        }
        ActionKind::HoldHost
        | ActionKind::PowerOn
        | ActionKind::SetBootOrder
        | ActionKind::ClearInstall
        | ActionKind::Unrecognized(_) => {}
    }
    record.step = Some(directive.step.clone());
    record.directives.push(directive.clone());
    directive
}
