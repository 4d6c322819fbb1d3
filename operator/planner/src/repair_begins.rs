//! How a repair begins: its record and its first step, or what stands against it.
//!
//! It begins only where nothing else goes on at the card, its first step can be taken at once, and its host would
//! be held for nothing that waits.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, PolicyMode, WaitUntil};
use lockstep_crds::directive::TargetKind;
use lockstep_crds::drift::DriftRepairs;
use lockstep_crds::host::CardRecord;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::admit::{admit, tried_again};
use crate::card;
use crate::card_record::renewed;
use crate::drift::of_system;
use crate::firmware;
use crate::firmware_record;
use crate::host;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::repair::repairs;
use crate::shown::whole;
use crate::slots;
use crate::stage;
use crate::torn;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// A repair that begins.
pub(crate) struct Begun {
    /// The record of its host then.
    pub(crate) record: DpuHostStatus,
    /// Its first step is one of the host, which is the same for all of its cards.
    pub(crate) is_shared: bool,
}

/// What stands against a repair.
pub(crate) struct Lack {
    /// In words.
    pub(crate) why: String,
    /// The reason that it is, if it is one: what else is said of it may change from one moment to the next.
    pub(crate) reason: Option<Reason>,
    /// When that may end by itself.
    pub(crate) until: Option<Timestamp>,
}

impl Lack {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            reason: None,
            until: None,
        }
    }

    fn of(intent: &Intent) -> Self {
        let (why, reason) = match intent {
            Intent::Wait(why, _) | Intent::Hold(why) | Intent::Stall(why) => (
                format!("{}: {}", why.reason.as_str(), why.message),
                Some(why.reason),
            ),
            Intent::Act(draft) => (draft.message.clone(), None),
            Intent::Taint(step) => (step.message().to_owned(), None),
            Intent::Done => ("nothing is left to be done".to_owned(), None),
        };
        let until = intent.until();
        Self { why, reason, until }
    }
}

