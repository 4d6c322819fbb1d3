//! What is signed by cosign: the manifest of an artefact, of which the image is the one layer.
//!
//! A signature by cosign is over the digest of a manifest, and so says nothing of an image but by
//! what stands in that manifest. So nothing of it is believed that does not have that digest, and
//! it must be an artefact of this one file: a signature that was meant for something that merely
//! holds the same bytes, such as a container image, is none for a card.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::json;
use crate::refusal::{Refusal, quoted};

/// Longest manifest that is read, in bytes. One of an image takes about 1 KiB.
pub const LONGEST_MANIFEST: usize = 16 * 1024;

/// Where a manifest says which version it is of (OCI image specification, "Annotations").
const VERSION: &str = "org.opencontainers.image.version";

/// Configurations that only container images have.
const CONTAINER_CONFIGURATIONS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// An artefact whose manifest lists the image as its one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Digest of the manifest, or index, that a signature must name: `sha256:…`.
    pub digest: String,
    /// The bytes with that digest.
    pub(crate) bytes: Vec<u8>,
    /// The versions that index and manifest say they are of.
    pub(crate) versions: Vec<String>,
}

/// Manifest or index, with what is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
}

impl Artefact {
    /// From the manifest; or from an index and the manifest in it.
    ///
    /// # Errors
    /// If they are none, do not belong together, or are of anything but an artefact whose one
    /// layer has the digest `image`.
    pub fn of(manifests: &[String], image: &str) -> Result<Self, Refusal> {
        let (outer, inner) = match manifests {
            [only] => (only, None),
            [outer, inner] => (outer, Some(inner)),
            _ => return Err(Refusal::NotAManifest("there is none".to_owned())),
        };
        let mut read = parsed(outer)?;
        let mut versions: Vec<String> = version(&mut read).into_iter().collect();
        if let Some(inner) = inner {
            let within = digest_of(inner.as_bytes());
            if !read.manifests.iter().any(|listed| listed.digest == within) {
                return Err(Refusal::NotInIndex(within));
            }
            read = parsed(inner)?;
            versions.extend(version(&mut read));
        }
        if let Some(config) = &read.config
            && CONTAINER_CONFIGURATIONS.contains(&config.media_type.as_str())
        {
            return Err(Refusal::ContainerImage);
        }
        match read.layers.as_slice() {
            [layer] if layer.digest == image => {}
            [layer] => return Err(Refusal::OtherLayer(quoted(&layer.digest))),
            layers => return Err(Refusal::NotOneLayer(layers.len())),
        }
        Ok(Self {
            digest: digest_of(outer.as_bytes()),
            bytes: outer.clone().into_bytes(),
            versions,
        })
    }
}

fn parsed(text: &str) -> Result<Manifest, Refusal> {
    if text.len() > LONGEST_MANIFEST {
        let told = format!("it has {} bytes", text.len());
        return Err(Refusal::NotAManifest(told));
    }
    let malformed = |error: serde_json::Error| Refusal::NotAManifest(quoted(&error.to_string()));
    let value = json::parse(text.as_bytes()).map_err(malformed)?;
    serde_json::from_value(value).map_err(malformed)
}

fn version(manifest: &mut Manifest) -> Option<String> {
    manifest.annotations.as_mut()?.remove(VERSION)
}

/// As a `DpuImage` writes it.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", hex.collect::<String>())
}
