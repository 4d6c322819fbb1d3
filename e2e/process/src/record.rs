//! Records of running programs, for whoever comes later to stop them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// One recorded program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Name of the program, also of its log and record file.
    pub name: String,
    /// When it was started relative to others: the last is stopped first.
    pub order: u32,
    /// The process.
    pub identity: Identity,
}

impl Record {
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.name));
        let text = serde_json::to_vec(self).context("a record is always JSON")?;
        // Renamed when it is whole: a reader in another process sees all of it or nothing.
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, text)
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// All records in `folder`, those of ended programs too, last started first.
///
/// # Errors
/// When the folder cannot be read or holds something else.
pub fn recorded(folder: &Path) -> Result<Vec<(PathBuf, Record)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.context("cannot list the records")?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let record: Record = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is no record of a program; remove it after looking for programs left over",
                path.display()
            )
        })?;
        records.push((path, record));
    }
    records.sort_by_key(|(_, record)| std::cmp::Reverse(record.order));
    Ok(records)
}

/// Stops every recorded program that still runs; returns the names of those that did. Blocking.
///
/// # Errors
/// When a record cannot be read or removed, or a program cannot be stopped.
pub fn stop_recorded(folder: &Path, grace: Duration) -> Result<Vec<String>> {
    let mut stopped = Vec::new();
    for (path, record) in recorded(folder)? {
        if record.identity.runs()? {
            record
                .identity
                .stop(grace)
                .with_context(|| format!("{} cannot be stopped", record.name))?;
            stopped.push(record.name);
        }
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(stopped)
}
