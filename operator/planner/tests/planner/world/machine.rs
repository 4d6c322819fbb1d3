//! What machines do by themselves: power, media, booting, and effects that land late.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::MachineIdentity;
use lockstep_crds::directive::{ActivatedBy, ImageFacts};
use lockstep_crds::host::HostRole;
use lockstep_crds::inventory::{HostAccess, InstallMethod};
use lockstep_crds::observed::{BootStage, Knowledge, Offer, PowerState};
use lockstep_crds::report::{
    BmcCapabilities, BmcReport, BootEntriesReport, BootEntryReport, BusyReport, ComponentReport,
    ComponentUpdate, ConfigurationTried, Custody, DpuReportSpec, Execution, FetchReport,
    FetchState, MediaOwner, MediaReport, OsReport, PxeReport, UpdateReport, UpdateState, Vantage,
};

use lockstep_crds::wipe::{NO_DISK, WipeItem, WipeOrder, WipeReport, WipeResult};
use lockstep_planner::view::Readiness;

use super::build::{activation, image};
use super::{World, secs};

/// Seconds that an install takes, and a boot.
pub const INSTALL: i64 = 120;
pub const BOOT: i64 = 20;
/// The component that stands for the BMC's own firmware.
pub const FIRMWARE: &str = "BMC_Firmware";
/// The component that the driver of the card's host lists, and writes as slowly as the BMC does.
pub const LISTED: &str = "fw.mgmt";
/// Seconds that a BMC takes to write it, and to restart.
pub const WRITES: i64 = 90;
pub const RESTARTS: i64 = 40;
/// Seconds that a look at everything is good for at rest.
const WHOLE: i64 = 600;

/// A machine behind a BMC, and the BMC.
#[derive(Clone, Debug)]
pub struct Machine {
    pub identity: MachineIdentity,
    pub power: PowerState,
    pub power_since: Timestamp,
    /// Whether its BMC does not tell its power state.
    pub power_unread: bool,
    pub media: Option<ImageFacts>,
    pub foreign_media: bool,
    pub boot_override: bool,
    /// What the image that is staged is ordered to wipe.
    pub order: Option<WipeOrder>,
    /// The image that HTTP boot from a URL would fetch.
    pub http_uri: Option<ImageFacts>,
    pub foreign_uri: bool,
    /// Since when somebody has its BMC write something.
    pub busy: Option<Timestamp>,
    /// That is not told in its report.
    pub hides_busy: bool,
    /// The boot override is HTTP boot.
    pub http_override: bool,
    /// Its boot override stays when it was used.
    pub override_lasts: bool,
    /// Whether one that is to last does.
    pub keeps_override: bool,
    /// Whether it offers one that lasts, for HTTP boot; `None`: its agent does not tell.
    pub network_boot: Option<Offer>,
    pub makes_of_http: HttpBoot,
    /// Whether it offers HTTP boot from a URL; `None`: its agent does not tell.
    pub uefi_http: Option<Offer>,
    /// Whether it takes updates of the card's system that it fetches, and that are sent to it;
    /// `None`: its agent does not tell.
    pub simple_update: Option<Offer>,
    pub multipart_push: Option<Offer>,
    /// The longest image that it takes for an update; `None`: it does not say.
    pub max_image_bytes: Option<i64>,
    pub makes_of_updates: Update,
    /// What its agent remembers of one, and what its task says.
    pub update: Option<UpdateReport>,
    /// The firmware of its BMC, or of its card: what runs, and what waits for a restart or a power cycle.
    pub firmware: (String, Option<String>),
    /// What the host's driver may write: what runs, and what waits for a power cycle; whether it lists the
    /// latter, and whether that ever runs.
    pub flashed: (String, Option<String>),
    pub hides_flashed: bool,
    pub keeps_flashed: bool,
    /// Whether a part of it alone is there, and no person has looked at that.
    pub half_flashed: bool,
    /// What becomes of updates of it.
    pub makes_of_firmware: Firmware,
    /// What its agent remembers of one. `None` in the report: its agent does not tell.
    pub component_update: Option<ComponentUpdate>,
    pub tells_components: bool,
    /// The site's PXE service: whether its agent supplies one (`None`: it does not tell), what it
    /// offers to which addresses, and whether the card's firmware finds it.
    pub pxe: Option<bool>,
    pub pxe_offer: Option<(ImageFacts, Vec<String>)>,
    pub finds_pxe: bool,
    /// The boot override is PXE.
    pub pxe_override: bool,
    /// Whether it boots one boot entry once; `None`: its agent does not tell.
    pub boot_entry: Option<Offer>,
    /// Its boot entries by name, with the image in the slot behind each. `Boot0001` is the first.
    pub entries: Vec<(String, Option<ImageFacts>)>,
    /// The boot order, by their places in that list.
    pub boot_order: Vec<usize>,
    /// The one that the boot override leads to.
    pub next_entry: Option<usize>,
    /// Whether installers put theirs first; if not, the boot after the install is led there.
    pub installers_lead: bool,
    /// Whether a system that was booted so and does not come up is left for the first of the order.
    pub falls_back: bool,
    /// Somebody else's, which stays.
    pub lasting_override: Option<&'static str>,
    pub stage: Option<BootStage>,
    pub knowledge: Knowledge,
    /// It answers.
    pub answers: bool,
    /// Why it cannot be used though it answers.
    pub refusal: Option<&'static str>,
    /// It ignores a request to shut down.
    pub deaf: bool,
    /// The boot targets that its BMC lists; empty if it does not say.
    pub boot_targets: Vec<String>,
    /// The resets that its BMC lists; empty if it does not say.
    pub reset_types: Vec<String>,
    pub virtual_media: Offer,
    /// Whether a restart of its BMC is how all of it is made to boot; `None`: its agent does not
    /// tell.
    pub card_restart: Option<Offer>,
    /// What the store has ready for it.
    pub granted: Option<ImageFacts>,
    pub host_access: Option<HostAccess>,
    /// What was asked of it and has not happened yet.
    pub coming: Vec<(Timestamp, Coming)>,
    /// What the agent has published, and what it remembers.
    pub report: Option<DpuReportSpec>,
    /// When it looked at everything last.
    pub whole_at: Option<Timestamp>,
    pub execution: Option<Execution>,
    pub custody: Option<Custody>,
    /// What came of making its files.
    pub tried: Option<ConfigurationTried>,
    /// What the store sees of whoever is to fetch an image, if that is worth telling.
    pub fetch: Option<FetchState>,
}

