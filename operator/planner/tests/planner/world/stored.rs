//! What the site's store tells of an image.

use lockstep_crds::directive::ImageFacts;
use lockstep_crds::report::{BootStreamReport, ImageState, SeedSlot, StoredImage};

/// What is read in an image once it is there. By default its agent tells nothing of that.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    pub size: Option<i64>,
    pub boot_stream: Option<BootStreamReport>,
    pub seed_slot: Option<SeedSlot>,
    pub efi_program: Option<bool>,
}

pub fn stored(wanted: &ImageFacts, state: ImageState, bytes: Option<&Bytes>) -> StoredImage {
    let has_failed = state == ImageState::Failed;
    let read = bytes.filter(|_| state == ImageState::Verified).cloned();
    let read = read.unwrap_or_default();
    StoredImage {
        signatures: Vec::new(),
        digest: wanted.digest.clone(),
        reason: has_failed.then(|| "NotFound".to_owned()),
        message: has_failed.then(|| "404".to_owned()),
        state,
        size_bytes: read.size,
        manifest: None,
        boot_stream: read.boot_stream,
        seed_slot: read.seed_slot,
        efi_program: read.efi_program,
    }
}
