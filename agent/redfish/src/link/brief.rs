//! The ComputerSystem alone, for as little as the BMC lets it be had.

use serde_json::Value;
use tokio::time::Instant;

use super::{Link, Login, Unread, check_gate};
use crate::error::BmcError;

/// Sessions that have to be lost in a row before it is not worth while to open one for one read:
/// one may be lost because the BMC was restarted.
const LOST_SESSIONS: u32 = 2;

impl Link {
    /// Reads the target's ComputerSystem and nothing else.
    ///
    /// A BMC whose sessions end sooner than it is looked at would be asked three times each: for
    /// the read, for a session, and again. It is shown name and password with the read, as they
    /// would be for the session; everything else takes a session there as before.
    pub(crate) async fn brief_system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        if self.lost_sessions >= LOST_SESSIONS
            && !self.refuses_basic
            && let Some(path) = self.system_path.clone()
        {
            check_gate(&self.shared, &self.origin, &self.target)?;
            if self.login != Login::Brief {
                tracing::info!(
                    bmc = self.origin,
                    "its sessions end before they are needed again: in between it is read with HTTP Basic"
                );
            }
            self.show_password();
            self.login = Login::Brief;
            match self.get_once_or_more(&path, deadline).await {
                // Perhaps it takes sessions only, so that nothing is known of the password yet.
                Err(Unread::Unauthorized) => self.refuses_basic = true,
                read => return read.map_err(|unread| self.unread(&path, unread)),
            }
        }
        self.ensure_login(deadline).await?;
        let lost = self.lost_sessions;
        let system = self.system(deadline).await?;
        if self.lost_sessions == lost && matches!(self.login, Login::Session(_)) {
            self.lost_sessions = 0;
        }
        Ok(system)
    }
}
