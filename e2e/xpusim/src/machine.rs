//! One machine and its BMC: state only. What happens to it stands in
//! [`crate::domain`].

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::access::Accounts;
use crate::clock::Moment;
use crate::fault::Faults;
use crate::personality::{Activation, Personality};
use crate::record::{LogEntry, Requests};
use crate::reset::{Power, RestorePolicy};
use crate::spec::{FirmwareLists, Latency, MachineSpec};
use crate::stage::Stage;

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) personality: &'static Personality,
    pub(crate) serial: String,
    pub(crate) uuid: String,
    pub(crate) service_uuid: String,
    pub(crate) power: Power,
    /// Whether its slot or supply gives it power at all.
    pub(crate) fed: bool,
    pub(crate) stage: Option<Stage>,
    pub(crate) stage_since: Moment,
    /// How often it has booted: the true boot epoch.
    pub(crate) boots: u64,
    pub(crate) last_reset: Moment,
    pub(crate) last_power_command: Option<Moment>,
    /// Grows with every change that makes a planned step of the machine void.
    pub(crate) life: u64,
    /// The state to come back to when mains power returns.
    pub(crate) was_on: bool,
    /// Its flash is broken: the boot ROM is all that runs.
    pub(crate) livefish: bool,
    /// A power cycle that waits for the hosts.
    pub(crate) cycle_armed: bool,
    pub(crate) boot: BootSettings,
    pub(crate) restore: RestorePolicy,
    pub(crate) media: Vec<Slot>,
    pub(crate) disk: String,
    /// What was kept of the image that came last.
    pub(crate) image_part: Vec<u8>,
    pub(crate) booted_from: String,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) nic_mode: Pending<bool>,
    pub(crate) firmware_first: bool,
    /// Its BMC does not restart by itself for new firmware.
    pub(crate) firmware_waits: bool,
    /// Firmware that is written never begins to run.
    pub(crate) firmware_stays: bool,
    /// What is listed of it.
    pub(crate) firmware_lists: FirmwareLists,
    pub(crate) secure_boot: Pending<bool>,
    pub(crate) bios: BTreeMap<String, String>,
    pub(crate) bios_pending: BTreeMap<String, String>,
    pub(crate) firmware: Vec<Firmware>,
    pub(crate) bmc: Bmc,
    pub(crate) accounts: Accounts,
    pub(crate) logs: Vec<LogEntry>,
    pub(crate) indicator: bool,
    pub(crate) asset_tag: String,
    pub(crate) faults: Faults,
    pub(crate) latency: Latency,
    pub(crate) requests: Requests,
}

/// A setting that lands at the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending<T> {
    pub(crate) now: T,
    pub(crate) next: T,
}

impl<T: Copy> Pending<T> {
    fn settled(value: T) -> Self {
        Self {
            now: value,
            next: value,
        }
    }
}

/// `ComputerSystem.Boot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootSettings {
    pub(crate) active: Override,
    /// What a settings object holds until the next boot.
    pub(crate) pending: Option<Override>,
    pub(crate) order: Vec<String>,
}

impl BootSettings {
    /// What decides the next boot.
    pub(crate) fn decisive(&self) -> &Override {
        self.pending.as_ref().unwrap_or(&self.active)
    }
}

/// A boot override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) target: String,
    pub(crate) enabled: Enabled,
    pub(crate) mode: String,
    /// `HttpBootUri`, for `UefiHttp`.
    pub(crate) uri: String,
    /// `UefiTargetBootSourceOverride`, for `UefiTarget`.
    pub(crate) device: String,
    /// `BootNext`, for `UefiBootNext`.
    pub(crate) next: String,
}

impl Default for Override {
    fn default() -> Self {
        Self {
            target: "None".to_owned(),
            enabled: Enabled::Disabled,
            mode: "UEFI".to_owned(),
            uri: String::new(),
            device: String::new(),
            next: String::new(),
        }
    }
}

/// `BootSourceOverrideEnabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enabled {
    Disabled,
    Once,
    Continuous,
}

impl Enabled {
    pub(crate) const ALL: [Self; 3] = [Self::Disabled, Self::Once, Self::Continuous];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Once => "Once",
            Self::Continuous => "Continuous",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// A virtual media slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) id: &'static str,
    pub(crate) types: &'static [&'static str],
    pub(crate) image: Option<String>,
    /// From when on it is there for the machine.
    pub(crate) mounted_at: Moment,
    pub(crate) write_protected: bool,
}

/// A RAID volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) raid: String,
    pub(crate) bytes: u64,
}

/// One firmware component.
#[derive(Clone, Debug)]
pub(crate) struct Firmware {
    pub(crate) id: &'static str,
    pub(crate) version: String,
    pub(crate) pending: Option<String>,
    pub(crate) activation: Activation,
    pub(crate) installs_os: bool,
}

/// The BMC itself.
#[derive(Debug, Default)]
pub(crate) struct Bmc {
    pub(crate) up: bool,
    pub(crate) since: Moment,
    /// Grows with every restart.
    pub(crate) life: u64,
    pub(crate) tasks: Vec<Task>,
    pub(crate) next_task: u64,
    /// Images that the BMC is about to fetch.
    pub(crate) pulls: Vec<Pull>,
    /// Grows when it gets a new certificate.
    pub(crate) certificate: u64,
    pub(crate) network_host_name: String,
    /// Until when its root of trust copies new firmware to its second slot.
    pub(crate) copies_until: Moment,
}

/// An image that a BMC fetches for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) task: u64,
    /// The BMC's life that it belongs to.
    pub(crate) life: u64,
    pub(crate) url: String,
}

