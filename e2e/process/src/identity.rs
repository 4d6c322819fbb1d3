//! Which process a pid means.
//!
//! Pids are used again. A process is told from a later one with the same pid by its
//! start time and the boot it was started in; nothing here signals a process that
//! does not match both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

/// Longest wait for a process that was killed to be gone.
const KILLED: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A process that cannot be mistaken for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The pid.
    pub pid: u32,
    /// Clock ticks between boot and the start of the process.
    pub started: u64,
    /// The kernel's boot id.
    pub boot: String,
}

impl Identity {
    /// The identity of a process that runs now.
    ///
    /// # Errors
    /// When there is no such process or /proc cannot be read.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = stat(pid)?.with_context(|| format!("no process has the pid {pid}"))?;
        Ok(Self {
            pid,
            started: stat.started,
            boot: boot_id()?,
        })
    }

    /// Whether exactly this process still runs. One that waits to be reaped does not run.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn runs(&self) -> Result<bool> {
        if boot_id()? != self.boot {
            return Ok(false);
        }
        Ok(stat(self.pid)?.is_some_and(|stat| stat.started == self.started && !stat.ended))
    }

    /// Waits until the process runs another program than the one called so, or has ended.
    ///
    /// # Errors
    /// When it does neither in time, or /proc cannot be read.
    pub(crate) fn becomes_other_than(&self, program: &str, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        let path = format!("/proc/{}/comm", self.pid);
        while self.runs()? && std::fs::read_to_string(&path).is_ok_and(|is| is.trim() == program) {
            ensure!(
                Instant::now() < end,
                "process {} is still {program} after {within:?}",
                self.pid
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL after `grace`; returns when the process is gone. Blocking,
    /// because it must also work in a destructor.
    ///
    /// # Errors
    /// When a signal is refused, or the process survives.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.gone_within(grace)? {
            return Ok(());
        }
        tracing::debug!(pid = self.pid, "still there after SIGTERM, killing it");
        self.kill()
    }

    /// SIGKILL; returns when the process is gone. Blocking.
    ///
    /// # Errors
    /// When the signal is refused, or the process is still there five seconds later.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        ensure!(
            self.gone_within(KILLED)?,
            "process {} survived SIGKILL",
            self.pid
        );
        Ok(())
    }

    /// Sends `signal` to this process if it still runs, and to the group if it leads one.
    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.runs()? {
            return Ok(());
        }
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .with_context(|| format!("{} is no pid", self.pid))?;
        let sent = match getpgid(Some(pid)) {
            Ok(group) if group == pid => kill_process_group(pid, signal),
            Ok(_) => kill_process(pid, signal),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    fn gone_within(&self, deadline: Duration) -> Result<bool> {
        let end = Instant::now() + deadline;
        while self.runs()? {
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(true)
    }
}

struct Stat {
    started: u64,
    ended: bool,
}

fn stat(pid: u32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // ESRCH: the process ended between open and read.
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
    };
    parse_stat(&text)
        .with_context(|| format!("{path} has an unknown form: {text}"))
        .map(Some)
}

/// The second field is the program's name in brackets and may itself hold spaces and
/// brackets: fields are counted from the last closing one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // starttime is field 22, state is field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat {
        started,
        ended: matches!(state, "Z" | "X"),
    })
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.started, 987_654);
        assert!(!stat.ended);
        let zombie = parse_stat(&text.replace(") S ", ") Z ")).unwrap();
        assert!(zombie.ended);
        assert!(parse_stat("42 nonsense").is_none());
    }

    #[test]
    fn a_process_knows_itself_and_not_its_successor() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.runs().unwrap());
        let later = Identity {
            started: own.started + 1,
            ..own.clone()
        };
        assert!(!later.runs().unwrap(), "same pid, later start");
        let other_boot = Identity {
            boot: "another".to_owned(),
            ..own
        };
        assert!(!other_boot.runs().unwrap(), "same pid, another boot");
    }

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }

    #[test]
    fn a_pid_that_means_another_process_is_never_signalled() {
        let mut child = sleeper().process_group(0).spawn().unwrap();
        let real = Identity::of(child.id()).unwrap();
        let stale = Identity {
            started: real.started - 1,
            ..real.clone()
        };
        stale.stop(Duration::from_secs(1)).unwrap();
        assert!(real.runs().unwrap(), "the innocent process lives");
        real.stop(Duration::from_secs(5)).unwrap();
        assert!(!real.runs().unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_in_the_group_of_another_is_stopped_alone() {
        let mut child = sleeper().spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        identity.stop(Duration::from_secs(5)).unwrap();
        assert!(!identity.runs().unwrap());
        child.wait().unwrap();
    }
}
