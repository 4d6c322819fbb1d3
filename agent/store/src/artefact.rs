//! From a source in a registry to the layer that is the image.
//!
//! The image is found by its digest alone: an artefact that has no layer with it is another one,
//! whatever its tag, titles and platforms say. A tag is asked for once and then stands for the
//! manifest that it led to, whatever it leads to later.
//!
//! By hand within the store's own client: the registry clients there are follow redirects to
//! other hosts, read manifests of any length, and resolve names outside the store's policy.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use crate::access::Access;
use crate::client::{Client, shown};
use crate::pins::{Pin, Pins};
use crate::source::{Artefact, Reference};
use crate::{Digest, FetchError};

/// The longest manifest that registries have to take (OCI distribution specification, "Pushing
/// manifests").
const MOST_MANIFEST: usize = 4 << 20;
/// Manifests of one index that are looked at.
const MOST_PLATFORMS: usize = 32;
/// Layers that a refusal names.
const MOST_NAMED: usize = 4;
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
const TITLE: &str = "org.opencontainers.image.title";

/// Manifest or index, with what is of use here.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    pub(crate) digest: String,
    size: u64,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// A manifest or index as the registry has it.
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// From what a source stands for to the manifest that lists the image.
pub(crate) struct Trail {
    /// That manifest; or an index.
    pub(crate) outer: Found,
    /// The manifest in the index.
    pub(crate) inner: Option<Found>,
}

/// Looks for one image in one artefact.
pub(crate) struct Search<'a> {
    pub(crate) client: &'a Client,
    pub(crate) access: &'a mut Access,
    pub(crate) artefact: &'a Artefact,
    pub(crate) image: Digest,
}

impl Search<'_> {
    /// Which manifest the source stands for, and the size of the image as told there. What was
    /// found before is not asked for again.
    pub(crate) async fn pinned(&mut self, pins: &Pins) -> Result<Pin, FetchError> {
        let source = self.artefact.to_string();
        if let Some(pin) = pins.get(&self.image, &source) {
            return Ok(pin);
        }
        let (manifest, size) = self.find().await?;
        let pin = Pin {
            image: self.image,
            source,
            manifest,
            size,
        };
        pins.note(pin.clone()).await?;
        tracing::info!(image = %pin.image, source = pin.source, manifest = %pin.manifest, "source pinned");
        Ok(pin)
    }

    async fn find(&mut self) -> Result<(Digest, u64), FetchError> {
        let reference = self.artefact.reference().clone();
        let (trail, size) = self.trail(&reference).await?;
        Ok((trail.outer.digest, size))
    }

    /// The manifest that lists the image, and the index in which it is, with the size of the image.
    pub(crate) async fn trail(
        &mut self,
        reference: &Reference,
    ) -> Result<(Trail, u64), FetchError> {
        let mut outer = self.manifest(reference).await?;
        if let Some(size) = self.size_in(&outer.manifest.layers) {
            return Ok((Trail { outer, inner: None }, size));
        }
        let mut layers = std::mem::take(&mut outer.manifest.layers);
        let platforms = std::mem::take(&mut outer.manifest.manifests);
        for platform in platforms.into_iter().take(MOST_PLATFORMS) {
            let Ok(digest) = platform.digest.parse() else {
                continue;
            };
            match self.manifest(&Reference::Digest(digest)).await {
                Ok(inner) => {
                    if let Some(size) = self.size_in(&inner.manifest.layers) {
                        let inner = Some(inner);
                        return Ok((Trail { outer, inner }, size));
                    }
                    layers.extend(inner.manifest.layers);
                }
                // Not every mirror holds every platform.
                Err(FetchError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(FetchError::NotInArtefact {
            artefact: self.artefact.to_string(),
            manifest: outer.digest,
            expected: self.image,
            found: named(&layers),
        })
    }

    fn size_in(&self, layers: &[Descriptor]) -> Option<u64> {
        let is_it = |layer: &&Descriptor| layer.digest.parse() == Ok(self.image);
        layers.iter().find(is_it).map(|layer| layer.size)
    }

    pub(crate) async fn manifest(&mut self, reference: &Reference) -> Result<Found, FetchError> {
        let url: Url = self.artefact.manifest_url(reference);
        let expected = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => None,
        };
        self.manifest_at(&url, expected).await
    }

    pub(crate) async fn manifest_at(
        &mut self,
        url: &Url,
        expected: Option<Digest>,
    ) -> Result<Found, FetchError> {
        let bytes = self.read(url, Some(ACCEPT), MOST_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(FetchError::DigestMismatch {
                url: shown(url),
                expected,
                actual: digest,
            });
        }
        match serde_json::from_slice(&bytes) {
            Ok(manifest) => Ok(Found {
                digest,
                bytes,
                manifest,
            }),
            Err(error) => Err(FetchError::InvalidResponse {
                url: shown(url),
                reason: format!("it is no manifest: {error}"),
            }),
        }
    }

    /// What is at a URL of the registry, if it has at most so many bytes.
    pub(crate) async fn read(
        &mut self,
        url: &Url,
        accept: Option<&str>,
        most: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let response = self.access.get(self.client, url, accept, None).await?;
        if response.status() != http::StatusCode::OK {
            return Err(self.access.judge(shown(url), response.status()));
        }
        self.client.read(url, most, response).await
    }
}

/// Layers as people know them: by title, else by digest. Both are another's words, so what is
/// neither printable nor short stays out.
fn named(layers: &[Descriptor]) -> String {
    let mut names: Vec<String> = layers
        .iter()
        .take(MOST_NAMED)
        .map(|layer| {
            let titles = layer.annotations.as_ref();
            let title = titles.and_then(|annotations| annotations.get(TITLE));
            let digest = match layer.digest.parse::<Digest>() {
                Ok(digest) => digest.to_string(),
                Err(_) => "a digest of another kind".to_owned(),
            };
            let is_plain = |title: &&String| {
                title.len() <= 80 && title.bytes().all(|byte| byte.is_ascii_graphic())
            };
            match title.filter(is_plain) {
                Some(title) => format!("{title} with {digest}"),
                None => digest,
            }
        })
        .collect();
    if layers.len() > MOST_NAMED {
        names.push(format!("{} more", layers.len() - MOST_NAMED));
    }
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
