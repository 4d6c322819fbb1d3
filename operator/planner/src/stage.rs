//! Shutting a machine down, and when that may not be done (S1, S5).

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, UnobservableStageAction};
use lockstep_crds::directive::{ActionKind, Expects, Step, Target, TargetKind};
use lockstep_crds::observed::Knowledge;
use lockstep_crds::report::BmcReport;

use crate::intent::{Draft, Intent, plain};
use crate::reason::Reason;

/// How long a crash dump may go on before a person is asked (S1 `dumpDeadline`).
const DUMP_DEADLINE: SignedDuration = SignedDuration::from_secs(600);

/// A machine that is on and should be off.
pub struct Machine<'a> {
    /// `dpu/NAME` or `dpuhost/NAME`.
    pub name: String,
    /// The machine.
    pub target: Target,
    /// What the executor must find.
    pub expects: Expects,
    /// Fresh facts.
    pub facts: &'a BmcReport,
    /// Its own operating system says that it runs.
    pub os_runs: bool,
}

/// The next thing to do to get a machine off: ask it, wait, then cut its power.
pub fn stop(
    machine: Machine<'_>,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    step: Step,
    now: Timestamp,
) -> Intent {
    if let Err(why) = may_cut_power(&machine, spec, now) {
        return why;
    }
    let grace = SignedDuration::from_secs(spec.install.shutdown_grace_seconds);
    let asked = record
        .history
        .iter()
        .rev()
        .find(|entry| entry.what.ends_with(&machine.name))
        .filter(|entry| {
            entry
                .what
                .starts_with(ActionKind::ShutdownGracefully.as_str())
        });
    let (kind, message) = match asked {
        None if grace.is_positive() => (
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
        None | Some(_) => (
            ActionKind::ForceOff,
            format!(
                "cutting the power of {}, which did not shut down in time",
                machine.name
            ),
        ),
    };
    Intent::Act(Draft {
        step,
        target: machine.target,
        action: plain(kind),
        expects: machine.expects,
        settle_seconds: 60,
        message,
        release: None,
    })
}

fn may_cut_power(
    machine: &Machine<'_>,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    match machine.facts.stage_knowledge {
        Knowledge::Known => match &machine.facts.stage {
            Some(stage) if stage.forbids_power_cut() => Err(Intent::wait(
                Reason::StageForbids,
                format!(
                    "{} is in stage {stage}, in which its power must not be cut",
                    machine.name
                ),
                DUMP_DEADLINE,
            )),
            Some(_) => Ok(()),
            None => Err(not_read(machine)),
        },
        Knowledge::NotOffered if machine.os_runs => Ok(()),
        Knowledge::NotOffered => substitute(machine, spec, now),
        Knowledge::NotRead | Knowledge::Unrecognized(_) => Err(not_read(machine)),
    }
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
            match &machine.facts.power_since {
                Some(since) if since.0 + grace <= now => Ok(()),
                Some(since) => Err(Intent::wait_until(
                    Reason::StageForbids,
                    format!(
                        "{} may still be working; its power may be cut from {}",
                        machine.name,
                        since.0 + grace
                    ),
                    since.0 + grace,
                )),
                None => Err(not_read(machine)),
            }
        }
    }
}
