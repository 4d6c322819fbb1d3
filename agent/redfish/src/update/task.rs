//! Tasks as a BMC tells of them (DSP2046, Task).

use std::time::Duration;

use crate::facts::Reading;

/// A task, as told. Nothing in it proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFacts {
    /// Its path.
    pub path: String,
    /// `Name`.
    pub name: Option<String>,
    /// `TaskState`.
    pub state: Option<TaskState>,
    /// `TaskStatus`: `OK`, `Warning` or `Critical`, as it is written.
    pub status: Option<String>,
    /// `PercentComplete`. Some stop short of 100, and some stop for good.
    pub percent: Option<u8>,
    /// `StartTime` as it is written. Ids begin anew with the BMC: it tells one task from another
    /// with the same path.
    pub started: Option<String>,
    /// The latest `Messages`, oldest first.
    pub messages: Vec<TaskMessage>,
}

impl TaskFacts {
    /// Whether the task says that it has ended, in whatever way.
    pub fn has_ended(&self) -> bool {
        self.state.as_ref().is_some_and(TaskState::is_final)
    }
}

/// One message of a task: short, one line, without URLs and credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskMessage {
    /// `MessageId`.
    pub id: Option<String>,
    /// `Message`.
    pub text: Option<String>,
    /// `MessageSeverity`, else `Severity`.
    pub severity: Option<String>,
    /// `MessageArgs`.
    pub args: Vec<String>,
}

impl TaskMessage {
    /// The key of the message in its registry: `Base.1.8.ResetRequired` is `ResetRequired`.
    pub fn key(&self) -> &str {
        let id = self.id.as_deref().unwrap_or_default();
        id.rsplit('.').next().unwrap_or(id)
    }

    /// What it says, for people.
    pub fn shown(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| self.key())
    }
}

/// `Task.TaskState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Made, and not begun.
    New,
    /// Beginning.
    Starting,
    /// Under way.
    Running,
    /// Paused.
    Suspended,
    /// Interrupted; it is expected to go on.
    Interrupted,
    /// Waiting for something.
    Pending,
    /// Coming to an end.
    Stopping,
    /// Ended, well as it says.
    Completed,
    /// Ended by somebody.
    Killed,
    /// Ended with an error.
    Exception,
    /// Goes on until it is stopped.
    Service,
    /// Being cancelled.
    Cancelling,
    /// Cancelled.
    Cancelled,
    /// Something newer than this program.
    Other(String),
}

impl TaskState {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "New" => Self::New,
            "Starting" => Self::Starting,
            "Running" => Self::Running,
            "Suspended" => Self::Suspended,
            "Interrupted" => Self::Interrupted,
            "Pending" => Self::Pending,
            "Stopping" => Self::Stopping,
            "Completed" => Self::Completed,
            "Killed" => Self::Killed,
            "Exception" => Self::Exception,
            "Service" => Self::Service,
            "Cancelling" => Self::Cancelling,
            "Cancelled" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The value as Redfish spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::New => "New",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Interrupted => "Interrupted",
            Self::Pending => "Pending",
            Self::Stopping => "Stopping",
            Self::Completed => "Completed",
            Self::Killed => "Killed",
            Self::Exception => "Exception",
            Self::Service => "Service",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::Other(other) => other,
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Completed | Self::Killed | Self::Exception | Self::Cancelled => true,
            Self::New
            | Self::Starting
            | Self::Running
            | Self::Suspended
            | Self::Interrupted
            | Self::Pending
            | Self::Stopping
            | Self::Service
            | Self::Cancelling
            | Self::Other(_) => false,
        }
    }
}

/// What was seen of the task of an accepted update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReading {
    /// What is at the task's place now.
    pub sighting: TaskSighting,
    /// `Manager.LastResetTime` now, as in [`super::UpdateFacts::last_reset`].
    pub last_reset: Reading<String>,
}

/// What is at a task's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSighting {
    /// A task. Whether it is the one meant is another question: ids begin anew with the BMC.
    Task(TaskFacts),
    /// The task's monitor answers that it goes on, and shows no task.
    GoesOn {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The task's monitor answers that the operation has ended well.
    EndedWell,
    /// The task's monitor answers with the error that the operation ended in.
    EndedBadly {
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        detail: String,
    },
    /// Neither task nor monitor is there. A monitor goes away once its end was fetched.
    Gone,
    /// The BMC never named a task.
    NeverNamed,
}
