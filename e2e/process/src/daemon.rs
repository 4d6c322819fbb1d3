//! One long-running program.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{identity::Identity, keeper, record::Record};

/// How long a program may take to be bound to this process; until then it would outlive it.
const BOUND: Duration = Duration::from_secs(30);

/// How long a program may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// At most as long as this process: the kernel kills it when this process ends.
    ThisProcess,
    /// Until somebody stops it; see [`Daemon::release`].
    UntilStopped,
}

/// What to start.
#[derive(Debug)]
pub struct Program {
    /// Name for logs, records and messages.
    pub name: &'static str,
    /// Executable.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables in addition to the caller's.
    pub env: Vec<(&'static str, OsString)>,
    /// Place in the order of starting; what was started last is stopped first.
    pub order: u32,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// A running program. Dropping it stops it, unless it was released.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    identity: Identity,
    grace: Duration,
    log: PathBuf,
    record: PathBuf,
    released: bool,
}

impl Daemon {
    /// Starts `program` with its log under `<state>/logs` and its record under `<state>/pids`.
    ///
    /// # Errors
    /// When it cannot be started, or cannot be recorded for a later process to stop it.
    pub fn start(program: &Program, state: &Path, lifetime: Lifetime) -> Result<Self> {
        let name = program.name;
        let logs = state.join("logs");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;
        let log = logs.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = match lifetime {
            Lifetime::ThisProcess => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL"]).arg(&program.binary);
                command
            }
            Lifetime::UntilStopped => Command::new(&program.binary),
        };
        command
            .args(&program.args)
            .envs(program.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot share the log file")?)
            .stderr(out)
            .process_group(0);
        let spawned = match lifetime {
            Lifetime::ThisProcess => keeper::spawn(command),
            Lifetime::UntilStopped => command.spawn(),
        };
        let mut child = spawned.with_context(|| {
            format!(
                "cannot start {name} ({}); `setpriv` of util-linux must be in PATH too",
                program.binary.display()
            )
        })?;
        let recorded = Identity::of(child.id()).and_then(|identity| {
            let record = Record {
                name: name.to_owned(),
                order: program.order,
                identity: identity.clone(),
            };
            let record = record.write(&state.join("pids"))?;
            if lifetime == Lifetime::ThisProcess {
                identity.becomes_other_than("setpriv", BOUND)?;
            }
            Ok((identity, record))
        });
        match recorded {
            Ok((identity, record)) => Ok(Self {
                name,
                child,
                identity,
                grace: program.grace,
                log,
                record,
                released: false,
            }),
            // A program without a record could never be stopped by a later process.
            Err(error) => {
                child.kill().and_then(|()| child.wait()).with_context(|| {
                    format!("{name} has no record ({error:#}) and cannot be stopped either")
                })?;
                Err(error)
            }
        }
    }

    /// The process behind it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails with the end of the log if the program has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let how = status.signal().map_or_else(
                    || status.to_string(),
                    |signal| format!("killed by signal {signal}"),
                );
                anyhow::bail!(
                    "{} has ended ({how}); the end of {}:\n{}",
                    self.name,
                    self.log.display(),
                    log_tail(&self.log)
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot watch {}", self.name)),
        }
    }

    /// SIGTERM, then SIGKILL after the program's grace; returns when it is gone.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop(self) -> Result<()> {
        self.end(Self::stop_blocking).await
    }

    /// SIGKILL: what a crash does.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(self) -> Result<()> {
        self.end(|daemon| {
            daemon.identity.kill()?;
            daemon.forget()
        })
        .await
    }

    /// As [`Self::stop`], for who cannot await it.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn stop_blocking(&mut self) -> Result<()> {
        self.identity
            .stop(self.grace)
            .with_context(|| format!("{} cannot be stopped", self.name))?;
        self.forget()
    }

    /// Leaves it running after this value is gone; its record tells how to stop it.
    pub fn release(mut self) {
        self.released = true;
    }

    async fn end(
        mut self,
        how: impl FnOnce(&mut Self) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        tokio::task::spawn_blocking(move || how(&mut self))
            .await
            .context("the task that ends a program ended early")?
    }

    /// Reaps what has been signalled, and removes its record if nobody else has.
    fn forget(&mut self) -> Result<()> {
        self.child
            .wait()
            .with_context(|| format!("cannot watch {}", self.name))?;
        self.released = true;
        match std::fs::remove_file(&self.record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.record.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Err(error) = self.stop_blocking() {
            tracing::error!(program = self.name, pid = self.identity.pid, %error, "cannot be stopped");
        }
    }
}

