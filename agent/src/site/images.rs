//! Keeps the wanted images in the store, and the site's report about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use lockstep_crds::report::{ImageState, MOST_IMAGES, StoredImage, StoredSignature, Vantage};
use lockstep_crds::{DpuReportSpec, names};
use lockstep_store::Digest;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::report::{Cause, ReportError, ReportWriter};
use crate::site::context::Site;
use crate::site::image_keeper::ImageKeeper;
use crate::site::recall::{Recalled, recalled};
use crate::site::signature_source::SignatureReader;
use crate::site::signatures::{SignatureKeeper, Signatures, with_earlier, with_signatures};
use crate::site::wanted::{Wanted, WantedImage};
use crate::site::worker::keep_time;

/// How often the report is compared with what the API server holds, which may have been set back.
const REPORT_AGE: Duration = Duration::from_secs(60);
/// The first pause after a failed write, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Keeps images until `ending`. `wanted` is `None` until everything that may want one has been read: until
/// then the report stays as it is.
pub async fn run(
    site: Arc<Site>,
    mut wanted: watch::Receiver<Option<Wanted>>,
    ending: CancellationToken,
) {
    let (news, mut told) = mpsc::channel::<StoredImage>(64);
    let (passed_on, mut signatures) = mpsc::channel::<Signatures>(64);
    let kick = watch::Sender::new(0_u64);
    let mut running: BTreeMap<Digest, (WantedImage, CancellationToken)> = BTreeMap::new();
    let mut states: BTreeMap<String, StoredImage> = BTreeMap::new();
    let mut signed: BTreeMap<String, Vec<StoredSignature>> = BTreeMap::new();
    let api = Api::namespaced(site.client.clone(), &site.config.namespace);
    let mut writer = ReportWriter::new(api, names::site(&site.config.site), None);
    let mut is_recalled = false;
    let mut failures = 0_u32;
    let mut compare_at = Instant::now() + REPORT_AGE;
    loop {
        let known = wanted.borrow_and_update().clone();
        let Some(now_wanted) = known else {
            tokio::select! {
                () = ending.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
            continue;
        };
        running.retain(|digest, (image, stop)| {
            let keep = now_wanted.get(digest) == Some(image);
            if !keep {
                stop.cancel();
                // Its signatures may be others now, and why it failed is not known of other sources.
                let digest = digest.to_string();
                signed.remove(&digest);
                states.retain(|name, told| *name != digest || told.state != ImageState::Failed);
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
                    client: site.client.clone(),
                    namespace: site.config.namespace.clone(),
                    store: site.store.clone(),
                    wanted: image.clone(),
                    news: news.clone(),
                    kick: kick.subscribe(),
                };
                let of_signatures = SignatureKeeper {
                    reader: SignatureReader {
                        client: site.client.clone(),
                        namespace: site.config.namespace.clone(),
                        store: site.store.clone(),
                        digest: *digest,
                    },
                    wanted: image.signatures.clone(),
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
        let recall = if is_recalled {
            Ok(Recalled::default())
        } else {
            recall(&site, &mut writer, &now_wanted).await
        };
        let outcome = match recall {
            Ok(before) => {
                is_recalled = true;
                for (digest, signatures) in before.signatures {
                    // Whoever has looked since may not have found them.
                    let known = match signed.remove(&digest) {
                        Some(now) => signatures_of(&now_wanted, &digest, &signatures, now),
                        None => signatures,
                    };
                    signed.insert(digest, known);
                }
                for image in before.images {
                    states.entry(image.digest.clone()).or_insert(image);
                }
                let images = with_signatures(states.values().take(MOST_IMAGES), &signed);
                tell(&site, &mut writer, images).await
            }
            Err(error) => Err(error),
        };
        let pause = match outcome {
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
                let before = signed.remove(&news.digest).unwrap_or_default();
                let known = signatures_of(&now_wanted, &news.digest, &before, news.signatures);
                signed.insert(news.digest, known);
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

/// What is known of the signatures of an image: what is read now, and what was read before and could
/// not be read again.
fn signatures_of(
    wanted: &Wanted,
    digest: &str,
    before: &[StoredSignature],
    now: Vec<StoredSignature>,
) -> Vec<StoredSignature> {
    let digest = digest.parse::<Digest>().ok();
    let image = digest.and_then(|digest| wanted.get(&digest));
    let wanted = image.map_or(&[][..], |image| &image.signatures);
    with_earlier(wanted, before, now)
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

/// What the report said before this process.
async fn recall(
    site: &Site,
    writer: &mut ReportWriter,
    wanted: &Wanted,
) -> Result<Recalled, ReportError> {
    let report = writer.read().await?;
    let has = |digest: &Digest| Some(site.store.info(digest)?.size);
    Ok(report.map_or_else(Recalled::default, |report| {
        recalled(report, VERSION, wanted, has)
    }))
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
    let spec = DpuReportSpec {
        images,
        ..DpuReportSpec::new(Vantage::Site, &site.config.site, VERSION, clock::now())
    };
    let spec = keep_time(spec, writer.known());
    if writer.write(&spec, Cause::Facts).await? {
        site.metrics.wrote(Cause::Facts.manager());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_failure_for_the_same_reason_is_no_news() {
        let failed = |reason: &str, message: &str| StoredImage {
            digest: "d".to_owned(),
            state: ImageState::Failed,
            size_bytes: None,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            manifest: None,
            boot_stream: None,
            seed_slot: None,
            efi_program: None,
            signatures: Vec::new(),
        };
        let first = failed("Unreachable", "a");
        assert_eq!(merge(Some(&first), failed("Unreachable", "b")), first);
        let other = failed("NotFound", "b");
        assert_eq!(merge(Some(&first), other.clone()), other);
    }
}
