//! Which services a card may fetch and is to run.
//!
//! A payload is offered once everything about it is known to be in order, and the card runs its
//! operating system as wanted. What is offered stays so until another image of that service takes its
//! place, the service is not wanted any more, or the image is found to be one that may not go onto the
//! card. A new image that may not go there leaves the one before it where it is. A card to which nothing is
//! to be done keeps what is offered to it, but for what is not trusted any more.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, PolicyMode};
use lockstep_crds::host::CardRecord;
use lockstep_crds::service::{OfferedService, ServiceFloor};

use crate::approval::{is_approved, not_approved};
use crate::arriving::arriving;
use crate::card::machine;
use crate::decision::Explanation;
use crate::install::image_ready;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::requirement::{self, Judgement};
use crate::vetting;
use crate::view::{CardView, ServiceImage, View, Wanted, WantedService};
use crate::wipe;

/// Services that the record holds of one card.
const MOST: usize = 8;
/// Services whose security version is remembered, offered or not.
const REMEMBERED: usize = 32;

/// Brings what is offered to each card up to what is wanted and found.
pub(crate) fn offer(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let Some(policy) = &view.policy else { return };
    // An earlier release remembered what is offered alone.
    record.cards.iter_mut().for_each(remember);
    for card in &view.cards {
        let uid = card.uid();
        let Some(kept) = record.record_of(&uid) else {
            continue;
        };
        let next = if frozen(view, &policy.spec, card).is_some() {
            still_trusted(view, card, kept)
        } else {
            next(view, &policy.spec, record, card, kept, now)
        };
        let mut cards = record.cards.iter_mut();
        if let Some(kept) = cards.find(|kept| kept.uid == uid) {
            kept.services = next;
            remember(kept);
        }
    }
}

fn next(
    view: &View,
    spec: &DpuBootPolicySpec,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Vec<OfferedService> {
    let may_stay =
        |one: &OfferedService| behind(card, one).is_none_or(|image| stands(spec, card, image));
    let mut next: Vec<OfferedService> = Vec::new();
    for (index, wanted) in card.services.iter().enumerate() {
        let Some(service) = name_of(wanted, kept) else {
            continue;
        };
        if next.len() == MOST || next.iter().any(|one| one.service == service) {
            continue;
        }
        let before = kept.services.iter().find(|one| one.service == service);
        let fresh = against(view, spec, record, card, Some(kept), index, now).is_ok();
        let offered = match (&wanted.image, before) {
            (Some(image), Some(before)) if before.digest == image.facts.digest => {
                stands(spec, card, image).then(|| renewed(before, &wanted.name, image))
            }
            (Some(image), _) if fresh => Some(made(&wanted.name, service, image, before)),
            (_, Some(before)) => may_stay(before).then(|| before.clone()),
            (_, None) => None,
        };
        next.extend(offered);
    }
    // An image that is not there may be the next one of any of them.
    let is_unknown = |wanted: &WantedService| name_of(wanted, kept).is_none();
    if card.services.iter().any(is_unknown) {
        for other in kept.services.iter().filter(|one| may_stay(one)) {
            if next.len() < MOST && !next.iter().any(|one| one.service == other.service) {
                next.push(other.clone());
            }
        }
    }
    next
}

/// Of more services than can be remembered, those go first that were offered longest ago.
fn remember(kept: &mut CardRecord) {
    for one in &kept.services {
        let Some(has) = one.security_version else {
            continue;
        };
        let floors = &mut kept.service_floors;
        let known = floors.iter().position(|floor| floor.service == one.service);
        let known = known.map(|index| floors.remove(index).security_version);
        floors.push(ServiceFloor {
            service: one.service.clone(),
            security_version: known.map_or(has, |known| known.max(has)),
        });
    }
    let offered = |floor: &ServiceFloor| {
        let mut services = kept.services.iter();
        services.any(|one| one.service == floor.service)
    };
    while kept.service_floors.len() > REMEMBERED
        && let Some(oldest) = kept.service_floors.iter().position(|floor| !offered(floor))
    {
        kept.service_floors.remove(oldest);
    }
}

/// Without admission guards what is told of signatures may be anybody's, so it takes nothing away.
fn still_trusted(view: &View, card: &CardView, kept: &CardRecord) -> Vec<OfferedService> {
    let is_trusted = |one: &&OfferedService| {
        let image = behind(card, one);
        !image.is_some_and(|image| matches!(image.vetting.trust, Judgement::NotMet(_)))
    };
    let offered = kept.services.iter();
    let still = offered.filter(|one| !view.guards_intact || is_trusted(one));
    still.cloned().collect()
}

/// The name of the service that is wanted. An image that is gone for now is known by the record.
pub(crate) fn name_of<'a>(wanted: &'a WantedService, kept: &'a CardRecord) -> Option<&'a str> {
    if let Some(image) = &wanted.image {
        return Some(&image.service);
    }
    let mut offered = kept.services.iter();
    let known = offered.find(|one| one.image == wanted.name)?;
    Some(&known.service)
}

/// What is found of an image that is offered and not wanted, if it is there.
fn behind<'a>(card: &'a CardView, offered: &OfferedService) -> Option<&'a ServiceImage> {
    let images = card.offered.iter().chain(&card.services);
    let mut images = images.filter_map(|one| one.image.as_ref());
    images.find(|image| image.service == offered.service && image.facts.digest == offered.digest)
}

