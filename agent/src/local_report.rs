//! The report of an agent that speaks of the machine it runs on: what the roles `xpu` and `host`
//! have in common.
//!
//! It is written when facts changed, never because time has passed. An API server that does not
//! answer is waited for, for ever, with growing pauses.
//!
//! Unlike a BMC's, its hot facts change once a boot, so the inventory stands in the same object:
//! a second one would cost a second write each time.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client};
use lockstep_crds::report::{Execution, OsReport};
use lockstep_crds::{DpuReport, DpuReportSpec};
use lockstep_local::{Fact, LocalFacts, Root};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::lease::{self, Candidate, LeaseKeeper};
use crate::local_inventory::Latest;
use crate::report::{Cause, ReportWriter};

/// Between looks at the machine.
const LOOK: Duration = Duration::from_secs(15);
/// The longest pause while the API server does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the first report waits for the first inventory, so that one write tells both.
const FIRST_INVENTORY: Duration = Duration::from_secs(3);

/// What a role makes of facts.
pub(crate) trait Subject: Send + Sync {
    /// The report as it should stand, but for the inventory.
    fn compose(&self, facts: &LocalFacts) -> Result<DpuReportSpec>;

    /// The API server has taken the first report of this process.
    fn accepted(&self, spec: &DpuReportSpec);
}

/// Where an agent writes, and as what.
pub(crate) struct Place<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    /// Of report, Lease and holder alike.
    pub(crate) name: String,
    pub(crate) role: &'static str,
    /// The object whose end is theirs.
    pub(crate) owner: Option<OwnerReference>,
}

/// Keeps report and Lease.
pub(crate) struct LocalReporter<S> {
    subject: S,
    root: Root,
    report: ReportWriter,
    lease: LeaseKeeper,
    announced: bool,
    inventory: Latest,
    execution: Option<Execution>,
    tellings: Option<mpsc::Receiver<Telling>>,
}

/// What became of a directive, and where it is said once that is written.
pub(crate) struct Telling {
    pub(crate) execution: Execution,
    pub(crate) written: oneshot::Sender<Result<()>>,
}

async fn next_of(tellings: &mut Option<mpsc::Receiver<Telling>>) -> Telling {
    if let Some(tellings) = tellings
        && let Some(telling) = tellings.recv().await
    {
        return telling;
    }
    std::future::pending().await
}

impl<S: Subject> LocalReporter<S> {
    /// A reporter; nothing is read yet.
    pub(crate) fn new(subject: S, root: Root, place: Place<'_>, inventory: Latest) -> Self {
        let reports: Api<DpuReport> = Api::namespaced(place.client.clone(), place.namespace);
        let leases: Api<Lease> = Api::namespaced(place.client.clone(), place.namespace);
        let candidate = Candidate {
            lease: place.name.clone(),
            identity: place.name.clone(),
            role: place.role,
            patience: Duration::ZERO,
            owner: place.owner.clone(),
        };
        Self {
            subject,
            root,
            report: ReportWriter::new(reports, place.name, place.owner),
            lease: LeaseKeeper::new(leases, candidate),
            announced: false,
            inventory,
            execution: None,
            tellings: None,
        }
    }

    /// The same for an agent that also carries directives out.
    pub(crate) fn hearing(self, tellings: mpsc::Receiver<Telling>) -> Self {
        Self {
            tellings: Some(tellings),
            ..self
        }
    }

