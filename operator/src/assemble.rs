//! `assemble`: the planner's [`View`] of one power domain, from the [`World`]. No I/O.

use kube::ResourceExt;
use lockstep_configuration::Inputs;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::image::ImageKind;
use lockstep_crds::report::StoredImage;
use lockstep_crds::{
    Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuReportSpec, ImageBoot, LocalRef, names,
};
use lockstep_planner::choice::{Choice, choose, firmware_named};
use lockstep_planner::inventory::{JoinedCard, selects};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{
    CardView, Fallback, FirmwareImage, Golden, ServiceImage, Wanted, WantedFirmware, WantedService,
    record_about,
};
use lockstep_planner::{View, back_image};
use thiserror::Error;

use crate::conflicts::Claimant;
use crate::in_host::{host_access, host_agent, seen_in_host};
use crate::joins::{brought, requirements, shown, sightings};
use crate::key::Key;
use crate::table::{Entry, Table};
use crate::vetted::vetting;
use crate::world::World;

/// Part of the power domain is written in a way that this release cannot read,
/// so nothing may be planned for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{kind} {key} cannot be read by this release, so nothing is planned for its host: {error}. \
     Correct the object, or upgrade the operator to the release that its CRD belongs to"
)]
pub struct Unreadable {
    kind: &'static str,
    key: Key,
    error: String,
}

/// Everything known about a host and its cards; `None` if there is no such host.
///
/// # Errors
/// If an object that the plan would rest on cannot be read.
pub fn assemble(world: &World, key: &Key) -> Result<Option<View>, Unreadable> {
    let Some(host) = readable("DpuHost", &world.hosts, key)? else {
        return Ok(None);
    };
    refuse_unreadable_cards(world, key, host)?;
    let policy = readable(
        "DpuBootPolicy",
        &world.policies,
        &key.sibling(&host.spec.policy_ref.name),
    )?;
    let node_name = world.node_of(key, host);
    let node = node_name.as_deref();
    let cards = world
        .cards_of(key)
        .filter_map(|card| world.cards.get(card).map(|dpu| (card, dpu)))
        .map(|(card, dpu)| card_view(world, card, dpu, host, policy, node))
        .collect::<Result<_, _>>()?;
    let site = key.sibling(names::site(&host.spec.site));
    let joined = world.joins.of(&key.namespace);
    let claimant = Claimant::Host(key.clone());
    let mut conflicts = world.claims.conflicts(&claimant);
    let named = node_name.as_ref();
    conflicts.extend(named.and_then(|node| world.claims.node_named_elsewhere(&claimant, node)));
    let host_agent = host_agent(world, key, node);
    Ok(Some(View {
        host: host.clone(),
        policy: policy.cloned(),
        host_report: report(world, &key.sibling(names::host_bmc(&key.name)))?,
        site_agent: world.leases.seen(&site),
        host_agent,
        images: stored_images(world, &site)?,
        node: node_name
            .as_ref()
            .and_then(|node| world.nodes.get(node))
            .cloned(),
        node_name,
        tainted: host
            .metadata
            .uid
            .as_ref()
            .map(|uid| world.nodes.tainted_for(uid))
            .unwrap_or_default(),
        cards,
        conflicts,
        guards_intact: world.guards.intact(),
        joined: joined
            .and_then(|joined| joined.host(&key.name, host))
            .cloned(),
    }))
}

/// A card that cannot be read must not look deleted, neither one that was
/// readable before nor one that the host's record speaks of.
fn refuse_unreadable_cards(world: &World, key: &Key, host: &DpuHost) -> Result<(), Unreadable> {
    let recorded = host.status.iter().flat_map(|status| &status.cards);
    let recorded = recorded.map(|card| key.sibling(&card.name));
    for card in world.cards_of(key).cloned().chain(recorded) {
        readable("Dpu", &world.cards, &card)?;
    }
    Ok(())
}

fn card_view(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    host: &DpuHost,
    policy: Option<&DpuBootPolicy>,
    node: Option<&str>,
) -> Result<CardView, Unreadable> {
    let agent = key.sibling(names::xpu(&key.name));
    let joined = world.joins.of(&key.namespace);
    let joined = joined.and_then(|joined| joined.card(&key.name, dpu));
    let kept = host.status.as_ref();
    let kept = kept.and_then(|record| record_about(record, dpu));
    let spec = policy.map(|policy| &policy.spec);
    let choice = choose(dpu, spec, kept, |selector| selects(joined, selector));
    let found = image_named(world, key, choice.image())?
        .map(|image| system_image(world, key, dpu, policy, image, joined));
    let (requirements, brought, vetting, configuration) = found.map_or_else(
        || (Vec::new(), Vec::new(), Vetting::of_nothing(), None),
        |found| {
            let Fallback {
                image: _,
                requirements,
                brought,
                vetting,
                configuration,
            } = found;
            (requirements, brought, vetting, configuration)
        },
    );
    let mut view = CardView {
        dpu: dpu.clone(),
        report: report(world, &key.sibling(names::card_bmc(&key.name)))?,
        // Written on the card: what it cannot say properly it has not said.
        os: world.reports.get(&agent).map(|report| report.spec.clone()),
        os_agent: world.leases.seen(&agent),
        configuration,
        requirements,
        brought,
        vetting,
        firmware: firmware(world, key, dpu, policy, &choice, joined)?,
        services: services(world, key, dpu, policy, joined)?,
        offered: offered(world, key, dpu, host, policy, joined)?,
        fallback: None,
        golden: None,
        wiper: None,
        wanted: wanted(world, key, &choice)?,
        choice,
        conflicts: world.claims.conflicts(&Claimant::Card(key.clone())),
        in_host: joined.and_then(|joined| seen_in_host(world, key, node, joined)),
        host_access: joined.and_then(|joined| host_access(world, key, joined)),
        sightings: joined.map_or_else(Vec::new, |joined| sightings(world, key, joined)),
        joined: joined.map(shown),
    };
    view.fallback = fallback(world, key, &view, host, policy, joined)?;
    view.golden = golden(world, key, dpu, policy, joined)?;
    view.wiper = wiper(world, key, dpu, policy, joined)?;
    Ok(view)
}

