//! Booting: stages, what is booted, crashes.

use super::{Domain, Event, Index};
use crate::effect::{Cause, What};
use crate::fault::Fault;
use crate::machine::{Enabled, Override};
use crate::personality::Activation;
use crate::reset::Power;
use crate::spec::{ImageDoes, ImageSpec};
use crate::stage::Stage;

/// Seconds that a crash dump takes.
const DUMP: u64 = 60;

/// What the firmware found to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Disk,
    /// The UEFI shell or setup: it stays in UEFI.
    Shell,
    Image(String),
}

impl Domain {
    /// A boot begins. `cold`: power had been off.
    pub(super) fn boot(&mut self, machine: Index, cause: Cause, cold: bool) {
        self.restart_life(machine);
        let now = self.now;
        let one = &mut self.machines[machine];
        one.boots += 1;
        one.power = Power::On;
        one.booted_from.clear();
        one.last_reset = now;
        one.log_line(now, "Server reset.");
        if let Some(pending) = one.boot.pending.take() {
            one.boot.active = pending;
        }
        one.secure_boot.now = one.secure_boot.next;
        if cold {
            one.nic_mode.now = one.nic_mode.next;
        }
        let pending = std::mem::take(&mut one.bios_pending);
        one.bios.extend(pending);
        let boots = one.boots;
        self.note(machine, What::Booted { boots, cause });
        self.activate(machine, Activation::Boot);
        if cold {
            self.activate(machine, Activation::PowerCycle);
        }
        self.reach(machine, 0);
    }

    /// The boot reaches the stage at this position of the personality's list.
    pub(super) fn reach(&mut self, machine: Index, position: usize) {
        let one = &self.machines[machine];
        let Some((stage, seconds)) = one.personality.boot.stages.get(position).copied() else {
            return;
        };
        if stage == Stage::OsStarting && !self.choose(machine) {
            return;
        }
        self.enter(machine, stage);
        let faults = &mut self.machines[machine].faults;
        if faults.strike_stage(Fault::CrashAt, stage).is_some() {
            self.struck(machine, Fault::CrashAt);
            self.crash(machine, stage < Stage::OsStarting);
            return;
        }
        let faults = &mut self.machines[machine].faults;
        if faults.strike_stage(Fault::StageStuck, stage).is_some() {
            self.struck(machine, Fault::StageStuck);
            return;
        }
        if self.machines[machine].livefish {
            return;
        }
        if stage == Stage::OsRunning {
            self.os_runs(machine);
        } else if stage != self.machines[machine].final_stage() {
            self.plan(machine, seconds, Event::Stage(position + 1));
        }
    }

    pub(super) fn enter(&mut self, machine: Index, stage: Stage) {
        let one = &mut self.machines[machine];
        one.stage = Some(stage);
        one.stage_since = self.now;
        self.note(machine, What::Reached { stage });
    }

    /// Chooses what to boot; `false` if there is nothing and it stays in UEFI.
    fn choose(&mut self, machine: Index) -> bool {
        let source = self.source(machine);
        let text = match &source {
            None => return false,
            Some(Source::Disk) => "disk".to_owned(),
            Some(Source::Shell) => "shell".to_owned(),
            Some(Source::Image(url)) => url.clone(),
        };
        self.machines[machine].booted_from.clone_from(&text);
        self.note(machine, What::BootedFrom { source: text });
        source != Some(Source::Shell)
    }

    fn source(&mut self, machine: Index) -> Option<Source> {
        let settings = self.machines[machine].boot.active.clone();
        let mut wanted = None;
        match settings.enabled {
            Enabled::Disabled => {}
            Enabled::Continuous => wanted = Some(settings),
            Enabled::Once => {
                self.machines[machine].boot.active = Override {
                    mode: settings.mode.clone(),
                    ..Override::default()
                };
                let target = settings.target.clone();
                if self.strikes(machine, Fault::OnceLost).is_some() {
                    self.note(machine, What::OverrideLost { target });
                } else {
                    self.note(machine, What::OverrideConsumed { target });
                    wanted = Some(settings);
                }
            }
        }
        let overridden = wanted.and_then(|settings| match settings.target.as_str() {
            "UefiShell" | "BiosSetup" | "Utilities" => Some(Source::Shell),
            "Hdd" => self.disk(machine),
            "Cd" | "UsbCd" | "RemoteDrive" => self.medium(machine, &["CD", "DVD"]),
            "Usb" => self.medium(machine, &["USBStick"]),
            "UefiHttp" => self.bootable(&settings.uri),
            // The only device path that leads to anything is the disk's.
            "UefiTarget" if !settings.device.is_empty() => self.disk(machine),
            "UefiBootNext" => self.entry(machine, &settings.next),
            _ => None,
        });
        overridden.or_else(|| {
            let order = self.machines[machine].boot.order.clone();
            order.iter().find_map(|entry| self.entry(machine, entry))
        })
    }

