//! Writes reports, a few at a time, each on change only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuReport, DpuReportSpec, names};
use tokio::time::Instant;

use crate::clock;
use crate::kube_client::{REQUEST_DEADLINE, said};
use crate::report::{Cause, ReportError, ReportWriter, is_not_found};
use crate::site::discovery::held::Held;
use crate::site::discovery::identity::id_in;

/// Writes under way at one time.
const MOST: usize = 8;

/// Reports in one page of the list.
const PAGE: u32 = 100;

/// The first pause after a failed write, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What a report is to say, and who writes it.
#[derive(Debug)]
pub(super) struct Write {
    name: String,
    writer: ReportWriter,
    spec: Box<DpuReportSpec>,
    /// Whether the report of a machine was there.
    stood: bool,
}

impl Write {
    /// Writes it, unless the report says just that.
    pub(super) async fn perform(mut self) -> Written {
        let (writer, spec) = (&mut self.writer, &self.spec);
        let result = if self.stood {
            writer.change(spec, Cause::Facts).await
        } else {
            writer.write(spec, Cause::Facts).await
        };
        Written {
            name: self.name,
            writer: self.writer,
            spec: self.spec,
            result,
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Written {
    name: String,
    writer: ReportWriter,
    spec: Box<DpuReportSpec>,
    result: Result<bool, ReportError>,
}

/// What came of telling something.
#[derive(Debug)]
pub(super) enum Told {
    /// It was written.
    News,
    /// It was there, or could not be written.
    NothingNew,
    /// Somebody has deleted the report of this machine.
    Deleted(String),
}

/// One report. Its writer is absent while it writes.
#[derive(Debug)]
struct Desk {
    writer: Option<ReportWriter>,
    wanted: Option<Box<DpuReportSpec>>,
    /// Whether its next write is in the queue, where it is once.
    queued: bool,
    failures: u32,
    /// When it was written or taken in last; `None`: the report was never there.
    stood: Option<Instant>,
}

/// Reports that are not listed as they were written.
#[derive(Debug, Default)]
pub(super) struct Differing {
    /// Listed with another version.
    pub(super) otherwise: Vec<String>,
    /// Not listed.
    pub(super) not_at_all: Vec<String>,
}

/// The writers of all reports of the search.
#[derive(Debug)]
pub(super) struct Telling {
    api: Api<DpuReport>,
    desks: BTreeMap<String, Desk>,
    queue: BTreeSet<(Instant, String)>,
    under_way: usize,
}

impl Telling {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            desks: BTreeMap::new(),
            queue: BTreeSet::new(),
            under_way: 0,
        }
    }

    /// Takes in a report as the API server holds it.
    pub(super) fn know(&mut self, report: DpuReport, now: Instant) {
        let writer = ReportWriter::knowing(self.api.clone(), report);
        let name = writer.name().to_owned();
        let desk = Desk {
            writer: Some(writer),
            wanted: None,
            queued: false,
            failures: 0,
            stood: Some(now),
        };
        self.desks.insert(name, desk);
    }

    /// This is what the report about its subject is to say.
    pub(super) fn want(&mut self, spec: DpuReportSpec, now: Instant) {
        let name = name_of(&spec);
        let api = &self.api;
        let desk = self.desks.entry(name.clone()).or_insert_with(|| Desk {
            writer: Some(ReportWriter::new(api.clone(), name.clone(), None)),
            wanted: None,
            queued: false,
            failures: 0,
            stood: None,
        });
        desk.wanted = Some(Box::new(spec));
        if desk.writer.is_some() && !desk.queued {
            desk.queued = true;
            self.queue.insert((now, name));
        }
    }

    /// The next write whose time has come.
    pub(super) fn next(&mut self, now: Instant) -> Option<Write> {
        while self.under_way < MOST && self.queue.first().is_some_and(|(due, _)| *due <= now) {
            let (_, name) = self.queue.pop_first()?;
            let Some(desk) = self.desks.get_mut(&name) else {
                continue;
            };
            desk.queued = false;
            let Some(spec) = desk.wanted.clone() else {
                continue;
            };
            let Some(writer) = desk.writer.take() else {
                continue;
            };
            self.under_way += 1;
            let stood = desk.stood.is_some() && spec.vantage == Vantage::FoundBmc;
            return Some(Write {
                name,
                writer,
                spec,
                stood,
            });
        }
        None
    }

    /// Takes a writer back.
    pub(super) fn written(&mut self, written: Written, now: Instant) -> Told {
        self.under_way = self.under_way.saturating_sub(1);
        let Written {
            name,
            writer,
            spec,
            result,
        } = written;
        let Some(desk) = self.desks.get_mut(&name) else {
            return Told::NothingNew;
        };
        desk.writer = Some(writer);
        match result {
            Ok(wrote) => {
                desk.stood = Some(now);
                desk.failures = 0;
                if desk.wanted.as_ref() == Some(&spec) {
                    desk.wanted = None;
                } else {
                    desk.queued = true;
                    self.queue.insert((now, name));
                }
                if wrote { Told::News } else { Told::NothingNew }
            }
            Err(ReportError::Deleted(_)) => {
                self.forget(&spec.subject);
                Told::Deleted(spec.subject)
            }
            Err(error) => {
                tracing::warn!("{error}");
                desk.failures = desk.failures.saturating_add(1);
                let pause = clock::backoff(desk.failures, PAUSES.0, PAUSES.1);
                desk.queued = true;
                self.queue.insert((now + pause, name));
                Told::NothingNew
            }
        }
    }

    /// When the next write is due, if one may be begun.
    pub(super) fn wake(&self) -> Option<Instant> {
        let (due, _) = self.queue.first()?;
        (self.under_way < MOST).then_some(*due)
    }

    /// Whether the report of a machine was there, and was not written since: one that was never
    /// written is not one that somebody deleted, and neither is one that is newer than the answer.
    pub(super) fn stood_before(&self, id: &str, answer: Instant) -> bool {
        let desk = self.desks.get(&names::found_bmc(id));
        let desk = desk.filter(|desk| desk.writer.is_some());
        desk.is_some_and(|desk| desk.stood.is_some_and(|stood| stood < answer))
    }

    /// Reports that are not listed as they were written before the list was begun. What is listed
    /// with another version is read again before it is written the next time; what is not listed
    /// is compared again with each list.
    pub(super) fn compare(&mut self, held: &Held) -> Differing {
        let mut differing = Differing::default();
        for (name, desk) in &mut self.desks {
            let is_older = desk.stood.is_some_and(|stood| stood < held.begun);
            let is_settled = is_older && desk.wanted.is_none();
            let Some(writer) = desk.writer.as_mut().filter(|_| is_settled) else {
                continue;
            };
            let Some(version) = writer.version() else {
                continue;
            };
            let listed = held.versions.get(name);
            if listed.map(String::as_str) == Some(version) {
                continue;
            }
            // A machine is asked for before anything follows from that.
            if listed.is_none() && id_in(name).is_some() {
                differing.not_at_all.push(name.clone());
                continue;
            }
            writer.forget();
            if listed.is_some() {
                differing.otherwise.push(name.clone());
            } else {
                differing.not_at_all.push(name.clone());
            }
        }
        differing
    }

    /// Forgets a report that somebody deleted.
    pub(super) fn forget(&mut self, id: &str) {
        let name = names::found_bmc(id);
        if self
            .desks
            .get(&name)
            .is_some_and(|desk| desk.writer.is_some())
        {
            self.desks.remove(&name);
            self.queue.retain(|(_, queued)| *queued != name);
        }
    }
}

fn name_of(spec: &DpuReportSpec) -> String {
    if spec.vantage == Vantage::Scan {
        names::scan(&spec.subject)
    } else {
        names::found_bmc(&spec.subject)
    }
}

/// The reports of earlier searches. One that this release cannot read is left alone.
pub(super) async fn earlier(
    client: &Client,
    namespace: &str,
    site: &str,
) -> Result<Vec<DpuReport>, String> {
    let api: Api<DeserializeGuard<DpuReport>> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = match tokio::time::timeout(REQUEST_DEADLINE, api.list(&params)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => return Err(said(&error)),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        for report in page.items {
            match report.0 {
                Ok(report) if is_ours(&report.spec, site) => found.push(report),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("a report cannot be read and is left alone: {}", error.error);
                }
            }
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            Some(_) | None => return Ok(found),
        }
    }
}

