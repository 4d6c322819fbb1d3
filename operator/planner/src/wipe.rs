//! Wiping a card: an image of kind `Wiper` is booted on it once, ordered to wipe, and tells what
//! became of each part.
//!
//! As long as a wipe is wanted and not through, the card is planned as if the wiper were the image
//! that is wanted of it. So what holds of an install holds of it: the machine is proved, the host
//! not in use, the image trusted; and nothing else is done to the card meanwhile. What differs
//! stands here: that it is confirmed, that each token boots the card once at most whatever comes of
//! it, and that nothing but the wiper's own word for that token ends it.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::boot_policy::AllowedMethod;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::CardRecord;
use lockstep_crds::report::OsReport;
use lockstep_crds::wipe::{NO_DISK, WipeItem, WipeOrder, WipeRecord, WipeResult, WipeSpec};
use lockstep_crds::{DpuHostStatus, MachineIdentity};

use crate::approval::is_approved;
use crate::card::machine;
use crate::failure;
use crate::firmware_record;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::torn;
use crate::view::{CardView, View, Wanted};

/// How far ahead `notAfter` may lie: no wish waits for longer in a repository.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// Tokens that are remembered.
const EARLIER: usize = 16;

/// The view in which what wipes is wanted of the cards that are to be wiped, and nothing of those
/// that are retired.
pub(crate) fn aimed<'a>(view: &'a View, record: &DpuHostStatus) -> Cow<'a, View> {
    let mut aimed = Cow::Borrowed(view);
    for (index, card) in view.cards.iter().enumerate() {
        if is_wanted(card, record_of(record, card)) {
            aim_at_wiper(&mut aimed.to_mut().cards[index]);
        } else if card.dpu.spec.retired {
            let retired = &mut aimed.to_mut().cards[index];
            retired.wanted = Wanted::Nothing;
            retired.fallback = None;
            retired.golden = None;
            retired.firmware.clear();
            retired.services.clear();
        }
    }
    aimed
}

/// The record of the card, under this object or one before it.
fn record_of<'a>(record: &'a DpuHostStatus, card: &CardView) -> Option<&'a CardRecord> {
    let physical = card.physical_id();
    record.record_of(&card.uid()).or_else(|| {
        let mut cards = record.cards.iter();
        cards.find(|kept| !physical.is_empty() && kept.physical_id == physical)
    })
}

/// Whether a wipe is asked for that is not through.
fn is_wanted(card: &CardView, kept: Option<&CardRecord>) -> bool {
    let Some(wish) = &card.dpu.spec.wipe else {
        return false;
    };
    let known = kept.and_then(|kept| kept.wipe.as_ref());
    let done = known.is_some_and(|known| known.token == wish.token && known.is_done());
    is_approved(card) && !done
}

fn aim_at_wiper(card: &mut CardView) {
    card.fallback = None;
    card.golden = None;
    card.configuration = None;
    card.brought.clear();
    card.wanted = match (&card.wiper, &card.dpu.spec.wipe) {
        (Some(wiper), _) => Wanted::Image(wiper.image.clone()),
        (None, Some(wish)) => Wanted::Missing(wish.image_ref.name.clone()),
        (None, None) => Wanted::Nothing,
    };
    if let Some(wiper) = &card.wiper {
        card.requirements.clone_from(&wiper.requirements);
        card.vetting.clone_from(&wiper.vetting);
    }
}

/// What the card's wiper is ordered, in the view in which it is wanted.
pub(crate) fn order(card: &CardView) -> Option<WipeOrder> {
    let wish = card.dpu.spec.wipe.as_ref()?;
    let wiper = card.wiper.as_ref()?;
    (card.wanted == Wanted::Image(wiper.image.clone())).then(|| WipeOrder {
        token: wish.token.clone(),
        identity: card.dpu.spec.identity.clone().unwrap_or_default(),
    })
}

/// Whether the card is to be wiped now.
pub(crate) fn is_aimed(card: &CardView) -> bool {
    order(card).is_some()
}

