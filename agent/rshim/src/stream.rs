//! The boot stream: images, each behind a header with its length and CRC, and what follows the
//! last one (a configuration such as `bf.cfg`), which is nobody's to check.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

/// `Bf^B^S`.
const MAGIC: u32 = 0x1302_6642;
const HEADER: usize = 24;
const MAJOR: u64 = 1;
const LATEST_MINOR: u64 = 2;
/// More images than any stream has: the largest identifiers are below 64, and each generation
/// has its own of a few of them.
const MOST_IMAGES: usize = 512;
/// The second boot stage, of which each generation needs its own.
const BL2: u8 = 1;

/// An image of a stream, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is: 1 is the second boot stage, 62 the boot image, 63 the file system in memory.
    pub id: u8,
    /// For which generation it was made, less one.
    pub version: u8,
    /// Its bytes, padding left out.
    pub length: u32,
}

/// A whole stream that is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootStream {
    /// Its images, in order.
    pub images: Vec<Image>,
    /// Where the last of them ends.
    pub images_end: u64,
    /// All of its bytes.
    pub size: u64,
}

/// Why bytes are no sound boot stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// It does not begin as one.
    #[error("it is no boot stream (BFB): it does not begin with the magic number of one")]
    NotAStream,
    /// A header that this release does not understand.
    #[error("the header at byte {at} has {what}, which this release does not know")]
    Header {
        /// Where.
        at: u64,
        /// What is unknown about it.
        what: String,
    },
    /// It ends too early.
    #[error("it ends at byte {at}, in the middle of image {id}")]
    Cut {
        /// Where.
        at: u64,
        /// The image.
        id: u8,
    },
    /// An image is not what its header says.
    #[error(
        "image {id} at byte {at} is damaged: its CRC is {found:#010x}, and its header says {wanted:#010x}"
    )]
    Damaged {
        /// Where it begins.
        at: u64,
        /// The image.
        id: u8,
        /// By its bytes.
        found: u32,
        /// By its header.
        wanted: u32,
    },
    /// The last image promises others.
    #[error("it ends at byte {at} though its last image says that others follow")]
    Unfinished {
        /// Where.
        at: u64,
    },
    /// It has too many images.
    #[error("it has more than {MOST_IMAGES} images")]
    TooMany,
}

/// A stream that is made for other cards.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Unfit {
    generation: u8,
    made_for: BTreeSet<u8>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .made_for
            .iter()
            .map(|generation| format!("BlueField-{generation}"))
            .collect();
        let made_for = if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(" and ")
        };
        write!(
            f,
            "it has no boot loader for BlueField-{}, only for {made_for}",
            self.generation
        )
    }
}

impl BootStream {
    /// Generations that it has a boot loader for.
    pub fn generations(&self) -> BTreeSet<u8> {
        let loaders = self.images.iter().filter(|image| image.id == BL2);
        loaders.map(|image| image.version + 1).collect()
    }

    /// Whether a card of that generation can boot from it.
    ///
    /// # Errors
    /// If there is no boot loader for it.
    pub fn fits(&self, generation: u8) -> Result<(), Unfit> {
        let made_for = self.generations();
        if made_for.contains(&generation) {
            return Ok(());
        }
        Err(Unfit {
            generation,
            made_for,
        })
    }
}

/// The generation that `DEV_INFO` names: 3 of `BlueField-3(Rev 1)`.
pub fn generation(device: &str) -> Option<u8> {
    let rest = device.trim().strip_prefix("BlueField-")?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let digits = &rest[..end.unwrap_or(rest.len())];
    digits.parse().ok().filter(|generation| *generation > 0)
}

/// Checks a stream piece by piece, in constant memory.
#[derive(Debug, Default)]
pub struct StreamReader {
    images: Vec<Image>,
    images_end: u64,
    at: u64,
    part: Part,
    /// What the last header says of images after it.
    promises: bool,
}

#[derive(Debug)]
enum Part {
    Header([u8; HEADER], usize),
    Image {
        image: Image,
        begun: u64,
        /// Padding included.
        left: u64,
        crc: crc32fast::Hasher,
        wanted: u32,
    },
    Rest,
}

impl Default for Part {
    fn default() -> Self {
        Self::Header([0; HEADER], 0)
    }
}

