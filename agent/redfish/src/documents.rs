//! Where the documents of one BMC are read from: straight from the link within a call's deadline,
//! or in the course of an exploration.

use std::future::Future;

use serde_json::Value;
use tokio::time::Instant;

use crate::document::{link, links};
use crate::error::BmcError;
use crate::link::Link;
use crate::pages::Pages;
use crate::room::Document;

/// Reads the documents of one BMC.
pub(crate) trait Documents: Send {
    /// The BMC, for people.
    fn origin(&self) -> &str;

    /// The service root.
    fn root(&self) -> &Value;

    /// Reads one document.
    fn get(&mut self, path: &str) -> impl Future<Output = Result<Document, BmcError>> + Send;

    /// Reads a document that may not be there although something names it.
    fn get_if_there(
        &mut self,
        path: &str,
    ) -> impl Future<Output = Result<Option<Document>, BmcError>> + Send {
        async {
            match self.get(path).await {
                Ok(document) => Ok(Some(document)),
                Err(BmcError::ReadFailed {
                    status: 404 | 410, ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

/// A link, for as long as a call may take.
pub(crate) struct Within<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) deadline: Instant,
}

impl Documents for Within<'_> {
    fn origin(&self) -> &str {
        self.link.origin()
    }

    fn root(&self) -> &Value {
        self.link.root()
    }

    async fn get(&mut self, path: &str) -> Result<Document, BmcError> {
        let document = self.link.get(path, self.deadline).await?;
        let held = self.link.room().and_then(|room| room.take_last());
        Ok(Document::new(document, held))
    }
}

/// The manager of a system, else the only one.
pub(crate) async fn manager_path(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Option<String>, BmcError> {
    let managed_by = system
        .get("Links")
        .map(|system_links| links(system_links, "ManagedBy"))
        .unwrap_or_default();
    if let Some(path) = managed_by.into_iter().next() {
        return Ok(Some(path));
    }
    let Some(collection) = link(documents.root(), "Managers") else {
        return Ok(None);
    };
    let mut pages = Pages::of(&collection, 2);
    pages.take(&*documents.get(&collection).await?);
    Ok(match pages.paths.len() {
        1 if pages.beyond() == 0 => pages.paths.pop(),
        _ => None,
    })
}
