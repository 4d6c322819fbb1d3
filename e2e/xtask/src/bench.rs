//! `cargo xtask bench NAME`: figures as ratios and counts, measured in one run.

use std::time::Instant;

use anyhow::{Result, bail};
use lockstep_scenarios::registry::{Context, Running};
use lockstep_scenarios::{artefacts, bench_discovery, bench_store};

use crate::state;

/// Every benchmark, with what it measures.
const ALL: &[Bench] = &[
    Bench {
        name: "discovery",
        about: "a thousand BMCs: the first full inventory, what dead ones cost, the steady state",
        run: |context| Box::pin(bench_discovery::run(context)),
    },
    Bench {
        name: "store",
        about: "one image to many clients and its verification, beside nginx and openssl",
        run: |context| Box::pin(bench_store::run(context)),
    },
];

/// One benchmark.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(Context) -> Running,
}

/// Prints the table of benchmarks.
pub(crate) fn list() {
    for Bench { name, about, .. } in ALL {
        println!("{name:<16} {about}");
    }
}

/// Runs one.
pub(crate) async fn run(name: &str) -> Result<()> {
    let Some(bench) = ALL.iter().find(|bench| bench.name == name) else {
        bail!("no benchmark {name}; `cargo xtask bench --list` lists them");
    };
    let context = Context {
        folder: state::fresh_folder(&format!("bench/{name}"))?,
        binaries: artefacts::binaries().await?,
    };
    let folder = context.folder.clone();
    let began = Instant::now();
    let outcome = (bench.run)(context).await;
    println!("logs: {}", folder.display());
    let report = outcome?;
    println!("{name} ({} s)\n{report}", began.elapsed().as_secs());
    Ok(())
}
