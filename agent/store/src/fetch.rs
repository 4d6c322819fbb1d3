//! Getting an image into the store: sources in order, attempts, joining.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access::Access;
use crate::artefact::Search;
use crate::inner::{Inner, Unusable, lock};
use crate::partial::{Published, Session};
use crate::source::{ImageSource, Place};
use crate::transfer::Transfer;
use crate::{BlobInfo, Digest, FetchError};

/// Which image is wanted, and where it may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Its sha256.
    pub digest: Digest,
    /// Its size, if it is known beforehand.
    pub size: Option<u64>,
    /// Tried in this order.
    pub sources: Vec<ImageSource>,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: FetchPhase,
    /// Bytes on disk, those of earlier fetches included.
    pub received: u64,
    /// The image's size, once known.
    pub total: Option<u64>,
    /// Where the running response began; more than zero after a resume.
    pub resumed_from: u64,
    /// The source in use, without its query.
    pub url: Option<String>,
    /// The attempt with this source, from one.
    pub attempt: u32,
}

/// The steps of a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FetchPhase {
    /// Nothing has been received yet in this attempt.
    #[default]
    Starting,
    /// Bytes are coming.
    Downloading,
    /// All bytes are here and are being hashed.
    Verifying,
    /// The image is in the store.
    Stored,
    /// The fetch ended with an error.
    Failed,
}

type Outcome = Result<BlobInfo, FetchError>;
type SharedOutcome = Shared<BoxFuture<'static, Outcome>>;

/// A fetch that somebody waits for. It makes progress while at least one of
/// those who joined it is polled; when all are dropped it stops, and what was
/// received stays for the next one.
#[must_use = "a fetch does nothing unless it is awaited"]
#[derive(Clone)]
pub struct Fetch {
    outcome: SharedOutcome,
    progress: watch::Receiver<Progress>,
}

impl Fetch {
    /// Follows the fetch.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Future for Fetch {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.outcome.poll_unpin(cx)
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

/// The fetches under way, at most one for each digest.
#[derive(Default)]
pub(crate) struct Fetches {
    running: Mutex<HashMap<Digest, (WeakFetch, watch::Receiver<Progress>)>>,
}

type WeakFetch = WeakShared<BoxFuture<'static, Outcome>>;

impl fmt::Debug for Fetches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.running).keys()).finish()
    }
}

impl Fetches {
    /// Joins the running fetch of the digest, or begins one.
    pub(crate) fn join(&self, inner: &Arc<Inner>, request: &ImageRequest) -> Fetch {
        let mut running = lock(&self.running);
        // Only fetches that are still wanted and have not ended.
        let joinable = |weak: &WeakFetch| weak.upgrade().filter(|shared| shared.peek().is_none());
        running.retain(|_, (weak, _)| joinable(weak).is_some());
        if let Some((weak, progress)) = running.get(&request.digest)
            && let Some(outcome) = joinable(weak)
        {
            return Fetch {
                outcome,
                progress: progress.clone(),
            };
        }
        let (sender, progress) = watch::channel(Progress::default());
        let outcome = run(Arc::clone(inner), request.clone(), sender)
            .boxed()
            .shared();
        if let Some(weak) = outcome.downgrade() {
            running.insert(request.digest, (weak, progress.clone()));
        }
        Fetch { outcome, progress }
    }
}

async fn run(
    inner: Arc<Inner>,
    request: ImageRequest,
    progress: watch::Sender<Progress>,
) -> Outcome {
    let outcome = store(&inner, &request, &progress).await;
    progress.send_modify(|progress| match &outcome {
        Ok(info) => {
            progress.phase = FetchPhase::Stored;
            progress.received = info.size;
            progress.total = Some(info.size);
        }
        Err(_) => progress.phase = FetchPhase::Failed,
    });
    if let Err(error) = &outcome {
        tracing::warn!(digest = %request.digest, category = error.category(), %error, "image not fetched");
    }
    outcome
}