/// What a BMC makes of HTTP boot from a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpBoot {
    /// Target and URL are set; the URL stays when it was used.
    #[default]
    Keeps,
    /// The URL is gone when it was used.
    Forgets,
    /// It fetches the image itself and shows a medium beside the URL.
    Fetches,
    /// It does, and then shows another machine's URL.
    FetchesAndHides,
    /// The target is set and the URL is not.
    DropsUrl,
    /// Nothing boots from it.
    LeadsNowhere,
}

/// What a BMC makes of an update, and of its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// The image is written, and the task ends.
    #[default]
    Writes,
    /// It is written, and the task is gone.
    LosesTask,
    /// It is written, and the task goes on for ever.
    NeverEnds,
    /// The task ends well, and nothing was written.
    KeepsOld,
    /// The task ends with an error, and nothing was written.
    Fails,
    /// The task goes on for ever, and nothing was written.
    Hangs,
    /// The BMC restarts, the task is gone, and nothing was written.
    Restarts,
}

/// What a BMC makes of an update of firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// It is written, and the BMC restarts by itself.
    #[default]
    Restarts,
    /// It is written, and waits for a restart or a power cycle that somebody asks for.
    Waits,
    /// The BMC restarts, and the old version runs.
    KeepsOld,
    /// The task ends with an error.
    Fails,
    /// The task goes on for ever.
    Hangs,
    /// It is written, and nothing lets it run.
    Stays,
    /// It waits, and is not listed.
    Hides,
    /// It waits, and is listed as what runs.
    Boasts,
    /// The task ends with an error, and what waits from before is not listed, or as what runs.
    FailsAndHides,
    FailsAndBoasts,
}

impl Update {
    fn writes(self) -> bool {
        match self {
            Self::Writes | Self::LosesTask | Self::NeverEnds => true,
            Self::KeepsOld | Self::Fails | Self::Hangs | Self::Restarts => false,
        }
    }

    /// What the task says when it could be over.
    fn says_then(self) -> UpdateState {
        match self {
            Self::Writes | Self::KeepsOld => UpdateState::Ended,
            Self::Fails => UpdateState::Failed,
            Self::NeverEnds | Self::Hangs => UpdateState::Running,
            Self::LosesTask | Self::Restarts => UpdateState::Lost,
        }
    }
}

/// Something that a machine will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coming {
    PowerOn,
    PowerOff,
    /// The installer ends.
    Installed(ImageFacts),
    /// The wiper is through.
    Wiped(ImageFacts),
    /// An update comes to its end, and has written this.
    Updated(Option<ImageFacts>),
    /// An update of the BMC's firmware comes to its end.
    FirmwareWritten(String),
    /// The host's driver comes to its end, and has written this.
    Flashed(Option<String>),
    /// The BMC answers again.
    BmcUp,
    /// The operating system is up.
    Up,
}

/// A running operating system of a card.
#[derive(Clone, Debug)]
pub struct CardOs {
    pub image: ImageFacts,
    pub epoch: String,
    /// What it has wiped.
    pub wiped: Option<WipeReport>,
}

