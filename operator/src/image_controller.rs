//! `DpuImage` status: what the image stores of the sites say about its bytes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_configuration::check_templates;
use lockstep_crds::report::{ImageState, StoredImage};
use lockstep_crds::{DpuImage, DpuImageStatus, condition};
use lockstep_planner::{Reason, arriving};
use lockstep_trust::Trust;

use crate::author::Author;
use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::kstatus::{self, Because, Fares};
use crate::record::{RecordError, write_status};
use crate::untold_images::untold;
use crate::vetted::{Finding, findings};
use crate::world::World;
use crate::writes::WriteError;

/// Reason of `Ready` once every store that reports the image has its bytes.
const VERIFIED: &str = "Verified";
/// Reason of `Fetched` then.
const FETCHED: &str = "Fetched";
/// Reasons of `Verified`: signed as a policy asks, where none asks, and where nobody wants it.
const SIGNED: &str = "Signed";
const DIGEST_ONLY: &str = "DigestOnly";
const NOT_WANTED: &str = "NotWanted";

/// Tells what has become of an image.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let (image, stored, findings) = {
        let world = context.world.read();
        let Some(image) = world.images.get(key).cloned() else {
            return Outcome::done("gone");
        };
        let mut stored = stored(&world, key, &image.spec.digest);
        let findings = findings(&world, key, &image);
        stored.extend(untold(&world, key, &image.spec.digest, &findings));
        (image, stored, findings)
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
    let status = status(&image, &stored, &findings, &Time(now));
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
fn status(
    image: &DpuImage,
    stored: &[(String, StoredImage)],
    findings: &[Finding],
    now: &Time,
) -> DpuImageStatus {
    let fetched = judge(stored);
    let verified = verdict(findings);
    let generation = image.metadata.generation;
    let mut status = image.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let told = match check_templates(&image.spec.files) {
        Err(fault) => (
            Fares::Stuck,
            fault.category().to_owned(),
            format!("{fault}; {}", fault.remedy()),
        ),
        Ok(()) if fetched.0 == Fares::Well => overall(&fetched, &verified),
        Ok(()) => fetched.clone(),
    };
    let because = Because {
        reason: &told.1,
        message: &told.2,
        generation,
    };
    kstatus::show(&mut status.conditions, told.0, &because, now);
    let (fares, reason, message) = fetched;
    let (is_there, reason) = match fares {
        Fares::Well => ("True", FETCHED.to_owned()),
        Fares::OnItsWay | Fares::Stuck | Fares::Idle => ("False", reason),
    };
    for (type_, holds, reason, message) in [
        (condition::FETCHED, is_there, reason, message),
        (condition::VERIFIED, verified.0, verified.1, verified.2),
    ] {
        condition::set_to(
            &mut status.conditions,
            Condition {
                type_: type_.to_owned(),
                status: holds.to_owned(),
                reason,
                message: condition::truncated(&message),
                observed_generation: generation,
                last_transition_time: now.clone(),
            },
        );
    }
    status
}

