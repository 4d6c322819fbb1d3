//! What one VM is made of, and its libvirt definition.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::boot_network::BootNetwork;
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

/// What a VM's hypervisor tells its firmware to boot.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Boot<'a> {
    /// The disk, or what the BMC puts before it.
    FromDisk,
    /// The same, and it has an interface to boot from.
    FromNetwork(&'a BootNetwork),
    /// Nothing: what the firmware boots stands in its own variables.
    ByVariables,
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
    boot: Boot<'_>,
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
    let network = match boot {
        Boot::FromNetwork(network) => Some(network),
        Boot::FromDisk | Boot::ByVariables => None,
    };
    // Without any order libvirt would put the disk first. The VM has no floppy.
    let (of_all, of_disk) = match boot {
        Boot::FromDisk | Boot::FromNetwork(_) => ("", "      <boot order='1'/>\n"),
        Boot::ByVariables => ("    <boot dev='fd'/>\n", ""),
    };
    let pxe = if network.is_some() { "y" } else { "n" };
    // The BMC lets the firmware try the interfaces in this order; the system of the VM numbers them
    // by their places, and takes the other first.
    let boot_interface = network.map_or_else(String::new, boot_interface);
    let first = if network.is_some() { FIRST_PLACE } else { "" };
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
    <entry name='opt/org.tianocore/IPv4PXESupport'>{pxe}</entry>
    <entry name='opt/org.tianocore/IPv6PXESupport'>n</entry>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>{FIRMWARE}</loader>
    <nvram template='{VARIABLES}'>{nvram}</nvram>
{of_all}    <smbios mode='sysinfo'/>
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
{of_disk}    </disk>
    <controller type='sata' index='0'/>
{boot_interface}    <interface type='user'>
      <mac address='{mac}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
{first}    </interface>
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

/// A place on the root bus, where the system of the VM looks first.
const FIRST_PLACE: &str =
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x10' function='0x0'/>\n";

fn boot_interface(network: &BootNetwork) -> String {
    format!(
        "    <interface type='ethernet'>
      <mac address='{}'/>
      <target dev='{}' managed='no'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>\n",
        network.mac(),
        network.interface()
    )
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
    fn firmware_tries_the_boot_network_first_and_the_system_the_other() {
        let spec = MachineSpec::card("card1");
        let folder = Path::new("/a");
        let network = BootNetwork::of(folder, "card1").unwrap();
        let of =
            |boot: Boot<'_>| definition(&spec, folder, &Nvram::of(folder), folder, boot).unwrap();
        let (with, without) = (of(Boot::FromNetwork(&network)), of(Boot::FromDisk));
        assert!(without.contains("IPv4PXESupport'>n<") && !without.contains("ethernet"));
        assert!(with.contains("IPv4PXESupport'>y<"));
        let (boots, user) = with.split_once("type='user'").unwrap();
        assert!(boots.contains(network.mac()) && boots.contains(network.interface()));
        assert!(user.contains("bus='0x00' slot='0x10'"));
        let by_variables = of(Boot::ByVariables);
        assert!(without.contains("<boot order='1'/>") && !by_variables.contains("<boot order"));
    }

    #[test]
    fn paths_are_escaped() {
        let path = escaped(Path::new("/a'b<&")).unwrap();
        assert_eq!(path, "/a&#39;b&#60;&#38;");
    }
}
