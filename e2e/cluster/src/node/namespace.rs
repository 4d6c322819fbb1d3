//! The namespaces a node lives in: processes, mounts, network, host name.
//!
//! When their first process ends, the kernel ends every other one in them, pods
//! included, and takes mounts and network along. So a node leaves nothing behind,
//! whatever its programs started.

use std::{
    ffi::OsString,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use lockstep_process::{Daemon, Lifetime, Program};
use tokio::process::Command;

use crate::deadline::{Look, eventually};

const INIT: &str = include_str!("init.sh");
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Where the node's own folder lies inside.
pub(super) const INSIDE: &str = "/srv/node";

/// Running namespaces; dropping them ends everything inside.
#[derive(Debug)]
pub(super) struct Namespaces {
    init: Daemon,
    /// The first process, as seen from outside.
    pid: u32,
}

impl Namespaces {
    /// Makes the namespaces with `folder` as the node's own folder.
    pub(super) async fn start(
        state: &Path,
        folder: &Path,
        name: &str,
        address: Ipv4Addr,
        uuid: &str,
    ) -> Result<Self> {
        let script = folder.join("init.sh");
        std::fs::write(&script, INIT)
            .with_context(|| format!("cannot write {}", script.display()))?;
        let ready = folder.join("ready");
        if ready.exists() {
            std::fs::remove_file(&ready)
                .with_context(|| format!("cannot remove {}", ready.display()))?;
        }
        let mut args: Vec<OsString> = [
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount",
            "--mount-proc",
            "--net",
            "--uts",
            "--propagation=private",
            "--",
            "sh",
        ]
        .map(Into::into)
        .into();
        args.extend([
            script.into_os_string(),
            folder.as_os_str().to_owned(),
            name.into(),
            address.to_string().into(),
            uuid.into(),
        ]);
        let program = Program {
            name: "node",
            binary: "unshare".into(),
            args,
            env: Vec::new(),
            order: 10,
            // `unshare` waits for the first process, and that one ignores SIGTERM.
            grace: Duration::ZERO,
        };
        let mut init = Daemon::start(&program, state, Lifetime::ThisProcess)?;
        let what = "the node's namespaces (they need root)";
        eventually(READY_DEADLINE, what, async || {
            if let Err(ended) = init.check() {
                return Look::Never(ended);
            }
            if ready.exists() {
                Look::Holds(())
            } else {
                Look::not_yet(format!("not ready, see {}", init.log().display()))
            }
        })
        .await?;
        let pid = only_child(init.identity().pid)?;
        Ok(Self { init, pid })
    }

    /// The first process, as seen from outside.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// `binary ARGS` inside, as a long-running program.
    pub(super) fn program(
        &self,
        name: &'static str,
        order: u32,
        binary: PathBuf,
        args: Vec<String>,
    ) -> Program {
        let mut all = self.enter();
        all.push(binary.into_os_string());
        all.extend(args.into_iter().map(OsString::from));
        Program {
            name,
            binary: "nsenter".into(),
            args: all,
            env: Vec::new(),
            order,
            grace: Duration::from_secs(3),
        }
    }

    /// `program` inside, to be given arguments and run.
    pub(super) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.enter()).arg(program.into());
        command
    }

    fn enter(&self) -> Vec<OsString> {
        let target = format!("--target={}", self.pid);
        [&target, "--mount", "--net", "--pid", "--uts", "--"]
            .map(Into::into)
            .into()
    }

    pub(super) fn check(&mut self) -> Result<()> {
        self.init.check()
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.init.kill().await
    }
}

fn only_child(parent: u32) -> Result<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    children
        .trim()
        .parse()
        .with_context(|| format!("`unshare` has not one child but {children:?}"))
}
