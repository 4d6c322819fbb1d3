//! The store's folder: names, permissions, atomic and durable writes.
//!
//! ```text
//! sha256/<hex>        a published image, read-only
//! sha256/<hex>.json   what is known about it
//! partial/<hex>.part  what was received so far
//! partial/<hex>.json  from where, to continue
//! pins.json           to which manifests the sources in registries were pinned
//! grants.json         capabilities and seeds, for the owner only
//! lock                held while a process has the store
//! ```

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Digest;

/// An I/O error and where it happened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub(crate) struct DiskError {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// Adds the path to an I/O result.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, DiskError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, DiskError> {
        self.map_err(|error| DiskError {
            path: path.to_owned(),
            error: error.into(),
        })
    }
}

/// What a file shows to have been changed by anybody but bad luck, who leaves
/// no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    modified: SystemTime,
    /// The one time that whoever writes to the file cannot set back.
    changed: (i64, i64),
}

impl Stamp {
    /// Of an open file; `None` if the system will not say.
    pub(crate) fn of(file: &File) -> Option<Self> {
        Self::from(&file.metadata().ok()?)
    }

    /// Of the file that has this name now.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Self::from(&fs::metadata(path).ok()?)
    }

    fn from(metadata: &Metadata) -> Option<Self> {
        Some(Self {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: metadata.modified().ok()?,
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The names in the store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the folders that are missing, for the owner only.
    pub(crate) fn create(root: PathBuf) -> Result<Self, DiskError> {
        let layout = Self { root };
        for dir in [layout.root.clone(), layout.blobs(), layout.partials()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .at(&dir)?;
        }
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("sha256")
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn sidecar(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(format!("{}.json", digest.hex()))
    }

    pub(crate) fn part(&self, digest: &Digest) -> PathBuf {
        self.partials().join(format!("{}.part", digest.hex()))
    }

    pub(crate) fn resume(&self, digest: &Digest) -> PathBuf {
        self.partials().join(format!("{}.json", digest.hex()))
    }

    pub(crate) fn grants(&self) -> PathBuf {
        self.root.join("grants.json")
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Bytes that this process may still write to the volume.
    pub(crate) fn free_bytes(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::statvfs(&self.root).at(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), DiskError> {
        remove(&self.blob(digest))?;
        remove(&self.sidecar(digest))
    }

    /// The resume state goes first: a `.part` without it is garbage, the
    /// other way round it would be trusted.
    pub(crate) fn remove_partial(&self, digest: &Digest) -> Result<(), DiskError> {
        remove(&self.resume(digest))?;
        remove(&self.part(digest))
    }
}

/// Removes a file that may already be gone.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at(path),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Replaces a small file so that a crash leaves the old or the new one. Only
/// the owner can read it.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let new = PathBuf::from(name);
    remove(&new)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .at(&new)?;
    file.write_all(bytes).at(&new)?;
    file.sync_all().at(&new)?;
    fs::rename(&new, path).at(path)?;
    sync_parent(path)
}

/// Makes a rename or a removal in the file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    File::open(dir).and_then(|dir| dir.sync_all()).at(dir)
}

/// Runs disk work off the async threads. The work runs to its end even when
/// the caller is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DiskError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FetchError;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn atomic_writes_are_private_and_replace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(dir.path().join("file.tmp"), "left by a crash").unwrap();
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_has_its_own_category() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let failed: Result<(), _> = Err(errno).at(Path::new("/x"));
            assert_eq!(FetchError::from(failed.unwrap_err()).category(), "DiskFull");
        }
        let failed: Result<(), _> = Err(rustix::io::Errno::IO).at(Path::new("/x"));
        assert_eq!(
            FetchError::from(failed.unwrap_err()).category(),
            "StorageFailed"
        );
    }
}
