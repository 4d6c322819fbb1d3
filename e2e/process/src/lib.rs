//! Long-running programs of the end-to-end tests: start, watch, stop, and never the wrong one.
//!
//! Every program runs in its own process group, writes to its own log file and is
//! recorded in `<state>/pids`, so that a later process can stop it. A program bound to
//! this process is killed by the kernel when this process ends, however it ends.

mod daemon;
mod identity;
mod keeper;
mod record;

pub use daemon::{Daemon, Lifetime, Program};
pub use identity::Identity;
pub use record::{Record, recorded, stop_recorded};
