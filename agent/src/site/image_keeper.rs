//! Keeps one wanted image in the store: fetches it, waits after failures, tells what is news.

use std::collections::VecDeque;
use std::time::Duration;

use kube::Client;
use lockstep_crds::condition;
use lockstep_crds::report::{ImageState, StoredImage};
use lockstep_store::{FetchError, FetchPhase, ImageRequest, Progress, Store};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock;
use crate::site::image_look::{self, Seen};
use crate::site::judge::Refusal;
use crate::site::keyring::Keyring;
use crate::site::wanted::WantedImage;

/// A fetch that ends sooner is not worth a write.
const WORTH_TELLING: Duration = Duration::from_secs(3);
/// Between looks at a fetch.
const TICK: Duration = Duration::from_secs(1);
/// Between looks whether a stored image is still there.
const CHECK: Duration = Duration::from_secs(30);
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The same after bytes that were fetched whole and are the wrong ones.
const WRONG_BYTES_PAUSES: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(600));
/// A failed fetch rests this long even if the set of images changes.
const REST: Duration = Duration::from_secs(10);
/// The most fetches of one image that failed for good in one hour.
const MOST_AN_HOUR: usize = 12;
const HOUR: Duration = Duration::from_secs(3600);

/// Keeps one image.
pub(super) struct ImageKeeper {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) store: Store,
    pub(super) wanted: WantedImage,
    pub(super) news: mpsc::Sender<StoredImage>,
    pub(super) kick: watch::Receiver<u64>,
}

/// Why an image is not in the store.
enum Failure {
    /// No source is left for lack of a Secret.
    Secret(Refusal),
    /// What the store says, and why a source was passed over.
    Fetch(FetchError, Option<Refusal>),
}