/// What came of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) bytes: u64,
    /// In hex.
    pub(crate) sha256: String,
    /// The part that is kept.
    pub(crate) part: Vec<u8>,
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) started: Moment,
    pub(crate) ends: Moment,
    pub(crate) state: TaskState,
    /// Whether its monitor has been fetched after its end.
    pub(crate) fetched: bool,
    pub(crate) work: Work,
    pub(crate) message: String,
    /// Where it stops.
    pub(crate) percent_at_end: u8,
}

/// What a task does when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Writes firmware: inventory ids and the version.
    Firmware {
        ids: Vec<&'static str>,
        version: String,
        image: String,
        fetch: Fetch,
    },
    /// Inserts an image.
    Media { slot: usize, image: String },
    /// Collects a log bundle.
    Collect,
}

/// How far the image of an update has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// It is there, or nobody looks for it: what is not on loopback is never fetched.
    Over,
    /// It is on its way; the rest of the update waits for it if it is due.
    Underway { due: bool },
}

/// `TaskState` and `TaskStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Running,
    Completed,
    /// Completed, with a status of Warning.
    Warned,
    /// Completed, with a status of Critical.
    Critical,
    /// Completed, with a status of OK and a message that says otherwise.
    Hidden,
    Exception,
}

impl TaskState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed | Self::Warned | Self::Critical | Self::Hidden => "Completed",
            Self::Exception => "Exception",
        }
    }

    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Running | Self::Completed | Self::Hidden => "OK",
            Self::Warned => "Warning",
            Self::Critical | Self::Exception => "Critical",
        }
    }
}

impl Machine {
    pub(crate) fn new(spec: &MachineSpec, personality: &'static Personality) -> Self {
        let on = !spec.off;
        let uuid = spec
            .uuid
            .clone()
            .unwrap_or_else(|| uuid(&spec.name, "system"));
        let last = if spec.nic_mode {
            Stage::Uefi
        } else {
            Stage::OsRunning
        };
        Self {
            name: spec.name.clone(),
            personality,
            serial: spec
                .serial
                .clone()
                .unwrap_or_else(|| serial(personality.hardware.serial_prefix, &spec.name)),
            uuid,
            service_uuid: self::uuid(&spec.name, "service"),
            power: if on { Power::On } else { Power::Off },
            fed: true,
            stage: on.then_some(if spec.os.is_empty() {
                Stage::Uefi
            } else {
                last
            }),
            stage_since: Moment::START,
            boots: u64::from(on),
            last_reset: Moment::START,
            last_power_command: None,
            life: 0,
            was_on: on,
            livefish: false,
            cycle_armed: false,
            boot: BootSettings {
                active: Override::default(),
                pending: None,
                order: boot_order(personality),
            },
            restore: RestorePolicy::default(),
            media: personality
                .media
                .iter()
                .flat_map(|media| {
                    media.slots.iter().map(|(id, types)| Slot {
                        id,
                        types,
                        ..Slot::default()
                    })
                })
                .collect(),
            disk: spec.os.clone(),
            image_part: Vec::new(),
            booted_from: if on { "disk".to_owned() } else { String::new() },
            volumes: Vec::new(),
            nic_mode: Pending::settled(spec.nic_mode),
            firmware_first: spec.firmware_first,
            firmware_waits: spec.firmware_waits,
            firmware_stays: spec.firmware_stays,
            firmware_lists: spec.firmware_lists,
            secure_boot: Pending::settled(false),
            bios: personality
                .offers
                .bios
                .unwrap_or_default()
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            bios_pending: BTreeMap::new(),
            firmware: personality
                .update
                .firmware
                .iter()
                .map(|firmware| Firmware {
                    id: firmware.id,
                    version: firmware.version.to_owned(),
                    pending: None,
                    activation: firmware.activation,
                    installs_os: firmware.installs_os,
                })
                .collect(),
            bmc: Bmc {
                up: true,
                network_host_name: spec.name.clone(),
                copies_until: Moment::START,
                ..Bmc::default()
            },
            accounts: Accounts::new(&personality.access, spec),
            logs: Vec::new(),
            indicator: false,
            asset_tag: String::new(),
            faults: Faults::new(spec.faults.clone()),
            latency: spec.latency,
            requests: Requests::default(),
        }
    }

    /// The stage that a boot ends in.
    pub(crate) fn final_stage(&self) -> Stage {
        if self.nic_mode.now {
            Stage::Uefi
        } else {
            Stage::OsRunning
        }
    }

    pub(crate) fn log_line(&mut self, at: Moment, message: impl Into<String>) {
        const MOST: usize = 200;
        let id = self.logs.last().map_or(1, |last| last.id + 1);
        if self.logs.len() >= MOST {
            self.logs.remove(0);
        }
        self.logs.push(LogEntry {
            id,
            at,
            message: message.into(),
        });
    }

    /// Whether the slot's image is there for the machine.
    pub(crate) fn mounted(&self, slot: usize, now: Moment) -> bool {
        self.media
            .get(slot)
            .is_some_and(|slot| slot.image.is_some() && slot.mounted_at <= now)
    }
}

fn boot_order(personality: &Personality) -> Vec<String> {
    let mut order: Vec<String> = vec!["Boot0001".to_owned()];
    if personality.media.is_some() {
        order.push("Boot0002".to_owned());
        if personality.boot.media_first {
            order.swap(0, 1);
        }
    }
    order.push("Boot0003".to_owned());
    order
}

/// A number of `len` hex digits that belongs to a name for good.
pub(crate) fn digits(name: &str, salt: &str, len: usize) -> String {
    let mut digits = hex::encode(Sha256::digest(format!("{salt}:{name}")));
    digits.truncate(len);
    digits
}

fn uuid(name: &str, salt: &str) -> String {
    let hex = digits(name, salt, 32);
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

fn serial(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", digits(name, "serial", 10).to_uppercase())
}
