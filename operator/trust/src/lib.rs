//! Whether an image is signed by whom a policy trusts, pure: no I/O, no clock, no randomness.
//!
//! In go what the policy asks, what the `DpuImage` says, and the envelopes, manifests and
//! signatures as the site's agent passed them on; out comes an [`Appraisal`]. Nobody on the way
//! from the signer to here is believed: an envelope counts if a key of the policy verifies it and
//! if it names the digest of the very image, or of the manifest that lists it. Signatures are verified before anything in the payload is read.

mod appraisal;
mod artefact;
mod cosign;
mod dsse;
mod json;
mod named;
mod purpose;
mod refusal;
mod signer;
mod statement;

pub use appraisal::{Appraisal, Trust, appraise};
pub use artefact::{Artefact, LONGEST_MANIFEST};
pub use cosign::{SIGN_PREDICATE_TYPE, SIMPLE_TYPE, confirmed};
pub use dsse::{Envelope, LONGEST_ENVELOPE, MOST_SIGNATURES, pae};
pub use purpose::Purpose;
pub use refusal::Refusal;
pub use signer::{KeyError, Signer, Signers};
pub use statement::{PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, Statement};
