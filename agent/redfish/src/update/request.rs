//! What a BMC can be asked for.

use std::fmt;
use std::io::Cursor;
use std::pin::Pin;

use reqwest::Body;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::ReaderStream;

use crate::facts::ImageUrl;

/// What of an image is in memory at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// Longest file name that is sent.
const LONGEST_NAME: usize = 128;

/// An update that the BMC fetches by itself (`UpdateService.SimpleUpdate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleUpdate {
    /// Where the image is, with its scheme: `http` or `https`. `TransferProtocol` is that scheme,
    /// and is sent where the BMC lists it: some need it and some refuse it.
    pub image: ImageUrl,
    /// Paths of the components it is for; none: the BMC finds out from the image.
    pub targets: Vec<String>,
}

impl SimpleUpdate {
    /// The value of `TransferProtocol` that the URL stands for.
    pub(crate) fn protocol(&self) -> Option<&'static str> {
        let (scheme, _) = self.image.expose().split_once("://")?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Some("HTTP"),
            "https" => Some("HTTPS"),
            _ => None,
        }
    }

    pub(crate) fn body(&self, listed: Option<&[String]>) -> Value {
        let mut body = json!({"ImageURI": self.image.expose()});
        if let (Some(protocol), Some(_)) = (self.protocol(), listed) {
            body["TransferProtocol"] = protocol.into();
        }
        if !self.targets.is_empty() {
            body["Targets"] = self.targets.as_slice().into();
        }
        body
    }
}

/// An update whose bytes are sent to the BMC (`MultipartHttpPushUri`).
///
/// They are read once and never kept: a push takes the same memory whatever the image's size, and
/// cannot be sent a second time.
pub struct Push {
    file_name: String,
    length: u64,
    image: Pin<Box<dyn AsyncRead + Send>>,
    /// Paths of the components it is for; none: the BMC finds out from the image.
    pub targets: Vec<String>,
    /// `ForceUpdate`: also where the same version runs, or a later one.
    pub force: bool,
}

impl Push {
    /// An image of `length` bytes. The name tells some BMCs what it is.
    ///
    /// # Errors
    /// For a name that is empty, longer than 128 characters, or has others than letters, digits,
    /// dots, dashes, underscores and plus signs in it.
    pub fn new(
        file_name: &str,
        length: u64,
        image: impl AsyncRead + Send + 'static,
    ) -> Result<Self, PushError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        let fits = (1..=LONGEST_NAME).contains(&file_name.len()) && file_name.chars().all(plain);
        if !fits {
            let shown = file_name.escape_debug().take(LONGEST_NAME);
            return Err(PushError(shown.collect()));
        }
        Ok(Self {
            file_name: file_name.to_owned(),
            length,
            image: Box::pin(image),
            targets: Vec::new(),
            force: false,
        })
    }

    /// Length of the image in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes, for whoever takes a push without HTTP.
    pub fn into_image(self) -> impl AsyncRead + Send {
        self.image.take(self.length)
    }

    /// The request's body: `UpdateParameters` first, then `UpdateFile` (DSP0266 7.12.2), each with
    /// its own content type. Its length is told in advance, for some BMCs take no chunks.
    pub(crate) fn into_upload(self, boundary: &str) -> Upload {
        let mut parameters = Map::new();
        if !self.targets.is_empty() {
            parameters.insert("Targets".to_owned(), self.targets.as_slice().into());
        }
        if self.force {
            parameters.insert("ForceUpdate".to_owned(), true.into());
        }
        let head = format!(
            "--{boundary}\r\n\
             Content-Disposition: form-data; name=\"UpdateParameters\"\r\n\
             Content-Type: application/json\r\n\r\n\
             {}\r\n\
             --{boundary}\r\n\
             Content-Disposition: form-data; name=\"UpdateFile\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            Value::Object(parameters),
            self.file_name,
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = (head.len() as u64)
            .saturating_add(self.length)
            .saturating_add(tail.len() as u64);
        // What is longer than told is cut, and its digest will be another. What is shorter makes
        // the body end before its told length: no BMC takes that for a whole one.
        let reader = Cursor::new(head)
            .chain(self.image.take(self.length))
            .chain(Cursor::new(tail));
        Upload {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            length,
            body: Body::wrap_stream(ReaderStream::with_capacity(reader, CHUNK)),
        }
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("file_name", &self.file_name)
            .field("length", &self.length)
            .field("targets", &self.targets)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

/// A file name that cannot be told to a BMC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no file name for an update: use at most 128 letters, digits, dots, dashes, underscores and plus signs"
)]
pub struct PushError(String);

/// A multipart body on its way out.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) content_type: String,
    pub(crate) length: u64,
    pub(crate) body: Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_told_where_protocols_are_listed() {
        let update = SimpleUpdate {
            image: ImageUrl::new("HTTP://192.0.2.1/a.bfb"),
            targets: Vec::new(),
        };
        assert_eq!(
            update.body(None),
            json!({"ImageURI": "HTTP://192.0.2.1/a.bfb"})
        );
        let listed = ["HTTP".to_owned()];
        assert_eq!(update.body(Some(&listed))["TransferProtocol"], "HTTP");
        for (url, protocol) in [
            ("https://a/b", Some("HTTPS")),
            ("a/b", None),
            ("ftp://a", None),
        ] {
            let update = SimpleUpdate {
                image: ImageUrl::new(url),
                targets: vec!["/t".to_owned()],
            };
            assert_eq!(update.protocol(), protocol);
            assert_eq!(update.body(None)["Targets"], json!(["/t"]));
        }
    }

    #[test]
    fn a_file_name_cannot_end_its_header() {
        let long = "x".repeat(129);
        for name in ["", "a\"b", "a\r\nb", "../a/b", long.as_str()] {
            assert!(Push::new(name, 1, tokio::io::empty()).is_err(), "{name:?}");
        }
        let push = Push::new("bf-fwbundle-2.9.0+1_x.fwpkg", 7, tokio::io::empty());
        assert_eq!(push.unwrap().length(), 7);
    }
}
