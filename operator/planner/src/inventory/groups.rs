//! The groups of a card's inventory, each from the best source, completed from the others.
//!
//! | group | order of sources |
//! |---|---|
//! | `system` | host OS (vital product data), card BMC, found BMC, card OS, host BMC |
//! | `firmware`, `bmc`, `capabilities` | card BMC, found BMC, card OS, host OS, host BMC |
//! | everything else | card OS, card BMC, found BMC, host OS, host BMC |
//!
//! Among reports of one vantage point the one with an inventory comes first, then the newer one.
//! A BMC that is not found any more comes last of all. Fields that are absent are filled from
//! the next source; lists are the best source's, with what others tell of the same entries;
//! firmware is everybody's, by component.

use std::collections::BTreeMap;

use lockstep_crds::dpu_inventory::{DpuInventorySpec, Sourced};
use lockstep_crds::identity::{
    meaningful, meaningful_device_serial, meaningful_serial, meaningful_uuid,
};
use lockstep_crds::inventory::{
    BmcFacts, CpuFacts, Disk, DiskList, FirmwareList, Inventory, MemoryFacts, OsFacts, Port,
    PortList, SecureBootFacts, SystemFacts, TpmFacts,
};
use lockstep_crds::report::Vantage;

use super::Teller;
use super::sightings::Sighting;
use super::vendors::plain;

/// Components in a `DpuInventory`.
const MOST_FIRMWARE: usize = 48;

const OF_SYSTEM: [Vantage; 5] = [
    Vantage::HostOs,
    Vantage::CardBmc,
    Vantage::FoundBmc,
    Vantage::CardOs,
    Vantage::HostBmc,
];

const OF_FIRMWARE: [Vantage; 5] = [
    Vantage::CardBmc,
    Vantage::FoundBmc,
    Vantage::CardOs,
    Vantage::HostOs,
    Vantage::HostBmc,
];

const OF_THE_REST: [Vantage; 5] = [
    Vantage::CardOs,
    Vantage::CardBmc,
    Vantage::FoundBmc,
    Vantage::HostOs,
    Vantage::HostBmc,
];

