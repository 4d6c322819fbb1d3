//! What the site's objects want of the store, and what it must not let go of. Pure.

use std::collections::BTreeMap;

use lockstep_store::Digest;

use crate::site::wanted::Wanted;

/// What is wanted, as far as the objects could be read.
#[derive(Debug, Default)]
pub(super) struct Demand {
    images: Wanted,
    /// Whether every object could be read once: before that any image may be one that is wanted.
    is_known: bool,
}

impl Demand {
    /// What is wanted now. What was wanted stays wanted while there is an object that cannot be
    /// read: it may be the one that wants it.
    pub(super) fn update(&mut self, mut now: Wanted, all_read: bool) {
        if !all_read {
            for (digest, image) in std::mem::take(&mut self.images) {
                now.entry(digest).or_insert(image);
            }
        }
        self.images = now;
        self.is_known |= all_read;
    }

    /// The images that the store is to have.
    pub(super) fn images(&self) -> &Wanted {
        &self.images
    }

    /// The images that are all that must stay, with their sizes, once that is certain.
    pub(super) fn pinned(&self) -> Option<BTreeMap<Digest, Option<u64>>> {
        let sizes = self
            .images
            .iter()
            .map(|(digest, image)| (*digest, image.size));
        self.is_known.then(|| sizes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::wanted::WantedImage;

    fn wanted(names: &[&str]) -> Wanted {
        let image = |name: &&str| WantedImage {
            digest: Digest::of(name.as_bytes()),
            size: Some(7),
            sources: Vec::new(),
            signatures: Vec::new(),
        };
        let images = names.iter().map(image);
        images.map(|image| (image.digest, image)).collect()
    }

    fn pinned(demand: &Demand) -> Option<Vec<Digest>> {
        Some(demand.pinned()?.into_keys().collect())
    }

    fn digests(names: &[&str]) -> Vec<Digest> {
        wanted(names).into_keys().collect()
    }

    #[test]
    fn nothing_is_certain_before_everything_was_read_once() {
        let mut demand = Demand::default();
        assert_eq!(demand.pinned(), None);
        demand.update(wanted(&["a"]), false);
        assert_eq!(demand.images(), &wanted(&["a"]));
        assert_eq!(
            demand.pinned(),
            None,
            "what cannot be read may want another"
        );
        demand.update(wanted(&["b"]), true);
        let size = demand
            .pinned()
            .and_then(|pinned| pinned.into_values().next());
        assert_eq!(size, Some(Some(7)));
        assert_eq!(pinned(&demand), Some(digests(&["b"])));
    }

    #[test]
    fn what_was_wanted_stays_while_an_object_cannot_be_read() {
        let mut demand = Demand::default();
        demand.update(wanted(&["a", "b"]), true);
        demand.update(wanted(&["c"]), false);
        assert_eq!(demand.images(), &wanted(&["a", "b", "c"]));
        assert_eq!(pinned(&demand), Some(digests(&["a", "b", "c"])));
        demand.update(wanted(&["c"]), true);
        assert_eq!(pinned(&demand), Some(digests(&["c"])));
    }
}
