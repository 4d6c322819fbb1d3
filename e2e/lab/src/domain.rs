//! What one VM is made of, and its libvirt definition.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command::run;
use crate::image;
use crate::nvram::{Nvram, VARIABLES};

/// Firmware code that every VM boots; also told to the BMC.
pub(crate) const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// One VM.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Name, of letters, digits and `-`.
    pub name: String,
    /// System UUID, lower case; derived from the name by [`MachineSpec::card`] and
    /// [`MachineSpec::host`].
    pub uuid: String,
    /// Serial number the system's firmware tells (SMBIOS).
    pub serial: String,
    /// MAC address of its network interface.
    pub mac: String,
    /// Memory in MiB.
    pub memory: u32,
    /// What is on its disk.
    pub disk: Disk,
    /// Where its power comes from.
    pub slot_power: SlotPower,
}

/// What a VM's disk holds when the lab comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// Nothing; size in MiB.
    Blank(u32),
    /// The host system of [`image::host_disk`].
    Host,
}

/// Where a VM's power comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotPower {
    /// Its own supply.
    Independent,
    /// The slot of the named VM: it goes off with that VM, cannot be on while that one is off,
    /// and comes on with it.
    CoupledTo(String),
}

impl MachineSpec {
    /// A card: blank disk, own power.
    pub fn card(name: &str) -> Self {
        Self::named(name, Disk::Blank(1024))
    }

    /// A host: its disk boots to `HOST-OS-UP`.
    pub fn host(name: &str) -> Self {
        Self::named(name, Disk::Host)
    }

    /// The same machine, powered from another one's slot.
    #[must_use]
    pub fn coupled_to(mut self, host: &str) -> Self {
        self.slot_power = SlotPower::CoupledTo(host.to_owned());
        self
    }

    fn named(name: &str, disk: Disk) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let hex = hex::encode(digest);
        Self {
            name: name.to_owned(),
            // Form of a random (version 4) UUID.
            uuid: format!(
                "{}-{}-4{}-8{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[13..16],
                &hex[17..20],
                &hex[20..32]
            ),
            serial: format!("LAB-{}", &hex[38..50].to_uppercase()),
            mac: format!(
                "52:54:00:{}:{}:{}",
                &hex[32..34],
                &hex[34..36],
                &hex[36..38]
            ),
            memory: 768,
            disk,
            slot_power: SlotPower::Independent,
        }
    }
}

/// Makes the VM's disk.
pub(crate) fn create_disk(disk: &Disk, path: &Path) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]);
    match disk {
        Disk::Blank(size) => run(command.arg(path).arg(format!("{size}M")))?,
        Disk::Host => {
            let base = image::host_disk()?;
            run(command.args(["-F", "raw", "-b"]).arg(&base.path).arg(path))?
        }
    };
    Ok(())
}

/// The libvirt definition. The disk's boot order is explicit, so that the BMC keeps the disk as
/// second choice when it puts a CD first.
pub(crate) fn definition(
    spec: &MachineSpec,
    disk: &Path,
    nvram: &Nvram,
    console: &Path,
) -> Result<String> {
    let disk = escaped(disk)?;
    let nvram = escaped(nvram.path())?;
    let console = escaped(console)?;
    let MachineSpec {
        name,
        uuid,
        serial,
        mac,
        memory,
        disk: _,
        slot_power: _,
    } = spec;
    Ok(format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <sysinfo type='smbios'>
    <system>
      <entry name='manufacturer'>Lockstep lab</entry>
      <entry name='product'>VM</entry>
      <entry name='serial'>{serial}</entry>
    </system>
  </sysinfo>
  <sysinfo type='fwcfg'>
    <entry name='opt/org.tianocore/IPv4PXESupport'>n</entry>
    <entry name='opt/org.tianocore/IPv6PXESupport'>n</entry>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>{FIRMWARE}</loader>
    <nvram template='{VARIABLES}'>{nvram}</nvram>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
      <boot order='1'/>
    </disk>
    <controller type='sata' index='0'/>
    <interface type='user'>
      <mac address='{mac}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='file'>
      <source path='{console}' append='on'/>
      <target port='0'/>
    </serial>
    <tpm model='tpm-crb'>
      <backend type='emulator' version='2.0'/>
    </tpm>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
    <memballoon model='none'/>
  </devices>
</domain>
"
    ))
}

fn escaped(path: &Path) -> Result<String> {
    let text = path.to_str().context("the state folder is not UTF-8")?;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if "<>&'\"".contains(character) {
            write!(escaped, "&#{};", u32::from(character))?;
        } else {
            escaped.push(character);
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_follow_from_the_name_alone() {
        let one = MachineSpec::card("card1");
        assert_eq!(one.uuid, MachineSpec::card("card1").uuid);
        assert_ne!(one.uuid, MachineSpec::card("card2").uuid);
        assert_eq!(one.uuid.len(), 36);
        assert_eq!(one.mac.len(), 17);
    }

    #[test]
    fn paths_are_escaped() {
        let path = escaped(Path::new("/a'b<&")).unwrap();
        assert_eq!(path, "/a&#39;b&#60;&#38;");
    }
}
