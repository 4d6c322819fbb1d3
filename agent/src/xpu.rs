//! The role `xpu`: a card's own agent, inside its operating system.
//!
//! It needs no trust store, no resolver and no writable disk. It writes its
//! report when facts changed and renews its Lease; an API server that does not
//! answer is waited for, for ever, with growing pauses.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource};
use lockstep_crds::report::{OsReport, Vantage};
use lockstep_crds::{Dpu, DpuReport, DpuReportSpec, names};
use lockstep_local::{Fact, LocalFacts, Root};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::kube_client;
use crate::lease::{Candidate, LeaseKeeper};
use crate::report::{Cause, ReportWriter};
use crate::seed::Seed;

/// Between looks at the machine.
const LOOK: Duration = Duration::from_secs(15);
/// Between renewals of the Lease: from the first to the second.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(75));
/// The longest pause while the API server does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Most addresses that a report holds.
const MOST_ADDRESSES: usize = 16;

/// Runs until `ending`.
pub async fn run(seed: &Path, root: &Path, ending: CancellationToken) -> Result<()> {
    let seed = Seed::load(seed)?;
    let client = kube_client::from_seed(&seed)?;
    let root = Root::new(root);
    CardAgent::new(&client, seed, root).run(ending).await;
    Ok(())
}

struct CardAgent {
    seed: Seed,
    root: Root,
    report: ReportWriter,
    lease: LeaseKeeper,
    announced: bool,
}

impl CardAgent {
    fn new(client: &Client, seed: Seed, root: Root) -> Self {
        let name = names::xpu(&seed.dpu);
        let owner = seed.dpu_uid.as_ref().map(|uid| OwnerReference {
            api_version: Dpu::api_version(&()).into_owned(),
            kind: Dpu::kind(&()).into_owned(),
            name: seed.dpu.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        });
        let reports: Api<DpuReport> = Api::namespaced(client.clone(), &seed.namespace);
        let leases: Api<Lease> = Api::namespaced(client.clone(), &seed.namespace);
        let candidate = Candidate {
            lease: name.clone(),
            identity: name.clone(),
            role: "xpu",
            patience: Duration::ZERO,
            owner: owner.clone(),
        };
        Self {
            report: ReportWriter::new(reports, name, owner),
            lease: LeaseKeeper::new(leases, candidate),
            seed,
            root,
            announced: false,
        }
    }

    async fn run(mut self, ending: CancellationToken) {
        let mut failures = 0_u32;
        let mut renewal = Instant::now();
        loop {
            let turn = async {
                self.tell().await?;
                if Instant::now() >= renewal {
                    self.lease.hold().await?;
                    renewal = Instant::now() + rand::random_range(RENEWAL.0..=RENEWAL.1);
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
                        tracing::warn!(failures, pause_seconds = pause.as_secs(), "not reported: {error:#}");
                        pause
                    }
                },
            };
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Writes the report if anything but time has changed.
    async fn tell(&mut self) -> Result<()> {
        if self.report.known().is_none() {
            self.report.read().await?;
        }
        let facts = LocalFacts::read(&self.root);
        let spec = compose(&self.seed, &facts, self.report.known())?;
        if self.report.write(&spec, Cause::Facts).await? {
            tracing::debug!("report written");
        }
        if !self.announced {
            let epoch = spec.os.as_ref().map_or("", |os| os.boot_epoch.as_str());
            self.announced = true;
            announce(&self.seed, epoch);
        }
        Ok(())
    }
}

/// One line for the console, in one write.
fn announce(seed: &Seed, epoch: &str) {
    let line = format!(
        "lockstep-agent: report accepted dpu={} image={} epoch={epoch}\n",
        seed.dpu, seed.image_version
    );
    let mut console = std::io::stdout().lock();
    if let Err(error) = console
        .write_all(line.as_bytes())
        .and_then(|()| console.flush())
    {
        tracing::debug!(%error, "console not writable");
    }
}

/// The report as it should stand. Where only time has passed, it is the known one.
fn compose(
    seed: &Seed,
    facts: &LocalFacts,
    known: Option<&DpuReportSpec>,
) -> Result<DpuReportSpec> {
    let os = os_report(seed, facts)?;
    let spec = DpuReportSpec {
        vantage: Vantage::CardOs,
        subject: seed.dpu.clone(),
        subject_uid: seed.dpu_uid.clone().unwrap_or_default(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        observed_at: clock::now(),
        reachable: None,
        bmc: None,
        os: Some(os),
        images: Vec::new(),
        execution: None,
        custody: None,
    };
    Ok(match known {
        Some(known) if is_same(known, &spec) => known.clone(),
        Some(_) | None => spec,
    })
}

fn is_same(known: &DpuReportSpec, spec: &DpuReportSpec) -> bool {
    let mut timeless = spec.clone();
    timeless.observed_at = known.observed_at.clone();
    if let (Some(os), Some(old)) = (&mut timeless.os, &known.os) {
        os.uptime_seconds = old.uptime_seconds;
    }
    timeless == *known
}

fn os_report(seed: &Seed, facts: &LocalFacts) -> Result<OsReport> {
    let Fact::Known(boot_epoch) = facts.boot_id.clone() else {
        bail!(
            "the boot epoch is not known (boot_id {}): mount /proc",
            facts.boot_id
        );
    };
    let text = |value: Option<String>, most: usize| {
        value.map(|text| text.chars().take(most).collect::<String>())
    };
    let mut addresses: Vec<String> = facts
        .addresses
        .as_ref()
        .known()
        .into_iter()
        .flatten()
        .filter(|address| !address.is_link_local())
        .map(|address| address.ip.to_string())
        .collect();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
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
        image_version: Some(seed.image_version.clone()),
        image_digest: Some(seed.image_digest.clone()),
        kernel: text(facts.kernel_release.clone().known(), 128),
        architecture: Some(facts.architecture.to_owned()),
        addresses,
    })
}
