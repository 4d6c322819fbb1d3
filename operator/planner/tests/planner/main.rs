//! The planner against a small world: stories, properties and an exhaustive model.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a failing test says where"
)]

mod choosing;
mod model;
mod properties;
mod purity;
mod stories;
mod world;