impl StreamReader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// As soon as it is known that the stream is not sound.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            let taken = match &mut self.part {
                Part::Rest => bytes.len(),
                Part::Image { left, crc, .. } => {
                    let taken = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    crc.update(&bytes[..taken]);
                    *left -= taken as u64;
                    taken
                }
                Part::Header(header, filled) => {
                    // The magic number alone decides whether there is another header.
                    let most = if *filled < 4 { 4 } else { HEADER };
                    let taken = (most - *filled).min(bytes.len());
                    header[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
                    *filled += taken;
                    taken
                }
            };
            self.at += taken as u64;
            bytes = &bytes[taken..];
            self.turn()?;
        }
        Ok(())
    }

    /// Goes on to the next part where one is complete.
    fn turn(&mut self) -> Result<(), StreamError> {
        match &self.part {
            Part::Rest => Ok(()),
            Part::Header(header, 4) if magic(header) != MAGIC => {
                if self.images.is_empty() {
                    return Err(StreamError::NotAStream);
                }
                self.require_finished()?;
                self.part = Part::Rest;
                Ok(())
            }
            Part::Header(header, HEADER) => {
                let header = *header;
                self.begin(&header)
            }
            Part::Header(..) => Ok(()),
            Part::Image {
                image,
                begun,
                left: 0,
                crc,
                wanted,
            } => {
                let found = crc.clone().finalize();
                if found != *wanted {
                    return Err(StreamError::Damaged {
                        at: *begun,
                        id: image.id,
                        found,
                        wanted: *wanted,
                    });
                }
                if self.images.len() == MOST_IMAGES {
                    return Err(StreamError::TooMany);
                }
                self.images.push(*image);
                self.images_end = self.at;
                self.part = Part::default();
                Ok(())
            }
            Part::Image { .. } => Ok(()),
        }
    }

    fn begin(&mut self, header: &[u8; HEADER]) -> Result<(), StreamError> {
        let word = |at: usize| {
            let bytes = &header[at..at + 8];
            bytes
                .iter()
                .rev()
                .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let [first, second, following] = [word(0), word(8), word(16)];
        let nibble = |shift: u32| first >> shift & 0xf;
        let (major, minor, eights) = (nibble(32), nibble(36), nibble(52));
        let unknown = |what: String| StreamError::Header {
            at: self.at - HEADER as u64,
            what,
        };
        if major != MAJOR || minor > LATEST_MINOR {
            return Err(unknown(format!("version {major}.{minor}")));
        }
        if eights * 8 != HEADER as u64 {
            return Err(unknown(format!("a length of {} bytes", eights * 8)));
        }
        let length = (second & 0xffff_ffff) as u32;
        let image = Image {
            id: (first >> 56) as u8,
            version: nibble(48) as u8,
            length,
        };
        self.promises = following != 0;
        self.part = Part::Image {
            image,
            begun: self.at,
            left: u64::from(length).next_multiple_of(8),
            crc: crc32fast::Hasher::new(),
            wanted: (second >> 32) as u32,
        };
        // One without bytes is complete.
        self.turn()
    }

    fn require_finished(&self) -> Result<(), StreamError> {
        if self.promises {
            return Err(StreamError::Unfinished {
                at: self.images_end,
            });
        }
        Ok(())
    }

    /// The stream, which ends here.
    ///
    /// # Errors
    /// If that is too early.
    pub fn finish(self) -> Result<BootStream, StreamError> {
        match &self.part {
            Part::Image { image, .. } => {
                return Err(StreamError::Cut {
                    at: self.at,
                    id: image.id,
                });
            }
            Part::Header(header, filled) if *filled >= 4 && magic(header) == MAGIC => {
                return Err(StreamError::Header {
                    at: self.at - *filled as u64,
                    what: "no end".to_owned(),
                });
            }
            Part::Header(..) | Part::Rest => {}
        }
        if self.images.is_empty() {
            return Err(StreamError::NotAStream);
        }
        self.require_finished()?;
        Ok(BootStream {
            images: self.images,
            images_end: self.images_end,
            size: self.at,
        })
    }
}

fn magic(header: &[u8; HEADER]) -> u32 {
    let [a, b, c, d, ..] = *header;
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
