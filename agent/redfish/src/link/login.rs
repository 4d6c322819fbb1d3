//! Who we are to the BMC: a session where it offers them, Basic otherwise.

use std::time::Duration;

use nv_redfish::bmc_http::BmcCredentials;
use nv_redfish::core::{Bmc as _, ODataId, Raw, SessionCreateResponse};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Failure, Link, Login, Unread, check_gate};
use crate::document::{error_message, link};
use crate::error::BmcError;
use crate::facts::Offer;
use crate::transport::TransportError;

/// For the farewell to a BMC; the session expires by itself otherwise.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

impl Link {
    pub(super) fn use_basic(&mut self) {
        self.show_password();
        self.login = Login::Basic;
    }

    /// Sends name and password with every request from now on.
    pub(super) fn show_password(&mut self) {
        let credentials = &self.target.credentials;
        self.act_as(BmcCredentials::new(
            credentials.username.clone(),
            credentials.password.clone(),
        ));
    }

    /// Who we are in requests from now on.
    fn act_as(&mut self, credentials: BmcCredentials) {
        self.http.set_credentials(credentials.clone());
        self.credentials = credentials;
    }

    /// A call begins.
    pub(crate) fn begin_call(&mut self) {
        self.has_old_session = self.has_session();
    }

    /// A read was answered: a session that was there before the call has lasted until now.
    pub(super) fn session_served(&mut self) {
        if self.has_old_session {
            self.lost_sessions = 0;
        }
    }

    pub(super) fn session_was_gone(&mut self) {
        self.login = Login::Nobody;
        self.has_old_session = false;
        self.lost_sessions = self.lost_sessions.saturating_add(1);
    }

    /// Logs in unless that was done and has not been lost since.
    pub(crate) async fn ensure_login(&mut self, deadline: Instant) -> Result<(), BmcError> {
        match self.login {
            Login::Nobody | Login::Brief => self.log_in(deadline).await,
            Login::Basic | Login::Session(_) => Ok(()),
        }
    }

    /// Opens a session where the BMC offers them; Basic otherwise. A BMC that
    /// offers sessions and refuses one is not asked with Basic instead.
    pub(super) async fn log_in(&mut self, deadline: Instant) -> Result<(), BmcError> {
        check_gate(&self.shared, &self.origin, &self.target)?;
        let Some(service) = link(&self.root, "SessionService") else {
            self.sessions.offer = Offer::NotOffered;
            self.use_basic();
            return Ok(());
        };
        let collection = self
            .root
            .get("Links")
            .and_then(|links| link(links, "Sessions"))
            .unwrap_or_else(|| format!("{}/Sessions", service.trim_end_matches('/')));
        let credentials = json!({
            "UserName": self.target.credentials.username,
            "Password": self.target.credentials.password,
        });
        // Whoever opens a session is nobody yet: neither a token that has ended nor a password.
        self.act_as(BmcCredentials::Anonymous);
        let collection_id = ODataId::from(collection.clone());
        let limit = deadline.min(Instant::now() + self.shared.options.read_timeout);
        let mut answer = self
            .create_session(&collection_id, &credentials, limit)
            .await;
        // Some BMCs close a connection that looks alive. A session that was opened all the
        // same expires by itself.
        if matches!(answer, Err(TransportError::Lost(_))) && Instant::now() < limit {
            answer = self
                .create_session(&collection_id, &credentials, limit)
                .await;
        }
        match answer {
            Ok(session) => {
                self.scrub.hide_token(&session.auth_token);
                self.act_as(BmcCredentials::token(session.auth_token));
                self.login = Login::Session(session.location.to_string());
                self.sessions.offer = Offer::Offered;
                self.sessions.source = collection;
                self.shared
                    .gate
                    .accepted(&self.origin, &self.target.credentials);
                Ok(())
            }
            Err(TransportError::Status {
                status: 401 | 403, ..
            }) => Err(self.refused()),
            // Linked, and not there after all.
            Err(TransportError::Status {
                status: 404 | 405 | 501,
                ..
            }) => {
                self.sessions.offer = Offer::NotOffered;
                self.sessions.source = collection;
                self.use_basic();
                Ok(())
            }
            Err(TransportError::Status { status, body }) => Err(BmcError::SessionRefused {
                address: self.origin.clone(),
                status,
                detail: error_message(&body, &self.scrub),
            }),
            Err(error) => Err(self.unread(&collection, Unread::Failed(Failure::Transport(error)))),
        }
    }

    async fn create_session(
        &self,
        collection: &ODataId,
        credentials: &Value,
        limit: Instant,
    ) -> Result<SessionCreateResponse<Value>, TransportError> {
        timeout_at(limit, self.http.create_session(collection, credentials))
            .await
            .unwrap_or_else(|_| Err(TransportError::Lost("no answer in time".to_owned())))
    }

    /// Ends the session. Best effort: it expires by itself.
    pub(crate) async fn log_out(self) {
        let Login::Session(session) = self.login else {
            return;
        };
        let id = ODataId::from(session);
        let farewell = self.http.delete::<Raw>(&id);
        let limit = Instant::now() + LOGOUT_TIMEOUT;
        match timeout_at(limit, farewell).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = self.scrub.clean(&error.to_string());
                tracing::debug!(bmc = self.origin, error, "session left to expire");
            }
            Err(_) => tracing::debug!(bmc = self.origin, "session left to expire"),
        }
    }
}
