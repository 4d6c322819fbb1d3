//! The store against a real HTTP server in this process that misbehaves on
//! demand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod artefacts;
mod cosign;
mod credentials;
mod document;
mod fetch;
mod files;
mod https;
mod origin;
mod quota;
mod registry;
mod resume;
mod serve;
mod site;
mod tls;
