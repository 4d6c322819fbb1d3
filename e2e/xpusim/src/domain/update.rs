//! Tasks and updates.

use std::time::Duration;

use super::{Domain, Event, Index, Refused};
use crate::effect::{Cause, What};
use crate::fault::{Fault, Rule};
use crate::machine::{Arrived, Fetch, Firmware, Pull, Task, TaskState, Work};
use crate::personality::{Activation, BACKGROUND_COPY};
use crate::reset::Power;
use crate::stage::Stage;

/// The image of an update.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Image<'a> {
    /// The BMC fetches it from this URL.
    Pulled(&'a str),
    /// It came along under this file name.
    Pushed(&'a str, &'a Arrived),
}

impl<'a> Image<'a> {
    fn source(&self) -> &'a str {
        match self {
            Self::Pulled(source) | Self::Pushed(source, _) => source,
        }
    }

    /// Whether the BMC really fetches it: from loopback, and from nowhere else.
    fn is_fetched(&self) -> bool {
        match self {
            Self::Pulled(url) => is_loopback(url),
            Self::Pushed(..) => false,
        }
    }
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok();
    let host = host.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Domain {
    /// Begins an update of these components; the answer is the task. An image that is on loopback
    /// is fetched; a pushed one has arrived.
    pub(crate) fn update(
        &mut self,
        machine: Index,
        components: &[usize],
        image: &Image<'_>,
    ) -> Result<u64, Refused> {
        if let Some(rule) = self.strikes(machine, Fault::UpdateBusy) {
            return Err(Refused::UpdateBusy(
                rule.status.unwrap_or(503),
                rule.seconds,
            ));
        }
        if self.updates_are_late(machine) {
            self.meets(machine, Fault::UpdateServiceLate);
            return Err(Refused::UpdateBusy(503, None));
        }
        let running = |task: &&mut Task| {
            task.state == TaskState::Running && matches!(task.work, Work::Firmware { .. })
        };
        let one = &mut self.machines[machine];
        let updating = one.bmc.tasks.iter_mut().filter(running).count() > 0;
        if updating && one.personality.update.one_at_a_time {
            if self.strikes(machine, Fault::UpdatesClobber).is_none() {
                return Err(Refused::Busy);
            }
            let tasks = &mut self.machines[machine].bmc.tasks;
            for task in tasks.iter_mut().filter(running) {
                if let Work::Firmware { ids, .. } = &mut task.work {
                    ids.clear();
                }
            }
        }
        let one = &self.machines[machine];
        let firmware = components.iter().map(|index| &one.firmware[*index]);
        let installs_os = firmware.clone().any(|firmware| firmware.installs_os);
        let ids: Vec<&'static str> = firmware.map(|firmware| firmware.id).collect();
        if installs_os && one.power == Power::Off {
            return Err(Refused::WrongState(one.power));
        }
        let seconds = one.personality.update.seconds;
        let version = self.version_of(image.source());
        if installs_os {
            // The BMC streams the image into the card, which is down meanwhile.
            self.restart_life(machine);
            self.enter(machine, Stage::FirmwareUpdating);
        }
        let name = format!("Update {}", ids.join(", "));
        let fetch = if image.is_fetched() {
            Fetch::Underway { due: false }
        } else {
            Fetch::Over
        };
        let work = Work::Firmware {
            ids,
            version,
            image: image.source().to_owned(),
            fetch,
        };
        let task = self.start_task(machine, &name, work, seconds);
        match image {
            Image::Pulled(url) if image.is_fetched() => {
                let bmc = &mut self.machines[machine].bmc;
                let life = bmc.life;
                let url = (*url).to_owned();
                bmc.pulls.push(Pull { task, life, url });
            }
            Image::Pulled(_) => {}
            Image::Pushed(_, arrived) => {
                let life = self.machines[machine].bmc.life;
                self.arrived(machine, life, task, Ok((*arrived).clone()));
            }
        }
        Ok(task)
    }

    /// Whether the UpdateService is not up yet, though the BMC is.
    pub(crate) fn updates_are_late(&self, machine: Index) -> bool {
        const SECONDS: u64 = 180;
        let one = &self.machines[machine];
        let late = |rule: &Rule| {
            let seconds = Duration::from_secs(rule.seconds.unwrap_or(SECONDS));
            rule.fault == Fault::UpdateServiceLate && self.now < one.bmc.since.plus(seconds)
        };
        one.faults.rules().iter().any(late)
    }

    /// The image of an update has come, or has not: why.
    pub(crate) fn arrived(
        &mut self,
        machine: Index,
        life: u64,
        id: u64,
        came: Result<Arrived, String>,
    ) {
        let bmc = &mut self.machines[machine].bmc;
        // A restart of the BMC ends what it was fetching.
        let of_this_life = bmc.life == life;
        let task = bmc.tasks.iter_mut().find(|task| task.id == id);
        let Some(task) = task.filter(|task| of_this_life && task.state == TaskState::Running)
        else {
            return;
        };
        let Work::Firmware {
            ids, image, fetch, ..
        } = &mut task.work
        else {
            return;
        };
        let due = *fetch == Fetch::Underway { due: true };
        *fetch = Fetch::Over;
        let (ids, image) = (ids.clone(), image.clone());
        let failed = match came {
            Ok(Arrived {
                bytes,
                sha256,
                part,
            }) => {
                self.machines[machine].image_part = part;
                let wanted = self.image(&image).and_then(|image| image.sha256.clone());
                let differs = wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&sha256));
                let what = What::ImageArrived {
                    image,
                    bytes,
                    sha256,
                };
                self.note(machine, what);
                differs.then(|| "The checksum of the image is wrong".to_owned())
            }
            Err(why) => Some(format!("The image cannot be fetched: {why}")),
        };
        if let Some(why) = failed {
            self.end_task(machine, id, TaskState::Exception, &why);
            self.resume(machine, &ids);
        } else if due {
            self.task_ends(machine, id);
        }
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
            percent_at_end: 100,
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
                fetch: Fetch::Underway { .. },
                ..
            } => self.is_due(machine, id),
            Work::Firmware { ids, version, .. } => self.written(machine, id, &ids, &version),
            Work::Media { slot, image } => {
                self.inserted(machine, slot, image);
                self.end_task(machine, id, TaskState::Completed, "");
            }
            Work::Collect => self.end_task(machine, id, TaskState::Completed, ""),
        }
    }

    /// The time of an update is over, and its image has not come yet.
    fn is_due(&mut self, machine: Index, id: u64) {
        let tasks = &mut self.machines[machine].bmc.tasks;
        if let Some(task) = tasks.iter_mut().find(|task| task.id == id)
            && let Work::Firmware { fetch, .. } = &mut task.work
        {
            *fetch = Fetch::Underway { due: true };
        }
    }

    /// An update has come to its end: well, or as a fault has it.
    fn written(&mut self, machine: Index, id: u64, ids: &[&'static str], version: &str) {
        for (fault, state, text) in [
            (Fault::WrongCard, TaskState::Exception, "Invalid FW Package"),
            (
                Fault::ImageUnreachable,
                TaskState::Exception,
                "The image cannot be reached",
            ),
            (
                Fault::TaskCritical,
                TaskState::Critical,
                "The image was not written",
            ),
            (Fault::TaskErrorText, TaskState::Hidden, "The flash is full"),
        ] {
            if self.strikes(machine, fault).is_some() {
                self.end_task(machine, id, state, text);
                self.resume(machine, ids);
                return;
            }
        }
        let mut written = ids;
        let mut text = String::new();
        if let [first @ .., last] = ids
            && !first.is_empty()
            && self.strikes(machine, Fault::PartFailed).is_some()
        {
            written = first;
            text = format!("Installing {last} failed, total 80% complete");
        }
        let restarts = self.strikes(machine, Fault::BmcRestartsInUpdate).is_some();
        if !restarts {
            self.end_task(machine, id, TaskState::Completed, &text);
        }
        let life = self.machines[machine].bmc.life;
        for id in written {
            self.stage_version(machine, id, version);
        }
        // Firmware of its own makes it restart anyway.
        if restarts && self.machines[machine].bmc.life == life {
            self.restart_manager(machine);
        }
    }

    fn end_task(&mut self, machine: Index, id: u64, state: TaskState, message: &str) {
        let short = self.strikes(machine, Fault::PercentShort).is_some();
        let warned =
            state == TaskState::Completed && self.strikes(machine, Fault::TaskWarning).is_some();
        let lost = self.strikes(machine, Fault::TaskLost).is_some();
        let tasks = &mut self.machines[machine].bmc.tasks;
        if let Some(task) = tasks.iter_mut().find(|task| task.id == id) {
            task.state = if warned { TaskState::Warned } else { state };
            message.clone_into(&mut task.message);
            task.percent_at_end = if short { 99 } else { 100 };
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
    fn stage_version(&mut self, machine: Index, component: &'static str, version: &str) {
        let wrong = self.strikes(machine, Fault::WrongVersion).is_some();
        let one = &mut self.machines[machine];
        let Some(firmware) = one.firmware.iter_mut().find(|one| one.id == component) else {
            return;
        };
        if !wrong {
            firmware.pending = Some(version.to_owned());
        }
        let (activation, installs_os) = (firmware.activation, firmware.installs_os);
        if installs_os {
            if !wrong {
                version.clone_into(&mut one.disk);
                let image = component.to_owned();
                let version = version.to_owned();
                self.note(machine, What::Installed { image, version });
            }
            self.activate(machine, activation);
            self.resume(machine, &[component]);
            return;
        }
        match activation {
            Activation::AtOnce => self.activate(machine, activation),
            Activation::Manager if self.machines[machine].firmware_waits => {}
            Activation::Manager => self.restart_manager(machine),
            Activation::Boot | Activation::PowerCycle => {}
        }
    }

    /// After the update of an operating system the machine boots again.
    fn resume(&mut self, machine: Index, components: &[&str]) {
        let one = &self.machines[machine];
        let updating = one.stage == Some(Stage::FirmwareUpdating);
        let os = one
            .firmware
            .iter()
            .any(|one| components.contains(&one.id) && one.installs_os);
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
            .filter(|task| match &task.work {
                Work::Firmware { ids: written, .. } => written.iter().any(|id| ids.contains(id)),
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
        if self.machines[machine].firmware_stays {
            return;
        }
        let mut done = Vec::new();
        for firmware in &mut self.machines[machine].firmware {
            if firmware.activation == activation
                && let Some(version) = firmware.pending.take()
            {
                let from = std::mem::replace(&mut firmware.version, version.clone());
                done.push((firmware.id.to_owned(), from, version));
            }
        }
        if activation == Activation::Manager && !done.is_empty() {
            self.machines[machine].bmc.copies_until = self.now.plus(BACKGROUND_COPY);
        }
        for (id, from, to) in done {
            self.note(machine, What::FirmwareActivated { id, from, to });
        }
    }
}
