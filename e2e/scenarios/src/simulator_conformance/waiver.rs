//! Failures that are as they should be: the vendor really is so, or the tool errs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::tool::Tool;

/// One explained failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiver {
    tool: Tool,
    /// The personalities it is about.
    personalities: Vec<String>,
    /// What the failure contains.
    contains: String,
    /// Why it is right.
    because: String,
}

/// The waivers, and which were needed.
#[derive(Debug)]
pub(super) struct Waivers(Vec<(Waiver, Vec<String>)>);

impl Waivers {
    /// Reads the committed file.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let waivers: Vec<Waiver> = serde_yaml::from_str(&text)
            .with_context(|| format!("{} is no list of waivers", file.display()))?;
        for waiver in &waivers {
            ensure!(
                !waiver.because.is_empty() && !waiver.contains.is_empty(),
                "a waiver without a reason, or for everything: {waiver:?}"
            );
        }
        Ok(Self(
            waivers.into_iter().map(|one| (one, Vec::new())).collect(),
        ))
    }

    /// Whether a failure is explained.
    pub(super) fn cover(&mut self, tool: Tool, personality: &str, failure: &str) -> bool {
        for (waiver, used) in &mut self.0 {
            if waiver.tool == tool
                && waiver.personalities.iter().any(|one| one == personality)
                && failure.contains(&waiver.contains)
            {
                used.push(personality.to_owned());
                return true;
            }
        }
        false
    }

    /// Fails if a waiver is not needed any more.
    pub(super) fn all_used(&self) -> Result<()> {
        for (waiver, used) in &self.0 {
            let idle = waiver.personalities.iter().find(|one| !used.contains(one));
            ensure!(
                idle.is_none(),
                "a waiver that {} no longer needs; remove it: {waiver:?}",
                idle.map_or("nobody", String::as_str)
            );
        }
        Ok(())
    }
}
