//! What a BMC tells of updates, in one pass.

use std::time::Duration;

use lockstep_crds::inventory::FirmwareComponent;
use serde_json::Value;
use tokio::time::Instant;

use crate::document::{last_segment, link, text};
use crate::documents::{Documents, Within, manager_path};
use crate::error::BmcError;
use crate::explore::firmware;
use crate::facts::Reading;
use crate::pages;
use crate::redfish::Turn;
use crate::redfish::observe::optional;
use crate::scrub::Scrub;
use crate::update::{
    ComponentOffer, Components, TaskFacts, TaskState, UpdateFacts, UpdateService, background_copy,
    last_reset, service, task_facts,
};
use crate::vendor::{BACKGROUND_COPIES, OS_COMPONENTS};

/// Tasks that are looked at: of more, the newest. OpenBMC keeps a hundred (bmcweb, `maxTaskCount`).
const MOST_TASKS: usize = 100;
/// Members of one collection that are gone through.
const MOST_LISTED: usize = 2048;
/// How long a chassis that tells of its background copy is waited for.
const COPY_TOLD_WITHIN: Duration = Duration::from_secs(10);

pub(in crate::redfish) async fn observe(
    turn: &mut Turn<'_>,
    components: &Components,
) -> Result<UpdateFacts, BmcError> {
    let deadline = turn.deadline;
    let system = turn.link.system(deadline).await?;
    let scrub = turn.link.scrub().clone();
    let documents = &mut Within {
        link: &mut turn.link,
        deadline,
    };
    let copying = optional(background_copy_of(documents, &system).await)?;
    let manager = optional(read_manager(documents, &system).await)?;
    let service = optional(read_service(documents).await)?;
    let (service, inventory) = match service {
        Reading::Read((service, inventory)) => (Reading::Read(service), inventory),
        Reading::NotOffered => (Reading::NotOffered, None),
        Reading::NotRead(why) => (Reading::NotRead(why), None),
    };
    let tasks = optional(unfinished(documents, &scrub).await)?;
    let firmware = match (&service, inventory) {
        (Reading::NotRead(why), _) => Reading::NotRead(why.clone()),
        (_, Some(inventory)) => optional(versions(documents, &inventory, components).await)?,
        (_, None) => {
            let manager = manager.value().map(|(_, manager)| manager);
            told_without_inventory(manager, &system)
        }
    };
    Ok(UpdateFacts {
        service,
        tasks,
        firmware,
        last_reset: reset_of(&manager),
        background_copy: copying,
    })
}

/// How far the background copy is, where a chassis is known to tell. Such a chassis stalls now and then.
async fn background_copy_of(
    documents: &mut Within<'_>,
    system: &Value,
) -> Result<Reading<String>, BmcError> {
    let id = text(system, "Id").unwrap_or_default();
    let mut known = BACKGROUND_COPIES.into_iter();
    let (Some((_, chassis)), Some(collection)) = (
        known.find(|(system, _)| id == *system),
        link(documents.root(), "Chassis"),
    ) else {
        return Ok(Reading::NotOffered);
    };
    let is_it = |path: &str| last_segment(path) == Some(chassis);
    let path = match member(documents, &collection, is_it).await? {
        Reading::Read(path) => path,
        Reading::NotOffered => return Ok(Reading::NotOffered),
        Reading::NotRead(why) => return Ok(Reading::NotRead(why)),
    };
    let mut soon = Within {
        deadline: documents.deadline.min(Instant::now() + COPY_TOLD_WITHIN),
        link: &mut *documents.link,
    };
    Ok(background_copy(&*soon.get(&path).await?))
}

/// What is offered for the operating system of a card.
pub(in crate::redfish) async fn os_update(
    turn: &mut Turn<'_>,
) -> Result<Reading<ComponentOffer>, BmcError> {
    offer(turn, |id| OS_COMPONENTS.contains(&id)).await
}

/// What is offered for the component with this id.
pub(in crate::redfish) async fn component_update(
    turn: &mut Turn<'_>,
    wanted: &str,
) -> Result<Reading<ComponentOffer>, BmcError> {
    offer(turn, |id| id == wanted).await
}

async fn offer(
    turn: &mut Turn<'_>,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Reading<ComponentOffer>, BmcError> {
    let deadline = turn.deadline;
    turn.link.system(deadline).await?;
    let documents = &mut Within {
        link: &mut turn.link,
        deadline,
    };
    let (service, inventory) = match optional(read_service(documents).await)? {
        Reading::Read((service, Some(inventory))) => (service, inventory),
        Reading::Read((_, None)) | Reading::NotOffered => return Ok(Reading::NotOffered),
        Reading::NotRead(why) => return Ok(Reading::NotRead(why)),
    };
    let is_it = |path: &str| last_segment(path).is_some_and(&is_meant);
    let found = optional(member(documents, &inventory, is_it).await)?;
    Ok(match found {
        Reading::Read(component) => Reading::Read(ComponentOffer { service, component }),
        Reading::NotOffered => Reading::NotOffered,
        Reading::NotRead(why) => Reading::NotRead(why),
    })
}