fn log_tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        }
        Err(error) => format!("(unreadable: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{recorded, stop_recorded};

    fn shell(script: &str) -> Program {
        Program {
            name: "shell",
            binary: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            order: 0,
            grace: Duration::from_millis(300),
        }
    }

    fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "{what}: not within 10 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[tokio::test]
    async fn stopping_ends_even_a_program_that_ignores_sigterm() {
        let state = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let daemon = Daemon::start(&shell(script), state.path(), Lifetime::ThisProcess).unwrap();
        let identity = daemon.identity().clone();
        let log = daemon.log().to_owned();
        await_that("the trap", || {
            std::fs::read_to_string(&log).unwrap().contains("ready")
        });
        daemon.stop().await.unwrap();
        assert!(!identity.runs().unwrap());
        let records = std::fs::read_dir(state.path().join("pids")).unwrap();
        assert_eq!(records.count(), 0);
    }

    #[test]
    fn an_ended_program_is_reported_with_the_end_of_its_log() {
        let state = tempfile::tempdir().unwrap();
        let program = shell("echo the disk is full; exit 3");
        let mut daemon = Daemon::start(&program, state.path(), Lifetime::ThisProcess).unwrap();
        daemon.child.wait().unwrap();
        let error = daemon.check().unwrap_err().to_string();
        assert!(error.contains("the disk is full"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_released_program_is_stopped_through_its_record() {
        let state = tempfile::tempdir().unwrap();
        let program = shell("exec sleep 60");
        let daemon = Daemon::start(&program, state.path(), Lifetime::UntilStopped).unwrap();
        let identity = daemon.identity().clone();
        daemon.release();
        assert!(identity.runs().unwrap());
        let pids = state.path().join("pids");
        let stopped = stop_recorded(&pids, Duration::from_secs(5)).unwrap();
        assert_eq!(stopped, ["shell"]);
        assert!(!identity.runs().unwrap());
        let again = stop_recorded(&pids, Duration::from_secs(5)).unwrap();
        assert!(again.is_empty(), "stopping twice is harmless");
    }

    #[test]
    fn a_program_that_somebody_else_stopped_ends_in_peace() {
        let state = tempfile::tempdir().unwrap();
        let program = shell("exec sleep 60");
        let mut daemon = Daemon::start(&program, state.path(), Lifetime::ThisProcess).unwrap();
        stop_recorded(&state.path().join("pids"), Duration::from_secs(5)).unwrap();
        assert!(daemon.check().is_err());
        daemon.stop_blocking().unwrap();
    }

    /// Run by the test below in a process of its own, and killed by it.
    #[test]
    #[ignore = "one half of `a_bound_program_dies_with_the_process_that_started_it`"]
    fn starts_a_program_and_lingers() {
        let Some(state) = std::env::var_os("LINGER_STATE") else {
            return;
        };
        // From a thread that ends at once: that must not be the end of the program.
        let folder = state.clone();
        let start = move || {
            Daemon::start(
                &shell("exec sleep 60"),
                Path::new(&folder),
                Lifetime::ThisProcess,
            )
        };
        let started = Path::new(&state).join("started");
        let _daemon = std::thread::spawn(start).join().unwrap().unwrap();
        std::fs::write(started, "").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_bound_program_dies_with_the_process_that_started_it() {
        let state = tempfile::tempdir().unwrap();
        let mut starter = Command::new(std::env::current_exe().unwrap())
            .args(["starts_a_program_and_lingers", "--ignored"])
            .env("LINGER_STATE", state.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = state.path().join("started");
        await_that("the start", || started.exists());
        let records = recorded(&state.path().join("pids")).unwrap();
        let program = &records[0].1.identity;
        assert!(program.runs().unwrap());
        starter.kill().unwrap();
        starter.wait().unwrap();
        await_that("the end of the program", || !program.runs().unwrap());
    }
}
