//! A power domain: hosts, the cards in their slots, and what happens to them.
//!
//! Pure: no I/O, no clock, no randomness. Whoever calls brings the moment with
//! [`Domain::settle`], which first lets everything happen that was due; the
//! verbs then act at that moment. What is planned and has become void (the
//! machine lost power, the BMC restarted) does not happen.

mod bmc;
mod boot;
mod media;
mod power;
mod update;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use update::Image;

use crate::clock::Moment;
use crate::effect::{Cause, Effect, EffectLog, What};
use crate::fault::{Fault, Rule};
use crate::machine::Machine;
use crate::personality::Role;
use crate::reset::{Power, ResetType};
use crate::spec::{ImageSpec, Planned, SlotPower};

/// Position of a machine in its domain.
pub(crate) type Index = usize;

/// A power domain.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: Vec<Link>,
    pub(crate) now: Moment,
    pub(crate) start: Timestamp,
    images: Arc<[ImageSpec]>,
    /// The part of each image that is kept.
    pub(crate) keeps: Range<u64>,
    mains: bool,
    queue: Vec<Due>,
    order: u64,
    log: EffectLog,
}

/// A card in a slot of a host.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) card: Index,
    pub(crate) host: Index,
    pub(crate) number: u32,
    power: SlotPower,
    cut_by: Vec<ResetType>,
    bmc_on_slot_power: bool,
}

/// Something that will happen.
#[derive(Debug)]
struct Due {
    at: Moment,
    order: u64,
    machine: Index,
    life: Life,
    event: Event,
}

/// Whose restart makes a planned event void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Machine(u64),
    Bmc(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Power has come up: the boot begins.
    PoweredUp(Cause),
    /// Power comes back after a cycle.
    PowerBack(Cause),
    /// An orderly shutdown has ended; the cause is that of what follows.
    ShutDown { restart: bool, cause: Cause },
    /// The boot reaches the stage at this position.
    Stage(usize),
    /// A crash dump is complete.
    Dumped,
    /// An installer has finished.
    Installed,
    /// The BMC's restart takes the machine with it.
    TakenAlong,
    /// The BMC answers again.
    BmcUp,
    /// A task ends.
    TaskEnds(u64),
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not in this power state.
    WrongState(Power),
    /// Something else is going on.
    Busy,
    /// The UpdateService is busy: with this HTTP status, and for so many seconds.
    UpdateBusy(u16, Option<u64>),
    /// The slot holds something already, or nothing.
    Occupied,
    /// A fault of the BMC's.
    Failed,
}

impl Domain {
    pub(crate) fn new(planned: Planned, start: Timestamp, images: Arc<[ImageSpec]>) -> Self {
        let machines = planned
            .machines
            .iter()
            .map(|(spec, personality)| Machine::new(spec, personality))
            .collect();
        let links = planned
            .slots
            .into_iter()
            .map(|(card, host, slot)| Link {
                card,
                host,
                number: slot.number,
                power: slot.slot_power,
                cut_by: slot.cut_by,
                bmc_on_slot_power: slot.bmc_on_slot_power,
            })
            .collect();
        let mut domain = Self {
            machines,
            links,
            now: Moment::START,
            start,
            images,
            keeps: 0..0,
            mains: true,
            queue: Vec::new(),
            order: 0,
            log: EffectLog::default(),
        };
        // A card in a slot without power begins without.
        for card in 0..domain.machines.len() {
            if !domain.slot_feeds(card) {
                let machine = &mut domain.machines[card];
                machine.fed = false;
                machine.power = Power::Off;
                machine.stage = None;
                machine.boots = 0;
                if domain.bmc_follows_slot(card) {
                    domain.machines[card].bmc.up = false;
                }
            }
        }
        domain
    }

    /// Lets everything happen that is due until `now`, in order.
    pub(crate) fn settle(&mut self, now: Moment) {
        while let Some(position) = self.next_due(now) {
            let due = self.queue.swap_remove(position);
            self.now = self.now.max(due.at);
            let machine = &self.machines[due.machine];
            let current = match due.life {
                Life::Machine(life) => machine.life == life,
                Life::Bmc(life) => machine.bmc.life == life,
            };
            if current {
                self.happen(due.machine, due.event);
            }
        }
        self.now = self.now.max(now);
    }

    fn next_due(&self, now: Moment) -> Option<usize> {
        self.queue
            .iter()
            .enumerate()
            .filter(|(_, due)| due.at <= now)
            .min_by_key(|(_, due)| (due.at, due.order))
            .map(|(position, _)| position)
    }