/// The member of a collection that is meant. It is not said to be missing by a part of the list.
async fn member(
    documents: &mut impl Documents,
    collection: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Reading<String>, BmcError> {
    let pages = pages::listed(documents, collection, MOST_LISTED).await?;
    let is_whole = pages.is_whole();
    let mut paths = pages.paths.into_iter();
    Ok(match paths.find(|path| is_meant(path)) {
        Some(path) => Reading::Read(path),
        None if is_whole => Reading::NotOffered,
        None => Reading::NotRead(in_part(collection)),
    })
}

fn in_part(collection: &str) -> String {
    format!("{collection} lists more than is read of it")
}

pub(super) fn reset_of(manager: &Reading<(String, Value)>) -> Reading<String> {
    match manager {
        Reading::Read((_, manager)) => last_reset(manager),
        Reading::NotOffered => Reading::NotOffered,
        Reading::NotRead(why) => Reading::NotRead(why.clone()),
    }
}

pub(in crate::redfish) async fn read_manager(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Reading<(String, Value)>, BmcError> {
    let Some(path) = manager_path(documents, system).await? else {
        return Ok(Reading::NotOffered);
    };
    let document = documents.get(&path).await?;
    Ok(Reading::Read((path, document.into_value())))
}

/// The UpdateService, and where its FirmwareInventory is.
pub(super) async fn read_service(
    documents: &mut impl Documents,
) -> Result<Reading<(UpdateService, Option<String>)>, BmcError> {
    let Some(path) = link(documents.root(), "UpdateService") else {
        return Ok(Reading::NotOffered);
    };
    let document = documents.get(&path).await?;
    let inventory = link(&document, "FirmwareInventory");
    Ok(Reading::Read((service(&document, path), inventory)))
}

/// The tasks that have not ended.
async fn unfinished(
    documents: &mut impl Documents,
    scrub: &Scrub,
) -> Result<Reading<Vec<TaskFacts>>, BmcError> {
    let Some(service) = link(documents.root(), "Tasks") else {
        return Ok(Reading::NotOffered);
    };
    let service = documents.get(&service).await?;
    let Some(collection) = link(&service, "Tasks") else {
        return Ok(Reading::NotOffered);
    };
    drop(service);
    let pages = pages::listed(documents, &collection, MOST_LISTED).await?;
    if !pages.is_whole() {
        return Ok(Reading::NotRead(in_part(&collection)));
    }
    let Some(newest) = newest(pages.paths) else {
        return Ok(Reading::NotRead(format!(
            "{collection} lists more than {MOST_TASKS} tasks, and their ids do not tell which are the newest; clear those that have ended"
        )));
    };
    let mut found = Vec::new();
    for path in newest {
        // Tasks go away while others are looked at.
        let Some(document) = documents.get_if_there(&path).await? else {
            continue;
        };
        let task = task_facts(&document, path, scrub);
        if !task.has_ended() && task.state != Some(TaskState::Service) {
            found.push(task);
        }
    }
    Ok(Reading::Read(found))
}

/// Of a list that keeps what has ended for ever: those with the highest numbers at the end of their
/// ids. `None`: not all have one.
fn newest(mut members: Vec<String>) -> Option<Vec<String>> {
    let over = members.len().saturating_sub(MOST_TASKS);
    if over == 0 {
        return Some(members);
    }
    if !members.iter().all(|path| number_of(path).is_some()) {
        return None;
    }
    members.sort_by_key(|path| number_of(path));
    members.drain(..over);
    Some(members)
}

/// `JID_0123` is the task of number 123.
fn number_of(path: &str) -> Option<u64> {
    let id = last_segment(path)?;
    let digits = id.trim_start_matches(|one: char| !one.is_ascii_digit());
    digits.parse().ok()
}

async fn versions(
    documents: &mut impl Documents,
    inventory: &str,
    components: &Components,
) -> Result<Reading<Vec<FirmwareComponent>>, BmcError> {
    let pages = pages::listed(documents, inventory, MOST_LISTED).await?;
    if !pages.is_whole() {
        return Ok(Reading::NotRead(in_part(inventory)));
    }
    let mut found = Vec::new();
    let members = pages.paths.into_iter();
    let wanted = members.filter(|path| components.covers(path));
    for path in wanted.take(firmware::MOST) {
        let Some(document) = documents.get_if_there(&path).await? else {
            continue;
        };
        found.extend(firmware::component(&path, &document));
    }
    Ok(Reading::Read(found))
}

fn told_without_inventory(
    manager: Option<&Value>,
    system: &Value,
) -> Reading<Vec<FirmwareComponent>> {
    let told = firmware::without_inventory(manager, system);
    if told.is_empty() {
        Reading::NotOffered
    } else {
        Reading::Read(told)
    }
}
