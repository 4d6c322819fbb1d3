//! What one card needs next: install, adopt, clean up, or be left alone.

use jiff::Timestamp;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{Action, ActionKind, Expects, ImageFacts, Step, Target, TargetKind};
use lockstep_crds::host::{ArmedEffect, CardRecord};
use lockstep_crds::image::ImageSlot;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, OsReport};
use lockstep_crds::{DpuHostStatus, names};

use crate::approval::{is_approved, refused};
use crate::armed_firmware;
use crate::arriving::arriving;
use crate::boot_order;
use crate::bundle;
use crate::card_record::{CARDS, hazard_end, install_end, supersedes, writing_end};
use crate::drift;
use crate::drift_words::{in_short, system_changed};
use crate::fetch;
use crate::firmware;
use crate::firmware_record::{self, is_under_way};
use crate::give_back::{give_back, is_awaited};
use crate::host;
use crate::install::{disarmed, install};
use crate::intent::{Draft, Intent, plain};
use crate::network_boot;
use crate::reach;
use crate::reason::Reason;
use crate::repair;
use crate::retire;
use crate::roll_back;
use crate::slots;
use crate::stage;
use crate::torn;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

pub use crate::card_record::absorb;

pub(crate) fn record_of<'a>(record: &'a DpuHostStatus, card: &CardView) -> Option<&'a CardRecord> {
    let uid = card.uid();
    record.cards.iter().find(|kept| kept.uid == uid)
}

/// Whether this record is about the card, under this object or one before it.
pub(crate) fn is_recorded(record: &DpuHostStatus, card: &CardView) -> bool {
    let (uid, physical) = (card.uid(), card.physical_id());
    let same = |id: &str| !physical.is_empty() && id == physical;
    let mut cards = record.cards.iter();
    cards.any(|kept| kept.uid == uid || same(&kept.physical_id))
}

/// Whether the wanted image has been seen running on the card since its install.
pub fn is_installed(record: &DpuHostStatus, card: &CardView) -> bool {
    let Wanted::Image(wanted) = &card.wanted else {
        return false;
    };
    record_of(record, card).is_some_and(|kept| {
        kept.observed_at.is_some()
            && kept.image.as_ref().map(|image| &image.digest) == Some(&wanted.digest)
    })
}

/// Whether the card or its host is being deleted.
pub fn is_going(view: &View, card: &CardView) -> bool {
    card.dpu.metadata.deletion_timestamp.is_some() || host::is_going(view)
}

/// Whether nothing is wanted of the card any more, or nothing may be done to it, so that what
/// was begun is undone. Without the policy that may name an image nobody can tell.
pub(crate) fn is_withdrawn(view: &View, card: &CardView) -> bool {
    let nothing = card.wanted == Wanted::Nothing && card.firmware.is_empty();
    let unwanted = nothing && view.policy.is_some();
    is_going(view, card) || unwanted || !is_approved(card)
}