    fn happen(&mut self, machine: Index, event: Event) {
        match event {
            Event::PoweredUp(cause) => self.boot(machine, cause, true),
            Event::PowerBack(cause) => self.power_up(machine, cause),
            Event::ShutDown { restart, cause } => self.shut_down(machine, restart, cause),
            Event::Stage(position) => self.reach(machine, position),
            Event::Dumped => self.dumped(machine),
            Event::Installed => self.installed(machine),
            Event::TakenAlong => self.taken_along(machine),
            Event::BmcUp => self.bmc_up(machine),
            Event::TaskEnds(task) => self.task_ends(machine, task),
        }
    }

    /// Plans something that a change of the machine's power makes void.
    fn plan(&mut self, machine: Index, seconds: u64, event: Event) {
        let life = Life::Machine(self.machines[machine].life);
        self.enqueue(machine, seconds, life, event);
    }

    /// Plans something that a restart of the BMC makes void.
    fn plan_bmc(&mut self, machine: Index, seconds: u64, event: Event) {
        let life = Life::Bmc(self.machines[machine].bmc.life);
        self.enqueue(machine, seconds, life, event);
    }

    fn enqueue(&mut self, machine: Index, seconds: u64, life: Life, event: Event) {
        self.order += 1;
        self.queue.push(Due {
            at: self.now.plus(Duration::from_secs(seconds)),
            order: self.order,
            machine,
            life,
            event,
        });
    }

    /// Writes to the effect log.
    pub(crate) fn note(&mut self, machine: Index, what: What) {
        let name = &self.machines[machine].name;
        self.log.append(self.now, name, what);
    }

    /// The effect log from a position on.
    pub(crate) fn effects(&self, from: u64) -> &[Effect] {
        self.log.from(from)
    }

    /// Whether a fault strikes now that is not about a request; it is noted.
    pub(crate) fn strikes(&mut self, machine: Index, fault: Fault) -> Option<Rule> {
        let rule = self.machines[machine].faults.strike(fault)?;
        self.struck(machine, fault);
        Some(rule)
    }

    /// The same for a request. It is counted, and not in the effect log: most that strikes
    /// requests changes what is told, and nothing that is done.
    pub(crate) fn strikes_request(
        &mut self,
        machine: Index,
        fault: Fault,
        method: &str,
        path: &str,
    ) -> Option<Rule> {
        let faults = &mut self.machines[machine].faults;
        let rule = faults.strike_request(fault, method, path)?;
        self.meets(machine, fault);
        Some(rule)
    }

    /// Notes that a fault struck.
    fn struck(&mut self, machine: Index, fault: Fault) {
        self.meets(machine, fault);
        self.note(machine, What::FaultStruck { fault });
    }

    /// Counts that a fault was met: it struck, or what it demands was given.
    fn meets(&mut self, machine: Index, fault: Fault) {
        let met = &mut self.machines[machine].requests.met;
        *met.entry(fault).or_default() += 1;
    }

    /// Counts a demand that a request fulfils, if it is made of it.
    pub(crate) fn fulfils(&mut self, machine: Index, fault: Fault, method: &str, path: &str) {
        let faults = &self.machines[machine].faults;
        if faults.covers(fault, method, path) {
            self.meets(machine, fault);
        }
    }

    /// Switches a fault on.
    pub(crate) fn switch_on(&mut self, machine: Index, rule: Rule) {
        let fault = rule.fault;
        self.machines[machine].faults.add(rule);
        self.note(machine, What::FaultSwitched { fault, on: true });
    }

    /// Switches a fault off.
    pub(crate) fn switch_off(&mut self, machine: Index, fault: Fault) {
        if self.machines[machine].faults.remove(fault) {
            self.note(machine, What::FaultSwitched { fault, on: false });
        }
    }

    /// The hosts of a card.
    fn hosts_of(&self, card: Index) -> Vec<Index> {
        let links = self.links.iter().filter(|link| link.card == card);
        links.map(|link| link.host).collect()
    }

    /// The cards of a host.
    fn cards_of(&self, host: Index) -> Vec<Index> {
        let links = self.links.iter().filter(|link| link.host == host);
        links.map(|link| link.card).collect()
    }

    fn is_host(&self, machine: Index) -> bool {
        self.machines[machine].personality.role == Role::Host
    }

    /// Whether any slot gives the machine power. What sits in no slot has
    /// its own supply.
    fn slot_feeds(&self, card: Index) -> bool {
        let mut in_slot = false;
        for link in self.links.iter().filter(|link| link.card == card) {
            in_slot = true;
            let feeds = match link.power {
                SlotPower::Coupled => self.machines[link.host].power != Power::Off,
                SlotPower::Standby => true,
            };
            if feeds && self.mains {
                return true;
            }
        }
        !in_slot && self.mains
    }

    /// Whether the card's BMC lives on slot power alone, in every slot.
    fn bmc_follows_slot(&self, card: Index) -> bool {
        let mut links = self
            .links
            .iter()
            .filter(|link| link.card == card)
            .peekable();
        links.peek().is_some() && links.all(|link| link.bmc_on_slot_power)
    }
}

#[cfg(test)]
mod tests;
