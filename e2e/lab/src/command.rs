//! Running a tool to its end, with an error that shows what was run and what it said.

use std::ffi::OsStr;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs the command, fails unless it exits with 0, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`; is its package installed?"))?;
    checked(&shown, &output)
}

/// As [`run`], without blocking the runtime.
pub(crate) async fn run_async(command: &mut tokio::process::Command) -> Result<String> {
    let shown = shown(command.as_std());
    let output = command
        .output()
        .await
        .with_context(|| format!("cannot start `{shown}`; is its package installed?"))?;
    checked(&shown, &output)
}

fn checked(shown: &str, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!(
        "`{shown}` ended with {}: {}",
        output.status,
        [stderr.trim(), stdout.trim()]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or("no output")
    )
}

fn shown(command: &Command) -> String {
    [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