impl Machine {
    pub fn new(identity: MachineIdentity) -> Self {
        Self {
            identity,
            power: PowerState::Off,
            power_since: super::build::start(),
            power_unread: false,
            media: None,
            foreign_media: false,
            boot_override: false,
            order: None,
            http_uri: None,
            foreign_uri: false,
            busy: None,
            hides_busy: false,
            http_override: false,
            override_lasts: false,
            keeps_override: true,
            network_boot: Some(Offer::Offered),
            card_restart: Some(Offer::NotOffered),
            makes_of_http: HttpBoot::Keeps,
            uefi_http: Some(Offer::NotOffered),
            simple_update: Some(Offer::NotOffered),
            multipart_push: Some(Offer::NotOffered),
            max_image_bytes: None,
            makes_of_updates: Update::Writes,
            update: None,
            firmware: ("bmc-a".to_owned(), None),
            flashed: ("dev-a".to_owned(), None),
            hides_flashed: false,
            keeps_flashed: false,
            half_flashed: false,
            makes_of_firmware: Firmware::Restarts,
            component_update: None,
            tells_components: true,
            pxe: Some(false),
            pxe_offer: None,
            finds_pxe: true,
            pxe_override: false,
            boot_entry: Some(Offer::NotOffered),
            entries: Vec::new(),
            boot_order: Vec::new(),
            next_entry: None,
            installers_lead: true,
            falls_back: false,
            lasting_override: None,
            stage: None,
            knowledge: Knowledge::Known,
            answers: true,
            refusal: None,
            deaf: false,
            boot_targets: Vec::new(),
            reset_types: Vec::new(),
            virtual_media: Offer::Offered,
            granted: None,
            host_access: None,
            coming: Vec::new(),
            report: None,
            whole_at: None,
            execution: None,
            custody: None,
            tried: None,
            fetch: None,
        }
    }

    /// The same of each image that it was given a URL of.
    fn fetches(&self) -> Vec<FetchReport> {
        let update = self.update.as_ref().map(|update| &update.digest);
        let component = self.component_update.as_ref();
        let component = component.map(|told| &told.update.digest);
        let armed = [&self.media, &self.http_uri];
        let armed = armed.into_iter().flatten().map(|image| &image.digest);
        let given = armed.chain(update).chain(component);
        let of = |(digest, state): (&String, &FetchState)| FetchReport {
            digest: digest.clone(),
            state: state.clone(),
            detail: Some("as the store saw".to_owned()),
        };
        given.zip(self.fetch.iter().cycle()).map(of).collect()
    }

    /// Another machine answers at this address, or the right one again.
    pub fn stranger(&mut self, there: bool) {
        if let Some(serial) = self.identity.serial_number.as_mut() {
            let own = serial.trim_end_matches("-other").to_owned();
            *serial = if there { format!("{own}-other") } else { own };
        }
    }

    /// Whether anything of an install, or of an update, is left there.
    pub fn is_armed(&self) -> bool {
        self.media.is_some()
            || self.boot_override
            || self.http_uri.is_some()
            || self.pxe_offer.is_some()
            || self.pxe_override
            || self.next_entry.is_some()
            || self.http_override
            || self.update.is_some()
            || self.granted.is_some()
    }

    pub fn is_on(&self) -> bool {
        self.power == PowerState::On
    }

    pub fn facts(&self) -> BmcReport {
        let offered = Offer::Offered;
        BmcReport {
            identity: self.identity.clone(),
            key_pin: Some("ab".repeat(32)),
            answers_at: Some("10.0.1.1:443".to_owned()),
            model: None,
            firmware_version: None,
            power: (!self.power_unread).then(|| self.power.clone()),
            power_since: (!self.power_unread).then_some(Time(self.power_since)),
            stage: self
                .stage
                .clone()
                .filter(|_| self.knowledge == Knowledge::Known),
            stage_knowledge: self.knowledge.clone(),
            boot_override: if self.boot_override {
                Some("Cd".to_owned())
            } else if self.http_override {
                Some("UefiHttp".to_owned())
            } else if self.pxe_override {
                Some("Pxe".to_owned())
            } else if self.next_entry.is_some() {
                Some("UefiBootNext".to_owned())
            } else {
                self.lasting_override.map(str::to_owned)
            },
            media: MediaReport {
                owner: match (&self.media, self.foreign_media) {
                    (_, true) => MediaOwner::Foreign,
                    (Some(_), false) => MediaOwner::Lockstep,
                    (None, false) => MediaOwner::Nobody,
                },
                digest: self.media.as_ref().map(|image| image.digest.clone()),
            },
            granted: self.granted.as_ref().map(|image| image.digest.clone()),
            http_boot: self.uefi_http.as_ref().map(|_| MediaReport {
                owner: match (&self.http_uri, self.foreign_uri) {
                    (_, true) => MediaOwner::Foreign,
                    (Some(_), false) => MediaOwner::Lockstep,
                    (None, false) => MediaOwner::Nobody,
                },
                digest: self.http_uri.as_ref().map(|image| image.digest.clone()),
            }),
            pxe: self.pxe.map(|supplied| {
                let offer = self.pxe_offer.clone();
                let (image, macs) = offer.unzip();
                PxeReport {
                    supplied,
                    digest: image.map(|image| image.digest),
                    macs: macs.unwrap_or_default(),
                }
            }),
            boot_entries: self
                .boot_entry
                .as_ref()
                .map(|offer| self.told_entries(offer)),
            update: self.simple_update.as_ref().and(self.update.clone()),
            components: self.tells_components.then(|| {
                let (running, pending) = self.shown_firmware();
                vec![ComponentReport {
                    name: FIRMWARE.to_owned(),
                    running: Some(running),
                    pending,
                    simple_update: Offer::Offered,
                    multipart_push: Offer::Offered,
                }]
            }),
            component_update: self.component_update.clone(),
            fetches: self.fetches(),
            busy: self
                .busy
                .filter(|_| !self.hides_busy)
                .map(|since| BusyReport {
                    what: "the task Update CEC runs on its BMC".to_owned(),
                    since: Time(since),
                }),
            capabilities: BmcCapabilities {
                simple_update: self.simple_update.clone(),
                multipart_push: self.multipart_push.clone(),
                max_image_bytes: self.max_image_bytes,
                uefi_http: self.uefi_http.clone(),
                network_boot: self.network_boot.clone(),
                card_restart: self.card_restart.clone(),
                boot_entry: self.boot_entry.clone(),
                reset_types: self.reset_types.clone(),
                boot_targets: self.boot_targets.clone(),
                virtual_media: self.virtual_media.clone(),
                sessions: offered.clone(),
                boot_progress: offered.clone(),
                power_restore_policy: offered,
            },
        }
    }

