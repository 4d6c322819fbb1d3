//! Real machines for end-to-end tests: UEFI VMs with a TPM, each behind a Redfish BMC that is not
//! ours (sushy-tools over libvirt).
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use lockstep_lab::{Lab, LabSpec, MachineSpec};
//! let spec = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
//! let lab = Lab::up("/var/tmp/lab".as_ref(), spec).await?;
//! println!("{}", lab.bmc_url("card1")?);
//! # lab.down() }
//! ```
//!
//! Nothing here judges the product by what it says of itself: the witnesses are serial consoles
//! ([`Console`]), what each BMC was asked ([`front::Request`]) and the processes of the VMs.

mod boot_network;
mod built_module;
pub mod cache;
mod command;
mod console;
mod coupling;
mod deadline;
mod domain;
mod emulator;
pub mod front;
mod guest;
mod held;
mod hypervisor;
pub mod image;
mod lab;
mod nvram;
pub mod payload;
pub mod requirements;
mod variables;

pub use boot_network::BootNetwork;
pub use built_module::BuiltModule;
pub use console::{Console, Line};
pub use domain::{Disk, MachineSpec, SlotPower};
pub use emulator::Credentials;
pub use guest::{Guest, GuestSpec};
pub use held::Held;
pub use lab::{FakeBmcs, Lab, LabSpec, Machine};
