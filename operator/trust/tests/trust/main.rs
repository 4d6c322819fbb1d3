//! Signed images, as an operator judges them: what openssl made, what we sign, and what is bent.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a failing test says where"
)]

mod appraisals;
mod cosign;
mod envelopes;
mod properties;
mod purity;
mod signing;
