//! PCI as the kernel shows it in sysfs, and the cards in it that are xPUs.
//!
//! [`functions`] lists what is there, [`cards`] groups the functions of each xPU and reads what
//! tells it apart: vital product data, device serial number, slot, and who handles its errors.
//! Virtual functions are counted at their physical function; those of cards are named as well,
//! as far as there is room. Nothing is written:
//! no reset, no rescan, no driver is touched.

mod address;
mod card;
mod config;
mod counters;
mod error_handling;
mod function;
mod hest;
mod models;
mod named;

pub use address::{Address, AddressError, Id};
pub use card::{Card, Health, cards};
pub use config::{ConfigError, ConfigSpace, parse as parse_config};
pub use counters::{Counters, ErrorCounters, RootPortErrors, parse as parse_counters};
pub use error_handling::{ErrorHandler, ErrorHandling, error_handling};
pub use function::{DEVICES, Function, Functions, Link, Sriov, Subsystem, Unread, functions};
pub use hest::{Hest, HestError, parse as parse_hest};
pub use models::{MODELS, Model, Role, model};
pub use named::{FunctionName, MOST_NAMED, Named, NamedFunction, Part};

#[cfg(test)]
mod tests;