/// The same, or its wiper does not exist yet.
pub(crate) fn is_asked(card: &CardView) -> bool {
    let wish = card.dpu.spec.wipe.as_ref();
    let missing = wish.filter(|_| card.wiper.is_none());
    let awaits = |wish: &WipeSpec| card.wanted == Wanted::Missing(wish.image_ref.name.clone());
    is_aimed(card) || missing.is_some_and(awaits)
}

/// What is recorded of the present wish.
fn of_this_wish<'a>(card: &CardView, kept: &'a CardRecord) -> Option<&'a WipeRecord> {
    let wish = card.dpu.spec.wipe.as_ref()?;
    kept.wipe.as_ref().filter(|wipe| wipe.token == wish.token)
}

/// Whether somebody wants a wipe of a card whose record is about an earlier one.
pub(crate) fn is_new_wish(card: &CardView, kept: &CardRecord) -> bool {
    let is_used = kept.booted_at.is_some() || kept.observed_at.is_some() || kept.attempts > 0;
    is_aimed(card) && of_this_wish(card, kept).is_none() && is_used
}

/// Whether the report of a system that runs says nothing of this wish: that of an earlier wipe.
pub(crate) fn does_not_count(card: &CardView, kept: &CardRecord) -> bool {
    is_aimed(card) && kept.booted_at.is_none()
}

/// Whether what is armed there carries the order of this wish.
pub(crate) fn is_staged(card: &CardView, kept: &CardRecord) -> bool {
    !is_aimed(card) || of_this_wish(card, kept).is_some()
}

/// Books the order that goes to the card with what is staged.
pub(crate) fn book_order(card: &CardView, kept: &mut CardRecord) {
    let (Some(_), Some(wish)) = (order(card), &card.dpu.spec.wipe) else {
        return;
    };
    if of_this_wish(card, kept).is_none() {
        let before = kept.wipe.take();
        let until = before.as_ref().map(|before| before.not_after.clone());
        let until = until.map_or_else(
            || wish.not_after.clone(),
            |until| later(&until, &wish.not_after),
        );
        kept.wipe = Some(WipeRecord {
            token: wish.token.clone(),
            begun_at: None,
            ended_at: None,
            items: Vec::new(),
            // An earlier wish may be applied again as long as it is good.
            not_after: until,
            earlier: before.map(spent).unwrap_or_default(),
        });
    }
}

fn later(one: &Time, other: &Time) -> Time {
    Time(one.0.max(other.0))
}

/// The tokens that are carried out no more after this one.
fn spent(before: WipeRecord) -> Vec<String> {
    let mut earlier = before.earlier;
    if before.begun_at.is_some() {
        earlier.push(before.token);
    }
    let over = earlier.len().saturating_sub(EARLIER);
    earlier.drain(..over);
    earlier
}

/// Books that the card is powered on with the order, by whomever.
pub(crate) fn book_boot(kept: &mut CardRecord, image: &ImageFacts, wiper: Option<&ImageFacts>) {
    if wiper.map(|wiper| &wiper.digest) != Some(&image.digest) {
        return;
    }
    let begun_at = kept.booted_at.clone();
    if let Some(wipe) = kept.wipe.as_mut().filter(|wipe| wipe.begun_at.is_none()) {
        wipe.begun_at = begun_at;
    }
}

/// Takes that back where it is certain that the card was not powered on.
pub(crate) fn never_begun(kept: &mut CardRecord) {
    let booted_at = kept.booted_at.clone();
    if let Some(wipe) = kept
        .wipe
        .as_mut()
        .filter(|wipe| wipe.ended_at.is_none() && wipe.begun_at == booted_at)
    {
        wipe.begun_at = None;
    }
}

