//! Which functions are one card, and what tells that card apart.
//!
//! Functions are one card when they are one PCI device, sit below the same switch on the card
//! and do not say different serial numbers, or say the same serial number. Junk joins nothing, and where a serial number and a device
//! serial number contradict each other, nothing is joined and the contradiction is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::models::{Model, Role, model};
use super::named::named;
use super::{
    Address, ConfigSpace, DEVICES, ErrorHandling, Function, Named, config, error_handling,
};
use crate::vpd::{self, Vpd};
use crate::{Fact, Root};

/// What the card's PCI side looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// It answers as itself.
    Answers,
    /// It answers with a recovery id: its firmware is broken or held back. It is the card that
    /// was in this slot before, not a new one.
    Recovery,
    /// The kernel still lists it, but it answers with ones only.
    Gone,
}

/// One xPU as seen over PCI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// Who makes it.
    pub maker: String,
    /// Its family: `BlueField-3`.
    pub family: String,
    /// Its functions, without bridges.
    pub functions: Vec<Address>,
    /// The same by name, and what they are divided into.
    pub named: Named,
    /// Its physical slot by the kernel's name.
    pub slot: Fact<String>,
    /// How it answers.
    pub health: Fact<Health>,
    /// `SN` of its vital product data.
    pub serial: Fact<String>,
    /// `PN`.
    pub part_number: Fact<String>,
    /// `EC`, the engineering change level.
    pub revision: Fact<String>,
    /// Device serial number from configuration space.
    pub device_serial: Fact<String>,
    /// All of its vital product data.
    pub vpd: Fact<Vpd>,
    /// Who handles errors on the way to it.
    pub error_handling: ErrorHandling,
    /// What does not fit together, in words.
    pub conflicts: Vec<String>,
}

/// The functions of one PCI device and what that device says.
struct Device<'a> {
    functions: Vec<(&'a Function, &'static Model)>,
    /// The outermost port of the card's own switch.
    switch: Option<Address>,
    vpd: Fact<Vpd>,
    config: Fact<ConfigSpace>,
    gone: bool,
}