/// What the card goes back to, or may have to, as long as its object is there and names the same
/// bytes.
fn fallback(
    world: &World,
    key: &Key,
    card: &CardView,
    host: &DpuHost,
    policy: Option<&DpuBootPolicy>,
    joined: Option<&JoinedCard>,
) -> Result<Option<Box<Fallback>>, Unreadable> {
    let record = host.status.as_ref();
    let Some(back) = record.and_then(|record| back_image(record, card)) else {
        return Ok(None);
    };
    let found = readable("DpuImage", &world.images, &key.sibling(back.name))?;
    let found = found.filter(|image| image.spec.digest == back.image.digest);
    Ok(found.map(|image| Box::new(system_image(world, key, &card.dpu, policy, image, joined))))
}

/// The golden image of the policy.
fn golden(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    joined: Option<&JoinedCard>,
) -> Result<Option<Box<Golden>>, Unreadable> {
    let named = policy.and_then(|policy| policy.spec.install.golden_image_ref.as_ref());
    let found = image_of(world, key, named)?;
    Ok(found.map(|image| {
        Box::new(Golden {
            name: image.name_any(),
            found: system_image(world, key, dpu, policy, image, joined),
        })
    }))
}

/// What is found of an image that the card is to boot, or may have to.
fn system_image(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    image: &DpuImage,
    joined: Option<&JoinedCard>,
) -> Fallback {
    Fallback {
        image: facts(image),
        requirements: requirements(world, key, image, joined),
        brought: brought(world, key, image, joined),
        vetting: of_kind(
            vetting(world, key, &dpu.spec.site, policy, image, joined),
            image,
            Purpose::System,
        ),
        configuration: Inputs::of(dpu, &image.name_any(), &image.spec),
    }
}

/// The image that is named to wipe the card.
fn wiper(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    joined: Option<&JoinedCard>,
) -> Result<Option<Box<Fallback>>, Unreadable> {
    let named = dpu.spec.wipe.as_ref().map(|wish| &wish.image_ref);
    let found = image_of(world, key, named)?;
    Ok(found.map(|image| {
        Box::new(Fallback {
            image: facts(image),
            requirements: requirements(world, key, image, joined),
            brought: Vec::new(),
            vetting: of_kind(
                vetting(world, key, &dpu.spec.site, policy, image, joined),
                image,
                Purpose::Wiper,
            ),
            configuration: None,
        })
    }))
}

/// The firmware images that the card names, or the policy for such a card.
fn firmware(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    choice: &Choice,
    joined: Option<&JoinedCard>,
) -> Result<Vec<WantedFirmware>, Unreadable> {
    let named = firmware_named(dpu, policy.map(|policy| &policy.spec), choice);
    let find = |named: &LocalRef| {
        let found = image_of(world, key, Some(named))?;
        Ok(WantedFirmware {
            name: named.name.clone(),
            image: found.map(|image| FirmwareImage {
                component: image.spec.component.clone().unwrap_or_default(),
                activation: image.spec.activation().into(),
                writer: image.spec.written_by.unwrap_or_default(),
                facts: facts(image),
                requirements: requirements(world, key, image, joined),
                vetting: of_kind(
                    vetting(world, key, &dpu.spec.site, policy, image, joined),
                    image,
                    Purpose::Firmware,
                ),
            }),
        })
    };
    named.iter().map(find).collect()
}

/// The services that the card names, or the policy.
fn services(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    joined: Option<&JoinedCard>,
) -> Result<Vec<WantedService>, Unreadable> {
    let own = dpu.spec.service_refs.as_ref();
    let named = own.or_else(|| policy.map(|policy| &policy.spec.service_refs));
    let find = |named: &LocalRef| {
        let found = image_of(world, key, Some(named))?;
        Ok(WantedService {
            name: named.name.clone(),
            image: found.map(|image| service_image(world, key, dpu, policy, image, joined)),
        })
    };
    named.into_iter().flatten().map(find).collect()
}