/// How an image that has been fetched fares.
fn overall(
    fetched: &(Fares, String, String),
    verified: &(&'static str, String, String),
) -> (Fares, String, String) {
    let (holds, reason, message) = verified.clone();
    if reason == Reason::ImageUntrusted.as_str() {
        (Fares::Stuck, reason, message)
    } else if reason == Reason::ImageTrustNotKnown.as_str() && holds == "Unknown" {
        (Fares::OnItsWay, reason, message)
    } else {
        fetched.clone()
    }
}

/// Whether what the policies ask of its signatures holds, the reason and the message: first what
/// holds nowhere else.
fn verdict(findings: &[Finding]) -> (&'static str, String, String) {
    let said = |finding: &Finding, what: &str| {
        format!("policy {}, site {}: {what}", finding.policy, finding.site)
    };
    let mut best = (
        "Unknown",
        NOT_WANTED.to_owned(),
        "no card wants this image, so no policy says who may sign it".to_owned(),
    );
    let mut rank = 0;
    for finding in findings {
        let (of, holds, reason, what) = match &finding.trust {
            Trust::Refused(why) => (4, "False", Reason::ImageUntrusted.as_str(), why.clone()),
            Trust::NotKnown(why) => {
                let reason = Reason::ImageTrustNotKnown.as_str();
                (3, "Unknown", reason, why.clone())
            }
            Trust::Signed(signer) => (2, "True", SIGNED, format!("signed by {signer}")),
            Trust::NotAsked => {
                let what =
                    "no signature is asked for, so whoever makes a DpuImage decides what runs";
                (1, "True", DIGEST_ONLY, what.to_owned())
            }
        };
        if of > rank {
            rank = of;
            best = (holds, reason.to_owned(), said(finding, &what));
        }
    }
    best
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
    let sites: Vec<String> = stored
        .iter()
        .map(|(site, image)| match &image.manifest {
            Some(manifest) => format!("{site} (manifest {manifest})"),
            None => site.clone(),
        })
        .collect();
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
            manifest: None,
            boot_stream: None,
        }
    }

    fn finding(trust: Trust) -> Finding {
        Finding {
            policy: "p".into(),
            site: "s".into(),
            trust,
        }
    }

    #[test]
    fn verified_is_what_the_policies_ask_and_untrusted_comes_first() {
        let asked = || finding(Trust::NotAsked);
        let signed = || finding(Trust::Signed("releases".into()));
        let unknown = || finding(Trust::NotKnown("no answer".into()));
        let refused = || finding(Trust::Refused("flipped".into()));
        let (yes, no, open) = ("True", "False", "Unknown");
        let table = [
            (vec![], (open, "NotWanted"), ("True", "Verified")),
            (vec![asked()], (yes, "DigestOnly"), ("True", "Verified")),
            (
                vec![asked(), signed()],
                (yes, "Signed"),
                ("True", "Verified"),
            ),
            (
                vec![signed(), unknown()],
                (open, "ImageTrustNotKnown"),
                ("False", "ImageTrustNotKnown"),
            ),
            (
                vec![refused(), unknown(), signed()],
                (no, "ImageUntrusted"),
                ("False", "ImageUntrusted"),
            ),
        ];
        let spec = serde_json::json!({
            "version": "1", "digest": format!("sha256:{}", "0".repeat(64)),
            "sources": ["http://192.0.2.9/a.iso"],
        });
        let object = DpuImage::new("i", serde_json::from_value(spec).unwrap());
        let stored = [("a".to_owned(), image(ImageState::Verified))];
        let now = Time(Timestamp::UNIX_EPOCH);
        for (findings, verified, ready) in table {
            let status = status(&object, &stored, &findings, &now);
            let told = |type_: &str| {
                let found = condition::find(&status.conditions, type_).unwrap();
                (found.status.clone(), found.reason.clone())
            };
            let both = |(status, reason): (&str, &str)| (status.to_owned(), reason.to_owned());
            assert_eq!(told(condition::FETCHED), both((yes, "Fetched")));
            assert_eq!(told(condition::VERIFIED), both(verified));
            assert_eq!(told(condition::READY), both(ready));
        }
        let told = verdict(&[signed(), refused()]).2;
        assert_eq!(told, "policy p, site s: flipped");
    }

    #[test]
    fn the_manifest_that_a_tag_stood_for_is_told() {
        let mut stored = image(ImageState::Verified);
        stored.manifest = Some("sha256:11".into());
        let plain = image(ImageState::Verified);
        let (_, _, message) = judge(&[("a".to_owned(), stored), ("b".to_owned(), plain)]);
        assert!(
            message.ends_with("the store of a (manifest sha256:11), b"),
            "{message}"
        );
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
    fn a_template_that_is_none_is_told_whatever_the_stores_say() {
        let mut object: DpuImage = serde_json::from_value(serde_json::json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuImage",
            "metadata": {"name": "os", "generation": 1},
            "spec": {
                "version": "1", "digest": "sha256:00", "sources": ["http://a/b"],
                "files": [{"slot": "bf.cfg", "template": "a\nb\n{{ values.x"}],
            },
        }))
        .unwrap();
        let stored = [("lab".to_owned(), image(ImageState::Verified))];
        let ready = |object: &DpuImage| {
            let conditions = status(object, &stored, &[], &Time(Timestamp::UNIX_EPOCH)).conditions;
            let ready = conditions.into_iter().find(|each| each.type_ == "Ready");
            ready.unwrap()
        };
        let told = ready(&object);
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("False", "TemplateInvalid")
        );
        assert!(
            told.message.contains("file bf.cfg is none, line 3"),
            "{}",
            told.message
        );
        object.spec.files[0].template.push_str(" }}");
        assert_eq!(ready(&object).reason, VERIFIED);
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