async fn store(
    inner: &Arc<Inner>,
    request: &ImageRequest,
    progress: &watch::Sender<Progress>,
) -> Outcome {
    match inner.verified(&request.digest).await {
        Ok((info, _)) => return same_size(request, info),
        Err(Unusable::Absent | Unusable::Damaged { .. }) => {}
        Err(Unusable::Disk(error)) => return Err(error.into()),
    }
    if let Some(size) = request.size
        && size > inner.max_image_bytes
    {
        return Err(FetchError::TooLarge {
            url: request.digest.to_string(),
            size,
            limit: inner.max_image_bytes,
        });
    }
    let mut session = Session::open(inner, request.digest).await?;
    // A dropped fetch may have published it while this one waited.
    if let Ok((info, _)) = inner.verified(&request.digest).await {
        return same_size(request, info);
    }
    let mut failed: Option<FetchError> = None;
    for source in &request.sources {
        match from_source(inner, request, source, &mut session, progress).await {
            Ok(info) => return Ok(info),
            Err(error) if error.is_local() => return Err(error),
            Err(error) => {
                tracing::debug!(digest = %request.digest, source = %source.place, %error, "source failed");
                // An error that may pass says more about when to come back
                // than one that will not.
                if failed.as_ref().is_none_or(FetchError::is_permanent) {
                    failed = Some(error);
                }
            }
        }
    }
    Err(failed.unwrap_or(FetchError::NoSource {
        digest: request.digest,
    }))
}

/// The digest decides which image it is; a size that contradicts it is a
/// mistake in the request.
fn same_size(request: &ImageRequest, info: BlobInfo) -> Outcome {
    match request.size {
        Some(expected) if expected != info.size => Err(FetchError::SizeMismatch {
            url: request.digest.to_string(),
            expected,
            actual: info.size,
        }),
        Some(_) | None => Ok(info),
    }
}

async fn from_source(
    inner: &Arc<Inner>,
    request: &ImageRequest,
    source: &ImageSource,
    session: &mut Session,
    progress: &watch::Sender<Progress>,
) -> Outcome {
    let mut access = Access::to(source);
    let mut attempt = 1;
    loop {
        progress.send_modify(|progress| {
            progress.phase = FetchPhase::Starting;
            progress.url = Some(source.place.to_string());
            progress.attempt = attempt;
        });
        let one = Attempt {
            inner,
            request,
            access: &mut access,
            place: &source.place,
        };
        let error = match one.run(session, progress).await {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        let again = if matches!(error, FetchError::DigestMismatch { .. }) {
            // What came in pieces may be a mixture of two versions, or damaged
            // on disk; what came whole is what the source has.
            let pieced = session.is_pieced();
            session.restart(None).await?;
            pieced
        } else {
            !error.is_permanent() && !error.is_local()
        };
        if !again || attempt >= inner.limits.attempts.max(1) {
            return Err(error);
        }
        let pause = pause(attempt, inner.limits.backoff, inner.limits.backoff_max);
        tracing::debug!(digest = %request.digest, attempt, ?pause, %error, "trying again");
        sleep(pause).await;
        attempt += 1;
    }
}

/// One attempt with one source.
struct Attempt<'a> {
    inner: &'a Arc<Inner>,
    request: &'a ImageRequest,
    access: &'a mut Access,
    place: &'a Place,
}

impl Attempt<'_> {
    async fn run(self, session: &mut Session, progress: &watch::Sender<Progress>) -> Outcome {
        let Self {
            inner,
            request,
            access,
            place,
        } = self;
        let url = match place {
            Place::File(url) => url.clone(),
            Place::Artefact(artefact) => {
                let mut search = Search {
                    client: &inner.client,
                    access,
                    artefact,
                    image: request.digest,
                };
                let pin = search.pinned(&inner.pins).await?;
                judge_size(inner, request, place, pin.size)?;
                artefact.blob_url(&request.digest)
            }
        };
        let mut transfer = Transfer {
            inner,
            request,
            session,
            progress,
            access,
            content_addressed: matches!(place, Place::Artefact(_)),
        };
        transfer.attempt(&url).await?;
        progress.send_modify(|progress| progress.phase = FetchPhase::Verifying);
        match session.publish().await? {
            Published::Stored(info) => Ok(info),
            Published::OtherDigest(actual) => Err(FetchError::DigestMismatch {
                url: place.to_string(),
                expected: request.digest,
                actual,
            }),
        }
    }
}

/// What a manifest says of the size, before anything is asked for.
fn judge_size(
    inner: &Inner,
    request: &ImageRequest,
    place: &Place,
    size: u64,
) -> Result<(), FetchError> {
    let limit = inner.max_image_bytes;
    let url = place.to_string();
    match request.size {
        Some(expected) if expected != size => Err(FetchError::SizeMismatch {
            url,
            expected,
            actual: size,
        }),
        Some(_) | None if size > limit => Err(FetchError::TooLarge { url, size, limit }),
        Some(_) | None => Ok(()),
    }
}

/// Doubles with each attempt up to the longest, then between half and all of
/// that, so that agents that failed together do not come back together.
fn pause(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(attempt - 1));
    doubled.min(longest).mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        for (attempt, most) in [(1, 1), (2, 2), (3, 4), (6, 30), (1000, 30)] {
            let pause = pause(attempt, first, longest);
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{attempt}: {pause:?}");
        }
    }
}
