//! Multipart pushes: `UpdateParameters` as JSON, `UpdateFile` as the image
//! (DSP0266, MultipartHttpPushUri). The image's bytes are not kept.

use http::header;
use serde_json::Value;

use super::message::Message;
use super::{Reply, Request, action};
use crate::domain::{Domain, Index};

pub(super) fn push(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
) -> Result<Reply, Message> {
    let kind = request.headers.get(header::CONTENT_TYPE);
    let boundary = kind
        .and_then(|kind| kind.to_str().ok())
        .and_then(boundary)
        .ok_or(Message::HeaderInvalid("Content-Type"))?;
    let parts = parts(request.body, &boundary);
    let find = |name: &str| parts.iter().find(|part| part.name == name);
    let parameters: Value = match find("UpdateParameters") {
        Some(part) => serde_json::from_slice(part.body).map_err(|_| Message::MalformedJson)?,
        None => return Err(Message::PropertyMissing("UpdateParameters")),
    };
    let file = find("UpdateFile").ok_or(Message::PropertyMissing("UpdateFile"))?;
    let targets = parameters.get("Targets");
    let component = action::component(domain, machine, targets, &file.file)
        .map_err(|target| Message::PropertyValueNotInList("Targets".to_owned(), target))?;
    let task = domain
        .update(machine, component, &file.file)
        .map_err(action::refusal)?;
    action::accepted(domain, machine, task)
}

struct Part<'a> {
    name: String,
    file: String,
    body: &'a [u8],
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

/// The parts between the boundaries; what is no part is left out.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<Part<'a>> {
    let delimiter = format!("--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut found = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut from = 0;
    while let Some(at) = position(&body[from..], delimiter) {
        starts.push(from + at);
        from += at + delimiter.len();
    }
    for pair in starts.windows(2) {
        let piece = &body[pair[0] + delimiter.len()..pair[1]];
        let piece = piece.strip_prefix(b"\r\n").unwrap_or(piece);
        let piece = piece.strip_suffix(b"\r\n").unwrap_or(piece);
        let Some(end) = position(piece, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&piece[..end]);
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let Some(disposition) = disposition else {
            continue;
        };
        found.push(Part {
            name: parameter(disposition, "name").unwrap_or_default(),
            file: parameter(disposition, "filename").unwrap_or_default(),
            body: &piece[end + 4..],
        });
    }
    found
}

fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_whatever_they_hold() {
        let kind = "multipart/form-data; boundary=\"xyz\"";
        assert_eq!(boundary(kind).as_deref(), Some("xyz"));
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\n\r\n{}\r\n\
                     --xyz\r\nContent-Disposition: form-data; name=\"UpdateFile\"; filename=\"a.fwpkg\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n\x00\r\n\xff\r\n--xyz--\r\n";
        let parts = parts(body, "xyz");
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), parts[0].body),
            ("UpdateParameters", &b"{}"[..])
        );
        assert_eq!(
            (parts[1].file.as_str(), parts[1].body),
            ("a.fwpkg", &b"\x00\r\n\xff"[..])
        );
        assert!(super::parts(b"nothing", "xyz").is_empty());
    }
}
