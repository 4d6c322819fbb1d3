//! Where an image may come from: a file behind a URL, or a layer of an OCI artefact.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::accounts::Accounts;
use crate::client::shown;
use crate::{Digest, FetchError};

/// What a source of an OCI registry begins with; it is always asked over https.
const OCI: &str = "oci://";

/// A place, and the accounts that may be shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// Where the image is.
    pub place: Place,
    /// Each is shown to its own host and to no other, and over https alone.
    pub accounts: Accounts,
}

impl From<Place> for ImageSource {
    fn from(place: Place) -> Self {
        Self {
            place,
            accounts: Accounts::default(),
        }
    }
}

impl From<Url> for ImageSource {
    fn from(url: Url) -> Self {
        Place::File(url).into()
    }
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file behind an http or https URL.
    File(Url),
    /// A layer of an artefact in a registry.
    Artefact(Artefact),
}

impl FromStr for Place {
    type Err = FetchError;

    /// Reads an http(s) URL, or `oci://REGISTRY/REPOSITORY` with `:TAG` or `@sha256:DIGEST`.
    fn from_str(text: &str) -> Result<Self, FetchError> {
        if text.starts_with(OCI) {
            return text.parse().map(Self::Artefact);
        }
        let url = Url::parse(text).map_err(|_| FetchError::SourceInvalid {
            url: String::new(),
            reason: "it is no URL",
        })?;
        Ok(Self::File(url))
    }
}

/// As it may stand in logs and conditions: without query, fragment and credentials.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(url) => f.write_str(&shown(url)),
            Self::Artefact(artefact) => artefact.fmt(f),
        }
    }
}

/// An artefact of a registry, by tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    registry: Url,
    repository: String,
    reference: Reference,
}

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Artefact {
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(crate) fn manifest_url(&self, reference: &Reference) -> Url {
        match reference {
            Reference::Tag(tag) => self.url("manifests", tag),
            Reference::Digest(digest) => self.url("manifests", &digest.to_string()),
        }
    }

    /// Where a registry lists what refers to a manifest (OCI distribution specification, "Listing
    /// Referrers").
    pub(crate) fn referrers_url(&self, digest: &Digest) -> Url {
        self.url("referrers", &digest.to_string())
    }

    pub(crate) fn blob_url(&self, digest: &Digest) -> Url {
        self.url("blobs", &digest.to_string())
    }

    /// Repository, tag and digest were checked to hold nothing that means something in a path.
    fn url(&self, what: &str, which: &str) -> Url {
        let mut url = self.registry.clone();
        url.set_path(&format!("/v2/{}/{what}/{which}", self.repository));
        url
    }
}

impl FromStr for Artefact {
    type Err = FetchError;

    fn from_str(text: &str) -> Result<Self, FetchError> {
        let invalid = |reason| FetchError::SourceInvalid {
            // What cannot be read may hold a password anywhere.
            url: OCI.to_owned(),
            reason,
        };
        let (registry, path) = text
            .strip_prefix(OCI)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| invalid("it names no registry and repository"))?;
        if registry.contains('@') {
            return Err(invalid("it carries credentials"));
        }
        let registry = Url::parse(&format!("https://{registry}/"))
            .ok()
            .filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| invalid("its registry is no host with or without a port"))?;
        let (repository, reference) = if let Some((repository, digest)) = path.split_once('@') {
            let digest = Some(digest)
                .filter(|text| text.starts_with("sha256:"))
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| invalid("its digest is no sha256"))?;
            (repository, Reference::Digest(digest))
        } else {
            let (repository, tag) = path
                .split_once(':')
                .filter(|(_, tag)| is_tag(tag))
                .ok_or_else(|| invalid("it has neither a tag nor a digest"))?;
            (repository, Reference::Tag(tag.to_owned()))
        };
        if repository.is_empty() || !repository.split('/').all(is_component) {
            return Err(invalid("its repository is no name in lower case"));
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            reference,
        })
    }
}

impl fmt::Display for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = host_and_port(&self.registry);
        write!(f, "{OCI}{host}/{}", self.repository)?;
        match &self.reference {
            Reference::Tag(tag) => write!(f, ":{tag}"),
            Reference::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

/// Host and port of a URL as people write them: without the port that goes with the scheme.
pub(crate) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// OCI distribution specification, "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// One part of a repository's name: letters and digits, and separators between them.
fn is_component(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(letter))
        && text
            .bytes()
            .all(|byte| letter(byte) || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn artefacts_are_read_as_people_write_them() {
        let digest = Digest::of(b"manifest");
        for text in [
            "oci://registry.test/cards/os:1.2.3".to_owned(),
            "oci://registry.test:5000/os:latest".to_owned(),
            format!("oci://[2001:db8::1]:5000/a/b-c/d_e@{digest}"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        let artefact: Artefact = "oci://r.test:5000/a/b:v1".parse().unwrap();
        let url = artefact.manifest_url(artefact.reference());
        assert_eq!(url.as_str(), "https://r.test:5000/v2/a/b/manifests/v1");
        let url = artefact.blob_url(&digest);
        assert_eq!(
            url.as_str(),
            format!("https://r.test:5000/v2/a/b/blobs/{digest}")
        );
    }

    #[test]
    fn what_is_no_artefact_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("oci://", "names no registry"),
            ("oci://registry.test", "names no registry"),
            ("oci:///os:1", "registry"),
            ("oci://user:word@registry.test/os:1", "credentials"),
            ("oci://registry.test:port/os:1", "registry"),
            ("oci://registry.test/os", "neither a tag nor a digest"),
            ("oci://registry.test/os:", "neither a tag nor a digest"),
            ("oci://registry.test/os:a/b", "neither a tag nor a digest"),
            ("oci://registry.test/os@sha256:00", "no sha256"),
            ("oci://registry.test/os@sha512:00", "no sha256"),
            ("oci://registry.test/Os:1", "lower case"),
            ("oci://registry.test/../os:1", "lower case"),
            ("oci://registry.test//os:1", "lower case"),
            ("oci://registry.test/:1", "lower case"),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert_eq!(error.category(), "SourceInvalid", "{text}");
            let said = error.to_string();
            assert!(
                said.contains(why) && !said.contains("word"),
                "{text}: {said}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_leads_to_its_registry_alone(text in "oci://[ -~]{0,60}") {
            if let Ok(artefact) = text.parse::<Artefact>() {
                let url = artefact.blob_url(&Digest::of(b"x"));
                prop_assert_eq!(url.origin(), artefact.registry.origin());
                prop_assert!(url.path().starts_with("/v2/") && url.query().is_none());
                prop_assert!(url.username().is_empty() && url.password().is_none());
            }
        }
    }
}
