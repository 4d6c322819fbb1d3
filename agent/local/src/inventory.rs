//! Everything that one machine can tell of itself without a BMC, in one structure.
//!
//! It says what is there, not what to think of it; the one who reads stamps the time. It never
//! fails as a whole: each group is a fact with its source. It is bounded: where a machine (or a
//! forged tree) has more than [`MAX_JSON`] bytes to tell, lists end early and say how much they
//! leave out. Two readings of an unchanged machine are equal but for what counts (errors,
//! uptime of an rshim).
//!
//! An xPU's vital product data takes up to a second: read at the start, after hot-plug and now
//! and then, not at every look, and where blocking is allowed.

mod join;
mod listed;
mod offloads;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cpu::{self, Cpu};
use crate::disks::{self, Disk};
use crate::memory::{self, MemoryNode};
use crate::netlink::{DeviceInfo, Told};
use crate::pci::{self, Address, Card, ErrorHandling, Function, Unread};
use crate::ports::{self, Port};
use crate::rshim::{self, Rshim};
use crate::secure_boot::{self, SecureBoot};
use crate::smbios::{self, Bios, MemoryDevice, OnboardDevice, Processor, Slot, Smbios};
use crate::{Fact, Root, memory_bytes};
use crate::{product_name, product_serial, product_uuid, system_vendor};

pub use join::{MachineCard, MachineSlot};
pub use listed::Listed;
pub use offloads::{Implementation, MachinePort, Offloads};

/// The most bytes that an inventory takes as JSON.
pub const MAX_JSON: usize = 256 << 10;

/// A fact and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group<T> {
    /// The folder or file; a field may come from another one that its own text names.
    pub source: String,
    /// What it said.
    pub fact: Fact<T>,
}

/// How the machine as a whole is identified. Placeholders are not offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Who made it.
    pub manufacturer: Fact<String>,
    /// Its product name.
    pub product: Fact<String>,
    /// Its product family; only SMBIOS tells it.
    pub family: Fact<String>,
    /// Its stock keeping unit; only SMBIOS tells it.
    pub sku: Fact<String>,
    /// Its UUID in lower case.
    pub uuid: Fact<String>,
    /// Its serial number.
    pub serial: Fact<String>,
    /// The serial number of its first board: on BlueField the card's.
    pub board_serial: Fact<String>,
    /// The serial number of its first enclosure.
    pub chassis_serial: Fact<String>,
    /// The owner's label on that enclosure.
    pub asset_tag: Fact<String>,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What the kernel manages, in bytes.
    pub usable_bytes: Fact<u64>,
    /// What is built in by the firmware's account, in bytes.
    pub installed_bytes: Fact<u64>,
    /// By NUMA node.
    pub nodes: Fact<Listed<MemoryNode>>,
    /// Sockets for modules and what is in them.
    pub modules: Fact<Listed<MemoryDevice>>,
}

/// One machine's local view. Units stand in the names of fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// The machine.
    pub machine: Group<Machine>,
    /// Its firmware.
    pub firmware: Group<Bios>,
    /// Whether that firmware checks what it boots.
    pub secure_boot: Group<SecureBoot>,
    /// Its processors as the kernel runs them.
    pub cpu: Group<Cpu>,
    /// Its processor sockets as the firmware describes them.
    pub processors: Group<Listed<Processor>>,
    /// Its memory.
    pub memory: Group<Memory>,
    /// Its slots and the PCI functions in them.
    pub slots: Group<Listed<MachineSlot>>,
    /// Devices on its board.
    pub onboard: Group<Listed<OnboardDevice>>,
    /// Its xPUs.
    pub cards: Group<Listed<MachineCard>>,
    /// Its physical PCI functions, those of xPUs first.
    pub functions: Group<Listed<Function>>,
    /// PCI functions that are listed and could not be read.
    pub unread: Listed<Unread>,
    /// Who handles PCIe errors, by root port.
    pub error_handling: Group<Listed<ErrorHandling>>,
    /// How many virtual functions there are besides.
    pub virtual_functions: Fact<u32>,
    /// Its disks.
    pub disks: Group<Listed<Disk>>,
    /// Its network ports.
    pub ports: Group<Listed<MachinePort>>,
    /// What drivers say of their devices' firmware.
    pub devices: Group<Listed<DeviceInfo>>,
    /// Its rshims.
    pub rshims: Group<Listed<Rshim>>,
    /// What contradicts itself, in words.
    pub conflicts: Listed<String>,
}

