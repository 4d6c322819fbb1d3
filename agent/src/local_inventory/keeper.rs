//! The second object of a report: read at the start, after hot-plug and now and then, written
//! when it differs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use lockstep_crds::{DpuReport, DpuReportSpec, names};
use lockstep_local::Root;
use lockstep_local::netlink::Told;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hot_plug::Listener;
use super::{Reading, Whose};
use crate::clock;
use crate::report::{Cause, ReportWriter};

/// After hot-plug the machine is read once more: some drivers take their time.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// Pauses after failures: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The machine under a root, and whether the kernel that runs here is its own.
#[derive(Clone, Debug)]
pub struct LocalMachine {
    /// Its files.
    pub root: Root,
    /// Whether the kernel may be asked, and listened to, about it.
    pub own_kernel: bool,
}

impl LocalMachine {
    /// This very machine, if `root` is `/`; the files of some other one otherwise.
    pub fn at(root: &Path) -> Self {
        Self {
            root: Root::new(root),
            own_kernel: root == Path::new("/"),
        }
    }

    /// This very machine, whose root is mounted at `root`.
    pub fn mounted_at(root: &Path) -> Self {
        Self {
            root: Root::new(root),
            own_kernel: true,
        }
    }

    fn read(&self) -> Reading {
        let told = if self.own_kernel {
            Told::ask()
        } else {
            Told::nothing("the files may be another machine's")
        };
        Reading::take(&self.root, &told)
    }
}

/// When the machine is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After the start: a machine that boots is not yet complete.
    pub first: Duration,
    /// Even if nothing was heard.
    pub floor: Duration,
}

/// Whose inventory is kept, and where.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Of a host or a card.
    pub whose: Whose,
    /// Everything of the report but the inventory; also names it.
    pub spec: DpuReportSpec,
    /// Name of the first, hot report.
    pub beside: String,
    /// The object whose end is its end.
    pub owner: Option<OwnerReference>,
}

/// The only writer of one machine's inventory.
#[derive(Debug)]
pub struct InventoryKeeper {
    machine: LocalMachine,
    kept: Kept,
    report: ReportWriter,
    pace: Pace,
    due: Instant,
    listener: Listener,
    forgotten: Arc<Notify>,
}

impl InventoryKeeper {
    /// A keeper; nothing is read yet. `forgotten` says that the API server may have lost the
    /// object.
    pub fn new(
        reports: Api<DpuReport>,
        machine: LocalMachine,
        kept: Kept,
        pace: Pace,
        forgotten: Arc<Notify>,
    ) -> Self {
        let name = names::inventory(&kept.beside);
        let listener = if machine.own_kernel {
            Listener::open()
        } else {
            Listener::deaf()
        };
        Self {
            report: ReportWriter::new(reports, name, kept.owner.clone()),
            due: Instant::now() + pace.first,
            machine,
            kept,
            pace,
            listener,
            forgotten,
        }
    }

    /// Does not wait for the first reading.
    #[cfg(test)]
    pub(crate) fn read_now(&mut self) {
        self.due = Instant::now();
    }

    /// Runs until `ending`.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = self.wait() => {}
            }
            let told = tokio::select! {
                () = ending.cancelled() => return,
                told = self.tell() => told,
            };
            match told {
                Ok(written) => {
                    failures = 0;
                    tracing::debug!(written, "inventory read");
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let pause = clock::backoff(failures, PAUSE.0, PAUSE.1);
                    self.due = Instant::now() + pause;
                    tracing::warn!(
                        failures,
                        pause_seconds = pause.as_secs(),
                        "inventory not reported: {error}"
                    );
                }
            }
        }
    }

    /// Waits until there is a reason to read, and sets when there will be the next.
    async fn wait(&mut self) {
        tokio::select! {
            () = sleep_until(self.due) => {
                self.due = Instant::now() + clock::jittered(self.pace.floor, 10);
                // It may have been deleted meanwhile.
                self.report.forget();
            }
            () = self.listener.at_rest() => {
                self.due = self.due.min(Instant::now() + AFTERWARDS);
            }
            () = self.forgotten.notified() => self.report.forget(),
        }
    }

    /// Reads the machine and writes what changed. Tells whether it wrote.
    async fn tell(&mut self) -> Result<bool> {
        let machine = self.machine.clone();
        let whose = self.kept.whose;
        let read = move || machine.read().inventory(whose);
        let inventory = tokio::task::spawn_blocking(read).await?;
        if self.report.known().is_none() {
            self.report.read().await?;
        }
        let mut spec = DpuReportSpec {
            inventory: Some(inventory),
            observed_at: clock::now(),
            ..self.kept.spec.clone()
        };
        if let Some(known) = self.report.known() {
            let at = std::mem::replace(&mut spec.observed_at, known.observed_at.clone());
            if spec != *known {
                spec.observed_at = at;
            }
        }
        Ok(self.report.write(&spec, Cause::Facts).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use lockstep_crds::report::Vantage;
    use std::fs;

    const REPORT: &str = "dpureports/inventory-host-n1";

    fn keeper(api: &FakeApi, root: &Path, forgotten: &Arc<Notify>) -> InventoryKeeper {
        let kept = Kept {
            whose: Whose::Host,
            spec: DpuReportSpec::new(Vantage::HostOs, "n1", "1", clock::now()),
            beside: "host-n1".to_owned(),
            owner: None,
        };
        let pace = Pace {
            first: Duration::ZERO,
            floor: Duration::from_secs(3600),
        };
        let reports = Api::namespaced(api.client(), "site");
        InventoryKeeper::new(
            reports,
            LocalMachine::at(root),
            kept,
            pace,
            Arc::clone(forgotten),
        )
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn only_a_change_is_written_and_what_counts_by_itself_is_none() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "proc/meminfo", "MemTotal: 1024 kB\n");
        write(dir.path(), "proc/uptime", "12.50 3.00\n");
        let mut keeper = keeper(&api, dir.path(), &Arc::default());
        assert!(keeper.tell().await.unwrap());
        let at = |api: &FakeApi| api.get(REPORT).unwrap()["spec"]["observedAt"].clone();
        let first = at(&api);
        write(dir.path(), "proc/uptime", "99.50 3.00\n");
        assert!(!keeper.tell().await.unwrap());
        assert_eq!(at(&api), first);
        write(dir.path(), "proc/meminfo", "MemTotal: 2048 kB\n");
        assert!(keeper.tell().await.unwrap());
        let report = api.get(REPORT).unwrap();
        let memory = &report["spec"]["inventory"]["memory"];
        assert_eq!(memory["usableBytes"], 2_097_152);
        assert_eq!(api.writes().len(), 2);
    }

    #[tokio::test]
    async fn another_process_of_the_same_agent_writes_nothing_again() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "proc/meminfo", "MemTotal: 1024 kB\n");
        for expected in [true, false] {
            let mut keeper = keeper(&api, dir.path(), &Arc::default());
            assert_eq!(keeper.tell().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn an_api_server_that_forgot_is_told_again() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        let forgotten = Arc::new(Notify::new());
        let ending = CancellationToken::new();
        let task = tokio::spawn(keeper(&api, dir.path(), &forgotten).run(ending.clone()));
        api.until(REPORT, |_| true).await;
        api.remove(REPORT);
        forgotten.notify_one();
        api.until(REPORT, |_| true).await;
        ending.cancel();
        task.await.unwrap();
    }
}
