//! Who has `boot` open, by what the kernel shows of processes. In a container with processes of its
//! own there is nobody to be seen but those beside it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Rshim;

const PROC: &str = "/proc";
/// More than one can have it open only where one has inherited it.
const MOST: usize = 4;

/// A process that has `boot` open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, which it gives itself.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

impl Rshim {
    /// The processes that have `boot` open, as far as they are to be seen; this one is left out.
    pub fn holders(&self) -> Vec<Holder> {
        let is_it = self.is_boot();
        let entries = fs::read_dir(PROC).into_iter().flatten().flatten();
        let others = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != std::process::id());
        others
            .filter(|pid| opened(*pid).any(&is_it))
            .take(MOST)
            .map(|pid| Holder {
                pid,
                name: name(pid),
            })
            .collect()
    }

    /// Whether this process has `boot` open.
    pub fn is_held_here(&self) -> bool {
        opened(std::process::id()).any(self.is_boot())
    }

    fn is_boot(&self) -> impl Fn(PathBuf) -> bool {
        let boot = self.boot();
        let boot = fs::canonicalize(&boot).unwrap_or(boot);
        let here = Path::new("/dev").join(self.name()).join("boot");
        move |open| open == boot || open == here
    }
}

/// What a process has open. A link is read and not followed, so no device is asked.
fn opened(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("{PROC}/{pid}/fd"));
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok())
}

fn name(pid: u32) -> String {
    let text = fs::read(format!("{PROC}/{pid}/comm")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
    text.trim().chars().filter(plain).collect()
}
