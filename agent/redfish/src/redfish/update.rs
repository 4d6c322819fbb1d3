//! Updates: offers to the UpdateService; what it and the TaskService tell stands in the modules
//! below.

mod facts;
mod task;

use std::fmt::Write as _;
use std::time::Duration;

use rand::random;
use serde_json::Value;
use tokio::time::Instant;

use super::Turn;
use super::observe::optional;
use crate::document::listed;
use crate::documents::Within;
use crate::error::BmcError;
use crate::facts::Reading;
use crate::link::{Change, Link, Offering};
use crate::update::{Push, SimpleUpdate, UpdateService, UpdateTicket};

pub(super) use facts::{component_update, observe, os_update, read_manager};
use facts::{read_service, reset_of};
pub(super) use task::task;

const SIMPLE: &str = "a SimpleUpdate";
const PUSH: &str = "a push of an image";

/// What is known before an update is offered.
struct Before {
    service: UpdateService,
    manager: Option<String>,
    last_reset: Reading<String>,
}

/// Reads what an offer needs. Ends with an error where updates are not taken now.
async fn before(turn: &mut Turn<'_>, verb: &'static str) -> Result<Before, BmcError> {
    let deadline = turn.deadline;
    let address = turn.link.origin().to_owned();
    let system = turn.link.system(deadline).await?;
    let documents = &mut Within {
        link: &mut turn.link,
        deadline,
    };
    let manager = optional(read_manager(documents, &system).await)?;
    let Reading::Read((service, _)) = read_service(documents).await? else {
        return Err(BmcError::NotOffered {
            address,
            what: "an UpdateService".to_owned(),
            path: "the service root".to_owned(),
            offered: "none".to_owned(),
        });
    };
    if service.enabled == Some(false) {
        return Err(BmcError::NotOffered {
            address,
            what: "an enabled UpdateService".to_owned(),
            path: service.path,
            offered: "ServiceEnabled false".to_owned(),
        });
    }
    if let Some(state) = service.state.as_deref().filter(|state| *state != "Enabled") {
        return Err(BmcError::UpdateBusy {
            address,
            verb,
            detail: format!("the state of its UpdateService is {state}"),
            retry_after: None,
        });
    }
    Ok(Before {
        service,
        last_reset: reset_of(&manager),
        manager: manager.value().map(|(path, _)| path.clone()),
    })
}

pub(super) async fn simple(
    turn: &mut Turn<'_>,
    update: &SimpleUpdate,
) -> Result<UpdateTicket, BmcError> {
    let before = before(turn, SIMPLE).await?;
    let not_offered = |what: String, offered: String| BmcError::NotOffered {
        address: turn.link.origin().to_owned(),
        what,
        path: before.service.path.clone(),
        offered,
    };
    let Some(offer) = &before.service.simple_update else {
        let offered = ways(&before.service);
        return Err(not_offered(
            "UpdateService.SimpleUpdate".to_owned(),
            offered,
        ));
    };
    let protocols = offer.protocols.as_deref();
    let protocol = update.protocol();
    let allowed = match (protocol, protocols) {
        (Some(protocol), Some(listed)) => listed.iter().any(|one| one == protocol),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if !allowed {
        let what = match protocol {
            Some(protocol) => format!("the transfer protocol {protocol}"),
            None => "the scheme of the image's URL".to_owned(),
        };
        let offered = protocols.map_or_else(|| "HTTP, HTTPS".to_owned(), listed);
        return Err(not_offered(what, offered));
    }
    if let Some(targets) = &offer.targets
        && let Some(other) = update
            .targets
            .iter()
            .find(|target| !targets.contains(target))
    {
        return Err(not_offered(
            format!("the update target {other}"),
            listed(targets),
        ));
    }
    let offering = Offering {
        change: Change {
            verb: SIMPLE,
            path: &offer.target,
            body: update.body(protocols),
            image: Some(update.image.expose()),
        },
        upload: None,
    };
    let deadline = turn.deadline;
    let proven = turn.link.prove(deadline).await?;
    let receipt = proven.offer(offering, deadline).await?;
    let ticket = UpdateTicket::of(&receipt, before.manager, &before.last_reset);
    Ok(first_look(&mut turn.link, ticket, deadline).await)
}

/// `within` is for the sending, which waits for nobody and lets others call.
pub(super) async fn push(
    turn: &mut Turn<'_>,
    push: Push,
    within: Duration,
) -> Result<UpdateTicket, BmcError> {
    let before = before(turn, PUSH).await?;
    let not_offered = |what: String, offered: String| BmcError::NotOffered {
        address: turn.link.origin().to_owned(),
        what,
        path: before.service.path.clone(),
        offered,
    };
    let Some(path) = &before.service.multipart_push else {
        let offered = ways(&before.service);
        return Err(not_offered("MultipartHttpPushUri".to_owned(), offered));
    };
    if let Some(most) = before.service.max_image_bytes
        && push.length() > most
    {
        return Err(not_offered(
            format!("an image of {} bytes", push.length()),
            format!("at most {most}"),
        ));
    }
    let offering = Offering {
        change: Change {
            verb: PUSH,
            path,
            body: Value::Null,
            image: None,
        },
        upload: Some(push.into_upload(&boundary())),
    };
    let proof_deadline = turn.deadline;
    let proven = turn.link.prove(proof_deadline).await?;
    turn.lane = None;
    let receipt = proven.offer(offering, Instant::now() + within).await?;
    let ticket = UpdateTicket::of(&receipt, before.manager, &before.last_reset);
    let soon = Instant::now() + FIRST_LOOK;
    Ok(first_look(&mut turn.link, ticket, soon).await)
}

/// For the first look at the task of a push: it has been accepted by then.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// What the service offers instead, for people.
fn ways(service: &UpdateService) -> String {
    let ways: Vec<&str> = [
        service.simple_update.is_some().then_some("SimpleUpdate"),
        service
            .multipart_push
            .is_some()
            .then_some("MultipartHttpPushUri"),
        service.http_push.is_some().then_some("HttpPushUri"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if ways.is_empty() {
        "none".to_owned()
    } else {
        ways.join(", ")
    }
}

/// A line that stands in no image: 128 random bits.
fn boundary() -> String {
    let mut boundary = "lockstep-".to_owned();
    for _ in 0..2 {
        // Writing to a String cannot fail.
        write!(boundary, "{:016x}", random::<u64>()).unwrap_or_default();
    }
    boundary
}

/// Reads the task once for what tells it from later ones. Best effort: it was accepted.
async fn first_look(link: &mut Link, mut ticket: UpdateTicket, deadline: Instant) -> UpdateTicket {
    if let Some(path) = ticket.task.clone() {
        match link.get(&path, deadline).await {
            Ok(task) => ticket.learn(&task),
            Err(error) => tracing::debug!(bmc = link.origin(), %error, "no first look at a task"),
        }
    }
    ticket
}
