//! Shutting a machine down, and when that may not be done (S1, S5).

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, UnobservableStageAction};
use lockstep_crds::directive::{ActionKind, Expects, OutcomeKind, Step, Target, TargetKind};
use lockstep_crds::host::FinishedDirective;
use lockstep_crds::observed::{BootStage, Knowledge, PowerState};
use lockstep_crds::report::{BmcReport, UpdateState};

use crate::failure;
use crate::intent::{Draft, Intent, plain};
use crate::ledger;
use crate::reason::Reason;
use crate::takedown;

/// How long a crash dump may go on before a person is asked (S1 `dumpDeadline`).
const DUMP_DEADLINE: SignedDuration = SignedDuration::from_secs(600);
/// How long what is written at a BMC may go on before a person is asked: a background copy takes up to
/// 20 minutes.
const BUSY_DEADLINE: SignedDuration = SignedDuration::from_mins(30);

/// A machine that is on and should be off.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// `dpu/NAME` or `dpuhost/NAME`.
    pub name: String,
    /// The machine.
    pub target: Target,
    /// What the executor must find.
    pub expects: Expects,
    /// Fresh facts.
    pub facts: &'a BmcReport,
    /// When its own operating system last said that it runs, if that is good still.
    pub os_seen: Option<Timestamp>,
}

/// The next thing to do to get a machine off: ask it, wait, then cut its power.
pub fn stop(
    machine: Machine<'_>,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    step: Step,
    now: Timestamp,
) -> Intent {
    let grace = SignedDuration::from_secs(spec.install.shutdown_grace_seconds);
    let asked = asked(&machine, record);
    if let Err(why) = may_cut_power(&machine, spec, now) {
        return why;
    }
    let (kind, message) = match asked {
        None if grace.is_positive() && offers_to_shut_down(machine.facts) => (
            ActionKind::ShutdownGracefully,
            format!("asking {} to shut down", machine.name),
        ),
        Some(entry) if now < entry.at.0 + grace => {
            return Intent::wait_until(
                Reason::ShuttingDown,
                format!(
                    "{} was asked to shut down; its power is cut at {}",
                    machine.name,
                    entry.at.0 + grace
                ),
                entry.at.0 + grace,
            );
        }
        Some(entry)
            if fell_silent(&machine, entry.at.0 + grace)
                && substitute(&machine, spec, now).is_err() =>
        {
            return Intent::wait(
                Reason::ShuttingDown,
                format!(
                    "{} was asked to shut down and its system is silent; without a boot stage nobody can tell whether it is done",
                    machine.name
                ),
                DUMP_DEADLINE,
            );
        }
        Some(_) => (
            ActionKind::ForceOff,
            format!(
                "cutting the power of {}, which did not shut down in time",
                machine.name
            ),
        ),
        None => return cut(machine, step),
    };
    take_down(machine, step, kind, message)
}

/// The next thing to do to get a machine off that is halted, and has nothing more to be asked.
pub(crate) fn cut_halted(
    machine: Machine<'_>,
    spec: &DpuBootPolicySpec,
    step: Step,
    now: Timestamp,
) -> Intent {
    match may_cut_power(&machine, spec, now) {
        Ok(()) => cut(machine, step),
        Err(why) => why,
    }
}

fn cut(machine: Machine<'_>, step: Step) -> Intent {
    let message = format!("cutting the power of {}", machine.name);
    take_down(machine, step, ActionKind::ForceOff, message)
}

fn take_down(machine: Machine<'_>, step: Step, kind: ActionKind, message: String) -> Intent {
    if let Some(lack) = lacks(machine.facts, &kind) {
        return Intent::stall(
            Reason::CapabilityMissing,
            format!("{message}: {lack}; power it off yourself"),
        );
    }
    Intent::act(Draft {
        step,
        target: machine.target,
        action: plain(kind),
        expects: machine.expects,
        settle_seconds: 60,
        message,
        release: None,
    })
}

/// Whether all that speaks for cutting the power is what the machine's system said before
/// its time to shut down was over. It may be on its way down, or dumping.
fn fell_silent(machine: &Machine<'_>, over: Timestamp) -> bool {
    machine.facts.stage_knowledge == Knowledge::NotOffered
        && machine.os_seen.is_some_and(|seen| seen < over)
}

fn offers_to_shut_down(facts: &BmcReport) -> bool {
    lacks(facts, &ActionKind::ShutdownGracefully).is_none()
}

/// What a BMC offers instead, if it says which resets it allows and that one is not among them.
/// It is not asked for it then: nothing would come of that, however often.
pub(crate) fn lacks(facts: &BmcReport, action: &ActionKind) -> Option<String> {
    let kinds = action.row().reset_types;
    let offered = &facts.capabilities.reset_types;
    let listed = offered.iter().any(|kind| kinds.contains(&kind.as_str()));
    (!kinds.is_empty() && !offered.is_empty() && !listed).then(|| {
        format!(
            "the BMC offers no reset of type {}, only {}",
            kinds.join(" or "),
            offered.join(", ")
        )
    })
}

