//! The device: a folder with `boot` and `misc`, behind which a program (rshim-user-space) or a
//! driver is. Everything here blocks, for as long as that takes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// `misc` gives all it has in answer to one read, which is less than this.
const MISC: usize = 64 << 10;
/// What one write hands over: as much as the kernel passes on to a program in one request.
const PIECE: usize = 128 << 10;

/// One rshim.
#[derive(Clone, Debug)]
pub struct Rshim {
    folder: PathBuf,
    name: String,
}

/// A name that no rshim has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no name of an rshim")]
pub struct NoSuchRshim(String);

/// Why `boot` could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another program has it open. Nothing was changed.
    #[error("another program pushes to it")]
    Busy,
    /// This side has given the rshim away. Nothing was changed.
    #[error("this host has given it away (DROP_MODE 1)")]
    GivenAway,
    /// This host may not push. Nothing was changed.
    #[error("this host is locked out of the card, or this process out of the device")]
    LockedOut,
    /// There is no device any more. Nothing was changed.
    #[error("it is gone")]
    Gone,
    /// Nobody can tell whether the card was reset.
    #[error("{0}; the card may have been reset")]
    Unclear(io::Error),
}

impl OpenError {
    /// Whether the card is certainly as it was.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Busy | Self::GivenAway | Self::LockedOut | Self::Gone => true,
            Self::Unclear(_) => false,
        }
    }
}

/// A push that broke off. The card was reset for it and waits for the rest.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The card takes nothing any more.
    #[error("the card took nothing more for as long as rshim waits (BOOT_TIMEOUT)")]
    Stuck,
    /// The device failed.
    #[error("{0}")]
    Failed(io::Error),
}

impl Rshim {
    /// The rshim of that name (`rshim0`) under `root`, the folder that stands for `/`.
    ///
    /// # Errors
    /// If that is no name of one.
    pub fn new(root: &Path, name: &str) -> Result<Self, NoSuchRshim> {
        let number = name.strip_prefix("rshim").unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoSuchRshim(name.to_owned()));
        }
        Ok(Self {
            folder: root.join("dev").join(name),
            name: name.to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `misc` shows.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn misc(&self) -> io::Result<String> {
        let mut file = File::open(self.folder.join("misc"))?;
        let mut text = vec![0; MISC];
        let mut filled = 0;
        while filled < text.len() {
            match file.read(&mut text[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        text.truncate(filled);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Sets one of the settings in `misc`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn set(&self, key: &str, value: &str) -> io::Result<()> {
        // One write is one setting.
        let line = format!("{key} {value}\n");
        let mut file = self.writable("misc")?;
        let written = file.write(line.as_bytes())?;
        if written == line.len() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "{key} was taken in part: {written} bytes"
            )))
        }
    }

    /// Sets one of the settings in `misc` to 0. A driver that does not know it has not set it.
    ///
    /// # Errors
    /// If it is refused for another reason.
    pub fn clear(&self, key: &str) -> io::Result<()> {
        match self.set(key, "0") {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
            set => set,
        }
    }

    /// Opens the way for a boot stream. **This resets the card.**
    ///
    /// # Errors
    /// If the device refuses, see [`OpenError::changed_nothing`].
    pub fn open_boot(&self) -> Result<Boot, OpenError> {
        match self.writable("boot") {
            Ok(file) => Ok(Boot { file }),
            Err(error) => Err(match Errno::from_io_error(&error) {
                Some(Errno::BUSY) => OpenError::Busy,
                Some(Errno::INVAL) => OpenError::GivenAway,
                Some(Errno::PERM | Errno::ACCESS) => OpenError::LockedOut,
                Some(Errno::NODEV | Errno::NXIO | Errno::NOENT | Errno::NOTDIR) => OpenError::Gone,
                Some(_) | None => OpenError::Unclear(error),
            }),
        }
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.folder.join("boot")
    }

    /// Never makes the file: where a device has vanished, a plain file would swallow everything.
    fn writable(&self, file: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.folder.join(file))
    }
}

/// The way for one boot stream, which ends when this is dropped.
#[derive(Debug)]
pub struct Boot {
    file: File,
}

impl Boot {
    /// Hands the next bytes over, all of them.
    ///
    /// # Errors
    /// If the push broke off.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE)];
            match self.file.write(piece) {
                Ok(0) => return Err(WriteError::Failed(ErrorKind::WriteZero.into())),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(match Errno::from_io_error(&error) {
                        Some(Errno::TIMEDOUT) => WriteError::Stuck,
                        Some(_) | None => WriteError::Failed(error),
                    });
                }
            }
        }
        Ok(())
    }
}
