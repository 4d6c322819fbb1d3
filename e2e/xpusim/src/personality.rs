//! What differs between vendors, as data: one small file for each.
//!
//! Only what public sources say (`reference/hardware.md`) is modelled; each
//! file says what is an assumption. A newcomer adds a vendor with one file and
//! one line in [`ALL`].

mod bluefield;
mod generic;
mod hosts;
mod intel;

use crate::reset::ResetType;
use crate::stage::Stage;
use std::time::Duration;

/// How long a root of trust copies new firmware of its BMC to its second slot, where there is one.
pub const BACKGROUND_COPY: Duration = Duration::from_secs(400);

/// Every personality.
pub static ALL: &[&Personality] = &[
    &generic::DPU,
    &bluefield::BLUEFIELD_2,
    &bluefield::BLUEFIELD_3,
    &bluefield::BLUEFIELD_4,
    &intel::E2100,
    &generic::HOST,
    &hosts::DELL,
    &hosts::HPE,
    &hosts::LENOVO,
    &hosts::SUPERMICRO,
];

/// The personality of that name.
pub fn find(name: &str) -> Option<&'static Personality> {
    ALL.iter().copied().find(|one| one.name == name)
}

/// A card or a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A DPU or IPU with a BMC of its own.
    Card,
    /// A server.
    Host,
}

/// A vendor's machine and BMC.
#[derive(Debug)]
pub struct Personality {
    /// Name in fleet files.
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    /// Card or host.
    pub role: Role,
    /// What the service root says.
    pub root: Root,
    /// How its resources are called.
    pub ids: Ids,
    /// What it is made of.
    pub hardware: Hardware,
    /// How it can be reset.
    pub reset: Resets,
    /// How it boots.
    pub boot: Boot,
    /// Virtual media; absent where the vendor has none.
    pub media: Option<Media>,
    /// Updates.
    pub update: Update,
    /// Accounts and sessions.
    pub access: Access,
    /// Parts of the tree that not everybody has.
    pub offers: Offers,
}

/// The service root.
#[derive(Debug)]
pub struct Root {
    /// `Name`.
    pub name: &'static str,
    /// `Vendor`.
    pub vendor: Option<&'static str>,
    /// `Product`.
    pub product: Option<&'static str>,
    /// `RedfishVersion`.
    pub version: &'static str,
    /// Where its HTTPS usually listens.
    pub port: u16,
}

/// How resources are called.
#[derive(Debug)]
pub struct Ids {
    /// The ComputerSystem.
    pub system: &'static str,
    /// The Manager.
    pub manager: &'static str,
    /// Chassis and their types; the first holds the machine.
    pub chassis: &'static [(&'static str, &'static str)],
    /// The settings of the Bios, below it.
    pub bios_settings: &'static str,
}

/// What a machine is made of.
#[derive(Debug)]
pub struct Hardware {
    /// `ComputerSystem.SystemType`.
    pub system_type: &'static str,
    /// `Manufacturer`.
    pub manufacturer: &'static str,
    /// `Model`.
    pub model: &'static str,
    /// `PartNumber`.
    pub part_number: &'static str,
    /// `SKU`.
    pub sku: &'static str,
    /// How its serial numbers begin.
    pub serial_prefix: &'static str,
    /// `ProcessorArchitecture` and `InstructionSet`.
    pub architecture: (&'static str, &'static str),
    /// Model of the processor.
    pub processor: &'static str,
    /// Cores in all.
    pub cores: u32,
    /// Memory in GiB, and the modules it is made of.
    pub memory: (u32, u32),
    /// Disks: id, media type, protocol, bytes.
    pub disks: &'static [(&'static str, &'static str, &'static str, u64)],
    /// Network ports and their speed in Gbit/s.
    pub ports: &'static [(&'static str, u32)],
    /// PCI vendor and device id of the network function.
    pub pci: (u16, u16),
    /// The device id that it shows when its firmware is broken.
    pub recovery_pci: Option<u16>,
}

/// How reset types are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// `ResetType@Redfish.AllowableValues` in the action.
    Inline,
    /// A linked ActionInfo.
    ActionInfo,
}

/// How a machine can be reset.
#[derive(Debug)]
pub struct Resets {
    /// What `ComputerSystem.Reset` takes.
    pub types: &'static [ResetType],
    /// How it says so.
    pub listing: Listing,
    /// `PowerCycle` waits until no host of the card is on (BlueField: ALL_STANDBY).
    pub cycle_waits_for_hosts: bool,
    /// An orderly shutdown ends in standby (`Paused`), never in `Off`.
    pub shutdown_pauses: bool,
    /// `ForceRestart` of a machine that is off turns it on instead of failing.
    pub restart_turns_on: bool,
    /// Resets that take the PCIe link down, besides a loss of power.
    pub link_drops_on: &'static [ResetType],
    /// What `Manager.Reset` takes.
    pub manager_types: &'static [&'static str],
    /// A restart of the BMC takes the whole card with it (Intel's IMC).
    pub manager_takes_machine: bool,
    /// Seconds until the BMC answers again.
    pub manager_seconds: u64,
    /// Seconds that an orderly shutdown takes.
    pub shutdown_seconds: u64,
    /// Seconds that a power cycle stays off.
    pub off_seconds: u64,
}

