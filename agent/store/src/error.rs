//! What can go wrong, in words for conditions: what, why, remedy.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::Digest;
use crate::disk::DiskError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error(
        "image store {dir} is used by another process: stop it, or give each store a folder of its own"
    )]
    Locked {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The folder cannot be used.
    #[error("image store: {path}: {reason}; make the folder writable for this process")]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The CA bundle is not one.
    #[error("image store: the CA bundle is unusable: {reason}; give PEM certificates")]
    CaBundle {
        /// What is wrong with it.
        reason: String,
    },
    /// `main` forgot the crypto provider.
    #[error("image store: no rustls crypto provider is installed; install one first thing in main")]
    NoCryptoProvider,
    /// The HTTP client could not be made.
    #[error("image store: no HTTP client: {reason}")]
    Client {
        /// What the client said.
        reason: String,
    },
}

/// Why an image is not in the store. URLs in it carry no query and no
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FetchError {
    #[error("no source is given for {digest}")]
    NoSource { digest: Digest },
    #[error("source {url} cannot be used: {reason}")]
    SourceInvalid { url: String, reason: &'static str },
    #[error("source {url} is at {address}, outside the networks that this agent may dial")]
    SourceNotAllowed { url: String, address: String },
    #[error("image server of {url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("image server of {url} presents a certificate that is not trusted: {reason}")]
    TlsUntrusted { url: String, reason: String },
    #[error("{from} redirects to {to}: {reason}")]
    RedirectRefused {
        from: String,
        to: String,
        reason: &'static str,
    },
    #[error("{url} answers {status}: there is no such image")]
    NotFound { url: String, status: u16 },
    #[error(
        "{url} answers {status}: the image server wants an account, and there is none that may be shown to it"
    )]
    Unauthorized { url: String, status: u16 },
    #[error("{url} answers {status} to the account in the image's pull Secret")]
    CredentialsRefused { url: String, status: u16 },
    #[error("registry of {url} wants a token from {realm}, which is not asked: {reason}")]
    TokenServerRefused {
        url: String,
        realm: String,
        reason: String,
    },
    #[error("{artefact} (manifest {manifest}) has no layer {expected}; its layers: {found}")]
    NotInArtefact {
        artefact: String,
        manifest: Digest,
        expected: Digest,
        found: String,
    },
    #[error("{url} answers {status}: the image server is in trouble")]
    ServerError { url: String, status: u16 },
    #[error("{url} gives an answer that makes no sense: {reason}")]
    InvalidResponse { url: String, reason: String },
    #[error("{url} ended after {received} bytes{}", of_expected(*.expected))]
    Truncated {
        url: String,
        received: u64,
        expected: Option<u64>,
    },
    #[error("{url} sent only {received} bytes in {seconds} s")]
    TooSlow {
        url: String,
        received: u64,
        seconds: u64,
    },
    #[error("{url} does not have the {expected} bytes that were announced: saw {actual}")]
    SizeMismatch {
        url: String,
        expected: u64,
        actual: u64,
    },
    #[error("{url} has {size} bytes or more; images may have at most {limit}")]
    TooLarge { url: String, size: u64, limit: u64 },
    #[error("{url} has more than the {most} bytes that such a file may have")]
    DocumentTooLarge { url: String, most: usize },
    #[error("{url} has digest {actual}, not {expected}")]
    DigestMismatch {
        url: String,
        expected: Digest,
        actual: Digest,
    },
    #[error(
        "image needs {needed} bytes, but {held} of the store's quota of {quota} are taken by what stays there: images that are wanted or that cards are reading, and what is being fetched{}",
        of_demand(wanted.as_ref(), unread.as_deref())
    )]
    QuotaExceeded {
        needed: u64,
        held: u64,
        quota: u64,
        wanted: Option<Demand>,
        /// What cannot be read of those who say what is wanted.
        unread: Option<String>,
    },
    #[error("disk of the image store is full at {path}: {reason}")]
    DiskFull { path: PathBuf, reason: String },
    #[error("image store failed at {path}: {reason}")]
    Storage { path: PathBuf, reason: String },
}

