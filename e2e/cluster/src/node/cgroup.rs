//! The node's part of the machine's control groups, and its removal.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::deadline::{Look, eventually};

/// For the kernel to let go of groups whose processes were just killed.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

/// One group of the same name in every hierarchy.
#[derive(Debug)]
pub(super) struct Cgroups {
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes the groups; kubelet wants its root to exist.
    pub(super) fn make(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        let folders: Vec<_> = hierarchies(&mounts)
            .into_iter()
            .map(|root| root.join(name))
            .collect();
        for folder in &folders {
            fs::create_dir_all(folder).with_context(|| {
                format!(
                    "cannot make the control group {} (it needs root)",
                    folder.display()
                )
            })?;
        }
        Ok(Self { folders })
    }

    /// Removes the groups and all below them, once nothing runs in them.
    pub(super) async fn remove(&self) -> Result<()> {
        eventually(
            RELEASE_DEADLINE,
            "the end of the node's control groups",
            async || match self
                .folders
                .iter()
                .try_for_each(|folder| remove_tree(folder))
            {
                Ok(()) => Look::Holds(()),
                Err(error) => Look::not_yet(format!("{error:#}")),
            },
        )
        .await?;
        Ok(())
    }
}

/// A node that is dropped instead of stopped must not leave its groups either.
impl Drop for Cgroups {
    fn drop(&mut self) {
        let end = Instant::now() + RELEASE_DEADLINE;
        for folder in &self.folders {
            while let Err(error) = remove_tree(folder) {
                if Instant::now() >= end {
                    tracing::error!(%error, "a control group is left behind");
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Mount points of all hierarchies. Where version 2 is mounted beside version 1, runc makes
/// groups in both.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
        })
        .collect()
}

/// Only folders can be removed in a control group file system; its files are not files.
fn remove_tree(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    for entry in entries {
        let entry = entry.context("cannot list a control group")?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            hierarchies(hybrid),
            [
                Path::new("/sys/fs/cgroup/cpu"),
                Path::new("/sys/fs/cgroup/unified")
            ]
        );
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(hierarchies(second), [Path::new("/sys/fs/cgroup")]);
    }
}
