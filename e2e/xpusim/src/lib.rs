//! xpusim: a stateful simulator of the BMCs of xPUs and their hosts.
//!
//! The core is pure: `domain` knows power, boot, media, tasks and slots;
//! `redfish` turns requests into answers; neither reads a clock nor a socket.
//! [`Fleet`] holds the power domains of one fleet file, [`Server`] puts them on
//! loopback addresses, and the control API breaks things from outside. What
//! was really done stands in the effect log; judge by that, not by what the
//! program under test says.

mod access;
pub mod clock;
mod control;
mod domain;
pub mod effect;
pub mod fault;
mod fleet;
mod front;
mod kept;
mod machine;
pub mod personality;
mod record;
mod redfish;
pub mod reset;
pub mod spec;
pub mod stage;

pub use control::Control;
pub use fleet::{Fleet, MachineState, RequestCounts, Strike, Unknown};
pub use front::{Listen, Server};
