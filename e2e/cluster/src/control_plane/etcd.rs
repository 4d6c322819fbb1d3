//! etcd: one member on loopback, its snapshots and its restoration.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use lockstep_process::Program;
use tokio::process::Command;

use crate::{
    command,
    ports::Ports,
    tools::{Tool, Tools},
};

/// For saving or restoring a snapshot on a loaded machine.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(60);

/// How far a restoration moves the store's revision ahead: further than any lab writes
/// between a snapshot and its restoration, so that no client's resourceVersion lies in the future.
const REVISION_BUMP: &str = "1000000000";

const NAME: &str = "lab";

pub(super) fn client_url(ports: Ports) -> String {
    format!("http://127.0.0.1:{}", ports.etcd_client)
}

fn peer_url(ports: Ports) -> String {
    format!("http://127.0.0.1:{}", ports.etcd_peer)
}

pub(super) fn program(tools: &Tools, ports: Ports, data: &Path) -> Program {
    let (client, peer) = (client_url(ports), peer_url(ports));
    Program {
        name: "etcd",
        binary: tools.path(Tool::Etcd),
        args: [
            format!("--name={NAME}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={NAME}={peer}"),
            // A lab's store need not survive a power cut, and fsync is what it would wait for.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]
        .map(Into::into)
        .into(),
        env: Vec::new(),
        order: 1,
        grace: Duration::from_secs(5),
    }
}

/// Saves a snapshot of the running store to `file`.
pub(super) async fn save(tools: &Tools, ports: Ports, file: &Path) -> Result<()> {
    let mut etcdctl = Command::new(tools.path(Tool::Etcdctl));
    etcdctl
        .arg(format!("--endpoints={}", client_url(ports)))
        .args(["snapshot", "save"])
        .arg(file);
    command::run(etcdctl, None, SNAPSHOT_DEADLINE)
        .await
        .context("etcd gives no snapshot")?;
    Ok(())
}

/// Replaces the data folder of the stopped etcd by what `snapshot` holds.
pub(super) async fn restore(
    tools: &Tools,
    ports: Ports,
    data: &Path,
    snapshot: &Path,
) -> Result<()> {
    let fresh = data.with_extension("restored");
    remove_folder(&fresh)?;
    let peer = peer_url(ports);
    let mut etcdutl = Command::new(tools.path(Tool::Etcdutl));
    etcdutl
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg(format!("--data-dir={}", fresh.display()))
        .arg(format!("--name={NAME}"))
        .arg(format!("--initial-cluster={NAME}={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--bump-revision={REVISION_BUMP}"))
        .arg("--mark-compacted");
    command::run(etcdutl, None, SNAPSHOT_DEADLINE)
        .await
        .with_context(|| format!("{} cannot be restored", snapshot.display()))?;
    // Only now: a snapshot that is no snapshot leaves the old data as they were.
    remove_folder(data)?;
    std::fs::rename(&fresh, data).with_context(|| format!("cannot replace {}", data.display()))
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
