//! Reads the signatures of the wanted images and passes them on as they are. Whether one counts
//! is for the operator to say: nothing here looks at keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_crds::report::{StoredImage, StoredSignature};
use tokio::sync::mpsc;

use crate::clock;
use crate::site::signature_source::{MOST_SOURCE, SignatureReader};
use crate::site::wanted::WantedSignature;

/// What the signatures of all images may take in one report, which the API server takes up to
/// 1.5 MiB of. An envelope has about 1 KiB, an artefact with one signature about 2 KiB.
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
    /// One for each place, in order.
    pub(crate) signatures: Vec<StoredSignature>,
}

/// Keeps the signatures of one image.
pub(crate) struct SignatureKeeper {
    pub(crate) reader: SignatureReader,
    pub(crate) wanted: Vec<WantedSignature>,
    pub(crate) news: mpsc::Sender<Signatures>,
}

impl SignatureKeeper {
    /// Reads and tells until nobody listens any more; without signatures there is nothing to do.
    pub(crate) async fn run(self) {
        let mut told: Vec<StoredSignature> = Vec::new();
        let mut failures = 0_u32;
        while !self.wanted.is_empty() {
            let mut found = Vec::new();
            for (index, wanted) in self.wanted.iter().enumerate() {
                let now = self.reader.read(wanted).await;
                found.push(or_before(told.get(index), now));
            }
            let complete = found
                .iter()
                .all(|one| is_signed(one) && one.reason.is_none());
            if found != told {
                let news = Signatures {
                    digest: self.reader.digest.to_string(),
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
        Some(before) if is_signed(before) && loses(before, &now) => before.clone(),
        Some(before)
            if now.reason.is_some()
                && before.reason == now.reason
                && before.artefact == now.artefact =>
        {
            before.clone()
        }
        Some(_) | None => now,
    }
}

/// What one process or keeper read before is not lost by another that has not read it yet: of each
/// signature that is wanted, as long as the place that had it is still named.
pub(crate) fn with_earlier(
    wanted: &[WantedSignature],
    before: &[StoredSignature],
    now: Vec<StoredSignature>,
) -> Vec<StoredSignature> {
    let had = |index: usize| {
        let wanted = wanted.get(index)?;
        let places = places(wanted);
        before.iter().find(|one| {
            let is_meant = match wanted {
                WantedSignature::Dsse(_) => one.envelope.is_some(),
                WantedSignature::Cosign(_) => one.artefact.is_some(),
            };
            is_meant && is_signed(one) && places.contains(&one.source)
        })
    };
    let now = now.into_iter().enumerate();
    let kept = now.map(|(index, now)| match had(index) {
        Some(before) if loses(before, &now) => before.clone(),
        Some(_) | None => now,
    });
    kept.collect()
}

/// Where a signature may be, as reports have it.
pub(crate) fn places(wanted: &WantedSignature) -> BTreeSet<String> {
    let (WantedSignature::Dsse(sources) | WantedSignature::Cosign(sources)) = wanted;
    let places = sources.iter().map(|source| source.place.to_string());
    let bounded = places.map(|place| place.chars().take(MOST_SOURCE).collect());
    bounded.collect()
}

/// Whether something that was read before could not be read now.
fn loses(before: &StoredSignature, now: &StoredSignature) -> bool {
    let had = before.artefact.iter().flat_map(|had| &had.signatures);
    let has: Vec<_> = now
        .artefact
        .iter()
        .flat_map(|has| &has.signatures)
        .collect();
    let fewer = || had.into_iter().any(|one| !has.contains(&one));
    !is_signed(now) || now.reason.is_some() && fewer()
}

/// Whether there is anything to judge. An artefact that nobody has signed may be signed soon.
fn is_signed(told: &StoredSignature) -> bool {
    let artefact = told.artefact.as_ref();
    told.envelope.is_some() || artefact.is_some_and(|beside| !beside.signatures.is_empty())
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

/// What is no signature may grow sixfold when it is written as JSON, so that is what is measured.
fn fitting(signature: StoredSignature, room: &mut usize) -> StoredSignature {
    let written = serde_json::to_vec(&(&signature.envelope, &signature.artefact));
    let length = written.map_or(usize::MAX, |written| written.len());
    match room.checked_sub(length) {
        Some(left) => {
            *room = left;
            signature
        }
        None => StoredSignature {
            envelope: None,
            artefact: None,
            reason: Some("TooManySignatures".to_owned()),
            message: Some(format!(
                "the signatures of all images of the site take more than {MOST_BYTES} bytes; name fewer images, or split the site"
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
    use kube::{Client, Config};
    use lockstep_crds::report::{ArtefactSignature, ArtefactSignatures, ImageState};
    use lockstep_store::{Digest, Store, StoreConfig};

    use crate::site::signature_source::LONGEST;
    use crate::site::wanted::WantedSource;

    const ENVELOPE: &str =
        r#"{"payloadType": "text/plain", "payload": "eA==", "signatures": [{"sig": "eQ=="}]}"#;

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
        let source = |text: &String| WantedSource {
            place: text.parse().unwrap(),
            pull_secret: None,
        };
        let sources = |file: &&[String]| file.iter().map(source).collect();
        let wanted = files
            .iter()
            .map(|file| WantedSignature::Dsse(sources(file)));
        let nowhere = Config::new("http://127.0.0.1:1".parse().unwrap());
        let keeper = SignatureKeeper {
            reader: SignatureReader {
                client: Client::try_from(nowhere).unwrap(),
                namespace: "s".to_owned(),
                store,
                digest: Digest::of(b"image"),
            },
            wanted: wanted.collect(),
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
            (
                "/down",
                200,
                r#"{"error": "maintenance", "payload": "x", "signatures": []}"#,
            ),
            ("/one", 200, &format!("{ENVELOPE}\n")),
            ("/long", 200, &long),
        ]);
        let base = origin(&served).await;
        let at = |path: &str| format!("{base}{path}?token=secret");
        let files = [
            vec![at("/gone"), at("/login"), at("/down"), at("/one")],
            vec![at("/gone")],
            vec![at("/login")],
            vec![at("/down")],
            vec![at("/long")],
        ];
        let files: Vec<&[String]> = files.iter().map(Vec::as_slice).collect();
        let (keeper, mut told) = keeper(store(&dir), &files);
        let running = tokio::spawn(keeper.run());
        let found = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
        let found = found.unwrap().unwrap().signatures;
        running.abort();
        assert_eq!(found[0].envelope, Some(format!("{ENVELOPE}\n")));
        assert_eq!(found[0].source, format!("{base}/one"));
        let reasons: Vec<_> = found[1..].iter().map(|one| one.reason.as_deref()).collect();
        let wanted = [
            "NotFound",
            "InvalidResponse",
            "InvalidResponse",
            "DocumentTooLarge",
        ];
        assert_eq!(reasons, wanted.map(Some));
        let missing = found[1].message.as_deref().unwrap();
        assert!(missing.contains("upload the signature there"), "{missing}");
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
        let good = ("/one".to_owned(), (200, ENVELOPE.to_owned()));
        served.lock().unwrap().extend([good]);
        let second = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
        let second = second.unwrap().unwrap().signatures;
        running.abort();
        assert_eq!(second[0].envelope.as_deref(), Some(ENVELOPE));
    }

    #[test]
    fn what_was_had_is_kept_where_not_all_can_be_read_again_and_more_is_taken() {
        let with = |documents: &[&str], reason: Option<&str>| StoredSignature {
            source: "oci://registry.test/os:1".to_owned(),
            envelope: None,
            artefact: Some(ArtefactSignatures {
                manifests: vec!["{}".to_owned()],
                signatures: documents
                    .iter()
                    .map(|text| ArtefactSignature {
                        document: (*text).to_owned(),
                        signature: None,
                    })
                    .collect(),
            }),
            reason: reason.map(str::to_owned),
            message: None,
        };
        let before = with(&["a", "b"], None);
        let kept = |now: &StoredSignature| or_before(Some(&before), now.clone());
        assert_eq!(kept(&with(&["a"], Some("NotFound"))), before);
        assert_eq!(kept(&with(&[], None)), before);
        let more = with(&["b", "a", "c"], Some("NotFound"));
        assert_eq!(kept(&more), more);
        let signed_again = with(&["c"], None);
        assert_eq!(kept(&signed_again), signed_again);
        let partly = with(&["a"], Some("NotFound"));
        let now = with(&["a", "b"], Some("NotFound"));
        assert_eq!(or_before(Some(&partly), now.clone()), now);
    }

    #[test]
    fn what_another_read_before_stays_while_its_place_is_named() {
        let at = |name: &str| format!("http://192.0.2.9/{name}");
        let source = |name: &str| WantedSource {
            place: at(name).parse().unwrap(),
            pull_secret: None,
        };
        let told = |name: &str, envelope: Option<&str>| StoredSignature {
            source: at(name),
            envelope: envelope.map(str::to_owned),
            artefact: None,
            reason: envelope.is_none().then(|| "Unreachable".to_owned()),
            message: None,
        };
        let wanted = [
            WantedSignature::Dsse(vec![source("gone")]),
            WantedSignature::Dsse(vec![source("a"), source("mirror")]),
            WantedSignature::Dsse(vec![source("b")]),
        ];
        let before = [
            told("mirror", Some("of a")),
            told("b", None),
            told("c", Some("of c")),
        ];
        let failed = vec![told("gone", None), told("a", None), told("b", None)];
        let found = with_earlier(&wanted, &before, failed.clone());
        let (gone, b) = (failed[0].clone(), failed[2].clone());
        assert_eq!(found, [gone, told("mirror", Some("of a")), b]);
        let read = vec![told("gone", None), told("a", Some("new")), told("b", None)];
        assert_eq!(with_earlier(&wanted, &before, read.clone()), read);
        let others = [WantedSignature::Dsse(vec![source("elsewhere")])];
        let failed = vec![told("elsewhere", None)];
        assert_eq!(with_earlier(&others, &before, failed.clone()), failed);
        // An envelope is nothing that cosign has put beside an artefact.
        let beside = [WantedSignature::Cosign(vec![source("mirror")])];
        let failed = vec![told("mirror", None)];
        assert_eq!(with_earlier(&beside, &before, failed.clone()), failed);
    }

    fn document(length: usize) -> ArtefactSignature {
        ArtefactSignature {
            document: "x".repeat(length),
            signature: None,
        }
    }

    #[test]
    fn what_was_had_stays_and_the_same_failure_is_no_news() {
        let had = |envelope: &str| StoredSignature {
            source: "u".to_owned(),
            envelope: Some(envelope.to_owned()),
            artefact: None,
            reason: None,
            message: None,
        };
        let failed = |reason: &str, message: &str| StoredSignature {
            source: "u".to_owned(),
            envelope: None,
            artefact: None,
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
        let beside = |signatures: usize| StoredSignature {
            envelope: None,
            artefact: Some(ArtefactSignatures {
                manifests: vec!["{}".to_owned()],
                signatures: vec![document(10); signatures],
            }),
            ..had("")
        };
        assert_eq!(or_before(Some(&beside(1)), beside(0)), beside(1));
        assert_eq!(or_before(Some(&beside(0)), first.clone()), first);
        assert_eq!(or_before(Some(&first), beside(0)), beside(0));
        assert_eq!(or_before(Some(&beside(0)), beside(2)), beside(2));
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
            boot_stream: None,
            seed_slot: None,
            efi_program: None,
            signatures: Vec::new(),
        };
        let images: Vec<_> = (0..40).map(|n| image(format!("sha256:{n:02}"))).collect();
        let full = |letter: &str| StoredSignature {
            source: "u".to_owned(),
            envelope: Some(letter.repeat(LONGEST)),
            artefact: None,
            reason: None,
            message: None,
        };
        let beside = StoredSignature {
            envelope: None,
            artefact: Some(ArtefactSignatures {
                manifests: vec!["x".repeat(LONGEST)],
                signatures: vec![document(LONGEST); 7],
            }),
            ..full("")
        };
        // Control characters take six bytes each.
        for (full, wanted) in [(full("x"), 31), (full("\u{1}"), 5), (beside, 3)] {
            let all = images.iter().map(|image| image.digest.clone());
            let signed = all.map(|digest| (digest, vec![full.clone()])).collect();
            let told = with_signatures(images.iter(), &signed);
            let written = serde_json::to_vec(&told).unwrap().len();
            assert!(written < 1 << 20, "{written}");
            let kept = told.iter().filter(|one| is_signed(&one.signatures[0]));
            assert_eq!(kept.count(), wanted);
            let last = &told[39].signatures[0];
            assert_eq!(last.reason.as_deref(), Some("TooManySignatures"));
        }
    }
}