    /// What a look shows: everything, or at rest the system alone, with what was seen before of
    /// the rest.
    pub fn look(&mut self, rests: bool, now: Timestamp) -> BmcReport {
        let facts = self.facts();
        let is_good = rests && self.whole_at.is_some_and(|at| now < at + secs(WHOLE));
        let known = self.report.as_ref().and_then(|report| report.bmc.clone());
        let known = known.filter(|known| {
            is_good && known.media.owner == MediaOwner::Nobody && known.identity == facts.identity
        });
        let Some(known) = known else {
            self.whole_at = Some(now);
            return facts;
        };
        BmcReport {
            media: known.media,
            http_boot: known.http_boot,
            capabilities: known.capabilities,
            boot_entries: known.boot_entries,
            ..facts
        }
    }

    fn told_entries(&self, offer: &Offer) -> BootEntriesReport {
        let reference = |index: usize| format!("Boot{:04}", index + 1);
        let entries = self.entries.iter().enumerate();
        BootEntriesReport {
            listed: offer.clone(),
            entries: entries
                .map(|(index, (name, _))| BootEntryReport {
                    reference: reference(index),
                    name: name.clone(),
                })
                .collect(),
            order: self.boot_order.iter().copied().map(reference).collect(),
            next: self.next_entry.map(reference),
        }
    }

