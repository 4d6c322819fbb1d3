//! What the status of a `DpuImage` says: of its bytes, its signatures and the cards that want it. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_configuration::check_templates;
use lockstep_crds::report::{ImageState, StoredImage};
use lockstep_crds::{DpuImage, DpuImageStatus, ImageCards, ImageSites, condition};
use lockstep_planner::Reason;
use lockstep_planner::requirement::Judgement;
use lockstep_trust::Trust;

use crate::image_demand::{Demand, Finding, Wanting};
use crate::kstatus::{self, Because, Fares};

/// Reason of `Ready` once every store that is to have the image has its bytes.
const VERIFIED: &str = "Verified";
/// Reason of `Fetched` then.
const FETCHED: &str = "Fetched";
/// Reasons of `Verified`: signed as a policy asks, where none asks, and where nobody wants it.
const SIGNED: &str = "Signed";
const DIGEST_ONLY: &str = "DigestOnly";
const NOT_WANTED: &str = "NotWanted";
/// Reason of `Ready` and `Fetched` where the object says another size, as the store has it.
const SIZE_MISMATCH: &str = "SizeMismatch";
/// Reason of `Fits` where the image is made for every card that wants it.
const FITS: &str = "Fits";
/// Sites or cards of which a message tells one by one.
const TOLD: usize = 3;
/// Sites that a message names.
const NAMED: usize = 16;
/// Characters of why one card does not fit.
const LONGEST_WHY: usize = 300;

