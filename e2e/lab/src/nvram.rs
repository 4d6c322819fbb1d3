//! The UEFI variables of a VM, changed from outside while it is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::run;
use crate::image::disk::utf16;
use crate::requirements::python_environment;
use crate::variables::BootVariables;

/// What a VM's variables are before its first boot.
pub(crate) const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const TOOL: &str = "virt-firmware-26.10";
const PINS: &str = include_str!("../assets/virt-firmware.txt");

/// The boot option that the tool makes of a URL comes first, after what the firmware puts before it.
const ORDER: &str = r#"{"version": 2, "variables": [{
    "name": "BootOrder", "guid": "8be4df61-93ca-11d2-aa0d-00e098032b8c", "attr": 7, "data": "9900"
}]}"#;

/// The number of the entry that leads to the virtual CD.
pub(crate) const CD: u16 = 0x00cd;
/// Who owns the variables that UEFI itself names.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

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

    /// What the firmware would boot, while the VM is on too. Blocking.
    pub(crate) fn boot_variables(&self) -> Result<BootVariables> {
        self.make()?;
        let store =
            fs::read(&self.0).with_context(|| format!("cannot read {}", self.0.display()))?;
        BootVariables::read(&store)
    }

    /// The same in the words of a tool that is not ours. Blocking.
    pub(crate) fn printed(&self) -> Result<String> {
        run(Command::new(tool()?)
            .arg("--input")
            .arg(&self.0)
            .arg("--print"))
    }

    /// The next boot, and no other, is of this entry. Blocking.
    pub(crate) fn boot_once(&self, entry: u16) -> Result<()> {
        let mut variables = vec![global("BootNext", &entry.to_le_bytes())];
        if entry == CD {
            variables.push(global("Boot00CD", &cd_option()));
        }
        self.set(&variables)
    }

    /// The next boot is as the boot order says. Blocking.
    pub(crate) fn forget_next(&self) -> Result<()> {
        self.change(&["--delete", "BootNext"])
    }

    /// Boots are of these entries, the first that starts. Blocking.
    pub(crate) fn set_order(&self, order: &[u16]) -> Result<()> {
        let data: Vec<u8> = order.iter().flat_map(|one| one.to_le_bytes()).collect();
        self.set(&[global("BootOrder", &data)])
    }

    fn set(&self, variables: &[Value]) -> Result<()> {
        let file = self.0.with_extension("boot.json");
        let variables = json!({"version": 2, "variables": variables});
        fs::write(&file, variables.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.to_str().context("the state folder is not UTF-8")?;
        self.change(&["--set-json", file])
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
        self.make()?;
        run(Command::new(tool()?)
            .arg("--inplace")
            .arg(&self.0)
            .args(how))?;
        Ok(())
    }

    fn make(&self) -> Result<()> {
        if !self.0.exists() {
            fs::copy(VARIABLES, &self.0)
                .with_context(|| format!("cannot copy {VARIABLES} to {}", self.0.display()))?;
        }
        Ok(())
    }
}

fn tool() -> Result<PathBuf> {
    Ok(python_environment(TOOL, PINS)?.join("bin/virt-fw-vars"))
}

/// A variable that stays, and is there before and while a system runs.
fn global(name: &str, data: &[u8]) -> Value {
    json!({"name": name, "guid": GLOBAL, "attr": 7, "data": hex::encode(data)})
}

/// A load option for the medium at the first port of the SATA controller, where the emulator inserts
/// one (UEFI 2.10, sections 3.1.3 and 10.3).
fn cd_option() -> Vec<u8> {
    let mut path = vec![0x02, 0x01, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0]; // PciRoot(0)
    path.extend([0x01, 0x01, 6, 0, 0x02, 0x1f]); // Pci(1F,2)
    path.extend([0x03, 0x12, 10, 0, 0, 0, 0xff, 0xff, 0, 0]); // Sata(0,FFFF,0)
    path.extend([0x7f, 0xff, 4, 0]); // end
    let mut option = 1_u32.to_le_bytes().to_vec(); // active
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16("Virtual CD"));
    option.extend(path);
    option
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