impl ImageKeeper {
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        let mut furthest = 0;
        let mut lasting = VecDeque::new();
        loop {
            let keyring = Keyring::read(&self.client, &self.namespace, &self.wanted.sources).await;
            match self.fetch(&keyring, failures > 0, &mut furthest).await {
                Ok(size) => {
                    let size = i64::try_from(size).ok();
                    let seen = match image_look::read(&self.store, &self.wanted.digest).await {
                        Ok(seen) => seen,
                        Err(why) => {
                            let reason = Some("ImageUnreadable".to_owned());
                            if !self.tell(ImageState::Failed, size, reason, Some(why)).await {
                                return;
                            }
                            failures = failures.saturating_add(1);
                            let pause = clock::backoff(failures, PAUSES.0, PAUSES.1);
                            tokio::time::sleep(pause).await;
                            continue;
                        }
                    };
                    failures = 0;
                    if !self.tell_verified(size, seen).await {
                        return;
                    }
                    while self.store.info(&self.wanted.digest).is_some() {
                        tokio::time::sleep(CHECK).await;
                    }
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    let (reason, message) = failure.told();
                    if !self
                        .tell(ImageState::Failed, None, Some(reason), Some(message))
                        .await
                    {
                        return;
                    }
                    let pause = match &failure {
                        Failure::Secret(_) => clock::backoff(failures, PAUSES.0, PAUSES.1),
                        Failure::Fetch(error, _) => {
                            if error.is_permanent() {
                                lasting.push_back(Instant::now());
                            }
                            pause_after(error, failures, &mut lasting, Instant::now())
                        }
                    };
                    self.wait(pause, lasting.len() < MOST_AN_HOUR, &keyring)
                        .await;
                }
            }
        }
    }

    /// Fetches. After a failure another try is no news until it gets further than any before:
    /// what is told would change with every try, and each change is a write. Nor is it one that an image
    /// that is there is hashed: what was told of it stands until that is through.
    async fn fetch(
        &self,
        keyring: &Keyring,
        failed: bool,
        furthest: &mut u64,
    ) -> Result<u64, Failure> {
        let (request, refusal) = request(keyring, &self.wanted);
        if let Some(refusal) = &refusal
            && request.sources.is_empty()
        {
            return Err(Failure::Secret(refusal.clone()));
        }
        let mut fetch = self.store.fetch(&request);
        let progress = fetch.progress();
        let begun = Instant::now();
        let mut told = None;
        loop {
            tokio::select! {
                outcome = &mut fetch => {
                    return outcome
                        .map(|info| info.size)
                        .map_err(|error| Failure::Fetch(error, refusal));
                }
                () = tokio::time::sleep(TICK) => {}
            }
            let (words, quarters) = {
                let progress = progress.borrow();
                (words_for(&progress), quarters_of(&progress))
            };
            let news = Look {
                is_there: self.store.info(&self.wanted.digest).is_some(),
                is_again: failed && told.is_none(),
                is_further: quarters > *furthest,
            };
            if news.is_news() && begun.elapsed() >= WORTH_TELLING && told.as_ref() != Some(&words) {
                let total = progress
                    .borrow()
                    .total
                    .and_then(|total| i64::try_from(total).ok());
                self.tell(ImageState::Fetching, total, None, Some(words.clone()))
                    .await;
                told = Some(words);
            }
            if !failed || told.is_some() {
                *furthest = (*furthest).max(quarters);
            }
        }
    }

    /// Tells the news; false when nobody listens any more.
    async fn tell(
        &self,
        state: ImageState,
        size_bytes: Option<i64>,
        reason: Option<String>,
        message: Option<String>,
    ) -> bool {
        let image = StoredImage {
            reason,
            message,
            ..self.image(state, size_bytes)
        };
        self.news.send(image).await.is_ok()
    }

    /// Tells that it is there, and what it is.
    async fn tell_verified(&self, size: Option<i64>, seen: Seen) -> bool {
        let image = StoredImage {
            boot_stream: seen.boot_stream,
            seed_slot: Some(seen.seed_slot),
            efi_program: Some(seen.efi_program),
            ..self.image(ImageState::Verified, size)
        };
        self.news.send(image).await.is_ok()
    }

    fn image(&self, state: ImageState, size_bytes: Option<i64>) -> StoredImage {
        let pins = self.store.pins(&self.wanted.digest);
        let sources = self.wanted.sources.iter();
        let sources: Vec<_> = sources.map(|source| source.place.to_string()).collect();
        let pin = pins.iter().find(|pin| sources.contains(&pin.source));
        StoredImage {
            digest: self.wanted.digest.to_string(),
            state,
            size_bytes,
            reason: None,
            message: None,
            manifest: pin.map(|pin| pin.manifest.to_string()),
            boot_stream: None,
            seed_slot: None,
            efi_program: None,
            signatures: Vec::new(),
        }
    }

    /// Waits, or goes on sooner when the set of images, a Secret of this one or what is trusted
    /// changes meanwhile.
    async fn wait(&mut self, pause: Duration, may_hurry: bool, keyring: &Keyring) {
        let until = Instant::now() + pause;
        self.kick.mark_unchanged();
        let mut trusts = self.store.trusts();
        tokio::time::sleep(pause.min(REST)).await;
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            Ok(()) = self.kick.changed(), if may_hurry => {}
            Ok(()) = trusts.changed() => {}
            () = keyring.changed(&self.client, &self.namespace, &self.wanted.sources), if !keyring.is_empty() => {}
        }
    }
}

/// What is seen of a fetch under way.
struct Look {
    /// The image is there, and only hashed.
    is_there: bool,
    /// One failed before, and nothing has been told of this one.
    is_again: bool,
    /// It has come further than any before.
    is_further: bool,
}

impl Look {
    fn is_news(&self) -> bool {
        !self.is_there && (!self.is_again || self.is_further)
    }
}

