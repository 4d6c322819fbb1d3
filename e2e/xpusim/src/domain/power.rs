//! Power: resets, slots, mains.
//!
//! Sources: hardware.md section 2 (what each reset does on which vendor's
//! card, PowerCycle waiting for the hosts, Paused, slot power).

use super::{Domain, Event, Index, Refused};
use crate::effect::{Cause, What};
use crate::fault::Fault;
use crate::reset::{Power, ResetType, RestorePolicy};
use crate::stage::Stage;

/// Seconds between "power on" and the first instruction.
const POWER_UP: u64 = 2;

/// Seconds for which a slot loses power when a reset of the host cuts it.
const BLINK: u64 = 2;

impl Domain {
    /// `ComputerSystem.Reset`.
    pub(crate) fn reset(&mut self, machine: Index, kind: ResetType) -> Result<(), Refused> {
        let state = self.machines[machine].power;
        if self.strikes(machine, Fault::ResetRefused).is_some() {
            return Err(Refused::WrongState(state));
        }
        if self.strikes(machine, Fault::ResetIgnored).is_some() || self.too_close(machine) {
            self.ignore(machine, kind);
            return Ok(());
        }
        self.machines[machine].last_power_command = Some(self.now);
        self.do_reset(machine, kind, Cause::Request(kind))
    }

    /// The same by somebody who does not ask the BMC.
    pub(crate) fn press(&mut self, machine: Index, kind: ResetType) -> Result<(), Refused> {
        self.do_reset(machine, kind, Cause::Stranger)
    }

    fn do_reset(&mut self, machine: Index, kind: ResetType, cause: Cause) -> Result<(), Refused> {
        let state = self.machines[machine].power;
        let resets = &self.machines[machine].personality.reset;
        let os_runs = self.machines[machine].stage == Some(Stage::OsRunning);
        match kind {
            ResetType::On | ResetType::ForceOn => self.turn_on(machine, kind, cause),
            ResetType::ForceOff => {
                self.lose_link(machine, kind);
                self.cut(machine, cause);
            }
            ResetType::PushPowerButton if state == Power::Off => {
                self.turn_on(machine, kind, cause);
            }
            ResetType::GracefulShutdown | ResetType::PushPowerButton if os_runs => {
                let seconds = resets.shutdown_seconds;
                self.machines[machine].power = Power::PoweringOff;
                self.restart_life(machine);
                let restart = false;
                self.plan(machine, seconds, Event::ShutDown { restart, cause });
            }
            ResetType::GracefulRestart if os_runs => {
                let seconds = resets.shutdown_seconds;
                self.restart_life(machine);
                let restart = true;
                self.plan(machine, seconds, Event::ShutDown { restart, cause });
            }
            // Nobody there to listen: accepted, and nothing comes of it.
            ResetType::GracefulShutdown
            | ResetType::GracefulRestart
            | ResetType::PushPowerButton => self.ignore(machine, kind),
            ResetType::ForceRestart | ResetType::PowerCycle if state == Power::Off => {
                if !resets.restart_turns_on {
                    return Err(Refused::WrongState(state));
                }
                self.turn_on(machine, kind, cause);
            }
            ResetType::ForceRestart => self.restart(machine, cause),
            ResetType::PowerCycle if resets.cycle_waits_for_hosts && self.a_host_is_on(machine) => {
                self.machines[machine].cycle_armed = true;
                let request = kind.as_str().to_owned();
                self.note(machine, What::Armed { request });
            }
            ResetType::PowerCycle => self.cycle(machine, cause),
            ResetType::Nmi if state == Power::On => self.crash(machine, false),
            ResetType::Nmi => self.ignore(machine, kind),
        }
        Ok(())
    }

    fn turn_on(&mut self, machine: Index, kind: ResetType, cause: Cause) {
        let one = &self.machines[machine];
        // `On` on a paused BlueField answers with success and does nothing.
        if one.power == Power::Off && one.fed {
            self.power_up(machine, cause);
        } else {
            self.ignore(machine, kind);
        }
    }

    fn ignore(&mut self, machine: Index, kind: ResetType) {
        let request = kind.as_str().to_owned();
        self.note(machine, What::Ignored { request });
    }