    /// The place of the boot entry of that name.
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|(one, _)| one == name)
    }

    /// The entry of that name becomes the first of the boot order.
    pub fn put_first(&mut self, name: &str) {
        let index = self.entry(name).unwrap();
        self.boot_order.retain(|one| *one != index);
        self.boot_order.insert(0, index);
    }

    /// What the boot order leads to.
    fn first_slot(&self) -> Option<ImageFacts> {
        let mut order = self.boot_order.iter();
        order.find_map(|index| self.entries[*index].1.clone())
    }

    /// The slot in which an image is to lie is written over, or the whole disk.
    fn erase(&mut self, image: &ImageFacts) {
        for (name, held) in &mut self.entries {
            let other = image.slot.as_ref().filter(|slot| slot.boot_entry != *name);
            if other.is_none() {
                *held = None;
            }
        }
    }

    /// An image with a slot is written there, with its boot entry.
    fn write(&mut self, image: &ImageFacts) {
        let name = &image.slot.as_ref().unwrap().boot_entry;
        let index = self.entry(name).unwrap_or(self.entries.len());
        if index == self.entries.len() {
            self.entries.push((name.clone(), None));
            self.boot_order.push(index);
        }
        self.entries[index].1 = Some(image.clone());
        if self.installers_lead {
            self.put_first(name);
        }
    }

    /// What the next boot fetches; an override that was set once is over with it.
    fn boot_image(&mut self) -> Option<ImageFacts> {
        let (media, http) = (self.boot_override, self.http_override);
        let pxe = self.pxe_override;
        self.pxe_override &= self.override_lasts;
        self.boot_override &= self.override_lasts;
        self.http_override &= self.override_lasts;
        if media {
            return self.media.clone();
        }
        if pxe {
            let offer = self.pxe_offer.clone().filter(|_| self.finds_pxe);
            return offer.map(|(image, _)| image);
        }
        if !http {
            return None;
        }
        match self.makes_of_http {
            HttpBoot::Keeps => self.http_uri.clone(),
            HttpBoot::Forgets => self.http_uri.take(),
            HttpBoot::Fetches
            | HttpBoot::FetchesAndHides
            | HttpBoot::DropsUrl
            | HttpBoot::LeadsNowhere => None,
        }
    }

    /// Its boot override is gone, and nobody asked for that.
    pub fn lose_override(&mut self) {
        self.boot_override = false;
        self.http_override = false;
        self.pxe_override = false;
        self.next_entry = None;
        self.override_lasts = false;
    }

    /// It boots from the network once, where that image is offered to these addresses.
    pub fn set_pxe_boot(&mut self, image: ImageFacts, mut macs: Vec<String>) {
        macs.sort();
        self.pxe_offer = Some((image, macs));
        self.lose_override();
        self.pxe_override = true;
    }

    /// It is given a URL to boot from, once or always.
    pub fn set_http_boot(&mut self, image: Option<ImageFacts>, always: bool) {
        self.override_lasts = always && self.keeps_override;
        match self.makes_of_http {
            HttpBoot::Keeps | HttpBoot::Forgets | HttpBoot::LeadsNowhere => {
                self.http_uri = image;
                self.http_override = true;
                self.boot_override = false;
            }
            HttpBoot::Fetches => {
                self.http_uri.clone_from(&image);
                self.media = image;
                self.boot_override = true;
            }
            HttpBoot::FetchesAndHides => {
                self.media = image;
                self.boot_override = true;
            }
            HttpBoot::DropsUrl => {
                self.http_override = true;
                self.boot_override = false;
            }
        }
    }

    /// Its BMC tells its power state no more, or tells it anew; since when it is so its agent counts from then.
    pub fn tells_power(&mut self, tells: bool, now: Timestamp) {
        if tells && self.power_unread {
            self.power_since = now;
        }
        self.power_unread = !tells;
    }

    /// It is reset, as by what comes over rshim.
    pub fn reset(&mut self, now: Timestamp) {
        self.set_power(PowerState::On, now);
    }

    /// Which versions its BMC lists as running and as waiting.
    fn shown_firmware(&self) -> (String, Option<String>) {
        match (&self.firmware, self.makes_of_firmware) {
            ((_, Some(waits)), Firmware::Boasts | Firmware::FailsAndBoasts) => {
                (waits.clone(), None)
            }
            ((runs, _), Firmware::Hides | Firmware::FailsAndHides) => (runs.clone(), None),
            ((runs, waits), _) => (runs.clone(), waits.clone()),
        }
    }

    /// What waits for this runs.
    fn activate(&mut self, by: &ActivatedBy) {
        let stays = self.makes_of_firmware == Firmware::Stays;
        let waits = self
            .firmware
            .1
            .take_if(|waits| !stays && activation(waits) == *by);
        if let Some(version) = waits {
            self.firmware.0 = version;
        }
    }

    fn set_power(&mut self, power: PowerState, now: Timestamp) {
        if power == PowerState::On && self.power == PowerState::Off {
            self.half_flashed = false;
            self.activate(&ActivatedBy::CardPowerCycle);
            let stays = self.keeps_flashed;
            if let Some(waits) = self.flashed.1.take_if(|_| !stays) {
                self.flashed.0 = waits;
            }
        }
        self.stage = Some(if power == PowerState::On {
            BootStage::OsStarting
        } else {
            BootStage::ResetBootRom
        });
        self.power = power;
        self.power_since = now;
        let updated = |coming: &(Timestamp, Coming)| matches!(coming.1, Coming::Updated(_));
        if self.coming.iter().any(updated) {
            self.says_of_update(UpdateState::Failed);
        }
        // The BMC has power of its own.
        self.coming
            .retain(|(_, coming)| matches!(coming, Coming::FirmwareWritten(_) | Coming::BmcUp));
    }

    /// The BMC restarts: what waits runs then, and its tasks are lost.
    pub fn restart_bmc(&mut self, now: Timestamp) {
        self.answers = false;
        self.coming.push((now + secs(RESTARTS), Coming::BmcUp));
    }

    /// Whether its BMC is on its way up.
    pub fn restarts(&self) -> bool {
        self.coming
            .iter()
            .any(|(_, coming)| *coming == Coming::BmcUp)
    }

    fn bmc_up(&mut self) {
        self.answers = true;
        self.activate(&ActivatedBy::BmcReset);
        let (runs, waits) = self.shown_firmware();
        let is_there = |told: &ComponentUpdate| {
            let mut there = std::iter::once(&runs).chain(&waits);
            there.any(|version| image(version).digest == told.update.digest)
        };
        let ends = match &self.component_update {
            Some(told) if is_there(told) => UpdateState::Ended,
            Some(_) | None => UpdateState::Lost,
        };
        self.says_of_firmware(ends);
    }

    fn firmware_written(&mut self, version: String, now: Timestamp) {
        match self.makes_of_firmware {
            Firmware::Restarts => {
                self.firmware.1 = Some(version);
                self.restart_bmc(now);
            }
            Firmware::Waits | Firmware::Stays | Firmware::Hides | Firmware::Boasts => {
                self.firmware.1 = Some(version);
                self.says_of_firmware(UpdateState::Ended);
            }
            Firmware::KeepsOld => self.restart_bmc(now),
            Firmware::Fails | Firmware::FailsAndHides | Firmware::FailsAndBoasts => {
                self.says_of_firmware(UpdateState::Failed);
            }
            Firmware::Hangs => {}
        }
    }

    fn says_of_firmware(&mut self, state: UpdateState) {
        if let Some(told) = &mut self.component_update {
            told.update.message = Some(format!("its task is {state}"));
            told.update.state = state;
        }
    }

    pub fn says_of_update(&mut self, state: UpdateState) {
        if let Some(update) = &mut self.update {
            update.message = Some(format!("its task is {state}"));
            update.state = state;
        }
    }
}

