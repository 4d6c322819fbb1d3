//! What every card must show, and what is missing of it.
//!
//! The minimum of a card (R31): vendor, model or family, serial number, one MAC address, cores,
//! memory, its disks (or that it has none), and a firmware or BMC version. What is missing
//! comes with the reason, which names everybody who could tell it.

use lockstep_crds::Dpu;
use lockstep_crds::dpu_inventory::{Completeness, Conflict, DpuInventorySpec, Missing, Sourced};
use lockstep_crds::inventory::SystemFacts;
use lockstep_crds::report::Vantage;

use super::Verdict;
use super::conflicts::cut;
use super::endpoint;
use super::sightings::Sighting;

const LONGEST_WHY: usize = 256;
const LONGEST_MESSAGE: usize = 1024;

/// Who could tell something.
#[derive(Clone, Copy)]
enum Teller {
    Host,
    Bmc,
    Agent,
}

struct Must {
    what: &'static str,
    group: &'static str,
    told: fn(&DpuInventorySpec) -> bool,
    tellers: &'static [Teller],
}

const EVERYBODY: &[Teller] = &[Teller::Host, Teller::Bmc, Teller::Agent];
const THE_CARD: &[Teller] = &[Teller::Agent, Teller::Bmc];

const MINIMUM: &[Must] = &[
    Must {
        what: "system.vendor",
        group: "system",
        told: |spec| system(spec).is_some_and(|system| system.vendor.is_some()),
        tellers: EVERYBODY,
    },
    Must {
        what: "system.model",
        group: "system",
        told: |spec| {
            system(spec).is_some_and(|system| system.model.is_some() || system.family.is_some())
        },
        tellers: EVERYBODY,
    },
    Must {
        what: "system.serialNumber",
        group: "system",
        told: |spec| system(spec).is_some_and(|system| system.serial_number.is_some()),
        tellers: EVERYBODY,
    },
    Must {
        what: "ports.mac",
        group: "ports",
        told: |spec| {
            let ports = spec.ports.iter().flat_map(|ports| &ports.facts.ports);
            ports.into_iter().any(|port| port.mac.is_some())
        },
        tellers: EVERYBODY,
    },
    Must {
        what: "cpu.cores",
        group: "cpu",
        told: |spec| facts(&spec.cpu).is_some_and(|cpu| cpu.cores.is_some_and(|cores| cores > 0)),
        tellers: THE_CARD,
    },
    Must {
        what: "memory.totalBytes",
        group: "memory",
        told: |spec| {
            facts(&spec.memory)
                .and_then(|memory| memory.total_bytes.or(memory.usable_bytes))
                .is_some_and(|bytes| bytes > 0)
        },
        tellers: THE_CARD,
    },
    Must {
        what: "disks",
        group: "disks",
        told: |spec| spec.disks.is_some(),
        tellers: THE_CARD,
    },
    Must {
        what: "firmware",
        group: "firmware",
        told: |spec| {
            let components = spec.firmware.iter().flat_map(|list| &list.facts.components);
            components.into_iter().any(|one| one.running.is_some())
                || facts(&spec.bmc).is_some_and(|bmc| bmc.firmware_version.is_some())
        },
        tellers: EVERYBODY,
    },
];

fn facts<T>(sourced: &Option<Sourced<T>>) -> Option<&T> {
    sourced.as_ref().map(|sourced| &sourced.facts)
}

fn system(spec: &DpuInventorySpec) -> Option<&SystemFacts> {
    facts(&spec.system)
}

