//! Runs scenarios: PASS or FAIL, figures, and where the logs lie.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lockstep_scenarios::artefacts::{self, Binaries};
use lockstep_scenarios::registry::{self, Context, Scenario, Tier};

use crate::state;

/// Prints the table of scenarios.
pub(crate) fn list() {
    for scenario in registry::ALL {
        let tier = match scenario.tier {
            Tier::Ci => "ci ",
            Tier::All => "all",
        };
        println!("{:<24} {tier}  {}", scenario.name, scenario.about);
    }
}

/// Runs one scenario by name.
pub(crate) async fn run_named(name: &str) -> Result<()> {
    let scenario = registry::find(name)
        .with_context(|| format!("no scenario {name}; `cargo xtask e2e --list` lists them"))?;
    let binaries = artefacts::binaries().await?;
    if run(scenario, &binaries).await? {
        Ok(())
    } else {
        bail!("scenario {name} failed")
    }
}

/// Runs a scenario and says how it went; `false` if it failed.
pub(crate) async fn run(scenario: &Scenario, binaries: &Binaries) -> Result<bool> {
    let folder = state::fresh_folder(&format!("e2e/{}", scenario.name))?;
    println!("RUN  {}: {}", scenario.name, scenario.about);
    let context = Context {
        folder: folder.clone(),
        binaries: binaries.clone(),
    };
    let began = Instant::now();
    let outcome = (scenario.run)(context).await;
    let seconds = began.elapsed().as_secs();
    let passed = match outcome {
        Ok(report) => {
            println!("PASS {} ({seconds} s)\n{report}", scenario.name);
            true
        }
        Err(error) => {
            println!("FAIL {} ({seconds} s)\n    {error:#}", scenario.name);
            false
        }
    };
    println!("     logs: {}", folder.display());
    Ok(passed)
}
