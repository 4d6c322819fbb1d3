//! PCI: functions, slots, the cards in a host, and who handles errors.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::inventory::{
    CardHealth, CardSeen, ErrorHandler, ErrorHandling, FirmwareComponent, Functions, Inventory,
    NamedFunction, NamedFunctions, PciFunction, PciLink, Slot, Slots, SrIov, Unread,
};
use lockstep_local::Fact;
use lockstep_local::inventory::{Inventory as Machine, MachineCard, MachineSlot};
use lockstep_local::pci::{
    Address, ErrorHandler as LocalHandler, ErrorHandling as LocalHandling, Function, Health, Link,
    Named, Part, Sriov,
};
use lockstep_local::smbios::SlotUse;
use lockstep_redfish::declared_capabilities;

use super::bounds::{self, SERIAL, Unreads, end, known_number, known_text, text, whole};
use super::{Whose, entries, parts};

const MOST_FUNCTIONS: usize = 64;
const MOST_SLOTS: usize = 32;
const MOST_CARDS: usize = 16;
const MOST_PORTS: usize = 32;
/// Of one slot or card.
const MOST_PARTS: usize = 16;
const MOST_COMPONENTS: usize = 16;
/// Of one card, by name.
const MOST_NAMED: usize = 32;

/// Physical functions: of a host those of its cards, so that they fit.
pub(super) fn functions(
    machine: &Machine,
    whose: Whose,
    unread: &mut Unreads,
) -> Option<Functions> {
    let all = unread.known("functions", machine.functions.fact.as_ref())?;
    let failed = &machine.unread;
    if let Some(first) = failed.items.first() {
        let count = failed.items.len() + usize::try_from(failed.omitted).unwrap_or(usize::MAX);
        let why = format!("{count} not read, such as {}: {}", first.name, first.reason);
        unread.note("functions", &why);
    }
    let of_cards = of_cards(machine);
    let mut list: Vec<PciFunction> = all
        .items
        .iter()
        .filter(|function| match whose {
            Whose::Host => of_cards.contains(&function.address),
            Whose::Card => true,
        })
        .map(function)
        .collect();
    let omitted = match whose {
        // The reading may have left out some of theirs already.
        Whose::Host => {
            list.truncate(MOST_FUNCTIONS);
            let left_out = of_cards.len().saturating_sub(list.len());
            bounds::number(left_out).unwrap_or(i64::MAX)
        }
        Whose::Card => end(&mut list, MOST_FUNCTIONS, all.omitted),
    };
    list.sort_by(|a, b| a.address.cmp(&b.address));
    Some(Functions {
        functions: list,
        omitted,
    })
}

fn of_cards(machine: &Machine) -> BTreeSet<Address> {
    entries(&machine.cards.fact)
        .iter()
        .flat_map(|card| card.card.functions.iter().copied())
        .collect()
}

fn function(function: &Function) -> PciFunction {
    PciFunction {
        address: function.address.to_string(),
        id: format!("{}:{}", function.vendor, function.device),
        subsystem_id: match &function.subsystem {
            Fact::Known(board) => Some(format!("{}:{}", board.vendor, board.device)),
            Fact::NotOffered | Fact::NotRead(_) => None,
        },
        class: format!("{:06x}", function.class & 0x00ff_ffff),
        driver: match &function.driver {
            Fact::Known(Some(driver)) => text(driver, 64),
            Fact::Known(None) | Fact::NotOffered | Fact::NotRead(_) => None,
        },
        numa_node: known_number(&function.numa_node),
        link: link(&function.link),
        sr_iov: match &function.sriov {
            Fact::Known(sriov) => Some(sr_iov(*sriov)),
            Fact::NotOffered | Fact::NotRead(_) => None,
        },
        slot: known_text(&function.slot, 64),
    }
}

fn sr_iov(sriov: Sriov) -> SrIov {
    SrIov {
        total: i64::from(sriov.total),
        enabled: i64::from(sriov.enabled),
    }
}

