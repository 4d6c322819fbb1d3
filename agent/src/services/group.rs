//! What is left of a service once its first process, which leads its group, has ended: the other
//! processes of that group. They are ended by force, and waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::procfs::{descent, pids, stat};

/// How long the end of processes that were killed is waited for at one look.
const PATIENCE: Duration = Duration::from_secs(1);
/// Some may have started others before they were killed.
const ROUNDS: usize = 8;

/// A process of a group.
struct Member {
    pid: Pid,
    begun: u64,
    /// The very process, whatever gets its number later.
    handle: OwnedFd,
}

impl Member {
    fn of(group: Pid, pid: Pid) -> Option<Self> {
        let begun = stat(pid)?.begun;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let member = Self { pid, begun, handle };
        member.is_in(group).then_some(member)
    }

    fn is_in(&self, group: Pid) -> bool {
        stat(self.pid)
            .is_some_and(|stat| stat.lives && stat.begun == self.begun && stat.group == Some(group))
    }

    fn kill(&self) {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => not_signalled(self.pid, error),
        }
    }
}

/// Has it told when a process ends, however it does.
#[expect(
    deprecated,
    reason = "the other way is unsafe code; this descriptor is owned, and open for as long as it is registered"
)]
pub(super) fn watched(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE)
}

pub(super) fn not_signalled(pid: Pid, error: Errno) {
    tracing::warn!(pid = pid.as_raw_nonzero(), %error, "a process of a service was not signalled");
}

fn living(group: Pid) -> impl Iterator<Item = Pid> {
    pids().filter(move |pid| stat(*pid).is_some_and(|stat| stat.lives && stat.group == Some(group)))
}

fn members(group: Pid) -> Vec<Member> {
    living(group)
        .filter_map(|pid| Member::of(group, pid))
        .collect()
}

async fn wait_for(members: Vec<Member>, until: Instant) {
    for member in members {
        let Ok(handle) = watched(member.handle) else {
            continue;
        };
        // Whatever it says, somebody looks.
        drop(timeout_at(until, handle.readable()).await);
    }
}

/// Ends a group whose first process has ended, and is still to be asked for by this one: as long as
/// it is, nobody else has its number. How many are there still.
pub(super) async fn end(group: Pid) -> usize {
    match kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => not_signalled(group, error),
    }
    wait_for(members(group), Instant::now() + PATIENCE).await;
    living(group).count()
}

/// Ends what is left of a service in a group whose number another one may have by now. A number goes
/// to others only when its group has nobody left: so as long as one of the service is there, the rest
/// is of the service too, and each of them is signalled as the very process that was looked at. How
/// many are there still.
pub(super) async fn end_of(service: &str, group: Pid) -> usize {
    let is_ours = |pid: Pid| descent(pid).is_some_and(|found| found == service);
    let until = Instant::now() + PATIENCE;
    for _ in 0..ROUNDS {
        let members = members(group);
        let mut ours = members.iter().filter(|member| is_ours(member.pid));
        // Looked at after all the others were: what was there before it is of the same group.
        if !ours.any(|member| member.is_in(group)) {
            break;
        }
        for member in &members {
            member.kill();
        }
        wait_for(members, until).await;
    }
    let left: Vec<Pid> = living(group).collect();
    if left.iter().any(|pid| is_ours(*pid)) {
        left.len()
    } else {
        0
    }
}

/// Groups of services whose first process is gone though others are there. What has made a session of
/// its own has left its service.
pub(super) fn leaderless() -> Vec<(String, Pid)> {
    let mut found = Vec::new();
    for pid in pids() {
        let Some(seen) = stat(pid).filter(|seen| seen.lives) else {
            continue;
        };
        let Some(group) = seen.group else { continue };
        let is_led = stat(group).is_some_and(|leader| leader.lives);
        if is_led || seen.session == Some(group) {
            continue;
        }
        let Some(service) = descent(pid) else {
            continue;
        };
        let one = (service, group);
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
