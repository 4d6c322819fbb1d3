//! The structures of the table, one after the other, not yet understood.

use lockstep_crds::identity::{meaningful, meaningful_serial};

use super::{EntryPoint, SmbiosError};

const END_OF_TABLE: u8 = 127;
/// Type, length, handle.
const HEADER: usize = 4;

/// One structure: a formatted area and the strings after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Structure<'a> {
    pub(super) kind: u8,
    pub(super) handle: u16,
    area: &'a [u8],
    strings: &'a [u8],
}

/// Every structure up to the end marker, the announced count or the end of the table. Each step
/// goes forward by six bytes or more; after an error nothing follows.
pub(super) fn walk<'a>(
    entry: &EntryPoint,
    table: &'a [u8],
) -> impl Iterator<Item = Result<Structure<'a>, SmbiosError>> {
    // The 2.x form is exact; the kernel hands out no more than the table of the 3.x form.
    let (announced, found) = (entry.length, table.len());
    let mut wrong = (entry.count.is_some() && found < announced)
        .then_some(SmbiosError::ShortTable { announced, found });
    let table = &table[..announced.min(found)];
    let mut left = entry.count.map_or(usize::MAX, usize::from);
    let mut at = 0;
    std::iter::from_fn(move || {
        if let Some(error) = wrong.take() {
            left = 0;
            return Some(Err(error));
        }
        if left == 0 || at >= table.len() {
            return None;
        }
        let Some((structure, next)) = structure_at(table, at) else {
            left = 0;
            return Some(Err(SmbiosError::Structure(at)));
        };
        left = match structure.kind {
            END_OF_TABLE => 0,
            _ => left - 1,
        };
        at = next;
        Some(Ok(structure))
    })
}

fn structure_at(table: &[u8], at: usize) -> Option<(Structure<'_>, usize)> {
    let [kind, length, low, high] = *table.get(at..)?.first_chunk::<HEADER>()?;
    let length = usize::from(length);
    let area = table.get(at..at + length).filter(|_| length >= HEADER)?;
    let strings_at = at + length;
    let strings = table.get(strings_at..)?;
    let end = strings.windows(2).position(|pair| pair == [0, 0])?;
    let structure = Structure {
        kind,
        handle: u16::from_le_bytes([low, high]),
        area,
        strings: &strings[..end],
    };
    Some((structure, strings_at + end + 2))
}

impl<'a> Structure<'a> {
    /// Whether the formatted area has at least so many bytes, header included.
    pub(super) fn has(&self, bytes: usize) -> bool {
        self.area.len() >= bytes
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.area.get(at).copied()
    }

    pub(super) fn word(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.chunk(at)?))
    }

    pub(super) fn dword(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.chunk(at)?))
    }

    pub(super) fn qword(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.chunk(at)?))
    }

    pub(super) fn chunk<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.area.get(at..)?.first_chunk().copied()
    }

    /// The string whose number stands at this offset, unless it is junk.
    pub(super) fn text(&self, at: usize) -> Option<String> {
        let number = usize::from(self.byte(at)?);
        let raw: &'a [u8] = self
            .strings
            .split(|byte| *byte == 0)
            .nth(number.checked_sub(1)?)?;
        // A string has no declared encoding beyond ASCII.
        meaningful(&String::from_utf8_lossy(raw)).map(str::to_owned)
    }

    /// The same for a serial number.
    pub(super) fn serial(&self, at: usize) -> Option<String> {
        self.text(at)
            .filter(|text| meaningful_serial(text).is_some())
    }
}
