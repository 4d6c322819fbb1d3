//! How an open directive stands: open, or ended and how, by its executor's word and by what is seen.
//!
//! `Done`, `Failed` and `Partly` are the executor's word. An unknown outcome is never
//! repeated blindly: it ends only when fresh facts show the effect, or when the
//! time in which it could still land has passed and fresh facts do not show it.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuReportSpec;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind, TargetKind};
use lockstep_crds::observed::{BootStage, PowerState};
use lockstep_crds::report::{BmcReport, Custody, CustodyState, Execution, MediaOwner, MediaReport};

use crate::flash;
use crate::push;
use crate::pxe;
use crate::reach::boots_from_media;
use crate::road::{boots_over_http, is_ours};
use crate::slots;
use crate::view::View;

/// Allowance for the difference between the operator's clock and an executor's.
/// A directive that nobody accepted is withdrawn only this long after its deadline.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// How an open directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still open.
    Open,
    /// It ended: `Done`, `Failed` without effect, `Partly` and for good, or `Unknown` and
    /// proved not to have landed.
    Ended(OutcomeKind, Option<String>),
}

/// When the last thing that an accepted directive can do has happened.
pub fn over(directive: &Directive) -> Timestamp {
    directive.deadline.0 + CLOCK_SKEW + SignedDuration::from_secs(directive.settle_seconds)
}

/// When an open directive may stand otherwise though nothing is reported.
pub(crate) fn turning_points(
    view: &View,
    directive: &Directive,
) -> impl Iterator<Item = Timestamp> {
    let settled = told(view, directive).map(|told| settled_by(&told, directive));
    [directive.deadline.0 + CLOCK_SKEW, over(directive)]
        .into_iter()
        .chain(settled)
}

/// What the executor of a directive has told of it.
struct Told<'a> {
    observed_at: Timestamp,
    execution: Option<&'a Execution>,
}

fn told<'a>(view: &'a View, directive: &Directive) -> Option<Told<'a>> {
    if directive.action.kind.is_of_host_agent() {
        let agent = push::executor_of(view, directive)?;
        return Some(Told {
            observed_at: agent.observed_at.0,
            execution: agent.execution.as_ref(),
        });
    }
    report_for(view, directive).map(|report| Told {
        observed_at: report.observed_at.0,
        execution: report.execution.as_ref(),
    })
}

/// The report that the site's agent writes about the target of a directive.
fn report_for<'a>(view: &'a View, directive: &Directive) -> Option<&'a DpuReportSpec> {
    let report = match directive.target.kind {
        TargetKind::Host => view.host_report.as_ref(),
        TargetKind::Card => view
            .cards
            .iter()
            .find(|card| card.uid() == directive.target.uid)
            .and_then(|card| card.report.as_ref()),
        TargetKind::Unrecognized(_) => None,
    };
    report.filter(|report| report.subject_uid == directive.target.uid)
}

/// Judges one open directive.
pub fn standing(view: &View, directive: &Directive, now: Timestamp) -> Standing {
    let told = told(view, directive);
    let execution = told.as_ref().and_then(|told| told.execution);
    let (Some(told), Some(execution)) = (told, execution) else {
        return unaccepted(view, directive, now);
    };
    match execution {
        Execution { accepted, .. } if *accepted < directive.seq => unaccepted(view, directive, now),
        Execution { accepted, .. } if *accepted > directive.seq => uncertain(
            view,
            directive,
            settled_by(&told, directive),
            "its executor went past it",
            now,
        ),
        Execution {
            outcome: Some(outcome),
            ..
        } => match &outcome.result {
            OutcomeKind::Done => Standing::Ended(OutcomeKind::Done, outcome.message.clone()),
            OutcomeKind::Failed => Standing::Ended(OutcomeKind::Failed, outcome.message.clone()),
            OutcomeKind::Partly => Standing::Ended(OutcomeKind::Partly, outcome.message.clone()),
            OutcomeKind::Unknown if flash::is_through(directive, outcome) => {
                Standing::Ended(OutcomeKind::Unknown, outcome.message.clone())
            }
            OutcomeKind::Unknown | OutcomeKind::Unrecognized(_) => uncertain(
                view,
                directive,
                settled_by(&told, directive),
                outcome.message.as_deref().unwrap_or("no detail"),
                now,
            ),
        },
        Execution { outcome: None, .. } if now > over(directive) => uncertain(
            view,
            directive,
            over(directive),
            "its executor never said how it ended",
            now,
        ),
        Execution { outcome: None, .. } => Standing::Open,
    }
}

