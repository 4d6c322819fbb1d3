//! The machines of a scenario: VMs, BMCs without machines, or a simulated fleet.

use std::sync::Arc;

use anyhow::{Result, bail};
use lockstep_lab::front::Front;
use lockstep_lab::{FakeBmcs, Lab};
use lockstep_xpusim::{Fleet, Server};

/// The machines of a scenario.
pub enum Machines {
    /// VMs with firmware and TPM.
    Vms(Lab),
    /// BMCs without machines.
    Fake(FakeBmcs),
    /// Simulated machines and their BMCs.
    Simulated(Simulated),
    /// None: the scenario brings its own, or tells what agents would.
    Nothing,
}

/// A simulated fleet on the network.
pub struct Simulated {
    /// The machines.
    pub fleet: Arc<Fleet>,
    /// Their BMCs.
    pub server: Server,
}

impl Machines {
    /// The BMC of a machine.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn bmc(&self, name: &str) -> Result<&Front> {
        match self {
            Self::Vms(lab) => lab.bmc(name),
            Self::Fake(fake) => fake.bmc(name),
            Self::Simulated(_) => bail!("{name} is simulated: ask its fleet"),
            Self::Nothing => bail!("this scenario has no BMC {name}"),
        }
    }

    /// The VMs.
    ///
    /// # Errors
    /// When there are none.
    pub fn lab(&self) -> Result<&Lab> {
        match self {
            Self::Vms(lab) => Ok(lab),
            Self::Fake(_) | Self::Simulated(_) | Self::Nothing => {
                bail!("this scenario has no VMs")
            }
        }
    }

    /// Kills the Redfish emulator.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_emulator(&mut self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.kill_emulator().await,
            Self::Fake(fake) => fake.kill_emulator().await,
            Self::Simulated(_) | Self::Nothing => bail!("this scenario has no emulator"),
        }
    }

    /// Starts the Redfish emulator again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart_emulator(&mut self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.restart_emulator().await,
            Self::Fake(fake) => fake.restart_emulator().await,
            Self::Simulated(_) | Self::Nothing => bail!("this scenario has no emulator"),
        }
    }

    pub(super) fn down(self) -> Result<()> {
        match self {
            Self::Vms(lab) => lab.down(),
            Self::Fake(fake) => fake.down(),
            Self::Simulated(_) | Self::Nothing => Ok(()),
        }
    }
}

/// Which kind of machines a scenario wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VMs.
    Vms,
    /// Emulated BMCs only.
    Fake,
    /// Neither.
    Nothing,
}