/// Groups the functions that belong to xPUs. Only theirs is the vital product data read: that
/// takes some cards a second.
pub fn cards(root: &Root, functions: &[Function]) -> Vec<Card> {
    let mut devices: BTreeMap<Address, Device<'_>> = BTreeMap::new();
    for function in functions {
        let Some(model) = model(function.vendor, function.device) else {
            continue;
        };
        if matches!(model.role, Role::Bridge | Role::VirtualFunction) {
            continue;
        }
        devices
            .entry(function.address.with_function(0))
            .or_insert_with(|| Device::read(root, function, functions))
            .functions
            .push((function, model));
    }
    let devices: Vec<Device<'_>> = devices.into_values().collect();
    let (group, conflicts) = grouped(&devices);
    let mut cards: BTreeMap<usize, (Vec<&Device<'_>>, Vec<String>)> = BTreeMap::new();
    for ((device, conflicts), name) in devices.iter().zip(conflicts).zip(group) {
        let (devices, all) = cards.entry(name).or_default();
        devices.push(device);
        all.extend(conflicts);
    }
    cards
        .into_values()
        .filter_map(|(devices, conflicts)| card(root, &devices, conflicts))
        .collect()
}

/// The number of the card of each device, and what contradicts what. Devices that say one serial
/// number come first: what says none goes to no two cards.
fn grouped(devices: &[Device<'_>]) -> (Vec<usize>, Vec<Vec<String>>) {
    let mut group: Vec<usize> = (0..devices.len()).collect();
    let mut serials: Vec<Option<&str>> = devices.iter().map(Device::serial).collect();
    let mut conflicts: Vec<Vec<String>> = vec![Vec::new(); devices.len()];
    let mut same = Vec::new();
    for (at, device) in devices.iter().enumerate() {
        for (before, other) in devices.iter().enumerate().take(at) {
            match device.compare(other) {
                Relation::Other => {}
                Relation::Same => same.push((before, at)),
                Relation::Contradictory(what) => {
                    let tell = |other: &Device<'_>| format!("{}: {what}", other.first().address);
                    conflicts[at].push(tell(other));
                    conflicts[before].push(tell(device));
                }
            }
        }
    }
    same.sort_by_key(|(before, at)| serials[*before].zip(serials[*at]).is_none());
    for (before, at) in same {
        let (from, to) = (group[at], group[before]);
        let said = serials[from].zip(serials[to]);
        if said.is_some_and(|(one, other)| one != other) {
            continue;
        }
        serials[to] = serials[to].or(serials[from]);
        for name in &mut group {
            if *name == from {
                *name = to;
            }
        }
    }
    (group, conflicts)
}

enum Relation {
    Same,
    Other,
    Contradictory(&'static str),
}

impl<'a> Device<'a> {
    fn read(root: &Root, function: &'a Function, all: &[Function]) -> Self {
        let folder = format!("{DEVICES}/{}", function.address);
        let config = root.bytes(&format!("{folder}/config")).map(|bytes| {
            config::parse(&bytes).map_err(|error| (error, format!("{folder}/config: {error}")))
        });
        let gone = matches!(&config, Fact::Known(Err((config::ConfigError::Gone, _))));
        let config = config.and_then(|read| match read {
            Ok(config) => Fact::Known(config),
            Err((_, why)) => Fact::NotRead(why),
        });
        // A dead device lets every word of its vital product data run into a time limit.
        let vpd = if gone {
            Fact::NotRead(format!("{folder}/vpd: the device does not answer"))
        } else {
            root.bytes(&format!("{folder}/vpd"))
                .and_then(|bytes| match vpd::parse(&bytes) {
                    Ok(vpd) => Fact::Known(vpd),
                    Err(error) => Fact::NotRead(format!("{folder}/vpd: {error}")),
                })
        };
        let on_card = |address: &&Address| {
            all.iter()
                .find(|bridge| bridge.address == **address)
                .and_then(|bridge| model(bridge.vendor, bridge.device))
                .is_some_and(|model| model.role == Role::Bridge)
        };
        Self {
            functions: Vec::new(),
            switch: function.above.iter().find(on_card).copied(),
            vpd,
            config,
            gone,
        }
    }

    /// Every device was entered with a function; it has that one first.
    fn first(&self) -> &'a Function {
        self.functions[0].0
    }

    fn serial(&self) -> Option<&str> {
        self.vpd.as_ref().known().and_then(Vpd::serial)
    }

    fn device_serial(&self) -> Option<&str> {
        let config = self.config.as_ref().known()?;
        config.serial.as_deref()
    }

    fn compare(&self, other: &Self) -> Relation {
        let both = |a: Option<&str>, b: Option<&str>| a.zip(b).map(|(a, b)| a == b);
        if self.first().vendor != other.first().vendor {
            return Relation::Other;
        }
        let serial = both(self.serial(), other.serial());
        // A card may have another plugged in below its switch.
        if self.switch.is_some() && self.switch == other.switch && serial != Some(false) {
            return Relation::Same;
        }
        match (serial, both(self.device_serial(), other.device_serial())) {
            (Some(true), Some(false)) => {
                Relation::Contradictory("same serial number, other device serial number")
            }
            (Some(false), Some(true)) => {
                Relation::Contradictory("same device serial number, other serial number")
            }
            (Some(true), Some(true) | None) | (None, Some(true)) => Relation::Same,
            (Some(false) | None, Some(false) | None) => Relation::Other,
        }
    }
}

fn card(root: &Root, devices: &[&Device<'_>], mut conflicts: Vec<String>) -> Option<Card> {
    let functions: Vec<(&Function, &Model)> = devices
        .iter()
        .flat_map(|device| device.functions.iter().copied())
        .collect();
    let (first, family) = functions.first()?;
    let recovery = functions
        .iter()
        .any(|(_, model)| model.role == Role::Recovery);
    let serials: Vec<Fact<_>> = devices
        .iter()
        .map(|device| {
            let config = device.config.as_ref();
            config.and_then(|config| config.serial.clone().map_or(Fact::NotOffered, Fact::Known))
        })
        .collect();
    let device_serial = first_known(serials.iter());
    let config = first_known(devices.iter().map(|device| &device.config));
    let health = if recovery {
        Fact::Known(Health::Recovery)
    } else if devices.iter().all(|device| device.gone) {
        Fact::Known(Health::Gone)
    } else {
        config.as_ref().map(|_| Health::Answers)
    };
    let vpd = first_known(devices.iter().map(|device| &device.vpd));
    let field = |read: fn(&Vpd) -> Option<&str>| {
        vpd.as_ref()
            .and_then(|vpd| read(vpd).map_or(Fact::NotOffered, |text| Fact::Known(text.to_owned())))
    };
    for (other, model) in &functions {
        if model.family != family.family {
            conflicts.push(format!(
                "{} is of the family {}, {} of {}",
                first.address, family.family, other.address, model.family
            ));
        }
    }
    Some(Card {
        maker: family.maker.to_owned(),
        family: family.family.to_owned(),
        functions: functions
            .iter()
            .map(|(function, _)| function.address)
            .collect(),
        named: named(
            root,
            &functions
                .iter()
                .map(|(function, _)| *function)
                .collect::<Vec<_>>(),
        ),
        slot: first.slot.clone(),
        health,
        serial: field(Vpd::serial),
        part_number: field(Vpd::part_number),
        revision: field(Vpd::revision),
        device_serial,
        vpd,
        error_handling: error_handling(root, &first.above),
        conflicts,
    })
}

/// The first that is known, else the first that says why not, else not offered.
fn first_known<'a, T: Clone + 'a>(facts: impl Iterator<Item = &'a Fact<T>>) -> Fact<T> {
    let mut best = Fact::NotOffered;
    for fact in facts {
        match (fact, &best) {
            (Fact::Known(_), _) => return fact.clone(),
            (Fact::NotRead(_), Fact::NotOffered) => best = fact.clone(),
            (Fact::NotRead(_), _) | (Fact::NotOffered, _) => {}
        }
    }
    best
}