impl Inventory {
    /// Reads the machine under `root`, of which the kernel `told` the rest. An rshim is waited
    /// for no longer than `rshim_patience`.
    pub fn read(root: &Root, told: &Told, rshim_patience: Duration) -> Self {
        let tables = smbios::smbios(root);
        let functions = pci::functions(root);
        let found: &[Function] = match &functions {
            Fact::Known(all) => &all.found,
            Fact::NotOffered | Fact::NotRead(_) => &[],
        };
        let cards = pci::cards(root, found);
        let ports = ports::ports(root);
        let disks = disks::disks(root);
        let rshims = rshim::rshims(root, rshim_patience);
        let mut conflicts = Vec::new();
        let machine = machine(root, &tables, &mut conflicts);
        let slots: Fact<Vec<Slot>> = from_tables(&tables, |tables| tables.slots.clone());
        let parts = join::Parts {
            functions: found,
            slots: &slots,
            ports: &ports,
            disks: &disks,
            rshims: &rshims,
            devices: &told.devices,
        };
        let cards = join::cards(cards, &parts, &mut conflicts);
        let mut inventory = Self {
            machine,
            firmware: Group {
                source: smbios::FOLDER.to_owned(),
                fact: tables
                    .as_ref()
                    .and_then(|tables| tables.bios.clone().map_or(Fact::NotOffered, Fact::Known)),
            },
            secure_boot: group("/sys/firmware/efi/efivars", secure_boot::secure_boot(root)),
            cpu: group(
                "/proc/cpuinfo, /sys/devices/system/cpu",
                Fact::Known(cpu::cpu(root)),
            ),
            processors: listed(
                smbios::FOLDER,
                from_tables(&tables, |tables| tables.processors.clone()),
            ),
            memory: group(
                "/proc/meminfo, /sys/devices/system/node, /sys/firmware/dmi/tables",
                Fact::Known(memory(root, &tables)),
            ),
            slots: listed(smbios::FOLDER, slots.map(|slots| join::slots(slots, found))),
            onboard: listed(
                smbios::FOLDER,
                from_tables(&tables, |tables| tables.onboard_devices.clone()),
            ),
            unread: match &functions {
                Fact::Known(all) => all.unread.clone().into(),
                Fact::NotOffered | Fact::NotRead(_) => Vec::new().into(),
            },
            error_handling: listed(
                "/sys/bus/pci_express",
                functions.as_ref().map(|_| error_handling(root, found)),
            ),
            virtual_functions: functions.as_ref().map(|all| all.virtual_functions),
            functions: listed(
                pci::DEVICES,
                functions
                    .as_ref()
                    .map(|all| join::cards_first(all.found.clone(), &cards)),
            ),
            // Without functions there is nothing to say of cards either.
            cards: listed(pci::DEVICES, functions.as_ref().map(|_| cards)),
            disks: listed("/sys/block", disks),
            ports: listed(
                "/sys/class/net, netlink ethtool",
                ports.map(|ports| offloads::with_offloads(ports, told)),
            ),
            devices: listed("netlink devlink", told.devices.clone()),
            rshims: listed("/dev", rshims),
            conflicts: conflicts.into(),
        };
        inventory.fit();
        inventory
    }
}

fn group<T>(source: &str, fact: Fact<T>) -> Group<T> {
    Group {
        source: source.to_owned(),
        fact,
    }
}

fn listed<T>(source: &str, fact: Fact<Vec<T>>) -> Group<Listed<T>> {
    group(source, fact.map(Listed::from))
}

