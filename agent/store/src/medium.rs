//! A card's own medium away from the store: the image as a whole on this machine, checked, with
//! what is the card's own laid over its slots.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::grants::Laid;
use crate::slots::{Layer, examine};
use crate::store::{check_files, check_seed};
use crate::{Digest, GrantError, serve};

/// What lies over an image for one card. It holds secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Its seed, in hexadecimal.
    seed: Option<String>,
    /// Its files by the names of their slots, in hexadecimal.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl Own {
    pub(crate) fn of(laid: &Laid) -> Self {
        let files = laid.files.iter();
        Self {
            seed: laid.seed.as_ref().map(hex::encode),
            files: files
                .map(|(slot, content)| (slot.clone(), hex::encode(content)))
                .collect(),
        }
    }

    fn laid(&self) -> Result<Laid, MediumError> {
        let bytes = |text: &String| hex::decode(text).map_err(|_| MediumError::OwnNotUnderstood);
        let seed = self.seed.as_ref().map(bytes).transpose()?;
        let mut files = BTreeMap::new();
        for (slot, content) in &self.files {
            files.insert(slot.clone(), Bytes::from(bytes(content)?));
        }
        Ok(Laid {
            seed: seed.map(Bytes::from),
            files,
        })
    }
}

/// Why there is no medium.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// The file cannot be read.
    #[error("the image cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is another image.
    #[error("the bytes have the digest {found}, and {wanted} is wanted")]
    DigestMismatch {
        /// By the bytes.
        found: Digest,
        /// What is wanted.
        wanted: Digest,
    },
    /// What is the card's own has no place in it.
    #[error("{0}")]
    Slot(#[from] GrantError),
    /// What is the card's own is not what a store gives out.
    #[error("what is the card's own is not understood")]
    OwnNotUnderstood,
}

/// An image that was hashed whole, with a card's own parts over its slots. It reads the very file
/// that was hashed.
pub struct Medium {
    file: File,
    size: u64,
    layers: Vec<Layer>,
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, .. } = self;
        f.debug_struct("Medium")
            .field("size", size)
            .finish_non_exhaustive()
    }
}

impl Medium {
    /// Hashes the file and lays what is the card's own over it. Blocks.
    ///
    /// # Errors
    /// If it is not that image, or has no place for what is the card's own.
    pub fn lay(file: File, wanted: Digest, own: &Own) -> Result<Self, MediumError> {
        let examined = examine(&file)?;
        if examined.digest != wanted {
            return Err(MediumError::DigestMismatch {
                found: examined.digest,
                wanted,
            });
        }
        let laid = own.laid()?;
        if let Some(seed) = &laid.seed {
            check_seed(wanted, examined.slots.seed, seed.len() as u64)?;
        }
        let files = laid.files.iter();
        let files = files.map(|(slot, content)| (slot.clone(), content.to_vec()));
        check_files(wanted, &examined.slots.files, &files.collect())?;
        Ok(Self {
            file,
            size: examined.size,
            layers: serve::over(&laid, &examined.slots),
        })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads on from a byte, as much as the buffer holds; less only at the end. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = self.size.saturating_sub(at);
        let wanted = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let buffer = &mut buffer[..wanted];
        self.file.read_exact_at(buffer, at)?;
        for layer in &self.layers {
            layer.lay(buffer, at);
        }
        Ok(wanted)
    }
}