fn is_ours(spec: &DpuReportSpec, site: &str) -> bool {
    match spec.vantage {
        Vantage::FoundBmc => spec.found.as_ref().is_some_and(|found| found.site == site),
        Vantage::Scan => spec.subject == site,
        Vantage::CardBmc
        | Vantage::HostBmc
        | Vantage::CardOs
        | Vantage::Site
        | Vantage::HostOs
        | Vantage::Spec
        | Vantage::Unrecognized(_) => false,
    }
}

/// Those of the machines whose reports do not exist, each with when it was asked for. Silence proves
/// nothing.
pub(super) async fn gone(
    client: &Client,
    namespace: &str,
    ids: Vec<String>,
) -> Vec<(String, Instant)> {
    let api: Api<DpuReport> = Api::namespaced(client.clone(), namespace);
    let asked = futures::stream::iter(ids).map(|id| {
        let api = api.clone();
        async move {
            let begun = Instant::now();
            let name = names::found_bmc(&id);
            let found = tokio::time::timeout(REQUEST_DEADLINE, api.get_metadata(&name)).await;
            matches!(found, Ok(Err(error)) if is_not_found(&error)).then_some((id, begun))
        }
    });
    let gone: Vec<Option<(String, Instant)>> = asked.buffer_unordered(MOST).collect().await;
    gone.into_iter().flatten().collect()
}