/// Every group.
pub(super) fn groups(sightings: &[Sighting<'_>]) -> DpuInventorySpec {
    let system = ordered(sightings, &OF_SYSTEM);
    let firmware = ordered(sightings, &OF_FIRMWARE);
    let rest = ordered(sightings, &OF_THE_REST);
    let only = |_: &mut _, _: &_| false;
    DpuInventorySpec {
        system: merged(&system, clean_system, complete_system),
        firmware: merged(&firmware, |facts| facts.firmware.clone(), complete_firmware)
            .map(bounded_firmware),
        os: merged(&rest, told_os, complete_os),
        cpu: merged(&rest, |facts| facts.cpu.clone(), complete_cpu),
        memory: merged(&rest, |facts| facts.memory.clone(), complete_memory),
        disks: merged(
            &full_first(&rest, |f| f.disks.as_ref().map(|l| l.disks.len())),
            |facts| facts.disks.clone(),
            complete_disks,
        ),
        ports: merged(
            &full_first(&rest, |f| f.ports.as_ref().map(|l| l.ports.len())),
            |facts| facts.ports.clone(),
            complete_ports,
        ),
        functions: merged(&rest, |facts| facts.functions.clone(), only),
        tpm: merged(&rest, |facts| facts.tpm.clone(), complete_tpm),
        secure_boot: merged(
            &rest,
            |facts| facts.secure_boot.clone(),
            complete_secure_boot,
        ),
        offloads: merged(&rest, |facts| facts.offloads.clone(), |_, _| false),
        bmc: merged(&firmware, |facts| facts.bmc.clone(), complete_bmc),
        capabilities: merged(&firmware, |facts| facts.capabilities.clone(), |_, _| false),
        ..DpuInventorySpec::default()
    }
}

/// Who tells the versions in the joined inventory that its group's report does not tell.
pub(super) fn tellers(
    sightings: &[Sighting<'_>],
    joined: &DpuInventorySpec,
) -> BTreeMap<String, Teller> {
    let sorted = ordered(sightings, &OF_FIRMWARE);
    let first = |tells: &dyn Fn(&Inventory) -> bool, of_group: &str| {
        let teller = sorted.iter().find(|one| tells(&one.facts))?;
        (teller.report != of_group).then(|| Teller {
            from: teller.from().clone(),
            report: teller.report.to_owned(),
        })
    };
    let mut found = BTreeMap::new();
    if let Some(firmware) = &joined.firmware {
        for component in &firmware.facts.components {
            let name = plain(&component.name);
            let tells = |facts: &Inventory| {
                let told = facts.firmware.iter().flat_map(|list| &list.components);
                let mut named = told.filter(|one| plain(&one.name) == name);
                named.any(|one| one.running.is_some())
            };
            if let Some(teller) = first(&tells, &firmware.report) {
                found.insert(field_of(&component.name), teller);
            }
        }
    }
    if let Some(bmc) = &joined.bmc {
        let tells = |facts: &Inventory| {
            let bmc = facts.bmc.as_ref();
            bmc.is_some_and(|bmc| bmc.firmware_version.is_some())
        };
        if let Some(teller) = first(&tells, &bmc.report) {
            found.insert(BMC_VERSION.to_owned(), teller);
        }
    }
    found
}

/// What each report tells of the disks, in the order of the group.
pub(super) fn disks(sightings: &[Sighting<'_>]) -> Vec<Sourced<DiskList>> {
    let sorted = ordered(sightings, &OF_THE_REST);
    let sorted = full_first(&sorted, |f| f.disks.as_ref().map(|l| l.disks.len()));
    let told = sorted
        .iter()
        .filter_map(|one| Some(sourced(one, one.facts.disks.clone()?)));
    told.collect()
}

/// The field of a component's running version.
pub(super) fn field_of(component: &str) -> String {
    format!("firmware.{component}")
}

/// The field of a BMC's own version.
pub(super) const BMC_VERSION: &str = "bmc.firmwareVersion";

fn ordered<'e, 'a>(sightings: &'e [Sighting<'a>], order: &[Vantage]) -> Vec<&'e Sighting<'a>> {
    let mut sorted: Vec<&Sighting<'a>> = sightings.iter().collect();
    sorted.sort_by_key(|one| {
        let rank = order.iter().position(|vantage| vantage == one.from());
        (
            one.missing(),
            rank.unwrap_or(order.len()),
            one.spec.inventory.is_none(),
            std::cmp::Reverse(one.at().0),
            one.report,
        )
    });
    sorted
}

/// Lists that hold something before empty ones: that one source sees no disk hides none that
/// another sees.
fn full_first<'e, 'a>(
    sorted: &[&'e Sighting<'a>],
    length: impl Fn(&Inventory) -> Option<usize>,
) -> Vec<&'e Sighting<'a>> {
    let mut sorted = sorted.to_vec();
    sorted.sort_by_key(|one| length(&one.facts) == Some(0));
    sorted
}

fn merged<T>(
    sorted: &[&Sighting<'_>],
    get: impl Fn(&Inventory) -> Option<T>,
    complete: impl Fn(&mut T, &T) -> bool,
) -> Option<Sourced<T>> {
    let mut told = sorted
        .iter()
        .filter_map(|one| Some((*one, get(&one.facts)?)));
    let (first, facts) = told.next()?;
    let mut sourced = sourced(first, facts);
    for (other, facts) in told {
        let from = other.from();
        if complete(&mut sourced.facts, &facts)
            && *from != sourced.from
            && !sourced.completed_from.contains(from)
        {
            sourced.completed_from.push(from.clone());
        }
    }
    Some(sourced)
}

fn sourced<T>(one: &Sighting<'_>, facts: T) -> Sourced<T> {
    Sourced {
        from: one.from().clone(),
        report: one.report.to_owned(),
        observed_at: one.at().clone(),
        completed_from: Vec::new(),
        facts,
    }
}

/// Takes over what is absent, and says whether there was anything.
fn fill<T: Clone>(place: &mut Option<T>, other: &Option<T>) -> bool {
    let fills = place.is_none() && other.is_some();
    if fills {
        place.clone_from(other);
    }
    fills
}

fn any(fills: impl IntoIterator<Item = bool>) -> bool {
    fills.into_iter().fold(false, |any, filled| any | filled)
}

/// Without what means nothing, whoever let it through.
fn clean_system(facts: &Inventory) -> Option<SystemFacts> {
    let told = facts.system.as_ref()?;
    let clean = |text: &Option<String>| {
        let text = text.as_deref().and_then(meaningful);
        text.map(str::to_owned)
    };
    let system = SystemFacts {
        vendor: clean(&told.vendor),
        model: clean(&told.model),
        family: clean(&told.family),
        serial_number: clean(&told.serial_number).filter(|text| meaningful_serial(text).is_some()),
        system_uuid: told.system_uuid.as_deref().and_then(meaningful_uuid),
        device_serial: told
            .device_serial
            .as_deref()
            .and_then(meaningful_device_serial),
        part_number: clean(&told.part_number),
        sku: clean(&told.sku),
        asset_tag: clean(&told.asset_tag),
        hardware_revision: clean(&told.hardware_revision),
        manufactured: clean(&told.manufactured),
    };
    (system != SystemFacts::default()).then_some(system)
}

fn complete_system(system: &mut SystemFacts, other: &SystemFacts) -> bool {
    any([
        fill(&mut system.vendor, &other.vendor),
        fill(&mut system.model, &other.model),
        fill(&mut system.family, &other.family),
        fill(&mut system.serial_number, &other.serial_number),
        fill(&mut system.system_uuid, &other.system_uuid),
        fill(&mut system.device_serial, &other.device_serial),
        fill(&mut system.part_number, &other.part_number),
        fill(&mut system.sku, &other.sku),
        fill(&mut system.asset_tag, &other.asset_tag),
        fill(&mut system.hardware_revision, &other.hardware_revision),
        fill(&mut system.manufactured, &other.manufactured),
    ])
}

fn complete_firmware(list: &mut FirmwareList, other: &FirmwareList) -> bool {
    let mut filled = false;
    for component in &other.components {
        let name = plain(&component.name);
        match list
            .components
            .iter_mut()
            .find(|one| plain(&one.name) == name)
        {
            Some(one) => {
                filled |= any([
                    fill(&mut one.running, &component.running),
                    fill(&mut one.pending, &component.pending),
                    fill(&mut one.updateable, &component.updateable),
                ]);
            }
            None => {
                list.components.push(component.clone());
                filled = true;
            }
        }
    }
    list.omitted = list.omitted.max(other.omitted);
    filled
}

fn bounded_firmware(mut sourced: Sourced<FirmwareList>) -> Sourced<FirmwareList> {
    let list = &mut sourced.facts;
    let over = list.components.len().saturating_sub(MOST_FIRMWARE);
    list.components.truncate(MOST_FIRMWARE);
    list.omitted += i64::try_from(over).unwrap_or(i64::MAX);
    sourced
}

fn told_os(facts: &Inventory) -> Option<OsFacts> {
    let os = facts.os.as_ref()?;
    (*os != OsFacts::default()).then(|| os.clone())
}

fn complete_os(os: &mut OsFacts, other: &OsFacts) -> bool {
    any([
        fill(&mut os.name, &other.name),
        fill(&mut os.kernel, &other.kernel),
        fill(&mut os.hostname, &other.hostname),
    ])
}

fn complete_cpu(cpu: &mut CpuFacts, other: &CpuFacts) -> bool {
    any([
        fill(&mut cpu.architecture, &other.architecture),
        fill(&mut cpu.model, &other.model),
        fill(&mut cpu.sockets, &other.sockets),
        fill(&mut cpu.cores, &other.cores),
        fill(&mut cpu.threads, &other.threads),
    ])
}

fn complete_memory(memory: &mut MemoryFacts, other: &MemoryFacts) -> bool {
    let modules = memory.modules.is_empty() && !other.modules.is_empty();
    if modules {
        memory.modules.clone_from(&other.modules);
        memory.omitted = other.omitted;
    }
    any([
        modules,
        fill(&mut memory.total_bytes, &other.total_bytes),
        fill(&mut memory.usable_bytes, &other.usable_bytes),
    ])
}

fn complete_disks(list: &mut DiskList, other: &DiskList) -> bool {
    let same = |one: &Disk, other: &Disk| {
        let told = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        told(&one.serial_number, &other.serial_number)
            || told(&one.wwn, &other.wwn)
            || one.name == other.name
    };
    let mut filled = false;
    for disk in &mut list.disks {
        if let Some(other) = other.disks.iter().find(|other| same(disk, other)) {
            filled |= any([
                fill(&mut disk.kind, &other.kind),
                fill(&mut disk.size_bytes, &other.size_bytes),
                fill(&mut disk.model, &other.model),
                fill(&mut disk.serial_number, &other.serial_number),
                fill(&mut disk.wwn, &other.wwn),
            ]);
        }
    }
    filled
}

fn complete_ports(list: &mut PortList, other: &PortList) -> bool {
    let same = |one: &Port, other: &Port| match (&one.mac, &other.mac) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (Some(_), None) | (None, Some(_) | None) => one.name == other.name,
    };
    let mut filled = false;
    for port in &mut list.ports {
        if let Some(other) = other.ports.iter().find(|other| same(port, other)) {
            filled |= any([
                fill(&mut port.mac, &other.mac),
                fill(&mut port.speed_mbps, &other.speed_mbps),
                fill(&mut port.link_up, &other.link_up),
                fill(&mut port.driver, &other.driver),
                fill(&mut port.pci_address, &other.pci_address),
            ]);
        }
    }
    filled
}

fn complete_tpm(tpm: &mut TpmFacts, other: &TpmFacts) -> bool {
    tpm.present == other.present && fill(&mut tpm.version, &other.version)
}

fn complete_secure_boot(secure_boot: &mut SecureBootFacts, other: &SecureBootFacts) -> bool {
    any([
        fill(&mut secure_boot.enabled, &other.enabled),
        fill(&mut secure_boot.mode, &other.mode),
    ])
}

fn complete_bmc(bmc: &mut BmcFacts, other: &BmcFacts) -> bool {
    let macs = bmc.macs.is_empty() && !other.macs.is_empty();
    if macs {
        bmc.macs.clone_from(&other.macs);
    }
    any([
        macs,
        fill(&mut bmc.model, &other.model),
        fill(&mut bmc.firmware_version, &other.firmware_version),
        fill(&mut bmc.service_uuid, &other.service_uuid),
        fill(&mut bmc.redfish_version, &other.redfish_version),
    ])
}
