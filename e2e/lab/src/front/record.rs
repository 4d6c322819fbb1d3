//! What a BMC was asked: the witness that nothing else was changed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use jiff::Timestamp;
use tokio::sync::watch;

/// One request as it arrived, and what became of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Wall-clock time of arrival.
    pub at: Timestamp,
    /// Monotonic time of arrival, comparable with console lines.
    pub instant: Instant,
    /// UUID of the system the front stood for at that moment.
    pub system: String,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body as text; empty if there was none.
    pub body: String,
    /// Whether it carried credentials or the token of a session.
    pub authorized: bool,
    /// Whether the BMC got the request, so that it may have had an effect.
    pub forwarded: bool,
    /// Status of the answer, once there is one: the BMC's, or that of a fault rule.
    pub status: Option<u16>,
    /// Whether that answer was handed to the client.
    pub delivered: bool,
}

impl Request {
    /// Whether it asks for a change: neither a read nor the opening or closing of a session.
    pub fn is_change(&self) -> bool {
        !(self.method == Method::GET
            || self.method == Method::HEAD
            || self.path.contains("/SessionService/Sessions"))
    }

    /// Whether the BMC refused the credentials that it carried.
    pub fn is_refused(&self) -> bool {
        self.authorized && self.status == Some(401)
    }

    /// The `ResetType` it asks for, if it is a reset.
    pub fn reset_type(&self) -> Option<String> {
        if !self.path.ends_with("/Actions/ComputerSystem.Reset") {
            return None;
        }
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(body.get("ResetType")?.as_str()?.to_owned())
    }
}

/// All requests of one front, in order of arrival.
#[derive(Debug)]
pub(super) struct Log {
    requests: Mutex<Vec<Request>>,
    /// Grows with every arrival and every outcome.
    news: watch::Sender<u64>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            requests: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        // A list of finished entries is whole even if a holder panicked.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.requests().clone()
    }

    /// Records an arrival; the index names it in [`Log::update`].
    pub(super) fn arrived(&self, request: Request) -> usize {
        let index = {
            let mut requests = self.requests();
            requests.push(request);
            requests.len() - 1
        };
        self.news.send_modify(|news| *news += 1);
        index
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests().get_mut(index) {
            change(request);
        }
        self.news.send_modify(|news| *news += 1);
    }

    pub(super) async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&Request) -> bool,
    ) -> Result<Request> {
        let mut news = self.news.subscribe();
        let search = async {
            loop {
                news.mark_unchanged();
                let found = self.requests().iter().find(|one| wanted(one)).cloned();
                if let Some(found) = found {
                    return Some(found);
                }
                news.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(deadline, search).await {
            Ok(Some(request)) => Ok(request),
            Ok(None) | Err(_) => bail!(
                "no request for {what} within {} s; {} others came",
                deadline.as_secs(),
                self.requests().len()
            ),
        }
    }
}
