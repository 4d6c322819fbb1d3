//! What belongs together: a card and its slot, ports, disks and rshim; a slot and its functions.
//!
//! Joined is by PCI address alone, within one reading. Nothing is joined by name or by guess.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Card, Disk, Fact, Function, Port, Rshim, Slot};
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

pub(super) fn cards(
    cards: Vec<Card>,
    functions: &[Function],
    slots: &Fact<Vec<Slot>>,
    ports: &Fact<Vec<Port>>,
    disks: &Fact<Vec<Disk>>,
    rshims: &Fact<Vec<Rshim>>,
    conflicts: &mut Vec<String>,
) -> Vec<MachineCard> {
    cards
        .into_iter()
        .map(|card| {
            conflicts.extend(card.conflicts.iter().cloned());
            let own: BTreeSet<Address> = card.functions.iter().copied().collect();
            let is_own = |pci: Option<Address>| pci.is_some_and(|pci| own.contains(&pci));
            let mine: Vec<&Function> = functions
                .iter()
                .filter(|function| own.contains(&function.address))
                .collect();
            let rshim = list(rshims)
                .iter()
                .find(|rshim| is_own(rshim_address(rshim)))
                .map(|rshim| rshim.name.clone());
            MachineCard {
                slot_designation: slots.as_ref().and_then(|slots| {
                    slots
                        .iter()
                        .find(|slot| mine.iter().any(|function| is_in(slot, function)))
                        .and_then(|slot| slot.designation.clone())
                        .map_or(Fact::NotOffered, Fact::Known)
                }),
                ports: list(ports)
                    .iter()
                    .filter(|port| is_own(port.pci))
                    .map(|port| port.name.clone())
                    .collect(),
                disks: list(disks)
                    .iter()
                    .filter(|disk| is_own(disk.pci))
                    .map(|disk| disk.name.clone())
                    .collect(),
                rshim,
                card,
            }
        })
        .collect()
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
