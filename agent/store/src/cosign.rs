//! What cosign has put beside an artefact: read as it is, and judged by nobody here.
//!
//! It is in two places: what refers to the manifest, which registries list since version 1.1 of
//! the OCI distribution specification (with a tag in place of the list in those that do not), and
//! a tag of the form `sha256-….sig`, as cosign had it before. Whoever may push to the repository
//! can put anything there, so all of it is bounded.

use crate::access::Access;
use crate::artefact::{Descriptor, Found, Search};
use crate::client::{Client, shown};
use crate::pins::Pins;
use crate::source::{Artefact, ImageSource, Place, Reference};
use crate::{Digest, FetchError};

/// Longest document that is passed on. A bundle by a key takes about 1 KiB, or with an entry of a
/// transparency log about 6 KiB.
const LONGEST: usize = 16 * 1024;
/// Most signatures that are passed on.
const MOST_SIGNATURES: usize = 8;
/// Most manifests in which signatures are looked for.
const MOST_REFERRERS: usize = 16;

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// How the media types of bundles begin, of whichever version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const SIMPLE_ARTEFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What some clients list in place of the type of an artefact: that of its configuration.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// An artefact and what is beside it.
#[derive(Debug)]
pub struct Cosigned {
    /// The manifest beside which the signatures are, and if that is an index the one in it that
    /// lists the image, as the registry has them.
    pub manifests: Vec<String>,
    /// The signatures of the one and the other; none if there is none.
    pub signatures: Vec<SignatureDocument>,
    /// What became of the first that could not be read, beside those that could.
    pub unread: Option<FetchError>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureDocument {
    /// A bundle, or the payload of a simple signature.
    pub document: String,
    /// The signature of such a payload.
    pub signature: Option<String>,
}

pub(crate) async fn beside(
    client: &Client,
    pins: &Pins,
    image: Digest,
    source: &ImageSource,
) -> Result<Cosigned, FetchError> {
    let Place::Artefact(artefact) = &source.place else {
        return Err(FetchError::SourceInvalid {
            url: source.place.to_string(),
            reason: "it is no artefact of a registry",
        });
    };
    let mut access = Access::to(source);
    let mut search = Search {
        client,
        access: &mut access,
        artefact,
        image,
    };
    let pin = search.pinned(pins).await?;
    let pinned = Reference::Digest(pin.manifest);
    let (trail, _) = search.trail(&pinned).await?;
    let mut beside = Beside { search };
    let outer = text(artefact, &trail.outer)?;
    let of_outer = beside.signatures_of(&trail.outer.digest).await;
    let Some(inner) = trail.inner else {
        return of_outer.of(vec![outer], Vec::new());
    };
    let within = text(artefact, &inner)?;
    let mut of_inner = beside.signatures_of(&inner.digest).await;
    // Nobody has signed the index: then it says nothing.
    let manifests = if of_outer.signatures.is_empty() {
        vec![within]
    } else {
        vec![outer, within]
    };
    of_inner.unread = of_inner.unread.or(of_outer.unread);
    of_inner.of(manifests, of_outer.signatures)
}

/// Signatures of one manifest.
#[derive(Default)]
struct Read {
    signatures: Vec<SignatureDocument>,
    unread: Option<FetchError>,
}

impl Read {
    fn misses(&mut self, error: FetchError) {
        self.unread.get_or_insert(error);
    }

    /// With those of an index beside them. Neither takes all the room from the other.
    fn of(
        self,
        manifests: Vec<String>,
        mut signatures: Vec<SignatureDocument>,
    ) -> Result<Cosigned, FetchError> {
        let left = MOST_SIGNATURES.saturating_sub(self.signatures.len());
        signatures.truncate(left.max(MOST_SIGNATURES / 2));
        for one in self.signatures {
            if signatures.len() < MOST_SIGNATURES && !signatures.contains(&one) {
                signatures.push(one);
            }
        }
        match self.unread {
            Some(error) if signatures.is_empty() => Err(error),
            // One that cannot be read takes nothing from those that can.
            unread => Ok(Cosigned {
                manifests,
                signatures,
                unread,
            }),
        }
    }
}

fn text(artefact: &Artefact, found: &Found) -> Result<String, FetchError> {
    let url = || shown(&artefact.manifest_url(&Reference::Digest(found.digest)));
    if found.bytes.len() > LONGEST {
        return Err(FetchError::DocumentTooLarge {
            url: url(),
            most: LONGEST,
        });
    }
    String::from_utf8(found.bytes.clone()).map_err(|_| FetchError::InvalidResponse {
        url: url(),
        reason: "the manifest is no text".to_owned(),
    })
}

/// Looks for signatures of manifests in one repository.
struct Beside<'a> {
    search: Search<'a>,
}

