//! Slots: regions of an image over which bytes of a card's own lie while it is served.
//!
//! The seed slot starts with the ASCII line `LOCKSTEP-SEED-SLOT-V1 <len>`, ended by one newline;
//! the rest of its `<len>` bytes are spaces. A file slot starts with `LOCKSTEP-FILE-SLOT-V1 <name>
//! <len>`, and the rest of it are newlines, which the formats that go there (shell, YAML) take.
//! Text that merely contains a marker (a program that knows it) is no slot. As nothing but padding
//! follows the line, no two slots overlap.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// What all markers begin with.
const PREFIX: &[u8] = b"LOCKSTEP-";
const SEED_MARKER: &[u8; MARKER_LEN] = b"LOCKSTEP-SEED-SLOT-V1 ";
const FILE_MARKER: &[u8; MARKER_LEN] = b"LOCKSTEP-FILE-SLOT-V1 ";
const MARKER_LEN: usize = 22;
const SEED_PADDING: u8 = b' ';
const FILE_PADDING: u8 = b'\n';
/// The marker, the longest name, the digits of the largest u64 and the newline fit.
const HEADER_MAX: u64 = 128;
/// The longest name of a file slot.
const NAME_MAX: usize = 63;
/// More mentions of a marker than any honest image has; the first ones
/// decide.
const MAX_MENTIONS: usize = 256;
const CHUNK: usize = 1 << 20;

/// Where a card's seed goes in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedSlot {
    /// The first byte, which is the marker's first.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// Where a file of a card's own goes in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSlot {
    /// What a `DpuImage` calls it.
    pub name: String,
    /// The first byte, which is the marker's first.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// What a scan for the seed slot found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum SlotScan {
    Absent,
    One(SeedSlot),
    Ambiguous { first: u64, second: u64 },
}

impl SlotScan {
    pub(crate) fn slot(self) -> Option<SeedSlot> {
        match self {
            SlotScan::One(slot) => Some(slot),
            SlotScan::Absent | SlotScan::Ambiguous { .. } => None,
        }
    }
}

/// All slots of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots {
    pub(crate) seed: SlotScan,
    /// In order of their places; a name may be there more than once.
    pub(crate) files: Arc<[FileSlot]>,
}

/// All that one pass over an image tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) slots: Slots,
}

/// Reads a file once, in constant memory.
pub(crate) fn examine(file: &File) -> io::Result<Examined> {
    let finder = memmem::Finder::new(PREFIX);
    let mut hasher = Sha256::new();
    let (mut seeds, mut files) = (Vec::new(), Vec::new());
    // The tail of the previous chunk stays in front, for a marker that lies
    // across the border; what is shorter than a marker is found again there.
    let keep = MARKER_LEN - 1;
    let mut buffer = vec![0; keep + CHUNK];
    let mut kept = 0;
    let mut size = 0_u64;
    loop {
        let read = file.read_at(&mut buffer[kept..kept + CHUNK], size)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[kept..kept + read]);
        let filled = kept + read;
        let start = size - kept as u64;
        for at in finder.find_iter(&buffer[..filled]) {
            let mentions = match buffer[at..filled].first_chunk() {
                Some(SEED_MARKER) => &mut seeds,
                Some(FILE_MARKER) => &mut files,
                Some(_) | None => continue,
            };
            if mentions.len() < MAX_MENTIONS {
                mentions.push(start + at as u64);
            }
        }
        size += read as u64;
        let carry = filled.min(keep);
        buffer.copy_within(filled - carry..filled, 0);
        kept = carry;
    }
    let mut slots = Vec::new();
    for offset in files {
        slots.extend(file_slot_at(file, offset, size)?);
    }
    Ok(Examined {
        digest: Digest::finish(hasher),
        size,
        slots: Slots {
            seed: choose(file, &seeds, size)?,
            files: slots.into(),
        },
    })
}

fn choose(file: &File, mentions: &[u64], size: u64) -> io::Result<SlotScan> {
    let mut found = SlotScan::Absent;
    for offset in mentions {
        let Some(slot) = seed_slot_at(file, *offset, size)? else {
            continue;
        };
        match found {
            SlotScan::Absent => found = SlotScan::One(slot),
            SlotScan::One(first) => {
                return Ok(SlotScan::Ambiguous {
                    first: first.offset,
                    second: slot.offset,
                });
            }
            SlotScan::Ambiguous { .. } => {}
        }
    }
    Ok(found)
}