    /// Runs until `ending`.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        let mut failures = 0_u32;
        let mut renewal = Instant::now();
        let first = timeout(FIRST_INVENTORY, self.inventory.wait_for(Option::is_some));
        tokio::select! {
            () = ending.cancelled() => return,
            // Late or never, it is told when it is there.
            _ = first => {}
        }
        loop {
            let turn = async {
                let due = Instant::now() >= renewal;
                self.turn(due).await?;
                if due {
                    renewal = Instant::now() + lease::renewal();
                }
                anyhow::Ok(())
            };
            let pause = tokio::select! {
                () = ending.cancelled() => return,
                done = turn => match done {
                    Ok(()) => {
                        failures = 0;
                        LOOK
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        let pause = clock::backoff(failures, Duration::from_secs(1), LONGEST_PAUSE);
                        tracing::warn!(failures, pause_seconds = pause.as_secs(), "not reported: {error}");
                        pause
                    }
                },
            };
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.inventory.changed() => {}
                telling = next_of(&mut self.tellings) => self.write_down(telling).await,
            }
        }
    }

    /// It stands in every report from now on, whether or not it could be written at once.
    pub(crate) async fn write_down(&mut self, telling: Telling) {
        self.execution = Some(telling.execution);
        let written = self.tell().await;
        // Whoever asked may have given up.
        telling.written.send(written).ok();
    }

    /// Tells what changed; when it is `due`, also renews the Lease and looks whether the
    /// report is still there: an API server that was set back has lost it.
    pub(crate) async fn turn(&mut self, due: bool) -> Result<()> {
        if due && self.announced {
            self.report.read().await?;
        }
        self.tell().await?;
        if due {
            self.lease.hold().await?;
        }
        Ok(())
    }

    /// Writes the report if anything but time has changed.
    pub(crate) async fn tell(&mut self) -> Result<()> {
        if self.report.known().is_none() {
            self.report.read().await?;
        }
        let mut spec = self.subject.compose(&LocalFacts::read(&self.root))?;
        // Until the machine was read, what an earlier process told of it stands.
        let before = || {
            let known = self.report.known().filter(|known| is_of(known, &spec))?;
            known.inventory.clone()
        };
        let inventory = self.inventory.borrow().clone().or_else(before);
        spec.inventory = inventory;
        // What an earlier process accepted stays accepted, whatever machine that was.
        let told = || {
            self.report
                .known()
                .and_then(|known| known.execution.clone())
        };
        spec.execution = self.execution.clone().or_else(told);
        let spec = match self.report.known() {
            Some(known) if is_same(known, &spec) => known.clone(),
            Some(_) | None => spec,
        };
        if self.report.write(&spec, Cause::Facts).await? {
            tracing::debug!("report written");
        }
        if !self.announced {
            self.announced = true;
            self.subject.accepted(&spec);
        }
        Ok(())
    }
}

/// Whether a report is of this machine in this boot. A server may be replaced under the name of
/// its Node, and cards while it is off.
fn is_of(known: &DpuReportSpec, spec: &DpuReportSpec) -> bool {
    let epoch = |spec: &DpuReportSpec| spec.os.as_ref().map(|os| os.boot_epoch.clone());
    known.machine == spec.machine && epoch(known) == epoch(spec)
}

/// Whether only time has passed.
fn is_same(known: &DpuReportSpec, spec: &DpuReportSpec) -> bool {
    let mut timeless = spec.clone();
    timeless.observed_at = known.observed_at.clone();
    if let (Some(os), Some(old)) = (&mut timeless.os, &known.os) {
        os.uptime_seconds = old.uptime_seconds;
    }
    timeless == *known
}

/// What any operating system tells; without the epoch of its boot it tells nothing.
pub(crate) fn os_report(facts: &LocalFacts) -> Result<OsReport> {
    let Fact::Known(boot_epoch) = facts.boot_id.clone() else {
        bail!(
            "the boot epoch is not known (boot_id {}): mount /proc",
            facts.boot_id
        );
    };
    let text = |value: Option<String>, most: usize| {
        value.map(|text| text.chars().take(most).collect::<String>())
    };
    let os_release = facts.os_release.as_ref().known();
    Ok(OsReport {
        boot_epoch,
        epoch_source: "boot_id".to_owned(),
        uptime_seconds: facts
            .uptime
            .clone()
            .known()
            .and_then(|uptime| i64::try_from(uptime.as_secs()).ok())
            .unwrap_or(0),
        os: text(os_release.map(|os| os.pretty_name().to_owned()), 128),
        image_version: None,
        image_digest: None,
        kernel: text(facts.kernel_release.clone().known(), 128),
        architecture: Some(facts.architecture.to_owned()),
        addresses: Vec::new(),
        wipe: None,
        filesystems: None,
    })
}
