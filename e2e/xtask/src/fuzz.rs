//! `cargo xtask fuzz`: one target under libFuzzer. The bounded form runs in `cargo test`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_fuzz::{ALL, Target, find};
use lockstep_scenarios::artefacts::workspace;

use crate::state;

/// Prints the targets.
pub(crate) fn list() {
    for target in ALL {
        println!("{:<10} {}", target.name, target.about);
    }
}

/// Fuzzes the target of that name for so many seconds. What it finds interesting is kept for the
/// next run.
pub(crate) fn run(name: &str, seconds: u64) -> Result<()> {
    let target = find(name)
        .with_context(|| format!("no target {name}; `cargo xtask fuzz --list` lists them"))?;
    let folder = workspace().join("e2e/fuzz/cargo-fuzz");
    // The versions that are tested are the ones that are fuzzed.
    let lock = folder.join("Cargo.lock");
    std::fs::copy(workspace().join("Cargo.lock"), &lock)
        .with_context(|| format!("cannot write {}", lock.display()))?;
    let kept = state::folder("fuzz")?.join(name);
    let (corpus, found) = (kept.join("corpus"), kept.join("found"));
    for folder in [&corpus, &found] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    plant(target, &corpus)?;
    let status = cargo_fuzz(&folder)
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-max_len=8192", "-timeout=20"])
        .env("LOCKSTEP_FUZZ_TARGET", name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo: rustup installs it")?;
    if status.success() {
        println!(
            "{name}: nothing found in {seconds} s; its inputs are kept in {}",
            corpus.display()
        );
        return Ok(());
    }
    let inputs: Vec<PathBuf> = std::fs::read_dir(&found)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    match inputs.last() {
        Some(input) => bail!(
            "{name}: a property does not hold, see above; the input is {}. Mend what it hits, and add it to the target's samples",
            input.display()
        ),
        None => bail!(
            "cargo fuzz ended with {status}: it needs `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked`"
        ),
    }
}

fn cargo_fuzz(folder: &Path) -> Command {
    // Not the cargo that runs this: it is the workspace's, and this needs a nightly one.
    let mut command = Command::new("cargo");
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .args(["+nightly", "fuzz", "run", "any", "--fuzz-dir"])
        .arg(folder)
        .current_dir(folder);
    command
}

fn plant(target: &Target, corpus: &Path) -> Result<()> {
    let samples = (target.samples)();
    ensure!(!samples.is_empty(), "{} has no samples", target.name);
    for (number, sample) in samples.iter().enumerate() {
        let file = corpus.join(format!("sample-{number}"));
        std::fs::write(&file, sample)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
