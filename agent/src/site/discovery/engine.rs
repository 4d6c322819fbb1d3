//! What is done next, and what follows from what was done. No I/O: jobs go out, results come in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::{DpuReportSpec, names};
use lockstep_redfish::{BmcError, Credentials, Endpoint, Explored, Identified};
use tokio::time::Instant;

use crate::config::DiscoverySection;
use crate::site::attended::Attended;
use crate::site::discovery::book::{Book, Outcome, Pace};
use crate::site::discovery::catalogue::{Catalogue, Inspections};
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::held::Held;
use crate::site::discovery::identity::{id_in, id_of};
use crate::site::discovery::keyring::{Found, Keyring};
use crate::site::discovery::leases::{Known, LeaseFile, Stamp};
use crate::site::discovery::login::LoggedIn;
use crate::site::discovery::scan;
use crate::site::discovery::slots::{CLASSES, Class, Slots};
use crate::site::discovery::sweep::{Door, Sweep};
use crate::site::discovery::telling::Differing;
use crate::site::discovery::territory::{Access, Named, Target, Territory};

/// Between two readings of Secrets, and after one that gave no answer.
const KEYS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5));

/// Between two looks at lease files.
const LEASES: Duration = Duration::from_secs(10);

/// Between two looks at what nobody looks at any more.
const TEND: Duration = Duration::from_secs(30);

/// Between two writes of the report about the search.
const SCAN: Duration = Duration::from_secs(30);

/// How long a BMC was not read of which a worker sees a machine that it did not show then.
const PUT_BACK: Duration = Duration::from_secs(300);

/// Between two looks whether reports stand as they were written.
const LIST: Duration = Duration::from_secs(300);

/// How long the first report waits for every endpoint to have been looked at.
const FIRST_SCAN: Duration = Duration::from_secs(120);

/// Something to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Read what these ways in take.
    Keys(Vec<Arc<Access>>),
    /// Read lease files that changed.
    Leases(Vec<(PathBuf, Option<Stamp>)>),
    /// Knock at an address of a range.
    Sweep(Door),
    /// Knock at an endpoint.
    Knock(String, SocketAddr),
    /// Read a service root.
    Identify(String, Endpoint),
    /// Log in and read everything.
    Explore(Box<Visit>),
    /// List reports as they are held.
    List,
    /// See whether these reports are still there.
    Check(Check),
}

/// Machines whose reports may have been deleted.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) ids: Vec<String>,
    /// An endpoint in whose way they stand.
    pub(super) barred: Option<String>,
}

/// Machines whose reports were deleted.
#[derive(Debug)]
pub(super) struct Gone {
    /// Each with when its report was asked for.
    pub(super) ids: Vec<(String, Instant)>,
    /// The endpoint in whose way they stood.
    pub(super) barred: Option<String>,
}

/// A login that is allowed.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) key: String,
    pub(super) endpoint: Endpoint,
    pub(super) credentials: Credentials,
    /// Version of the credentials.
    pub(super) version: String,
    pub(super) identified: Identified,
    /// The inspections that were asked for when it began.
    pub(super) asked: Arc<Inspections>,
}

/// What became of it. `None` in place of a result: it outlived every deadline.
#[derive(Debug)]
pub(super) enum Done {
    Keys(Found),
    Leases(Vec<LeaseFile>),
    Swept(Door, Vec<u16>),
    Knocked(String, Result<(), String>),
    Identified(String, Option<Result<Identified, BmcError>>),
    Explored(Box<Visit>, Option<Result<Explored, BmcError>>),
    /// Reports as they are held; `None` if nobody can tell.
    Listed(Option<Held>),
    /// Those of the reports are gone.
    Checked(Gone),
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) now: Instant,
    pub(super) at: &'a Time,
}

/// The search of one site.
#[derive(Debug)]
pub(super) struct Engine {
    site: String,
    attended: Attended,
    pub(super) territory: Territory,
    pub(super) book: Book,
    pub(super) sweep: Sweep,
    pub(super) slots: Slots,
    pub(super) catalogue: Catalogue,
    pub(super) keyring: Keyring,
    pub(super) logged_in: LoggedIn,
    /// The inspections that are to be answered.
    pub(super) inspections: Arc<Inspections>,
    pub(super) files: Vec<Known>,
    pub(super) named: Named,
    /// When Secrets are read; `None` while they are.
    pub(super) keys_at: Option<Instant>,
    /// When lease files are looked at; `None` while they are, and where there are none.
    pub(super) leases_at: Option<Instant>,
    /// When reports are listed; `None` while they are.
    pub(super) list_at: Option<Instant>,
    tend_at: Instant,
    scan_at: Instant,
    begun: Instant,
    scan: Option<DpuReportSpec>,
}

