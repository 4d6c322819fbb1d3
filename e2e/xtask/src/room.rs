//! Room on the disk: what runs out of it fails in the middle of a compiler, with other words.

use anyhow::{Context, Result};
use lockstep_scenarios::artefacts::workspace;

/// What a run from a clean clone writes: build folders, programs of the control plane, disks of VMs.
const FROM_NOTHING_GB: u64 = 30;

/// What a run needs beside build folders that are there.
const WHILE_RUNNING_GB: u64 = 8;

/// What is wrong with the room on the disk of the workspace, if anything is.
pub(crate) fn complaint() -> Result<Option<String>> {
    let has = rustix::fs::statvfs(workspace()).context("cannot tell the room on the disk")?;
    let free = has.f_bavail.saturating_mul(has.f_frsize) / 1_000_000_000;
    let is_built = workspace().join("target/static").exists();
    Ok(judge(free, is_built))
}

fn judge(free_gb: u64, is_built: bool) -> Option<String> {
    let (needs, whose) = if is_built {
        (WHILE_RUNNING_GB, "a run")
    } else {
        (FROM_NOTHING_GB, "a run from a clean clone")
    };
    (free_gb < needs).then(|| {
        format!("{free_gb} GB are free where the build folders lie; {whose} needs {needs} GB: make room if a step fails")
    })
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_clean_clone_needs_more_room_than_one_that_is_built() {
        assert_eq!(judge(30, false), None);
        assert_eq!(judge(8, true), None);
        assert!(judge(12, false).is_some_and(|said| said.contains("12 GB are free")));
        assert!(judge(7, true).is_some_and(|said| said.contains("needs 8 GB")));
    }
}
