//! Vital product data of a PCI card (PCI Local Bus Specification 3.0, appendix I): where a card
//! carries its own part number and serial number.
//!
//! [`parse`] is strict: a wrong length, a missing end or a checksum that does not hold make the
//! whole unusable, because an identity that is half right joins the wrong cards. It never reads
//! beyond its input, never loops and allocates no more than the input holds.

use std::fmt;

use lockstep_crds::identity::{meaningful, meaningful_serial};
use serde::{Deserialize, Serialize};

/// The address space of VPD has 15 bits.
pub const MAX_BYTES: usize = 32 << 10;
/// Identifier string, read-only fields, read-write fields, end.
const IDENTIFIER: u8 = 0x82;
const READ_ONLY: u8 = 0x90;
const READ_WRITE: u8 = 0x91;
const END: u8 = 0x78;

/// What a card says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vpd {
    /// The product name in words.
    pub identifier: String,
    /// The read-only fields in their order, the checksum left out.
    pub fields: Vec<Field>,
    /// Whether a checksum was there; if so, it held. The specification demands one.
    pub checksum: bool,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Two letters: `PN`, `SN`, `EC`, `MN`, `V0` …
    pub keyword: String,
    /// The value without padding; bytes that are not printable ASCII as `\xNN`.
    pub value: String,
}

/// Why bytes are no vital product data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpdError {
    /// Nothing there, or nothing but zeros or ones: the card has no VPD or does not answer.
    Blank,
    /// More than the address space of VPD.
    TooLong(usize),
    /// The input ends inside the item that begins at this offset.
    Truncated(usize),
    /// At this offset stands something that may not be there.
    Unexpected {
        /// Where.
        offset: usize,
        /// The byte found.
        tag: u8,
    },
    /// A field runs out of its resource, or its keyword is not two letters or digits.
    Field(usize),
    /// The sum over everything up to the checksum is not zero but this.
    Checksum(u8),
    /// Neither end tag nor read-only fields.
    Incomplete(&'static str),
}

impl fmt::Display for VpdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VpdError::Blank => f.write_str("blank"),
            VpdError::TooLong(bytes) => write!(f, "{bytes} bytes, more than {MAX_BYTES}"),
            VpdError::Truncated(offset) => write!(f, "cut off inside the item at {offset}"),
            VpdError::Unexpected { offset, tag } => {
                write!(f, "unexpected tag {tag:#04x} at {offset}")
            }
            VpdError::Field(offset) => write!(f, "broken field at {offset}"),
            VpdError::Checksum(sum) => write!(f, "checksum does not hold (sum {sum:#04x})"),
            VpdError::Incomplete(missing) => write!(f, "no {missing}"),
        }
    }
}

impl std::error::Error for VpdError {}

impl Vpd {
    /// The value of a keyword; `None` when it is absent or stands there twice with different
    /// values.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.keyword == keyword);
        let first = values.next()?;
        values
            .all(|other| other.value == first.value)
            .then_some(first.value.as_str())
    }

    /// `SN`, unless it is a placeholder.
    pub fn serial(&self) -> Option<&str> {
        self.get("SN").and_then(meaningful_serial)
    }

    /// `PN`, unless it is a placeholder.
    pub fn part_number(&self) -> Option<&str> {
        self.get("PN").and_then(meaningful)
    }

    /// `EC`, the engineering change level, unless it is a placeholder.
    pub fn revision(&self) -> Option<&str> {
        self.get("EC").and_then(meaningful)
    }
}

/// Parses the bytes of a `vpd` file. What follows the end tag is ignored.
///
/// # Errors
/// When they are not exactly what the specification describes.
pub fn parse(bytes: &[u8]) -> Result<Vpd, VpdError> {
    if bytes.len() > MAX_BYTES {
        return Err(VpdError::TooLong(bytes.len()));
    }
    if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff) {
        return Err(VpdError::Blank);
    }
    let mut vpd = Vpd::default();
    let mut at = 0;
    // Each resource may stand once, in this order.
    let mut previous = None;
    let mut identified = false;
    loop {
        let tag = *bytes.get(at).ok_or(VpdError::Incomplete("end tag"))?;
        let unexpected = VpdError::Unexpected { offset: at, tag };
        if tag == END {
            break;
        }
        if previous >= Some(tag) {
            return Err(unexpected);
        }
        previous = Some(tag);
        let length = match bytes.get(at + 1..at + 3) {
            Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
            Some(_) | None => return Err(VpdError::Truncated(at)),
        };
        let start = at + 3;
        let end = start + length;
        let content = bytes.get(start..end).ok_or(VpdError::Truncated(at))?;
        match tag {
            IDENTIFIER => vpd.identifier = printable(content),
            READ_ONLY => {
                read_only(bytes, start, end, &mut vpd)?;
                identified = true;
            }
            // Scratch space of whoever owns the card: not identity, but its shape must hold.
            READ_WRITE => {
                for field in fields(bytes, start, end) {
                    field?;
                }
            }
            _ => return Err(unexpected),
        }
        at = end;
    }
    if !identified {
        return Err(VpdError::Incomplete("read-only fields"));
    }
    Ok(vpd)
}

fn read_only(bytes: &[u8], start: usize, end: usize, vpd: &mut Vpd) -> Result<(), VpdError> {
    for field in fields(bytes, start, end) {
        let (keyword, value) = field?;
        if keyword != *b"RV" {
            vpd.fields.push(Field {
                keyword: printable(&keyword),
                value: printable(&bytes[value]),
            });
            continue;
        }
        // The first byte makes the sum of everything up to itself zero; the rest is reserved.
        let upto = bytes
            .get(..=value.start)
            .filter(|_| !value.is_empty())
            .ok_or(VpdError::Field(value.start))?;
        let sum = upto.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return Err(VpdError::Checksum(sum));
        }
        if value.end != end {
            return Err(VpdError::Field(value.end));
        }
        vpd.checksum = true;
    }
    Ok(())
}

type KeywordAt = ([u8; 2], std::ops::Range<usize>);

/// The fields between two offsets; ends after the first that is broken.
fn fields(
    bytes: &[u8],
    start: usize,
    end: usize,
) -> impl Iterator<Item = Result<KeywordAt, VpdError>> {
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let field = match bytes.get(at..end) {
            Some([a, b, length, ..]) if [a, b].iter().all(|c| c.is_ascii_alphanumeric()) => {
                let value = at + 3..at + 3 + usize::from(*length);
                (value.end <= end).then_some(([*a, *b], value))
            }
            Some(_) | None => None,
        };
        let broken = VpdError::Field(at);
        at = field.as_ref().map_or(end, |(_, value)| value.end);
        Some(field.ok_or(broken))
    })
}

fn printable(bytes: &[u8]) -> String {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let first = bytes.iter().position(|byte| !padding(byte));
    let last = bytes.iter().rposition(|byte| !padding(byte));
    let (Some(first), Some(last)) = (first, last) else {
        return String::new();
    };
    let mut text = String::new();
    for byte in &bytes[first..=last] {
        match byte {
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests;