fn of_expected(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |bytes| format!(" of {bytes}"))
}

/// What all wanted images take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many there are.
    pub images: usize,
    /// What those take whose size is known.
    pub bytes: u64,
    /// How many there are besides.
    pub of_unknown_size: usize,
}

impl Demand {
    pub(crate) fn told(&self) -> String {
        let Self {
            images,
            bytes,
            of_unknown_size,
        } = self;
        let besides = match of_unknown_size {
            0 => String::new(),
            more => format!(", without {more} whose size is not known yet"),
        };
        format!("; the {images} images that are wanted take {bytes} bytes together{besides}")
    }
}

/// What all wanted images take, and what keeps it from being certain.
pub(crate) fn of_demand(wanted: Option<&Demand>, unread: Option<&str>) -> String {
    match (wanted, unread) {
        (Some(demand), None) => demand.told(),
        (Some(demand), Some(unread)) => format!(
            "{}, and what was wanted before stays as long as {unread} cannot be read",
            demand.told()
        ),
        (None, unread) => format!(
            "; which images are wanted is not known as long as {} cannot be read, so all stay",
            unread.unwrap_or("an object of the site")
        ),
    }
}

impl FetchError {
    /// A bounded word for a condition's reason.
    pub fn category(&self) -> &'static str {
        match self {
            FetchError::NoSource { .. } => "NoSource",
            FetchError::SourceInvalid { .. } => "SourceInvalid",
            FetchError::SourceNotAllowed { .. } => "SourceNotAllowed",
            FetchError::Unreachable { .. } => "Unreachable",
            FetchError::TlsUntrusted { .. } => "TlsUntrusted",
            FetchError::RedirectRefused { .. } => "RedirectRefused",
            FetchError::NotFound { .. } => "NotFound",
            FetchError::Unauthorized { .. } => "Unauthorized",
            FetchError::CredentialsRefused { .. } => "CredentialsRefused",
            FetchError::TokenServerRefused { .. } => "TokenServerRefused",
            FetchError::NotInArtefact { .. } => "NotInArtefact",
            FetchError::ServerError { .. } => "ServerError",
            FetchError::InvalidResponse { .. } => "InvalidResponse",
            FetchError::Truncated { .. } => "Truncated",
            FetchError::TooSlow { .. } => "TooSlow",
            FetchError::SizeMismatch { .. } => "SizeMismatch",
            FetchError::TooLarge { .. } => "TooLarge",
            FetchError::DocumentTooLarge { .. } => "DocumentTooLarge",
            FetchError::DigestMismatch { .. } => "DigestMismatch",
            FetchError::QuotaExceeded { .. } => "QuotaExceeded",
            FetchError::DiskFull { .. } => "DiskFull",
            FetchError::Storage { .. } => "StorageFailed",
        }
    }

    /// Whether somebody has to change something (the image, its server, the
    /// configuration) before another fetch can succeed. Even then a slow
    /// retry is right, because nobody tells the store that it was changed.
    pub fn is_permanent(&self) -> bool {
        match self {
            FetchError::NoSource { .. }
            | FetchError::SourceInvalid { .. }
            | FetchError::SourceNotAllowed { .. }
            | FetchError::TlsUntrusted { .. }
            | FetchError::RedirectRefused { .. }
            | FetchError::NotFound { .. }
            | FetchError::Unauthorized { .. }
            | FetchError::CredentialsRefused { .. }
            | FetchError::TokenServerRefused { .. }
            | FetchError::NotInArtefact { .. }
            | FetchError::SizeMismatch { .. }
            | FetchError::TooLarge { .. }
            | FetchError::DocumentTooLarge { .. }
            | FetchError::DigestMismatch { .. } => true,
            FetchError::QuotaExceeded { needed, quota, .. } => needed > quota,
            FetchError::Unreachable { .. }
            | FetchError::ServerError { .. }
            | FetchError::InvalidResponse { .. }
            | FetchError::Truncated { .. }
            | FetchError::TooSlow { .. }
            | FetchError::DiskFull { .. }
            | FetchError::Storage { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            FetchError::NoSource { .. } => "name at least one http, https or oci URL as a source",
            FetchError::SourceInvalid { .. } => {
                "use an http or https URL, or oci://REGISTRY/REPOSITORY with :TAG or @sha256:DIGEST, without a user name or password"
            }
            FetchError::SourceNotAllowed { .. } => {
                "use a source in an allowed network, or add its network to the site agent's configuration"
            }
            FetchError::Unreachable { .. } => {
                "check name, port, routing and firewall between the site agent and the image server"
            }
            FetchError::TlsUntrusted { .. } => {
                "give the site agent the CA certificate of the image server, or renew the server's certificate"
            }
            FetchError::RedirectRefused { .. } => {
                "name the final URL as the source, or use a registry that serves its layers itself, so that the image comes from the host that was approved"
            }
            FetchError::NotFound { .. } => "upload the image there, or correct the source URL",
            FetchError::Unauthorized { .. } => {
                "have pullSecretRef name a Secret with an account for this very host and port (a new image object, if it names none), and use an https or oci source: over http none is shown"
            }
            FetchError::CredentialsRefused { .. } => {
                "correct user name and password in the Secret, or let that account read the image"
            }
            FetchError::TokenServerRefused { .. } => {
                "add an account for the token server's host to the Secret, or have the registry name a token server that serves https"
            }
            FetchError::NotInArtefact { .. } => {
                "push the artefact whose layer is the image, uncompressed; or make a new image object with the digest of the layer that is meant"
            }
            FetchError::ServerError { .. } => "look into the image server's log",
            FetchError::InvalidResponse { .. } => {
                "check that the source is a plain file server or a registry, not a login page or a broken proxy"
            }
            FetchError::Truncated { .. } => {
                "check the image server and the network; the download continues where it stopped"
            }
            FetchError::TooSlow { .. } => {
                "check the image server's load and the network; the download continues where it stopped"
            }
            FetchError::SizeMismatch { .. } => {
                "upload the complete image, or correct the size in the image's description"
            }
            FetchError::TooLarge { .. } => "use a smaller image, or raise the store's size limit",
            FetchError::DocumentTooLarge { .. } => {
                "check that the URL leads to the signature and not to something else"
            }
            FetchError::DigestMismatch { .. } => {
                "find out which is right: upload the image that was approved, or approve the new digest in a new image object"
            }
            FetchError::QuotaExceeded { .. } => {
                "raise the store's quota (store.quotaBytes) and its volume above what is wanted, or have policies and cards name fewer images; what only installations need goes when they end"
            }
            FetchError::DiskFull { .. } => {
                "free space on, or enlarge, the image store's volume, or want fewer images"
            }
            FetchError::Storage { .. } => "check the image store's volume and its permissions",
        }
    }

    /// Whether it is about this machine, so that no other source can help.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            FetchError::QuotaExceeded { .. }
                | FetchError::DiskFull { .. }
                | FetchError::Storage { .. }
        )
    }
}

