//! One attempt with one source: ask, judge the answer, receive.

use std::sync::Arc;

use bytes::BytesMut;
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::FetchError;
use crate::access::Access;
use crate::client::shown;
use crate::disk::blocking;
use crate::fetch::{FetchPhase, ImageRequest, Progress};
use crate::inner::Inner;
use crate::pace::Pace;
use crate::partial::{Resume, Session, Validator};

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
        self.session.begin_attempt();
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
        let whole = self.accept(&url, asked_from, &response).await?;
        let resumed_from = self.session.received();
        self.progress.send_modify(|progress| {
            progress.phase = FetchPhase::Downloading;
            progress.received = resumed_from;
            progress.resumed_from = resumed_from;
            progress.total = whole.bytes.or(self.request.size);
        });
        self.receive(&url, whole, resumed_from, response).await
    }

    /// Judges status and headers and makes room, before what was received is given up.
    async fn accept(
        &mut self,
        url: &str,
        asked_from: Option<u64>,
        response: &Response,
    ) -> Result<Whole, FetchError> {
        match response.status() {
            StatusCode::OK => self.accept_whole(url, response).await,
            StatusCode::PARTIAL_CONTENT => self.accept_rest(url, asked_from, response).await,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.doubt(url, Session::has_other_size).await?;
                Err(FetchError::InvalidResponse {
                    url: url.to_owned(),
                    reason: "the image there is shorter than what was received of it".to_owned(),
                })
            }
            status => Err(self.access.judge(url.to_owned(), status)),
        }
    }

    async fn accept_whole(&mut self, url: &str, response: &Response) -> Result<Whole, FetchError> {
        let total = response.content_length();
        self.judge_size(url, total)?;
        // It would take the place of what another source gave.
        if self.session.is_of_another(url) && !self.session.is_asked_anew() {
            let noted = self.session.total();
            let lack = match total {
                None => {
                    self.session.does_not_go_on();
                    Some("how many bytes the image there has is not told".to_owned())
                }
                Some(total) if noted.is_some_and(|noted| noted != total) => {
                    self.session.has_other_size();
                    Some(format!("the image there has {total} bytes"))
                }
                Some(_) => None,
            };
            if let Some(lack) = lack {
                let (received, of) = (self.session.received(), in_words(noted));
                return Err(FetchError::InvalidResponse {
                    url: url.to_owned(),
                    reason: format!("{lack}, and another source gave {received} of {of}"),
                });
            }
        }
        self.make_room(total).await?;
        let validator = if self.content_addressed {
            Some(Validator::content_addressed())
        } else {
            Validator::of(response.headers())
        };
        let resume = validator.map(|validator| Resume {
            url: url.to_owned(),
            validator,
            total,
        });
        self.session.restart(resume).await?;
        Ok(Whole {
            bytes: total,
            is_told: total.is_some(),
        })
    }

    async fn accept_rest(
        &mut self,
        url: &str,
        asked_from: Option<u64>,
        response: &Response,
    ) -> Result<Whole, FetchError> {
        let noted = self.session.total();
        let range = content_range(response);
        let total = range.and_then(|(_, total)| total);
        // What has not the size that is wanted is no reason to give anything up.
        self.judge_size(url, total)?;
        let starts_there = asked_from.is_some() && asked_from == range.map(|(from, _)| from);
        let is_other = noted.is_some() && total.is_some() && noted != total;
        let known = total.or(self.request.size).or(noted);
        let is_blind = known.is_none() && self.session.is_of_another(url);
        if !starts_there || is_other || is_blind {
            let lack = if starts_there && is_other {
                Session::has_other_size
            } else {
                Session::does_not_go_on
            };
            self.doubt(url, lack).await?;
            let got = range.map_or_else(
                || "no range".to_owned(),
                |(from, total)| format!("bytes from {from} of {}", in_words(total)),
            );
            let asked = asked_from.map_or_else(
                || "for all of it".to_owned(),
                |from| format!("from byte {from} of {}", in_words(noted)),
            );
            return Err(FetchError::InvalidResponse {
                url: url.to_owned(),
                reason: format!("asked {asked}, got {got}"),
            });
        }
        self.make_room(known).await?;
        self.session.continue_with_more();
        Ok(Whole {
            bytes: known,
            is_told: total.is_some(),
        })
    }

    /// What came from this source itself is given up: it has another image by now. What another one
    /// gave is kept, with what is found of this one noted.
    async fn doubt(&mut self, url: &str, found: fn(&mut Session)) -> Result<(), FetchError> {
        if self.session.is_of_another(url) {
            found(self.session);
            return Ok(());
        }
        self.session.restart(None).await
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
        whole: Whole,
        resumed_from: u64,
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
            if let Err(error) = self.judge_so_far(url, whole, seen) {
                self.give_up_from(url, resumed_from).await?;
                return Err(error);
            }
            let stalled = pace.stalled();
            let due = pending.len() >= WRITE || written_at.elapsed() >= pace.tick();
            if !pending.is_empty() && (due || ended.is_some() || stalled.is_some()) {
                self.write(&mut pending, whole.bytes).await?;
                written_at = Instant::now();
            }
            match ended {
                None => {}
                Some(cleanly) => {
                    let judged = self.judge_end(url, whole, cleanly);
                    if matches!(judged, Err(FetchError::SizeMismatch { .. })) {
                        self.give_up_from(url, resumed_from).await?;
                    }
                    return judged;
                }
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

    /// What this answer brought is of another image. What another source gave before it is kept.
    async fn give_up_from(&mut self, url: &str, resumed_from: u64) -> Result<(), FetchError> {
        if self.session.is_of_another(url) {
            self.session.cut_back(resumed_from).await
        } else {
            self.session.restart(None).await
        }
    }

    /// Whether a body goes on beyond what was announced or is allowed.
    fn judge_so_far(&self, url: &str, whole: Whole, seen: u64) -> Result<(), FetchError> {
        match self.request.size.or(whole.bytes) {
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

    fn judge_end(&self, url: &str, whole: Whole, cleanly: bool) -> Result<(), FetchError> {
        let received = self.session.received();
        let expected = whole.bytes.or(self.request.size);
        let url = url.to_owned();
        match expected {
            None if cleanly => Ok(()),
            Some(expected) if cleanly && received >= expected => Ok(()),
            // Who tells no size has sent all that there is.
            Some(expected) if cleanly && !whole.is_told => Err(FetchError::SizeMismatch {
                url,
                expected,
                actual: received,
            }),
            Some(_) | None => Err(FetchError::Truncated {
                url,
                received,
                expected,
            }),
        }
    }
}

/// The size of the whole image.
#[derive(Debug, Clone, Copy)]
struct Whole {
    /// As far as it is known.
    bytes: Option<u64>,
    /// By this very answer.
    is_told: bool,
}

fn in_words(total: Option<u64>) -> String {
    total.map_or_else(
        || "a number of bytes that is not told".to_owned(),
        |total| format!("{total} bytes"),
    )
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
