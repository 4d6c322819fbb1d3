//! The store's shared inside: images are hashed before their first use, room
//! is made for new ones, uses are noted, grants are saved.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Blob, Need, NoRoom, State, Victim};
use crate::client::Client;
use crate::disk::{At, DiskError, Layout, Stamp, blocking, write_atomic};
use crate::error::of_demand;
use crate::fetch::Fetches;
use crate::grants::Grants;
use crate::pins::Pins;
use crate::slots::{FileSlot, SlotScan, Slots, examine};
use crate::{BlobInfo, Digest, FetchError, FetchLimits, GrantError};

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) quota_bytes: u64,
    pub(crate) max_image_bytes: u64,
    pub(crate) limits: FetchLimits,
    pub(crate) client: Client,
    /// Counts the changes of what the client trusts.
    pub(crate) trusts: tokio::sync::watch::Sender<u64>,
    pub(crate) state: Mutex<State>,
    pub(crate) fetches: Fetches,
    pub(crate) pins: Pins,
    /// Held while the grants' file is written.
    pub(crate) saving: Arc<tokio::sync::Mutex<()>>,
    /// Locked while this process has the folder.
    pub(crate) _folder: File,
}

/// Why a published image cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Absent,
    Damaged { actual: Digest },
    Disk(DiskError),
}

impl Unusable {
    /// The same in words of whoever wants that image for a card.
    pub(crate) fn of(self, digest: &Digest) -> GrantError {
        match self {
            Self::Absent => GrantError::NotStored { digest: *digest },
            Self::Damaged { actual } => GrantError::Damaged {
                digest: *digest,
                actual,
            },
            Self::Disk(error) => error.into(),
        }
    }
}

/// What stands beside a published image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) size: u64,
    pub(crate) slot: SlotScan,
    /// Earlier releases knew none.
    #[serde(default)]
    pub(crate) files: Vec<FileSlot>,
}

impl Sidecar {
    pub(crate) fn of(size: u64, slots: &Slots) -> Self {
        Self {
            size,
            slot: slots.seed,
            files: slots.files.to_vec(),
        }
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// What it says, if it is about a file of this size.
    pub(crate) fn load(path: &Path, size: u64) -> Option<Slots> {
        let sidecar: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (sidecar.size == size).then(|| Slots {
            seed: sidecar.slot,
            files: sidecar.files.into(),
        })
    }
}

/// A panic while holding one of our locks leaves no half-done change behind:
/// each section changes maps only after everything that can fail.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// The image, hashed in this process since its file last changed. Whoever
    /// asks first has it hashed, the others wait. Other bytes than the digest
    /// says are removed.
    pub(crate) async fn verified(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<(BlobInfo, Slots), Unusable> {
        let blob = self.blob(digest).ok_or(Unusable::Absent)?;
        let slots = blob
            .verified
            .get_or_try_init(|| self.hash(*digest, &blob))
            .await?;
        let info = BlobInfo {
            digest: *digest,
            size: blob.size,
            seed_slot: slots.seed.slot(),
        };
        Ok((info, slots.clone()))
    }

    /// What is known of an image; no more than its name once its file changed.
    fn blob(&self, digest: &Digest) -> Option<Blob> {
        let mut state = lock(&self.state);
        let blob = state.blobs.get_mut(digest)?;
        if blob.verified.initialized() && blob.stamp != Stamp::at(&self.layout.blob(digest)) {
            tracing::warn!(%digest, "image file changed on disk: hashed again");
            blob.verified = Arc::default();
            blob.stamp = None;
        }
        Some(blob.clone())
    }

    /// Whether an open file is the one that was hashed last, unchanged.
    pub(crate) fn is_as_verified(&self, digest: &Digest, file: &File) -> bool {
        let state = lock(&self.state);
        let blob = state.blobs.get(digest);
        blob.is_some_and(|blob| blob.stamp == Stamp::of(file))
    }

    pub(crate) async fn verified_slots(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<Slots, GrantError> {
        match self.verified(digest).await {
            Ok((_, slots)) => Ok(slots),
            Err(error) => Err(error.of(digest)),
        }
    }

    async fn hash(self: &Arc<Self>, digest: Digest, blob: &Blob) -> Result<Slots, Unusable> {
        let inner = Arc::clone(self);
        let blob = blob.clone();
        let path = self.layout.blob(&digest);
        let examined = path.clone();
        let work = move || -> Result<Slots, Unusable> {
            let file = match File::open(&examined) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Somebody emptied the folder under us.
                    lock(&inner.state).blobs.remove(&digest);
                    return Err(Unusable::Absent);
                }
                opened => opened.at(&examined).map_err(Unusable::Disk)?,
            };
            let stamp = Stamp::of(&file);
            let found = examine(&file).at(&examined).map_err(Unusable::Disk)?;
            if found.digest != digest {
                inner.discard_damaged(&digest, &blob, found.digest)?;
                return Err(Unusable::Damaged {
                    actual: found.digest,
                });
            }
            if blob.slots.as_ref() != Some(&found.slots) {
                let sidecar = inner.layout.sidecar(&digest);
                let json = Sidecar::of(found.size, &found.slots).to_json().at(&sidecar);
                json.and_then(|json| write_atomic(&sidecar, &json))
                    .map_err(Unusable::Disk)?;
            }
            if let Some(now) = lock(&inner.state).blobs.get_mut(&digest)
                && Arc::ptr_eq(&now.verified, &blob.verified)
            {
                now.stamp = stamp;
            }
            Ok(found.slots)
        };
        blocking(&path, work).await.map_err(Unusable::Disk)?
    }

