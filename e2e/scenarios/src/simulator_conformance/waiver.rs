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
        Self::parse(&text).with_context(|| format!("{} cannot be used", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let waivers: Vec<Waiver> = serde_yaml::from_str(text).context("no list of waivers")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiver_covers_what_it_names_and_must_be_needed() {
        let yaml =
            "[{tool: use-cases, personalities: [a, b], contains: HTTP 409, because: so it is}]";
        let mut ours = Waivers::parse(yaml).unwrap();
        assert!(!ours.cover(Tool::Protocol, "a", "HTTP 409"));
        assert!(!ours.cover(Tool::UseCases, "c", "HTTP 409"));
        assert!(!ours.cover(Tool::UseCases, "a", "HTTP 500"));
        assert!(ours.cover(Tool::UseCases, "a", "it says HTTP 409"));
        let error = ours.all_used().unwrap_err().to_string();
        assert!(error.contains("b no longer needs"), "{error}");
        assert!(ours.cover(Tool::UseCases, "b", "HTTP 409"));
        ours.all_used().unwrap();
        assert!(
            Waivers::parse("[{tool: service, personalities: [], contains: '', because: x}]")
                .is_err()
        );
    }

    #[test]
    fn the_committed_waivers_name_personalities_that_exist_and_never_the_service_validator() {
        let file = crate::artefacts::workspace().join("e2e/scenarios/assets/redfish/waivers.yaml");
        for (waiver, _) in Waivers::read(&file).unwrap().0 {
            assert_ne!(waiver.tool, Tool::Service, "{waiver:?}");
            for name in &waiver.personalities {
                assert!(lockstep_xpusim::personality::find(name).is_some(), "{name}");
            }
        }
    }
}
