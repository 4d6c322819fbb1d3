//! Multipart pushes: `UpdateParameters` as JSON, `UpdateFile` as the image
//! (DSP0266, MultipartHttpPushUri). The image's bytes are hashed as they come
//! and not kept.

use std::ops::Range;

use http::{HeaderMap, header};
use memchr::memmem;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::message::Message;
use super::{Reply, Request, action};
use crate::domain::{Domain, Image, Index};
use crate::kept::Kept;
use crate::machine::Arrived;

/// Longest head of a part, and longest parameters.
const MOST: usize = 64 * 1024;

pub(super) fn push(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
) -> Result<Reply, Message> {
    let upload = request
        .upload
        .ok_or(Message::HeaderInvalid("Content-Type"))?;
    let parameters: Value = match &upload.parameters {
        Some(text) => serde_json::from_slice(text).map_err(|_| Message::MalformedJson)?,
        None => return Err(Message::PropertyMissing("UpdateParameters")),
    };
    let Some((file, arrived)) = &upload.file else {
        return Err(Message::PropertyMissing("UpdateFile"));
    };
    let most = domain.machines[machine].personality.update.most_bytes;
    if most.is_some_and(|most| arrived.bytes > most) {
        return Err(Message::Failed("The image is too long".to_owned()));
    }
    let targets = parameters.get("Targets");
    let components = action::components(domain, machine, targets, file)
        .map_err(|target| Message::PropertyValueNotInList("Targets".to_owned(), target))?;
    let image = Image::Pushed(file, arrived);
    let task = domain
        .update(machine, &components, &image)
        .map_err(action::refusal)?;
    action::accepted(domain, machine, task)
}

/// What a multipart body came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Upload {
    /// The part `UpdateParameters`.
    parameters: Option<Vec<u8>>,
    /// The file name of the part `UpdateFile`, and what it was.
    file: Option<(String, Arrived)>,
}

/// A multipart body as it comes, in pieces of any size.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What ends a part: a line break, two dashes, the boundary.
    delimiter: Vec<u8>,
    /// What came and is not dealt with.
    waiting: Vec<u8>,
    at: At,
    upload: Upload,
    keeps: Range<u64>,
}

#[derive(Debug)]
enum At {
    /// In a part that nobody needs, or before the first one.
    Nowhere,
    /// Behind a delimiter: another part or the end.
    Delimiter,
    Head,
    Parameters(Vec<u8>),
    File(String, u64, Sha256, Kept),
    End,
}

impl Parts {
    /// For a request with these headers, if its body has parts. Of an image that range is kept.
    pub(crate) fn of(headers: &HeaderMap, keeps: &Range<u64>) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let boundary = boundary(kind)?;
        Some(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first delimiter has no line before it.
            waiting: b"\r\n".to_vec(),
            at: At::Nowhere,
            upload: Upload::default(),
            keeps: keeps.clone(),
        })
    }

    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
        while self.step() {}
    }

    /// What it all came to: parts that have no end are none.
    pub(crate) fn finish(self) -> Upload {
        self.upload
    }

    /// Deals with as much as can be; whether there may be more to do.
    fn step(&mut self) -> bool {
        match &mut self.at {
            At::End => {
                self.waiting.clear();
                false
            }
            At::Delimiter => {
                if self.waiting.len() < 2 {
                    return false;
                }
                let next = if self.waiting.starts_with(b"--") {
                    At::End
                } else {
                    At::Head
                };
                self.waiting.drain(..2);
                self.at = next;
                true
            }
            At::Head => {
                let Some(end) = memmem::find(&self.waiting, b"\r\n\r\n") else {
                    if self.waiting.len() > MOST {
                        self.at = At::End;
                    }
                    return false;
                };
                let head = String::from_utf8_lossy(&self.waiting[..end]).into_owned();
                self.waiting.drain(..end + 4);
                self.at = part(&head, &self.keeps);
                true
            }
            At::Nowhere | At::Parameters(_) | At::File(..) => self.body(),
        }
    }

    /// The body of a part, up to a delimiter or to where one may begin.
    fn body(&mut self) -> bool {
        let found = memmem::find(&self.waiting, &self.delimiter);
        let sure = found.unwrap_or_else(|| {
            let most = self.waiting.len() + 1;
            most.saturating_sub(self.delimiter.len())
        });
        let piece = &self.waiting[..sure];
        match &mut self.at {
            At::Parameters(text) if text.len() + piece.len() <= MOST => {
                text.extend_from_slice(piece);
            }
            At::Parameters(_) => self.at = At::Nowhere,
            At::File(_, bytes, digest, kept) => {
                *bytes += piece.len() as u64;
                digest.update(piece);
                kept.take(piece);
            }
            At::Nowhere | At::Delimiter | At::Head | At::End => {}
        }
        self.waiting.drain(..sure);
        if found.is_none() {
            return false;
        }
        self.waiting.drain(..self.delimiter.len());
        match std::mem::replace(&mut self.at, At::Delimiter) {
            At::Parameters(text) => self.upload.parameters = Some(text),
            At::File(name, bytes, digest, kept) => {
                let arrived = Arrived {
                    bytes,
                    sha256: hex::encode(digest.finalize()),
                    part: kept.into_bytes(),
                };
                self.upload.file = Some((name, arrived));
            }
            At::Nowhere | At::Delimiter | At::Head | At::End => {}
        }
        true
    }
}

