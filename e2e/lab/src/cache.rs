//! The folder for things worth keeping between runs, and how they get there: built under a lock,
//! marked complete by a stamp that is written last, so an interrupted build is never used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

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
    let stamp = target.join(".complete");
    if stamp.exists() {
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
}
