//! Keeps the wanted images in the store, and the site's report about them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use lockstep_crds::report::{ImageState, StoredImage, StoredSignature, Vantage};
use lockstep_crds::{DpuReportSpec, condition, names};
use lockstep_store::{Digest, FetchError, FetchPhase, ImageRequest, Progress, Store};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::report::{Cause, ReportError, ReportWriter};
use crate::site::context::Site;
use crate::site::signatures::{SignatureKeeper, Signatures, with_signatures};
use crate::site::wanted::{Wanted, WantedImage};
use crate::site::worker::keep_time;

/// A fetch that ends sooner is not worth a write.
const WORTH_TELLING: Duration = Duration::from_secs(3);
/// Between looks at a fetch.
const TICK: Duration = Duration::from_secs(1);
/// Between looks whether a stored image is still there.
const CHECK: Duration = Duration::from_secs(30);
/// How often the report is compared with what the API server holds, which may have been set back.
const REPORT_AGE: Duration = Duration::from_secs(60);
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
/// Images in one report, as many as its schema takes.
const MOST_IMAGES: usize = 256;

/// Keeps images until `ending`.
pub async fn run(site: Arc<Site>, mut wanted: watch::Receiver<Wanted>, ending: CancellationToken) {
    let (news, mut told) = mpsc::channel::<StoredImage>(64);
    let (passed_on, mut signatures) = mpsc::channel::<Signatures>(64);
    let kick = watch::Sender::new(0_u64);
    let mut running: BTreeMap<Digest, (WantedImage, CancellationToken)> = BTreeMap::new();
    let mut states: BTreeMap<String, StoredImage> = BTreeMap::new();
    let mut signed: BTreeMap<String, Vec<StoredSignature>> = BTreeMap::new();
    let api = Api::namespaced(site.client.clone(), &site.config.namespace);
    let mut writer = ReportWriter::new(api, names::site(&site.config.site), None);
    let mut failures = 0_u32;
    let mut compare_at = Instant::now() + REPORT_AGE;
    loop {
        let now_wanted = wanted.borrow_and_update().clone();
        running.retain(|digest, (image, stop)| {
            let keep = now_wanted.get(digest) == Some(image);
            if !keep {
                stop.cancel();
                // Its signatures may be others now.
                signed.remove(&digest.to_string());
            }
            keep
        });
        let is_wanted = |digest: &str| {
            let digest = digest.parse::<Digest>();
            digest.is_ok_and(|digest| now_wanted.contains_key(&digest))
        };
        states.retain(|digest, _| is_wanted(digest));
        signed.retain(|digest, _| is_wanted(digest));
        for (digest, image) in &now_wanted {
            running.entry(*digest).or_insert_with(|| {
                let stop = ending.child_token();
                let keeper = ImageKeeper {
                    store: site.store.clone(),
                    request: image.request.clone(),
                    news: news.clone(),
                    kick: kick.subscribe(),
                };
                let of_signatures = SignatureKeeper {
                    store: site.store.clone(),
                    digest: digest.to_string(),
                    files: image.signatures.clone(),
                    news: passed_on.clone(),
                };
                let stopped = stop.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        ((), ()) = async { tokio::join!(keeper.run(), of_signatures.run()) } => {}
                    }
                });
                (image.clone(), stop)
            });
        }
        let images = with_signatures(states.values().take(MOST_IMAGES), &signed);
        let pause = match tell(&site, &mut writer, images).await {
            Ok(()) => {
                failures = 0;
                None
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!("{error}");
                Some(clock::backoff(failures, PAUSES.0, PAUSES.1))
            }
        };
        tokio::select! {
            () = ending.cancelled() => return,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                kick.send_modify(|count| *count += 1);
            }
            Some(image) = told.recv() => {
                let digest = image.digest.clone();
                let merged = merge(states.get(&digest), image);
                if states.insert(digest.clone(), merged).is_none() && states.len() > MOST_IMAGES {
                    tracing::error!(%digest, most = MOST_IMAGES, "the site wants more images than its report can tell of, so cards wait for some of them: name fewer, or split the site");
                }
            }
            Some(news) = signatures.recv() => {
                signed.insert(news.digest, news.signatures);
            }
            () = tokio::time::sleep_until(compare_at), if pause.is_none() => {
                compare_at = Instant::now() + REPORT_AGE;
                if let Err(error) = writer.read().await {
                    tracing::warn!("{error:#}");
                }
            }
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// A failure for the same reason is no news, whatever its words.
fn merge(before: Option<&StoredImage>, image: StoredImage) -> StoredImage {
    match before {
        Some(before) if before.state == ImageState::Failed && before.reason == image.reason => {
            before.clone()
        }
        Some(_) | None => image,
    }
}

