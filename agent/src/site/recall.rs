//! What the site's report said of images before this process. It stands until this process has looked
//! itself, so that a restart takes no image from the cards that wait for it. Pure.
//!
//! It is no proof: the store hashes each image in this process before anything of it is handed out,
//! and whoever asks sooner waits for that.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::{ImageState, StoredImage, StoredSignature};
use lockstep_store::Digest;

use crate::site::signatures::places;
use crate::site::wanted::Wanted;

/// What the report said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Recalled {
    /// Of images, without their signatures.
    pub(super) images: Vec<StoredImage>,
    /// Of signatures, by the digest of the image, whatever became of that.
    pub(super) signatures: BTreeMap<String, Vec<StoredSignature>>,
}

/// What the report says of those images that are wanted still. `has` tells how long the file of that digest
/// is that the store has: none is told as verified without one that is whole. What another release said is
/// not taken over: it may have looked for less. Neither is a failure, whose grounds may be others by now.
pub(super) fn recalled(
    report: &DpuReportSpec,
    version: &str,
    wanted: &Wanted,
    has: impl Fn(&Digest) -> Option<u64>,
) -> Recalled {
    let mut found = Recalled::default();
    if report.agent_version != version {
        return found;
    }
    for told in &report.images {
        let digest = told.digest.parse::<Digest>().ok();
        let Some(image) = digest.and_then(|digest| wanted.get(&digest)) else {
            continue;
        };
        let mut told = told.clone();
        let places: BTreeSet<String> = image.signatures.iter().flat_map(places).collect();
        let mut signatures = std::mem::take(&mut told.signatures);
        signatures.retain(|one| places.contains(&one.source));
        if !signatures.is_empty() {
            found.signatures.insert(told.digest.clone(), signatures);
        }
        let has = has(&image.digest).and_then(|size| i64::try_from(size).ok());
        let stands = match told.state {
            ImageState::Failed => false,
            ImageState::Verified => has.is_some() && has == told.size_bytes,
            ImageState::Fetching | ImageState::Unrecognized(_) => true,
        };
        if stands {
            found.images.push(told);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use lockstep_crds::report::Vantage;

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
        assert_eq!(found.images, [coming.clone(), there]);
        assert_eq!(recalled(&report, "1.1", &wanted, has), Recalled::default());
        // A file that a crash has cut is not what was verified.
        let found = recalled(&report, VERSION, &wanted, |_| Some(8));
        assert_eq!(found.images, [coming]);
    }

    #[test]
    fn a_signature_stands_while_its_place_is_named() {
        let (named, other) = ("http://192.0.2.9/a.dsse", "http://192.0.2.9/b.dsse");
        // A signature needs no image: one that cannot be fetched may lie on a card's disk.
        for state in [ImageState::Verified, ImageState::Failed] {
            let told = told("a", state, &[named, other]);
            let of_named = vec![told.signatures[0].clone()];
            let report = report(vec![told.clone()]);
            let found = recalled(&report, VERSION, &wanted(&["a"], &[named]), |_| Some(9));
            let digest = told.digest.clone();
            assert_eq!(found.signatures, BTreeMap::from([(digest, of_named)]));
            let found = recalled(&report, VERSION, &wanted(&["a"], &[]), |_| Some(9));
            assert!(found.signatures.is_empty());
        }
    }
}
