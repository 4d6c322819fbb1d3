//! The BMC's own life: restarts, factory defaults, certificates.

use super::{Domain, Event, Index};
use crate::effect::{Cause, What};
use crate::fault::Fault;
use crate::machine::Override;
use crate::personality::Activation;
use crate::reset::Power;

/// Seconds after which a manager takes its card along (hardware.md 1.2).
const TAKES_ALONG: u64 = 2;

impl Domain {
    /// `Manager.Reset`.
    pub(crate) fn restart_manager(&mut self, machine: Index) {
        self.bmc_goes(machine);
        self.bmc_starts(machine);
        if self.machines[machine]
            .personality
            .reset
            .manager_takes_machine
        {
            self.plan(machine, TAKES_ALONG, Event::TakenAlong);
        }
    }

    pub(super) fn taken_along(&mut self, machine: Index) {
        if self.machines[machine].power == Power::Off && !self.machines[machine].fed {
            return;
        }
        self.drop_link(machine);
        self.cut(machine, Cause::ManagerReset);
        let seconds = self.machines[machine].personality.reset.off_seconds;
        self.plan(machine, seconds, Event::PowerBack(Cause::ManagerReset));
    }

    /// The BMC goes away: sessions and tasks are lost, task ids begin anew.
    pub(super) fn bmc_goes(&mut self, machine: Index) {
        let one = &mut self.machines[machine];
        one.bmc.life += 1;
        one.bmc.tasks.clear();
        one.bmc.next_task = 0;
        one.accounts.sessions.clear();
        one.accounts.basic_users.clear();
        one.bmc.pulls.clear();
        let was_up = std::mem::replace(&mut one.bmc.up, false);
        if was_up {
            self.note(machine, What::BmcDown);
        }
        if self
            .strikes(machine, Fault::CertificateChangesWithBmc)
            .is_some()
        {
            self.renew_certificate(machine);
        }
        if self.strikes(machine, Fault::OverrideLostWithBmc).is_some() {
            let boot = &mut self.machines[machine].boot;
            boot.pending = None;
            let lost = std::mem::take(&mut boot.active);
            if lost != Override::default() {
                let target = lost.target;
                self.note(machine, What::OverrideLost { target });
            }
        }
    }

    /// The BMC begins to start.
    pub(super) fn bmc_starts(&mut self, machine: Index) {
        let seconds = self.machines[machine].personality.reset.manager_seconds;
        self.plan_bmc(machine, seconds, Event::BmcUp);
    }

    pub(super) fn bmc_up(&mut self, machine: Index) {
        self.machines[machine].bmc.up = true;
        self.machines[machine].bmc.since = self.now;
        self.note(machine, What::BmcUp);
        self.activate(machine, Activation::Manager);
    }

    /// `Manager.ResetToDefaults`: accounts as from the factory, another
    /// certificate, and a restart.
    pub(crate) fn factory_reset(&mut self, machine: Index) {
        let one = &mut self.machines[machine];
        let access = &one.personality.access;
        let password = match access.factory_password {
            Some(password) => password.to_owned(),
            None => format!("xpusim-{}", one.name),
        };
        let must_change = access.factory_password.is_some();
        one.accounts.reset(access, &password, must_change);
        one.bmc.certificate += 1;
        let user = access.user.to_owned();
        self.note(machine, What::AccountChanged { user });
        self.restart_manager(machine);
    }

    /// Another TLS certificate from the next connection on.
    pub(crate) fn renew_certificate(&mut self, machine: Index) {
        self.machines[machine].bmc.certificate += 1;
        let what = What::Setting {
            name: "certificate".to_owned(),
            value: self.machines[machine].bmc.certificate.to_string(),
        };
        self.note(machine, what);
    }
}