/// Why a card got no capability for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GrantError {
    #[error("image {digest} is not in the store")]
    NotStored { digest: Digest },
    #[error("image {digest} was damaged on disk (it now has digest {actual}) and has been removed")]
    Damaged { digest: Digest, actual: Digest },
    #[error("image {digest} has no seed slot")]
    NoSeedSlot { digest: Digest },
    #[error("image {digest} has more than one seed slot (at bytes {first} and {second})")]
    SeedSlotAmbiguous {
        digest: Digest,
        first: u64,
        second: u64,
    },
    #[error(
        "seed of {seed} bytes does not fit the {slot} bytes of the seed slot of image {digest}"
    )]
    SeedTooLarge {
        digest: Digest,
        seed: u64,
        slot: u64,
    },
    #[error("image {digest} has no file slot {slot}{}", which_has(slots))]
    NoFileSlot {
        digest: Digest,
        slot: String,
        slots: Vec<String>,
    },
    #[error("image {digest} has more than one file slot {slot} (at bytes {first} and {second})")]
    FileSlotAmbiguous {
        digest: Digest,
        slot: String,
        first: u64,
        second: u64,
    },
    #[error(
        "file of {bytes} bytes does not fit the {len} bytes of file slot {slot} of image {digest}"
    )]
    FileTooLarge {
        digest: Digest,
        slot: String,
        bytes: u64,
        len: u64,
    },
    #[error("image store failed at {path}: {reason}")]
    Storage { path: PathBuf, reason: String },
}

