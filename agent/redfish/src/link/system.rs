//! Finding the target's ComputerSystem.

use serde_json::Value;
use tokio::time::Instant;

use super::{Link, MOST_MEMBERS, ROOT};
use crate::document::{link, listed, number, path};
use crate::documents::{Documents as _, Within};
use crate::error::BmcError;
use crate::facts::SystemIdentity;
use crate::pages::{self, Pages};
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

    /// The ComputerSystems that the BMC lists. `None`: it does not say which there are, nor that
    /// there are none.
    pub(crate) async fn system_list(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<SystemList>, BmcError> {
        let collection = link(&self.root, "Systems").unwrap_or_else(|| format!("{ROOT}Systems"));
        let mut pages = Pages::of(&collection, MOST_MEMBERS);
        let first = self.get(&collection, deadline).await?;
        if !first.get("Members").is_some_and(Value::is_array) {
            return Ok(None);
        }
        let mut next = pages.take(&first);
        let has_none = has_none(&first);
        drop(first);
        while let Some(path) = next {
            // Whose page is not read are beyond those that are listed.
            next = match self.get(&path, deadline).await {
                Ok(page) => pages.take(&page),
                Err(error @ BmcError::CredentialsRefused { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, path, "a page of a BMC's systems is not read");
                    None
                }
            };
        }
        let beyond = pages.beyond();
        let mut paths = pages.paths;
        if paths.is_empty() && !has_none {
            return Ok(None);
        }
        if let Some(is_system) = self.repaired.quirks().filter_computer_system_odata_ids() {
            paths.retain(|path| is_system(path));
        }
        Ok(Some(SystemList {
            collection,
            paths,
            beyond,
        }))
    }

    /// The only system, else the one with the expected UUID.
    async fn locate_system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        let list = self.system_list(deadline).await?.unwrap_or_default();
        let (members, is_whole) = (list.paths, list.beyond == 0);
        let wanted = self.target.expected.system_uuid.clone();
        let found = match (members.as_slice(), &wanted) {
            ([only], _) if is_whole => Some((only.clone(), self.get(only, deadline).await?)),
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

/// What a BMC lists of its ComputerSystems.
#[derive(Debug, Default)]
pub(crate) struct SystemList {
    /// The path of the list.
    pub(crate) collection: String,
    /// The paths in it.
    pub(crate) paths: Vec<String>,
    /// How many there are beyond these, at least.
    pub(crate) beyond: i64,
}

/// Whether a collection says that it has no members.
fn has_none(collection: &Value) -> bool {
    let members = collection.get("Members").and_then(Value::as_array);
    members.is_some_and(Vec::is_empty)
        && number(collection, "Members@odata.count").unwrap_or(0) == 0
        && !pages::has_next(collection)
}

/// The path that a document gives itself: after a redirect, the one to use.
pub(crate) fn own_path(document: &Value) -> Option<String> {
    self::path(document, "@odata.id").filter(|path| path.starts_with(ROOT))
}
