//! What the agent calls.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::watch;

use crate::client::Client;
use crate::disk::{At, DiskError, Layout};
use crate::fetch::{Fetch, Fetches, ImageRequest};
use crate::grants::{Entry, Grant, GrantInfo, GrantStats, Laid, Which};
use crate::inner::{Inner, lock};
use crate::medium::Own;
use crate::pins::{Pin, Pins};
use crate::serve::GrantedImage;
use crate::sight::Sight;
use crate::slots::{FileSlot, SeedSlot, SlotScan};
use crate::source::ImageSource;
use crate::{
    Cosigned, Digest, FetchError, GrantError, OpenError, StoreConfig, cosign, document, recovery,
    serve,
};

/// How many slots of an image a refusal names at most.
const NAMED_SLOTS: usize = 8;

/// An image in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its sha256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where a seed can go, if it has exactly one such place.
    pub seed_slot: Option<SeedSlot>,
}

/// The store's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// Published images.
    pub blobs: usize,
    /// What they take.
    pub blob_bytes: u64,
    /// Downloads, running or interrupted.
    pub partials: usize,
    /// What they take, with what is reserved for the running ones.
    pub partial_bytes: u64,
    /// What all may take.
    pub quota_bytes: u64,
    /// Images that were found damaged on disk and removed, and have not been
    /// fetched again.
    pub damaged: Vec<Digest>,
}