/// Whether nothing has been found that forbids what is offered.
fn stands(spec: &DpuBootPolicySpec, card: &CardView, image: &ServiceImage) -> bool {
    // The same bytes are no way back.
    forbidden(spec, card, None, image).is_none()
}

/// What has been found that forbids the image. What is not known now was known when it was offered.
fn forbidden(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    ran: Option<i64>,
    image: &ServiceImage,
) -> Option<Explanation> {
    let found = vetting::allows(&image.vetting, spec, &machine(card), ran, &image.facts);
    match found {
        Err(Intent::Stall(why)) => Some(why),
        Ok(()) | Err(_) => None,
    }
}

/// Why what is offered must not stay so, or does though it is not wanted, as people read it.
pub(crate) fn against_offered(
    view: &View,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    offered: &OfferedService,
    is_wanted: bool,
) -> Option<Explanation> {
    let image = behind(card, offered);
    let forbidden = image.and_then(|image| forbidden(spec, card, None, image));
    forbidden.or_else(|| frozen(view, spec, card).filter(|_| !is_wanted))
}

fn made(
    name: &str,
    service: &str,
    image: &ServiceImage,
    before: Option<&OfferedService>,
) -> OfferedService {
    let has = Some(image.vetting.security_version).filter(|has| *has > 0);
    OfferedService {
        service: service.to_owned(),
        image: name.to_owned(),
        version: image.facts.version.clone(),
        digest: image.facts.digest.clone(),
        security_version: has.max(before.and_then(|before| before.security_version)),
    }
}

/// The same bytes may go by another name, version or security version now.
fn renewed(before: &OfferedService, name: &str, image: &ServiceImage) -> OfferedService {
    let has = Some(image.vetting.security_version).filter(|has| *has > 0);
    OfferedService {
        security_version: has.max(before.security_version),
        image: name.to_owned(),
        version: image.facts.version.clone(),
        ..before.clone()
    }
}

/// Why nothing is offered to the card or withdrawn from it now, whatever is wanted.
fn frozen(view: &View, spec: &DpuBootPolicySpec, card: &CardView) -> Option<Explanation> {
    let name = card.name();
    if !is_approved(card) {
        return Some(not_approved(&card.dpu));
    }
    let (reason, what) = match spec.mode {
        PolicyMode::Observe => (Reason::ObserveOnly, "the policy only observes"),
        PolicyMode::Plan => (Reason::PlanOnly, "the policy only plans"),
        PolicyMode::Enforce if view.host.spec.hands_off => {
            (Reason::HandsOff, "nothing is to be done to its host")
        }
        PolicyMode::Enforce if card.dpu.spec.paused => (Reason::Paused, "the card is paused"),
        PolicyMode::Enforce if !view.guards_intact => (
            Reason::AdmissionGuardMissing,
            "the admission guards are not all in place",
        ),
        PolicyMode::Enforce if card.dpu.metadata.deletion_timestamp.is_some() => (
            Reason::UndoingBeforeDelete,
            "the card is being deleted, and keeps what it runs",
        ),
        PolicyMode::Enforce => return None,
    };
    let message = format!("services of {name} stay as they are: {what}");
    Some(Explanation::new(reason, message))
}

