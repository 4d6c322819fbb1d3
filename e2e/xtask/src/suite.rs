//! `cargo xtask test`: every check, from fast to slow. The last lines say what failed and where its log is.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lockstep_scenarios::artefacts::{self, workspace};
use lockstep_scenarios::packages;
use lockstep_scenarios::registry::{self, Tier};
use tokio::process::Command;

use crate::{e2e, generate, policy, room, state};

/// What became of one step.
struct Outcome {
    name: String,
    passed: bool,
    log: Option<PathBuf>,
}

/// Runs the CI tier, or everything.
pub(crate) async fn run(all: bool) -> Result<()> {
    let room = room::complaint()?;
    if let Some(complaint) = &room {
        println!("==== {complaint}");
    }
    let mut outcomes = Vec::new();
    let cargo_steps: [(&str, &[&str]); 4] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        ("docs", &["doc", "--workspace", "--no-deps", "--locked"]),
        (
            "tests",
            &["test", "--workspace", "--locked", "--no-fail-fast"],
        ),
    ];
    outcomes.push(own("Debian packages", packages::ensure));
    outcomes.push(own("generated files", || generate::run(true)));
    outcomes.push(own("dependency policy", policy::run));
    for (name, args) in cargo_steps {
        outcomes.push(cargo(name, args).await?);
    }
    let binaries = match artefacts::binaries().await {
        Ok(binaries) => Some(binaries),
        Err(error) => {
            println!("FAIL static binaries: {error:#}");
            outcomes.push(failed("static binaries"));
            None
        }
    };
    if let Some(binaries) = binaries {
        for scenario in registry::ALL
            .iter()
            .filter(|scenario| all || scenario.tier == Tier::Ci)
        {
            outcomes.push(Outcome {
                name: format!("scenario {}", scenario.name),
                passed: e2e::run(scenario, &binaries).await?,
                log: Some(state::folder(&format!("e2e/{}", scenario.name))?),
            });
        }
    }
    conclude(&outcomes, room.as_deref())
}

fn failed(name: &str) -> Outcome {
    Outcome {
        name: name.to_owned(),
        passed: false,
        log: None,
    }
}

fn own(name: &str, check: impl FnOnce() -> Result<()>) -> Outcome {
    println!("==== {name}");
    match check() {
        Ok(()) => Outcome {
            passed: true,
            ..failed(name)
        },
        Err(error) => {
            println!("{error:#}");
            failed(name)
        }
    }
}

/// Nothing is built twice in CI: what an incremental build keeps would only fill the disk.
async fn cargo(name: &str, args: &[&str]) -> Result<Outcome> {
    println!("==== {name}: cargo {}", args.join(" "));
    let began = Instant::now();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(args)
        .env("RUSTDOCFLAGS", "-D warnings")
        .envs(std::env::var_os("CI").map(|_| ("CARGO_INCREMENTAL", "0")))
        .stdin(Stdio::null())
        .status()
        .await
        .with_context(|| format!("cannot run cargo {}", args.join(" ")))?;
    println!(
        "==== {name}: {status} after {} s",
        began.elapsed().as_secs()
    );
    Ok(Outcome {
        passed: status.success(),
        ..failed(name)
    })
}

fn conclude(outcomes: &[Outcome], room: Option<&str>) -> Result<()> {
    println!();
    for outcome in outcomes {
        let verdict = if outcome.passed { "PASS" } else { "FAIL" };
        println!("{verdict} {}", outcome.name);
    }
    let wrong: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    for outcome in &wrong {
        let log = outcome.log.as_ref().map_or_else(
            || "output above".to_owned(),
            |log| log.display().to_string(),
        );
        println!("failed: {}; log: {log}", outcome.name);
    }
    if let Some(complaint) = room.filter(|_| !wrong.is_empty()) {
        println!("when it began: {complaint}");
    }
    println!(
        "{} passed, {} failed",
        outcomes.len() - wrong.len(),
        wrong.len()
    );
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} step(s) failed", wrong.len())
}
