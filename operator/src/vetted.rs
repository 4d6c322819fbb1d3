//! What is found of an image for one card. No I/O.

use lockstep_crds::report::{BootStreamReport, StoredImage};
use lockstep_crds::{DpuBootPolicy, DpuImage, ImageRules, names};
use lockstep_planner::inventory::{JoinedCard, boots, fits};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::{Vetting, all_met};
use lockstep_trust::{Appraisal, Trust, appraise};

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
    let told = Told::of(world, card, site, policy, image);
    let fit = told.fit(joined);
    Vetting {
        fit,
        trust: match told.found.trust {
            Trust::NotAsked | Trust::Signed(_) => Judgement::Met,
            Trust::Refused(why) => Judgement::NotMet(why),
            Trust::NotKnown(why) => Judgement::NotKnown(why),
        },
        security_version: told.found.security_version,
    }
}

/// What is told of an image at one site, under one policy.
pub(crate) struct Told<'a> {
    found: Appraisal,
    stream: Option<&'a BootStreamReport>,
}

impl<'a> Told<'a> {
    /// `near` is any object of the namespace.
    pub(crate) fn of(
        world: &'a World,
        near: &Key,
        site: &str,
        policy: Option<&DpuBootPolicy>,
        image: &DpuImage,
    ) -> Self {
        let stored = stored(world, near, site, &image.spec.digest);
        let told = stored.map(|stored| &stored.signatures[..]);
        Self {
            found: appraise(rules_of(policy), &image.spec, told),
            stream: stored.and_then(|stored| stored.boot_stream.as_ref()),
        }
    }

    /// What comes of its signatures.
    pub(crate) fn trust(self) -> Trust {
        self.found.trust
    }

    /// Whether a card is one that the image is made for.
    pub(crate) fn fit(&self, joined: Option<&JoinedCard>) -> Judgement {
        let fit = all_met(self.found.fits.iter().map(|limit| fits(joined, limit)));
        // Who says for which cards it is knows more than an inventory that does not tell the family.
        let is_vouched_for = fit == Judgement::Met && !self.found.fits.is_empty();
        let of_stream = self.stream.map(|stream| boots(joined, stream));
        let of_stream =
            of_stream.filter(|found| !(is_vouched_for && matches!(found, Judgement::NotKnown(_))));
        all_met(std::iter::once(fit).chain(of_stream))
    }
}

fn rules_of(policy: Option<&DpuBootPolicy>) -> Option<&ImageRules> {
    policy.and_then(|policy| policy.spec.images.as_ref())
}

/// What a site's agent tells of these bytes.
fn stored<'a>(world: &'a World, near: &Key, site: &str, digest: &str) -> Option<&'a StoredImage> {
    let report = world.reports.get(&near.sibling(names::site(site)))?;
    let mut images = report.spec.images.iter();
    images.find(|image| image.digest == digest)
}
