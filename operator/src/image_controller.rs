//! `DpuImage` status: what the image stores of the sites say about its bytes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::report::{ImageState, StoredImage};
use lockstep_crds::{DpuImage, DpuImageStatus};
use lockstep_planner::{Reason, arriving};

use crate::author::Author;
use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::kstatus::{self, Because, Fares};
use crate::record::{RecordError, write_status};
use crate::world::World;
use crate::writes::WriteError;

/// Reason of `Ready` once every store that reports the image has its bytes.
const VERIFIED: &str = "Verified";

/// Tells what has become of an image.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let (image, stored) = {
        let world = context.world.read();
        let Some(image) = world.images.get(key).cloned() else {
            return Outcome::done("gone");
        };
        let stored = stored(&world, key, &image.spec.digest);
        (image, stored)
    };
    if !context.writes.caught_up(&image) {
        return Outcome::soon("behind");
    }
    let now = Timestamp::now();
    if stored.is_empty()
        && let Some(at) = arriving(&image.metadata, now)
    {
        return Outcome::again("arriving", at, now);
    }
    let status = status(&image, &stored, &Time(now));
    match write_status(&context.writes, &image, &status).await {
        Ok(_) => Outcome::done("ok"),
        Err(RecordError::Write(WriteError::Conflict(_) | WriteError::Gone(_))) => {
            Outcome::soon("conflict")
        }
        Err(error) => {
            tracing::warn!(image = %key, %error, "status not written");
            Outcome::failed()
        }
    }
}

/// What each site's store says about these bytes, with the site's name.
fn stored(world: &World, image: &Key, digest: &str) -> Vec<(String, StoredImage)> {
    let mut found = Vec::new();
    for (key, entry) in world.reports.within(&image.namespace) {
        let (Some(Author::Site(site)), Some(report)) = (Author::of(&key.name), entry.readable())
        else {
            continue;
        };
        let same = report
            .spec
            .images
            .iter()
            .filter(|stored| stored.digest == digest);
        found.extend(same.map(|stored| (site.to_owned(), stored.clone())));
    }
    found
}

/// The conditions that follow.
fn status(image: &DpuImage, stored: &[(String, StoredImage)], now: &Time) -> DpuImageStatus {
    let (fares, reason, message) = judge(stored);
    let generation = image.metadata.generation;
    let mut status = image.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let because = Because {
        reason: &reason,
        message: &message,
        generation,
    };
    kstatus::show(&mut status.conditions, fares, &because, now);
    status
}

/// How the image fares, the reason and the message.
fn judge(stored: &[(String, StoredImage)]) -> (Fares, String, String) {
    let failed = stored
        .iter()
        .find(|(_, image)| image.state == ImageState::Failed);
    if let Some((site, image)) = failed {
        let unnamed = || Reason::ImageUnavailable.as_str().to_owned();
        let reason = image.reason.clone().filter(|reason| !reason.is_empty());
        let message = image
            .message
            .as_deref()
            .unwrap_or("the image cannot be had");
        return (
            Fares::Stuck,
            reason.unwrap_or_else(unnamed),
            format!("site {site}: {message}"),
        );
    }
    if stored.is_empty()
        || stored
            .iter()
            .any(|(_, image)| image.state != ImageState::Verified)
    {
        // The same words before and during the fetch: progress is in the report, and every
        // change of a message is a write.
        let message = "awaiting that the sites' stores have fetched and verified the bytes";
        return (
            Fares::OnItsWay,
            Reason::FetchingImage.as_str().to_owned(),
            message.to_owned(),
        );
    }
    let sites: Vec<&str> = stored.iter().map(|(site, _)| site.as_str()).collect();
    let message = format!("verified bytes are in the store of {}", sites.join(", "));
    (Fares::Well, VERIFIED.to_owned(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(state: ImageState) -> StoredImage {
        StoredImage {
            digest: "sha256:00".into(),
            state,
            size_bytes: None,
            reason: None,
            message: None,
            signatures: Vec::new(),
        }
    }

    #[test]
    fn ready_only_when_every_store_that_reports_it_has_it() {
        let verified = || ("a".to_owned(), image(ImageState::Verified));
        let fetching = || ("b".to_owned(), image(ImageState::Fetching));
        let failed = || ("c".to_owned(), image(ImageState::Failed));
        let table = [
            (vec![], (Fares::OnItsWay, "FetchingImage")),
            (vec![verified()], (Fares::Well, "Verified")),
            (
                vec![verified(), fetching()],
                (Fares::OnItsWay, "FetchingImage"),
            ),
            (
                vec![verified(), failed()],
                (Fares::Stuck, "ImageUnavailable"),
            ),
            (
                vec![(
                    "d".to_owned(),
                    image(ImageState::Unrecognized("New".into())),
                )],
                (Fares::OnItsWay, "FetchingImage"),
            ),
        ];
        for (stored, (fares, reason)) in table {
            let judged = judge(&stored);
            assert_eq!((judged.0, judged.1.as_str()), (fares, reason));
        }
    }

    #[test]
    fn a_failure_names_site_reason_and_remedy() {
        let mut stored = image(ImageState::Failed);
        stored.reason = Some("DigestMismatch".into());
        stored.message = Some("the bytes have another digest. Correct the DpuImage".into());
        let (_, reason, message) = judge(&[("lab".to_owned(), stored)]);
        assert_eq!(reason, "DigestMismatch");
        assert!(message.starts_with("site lab: ") && message.ends_with("Correct the DpuImage"));
    }
}
