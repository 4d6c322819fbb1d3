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
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::shelf::{MEMORY, Sealed, hash};
use crate::clock;

/// What a service finds in its environment, and nothing else: its name.
pub(super) const NAME: &str = "LOCKSTEP_SERVICE";
/// The kernel's unit of time in `/proc`, on every machine that Linux runs on today.
const TICKS: u64 = 100;

/// A running service.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// The very process, whatever gets its number later.
    handle: OwnedFd,
    /// When it began, by the kernel: tells it from another one of that number.
    begun: u64,
    /// Of one that this process has started.
    child: Option<Child>,
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
            pid,
            handle: pidfd_open(pid, PidfdFlags::empty())?,
            begun: stat(pid).map(|stat| stat.begun).unwrap_or_default(),
            child: Some(child),
            digest: sealed.digest,
            since: clock::now(),
        })
    }

    /// Every running service that some process of this agent has started, with its name. Processes that
    /// they have started themselves are theirs.
    pub(super) fn all() -> Vec<(String, Self)> {
        let Ok(listed) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = listed.flatten().filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Pid::from_raw(number)
        });
        pids.filter_map(found).collect()
    }

    /// Has somebody woken when it ends.
    #[expect(
        deprecated,
        reason = "the other way is unsafe code; this descriptor is owned, and open for as long as it is registered"
    )]
    pub(super) fn watch(&self, woken: &Arc<Notify>) -> io::Result<()> {
        let handle = AsyncFd::with_interest(self.handle.try_clone()?, Interest::READABLE)?;
        let woken = Arc::clone(woken);
        tokio::spawn(async move {
            // Whatever it says, somebody looks.
            drop(handle.readable().await);
            woken.notify_one();
        });
        Ok(())
    }

    /// How it ended, in words; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(match (status.code(), status.signal()) {
                    (Some(code), _) => format!("it ended with status {code}"),
                    (None, Some(signal)) => format!("it was ended by signal {signal}"),
                    (None, None) => "it ended".to_owned(),
                }),
                Err(error) => Some(format!("it is not known how it ended: {error}")),
            },
            None => {
                let same = service_of(self.pid).is_some()
                    && stat(self.pid).is_some_and(|stat| stat.begun == self.begun);
                (!same).then(|| "it ended".to_owned())
            }
        }
    }

    /// Asks it and its processes to end, or with `KILL` ends them. Its group has its number as long as
    /// it is there, which its parent has to be asked for first: see [`Process::ended`].
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        if let Err(error) = kill_process_group(self.pid, signal) {
            tracing::warn!(pid = self.pid.as_raw_nonzero(), %error, "a service was not signalled");
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
        pid,
        handle,
        begun: stat.begun,
        child: None,
        digest,
        since: stat.since(),
    };
    Some((service, process))
}

fn exe(pid: Pid) -> String {
    format!("/proc/{}/exe", pid.as_raw_nonzero())
}

/// Of which service that process is one, by the name of the memory that it executes.
fn service_of(pid: Pid) -> Option<String> {
    let link = fs::read_link(exe(pid)).ok()?;
    let name = link
        .to_str()?
        .strip_prefix("/memfd:")?
        .strip_prefix(MEMORY)?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

struct Stat {
    /// Ticks after the boot.
    begun: u64,
}

impl Stat {
    fn since(&self) -> Time {
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let uptime = uptime.and_then(|text| text.split('.').next()?.parse::<u64>().ok());
        let age = uptime
            .unwrap_or_default()
            .saturating_sub(self.begun / TICKS);
        let now = clock::now();
        let ago = SignedDuration::try_from(Duration::from_secs(age)).unwrap_or_default();
        Time(now.0.checked_sub(ago).unwrap_or(now.0))
    }
}

fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name of the program may hold anything, a parenthesis too.
    let (_, fields) = text.rsplit_once(')')?;
    let begun = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(Stat { begun })
}
