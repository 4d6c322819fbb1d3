//! Where commands keep what they start.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lockstep_scenarios::artefacts::workspace;

/// The folder `target/lockstep/NAME`, which is made if it does not exist.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let folder = workspace().join("target/lockstep").join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The same, emptied first.
pub(crate) fn fresh_folder(name: &str) -> Result<PathBuf> {
    let folder = folder(name)?;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot empty {}", folder.display()))?;
    self::folder(name)
}
