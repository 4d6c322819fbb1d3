//! An imitation of an rshim and of the card behind it, mounted as a file system or, where the
//! kernel has CUSE, as the character devices that the real one is.
//!
//! It does what rshim-user-space does, as its source says: opening `boot` resets the card and is
//! refused in the ways that count, writes may take less than they are given and stop when the
//! card takes nothing more, `misc` gives everything in answer to the first read of an opening
//! and then the end, and the log is a ring that the reset of the card empties.
//!
//! The files of the file system are regular files.

mod card;
mod cuse;
mod files;
mod fuse;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use card::{Card, OnOpen};

/// A mounted imitation; it goes when this is dropped.
#[derive(Debug)]
pub struct Imitation {
    // The file system goes before its folder.
    mount: fuse::Mount,
    root: tempfile::TempDir,
    card: Arc<Mutex<Card>>,
}

impl Imitation {
    /// Mounts one as `/dev/rshim0` under a root of its own.
    ///
    /// # Errors
    /// If this system lets nobody mount one.
    pub fn mount() -> io::Result<Self> {
        let root = tempfile::tempdir()?;
        let point = root.path().join("dev/rshim0");
        std::fs::create_dir_all(&point)?;
        let card = Arc::new(Mutex::new(Card::default()));
        let mount = fuse::Mount::at(&point, files::Files::of(&card))?;
        Ok(Self { mount, root, card })
    }

    /// The folder that stands for `/`.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// One of the device's files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("dev/rshim0").join(name)
    }

    /// The card, to look at it and to have it behave otherwise.
    pub fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the character devices `/dev/rshim0/boot` and `misc`, with this card behind them. They stay
/// as long as this program does.
///
/// # Errors
/// If the kernel has no CUSE, or this program may not use it.
pub fn devices(card: &Arc<Mutex<Card>>) -> io::Result<()> {
    cuse::device("rshim0/boot", files::BOOT, files::Files::of(card))?;
    cuse::device("rshim0/misc", files::MISC, files::Files::of(card))
}

impl Drop for Imitation {
    fn drop(&mut self) {
        // A read that hangs would keep the mount.
        self.card().misc_hangs = false;
        if let Err(error) = self.mount.end() {
            eprintln!("the imitation of an rshim stays mounted: {error}");
        }
    }
}
