//! Virtual media and the boot override.

use super::{Domain, Index, Refused};
use crate::effect::What;
use crate::fault::Fault;
use crate::machine::{Enabled, Override, TaskState, Work};

impl Domain {
    /// Inserts an image; `Some` is the task that does it, where it is one.
    pub(crate) fn insert(
        &mut self,
        machine: Index,
        slot: usize,
        image: String,
        write_protected: bool,
    ) -> Result<Option<u64>, Refused> {
        if self.machines[machine].media[slot].image.is_some() {
            return Err(Refused::Occupied);
        }
        let tasks = &self.machines[machine].bmc.tasks;
        let mut running = tasks.iter().filter(|one| one.state == TaskState::Running);
        let inserting = running.any(|one| match one.work {
            Work::Media { slot: other, .. } => other == slot,
            Work::Firmware { .. } | Work::Collect => false,
        });
        if inserting {
            return Err(Refused::Busy);
        }
        if self.strikes(machine, Fault::MediaRefused).is_some() {
            return Err(Refused::Failed);
        }
        let personality = self.machines[machine].personality;
        self.machines[machine].media[slot].write_protected = write_protected;
        if let Some(seconds) = personality
            .media
            .as_ref()
            .and_then(|media| media.task_seconds)
        {
            let work = Work::Media { slot, image };
            let task = self.start_task(machine, "Insert virtual media", work, seconds);
            return Ok(Some(task));
        }
        self.inserted(machine, slot, image);
        Ok(None)
    }

    pub(super) fn inserted(&mut self, machine: Index, slot: usize, image: String) {
        let late = self
            .strikes(machine, Fault::MediaLate)
            .map_or(0, |rule| rule.seconds.unwrap_or(30));
        let at = self.now.plus(std::time::Duration::from_secs(late));
        let place = &mut self.machines[machine].media[slot];
        place.image = Some(image.clone());
        place.mounted_at = at;
        let slot = place.id.to_owned();
        self.note(machine, What::MediaInserted { slot, image });
    }

    /// Ejects what a slot holds.
    pub(crate) fn eject(&mut self, machine: Index, slot: usize) -> Result<(), Refused> {
        if self.machines[machine].media[slot].image.is_none() {
            return Err(Refused::Occupied);
        }
        if self.strikes(machine, Fault::EjectRefused).is_some() {
            return Err(Refused::Failed);
        }
        let place = &mut self.machines[machine].media[slot];
        if let Some(image) = place.image.take() {
            let slot = place.id.to_owned();
            self.note(machine, What::MediaEjected { slot, image });
        }
        Ok(())
    }

    /// Sets the boot override; in a settings object it waits for the next boot.
    pub(crate) fn set_override(&mut self, machine: Index, mut wanted: Override) {
        if wanted.enabled == Enabled::Once {
            if self.strikes(machine, Fault::OnceIgnored).is_some() {
                let request = format!("boot override {} Once", wanted.target);
                self.note(machine, What::Ignored { request });
                return;
            }
            if self.strikes(machine, Fault::OnceStays).is_some() {
                wanted.enabled = Enabled::Continuous;
            }
        }
        if wanted.enabled == Enabled::Disabled {
            "None".clone_into(&mut wanted.target);
        }
        self.bend_http_boot(machine, &mut wanted);
        let before = self.machines[machine].boot.decisive();
        let uri = (before.uri != wanted.uri).then(|| wanted.uri.clone());
        let same = before.target == wanted.target && before.enabled == wanted.enabled;
        let what = What::OverrideSet {
            target: wanted.target.clone(),
            enabled: wanted.enabled.as_str().to_owned(),
        };
        let one = &mut self.machines[machine];
        if one.personality.boot.settings_object {
            one.boot.pending = Some(wanted);
        } else {
            one.boot.active = wanted;
        }
        if let Some(uri) = uri {
            self.note(machine, What::HttpBootUriSet { uri });
            if same {
                return;
            }
        }
        self.note(machine, what);
    }

    /// What some BMCs make of HTTP boot from a URL.
    fn bend_http_boot(&mut self, machine: Index, wanted: &mut Override) {
        if wanted.target != "UefiHttp" || wanted.uri.is_empty() {
            return;
        }
        if self.strikes(machine, Fault::HttpUriDropped).is_some() {
            wanted.uri.clear();
            return;
        }
        let slots = &self.machines[machine].media;
        let free = slots
            .iter()
            .position(|slot| slot.types.contains(&"CD") && slot.image.is_none());
        if let Some(slot) = free
            && self.strikes(machine, Fault::HttpImageFetched).is_some()
        {
            self.inserted(machine, slot, wanted.uri.clone());
            "Cd".clone_into(&mut wanted.target);
        }
    }
}
