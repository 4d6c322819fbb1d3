//! Which manifest each source in a registry was found to stand for.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::disk::{At, DiskError, Layout, blocking, write_atomic};
use crate::inner::lock;
use crate::{Digest, FetchError};

/// The oldest goes when there are more.
const MOST: usize = 1024;

/// A source that was found to have an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The image's sha256.
    pub image: Digest,
    /// `oci://REGISTRY/REPOSITORY` with tag or digest.
    pub source: String,
    /// Digest of the manifest, or index, that it stood for.
    pub manifest: Digest,
    /// Size of the image in bytes as the manifest tells it.
    pub size: u64,
}

/// All pins, oldest first, in memory and in a file.
#[derive(Debug)]
pub(crate) struct Pins {
    path: PathBuf,
    pins: Arc<Mutex<Vec<Pin>>>,
}

impl Pins {
    /// Reads the file. One that makes no sense costs a request for each source and nothing else.
    pub(crate) fn load(layout: &Layout) -> Result<Self, DiskError> {
        let path = layout.pins();
        let pins = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "pins cannot be read: sources are resolved anew");
                Vec::new()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).at(&path),
        };
        Ok(Self {
            path,
            pins: Arc::new(Mutex::new(pins)),
        })
    }

    pub(crate) fn get(&self, image: &Digest, source: &str) -> Option<Pin> {
        let pins = lock(&self.pins);
        let mut same = pins.iter().filter(|pin| pin.image == *image);
        same.find(|pin| pin.source == source).cloned()
    }

    /// All of one image.
    pub(crate) fn of(&self, image: &Digest) -> Vec<Pin> {
        let pins = lock(&self.pins);
        let same = pins.iter().filter(|pin| pin.image == *image);
        same.cloned().collect()
    }

    /// Notes a pin for good: it is on disk once this returns.
    pub(crate) async fn note(&self, pin: Pin) -> Result<(), FetchError> {
        let (pins, path) = (Arc::clone(&self.pins), self.path.clone());
        blocking(&self.path, move || -> Result<(), DiskError> {
            // Held while the file is written, so that the file is never older than memory.
            let mut pins = lock(&pins);
            let mut next = pins.clone();
            next.push(pin);
            let surplus = next.len().saturating_sub(MOST);
            next.drain(..surplus);
            write_atomic(&path, &serde_json::to_vec(&next).at(&path)?)?;
            *pins = next;
            Ok(())
        })
        .await??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(number: usize) -> Pin {
        Pin {
            image: Digest::of(b"image"),
            source: format!("oci://r.test/os:{number}"),
            manifest: Digest::of(b"manifest"),
            size: 5,
        }
    }

    #[tokio::test]
    async fn pins_outlive_the_process_and_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path().to_owned()).unwrap();
        let pins = Pins::load(&layout).unwrap();
        pins.note(pin(0)).await.unwrap();
        let again = Pins::load(&layout).unwrap();
        assert_eq!(again.get(&pin(0).image, &pin(0).source), Some(pin(0)));
        assert_eq!(again.get(&Digest::of(b"other"), &pin(0).source), None);
        *lock(&again.pins) = (0..MOST).map(pin).collect();
        again.note(pin(MOST)).await.unwrap();
        assert_eq!(again.of(&pin(0).image).len(), MOST);
        assert_eq!(again.get(&pin(0).image, &pin(0).source), None);
        fs::write(layout.pins(), "nonsense").unwrap();
        assert!(Pins::load(&layout).unwrap().of(&pin(0).image).is_empty());
    }
}
