//! The join of inventories: stories, a rule each, and properties.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a failing test says where"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "what a story tells is written where it is told"
)]

mod approving;
mod facts;
mod fits;
mod fleet;
mod gone;
mod hosts;
mod identities;
mod moving;
mod places;
mod plugging;
mod properties;
mod proposing;
mod recorded_node;
mod replacing;
mod requirements;
mod restoring;
mod room;
mod site;
mod speaking;
mod strangers;
