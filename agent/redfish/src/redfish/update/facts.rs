//! What a BMC tells of updates, in one pass.

use std::time::Duration;

use lockstep_crds::inventory::FirmwareComponent;
use serde_json::Value;
use tokio::time::Instant;

use crate::document::{last_segment, link, links, text};
use crate::documents::{Documents, Within, manager_path};
use crate::error::BmcError;
use crate::explore::firmware;
use crate::facts::Reading;
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
    let members = links(&*documents.get(&collection).await?, "Members");
    let mut members = members.into_iter();
    let Some(path) = members.find(|path| last_segment(path) == Some(chassis)) else {
        return Ok(Reading::NotOffered);
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
    let listed = optional(documents.get(&inventory).await.map(Reading::Read))?;
    let found = match listed {
        Reading::Read(collection) => links(&collection, "Members")
            .into_iter()
            .find(|path| last_segment(path).is_some_and(&is_meant)),
        Reading::NotOffered => None,
        Reading::NotRead(why) => return Ok(Reading::NotRead(why)),
    };
    Ok(found.map_or(Reading::NotOffered, |component| {
        Reading::Read(ComponentOffer { service, component })
    }))
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
    let members = links(&*documents.get(&collection).await?, "Members");
    let mut found = Vec::new();
    for path in newest(members) {
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

/// Of a list that keeps what has ended for ever: of tasks that are numbered those with the highest numbers,
/// else both ends, for which of them is the newer one differs.
fn newest(mut members: Vec<String>) -> Vec<String> {
    let over = members.len().saturating_sub(MOST_TASKS);
    if over == 0 {
        return members;
    }
    let number = |path: &String| last_segment(path)?.parse::<u64>().ok();
    if members.iter().all(|path| number(path).is_some()) {
        members.sort_by_key(number);
        members.drain(..over);
    } else {
        let half = MOST_TASKS / 2;
        members.drain(half..half + over);
    }
    members
}

async fn versions(
    documents: &mut impl Documents,
    inventory: &str,
    components: &Components,
) -> Result<Reading<Vec<FirmwareComponent>>, BmcError> {
    let members = links(&*documents.get(inventory).await?, "Members");
    let mut found = Vec::new();
    let wanted = members.into_iter().filter(|path| components.covers(path));
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