impl Engine {
    /// # Errors
    /// A listed endpoint that cannot be used; the check of the configuration found it before.
    pub(super) fn new(
        site: &str,
        section: &DiscoverySection,
        poll: Duration,
        attended: Attended,
        now: Instant,
    ) -> Result<Self, String> {
        let territory = Territory::new(section)?;
        let pace = Pace {
            poll,
            refresh: section.refresh(),
        };
        let files: Vec<Known> = section
            .leases
            .iter()
            .map(|lease| Known::new(lease.file.clone()))
            .collect();
        let mut engine = Self {
            site: site.to_owned(),
            attended,
            book: Book::new(pace),
            sweep: Sweep::new(territory.scanned(), section.scan_interval(), now),
            slots: Slots::new(section.concurrency),
            catalogue: Catalogue {
                site: site.to_owned(),
                ..Catalogue::default()
            },
            keyring: Keyring::default(),
            logged_in: LoggedIn::new(),
            inspections: Arc::default(),
            named: Named::default(),
            keys_at: Some(now),
            leases_at: (!files.is_empty()).then_some(now),
            list_at: Some(now + LIST),
            tend_at: now + TEND,
            scan_at: now,
            begun: now,
            scan: None,
            files,
            territory,
        };
        engine.retarget(now, Timestamp::UNIX_EPOCH);
        Ok(engine)
    }

    /// Takes in a report that was written before. What only a scan found is looked at where it was.
    pub(super) fn remember(&mut self, spec: DpuReportSpec, now: Instant) {
        if spec.scan.is_some() && spec.subject == self.site {
            self.scan = Some(spec);
            return;
        }
        if let Some(found) = &spec.found {
            let address = Some(&found.endpoint.address).filter(|_| found.missing_since.is_none());
            if let Some(target) = address.and_then(|address| self.territory.scanned_at(address)) {
                self.book.remember(&target, now);
            }
        }
        self.catalogue.remember(spec);
    }

    pub(super) fn retarget(&mut self, now: Instant, clock: Timestamp) {
        let named = self.territory.named(&self.files, clock);
        if named != self.named {
            self.book.retarget(&named.targets, now);
            self.named = named;
        }
    }

    /// Everything that is to be begun now.
    pub(super) fn jobs(&mut self, moment: Moment<'_>) -> Vec<Job> {
        let now = moment.now;
        let mut jobs = Vec::new();
        if self.keys_at.is_some_and(|at| at <= now) {
            self.keys_at = None;
            jobs.push(Job::Keys(self.territory.accesses()));
        }
        if self.leases_at.is_some_and(|at| at <= now) {
            self.leases_at = None;
            let files = self.files.iter();
            jobs.push(Job::Leases(
                files
                    .map(|file| (file.path.clone(), file.stamp.clone()))
                    .collect(),
            ));
        }
        if self.list_at.is_some_and(|at| at <= now) {
            self.list_at = None;
            jobs.push(Job::List);
        }
        if !self.can_look() {
            return jobs;
        }
        if self.tend_at <= now {
            self.tend_at = now + TEND;
            if self.sweep.silent().is_some() {
                let book = &self.book;
                let is_looked_at = |key: &str| book.is_tracked(key);
                let ask = self.catalogue.tend(is_looked_at, now, moment.at);
                self.ask(&ask, moment);
            }
        }
        self.slots.part(now);
        for class in CLASSES {
            while self.slots.is_free(class)
                && let Some(key) = self.book.next(class, now)
            {
                jobs.extend(self.begin(key, class, moment));
            }
        }
        while self.slots.is_free(Class::Knock)
            && let Some(door) = self.next_door(now)
        {
            jobs.push(Job::Sweep(door));
        }
        jobs
    }

    /// Whether every way in has been asked for once, so that nothing is looked at in vain.
    fn can_look(&self) -> bool {
        let accesses = self.territory.accesses();
        accesses
            .iter()
            .all(|access| self.keyring.get(access).is_some())
    }

    fn begin(&mut self, key: String, class: Class, moment: Moment<'_>) -> Option<Job> {
        let target = self.book.target(&key)?;
        let attended = self.attended.of(&key);
        let machine = attended.as_ref().and_then(|seen| seen.machine.as_ref());
        let sees = machine.and_then(id_of);
        if sees.is_some_and(|id| self.catalogue.is_absent_at(&key, &id)) {
            self.book.read_if_older(&key, PUT_BACK, moment.now);
        }
        if self.is_unanswered(&key) {
            self.book.read_if_older(&key, Duration::ZERO, moment.now);
        }
        if let Some(seen) = attended
            && let Some(until) = self.book.may_wait(&key, &seen, moment.now)
        {
            self.catalogue.answered(&target, seen.at, moment.at);
            self.book.waits(&key, until);
            return None;
        }
        if let (Class::Knock, Some(socket)) = (class, target.socket) {
            self.slots.take(key.clone(), class, moment.now);
            return Some(Job::Knock(key, socket));
        }
        let tls = match &self.keyring.get(&target.access)?.tls {
            Ok(tls) => tls.clone(),
            Err(refusal) => {
                let failure = Failure::of_refusal(refusal, Bearing::There);
                self.fail(&key, failure, moment);
                return None;
            }
        };
        self.slots.take(key.clone(), class, moment.now);
        let endpoint = Endpoint {
            address: target.url,
            tls,
        };
        Some(Job::Identify(key, endpoint))
    }

