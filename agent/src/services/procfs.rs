//! Processes of this machine, as the kernel shows them.

use std::fs::{self, File};
use std::io::Read as _;

use rustix::process::Pid;

use super::process::NAME;
use super::shelf::MEMORY;

/// More than the kernel lets a process be started with.
const MOST_ENVIRONMENT: u64 = 8 << 20;

/// One process.
pub(super) struct Stat {
    /// Ticks after the boot.
    pub(super) begun: u64,
    /// `None` of one that this process does not see.
    pub(super) group: Option<Pid>,
    pub(super) session: Option<Pid>,
    /// Whether any of its threads runs. What has ended is shown until its parent has asked for it.
    pub(super) lives: bool,
}

pub(super) fn pids() -> impl Iterator<Item = Pid> {
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    listed.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    })
}

pub(super) fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name of the program may hold anything, a parenthesis too.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let pid_in = |at: usize| fields.get(at)?.parse().ok().and_then(Pid::from_raw);
    let has_ended = matches!(*fields.first()?, "Z" | "X" | "x");
    // The first thread may have ended before the others.
    let threads: u64 = fields.get(17)?.parse().ok()?;
    Some(Stat {
        begun: fields.get(19)?.parse().ok()?,
        group: pid_in(2),
        session: pid_in(3),
        lives: !has_ended || threads > 1,
    })
}

/// What it executes.
pub(super) fn exe(pid: Pid) -> String {
    format!("/proc/{}/exe", pid.as_raw_nonzero())
}

/// Of which service that process is one, by the name of the memory that it executes.
pub(super) fn service_of(pid: Pid) -> Option<String> {
    let link = fs::read_link(exe(pid)).ok()?;
    let name = link
        .to_str()?
        .strip_prefix("/memfd:")?
        .strip_prefix(MEMORY)?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

/// The same of a process that executes something else, which a service has started: by the
/// environment that it was given.
pub(super) fn descent(pid: Pid) -> Option<String> {
    service_of(pid).or_else(|| {
        let file = File::open(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
        let mut bytes = Vec::new();
        file.take(MOST_ENVIRONMENT).read_to_end(&mut bytes).ok()?;
        let mut set = bytes.split(|byte| *byte == 0);
        let name = set.find_map(|one| one.strip_prefix(NAME.as_bytes())?.strip_prefix(b"="))?;
        String::from_utf8(name.to_vec()).ok()
    })
}
