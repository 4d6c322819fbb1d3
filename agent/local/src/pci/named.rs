//! Functions of a card by name: `pf0`, `pf0vf3`, `pf0sf88`, each with its address on this host
//! and its network interface.
//!
//! The index of a physical function is its function number, as drivers count them; a card that
//! is several PCI devices tells them apart by their order of address (`d1pf0`). A card may have
//! hundreds of virtual functions and subfunctions: every physical one is listed with its counts,
//! of the others so many, the lowest indices of each first, and the rest is counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Address, DEVICES, Function, Sriov};
use crate::Root;

/// Functions of one card that are listed at most.
pub const MOST_NAMED: usize = 32;
/// Interfaces of one function that are looked at: a switch shows one for each of its ports.
const MOST_INTERFACES: usize = 512;

/// The functions of one card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// By name.
    pub functions: Vec<NamedFunction>,
    /// How many there are besides.
    pub omitted: u32,
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedFunction {
    /// Its name.
    pub name: FunctionName,
    /// Its address; a subfunction has that of its physical function.
    pub address: Address,
    /// Its network interface, where this network namespace has it.
    pub interface: Option<String>,
    /// Virtual functions, of a physical one that can have any.
    pub sriov: Option<Sriov>,
}

/// What tells a function of a card from its others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionName {
    /// Which PCI device of the card, in order of address.
    pub device: u16,
    /// Its physical function.
    pub physical: u8,
    /// What of it.
    pub part: Part,
}

/// The physical function itself, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Itself.
    Whole,
    /// The virtual function with this index.
    Virtual(u16),
    /// The subfunction with this number, which its user gave it.
    Sub(u32),
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.device > 0 {
            write!(f, "d{}", self.device)?;
        }
        write!(f, "pf{}", self.physical)?;
        match self.part {
            Part::Whole => Ok(()),
            Part::Virtual(index) => write!(f, "vf{index}"),
            Part::Sub(number) => write!(f, "sf{number}"),
        }
    }
}

/// Names the functions of one card, given its physical ones.
pub(super) fn named(root: &Root, physical: &[&Function]) -> Named {
    let mut devices: Vec<Address> = physical
        .iter()
        .map(|function| function.address.with_function(0))
        .collect();
    devices.sort_unstable();
    devices.dedup();
    let mut wholes = Vec::new();
    let mut parts = Vec::new();
    let mut uncounted = 0_usize;
    for function in physical {
        let at = devices.binary_search(&function.address.with_function(0));
        let name = |part| FunctionName {
            // Every device was entered, and there are no more of them than of addresses.
            device: u16::try_from(at.unwrap_or_default()).unwrap_or(u16::MAX),
            physical: function.address.function,
            part,
        };
        let folder = format!("{DEVICES}/{}", function.address);
        let sriov = function.sriov.as_ref().known().copied();
        wholes.push(NamedFunction {
            name: name(Part::Whole),
            address: function.address,
            interface: interface(root, &folder),
            sriov,
        });
        let enabled = sriov.map_or(0, |sriov| sriov.enabled);
        let virtuals = virtuals(root, &folder, enabled, name);
        uncounted += usize::from(enabled).saturating_sub(virtuals.len());
        let of_folder = subfunctions(root, &folder);
        let subs = subs(root, function, &folder, &of_folder, name);
        uncounted += of_folder.len().saturating_sub(subs.len());
        parts.extend(virtuals.into_iter().chain(subs));
    }
    wholes.sort_by_key(|one| one.name);
    let all = wholes.len() + parts.len() + uncounted;
    wholes.extend(in_turn(parts));
    wholes.truncate(MOST_NAMED);
    wholes.sort_by_key(|one| one.name);
    Named {
        omitted: u32::try_from(all - wholes.len()).unwrap_or(u32::MAX),
        functions: wholes,
    }
}

/// The first of each physical function before the second of any.
fn in_turn(mut parts: Vec<NamedFunction>) -> impl Iterator<Item = NamedFunction> {
    parts.sort_by_key(|one| one.name);
    let mut turns: BTreeMap<(u16, u8, bool), usize> = BTreeMap::new();
    let mut parts: Vec<(usize, NamedFunction)> = parts
        .into_iter()
        .map(|one| {
            let is_virtual = matches!(one.name.part, Part::Virtual(_));
            let turn = turns.entry((one.name.device, one.name.physical, is_virtual));
            let turn = turn.and_modify(|turn| *turn += 1).or_default();
            (*turn, one)
        })
        .collect();
    parts.sort_by_key(|(turn, one)| (*turn, one.name));
    parts.into_iter().map(|(_, one)| one)
}

/// Virtual functions, by the links of their physical one. What cannot be followed is left out.
fn virtuals(
    root: &Root,
    folder: &str,
    enabled: u16,
    name: impl Fn(Part) -> FunctionName,
) -> Vec<NamedFunction> {
    let one = |index| {
        let target = root.link_name(&format!("{folder}/virtfn{index}")).known()?;
        let address: Address = target.parse().ok()?;
        Some(NamedFunction {
            name: name(Part::Virtual(index)),
            address,
            interface: interface(root, &format!("{DEVICES}/{address}")),
            sriov: None,
        })
    };
    (0..enabled).take(MOST_NAMED).filter_map(one).collect()
}

/// Subfunctions, by their folders. One without a number is left out.
fn subs(
    root: &Root,
    of: &Function,
    folder: &str,
    folders: &[String],
    name: impl Fn(Part) -> FunctionName,
) -> Vec<NamedFunction> {
    let one = |sub: &String| {
        let folder = format!("{folder}/{sub}");
        let number = root.number(&format!("{folder}/sfnum")).known()?;
        Some(NamedFunction {
            name: name(Part::Sub(number)),
            address: of.address,
            interface: interface(root, &folder),
            sriov: None,
        })
    };
    folders.iter().take(MOST_NAMED).filter_map(one).collect()
}

/// Folders of subfunctions, `mlx5_core.sf.4`, in the order in which they were made.
fn subfunctions(root: &Root, folder: &str) -> Vec<String> {
    let number = |name: &str| -> Option<u32> { name.rsplit_once(".sf.")?.1.parse().ok() };
    let mut subs = root.names(folder).known().unwrap_or_default();
    subs.retain(|name| number(name).is_some());
    subs.sort_by_key(|name| number(name));
    subs
}

/// The interface of the function itself: the ports of a switch stand beside it, and say whose
/// they are (`pf0vf3`, `c1pf0`).
fn interface(root: &Root, folder: &str) -> Option<String> {
    let names = root.names(&format!("{folder}/net")).known()?;
    names.into_iter().take(MOST_INTERFACES).find(|name| {
        let port = root.line(&format!("{folder}/net/{name}/phys_port_name"));
        !port.known().is_some_and(|port| stands_for_another(&port))
    })
}

fn stands_for_another(port: &str) -> bool {
    let of_controller = port.strip_prefix('c').unwrap_or(port);
    let rest = of_controller.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.starts_with("pf")
}
