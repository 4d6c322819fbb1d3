//! Who wants an image, who may have to go back to it, and who runs it. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::host::CardRecord;
use lockstep_crds::image::ImageKind;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::room;
use lockstep_planner::vetting::all_met;
use lockstep_planner::view::record_about;
use lockstep_trust::Trust;

use crate::assemble::{Purpose, kind_allows};
use crate::key::Key;
use crate::vetted::Told;
use crate::world::World;

/// What comes of the signatures of an image under one policy, at one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Name of the policy.
    pub policy: String,
    /// Name of the site.
    pub site: String,
    /// What comes of them.
    pub trust: Trust,
}

/// Whether a card that wants an image is one that it is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanting {
    /// Name of the `Dpu`.
    pub card: String,
    /// Whether it is.
    pub fit: Judgement,
}

/// Everybody whom an image concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// For everybody who wants it or may go back to it, in order of policies and sites.
    pub findings: Vec<Finding>,
    /// Sites whose store is to have it.
    pub sites: BTreeSet<String>,
    /// Cards that want it, in order of their names.
    pub wanting: Vec<Wanting>,
    /// How many cards run it.
    pub running: usize,
    /// The reports of a card have not been joined since it was made or edited, or this operator
    /// began: what is not known of it may be in a moment.
    pub is_early: bool,
}

/// Everybody whom the image concerns.
pub(crate) fn demand(world: &World, key: &Key, image: &DpuImage) -> Demand {
    let mut found = Demand::default();
    let mut told: BTreeMap<(&str, &str), Told<'_>> = BTreeMap::new();
    let joins = world.joins.of(&key.namespace);
    for (card, entry) in world.cards.within(&key.namespace) {
        let Some(dpu) = entry.readable() else {
            continue;
        };
        let host = dpu.spec.host_refs.first();
        let host = host.and_then(|host| world.hosts.get(&card.sibling(&host.name)));
        let record = host.and_then(|host| host.status.as_ref());
        let kept = record.and_then(|record| record_about(record, dpu));
        found.running += usize::from(runs(dpu, kept, image));
        let policy = host.map(|host| host.spec.policy_ref.name.as_str());
        let policy = policy.and_then(|named| world.policies.get(&card.sibling(named)));
        let (Some(host), Some(policy)) = (host, policy) else {
            continue;
        };
        let purposes = wanted_for(policy, dpu, kept, &key.name);
        if purposes.is_empty() && !may_go_back(host, dpu, policy, image) {
            continue;
        }
        let site = dpu.spec.site.as_str();
        // Stores fetch nothing for who is only observed.
        if policy.spec.mode != PolicyMode::Observe {
            found.sites.insert(site.to_owned());
        }
        let told = told
            .entry((host.spec.policy_ref.name.as_str(), site))
            .or_insert_with(|| Told::of(world, key, site, Some(policy), image));
        if purposes.is_empty() || dpu.spec.retired {
            continue;
        }
        let joined = joins.and_then(|joined| joined.card(&card.name, dpu));
        let allowed = purposes.into_iter().map(|one| kind_allows(image, one));
        // For people: as it was told last.
        let room = told.room(joined, |_| None);
        let room = room.map(|room| room::judge(&room, |_| true));
        let fit = all_met(allowed.chain([told.fit(joined)]).chain(room));
        found.is_early |= joined.is_none() && matches!(fit, Judgement::NotKnown(_));
        let card = card.name.clone();
        found.wanting.push(Wanting { card, fit });
    }
    let finding = |((policy, site), told): ((&str, &str), Told<'_>)| Finding {
        policy: policy.to_owned(),
        site: site.to_owned(),
        trust: told.trust(),
    };
    found.findings = told.into_iter().map(finding).collect();
    found
}

/// What a card wants the image for, if it does.
fn wanted_for(
    policy: &DpuBootPolicy,
    dpu: &Dpu,
    kept: Option<&CardRecord>,
    image: &str,
) -> Vec<Purpose> {
    let chosen = kept.and_then(|kept| kept.chosen.as_ref());
    let system = policy.spec.image_for(&dpu.spec, chosen);
    let firmware = policy.spec.firmware_for(&dpu.spec, chosen);
    let own = dpu.spec.service_refs.as_ref();
    let services = own.unwrap_or(&policy.spec.service_refs);
    let wipe = dpu.spec.wipe.as_ref();
    let purposes = [
        (Purpose::System, system == Some(image)),
        (
            Purpose::Firmware,
            firmware.iter().any(|named| named.name == image),
        ),
        (
            Purpose::Service,
            services.iter().any(|named| named.name == image),
        ),
        (
            Purpose::Wiper,
            wipe.is_some_and(|wish| wish.image_ref.name == image),
        ),
    ];
    let wanted = purposes.into_iter().filter(|(_, wanted)| *wanted);
    wanted.map(|(purpose, _)| purpose).collect()
}

/// Whether the image is the one to which the card goes if the wanted one does not come up.
fn may_go_back(host: &DpuHost, dpu: &Dpu, policy: &DpuBootPolicy, image: &DpuImage) -> bool {
    let uid = dpu.metadata.uid.as_deref().unwrap_or_default();
    let record = host.status.as_ref();
    let kept = record.and_then(|record| record.record_of(uid));
    let good = kept.and_then(|kept| kept.fallback(policy.spec.install.on_failure));
    let good = good.map(|good| (good.name.as_str(), &good.image));
    let back = kept.and_then(CardRecord::back_to);
    let back = back.map(|back| (back.name, back.image));
    let golden = policy.spec.install.golden_image_ref.as_ref();
    let name = image.name_any();
    // What was recorded are bytes: an object of that name made anew may stand for others.
    let recorded = |(named, bytes): (&str, &lockstep_crds::directive::ImageFacts)| {
        named == name && bytes.digest == image.spec.digest
    };
    good.is_some_and(recorded)
        || back.is_some_and(recorded)
        || golden.is_some_and(|golden| golden.name == name)
}

/// Whether the card runs the image, as it was seen last.
fn runs(dpu: &Dpu, kept: Option<&CardRecord>, image: &DpuImage) -> bool {
    let digest = &image.spec.digest;
    let status = dpu.status.as_ref();
    match image.spec.kind {
        ImageKind::Os | ImageKind::Bundle | ImageKind::Wiper => {
            let system = status.and_then(|status| status.image.as_ref());
            system.is_some_and(|system| system.digest == *digest)
        }
        ImageKind::App => {
            let services = status.and_then(|status| status.services.as_ref());
            let mut services = services.into_iter().flatten();
            services.any(|service| service.running_digest.as_ref() == Some(digest))
        }
        ImageKind::Bmc | ImageKind::Firmware => {
            let mut components = kept.into_iter().flat_map(|kept| &kept.components);
            components.any(|one| one.image.digest == *digest && one.observed_at.is_some())
        }
    }
}
