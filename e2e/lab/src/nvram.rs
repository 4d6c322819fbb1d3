//! The UEFI variables of a VM, changed from outside while it is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

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

/// Who owns the list of authorities that the firmware's TLS trusts (EDK II, `TlsAuthentication.h`).
const TLS_CA_CERTIFICATE: &str = "fd2340d0-3dab-4349-a6c7-3b4f12b48eae";
/// `EFI_CERT_X509_GUID`, as it lies in memory (UEFI 2.10, section 32.4.1).
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];

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

    /// The firmware trusts this authority (a certificate, DER), and no other, when it fetches over
    /// HTTPS. Blocking.
    pub(crate) fn trust(&self, authority: &[u8]) -> Result<()> {
        let file = self.0.with_extension("authority.json");
        let variables = json!({"version": 2, "variables": [{
            "name": "TlsCaCertificate",
            "guid": TLS_CA_CERTIFICATE,
            // It stays, and is there until a system runs.
            "attr": 3,
            "data": hex::encode(signature_list(authority)?),
        }]});
        fs::write(&file, variables.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.to_str().context("the state folder is not UTF-8")?;
        self.change(&["--set-json", file])
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

/// `EFI_SIGNATURE_LIST` of one certificate whose owner is nobody.
fn signature_list(certificate: &[u8]) -> Result<Vec<u8>> {
    const HEAD: usize = 16 + 3 * 4;
    let signature = 16 + certificate.len();
    let mut list = X509.to_vec();
    for size in [HEAD + signature, 0, signature] {
        let size = u32::try_from(size).context("the certificate is too large")?;
        list.extend(size.to_le_bytes());
    }
    list.extend([0; 16]);
    list.extend(certificate);
    Ok(list)
}
