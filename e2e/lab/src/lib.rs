//! Virtual machines behind a Redfish BMC.

pub mod cache;
mod command;
pub mod image;
