//! Content-addressed image store: fetch with resume, verify, keep, serve.
//!
//! Images come from file servers and from OCI registries; both are asked with an account where
//! one is given for them.
//!
//! An image enters the store only after its sha256 has been checked over the
//! whole file, and is checked again before its first use in every process.
//! Fetches survive crashes: what was received is kept with the validator of
//! its source and continued. BMCs get an image through a capability that
//! cannot be guessed, one for each card and image, in which a card's own seed
//! and files can lie over the image's slots.
//!
//! The folder belongs to one process at a time. The process must have a
//! rustls crypto provider installed before [`Store::open`].

mod access;
mod accounts;
mod artefact;
mod catalogue;
mod challenge;
mod client;
mod config;
mod cosign;
mod digest;
mod disk;
mod document;
mod error;
mod fetch;
mod grants;
mod inner;
mod medium;
mod partial;
mod pins;
mod range;
mod recovery;
mod serve;
mod sight;
mod slots;
mod source;
mod store;
mod transfer;

pub use accounts::{Accounts, AccountsError};
pub use config::{FetchLimits, SourcePolicy, StoreConfig};
pub use cosign::{Cosigned, SignatureDocument};
pub use digest::{Digest, DigestError};
pub use error::{Demand, FetchError, GrantError, OpenError};
pub use fetch::{Fetch, FetchPhase, ImageRequest, Progress};
pub use grants::{Grant, GrantInfo, GrantStats};
pub use medium::{Medium, MediumError, Own};
pub use pins::Pin;
pub use serve::GrantedImage;
pub use sight::{Answered, Sight};
pub use slots::{FileSlot, SeedSlot};
pub use source::{Artefact, ImageSource, Place};
pub use store::{BlobInfo, Store, StoreStatus};