impl World {
    pub fn power_on_host(&mut self) {
        if !self.host_machine.is_on() {
            self.host_machine.set_power(PowerState::On, self.now);
            self.owed = false;
            self.host_machine
                .coming
                .push((self.now + secs(BOOT), Coming::Up));
            self.tell("host: on");
        }
    }

    pub fn power_off_host(&mut self) {
        if self.host_machine.is_on() {
            self.host_machine.set_power(PowerState::Off, self.now);
            self.host_agent_stops();
            // What a driver writes is written no further.
            for card in &mut self.cards {
                let coming = &mut card.machine.coming;
                coming.retain(|(_, coming)| !matches!(coming, Coming::Flashed(_)));
            }
            if let Some(node) = self.node.as_mut() {
                node.ready = Readiness::NotReady;
            }
            self.tell("host: off");
            if self.coupled {
                for index in 0..self.cards.len() {
                    self.power_off_card(index);
                }
            }
        }
    }

    pub fn power_on_card(&mut self, index: usize) {
        let now = self.now;
        let dark = self.coupled && !self.host_machine.is_on();
        let card = &mut self.cards[index];
        if card.machine.is_on() || dark {
            return;
        }
        card.machine.set_power(PowerState::On, now);
        self.boots(index);
        self.tell(format!("card {index}: on"));
    }

    /// A card that is on boots.
    fn boots(&mut self, index: usize) {
        let now = self.now;
        let card = &mut self.cards[index];
        card.fetched = None;
        let up = (now + secs(BOOT), Coming::Up);
        if let Some(next) = card.machine.next_entry {
            if !card.machine.override_lasts {
                card.machine.next_entry = None;
            }
            card.fetched = card.machine.entries.get(next).and_then(|one| one.1.clone());
            card.machine.coming.push(up);
            return;
        }
        match card.machine.boot_image() {
            Some(image) if is_wiper(&image) => {
                let done = (now + secs(INSTALL), Coming::Wiped(image));
                card.machine.coming.push(done);
            }
            Some(image) if image.stateless => {
                card.fetched = Some(image);
                card.machine.coming.push(up);
            }
            Some(image) => {
                card.machine.erase(&image);
                card.disk = card.machine.first_slot();
                let done = (now + secs(INSTALL), Coming::Installed(image));
                card.machine.coming.push(done);
            }
            None => card.machine.coming.push(up),
        }
    }

    /// A card boots anew by itself, or because somebody in its system wants it to.
    pub fn reboot_card(&mut self, index: usize) {
        let writing = self.is_installing(index);
        let card = &mut self.cards[index];
        if !card.machine.is_on() || writing {
            return;
        }
        card.os = None;
        // What the driver of its host writes goes on.
        let coming = &mut card.machine.coming;
        coming.retain(|(_, coming)| matches!(coming, Coming::Flashed(_)));
        card.machine.stage = Some(BootStage::OsStarting);
        self.boots(index);
        self.tell(format!("card {index}: boots anew"));
    }

    /// All of a card boots anew with its BMC, and leaves the bus of its host meanwhile.
    pub fn restart_card(&mut self, index: usize) {
        let host = self.host.as_ref();
        let server = host.is_some_and(|host| host.spec.role == HostRole::Server);
        assert!(
            !server || !self.host_machine.is_on(),
            "a card left the bus of a host that is up\n{}",
            self.told()
        );
        assert!(
            !self.is_installing(index),
            "a card was restarted while it is written to\n{}",
            self.told()
        );
        self.reboot_card(index);
        let now = self.now;
        self.cards[index].machine.restart_bmc(now);
    }

    pub fn power_off_card(&mut self, index: usize) {
        let card = &mut self.cards[index];
        if card.machine.is_on() {
            card.machine.set_power(PowerState::Off, self.now);
            card.os = None;
            self.tell(format!("card {index}: off"));
        }
    }