/// The part that begins with this head.
fn part(head: &str, keeps: &Range<u64>) -> At {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    });
    let disposition = disposition.unwrap_or_default();
    match parameter(disposition, "name").as_deref() {
        Some("UpdateParameters") => At::Parameters(Vec::new()),
        Some("UpdateFile") => {
            let file = parameter(disposition, "filename").unwrap_or_default();
            At::File(file, 0, Sha256::new(), Kept::new(keeps.clone()))
        }
        Some(_) | None => At::Nowhere,
    }
}

fn boundary(kind: &str) -> Option<String> {
    let rest = kind.strip_prefix("multipart/form-data")?;
    parameter(rest, "boundary").filter(|boundary| !boundary.is_empty())
}

/// `name="value"` or `name=value` in a header.
fn parameter(text: &str, name: &str) -> Option<String> {
    text.split(';').find_map(|piece| {
        let (key, value) = piece.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b"--xyz\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\n\r\n{}\r\n\
        --xyz\r\nContent-Disposition: form-data; name=\"OemOther\"\r\n\r\nx\r\n\
        --xyz\r\nContent-Disposition: form-data; name=\"UpdateFile\"; filename=\"a.fwpkg\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n\x00\r\n--xy\xff\r\n--xyz--\r\n";

    fn parts() -> Parts {
        let mut headers = HeaderMap::new();
        let kind = "multipart/form-data; boundary=\"xyz\"";
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Parts::of(&headers, &(1..4)).unwrap()
    }

    #[test]
    fn parts_are_found_whatever_they_hold_and_however_they_come() {
        let file = b"\x00\r\n--xy\xff";
        let wanted = Upload {
            parameters: Some(b"{}".to_vec()),
            file: Some((
                "a.fwpkg".to_owned(),
                Arrived {
                    bytes: file.len() as u64,
                    sha256: hex::encode(Sha256::digest(file)),
                    part: file[1..4].to_vec(),
                },
            )),
        };
        for size in [1, 2, 3, 7, 64, BODY.len()] {
            let mut parts = parts();
            BODY.chunks(size).for_each(|piece| parts.feed(piece));
            assert_eq!(parts.finish(), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn what_has_no_end_is_no_part() {
        let mut cut = parts();
        cut.feed(&BODY[..BODY.len() - 9]);
        let upload = cut.finish();
        assert!(upload.parameters.is_some() && upload.file.is_none());
        let mut nothing = parts();
        nothing.feed(b"nothing");
        assert_eq!(nothing.finish(), Upload::default());
        assert!(Parts::of(&HeaderMap::new(), &(0..0)).is_none());
    }
}
