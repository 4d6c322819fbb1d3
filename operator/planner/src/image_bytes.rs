//! What the bytes of an image say against an install, as the site's store has read them.
//!
//! Whoever carries an install out looks again, but by then the host is held. What the store has not told, as one
//! of an earlier release, stands in no way. An image on the card's own disk is asked nothing.

use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::report::{BmcReport, ImageState, SeedSlot, StoredImage};

use crate::reason::Reason;
use crate::view::{CardView, View, Wanted};

/// Why the wanted image does not go this way, if it does not; `facts` are those of the card's BMC.
pub(crate) fn closes(
    method: AllowedMethod,
    view: &View,
    card: &CardView,
    facts: Option<&BmcReport>,
) -> Option<(Reason, String)> {
    let wanted = match &card.wanted {
        Wanted::Image(wanted) => wanted,
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => return None,
    };
    let told = told(view, wanted)?;
    if !method.installs() || method == AllowedMethod::LocalStorage {
        return None;
    }
    let (reason, lack) = match seedless(told) {
        Some((reason, lack)) => (reason, lack.to_owned()),
        None => {
            let lack = not_taken(method, told).or_else(|| too_long(method, told, facts?))?;
            (Reason::NoInstallRoad, lack)
        }
    };
    Some((reason, format!("{} {lack}", wanted.version)))
}

/// Why it goes none of the policy's ways, whatever the card's BMC offers, if that is so.
pub(crate) fn keeps_out(
    view: &View,
    spec: &DpuBootPolicySpec,
    card: &CardView,
) -> Option<(Reason, String)> {
    let methods = spec.install.methods.iter();
    let methods = methods.filter(|method| method.installs());
    let closed: Option<Vec<_>> = methods
        .map(|method| closes(*method, view, card, None))
        .collect();
    closed?.into_iter().next()
}

/// What the store tells of the image, once it has all of it.
fn told<'a>(view: &'a View, wanted: &ImageFacts) -> Option<&'a StoredImage> {
    let mut images = view.images.iter();
    images.find(|image| image.digest == wanted.digest && image.state == ImageState::Verified)
}

/// A card knows by its seed who it is, so every install from the store lays one over the image.
fn seedless(told: &StoredImage) -> Option<(Reason, &'static str)> {
    match told.seed_slot.as_ref()? {
        SeedSlot::Absent => Some((Reason::NoSeedSlot, "has no seed slot")),
        SeedSlot::Ambiguous => Some((
            Reason::SeedSlotAmbiguous,
            "has more than one seed slot, so nobody can say which is meant",
        )),
        SeedSlot::One | SeedSlot::Unrecognized(_) => None,
    }
}

/// What kind of image does not go this way.
fn not_taken(method: AllowedMethod, told: &StoredImage) -> Option<String> {
    let is_stream = told.boot_stream.is_some();
    let lack = match method {
        AllowedMethod::VirtualMedia | AllowedMethod::UefiHttp | AllowedMethod::Pxe if is_stream => {
            "is a boot stream (BFB), which no card boots as a medium or from the network; Rshim takes one, and SimpleUpdate and MultipartPush of a BlueField's BMC"
        }
        AllowedMethod::Pxe if told.efi_program == Some(false) => {
            "is no EFI program, and firmware loads nothing else by PXE; make it a unified kernel image, or name another way"
        }
        // Whoever tells what else it is has looked for a stream too.
        AllowedMethod::Rshim if !is_stream && told.efi_program.is_some() => {
            "is no boot stream (BFB), and nothing else is pushed over rshim"
        }
        AllowedMethod::VirtualMedia
        | AllowedMethod::UefiHttp
        | AllowedMethod::Pxe
        | AllowedMethod::Rshim
        | AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::LocalStorage
        | AllowedMethod::DevlinkFlash => return None,
    };
    Some(lack.to_owned())
}

fn too_long(method: AllowedMethod, told: &StoredImage, facts: &BmcReport) -> Option<String> {
    match method {
        AllowedMethod::SimpleUpdate | AllowedMethod::MultipartPush => longer(told, facts),
        AllowedMethod::VirtualMedia
        | AllowedMethod::UefiHttp
        | AllowedMethod::Pxe
        | AllowedMethod::Rshim
        | AllowedMethod::LocalStorage
        | AllowedMethod::DevlinkFlash => None,
    }
}

/// Why the card's BMC takes no image of these bytes, if it says so; that it is firmware changes nothing.
pub(crate) fn not_updated_by(
    view: &View,
    wanted: &ImageFacts,
    facts: &BmcReport,
) -> Option<String> {
    let lack = longer(told(view, wanted)?, facts)?;
    Some(format!("{} {lack}", wanted.version))
}

fn longer(told: &StoredImage, facts: &BmcReport) -> Option<String> {
    let (size, most) = (told.size_bytes?, facts.capabilities.max_image_bytes?);
    (size > most)
        .then(|| format!("has {size} bytes, and its BMC takes at most {most} (MaxImageSizeBytes)"))
}