    /// Whether the BMC is writing firmware of its own, or restarts with it.
    pub fn writes_firmware(&self, index: usize) -> bool {
        let coming = &self.cards[index].machine.coming;
        let mut coming = coming.iter().map(|(_, coming)| coming);
        coming.any(|coming| {
            matches!(
                coming,
                Coming::FirmwareWritten(_) | Coming::Flashed(_) | Coming::BmcUp
            )
        })
    }

    /// Whether an installer or the BMC is writing to the card.
    pub fn is_installing(&self, index: usize) -> bool {
        let coming = &self.cards[index].machine.coming;
        coming.iter().any(|(_, coming)| {
            matches!(
                coming,
                Coming::Installed(_) | Coming::Updated(_) | Coming::Wiped(_)
            )
        })
    }

    /// The BMC of a card that is on takes an update, which resets the card.
    pub fn begin_update(&mut self, index: usize, image: &ImageFacts, method: InstallMethod) {
        let writing = self.is_installing(index);
        assert!(
            !writing,
            "S1: an update of a card that is written to\n{}",
            self.told()
        );
        let now = self.now;
        let card = &mut self.cards[index];
        let makes = card.machine.makes_of_updates;
        card.os = None;
        card.fetched = None;
        card.machine.coming.clear();
        card.machine.stage = Some(BootStage::FirmwareUpdating);
        card.machine.update = Some(UpdateReport {
            digest: image.digest.clone(),
            method,
            since: Time(now),
            state: UpdateState::Running,
            percent: Some(25),
            message: None,
        });
        let written = makes.writes().then(|| image.clone());
        if let Some(image) = &written {
            card.machine.erase(image);
            card.disk = card.machine.first_slot();
        }
        let done = (now + secs(INSTALL), Coming::Updated(written));
        card.machine.coming.push(done);
        self.tell(format!("card {index}: updates, {makes:?}"));
    }

    /// The BMC of a card takes firmware.
    pub fn begin_firmware(&mut self, index: usize, update: ComponentUpdate, version: &str) {
        let writes = |coming: &(Timestamp, Coming)| matches!(coming.1, Coming::FirmwareWritten(_));
        let busy = self.is_installing(index) || self.cards[index].machine.coming.iter().any(writes);
        assert!(
            !busy,
            "S1: firmware for a card that is written to\n{}",
            self.told()
        );
        let written = Coming::FirmwareWritten(version.to_owned());
        let machine = &mut self.cards[index].machine;
        machine.component_update = Some(update);
        machine.coming.push((self.now + secs(WRITES), written));
        self.tell(format!("card {index}: its BMC writes {version}"));
    }

    /// What the card boots from its disk from now on.
    pub fn settle_disk(&mut self, index: usize) {
        let card = &mut self.cards[index];
        card.disk = card.machine.first_slot().or(card.disk.take());
    }

    pub(super) fn written(&mut self, index: usize, image: ImageFacts) {
        let card = &mut self.cards[index];
        if image.slot.is_none() {
            card.disk = Some(image);
            return;
        }
        card.machine.write(&image);
        if !card.machine.installers_lead {
            card.fetched = Some(image);
        }
        self.settle_disk(index);
    }

    fn updated(&mut self, index: usize, written: Option<ImageFacts>) {
        let up = (self.now + secs(BOOT), Coming::Up);
        if let Some(image) = written {
            self.written(index, image);
        }
        let card = &mut self.cards[index];
        let says = card.machine.makes_of_updates.says_then();
        card.machine.says_of_update(says);
        card.machine.stage = Some(BootStage::OsStarting);
        card.machine.coming.push(up);
    }

    /// What is due happens.
    pub fn physics(&mut self) {
        if self.coupled && self.dark_bmcs {
            let lit = self.host_machine.is_on();
            for card in &mut self.cards {
                card.machine.answers = lit && !card.machine.restarts();
            }
        }
        for coming in due(&mut self.host_machine, self.now) {
            match coming {
                Coming::PowerOn => self.power_on_host(),
                Coming::PowerOff => self.power_off_host(),
                Coming::Up => {
                    self.host_machine.stage = Some(BootStage::OsRunning);
                    if let Some(node) = self.node.as_mut() {
                        node.ready = Readiness::Ready;
                        self.tell("node: ready");
                    }
                    self.host_agent_starts();
                }
                Coming::Installed(_)
                | Coming::Wiped(_)
                | Coming::Updated(_)
                | Coming::FirmwareWritten(_)
                | Coming::Flashed(_)
                | Coming::BmcUp => {}
            }
        }
        for index in 0..self.cards.len() {
            for coming in due(&mut self.cards[index].machine, self.now) {
                match coming {
                    Coming::PowerOn => self.boot(index),
                    Coming::PowerOff => self.power_off_card(index),
                    Coming::Up => self.card_is_up(index),
                    Coming::Updated(written) => self.updated(index, written),
                    Coming::FirmwareWritten(version) => {
                        let now = self.now;
                        self.tell(format!("card {index}: {version} is written"));
                        self.cards[index].machine.firmware_written(version, now);
                    }
                    Coming::Flashed(written) => {
                        let machine = &mut self.cards[index].machine;
                        machine.half_flashed &= written.is_none();
                        let waits = &mut machine.flashed.1;
                        *waits = written.or(waits.take());
                        self.tell(format!("card {index}: its host's driver is done"));
                    }
                    Coming::BmcUp => {
                        self.tell(format!("card {index}: its BMC is up"));
                        self.cards[index].machine.bmc_up();
                    }
                    Coming::Wiped(image) => self.wiped(index, &image),
                    Coming::Installed(image) => {
                        let up = (self.now + secs(BOOT), Coming::Up);
                        self.written(index, image);
                        self.cards[index].machine.coming.push(up);
                    }
                }
            }
        }
        self.custody_runs_out();
    }

