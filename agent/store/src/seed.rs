//! The seed slot: a region of an image that a card's own seed lies over.
//!
//! It starts with the ASCII line `LOCKSTEP-SEED-SLOT-V1 <len>`, ended by one
//! newline; the rest of its `<len>` bytes are spaces. Text that merely
//! contains the marker (a program that knows it) is no slot.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Digest;

const MARKER: &[u8] = b"LOCKSTEP-SEED-SLOT-V1 ";
/// The marker, the digits of the largest u64 and the newline fit.
const HEADER_MAX: u64 = 64;
/// More mentions of the marker than any honest image has; the first ones
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

/// What a scan for slots found.
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

/// All that one pass over an image tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) slot: SlotScan,
}

/// Reads a file once, in constant memory.
pub(crate) fn examine(file: &File) -> io::Result<Examined> {
    let finder = memmem::Finder::new(MARKER);
    let mut hasher = Sha256::new();
    let mut mentions = Vec::new();
    // The tail of the previous chunk stays in front, for a marker that lies
    // across the border.
    let keep = MARKER.len() - 1;
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
            if mentions.len() < MAX_MENTIONS {
                mentions.push(start + at as u64);
            }
        }
        size += read as u64;
        let carry = filled.min(keep);
        buffer.copy_within(filled - carry..filled, 0);
        kept = carry;
    }
    Ok(Examined {
        digest: Digest::finish(hasher),
        size,
        slot: choose(file, &mentions, size)?,
    })
}

fn choose(file: &File, mentions: &[u64], size: u64) -> io::Result<SlotScan> {
    let mut found = SlotScan::Absent;
    for offset in mentions {
        let Some(slot) = slot_at(file, *offset, size)? else {
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

/// The slot whose marker is at `offset`, if it really is one.
fn slot_at(file: &File, offset: u64, size: u64) -> io::Result<Option<SeedSlot>> {
    let mut header = vec![0; HEADER_MAX.min(size - offset) as usize];
    file.read_exact_at(&mut header, offset)?;
    let rest = &header[MARKER.len()..];
    let Some(digits) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let plain = rest[..digits].iter().all(u8::is_ascii_digit);
    let Some(len) = std::str::from_utf8(&rest[..digits])
        .ok()
        .filter(|_| plain)
        .and_then(|digits| digits.parse::<u64>().ok())
    else {
        return Ok(None);
    };
    let first_space = (MARKER.len() + digits + 1) as u64;
    let fits = offset.checked_add(len).is_some_and(|end| end <= size);
    if len < first_space || !fits {
        return Ok(None);
    }
    let mut buffer = vec![0; CHUNK];
    let mut at = offset + first_space;
    while at < offset + len {
        let want = (offset + len - at).min(CHUNK as u64) as usize;
        file.read_exact_at(&mut buffer[..want], at)?;
        if buffer[..want].iter().any(|byte| *byte != b' ') {
            return Ok(None);
        }
        at += want as u64;
    }
    Ok(Some(SeedSlot { offset, len }))
}

/// Lays the seed, padded with spaces to the slot's length, over the part of
/// the slot that lies in `bytes`, which start at `position` in the image.
pub(crate) fn overlay(bytes: &mut [u8], position: u64, slot: SeedSlot, seed: &[u8]) {
    let end = position + bytes.len() as u64;
    let from = slot.offset.max(position);
    let to = (slot.offset + slot.len).min(end);
    if from >= to {
        return;
    }
    let region = &mut bytes[(from - position) as usize..(to - position) as usize];
    region.fill(b' ');
    let skipped = (from - slot.offset).min(seed.len() as u64) as usize;
    let visible = &seed[skipped..];
    let shown = visible.len().min(region.len());
    region[..shown].copy_from_slice(&visible[..shown]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn slot_bytes(len: usize) -> Vec<u8> {
        let mut slot = format!("LOCKSTEP-SEED-SLOT-V1 {len}\n").into_bytes();
        slot.resize(len, b' ');
        slot
    }

    fn scan(bytes: &[u8]) -> SlotScan {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let examined = examine(&file).unwrap();
        assert_eq!(examined.digest, Digest::of(bytes));
        assert_eq!(examined.size, bytes.len() as u64);
        examined.slot
    }

    #[test]
    fn finds_a_slot_across_the_read_border() {
        for before in [
            0,
            1,
            CHUNK - 30,
            CHUNK - 22,
            CHUNK - 21,
            CHUNK - 1,
            CHUNK,
            2 * CHUNK - 5,
        ] {
            let mut image = vec![7; before];
            image.extend(slot_bytes(512));
            image.extend([7; 100]);
            let slot = SeedSlot {
                offset: before as u64,
                len: 512,
            };
            assert_eq!(scan(&image), SlotScan::One(slot), "{before}");
        }
    }

    #[test]
    fn mentions_of_the_marker_are_no_slots() {
        let mut unpadded = slot_bytes(64);
        unpadded[63] = b'x';
        let mut cut = slot_bytes(4096);
        cut.truncate(4095);
        for image in [
            b"LOCKSTEP-SEED-SLOT-V1 ".to_vec(),
            b"LOCKSTEP-SEED-SLOT-V1 \n".to_vec(),
            b"LOCKSTEP-SEED-SLOT-V1 +64\n".to_vec(),
            b"LOCKSTEP-SEED-SLOT-V1 5\n".to_vec(),
            b"LOCKSTEP-SEED-SLOT-V1 99999999999999999999999\n".to_vec(),
            b"LOCKSTEP-SEED-SLOT-V1 18446744073709551615\n".to_vec(),
            unpadded,
            cut,
            vec![],
        ] {
            assert_eq!(
                scan(&image),
                SlotScan::Absent,
                "{}",
                String::from_utf8_lossy(&image)
            );
        }
        let mut both = b"strings: LOCKSTEP-SEED-SLOT-V1 %d\n".to_vec();
        both.extend(slot_bytes(128));
        assert!(scan(&both).slot().is_some());
    }

    #[test]
    fn two_slots_are_ambiguous() {
        let mut image = slot_bytes(128);
        image.extend(slot_bytes(256));
        assert_eq!(
            scan(&image),
            SlotScan::Ambiguous {
                first: 0,
                second: 128
            }
        );
        assert_eq!(scan(&image).slot(), None);
    }

    proptest! {
        #[test]
        fn any_part_of_the_overlaid_image_equals_that_part_overlaid(
            size in 64_usize..400,
            offset in 0_usize..300,
            len in 1_usize..100,
            seed in proptest::collection::vec(any::<u8>(), 0..100),
            from in 0_usize..400,
            to in 0_usize..400,
        ) {
            let len = len.min(size.saturating_sub(offset));
            let slot = SeedSlot { offset: offset as u64, len: len as u64 };
            let seed = &seed[..seed.len().min(len)];
            let plain: Vec<u8> = (0..size).map(|at| at as u8).collect();

            let mut whole = plain.clone();
            if len > 0 {
                whole[offset..offset + len].fill(b' ');
                whole[offset..offset + seed.len()].copy_from_slice(seed);
            }
            let (from, to) = (from.min(size), to.min(size));
            prop_assume!(from <= to);
            let mut part = plain[from..to].to_vec();
            overlay(&mut part, from as u64, slot, seed);
            prop_assert_eq!(&part, &whole[from..to]);
        }
    }
}
