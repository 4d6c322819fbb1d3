//! The service root: where it is, and reading it with and without a login.

use std::sync::Arc;

use nv_redfish::quirks::{BmcQuirks, CompatBmc, RootEvidence};
use serde_json::Value;
use tokio::time::Instant;

use super::{Link, ROOT, Unread};
use crate::error::BmcError;
use crate::reading;

/// The root of those who answer a slash at the end with 404.
const BARE_ROOT: &str = "/redfish/v1";

impl Link {
    /// Reads the service root, as nobody and in one try, and takes what answers for a service
    /// root only if it says so.
    pub(crate) async fn root_for_everybody(
        &mut self,
        deadline: Instant,
    ) -> Result<Value, BmcError> {
        let address = self.origin.clone();
        let no_redfish = |reason: String| BmcError::BadAnswer {
            address,
            path: ROOT.to_owned(),
            reason,
        };
        match self.find_root(deadline, 1).await {
            Ok(root) if reading::is_service_root(&root) => Ok(root),
            Ok(_) => Err(no_redfish("JSON that is no service root".to_owned())),
            Err(Unread::Unauthorized) => Err(BmcError::AccessDenied {
                address: self.origin.clone(),
                path: ROOT.to_owned(),
                detail: "HTTP 401 where nothing may be asked for by the standard".to_owned(),
            }),
            Err(unread) if unread.is_absent() => Err(no_redfish("HTTP 404".to_owned())),
            Err(unread) => Err(self.unread(ROOT, unread)),
        }
    }

    pub(super) async fn find_root(
        &mut self,
        deadline: Instant,
        tries: u32,
    ) -> Result<Value, Unread> {
        match self.get_within(ROOT, deadline, tries).await {
            Err(unread) if unread.is_absent() => {
                let root = self.get_within(BARE_ROOT, deadline, tries).await?;
                self.root_path = BARE_ROOT;
                Ok(root)
            }
            other => other,
        }
    }

    /// Reads the service root anew.
    pub(crate) async fn reread_root(&mut self, deadline: Instant) -> Result<(), BmcError> {
        let root = self.get(self.root_path, deadline).await?;
        self.take_root(root);
        Ok(())
    }

    /// Keeps a service root, with the repairs for the platform that it names.
    pub(super) fn take_root(&mut self, root: Value) {
        let quirks = BmcQuirks::classify(&RootEvidence::from_root(&root));
        self.repaired = CompatBmc::new(Arc::clone(&self.http), Arc::new(quirks));
        self.root = Arc::new(root);
    }
}