/// The conditions that follow.
pub(crate) fn status(
    image: &DpuImage,
    stored: &[(String, StoredImage)],
    demand: &Demand,
    now: &Time,
) -> DpuImageStatus {
    let stored = &as_sized(image, stored);
    let fetched = judge(stored, &demand.sites);
    let verified = verdict(&demand.findings);
    // What was said of its cards stands until all of them are known.
    let fit = (!demand.is_early).then(|| fit(&demand.wanting));
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
    status.sites = Some(sites(stored, &demand.sites));
    if fit.is_some() {
        status.cards = Some(cards(demand));
    }
    let (holds, told, words) = verified;
    let conditions = [
        (condition::FETCHED, is_there, reason, message),
        (condition::VERIFIED, holds, told, words),
    ];
    let fit = fit.map(|(holds, reason, message)| (condition::FITS, holds, reason, message));
    for (type_, holds, reason, message) in conditions.into_iter().chain(fit) {
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

/// What the stores say of this object: a size that it has wrong is told of it alone. The digest decides,
/// so another object of the same bytes has them all the same.
fn as_sized(image: &DpuImage, stored: &[(String, StoredImage)]) -> Vec<(String, StoredImage)> {
    let judged = |(site, told): &(String, StoredImage)| {
        let sizes = told.size_bytes.zip(image.spec.size_bytes);
        let wrong = sizes.filter(|(is, said)| is != said && told.state == ImageState::Verified);
        let told = wrong.map_or_else(|| told.clone(), |(is, said)| other_size(told, is, said));
        (site.clone(), told)
    };
    stored.iter().map(judged).collect()
}

fn other_size(told: &StoredImage, is: i64, said: i64) -> StoredImage {
    StoredImage {
        state: ImageState::Failed,
        reason: Some(SIZE_MISMATCH.to_owned()),
        message: Some(format!(
            "the bytes of this digest are {is}, and spec.sizeBytes says {said}; cards get them as long as another DpuImage of the same digest is wanted that does not say so; make a new DpuImage with the right sizeBytes, or without"
        )),
        ..told.clone()
    }
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

/// Whether the cards that want the image are such as it is made for, the reason and the message.
fn fit(wanting: &[Wanting]) -> (&'static str, String, String) {
    let of = |pick: fn(&Judgement) -> Option<&String>| -> Vec<(&str, &String)> {
        let found = wanting
            .iter()
            .filter_map(|one| Some((one.card.as_str(), pick(&one.fit)?)));
        found.collect()
    };
    let unfit = of(|fit| match fit {
        Judgement::NotMet(why) => Some(why),
        Judgement::Met | Judgement::NotKnown(_) => None,
    });
    let unknown = of(|fit| match fit {
        Judgement::NotKnown(why) => Some(why),
        Judgement::Met | Judgement::NotMet(_) => None,
    });
    if wanting.is_empty() {
        let message = "no card wants this image".to_owned();
        return ("Unknown", NOT_WANTED.to_owned(), message);
    }
    let met = wanting.len() - unfit.len() - unknown.len();
    let mut message = format!("made for {met} of {} cards that want it", wanting.len());
    for (what, found) in [("not for", &unfit), ("not known of", &unknown)] {
        if !found.is_empty() {
            let first = found.iter().take(TOLD);
            let told = first.map(|(card, why)| format!("{card} ({})", shortened(why)));
            let told = told.collect::<Vec<_>>().join(", ");
            message = format!("{message}; {what} {told}{}", others(found.len(), TOLD));
        }
    }
    let (holds, reason) = match (unfit.is_empty(), unknown.is_empty()) {
        (false, _) => ("False", Reason::ImageDoesNotFit.as_str()),
        (true, false) => ("Unknown", Reason::ImageFitNotKnown.as_str()),
        (true, true) => ("True", FITS),
    };
    (holds, reason.to_owned(), message)
}

fn shortened(why: &str) -> String {
    let mut short: String = why.chars().take(LONGEST_WHY).collect();
    if short.len() < why.len() {
        short.push('…');
    }
    short
}

/// The end of a list of which only so many are told.
fn others(all: usize, told: usize) -> String {
    match all.saturating_sub(told) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn cards(demand: &Demand) -> ImageCards {
    let mut cards = ImageCards {
        wanted: number(demand.wanting.len()),
        running: number(demand.running),
        ..ImageCards::default()
    };
    for one in &demand.wanting {
        match one.fit {
            Judgement::Met => cards.fits += 1,
            Judgement::NotMet(_) => cards.does_not_fit += 1,
            Judgement::NotKnown(_) => cards.not_known += 1,
        }
    }
    cards
}

fn sites(stored: &[(String, StoredImage)], wanting: &BTreeSet<String>) -> ImageSites {
    let counted = |state: &ImageState| {
        let found = stored.iter().filter(|(_, image)| image.state == *state);
        number(found.count())
    };
    ImageSites {
        wanted: number(all_sites(stored, wanting).len()),
        fetched: counted(&ImageState::Verified),
        failed: counted(&ImageState::Failed),
    }
}

fn all_sites<'a>(
    stored: &'a [(String, StoredImage)],
    wanting: &'a BTreeSet<String>,
) -> BTreeSet<&'a str> {
    let told = stored.iter().map(|(site, _)| site.as_str());
    told.chain(wanting.iter().map(String::as_str)).collect()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How the image fares, the reason and the message. A site that is to have it and says nothing
/// has not got it.
fn judge(stored: &[(String, StoredImage)], wanting: &BTreeSet<String>) -> (Fares, String, String) {
    let all = all_sites(stored, wanting);
    let have: BTreeSet<&str> = stored
        .iter()
        .filter(|(_, image)| image.state == ImageState::Verified)
        .map(|(site, _)| site.as_str())
        .collect();
    let of_all = if all.len() > 1 {
        format!("; {} of {} sites have it", have.len(), all.len())
    } else {
        String::new()
    };
    let failed: Vec<_> = stored
        .iter()
        .filter(|(_, image)| image.state == ImageState::Failed)
        .collect();
    if let Some((_, first)) = failed.first() {
        let unnamed = || Reason::ImageUnavailable.as_str().to_owned();
        let reason = first.reason.clone().filter(|reason| !reason.is_empty());
        let told = failed.iter().take(TOLD).map(|(site, image)| {
            let message = image.message.as_deref();
            format!(
                "site {site}: {}",
                message.unwrap_or("the image cannot be had")
            )
        });
        let told = told.collect::<Vec<_>>().join("; ");
        let rest = others(failed.len(), TOLD);
        // Of several, the number comes first: one message alone may fill the condition.
        let message = match of_all.strip_prefix("; ") {
            Some(of_all) => format!("{of_all}; {told}{rest}"),
            None => told,
        };
        return (Fares::Stuck, reason.unwrap_or_else(unnamed), message);
    }
    let awaited: Vec<&str> = all.difference(&have).copied().collect();
    if all.is_empty() || !awaited.is_empty() {
        // The same words before and during the fetch: progress is in the report, and every
        // change of a message is a write.
        let message = "awaiting that the sites' stores have fetched and verified the bytes";
        let message = if of_all.is_empty() {
            message.to_owned()
        } else {
            format!("{message}{of_all}, awaited: {}", listed(&awaited))
        };
        let reason = Reason::FetchingImage.as_str().to_owned();
        return (Fares::OnItsWay, reason, message);
    }
    let sites: Vec<String> = stored
        .iter()
        .map(|(site, image)| match &image.manifest {
            Some(manifest) => format!("{site} (manifest {manifest})"),
            None => site.clone(),
        })
        .collect();
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    let message = format!("verified bytes are in the store of {}", listed(&sites));
    (Fares::Well, VERIFIED.to_owned(), message)
}

fn listed(names: &[&str]) -> String {
    let first = names.get(..NAMED).unwrap_or(names).join(", ");
    format!("{first}{}", others(names.len(), NAMED))
}

/// Whether a status says something else than numbers, and words about cards, that differ.
pub(crate) fn is_news(before: Option<&DpuImageStatus>, after: &DpuImageStatus) -> bool {
    let Some(before) = before else {
        return true;
    };
    let said = |status: &DpuImageStatus| -> BTreeSet<(String, String, String)> {
        let of_itself = status
            .conditions
            .iter()
            .filter(|one| one.type_ != condition::FITS);
        let said = of_itself.map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone()));
        said.collect()
    };
    before.observed_generation != after.observed_generation || said(before) != said(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

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
            seed_slot: None,
            efi_program: None,
        }
    }

    fn asked_by(findings: Vec<Finding>) -> Demand {
        Demand {
            findings,
            ..Demand::default()
        }
    }

    fn at(sites: &[&str]) -> BTreeSet<String> {
        sites.iter().map(|site| (*site).to_owned()).collect()
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
            let status = status(&object, &stored, &asked_by(findings), &now);
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
        let (_, _, message) = judge(
            &[("a".to_owned(), stored), ("b".to_owned(), plain)],
            &at(&[]),
        );
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
            let judged = judge(&stored, &at(&[]));
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
            let conditions = status(
                object,
                &stored,
                &Demand::default(),
                &Time(Timestamp::UNIX_EPOCH),
            )
            .conditions;
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
        let (_, reason, message) = judge(&[("lab".to_owned(), stored)], &at(&["lab"]));
        assert_eq!(reason, "DigestMismatch");
        assert!(message.starts_with("site lab: ") && message.ends_with("Correct the DpuImage"));
    }

    #[test]
    fn no_site_that_fails_or_says_nothing_is_hidden_by_another() {
        let verified = |site: &str| (site.to_owned(), image(ImageState::Verified));
        let failed = |site: &str| {
            let mut stored = image(ImageState::Failed);
            stored.message = Some(format!("{site} says why"));
            (site.to_owned(), stored)
        };
        let (fares, _, message) = judge(&[verified("a")], &at(&["a", "b"]));
        assert_eq!(
            fares,
            Fares::OnItsWay,
            "b's store may never have heard of it"
        );
        assert!(
            message.ends_with("1 of 2 sites have it, awaited: b"),
            "{message}"
        );
        let names = ["b", "c", "d", "e", "f"];
        let mut stored: Vec<_> = names.map(failed).into();
        stored.push(verified("a"));
        let (_, _, message) = judge(&stored, &at(&["a", "z"]));
        assert_eq!(
            message,
            "1 of 7 sites have it; site b: b says why; site c: c says why; site d: d says why and 2 more"
        );
        let told = sites(&stored, &at(&["a", "z"]));
        assert_eq!((told.wanted, told.fetched, told.failed), (7, 1, 5));
        let many: Vec<_> = (0..400)
            .map(|one| verified(&format!("site-{one}")))
            .collect();
        let message = judge(&many, &at(&[])).2;
        assert!(message.ends_with(" and 384 more"), "{message}");
    }

    #[test]
    fn a_size_that_one_object_has_wrong_is_told_of_it_and_of_no_other() {
        let object = |size: Option<i64>| -> DpuImage {
            let mut spec = serde_json::json!({
                "version": "1", "digest": format!("sha256:{}", "0".repeat(64)),
                "sources": ["http://192.0.2.9/a.iso"],
            });
            if let Some(size) = size {
                spec["sizeBytes"] = size.into();
            }
            DpuImage::new("i", serde_json::from_value(spec).unwrap())
        };
        let mut there = image(ImageState::Verified);
        there.size_bytes = Some(7);
        let mut coming = image(ImageState::Fetching);
        coming.size_bytes = Some(7);
        let fetched = |size: Option<i64>, stored: &StoredImage| {
            let stored = [("a".to_owned(), stored.clone())];
            let now = Time(Timestamp::UNIX_EPOCH);
            let status = status(&object(size), &stored, &Demand::default(), &now);
            condition::find(&status.conditions, condition::FETCHED)
                .cloned()
                .unwrap()
        };
        assert_eq!(fetched(Some(7), &there).reason, FETCHED);
        assert_eq!(fetched(None, &there).reason, FETCHED);
        assert_eq!(fetched(Some(8), &coming).reason, "FetchingImage");
        let told = fetched(Some(8), &there);
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("False", "SizeMismatch")
        );
        for word in ["site a", "are 7", "says 8", "new DpuImage"] {
            assert!(told.message.contains(word), "{}", told.message);
        }
    }

    fn wanting(card: &str, fit: Judgement) -> Wanting {
        let card = card.to_owned();
        Wanting { card, fit }
    }

    #[test]
    fn cards_are_counted_by_what_the_image_is_to_them() {
        let unfit = |card: &str| wanting(card, Judgement::NotMet("another family".into()));
        let unknown = |card: &str| wanting(card, Judgement::NotKnown("x".repeat(900)));
        let good = |card: &str| wanting(card, Judgement::Met);
        assert_eq!(fit(&[]).0, "Unknown");
        let all = fit(&[good("a"), good("b")]);
        assert_eq!((all.0, all.1.as_str()), ("True", "Fits"));
        let some = fit(&[good("a"), unknown("b")]);
        assert_eq!((some.0, some.1.as_str()), ("Unknown", "ImageFitNotKnown"));
        assert!(some.2.len() < 500, "{}", some.2);
        let cards = vec![
            good("a"),
            unfit("b"),
            unfit("c"),
            unfit("d"),
            unfit("e"),
            unknown("f"),
        ];
        let (holds, reason, message) = fit(&cards);
        assert_eq!((holds, reason.as_str()), ("False", "ImageDoesNotFit"));
        let told = "made for 1 of 6 cards that want it; not for b (another family), c (another family), d (another family) and 1 more; not known of f (xxx";
        assert!(message.starts_with(told), "{message}");
        let demand = Demand {
            wanting: cards,
            running: 3,
            ..Demand::default()
        };
        let told = super::cards(&demand);
        assert_eq!((told.wanted, told.fits, told.does_not_fit), (6, 1, 4));
        assert_eq!((told.not_known, told.running), (1, 3));
    }

    #[test]
    fn numbers_are_no_news_and_what_was_said_of_cards_stands_while_one_of_them_is_early() {
        let spec = serde_json::json!({
            "version": "1", "digest": format!("sha256:{}", "0".repeat(64)),
            "sources": ["http://192.0.2.9/a.iso"],
        });
        let mut object = DpuImage::new("i", serde_json::from_value(spec).unwrap());
        let stored = [("a".to_owned(), image(ImageState::Verified))];
        let now = Time(Timestamp::UNIX_EPOCH);
        let mut demand = Demand {
            findings: vec![finding(Trust::NotAsked)],
            wanting: vec![wanting("a", Judgement::Met)],
            ..Demand::default()
        };
        let first = status(&object, &stored, &demand, &now);
        assert!(is_news(None, &first));
        object.status = Some(first.clone());
        demand
            .wanting
            .push(wanting("b", Judgement::NotMet("why".into())));
        let second = status(&object, &stored, &demand, &now);
        assert_ne!(first, second);
        assert!(!is_news(Some(&first), &second), "numbers alone");
        demand.is_early = true;
        assert_eq!(status(&object, &stored, &demand, &now), first);
        demand.findings = vec![finding(Trust::Refused("flipped".into()))];
        assert!(is_news(
            Some(&first),
            &status(&object, &stored, &demand, &now)
        ));
    }
}