    /// Two commands too close to each other: the second is lost (hardware.md 2.4).
    fn too_close(&mut self, machine: Index) -> bool {
        let Some(last) = self.machines[machine].last_power_command else {
            return false;
        };
        let since = self.now.since(last).as_secs();
        let rules = self.machines[machine].faults.rules();
        let gap = rules
            .iter()
            .find(|rule| rule.fault == Fault::TooCloseLost)
            .map_or(0, |rule| rule.seconds.unwrap_or(120));
        since < gap && self.strikes(machine, Fault::TooCloseLost).is_some()
    }

    /// Power comes; the boot begins a little later.
    pub(super) fn power_up(&mut self, machine: Index, cause: Cause) {
        let one = &mut self.machines[machine];
        if one.power != Power::Off || !one.fed {
            return;
        }
        one.power = Power::PoweringOn;
        self.restart_life(machine);
        self.note(machine, What::PoweredOn { cause });
        self.plan(machine, POWER_UP, Event::PoweredUp(cause));
        if self.is_host(machine) {
            self.refresh_slots(machine);
        }
    }

    /// Power goes.
    pub(super) fn cut(&mut self, machine: Index, cause: Cause) {
        if self.machines[machine].power == Power::Off {
            // A cycle that was about to give power back is off for good now.
            self.restart_life(machine);
            return;
        }
        self.harm(machine, cause);
        let one = &mut self.machines[machine];
        let stage = one.stage.take();
        one.power = Power::Off;
        one.booted_from.clear();
        let (at, text) = (self.now, "Server power removed.");
        one.log_line(at, text);
        self.restart_life(machine);
        self.note(machine, What::PoweredOff { cause, stage });
        if self.is_host(machine) {
            self.refresh_slots(machine);
            self.release_cycles(machine);
        }
    }

    /// A reset that keeps power.
    pub(super) fn restart(&mut self, machine: Index, cause: Cause) {
        self.harm(machine, cause);
        if let Cause::Request(kind) = cause
            && self.is_host(machine)
        {
            self.blink_slots(machine, kind);
        }
        self.boot(machine, cause, false);
    }

    fn cycle(&mut self, machine: Index, cause: Cause) {
        self.lose_link(machine, ResetType::PowerCycle);
        self.cut(machine, cause);
        let seconds = self.machines[machine].personality.reset.off_seconds;
        self.plan(machine, seconds, Event::PowerBack(cause));
    }

    /// A vendor's reset of the whole chip that asks no host (BlueField's
    /// `SOC.ForceReset`).
    pub(crate) fn reset_chip(&mut self, machine: Index) {
        self.drop_link(machine);
        self.harm(machine, Cause::ChipReset);
        if self.machines[machine].power != Power::Off {
            self.boot(machine, Cause::ChipReset, true);
        }
    }

    pub(super) fn shut_down(&mut self, machine: Index, restart: bool, cause: Cause) {
        if restart {
            self.restart(machine, cause);
        } else if self.machines[machine].personality.reset.shutdown_pauses {
            let one = &mut self.machines[machine];
            one.power = Power::Paused;
            one.stage = Some(Stage::OsHalted);
            one.stage_since = self.now;
            self.note(
                machine,
                What::Reached {
                    stage: Stage::OsHalted,
                },
            );
        } else {
            self.cut(machine, cause);
        }
    }

    /// Notes the damage that a loss of power or a reset does in this stage.
    pub(super) fn harm(&mut self, machine: Index, cause: Cause) {
        let Some(stage) = self.machines[machine].stage else {
            return;
        };
        if stage.breaks_without_power() {
            if stage == Stage::FirmwareUpdating {
                // Half an operating system does not boot.
                self.machines[machine].disk.clear();
                self.fail_os_update(machine);
            }
            self.note(machine, What::Damaged { stage, cause });
        }
    }

    /// Makes everything void that was planned for the machine.
    pub(super) fn restart_life(&mut self, machine: Index) {
        self.machines[machine].life += 1;
    }

    fn a_host_is_on(&self, card: Index) -> bool {
        self.hosts_of(card)
            .iter()
            .any(|host| self.machines[*host].power != Power::Off)
    }

