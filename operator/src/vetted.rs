//! What is found of an image for one card. No I/O.

use lockstep_crds::image::ImageKind;
use lockstep_crds::report::{BootStreamReport, StoredImage};
use lockstep_crds::{DpuBootPolicy, DpuImage, ImageFits, ImageRules, names};
use lockstep_planner::inventory::{JoinedCard, boots, fits, room};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::{Vetting, all_met};
use lockstep_planner::view::{LeaseSeen, Room};
use lockstep_trust::{Appraisal, Trust, appraise};

use crate::joins::speaker;
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
    let room = told.room(joined, |report| speaker(world, card, report));
    Vetting {
        fit,
        room,
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
    kind: ImageKind,
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
            kind: image.spec.kind,
            found: appraise(rules_of(policy), &image.spec, told),
            stream: stored.and_then(|stored| stored.boot_stream.as_ref()),
        }
    }

    /// What comes of its signatures.
    pub(crate) fn trust(self) -> Trust {
        self.found.trust
    }

    /// The disk that it needs, and what is told of the card's; `agent` tells the Lease of whoever wrote
    /// a report, if what that is about answers. `None` of what is not booted, whatever is said of it: an
    /// object may be older than the rule that refuses it, and a statement may limit what needs no disk.
    pub(crate) fn room(
        &self,
        joined: Option<&JoinedCard>,
        agent: impl Fn(&str) -> Option<LeaseSeen>,
    ) -> Option<Room> {
        let needs = self.found.fits.iter().filter(|_| self.kind.is_booted());
        let wanted = needs.filter_map(|fits| fits.minimum_disk_bytes).max()?;
        Some(room(joined, wanted, agent))
    }

    /// Whether a card is one that the image is made for, but for its disks.
    pub(crate) fn fit(&self, joined: Option<&JoinedCard>) -> Judgement {
        let fit = all_met(self.found.fits.iter().map(|limit| fits(joined, limit)));
        // Who says for which cards it is knows more than an inventory that does not tell the family.
        let names_cards = self.found.fits.iter().any(ImageFits::names_cards);
        let is_vouched_for = fit == Judgement::Met && names_cards;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_planner::inventory::Verdict;
    use serde_json::json;

    use super::*;

    /// A card of which nobody has told the family.
    fn card() -> JoinedCard {
        let told = |facts| {
            json!({
                "from": "CardOs", "report": "xpu-c", "observedAt": "2026-01-01T00:00:00Z",
                "facts": facts,
            })
        };
        let inventory = serde_json::from_value(json!({
            "completeness": "Partial",
            "system": told(json!({"model": "Card X"})),
        }));
        JoinedCard {
            inventory: inventory.unwrap(),
            summary: serde_json::from_value(json!({})).unwrap(),
            places: Vec::new(),
            inventoried: Verdict {
                status: "False",
                reason: "Partial",
                message: String::new(),
            },
            tellers: BTreeMap::new(),
            disks: Vec::new(),
            inspected: BTreeMap::new(),
            witnesses: Vec::new(),
            is_told_by_others: false,
            is_claimed_by_word: false,
        }
    }

    #[test]
    fn who_says_only_how_much_room_is_needed_vouches_for_no_boot_stream() {
        let stream = BootStreamReport {
            families: vec!["BlueField-3".to_owned()],
            fault: None,
        };
        let fit = |fits: ImageFits| {
            let found = Appraisal {
                trust: Trust::NotAsked,
                security_version: 0,
                fits: vec![fits],
            };
            let told = Told {
                kind: ImageKind::Os,
                found,
                stream: Some(&stream),
            };
            told.fit(Some(&card()))
        };
        let room = ImageFits {
            minimum_disk_bytes: Some(128),
            ..ImageFits::default()
        };
        assert!(matches!(fit(room.clone()), Judgement::NotKnown(_)));
        let named = ImageFits {
            models: vec!["Card X".to_owned()],
            ..room
        };
        assert_eq!(fit(named), Judgement::Met);
    }

    #[test]
    fn of_what_is_signed_and_what_the_object_says_the_larger_disk_is_needed() {
        let room = |kind: ImageKind, bytes: &[Option<i64>]| {
            let fits = bytes.iter().map(|bytes| ImageFits {
                minimum_disk_bytes: *bytes,
                ..ImageFits::default()
            });
            let found = Appraisal {
                trust: Trust::NotAsked,
                security_version: 0,
                fits: fits.collect(),
            };
            let told = Told {
                kind,
                found,
                stream: None,
            };
            told.room(None, |_| None).map(|room| room.wanted)
        };
        let all = [Some(1), None, Some(3), Some(2)];
        for kind in [ImageKind::Os, ImageKind::Bundle, ImageKind::Wiper] {
            assert_eq!(room(kind, &all), Some(3));
        }
        assert_eq!(room(ImageKind::Os, &[None]), None);
        for kind in [ImageKind::Bmc, ImageKind::Firmware, ImageKind::App] {
            assert_eq!(room(kind, &all), None, "{kind:?} needs none");
        }
    }
}