impl Beside<'_> {
    async fn signatures_of(&mut self, manifest: &Digest) -> Read {
        let mut read = Read::default();
        let tag = Reference::Tag(format!("{}.sig", as_tag(manifest)));
        let listed = match self.referrers(manifest).await {
            Ok(listed) => listed,
            Err(error) => {
                read.misses(error);
                Vec::new()
            }
        };
        let mut layers = Vec::new();
        for reference in listed.into_iter().map(Reference::Digest).chain([tag]) {
            match found(self.search.manifest(&reference).await) {
                Ok(Some(found)) => layers.extend(found.manifest.layers),
                Ok(None) => {}
                Err(error) => read.misses(error),
            }
        }
        for layer in layers.iter().filter(|layer| is_signature(layer)) {
            if read.signatures.len() == MOST_SIGNATURES {
                break;
            }
            match self.document(layer).await {
                Ok(signature) if !read.signatures.contains(&signature) => {
                    read.signatures.push(signature);
                }
                Ok(_) => {}
                Err(error) => read.misses(error),
            }
        }
        read
    }

    /// What refers to the manifest and may be a signature, what says so first.
    async fn referrers(&mut self, manifest: &Digest) -> Result<Vec<Digest>, FetchError> {
        let url = self.search.artefact.referrers_url(manifest);
        let listed = match self.search.manifest_at(&url, None).await {
            Ok(listed) => Some(listed),
            // Registries of before have no such list, and say so in various ways.
            Err(FetchError::NotFound { .. } | FetchError::InvalidResponse { .. }) => {
                let tag = Reference::Tag(as_tag(manifest));
                found(self.search.manifest(&tag).await)?
            }
            Err(error) => return Err(error),
        };
        let listed = listed.map(|found| found.manifest.manifests);
        let mut listed = listed.unwrap_or_default();
        listed.retain(|referrer| likely(referrer).is_some());
        listed.sort_by_key(likely);
        let digests = listed.iter().take(MOST_REFERRERS);
        Ok(digests
            .filter_map(|referrer| referrer.digest.parse().ok())
            .collect())
    }

    async fn document(&mut self, layer: &Descriptor) -> Result<SignatureDocument, FetchError> {
        let invalid = |url: String, reason: &str| FetchError::InvalidResponse {
            url,
            reason: reason.to_owned(),
        };
        let artefact = self.search.artefact;
        let expected: Digest = layer.digest.parse().map_err(|_| {
            invalid(
                artefact.to_string(),
                "a signature's digest is of another kind",
            )
        })?;
        let url = artefact.blob_url(&expected);
        let bytes = self.search.read(&url, None, LONGEST).await?;
        let actual = Digest::of(&bytes);
        if actual != expected {
            return Err(FetchError::DigestMismatch {
                url: shown(&url),
                expected,
                actual,
            });
        }
        let document = String::from_utf8(bytes)
            .map_err(|_| invalid(shown(&url), "the signature is no text"))?;
        Ok(SignatureDocument {
            document,
            signature: simple_signature(layer).cloned(),
        })
    }
}

/// Nothing where there is nothing.
fn found(answer: Result<Found, FetchError>) -> Result<Option<Found>, FetchError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(FetchError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The tag in place of a digest, in which no colon may stand.
fn as_tag(digest: &Digest) -> String {
    digest.to_string().replace(':', "-")
}

/// The order in which what refers to a manifest is looked at, if it is at all.
fn likely(referrer: &Descriptor) -> Option<u8> {
    match referrer.artifact_type.as_deref() {
        Some(kind) if kind.starts_with(BUNDLE) || kind == SIMPLE_ARTEFACT => Some(0),
        Some(EMPTY) | None => Some(1),
        Some(_) => None,
    }
}

fn is_signature(layer: &Descriptor) -> bool {
    match layer.media_type.as_deref() {
        Some(SIMPLE) => simple_signature(layer).is_some(),
        Some(kind) => kind.starts_with(BUNDLE),
        None => false,
    }
}

/// Longer ones are none by any key that a policy takes.
fn simple_signature(layer: &Descriptor) -> Option<&String> {
    const LONGEST: usize = 1024;
    let is_simple = layer.media_type.as_deref() == Some(SIMPLE);
    let annotations = layer.annotations.as_ref().filter(|_| is_simple)?;
    let signature = annotations.get(SIGNATURE)?;
    (signature.len() <= LONGEST).then_some(signature)
}
