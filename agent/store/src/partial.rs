//! One unpublished image on disk: what was received, and how to go on.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ETAG, LAST_MODIFIED};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::catalogue::{Blob, Partial};
use crate::disk::{At, DiskError, Stamp, blocking, remove, sync_parent, write_atomic};
use crate::inner::{Inner, Sidecar, lock};
use crate::slots::{Examined, examine};
use crate::{BlobInfo, Digest, FetchError};

/// A write that an earlier, dropped fetch left running ends well within this.
const HANDOVER: Duration = Duration::from_secs(60);

/// What lets a server tell whether it still has the same bytes. Empty where the URL itself names
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validator(String);

/// For the rest of what another source gave: the image's digest tells whether it fits.
static BY_DIGEST: Validator = Validator(String::new());

impl Validator {
    /// For a URL that holds the digest of what it leads to.
    pub(crate) fn content_addressed() -> Self {
        Self(String::new())
    }

    /// A strong `ETag`, else `Last-Modified`: what `If-Range` accepts.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        text(ETAG)
            .filter(|etag| etag.starts_with('"'))
            .or_else(|| text(LAST_MODIFIED))
            .map(|value| Self(value.to_owned()))
    }

    /// What stands in `If-Range`, if there is anything to compare.
    pub(crate) fn if_range(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

/// Where the received bytes came from. The URL is without its query, which
/// may be a secret and may change while the image stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) url: String,
    pub(crate) validator: Validator,
    pub(crate) total: Option<u64>,
}

/// The download of one digest, by the only one who may write it.
///
/// Work on the disk goes on after the session was dropped. It has a share of `active` and of the
/// lock on `file`, in this order, so that nobody tidies up, or begins anew, before it has ended.
#[derive(Debug)]
pub(crate) struct Session {
    active: Arc<Active>,
    file: Arc<File>,
    received: u64,
    resume: Option<Resume>,
    /// Whether the bytes are from more than one response.
    pieced: bool,
}

/// What became of a complete download.
#[derive(Debug)]
pub(crate) enum Published {
    Stored(BlobInfo),
    OtherDigest(Digest),
}

/// Marks the download as running, so that it is not thrown out, and tidies
/// up when it ends.
#[derive(Debug)]
struct Active {
    inner: Arc<Inner>,
    digest: Digest,
}

/// Keeps a download from being thrown out.
fn mark(inner: &Inner, digest: Digest) {
    let now = SystemTime::now();
    let mut state = lock(&inner.state);
    let partial = state.partials.entry(digest).or_insert(Partial {
        bytes: 0,
        active: true,
        last_used: now,
    });
    partial.active = true;
    partial.last_used = now;
}

impl Drop for Active {
    fn drop(&mut self) {
        let Self { inner, digest } = self;
        let layout = &inner.layout;
        let on_disk = fs::metadata(layout.part(digest)).map_or(0, |meta| meta.len());
        let useful = on_disk > 0 && layout.resume(digest).exists();
        let mut state = lock(&inner.state);
        if let Some(partial) = state.partials.get_mut(digest) {
            partial.active = false;
            partial.bytes = on_disk;
            partial.last_used = SystemTime::now();
        }
        if !useful {
            state.partials.remove(digest);
            if let Err(error) = layout.remove_partial(digest) {
                tracing::warn!(%digest, %error, "useless partial download not removed");
            }
        }
    }
}

impl Session {
    pub(crate) async fn open(inner: &Arc<Inner>, digest: Digest) -> Result<Self, FetchError> {
        let owner = Arc::clone(inner);
        let path = inner.layout.part(&digest);
        let part = path.clone();
        let opening = blocking(&path, move || -> Result<_, DiskError> {
            let file = loop {
                let file = open_locked(&part).at(&part)?;
                mark(&owner, digest);
                // It may have been thrown out just before that.
                if is_named(&file, &part).at(&part)? {
                    break file;
                }
            };
            // From here on whoever has the lock tidies up, and nobody else.
            let active = Active {
                inner: owner,
                digest,
            };
            let resume: Option<Resume> = fs::read(active.inner.layout.resume(&digest))
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if resume.is_none() {
                file.set_len(0).at(&part)?;
            }
            let received = file.metadata().at(&part)?.len();
            Ok((active, file, received, resume))
        });
        let waited = timeout(HANDOVER, opening).await.map_err(|_| DiskError {
            path: path.clone(),
            error: io::ErrorKind::TimedOut.into(),
        })?;
        let (active, file, received, resume) = waited??;
        Ok(Self {
            active: Arc::new(active),
            file: Arc::new(file),
            received,
            resume,
            pieced: received > 0,
        })
    }

