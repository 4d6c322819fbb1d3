//! A restart of the BMC itself.

use serde_json::json;

use super::Turn;
use super::observe::optional;
use super::update::read_manager;
use crate::document::listed;
use crate::documents::{Documents as _, Within};
use crate::effect::{Confirmation, Effect};
use crate::error::BmcError;
use crate::facts::Reading;
use crate::link::Change;
use crate::reading;

/// Reset types that restart a BMC, the mildest first.
const RESTARTS: [&str; 2] = ["GracefulRestart", "ForceRestart"];

pub(super) async fn reset(turn: &mut Turn<'_>) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let system = turn.link.system(deadline).await?;
    let documents = &mut Within {
        link: &mut turn.link,
        deadline,
    };
    let not_offered = |path: String, offered: String| BmcError::NotOffered {
        address: origin.clone(),
        what: "a restart of the BMC (Manager.Reset)".to_owned(),
        path,
        offered,
    };
    let (path, manager) = match optional(read_manager(documents, &system).await)? {
        Reading::Read(found) => found,
        Reading::NotOffered => {
            let path = "the service root".to_owned();
            return Err(not_offered(path, "no manager".to_owned()));
        }
        Reading::NotRead(why) => {
            let path = "the service root".to_owned();
            return Err(not_offered(path, format!("nothing was read: {why}")));
        }
    };
    let info = match reading::manager_reset_info(&manager) {
        Some(info) => documents.get(&info).await.ok(),
        None => None,
    };
    let info = info.as_deref();
    let offer = reading::manager_reset(&manager, &path, info);
    let target = reading::manager_reset_target(&manager);
    let kind = RESTARTS.into_iter().find(|kind| offer.allows(kind));
    let (Some(kind), Some(target)) = (kind, target) else {
        let offered = offer
            .values
            .as_deref()
            .map_or_else(|| "none".to_owned(), listed);
        return Err(not_offered(path, offered));
    };
    let proven = turn.link.prove(deadline).await?;
    let change = Change {
        verb: "a restart of the BMC",
        path: &target,
        body: json!({ "ResetType": kind }),
        image: None,
    };
    proven.post(change, deadline).await?;
    Ok(Effect {
        sent: true,
        confirmation: Confirmation::NotObservable,
    })
}
