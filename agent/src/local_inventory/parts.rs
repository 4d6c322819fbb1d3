//! Everything but PCI: the machine, its firmware, processors, memory, disks and ports.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::inventory::{
    CpuFacts, Disk, DiskList, FirmwareComponent, FirmwareList, MemoryFacts, MemoryModule, OsFacts,
    Port, PortList, SecureBootFacts, SystemFacts, TpmFacts,
};
use lockstep_local::disks::{Disk as LocalDisk, DiskKind};
use lockstep_local::inventory::{Inventory as Machine, Listed, MachinePort};
use lockstep_local::netlink::{Version, VersionKind};
use lockstep_local::pci::Address;
use lockstep_local::ports::Port as LocalPort;
use lockstep_local::smbios::MemoryDevice;
use lockstep_local::{Fact, LocalFacts};

use super::bounds::{
    SERIAL, Unreads, end, known_number, known_text, known_whole, number, text, whole,
};
use super::{Whose, entries, pci};

const MOST_COMPONENTS: usize = 48;
const MOST_MODULES: usize = 64;
const MOST_DISKS: usize = 32;
const MOST_PORTS: usize = 32;

/// Who made it. The serial number of a card stands on its board: that of its system is mostly a
/// placeholder. What the card's own functions tell of it belongs here as well.
pub(super) fn system(machine: &Machine, whose: Whose, unread: &mut Unreads) -> Option<SystemFacts> {
    let told = unread.known("system", machine.machine.fact.as_ref())?;
    let mut identity = |fact: &Fact<String>, most| {
        unread
            .known("system", fact.as_ref())
            .and_then(|told| whole(told, most))
    };
    let of_system = identity(&told.serial, SERIAL);
    let serial_number = match whose {
        Whose::Host => of_system,
        Whose::Card => identity(&told.board_serial, SERIAL).or(of_system),
    };
    let system_uuid = identity(&told.uuid, 36);
    let mut system = SystemFacts {
        vendor: known_text(&told.manufacturer, 128),
        model: known_text(&told.product, 128),
        serial_number,
        system_uuid,
        sku: known_text(&told.sku, 64),
        asset_tag: known_text(&told.asset_tag, 64),
        ..SystemFacts::default()
    };
    if let (Whose::Card, [itself]) = (whose, entries(&machine.cards.fact)) {
        let card = &itself.card;
        system.family = text(&card.family, 64);
        system.part_number = known_text(&card.part_number, 64);
        system.hardware_revision = known_text(&card.revision, 64);
        system.device_serial = match &card.device_serial {
            Fact::Known(serial) => pci::device_serial(serial),
            Fact::NotOffered | Fact::NotRead(_) => None,
        };
    }
    (system != SystemFacts::default()).then_some(system)
}

/// The machine's own firmware, then what drivers and disks say of theirs. That of the cards in a
/// host is told with the cards.
pub(super) fn firmware(
    machine: &Machine,
    whose: Whose,
    unread: &mut Unreads,
) -> Option<FirmwareList> {
    let mut list = Vec::new();
    if let Some(bios) = unread.known("firmware", machine.firmware.fact.as_ref()) {
        let running = bios
            .version
            .as_deref()
            .and_then(|version| text(version, 128));
        list.extend(running.map(|running| component("bios", Some(running))));
    }
    let of_cards: BTreeSet<String> = entries(&machine.cards.fact)
        .iter()
        .flat_map(|card| card.card.functions.iter().map(Address::to_string))
        .collect();
    let devices = unread.known("firmware", machine.devices.fact.as_ref());
    let mut by_version: BTreeMap<FirmwareKey, Vec<&str>> = BTreeMap::new();
    for device in devices.map_or(&[][..], |devices| &devices.items) {
        if whose == Whose::Card || !of_cards.contains(&device.device) {
            for told in components(&device.versions) {
                let key = (told.name, told.running, told.pending);
                by_version.entry(key).or_default().push(&device.device);
            }
        }
    }
    let names: Vec<String> = by_version.keys().map(|(name, ..)| name.clone()).collect();
    for ((name, running, pending), devices) in by_version {
        // The functions of one device say the same; different devices are told apart.
        let several = names.iter().filter(|other| **other == name).count() > 1;
        let name = match devices.first() {
            Some(device) if several => format!("{name} {device}"),
            Some(_) | None => name,
        };
        list.push(FirmwareComponent {
            pending,
            ..component(&name, running)
        });
    }
    for disk in entries(&machine.disks.fact) {
        if let Some(running) = known_text(&disk.firmware, 128) {
            list.push(component(&disk.name, Some(running)));
        }
    }
    let omitted = end(&mut list, MOST_COMPONENTS, 0);
    (!list.is_empty()).then_some(FirmwareList {
        components: list,
        omitted,
    })
}

