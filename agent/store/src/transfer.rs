//! One attempt with one source: ask, judge the answer, receive.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::access::Access;
use crate::client::shown;
use crate::disk::blocking;
use crate::fetch::{FetchPhase, ImageRequest, Progress};
use crate::inner::Inner;
use crate::partial::{Resume, Session, Validator};
use crate::{FetchError, FetchLimits};

/// Received bytes are written in pieces of this size, or at every tick.
const WRITE: usize = 1 << 20;

pub(crate) struct Transfer<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) request: &'a ImageRequest,
    pub(crate) session: &'a mut Session,
    pub(crate) progress: &'a watch::Sender<Progress>,
    pub(crate) access: &'a mut Access,
    /// Whether the URL holds the digest of what it leads to.
    pub(crate) content_addressed: bool,
}

impl Transfer<'_> {
    /// Receives all that is missing. After an error the session holds what
    /// can be continued.
    pub(crate) async fn attempt(&mut self, source: &Url) -> Result<(), FetchError> {
        let url = shown(source);
        self.inner.client.admit(source)?;
        let expected = self.request.size.or(self.session.total());
        if expected.is_some_and(|size| size < self.session.received()) {
            self.session.restart(None).await?;
        }
        if expected == Some(self.session.received()) {
            return Ok(());
        }
        let rest = self.session.rest_from(&url);
        let asked_from = rest.map(|(from, _)| from);
        let client = &self.inner.client;
        let response = self.access.get(client, source, None, rest).await?;
        let announced = self.accept(&url, asked_from, &response).await?;
        let resumed_from = self.session.received();
        self.progress.send_modify(|progress| {
            progress.phase = FetchPhase::Downloading;
            progress.received = resumed_from;
            progress.resumed_from = resumed_from;
            progress.total = announced.or(self.request.size);
        });
        self.receive(&url, announced, response).await
    }

    /// Judges status and headers and makes room, before what was received is given up; returns the
    /// whole image's announced size.
    async fn accept(
        &mut self,
        url: &str,
        asked_from: Option<u64>,
        response: &Response,
    ) -> Result<Option<u64>, FetchError> {
        let status = response.status();
        let url = url.to_owned();
        let announced = match status {
            StatusCode::OK => {
                let total = response.content_length();
                self.judge_size(&url, total)?;
                self.make_room(total).await?;
                let validator = if self.content_addressed {
                    Some(Validator::content_addressed())
                } else {
                    Validator::of(response.headers())
                };
                let resume = validator.map(|validator| Resume {
                    url,
                    validator,
                    total,
                });
                self.session.restart(resume).await?;
                total
            }
            StatusCode::PARTIAL_CONTENT => {
                let noted = self.session.total();
                let is_noted =
                    |total: Option<u64>| noted.is_none() || total.is_none() || noted == total;
                let total = match (asked_from, content_range(response)) {
                    (Some(asked), Some((from, total))) if asked == from && is_noted(total) => total,
                    (_, range) => {
                        self.session.restart(None).await?;
                        return Err(FetchError::InvalidResponse {
                            url,
                            reason: format!(
                                "asked from byte {asked_from:?} of {noted:?}, got {range:?}"
                            ),
                        });
                    }
                };
                self.judge_size(&url, total)?;
                self.make_room(total).await?;
                self.session.continue_with_more();
                total
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.session.restart(None).await?;
                return Err(FetchError::InvalidResponse {
                    url,
                    reason: "the image there is shorter than what was received of it".to_owned(),
                });
            }
            _ => return Err(self.access.judge(url, status)),
        };
        Ok(announced)
    }

    fn judge_size(&self, url: &str, size: Option<u64>) -> Result<(), FetchError> {
        let Some(size) = size else { return Ok(()) };
        if let Some(expected) = self.request.size
            && size != expected
        {
            return Err(FetchError::SizeMismatch {
                url: url.to_owned(),
                expected,
                actual: size,
            });
        }
        if size > self.inner.max_image_bytes {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                size,
                limit: self.inner.max_image_bytes,
            });
        }
        Ok(())
    }

    async fn make_room(&self, announced: Option<u64>) -> Result<(), FetchError> {
        match announced.or(self.request.size) {
            Some(size) => self.reserve(size).await,
            // It is made as it comes.
            None => Ok(()),
        }
    }

    /// Makes room for an image of `size` bytes in quota and on disk.
    async fn reserve(&self, size: u64) -> Result<(), FetchError> {
        let inner = Arc::clone(self.inner);
        let digest = self.request.digest;
        let missing = size.saturating_sub(self.session.received());
        blocking(self.inner.layout.root(), move || {
            inner.reserve(&digest, size, missing)
        })
        .await?
    }

    async fn receive(
        &mut self,
        url: &str,
        announced: Option<u64>,
        response: Response,
    ) -> Result<(), FetchError> {
        let limits = self.inner.limits.clone();
        let mut pace = Pace::new(&limits);
        let mut body = response.bytes_stream();
        let mut pending = BytesMut::new();
        let mut written_at = Instant::now();
        loop {
            let asked_at = Instant::now();
            let next = timeout(pace.tick(), body.next()).await;
            let waited = asked_at.elapsed();
            let mut ended = None;
            match next {
                Err(_) => pace.count(waited, 0),
                Ok(Some(Ok(chunk))) => {
                    pace.count(waited, chunk.len() as u64);
                    pending.extend_from_slice(&chunk);
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(url, error = %crate::client::deepest(&error), "body ended early");
                    ended = Some(false);
                }
                Ok(None) => ended = Some(true),
            }
            let seen = self.session.received() + pending.len() as u64;
            if let Err(error) = self.judge_so_far(url, seen) {
                self.session.restart(None).await?;
                return Err(error);
            }
            let stalled = pace.stalled();
            let due = pending.len() >= WRITE || written_at.elapsed() >= pace.tick();
            if !pending.is_empty() && (due || ended.is_some() || stalled.is_some()) {
                self.write(&mut pending, announced).await?;
                written_at = Instant::now();
            }
            match ended {
                None => {}
                Some(cleanly) => return self.judge_end(url, announced, cleanly).await,
            }
            if let Some((received, over)) = stalled {
                return Err(FetchError::TooSlow {
                    url: url.to_owned(),
                    received,
                    seconds: over.as_secs(),
                });
            }
        }
    }

    async fn write(
        &mut self,
        pending: &mut BytesMut,
        announced: Option<u64>,
    ) -> Result<(), FetchError> {
        if announced.or(self.request.size).is_none() {
            // Nobody said how much comes: room is made as it comes.
            self.reserve(self.session.received() + pending.len() as u64)
                .await?;
        }
        self.session.append(pending.split().freeze()).await?;
        let received = self.session.received();
        self.progress
            .send_modify(|progress| progress.received = received);
        Ok(())
    }

    /// Cuts off a body that goes on beyond what was announced or allowed.
    fn judge_so_far(&self, url: &str, seen: u64) -> Result<(), FetchError> {
        match self.request.size {
            Some(expected) if seen > expected => Err(FetchError::SizeMismatch {
                url: url.to_owned(),
                expected,
                actual: seen,
            }),
            Some(_) => Ok(()),
            None if seen > self.inner.max_image_bytes => Err(FetchError::TooLarge {
                url: url.to_owned(),
                size: seen,
                limit: self.inner.max_image_bytes,
            }),
            None => Ok(()),
        }
    }

    async fn judge_end(
        &mut self,
        url: &str,
        announced: Option<u64>,
        cleanly: bool,
    ) -> Result<(), FetchError> {
        let received = self.session.received();
        let expected = announced.or(self.request.size);
        if !cleanly || announced.is_some_and(|total| received < total) {
            return Err(FetchError::Truncated {
                url: url.to_owned(),
                received,
                expected,
            });
        }
        match self.request.size {
            Some(expected) if received != expected => {
                self.session.restart(None).await?;
                Err(FetchError::SizeMismatch {
                    url: url.to_owned(),
                    expected,
                    actual: received,
                })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// `bytes FROM-LAST/TOTAL`, the total possibly unknown.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _last) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    Some((from.parse().ok()?, total))
}

/// Measures a source over a window of the time spent waiting for it; what our
/// own disk takes is not the source's fault.
struct Pace {
    window: Duration,
    min_bytes: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(limits: &FetchLimits) -> Self {
        Self {
            window: limits.stall_window,
            min_bytes: limits.stall_min_bytes,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn tick(&self) -> Duration {
        (self.window / 4).min(Duration::from_secs(1))
    }

    fn count(&mut self, waited: Duration, bytes: u64) {
        self.waited += waited;
        self.bytes += bytes;
    }

    /// What came in the window that has just ended, if that is too little.
    fn stalled(&mut self) -> Option<(u64, Duration)> {
        if self.waited < self.window {
            return None;
        }
        let (waited, bytes) = (self.waited, self.bytes);
        self.waited = Duration::ZERO;
        self.bytes = 0;
        (bytes < self.min_bytes).then_some((bytes, waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_counts_waiting_only_and_starts_anew_each_window() {
        let limits = FetchLimits {
            stall_window: Duration::from_secs(10),
            stall_min_bytes: 100,
            ..FetchLimits::default()
        };
        let mut pace = Pace::new(&limits);
        pace.count(Duration::from_secs(9), 1);
        assert_eq!(pace.stalled(), None, "the window has not ended");
        pace.count(Duration::from_secs(1), 99);
        assert_eq!(pace.stalled(), None, "enough came");
        pace.count(Duration::from_secs(10), 99);
        assert_eq!(pace.stalled(), Some((99, Duration::from_secs(10))));
    }
}