/// The image store. Clones are the same store; the folder is free again when
/// the last one, the router and all fetches are gone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Takes over the folder: continues what a crash interrupted, removes
    /// what it left behind. Reads no image; each is hashed before its first
    /// use.
    pub fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let client = Client::new(
            config.sources,
            config.limits.clone(),
            config.ca_bundle.as_deref(),
        )?;
        let layout = Layout::create(config.dir)?;
        let folder = take_folder(&layout)?;
        let state = recovery::take_stock(&layout)?;
        let pins = Pins::load(&layout)?;
        Ok(Self {
            inner: Arc::new(Inner {
                layout,
                quota_bytes: config.quota_bytes,
                max_image_bytes: config.max_image_bytes,
                limits: config.limits,
                client,
                trusts: watch::Sender::default(),
                state: Mutex::new(state),
                fetches: Fetches::default(),
                pins,
                saving: Arc::default(),
                _folder: folder,
            }),
        })
    }

    /// Trusts these authorities, and no others, for https sources from now on. Downloads under way go
    /// on.
    ///
    /// # Errors
    /// If it is no PEM bundle; then those before stay trusted.
    pub fn trust(&self, ca_bundle: &[u8]) -> Result<(), OpenError> {
        self.inner.client.trust(ca_bundle)?;
        self.inner.trusts.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Changes whenever other authorities are trusted.
    pub fn trusts(&self) -> watch::Receiver<u64> {
        self.inner.trusts.subscribe()
    }

    /// What is wanted from now on, with the size where it is known: none of it is evicted, not even
    /// for another wanted image. Before this is called for the first time nothing is.
    pub fn want(&self, wanted: BTreeMap<Digest, Option<u64>>) {
        lock(&self.inner.state).wanted = Some(wanted);
    }

    /// What cannot be read of those who say what is wanted, such as `DpuImage os-2`: messages name it
    /// where there is no room because of it.
    pub fn cannot_read(&self, what: Option<String>) {
        lock(&self.inner.state).unread = what;
    }

    /// Makes sure that the image is in the store. Joins a fetch of the same
    /// digest that is under way, whatever its sources; nothing happens until
    /// the result is awaited.
    pub fn fetch(&self, request: &ImageRequest) -> Fetch {
        self.inner.fetches.join(&self.inner, request)
    }

    /// Reads a file that belongs to an image, of at most `most` bytes. It is not kept, and what
    /// it says is not looked at.
    ///
    /// # Errors
    /// If the source cannot be used or answers otherwise.
    pub async fn document(&self, source: &ImageSource, most: usize) -> Result<Vec<u8>, FetchError> {
        let inner = &self.inner;
        document::read(&inner.client, &inner.limits, source, most).await
    }

    /// What cosign has put beside an artefact that has the image: nobody has verified it. A tag is
    /// resolved as for the image, and once.
    ///
    /// # Errors
    /// If the source is none of a registry, or it or what belongs to it cannot be read.
    pub async fn cosigned(
        &self,
        image: Digest,
        source: &ImageSource,
    ) -> Result<Cosigned, FetchError> {
        let inner = &self.inner;
        cosign::beside(&inner.client, &inner.pins, image, source).await
    }

    /// What the store holds under a digest, without looking at the bytes.
    pub fn info(&self, digest: &Digest) -> Option<BlobInfo> {
        let state = lock(&self.inner.state);
        let blob = state.blobs.get(digest)?;
        let slots = blob.verified.get().or(blob.slots.as_ref());
        Some(BlobInfo {
            digest: *digest,
            size: blob.size,
            seed_slot: slots.and_then(|slots| slots.seed.slot()),
        })
    }

    /// Where the first slot of an image begins.
    pub fn first_slot(&self, digest: &Digest) -> Option<u64> {
        let state = lock(&self.inner.state);
        let blob = state.blobs.get(digest)?;
        let slots = blob.verified.get().or(blob.slots.as_ref())?;
        let seed = match slots.seed {
            SlotScan::Absent => None,
            SlotScan::One(slot) => Some(slot.offset),
            SlotScan::Ambiguous { first, .. } => Some(first),
        };
        let files = slots.files.iter().map(|slot| slot.offset);
        files.chain(seed).min()
    }

    /// Which manifests the image's sources in registries were pinned to, in the order in which
    /// they were first used.
    pub fn pins(&self, digest: &Digest) -> Vec<Pin> {
        self.inner.pins.of(digest)
    }

    /// The card's way to an image, with its seed, if any, over the seed slot.
    /// The path stays the same across calls and restarts until
    /// [`Store::revoke`]; another seed, or none, replaces the old one for
    /// requests that come from now on. The image cannot be evicted while it is
    /// granted.
    pub async fn grant(
        &self,
        digest: Digest,
        card_key: &str,
        seed: Option<Vec<u8>>,
    ) -> Result<Grant, GrantError> {
        self.grant_with_files(digest, card_key, seed, BTreeMap::new())
            .await
    }

    /// The same with files of the card's own, by the names of their slots.
    pub async fn grant_with_files(
        &self,
        digest: Digest,
        card_key: &str,
        seed: Option<Vec<u8>>,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Grant, GrantError> {
        let inner = &self.inner;
        let slots = inner.verified_slots(&digest).await?;
        if let Some(seed) = &seed {
            check_seed(digest, slots.seed, seed.len() as u64)?;
        }
        check_files(digest, &slots.files, &files)?;
        let laid = Laid {
            seed: seed.map(Bytes::from),
            files: files
                .into_iter()
                .map(|(slot, content)| (slot, Bytes::from(content)))
                .collect(),
        };
        let (grant, unsaved) = {
            let mut state = lock(&inner.state);
            if !state.blobs.contains_key(&digest) {
                return Err(GrantError::NotStored { digest });
            }
            let grant = state.grants.put(card_key, digest, laid);
            inner.touch(&mut state, &digest);
            (grant, state.grants.unsaved)
        };
        if unsaved {
            inner.save_grants().await?;
        }
        Ok(grant)
    }

    /// Whether an image has a slot for each of these files, in which it fits. Nothing is granted.
    pub async fn takes_files(
        &self,
        digest: Digest,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), GrantError> {
        let slots = self.inner.verified_slots(&digest).await?;
        check_files(digest, &slots.files, files)
    }

    /// Whether an image has one place for a card's seed, however long that is. Nothing is granted.
    pub async fn takes_seed(&self, digest: Digest) -> Result<(), GrantError> {
        let slots = self.inner.verified_slots(&digest).await?;
        check_seed(digest, slots.seed, 0)
    }

    /// The grant that a card has for an image, without changing its seed.
    pub fn granted(&self, digest: &Digest, card_key: &str) -> Option<Grant> {
        let state = lock(&self.inner.state);
        state
            .grants
            .get(card_key, digest)
            .map(|entry| entry.grant())
    }

    /// The image as a card is served it by its grant, for those BMCs that are sent it. It is
    /// verified as for every request, and takes the same memory however large it is.
    ///
    /// # Errors
    /// When there is no such grant, or the image is not there any more as it was verified.
    pub async fn read_granted(
        &self,
        digest: &Digest,
        card_key: &str,
    ) -> Result<GrantedImage, GrantError> {
        let entry = {
            let state = lock(&self.inner.state);
            state.grants.get(card_key, digest).cloned()
        };
        let entry = entry.ok_or(GrantError::NotStored { digest: *digest })?;
        serve::granted(&self.inner, entry).await
    }

    /// The image as it is, verified as for every request, for whoever looks into it.
    ///
    /// # Errors
    /// When it is not there, or not as it was verified any more.
    pub async fn read(&self, digest: &Digest) -> Result<GrantedImage, GrantError> {
        let entry = Entry::ungranted("", *digest);
        serve::granted(&self.inner, Arc::new(entry)).await
    }

    /// What lies over an image for a card that it was granted to.
    pub fn own(&self, digest: &Digest, card_key: &str) -> Option<Own> {
        let state = lock(&self.inner.state);
        let entry = state.grants.get(card_key, digest)?;
        Some(Own::of(&entry.laid))
    }

    /// Answers a request for an image that was granted to a card, as it is and with nothing laid
    /// over it. Who may ask is the caller's to know. Without a grant it is not found.
    pub async fn serve_bare(
        &self,
        digest: &Digest,
        card_key: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Response {
        let entry = {
            let state = lock(&self.inner.state);
            state.grants.get(card_key, digest).map(|entry| entry.bare())
        };
        match entry {
            Some(entry) => serve::respond(&self.inner, Arc::new(entry), method, headers).await,
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Answers a request for an image as it is, verified as for every request. That the card may have
    /// it, and that it is the one that asks, is the caller's to know.
    pub async fn serve_known(
        &self,
        digest: &Digest,
        card_key: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Response {
        let entry = Entry::ungranted(card_key, *digest);
        serve::respond(&self.inner, Arc::new(entry), method, headers).await
    }

    /// All grants, those of earlier processes included.
    pub fn grants(&self) -> Vec<GrantInfo> {
        lock(&self.inner.state).grants.all()
    }

    /// Ends all grants of a card at once, responses under way included, and
    /// forgets their seeds. After an error the grants are void here, but could
    /// return with a restart: call it again, or [`Store::settle`].
    pub async fn revoke(&self, card_key: &str) -> Result<(), GrantError> {
        self.end(card_key, Which::All).await
    }

    /// The same for the card's grants of other images than this one.
    pub async fn revoke_others(&self, card_key: &str, digest: &Digest) -> Result<(), GrantError> {
        self.end(card_key, Which::But(digest)).await
    }

    /// The same for the card's grant of this image alone.
    pub async fn revoke_one(&self, card_key: &str, digest: &Digest) -> Result<(), GrantError> {
        self.end(card_key, Which::Only(digest)).await
    }

    async fn end(&self, card_key: &str, which: Which<'_>) -> Result<(), GrantError> {
        {
            let mut state = lock(&self.inner.state);
            for digest in state.grants.revoke(card_key, which) {
                tracing::info!(card_key, %digest, "grant revoked");
                self.inner.touch(&mut state, &digest);
            }
        }
        self.settle().await
    }

    /// Has what was granted and revoked outlive a restart, if it does not yet.
    ///
    /// # Errors
    /// As long as it cannot be written. Call it again.
    pub async fn settle(&self) -> Result<(), GrantError> {
        let unsaved = lock(&self.inner.state).grants.unsaved;
        if unsaved {
            self.inner.save_grants().await?;
        }
        Ok(())
    }

    /// What a card has read so far; `None` when it has no grant.
    pub fn grant_stats(&self, card_key: &str) -> Option<GrantStats> {
        lock(&self.inner.state).grants.stats(card_key)
    }

    /// What was seen of the way to each image that a card was granted, since that was handed out.
    pub fn sights(&self, card_key: &str) -> Vec<(Digest, Sight)> {
        lock(&self.inner.state).grants.sights(card_key)
    }

    /// Somebody is given the URL of an image anew: what was seen of the way to it before is of
    /// another attempt. Without a grant nothing happens.
    pub fn hand_out(&self, digest: &Digest, card_key: &str) {
        lock(&self.inner.state).grants.hand_out(card_key, digest);
    }

    /// Whose URL this is, if it is one of ours that is still valid, in
    /// whatever form a BMC reports its inserted media.
    pub fn owner_of_url(&self, url: &str) -> Option<GrantInfo> {
        let state = lock(&self.inner.state);
        state.grants.find(url).map(|entry| entry.info())
    }

    /// Serves granted images: `GET` and `HEAD` of `/i/<capability>/image.iso`.
    pub fn router(&self) -> Router {
        serve::router(Arc::clone(&self.inner))
    }

    /// The store's figures.
    pub fn status(&self) -> StoreStatus {
        let state = lock(&self.inner.state);
        StoreStatus {
            blobs: state.blobs.len(),
            blob_bytes: state.blob_bytes(),
            partials: state.partials.len(),
            partial_bytes: state.partial_bytes(),
            quota_bytes: self.inner.quota_bytes,
            damaged: state.damaged.iter().copied().collect(),
        }
    }
}

fn take_folder(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .at(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(OpenError::Locked {
            dir: layout.root().to_owned(),
        }),
        Err(errno) => Err(DiskError {
            path,
            error: errno.into(),
        }
        .into()),
    }
}

pub(crate) fn check_seed(digest: Digest, scan: SlotScan, seed: u64) -> Result<(), GrantError> {
    match scan {
        SlotScan::Absent => Err(GrantError::NoSeedSlot { digest }),
        SlotScan::Ambiguous { first, second } => Err(GrantError::SeedSlotAmbiguous {
            digest,
            first,
            second,
        }),
        SlotScan::One(slot) if seed > slot.len => Err(GrantError::SeedTooLarge {
            digest,
            seed,
            slot: slot.len,
        }),
        SlotScan::One(_) => Ok(()),
    }
}

pub(crate) fn check_files(
    digest: Digest,
    slots: &[FileSlot],
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), GrantError> {
    for (name, content) in files {
        let mut named = slots.iter().filter(|slot| slot.name == *name);
        let slot = name.clone();
        let Some(first) = named.next() else {
            let mut slots: Vec<String> = slots.iter().map(|slot| slot.name.clone()).collect();
            slots.dedup();
            slots.truncate(NAMED_SLOTS);
            return Err(GrantError::NoFileSlot {
                digest,
                slot,
                slots,
            });
        };
        if let Some(second) = named.next() {
            return Err(GrantError::FileSlotAmbiguous {
                digest,
                slot,
                first: first.offset,
                second: second.offset,
            });
        }
        let bytes = content.len() as u64;
        if bytes > first.len {
            return Err(GrantError::FileTooLarge {
                digest,
                slot,
                bytes,
                len: first.len,
            });
        }
    }
    Ok(())
}