/// What the store is asked for, without the sources whose Secret cannot be used, and why the
/// first of those cannot.
fn request(keyring: &Keyring, wanted: &WantedImage) -> (ImageRequest, Option<Refusal>) {
    let mut refused = None;
    let mut sources = Vec::new();
    for source in &wanted.sources {
        match keyring.open(source) {
            Ok(source) => sources.push(source),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    let request = ImageRequest {
        digest: wanted.digest,
        size: wanted.size,
        sources,
    };
    (request, refused)
}

impl Failure {
    /// A condition reason; and what, why and the remedy.
    fn told(&self) -> (String, String) {
        let (reason, message) = match self {
            Self::Secret(refusal) => (refusal.reason.clone(), refusal.message.clone()),
            Self::Fetch(error, passed_over) => {
                let message = format!("{error}; {}", error.remedy());
                let message = match passed_over {
                    Some(refusal) => format!("{message}. Besides: {}", refusal.message),
                    None => message,
                };
                (error.category().to_owned(), message)
            }
        };
        (reason, condition::truncated(&message))
    }
}

/// How far a fetch is, in quarters: each step is a write.
fn words_for(progress: &Progress) -> String {
    match (progress.phase, progress.total) {
        (FetchPhase::Verifying, _) => "checking the digest".to_owned(),
        (
            FetchPhase::Starting
            | FetchPhase::Downloading
            | FetchPhase::Stored
            | FetchPhase::Failed,
            Some(total),
        ) if total > 0 => {
            format!("fetching, {} %", quarters_of(progress) * 25)
        }
        _ => "fetching".to_owned(),
    }
}

fn quarters_of(progress: &Progress) -> u64 {
    match progress.total {
        Some(total) if total > 0 => (progress.received.saturating_mul(4) / total).min(4),
        Some(_) | None => 0,
    }
}

/// How long to wait. What cost a whole download for nothing waits longest, and
/// failures that a person has to end are bounded per hour.
fn pause_after(
    error: &FetchError,
    failures: u32,
    lasting: &mut VecDeque<Instant>,
    now: Instant,
) -> Duration {
    while lasting
        .front()
        .is_some_and(|first| now.duration_since(*first) >= HOUR)
    {
        lasting.pop_front();
    }
    let wrong_bytes = matches!(
        error,
        FetchError::DigestMismatch { .. } | FetchError::SizeMismatch { .. }
    );
    let (first, longest) = if wrong_bytes {
        WRONG_BYTES_PAUSES
    } else {
        PAUSES
    };
    let pause = clock::backoff(failures, first, longest);
    match lasting.front() {
        Some(first) if lasting.len() >= MOST_AN_HOUR => {
            pause.max(HOUR.saturating_sub(now.duration_since(*first)))
        }
        Some(_) | None => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_store::Digest;

    fn not_found() -> FetchError {
        FetchError::NotFound {
            url: "http://192.0.2.1/a".to_owned(),
            status: 404,
        }
    }

    #[test]
    fn failures_are_bounded_per_hour() {
        let now = Instant::now();
        let mut lasting = VecDeque::new();
        for count in 1..MOST_AN_HOUR {
            lasting.push_back(now);
            let pause = pause_after(&not_found(), 9, &mut lasting, now);
            assert!(pause <= PAUSES.1, "{count}: {pause:?}");
        }
        lasting.push_back(now);
        assert_eq!(pause_after(&not_found(), 9, &mut lasting, now), HOUR);
        let later = now + HOUR;
        assert!(pause_after(&not_found(), 9, &mut lasting, later) <= PAUSES.1);
        assert!(lasting.is_empty());
    }

    #[test]
    fn wrong_bytes_wait_longest() {
        let digest = Digest::of(b"x");
        let error = FetchError::DigestMismatch {
            url: String::new(),
            expected: digest,
            actual: digest,
        };
        let now = Instant::now();
        let first = pause_after(&error, 1, &mut VecDeque::new(), now);
        assert!(first >= WRONG_BYTES_PAUSES.0 / 2 && first <= WRONG_BYTES_PAUSES.0);
        let ninth = pause_after(&error, 9, &mut VecDeque::new(), now);
        assert!(ninth >= WRONG_BYTES_PAUSES.1 / 2);
    }

    #[test]
    fn what_is_there_and_hashed_is_not_told_as_fetched_anew() {
        let is_news = |is_there, is_again, is_further| {
            let look = Look {
                is_there,
                is_again,
                is_further,
            };
            look.is_news()
        };
        assert!(is_news(false, false, false));
        assert!(!is_news(true, false, true));
        assert!(!is_news(false, true, false) && is_news(false, true, true));
    }

    #[test]
    fn progress_is_told_in_quarters() {
        let mut progress = Progress::default();
        assert_eq!(words_for(&progress), "fetching");
        progress.total = Some(1000);
        for (received, words) in [
            (0, "0 %"),
            (249, "0 %"),
            (250, "25 %"),
            (999, "75 %"),
            (1000, "100 %"),
        ] {
            progress.received = received;
            assert_eq!(words_for(&progress), format!("fetching, {words}"));
        }
        progress.phase = FetchPhase::Verifying;
        assert_eq!(words_for(&progress), "checking the digest");
    }
}
