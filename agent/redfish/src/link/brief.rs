//! The ComputerSystem alone, for as little as the BMC lets it be had.

use serde_json::Value;
use tokio::time::Instant;

use super::{Failure, Link, Login, Unread, check_gate};
use crate::error::BmcError;
use crate::transport::TransportError;

/// Sessions that have to be gone in a row when they are needed before none is opened for one read:
/// one may be lost because the BMC was restarted.
const LOST_SESSIONS: u32 = 2;

impl Link {
    /// Reads the target's ComputerSystem and nothing else.
    ///
    /// A BMC whose sessions end sooner than it is looked at would be asked three times each: for
    /// the read, for a session, and again. It is shown name and password with the read, as they
    /// would be for the session; everything else takes a session there as before. A session that
    /// is still alive is used.
    pub(crate) async fn brief_system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        if self.lost_sessions >= LOST_SESSIONS
            && !self.refuses_basic
            && let Some(path) = self.system_path.clone()
        {
            if matches!(self.login, Login::Session(_)) {
                match self.get_once_or_more(&path, deadline).await {
                    Ok(system) => {
                        self.session_served();
                        return Ok(system);
                    }
                    Err(Unread::Unauthorized) => self.session_was_gone(),
                    Err(unread) => return Err(self.unread(&path, unread)),
                }
            }
            if let Some(system) = self.with_password(&path, deadline).await? {
                return Ok(system);
            }
        }
        self.ensure_login(deadline).await?;
        self.system(deadline).await
    }

    /// Reads with HTTP Basic where sessions are offered. `None` where that is not to be had: then
    /// a session says what is wrong, and the password is not tried so again.
    async fn with_password(
        &mut self,
        path: &str,
        deadline: Instant,
    ) -> Result<Option<Value>, BmcError> {
        check_gate(&self.shared, &self.origin, &self.target)?;
        if self.login != Login::Brief {
            tracing::info!(
                bmc = self.origin,
                "its sessions end before they are needed again: in between it is read with HTTP Basic"
            );
        }
        self.show_password();
        self.login = Login::Brief;
        let credentials = &self.target.credentials;
        match self.get_once_or_more(path, deadline).await {
            Ok(system) => {
                self.shared.gate.accepted(&self.origin, credentials);
                Ok(Some(system))
            }
            // Perhaps it takes sessions only. It counts as a try until one is opened.
            Err(Unread::Unauthorized) => {
                self.shared.gate.refused(&self.origin, credentials);
                self.refuses_basic = true;
                Ok(None)
            }
            // It is busy, which says nothing about how it is read.
            Err(unread) if unread.is_transient() => Err(self.unread(path, unread)),
            Err(Unread::Failed(Failure::Transport(TransportError::Status { status, .. })))
                if (400..500).contains(&status) =>
            {
                self.refuses_basic = status != 404;
                Ok(None)
            }
            Err(unread) => Err(self.unread(path, unread)),
        }
    }
}