/// The images that the record of the card says are offered, as long as they name the same bytes.
fn offered(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    host: &DpuHost,
    policy: Option<&DpuBootPolicy>,
    joined: Option<&JoinedCard>,
) -> Result<Vec<WantedService>, Unreadable> {
    let uid = dpu.metadata.uid.as_deref().unwrap_or_default();
    let record = host.status.as_ref();
    let kept = record.and_then(|record| record.record_of(uid));
    let mut found = Vec::new();
    for one in kept.into_iter().flat_map(|kept| &kept.services) {
        let image = readable("DpuImage", &world.images, &key.sibling(&one.image))?;
        let image = image.filter(|image| image.spec.digest == one.digest);
        found.push(WantedService {
            name: one.image.clone(),
            image: image.map(|image| service_image(world, key, dpu, policy, image, joined)),
        });
    }
    Ok(found)
}

fn service_image(
    world: &World,
    key: &Key,
    dpu: &Dpu,
    policy: Option<&DpuBootPolicy>,
    image: &DpuImage,
    joined: Option<&JoinedCard>,
) -> ServiceImage {
    let found = vetting(world, key, &dpu.spec.site, policy, image, joined);
    ServiceImage {
        service: image
            .spec
            .service
            .clone()
            .unwrap_or_else(|| image.name_any()),
        facts: facts(image),
        requirements: requirements(world, key, image, joined),
        vetting: of_kind(found, image, Purpose::Service),
    }
}

/// What an image is named for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    System,
    Firmware,
    Service,
    Wiper,
}

impl Purpose {
    fn of(kind: ImageKind) -> Self {
        match kind {
            ImageKind::Os | ImageKind::Bundle => Self::System,
            ImageKind::Bmc | ImageKind::Firmware => Self::Firmware,
            ImageKind::App => Self::Service,
            ImageKind::Wiper => Self::Wiper,
        }
    }
}

/// What is found of an image that is named for this: one of another kind is not for it.
fn of_kind(found: Vetting, image: &DpuImage, purpose: Purpose) -> Vetting {
    match kind_allows(image, purpose) {
        Judgement::Met => found,
        fit @ (Judgement::NotMet(_) | Judgement::NotKnown(_)) => Vetting { fit, ..found },
    }
}

/// Whether an image is of a kind that may be named for this.
pub(crate) fn kind_allows(image: &DpuImage, purpose: Purpose) -> Judgement {
    if Purpose::of(image.spec.kind) == purpose {
        return Judgement::Met;
    }
    Judgement::NotMet(format!(
        "DpuImage {} is of kind {:?}; imageRef and goldenImageRef take images of kinds Os and Bundle, firmwareRefs those of kinds Bmc and Firmware, serviceRefs those of kind App, and wipe.imageRef those of kind Wiper",
        image.name_any(),
        image.spec.kind
    ))
}

fn facts(image: &DpuImage) -> ImageFacts {
    ImageFacts {
        digest: image.spec.digest.clone(),
        version: image.spec.version.clone(),
        stateless: image.spec.boot == ImageBoot::Stateless,
        slot: image.spec.slot.clone(),
    }
}

fn wanted(world: &World, card: &Key, choice: &Choice) -> Result<Wanted, Unreadable> {
    if let Choice::NotKnown(why) = choice {
        return Ok(Wanted::Unchosen(why.clone()));
    }
    let Some(image) = choice.image() else {
        return Ok(Wanted::Nothing);
    };
    let found = image_named(world, card, Some(image))?;
    Ok(found.map_or_else(
        || Wanted::Missing(image.to_owned()),
        |found| Wanted::Image(facts(found)),
    ))
}

fn image_of<'a>(
    world: &'a World,
    card: &Key,
    image: Option<&LocalRef>,
) -> Result<Option<&'a DpuImage>, Unreadable> {
    image_named(world, card, image.map(|image| image.name.as_str()))
}

fn image_named<'a>(
    world: &'a World,
    card: &Key,
    name: Option<&str>,
) -> Result<Option<&'a DpuImage>, Unreadable> {
    match name {
        Some(name) => readable("DpuImage", &world.images, &card.sibling(name)),
        None => Ok(None),
    }
}

fn stored_images(world: &World, site: &Key) -> Result<Vec<StoredImage>, Unreadable> {
    Ok(report(world, site)?
        .map(|report| report.images)
        .unwrap_or_default())
}

fn report(world: &World, key: &Key) -> Result<Option<DpuReportSpec>, Unreadable> {
    Ok(readable("DpuReport", &world.reports, key)?.map(|report| report.spec.clone()))
}

fn readable<'a, K>(
    kind: &'static str,
    table: &'a Table<K>,
    key: &Key,
) -> Result<Option<&'a K>, Unreadable> {
    match table.entry(key) {
        None => Ok(None),
        Some(Entry::Readable(object)) => Ok(Some(object)),
        Some(Entry::Unreadable(error)) => Err(Unreadable {
            kind,
            key: key.clone(),
            error: error.to_string(),
        }),
    }
}