/// What the tables list; a machine whose tables do not have that list does not offer it.
fn from_tables<T>(tables: &Fact<Smbios>, list: impl FnOnce(&Smbios) -> Vec<T>) -> Fact<Vec<T>> {
    tables.as_ref().and_then(|tables| {
        let list = list(tables);
        if list.is_empty() {
            Fact::NotOffered
        } else {
            Fact::Known(list)
        }
    })
}

/// Of every port on a root bus that has something below it.
fn error_handling(root: &Root, functions: &[Function]) -> Vec<ErrorHandling> {
    let ports: BTreeSet<Address> = functions
        .iter()
        .filter_map(|function| function.above.first().copied())
        .collect();
    ports
        .into_iter()
        .map(|port| pci::error_handling(root, &[port]))
        .collect()
}

/// From the tables themselves, field by field else from the kernel's DMI folder: the tables are
/// for root only, some of the folder is for everybody.
fn machine(root: &Root, tables: &Fact<Smbios>, conflicts: &mut Vec<String>) -> Group<Machine> {
    type Pick = fn(&Smbios) -> Option<&String>;
    let told = |pick: Pick| {
        tables
            .as_ref()
            .and_then(|tables| pick(tables).cloned().map_or(Fact::NotOffered, Fact::Known))
    };
    let mut either = |name: &str, pick: Pick, folder: Fact<String>| match (told(pick), folder) {
        (Fact::Known(table), Fact::Known(folder)) if table != folder => {
            conflicts.push(format!(
                "{name}: {table} in {}, {folder} in /sys/class/dmi/id",
                smbios::FOLDER
            ));
            Fact::Known(table)
        }
        (Fact::Known(value), _) | (_, Fact::Known(value)) => Fact::Known(value),
        (_, Fact::NotRead(why)) | (Fact::NotRead(why), Fact::NotOffered) => Fact::NotRead(why),
        (Fact::NotOffered, Fact::NotOffered) => Fact::NotOffered,
    };
    let machine = Machine {
        manufacturer: either(
            "manufacturer",
            |t| t.system.as_ref()?.manufacturer.as_ref(),
            system_vendor(root),
        ),
        product: either(
            "product",
            |t| t.system.as_ref()?.product.as_ref(),
            product_name(root),
        ),
        uuid: either(
            "UUID",
            |t| t.system.as_ref()?.uuid.as_ref(),
            product_uuid(root),
        ),
        serial: either(
            "serial number",
            |t| t.system.as_ref()?.serial.as_ref(),
            product_serial(root),
        ),
        family: told(|t| t.system.as_ref()?.family.as_ref()),
        sku: told(|t| t.system.as_ref()?.sku.as_ref()),
        board_serial: told(|t| t.baseboards.first()?.serial.as_ref()),
        chassis_serial: told(|t| t.chassis.first()?.serial.as_ref()),
        asset_tag: told(|t| t.chassis.first()?.asset_tag.as_ref()),
    };
    group(
        "/sys/firmware/dmi/tables, /sys/class/dmi/id",
        Fact::Known(machine),
    )
}

fn memory(root: &Root, tables: &Fact<Smbios>) -> Memory {
    let modules = from_tables(tables, |tables| {
        let system = |array: u16| {
            tables
                .memory_arrays
                .iter()
                .any(|other| other.handle == array && other.system_memory)
        };
        tables
            .memory_devices
            .iter()
            .filter(|module| system(module.array))
            .cloned()
            .collect()
    });
    Memory {
        usable_bytes: memory_bytes(root),
        // One module of unknown size makes the sum unknown.
        installed_bytes: modules.as_ref().and_then(|modules| {
            modules
                .iter()
                .map(|module| module.bytes)
                .try_fold(0_u64, |sum, bytes| sum.checked_add(bytes?))
                .map_or_else(
                    || Fact::NotRead("the size of a memory module is not known".to_owned()),
                    Fact::Known,
                )
        }),
        nodes: memory::memory_nodes(root).map(Listed::from),
        modules: modules.map(Listed::from),
    }
}

#[cfg(test)]
mod tests;
