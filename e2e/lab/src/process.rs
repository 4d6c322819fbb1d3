//! Programs the lab starts: each with a log, a record of its pid, and never mistaken for another.
//!
//! A pid is signalled only while `/proc` shows the start time that was recorded with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Between SIGTERM and SIGKILL, and longest wait for the end after SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks between boot and the start of the process.
    started: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        match started(pid) {
            Some(started) => Ok(Self { pid, started }),
            None => bail!("no process has the pid {pid}"),
        }
    }

    /// Whether exactly this process runs; one that only waits to be reaped does not.
    pub(crate) fn runs(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .with_context(|| format!("{} is not a pid", self.pid))?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Ends the process and waits until it is gone. Blocking, because it also runs on drop.
    pub(crate) fn stop(&self) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal)?;
            let end = Instant::now() + GRACE;
            while Instant::now() < end {
                if !self.runs() {
                    return Ok(());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        bail!("process {} survived SIGKILL", self.pid)
    }
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // State is field 3, the start time field 22.
    fields.nth(18)?.parse().ok()
}

/// A running program that ends with this value.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    identity: Identity,
    record: PathBuf,
    log: PathBuf,
}

impl Program {
    /// Starts the command with its output in `<state>/logs` and its record in `<state>/pids`.
    pub(crate) fn start(name: &'static str, mut command: Command, state: &Path) -> Result<Self> {
        let folder = |part: &str| -> Result<PathBuf> {
            let folder = state.join(part);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            Ok(folder)
        };
        let log = folder("logs")?.join(format!("{name}.log"));
        let record = folder("pids")?.join(format!("{name}.json"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share the log file")?)
            .stderr(output)
            // Ctrl-C in a terminal is for us; we stop them in order.
            .process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        let recorded = Identity::of(child.id()).and_then(|identity| {
            let text = serde_json::to_vec(&identity).context("cannot encode a pid record")?;
            fs::write(&record, text)
                .with_context(|| format!("cannot write {}", record.display()))?;
            Ok(identity)
        });
        match recorded {
            Ok(identity) => Ok(Self {
                name,
                child,
                identity,
                record,
                log,
            }),
            Err(error) => {
                // Without a record nobody could stop it later.
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .with_context(|| format!("{name} has no record and cannot be stopped"))?;
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Fails with the end of its log if the program has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("cannot watch {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}; the end of {}:\n{}",
                self.name,
                self.log.display(),
                tail(&self.log)
            ),
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.forget()
    }

    /// SIGTERM, then SIGKILL; returns when it is gone.
    pub(crate) fn stop(&mut self) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            self.identity.signal(signal)?;
            let end = Instant::now() + GRACE;
            while Instant::now() < end {
                let ended = self
                    .child
                    .try_wait()
                    .with_context(|| format!("cannot watch {}", self.name))?;
                if ended.is_some() {
                    return self.forget();
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        bail!("{} survived SIGKILL", self.name)
    }

    fn forget(&self) -> Result<()> {
        match fs::remove_file(&self.record) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot remove {}", self.record.display()))
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(program = self.name, pid = self.identity.pid, %error, "cannot be stopped");
        }
    }
}

/// Stops every recorded program of `<state>` that still runs; returns their names.
pub(crate) fn stop_recorded(state: &Path) -> Result<Vec<String>> {
    let folder = state.join("pids");
    let mut stopped = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(stopped),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    for entry in entries {
        let path = entry.context("cannot list the pid records")?.path();
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let identity: Identity = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is not a pid record; look for programs left over, then remove it",
                path.display()
            )
        })?;
        if identity.runs() {
            identity.stop()?;
            stopped.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(stopped)
}

fn tail(log: &Path) -> String {
    let text = match fs::read(log) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => return format!("(unreadable: {error})"),
    };
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }

    #[test]
    fn a_later_process_with_the_same_pid_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let program = Program::start("sleeper", sleeper(), state.path()).unwrap();
        let stale = Identity {
            started: program.identity.started + 1,
            ..program.identity.clone()
        };
        stale.stop().unwrap();
        assert!(program.identity.runs());
    }

    #[test]
    fn recorded_programs_are_stopped_once() {
        let state = tempfile::tempdir().unwrap();
        let mut program = Program::start("sleeper", sleeper(), state.path()).unwrap();
        // Reaped here as the parent, as init would for a parent that is gone.
        let identity = program.identity.clone();
        assert_eq!(stop_recorded(state.path()).unwrap(), ["sleeper"]);
        assert!(!identity.runs());
        assert!(program.check().is_err());
        assert!(stop_recorded(state.path()).unwrap().is_empty());
    }

    #[test]
    fn an_ended_program_shows_the_end_of_its_log() {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo disk full; exit 3"]);
        let mut program = Program::start("shell", command, state.path()).unwrap();
        program.child.wait().unwrap();
        let error = program.check().unwrap_err().to_string();
        assert!(
            error.contains("disk full") && error.contains("exit status: 3"),
            "{error}"
        );
    }
}
