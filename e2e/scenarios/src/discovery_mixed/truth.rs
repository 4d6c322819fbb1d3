//! What is true of one machine, and whether its report says so.

use anyhow::{Context, Result, bail, ensure};
use lockstep_crds::DpuReport;
use lockstep_crds::report::MachineRole;

/// The family of each simulated personality; hosts are of none.
pub(super) fn family_of(personality: &str) -> Result<Option<&'static str>> {
    Ok(match personality {
        "bluefield-2" => Some("BlueField-2"),
        "bluefield-3" => Some("BlueField-3"),
        "bluefield-4" => Some("BlueField-4"),
        "intel-e2100" => Some("IPU E2000"),
        "generic-dpu" | "generic-host" | "dell-host" | "hpe-host" | "lenovo-host"
        | "supermicro-host" => None,
        other => bail!("nobody said which family {other} is of"),
    })
}

/// What is true of one machine.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) role: MachineRole,
    pub(super) serial: Option<String>,
    pub(super) vendor: Option<&'static str>,
    pub(super) model: &'static str,
    pub(super) family: Option<&'static str>,
    pub(super) cores: Option<i64>,
    pub(super) memory: Option<i64>,
}

impl Truth {
    /// Whether the report says so too.
    pub(super) fn compare(&self, report: &DpuReport) -> Result<()> {
        let spec = &report.spec;
        let found = spec
            .found
            .as_ref()
            .context("nothing says how it was found")?;
        ensure!(
            found.sources == [self.source.as_str()],
            "it was found by {:?}, not by {}",
            found.sources,
            self.source
        );
        let inventory = spec.inventory.as_ref().context("no inventory")?;
        let system = inventory.system.clone().unwrap_or_default();
        // What sushy-tools shows does not tell a card from a host.
        if self.role != MachineRole::Unclear {
            ensure!(
                found.role == self.role,
                "the role is {}, not {}, by {}",
                found.role,
                self.role,
                found.recognised_by
            );
        }
        if let Some(serial) = &self.serial {
            ensure!(
                system.serial_number.as_ref() == Some(serial),
                "the serial number is {:?}, not {serial}",
                system.serial_number
            );
        }
        ensure!(
            system.model.as_deref() == Some(self.model),
            "the model is {:?}, not {}",
            system.model,
            self.model
        );
        if let Some(vendor) = self.vendor {
            ensure!(
                system.vendor.as_deref() == Some(vendor),
                "the vendor is {:?}, not {vendor}",
                system.vendor
            );
        }
        ensure!(
            system.family.as_deref() == self.family,
            "the family is {:?}, not {:?}",
            system.family,
            self.family
        );
        if let Some(cores) = self.cores {
            let told = inventory.cpu.as_ref().and_then(|cpu| cpu.cores);
            ensure!(told == Some(cores), "cores are {told:?}, not {cores}");
        }
        if let Some(memory) = self.memory {
            let told = inventory
                .memory
                .as_ref()
                .and_then(|memory| memory.total_bytes);
            ensure!(told == Some(memory), "memory is {told:?}, not {memory}");
        }
        Ok(())
    }
}
