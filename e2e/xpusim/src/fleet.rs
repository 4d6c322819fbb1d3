//! A fleet: its power domains, its clock, and what a judge or a saboteur may
//! ask of it. Domains have a lock each, so that one never waits for another.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Moment};
use crate::domain::{Domain, Index};
use crate::effect::{Effect, What};
use crate::fault::{Fault, Rule};
use crate::personality::Role;
use crate::reset::{Power, ResetType};
use crate::spec::{FleetSpec, Latency, SpecError};
use crate::stage::Stage;

/// A fleet.
#[derive(Debug)]
pub struct Fleet {
    clock: Clock,
    domains: Vec<Mutex<Domain>>,
    places: HashMap<String, Place>,
    names: Vec<String>,
}

/// Where a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) domain: usize,
    pub(crate) machine: Index,
}

/// No machine has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no machine is called {0:?}; GET /xpusim/v1/machines lists them")]
pub struct Unknown(pub String);

/// What a machine is, and the truth about its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineState {
    /// Its name.
    pub name: String,
    /// Its personality.
    pub personality: &'static str,
    /// `card` or `host`.
    pub role: &'static str,
    /// Serial number, as it is before any fault distorts it.
    pub serial: String,
    /// System UUID, likewise.
    pub uuid: String,
    /// Path of its ComputerSystem.
    pub system: String,
    /// Its first account's user name.
    pub user: String,
    /// That account's password.
    pub password: String,
    /// The names of a card's hosts.
    pub hosts: Vec<String>,
    /// Power state.
    pub power: Power,
    /// Boot stage.
    pub stage: Option<Stage>,
    /// How often it has booted.
    pub boots: u64,
    /// The version on its disk.
    pub disk: String,
    /// What it has booted from.
    pub booted_from: String,
    /// Whether its BMC answers.
    pub bmc_up: bool,
    /// The faults that are switched on.
    pub faults: Vec<Rule>,
    /// How long its BMC thinks.
    pub latency: Latency,
}

/// What a BMC was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// All requests.
    pub total: u64,
    /// Those answered with 401, but for those of sessions that had ended.
    pub unauthorized: u64,
    /// Real milliseconds from the first one to the last one.
    pub span_ms: u64,
    /// By `METHOD path`.
    pub by_path: std::collections::BTreeMap<String, u64>,
    /// How often each fault was met: it struck, or what it demands was given. What a fault of
    /// documents leaves as it was it has not struck.
    pub met: std::collections::BTreeMap<Fault, u64>,
}

/// Something that happens to a machine without its BMC being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "action", deny_unknown_fields)]
pub enum Strike {
    /// A person at the button, or another tool: a reset.
    Press {
        /// Which.
        reset: ResetType,
    },
    /// The operating system crashes.
    Crash,
    /// The firmware crashes and takes the PCIe link along.
    CrashFirmware,
    /// The PCIe link goes.
    DropLink,
    /// The flash breaks, or is mended.
    Livefish {
        /// Broken, or not.
        broken: bool,
    },
    /// Mains power of its whole power domain goes or comes.
    Mains {
        /// On, or off.
        on: bool,
    },
    /// The BMC restarts by itself.
    RestartBmc,
    /// The BMC shows another certificate.
    RenewCertificate,
    /// The first account gets another password: a rotation behind our back.
    SetPassword {
        /// The new one.
        password: String,
    },
    /// Somebody writes a firmware version that runs from the next boot on.
    WriteFirmware {
        /// That version.
        version: String,
    },
    /// All sessions end.
    EndSessions,
    /// The BMC thinks longer, or shorter.
    SetLatency {
        /// So long.
        latency: Latency,
    },
}

impl Fleet {
    /// A fleet as the file says.
    ///
    /// # Errors
    /// When the file names what is not there.
    pub fn new(spec: &FleetSpec) -> Result<Arc<Self>, SpecError> {
        let start = spec.start.unwrap_or_else(Timestamp::now);
        Self::with_clock(spec, Clock::new(start, spec.time_scale))
    }

    /// A fleet whose time only [`Clock::skip`] moves.
    ///
    /// # Errors
    /// When the file names what is not there.
    pub fn stepped(spec: &FleetSpec) -> Result<Arc<Self>, SpecError> {
        let start = spec.start.unwrap_or(Timestamp::UNIX_EPOCH);
        Self::with_clock(spec, Clock::stepped(start))
    }

    fn with_clock(spec: &FleetSpec, clock: Clock) -> Result<Arc<Self>, SpecError> {
        let images: Arc<[_]> = spec.images.clone().into();
        let mut fleet = Self {
            clock,
            domains: Vec::new(),
            places: HashMap::new(),
            names: Vec::new(),
        };
        for planned in spec.plan()? {
            let domain = Domain::new(planned, fleet.clock.start(), Arc::clone(&images));
            for (machine, one) in domain.machines.iter().enumerate() {
                let place = Place {
                    domain: fleet.domains.len(),
                    machine,
                };
                fleet.places.insert(one.name.clone(), place);
                fleet.names.push(one.name.clone());
            }
            fleet.domains.push(Mutex::new(domain));
        }
        Ok(Arc::new(fleet))
    }

