//! Finding the target's ComputerSystem.

use serde_json::Value;
use tokio::time::Instant;

use super::{Link, MOST_MEMBERS, ROOT};
use crate::document::{link, links, listed, number, path};
use crate::documents::{Documents as _, Within};
use crate::error::BmcError;
use crate::facts::SystemIdentity;
use crate::reading;

impl Link {
    /// Reads the target's ComputerSystem.
    pub(crate) async fn system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        if let Some(path) = self
            .system_path
            .clone()
            .or_else(|| self.target.system_path.clone())
        {
            return match self.get(&path, deadline).await {
                Ok(system) => {
                    self.system_path = Some(own_path(&system).unwrap_or(path));
                    Ok(system)
                }
                Err(BmcError::ReadFailed { status: 404, .. })
                    if self.target.system_path.is_none() =>
                {
                    self.system_path = None;
                    self.locate_system(deadline).await
                }
                Err(error) => Err(error),
            };
        }
        self.locate_system(deadline).await
    }

    /// The paths of all ComputerSystems. `None`: the BMC does not say which there are, nor that
    /// there are none.
    pub(crate) async fn system_paths(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Vec<String>>, BmcError> {
        let path = link(&self.root, "Systems").unwrap_or_else(|| format!("{ROOT}Systems"));
        let collection = self.get(&path, deadline).await?;
        let mut members = links(&collection, "Members");
        if members.is_empty() && !has_none(&collection) {
            return Ok(None);
        }
        if let Some(is_system) = self.repaired.quirks().filter_computer_system_odata_ids() {
            members.retain(|path| is_system(path));
        }
        Ok(Some(members))
    }

    /// The only system, else the one with the expected UUID.
    async fn locate_system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        let members = self.system_paths(deadline).await?.unwrap_or_default();
        let wanted = self.target.expected.system_uuid.clone();
        let found = match (members.as_slice(), &wanted) {
            ([only], _) => Some((only.clone(), self.get(only, deadline).await?)),
            ([], _) | (_, None) => None,
            (several, Some(uuid)) => {
                // Many services name systems by UUID: look there first.
                let mut order: Vec<&String> = several.iter().collect();
                order.sort_by_key(|path| !reading::ends_with_uuid(path, uuid));
                let mut found = None;
                for path in order.into_iter().take(MOST_MEMBERS) {
                    // Some collections name members that are not there.
                    let mut documents = Within {
                        link: self,
                        deadline,
                    };
                    let Some(system) = documents.get_if_there(path).await? else {
                        continue;
                    };
                    if reading::has_uuid(&system, uuid) {
                        found = Some((path.clone(), system.into_value()));
                        break;
                    }
                }
                found
            }
        };
        let Some((path, system)) = found else {
            return Err(BmcError::SystemNotFound {
                address: self.origin.clone(),
                wanted: wanted.map_or_else(
                    || "that is the only one".to_owned(),
                    |uuid| format!("with the UUID {uuid}"),
                ),
                found: if members.is_empty() {
                    "none".to_owned()
                } else {
                    listed(&members)
                },
            });
        };
        self.system_path = Some(own_path(&system).unwrap_or(path));
        Ok(system)
    }

    /// What identifies the machine that a ComputerSystem document describes.
    pub(crate) fn identity(&self, system: &Value) -> SystemIdentity {
        let path = self.system_path.clone().unwrap_or_default();
        reading::identity(&self.root, system, path, self.observed.pin())
    }
}

/// Whether a collection says that it has no members.
fn has_none(collection: &Value) -> bool {
    let members = collection.get("Members").and_then(Value::as_array);
    members.is_some_and(Vec::is_empty)
        && number(collection, "Members@odata.count").unwrap_or(0) == 0
}

/// The path that a document gives itself: after a redirect, the one to use.
pub(crate) fn own_path(document: &Value) -> Option<String> {
    self::path(document, "@odata.id").filter(|path| path.starts_with(ROOT))
}