/// The functions of a card by name. What has no room is counted.
fn named(told: &Named) -> NamedFunctions {
    let mut functions: Vec<NamedFunction> = told
        .functions
        .iter()
        .map(|one| NamedFunction {
            name: one.name.to_string(),
            device: i64::from(one.name.device),
            physical: i64::from(one.name.physical),
            virtual_index: match one.name.part {
                Part::Virtual(index) => Some(i64::from(index)),
                Part::Whole | Part::Sub(_) => None,
            },
            sub: match one.name.part {
                Part::Sub(number) => Some(i64::from(number)),
                Part::Whole | Part::Virtual(_) => None,
            },
            address: one.address.to_string(),
            interface: one.interface.as_deref().and_then(|name| text(name, 64)),
            sr_iov: one.sriov.map(sr_iov),
        })
        .collect();
    let omitted = end(&mut functions, MOST_NAMED, told.omitted);
    NamedFunctions { functions, omitted }
}

/// Nothing at all of a function that is not PCI Express.
fn link(link: &Link) -> Option<PciLink> {
    let link = PciLink {
        width: known_number(&link.width),
        max_width: known_number(&link.max_width),
        speed_mts: known_number(&link.speed_mts),
        max_speed_mts: known_number(&link.max_speed_mts),
    };
    (link != PciLink::default()).then_some(link)
}

/// Slots as the firmware describes them; where it describes none, those that the kernel names
/// and something is in.
pub(super) fn slots(machine: &Machine, unread: &mut Unreads) -> Option<Slots> {
    if let Some(list) = unread.known("slots", machine.slots.fact.as_ref()) {
        let mut slots: Vec<Slot> = list.items.iter().map(described).collect();
        let omitted = end(&mut slots, MOST_SLOTS, list.omitted);
        return Some(Slots { slots, omitted });
    }
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for function in entries(&machine.functions.fact) {
        if let Fact::Known(slot) = &function.slot {
            let functions = named.entry(slot).or_default();
            functions.push(function.address.to_string());
        }
    }
    let mut slots: Vec<Slot> = named
        .into_iter()
        .filter_map(|(name, mut functions)| {
            functions.sort();
            functions.truncate(MOST_PARTS);
            Some(Slot {
                name: text(name, 96)?,
                in_use: Some(true),
                functions,
                ..Slot::default()
            })
        })
        .collect();
    let omitted = end(&mut slots, MOST_SLOTS, 0);
    (!slots.is_empty()).then_some(Slots { slots, omitted })
}

fn described(slot: &MachineSlot) -> Slot {
    let told = &slot.slot;
    Slot {
        name: told
            .designation
            .as_deref()
            .and_then(|name| text(name, 96))
            .unwrap_or_else(|| match told.id {
                Some(id) => format!("slot {id}"),
                None => "unnamed".to_owned(),
            }),
        in_use: match told.usage {
            SlotUse::InUse => Some(true),
            SlotUse::Available => Some(false),
            SlotUse::Unavailable | SlotUse::Unknown => None,
        },
        lanes: told.lanes.map(i64::from),
        hot_plug: told.hot_plug,
        functions: addresses(&slot.functions),
    }
}

fn addresses(list: &[Address]) -> Vec<String> {
    list.iter()
        .take(MOST_PARTS)
        .map(Address::to_string)
        .collect()
}

/// The cards in a host.
pub(super) fn cards(machine: &Machine, unread: &mut Unreads) -> Vec<CardSeen> {
    let Some(list) = unread.known("cards", machine.cards.fact.as_ref()) else {
        return Vec::new();
    };
    let mut cards: Vec<CardSeen> = list
        .items
        .iter()
        .map(|seen| card(machine, seen, unread))
        .collect();
    let omitted = end(&mut cards, MOST_CARDS, list.omitted);
    if omitted > 0 {
        unread.note("cards", &too_many(omitted));
    }
    cards
}

/// Says in the inventory that this many cards had no room.
pub(super) fn note_cards_left_out(inventory: &mut Inventory, count: usize) {
    let why = too_many(bounds::number(count).unwrap_or(i64::MAX));
    let group = "cards".to_owned();
    inventory.unread.insert(0, Unread { group, why });
    inventory.unread.truncate(32);
}