    /// The fleet's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The names of all machines, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The truth about a machine.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn state(&self, name: &str) -> Result<MachineState, Unknown> {
        let place = self.place(name)?;
        let domain = self.domain(place);
        let one = &domain.machines[place.machine];
        let account = one.accounts.accounts.first();
        let hosts = domain
            .links
            .iter()
            .filter(|link| link.card == place.machine);
        Ok(MachineState {
            name: one.name.clone(),
            personality: one.personality.name,
            role: match one.personality.role {
                Role::Card => "card",
                Role::Host => "host",
            },
            serial: one.serial.clone(),
            uuid: one.uuid.clone(),
            system: format!("/redfish/v1/Systems/{}", one.personality.ids.system),
            user: account.map(|one| one.user.clone()).unwrap_or_default(),
            password: account.map(|one| one.password.clone()).unwrap_or_default(),
            hosts: hosts
                .map(|link| domain.machines[link.host].name.clone())
                .collect(),
            power: one.power,
            stage: one.stage,
            boots: one.boots,
            disk: one.disk.clone(),
            booted_from: one.booted_from.clone(),
            bmc_up: one.bmc.up,
            faults: one.faults.rules().to_vec(),
            latency: one.latency,
        })
    }

    /// What a machine's BMC was asked so far.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn requests(&self, name: &str) -> Result<RequestCounts, Unknown> {
        let place = self.place(name)?;
        let domain = self.domain(place);
        let requests = &domain.machines[place.machine].requests;
        Ok(RequestCounts {
            total: requests.total,
            unauthorized: requests.unauthorized,
            span_ms: requests
                .span
                .map_or(0, |(first, last)| last.duration_since(first).as_millis())
                .try_into()
                .unwrap_or(u64::MAX),
            by_path: requests.by_path.clone(),
            met: requests.met.clone(),
        })
    }

    /// The effect log of a machine's power domain, from a position on.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn effects(&self, name: &str, from: u64) -> Result<Vec<Effect>, Unknown> {
        let place = self.place(name)?;
        Ok(self.domain(place).effects(from).to_vec())
    }

    /// The effect logs of all power domains, by time.
    pub fn all_effects(&self) -> Vec<Effect> {
        let mut all: Vec<Effect> = Vec::new();
        for domain in 0..self.domains.len() {
            let place = Place { domain, machine: 0 };
            all.extend_from_slice(self.domain(place).effects(0));
        }
        all.sort_by_key(|effect| effect.at);
        all
    }

    /// Keeps these bytes of each image that a BMC is given for an update from now on.
    pub fn keep_of_images(&self, range: &Range<u64>) {
        for domain in 0..self.domains.len() {
            self.domain(Place { domain, machine: 0 }).keeps = range.clone();
        }
    }

    pub(crate) fn kept_range(&self) -> Range<u64> {
        if self.domains.is_empty() {
            return 0..0;
        }
        let first = Place {
            domain: 0,
            machine: 0,
        };
        self.domain(first).keeps.clone()
    }

    /// What was kept of the image that came last for that machine.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn image_part(&self, name: &str) -> Result<Vec<u8>, Unknown> {
        let place = self.place(name)?;
        Ok(self.domain(place).machines[place.machine]
            .image_part
            .clone())
    }

    /// Switches a fault on.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn switch_on(&self, name: &str, rule: Rule) -> Result<(), Unknown> {
        let place = self.place(name)?;
        self.domain(place).switch_on(place.machine, rule);
        Ok(())
    }

    /// Switches a fault off.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn switch_off(&self, name: &str, fault: Fault) -> Result<(), Unknown> {
        let place = self.place(name)?;
        self.domain(place).switch_off(place.machine, fault);
        Ok(())
    }

    /// Does something to a machine behind its BMC's back.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn strike(&self, name: &str, strike: Strike) -> Result<(), Unknown> {
        let place = self.place(name)?;
        let mut domain = self.domain(place);
        let machine = place.machine;
        match strike {
            Strike::Press { reset } => {
                // What the power state forbids does nothing, as a button would.
                if domain.press(machine, reset).is_err() {
                    let request = reset.as_str().to_owned();
                    domain.note(machine, What::Ignored { request });
                }
            }
            Strike::Crash => domain.crash(machine, false),
            Strike::CrashFirmware => domain.crash(machine, true),
            Strike::DropLink => domain.drop_link(machine),
            Strike::Livefish { broken } => domain.set_livefish(machine, broken),
            Strike::Mains { on } => domain.set_mains(on),
            Strike::RestartBmc => domain.restart_manager(machine),
            Strike::RenewCertificate => domain.renew_certificate(machine),
            Strike::SetPassword { password } => {
                let accounts = &mut domain.machines[machine].accounts.accounts;
                if let Some(first) = accounts.first_mut() {
                    first.password = password;
                    let user = first.user.clone();
                    domain.note(machine, What::AccountChanged { user });
                }
            }
            Strike::WriteFirmware { version } => domain.write_firmware(machine, version),
            Strike::EndSessions => domain.machines[machine].accounts.sessions.clear(),
            Strike::SetLatency { latency } => domain.machines[machine].latency = latency,
        }
        Ok(())
    }

    /// Lets that much time pass at once, everywhere.
    pub fn skip(&self, time: Duration) {
        self.clock.skip(time);
        for domain in 0..self.domains.len() {
            drop(self.domain(Place { domain, machine: 0 }));
        }
    }

    pub(crate) fn place(&self, name: &str) -> Result<Place, Unknown> {
        let place = self.places.get(name).copied();
        place.ok_or_else(|| Unknown(name.to_owned()))
    }

    /// The domain, at this moment.
    pub(crate) fn domain(&self, place: Place) -> MutexGuard<'_, Domain> {
        let domain = &self.domains[place.domain];
        let mut domain = domain.lock().unwrap_or_else(PoisonError::into_inner);
        let now: Moment = self.clock.now();
        domain.settle(now);
        domain
    }
}