/// Whether a machine can be powered on afterwards, and taken down before if it is on, as far as
/// its BMC says; `Err` is what it lacks. Asked before anything is begun.
pub(crate) fn may_be_cycled(facts: &BmcReport) -> Result<(), String> {
    if let Some(lack) = lacks(facts, &ActionKind::PowerOn) {
        return Err(lack);
    }
    let down = [ActionKind::ShutdownGracefully, ActionKind::ForceOff];
    let [no_request, no_cut] = down.map(|action| lacks(facts, &action));
    match (facts.power == Some(PowerState::On), no_request, no_cut) {
        (true, Some(_), Some(lack)) => Err(lack),
        (_, _, _) => Ok(()),
    }
}

/// When the machine was last asked to shut down for the present wish, if nothing but cutting its power was
/// tried since, and it was not powered on again either.
fn asked<'a>(machine: &Machine<'_>, record: &'a DpuHostStatus) -> Option<&'a FinishedDirective> {
    let cut = ActionKind::ForceOff.as_str();
    let ask = ActionKind::ShutdownGracefully.as_str();
    let since = takedown::wanted_since(record, &machine.target)?;
    record
        .history
        .iter()
        .rev()
        .filter(|entry| ledger::is_about(&entry.what, &machine.name))
        // What failed was not sent.
        .filter(|entry| entry.outcome != OutcomeKind::Failed)
        .find(|entry| !entry.what.starts_with(cut))
        .filter(|entry| entry.what.starts_with(ask))
        .filter(|entry| {
            let on_since = machine.facts.power_since.as_ref();
            on_since.is_none_or(|since| since.0 <= entry.at.0)
        })
        // What it was asked for another wish does not count for this one.
        .filter(|entry| entry.at.0 >= since)
}

/// Whether the machine's power may be cut now; `Err` is what is awaited or asked for (S1, S5).
pub fn may_cut_power(
    machine: &Machine<'_>,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    is_not_updating(&machine.name, machine.facts)?;
    is_at_rest(&machine.name, machine.facts)?;
    match machine.facts.stage_knowledge {
        Knowledge::Known => match &machine.facts.stage {
            Some(stage) if stage.forbids_power_cut() => Err(forbidden(&machine.name, stage)),
            Some(_) => Ok(()),
            None => Err(not_read(machine)),
        },
        Knowledge::NotOffered if machine.os_seen.is_some() => Ok(()),
        Knowledge::NotOffered => substitute(machine, spec, now),
        Knowledge::NotRead | Knowledge::Unrecognized(_) => Err(not_read(machine)),
    }
}

/// A BMC whose task runs may be writing, however long that takes: nothing else is begun with the
/// card meanwhile, nor is the note of it forgotten (S1).
pub(crate) fn is_not_updating(machine: &str, facts: &BmcReport) -> Result<(), Intent> {
    let of_firmware = facts.component_update.iter().map(|told| &told.update);
    let mut updates = facts.update.iter().chain(of_firmware);
    let Some(update) = updates.find(|update| update.state == UpdateState::Running) else {
        return Ok(());
    };
    let done = failure::progress(update);
    Err(Intent::wait(
        Reason::StageForbids,
        format!(
            "the BMC of {machine} says that its update still runs{done}, so its power must not be cut and nothing else is begun; if the task does not end, restart that BMC"
        ),
        DUMP_DEADLINE,
    ))
}

/// What others have written at a BMC, or the BMC for itself, is let end (S1).
pub(crate) fn is_at_rest(machine: &str, facts: &BmcReport) -> Result<(), Intent> {
    let Some(busy) = &facts.busy else {
        return Ok(());
    };
    Err(Intent::wait(
        Reason::BmcBusy,
        format!(
            "{machine} keeps its power, and nothing else is begun with it: {}, seen since {}",
            busy.what, busy.since.0
        ),
        BUSY_DEADLINE,
    ))
}

/// Patience with a machine in stage 7, 8 or 10.
pub(crate) fn forbidden(machine: &str, stage: &BootStage) -> Intent {
    Intent::wait(
        Reason::StageForbids,
        format!("{machine} is in stage {stage}, in which its power must not be cut"),
        DUMP_DEADLINE,
    )
}

fn not_read(machine: &Machine<'_>) -> Intent {
    Intent::wait(
        Reason::Inspecting,
        format!("the boot stage of {} has not been read", machine.name),
        DUMP_DEADLINE,
    )
}

/// The platform can never tell: go by the policy.
fn substitute(
    machine: &Machine<'_>,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    let side = match machine.target.kind {
        TargetKind::Card => "card",
        TargetKind::Host | TargetKind::Unrecognized(_) => "host",
    };
    match spec.unobservable_stage.action {
        UnobservableStageAction::Refuse => Err(Intent::stall(
            Reason::StageNotObservable,
            format!(
                "{} is on, this platform cannot tell what the {side} is doing, and the policy says not to guess",
                machine.name
            ),
        )),
        UnobservableStageAction::SafeAfter => {
            let grace = SignedDuration::from_secs(spec.unobservable_stage.dump_grace_seconds);
            // What a BMC's clock says lies in the future is of now.
            let since = machine.facts.power_since.as_ref();
            match since.map(|since| since.0.min(now) + grace) {
                Some(safe_from) if safe_from <= now => Ok(()),
                Some(safe_from) => Err(Intent::wait_until(
                    Reason::StageForbids,
                    format!(
                        "{} may still be working; its power may be cut from {safe_from}",
                        machine.name,
                    ),
                    safe_from,
                )),
                None => Err(not_read(machine)),
            }
        }
    }
}
