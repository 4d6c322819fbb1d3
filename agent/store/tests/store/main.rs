//! The store against a real HTTP server in this process that misbehaves on
//! demand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod document;
mod fetch;
mod https;
mod origin;
mod quota;
mod resume;
mod serve;
mod site;
