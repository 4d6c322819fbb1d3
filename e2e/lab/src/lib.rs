//! Virtual machines behind a Redfish BMC.

pub mod cache;
mod command;
mod console;
mod coupling;
mod deadline;
mod domain;
mod emulator;
pub mod front;
mod hypervisor;
pub mod image;
mod lab;
mod process;
pub mod requirements;

pub use console::{Console, Line};
pub use domain::{Disk, MachineSpec, SlotPower};
pub use emulator::Credentials;
pub use lab::{FakeBmcs, Lab, LabSpec, Machine};