/// How boot progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not at all.
    Hidden,
    /// `LastState`.
    Standard,
    /// `LastState` and BlueField's `OemLastState`.
    Bluefield,
}

/// How a machine boots.
#[derive(Debug)]
pub struct Boot {
    /// The stages in order, with the seconds spent in each; the last one stays.
    pub stages: &'static [(Stage, u64)],
    /// How they are shown.
    pub progress: Progress,
    /// `BootSourceOverrideTarget@Redfish.AllowableValues`.
    pub targets: &'static [&'static str],
    /// The only targets that `Once` may be used with, where that is limited.
    pub once_only: Option<&'static [&'static str]>,
    /// The override is set in a settings object and lands at the next boot.
    pub settings_object: bool,
    /// Inserted media come before the disk in the default order.
    pub media_first: bool,
    /// Seconds that an installer from an image needs.
    pub install_seconds: u64,
    /// Whether `PowerRestorePolicy` is there.
    pub restore_policy: bool,
}

/// Where virtual media live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaPlace {
    /// Below the ComputerSystem.
    System,
    /// Below the Manager.
    Manager,
}

/// Virtual media.
#[derive(Debug)]
pub struct Media {
    /// Where.
    pub place: MediaPlace,
    /// Slots and their media types.
    pub slots: &'static [(&'static str, &'static [&'static str])],
    /// Parameters of `InsertMedia` that have allowable values.
    pub parameters: &'static [(&'static str, &'static [&'static str])],
    /// Eject is offered only while something is inserted.
    pub eject_only_when_inserted: bool,
    /// Insertion is a task of that many seconds.
    pub task_seconds: Option<u64>,
}

/// When a new firmware version begins to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// When the task ends.
    AtOnce,
    /// At the next boot of the machine.
    Boot,
    /// When its power has been off.
    PowerCycle,
    /// When the BMC restarts, which it does by itself.
    Manager,
}

/// One firmware inventory item.
#[derive(Debug)]
pub struct Firmware {
    /// Id.
    pub id: &'static str,
    /// Version at the beginning.
    pub version: &'static str,
    /// When a new version runs.
    pub activation: Activation,
    /// Whether writing it takes the machine down, in stage 7, and boots it again.
    pub installs_os: bool,
}

/// Updates.
#[derive(Debug)]
pub struct Update {
    /// `TransferProtocol` values of SimpleUpdate.
    pub protocols: &'static [&'static str],
    /// Where multipart pushes go.
    pub multipart: Option<&'static str>,
    /// `MaxImageSizeBytes`.
    pub most_bytes: Option<u64>,
    /// The reset that a task names when it has ended.
    pub names_reset: Option<&'static str>,
    /// Firmware inventory.
    pub firmware: &'static [Firmware],
    /// Whether the inventory is shown.
    pub inventory: bool,
    /// Seconds that an update takes.
    pub seconds: u64,
    /// One update at a time; a second is refused.
    pub one_at_a_time: bool,
}

/// How account resources are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountIds {
    /// By user name.
    Name,
    /// By slot; the first that can be used.
    Slot(u32),
}

/// Accounts and sessions.
#[derive(Debug)]
pub struct Access {
    /// The account that is there from the factory.
    pub user: &'static str,
    /// Its password, if it must be changed before anything else works.
    pub factory_password: Option<&'static str>,
    /// Further accounts that are there and must stay.
    pub other_users: &'static [&'static str],
    /// How accounts are called.
    pub ids: AccountIds,
    /// Whether `AccountTypes` is shown.
    pub account_types: bool,
    /// Shortest and longest password.
    pub password_length: (u32, u32),
    /// Wrong tries until a lockout, and its seconds.
    pub lockout: Option<(u32, u64)>,
    /// Seconds without a request after which a session ends.
    pub session_timeout: u64,
    /// Most sessions at a time.
    pub most_sessions: usize,
}

/// Parts of the tree that not everybody has.
#[derive(Debug)]
pub struct Offers {
    /// Chassis.
    pub chassis: bool,
    /// Log services.
    pub logs: bool,
    /// ETags on resources.
    pub etags: bool,
    /// SecureBoot.
    pub secure_boot: bool,
    /// Bios, with its attributes at the beginning.
    pub bios: Option<&'static [(&'static str, &'static str)]>,
    /// ComponentIntegrity: the roots of trust.
    pub integrity: &'static [&'static str],
    /// BlueField's way to choose between DPU and NIC mode, and to reset the SoC.
    pub bluefield: bool,
    /// LastResetTime moves (on BlueField it does not).
    pub last_reset_time: bool,
    /// The chassis of a root of trust that copies new firmware of the BMC to its second slot.
    pub copies_in: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, one) in ALL.iter().enumerate() {
            assert!(std::ptr::eq(find(one.name).unwrap(), *one), "{index}");
        }
    }

    #[test]
    fn every_personality_boots_and_can_be_reset() {
        for one in ALL {
            let (last, seconds) = one.boot.stages.last().unwrap();
            assert_eq!((*last, *seconds), (Stage::OsRunning, 0), "{}", one.name);
            assert!(!one.reset.types.is_empty(), "{}", one.name);
            assert!(!one.ids.chassis.is_empty() || !one.offers.chassis);
        }
    }
}
