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
use crate::lease::{self, Candidate, LeaseKeeper};
use crate::report::{Cause, ReportWriter};
use crate::seed::Seed;

/// Between looks at the machine.
const LOOK: Duration = Duration::from_secs(15);
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
            }
        }
    }

    /// Tells what changed; when it is `due`, also renews the Lease and looks whether the
    /// report is still there: an API server that was set back has lost it.
    async fn turn(&mut self, due: bool) -> Result<()> {
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
    let version = env!("CARGO_PKG_VERSION");
    let spec = DpuReportSpec {
        subject_uid: seed.dpu_uid.clone().unwrap_or_default(),
        os: Some(os),
        ..DpuReportSpec::new(Vantage::CardOs, &seed.dpu, version, clock::now())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use std::fs;

    const REPORT: &str = "dpureports/xpu-c1";

    fn seed() -> Seed {
        Seed {
            api_server: "https://192.0.2.1:6443".to_owned(),
            ca: String::new(),
            namespace: "site".to_owned(),
            dpu: "c1".to_owned(),
            dpu_uid: Some("uid-1".to_owned()),
            token: "very-secret".to_owned(),
            image_version: "1.2".to_owned(),
            image_digest: "sha256:aa".to_owned(),
        }
    }

    fn machine(boot_id: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/random/boot_id", boot_id),
            ("proc/sys/kernel/osrelease", "6.1.0-cloud"),
            ("proc/uptime", "12.50 3.00"),
            ("etc/os-release", "PRETTY_NAME=\"Lab OS 1.2\""),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        dir
    }

    const FIRST: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const SECOND: &str = "11234567-89ab-cdef-0123-456789abcdef";

    #[tokio::test]
    async fn time_alone_is_not_written_and_a_new_boot_is() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let mut agent = CardAgent::new(&api.client(), seed(), Root::new(dir.path()));
        agent.tell().await.unwrap();
        fs::write(dir.path().join("proc/uptime"), "99.00 3.00\n").unwrap();
        agent.tell().await.unwrap();
        assert_eq!(api.writes().len(), 1);
        let report = api.get(REPORT).unwrap();
        assert_eq!(report["spec"]["os"]["bootEpoch"], FIRST);
        assert_eq!(report["spec"]["os"]["imageVersion"], "1.2");
        assert_eq!(report["spec"]["os"]["os"], "Lab OS 1.2");
        assert_eq!(report["spec"]["subjectUid"], "uid-1");
        assert!(!report.to_string().contains("very-secret"));

        let dir = machine(SECOND);
        let mut agent = CardAgent::new(&api.client(), seed(), Root::new(dir.path()));
        agent.tell().await.unwrap();
        assert_eq!(api.get(REPORT).unwrap()["spec"]["os"]["bootEpoch"], SECOND);
        assert_eq!(
            api.writes(),
            [
                format!("{REPORT} lockstep-agent/report"),
                format!("{REPORT} lockstep-agent/report")
            ]
        );
    }

    #[tokio::test]
    async fn an_api_server_that_forgot_the_report_is_told_again() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let mut agent = CardAgent::new(&api.client(), seed(), Root::new(dir.path()));
        agent.turn(true).await.unwrap();
        let report = api.get(REPORT).unwrap();
        api.remove(REPORT);
        agent.turn(false).await.unwrap();
        assert!(api.get(REPORT).is_none(), "a look costs no request");
        agent.turn(true).await.unwrap();
        assert_eq!(api.get(REPORT).unwrap()["spec"]["os"], report["spec"]["os"]);
    }

    #[tokio::test]
    async fn nothing_is_reported_without_a_boot_epoch() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        let mut agent = CardAgent::new(&api.client(), seed(), Root::new(dir.path()));
        let error = agent.tell().await.unwrap_err().to_string();
        assert!(error.contains("/proc"), "{error}");
        assert!(api.writes().is_empty());
    }

    #[tokio::test]
    async fn an_outage_is_waited_for() {
        let api = FakeApi::default();
        api.vanish(true);
        let dir = machine(FIRST);
        let agent = CardAgent::new(&api.client(), seed(), Root::new(dir.path()));
        let ending = CancellationToken::new();
        let task = tokio::spawn(agent.run(ending.clone()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        api.vanish(false);
        api.until("leases/xpu-c1", |lease| {
            lease["spec"]["renewTime"].is_string()
        })
        .await;
        ending.cancel();
        task.await.unwrap();
        assert!(api.get(REPORT).is_some());
    }
}
