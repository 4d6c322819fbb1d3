//! What the site's report said of images before this process. It stands until this process has looked
//! itself, so that a restart takes no image from the cards that wait for it. Pure.
//!
//! It is no proof: the store hashes each image in this process before anything of it is handed out,
//! and whoever asks sooner waits for that.

use std::collections::BTreeSet;

use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::{ImageState, StoredImage};
use lockstep_store::Digest;

use crate::site::signatures::places;
use crate::site::wanted::Wanted;

/// What the report says of those images that are wanted still. `has` tells how long the file of that digest
/// is that the store has: none is told as verified without one that is whole. What another release said is
/// not taken over: it may have looked for less. Neither is a failure, whose grounds may be others by now.
pub(super) fn recalled(
    report: &DpuReportSpec,
    version: &str,
    wanted: &Wanted,
    has: impl Fn(&Digest) -> Option<u64>,
) -> Vec<StoredImage> {
    if report.agent_version != version {
        return Vec::new();
    }
    let recall = |told: &StoredImage| {
        let image = wanted.get(&told.digest.parse::<Digest>().ok()?)?;
        if told.state == ImageState::Failed {
            return None;
        }
        let has = has(&image.digest).and_then(|size| i64::try_from(size).ok());
        if told.state == ImageState::Verified && (has.is_none() || has != told.size_bytes) {
            return None;
        }
        let places: BTreeSet<String> = image.signatures.iter().flat_map(places).collect();
        let mut told = told.clone();
        told.signatures.retain(|one| places.contains(&one.source));
        Some(told)
    };
    report.images.iter().filter_map(recall).collect()
}

#[cfg(test)]
mod tests {
    use lockstep_crds::report::{StoredSignature, Vantage};

    use super::*;
    use crate::clock;
    use crate::site::wanted::{WantedImage, WantedSignature, WantedSource};

    const VERSION: &str = "1.0";

    fn told(name: &str, state: ImageState, signed_at: &[&str]) -> StoredImage {
        let signature = |source: &&str| StoredSignature {
            source: (*source).to_owned(),
            envelope: Some("{}".to_owned()),
            artefact: None,
            reason: None,
            message: None,
        };
        StoredImage {
            digest: Digest::of(name.as_bytes()).to_string(),
            state,
            size_bytes: Some(9),
            reason: None,
            message: None,
            manifest: None,
            boot_stream: None,
            seed_slot: None,
            efi_program: None,
            signatures: signed_at.iter().map(signature).collect(),
        }
    }

    fn report(images: Vec<StoredImage>) -> DpuReportSpec {
        DpuReportSpec {
            images,
            ..DpuReportSpec::new(Vantage::Site, "s", VERSION, clock::now())
        }
    }

    fn wanted(names: &[&str], signed_at: &[&str]) -> Wanted {
        let source = |text: &&str| WantedSource {
            place: text.parse().unwrap(),
            pull_secret: None,
        };
        let image = |name: &&str| WantedImage {
            digest: Digest::of(name.as_bytes()),
            size: None,
            sources: Vec::new(),
            signatures: vec![WantedSignature::Dsse(
                signed_at.iter().map(source).collect(),
            )],
        };
        let images = names.iter().map(image);
        images.map(|image| (image.digest, image)).collect()
    }

    #[test]
    fn what_was_told_stands_where_it_is_wanted_and_nothing_is_there_that_is_not() {
        let coming = told("coming", ImageState::Fetching, &[]);
        let there = told("there", ImageState::Verified, &[]);
        let images = vec![
            told("failed", ImageState::Failed, &[]),
            coming.clone(),
            there.clone(),
            told("lost", ImageState::Verified, &[]),
            told("unwanted", ImageState::Verified, &[]),
        ];
        let report = report(images);
        let wanted = wanted(&["failed", "coming", "there", "lost", "never told"], &[]);
        let lost = Digest::of(b"lost");
        let has = |digest: &Digest| (*digest != lost).then_some(9);
        let found = recalled(&report, VERSION, &wanted, has);
        assert_eq!(found, [coming.clone(), there]);
        assert!(recalled(&report, "1.1", &wanted, has).is_empty());
        // A file that a crash has cut is not what was verified.
        let found = recalled(&report, VERSION, &wanted, |_| Some(8));
        assert_eq!(found, [coming]);
    }

    #[test]
    fn a_signature_stands_while_its_place_is_named() {
        let (named, other) = ("http://192.0.2.9/a.dsse", "http://192.0.2.9/b.dsse");
        let report = report(vec![told("a", ImageState::Verified, &[named, other])]);
        let found = recalled(&report, VERSION, &wanted(&["a"], &[named]), |_| Some(9));
        assert_eq!(found, [told("a", ImageState::Verified, &[named])]);
        let found = recalled(&report, VERSION, &wanted(&["a"], &[]), |_| Some(9));
        assert_eq!(found, [told("a", ImageState::Verified, &[])]);
    }
}
