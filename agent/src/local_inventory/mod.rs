//! From what this machine tells of itself to the inventory in a report.
//!
//! The report is smaller than the reading: lists end where the schema ends them and count what
//! they leave out, texts are cut to their bounds, and what changes by itself (uptimes, counters,
//! temperatures) has no place in it. So two readings of an unchanged machine are the same report.

mod bounds;
mod fit;
mod hot_plug;
mod offloads;
mod parts;
mod pci;
mod reader;

use std::time::Duration;

use lockstep_crds::inventory::Inventory;
use lockstep_local::inventory::{Inventory as Machine, Listed};
use lockstep_local::netlink::Told;
use lockstep_local::{Fact, LocalFacts, Root};
use lockstep_redfish::declared_capabilities;

use bounds::Unreads;
pub(crate) use bounds::{SERIAL, known_whole};
pub use fit::MOST_BYTES;
pub use reader::{InventoryReader, Latest, LocalMachine};

/// How long an rshim that does not answer is waited for.
const RSHIM_PATIENCE: Duration = Duration::from_secs(5);

/// Whose inventory it is. A host tells of the cards in it; a card tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of a server.
    Host,
    /// Of a card, from its own operating system.
    Card,
}

/// One reading of a machine.
#[derive(Clone, Debug)]
pub struct Reading {
    machine: Machine,
    facts: LocalFacts,
}

impl Reading {
    /// Reads the machine under `root`, of which the kernel `told` the rest. Blocks, for seconds
    /// where a card is slow to tell its vital product data.
    pub fn take(root: &Root, told: &Told) -> Self {
        Self {
            machine: Machine::read(root, told, RSHIM_PATIENCE),
            facts: LocalFacts::read(root),
        }
    }

    /// The inventory that a report holds.
    pub fn inventory(&self, whose: Whose) -> Inventory {
        let mut unread = Unreads::default();
        let Self { machine, facts } = self;
        let (cards, error_handling) = match whose {
            Whose::Host => (
                pci::cards(machine, &mut unread),
                pci::error_handling(machine, &mut unread),
            ),
            // From its own operating system a card sees itself, and no other machine.
            Whose::Card => (Vec::new(), Vec::new()),
        };
        let ports = unread.known("ports", machine.ports.fact.as_ref());
        let (ports, listed) = ports
            .map(|ports| parts::ports(ports, machine))
            .map_or((None, Vec::new()), |(list, ports)| (Some(list), ports));
        let system = parts::system(machine, whose, &mut unread);
        let family = system.as_ref().and_then(|system| system.family.as_deref());
        let mut inventory = Inventory {
            capabilities: family.and_then(declared_capabilities),
            system,
            firmware: parts::firmware(machine, whose, &mut unread),
            os: parts::os(facts, &mut unread),
            cpu: parts::cpu(machine, &mut unread),
            memory: parts::memory(machine, &mut unread),
            disks: unread
                .known("disks", machine.disks.fact.as_ref())
                .map(parts::disks),
            ports,
            functions: pci::functions(machine, whose, &mut unread),
            slots: pci::slots(machine, &mut unread),
            cards,
            tpm: parts::tpm(facts, &mut unread),
            secure_boot: parts::secure_boot(machine, &mut unread),
            offloads: match whose {
                Whose::Host => None,
                Whose::Card => offloads::of(&listed, &mut unread),
            },
            error_handling,
            contradictions: bounds::contradictions(&machine.conflicts),
            ..Inventory::default()
        };
        inventory.unread = unread.into_list();
        fit::to_most_bytes(&mut inventory);
        inventory
    }

    /// What a running system says, of the same moment.
    pub fn facts(&self) -> &LocalFacts {
        &self.facts
    }
}

/// The entries of a list that is known.
fn entries<T>(fact: &Fact<Listed<T>>) -> &[T] {
    match fact {
        Fact::Known(list) => &list.items,
        Fact::NotOffered | Fact::NotRead(_) => &[],
    }
}

#[cfg(test)]
mod tests;