async fn tell(
    site: &Site,
    writer: &mut ReportWriter,
    images: Vec<StoredImage>,
) -> Result<(), ReportError> {
    if writer.known().is_none() {
        let known = writer.read().await?;
        if known.is_none() && images.is_empty() {
            return Ok(());
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let spec = DpuReportSpec {
        images,
        ..DpuReportSpec::new(Vantage::Site, &site.config.site, version, clock::now())
    };
    let spec = keep_time(spec, writer.known());
    if writer.write(&spec, Cause::Facts).await? {
        site.metrics.wrote(Cause::Facts.manager());
    }
    Ok(())
}

/// Keeps one image.
struct ImageKeeper {
    store: Store,
    request: ImageRequest,
    news: mpsc::Sender<StoredImage>,
    kick: watch::Receiver<u64>,
}

impl ImageKeeper {
    async fn run(mut self) {
        let mut failures = 0_u32;
        let mut furthest = 0;
        let mut lasting = VecDeque::new();
        loop {
            match self.fetch(failures > 0, &mut furthest).await {
                Ok(size) => {
                    failures = 0;
                    let size = i64::try_from(size).ok();
                    if !self.tell(ImageState::Verified, size, None, None).await {
                        return;
                    }
                    while self.store.info(&self.request.digest).is_some() {
                        tokio::time::sleep(CHECK).await;
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let message = condition::truncated(&format!("{error}; {}", error.remedy()));
                    let reason = error.category().to_owned();
                    if !self
                        .tell(ImageState::Failed, None, Some(reason), Some(message))
                        .await
                    {
                        return;
                    }
                    if error.is_permanent() {
                        lasting.push_back(Instant::now());
                    }
                    let pause = pause_after(&error, failures, &mut lasting, Instant::now());
                    self.wait(pause, lasting.len() < MOST_AN_HOUR).await;
                }
            }
        }
    }

    /// Fetches. After a failure another try is no news until it gets further than any before:
    /// what is told would change with every try, and each change is a write.
    async fn fetch(&self, failed: bool, furthest: &mut u64) -> Result<u64, FetchError> {
        let mut fetch = self.store.fetch(&self.request);
        let progress = fetch.progress();
        let begun = Instant::now();
        let mut told = None;
        loop {
            tokio::select! {
                outcome = &mut fetch => return outcome.map(|info| info.size),
                () = tokio::time::sleep(TICK) => {}
            }
            let (words, quarters) = {
                let progress = progress.borrow();
                (words_for(&progress), quarters_of(&progress))
            };
            let news = !failed || quarters > *furthest || told.is_some();
            if news && begun.elapsed() >= WORTH_TELLING && told.as_ref() != Some(&words) {
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
            digest: self.request.digest.to_string(),
            state,
            size_bytes,
            reason,
            message,
            signatures: Vec::new(),
        };
        self.news.send(image).await.is_ok()
    }

    /// Waits, or goes on sooner when the set of images changes meanwhile.
    async fn wait(&mut self, pause: Duration, may_hurry: bool) {
        let until = Instant::now() + pause;
        self.kick.mark_unchanged();
        tokio::time::sleep(pause.min(REST)).await;
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            Ok(()) = self.kick.changed(), if may_hurry => {}
        }
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

    fn not_found() -> FetchError {
        FetchError::NotFound {
            url: "http://192.0.2.1/a".to_owned(),
            status: 404,
        }
    }

    #[test]
    fn the_report_tells_of_as_many_images_as_its_schema_takes() {
        let crd =
            serde_json::to_value(<lockstep_crds::DpuReport as kube::CustomResourceExt>::crd());
        let crd = crd.unwrap();
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/images";
        let images = crd.pointer(schema).unwrap();
        assert_eq!(images["maxItems"], MOST_IMAGES);
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

    #[test]
    fn a_failure_for_the_same_reason_is_no_news() {
        let failed = |reason: &str, message: &str| StoredImage {
            digest: "d".to_owned(),
            state: ImageState::Failed,
            size_bytes: None,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            signatures: Vec::new(),
        };
        let first = failed("Unreachable", "a");
        assert_eq!(merge(Some(&first), failed("Unreachable", "b")), first);
        let other = failed("NotFound", "b");
        assert_eq!(merge(Some(&first), other.clone()), other);
    }
}
