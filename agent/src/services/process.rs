//! One running service: started from sealed memory, found again by an agent that was restarted,
//! ended with its whole process group.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_store::Digest;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpgid, kill_process_group, pidfd_open, waitid,
};
use tokio::sync::Notify;

use super::group::{self, not_signalled, watched};
use super::procfs::{exe, pids, service_of, stat};
use super::shelf::{Sealed, hash};
use crate::clock;

/// What a service finds in its environment, and nothing else: its name.
pub(super) const NAME: &str = "LOCKSTEP_SERVICE";
/// The kernel's unit of time in `/proc`, on every machine that Linux runs on today.
const TICKS: u64 = 100;

/// A running service.
#[derive(Debug)]
pub(super) struct Process {
    service: String,
    pid: Pid,
    /// The very process, whatever gets its number later.
    handle: OwnedFd,
    /// When it began, by the kernel: tells it from another one of that number.
    begun: u64,
    /// Of one that this process has started.
    child: Option<Child>,
    /// It has ended, and others of its group have not.
    pub(super) lingers: bool,
    /// What it runs, as it was hashed.
    pub(super) digest: Digest,
    pub(super) since: Time,
}

impl Process {
    /// Starts it. It is executed from memory, so no file needs to be executable.
    pub(super) fn start(service: &str, sealed: &Sealed, log: File) -> io::Result<Self> {
        let output = log.try_clone()?;
        let program = format!("/proc/self/fd/{}", sealed.memory.as_raw_fd());
        let child = Command::new(program)
            .arg0(service)
            .env_clear()
            .env(NAME, service)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        Ok(Self {
            service: service.to_owned(),
            pid,
            handle: pidfd_open(pid, PidfdFlags::empty())?,
            begun: stat(pid).map(|stat| stat.begun).unwrap_or_default(),
            child: Some(child),
            lingers: false,
            digest: sealed.digest,
            since: clock::now(),
        })
    }

    /// Every running service that some process of this agent has started, with its name. Processes that
    /// they have started themselves are theirs.
    pub(super) fn all() -> Vec<(String, Self)> {
        pids().filter_map(found).collect()
    }

    /// Has somebody woken when it ends.
    pub(super) fn watch(&self, woken: &Arc<Notify>) -> io::Result<()> {
        let handle = watched(self.handle.try_clone()?)?;
        let woken = Arc::clone(woken);
        tokio::spawn(async move {
            // Whatever it says, somebody looks.
            drop(handle.readable().await);
            woken.notify_one();
        });
        Ok(())
    }

    /// How it ended, in words; `None` while it runs, or anything of its group does. Once it has ended,
    /// whatever the cause, the others of its group are ended by force.
    pub(super) async fn ended(&mut self) -> Option<String> {
        if self.runs() {
            return None;
        }
        let left = if matches!(self.end_to_ask_for(), Some(Ok(true))) {
            group::end(self.pid).await
        } else if stat(self.pid).is_some_and(|other| other.begun != self.begun) {
            // Another one has its number: so nobody was left of its group.
            0
        } else {
            group::end_of(&self.service, self.pid).await
        };
        if left > 0 {
            let pid = self.pid.as_raw_nonzero();
            tracing::warn!(
                pid,
                left,
                "a service has ended, and others of its group do not end though they were killed"
            );
        }
        self.lingers = left > 0;
        if self.lingers {
            return None;
        }
        let Some(child) = &mut self.child else {
            return Some("it ended".to_owned());
        };
        match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with status {code}"),
                (None, Some(signal)) => format!("it was ended by signal {signal}"),
                (None, None) => "it ended".to_owned(),
            }),
            Err(error) => Some(format!("it is not known how it ended: {error}")),
        }
    }

    /// Whether this process can ask how it ended. It is not asked for here, so its number stays its own.
    fn end_to_ask_for(&self) -> Option<io::Result<bool>> {
        self.child.as_ref()?;
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let peeked = waitid(WaitId::Pid(self.pid), peek);
        Some(peeked.map(|end| end.is_some()).map_err(io::Error::from))
    }

    fn runs(&self) -> bool {
        match self.end_to_ask_for() {
            Some(Ok(has_ended)) => !has_ended,
            Some(Err(_)) | None => {
                stat(self.pid).is_some_and(|stat| stat.lives && stat.begun == self.begun)
            }
        }
    }

    /// Asks it and its processes to end, or with `KILL` ends them. Its group has its number as long as
    /// it is there; what is left of it afterwards [`Process::ended`] ends.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.runs() {
            return;
        }
        if let Err(error) = kill_process_group(self.pid, signal) {
            not_signalled(self.pid, error);
        }
    }
}

fn found(pid: Pid) -> Option<(String, Process)> {
    let service = service_of(pid)?;
    if getpgid(Some(pid)).ok()? != pid {
        return None;
    }
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let stat = stat(pid)?;
    // The link leads to the memory that is executed, whatever its name was.
    let mut executed = File::open(exe(pid)).ok()?;
    let digest = hash(&mut executed, |_| Ok(())).ok()?;
    // Still the one that was opened.
    service_of(pid).filter(|again| *again == service)?;
    let process = Process {
        service: service.clone(),
        pid,
        handle,
        begun: stat.begun,
        child: None,
        lingers: false,
        digest,
        since: since(stat.begun),
    };
    Some((service, process))
}

/// When that was, of ticks after the boot.
fn since(begun: u64) -> Time {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split('.').next()?.parse::<u64>().ok());
    let age = uptime.unwrap_or_default().saturating_sub(begun / TICKS);
    let now = clock::now();
    let ago = SignedDuration::try_from(Duration::from_secs(age)).unwrap_or_default();
    Time(now.0.checked_sub(ago).unwrap_or(now.0))
}
