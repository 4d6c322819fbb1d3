//! What is in the store, what may be thrown out of it, and the quota.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::OnceCell;

use crate::disk::Stamp;
use crate::grants::Grants;
use crate::slots::Slots;
use crate::{Demand, Digest};

/// Everything that one lock guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<Digest, Blob>,
    pub(crate) partials: HashMap<Digest, Partial>,
    /// Removed because their bytes had changed on disk, not yet fetched again.
    pub(crate) damaged: BTreeSet<Digest>,
    pub(crate) grants: Grants,
    /// What is wanted, with its size where that was said; `None` as long as nobody has told.
    pub(crate) wanted: Option<BTreeMap<Digest, Option<u64>>>,
    /// What cannot be read of those who say so, for messages.
    pub(crate) unread: Option<String>,
}

/// A published image.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) size: u64,
    /// From the sidecar, good for information only.
    pub(crate) slots: Option<Slots>,
    /// Set once the bytes have been hashed in this process.
    pub(crate) verified: Arc<OnceCell<Slots>>,
    /// The file when that was done.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) last_used: SystemTime,
}

/// A download that has not been published.
#[derive(Debug, Clone)]
pub(crate) struct Partial {
    /// What it takes or, while it is being fetched, what is reserved for it.
    pub(crate) bytes: u64,
    pub(crate) active: bool,
    pub(crate) last_used: SystemTime,
}

/// Something to throw out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Blob(Digest),
    Partial(Digest),
}

/// What an image needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need<'a> {
    pub(crate) digest: &'a Digest,
    /// In all, what was received of it included.
    pub(crate) bytes: u64,
    pub(crate) received: u64,
    /// What the volume lacks for it.
    pub(crate) lacking: u64,
}

/// What may go, whether that is wanted and since when it was not used, and what it takes.
type Idle = ((bool, SystemTime), u64, Victim);

/// Even without all that may go there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// In the quota, since this much has to stay.
    Quota { held: u64 },
    /// On the volume.
    Volume,
}

