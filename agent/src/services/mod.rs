//! Services on a card: the agent in its operating system runs what is offered to the card, and
//! nothing else.
//!
//! What is offered stands in the status of the card's own `Dpu`; the bytes come from the site's store,
//! which nobody trusts: only what has the offered digest is started. Services outlive this agent. The
//! next one finds them by what they execute, and starts none a second time.

mod decide;
mod fetch;
mod group;
mod process;
mod procfs;
mod shelf;
mod wishes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use lockstep_crds::report::Reachability;
use lockstep_crds::service::{ServiceReport, ServiceState, ServicesReport};
use lockstep_store::Digest;
use rustix::process::Signal;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::seed::Seed;
use crate::services::decide::{Seen, Step, Wish, decide};
use crate::services::fetch::Source;
use crate::services::process::Process;
use crate::services::shelf::{Shelf, unusable};
use crate::services::wishes::{Card, Wishes, reached};
use crate::site::judge::Refusal;

/// Between two looks at what is offered.
const LOOK: Duration = Duration::from_secs(30);
/// How long a service has to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Pauses before a service that ended, or bytes that could not be had, are tried again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A service that ran for so long is as good as new.
const SOUND: Duration = Duration::from_secs(600);
/// Services that a report holds.
const MOST: usize = 16;
/// Steps of one service in one turn: stopped, started, and found to have ended at once.
const STEPS: usize = 4;

/// What is told of services; absent from an agent that runs none.
pub(crate) type Told = watch::Receiver<Option<ServicesReport>>;

/// Runs the services of one card.
pub(crate) struct Services {
    card: Card,
    source: Source,
    dir: PathBuf,
    shelf: Option<Shelf>,
    entries: BTreeMap<String, Entry>,
    asked: Option<Reachability>,
    told: watch::Sender<Option<ServicesReport>>,
    woken: Arc<Notify>,
    look_every: Duration,
}

/// One service.
struct Entry {
    wish: Wish,
    version: Option<String>,
    process: Option<Process>,
    /// Version of what runs.
    running: Option<String>,
    force_at: Option<Instant>,
    started: Option<Instant>,
    fetching: Option<Fetching>,
    retry_at: Option<Instant>,
    failures: u32,
    restarts: i64,
    trouble: Option<(ServiceState, Refusal)>,
    state: ServiceState,
    since: Time,
}

struct Fetching {
    digest: Digest,
    task: tokio::task::JoinHandle<Result<(), Refusal>>,
    abort: AbortHandle,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Entry {
    fn new(wish: Wish) -> Self {
        Self {
            wish,
            version: None,
            process: None,
            running: None,
            force_at: None,
            started: None,
            fetching: None,
            retry_at: None,
            failures: 0,
            restarts: 0,
            trouble: None,
            state: ServiceState::Fetching,
            since: clock::now(),
        }
    }

    /// Something went wrong: it is tried again, ever later.
    fn put_off(&mut self, state: ServiceState, refusal: Refusal) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + clock::backoff(self.failures, PAUSES.0, PAUSES.1));
        self.trouble = Some((state, refusal));
    }

    /// Somebody wants something else: what went wrong before counts no more.
    fn wants(&mut self, wish: Wish, version: Option<String>) {
        if self.wish != wish {
            self.failures = 0;
            self.retry_at = None;
            self.trouble = None;
        }
        self.wish = wish;
        self.version = version;
    }

    fn seen(&self, shelf: &Shelf) -> Seen {
        Seen {
            running: self.process.as_ref().map(|process| process.digest),
            force_at: self.force_at,
            has_bytes: matches!(self.wish, Wish::Run(digest) if shelf.has(&digest)),
            is_fetching: self.fetching.is_some(),
            retry_at: self.retry_at,
        }
    }
}