    /// Lets the power cycles happen that waited for this host.
    fn release_cycles(&mut self, host: Index) {
        for card in self.cards_of(host) {
            if self.machines[card].cycle_armed && !self.a_host_is_on(card) {
                self.machines[card].cycle_armed = false;
                self.cycle(card, Cause::Request(ResetType::PowerCycle));
            }
        }
    }

    /// A power cycle that waits is forgotten with the power of the card.
    fn disarm(&mut self, card: Index) {
        if std::mem::take(&mut self.machines[card].cycle_armed) {
            let request = ResetType::PowerCycle.as_str().to_owned();
            self.note(card, What::Disarmed { request });
        }
    }

    /// Gives power to a host's slots, or takes it away.
    fn refresh_slots(&mut self, host: Index) {
        for card in self.cards_of(host) {
            self.refresh_feed(card);
        }
    }

    fn refresh_feed(&mut self, card: Index) {
        let feeds = self.slot_feeds(card);
        if feeds == self.machines[card].fed {
            return;
        }
        let cause = if self.mains {
            Cause::SlotPower
        } else {
            Cause::Mains
        };
        if feeds {
            self.machines[card].fed = true;
            if self.bmc_follows_slot(card) {
                self.bmc_starts(card);
            }
            self.power_up(card, cause);
        } else {
            self.disarm(card);
            self.cut(card, cause);
            self.machines[card].fed = false;
            if self.bmc_follows_slot(card) {
                self.bmc_goes(card);
            }
        }
    }

    /// A reset of the host that cuts slots for a moment.
    fn blink_slots(&mut self, host: Index, kind: ResetType) {
        let cut: Vec<Index> = self
            .links
            .iter()
            .filter(|link| link.host == host && link.cut_by.contains(&kind))
            .map(|link| link.card)
            .collect();
        for card in cut {
            self.cut(card, Cause::SlotPower);
            self.plan(card, BLINK, Event::PowerBack(Cause::SlotPower));
        }
    }

    /// A reset of a card that takes its PCIe link down.
    fn lose_link(&mut self, card: Index, kind: ResetType) {
        let one = &self.machines[card];
        if one.power != Power::Off && one.personality.reset.link_drops_on.contains(&kind) {
            self.drop_link(card);
        }
    }

    /// The card's PCIe link goes. A host whose firmware comes first in
    /// handling PCIe errors crashes (hardware.md 2.13).
    pub(crate) fn drop_link(&mut self, card: Index) {
        for host in self.hosts_of(card) {
            if self.machines[host].power != Power::On {
                continue;
            }
            let name = self.machines[host].name.clone();
            self.note(card, What::SurpriseLinkDown { host: name });
            if self.machines[host].firmware_first {
                let at = self.now;
                self.machines[host].log_line(at, "PCIe fatal error; system reset.");
                self.restart(host, Cause::Crash);
            }
        }
    }

    /// Mains power of the whole domain goes or comes.
    pub(crate) fn set_mains(&mut self, on: bool) {
        if self.mains == on {
            return;
        }
        self.mains = on;
        for machine in 0..self.machines.len() {
            let one = &mut self.machines[machine];
            if on {
                one.fed = true;
            } else {
                one.was_on = one.power != Power::Off;
            }
        }
        for machine in 0..self.machines.len() {
            if on {
                self.bmc_starts(machine);
                self.restore(machine);
            } else {
                self.disarm(machine);
                self.cut(machine, Cause::Mains);
                self.machines[machine].fed = false;
                self.bmc_goes(machine);
            }
        }
    }

    /// What a machine does when mains power is back. A card follows its slot.
    fn restore(&mut self, machine: Index) {
        let one = &self.machines[machine];
        let wanted = match one.restore {
            RestorePolicy::AlwaysOn => true,
            RestorePolicy::AlwaysOff => false,
            RestorePolicy::LastState => one.was_on,
        };
        if self.is_host(machine) {
            if wanted {
                self.power_up(machine, Cause::Mains);
            }
        } else if self.slot_feeds(machine) {
            self.power_up(machine, Cause::Mains);
        } else {
            self.machines[machine].fed = false;
        }
    }
}
