//! The fleet file: which machines there are, how slots hang together, which
//! faults are on from the start.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::Rule;
use crate::personality::{self, Personality, Role};
use crate::reset::ResetType;

/// A fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetSpec {
    /// The simulated date at the beginning; the real one if absent.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// How much faster than real time the fleet lives.
    #[serde(default = "one")]
    pub time_scale: f64,
    /// What images do to a disk, the first that fits; others are installers.
    #[serde(default)]
    pub images: Vec<ImageSpec>,
    /// Power domains.
    pub domains: Vec<DomainSpec>,
}

/// A power domain, or many that are alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainSpec {
    /// How many of them. With more than one, `{n}` in every name becomes the
    /// number, from 0001.
    #[serde(default = "one_domain")]
    pub count: u32,
    /// Hosts.
    #[serde(default)]
    pub hosts: Vec<MachineSpec>,
    /// Cards.
    #[serde(default)]
    pub cards: Vec<CardSpec>,
}

/// A machine with a BMC.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineSpec {
    /// Its name, unique in the fleet: letters, digits and dashes.
    pub name: String,
    /// Name of its personality.
    pub personality: String,
    /// Serial number; made from the name if absent.
    #[serde(default)]
    pub serial: Option<String>,
    /// System UUID; made from the name if absent.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Password of the personality's user; without it the factory's, which
    /// must be changed first, or `xpusim-<name>`.
    #[serde(default)]
    pub password: Option<String>,
    /// Whether it is off at the beginning.
    #[serde(default)]
    pub off: bool,
    /// The version on its disk; empty: nothing is installed.
    #[serde(default = "factory_os")]
    pub os: String,
    /// Whether a card is in NIC mode, so that its boot ends in UEFI.
    #[serde(default)]
    pub nic_mode: bool,
    /// Whether PCIe errors go to the firmware first, so that a surprise loss
    /// of a link crashes the host.
    #[serde(default)]
    pub firmware_first: bool,
    /// Whether its BMC, once it has written firmware of its own, goes on until somebody restarts it
    /// (`Manager.Reset`).
    #[serde(default)]
    pub firmware_waits: bool,
    /// Whether firmware that is written never begins to run, whatever is reset.
    #[serde(default)]
    pub firmware_stays: bool,
    /// What the FirmwareInventory lists of firmware that is written and does not run yet.
    #[serde(default)]
    pub firmware_lists: FirmwareLists,
    /// Faults that are on from the start.
    #[serde(default)]
    pub faults: Vec<Rule>,
    /// How long its BMC thinks.
    #[serde(default)]
    pub latency: Latency,
}

/// What a FirmwareInventory lists of a component that another version is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FirmwareLists {
    /// The version that runs.
    #[default]
    Running,
    /// Both: the other one as `PendingVersion` of the maker.
    Both,
    /// The other one, as if it ran.
    Written,
}

/// A card.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardSpec {
    /// The card as a machine.
    #[serde(flatten)]
    pub machine: MachineSpec,
    /// The slots it sits in: one for each host it serves.
    #[serde(default)]
    pub slots: Vec<SlotSpec>,
}

/// A slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotSpec {
    /// The host.
    pub host: String,
    /// The slot's number.
    #[serde(default = "one_domain")]
    pub number: u32,
    /// What the host's power does to it.
    #[serde(default)]
    pub slot_power: SlotPower,
    /// Resets of the host that cut it for a moment.
    #[serde(default)]
    pub cut_by: Vec<ResetType>,
    /// The card's BMC has no power without the slot either.
    #[serde(default)]
    pub bmc_on_slot_power: bool,
}

/// What a host's power does to a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SlotPower {
    /// The slot has power while the host is on.
    #[default]
    Coupled,
    /// The slot has standby power whenever there is mains power.
    Standby,
}

/// How long a BMC thinks, in real milliseconds: `fixed`, and up to `jitter`
/// more, spread evenly by request number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// For every request.
    #[serde(default)]
    pub fixed: u64,
    /// At most so much more.
    #[serde(default)]
    pub jitter: u64,
}

impl Latency {
    /// The milliseconds for the request of that number.
    pub fn of(self, request: u64) -> u64 {
        // Weyl's sequence: even, and the same in every run.
        let spread = request.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.fixed + spread % (self.jitter + 1)
    }
}

/// What an image does when it is booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    /// Images whose URL contains this.
    pub url_contains: String,
    /// What it does.
    pub does: ImageDoes,
    /// The version it installs; the file's name without its extension if absent.
    #[serde(default)]
    pub version: Option<String>,
    /// SHA-256 in hex that the bytes of an update must have, as a signature would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What an image does when it is booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImageDoes {
    /// It writes itself to the disk and restarts the machine.
    #[default]
    Installs,
    /// It runs from the medium and leaves the disk alone.
    Runs,
    /// The firmware cannot boot it.
    Fails,
}

