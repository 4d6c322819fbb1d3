//! A boot stream as the maker's tool writes it, with the slot of a seed behind its images.

use std::path::Path;

use anyhow::{Context as _, Result};
use lockstep_lab::image::{Image, seed};
use sha2::{Digest, Sha256};

const MAGIC: u64 = 0x1302_6642;
const MAJOR: u64 = 1;
const MINOR: u64 = 2;
const HEADER: usize = 24;
/// The image that loads a BlueField-3, and the file system in memory, which is the bulk of a stream.
const LOADER: u64 = 1;
const OF_THE_THIRD: u64 = 2;
const FILE_SYSTEM: u64 = 63;
/// Bit of an image that follows.
const FOLLOWED_BY_FILE_SYSTEM: u64 = 1 << FILE_SYSTEM;
/// Where a slot may begin.
const SECTOR: usize = 512;

/// Writes one of about that many bytes, which repeat nowhere soon.
pub(super) fn write(folder: &Path, version: &str, about: usize) -> Result<Image> {
    let mut bytes = image(LOADER, OF_THE_THIRD, &noise(4096), FOLLOWED_BY_FILE_SYSTEM);
    let bulk = about.next_multiple_of(SECTOR) - bytes.len() - HEADER;
    bytes.extend(image(FILE_SYSTEM, 0, &noise(bulk), 0));
    bytes.extend(seed::empty());
    let path = folder.join(format!("{version}.bfb"));
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image {
        path,
        version: version.to_owned(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        size: bytes.len() as u64,
    })
}

/// One image behind its header; its length is a multiple of 8 here, so nothing is padded.
fn image(id: u64, version: u64, body: &[u8], following: u64) -> Vec<u8> {
    let first =
        MAGIC | MAJOR << 32 | MINOR << 36 | version << 48 | (HEADER as u64 / 8) << 52 | id << 56;
    let second = body.len() as u64 | u64::from(crc(body)) << 32;
    let words = [first, second, following].map(u64::to_le_bytes);
    [&words.concat(), body].concat()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// CRC-32 as the maker's tool computes it.
fn crc(bytes: &[u8]) -> u32 {
    let fold = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 * (crc & 1))
        })
    };
    !bytes.iter().fold(!0, fold)
}