    /// What an entry of the boot order leads to. Nobody answers to PXE here.
    fn entry(&self, machine: Index, entry: &str) -> Option<Source> {
        match entry {
            "Boot0001" => self.disk(machine),
            "Boot0002" => self.medium(machine, &["CD", "DVD", "USBStick"]),
            _ => None,
        }
    }

    fn disk(&self, machine: Index) -> Option<Source> {
        (!self.machines[machine].disk.is_empty()).then_some(Source::Disk)
    }

    fn medium(&self, machine: Index, types: &[&str]) -> Option<Source> {
        let one = &self.machines[machine];
        one.media.iter().enumerate().find_map(|(index, slot)| {
            let fits = slot.types.iter().any(|kind| types.contains(kind));
            let image = slot.image.as_ref()?;
            (fits && one.mounted(index, self.now)).then(|| self.bootable(image))?
        })
    }

    fn bootable(&self, url: &str) -> Option<Source> {
        let fails = self
            .image(url)
            .is_some_and(|image| image.does == ImageDoes::Fails);
        (!url.is_empty() && !fails).then(|| Source::Image(url.to_owned()))
    }

    pub(super) fn image(&self, url: &str) -> Option<&ImageSpec> {
        self.images
            .iter()
            .find(|image| url.contains(&image.url_contains))
    }

    /// An operating system has come up. If it is an installer, it does its work.
    fn os_runs(&mut self, machine: Index) {
        let one = &self.machines[machine];
        let from = one.booted_from.as_str();
        let does = self
            .image(from)
            .map_or(ImageDoes::Installs, |image| image.does);
        if from != "disk" && does == ImageDoes::Installs {
            let seconds = one.personality.boot.install_seconds;
            self.plan(machine, seconds, Event::Installed);
        }
    }

    /// The installer has written the disk and restarts the machine.
    pub(super) fn installed(&mut self, machine: Index) {
        let image = self.machines[machine].booted_from.clone();
        let version = self.version_of(&image);
        self.machines[machine].disk.clone_from(&version);
        self.note(machine, What::Installed { image, version });
        self.restart(machine, Cause::Itself);
    }

    /// The version that an image holds: as the fleet file says, or the name of
    /// the file without its extension.
    pub(super) fn version_of(&self, url: &str) -> String {
        if let Some(version) = self.image(url).and_then(|image| image.version.clone()) {
            return version;
        }
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let file = path.rsplit('/').next().unwrap_or(path);
        let known = [".iso", ".bfb", ".fwpkg", ".img", ".bin", ".pldm"];
        let stem = known.iter().find_map(|end| file.strip_suffix(end));
        stem.unwrap_or(file).to_owned()
    }

    /// Breaks the flash, so that the card shows itself in recovery at once and
    /// at every boot, or mends it for the next boot.
    pub(crate) fn set_livefish(&mut self, machine: Index, broken: bool) {
        self.machines[machine].livefish = broken;
        let what = What::Setting {
            name: "livefish".to_owned(),
            value: broken.to_string(),
        };
        self.note(machine, what);
        if broken && self.machines[machine].power != Power::Off {
            self.drop_link(machine);
            self.boot(machine, Cause::Crash, false);
        }
    }

    /// It crashes and writes a dump. A crash of the firmware takes the PCIe
    /// link along.
    pub(crate) fn crash(&mut self, machine: Index, in_firmware: bool) {
        if self.machines[machine].power == Power::Off {
            return;
        }
        self.restart_life(machine);
        let now = self.now;
        self.machines[machine].log_line(now, "Crash dump in progress.");
        if in_firmware {
            self.enter(machine, Stage::FirmwareCrashDumping);
            self.drop_link(machine);
        } else {
            self.enter(machine, Stage::OsCrashDumping);
        }
        self.plan(machine, DUMP, Event::Dumped);
    }

    pub(super) fn dumped(&mut self, machine: Index) {
        let stage = if self.machines[machine].stage == Some(Stage::FirmwareCrashDumping) {
            Stage::FirmwareCrashDumped
        } else {
            Stage::OsCrashDumped
        };
        self.enter(machine, stage);
    }
}