/// Whether its executor sent nothing because something else goes on, or could not be looked at.
pub(crate) fn is_put_off(view: &View, directive: &Directive) -> bool {
    let told = told(view, directive);
    let execution = told.and_then(|told| told.execution);
    let outcome = execution
        .filter(|execution| execution.accepted == directive.seq)
        .and_then(|execution| execution.outcome.as_ref());
    let reason = outcome.and_then(|outcome| outcome.reason.as_deref());
    matches!(reason, Some("UpdatesBusy" | "HostNotSeen" | "CardNotSeen"))
}

/// Nobody is known to have accepted it.
fn unaccepted(view: &View, directive: &Directive, now: Timestamp) -> Standing {
    let in_view = directive.target.kind == TargetKind::Host
        || view
            .cards
            .iter()
            .any(|card| card.uid() == directive.target.uid);
    let lost = if !in_view {
        Some("its object is gone from this host")
    } else if push::is_out_of_sight(view, directive) {
        Some(
            "the agent that was to carry it out is not that of this host any more, or the host is not trusted with its cards any more",
        )
    } else if directive.action.kind == ActionKind::FlashFirmware
        && !tells_directives(view, directive)
    {
        Some("the report of the agent that was to carry it out says nothing of directives any more")
    } else {
        None
    };
    if let Some(lost) = lost {
        // Its report went with its object, or was written anew: whether it was accepted cannot be told any more.
        return if now > over(directive) {
            Standing::Ended(OutcomeKind::Unknown, Some(lost.to_owned()))
        } else {
            Standing::Open
        };
    }
    if now > directive.deadline.0 + CLOCK_SKEW {
        Standing::Ended(
            OutcomeKind::Failed,
            Some("no executor accepted it before its deadline".to_owned()),
        )
    } else {
        Standing::Open
    }
}

fn tells_directives(view: &View, directive: &Directive) -> bool {
    told(view, directive).is_some_and(|told| told.execution.is_some())
}

/// When an effect whose outcome is unknown can no longer land. The executor's clock
/// counts, within what the directive's own times allow.
fn settled_by(told: &Told<'_>, directive: &Directive) -> Timestamp {
    let told = told.observed_at;
    let told = told.max(directive.issued_at.0).min(directive.deadline.0);
    told + SignedDuration::from_secs(directive.settle_seconds)
}

fn uncertain(
    view: &View,
    directive: &Directive,
    settled: Timestamp,
    why: &str,
    now: Timestamp,
) -> Standing {
    // No BMC shows what a driver writes.
    if directive.action.kind == ActionKind::FlashFirmware {
        return if now < settled {
            Standing::Open
        } else {
            Standing::Ended(OutcomeKind::Unknown, Some(why.to_owned()))
        };
    }
    let Some(facts) = facts(view, directive, now) else {
        return Standing::Open;
    };
    let custody = report_for(view, directive).and_then(|report| report.custody.as_ref());
    if landed(directive, facts, custody) {
        return Standing::Ended(OutcomeKind::Done, Some(format!("seen; {why}")));
    }
    if now < settled {
        return Standing::Open;
    }
    Standing::Ended(OutcomeKind::Unknown, Some(format!("not seen; {why}")))
}

/// Fresh facts about the target.
fn facts<'a>(view: &'a View, directive: &Directive, now: Timestamp) -> Option<&'a BmcReport> {
    match directive.target.kind {
        TargetKind::Host => view.host_bmc(now),
        TargetKind::Card => view
            .cards
            .iter()
            .find(|card| card.uid() == directive.target.uid)
            .and_then(|card| view.card_bmc(card, now)),
        TargetKind::Unrecognized(_) => None,
    }
}