    fn discard_damaged(
        &self,
        digest: &Digest,
        blob: &Blob,
        actual: Digest,
    ) -> Result<(), Unusable> {
        let mut state = lock(&self.state);
        // A fetch may have put a good one in its place meanwhile.
        let same = |now: &Blob| Arc::ptr_eq(&now.verified, &blob.verified);
        if state.blobs.get(digest).is_some_and(same) {
            tracing::error!(%digest, %actual, "image was damaged on disk: removed");
            state.blobs.remove(digest);
            state.damaged.insert(*digest);
            self.layout.remove_blob(digest).map_err(Unusable::Disk)?;
        }
        Ok(())
    }

    /// Makes room for a download of `size` bytes of which `missing` are still
    /// to come, in the quota and on the volume, evicting what may go.
    pub(crate) fn reserve(
        &self,
        digest: &Digest,
        size: u64,
        missing: u64,
    ) -> Result<(), FetchError> {
        let mut state = lock(&self.state);
        let reserved = state.partials.get(digest).map_or(0, |each| each.bytes);
        let wanted = state.demand(digest, size.max(reserved));
        let unread = state.unread.clone();
        let full = |free: u64| FetchError::DiskFull {
            path: self.layout.root().to_owned(),
            reason: format!(
                "{missing} bytes needed, {free} free{}",
                of_demand(wanted.as_ref(), unread.as_deref())
            ),
        };
        let free = self.layout.free_bytes()?;
        let lacking = missing.saturating_sub(free);
        if size > reserved || lacking > 0 {
            let want = size.max(reserved);
            let need = Need {
                digest,
                bytes: want,
                received: size.saturating_sub(missing),
                lacking,
            };
            let victims =
                state
                    .make_room(need, self.quota_bytes)
                    .map_err(|no_room| match no_room {
                        NoRoom::Quota { held } => FetchError::QuotaExceeded {
                            needed: want,
                            held,
                            quota: self.quota_bytes,
                            wanted,
                            unread: unread.clone(),
                        },
                        NoRoom::Volume => full(free),
                    })?;
            for victim in victims {
                tracing::info!(?victim, wanted_by = %digest, "evicted from the image store");
                match victim {
                    Victim::Blob(old) => {
                        state.blobs.remove(&old);
                        self.layout.remove_blob(&old)?;
                    }
                    Victim::Partial(old) => {
                        state.partials.remove(&old);
                        self.layout.remove_partial(&old)?;
                    }
                }
            }
            if let Some(partial) = state.partials.get_mut(digest) {
                partial.bytes = want;
            }
        }
        match self.layout.free_bytes()? {
            free if missing > free => Err(full(free)),
            _enough => Ok(()),
        }
    }

    /// Notes a use of an image, for the order of eviction; also on disk, for
    /// the next process.
    pub(crate) fn touch(&self, state: &mut State, digest: &Digest) {
        let Some(blob) = state.blobs.get_mut(digest) else {
            return;
        };
        let now = SystemTime::now();
        blob.last_used = now;
        let path = self.layout.blob(digest);
        let mut note = || -> io::Result<()> {
            let file = File::open(&path)?;
            let unchanged = blob.stamp == Stamp::of(&file);
            file.set_modified(now)?;
            if unchanged {
                blob.stamp = Stamp::of(&file);
            }
            Ok(())
        };
        if let Err(error) = note() {
            tracing::debug!(path = %path.display(), %error, "time of use not kept");
        }
    }

    pub(crate) async fn save_grants(self: &Arc<Self>) -> Result<(), GrantError> {
        let writing = Arc::clone(&self.saving).lock_owned().await;
        let inner = Arc::clone(self);
        let path = self.layout.grants();
        let target = path.clone();
        blocking(&path, move || -> Result<(), DiskError> {
            let json = {
                let mut state = lock(&inner.state);
                state.grants.unsaved = false;
                state.grants.to_json()
            };
            let saved = json
                .at(&target)
                .and_then(|json| Grants::save(&target, &json));
            if saved.is_err() {
                lock(&inner.state).grants.unsaved = true;
            }
            drop(writing);
            saved
        })
        .await??;
        Ok(())
    }
}