/// Until when an install or an update of firmware may still be writing to the card, if one may.
pub fn install_ends(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> Option<Timestamp> {
    writing_end(view, record_of(record, card)?, now)
}

/// The same, but for firmware that is written and only waits for what lets it run.
pub(crate) fn writes_until(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> Option<Timestamp> {
    hazard_end(view, record_of(record, card)?, now)
}

/// Whether the card of a record belongs to this host.
pub(crate) fn is_here(view: &View, kept: &CardRecord) -> bool {
    view.cards.iter().any(|card| card.uid() == kept.uid)
}

/// Until when an install may still be writing to a card that belongs to this host no more.
pub(crate) fn left_installing(
    view: &View,
    record: &DpuHostStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    record
        .cards
        .iter()
        .filter(|kept| !is_here(view, kept))
        .filter_map(|kept| writing_end(view, kept, now))
        .max()
}

/// Whether a host is held for this card, or would be. A card without a record is one too
/// many, and one that was given up is what the host went on without.
pub fn needs_hold(view: &View, record: &DpuHostStatus, card: &CardView, now: Timestamp) -> bool {
    if is_withdrawn(view, card) {
        return install_ends(view, record, card, now).is_some()
            || returns(view, record, card, now)
            || retire::goes_down(view, record, card, now);
    }
    let is_left_out = match record_of(record, card) {
        Some(kept) => kept.given_up,
        None => record.cards.len() >= CARDS,
    };
    let kept = record_of(record, card);
    let firmware = kept.is_some_and(|kept| firmware::awaits(view, record, card, kept, now));
    // Without the policy that may name an image nobody can tell whether one is wanted.
    if card.wanted == Wanted::Nothing && view.policy.is_some() {
        let goes_on = install_ends(view, record, card, now).is_some();
        return firmware || goes_on || returns(view, record, card, now);
    }
    firmware || !is_left_out && (!is_installed(record, card) || returns(view, record, card, now))
}

/// Whether the card is as it was to become before the host goes on.
pub(crate) fn is_served(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> bool {
    let with_firmware = card.wanted == Wanted::Nothing && !card.firmware.is_empty();
    let firm = || {
        let kept = record_of(record, card);
        kept.is_some_and(|kept| firmware::is_as_wanted(view, card, kept, now))
    };
    is_installed(record, card) || with_firmware && firm()
}

/// Whether the host waits for this card to be powered on again.
pub(crate) fn returns(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    now: Timestamp,
) -> bool {
    record_of(record, card).is_some_and(|kept| is_awaited(view, record, card, kept, now))
}

/// What the card needs next. Without a policy only what was begun is undone.
pub fn intent(
    view: &View,
    record: &DpuHostStatus,
    spec: Option<&DpuBootPolicySpec>,
    card: &CardView,
    now: Timestamp,
) -> Intent {
    let needed = needed(view, record, spec, card, now);
    let needed = match record_of(record, card) {
        Some(kept) => roll_back::told(kept, card, needed),
        None => needed,
    };
    let needed = torn::guarded(view, record, needed, now);
    if let Intent::Act(draft) = &needed
        && draft.target.uid == card.uid()
        && let Some(kept) = record_of(record, card)
        && let Some(why) = armed_firmware::refused_by(view, card, kept, &draft.action.kind)
    {
        return armed_firmware::told(why);
    }
    match needed {
        Intent::Act(draft) if card.dpu.spec.paused && !is_going(view, card) => {
            paused(&draft.message)
        }
        Intent::Taint(step) if card.dpu.spec.paused && !is_going(view, card) => {
            paused(step.message())
        }
        Intent::Act(_)
        | Intent::Taint(_)
        | Intent::Wait(..)
        | Intent::Hold(_)
        | Intent::Stall(_)
        | Intent::Done => needed,
    }
}

fn paused(next: &str) -> Intent {
    Intent::hold(
        Reason::Paused,
        format!("paused; the next step would be: {next}"),
    )
}

/// A card that is of this host's site, and that no other object stands for.
pub(crate) fn require_one_place(view: &View, card: &CardView) -> Result<(), Intent> {
    if card.dpu.spec.site != view.host.spec.site {
        return Err(Intent::stall(
            Reason::SitesDiffer,
            format!(
                "{} is in site {} and {} in site {}",
                machine(card),
                card.dpu.spec.site,
                host::machine(view),
                view.host.spec.site
            ),
        ));
    }
    match card.conflicts.first() {
        Some(conflict) => Err(Intent::stall(Reason::IdentityConflict, conflict.clone())),
        None => Ok(()),
    }
}

/// Nobody asks the other hosts of a card that is in several.
pub(crate) fn require_one_host(card: &CardView) -> Result<(), Intent> {
    if card.dpu.spec.host_refs.len() > 1 {
        return Err(Intent::stall(
            Reason::SeveralHostsUnsupported,
            "the card names several hosts",
        ));
    }
    Ok(())
}

fn needed(
    view: &View,
    record: &DpuHostStatus,
    spec: Option<&DpuBootPolicySpec>,
    card: &CardView,
    now: Timestamp,
) -> Intent {
    let kept = record_of(record, card);
    if is_withdrawn(view, card) {
        return undo(view, record, card, now);
    }
    let Some(spec) = spec else {
        if let Some(until) = arriving(&view.host.metadata, now) {
            return Intent::wait_until(Reason::Inspecting, "waiting for the host's policy", until);
        }
        return Intent::stall(
            Reason::PolicyNotFound,
            format!(
                "DpuBootPolicy {} does not exist",
                view.host.spec.policy_ref.name
            ),
        );
    };
    if let Err(why) = require_one_place(view, card) {
        return why;
    }
    // What wipes a card powers it on too, and nothing is written over meanwhile.
    let armed = kept.filter(|kept| wipe::is_asked(card) && kept.observed_at.is_none());
    let armed = armed.filter(|kept| install_end(view, kept, now).is_none());
    if let Some(why) = armed.and_then(|kept| armed_firmware::refused(view, card, kept)) {
        return armed_firmware::told(why);
    }
    let firmware = kept.filter(|_| !wipe::is_asked(card));
    let firmware = firmware.and_then(|kept| firmware::next(view, record, spec, card, kept, now));
    if let Some(next) = firmware {
        let led = kept.and_then(|kept| led_meanwhile(view, record, spec, card, kept, now));
        return match (next, led, kept) {
            (next @ (Intent::Act(_) | Intent::Taint(_) | Intent::Done), _, _) => next,
            (_, Some(led), _) => led,
            // Nobody comes back to a card that was stopped for firmware which is not written again.
            (next @ Intent::Stall(_), None, Some(kept)) if firmware_is_over(kept) => {
                let stays = kept.is_as_it_stays();
                owed(view, record, card, kept, stays, now).unwrap_or(next)
            }
            (next, None, _) => next,
        };
    }
    let wanted = match &card.wanted {
        Wanted::Image(image) => image,
        Wanted::Missing(name) => return without_image(view, kept, card, name, now),
        Wanted::Unchosen(_) if kept.is_none() && record.cards.len() >= CARDS => {
            return too_many_cards(view);
        }
        Wanted::Unchosen(why) => return unchosen(view, kept, card, why, now),
        // Its firmware alone is wanted.
        Wanted::Nothing => {
            let rest = undo(view, record, card, now);
            let is_idle = matches!(&rest, Intent::Hold(why) if why.reason == Reason::NoImageWanted);
            let drifted = kept
                .filter(|_| is_idle)
                .and_then(|kept| in_short(card, kept));
            return drifted.map_or(rest, Intent::Stall);
        }
    };
    if kept.is_none() && record.cards.len() >= CARDS {
        return too_many_cards(view);
    }
    let Some(kept) = kept else {
        return Intent::wait(
            Reason::Inspecting,
            "waiting for facts about this card",
            reach::SILENCE,
        );
    };
    if kept.observed_at.is_some() && !supersedes(kept, card, wanted) {
        if wipe::is_aimed(card) {
            return disarmed(view, card, kept, wipe::failed(card, kept), now);
        }
        let next = installed(view, record, spec, kept, card, wanted, now);
        if next != Intent::Done {
            return next;
        }
        // Of a component that its BMC does not list now nobody has seen that it is as wanted again.
        let lacks = bundle::rest(record, spec, card, kept, now);
        let drifted = || in_short(card, kept).map(Intent::Stall);
        return lacks.or_else(drifted).unwrap_or(next);
    }
    install(view, record, spec, card, kept, wanted, now).unwrap_or_else(|why| why)
}

/// What a card that runs its stateless image needs for its next boot while its firmware waits for
/// something, unless its BMC may be writing.
fn led_meanwhile(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Intent> {
    let Wanted::Image(wanted) = &card.wanted else {
        return None;
    };
    let runs = kept.observed_at.is_some() && !supersedes(kept, card, wanted);
    if !wanted.stateless || !runs || firmware_record::update_end(kept, now).is_some() {
        return None;
    }
    network_boot::keep(view, record, spec, kept, card, wanted, now)
        .filter(|next| matches!(next, Intent::Act(_)))
}

/// Whether a card whose firmware needs a person may go on as it is: nothing was begun that is not over.
fn firmware_is_over(kept: &CardRecord) -> bool {
    !kept.components.iter().any(is_under_way)
}

fn too_many_cards(view: &View) -> Intent {
    let host = host::machine(view);
    Intent::stall(
        Reason::TooManyCards,
        format!("{host} has more than {CARDS} cards"),
    )
}

fn nothing_wanted() -> Intent {
    Intent::hold(Reason::NoImageWanted, "no image is wanted on this card")
}

/// Nothing is wanted of the card any more: an install that may be writing is let
/// finish, what is armed is taken back, and a card that was stopped runs again.
fn undo(view: &View, record: &DpuHostStatus, card: &CardView, now: Timestamp) -> Intent {
    let idle = if is_going(view, card) {
        Intent::Done
    } else if !is_approved(card) {
        refused(card)
    } else if retire::is_retired(card) {
        retire::rest(view, record, card, now)
    } else {
        let kept = record_of(record, card);
        let armed = kept.and_then(|kept| armed_firmware::refused(view, card, kept));
        let torn = kept.and_then(torn::stalled);
        torn.unwrap_or_else(|| armed.map_or_else(nothing_wanted, armed_firmware::told))
    };
    let Some(kept) = record_of(record, card) else {
        return idle;
    };
    if let Some(end) = firmware_record::update_end(kept, now) {
        // What only waits may run: nothing can take it back.
        if firmware_record::hazard_end(kept, now).is_none()
            && let Some(owed) = owed(view, record, card, kept, kept.armed.is_empty(), now)
        {
            return owed;
        }
        return Intent::wait_until(
            Reason::UndoingBeforeDelete,
            format!("firmware may be being written to the card, which is awaited until {end}"),
            end,
        );
    }
    if let Some(end) = install_end(view, kept, now) {
        return Intent::wait_until(
            Reason::UndoingBeforeDelete,
            format!(
                "an install is under way; media and boot override are taken back when its system is seen, or at {end}"
            ),
            end,
        );
    }
    if kept.armed.is_empty() {
        return give_back(view, record, card, kept, now).unwrap_or(idle);
    }
    clear(view, kept, card, now)
}

/// What a card needs that was stopped, before nothing more is done to it. `boots`: whether it may boot
/// with what is armed there.
pub(crate) fn owed(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    boots: bool,
    now: Timestamp,
) -> Option<Intent> {
    kept.stopping.as_ref()?;
    if !boots {
        return Some(clear(view, kept, card, now));
    }
    give_back(view, record, card, kept, now)
}

/// The image's object is gone. What runs goes on, what is over is cleaned up.
fn without_image(
    view: &View,
    kept: Option<&CardRecord>,
    card: &CardView,
    name: &str,
    now: Timestamp,
) -> Intent {
    if let Some(left) = kept.and_then(|kept| left_over(view, kept, card, now)) {
        return left;
    }
    if let Some(until) = arriving(&card.dpu.metadata, now) {
        return Intent::wait_until(
            Reason::Inspecting,
            format!("waiting for DpuImage {name}"),
            until,
        );
    }
    Intent::stall(
        Reason::ImageNotFound,
        format!("DpuImage {name} does not exist"),
    )
}

/// Which image is wanted is not known. What runs goes on, what is over is cleaned up.
fn unchosen(
    view: &View,
    kept: Option<&CardRecord>,
    card: &CardView,
    why: &str,
    now: Timestamp,
) -> Intent {
    let left = kept.and_then(|kept| left_over(view, kept, card, now));
    left.unwrap_or_else(|| {
        let message = format!("{}: {why}", machine(card));
        Intent::wait(Reason::ImageNotChosen, message, reach::SILENCE)
    })
}

/// What an install left of which nobody can tell whether it is wanted.
fn left_over(view: &View, kept: &CardRecord, card: &CardView, now: Timestamp) -> Option<Intent> {
    if let Some(end) = install_end(view, kept, now) {
        return Some(booting(view, card, kept, end, now));
    }
    // What a stateless card boots from is armed for good; whether it is wanted nobody can tell.
    let is_kept = kept.image.as_ref().is_some_and(|image| image.stateless);
    let is_over = kept.observed_at.is_some() && !kept.armed.is_empty() && !is_kept;
    is_over.then(|| clear(view, kept, card, now))
}

/// The card was seen with the wanted image: clean up, and watch that it stays so.
fn installed(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Intent {
    if wanted.stateless {
        if let Some(next) = network_boot::keep(view, record, spec, kept, card, wanted, now) {
            return next;
        }
    } else if !kept.armed.is_empty() {
        return clear(view, kept, card, now);
    }
    if let Some(owed) = give_back(view, record, card, kept, now) {
        return owed;
    }
    if let Some(next) = boot_order::right(view, record, spec, kept, card, wanted, now) {
        return next;
    }
    let facts = view.card_bmc(card, now);
    match card.live_os(now) {
        Some(os) if os.image_digest.as_ref() == Some(&wanted.digest) => {
            let back = roll_back::goes_back(kept, card);
            back.map_or(Intent::Done, |back| {
                Intent::Stall(roll_back::went_back(kept, back))
            })
        }
        Some(os) if wanted.stateless => {
            network_boot::went_elsewhere(kept, wanted, os.image_version.as_deref())
        }
        Some(os) if let Some(drift) = drift::of_system(kept) => {
            let reported = reported(os, Some(wanted));
            let spent = repair::spent(spec, card, kept, wanted);
            Intent::Stall(system_changed(
                card,
                kept,
                &reported,
                drift,
                spec.on_drift,
                spent,
            ))
        }
        Some(os) if let Some(slot) = other_slot(kept, os, facts) => Intent::stall(
            Reason::OtherSlotRuns,
            format!(
                "the card was seen to run {} and has booted {} of its own disk; {}",
                wanted.version,
                reported(os, Some(wanted)),
                slots::why_another(kept, slot, facts)
            ),
        ),
        Some(os) => Intent::stall(
            Reason::InstallFailed,
            format!(
                "the card was installed with {} and now reports image {}",
                wanted.version,
                reported(os, Some(wanted))
            ),
        ),
        None if facts.is_some_and(|bmc| bmc.power == Some(PowerState::Off)) => Intent::stall(
            Reason::CardPoweredOff,
            "the card is installed and powered off",
        ),
        None => Intent::wait(
            Reason::CardAgentSilent,
            "the agent in the card's operating system has not renewed its Lease",
            reach::SILENCE,
        ),
    }
}

/// The slot that the card is to run, where it booted another one and that is not seen to be somebody's change.
fn other_slot<'a>(
    kept: &'a CardRecord,
    os: &OsReport,
    facts: Option<&BmcReport>,
) -> Option<&'a ImageSlot> {
    let digest = os.image_digest.as_ref()?;
    let slot = kept.image.as_ref()?.slot.as_ref()?;
    slots::booted_another(kept, digest, facts).then_some(slot)
}

/// The image that the card's own agent tells of, for people. A version is a name that anything can
/// have; what runs is told by its digest alone.
pub(crate) fn reported(os: &OsReport, wanted: Option<&ImageFacts>) -> String {
    let version = os.image_version.as_deref().unwrap_or("(unknown)");
    let Some(wanted) = wanted.filter(|wanted| is_namesake(os, wanted)) else {
        return version.to_owned();
    };
    format!(
        "{version}, but of digest {} and not {}",
        os.image_digest.as_deref().unwrap_or("(none)"),
        wanted.digest
    )
}

/// Whether the card runs another image that has the version of the wanted one.
fn is_namesake(os: &OsReport, wanted: &ImageFacts) -> bool {
    os.image_version.as_ref() == Some(&wanted.version)
        && os.image_digest.as_ref() != Some(&wanted.digest)
}

/// The image of a card that runs another one under the wanted one's name: untold, people would see
/// the version that they want and a card that is not as wanted.
pub(crate) fn namesake(card: &CardView, now: Timestamp) -> Option<String> {
    let Wanted::Image(wanted) = &card.wanted else {
        return None;
    };
    let os = card.live_os(now).filter(|os| is_namesake(os, wanted))?;
    Some(reported(os, Some(wanted)))
}

/// Takes back what is armed on the card, by whichever way.
pub(crate) fn clear(view: &View, kept: &CardRecord, card: &CardView, now: Timestamp) -> Intent {
    match proved(view, card, now) {
        // An older agent would take back the rest and say that nothing is left.
        Ok(facts)
            if facts.http_boot.is_none() && kept.armed.contains(&ArmedEffect::HttpBootUri) =>
        {
            Intent::stall(
                Reason::CapabilityMissing,
                format!(
                    "the URL for UEFI HTTP boot of {} is to be taken back, and the site agent's release cannot; upgrade the site agent to the operator's release",
                    machine(card)
                ),
            )
        }
        Ok(facts) if facts.pxe.is_none() && kept.armed.contains(&ArmedEffect::PxeOffer) => {
            Intent::stall(
                Reason::CapabilityMissing,
                format!(
                    "the offer of an image by PXE to {} is to be taken back, and the site agent's release cannot; upgrade the site agent to the operator's release",
                    machine(card)
                ),
            )
        }
        Ok(facts)
            if facts.capabilities.boot_entry.is_none()
                && kept.armed.contains(&ArmedEffect::BootEntry) =>
        {
            Intent::stall(
                Reason::CapabilityMissing,
                format!(
                    "the next boot of {} goes to an entry of its own disk, which is to be taken back, and the site agent's release cannot; upgrade the site agent to the operator's release",
                    machine(card)
                ),
            )
        }
        Ok(_) => Intent::act(Draft {
            step: Step::ClearInstall,
            target: target(card),
            action: Action {
                image: kept.image.clone(),
                ..plain(ActionKind::ClearInstall)
            },
            expects: expects(card, None, false),
            settle_seconds: 60,
            message: format!(
                "taking back what is armed on {} for an install",
                machine(card)
            ),
            release: None,
        }),
        Err(why) => why,
    }
}

pub(crate) fn booting(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    end: Timestamp,
    now: Timestamp,
) -> Intent {
    let image = kept.image.as_ref();
    let is_stateless = image.is_some_and(|image| image.stateless);
    let image = image.map_or("its image", |image| &image.version);
    let begun = match &kept.method {
        Some(InstallMethod::SimpleUpdate | InstallMethod::MultipartPush) => {
            format!("its BMC was asked to write {image}")
        }
        Some(InstallMethod::Rshim) => format!("{image} is pushed to it over rshim"),
        Some(InstallMethod::LocalStorage) => {
            format!("powered on to boot {image} from its own disk")
        }
        Some(_) | None if is_stateless => format!("powered on to boot {image} from the network"),
        Some(_) | None => format!("powered on to install {image}"),
    };
    let awaited = format!("{begun}; its own agent must report that image before {end}");
    match fetch::of_install(view, card, kept, now) {
        None => Intent::wait_until(Reason::AwaitingOs, awaited, end),
        Some(fault) => Intent::wait_until(
            Reason::ImageNotFetched,
            format!("{awaited}. So far {}", fault.message),
            end,
        ),
    }
}

/// The card as a machine whose power may have to be cut.
pub(crate) fn running<'a>(
    card: &CardView,
    facts: &'a BmcReport,
    now: Timestamp,
) -> stage::Machine<'a> {
    stage::Machine {
        name: machine(card),
        target: target(card),
        expects: expects(card, Some(PowerState::On), true),
        facts,
        os_seen: card.os_seen(now),
    }
}

pub(crate) fn proved<'a>(
    view: &'a View,
    card: &'a CardView,
    now: Timestamp,
) -> Result<&'a BmcReport, Intent> {
    reach::proved(
        &machine(card),
        &card.uid(),
        card.dpu.spec.identity.as_ref(),
        view.card_answer(card, now),
        card.report.as_ref(),
    )
}

/// `dpu/NAME`.
pub fn machine(card: &CardView) -> String {
    format!("dpu/{}", card.name())
}

/// Name of the card's own agent's ServiceAccount, report and Lease.
pub fn agent(card: &CardView) -> String {
    names::xpu(&card.name())
}

pub(crate) fn target(card: &CardView) -> Target {
    Target {
        kind: TargetKind::Card,
        name: card.name(),
        uid: card.uid(),
    }
}

pub(crate) fn expects(card: &CardView, power: Option<PowerState>, safe_stage: bool) -> Expects {
    Expects {
        identity: card.dpu.spec.identity.clone().unwrap_or_default(),
        bmc_key_pin: card
            .report
            .as_ref()
            .and_then(|report| report.bmc.as_ref())
            .and_then(|bmc| bmc.key_pin.clone()),
        power,
        safe_stage,
        host: None,
        rshim: None,
        devlink: None,
    }
}
