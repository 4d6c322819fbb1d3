//! What keeps a card from being installed until a person does something, as far as it shows
//! before anything is begun.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::host::CardRecord;
use lockstep_crds::report::{ImageState, MediaOwner};

use crate::approval::is_approved;
use crate::card::{self, is_going, is_installed, record_of};
use crate::configuration;
use crate::host;
use crate::image_bytes;
use crate::install::{FETCH, image_ready};
use crate::intent::Intent;
use crate::pairing;
use crate::reason::Reason;
use crate::requirement;
use crate::road;
use crate::room;
use crate::stage;
use crate::vetting;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// Why a card that lacks its image cannot be installed before a person does something;
/// `None` if it can, or is not waited for.
pub(crate) fn obstacle(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Option<&'static str> {
    let wanted = match &card.wanted {
        _ if !is_to_get_one(view, card) => return None,
        Wanted::Nothing => return None,
        Wanted::Missing(_) => return Some("its DpuImage does not exist"),
        Wanted::Unchosen(_) => return Some("which image it is to get is not known"),
        Wanted::Image(wanted) => wanted,
    };
    let kept = lacking(record, card)?;
    let spec_of_card = &card.dpu.spec;
    let bmc = view.card_bmc(card, now);
    let identity = spec_of_card.identity.as_ref();
    let named =
        identity.is_some_and(|named| named.system_uuid.is_some() || named.serial_number.is_some());
    let is_local = is_on_its_disk(view, record, spec, card, kept, now);
    [
        (spec_of_card.paused, "it is paused"),
        (
            spec_of_card.site != view.host.spec.site,
            "it is in another site",
        ),
        (!card.conflicts.is_empty(), "its machine is claimed twice"),
        (spec_of_card.bmc.is_none(), "it has no BMC"),
        (spec_of_card.host_refs.len() > 1, "it names several hosts"),
        (!named, "it has no identity"),
        (
            pairing::proved(view, card, now).is_err(),
            "nobody vouches for its place, or sees it there",
        ),
        (
            vetting::passed(spec, card, kept, wanted).is_err(),
            "its image is not known to be trusted, made for it and recent enough",
        ),
        (
            requirement::met(record, card, kept, now).is_err(),
            "its image requires versions of its components that it is not known to run",
        ),
        (
            !is_local && room::allows(card, &wanted.version, &card.vetting, now).is_err(),
            "it lacks the disk that its image needs",
        ),
        (
            wipe::may_begin(card, kept, now).is_err(),
            "its wipe may not begin, or has failed",
        ),
        (
            configuration::is_refused(view, card, now),
            "its files cannot be made of its values",
        ),
        (
            kept.attempts >= spec.install.max_attempts,
            "its installs have failed as often as the policy allows",
        ),
        (
            !wipe::is_aimed(card)
                && kept.components.iter().any(|one| {
                    let over = one.attempts >= spec.install.max_attempts || one.given_up;
                    over && one.observed_at.is_none() && one.begun_at.is_none()
                }),
            "updates of its firmware have failed as often as the policy allows",
        ),
        (
            road::is_stuck(view, record, card, kept, spec, bmc, now),
            "a directive of it failed too often",
        ),
        (
            !is_local
                && view.images.iter().any(|image| {
                    image.digest == wanted.digest && image.state == ImageState::Failed
                }),
            "the site's store could not get its image",
        ),
        (
            image_bytes::keeps_out(view, spec, card).is_some(),
            "its image goes by none of the policy's install.methods",
        ),
        (
            bmc.is_some_and(|bmc| road::is_closed(view, record, card, spec, bmc, now)),
            "none of the policy's install.methods leads to it",
        ),
        (
            !spec.install.methods.contains(&AllowedMethod::Rshim)
                && bmc.is_some_and(|bmc| {
                    let road = road::choose(view, record, card, kept, spec, bmc, now);
                    road.is_ok_and(road::needs_cycle) && stage::may_be_cycled(bmc).is_err()
                }),
            "its BMC does not offer the resets that an install needs",
        ),
        (
            bmc.is_some_and(|bmc| bmc.media.owner == MediaOwner::Foreign),
            "foreign media are in its BMC",
        ),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

/// What a card that lacks its image waits for without anybody's help: until the store has read it, nobody
/// knows whether it can be installed.
pub(crate) fn unread(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Option<Intent> {
    let wanted = match &card.wanted {
        Wanted::Image(wanted) if is_to_get_one(view, card) => wanted,
        Wanted::Image(_) | Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => {
            return None;
        }
    };
    let kept = lacking(record, card)?;
    if is_on_its_disk(view, record, spec, card, kept, now) {
        return None;
    }
    image_ready(view, wanted).err()?;
    Some(Intent::wait(
        Reason::FetchingImage,
        format!(
            "{} is held once the site's store has the image of {} too, {} ({})",
            host::machine(view),
            card::machine(card),
            wanted.version,
            wanted.digest
        ),
        FETCH,
    ))
}

fn is_to_get_one(view: &View, card: &CardView) -> bool {
    !is_going(view, card) && is_approved(card)
}

/// The record of a card that was not seen to run what is wanted, and is not given up.
fn lacking<'a>(record: &'a DpuHostStatus, card: &CardView) -> Option<&'a CardRecord> {
    let kept = record_of(record, card)?;
    (!is_installed(record, card) && !kept.given_up).then_some(kept)
}

fn is_on_its_disk(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> bool {
    let road = view
        .card_bmc(card, now)
        .and_then(|bmc| road::choose(view, record, card, kept, spec, bmc, now).ok());
    road == Some(AllowedMethod::LocalStorage)
}