/// Whether the effect shows.
fn landed(directive: &Directive, facts: &BmcReport, custody: Option<&Custody>) -> bool {
    let power = |state: PowerState| facts.power == Some(state);
    let kept = custody.filter(|custody| is_kept(custody));
    match directive.action.kind {
        ActionKind::PowerOn => power(PowerState::On),
        // Of a card that is powered off and on afterwards it is enough that its system has halted.
        ActionKind::ShutdownGracefully if directive.action.component.is_some() => {
            let halted = facts.stage == Some(BootStage::OsHalted) && power(PowerState::Paused);
            power(PowerState::Off) || halted
        }
        ActionKind::ForceOff | ActionKind::ShutdownGracefully => power(PowerState::Off),
        // The order is kept before anything is sent; what it is for may not be in force.
        ActionKind::HoldHost => kept
            .is_some_and(|custody| custody.seq == directive.seq && custody.in_force != Some(false)),
        ActionKind::ReleaseHost => {
            kept.is_none() && (directive.action.power_on != Some(true) || power(PowerState::On))
        }
        ActionKind::StageInstall => {
            facts.media.owner == MediaOwner::Lockstep
                && facts.media.digest.as_ref()
                    == directive.action.image.as_ref().map(|image| &image.digest)
                && boots_from_media(facts)
        }
        ActionKind::StageHttpBoot => {
            // A BMC may have made a medium of the URL.
            directive.action.image.as_ref().is_some_and(|image| {
                let holds = |held: &MediaReport| {
                    held.owner == MediaOwner::Lockstep
                        && held.digest.as_ref() == Some(&image.digest)
                };
                (facts.http_boot.as_ref().is_some_and(holds) && boots_over_http(facts))
                    || (holds(&facts.media) && boots_from_media(facts))
            })
        }
        ActionKind::StagePxeBoot => directive
            .action
            .image
            .as_ref()
            .is_some_and(|image| pxe::boots(facts, &image.digest)),
        ActionKind::StageBootEntry => {
            let image = directive.action.image.as_ref();
            image.is_some_and(|image| slots::boots(facts, image))
        }
        ActionKind::SetBootOrder => {
            let image = directive.action.image.as_ref();
            image.is_some_and(|image| slots::is_first(facts, image) == Some(true))
        }
        // Noted before it is asked for, and no longer where it certainly was not.
        ActionKind::PullUpdate | ActionKind::PushUpdate => {
            // An agent of an older release cannot say that there is none.
            facts.capabilities.simple_update.is_none()
                || facts.update.as_ref().map(|update| &update.digest)
                    == directive.action.image.as_ref().map(|image| &image.digest)
        }
        ActionKind::PullFirmware | ActionKind::PushFirmware => {
            let told = facts.component_update.as_ref();
            told.is_some_and(|told| told.seq == directive.seq)
        }
        ActionKind::OfferImage => directive
            .action
            .image
            .as_ref()
            .is_some_and(|image| facts.granted.as_ref() == Some(&image.digest)),
        ActionKind::ClearInstall => {
            !is_ours(Some(&facts.media))
                && !is_ours(facts.http_boot.as_ref())
                && !boots_over_http(facts)
                && facts.update.is_none()
                && facts.granted.is_none()
                && pxe::offered(facts).is_none()
                && !slots::is_next(facts)
        }
        // No BMC shows what came over rshim: the card's own agent tells, if it worked. Of a restart of
        // the BMC what runs afterwards does. What a driver lists may be of before it was asked.
        // What leads to the network may have been set before, by another directive for the same image.
        ActionKind::PushImage
        | ActionKind::FlashFirmware
        | ActionKind::ResetBmc
        | ActionKind::RestartCard
        | ActionKind::SetNetworkBoot
        | ActionKind::Unrecognized(_) => false,
    }
}

/// Whether the host's settings are still those of a hold.
pub(crate) fn is_kept(custody: &Custody) -> bool {
    match custody.state {
        CustodyState::Kept | CustodyState::ExpiredKeptHeld => true,
        CustodyState::ExpiredReleased
        | CustodyState::ReleasedOffline
        | CustodyState::Unrecognized(_) => false,
    }
}