/// What is wrong with a fleet file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It is no fleet file.
    #[error("the fleet file cannot be read: {0}; `xpusim --example` prints one")]
    Unreadable(String),
    /// A name that cannot be a host name.
    #[error("{0:?} is no name for a machine: use letters, digits and dashes")]
    Name(String),
    /// A name twice.
    #[error(
        "two machines are called {0:?}: give every machine its own name, with {{n}} where a domain has a count"
    )]
    Twice(String),
    /// No such personality.
    #[error(
        "machine {machine}: there is no personality {personality:?}; `xpusim --personalities` lists them"
    )]
    Personality {
        /// The machine.
        machine: String,
        /// What it named.
        personality: String,
    },
    /// A host where a card belongs, or the other way round.
    #[error("machine {machine}: {personality} is not the personality of a {wanted}")]
    Role {
        /// The machine.
        machine: String,
        /// Its personality.
        personality: String,
        /// `host` or `card`.
        wanted: &'static str,
    },
    /// A slot of a host that is not in the domain.
    #[error(
        "card {card}: no host {host:?} in its domain; list the host under `hosts` of the same domain"
    )]
    Host {
        /// The card.
        card: String,
        /// The host it named.
        host: String,
    },
}

/// One power domain, its names filled in and checked.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) machines: Vec<(MachineSpec, &'static Personality)>,
    /// Index of the card, index of the host, the slot.
    pub(crate) slots: Vec<(usize, usize, SlotSpec)>,
}

impl FleetSpec {
    /// Reads a fleet file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(yaml: &str) -> Result<Self, SpecError> {
        serde_yaml::from_str(yaml).map_err(|error| SpecError::Unreadable(error.to_string()))
    }

    /// Every power domain, checked.
    pub(crate) fn plan(&self) -> Result<Vec<Planned>, SpecError> {
        let mut names = BTreeSet::new();
        let mut planned = Vec::new();
        for domain in &self.domains {
            for number in 1..=domain.count {
                planned.push(domain.plan(number, &mut names)?);
            }
        }
        Ok(planned)
    }
}

impl DomainSpec {
    fn plan(&self, number: u32, names: &mut BTreeSet<String>) -> Result<Planned, SpecError> {
        let number = format!("{number:04}");
        let fill = |text: &str| text.replace("{n}", &number);
        let mut machines = Vec::new();
        let hosts = self.hosts.iter().map(|spec| (spec, Role::Host));
        let cards = self.cards.iter().map(|card| (&card.machine, Role::Card));
        for (spec, role) in hosts.chain(cards) {
            let mut spec = spec.clone();
            spec.name = fill(&spec.name);
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if spec.name.is_empty() || !spec.name.chars().all(fits) {
                return Err(SpecError::Name(spec.name));
            }
            if !names.insert(spec.name.clone()) {
                return Err(SpecError::Twice(spec.name));
            }
            let Some(personality) = personality::find(&spec.personality) else {
                return Err(SpecError::Personality {
                    machine: spec.name,
                    personality: spec.personality,
                });
            };
            if personality.role != role {
                return Err(SpecError::Role {
                    machine: spec.name,
                    personality: spec.personality,
                    wanted: match role {
                        Role::Host => "host",
                        Role::Card => "card",
                    },
                });
            }
            machines.push((spec, personality));
        }
        let mut slots = Vec::new();
        for (index, card) in self.cards.iter().enumerate() {
            for slot in &card.slots {
                let wanted = fill(&slot.host);
                let host = self
                    .hosts
                    .iter()
                    .position(|host| fill(&host.name) == wanted)
                    .ok_or_else(|| SpecError::Host {
                        card: fill(&card.machine.name),
                        host: wanted,
                    })?;
                slots.push((self.hosts.len() + index, host, slot.clone()));
            }
        }
        Ok(Planned { machines, slots })
    }
}

fn one() -> f64 {
    1.0
}

fn one_domain() -> u32 {
    1
}

fn factory_os() -> String {
    "factory".to_owned()
}

/// A fleet file to begin with.
pub const EXAMPLE: &str = include_str!("../fleet.example.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_fleet() {
        let fleet = FleetSpec::parse(EXAMPLE).unwrap();
        let planned = fleet.plan().unwrap();
        assert!(planned.len() > 4);
        assert!(planned.iter().any(|domain| domain.slots.len() > 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let read = |yaml: &str| FleetSpec::parse(yaml).and_then(|fleet| fleet.plan());
        for (yaml, wanted) in [
            (
                "domains: [{hosts: [{name: a, personality: generic-dpu}]}]",
                "not the personality of a host",
            ),
            (
                "domains: [{hosts: [{name: a, personality: nonsense}]}]",
                "no personality",
            ),
            (
                "domains: [{count: 2, hosts: [{name: a, personality: generic-host}]}]",
                "two machines",
            ),
            (
                "domains: [{hosts: [{name: a.b, personality: generic-host}]}]",
                "no name",
            ),
            (
                "domains: [{cards: [{name: c, personality: generic-dpu, slots: [{host: h}]}]}]",
                "no host \"h\"",
            ),
            ("domains: 7", "cannot be read"),
        ] {
            let error = read(yaml).unwrap_err().to_string();
            assert!(error.contains(wanted), "{yaml}: {error}");
        }
    }

    #[test]
    fn latency_stays_within_its_bounds_and_is_spread() {
        let latency = Latency {
            fixed: 30,
            jitter: 9,
        };
        let seen: BTreeSet<u64> = (0..200).map(|request| latency.of(request)).collect();
        assert_eq!((seen.first(), seen.last()), (Some(&30), Some(&39)));
        assert_eq!(Latency::default().of(7), 0);
    }
}