/// Records what the wiper tells of this wish.
pub(crate) fn absorb(card: &CardView, kept: &mut CardRecord, now: Timestamp) {
    let (Some(order), Some(wish)) = (order(card), &card.dpu.spec.wipe) else {
        return;
    };
    if let Some(wipe) = kept.wipe.as_mut().filter(|wipe| wipe.token == wish.token) {
        wipe.not_after = later(&wipe.not_after, &wish.not_after);
    }
    let wiper = card.wiper.as_ref().map(|wiper| &wiper.image.digest);
    // What runs before the wiper is booted is what it is to wipe.
    let is_wiper = |os: &&OsReport| {
        os.image_digest.as_ref() == wiper && kept.epoch_before.as_ref() != Some(&os.boot_epoch)
    };
    let told = card.live_os(now).filter(is_wiper);
    let told = told.and_then(|os| os.wipe.as_ref());
    let Some(told) = told.filter(|told| told.token == order.token) else {
        return;
    };
    let begun = |wipe: &&mut WipeRecord| {
        wipe.token == wish.token && wipe.begun_at.is_some() && wipe.ended_at.is_none()
    };
    if let Some(wipe) = kept.wipe.as_mut().filter(begun) {
        wipe.ended_at = Some(Time(now));
        wipe.items = told.items.iter().map(|one| judged(wish, one)).collect();
    }
}

/// A disk that the wiper's system has no driver for is one that it does not see.
fn judged(wish: &WipeSpec, told: &WipeItem) -> WipeItem {
    if told.item != NO_DISK || told.result != WipeResult::NotSupported || wish.diskless {
        return told.clone();
    }
    WipeItem {
        result: WipeResult::Failed,
        message: Some(
            "the wiper saw no disk: its system may lack the driver; if the card has none, wish it with wipe.diskless and another token"
                .to_owned(),
        ),
        ..told.clone()
    }
}

/// Whether a record outlives its `Dpu`, so that one applied anew is not wiped again.
pub(crate) fn outlives(kept: &CardRecord, now: Timestamp) -> bool {
    let carried_out = |wipe: &&WipeRecord| wipe.begun_at.is_some() || !wipe.earlier.is_empty();
    let wipe = kept.wipe.as_ref().filter(carried_out);
    wipe.is_some_and(|wipe| now < wipe.not_after.0)
}

/// Whether the card may be armed, and booted, to be wiped. `Err` is what stands against it.
pub(crate) fn may_begin(card: &CardView, kept: &CardRecord, now: Timestamp) -> Result<(), Intent> {
    let (Some(_), Some(wish)) = (order(card), &card.dpu.spec.wipe) else {
        return Ok(());
    };
    let refused = |why: String| {
        let what = format!("{} is not wiped: {why}", machine(card));
        Err(Intent::stall(Reason::WipeRefused, what))
    };
    if of_this_wish(card, kept).is_some_and(|wipe| wipe.begun_at.is_some()) {
        return Err(failed(card, kept));
    }
    let known = kept.wipe.as_ref();
    // The record of the host that it sat in before is not this one's.
    let shown = card.dpu.status.as_ref();
    let shown = shown.and_then(|status| status.wipe.as_ref());
    let elsewhere = shown.is_some_and(|shown| {
        shown.token == wish.token && shown.begun_at.is_some() && of_this_wish(card, kept).is_none()
    });
    if elsewhere || known.is_some_and(|known| known.earlier.contains(&wish.token)) {
        return refused(format!("token {} was carried out before", wish.token));
    }
    let identity = card.dpu.spec.identity.clone().unwrap_or_default();
    if !names(&identity, &wish.confirm) {
        return refused(format!(
            "confirm says {:?}, which is neither serialNumber nor systemUuid in its identity",
            wish.confirm
        ));
    }
    if now > wish.not_after.0 {
        return refused(format!("it was to begin before {}", wish.not_after.0));
    }
    if wish.not_after.0 > now + AHEAD {
        return refused(format!(
            "notAfter is {}, which is more than 24 hours ahead",
            wish.not_after.0
        ));
    }
    if let Some(end) = firmware_record::update_end(kept, now) {
        return Err(Intent::wait_until(
            Reason::AwaitingFirmware,
            format!("firmware may be being written until {end}; the card is wiped after that"),
            end,
        ));
    }
    if let Some(why) = torn::stalled(kept) {
        return Err(why);
    }
    Ok(())
}