impl State {
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.blobs.values().map(|blob| blob.size).sum()
    }

    pub(crate) fn partial_bytes(&self) -> u64 {
        self.partials.values().map(|partial| partial.bytes).sum()
    }

    /// Whether an image must be kept. As long as nobody has told what is wanted, each may be.
    fn stays(&self, digest: &Digest) -> bool {
        self.grants.uses(digest) || self.is_wanted(digest)
    }

    fn is_wanted(&self, digest: &Digest) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_none_or(|wanted| wanted.contains_key(digest))
    }

    /// What all that is wanted takes, if that is known, where `needed` is what this image needs.
    pub(crate) fn demand(&self, digest: &Digest, needed: u64) -> Option<Demand> {
        let mut demand = Demand::default();
        for (wanted, said) in self.wanted.as_ref()? {
            let there = self.blobs.get(wanted).map(|blob| blob.size);
            let needed = (wanted == digest).then_some(needed);
            demand.images += 1;
            match there.or(needed).or(*said) {
                Some(bytes) => demand.bytes = demand.bytes.saturating_add(bytes),
                None => demand.of_unknown_size += 1,
            }
        }
        Some(demand)
    }

    /// What has to go so that there is what `need` says: least recently used first, never an image
    /// that is granted or wanted or a running download, and nothing when even that would not be
    /// enough. What was received of a wanted image goes last, and only for one of which more was
    /// received, or as much and its digest is the higher: two of which one alone has room do not
    /// stop, or undo, each other.
    pub(crate) fn make_room(&self, need: Need<'_>, quota: u64) -> Result<Vec<Victim>, NoRoom> {
        let (want, lacking) = (need.bytes, need.lacking);
        let mut held = 0_u64;
        let mut idle: Vec<Idle> = Vec::new();
        for (other, blob) in &self.blobs {
            if self.stays(other) {
                held = held.saturating_add(blob.size);
            } else {
                let age = (false, blob.last_used);
                idle.push((age, blob.size, Victim::Blob(*other)));
            }
        }
        for (other, partial) in &self.partials {
            if other == need.digest {
                continue;
            }
            let is_wanted = self.is_wanted(other);
            let is_behind = (partial.bytes, other) < (need.received, need.digest);
            let gives_way = self.wanted.is_some() && is_behind;
            if partial.active || is_wanted && !gives_way {
                held = held.saturating_add(partial.bytes);
            } else {
                let age = (is_wanted, partial.last_used);
                idle.push((age, partial.bytes, Victim::Partial(*other)));
            }
        }
        if want.saturating_add(held) > quota {
            return Err(NoRoom::Quota { held });
        }
        let sum = |all: u64, (_, bytes, _): &Idle| all.saturating_add(*bytes);
        if idle.iter().fold(0, sum) < lacking {
            return Err(NoRoom::Volume);
        }
        idle.sort_by_key(|(age, _, _)| *age);
        let mut used = idle.iter().fold(held.saturating_add(want), sum);
        let mut freed = 0_u64;
        let mut victims = Vec::new();
        for (_, bytes, victim) in idle {
            if used <= quota && freed >= lacking {
                break;
            }
            used = used.saturating_sub(bytes);
            freed = freed.saturating_add(bytes);
            victims.push(victim);
        }
        Ok(victims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Laid;
    use std::time::Duration;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn state() -> State {
        let mut state = State {
            wanted: Some(BTreeMap::new()),
            ..State::default()
        };
        for (name, size, age) in [("old", 40, 1), ("new", 30, 3)] {
            state.blobs.insert(
                digest(name),
                Blob {
                    size,
                    slots: None,
                    verified: Arc::default(),
                    stamp: None,
                    last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(age),
                },
            );
        }
        state.partials.insert(
            digest("idle"),
            Partial {
                bytes: 20,
                active: false,
                last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(2),
            },
        );
        state
    }

    fn room(state: &State, bytes: u64, quota: u64, lacking: u64) -> Result<Vec<Victim>, NoRoom> {
        let need = Need {
            digest: &digest("x"),
            bytes,
            received: 0,
            lacking,
        };
        state.make_room(need, quota)
    }

    #[test]
    fn least_recently_used_goes_first_and_no_more_than_needed() {
        let state = state();
        let room = |want| room(&state, want, 100, 0);
        assert_eq!(room(10), Ok(vec![]));
        assert_eq!(room(11), Ok(vec![Victim::Blob(digest("old"))]));
        assert_eq!(
            room(51),
            Ok(vec![
                Victim::Blob(digest("old")),
                Victim::Partial(digest("idle"))
            ])
        );
        assert_eq!(room(100).unwrap().len(), 3);
        assert_eq!(room(101), Err(NoRoom::Quota { held: 0 }));
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut state = state();
        state.grants.put("card", digest("old"), Laid::default());
        state.partials.get_mut(&digest("idle")).unwrap().active = true;
        let room = |want| room(&state, want, 100, 0);
        assert_eq!(room(40), Ok(vec![Victim::Blob(digest("new"))]));
        assert_eq!(room(41), Err(NoRoom::Quota { held: 60 }));
    }

    #[test]
    fn a_download_does_not_count_against_itself() {
        let state = state();
        let need = Need {
            digest: &digest("idle"),
            bytes: 30,
            received: 20,
            lacking: 0,
        };
        assert_eq!(state.make_room(need, 100), Ok(vec![]));
    }

    fn wanting(mut state: State, names: &[&str]) -> State {
        let wanted = names.iter().map(|name| (digest(name), None));
        state.wanted = Some(wanted.collect());
        state
    }

    #[test]
    fn what_is_wanted_stays_however_long_ago_it_was_used() {
        let state = wanting(state(), &["old", "x", "absent"]);
        assert_eq!(
            room(&state, 60, 100, 0).unwrap(),
            [Victim::Partial(digest("idle")), Victim::Blob(digest("new"))]
        );
        assert_eq!(room(&state, 61, 100, 0), Err(NoRoom::Quota { held: 40 }));
        assert_eq!(room(&state, 1, 1000, 51), Err(NoRoom::Volume));
        let demand = Demand {
            images: 3,
            bytes: 101,
            of_unknown_size: 1,
        };
        assert_eq!(state.demand(&digest("x"), 61), Some(demand));
    }

    #[test]
    fn before_it_is_told_what_is_wanted_nothing_goes() {
        let mut state = state();
        state.wanted = None;
        assert_eq!(room(&state, 10, 100, 0), Ok(vec![]));
        assert_eq!(room(&state, 11, 100, 0), Err(NoRoom::Quota { held: 90 }));
        assert_eq!(state.demand(&digest("x"), 11), None);
        let need = Need {
            digest: &digest("x"),
            bytes: 30,
            received: 21,
            lacking: 0,
        };
        assert_eq!(state.make_room(need, 100), Err(NoRoom::Quota { held: 90 }));
    }

    #[test]
    fn of_two_wanted_downloads_the_one_of_which_more_was_received_goes_on() {
        let mut state = wanting(state(), &["x", "idle"]);
        let need = |digest, received| Need {
            digest,
            bytes: 90,
            received,
            lacking: 0,
        };
        let (this, other) = (digest("x"), digest("idle"));
        let refused = Err(NoRoom::Quota { held: 20 });
        for received in [0, 19] {
            assert_eq!(state.make_room(need(&this, received), 100), refused);
        }
        let victims = state.make_room(need(&this, 21), 100).unwrap();
        assert_eq!(victims.last(), Some(&Victim::Partial(other)));
        let of_this = Partial {
            bytes: 21,
            active: false,
            last_used: SystemTime::UNIX_EPOCH,
        };
        state.partials.insert(this, of_this);
        let refused = Err(NoRoom::Quota { held: 21 });
        assert_eq!(state.make_room(need(&other, 20), 100), refused);
    }

    #[test]
    fn of_two_wanted_downloads_of_which_as_much_was_received_one_goes_on() {
        let mut state = wanting(state(), &["x", "idle"]);
        let (this, other) = (digest("x"), digest("idle"));
        let of_this = Partial {
            bytes: 20,
            active: false,
            last_used: SystemTime::UNIX_EPOCH,
        };
        state.partials.insert(this, of_this);
        let has_room = |state: &State, digest, received| {
            let need = Need {
                digest,
                bytes: 90,
                received,
                lacking: 0,
            };
            state.make_room(need, 100).is_ok()
        };
        let both = (has_room(&state, &this, 20), has_room(&state, &other, 20));
        let (first, last) = (this.max(other), this.min(other));
        assert_eq!(both, (first == this, first == other), "one of them");
        // What it had is gone then, and undoes nothing.
        state.partials.remove(&last);
        assert!(!has_room(&state, &last, 0));
    }

    #[test]
    fn a_full_volume_costs_what_nobody_uses_however_large_the_quota() {
        let mut state = state();
        let room = |state: &State, lacking| room(state, 1, 1000, lacking);
        assert_eq!(room(&state, 40), Ok(vec![Victim::Blob(digest("old"))]));
        assert_eq!(
            room(&state, 41),
            Ok(vec![
                Victim::Blob(digest("old")),
                Victim::Partial(digest("idle"))
            ])
        );
        assert_eq!(room(&state, 90).unwrap().len(), 3);
        assert_eq!(room(&state, 91), Err(NoRoom::Volume));
        state.grants.put("card", digest("old"), Laid::default());
        assert_eq!(room(&state, 51), Err(NoRoom::Volume));
    }
}