/// The seed slot whose marker is at `offset`, if it really is one.
fn seed_slot_at(file: &File, offset: u64, size: u64) -> io::Result<Option<SeedSlot>> {
    let Some(line) = line_at(file, offset, size)? else {
        return Ok(None);
    };
    let region = region(file, offset, size, &line, &line, SEED_PADDING)?;
    Ok(region.map(|len| SeedSlot { offset, len }))
}

/// The file slot whose marker is at `offset`, if it really is one.
fn file_slot_at(file: &File, offset: u64, size: u64) -> io::Result<Option<FileSlot>> {
    let Some(line) = line_at(file, offset, size)? else {
        return Ok(None);
    };
    let Some((name, digits)) = line.split_once(' ') else {
        return Ok(None);
    };
    if !is_slot_name(name) {
        return Ok(None);
    }
    let region = region(file, offset, size, &line, digits, FILE_PADDING)?;
    Ok(region.map(|len| FileSlot {
        name: name.to_owned(),
        offset,
        len,
    }))
}

fn is_slot_name(name: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| is_alphanumeric(*byte));
    let bytes = name.as_bytes();
    bytes.len() <= NAME_MAX
        && ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|byte| is_alphanumeric(*byte) || matches!(byte, b'-' | b'.'))
}

/// What follows the marker at `offset` up to the newline, if that is text.
fn line_at(file: &File, offset: u64, size: u64) -> io::Result<Option<String>> {
    let mut header = vec![0; HEADER_MAX.min(size - offset) as usize];
    file.read_exact_at(&mut header, offset)?;
    let rest = &header[MARKER_LEN..];
    let end = rest.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
    Ok(line.map(str::to_owned))
}

/// The length that `digits` say, if that many bytes are there and hold nothing but padding after
/// the marker's `line`.
fn region(
    file: &File,
    offset: u64,
    size: u64,
    line: &str,
    digits: &str,
    padding: u8,
) -> io::Result<Option<u64>> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let Some(len) = digits.parse::<u64>().ok().filter(|_| plain) else {
        return Ok(None);
    };
    let first_padding = (MARKER_LEN + line.len() + 1) as u64;
    let fits = offset.checked_add(len).is_some_and(|end| end <= size);
    if len < first_padding || !fits {
        return Ok(None);
    }
    let mut buffer = vec![0; CHUNK];
    let mut at = offset + first_padding;
    while at < offset + len {
        let want = (offset + len - at).min(CHUNK as u64) as usize;
        file.read_exact_at(&mut buffer[..want], at)?;
        if buffer[..want].iter().any(|byte| *byte != padding) {
            return Ok(None);
        }
        at += want as u64;
    }
    Ok(Some(len))
}

/// Bytes that lie over a slot, padded to its length.
#[derive(Clone)]
pub(crate) struct Layer {
    offset: u64,
    len: u64,
    content: Bytes,
    padding: u8,
}

impl Layer {
    pub(crate) fn seed(slot: SeedSlot, content: Bytes) -> Self {
        Self {
            offset: slot.offset,
            len: slot.len,
            content,
            padding: SEED_PADDING,
        }
    }

    pub(crate) fn file(slot: &FileSlot, content: Bytes) -> Self {
        Self {
            offset: slot.offset,
            len: slot.len,
            content,
            padding: FILE_PADDING,
        }
    }

    /// Lays over the part of the slot that lies in `bytes`, which start at `position` in the image.
    pub(crate) fn lay(&self, bytes: &mut [u8], position: u64) {
        let end = position + bytes.len() as u64;
        let from = self.offset.max(position);
        let to = (self.offset + self.len).min(end);
        if from >= to {
            return;
        }
        let region = &mut bytes[(from - position) as usize..(to - position) as usize];
        region.fill(self.padding);
        let skipped = (from - self.offset).min(self.content.len() as u64) as usize;
        let visible = &self.content[skipped..];
        let shown = visible.len().min(region.len());
        region[..shown].copy_from_slice(&visible[..shown]);
    }
}

#[cfg(test)]
mod tests;
