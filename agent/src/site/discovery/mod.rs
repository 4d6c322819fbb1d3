//! Finding BMCs: lists, networks and DHCP leases say where to look, reports tell what is there.
//!
//! An endpoint is knocked at, then identified, and only then logged in to, with the credentials
//! of the narrowest entry of the configuration that it belongs to. Nothing is changed on the way.
//! Decisions are made in `engine` and below it without any I/O; this module carries them out
//! with bounded concurrency, for as long as the site's Lease is held.

mod book;
mod catalogue;
mod claim;
mod conclude;
mod doors;
mod engine;
mod failure;
mod found;
mod held;
mod identity;
mod keyring;
mod leases;
mod login;
mod missing;
mod partial;
mod proof;
mod reread;
mod rivals;
mod scan;
mod slots;
mod sweep;
mod telling;
mod territory;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::Explorer;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use doors::{Doors, NetworkDoors};

use crate::clock;
use crate::config::DiscoverySection;
use crate::report::Cause;
use crate::site::context::Site;
use crate::site::discovery::engine::{Check, Done, Engine, Gone, Job, Moment};
use crate::site::discovery::sweep::Door;
use crate::site::discovery::telling::{Telling, Told, Written};

/// A guard around deadlines of the explorer's own: reading a service root.
const LONGEST_IDENTIFY: Duration = Duration::from_secs(45);
/// The same for reading everything.
const LONGEST_EXPLORE: Duration = Duration::from_secs(240);
/// How long calls that have begun are waited for at the end.
const LAST_CALLS: Duration = Duration::from_secs(40);
/// Between two looks whether the Lease is held, while it is not.
const NO_MANDATE: Duration = Duration::from_secs(1);
/// The pauses after a failed list of reports.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What the search is done with.
#[derive(Clone)]
pub struct Means {
    /// The site.
    pub site: Arc<Site>,
    /// Reads what is behind endpoints. It shares its lanes with the workers, so that no two
    /// calls to one BMC overlap.
    pub explorer: Arc<dyn Explorer>,
    /// Tells whether anything listens.
    pub doors: Arc<dyn Doors>,
}

/// Something that was done.
enum Event {
    Done(Box<Done>),
    Written(Box<Written>),
}

/// Searches until `ending`, then waits for the calls that have begun.
pub async fn run(means: Means, section: DiscoverySection, ending: CancellationToken) {
    let config = &means.site.config;
    let poll = config.poll.idle();
    let attended = means.site.attended.clone();
    let mut engine = match Engine::new(&config.site, &section, poll, attended, Instant::now()) {
        Ok(engine) => engine,
        Err(error) => {
            tracing::error!("nothing is discovered: {error}");
            return;
        }
    };
    let mut telling = Telling::new(&means.site.client, &config.namespace);
    if !remember(&means.site, &mut engine, &mut telling, &ending).await {
        return;
    }
    let mut events: JoinSet<Event> = JoinSet::new();
    let mut wanted = means.site.inventories.follow();
    loop {
        let wake = begin(&means, &mut engine, &mut telling, &mut events);
        tokio::select! {
            () = ending.cancelled() => break,
            Some(event) = events.join_next(), if !events.is_empty() => {
                let mut next = Some(event);
                while let Some(event) = next {
                    conclude(&means, &mut engine, &mut telling, &mut events, event);
                    next = events.try_join_next();
                }
            }
            Ok(()) = wanted.changed() => {
                let at = clock::now();
                let moment = Moment { now: Instant::now(), at: &at };
                engine.inspect(&wanted.borrow_and_update(), moment);
            }
            () = tokio::time::sleep_until(wake) => {}
        }
    }
    let last = tokio::time::timeout(LAST_CALLS, async {
        while events.join_next().await.is_some() {}
    });
    if last.await.is_err() {
        tracing::warn!("calls to BMCs were still under way and are given up");
    }
}

/// Takes in the reports that were written before.
async fn remember(
    site: &Site,
    engine: &mut Engine,
    telling: &mut Telling,
    ending: &CancellationToken,
) -> bool {
    let mut failures = 0_u32;
    loop {
        let config = &site.config;
        match telling::earlier(&site.client, &config.namespace, &config.site).await {
            Ok(reports) => {
                for report in reports {
                    engine.remember(report.spec.clone(), Instant::now());
                    telling.know(report, Instant::now());
                }
                return true;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!("reports of what was found before cannot be listed: {error}");
            }
        }
        tokio::select! {
            () = ending.cancelled() => return false,
            () = tokio::time::sleep(clock::backoff(failures, PAUSES.0, PAUSES.1)) => {}
        }
    }
}