    /// The wiper is through with a card, if it was ordered to be.
    fn wiped(&mut self, index: usize, image: &ImageFacts) {
        let now = self.now;
        let broken = self.broken.contains(&image.version);
        let card = &mut self.cards[index];
        let Some(order) = card.machine.order.clone().filter(|_| !card.dead && !broken) else {
            return;
        };
        assert_eq!(order.identity, card.machine.identity, "wiped by mistake");
        assert!(
            !card.wiped.contains(&order.token),
            "wiped twice by one token\n{}",
            self.told()
        );
        card.wiped.push(order.token.clone());
        card.disk = None;
        card.machine.erase(image);
        card.machine.stage = Some(BootStage::OsRunning);
        card.os = Some(CardOs {
            epoch: format!("boot-{}", now.as_second()),
            image: image.clone(),
            wiped: Some(WipeReport {
                token: order.token,
                items: vec![WipeItem {
                    item: match card.wipes {
                        WipeResult::NotSupported => NO_DISK.to_owned(),
                        WipeResult::Wiped | WipeResult::Failed | WipeResult::Unrecognized(_) => {
                            "Disk vda".to_owned()
                        }
                    },
                    result: card.wipes.clone(),
                    message: None,
                }],
            }),
        });
        self.tell(format!("card {index}: wiped"));
    }

    fn card_is_up(&mut self, index: usize) {
        let now = self.now;
        let card = &mut self.cards[index];
        let comes_up = |image: &ImageFacts| !card.dead && !self.broken.contains(&image.version);
        let booted = card.fetched.clone().or_else(|| card.disk.clone());
        let Some(image) = booted.filter(comes_up) else {
            if card.fetched.take().is_some() && card.machine.falls_back {
                let up = (now + secs(BOOT), Coming::Up);
                card.machine.coming.push(up);
            }
            return;
        };
        card.machine.stage = Some(BootStage::OsRunning);
        card.os = Some(CardOs {
            epoch: format!("boot-{}", now.as_second()),
            image: image.clone(),
            wiped: None,
        });
        self.tell(format!("card {index}: runs {}", image.version));
    }

    /// The agents in the cards' operating systems report and renew their Leases.
    pub fn card_agents(&mut self) {
        for card in &mut self.cards {
            let (Some(os), Some(dpu)) = (&card.os, &card.dpu) else {
                continue;
            };
            if card.void.as_ref() == Some(&os.epoch) {
                continue;
            }
            card.os_lease = Some(self.now);
            card.ran.insert(os.image.digest.clone());
            let same = card
                .os_report
                .as_ref()
                .and_then(|report| report.os.as_ref())
                .is_some_and(|seen| {
                    seen.boot_epoch == os.epoch && seen.filesystems == card.filesystems
                });
            if same {
                continue;
            }
            self.writes.agents += 1;
            card.os_report = Some(DpuReportSpec {
                subject_uid: dpu.metadata.uid.clone().unwrap(),
                os: Some(OsReport {
                    boot_epoch: os.epoch.clone(),
                    epoch_source: "boot_id".to_owned(),
                    uptime_seconds: 1,
                    os: None,
                    image_version: Some(os.image.version.clone()),
                    image_digest: Some(os.image.digest.clone()),
                    kernel: None,
                    architecture: None,
                    addresses: vec!["10.0.0.9".to_owned()],
                    wipe: os.wiped.clone(),
                    filesystems: card.filesystems.clone(),
                }),
                ..DpuReportSpec::new(
                    Vantage::CardOs,
                    dpu.metadata.name.as_ref().unwrap(),
                    "0.1.0",
                    Time(self.now),
                )
            });
        }
    }
}

/// Whether an image wipes the card that boots it.
pub fn is_wiper(image: &ImageFacts) -> bool {
    image.version.starts_with("wiper-")
}

fn due(machine: &mut Machine, now: Timestamp) -> Vec<Coming> {
    let mut due = Vec::new();
    machine.coming.retain(|(at, coming)| {
        let later = *at > now;
        if !later {
            due.push(coming.clone());
        }
        later
    });
    due
}