/// What is missing, in the order of the minimum.
pub(super) fn missing(
    spec: &DpuInventorySpec,
    card: &Dpu,
    sightings: &[Sighting<'_>],
) -> Vec<Missing> {
    let mut missing: Vec<Missing> = MINIMUM
        .iter()
        .filter(|must| !(must.told)(spec))
        .map(|must| {
            let why: Vec<String> = must
                .tellers
                .iter()
                .map(|teller| teller.silence(must.group, card, sightings))
                .collect();
            Missing {
                what: must.what.to_owned(),
                why: cut(&why.join("; "), LONGEST_WHY),
            }
        })
        .collect();
    missing.extend(unreached(card, sightings));
    missing
}

/// A BMC that was found and that no spec can name.
fn unreached(card: &Dpu, sightings: &[Sighting<'_>]) -> Option<Missing> {
    if card.spec.bmc.is_some() {
        return None;
    }
    let found = sightings.iter().filter(|one| !one.missing());
    found
        .filter_map(|one| one.spec.found.as_ref())
        .find_map(|found| {
            let why = endpoint::to_spec(&found.endpoint).err()?;
            Some(Missing {
                what: "spec.bmc".to_owned(),
                why: cut(
                    &format!(
                        "its BMC was found at {} with {why}; write spec.bmc by hand",
                        found.endpoint.address
                    ),
                    LONGEST_WHY,
                ),
            })
        })
}

impl Teller {
    fn is(self, vantage: &Vantage) -> bool {
        match vantage {
            Vantage::HostOs | Vantage::HostBmc => matches!(self, Self::Host),
            Vantage::CardBmc | Vantage::FoundBmc => matches!(self, Self::Bmc),
            Vantage::CardOs => matches!(self, Self::Agent),
            Vantage::Site | Vantage::Scan | Vantage::Spec | Vantage::Unrecognized(_) => false,
        }
    }

    /// Why it does not tell.
    fn silence(self, group: &str, card: &Dpu, sightings: &[Sighting<'_>]) -> String {
        let mine = || sightings.iter().filter(|one| self.is(one.from()));
        let unread = mine()
            .flat_map(|one| &one.facts.unread)
            .find(|one| one.group == group);
        if let Some(unread) = unread {
            return format!("{} could not read it: {}", self.name(), unread.why);
        }
        let silent = mine()
            .filter_map(|one| one.spec.reachable.as_ref())
            .find(|reachable| !reachable.ok);
        if let Some(reachable) = silent {
            let reason = reachable.reason.as_deref().unwrap_or("Unreachable");
            return format!("{} does not answer ({reason})", self.name());
        }
        if mine().any(|one| one.spec.inventory.is_some() || one.seen.is_some()) {
            return format!("{} does not tell it", self.name());
        }
        let told = mine().next().is_some();
        match self {
            Self::Host => "no host sees the card".to_owned(),
            Self::Bmc if told => "its BMC has not been explored yet".to_owned(),
            Self::Bmc if card.spec.bmc.is_none() => {
                "spec.bmc names no BMC that could tell it".to_owned()
            }
            Self::Bmc => "its BMC has not been read yet".to_owned(),
            Self::Agent if told => "the card's own agent has not told its inventory yet".to_owned(),
            Self::Agent => "no agent runs in the card's operating system".to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Host => "its host",
            Self::Bmc => "its BMC",
            Self::Agent => "the card's own agent",
        }
    }
}

/// The condition that follows.
pub(super) fn verdict(spec: &DpuInventorySpec) -> Verdict {
    match &spec.completeness {
        Completeness::Complete => Verdict {
            status: "True",
            reason: "Complete",
            message: "everything that a card must show is known".to_owned(),
        },
        Completeness::Conflicting => Verdict {
            status: "False",
            reason: "Conflicting",
            message: cut(&contradicting(&spec.conflicts), LONGEST_MESSAGE),
        },
        Completeness::Partial | Completeness::Unrecognized(_) => Verdict {
            status: if spec.views.is_empty() {
                "Unknown"
            } else {
                "False"
            },
            reason: "Partial",
            message: cut(&lacking(&spec.missing), LONGEST_MESSAGE),
        },
    }
}

fn contradicting(conflicts: &[Conflict]) -> String {
    let each: Vec<String> = conflicts
        .iter()
        .map(|conflict| {
            let said: Vec<String> = conflict
                .said
                .iter()
                .map(|said| format!("{} says {}", said.report, said.value))
                .collect();
            format!("{}: {}", conflict.field, said.join(", "))
        })
        .collect();
    format!(
        "{}. Find out who is wrong and put it right there; nothing is joined on a guess",
        each.join("; ")
    )
}

fn lacking(missing: &[Missing]) -> String {
    let each: Vec<String> = missing
        .iter()
        .map(|missing| format!("{} ({})", missing.what, missing.why))
        .collect();
    format!("missing: {}", each.join("; "))
}
