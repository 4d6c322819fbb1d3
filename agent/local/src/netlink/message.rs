//! Messages and attributes as bytes. Integers are in the machine's own byte order; everything is
//! padded to four bytes.

use std::fmt;

/// Length, kind, flags, sequence, port.
const HEADER: usize = 16;
/// Length, kind.
const ATTRIBUTE_HEADER: usize = 4;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is; a generic family's number or one of netlink's own.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is, without the flags for nesting and byte order.
    pub kind: u16,
    /// Its value; a list of attributes where it is nested.
    pub payload: &'a [u8],
}

/// Bytes that end inside what they announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageError;

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("netlink message is cut off")
    }
}

impl std::error::Error for MessageError {}

/// The messages in what one call received. After an error nothing follows.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, MessageError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parse = |bytes: &[u8]| {
            let length = usize::try_from(u32::from_ne_bytes(chunk(bytes, 0)?)).ok()?;
            (length >= HEADER && length <= bytes.len()).then_some(length)
        };
        let Some(length) = parse(rest) else {
            rest = &[];
            return Some(Err(MessageError));
        };
        let (message, left) = (&rest[..length], after(rest, length));
        rest = left;
        Some(
            chunk(message, 4)
                .zip(chunk(message, 6))
                .zip(chunk(message, 8))
                .map(|((kind, flags), sequence)| Message {
                    kind: u16::from_ne_bytes(kind),
                    flags: u16::from_ne_bytes(flags),
                    sequence: u32::from_ne_bytes(sequence),
                    payload: &message[HEADER..],
                })
                .ok_or(MessageError),
        )
    })
}

/// The attributes in a payload. After an error nothing follows.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, MessageError>> {
    const KIND: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parse = |bytes: &[u8]| {
            let length = usize::from(u16::from_ne_bytes(chunk(bytes, 0)?));
            let kind = u16::from_ne_bytes(chunk(bytes, 2)?);
            (length >= ATTRIBUTE_HEADER && length <= bytes.len()).then_some((length, kind))
        };
        let Some((length, kind)) = parse(rest) else {
            rest = &[];
            return Some(Err(MessageError));
        };
        let payload = &rest[ATTRIBUTE_HEADER..length];
        rest = after(rest, length);
        Some(Ok(Attribute {
            kind: kind & KIND,
            payload,
        }))
    })
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// What follows once padding is passed over; the last of a list may lack it.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

impl Attribute<'_> {
    /// A text, without the NUL at its end.
    pub(super) fn text(&self) -> String {
        let text = self.payload.strip_suffix(&[0]).unwrap_or(self.payload);
        String::from_utf8_lossy(text).into_owned()
    }

    pub(super) fn word(&self) -> Option<u16> {
        chunk(self.payload, 0).map(u16::from_ne_bytes)
    }

    pub(super) fn double_word(&self) -> Option<u32> {
        chunk(self.payload, 0).map(u32::from_ne_bytes)
    }

    pub(super) fn quad_word(&self) -> Option<u64> {
        chunk(self.payload, 0).map(u64::from_ne_bytes)
    }
}

/// A message under construction.
pub(super) struct Request(Vec<u8>);

impl Request {
    pub(super) fn new(kind: u16, flags: u16, payload: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(payload);
        Self(bytes)
    }

    pub(super) fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        // Ours are names and flags, far below what the length can say.
        let length = u16::try_from(ATTRIBUTE_HEADER + payload.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}
