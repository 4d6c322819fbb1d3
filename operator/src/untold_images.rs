//! Images of which a site's report has no room to tell.

use std::collections::BTreeSet;

use lockstep_crds::report::{ImageState, MOST_IMAGES, StoredImage};

use crate::author::Author;
use crate::key::Key;
use crate::world::World;

/// What is told of an image in place of the reports of those sites that want it and whose report is
/// full of others. One that is wanted since a moment ago may be among them for as long as the site's
/// agent has not told anew.
pub(crate) fn untold(
    world: &World,
    image: &Key,
    digest: &str,
    wanted_at: &BTreeSet<String>,
) -> Vec<(String, StoredImage)> {
    let mut untold = Vec::new();
    for (key, entry) in world.reports.within(&image.namespace) {
        if let (Some(Author::Site(site)), Some(report)) = (Author::of(&key.name), entry.readable())
            && wanted_at.contains(site)
            && is_beyond(&report.spec.images, digest)
        {
            untold.push((site.to_owned(), beyond(digest)));
        }
    }
    untold
}

fn is_beyond(told: &[StoredImage], digest: &str) -> bool {
    told.len() >= MOST_IMAGES && told.iter().all(|image| image.digest != digest)
}

fn beyond(digest: &str) -> StoredImage {
    StoredImage {
        digest: digest.to_owned(),
        state: ImageState::Failed,
        size_bytes: None,
        reason: Some("TooManyImages".to_owned()),
        message: Some(format!(
            "more than {MOST_IMAGES} images are wanted there, and the site's report has no room to tell of this one, so its cards wait; have policies and cards of the site name fewer images, or split the site"
        )),
        manifest: None,
        boot_stream: None,
        seed_slot: None,
        efi_program: None,
        signatures: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_a_full_report_does_not_tell_of_is_beyond_it() {
        let told = |count: usize| -> Vec<StoredImage> {
            let digests = (0..count).map(|at| format!("sha256:{at:064x}"));
            digests.map(|digest| beyond(&digest)).collect()
        };
        let (listed, other) = (format!("sha256:{:064x}", 3), format!("sha256:{:064x}", 999));
        assert!(is_beyond(&told(MOST_IMAGES), &other));
        assert!(!is_beyond(&told(MOST_IMAGES), &listed));
        assert!(!is_beyond(&told(MOST_IMAGES - 1), &other));
        assert!(!is_beyond(&[], &other));
    }
}