    /// Bytes on disk.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether another whole download could give other bytes.
    pub(crate) fn is_pieced(&self) -> bool {
        self.pieced
    }

    /// The size that the source of the received bytes announced.
    pub(crate) fn total(&self) -> Option<u64> {
        self.resume.as_ref().and_then(|resume| resume.total)
    }

    /// From where on, and with which validator, to continue with a source. What another one gave is
    /// continued too.
    pub(crate) fn rest_from(&self, url: &str) -> Option<(u64, &Validator)> {
        let resume = self.resume.as_ref().filter(|_| self.received > 0)?;
        let validator = if resume.url == url {
            &resume.validator
        } else {
            &BY_DIGEST
        };
        Some((self.received, validator))
    }

    /// Notes that a source continues what was received.
    pub(crate) fn continue_with_more(&mut self) {
        self.pieced = true;
    }

    /// Throws away what was received and begins with a source, or with none.
    /// Without a validator nothing outlives a crash.
    pub(crate) async fn restart(&mut self, resume: Option<Resume>) -> Result<(), FetchError> {
        let layout = self.active.inner.layout.clone();
        let digest = self.active.digest;
        let path = layout.part(&digest);
        let (active, file) = (Arc::clone(&self.active), Arc::clone(&self.file));
        self.received = 0;
        self.pieced = false;
        self.resume.clone_from(&resume);
        let part = path.clone();
        let work = move |file: &File| -> Result<(), DiskError> {
            let note = layout.resume(&digest);
            // In this order, so that no crash leaves old bytes under a new
            // validator.
            remove(&note)?;
            file.set_len(0).at(&part)?;
            if let Some(resume) = resume {
                let json = serde_json::to_vec(&resume).at(&note)?;
                write_atomic(&note, &json)?;
            }
            Ok(())
        };
        blocking(&path, move || {
            let done = work(&file);
            drop((active, file));
            done
        })
        .await??;
        Ok(())
    }

    /// Writes what came next.
    pub(crate) async fn append(&mut self, bytes: Bytes) -> Result<(), FetchError> {
        let path = self.active.inner.layout.part(&self.active.digest);
        let (active, file) = (Arc::clone(&self.active), Arc::clone(&self.file));
        let at = self.received;
        let len = bytes.len() as u64;
        let part = path.clone();
        blocking(&path, move || {
            let written = file.write_all_at(&bytes, at).at(&part);
            drop((active, file));
            written
        })
        .await??;
        self.received += len;
        Ok(())
    }

    /// Checks the whole file and, if it is the image, publishes it. Once the
    /// check has begun, it runs to its end even when the caller is dropped.
    pub(crate) async fn publish(&mut self) -> Result<Published, FetchError> {
        let inner = Arc::clone(&self.active.inner);
        let digest = self.active.digest;
        let (active, file) = (Arc::clone(&self.active), Arc::clone(&self.file));
        let path = inner.layout.part(&digest);
        let published = blocking(&path, move || {
            let published = publish(&inner, digest, &file);
            drop((active, file));
            published
        });
        Ok(published.await??)
    }
}

fn publish(inner: &Inner, digest: Digest, file: &File) -> Result<Published, DiskError> {
    let layout = &inner.layout;
    let part = layout.part(&digest);
    let Examined {
        digest: actual,
        size,
        slots,
    } = examine(file).at(&part)?;
    if actual != digest {
        return Ok(Published::OtherDigest(actual));
    }
    file.set_permissions(Permissions::from_mode(0o444))
        .at(&part)?;
    file.sync_all().at(&part)?;
    let sidecar = layout.sidecar(&digest);
    write_atomic(&sidecar, &Sidecar::of(size, &slots).to_json().at(&sidecar)?)?;

    let mut state = lock(&inner.state);
    let blob = layout.blob(&digest);
    fs::rename(&part, &blob).at(&blob)?;
    state.partials.remove(&digest);
    state.damaged.remove(&digest);
    state.blobs.insert(
        digest,
        Blob {
            size,
            slots: Some(slots.clone()),
            verified: Arc::new(OnceCell::new_with(Some(slots.clone()))),
            stamp: Stamp::of(file),
            last_used: SystemTime::now(),
        },
    );
    drop(state);

    sync_parent(&blob)?;
    remove(&layout.resume(&digest))?;
    sync_parent(&part)?;
    tracing::info!(%digest, size, slots = ?slots, "image verified and stored");
    Ok(Published::Stored(BlobInfo {
        digest,
        size,
        seed_slot: slots.seed.slot(),
    }))
}

/// Opens the file and waits for whoever still writes it. Whoever that was may
/// have published or removed it meanwhile; then the name means another file.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        if is_named(&file, path)? {
            return Ok(file);
        }
    }
}

/// Whether the name still means this file.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
