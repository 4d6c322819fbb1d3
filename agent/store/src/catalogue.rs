//! What is in the store, what may be thrown out of it, and the quota.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::OnceCell;

use crate::Digest;
use crate::disk::Stamp;
use crate::grants::Grants;
use crate::slots::Slots;

/// Everything that one lock guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<Digest, Blob>,
    pub(crate) partials: HashMap<Digest, Partial>,
    /// Removed because their bytes had changed on disk, not yet fetched again.
    pub(crate) damaged: BTreeSet<Digest>,
    pub(crate) grants: Grants,
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

/// Even without all that nobody uses there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// In the quota, since this much is in use.
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

    /// What has to go so that the download of `digest` may take `want` bytes
    /// in all and the volume has `lacking` more bytes free: least recently used
    /// first, never a granted image or a running download, and nothing when
    /// even that would not be enough.
    pub(crate) fn make_room(
        &self,
        digest: &Digest,
        want: u64,
        quota: u64,
        lacking: u64,
    ) -> Result<Vec<Victim>, NoRoom> {
        let mut held = 0_u64;
        let mut idle = Vec::new();
        for (other, blob) in &self.blobs {
            if self.grants.uses(other) {
                held = held.saturating_add(blob.size);
            } else {
                idle.push((blob.last_used, blob.size, Victim::Blob(*other)));
            }
        }
        for (other, partial) in &self.partials {
            if other == digest {
                continue;
            }
            if partial.active {
                held = held.saturating_add(partial.bytes);
            } else {
                idle.push((partial.last_used, partial.bytes, Victim::Partial(*other)));
            }
        }
        if want.saturating_add(held) > quota {
            return Err(NoRoom::Quota { held });
        }
        let sum = |all: u64, (_, bytes, _): &(SystemTime, u64, Victim)| all.saturating_add(*bytes);
        if idle.iter().fold(0, sum) < lacking {
            return Err(NoRoom::Volume);
        }
        idle.sort_by_key(|(last_used, _, _)| *last_used);
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
        let mut state = State::default();
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

    #[test]
    fn least_recently_used_goes_first_and_no_more_than_needed() {
        let state = state();
        let room = |want| state.make_room(&digest("x"), want, 100, 0);
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
        let room = |want| state.make_room(&digest("x"), want, 100, 0);
        assert_eq!(room(40), Ok(vec![Victim::Blob(digest("new"))]));
        assert_eq!(room(41), Err(NoRoom::Quota { held: 60 }));
    }

    #[test]
    fn a_download_does_not_count_against_itself() {
        let state = state();
        assert_eq!(state.make_room(&digest("idle"), 30, 100, 0), Ok(vec![]));
    }

    #[test]
    fn a_full_volume_costs_what_nobody_uses_however_large_the_quota() {
        let mut state = state();
        let room = |state: &State, lacking| state.make_room(&digest("x"), 1, 1000, lacking);
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
