//! What the facts about an update mean. Pure: no I/O, no clock.
//!
//! A task tells that something goes on, or that it went wrong. That it went well is told by the
//! version that runs and by nothing else: tasks end Completed with the old version, vanish with
//! their BMC, and stop at 97 %. Deadlines are the caller's: when one has passed it judges without
//! the task.

use lockstep_crds::inventory::FirmwareComponent;

use super::task::{TaskFacts, TaskMessage, TaskReading, TaskSighting, TaskState};
use super::ticket::UpdateTicket;
use super::version::same_version;

/// What one component must run, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedVersion<'a> {
    /// Its id in the inventory.
    pub component: &'a str,
    /// The version that it must run, in any form that [`same_version`] knows.
    pub version: &'a str,
    /// What ran before the update. Where that is the same version, seeing it proves nothing.
    pub before: Option<&'a str>,
    /// What is told of it now, after the task was looked at; `None`: it was not read.
    pub now: Option<&'a FirmwareComponent>,
    /// When a new version runs.
    pub activation: Activation,
    /// Whether the reset that activates it was seen since the image was written.
    pub activated: bool,
}

/// When a new version runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// As soon as it is written.
    AtOnce,
    /// After this reset.
    After(ActivationReset),
}

/// A reset that lets a new version run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivationReset {
    /// A restart of the BMC (`Manager.Reset`); on an Intel IPU it takes the whole card along.
    Bmc,
    /// A restart of the card's own system.
    System,
    /// A power cycle of the card's own system.
    SystemPowerCycle,
    /// A reset of the host (Intel: PERST).
    Host,
    /// A power cycle of the host (Intel: POR).
    HostPowerCycle,
    /// What the BMC named, and this program does not know.
    Other(String),
}

/// How far an update has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The task says that it goes on.
    Running {
        /// How far, as it says.
        percent: Option<u8>,
    },
    /// It is written, as far as can be told, and runs after these resets. Until then it is armed.
    AwaitsActivation {
        /// Each once.
        resets: Vec<ActivationReset>,
    },
    /// Every wanted version was seen running.
    Done,
    /// It went wrong. What was written before may be armed all the same.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// Nothing tells what became of it: go on looking at the versions. It may be armed.
    Lost {
        /// What is missing, for people.
        why: String,
    },
}