impl Services {
    /// Those of the card with that seed; `None` if it names no store that can be used.
    pub(crate) fn of(seed: &Seed, client: &Client, dir: PathBuf) -> Option<(Self, Told)> {
        let (store, uid) = (seed.store.as_ref()?, seed.dpu_uid.as_ref()?);
        let source = Source::new(store, uid)
            .inspect_err(|error| {
                tracing::error!("no services: the seed's store cannot be used: {error:#}; correct xpu.storeUrl and xpu.services of the site agent, and install the card again");
            })
            .ok()?;
        let (told, hears) = watch::channel(None);
        let services = Self {
            card: Card::of(seed, client),
            source,
            dir,
            shelf: None,
            entries: BTreeMap::new(),
            asked: None,
            told,
            woken: Arc::new(Notify::new()),
            look_every: LOOK,
        };
        Some((services, hears))
    }

    /// Runs until `ending`, and leaves the services running: the next agent of this card finds them.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        self.adopt().await;
        let mut look_at = Instant::now();
        loop {
            if Instant::now() >= look_at {
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = self.look() => {}
                }
                look_at = Instant::now() + clock::jittered(self.look_every, 10);
            }
            self.turn().await;
            let due = self.entries.values();
            let due = due
                .flat_map(|entry| [entry.force_at, entry.retry_at])
                .flatten();
            let due = due.filter(|at| *at > Instant::now()).min();
            let until = due.map_or(look_at, |due| due.min(look_at));
            tokio::select! {
                () = ending.cancelled() => return,
                () = self.woken.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Takes over what an earlier process of this agent left running. What is left of services that
    /// ended meanwhile is ended.
    async fn adopt(&mut self) {
        for (service, process) in Process::all() {
            self.take(&service, process);
        }
        for (service, group) in group::leaderless() {
            // A group that a service has made for itself, as far as anybody can tell.
            if self.entries.contains_key(&service) {
                continue;
            }
            let left = group::end_of(&service, group).await;
            let group = group.as_raw_nonzero();
            tracing::warn!(
                service,
                group,
                left,
                "it has ended, and others of its group were ended by force"
            );
        }
    }

    /// One copy of a service; any other is ended.
    fn take(&mut self, service: &str, process: Process) {
        let entry = self.entries.entry(service.to_owned());
        let entry = entry.or_insert_with(|| Entry::new(Wish::Leave));
        if entry.process.is_some() {
            tracing::warn!(service, "a second copy of it runs, and is ended");
            process.signal(Signal::KILL);
            return;
        }
        if let Err(error) = process.watch(&self.woken) {
            tracing::warn!(service, %error, "its end is seen late");
        }
        tracing::info!(service, digest = %process.digest, "found running");
        entry.process = Some(process);
    }

    /// Reads what is offered. What cannot be read changes nothing.
    async fn look(&mut self) {
        let found = self.card.wishes().await;
        let reach = found.as_ref().map(|_| ());
        self.asked = Some(reached(self.asked.as_ref(), reach, &clock::now()));
        if let Some(shelf) = &self.shelf {
            for service in self.entries.keys() {
                shelf.trim(service);
            }
        }
        match found {
            Ok(Some(wishes)) => self.want(wishes),
            Ok(None) => {}
            Err(refusal) => {
                tracing::debug!(
                    reason = refusal.reason,
                    "what is offered was not read: {}",
                    refusal.message
                );
            }
        }
    }

    fn want(&mut self, mut wishes: Wishes) {
        for (service, entry) in &mut self.entries {
            let (wish, version) = wishes.remove(service).unwrap_or((Wish::Gone, None));
            entry.wants(wish, version);
        }
        for (service, (wish, version)) in wishes {
            let mut entry = Entry::new(wish);
            entry.version = version;
            self.entries.insert(service, entry);
        }
    }

    /// Does for each service what is to be done now.
    async fn turn(&mut self) {
        let shelf = match self.open_shelf() {
            Ok(shelf) => shelf,
            Err(refusal) => {
                for entry in self.entries.values_mut() {
                    entry.trouble = Some((ServiceState::Failed, refusal.clone()));
                }
                self.tell();
                return;
            }
        };
        let services: Vec<String> = self.entries.keys().cloned().collect();
        for service in &services {
            for _ in 0..STEPS {
                if !self.step(service, &shelf).await {
                    break;
                }
            }
        }
        // Before the first word nobody knows what is wanted.
        if self.asked.as_ref().is_some_and(|asked| asked.ok) {
            let names: BTreeSet<&str> = self.entries.keys().map(String::as_str).collect();
            let wanted = self.entries.values().flat_map(|entry| {
                let running = entry.process.as_ref().map(|process| process.digest);
                let wanted = match entry.wish {
                    Wish::Run(digest) => Some(digest),
                    Wish::Leave | Wish::Gone => None,
                };
                [running, wanted]
            });
            shelf.sweep(&wanted.flatten().collect(), &names);
        }
        self.tell();
    }

    fn open_shelf(&mut self) -> Result<Shelf, Refusal> {
        if let Some(shelf) = &self.shelf {
            return Ok(shelf.clone());
        }
        let shelf = Shelf::open(&self.dir).map_err(|error| unusable(&error))?;
        self.shelf = Some(shelf.clone());
        Ok(shelf)
    }

    /// One step of one service; whether another may follow at once.
    async fn step(&mut self, service: &str, shelf: &Shelf) -> bool {
        let Some(entry) = self.entries.get_mut(service) else {
            return false;
        };
        notice_end(service, entry, shelf).await;
        notice_fetched(service, entry).await;
        match decide(entry.wish, entry.seen(shelf), Instant::now()) {
            Step::Rest => false,
            Step::Fetch(digest) => {
                tracing::info!(service, %digest, "fetched from the site's store");
                let (source, shelf, woken) =
                    (self.source.clone(), shelf.clone(), Arc::clone(&self.woken));
                let task = tokio::spawn(async move {
                    let fetched = source.fetch(&shelf, digest).await;
                    woken.notify_one();
                    fetched
                });
                let abort = task.abort_handle();
                entry.fetching = Some(Fetching {
                    digest,
                    task,
                    abort,
                });
                false
            }
            Step::Start(digest) => self.start(service, digest, shelf).await,
            Step::Stop => {
                tracing::info!(service, "asked to end");
                entry.force_at = Some(Instant::now() + GRACE);
                if let Some(process) = &entry.process {
                    process.signal(Signal::TERM);
                }
                false
            }
            Step::Force => {
                tracing::warn!(service, "did not end when asked to, and is ended by force");
                entry.force_at = Some(Instant::now() + GRACE);
                if let Some(process) = &entry.process {
                    process.signal(Signal::KILL);
                }
                false
            }
            Step::Forget => {
                tracing::info!(service, "not wanted any more, and gone");
                self.entries.remove(service);
                false
            }
        }
    }

    /// Starts it, unless a copy of it runs that nobody knew of: one that was started just before an
    /// earlier process died.
    async fn start(&mut self, service: &str, digest: Digest, shelf: &Shelf) -> bool {
        let mut others = Process::all()
            .into_iter()
            .filter(|(name, _)| name == service);
        if let Some((_, other)) = others.next() {
            self.take(service, other);
            return true;
        }
        shelf.trim(service);
        let sealed = {
            let (shelf, service) = (shelf.clone(), service.to_owned());
            let sealed = tokio::task::spawn_blocking(move || shelf.seal(&service, &digest)).await;
            sealed.unwrap_or_else(|error| Err(Refusal::new("NoMemory", error.to_string())))
        };
        let Some(entry) = self.entries.get_mut(service) else {
            return false;
        };
        let started = sealed.and_then(|sealed| {
            let log = shelf.log(service).map_err(|error| unusable(&error))?;
            Process::start(service, &sealed, log).map_err(|error| {
                Refusal::new(
                    "NotExecutable",
                    format!("it cannot be started: {error}; a service is one executable of the card's architecture that needs no other files"),
                )
            })
        });
        match started {
            Ok(process) => {
                if let Err(error) = process.watch(&self.woken) {
                    tracing::warn!(service, %error, "its end is seen late");
                }
                tracing::info!(service, digest = %process.digest, "started");
                if entry.running != entry.version {
                    entry.restarts = 0;
                }
                entry.running.clone_from(&entry.version);
                entry.process = Some(process);
                entry.started = Some(Instant::now());
                entry.retry_at = None;
                true
            }
            Err(refusal) => {
                tracing::warn!(service, reason = refusal.reason, "{}", refusal.message);
                entry.put_off(ServiceState::Failed, refusal);
                false
            }
        }
    }

    fn tell(&mut self) {
        let services = self.entries.iter_mut().take(MOST);
        let services = services
            .map(|(service, entry)| told(service, entry))
            .collect();
        let Some(asked) = self.asked.clone() else {
            return;
        };
        let report = Some(ServicesReport { asked, services });
        self.told.send_if_modified(|before| {
            let is_news = *before != report;
            *before = report;
            is_news
        });
    }
}

/// Takes note of a service that ended: as it should, or by itself.
async fn notice_end(service: &str, entry: &mut Entry, shelf: &Shelf) {
    let Some(process) = &mut entry.process else {
        return;
    };
    let Some(how) = process.ended().await else {
        return;
    };
    entry.process = None;
    if entry.force_at.take().is_some() {
        entry.retry_at = None;
        return;
    }
    let ran_well = entry
        .started
        .is_some_and(|started| started.elapsed() >= SOUND);
    if ran_well {
        entry.failures = 0;
    }
    entry.restarts = entry.restarts.saturating_add(1);
    let last = shelf.last_words(service);
    let last = last.map_or_else(
        || "it said nothing".to_owned(),
        |last| format!("its last words: {last}"),
    );
    tracing::warn!(service, "{how}; {last}");
    entry.put_off(
        ServiceState::BackingOff,
        Refusal::new("Ended", format!("{how}; {last}")),
    );
}

async fn notice_fetched(service: &str, entry: &mut Entry) {
    let Some(fetching) = &mut entry.fetching else {
        return;
    };
    if entry.wish != Wish::Run(fetching.digest) {
        entry.fetching = None;
        return;
    }
    if !fetching.task.is_finished() {
        return;
    }
    let fetched = (&mut fetching.task).await;
    entry.fetching = None;
    let fetched =
        fetched.unwrap_or_else(|error| Err(Refusal::new("StoreUnreachable", error.to_string())));
    match fetched {
        Ok(()) => {
            entry.failures = 0;
            entry.trouble = None;
        }
        Err(refusal) => {
            tracing::warn!(service, reason = refusal.reason, "{}", refusal.message);
            entry.put_off(ServiceState::Failed, refusal);
        }
    }
}

/// What the report tells of a service. What went wrong last is told as long as it may go on.
fn told(service: &str, entry: &mut Entry) -> ServiceReport {
    let trouble = entry.trouble.as_ref();
    let state = match (&entry.process, trouble) {
        (Some(process), _) if process.lingers || entry.force_at.is_some() => ServiceState::Stopping,
        (Some(_), _) => ServiceState::Running,
        (None, Some((state, _))) => state.clone(),
        (None, None) if !matches!(entry.wish, Wish::Run(_)) => ServiceState::NotOffered,
        (None, None) => ServiceState::Fetching,
    };
    if entry.state != state {
        entry.since = clock::now();
        entry.state = state.clone();
    }
    let process = entry.process.as_ref();
    let since = match (&state, process) {
        (ServiceState::Running, Some(process)) => process.since.clone(),
        (_, _) => entry.since.clone(),
    };
    let is_wanted = |process: &Process| entry.wish == Wish::Run(process.digest);
    let version = process.and_then(|process| {
        if is_wanted(process) {
            entry.version.clone()
        } else {
            entry.running.clone()
        }
    });
    ServiceReport {
        service: service.chars().take(63).collect(),
        digest: process.map(|process| process.digest.to_string()),
        version,
        since,
        restarts: entry.restarts,
        reason: trouble.map(|(_, why)| why.reason.clone()),
        message: trouble.map(|(_, why)| why.message.chars().take(512).collect()),
        state,
    }
}