/// Name, running and pending version.
type FirmwareKey = (String, Option<String>, Option<String>);

fn component(name: &str, running: Option<String>) -> FirmwareComponent {
    FirmwareComponent {
        name: text(name, 96).unwrap_or_default(),
        running,
        pending: None,
        updateable: None,
    }
}

/// Versions by name. A stored version is pending only if another one runs; of what cannot change
/// only what names firmware is told.
pub(super) fn components(versions: &[Version]) -> Vec<FirmwareComponent> {
    let mut all: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for version in versions {
        let fixed = version.kind == VersionKind::Fixed;
        if fixed && !version.name.starts_with("fw") {
            continue;
        }
        let (running, stored) = all.entry(&version.name).or_default();
        match version.kind {
            VersionKind::Fixed | VersionKind::Running => *running = Some(&version.value),
            VersionKind::Stored => *stored = Some(&version.value),
        }
    }
    all.into_iter()
        .filter_map(|(name, (running, stored))| {
            let pending = stored.filter(|stored| Some(*stored) != running);
            Some(FirmwareComponent {
                pending: pending.and_then(|version| text(version, 128)),
                ..component(
                    &text(name, 80)?,
                    running.and_then(|version| text(version, 128)),
                )
            })
        })
        .collect()
}

/// The operating system.
pub(super) fn os(facts: &LocalFacts, unread: &mut Unreads) -> Option<OsFacts> {
    let release = unread.known("os", facts.os_release.as_ref());
    let os = OsFacts {
        name: release.and_then(|release| text(release.pretty_name(), 128)),
        kernel: unread
            .known("os", facts.kernel_release.as_ref())
            .and_then(|kernel| text(kernel, 128)),
        hostname: known_text(&facts.hostname, 253),
    };
    (os != OsFacts::default()).then_some(os)
}

/// Processors.
pub(super) fn cpu(machine: &Machine, unread: &mut Unreads) -> Option<CpuFacts> {
    let cpu = unread.known("cpu", machine.cpu.fact.as_ref())?;
    let threads = unread.known("cpu", cpu.threads.as_ref()).copied();
    Some(CpuFacts {
        architecture: text(&cpu.architecture, 32),
        model: known_text(&cpu.model, 128),
        sockets: known_number(&cpu.sockets),
        cores: known_number(&cpu.cores),
        threads: threads.and_then(number),
    })
}

/// Memory.
pub(super) fn memory(machine: &Machine, unread: &mut Unreads) -> Option<MemoryFacts> {
    let memory = unread.known("memory", machine.memory.fact.as_ref())?;
    let usable = unread.known("memory", memory.usable_bytes.as_ref());
    let total = unread.known("memory", memory.installed_bytes.as_ref());
    let told = unread.known("memory", memory.modules.as_ref());
    let mut modules: Vec<MemoryModule> = told
        .map_or(&[][..], |list| &list.items)
        .iter()
        .map(module)
        .collect();
    let omitted = end(
        &mut modules,
        MOST_MODULES,
        told.map_or(0, |list| list.omitted),
    );
    let memory = MemoryFacts {
        total_bytes: total.copied().and_then(number),
        usable_bytes: usable.copied().and_then(number),
        modules,
        omitted,
    };
    (memory != MemoryFacts::default()).then_some(memory)
}

fn module(told: &MemoryDevice) -> MemoryModule {
    let field = |field: &Option<String>, most| field.as_deref().and_then(|told| text(told, most));
    MemoryModule {
        locator: field(&told.locator, 64),
        size_bytes: told.bytes.and_then(number),
        kind: field(&told.kind, 32),
        speed_mts: told.configured_mts.or(told.max_mts).map(i64::from),
        serial_number: told.serial.as_deref().and_then(|told| whole(told, SERIAL)),
        part_number: field(&told.part_number, 64),
    }
}

