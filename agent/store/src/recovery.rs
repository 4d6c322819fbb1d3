//! What a process finds in the folder when it takes the store over.

use std::fs::{self, DirEntry};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::Digest;
use crate::catalogue::{Blob, Partial, State};
use crate::disk::{At, DiskError, Layout, remove};
use crate::grants::Grants;
use crate::inner::Sidecar;

/// Takes stock: published images, downloads that can be continued, grants.
/// Whatever else a crash left is removed.
pub(crate) fn take_stock(layout: &Layout) -> Result<State, DiskError> {
    let mut state = State {
        grants: load_grants(&layout.grants())?,
        ..State::default()
    };
    for entry in files(&layout.blobs())? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let digest = named(name.strip_suffix(".json").unwrap_or(&name));
        match digest {
            Some(digest) if *name == digest.hex() => {
                let (size, last_used) = size_and_age(&entry)?;
                state.blobs.insert(
                    digest,
                    Blob {
                        size,
                        slots: Sidecar::load(&layout.sidecar(&digest), size),
                        verified: Arc::default(),
                        stamp: None,
                        last_used,
                    },
                );
            }
            Some(digest) if layout.blob(&digest).exists() => {}
            Some(_) | None => discard(&entry.path())?,
        }
    }
    for entry in files(&layout.partials())? {
        let path = entry.path();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        let Some(digest) = stem.and_then(|stem| named(&stem)) else {
            discard(&path)?;
            continue;
        };
        let whole = layout.part(&digest).exists() && layout.resume(&digest).exists();
        let known = path == layout.part(&digest) || path == layout.resume(&digest);
        if !known || !whole || state.blobs.contains_key(&digest) {
            discard(&path)?;
        } else if path == layout.part(&digest) {
            let (bytes, last_used) = size_and_age(&entry)?;
            state.partials.insert(
                digest,
                Partial {
                    bytes,
                    active: false,
                    last_used,
                },
            );
        }
    }
    Ok(state)
}

fn load_grants(path: &Path) -> Result<Grants, DiskError> {
    match Grants::load(path)? {
        Ok(grants) => Ok(grants),
        Err(reason) => {
            // Cards that are reading lose their capability and get a new one;
            // refusing to start would help nobody.
            let aside = path.with_extension("json.unreadable");
            tracing::error!(path = %path.display(), aside = %aside.display(), reason,
                "grants cannot be read: put aside, all capabilities are void");
            fs::rename(path, &aside).at(&aside)?;
            Ok(Grants::default())
        }
    }
}

fn files(dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).at(dir)? {
        let entry = entry.at(dir)?;
        if entry.file_type().at(&entry.path())?.is_dir() {
            tracing::warn!(path = %entry.path().display(), "not ours, left alone");
        } else {
            files.push(entry);
        }
    }
    Ok(files)
}

fn named(name: &str) -> Option<Digest> {
    let digest: Digest = name.parse().ok()?;
    (digest.hex() == name).then_some(digest)
}

fn size_and_age(entry: &DirEntry) -> Result<(u64, SystemTime), DiskError> {
    let path = entry.path();
    let meta = entry.metadata().at(&path)?;
    Ok((meta.len(), meta.modified().at(&path)?))
}

fn discard(path: &Path) -> Result<(), DiskError> {
    tracing::info!(path = %path.display(), "removing what a crash left");
    remove(path)
}
