//! The boot entries of the firmware, and their order.
//!
//! What is changed is the order alone: an entry is the firmware's, or its installer's.

use serde_json::{Value, json};

use super::Turn;
use super::confirm::look_for;
use super::observe::optional;
use crate::document::{bounded, link, text};
use crate::documents::{Documents, Within};
use crate::effect::{Confirmation, Effect};
use crate::error::BmcError;
use crate::facts::{BootEntries, BootEntry, Reading};
use crate::link::{Change, MOST_MEMBERS};
use crate::pages;
use crate::reading::{self, boot_order};

/// Longest reference or name that is told.
const LONGEST: usize = 128;

pub(super) async fn read(turn: &mut Turn<'_>) -> Result<Reading<BootEntries>, BmcError> {
    let deadline = turn.deadline;
    let system = turn.link.system(deadline).await?;
    let link = &mut *turn.link;
    optional(listed(&mut Within { link, deadline }, &system).await)
}

async fn listed(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Reading<BootEntries>, BmcError> {
    let Some(collection) = system
        .get("Boot")
        .and_then(|boot| link(boot, "BootOptions"))
    else {
        return Ok(Reading::NotOffered);
    };
    let order = match reading::settings_path(system) {
        Some(path) => boot_order(&*documents.get(&path).await?),
        None => None,
    };
    let Some(mut order) = order.or_else(|| boot_order(system)) else {
        return Ok(Reading::NotOffered);
    };
    order.truncate(MOST_MEMBERS);
    let pages = pages::listed(documents, &collection, MOST_MEMBERS).await?;
    if pages.beyond() > 0 || pages.paths.len() > MOST_MEMBERS {
        // Which of them is first, or named twice, cannot be told by a part of them.
        return Ok(Reading::NotOffered);
    }
    let mut entries = Vec::new();
    for path in pages.paths {
        // Some collections name members that are not there.
        if let Some(document) = documents.get_if_there(&path).await? {
            entries.extend(entry(&document));
        }
    }
    Ok(Reading::Read(BootEntries { entries, order }))
}

fn entry(option: &Value) -> Option<BootEntry> {
    let reference = text(option, "BootOptionReference").or_else(|| text(option, "Id"))?;
    let name = text(option, "DisplayName").or_else(|| text(option, "Name"))?;
    Some(BootEntry {
        reference: bounded(&reference, LONGEST),
        name: bounded(&name, LONGEST),
    })
}

/// The whole order is sent, so it is read just before.
pub(super) async fn put_first(turn: &mut Turn<'_>, reference: &str) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let system = turn.link.system(deadline).await?;
    let settings = match reading::settings_path(&system) {
        Some(path) => Some((turn.link.get(&path, deadline).await?, path)),
        None => None,
    };
    let proven = turn.link.prove(deadline).await?;
    // Where settings for the next reset take the order, they are what is compared and changed.
    let of_settings = settings.and_then(|(document, path)| Some((boot_order(&document)?, path)));
    let here = || Some((boot_order(&proven.system)?, proven.system_path.clone()));
    let Some((before, path)) = of_settings.or_else(here) else {
        return Err(BmcError::NotOffered {
            address: origin,
            what: "BootOrder".to_owned(),
            path: proven.system_path,
            offered: "none".to_owned(),
        });
    };
    let leads = |order: &[String]| order.first().is_some_and(|first| first == reference);
    if leads(&before) {
        return Ok(Effect::unneeded(Confirmation::Confirmed));
    }
    let others = before.iter().filter(|other| *other != reference);
    let wanted: Vec<&str> = std::iter::once(reference)
        .chain(others.map(String::as_str))
        .collect();
    let change = Change {
        verb: "a change of the boot order",
        path: &path,
        body: json!({"Boot": {"BootOrder": wanted}}),
        image: None,
    };
    proven.patch(change, deadline).await?;
    let confirmation = look_for(turn, &path, |document| {
        boot_order(document)
            .is_some_and(|order| leads(&order))
            .then_some(Confirmation::Confirmed)
    })
    .await;
    Ok(Effect {
        sent: true,
        confirmation,
    })
}
