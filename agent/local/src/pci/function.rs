//! The functions that the kernel found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters;
use super::{Address, ErrorCounters, Id};
use crate::{Fact, Root};

/// Where the kernel lists them.
pub const DEVICES: &str = "/sys/bus/pci/devices";
const SLOTS: &str = "/sys/bus/pci/slots";

/// One physical function. Its folder is [`DEVICES`]`/ADDRESS`; what is said of a field is the
/// file in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// Its address.
    pub address: Address,
    /// `vendor`.
    pub vendor: Id,
    /// `device`.
    pub device: Id,
    /// `class`: base class, subclass and interface in 24 bits (0x020000 = Ethernet).
    pub class: u32,
    /// `revision`.
    pub revision: Fact<u8>,
    /// `subsystem_vendor`, `subsystem_device`.
    pub subsystem: Fact<Subsystem>,
    /// The bridges above it, outermost first.
    pub above: Vec<Address>,
    /// `driver`: none when nothing drives it.
    pub driver: Fact<Option<String>>,
    /// `numa_node`; a machine without NUMA does not offer it.
    pub numa_node: Fact<u16>,
    /// Its PCIe link.
    pub link: Link,
    /// Virtual functions; only where it can have any.
    pub sriov: Fact<Sriov>,
    /// The slot that it, or a bridge above it, sits in, by the kernel's name.
    pub slot: Fact<String>,
    /// Errors counted.
    pub errors: ErrorCounters,
}

/// Who built the card around the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subsystem {
    /// The vendor.
    pub vendor: Id,
    /// The vendor's own number.
    pub device: Id,
}

/// A PCIe link. A conventional PCI function offers none of it; a link that is down tells only
/// what it could do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Lanes in use.
    pub width: Fact<u8>,
    /// Lanes that the function has.
    pub max_width: Fact<u8>,
    /// Speed in use, in megatransfers a second for each lane (16000 = Gen 4).
    pub speed_mts: Fact<u32>,
    /// Speed that the function supports.
    pub max_speed_mts: Fact<u32>,
}

/// Virtual functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sriov {
    /// As many as it could have.
    pub total: u16,
    /// As many as it has.
    pub enabled: u16,
}

/// Everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Functions {
    /// Physical functions by address.
    pub found: Vec<Function>,
    /// How many virtual functions there are besides.
    pub virtual_functions: u32,
    /// Functions without so much as an id; they may be on their way out.
    pub unread: Vec<Unread>,
}

/// A function that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// Its name in the folder.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Lists all physical functions; [`Fact::NotOffered`] on a machine without PCI.
pub fn functions(root: &Root) -> Fact<Functions> {
    root.names(DEVICES).map(|names| {
        let slots = slots(root);
        let mut all = Functions::default();
        for name in names {
            let folder = format!("{DEVICES}/{name}");
            if matches!(root.exists(&format!("{folder}/physfn")), Ok(true)) {
                all.virtual_functions += 1;
                continue;
            }
            match function(root, &name, &folder, &slots) {
                Fact::Known(function) => all.found.push(function),
                Fact::NotRead(reason) => all.unread.push(Unread { name, reason }),
                Fact::NotOffered => all.unread.push(Unread {
                    name,
                    reason: format!("{folder}: gone"),
                }),
            }
        }
        all.found.sort_unstable_by_key(|function| function.address);
        all
    })
}

fn function(root: &Root, name: &str, folder: &str, slots: &Slots) -> Fact<Function> {
    let address: Address = match name.parse() {
        Ok(address) => address,
        Err(error) => return Fact::NotRead(format!("{DEVICES}: {error}")),
    };
    let file = |name: &str| format!("{folder}/{name}");
    let id = |name: &str| root.number::<u16>(&file(name)).map(Id);
    id("vendor").and_then(|vendor| {
        id("device").and_then(|device| {
            root.number::<u32>(&file("class")).map(|class| {
                let mut above = root
                    .followed(folder)
                    .map(|path| Address::on_path(&path))
                    .known()
                    .unwrap_or_default();
                above.retain(|other| *other != address);
                Function {
                    address,
                    vendor,
                    device,
                    class,
                    revision: root.number(&file("revision")),
                    subsystem: subsystem(id("subsystem_vendor"), id("subsystem_device")),
                    driver: match root.link_name(&file("driver")) {
                        Fact::NotOffered => Fact::Known(None),
                        Fact::Known(driver) => Fact::Known(Some(driver)),
                        Fact::NotRead(why) => Fact::NotRead(why),
                    },
                    // The kernel says -1 where it knows of no node.
                    numa_node: root
                        .number::<i32>(&file("numa_node"))
                        .and_then(|node| u16::try_from(node).map_or(Fact::NotOffered, Fact::Known)),
                    link: link(root, folder),
                    sriov: root.number(&file("sriov_totalvfs")).and_then(|total| {
                        root.number(&file("sriov_numvfs"))
                            .map(|enabled| Sriov { total, enabled })
                    }),
                    slot: slot_of(slots, address, &above),
                    errors: counters::read(root, folder),
                    above,
                }
            })
        })
    })
}

/// Bridges have none, and some devices leave it at zero.
fn subsystem(vendor: Fact<Id>, device: Fact<Id>) -> Fact<Subsystem> {
    vendor.and_then(|vendor| {
        device.and_then(|device| match (vendor, device) {
            (Id(0 | 0xffff), _) => Fact::NotOffered,
            (vendor, device) => Fact::Known(Subsystem { vendor, device }),
        })
    })
}

fn link(root: &Root, folder: &str) -> Link {
    let width = |name: &str| {
        let path = format!("{folder}/{name}");
        root.number::<u8>(&path).and_then(|lanes| match lanes {
            0 | 0xff => Fact::NotRead(format!("{path}: the link is down")),
            lanes => Fact::Known(lanes),
        })
    };
    // `16.0 GT/s PCIe`, before Linux 5.8 `16 GT/s`.
    let speed = |name: &str| {
        let path = format!("{folder}/{name}");
        root.line(&path).and_then(|text| {
            text.split_once(" GT/s")
                .and_then(|(number, _)| megatransfers(number))
                .map_or_else(
                    || Fact::NotRead(format!("{path}: no speed, the link is down")),
                    Fact::Known,
                )
        })
    };
    Link {
        width: width("current_link_width"),
        max_width: width("max_link_width"),
        speed_mts: speed("current_link_speed"),
        max_speed_mts: speed("max_link_speed"),
    }
}

fn megatransfers(text: &str) -> Option<u32> {
    let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
    let tenths = tenths.parse::<u32>().ok().filter(|tenths| *tenths < 10)?;
    let whole = whole.parse::<u32>().ok().filter(|whole| *whole < 100_000)?;
    Some(whole * 1000 + tenths * 100)
}

/// Slot names by device (`0000:3b:00`).
type Slots = Fact<BTreeMap<String, String>>;

fn slots(root: &Root) -> Slots {
    root.names(SLOTS).map(|names| {
        names
            .into_iter()
            .filter_map(|name| {
                let device = root.line(&format!("{SLOTS}/{name}/address")).known()?;
                Some((device, name))
            })
            .collect()
    })
}

fn slot_of(slots: &Slots, address: Address, above: &[Address]) -> Fact<String> {
    slots.as_ref().and_then(|slots| {
        std::iter::once(&address)
            .chain(above.iter().rev())
            .find_map(|place| slots.get(&place.device_name()))
            .map_or(Fact::NotOffered, |name| Fact::Known(name.clone()))
    })
}
