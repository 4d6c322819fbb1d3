//! The task of an accepted update, as it is seen now.

use tokio::time::Instant;

use crate::error::BmcError;
use crate::facts::Reading;
use crate::link::{Link, is_error};
use crate::redfish::Turn;
use crate::redfish::observe::optional;
use crate::update::{TaskReading, TaskSighting, UpdateTicket, is_task, last_reset, task_facts};

pub(in crate::redfish) async fn task(
    turn: &mut Turn<'_>,
    ticket: &UpdateTicket,
) -> Result<TaskReading, BmcError> {
    let deadline = turn.deadline;
    let link = &mut turn.link;
    let last_reset = match &ticket.manager {
        Some(path) => optional(link.get(path, deadline).await.map(|one| last_reset(&one)))?,
        None => Reading::NotOffered,
    };
    Ok(TaskReading {
        sighting: sighting(link, ticket, deadline).await?,
        last_reset,
    })
}

/// What is at the task's place; the monitor is asked only where there is no task, for asking it
/// may be what makes it go away.
async fn sighting(
    link: &mut Link,
    ticket: &UpdateTicket,
    deadline: Instant,
) -> Result<TaskSighting, BmcError> {
    if let Some(path) = &ticket.task {
        match link.get(path, deadline).await {
            Ok(document) if is_task(&document) => {
                let facts = task_facts(&document, path.clone(), link.scrub());
                return Ok(TaskSighting::Task(facts));
            }
            Ok(_)
            | Err(BmcError::ReadFailed {
                status: 404 | 410, ..
            }) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(path) = &ticket.monitor else {
        return Ok(if ticket.task.is_some() {
            TaskSighting::Gone
        } else {
            TaskSighting::NeverNamed
        });
    };
    let receipt = link.monitor(path, deadline).await?;
    if is_task(&receipt.body) && receipt.is_success() {
        let facts = task_facts(&receipt.body, path.clone(), link.scrub());
        return Ok(TaskSighting::Task(facts));
    }
    match receipt.status {
        202 => Ok(TaskSighting::GoesOn {
            retry_after: receipt.retry_after,
        }),
        200 | 201 | 204 if !is_error(&receipt.body) => Ok(TaskSighting::EndedWell),
        404 | 410 => Ok(TaskSighting::Gone),
        status @ (408 | 429 | 500..=504) => Err(BmcError::ReadFailed {
            address: link.origin().to_owned(),
            path: path.clone(),
            status,
            detail: link.said(&receipt.body),
        }),
        status => Ok(TaskSighting::EndedBadly {
            status,
            detail: link.said(&receipt.body),
        }),
    }
}