    /// The next address of the ranges, with the ports that nobody looks at yet.
    fn next_door(&mut self, now: Instant) -> Option<Door> {
        loop {
            let territory = &self.territory;
            let door = self.sweep.next(now, |ip, network, ports| {
                territory.is_scanned_in(ip, network, ports)
            })?;
            let unknown = door.ports.iter().copied().filter(|port| {
                let target = self.territory.scanned_endpoint(door.ip, *port);
                target.is_some_and(|target| !self.book.is_tracked(&target.key))
            });
            let ports: Vec<u16> = unknown.collect();
            if ports.is_empty() {
                self.sweep.knocked(false);
                continue;
            }
            let door = Door { ports, ..door };
            self.slots.take(door.to_string(), Class::Knock, now);
            return Some(door);
        }
    }

    /// Whether it is time to tell of the search.
    pub(super) fn is_to_tell(&self, now: Instant) -> bool {
        now >= self.scan_at
    }

    /// The report about the search, if it says something new. It is not told before every
    /// endpoint has been looked at, or a while has passed.
    pub(super) fn scan_report(&mut self, moment: Moment<'_>) -> Option<DpuReportSpec> {
        let now = moment.now;
        let mut outcomes = self.book.outcomes();
        let is_whole = self.sweep.silent().is_some()
            && outcomes.all(|(_, _, outcome)| *outcome != Outcome::NotYet);
        if !is_whole && now < self.begun + FIRST_SCAN {
            self.scan_at = now + LEASES / 2;
            return None;
        }
        self.scan_at = now + SCAN;
        let silent = self.sweep.silent().unwrap_or_default();
        let files = scan::files(&self.files, &self.named.outside);
        let known = self.scan.as_ref();
        let spec = scan::report(&self.site, &self.book, silent, files, known, moment.at);
        if self.scan.as_ref() == Some(&spec) {
            return None;
        }
        self.scan = Some(spec.clone());
        Some(spec)
    }

    /// Endpoints by outcome, for the figures.
    pub(super) fn outcomes(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (_, _, outcome) in self.book.outcomes() {
            let name = match outcome {
                Outcome::NotYet => "NotYet",
                Outcome::Identified => "Identified",
                Outcome::Failed(failure) => failure.reason,
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// When there is something to do again, if nothing happens before.
    pub(super) fn wake(&self) -> Instant {
        let mut wakes = vec![self.tend_at, self.scan_at];
        wakes.extend(self.keys_at);
        wakes.extend(self.leases_at);
        wakes.extend(self.list_at);
        if self.can_look() {
            wakes.extend(self.slots.wake());
            for class in CLASSES {
                if self.slots.is_free(class) {
                    wakes.extend(self.book.wake(class));
                }
            }
            wakes.extend(self.sweep.wake());
        } else {
            wakes.remove(0);
        }
        wakes.into_iter().min().unwrap_or(self.tend_at)
    }

    /// Secrets and bundles were read.
    pub(super) fn keys_read(&mut self, found: Found, now: Instant) {
        for access in self.keyring.take(found) {
            let is_of = |target: &Target| target.access == access;
            self.book.credentials_changed(is_of, now);
        }
        let is_answered = self.keyring.is_answered();
        let pause = if is_answered { KEYS.0 } else { KEYS.1 };
        self.keys_at = Some(now + pause);
    }

    /// Reports were listed.
    pub(super) fn listed(&mut self, now: Instant) {
        self.list_at = Some(now + LIST);
    }

    /// These reports are not listed as they were written. One that is not listed at all is looked
    /// for before its machine is forgotten: a list may be older than it.
    pub(super) fn retell(&mut self, differing: &Differing, moment: Moment<'_>) -> Option<Job> {
        let scan = names::scan(&self.site);
        let told = || differing.otherwise.iter().chain(&differing.not_at_all);
        if told().any(|name| *name == scan) {
            self.scan = None;
            self.scan_at = moment.now;
        }
        let catalogue = &self.catalogue;
        let known = |names: &[String]| -> Vec<String> {
            let ids = names.iter().filter_map(|name| id_in(name));
            let known = ids.filter(|id| catalogue.knows(id));
            known.map(str::to_owned).collect()
        };
        let (changed, ids) = (known(&differing.otherwise), known(&differing.not_at_all));
        self.catalogue.changed.extend(changed);
        (!ids.is_empty()).then_some(Job::Check(Check { ids, barred: None }))
    }

    /// Lease files were looked at.
    pub(super) fn leases_read(&mut self, found: Vec<LeaseFile>, moment: Moment<'_>) {
        for (file, found) in self.files.iter_mut().zip(found) {
            file.take(found);
        }
        self.leases_at = Some(moment.now + LEASES);
        self.retarget(moment.now, moment.at.0);
    }
}
