//! Virtual media.

use serde_json::{Value, json};
use url::Url;

use super::Turn;
use super::confirm::look_for;
use crate::document::{action, allowable, link};
use crate::documents::{Documents, Within, manager_path};
use crate::effect::{Confirmation, Effect, MediaMatch};
use crate::error::BmcError;
use crate::facts::{ImageUrl, MediaSlot};
use crate::link::{Change, MOST_MEMBERS};
use crate::pages;
use crate::reading;

/// Protocols of a slot that are looked at; there are half a dozen.
const MOST_PROTOCOLS: usize = 16;

/// A slot, and by which protocols it says it fetches an image. Its document is not kept: there
/// may be many, and of any length.
pub(super) struct ReadSlot {
    pub(super) slot: MediaSlot,
    protocols: Vec<String>,
}

/// The slots of a system. They live under the system or under its manager,
/// depending on the BMC's age; the system's come first.
pub(super) async fn slots(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Vec<ReadSlot>, BmcError> {
    if let Some(collection) = link(system, "VirtualMedia") {
        let slots = collection_slots(documents, &collection).await?;
        if !slots.is_empty() {
            return Ok(slots);
        }
    }
    let Some(manager) = manager_path(documents, system).await? else {
        return Err(none_offered(documents));
    };
    let manager = documents.get(&manager).await?;
    match link(&manager, "VirtualMedia") {
        Some(collection) => collection_slots(documents, &collection).await,
        None => Err(none_offered(documents)),
    }
}

fn none_offered(documents: &impl Documents) -> BmcError {
    BmcError::NotOffered {
        address: documents.origin().to_owned(),
        what: "virtual media".to_owned(),
        path: "the system and its manager".to_owned(),
        offered: "none".to_owned(),
    }
}

async fn collection_slots(
    documents: &mut impl Documents,
    collection: &str,
) -> Result<Vec<ReadSlot>, BmcError> {
    let mut slots = Vec::new();
    let pages = pages::listed(documents, collection, MOST_MEMBERS).await?;
    for path in pages.paths.into_iter().take(MOST_MEMBERS) {
        // Some collections name members that are not there.
        let Some(document) = documents.get_if_there(&path).await? else {
            continue;
        };
        slots.push(ReadSlot {
            slot: reading::media_slot(&document, path),
            protocols: protocols(&document),
        });
    }
    Ok(slots)
}

pub(super) async fn insert(turn: &mut Turn<'_>, image: &ImageUrl) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let system = turn.link.system(deadline).await?;
    let link = &mut *turn.link;
    let slots = slots(&mut Within { link, deadline }, &system).await?;
    if slots.iter().any(|read| holds(&read.slot, image)) {
        return Ok(Effect::unneeded(Confirmation::Confirmed));
    }
    let usable: Vec<&ReadSlot> = slots
        .iter()
        .filter(|read| read.slot.takes_iso() && read.slot.insert_target.is_some())
        .collect();
    let Some(read) = usable.iter().find(|read| !read.slot.inserted) else {
        return Err(match usable.first() {
            Some(occupied) => BmcError::SlotOccupied {
                address: origin,
                path: occupied.slot.path.clone(),
            },
            None => BmcError::NotOffered {
                address: origin,
                what: "virtual media that take an ISO by URL".to_owned(),
                path: slots
                    .first()
                    .map_or_else(String::new, |read| read.slot.path.clone()),
                offered: "other slots".to_owned(),
            },
        });
    };
    let target = read.slot.insert_target.clone().unwrap_or_default();
    let change = Change {
        verb: "an insertion of virtual media",
        path: &target,
        body: insert_body(&read.protocols, image),
        image: Some(image.expose()),
    };
    let proven = turn.link.prove(deadline).await?;
    proven.post(change, deadline).await?;
    let path = read.slot.path.clone();
    let confirmation = look_for(turn, &path, |document| {
        let slot = reading::media_slot(document, String::new());
        match &slot.image {
            Some(found) if slot.inserted && !found.same_as(image) => Some(Confirmation::Differs(
                "the slot names another image".to_owned(),
            )),
            Some(_) | None => slot.inserted.then_some(Confirmation::Confirmed),
        }
    })
    .await;
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

fn holds(slot: &MediaSlot, image: &ImageUrl) -> bool {
    slot.inserted
        && slot
            .image
            .as_ref()
            .is_some_and(|found| found.same_as(image))
}

fn protocols(slot: &Value) -> Vec<String> {
    let listed = action(slot, "VirtualMedia.InsertMedia")
        .and_then(|action| allowable(action, "TransferProtocolType"));
    let listed = listed.unwrap_or_default().into_iter();
    listed.take(MOST_PROTOCOLS).collect()
}

/// The transfer protocol is named only where the BMC lists it as a parameter:
/// some need it and some refuse it.
fn insert_body(listed: &[String], image: &ImageUrl) -> Value {
    let mut body = json!({
        "Image": image.expose(),
        "Inserted": true,
        "WriteProtected": true,
    });
    let scheme = Url::parse(image.expose())
        .map(|url| url.scheme().to_ascii_uppercase())
        .unwrap_or_default();
    if listed.contains(&scheme) {
        body["TransferProtocolType"] = Value::String(scheme);
    }
    body
}

pub(super) async fn eject(turn: &mut Turn<'_>, which: &MediaMatch) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let system = turn.link.system(deadline).await?;
    let link = &mut *turn.link;
    let slots = slots(&mut Within { link, deadline }, &system).await?;
    let mut effect = Effect::unneeded(Confirmation::Confirmed);
    for ReadSlot { slot, .. } in slots {
        if !slot.inserted || !which.covers(slot.image.as_ref()) {
            continue;
        }
        let Some(target) = slot.eject_target else {
            return Err(BmcError::NotOffered {
                address: origin,
                what: "VirtualMedia.EjectMedia".to_owned(),
                path: slot.path,
                offered: "none".to_owned(),
            });
        };
        let proven = turn.link.prove(deadline).await?;
        let change = Change {
            verb: "an ejection of virtual media",
            path: &target,
            body: json!({}),
            image: slot.image.as_ref().map(ImageUrl::expose),
        };
        proven.post(change, deadline).await?;
        let confirmation = look_for(turn, &slot.path, |document| {
            let slot = reading::media_slot(document, String::new());
            (!slot.inserted).then_some(Confirmation::Confirmed)
        })
        .await;
        effect.sent = true;
        if effect.confirmation == Confirmation::Confirmed {
            effect.confirmation = confirmation;
        }
    }
    Ok(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transfer_protocol_is_sent_only_where_it_is_listed() {
        let image = ImageUrl::new("http://192.0.2.1/a.iso");
        assert_eq!(
            insert_body(&protocols(&json!({})), &image),
            json!({"Image": "http://192.0.2.1/a.iso", "Inserted": true, "WriteProtected": true})
        );
        let listing = json!({"Actions": {"#VirtualMedia.InsertMedia": {
            "TransferProtocolType@Redfish.AllowableValues": ["NFS", "HTTP"],
        }}});
        assert_eq!(
            insert_body(&protocols(&listing), &image)["TransferProtocolType"],
            "HTTP"
        );
    }
}
