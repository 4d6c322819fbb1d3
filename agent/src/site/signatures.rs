//! Reads the signatures of the wanted images and passes them on as they are. Whether one counts
//! is for the operator to say: nothing here looks at keys.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_crds::condition;
use lockstep_crds::report::{StoredImage, StoredSignature};
use lockstep_store::{FetchError, Store};
use tokio::sync::mpsc;
use url::Url;

use crate::clock;

/// Longest envelope, in bytes, as the schema of reports has it.
const LONGEST: usize = 16 * 1024;
/// What the envelopes of all images may take in one report, which the API server takes up to
/// 1.5 MiB of. One envelope has about 1 KiB.
const MOST_BYTES: usize = 512 * 1024;
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Between reads of files that were had: somebody may have signed again under the same URL.
const AGAIN: Duration = Duration::from_secs(600);

/// What became of the signatures of one image.
#[derive(Debug)]
pub(crate) struct Signatures {
    /// The image's digest.
    pub(crate) digest: String,
    /// One for each file, in order.
    pub(crate) signatures: Vec<StoredSignature>,
}

/// Reads the signatures of one image.
pub(crate) struct SignatureKeeper {
    pub(crate) store: Store,
    pub(crate) digest: String,
    /// Of each, the URLs of the same envelope.
    pub(crate) files: Vec<Vec<Url>>,
    pub(crate) news: mpsc::Sender<Signatures>,
}

impl SignatureKeeper {
    /// Reads and tells until nobody listens any more; without signatures there is nothing to do.
    pub(crate) async fn run(self) {
        let mut told: Vec<StoredSignature> = Vec::new();
        let mut failures = 0_u32;
        while !self.files.is_empty() {
            let mut found = Vec::new();
            for (index, sources) in self.files.iter().enumerate() {
                let now = read(&self.store, sources).await;
                found.push(or_before(told.get(index), now));
            }
            let complete = found.iter().all(|signature| signature.envelope.is_some());
            if found != told {
                let news = Signatures {
                    digest: self.digest.clone(),
                    signatures: found.clone(),
                };
                if self.news.send(news).await.is_err() {
                    return;
                }
                told = found;
            }
            let pause = if complete {
                failures = 0;
                AGAIN
            } else {
                failures = failures.saturating_add(1);
                clock::backoff(failures, PAUSES.0, PAUSES.1)
            };
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    }
}

/// What was had is not lost by a source that fails later, and a failure for the same reason is no
/// news, whatever its words.
fn or_before(before: Option<&StoredSignature>, now: StoredSignature) -> StoredSignature {
    match before {
        Some(before) if now.envelope.is_none() && before.envelope.is_some() => before.clone(),
        Some(before) if now.reason.is_some() && before.reason == now.reason => before.clone(),
        Some(_) | None => now,
    }
}

/// The envelope from the first source that gives one.
async fn read(store: &Store, sources: &[Url]) -> StoredSignature {
    let mut failed = None;
    for source in sources {
        match store.document(source, LONGEST).await.map(as_json) {
            Ok(Some(envelope)) => {
                return StoredSignature {
                    source: shown(source),
                    envelope: Some(envelope),
                    reason: None,
                    message: None,
                };
            }
            Ok(None) => {
                let error = FetchError::InvalidResponse {
                    url: shown(source),
                    reason: "it is no JSON object, as a DSSE envelope is".to_owned(),
                };
                failed = Some((source, error));
            }
            Err(error) => failed = Some((source, error)),
        }
    }
    let source = failed.as_ref().map(|(source, _)| shown(source));
    let error = failed.map(|(_, error)| error);
    let message = error.as_ref().map(|error| {
        let text = condition::truncated(&format!("{error}; {}", error.remedy()));
        text.chars().take(MOST_MESSAGE).collect()
    });
    StoredSignature {
        source: source.unwrap_or_default(),
        envelope: None,
        reason: error.map(|error| error.category().to_owned()),
        message,
    }
}

/// Longest message of a signature in the schema, in characters.
const MOST_MESSAGE: usize = 512;

/// A login page or an error page is passed over for the next source.
fn as_json(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    text.trim_start().starts_with('{').then_some(text)
}

/// A URL as it may stand in a report: its query may be a secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().chars().take(1024).collect()
}

/// The images with their signatures, as far as there is room in a report.
pub(crate) fn with_signatures<'a>(
    images: impl Iterator<Item = &'a StoredImage>,
    signed: &BTreeMap<String, Vec<StoredSignature>>,
) -> Vec<StoredImage> {
    let mut room = MOST_BYTES;
    let with = |image: &StoredImage| {
        let signatures = signed.get(&image.digest).cloned().unwrap_or_default();
        let signatures = signatures.into_iter().map(|one| fitting(one, &mut room));
        StoredImage {
            signatures: signatures.collect(),
            ..image.clone()
        }
    };
    images.map(with).collect()
}