/// When what stands against a wish ends, or begins.
pub(crate) fn due(view: &View) -> impl Iterator<Item = Timestamp> + '_ {
    let wishes = view.cards.iter().filter(|card| is_aimed(card));
    let wishes = wishes.filter_map(|card| card.dpu.spec.wipe.as_ref());
    wishes.flat_map(|wish| {
        let until = wish.not_after.0;
        // Somebody may have written the end of time.
        let spans = [-AHEAD, SignedDuration::from_secs(1)];
        spans
            .into_iter()
            .filter_map(move |span| until.checked_add(span).ok())
    })
}

fn names(identity: &MachineIdentity, confirm: &str) -> bool {
    let confirm = confirm.trim();
    let serial = identity.serial_number.as_deref().map(str::trim);
    let uuid = identity.system_uuid.as_deref().map(str::trim);
    serial == Some(confirm) || uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(confirm))
}

/// What people read of a wipe that began and is not through.
pub(crate) fn failed(card: &CardView, kept: &CardRecord) -> Intent {
    let name = machine(card);
    let Some(wipe) = of_this_wish(card, kept).filter(|wipe| wipe.ended_at.is_some()) else {
        let begun = kept.wipe.as_ref().and_then(|wipe| wipe.begun_at.as_ref());
        let begun = begun.map_or_else(String::new, |at| format!(" at {}", at.0));
        let seen = match &card.wanted {
            Wanted::Image(wanted) => failure::told(kept, wanted),
            Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => String::new(),
        };
        return Intent::stall(
            Reason::WipeFailed,
            format!(
                "{name} was told{begun} to boot its wiper, which has not told what became of it: what the card held may be there still{seen}"
            ),
        );
    };
    let left = wipe
        .items
        .iter()
        .filter(|one| !matches!(one.result, WipeResult::Wiped | WipeResult::NotSupported));
    let left: Vec<String> = left
        .map(|one| match &one.message {
            Some(message) => format!("{} ({message})", one.item),
            None => one.item.clone(),
        })
        .collect();
    let left = if left.is_empty() {
        "the wiper tells of nothing that it wiped".to_owned()
    } else {
        format!("not wiped: {}", left.join("; "))
    };
    Intent::stall(Reason::WipeFailed, format!("{name}: {left}"))
}

/// Why a wiper does not go this way, if it does not.
pub(crate) fn closes(method: AllowedMethod, card: &CardView) -> Option<String> {
    let lack = match method {
        AllowedMethod::VirtualMedia | AllowedMethod::UefiHttp => return None,
        AllowedMethod::LocalStorage => "a wiper is on no disk",
        AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::Rshim
        | AllowedMethod::DevlinkFlash => {
            "it writes an image to the card, and a wiper is booted once instead"
        }
        AllowedMethod::Pxe => {
            "whoever claims its address on the boot network could tell in its wiper's place that it is wiped"
        }
    };
    is_aimed(card).then(|| lack.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(token: &str, begun: bool, earlier: &[&str]) -> WipeRecord {
        WipeRecord {
            token: token.to_owned(),
            begun_at: begun.then_some(Time(Timestamp::UNIX_EPOCH)),
            ended_at: None,
            items: Vec::new(),
            not_after: Time(Timestamp::UNIX_EPOCH),
            earlier: earlier.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn a_token_that_booted_nothing_is_not_spent() {
        assert_eq!(spent(record("b", true, &["a"])), ["a", "b"]);
        assert_eq!(spent(record("b", false, &["a"])), ["a"]);
        let many: Vec<String> = (0..EARLIER).map(|one| one.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let left = spent(record("last", true, &many));
        assert_eq!(
            (left.len(), left.last().unwrap().as_str()),
            (EARLIER, "last")
        );
    }

    #[test]
    fn a_card_is_confirmed_by_serial_number_or_uuid_in_any_case() {
        let identity = MachineIdentity {
            system_uuid: Some("AB000000-0000-0000-0000-000000000001".to_owned()),
            serial_number: Some("MT-7".to_owned()),
        };
        assert!(names(&identity, "MT-7"));
        assert!(names(&identity, "ab000000-0000-0000-0000-000000000001"));
        assert!(!names(&identity, "mt-7"));
        assert!(!names(&MachineIdentity::default(), ""));
    }
}