fn too_many(count: i64) -> String {
    format!("{count} more cards do not fit")
}

fn card(machine: &Machine, seen: &MachineCard, unread: &mut Unreads) -> CardSeen {
    let card = &seen.card;
    let health = match unread.known("cards", card.health.as_ref()) {
        Some(Health::Answers) => Some(CardHealth::Answers),
        Some(Health::Recovery) => Some(CardHealth::Recovery),
        Some(Health::Gone) => Some(CardHealth::Gone),
        None => None,
    };
    let ports = entries(&machine.ports.fact).iter();
    let mut macs: Vec<String> = ports
        .filter(|port| seen.ports.contains(&port.port.name))
        .filter_map(|port| parts::mac(&port.port))
        .collect();
    macs.sort();
    macs.dedup();
    macs.truncate(MOST_PARTS);
    let family = text(&card.family, 64);
    CardSeen {
        capabilities: family
            .as_deref()
            .and_then(declared_capabilities)
            .map(Box::new),
        vendor: text(&card.maker, 128),
        family,
        serial_number: unread
            .known("cards", card.serial.as_ref())
            .and_then(|serial| whole(serial, SERIAL)),
        device_serial: unread
            .known("cards", card.device_serial.as_ref())
            .and_then(|serial| device_serial(serial)),
        part_number: known_text(&card.part_number, 64),
        slot: known_text(&seen.slot_designation, 96).or_else(|| known_text(&card.slot, 96)),
        functions: addresses(&card.functions),
        named: Some(named(&card.named)),
        macs,
        health,
        rshim: seen.rshim.as_deref().and_then(|rshim| text(rshim, 64)),
        devlink: seen
            .devlink
            .as_deref()
            .and_then(|device| whole(device, 128)),
        firmware: unread
            .known("cards", seen.firmware.as_ref())
            .map(|versions| {
                let mut components: Vec<FirmwareComponent> = parts::components(versions);
                components.truncate(MOST_COMPONENTS);
                components
            })
            .unwrap_or_default(),
    }
}

/// Sixteen digits without dashes, as every vantage point writes them.
pub(super) fn device_serial(told: &str) -> Option<String> {
    whole(&told.replace('-', ""), 32)
}

/// Of the root ports that something is below, those above cards first.
pub(super) fn error_handling(machine: &Machine, unread: &mut Unreads) -> Vec<ErrorHandling> {
    let Some(list) = unread.known("errorHandling", machine.error_handling.fact.as_ref()) else {
        return Vec::new();
    };
    let above_cards: BTreeSet<Address> = entries(&machine.cards.fact)
        .iter()
        .filter_map(|card| card.card.error_handling.root_port)
        .collect();
    let mut ports: Vec<(Address, &LocalHandling)> = list
        .items
        .iter()
        .filter_map(|handling| Some((handling.root_port?, handling)))
        .collect();
    ports.sort_by_key(|(port, _)| (!above_cards.contains(port), *port));
    let omitted = end(&mut ports, MOST_PORTS, list.omitted);
    if omitted > 0 {
        let why = format!("{omitted} more root ports do not fit");
        unread.note("errorHandling", &why);
    }
    ports
        .into_iter()
        .map(|(port, told)| ErrorHandling {
            root_port: port.to_string(),
            handler: match &told.handler {
                Fact::Known(LocalHandler::Native) => ErrorHandler::Native,
                Fact::Known(LocalHandler::FirmwareFirst) => ErrorHandler::FirmwareFirst,
                Fact::Known(LocalHandler::Nobody) => ErrorHandler::Nobody,
                Fact::NotOffered => ErrorHandler::Unknown,
                Fact::NotRead(why) => {
                    unread.note_first("errorHandling", why);
                    ErrorHandler::Unknown
                }
            },
            containment: told.containment.clone().known(),
            hot_plug: told.hot_plug.clone().known(),
        })
        .collect()
}