/// What is no envelope may grow sixfold when it is written as JSON, so that is what is measured.
fn fitting(signature: StoredSignature, room: &mut usize) -> StoredSignature {
    let written = serde_json::to_vec(&signature.envelope);
    let length = written.map_or(usize::MAX, |written| written.len());
    match room.checked_sub(length) {
        Some(left) => {
            *room = left;
            signature
        }
        None => StoredSignature {
            envelope: None,
            reason: Some("TooManySignatures".to_owned()),
            message: Some(format!(
                "the envelopes of all images of the site take more than {MOST_BYTES} bytes; name fewer images, or split the site"
            )),
            ..signature
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{StatusCode, Uri};
    use lockstep_crds::report::ImageState;
    use lockstep_store::StoreConfig;

    /// What each path answers: a status and a body.
    type Answers = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

    async fn origin(answers: &Answers) -> String {
        let answer = |State(answers): State<Answers>, uri: Uri| async move {
            let found = answers.lock().unwrap().get(uri.path()).cloned();
            let (status, body) = found.unwrap_or((404, String::new()));
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let router = Router::new().fallback(answer).with_state(answers.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        base
    }

    fn answers(list: &[(&str, u16, &str)]) -> Answers {
        let list = list.iter();
        let list =
            list.map(|(path, status, body)| ((*path).to_owned(), (*status, (*body).to_owned())));
        Arc::new(Mutex::new(list.collect()))
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        Store::open(StoreConfig::new(dir.path(), 1 << 20)).unwrap()
    }

    fn keeper(store: Store, files: &[&[String]]) -> (SignatureKeeper, mpsc::Receiver<Signatures>) {
        let (news, told) = mpsc::channel(8);
        let url = |text: &String| Url::parse(text).unwrap();
        let files = files.iter().map(|file| file.iter().map(url).collect());
        let keeper = SignatureKeeper {
            store,
            digest: "sha256:1".to_owned(),
            files: files.collect(),
            news,
        };
        (keeper, told)
    }

    #[tokio::test]
    async fn envelopes_are_passed_on_as_they_came_and_failures_with_their_reason() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{{{}}}", " ".repeat(LONGEST));
        let served = answers(&[
            ("/login", 200, "<html>"),
            ("/one", 200, "{\"payload\": \"x\"}\n"),
            ("/long", 200, &long),
        ]);
        let base = origin(&served).await;
        let at = |path: &str| format!("{base}{path}?token=secret");
        let files = [
            vec![at("/gone"), at("/login"), at("/one")],
            vec![at("/gone")],
            vec![at("/login")],
            vec![at("/long")],
        ];
        let files: Vec<&[String]> = files.iter().map(Vec::as_slice).collect();
        let (keeper, mut told) = keeper(store(&dir), &files);
        let running = tokio::spawn(keeper.run());
        let found = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
        let found = found.unwrap().unwrap().signatures;
        running.abort();
        assert_eq!(found[0].envelope.as_deref(), Some("{\"payload\": \"x\"}\n"));
        assert_eq!(found[0].source, format!("{base}/one"));
        let reasons: Vec<_> = found[1..].iter().map(|one| one.reason.as_deref()).collect();
        let wanted = ["NotFound", "InvalidResponse", "DocumentTooLarge"];
        assert_eq!(reasons, wanted.map(Some));
        for one in &found {
            let text = serde_json::to_string(one).unwrap();
            assert!(!text.contains("secret"), "{text}");
            assert_eq!(one.message.is_none(), one.envelope.is_some());
        }
    }

    #[tokio::test]
    async fn a_signature_that_comes_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let served = answers(&[]);
        let base = origin(&served).await;
        let file = [format!("{base}/one")];
        let (keeper, mut told) = keeper(store(&dir), &[&file]);
        let running = tokio::spawn(keeper.run());
        let first = told.recv().await.unwrap().signatures;
        assert_eq!(first[0].reason.as_deref(), Some("NotFound"));
        let good = ("/one".to_owned(), (200, "{}".to_owned()));
        served.lock().unwrap().extend([good]);
        let second = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
        let second = second.unwrap().unwrap().signatures;
        running.abort();
        assert_eq!(second[0].envelope.as_deref(), Some("{}"));
    }

    #[test]
    fn what_was_had_stays_and_the_same_failure_is_no_news() {
        let had = |envelope: &str| StoredSignature {
            source: "u".to_owned(),
            envelope: Some(envelope.to_owned()),
            reason: None,
            message: None,
        };
        let failed = |reason: &str, message: &str| StoredSignature {
            source: "u".to_owned(),
            envelope: None,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
        };
        assert_eq!(
            or_before(Some(&had("a")), failed("NotFound", "1")),
            had("a")
        );
        assert_eq!(or_before(Some(&had("a")), had("b")), had("b"));
        let first = failed("NotFound", "1");
        assert_eq!(or_before(Some(&first), failed("NotFound", "2")), first);
        let other = failed("TooSlow", "2");
        assert_eq!(or_before(Some(&first), other.clone()), other);
        assert_eq!(or_before(None, had("a")), had("a"));
    }

    #[test]
    fn the_envelopes_of_a_report_are_bounded() {
        let image = |digest: String| StoredImage {
            digest,
            state: ImageState::Verified,
            size_bytes: None,
            reason: None,
            message: None,
            manifest: None,
            signatures: Vec::new(),
        };
        let images: Vec<_> = (0..40).map(|n| image(format!("sha256:{n:02}"))).collect();
        // Control characters take six bytes each.
        for (letter, wanted) in [("x", 31), ("\u{1}", 5)] {
            let full = StoredSignature {
                source: "u".to_owned(),
                envelope: Some(letter.repeat(LONGEST)),
                reason: None,
                message: None,
            };
            let all = images.iter().map(|image| image.digest.clone());
            let signed = all.map(|digest| (digest, vec![full.clone()])).collect();
            let told = with_signatures(images.iter(), &signed);
            let written = serde_json::to_vec(&told).unwrap().len();
            assert!(written < 1 << 20, "{written}");
            let kept = told
                .iter()
                .filter(|one| one.signatures[0].envelope.is_some());
            assert_eq!(kept.count(), wanted);
            let last = &told[39].signatures[0];
            assert_eq!(last.reason.as_deref(), Some("TooManySignatures"));
        }
    }
}
