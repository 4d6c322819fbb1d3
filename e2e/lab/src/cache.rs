//! The folder for things worth keeping between runs, and how they get there: built under a lock,
//! marked complete by a stamp that is written last, so an interrupted build is never used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

/// Written last into a complete thing; its time is that of the last use.
const STAMP: &str = ".complete";

/// `$LOCKSTEP_CACHE`, else `$XDG_CACHE_HOME/lockstep`, else `$HOME/.cache/lockstep`.
pub fn folder() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = from("LOCKSTEP_CACHE") {
        return std::path::absolute(folder).context("LOCKSTEP_CACHE is not a usable path");
    }
    if let Some(folder) = from("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(folder).join("lockstep"));
    }
    let home = from("HOME").context(
        "no folder for cached tools and images: set LOCKSTEP_CACHE, XDG_CACHE_HOME or HOME",
    )?;
    Ok(PathBuf::from(home).join(".cache/lockstep"))
}

/// Returns `folder`/`name`, built by `build` if no complete one is there. Other processes that
/// want the same one wait for it.
pub(crate) fn complete(
    folder: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let target = folder.join(name);
    let stamp = target.join(STAMP);
    if stamp.exists() {
        mark_used(&stamp)?;
        return Ok(target);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock_path = folder.join(format!("{name}.lock"));
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    flock(&lock, FlockOperation::LockExclusive)
        .with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if stamp.exists() {
        return Ok(target);
    }
    if target.exists() {
        fs::remove_dir_all(&target)
            .with_context(|| format!("cannot remove the incomplete {}", target.display()))?;
    }
    fs::create_dir(&target).with_context(|| format!("cannot create {}", target.display()))?;
    build(&target)?;
    fs::write(&stamp, b"").with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(target)
}

fn mark_used(stamp: &Path) -> Result<()> {
    File::options()
        .append(true)
        .open(stamp)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("cannot touch {}", stamp.display()))
}

/// Removes the complete things in `folder` that nobody used for this long.
pub(crate) fn prune(folder: &Path, unused_for: Duration) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let target = entry.path();
        let used = fs::metadata(target.join(STAMP)).and_then(|stamp| stamp.modified());
        let Ok(used) = used else { continue };
        if used.elapsed().is_ok_and(|age| age > unused_for) {
            fs::remove_dir_all(&target)
                .with_context(|| format!("cannot remove {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_build_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let failed = complete(folder.path(), "thing", |path| {
            fs::write(path.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err());
        let made = complete(folder.path(), "thing", |path| {
            assert!(!path.join("half").exists());
            fs::write(path.join("whole"), "").map_err(Into::into)
        })
        .unwrap();
        assert!(made.join("whole").exists());
        let again = complete(folder.path(), "thing", |_| unreachable!("already complete"));
        assert_eq!(again.unwrap(), made);
    }

    #[test]
    fn only_what_is_unused_for_long_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            complete(folder.path(), name, |_| Ok(())).unwrap();
        }
        let day = Duration::from_secs(86_400);
        File::options()
            .append(true)
            .open(folder.path().join("old").join(STAMP))
            .and_then(|stamp| stamp.set_modified(SystemTime::now() - 2 * day))
            .unwrap();
        prune(folder.path(), day).unwrap();
        assert!(!folder.path().join("old").exists());
        assert!(folder.path().join("new").exists());
    }
}
