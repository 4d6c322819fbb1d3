//! Tasks and updates.

use std::time::Duration;

use super::{Domain, Event, Index, Refused};
use crate::effect::{Cause, What};
use crate::fault::Fault;
use crate::machine::{Firmware, Task, TaskState, Work};
use crate::personality::Activation;
use crate::reset::Power;
use crate::stage::Stage;

impl Domain {
    /// Begins an update of one component; the answer is the task.
    pub(crate) fn update(
        &mut self,
        machine: Index,
        component: usize,
        source: &str,
    ) -> Result<u64, Refused> {
        if self.strikes(machine, Fault::UpdateBusy).is_some() {
            return Err(Refused::Busy);
        }
        let one = &self.machines[machine];
        let running = |task: &&Task| task.state == TaskState::Running;
        let updating = one
            .bmc
            .tasks
            .iter()
            .filter(running)
            .any(|task| match task.work {
                Work::Firmware { .. } => true,
                Work::Media { .. } | Work::Collect => false,
            });
        if updating && one.personality.update.one_at_a_time {
            return Err(Refused::Busy);
        }
        let firmware = &one.firmware[component];
        let (id, installs_os) = (firmware.id, firmware.installs_os);
        if installs_os && one.power == Power::Off {
            return Err(Refused::WrongState(one.power));
        }
        let seconds = one.personality.update.seconds;
        let version = self.version_of(source);
        if installs_os {
            // The BMC streams the image into the card, which is down meanwhile.
            self.restart_life(machine);
            self.enter(machine, Stage::FirmwareUpdating);
        }
        let work = Work::Firmware { id, version };
        Ok(self.start_task(machine, &format!("Update {id}"), work, seconds))
    }

    /// Begins to collect logs; the answer is the task.
    pub(crate) fn collect(&mut self, machine: Index) -> u64 {
        self.start_task(machine, "Collect diagnostic data", Work::Collect, 30)
    }

    pub(super) fn start_task(
        &mut self,
        machine: Index,
        name: &str,
        work: Work,
        seconds: u64,
    ) -> u64 {
        const MOST: usize = 100;
        let now = self.now;
        let bmc = &mut self.machines[machine].bmc;
        let id = bmc.next_task;
        bmc.next_task += 1;
        if bmc.tasks.len() >= MOST {
            bmc.tasks.remove(0);
        }
        bmc.tasks.push(Task {
            id,
            name: name.to_owned(),
            started: now,
            ends: now.plus(Duration::from_secs(seconds)),
            state: TaskState::Running,
            fetched: false,
            work,
            message: String::new(),
        });
        let what = What::TaskStarted {
            task: id.to_string(),
            name: name.to_owned(),
        };
        self.note(machine, what);
        self.plan_bmc(machine, seconds, Event::TaskEnds(id));
        id
    }

    pub(super) fn task_ends(&mut self, machine: Index, id: u64) {
        let tasks = &self.machines[machine].bmc.tasks;
        let Some(task) = tasks.iter().find(|task| task.id == id).cloned() else {
            return;
        };
        if task.state != TaskState::Running || self.strikes(machine, Fault::TaskStuck).is_some() {
            return;
        }
        match task.work {
            Work::Firmware {
                id: component,
                version,
            } => {
                for (fault, text) in [
                    (Fault::WrongCard, "Invalid FW Package"),
                    (Fault::ImageUnreachable, "The image cannot be reached"),
                ] {
                    if self.strikes(machine, fault).is_some() {
                        self.end_task(machine, id, TaskState::Exception, text);
                        self.resume(machine, component);
                        return;
                    }
                }
                self.end_task(machine, id, TaskState::Completed, "");
                self.stage_version(machine, component, version);
            }
            Work::Media { slot, image } => {
                self.inserted(machine, slot, image);
                self.end_task(machine, id, TaskState::Completed, "");
            }
            Work::Collect => self.end_task(machine, id, TaskState::Completed, ""),
        }
    }

