//! How a card gets its image: what must be so first, then stage, hold, stop and boot, in that order.

use jiff::{SignedDuration, Timestamp};
use lockstep_configuration::Inputs;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, BootOrder, DpuBootPolicySpec, OnInstallFailure};
use lockstep_crds::directive::{Action, ActionKind, ImageFacts, Step};
use lockstep_crds::host::{CardRecord, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, ImageState, MediaOwner};

use crate::card;
use crate::card_record::install_end;
use crate::configuration;
use crate::failure;
use crate::image_bytes;
use crate::intent::{Draft, Intent, plain};
use crate::leave::{Leave, leave};
use crate::network_boot;
use crate::push;
use crate::pxe;
use crate::reach;
use crate::reason::Reason;
use crate::requirement;
use crate::road;
use crate::room;
use crate::slot_power;
use crate::stage;
use crate::taint;
use crate::update::update;
use crate::vetting;
use crate::view::{CardView, View};
use crate::whole_card;
use crate::wipe;

/// How long the store may take to fetch and verify an image.
pub(crate) const FETCH: SignedDuration = SignedDuration::from_hours(2);

pub(crate) fn install(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Result<Intent, Intent> {
    if card.dpu.spec.bmc.is_none() {
        return Err(Intent::stall(
            Reason::NoInstallRoad,
            "the card runs another image than wanted and has no BMC",
        ));
    }
    card::require_one_host(card)?;
    let facts = card::proved(view, card, now).map_err(|silent| {
        light_slot(view, record, spec, card, kept, wanted, now).unwrap_or(silent)
    })?;
    if let Some(end) = install_end(view, kept, now) {
        return Err(card::booting(view, card, kept, end, now));
    }
    stage::is_not_updating(&card::machine(card), facts)?;
    wipe::may_begin(card, kept, now).map_err(|why| disarmed(view, card, kept, why, now))?;
    let vetted = vetting::passed(spec, card, kept, wanted)
        .map_err(|why| disarmed(view, card, kept, why, now));
    if let Err(clear @ Intent::Act(_)) = vetted {
        return Err(clear);
    }
    if is_over(kept, spec) {
        let why = failed(card, kept, wanted, spec);
        // What a stateless card boots from stays what is wanted of it.
        return Err(if wanted.stateless {
            why
        } else {
            given_up(view, spec, card, kept, facts, why, now)
        });
    }
    // A medium is not taken from under an installer that runs.
    let is_begun = kept.booted_at.is_some() || facts.power != Some(PowerState::Off);
    let unless_begun = |why: Intent| {
        if is_begun {
            why
        } else {
            disarmed(view, card, kept, why, now)
        }
    };
    let road = road::choose(view, record, card, kept, spec, facts, now).map_err(unless_begun)?;
    let restarted = road::needs_cycle(road) && whole_card::is_restarted(facts);
    if restarted {
        // It is armed while it runs, and whatever restarts it boots that.
        whole_card::boots_once(card, wanted)
            .and_then(|()| whole_card::may_begin(view, record, spec, card, facts, now))
            .map_err(|why| disarmed(view, card, kept, why, now))?;
    } else if road::needs_cycle(road) {
        require_cycle(card, facts)?;
    }
    vetted?;
    requirement::met(record, card, kept, now)?;
    configuration::given(card)?;
    // What is on the card's own disk is fetched and made by nobody.
    if road != AllowedMethod::LocalStorage {
        room::allows(card, &wanted.version, &card.vetting, now).map_err(unless_begun)?;
        image_ready(view, wanted)?;
        configuration::made(view, card, now)?;
    }
    if facts.media.owner == MediaOwner::Foreign {
        return Err(Intent::stall(
            Reason::ForeignMedia,
            "media that Lockstep did not insert are in the card's BMC",
        ));
    }
    stage::is_at_rest(&card::machine(card), facts)?;
    let leave = leave(view, record, spec, card, now)?;
    let off = match facts.power {
        Some(PowerState::Off) => true,
        Some(PowerState::On) => false,
        Some(_) | None => {
            return Err(Intent::wait(
                Reason::Inspecting,
                format!("waiting for {} to be on or off", card::machine(card)),
                reach::SILENCE,
            ));
        }
    };
    if road::is_update(road) {
        return match leave {
            Leave::AfterHold(hold) => Ok(Intent::Act(hold)),
            Leave::Granted if road::is_in_the_way(road, facts, kept) => {
                Ok(card::clear(view, kept, card, now))
            }
            Leave::Granted => update(spec, card, wanted, road, facts, now),
        };
    }
    let armed = road::armed_by(facts, kept, wanted) == Some(road);
    let staged = armed
        && (!wanted.stateless || network_boot::is_of_this_wish(kept))
        && (road != AllowedMethod::Pxe || pxe::is_at_its_addresses(card, facts))
        && wipe::is_staged(card, kept);
    // What is there already is not staged again, and it holds another order.
    let other_order = armed && !wipe::is_staged(card, kept);
    if road == AllowedMethod::Rshim && leave == Leave::Granted {
        require_on(card, off)?;
        if road::is_in_the_way(road, facts, kept) {
            return Ok(card::clear(view, kept, card, now));
        }
        if !staged {
            return Ok(Intent::act(staging(card, wanted, road, None)));
        }
        return push::next(view, spec, card, wanted, facts, now);
    }
    if restarted {
        return match leave {
            Leave::AfterHold(hold) => Ok(Intent::Act(hold)),
            Leave::Granted if staged => whole_card::restart(view, spec, card, wanted, facts, now),
            Leave::Granted if other_order || road::is_in_the_way(road, facts, kept) => {
                Ok(card::clear(view, kept, card, now))
            }
            Leave::Granted => Ok(Intent::act(staging(
                card,
                wanted,
                road,
                Some(PowerState::On),
            ))),
        };
    }
    Ok(match leave {
        // Arming a card that is off may go on while its host is being held.
        Leave::Granted | Leave::AfterHold(_) if off && !staged => {
            if other_order || road::is_in_the_way(road, facts, kept) {
                card::clear(view, kept, card, now)
            } else {
                Intent::act(staging(card, wanted, road, Some(PowerState::Off)))
            }
        }
        Leave::AfterHold(hold) => Intent::Act(hold),
        Leave::Granted if off => Intent::act(boot(card, wanted, road, spec)),
        Leave::Granted => stop(record, spec, card, facts, now),
    })
}

/// What failed for good is taken back, but not from under an installer that is only slow, nor from a
/// BMC that may be reading still.
fn given_up(
    view: &View,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    facts: &BmcReport,
    why: Intent,
    now: Timestamp,
) -> Intent {
    let is_used = if road::is_by_update(kept) {
        failure::may_write(view, card, kept, now)
    } else {
        facts.power != Some(PowerState::Off)
            && stage::may_cut_power(&card::running(card, facts, now), spec, now).is_err()
    };
    if !is_used {
        return disarmed(view, card, kept, why, now);
    }
    let mut intent = why;
    if let Intent::Stall(explanation) = &mut intent
        && !kept.armed.is_empty()
    {
        explanation.message.push_str(
            ". What is armed for it is taken back once the card is off or tells that it writes nothing",
        );
    }
    intent
}

/// A card that is armed with an image that must not go onto it, or not again, would get it by a press
/// of its button, so what is armed is taken back first.
pub(crate) fn disarmed(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    why: Intent,
    now: Timestamp,
) -> Intent {
    if matches!(why, Intent::Stall(_)) && !kept.armed.is_empty() {
        card::clear(view, kept, card, now)
    } else {
        why
    }
}

/// What an install needs of the card's BMC whichever way it takes, before anything is begun.
fn require_cycle(card: &CardView, facts: &BmcReport) -> Result<(), Intent> {
    stage::may_be_cycled(facts).map_err(|lack| {
        Intent::stall(
            Reason::CapabilityMissing,
            format!(
                "{} cannot be powered on to install: {lack}",
                card::machine(card)
            ),
        )
    })
}

fn is_over(kept: &CardRecord, spec: &DpuBootPolicySpec) -> bool {
    let stays = kept.roll_back.is_some() && spec.install.on_failure == OnInstallFailure::Stall;
    kept.given_up || stays || kept.attempts >= spec.install.max_attempts
}

/// A card whose BMC has no power beside its host that is off cannot answer. If the host
/// is to be held by taint, what brings it up is what brings the card's BMC up.
fn light_slot(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Option<Intent> {
    let host_is_off = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::Off));
    let dark = host_is_off
        && slot_power::effective(view, record) != SlotPower::Yes
        && view.card_answer(card, now).is_none();
    if !dark
        || is_over(kept, spec)
        || vetting::passed(spec, card, kept, wanted).is_err()
        || requirement::met(record, card, kept, now).is_err()
        || room::allows(card, &wanted.version, &card.vetting, now).is_err()
        || configuration::given(card).is_err()
        || image_bytes::keeps_out(view, spec, card).is_some()
        || image_ready(view, wanted).is_err()
        || configuration::made(view, card, now).is_err()
    {
        return None;
    }
    match leave(view, record, spec, card, now) {
        Err(light @ (Intent::Taint(_) | Intent::Act(_))) if spec.order == BootOrder::XpuFirst => {
            Some(light)
        }
        Err(awaited @ Intent::Wait(..)) if taint::holds(record) => Some(awaited),
        Ok(_) | Err(_) => None,
    }
}