/// What the facts mean. `task` is `None` once its deadline has passed: then the versions decide
/// alone.
pub fn judge(
    ticket: &UpdateTicket,
    task: Option<&TaskReading>,
    wanted: &[WantedVersion<'_>],
) -> Progress {
    let told = task.map_or_else(
        || Told::Nothing("its task is not waited for any longer".to_owned()),
        |reading| Told::by(ticket, reading),
    );
    if let Told::GoesOn { percent } = told {
        return Progress::Running { percent };
    }
    if let Told::EndedBadly(why) = &told {
        return Progress::Failed { why: why.clone() };
    }
    if wanted.is_empty() {
        return Progress::Lost {
            why: "no version is named that could prove it".to_owned(),
        };
    }
    let bmc_restarted = task.is_some_and(|reading| ticket.bmc_restarted(&reading.last_reset));
    let parts = wanted.iter().map(|one| part(one, &told, bmc_restarted));
    let mut sum = Progress::Done;
    for part in parts {
        sum = worse(sum, part);
    }
    sum
}

/// Of two parts of an update the one that the whole is in.
fn worse(one: Progress, other: Progress) -> Progress {
    let rank = |progress: &Progress| match progress {
        Progress::Done => 0,
        Progress::AwaitsActivation { .. } => 1,
        Progress::Running { .. } => 2,
        Progress::Lost { .. } => 3,
        Progress::Failed { .. } => 4,
    };
    match (one, other) {
        (
            Progress::AwaitsActivation { mut resets },
            Progress::AwaitsActivation { resets: others },
        ) => {
            for reset in others {
                if !resets.contains(&reset) {
                    resets.push(reset);
                }
            }
            Progress::AwaitsActivation { resets }
        }
        (one, other) if rank(&other) > rank(&one) => other,
        (one, _) => one,
    }
}

/// What the task tells.
enum Told {
    GoesOn {
        percent: Option<u8>,
    },
    /// It says that it has ended well; a warning is what it says besides.
    EndedWell {
        reset: Option<ActivationReset>,
        warning: Option<String>,
    },
    EndedBadly(String),
    /// Why there is nothing.
    Nothing(String),
}

impl Told {
    fn by(ticket: &UpdateTicket, reading: &TaskReading) -> Self {
        let restarted = ticket.bmc_restarted(&reading.last_reset);
        match &reading.sighting {
            TaskSighting::Task(task) if !ticket.is_of(task, &reading.last_reset) => {
                Self::Nothing("the task is gone, and another one has its place".to_owned())
            }
            TaskSighting::Task(task) => Self::by_task(task),
            TaskSighting::GoesOn { .. } => Self::GoesOn { percent: None },
            TaskSighting::EndedWell => Self::EndedWell {
                reset: None,
                warning: None,
            },
            TaskSighting::EndedBadly { status, detail } => {
                Self::EndedBadly(format!("the task ended with HTTP {status}: {detail}"))
            }
            TaskSighting::Gone if restarted => {
                Self::Nothing("the task went with a restart of the BMC".to_owned())
            }
            TaskSighting::Gone => Self::Nothing("the task is gone".to_owned()),
            TaskSighting::NeverNamed => Self::Nothing("the BMC named no task".to_owned()),
        }
    }

    fn by_task(task: &TaskFacts) -> Self {
        let Some(state) = task.state.as_ref().filter(|state| state.is_final()) else {
            return Self::GoesOn {
                percent: task.percent,
            };
        };
        let status = task.status.as_deref().unwrap_or("OK");
        let said = || {
            let last = task.messages.last().map(TaskMessage::shown);
            last.filter(|text| !text.is_empty())
                .unwrap_or("it says nothing more")
                .to_owned()
        };
        if *state != TaskState::Completed {
            return Self::EndedBadly(format!("the task ended {}: {}", state.as_str(), said()));
        }
        if let Some(complaint) = task.messages.iter().find(|message| complains(message)) {
            return Self::EndedBadly(format!(
                "the task ended Completed with TaskStatus {status}, and says: {}",
                complaint.shown()
            ));
        }
        let reset = task.messages.iter().find_map(named_reset);
        if status.eq_ignore_ascii_case("OK") {
            return Self::EndedWell {
                reset,
                warning: None,
            };
        }
        let why = format!(
            "the task ended Completed with TaskStatus {status}: {}",
            said()
        );
        if !status.eq_ignore_ascii_case("Warning") {
            return Self::EndedBadly(why);
        }
        // That a reset is needed is a warning in its own right (Base registry, ResetRequired).
        Self::EndedWell {
            warning: reset.is_none().then_some(why),
            reset,
        }
    }
}

/// Keys of messages that tell of a failure (Base, Update and TaskEvent registries).
const FAILURES: [&str; 9] = [
    "GeneralError",
    "InternalError",
    "OperationFailed",
    "TransferFailed",
    "VerificationFailed",
    "ApplyFailed",
    "ActivateFailed",
    "TaskAborted",
    "UpdateNotApplicable",
];

/// Whether a message tells of a failure, whatever its severity: Intel's IPU fails with Health OK,
/// and NVIDIA's installer ends well with `Installing NIC firmware failed` among its lines.
fn complains(message: &TaskMessage) -> bool {
    let text = message.text.as_deref().unwrap_or_default();
    let text = text.to_ascii_lowercase();
    let mut before = "";
    let fails = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .any(|word| {
            let none = matches!(before, "no" | "not" | "0" | "without" | "zero");
            before = word;
            matches!(word, "failed" | "failure") && !none
        });
    let critical = message
        .severity
        .as_deref()
        .is_some_and(|severity| severity.eq_ignore_ascii_case("Critical"));
    critical || fails || FAILURES.contains(&message.key())
}

/// The reset that a message says is needed.
fn named_reset(message: &TaskMessage) -> Option<ActivationReset> {
    if message.key() != "ResetRequired" {
        return None;
    }
    let said = format!(
        "{} {}",
        message.args.join(" "),
        message.text.as_deref().unwrap_or_default()
    );
    let has = |word: &str| said.contains(word);
    let cycle = has("PowerCycle") || has("power cycle");
    Some(if has("IMCR") || has("ACCR") || has("Manager.Reset") {
        ActivationReset::Bmc
    } else if has("PERST") {
        ActivationReset::Host
    } else if has("POR") {
        ActivationReset::HostPowerCycle
    } else if has("ComputerSystem.Reset") && cycle {
        ActivationReset::SystemPowerCycle
    } else if has("ComputerSystem.Reset") {
        ActivationReset::System
    } else {
        ActivationReset::Other(said.trim().chars().take(128).collect())
    })
}

/// How far one component has come, after a task that has ended, or of which nothing is told.
fn part(wanted: &WantedVersion<'_>, told: &Told, bmc_restarted: bool) -> Progress {
    let name = wanted.component;
    let is = |version: Option<&str>| version.is_some_and(|one| same_version(one, wanted.version));
    let lost = |why: String| Progress::Lost { why };
    let (reset, warning, silence) = match told {
        Told::EndedWell { reset, warning } => (reset.as_ref(), warning.as_ref(), None),
        Told::Nothing(why) => (None, None, Some(why)),
        Told::GoesOn { .. } | Told::EndedBadly(_) => (None, None, None),
    };
    let Some(now) = wanted.now else {
        return lost(format!("the version of {name} was not read"));
    };
    if is(now.running.as_deref()) {
        return match silence {
            Some(why) if is(wanted.before) => lost(format!(
                "{why}, and {name} ran {} before as well",
                wanted.version
            )),
            Some(_) | None => Progress::Done,
        };
    }
    let activation = match (reset, &wanted.activation) {
        (Some(named), _) => Some(named),
        (None, Activation::After(reset)) => Some(reset),
        (None, Activation::AtOnce) => None,
    };
    let awaits = || {
        let resets = activation.into_iter().cloned().collect();
        Progress::AwaitsActivation { resets }
    };
    let activated = wanted.activated
        || activation == Some(&ActivationReset::Bmc) && bmc_restarted
        || activation.is_none() && silence.is_none();
    // A version that waits for some other reset than the one that was seen.
    if is(now.pending.as_deref()) {
        return awaits();
    }
    let Some(running) = &now.running else {
        return lost(format!("{name} does not tell what it runs"));
    };
    let still = format!("{name} runs {running} and not {}", wanted.version);
    match (activated, silence, warning) {
        (true, Some(why), _) => Progress::Failed {
            why: format!("{why}, and after its activation {still}"),
        },
        (true, None, _) => Progress::Failed {
            why: format!("the task says that it went well, and {still}"),
        },
        (false, Some(why), _) => lost(format!("{why}, and {still} yet")),
        (false, None, Some(warning)) => Progress::Failed {
            why: warning.clone(),
        },
        (false, None, None) => awaits(),
    }
}

#[cfg(test)]
mod tests;