fn which_has(slots: &[String]) -> String {
    if slots.is_empty() {
        return ", nor any other".to_owned();
    }
    format!("; it has {}", slots.join(", "))
}

impl GrantError {
    /// A bounded word for a condition's reason.
    pub fn category(&self) -> &'static str {
        match self {
            GrantError::NotStored { .. } => "ImageNotStored",
            GrantError::Damaged { .. } => "ImageDamaged",
            GrantError::NoSeedSlot { .. } => "NoSeedSlot",
            GrantError::SeedSlotAmbiguous { .. } => "SeedSlotAmbiguous",
            GrantError::SeedTooLarge { .. } => "SeedTooLarge",
            GrantError::NoFileSlot { .. } => "SlotMissing",
            GrantError::FileSlotAmbiguous { .. } => "SlotAmbiguous",
            GrantError::FileTooLarge { .. } => "FileTooLarge",
            GrantError::Storage { .. } => "StorageFailed",
        }
    }

    /// Whether somebody has to change the image or the seed first.
    pub fn is_permanent(&self) -> bool {
        match self {
            GrantError::NoSeedSlot { .. }
            | GrantError::SeedSlotAmbiguous { .. }
            | GrantError::SeedTooLarge { .. }
            | GrantError::NoFileSlot { .. }
            | GrantError::FileSlotAmbiguous { .. }
            | GrantError::FileTooLarge { .. } => true,
            GrantError::NotStored { .. }
            | GrantError::Damaged { .. }
            | GrantError::Storage { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            GrantError::NotStored { .. } => "fetch the image first",
            GrantError::Damaged { .. } => {
                "it is fetched again by itself; if this repeats, check the image store's volume"
            }
            GrantError::NoSeedSlot { .. } => {
                "build the image with a seed slot, or install it without a seed"
            }
            GrantError::SeedSlotAmbiguous { .. } => "build the image with exactly one seed slot",
            GrantError::SeedTooLarge { .. } => "build the image with a larger seed slot",
            GrantError::NoFileSlot { .. } => {
                "build the image with a file slot of that name, or correct files in the DpuImage"
            }
            GrantError::FileSlotAmbiguous { .. } => {
                "build the image with exactly one file slot of each name"
            }
            GrantError::FileTooLarge { .. } => {
                "build the image with a larger file slot, or make the file shorter"
            }
            GrantError::Storage { .. } => "check the image store's volume and its permissions",
        }
    }
}

impl From<DiskError> for OpenError {
    fn from(DiskError { path, error }: DiskError) -> Self {
        OpenError::Storage {
            path,
            reason: error.to_string(),
        }
    }
}

impl From<DiskError> for FetchError {
    fn from(DiskError { path, error }: DiskError) -> Self {
        let reason = error.to_string();
        if matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        ) {
            FetchError::DiskFull { path, reason }
        } else {
            FetchError::Storage { path, reason }
        }
    }
}

impl From<DiskError> for GrantError {
    fn from(DiskError { path, error }: DiskError) -> Self {
        GrantError::Storage {
            path,
            reason: error.to_string(),
        }
    }
}
