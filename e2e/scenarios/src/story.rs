//! What a user sees while it happens, and every apiserver write with its cause.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lockstep_cluster::audit::{Mark, Write, tally};
use lockstep_cluster::{ControlPlane, Look, eventually};
use lockstep_crds::{Dpu, DpuHost, condition};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::objects::NAMESPACE;
use crate::report::Report;

/// `kubectl get dpu -w`, followed.
pub struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    /// Starts it; lines are shown as they come.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let mut command = control_plane
            .kubectl()
            .command(&["get", "dpu", "-n", NAMESPACE, "-w"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start kubectl")?;
        let out = child.stdout.take().context("kubectl has no output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let began = Instant::now();
        tokio::spawn(async move {
            let mut reader = BufReader::new(out).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                eprintln!("  {:>4} s  {line}", began.elapsed().as_secs());
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// Waits until a line shows this phase: what one client has seen, another one may not yet.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn shows(&self, phase: &str, within: Duration) -> Result<()> {
        let shown = eventually(within, format!("kubectl shows {phase}"), async || {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let is_it = |line: &String| line.split_whitespace().nth(1) == Some(phase);
            match lines.last() {
                Some(_) if lines.iter().any(is_it) => Look::Holds(()),
                Some(last) => Look::not_yet(last),
                None => Look::not_yet("nothing was shown"),
            }
        });
        Ok(shown.await?)
    }

    /// Stops it and returns what it showed.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        self.child.kill().await.context("cannot stop kubectl")?;
        Ok(self
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }
}

/// Waits until the card's status satisfies `holds`; returns the card.
///
/// # Errors
/// When it does not in time, with the last phase and message.
pub async fn await_card(
    control_plane: &ControlPlane,
    name: &str,
    what: &str,
    deadline: Duration,
    holds: impl Fn(&Dpu) -> bool,
) -> Result<Dpu> {
    await_object(control_plane, name, what, deadline, holds, |card: &Dpu| {
        let status = card.status.as_ref()?;
        let message = status.message.clone().unwrap_or_default();
        Some(format!("{:?}: {message}", status.phase))
    })
    .await
}

/// The reason of a card's Ready condition.
pub fn reason(card: &Dpu) -> String {
    ready_reason(
        card.status
            .as_ref()
            .map(|status| status.conditions.as_slice()),
    )
}

/// Every write of operator and agents since `mark` that stores something; Leases left out.
///
/// # Errors
/// When the audit log cannot be read.
pub fn writes(control_plane: &ControlPlane, mark: Mark) -> Result<Vec<Write>> {
    let all = control_plane.audit_log().writes_since(mark)?;
    Ok(all
        .into_iter()
        .filter(|write| !write.is_lease() && !write.is_control_plane() && is_ours(write))
        .collect())
}

/// Bytes of all bodies that the apiserver was sent since it started, by its own metrics.
///
/// # Errors
/// When it tells none.
pub async fn bytes_sent(control_plane: &ControlPlane) -> Result<u64> {
    let kubectl = control_plane.kubectl();
    let metrics = kubectl.run(&["get", "--raw", "/metrics"]).await?;
    let bodies = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_body_size_bytes_sum{"));
    let mut sizes = bodies.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
    let first = sizes
        .next()
        .context("the apiserver has no metric of bodies")??;
    let sum = sizes.try_fold(first, |sum, size| size.map(|size| sum + size))?;
    // Bytes that fit into a float fit into this.
    Ok(sum as u64)
}

fn is_ours(write: &Write) -> bool {
    let transient = write.subresource.as_deref() == Some("token")
        || write.group == "authentication.k8s.io"
        || write.group == "authorization.k8s.io";
    write.user.starts_with("system:serviceaccount:") && !transient
}

/// Prints writes by cause.
pub fn say_writes(report: &mut Report, writes: &[Write]) {
    report.figure(
        "apiserver writes by operator and agents, Leases left out",
        writes.len(),
    );
    for (cause, count) in tally(writes) {
        report.say(format!("  {count:>3} {cause}"));
    }
}

/// Waits until the host's object satisfies `holds`; returns it.
///
/// # Errors
/// When it does not in time, with the last step and message.
pub async fn await_host(
    control_plane: &ControlPlane,
    name: &str,
    what: &str,
    deadline: Duration,
    holds: impl Fn(&DpuHost) -> bool,
) -> Result<DpuHost> {
    await_object(
        control_plane,
        name,
        what,
        deadline,
        holds,
        |host: &DpuHost| {
            let status = host.status.as_ref()?;
            let message = status.message.clone().unwrap_or_default();
            Some(format!("{:?}: {message}", status.step))
        },
    )
    .await
}

/// Waits until an object of the site satisfies `holds`; `says` is what its status tells until then.
async fn await_object<K>(
    control_plane: &ControlPlane,
    name: &str,
    what: &str,
    deadline: Duration,
    holds: impl Fn(&K) -> bool,
    says: impl Fn(&K) -> Option<String>,
) -> Result<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: kube::Api<K> = kube::Api::namespaced(control_plane.client(), NAMESPACE);
    let found = eventually(deadline, format!("{name}: {what}"), async || {
        match api.get(name).await {
            Ok(object) if holds(&object) => Look::Holds(object),
            Ok(object) => Look::not_yet(says(&object).unwrap_or_else(|| "no status".to_owned())),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    Ok(found)
}

/// The reason of a host's Ready condition.
pub fn host_reason(host: &DpuHost) -> String {
    ready_reason(
        host.status
            .as_ref()
            .map(|status| status.conditions.as_slice()),
    )
}

fn ready_reason(conditions: Option<&[Condition]>) -> String {
    condition::find(conditions.unwrap_or_default(), condition::READY)
        .map(|ready| ready.reason.clone())
        .unwrap_or_default()
}

/// Deletes objects (`KIND/NAME`) and waits until they are gone.
///
/// # Errors
/// When one does not go in time.
pub async fn delete(
    control_plane: &ControlPlane,
    objects: &[&str],
    deadline: Duration,
) -> Result<()> {
    let timeout = format!("--timeout={}s", deadline.as_secs());
    for object in objects {
        let mut command = control_plane
            .kubectl()
            .command(&["delete", object, "-n", NAMESPACE, "--wait", &timeout]);
        let done = command.output().await.context("cannot run kubectl")?;
        anyhow::ensure!(
            done.status.success(),
            "deleting {object}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

/// Keeps looking for `span` that `holds` stays true: for what must *not* happen.
///
/// # Errors
/// As soon as it does not hold.
pub async fn stays_so(
    span: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        anyhow::ensure!(holds().await?, "it did not stay so: {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Waits until operator and agents have written nothing for so long: what follows from what was
/// done before is told by then.
///
/// # Errors
/// When that is not so in time.
pub async fn comes_to_rest(
    control_plane: &ControlPlane,
    quiet: Duration,
    deadline: Duration,
) -> Result<()> {
    let end = Instant::now() + deadline;
    loop {
        let mark = control_plane.audit_log().mark()?;
        let is_quiet = async || Ok(writes(control_plane, mark)?.is_empty());
        match stays_so(quiet, "nothing is written while nothing changes", is_quiet).await {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}