/// The hold that the card's install waits for, if it does; it goes to the host's BMC
/// while the card, which is off, is armed through its own.
pub(crate) fn wanted_hold(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Option<Draft> {
    match leave(view, record, spec, card, now) {
        Ok(Leave::AfterHold(hold)) => Some(*hold),
        Ok(Leave::Granted) | Err(_) => None,
    }
}

fn failed(
    card: &CardView,
    kept: &CardRecord,
    wanted: &ImageFacts,
    spec: &DpuBootPolicySpec,
) -> Intent {
    let ImageFacts { version, .. } = wanted;
    let since = kept.booted_at.as_ref();
    let since = since.map_or_else(String::new, |at| format!(", last begun at {}", at.0));
    let stays = spec.install.on_failure == OnInstallFailure::Stall;
    if kept.roll_back.is_some() && stays && !kept.given_up {
        return Intent::stall(
            Reason::InstallFailed,
            format!(
                "{version} is not installed again, for the policy's install.onFailure is Stall"
            ),
        );
    }
    if kept.given_up {
        return Intent::stall(
            Reason::InstallFailed,
            format!(
                "the hold of the host ended before the card ran {version}, and it is not tried again; {} install(s) begun{since}",
                kept.attempts
            ),
        );
    }
    let no_way_back = if stays {
        String::new()
    } else {
        no_way_back(card, kept, spec)
    };
    Intent::stall(
        Reason::InstallFailed,
        format!(
            "{} install(s) of {version} did not end in a report from the card's own agent{since}{no_way_back}{}",
            kept.attempts,
            failure::told(kept, wanted)
        ),
    )
}

/// Why no way leads on from the image whose attempts are used up.
fn no_way_back(card: &CardView, kept: &CardRecord, spec: &DpuBootPolicySpec) -> String {
    let good = match (&kept.last_good, kept.back_to()) {
        (_, Some(back)) if back.is_golden => {
            return ", and no way leads on from a golden image".to_owned();
        }
        (_, Some(_)) => "",
        (Some(_), None) => {
            ". It is the last image that the card was seen to run, so there is none to go back to"
        }
        (None, None) => {
            ". The card was not seen to run another image, so there is none to go back to"
        }
    };
    let golden = match (&spec.install.golden_image_ref, &card.golden) {
        (Some(named), None) => format!(
            ", and there is no DpuImage {}, which install.goldenImageRef names",
            named.name
        ),
        (None, _) => ", and install.goldenImageRef names no golden image".to_owned(),
        // It is the one that failed.
        (Some(_), Some(_)) => String::new(),
    };
    format!("{good}{golden}")
}

pub(crate) fn image_ready(view: &View, wanted: &ImageFacts) -> Result<(), Intent> {
    let fetching = || {
        Intent::wait(
            Reason::FetchingImage,
            format!(
                "the site's store fetches and verifies {} ({})",
                wanted.version, wanted.digest
            ),
            FETCH,
        )
    };
    let stored = view
        .images
        .iter()
        .find(|image| image.digest == wanted.digest)
        .ok_or_else(fetching)?;
    match stored.state {
        ImageState::Verified => Ok(()),
        ImageState::Fetching | ImageState::Unrecognized(_) => Err(fetching()),
        ImageState::Failed => Err(Intent::stall(
            Reason::ImageUnavailable,
            format!(
                "the site's store could not get {} ({}): {}",
                wanted.version,
                stored.reason.as_deref().unwrap_or("unknown"),
                stored.message.as_deref().unwrap_or("no detail")
            ),
        )),
    }
}

/// What is pushed needs a card that runs; a card that is off has no host to press its button.
fn require_on(card: &CardView, off: bool) -> Result<(), Intent> {
    if !off {
        return Ok(());
    }
    Err(Intent::stall(
        Reason::CardPoweredOff,
        format!(
            "{} is powered off, and an image is pushed over rshim to a card that is on",
            card::machine(card)
        ),
    ))
}

fn stop(
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Intent {
    stage::stop(
        card::running(card, facts, now),
        record,
        spec,
        Step::StopCard,
        now,
    )
}

/// Arms the card, which must be found in that power state if one is given.
pub(crate) fn staging(
    card: &CardView,
    wanted: &ImageFacts,
    road: AllowedMethod,
    power: Option<PowerState>,
) -> Draft {
    Draft {
        step: Step::StageInstall,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            configuration: card.configuration.as_ref().map(Inputs::digest),
            wipe: wipe::order(card),
            boot_macs: if road == AllowedMethod::Pxe {
                card.dpu.spec.boot_macs.clone()
            } else {
                Vec::new()
            },
            ..plain(road::arming_with(road, wanted))
        },
        expects: card::expects(card, power, false),
        settle_seconds: 900,
        message: road::deed(road, wanted, &card::machine(card)),
        release: None,
    }
}

fn boot(
    card: &CardView,
    wanted: &ImageFacts,
    road: AllowedMethod,
    spec: &DpuBootPolicySpec,
) -> Draft {
    Draft {
        step: Step::BootCard,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::PowerOn)
        },
        expects: card::expects(card, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: format!(
            "powering {} on to {} {}; its own agent must report that image within {} s",
            card::machine(card),
            if wanted.stateless || road == AllowedMethod::LocalStorage {
                "boot"
            } else {
                "install"
            },
            wanted.version,
            spec.install.os_timeout_seconds
        ),
        release: None,
    }
}
