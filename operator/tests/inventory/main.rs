//! What a pass over a namespace writes and what it does not, against the compare-and-swap of an
//! API server.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod approving;
mod gone;
mod proposing;
mod refusing;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod telling;
mod waiting;
