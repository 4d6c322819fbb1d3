//! What a BMC tells of an update, in the words of a report. Pure.
//!
//! Nothing of it proves that an image runs: of a system that the card's own agent does, of firmware
//! the version that is shown. So a task that has ended well is no success here, and of a system a
//! version that is not shown yet no failure.

use lockstep_crds::directive::ActivatedBy;
use lockstep_crds::inventory::FirmwareComponent;
use lockstep_crds::report::UpdateState;
use lockstep_redfish::{
    Activation, ActivationReset, Progress, Reading, TaskReading, TaskSighting, TaskState,
    UpdateFacts, UpdateTicket, WantedVersion, judge,
};

use crate::site::update_note::{Subject, Told, UpdateNote};

/// Longest message, in characters, of a report.
const MESSAGE: usize = 240;
/// Percents are told in steps of this: each one is a write.
const STEP: u8 = 25;

/// Whether the task alone tells enough for now.
pub(super) fn by_task(ticket: &UpdateTicket, reading: &TaskReading) -> Option<Told> {
    match judge(ticket, Some(reading), &[]) {
        Progress::Running { percent } => Some(Told {
            state: UpdateState::Running,
            percent: percent.map(|percent| i64::from(percent / STEP * STEP)),
            message: None,
        }),
        Progress::Failed { why } => Some(told(UpdateState::Failed, &why)),
        Progress::Lost { .. } | Progress::Done | Progress::AwaitsActivation { .. } => None,
    }
}

/// What the versions and the other tasks tell, once the task is over, gone, or was never named.
pub(super) fn by_facts(
    subject: Subject,
    note: &UpdateNote,
    reading: Option<&TaskReading>,
    facts: &UpdateFacts,
) -> Told {
    let nothing = UpdateTicket::default();
    let ticket = note.ticket.as_ref().unwrap_or(&nothing);
    let shown = shown(note, facts);
    let runs = shown.and_then(|shown| shown.running.as_deref());
    let version = match runs {
        Some(runs) => format!("{} shows {runs}", note.component),
        None => format!("{} shows no version", note.component),
    };
    if reading.is_some_and(|reading| ended_well(ticket, reading)) {
        let message = format!("the task says that it ended well, and {version}");
        return told(UpdateState::Ended, &message);
    }
    let wanted = WantedVersion {
        component: &note.component,
        version: &note.version,
        before: note.before.as_deref(),
        now: shown,
        activation: Activation::After(activation(subject, note)),
        activated: false,
    };
    match judge(ticket, reading, &[wanted]) {
        Progress::Done | Progress::AwaitsActivation { .. } => {
            let message = format!("the task is gone, and {version}");
            told(UpdateState::Ended, &message)
        }
        Progress::Running { .. } | Progress::Failed { .. } | Progress::Lost { .. }
            if !ticket.names_a_task() && others_run(facts) =>
        {
            told(
                UpdateState::Running,
                "the BMC named no task, and one runs there",
            )
        }
        Progress::Failed { .. } | Progress::Lost { .. }
            if subject == Subject::System
                && !ticket.names_a_task()
                && !reading.is_some_and(|reading| ticket.bmc_restarted(&reading.last_reset)) =>
        {
            // What boots meanwhile may be the old system, beside a BMC that writes.
            told(
                UpdateState::Asked,
                "the BMC named no task and none runs there: until its image runs, or its time is over, nobody can tell whether it writes",
            )
        }
        Progress::Running { .. } => told(UpdateState::Running, "its task goes on"),
        // Of firmware the version is the proof.
        Progress::Failed { why } if subject == Subject::Component => {
            told(UpdateState::Failed, &why)
        }
        Progress::Failed { why } | Progress::Lost { why } => told(UpdateState::Lost, &why),
    }
}

fn activation(subject: Subject, note: &UpdateNote) -> ActivationReset {
    match (subject, &note.activation) {
        (Subject::System, _) => ActivationReset::System,
        (Subject::Component, Some(ActivatedBy::CardPowerCycle)) => {
            ActivationReset::SystemPowerCycle
        }
        (Subject::Component, Some(ActivatedBy::Unrecognized(how))) => {
            ActivationReset::Other(how.clone())
        }
        (Subject::Component, Some(ActivatedBy::BmcReset) | None) => ActivationReset::Bmc,
    }
}

fn ended_well(ticket: &UpdateTicket, reading: &TaskReading) -> bool {
    match &reading.sighting {
        TaskSighting::Task(task) => {
            task.state == Some(TaskState::Completed) && ticket.is_of(task, &reading.last_reset)
        }
        TaskSighting::EndedWell => true,
        TaskSighting::GoesOn { .. }
        | TaskSighting::EndedBadly { .. }
        | TaskSighting::Gone
        | TaskSighting::NeverNamed => false,
    }
}

/// What is shown of the component that is written, or stands for the card's system.
fn shown<'a>(note: &UpdateNote, facts: &'a UpdateFacts) -> Option<&'a FirmwareComponent> {
    let firmware = facts.firmware.value()?;
    firmware.iter().find(|one| one.name == note.component)
}

fn others_run(facts: &UpdateFacts) -> bool {
    matches!(&facts.tasks, Reading::Read(tasks) if !tasks.is_empty())
}

fn told(state: UpdateState, message: &str) -> Told {
    Told {
        state,
        percent: None,
        message: Some(message.chars().take(MESSAGE).collect()),
    }
}
