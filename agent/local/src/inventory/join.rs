//! What belongs together: a card and its slot, ports, disks and rshim; a slot and its functions.
//!
//! Joined is by PCI address alone, within one reading. Nothing is joined by name or by guess.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Card, Disk, Fact, Function, Port, Rshim, Slot};
use crate::netlink::{DeviceInfo, Version};
use crate::pci::Address;
use crate::smbios::{PciLocation, SlotUse};

/// An xPU and what of the machine belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineCard {
    /// The card.
    pub card: Card,
    /// Its slot by the name that is printed beside it.
    pub slot_designation: Fact<String>,
    /// Network ports behind its functions.
    pub ports: Vec<String>,
    /// Disks behind its functions: some that it emulates.
    pub disks: Vec<String>,
    /// Its rshim.
    pub rshim: Option<String>,
    /// Its devlink device, by bus and name there; the same that tells `firmware`.
    pub devlink: Option<String>,
    /// Versions of its firmware by its driver's account.
    pub firmware: Fact<Vec<Version>>,
}

/// A slot and the functions in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSlot {
    /// What the firmware says.
    pub slot: Slot,
    /// The functions that the kernel found there.
    pub functions: Vec<Address>,
}

pub(super) fn slots(slots: Vec<Slot>, functions: &[Function]) -> Vec<MachineSlot> {
    slots
        .into_iter()
        .map(|slot| MachineSlot {
            functions: functions
                .iter()
                .filter(|function| is_in(&slot, function))
                .map(|function| function.address)
                .collect(),
            slot,
        })
        .collect()
}

/// Firmware names the card, any function of it, or the port above it; of an empty slot the place
/// means nothing.
fn is_in(slot: &Slot, function: &Function) -> bool {
    let Some(PciLocation {
        segment,
        bus,
        device,
        ..
    }) = slot.location
    else {
        return false;
    };
    let there = |address: &Address| {
        (address.domain, address.bus, address.device) == (u32::from(segment), bus, device)
    };
    match slot.usage {
        SlotUse::Available | SlotUse::Unavailable => false,
        SlotUse::InUse | SlotUse::Unknown => {
            there(&function.address) || function.above.last().is_some_and(there)
        }
    }
}

/// What cards are joined with.
pub(super) struct Parts<'a> {
    pub(super) functions: &'a [Function],
    pub(super) slots: &'a Fact<Vec<Slot>>,
    pub(super) ports: &'a Fact<Vec<Port>>,
    pub(super) disks: &'a Fact<Vec<Disk>>,
    pub(super) rshims: &'a Fact<Vec<Rshim>>,
    pub(super) devices: &'a Fact<Vec<DeviceInfo>>,
}

pub(super) fn cards(
    cards: Vec<Card>,
    parts: &Parts<'_>,
    conflicts: &mut Vec<String>,
) -> Vec<MachineCard> {
    cards
        .into_iter()
        .map(|card| {
            conflicts.extend(card.conflicts.iter().cloned());
            let own: BTreeSet<Address> = card.functions.iter().copied().collect();
            let is_own = |pci: Option<Address>| pci.is_some_and(|pci| own.contains(&pci));
            let mine: Vec<&Function> = parts
                .functions
                .iter()
                .filter(|function| own.contains(&function.address))
                .collect();
            let devices = parts.devices.as_ref().map(|devices| {
                let is_mine = |device: &&DeviceInfo| is_own(device_address(device));
                devices.iter().filter(is_mine).collect::<Vec<_>>()
            });
            if let (Fact::Known(serial), Fact::Known(devices)) = (&card.serial, &devices) {
                conflicts.extend(devices.iter().filter_map(|d| contradiction(serial, d)));
            }
            MachineCard {
                slot_designation: parts.slots.as_ref().and_then(|slots| {
                    slots
                        .iter()
                        .find(|slot| mine.iter().any(|function| is_in(slot, function)))
                        .and_then(|slot| slot.designation.clone())
                        .map_or(Fact::NotOffered, Fact::Known)
                }),
                ports: list(parts.ports)
                    .iter()
                    .filter(|port| is_own(port.pci))
                    .map(|port| port.name.clone())
                    .collect(),
                disks: list(parts.disks)
                    .iter()
                    .filter(|disk| is_own(disk.pci))
                    .map(|disk| disk.name.clone())
                    .collect(),
                rshim: list(parts.rshims)
                    .iter()
                    .find(|rshim| is_own(rshim_address(rshim)))
                    .map(|rshim| rshim.name.clone()),
                devlink: devices.as_ref().known().and_then(|devices| {
                    let first = devices.first()?;
                    Some(format!("{}/{}", first.bus, first.device))
                }),
                // All functions of a card run one firmware; its first says it.
                firmware: devices.and_then(|devices| {
                    devices
                        .first()
                        .map_or(Fact::NotOffered, |d| Fact::Known(d.versions.clone()))
                }),
                card,
            }
        })
        .collect()
}

/// A driver may tell the serial number of the chip, of the board or of both; one must agree.
fn contradiction(serial: &str, device: &DeviceInfo) -> Option<String> {
    let told: Vec<&str> = [&device.serial, &device.board_serial]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    (device.board_serial.is_some() && !told.contains(&serial)).then(|| {
        format!(
            "{}: serial number {serial} in its vital product data, {} by its driver",
            device.device,
            told.join(" and ")
        )
    })
}

fn device_address(device: &DeviceInfo) -> Option<Address> {
    (device.bus == "pci").then(|| device.device.parse().ok())?
}

/// The functions of cards before all others, each part in order.
pub(super) fn cards_first(mut functions: Vec<Function>, cards: &[MachineCard]) -> Vec<Function> {
    let of_cards: BTreeSet<Address> = cards
        .iter()
        .flat_map(|card| card.card.functions.iter().copied())
        .collect();
    functions.sort_by_key(|function| !of_cards.contains(&function.address));
    functions
}

fn rshim_address(rshim: &Rshim) -> Option<Address> {
    match &rshim.settings {
        Fact::Known(settings) => settings.pci.clone().known(),
        Fact::NotOffered | Fact::NotRead(_) => None,
    }
}

fn list<T>(fact: &Fact<Vec<T>>) -> &[T] {
    match fact {
        Fact::Known(list) => list,
        Fact::NotOffered | Fact::NotRead(_) => &[],
    }
}
