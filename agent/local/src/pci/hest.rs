//! The ACPI Hardware Error Source Table (ACPI 6.5, 18.3.2): whether the firmware announced that
//! it looks at errors first.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the table announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hest {
    /// Sources for PCIe errors (root port, device, bridge).
    pub pcie_sources: u32,
    /// Those of them that the firmware handles first.
    pub firmware_first: u32,
    /// Generic sources, through which firmware hands errors to the kernel.
    pub generic_sources: u32,
}

/// Why the table cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HestError {
    /// No such table.
    Signature,
    /// Cut off.
    Truncated,
    /// Its checksum does not hold.
    Checksum,
    /// A source of a type whose length is not known: what follows cannot be found.
    UnknownSource(u16),
}

impl fmt::Display for HestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HestError::Signature => f.write_str("no HEST"),
            HestError::Truncated => f.write_str("cut off"),
            HestError::Checksum => f.write_str("checksum does not hold"),
            HestError::UnknownSource(kind) => write!(f, "source of unknown type {kind}"),
        }
    }
}

impl std::error::Error for HestError {}

/// Parses the bytes of `/sys/firmware/acpi/tables/HEST`.
///
/// # Errors
/// When they are no such table, whole and sound.
pub fn parse(bytes: &[u8]) -> Result<Hest, HestError> {
    const SOURCES: usize = 40;
    let word = |at: usize| {
        bytes
            .get(at..at + 2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .ok_or(HestError::Truncated)
    };
    let byte = |at: usize| bytes.get(at).copied().ok_or(HestError::Truncated);
    let dword = |at: usize| Ok(u32::from(word(at)?) | u32::from(word(at + 2)?) << 16);
    if !bytes.starts_with(b"HEST") {
        return Err(HestError::Signature);
    }
    let length = usize::try_from(dword(4)?).map_err(|_| HestError::Truncated)?;
    let whole = bytes
        .get(..length)
        .filter(|whole| whole.len() >= SOURCES)
        .ok_or(HestError::Truncated)?;
    if whole.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(HestError::Checksum);
    }
    let mut hest = Hest::default();
    let mut at = SOURCES;
    for _ in 0..dword(36)? {
        let kind = word(at)?;
        let banks = |at: usize| Ok(28 * usize::from(byte(at)?));
        let length = match kind {
            0 => 40 + banks(at + 32)?,
            1 | 11 => 48 + banks(at + 44)?,
            2 => 20,
            6 => 48,
            7 => 44,
            8 => 56,
            9 => 64,
            10 => 92,
            unknown => return Err(HestError::UnknownSource(unknown)),
        };
        if at + length > whole.len() {
            return Err(HestError::Truncated);
        }
        match kind {
            6..=8 => {
                const FIRMWARE_FIRST: u8 = 1;
                hest.pcie_sources += 1;
                hest.firmware_first += u32::from(byte(at + 6)? & FIRMWARE_FIRST);
            }
            9 | 10 => hest.generic_sources += 1,
            _ => {}
        }
        at += length;
    }
    Ok(hest)
}
