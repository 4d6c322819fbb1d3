//! The entry point: version and length of the table.

use std::fmt;

/// What the entry point says, of either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPoint {
    /// Major version of the specification.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Bytes of the table: exact in the 2.x form, the most in the 3.x form.
    pub length: usize,
    /// Structures in the table, which only the 2.x form tells.
    pub count: Option<u16>,
}

/// Why the tables cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmbiosError {
    /// Neither `_SM_` nor `_SM3_`.
    NoAnchor,
    /// The entry point is shorter than its form.
    ShortEntry,
    /// A checksum of the entry point does not hold.
    Checksum,
    /// The table is shorter than announced.
    ShortTable {
        /// Bytes announced.
        announced: usize,
        /// Bytes there.
        found: usize,
    },
    /// The structure at this offset is cut off or shorter than its own header.
    Structure(usize),
}

impl fmt::Display for SmbiosError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmbiosError::NoAnchor => f.write_str("entry point has no anchor"),
            SmbiosError::ShortEntry => f.write_str("entry point is cut off"),
            SmbiosError::Checksum => f.write_str("checksum of the entry point does not hold"),
            SmbiosError::ShortTable { announced, found } => {
                write!(f, "table has {found} bytes of {announced} announced")
            }
            SmbiosError::Structure(at) => write!(f, "structure at {at} is cut off"),
        }
    }
}

impl std::error::Error for SmbiosError {}

impl EntryPoint {
    /// Parses the bytes of `smbios_entry_point`.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, SmbiosError> {
        if bytes.starts_with(b"_SM3_") {
            Self::parse_3(bytes)
        } else if bytes.starts_with(b"_SM_") {
            Self::parse_2(bytes)
        } else {
            Err(SmbiosError::NoAnchor)
        }
    }

    fn parse_3(bytes: &[u8]) -> Result<Self, SmbiosError> {
        let entry: &[u8; 24] = bytes.first_chunk().ok_or(SmbiosError::ShortEntry)?;
        checksum(bytes, entry[6])?;
        let most = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
        Ok(Self {
            major: entry[7],
            minor: entry[8],
            length: usize::try_from(most).unwrap_or(usize::MAX),
            count: None,
        })
    }

    fn parse_2(bytes: &[u8]) -> Result<Self, SmbiosError> {
        let entry: &[u8; 31] = bytes.first_chunk().ok_or(SmbiosError::ShortEntry)?;
        // Some firmware of version 2.1 says 0x1e here, though it means 0x1f.
        checksum(bytes, entry[5].max(31))?;
        if &entry[16..21] != b"_DMI_" {
            return Err(SmbiosError::NoAnchor);
        }
        checksum(&entry[16..], 15)?;
        Ok(Self {
            major: entry[6],
            minor: entry[7],
            length: usize::from(u16::from_le_bytes([entry[22], entry[23]])),
            count: Some(u16::from_le_bytes([entry[28], entry[29]])),
        })
    }
}

fn checksum(bytes: &[u8], length: u8) -> Result<(), SmbiosError> {
    let covered = bytes
        .get(..usize::from(length))
        .ok_or(SmbiosError::ShortEntry)?;
    let sum = covered
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if sum == 0 {
        Ok(())
    } else {
        Err(SmbiosError::Checksum)
    }
}
