//! What is found of an image for one card, or for everybody who wants it. No I/O.

use std::collections::BTreeSet;

use lockstep_crds::host::CardRecord;
use lockstep_crds::report::{StoredImage, StoredSignature};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, ImageRules, names};
use lockstep_planner::inventory::{JoinedCard, boots, fits};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::{Vetting, all_met};
use lockstep_planner::view::record_about;
use lockstep_trust::{Trust, appraise};

use crate::key::Key;
use crate::world::World;

/// What is found of the image that a card is to get. `site` is the card's.
pub(crate) fn vetting(
    world: &World,
    card: &Key,
    site: &str,
    policy: Option<&DpuBootPolicy>,
    image: &DpuImage,
    joined: Option<&JoinedCard>,
) -> Vetting {
    let stored = stored(world, card, site, &image.spec.digest);
    let told = stored.map(|stored| &stored.signatures[..]);
    let found = appraise(rules_of(policy), &image.spec, told);
    let stream = stored.and_then(|stored| stored.boot_stream.as_ref());
    let fit = all_met(found.fits.iter().map(|limit| fits(joined, limit)));
    // Who says for which cards it is knows more than an inventory that does not tell the family.
    let is_vouched_for = fit == Judgement::Met && !found.fits.is_empty();
    let of_stream = stream.map(|stream| boots(joined, stream));
    let of_stream =
        of_stream.filter(|found| !(is_vouched_for && matches!(found, Judgement::NotKnown(_))));
    Vetting {
        trust: match found.trust {
            Trust::NotAsked | Trust::Signed(_) => Judgement::Met,
            Trust::Refused(why) => Judgement::NotMet(why),
            Trust::NotKnown(why) => Judgement::NotKnown(why),
        },
        fit: all_met(std::iter::once(fit).chain(of_stream)),
        security_version: found.security_version,
    }
}

fn rules_of(policy: Option<&DpuBootPolicy>) -> Option<&ImageRules> {
    policy.and_then(|policy| policy.spec.images.as_ref())
}

/// What a site's agent has passed on of the signatures of these bytes.
fn signatures<'a>(
    world: &'a World,
    near: &Key,
    site: &str,
    digest: &str,
) -> Option<&'a [StoredSignature]> {
    stored(world, near, site, digest).map(|stored| &stored.signatures[..])
}

/// What a site's agent tells of these bytes.
fn stored<'a>(world: &'a World, near: &Key, site: &str, digest: &str) -> Option<&'a StoredImage> {
    let report = world.reports.get(&near.sibling(names::site(site)))?;
    let mut images = report.spec.images.iter();
    images.find(|image| image.digest == digest)
}

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

/// What comes of the signatures of an image for everybody who wants it, or may go back to it, in
/// order of policies and sites.
pub(crate) fn findings(world: &World, key: &Key, image: &DpuImage) -> Vec<Finding> {
    let mut wanted_by = BTreeSet::new();
    for (card, entry) in world.cards.within(&key.namespace) {
        let Some(dpu) = entry.readable() else {
            continue;
        };
        let host = dpu.spec.host_refs.first();
        let host = host.and_then(|host| world.hosts.get(&card.sibling(&host.name)));
        let Some(host) = host else { continue };
        let named = host.spec.policy_ref.name.as_str();
        let Some(policy) = world.policies.get(&card.sibling(named)) else {
            continue;
        };
        let record = host.status.as_ref();
        let kept = record.and_then(|record| record_about(record, dpu));
        let chosen = kept.and_then(|kept| kept.chosen.as_ref());
        let wanted = policy.spec.image_for(&dpu.spec, chosen) == Some(key.name.as_str());
        let mut firmware = policy.spec.firmware_for(&dpu.spec, chosen).iter();
        let wanted = wanted || firmware.any(|named| named.name == key.name);
        let own = dpu.spec.service_refs.as_ref();
        let mut services = own.unwrap_or(&policy.spec.service_refs).iter();
        let wanted = wanted || services.any(|named| named.name == key.name);
        let wipe = dpu.spec.wipe.as_ref();
        let wanted = wanted || wipe.is_some_and(|wish| wish.image_ref.name == key.name);
        if wanted || may_go_back(host, dpu, policy, key) {
            wanted_by.insert((named, dpu.spec.site.as_str()));
        }
    }
    let finding = |(policy, site): (&str, &str)| {
        let rules = rules_of(world.policies.get(&key.sibling(policy)));
        let told = signatures(world, key, site, &image.spec.digest);
        Finding {
            policy: policy.to_owned(),
            site: site.to_owned(),
            trust: appraise(rules, &image.spec, told).trust,
        }
    };
    wanted_by.into_iter().map(finding).collect()
}

/// Whether the image is the one to which the card goes if the wanted one does not come up.
fn may_go_back(host: &DpuHost, dpu: &Dpu, policy: &DpuBootPolicy, image: &Key) -> bool {
    let uid = dpu.metadata.uid.as_deref().unwrap_or_default();
    let record = host.status.as_ref();
    let kept = record.and_then(|record| record.record_of(uid));
    let good = kept.and_then(|kept| kept.fallback(policy.spec.install.on_failure));
    let back = kept.and_then(CardRecord::back_to);
    let golden = policy.spec.install.golden_image_ref.as_ref();
    let names = [
        good.map(|good| good.name.as_str()),
        back.map(|back| back.name),
        golden.map(|golden| golden.name.as_str()),
    ];
    names.contains(&Some(image.name.as_str()))
}