/// Whether the service that is wanted at `index` may be offered now; else what is awaited or refused:
/// first what needs a person.
pub(crate) fn against(
    view: &View,
    spec: &DpuBootPolicySpec,
    record: &DpuHostStatus,
    card: &CardView,
    kept: Option<&CardRecord>,
    index: usize,
    now: Timestamp,
) -> Result<(), Explanation> {
    let Some(wanted) = card.services.get(index) else {
        return Ok(());
    };
    let Some(image) = &wanted.image else {
        return Err(missing(card, &wanted.name, now));
    };
    let mut before = card.services.iter().take(index);
    if let Some(twin) = before.find(|one| {
        let image_of = one.image.as_ref();
        image_of.is_some_and(|other| other.service == image.service)
    }) {
        return Err(Explanation::new(
            Reason::ServiceNamedTwice,
            format!(
                "{} and {} are both images of service {}, and the first of them counts",
                twin.name, wanted.name, image.service
            ),
        ));
    }
    let ran = kept.and_then(|kept| had(kept, image));
    if let Some(why) = forbidden(spec, card, ran, image).or_else(|| frozen(view, spec, card)) {
        return Err(why);
    }
    let Some(kept) = kept.filter(|_| matches!(card.wanted, Wanted::Image(_))) else {
        return Err(Explanation::new(
            Reason::NoImageWanted,
            format!(
                "service {} is offered once the card runs the image that is wanted of it, and none is",
                image.service
            ),
        ));
    };
    vetting::allows(&image.vetting, spec, &machine(card), ran, &image.facts).map_err(why)?;
    let version = &image.facts.version;
    requirement::all_met(record, card, kept, version, &image.requirements, now).map_err(why)?;
    image_ready(view, &image.facts).map_err(why)?;
    runs_its_system(card, kept, &image.service, now)
}

/// The security version that the service has had on this card. The same bytes are no way back.
fn had(kept: &CardRecord, image: &ServiceImage) -> Option<i64> {
    let mut offered = kept.services.iter();
    if offered.any(|one| one.service == image.service && one.digest == image.facts.digest) {
        return None;
    }
    let mut floors = kept.service_floors.iter();
    let floor = floors.find(|floor| floor.service == image.service);
    floor.map(|floor| floor.security_version)
}

/// A service waits for the system that it is to run on, and for an agent that runs services.
fn runs_its_system(
    card: &CardView,
    kept: &CardRecord,
    service: &str,
    now: Timestamp,
) -> Result<(), Explanation> {
    let runs = kept.image.as_ref().is_some_and(|image| {
        let os = card.live_os(now);
        // What wipes a card is none.
        !wipe::is_aimed(card)
            && kept.observed_at.is_some()
            && os.is_some_and(|os| os.image_digest.as_ref() == Some(&image.digest))
    });
    if !runs {
        return Err(Explanation::new(
            Reason::AwaitingOs,
            format!(
                "service {service} is offered once the card's own agent tells that it runs the wanted image"
            ),
        ));
    }
    let takes = card
        .os
        .as_ref()
        .is_some_and(|report| report.services.is_some());
    if takes {
        return Ok(());
    }
    Err(unsupported(service))
}

/// The card's agent tells of no services at all.
pub(crate) fn unsupported(service: &str) -> Explanation {
    Explanation::new(
        Reason::ServicesUnsupported,
        format!("the card's own agent does not run services, so {service} cannot run there"),
    )
}

fn missing(card: &CardView, name: &str, now: Timestamp) -> Explanation {
    match arriving(&card.dpu.metadata, now) {
        Some(_) => Explanation::new(Reason::Inspecting, format!("waiting for DpuImage {name}")),
        None => Explanation::new(
            Reason::ImageNotFound,
            format!("DpuImage {name}, which serviceRefs name, does not exist"),
        ),
    }
}

/// What people read of an answer about an image, which is never an effect.
fn why(intent: Intent) -> Explanation {
    match intent {
        Intent::Stall(why) | Intent::Wait(why, _) | Intent::Hold(why) => why,
        Intent::Act(_) | Intent::Taint(_) | Intent::Done => {
            Explanation::new(Reason::Inspecting, "the image is looked at")
        }
    }
}