    fn end_task(&mut self, machine: Index, id: u64, state: TaskState, message: &str) {
        let warned =
            state == TaskState::Completed && self.strikes(machine, Fault::TaskWarning).is_some();
        let lost = self.strikes(machine, Fault::TaskLost).is_some();
        let tasks = &mut self.machines[machine].bmc.tasks;
        if let Some(task) = tasks.iter_mut().find(|task| task.id == id) {
            task.state = if warned { TaskState::Warned } else { state };
            message.clone_into(&mut task.message);
        }
        if lost {
            tasks.retain(|task| task.id != id);
        }
        let what = What::TaskEnded {
            task: id.to_string(),
            state: state.as_str().to_owned(),
        };
        self.note(machine, what);
    }

    /// Somebody else writes a version that waits for the next boot.
    pub(crate) fn write_firmware(&mut self, machine: Index, version: String) {
        let firmware = &mut self.machines[machine].firmware;
        let waits = |one: &&mut Firmware| {
            matches!(one.activation, Activation::Boot | Activation::PowerCycle) && !one.installs_os
        };
        if let Some(one) = firmware.iter_mut().find(waits) {
            let name = format!("firmware {}", one.id);
            one.pending = Some(version.clone());
            let value = version;
            self.note(machine, What::Setting { name, value });
        }
    }

    /// A written version waits for its activation, or runs at once.
    fn stage_version(&mut self, machine: Index, component: &'static str, version: String) {
        let wrong = self.strikes(machine, Fault::WrongVersion).is_some();
        let one = &mut self.machines[machine];
        let Some(firmware) = one.firmware.iter_mut().find(|one| one.id == component) else {
            return;
        };
        if !wrong {
            firmware.pending = Some(version.clone());
        }
        let (activation, installs_os) = (firmware.activation, firmware.installs_os);
        if installs_os {
            if !wrong {
                one.disk.clone_from(&version);
                let image = component.to_owned();
                self.note(machine, What::Installed { image, version });
            }
            self.activate(machine, activation);
            self.resume(machine, component);
            return;
        }
        match activation {
            Activation::AtOnce => self.activate(machine, activation),
            Activation::Manager => self.restart_manager(machine),
            Activation::Boot | Activation::PowerCycle => {}
        }
    }

    /// After the update of an operating system the machine boots again.
    fn resume(&mut self, machine: Index, component: &str) {
        let one = &self.machines[machine];
        let updating = one.stage == Some(Stage::FirmwareUpdating);
        let os = one
            .firmware
            .iter()
            .any(|one| one.id == component && one.installs_os);
        if updating && os {
            self.boot(machine, Cause::Itself, false);
        }
    }

    /// The update that wrote an operating system has lost its card.
    pub(super) fn fail_os_update(&mut self, machine: Index) {
        let one = &self.machines[machine];
        let ids: Vec<&str> = one
            .firmware
            .iter()
            .filter(|firmware| firmware.installs_os)
            .map(|firmware| firmware.id)
            .collect();
        let hit: Vec<u64> = one
            .bmc
            .tasks
            .iter()
            .filter(|task| task.state == TaskState::Running)
            .filter(|task| match task.work {
                Work::Firmware { id, .. } => ids.contains(&id),
                Work::Media { .. } | Work::Collect => false,
            })
            .map(|task| task.id)
            .collect();
        for id in hit {
            self.end_task(machine, id, TaskState::Exception, "The card was reset");
        }
    }

    /// Pending versions of this kind begin to run.
    pub(super) fn activate(&mut self, machine: Index, activation: Activation) {
        let mut done = Vec::new();
        for firmware in &mut self.machines[machine].firmware {
            if firmware.activation == activation
                && let Some(version) = firmware.pending.take()
            {
                let from = std::mem::replace(&mut firmware.version, version.clone());
                done.push((firmware.id.to_owned(), from, version));
            }
        }
        for (id, from, to) in done {
            self.note(machine, What::FirmwareActivated { id, from, to });
        }
    }
}