/// Disks by name.
pub(super) fn disks(list: &Listed<LocalDisk>) -> DiskList {
    let mut disks: Vec<Disk> = list.items.iter().map(disk).collect();
    let omitted = end(&mut disks, MOST_DISKS, list.omitted);
    DiskList { disks, omitted }
}

fn disk(disk: &LocalDisk) -> Disk {
    let kind = match disk.kind {
        DiskKind::Nvme => "Nvme",
        DiskKind::NvmeOverFabrics => "NvmeOverFabrics",
        DiskKind::Emmc => "Emmc",
        DiskKind::Sd => "Sd",
        DiskKind::Ata => "Ata",
        DiskKind::Usb => "Usb",
        DiskKind::Iscsi => "Iscsi",
        DiskKind::FibreChannel => "FibreChannel",
        DiskKind::Scsi => "Scsi",
        DiskKind::Optical => "Optical",
        DiskKind::Virtio => "Virtio",
        DiskKind::Other => "Other",
    };
    Disk {
        name: text(&disk.name, 96).unwrap_or_default(),
        kind: Some(kind.to_owned()),
        size_bytes: known_number(&disk.bytes),
        model: known_text(&disk.model, 128),
        serial_number: known_whole(&disk.serial, SERIAL),
        wwn: known_whole(&disk.wwid, 128),
    }
}

/// Ports by name, and which they are. What stands for a virtual function, on either side, comes
/// last: a card may have hundreds of those.
pub(super) fn ports<'a>(
    list: &'a Listed<MachinePort>,
    machine: &Machine,
) -> (PortList, Vec<&'a MachinePort>) {
    let physical: BTreeSet<Address> = entries(&machine.functions.fact)
        .iter()
        .map(|function| function.address)
        .collect();
    let is_own = |port: &LocalPort| {
        let stands_for_another =
            matches!(&port.port_name, Fact::Known(name) if name.starts_with("pf"));
        !stands_for_another && port.pci.is_none_or(|pci| physical.contains(&pci))
    };
    let mut listed: Vec<&MachinePort> = list.items.iter().collect();
    listed.sort_by_key(|port| Reverse(is_own(&port.port)));
    let omitted = end(&mut listed, MOST_PORTS, list.omitted);
    listed.sort_by(|a, b| a.port.name.cmp(&b.port.name));
    let ports = listed.iter().map(|port| self::port(&port.port)).collect();
    (PortList { ports, omitted }, listed)
}

fn port(port: &LocalPort) -> Port {
    Port {
        name: text(&port.name, 96).unwrap_or_default(),
        mac: mac(port),
        speed_mbps: known_number(&port.speed_mbps),
        link_up: port.carrier.clone().known(),
        driver: match &port.driver {
            Fact::Known(Some(driver)) => text(driver, 64),
            Fact::Known(None) | Fact::NotOffered | Fact::NotRead(_) => None,
        },
        pci_address: port.pci.map(|address| address.to_string()),
    }
}

/// The permanent address, else the one in use.
pub(super) fn mac(port: &LocalPort) -> Option<String> {
    known_text(&port.permanent_mac, 64).or_else(|| known_text(&port.mac, 64))
}

/// Whether the kernel drives a TPM.
pub(super) fn tpm(facts: &LocalFacts, unread: &mut Unreads) -> Option<TpmFacts> {
    match &facts.tpm {
        Fact::Known(tpm) => Some(TpmFacts {
            present: true,
            version: tpm.version_major.map(|version| version.to_string()),
        }),
        Fact::NotOffered => Some(TpmFacts {
            present: false,
            version: None,
        }),
        Fact::NotRead(why) => {
            unread.note("tpm", why);
            None
        }
    }
}

/// Secure boot; a machine that did not boot by UEFI offers none.
pub(super) fn secure_boot(machine: &Machine, unread: &mut Unreads) -> Option<SecureBootFacts> {
    let told = unread.known("secureBoot", machine.secure_boot.fact.as_ref())?;
    let enabled = unread.known("secureBoot", told.enabled.as_ref()).copied();
    let mode = match (&told.setup_mode, &told.deployed_mode) {
        (Fact::Known(true), _) => Some("SetupMode"),
        (Fact::Known(false), Fact::Known(true)) => Some("DeployedMode"),
        (Fact::Known(false), _) => Some("UserMode"),
        (Fact::NotOffered | Fact::NotRead(_), _) => None,
    };
    let mode = mode.map(str::to_owned);
    Some(SecureBootFacts { enabled, mode })
}