/// The repair that begins, if its first step can be taken at once.
pub(crate) fn begun(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Result<Begun, Lack> {
    if spec.mode != PolicyMode::Enforce {
        return Err(Lack::new(format!("the policy's mode is {:?}", spec.mode)));
    }
    if let Some(closed) = host::gate(view, now) {
        return Err(Lack::of(&closed));
    }
    is_settled(view, record, spec, card, kept, now)?;
    let mut begun = record.clone();
    let Some(slot) = begun.cards.iter_mut().find(|one| one.uid == kept.uid) else {
        return Err(Lack::new("nothing is recorded of the card"));
    };
    begin(card, slot, now);
    let with_first = |is_shared: bool| Begun {
        record: begun.clone(),
        is_shared,
    };
    let first = match card::intent(view, &begun, Some(spec), card, now) {
        Intent::Taint(_) => Ok(with_first(true)),
        Intent::Act(draft) => {
            if let Some(why) = torn::forbids(view, &begun, &draft, now) {
                return Err(Lack::of(&why));
            }
            let again = tried_again(&begun, &draft);
            let is_shared = draft.target.kind == TargetKind::Host;
            match admit(&begun, vec![*draft], now).1.first() {
                Some(refused) => {
                    let lack = Lack::of(&refused.instead);
                    let until = lack.until.or(again);
                    Err(Lack { until, ..lack })
                }
                None => Ok(with_first(is_shared)),
            }
        }
        other @ (Intent::Wait(..) | Intent::Hold(_) | Intent::Stall(_) | Intent::Done) => {
            Err(Lack::of(&other))
        }
    }?;
    would_go_on(view, &begun, spec, card, now)?;
    Ok(first)
}

/// A host that is held for a card is held for its other cards too: one of them that waits for something else
/// would keep it down, maybe for good.
fn would_go_on(
    view: &View,
    begun: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Result<(), Lack> {
    let mut others = view.cards.iter().filter(|other| other.uid() != card.uid());
    let awaited = others.find_map(|other| {
        let is_awaited =
            spec.host_wait.until != WaitUntil::None && card::needs_hold(view, begun, other, now);
        let next = is_awaited.then(|| card::intent(view, begun, Some(spec), other, now))?;
        let acts = matches!(next, Intent::Act(_) | Intent::Taint(_));
        (!acts).then_some((other, next))
    });
    awaited.map_or(Ok(()), |(other, next)| {
        let lack = Lack::of(&next);
        let (host, other) = (host::machine(view), card::machine(other));
        let why = format!(
            "{host} would be held for {other} too, which waits: {}",
            lack.why
        );
        Err(Lack { why, ..lack })
    })
}

/// Books that a repair begins.
fn begin(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let Wanted::Image(wanted) = &card.wanted else {
        return;
    };
    let before = repairs(kept, card, wanted).map_or(0, |repairs| repairs.begun);
    *kept = renewed(kept, card, wanted, now);
    for one in &mut kept.drift {
        (one.boot_epoch, one.steady_since) = (None, None);
    }
    kept.repairs = Some(DriftRepairs {
        digest: wanted.digest.clone(),
        retry_token: card.dpu.spec.retry_token.clone(),
        begun: before + 1,
        last_at: Some(Time(whole(now))),
    });
}

/// Whether nothing else goes on at the card, and what is told of it is of now.
fn is_settled(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Result<(), Lack> {
    let is_it = card.live_os(now).is_some_and(|os| {
        let drift = of_system(kept);
        drift.is_some_and(|drift| {
            drift.digest == os.image_digest && drift.boot_epoch.as_ref() == Some(&os.boot_epoch)
        })
    });
    let facts = view.card_bmc(card, now);
    let on = facts.filter(|facts| facts.power == Some(PowerState::On));
    let is_begun = !kept.armed.is_empty() || kept.stopping.is_some() || kept.cycled.is_some();
    let host = view.host_bmc(now).map(|facts| &facts.power);
    let is_up = view.host.spec.bmc.is_none() || host == Some(&Some(PowerState::On));
    let lacks = [
        (!is_it, "nobody tells now what the card runs"),
        (!record.directives.is_empty(), "a directive is open"),
        (
            is_begun,
            "something that was begun with the card is not over",
        ),
        // For a card that is put back no host is kept down any longer, nor powered on.
        (record.hold.is_some(), "its host is held"),
        (!is_up, "its host is not known to be on"),
        (wipe::is_asked(card), "the card is to be wiped"),
        (
            leads_elsewhere(kept, facts),
            "its boot order leads to another slot; put that right, or change retryToken",
        ),
    ];
    if let Some((_, why)) = lacks.into_iter().find(|(lacks, _)| *lacks) {
        return Err(Lack::new(why));
    }
    if let Some(next) = firmware::next(view, record, spec, card, kept, now) {
        return Err(Lack::of(&next));
    }
    let is_written = kept.components.iter().any(firmware_record::is_under_way);
    let has_drifted = kept.drift.iter().any(|one| !one.is_system());
    if has_drifted || is_written || !firmware::is_as_wanted(view, card, kept, now) {
        return Err(Lack::new("its firmware is not as wanted"));
    }
    let Some(facts) = on else {
        return Err(Lack::new("its BMC does not say that it is on"));
    };
    let machine = card::running(card, facts, now);
    stage::may_cut_power(&machine, spec, now).map_err(|why| Lack::of(&why))
}

/// Whether the card runs another image of its own disk, and its boot order does not show that it would boot
/// what is wanted.
fn leads_elsewhere(kept: &CardRecord, facts: Option<&BmcReport>) -> bool {
    let digest = of_system(kept).and_then(|drift| drift.digest.as_deref());
    let image = kept.image.as_ref();
    let (Some(digest), Some(image)) = (digest, image) else {
        return false;
    };
    let is_first = facts.and_then(|facts| slots::is_first(facts, image));
    slots::holds_beside(kept, digest) && is_first != Some(true)
}
