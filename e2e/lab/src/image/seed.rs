//! The seed slot: 64 KiB in an installer ISO that an image store fills, per card, while serving.
//!
//! An unfilled slot is the marker line followed by spaces. A filled one is a JSON document
//! followed by spaces. Length and position never change, so the medium stays valid.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// First line of an unfilled slot.
pub const MARKER: &str = "LOCKSTEP-SEED-SLOT-V1 65536\n";
/// Length of the slot in bytes, marker included.
pub const SIZE: usize = 65536;
const SECTOR: usize = 512;

/// An unfilled slot.
pub fn empty() -> Vec<u8> {
    let mut slot = MARKER.as_bytes().to_vec();
    slot.resize(SIZE, b' ');
    slot
}

/// Where the slot lies in these bytes of an installer image. There must be exactly one; as a file
/// on a FAT file system it starts at a sector.
pub fn find(image: &[u8]) -> Result<usize> {
    let marker = MARKER.as_bytes();
    let found: Vec<usize> = (0..image.len())
        .step_by(SECTOR)
        .filter(|at| image[*at..].starts_with(marker))
        .collect();
    ensure!(
        found.len() == 1,
        "the image has {} seed slots, expected exactly one",
        found.len()
    );
    let slot = image.get(found[0]..found[0] + SIZE);
    ensure!(
        slot.is_some_and(|slot| slot[marker.len()..].iter().all(|byte| *byte == b' ')),
        "the seed slot at byte {} is not {SIZE} contiguous bytes",
        found[0]
    );
    Ok(found[0])
}

/// Copies an installer image and fills its slot, as an image store does when it serves one card.
pub fn fill(image: &Path, filled: &Path, seed: &serde_json::Value) -> Result<()> {
    let mut document = serde_json::to_vec(seed).context("cannot encode the seed")?;
    ensure!(
        document.len() <= SIZE,
        "the seed has {} bytes, the slot {SIZE}",
        document.len()
    );
    document.resize(SIZE, b' ');
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let at = find(&bytes)?;
    let write = || -> std::io::Result<()> {
        let mut file = File::create(filled)?;
        file.write_all(&bytes)?;
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(&document)
    };
    write().with_context(|| format!("cannot write {}", filled.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_only_slot() {
        let mut image = vec![7; 1024];
        image.extend(empty());
        image.extend([7; 10]);
        assert_eq!(find(&image).unwrap(), 1024);
    }

    #[test]
    fn refuses_none_two_and_a_broken_one() {
        assert!(find(&[0; 100]).is_err());
        assert!(find(&[empty(), empty()].concat()).is_err());
        let mut broken = empty();
        broken[60_000] = 0;
        assert!(find(&broken).is_err());
        assert!(find(&empty()[..1000]).is_err());
    }
}