/// Begins everything that is due, and says when there is something to begin again.
fn begin(
    means: &Means,
    engine: &mut Engine,
    telling: &mut Telling,
    events: &mut JoinSet<Event>,
) -> Instant {
    let now = Instant::now();
    if !means.site.mandate.holds() {
        return now + NO_MANDATE;
    }
    let at = clock::now();
    let moment = Moment { now, at: &at };
    for job in engine.jobs(moment) {
        spawn(means, events, job);
    }
    let mut scan = None;
    if engine.is_to_tell(now) {
        let metrics = &means.site.metrics;
        metrics.discovers(&engine.outcomes(), engine.catalogue.counts());
        scan = engine.scan_report(moment);
    }
    for spec in engine.catalogue.take_changed().into_iter().chain(scan) {
        telling.want(spec, now);
    }
    while let Some(write) = telling.next(now) {
        events.spawn(async move { Event::Written(Box::new(write.perform().await)) });
    }
    telling.wake().into_iter().fold(engine.wake(), Instant::min)
}

fn conclude(
    means: &Means,
    engine: &mut Engine,
    telling: &mut Telling,
    events: &mut JoinSet<Event>,
    event: Result<Event, tokio::task::JoinError>,
) {
    let (now, at) = (Instant::now(), clock::now());
    match event {
        Ok(Event::Done(mut done)) => {
            let moment = Moment { now, at: &at };
            if let Done::Checked(gone) = &mut *done {
                gone.ids
                    .retain(|(id, answer)| telling.stood_before(id, *answer));
                for (id, _) in &gone.ids {
                    telling.forget(id);
                }
            }
            if let Done::Listed(Some(held)) = &*done {
                let differing = telling.compare(held);
                if let Some(job) = engine.retell(&differing, moment) {
                    spawn(means, events, job);
                }
            }
            if let Some(job) = engine.done(*done, moment) {
                spawn(means, events, job);
            }
        }
        Ok(Event::Written(written)) => match telling.written(*written, now) {
            Told::News => means.site.metrics.wrote(Cause::Facts.manager()),
            Told::NothingNew => {}
            Told::Deleted(id) => engine.put_away(&id, Moment { now, at: &at }),
        },
        Err(error) => tracing::error!("a part of the search ended badly: {error}"),
    }
}

fn spawn(means: &Means, events: &mut JoinSet<Event>, job: Job) {
    let means = means.clone();
    events.spawn(async move { Event::Done(Box::new(perform(&means, job).await)) });
}

async fn perform(means: &Means, job: Job) -> Done {
    let site = &means.site;
    let namespace = &site.config.namespace;
    match job {
        Job::Keys(accesses) => Done::Keys(keyring::read(&site.client, namespace, &accesses).await),
        Job::Leases(files) => {
            let read = tokio::task::spawn_blocking(move || {
                let files = files.iter();
                files
                    .map(|(path, before)| leases::read(path, before.as_ref()))
                    .collect()
            });
            Done::Leases(read.await.unwrap_or_else(|error| {
                tracing::error!("lease files: {error}");
                Vec::new()
            }))
        }
        Job::Sweep(door) => sweep(means, door).await,
        Job::Knock(key, socket) => Done::Knocked(key, means.doors.knock(socket).await),
        Job::Identify(key, endpoint) => {
            let call = means.explorer.identify(&endpoint);
            let result = tokio::time::timeout(LONGEST_IDENTIFY, call).await.ok();
            count(means, "identify", result.as_ref());
            Done::Identified(key, result)
        }
        Job::Explore(visit) => {
            let call = means.explorer.explore(&visit.endpoint, &visit.credentials);
            let result = tokio::time::timeout(LONGEST_EXPLORE, call).await.ok();
            count(means, "explore", result.as_ref());
            Done::Explored(visit, result)
        }
        Job::List => {
            let held = held::list(&site.client, namespace).await;
            let held = held.inspect_err(|error| tracing::debug!("reports not listed: {error}"));
            Done::Listed(held.ok())
        }
        Job::Check(Check { ids, barred }) => {
            let ids = telling::gone(&site.client, namespace, ids).await;
            Done::Checked(Gone { ids, barred })
        }
    }
}

async fn sweep(means: &Means, door: Door) -> Done {
    let mut open = Vec::new();
    for &port in &door.ports {
        if means.doors.knock((door.ip, port).into()).await.is_ok() {
            open.push(port);
        }
    }
    Done::Swept(door, open)
}

fn count<T>(
    means: &Means,
    verb: &'static str,
    result: Option<&Result<T, lockstep_redfish::BmcError>>,
) {
    let class = match result {
        None => "NoAnswer",
        Some(Ok(_)) => "ok",
        Some(Err(error)) => error.category(),
    };
    means.site.metrics.call(verb, class);
}
