//! `cargo xtask bench NAME`: figures as ratios and counts, measured in one run.

use std::time::Instant;

use anyhow::{Result, bail};
use lockstep_scenarios::registry::Context;
use lockstep_scenarios::{artefacts, bench_discovery};

use crate::state;

/// Every benchmark, with what it measures.
const ALL: &[(&str, &str)] = &[(
    "discovery",
    "a thousand BMCs: the first full inventory, what dead ones cost, the steady state",
)];

/// Prints the table of benchmarks.
pub(crate) fn list() {
    for (name, about) in ALL {
        println!("{name:<16} {about}");
    }
}

/// Runs one.
pub(crate) async fn run(name: &str) -> Result<()> {
    if !ALL.iter().any(|(known, _)| *known == name) {
        bail!("no benchmark {name}; `cargo xtask bench --list` lists them");
    }
    let context = Context {
        folder: state::fresh_folder(&format!("bench/{name}"))?,
        binaries: artefacts::binaries().await?,
    };
    let folder = context.folder.clone();
    let began = Instant::now();
    let outcome = bench_discovery::run(context).await;
    println!("logs: {}", folder.display());
    let report = outcome?;
    println!("{name} ({} s)\n{report}", began.elapsed().as_secs());
    Ok(())
}
