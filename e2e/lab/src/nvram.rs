//! The UEFI variables of a VM, changed from outside while it is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run;
use crate::requirements::python_environment;

/// What a VM's variables are before its first boot.
pub(crate) const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const TOOL: &str = "virt-firmware-26.10";
const PINS: &str = include_str!("../assets/virt-firmware.txt");

/// The boot option that the tool makes of a URL comes first, after what the firmware puts before it.
const ORDER: &str = r#"{"version": 2, "variables": [{
    "name": "BootOrder", "guid": "8be4df61-93ca-11d2-aa0d-00e098032b8c", "attr": 7, "data": "9900"
}]}"#;

/// A file of UEFI variables.
#[derive(Debug, Clone)]
pub(crate) struct Nvram(PathBuf);

impl Nvram {
    /// Where a machine of this folder has them.
    pub(crate) fn of(machine: &Path) -> Self {
        Self(machine.join("nvram.fd"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The next boot, and no other, is of what this URL gives. Blocking.
    pub(crate) fn boot_once_from(&self, url: &str) -> Result<()> {
        self.change(&["--set-boot-uri", url])
    }

    /// The next boot is of what this URL gives, and so is each that finds nothing on the disk, for
    /// the hypervisor puts that first. Blocking.
    pub(crate) fn boot_always_from(&self, url: &str) -> Result<()> {
        let order = self.0.with_extension("order.json");
        fs::write(&order, ORDER).with_context(|| format!("cannot write {}", order.display()))?;
        let order = order.to_str().context("the state folder is not UTF-8")?;
        self.change(&["--set-boot-uri", url, "--set-json", order])
    }

    /// The next boot is of what comes first in the boot order, which leads to no URL. Blocking.
    pub(crate) fn boot_in_order(&self) -> Result<()> {
        self.change(&["--delete", "BootNext", "--delete", "Boot0099"])
    }

    fn change(&self, how: &[&str]) -> Result<()> {
        if !self.0.exists() {
            fs::copy(VARIABLES, &self.0)
                .with_context(|| format!("cannot copy {VARIABLES} to {}", self.0.display()))?;
        }
        let tool = python_environment(TOOL, PINS)?.join("bin/virt-fw-vars");
        run(Command::new(tool).arg("--inplace").arg(&self.0).args(how))?;
        Ok(())
    }
}
