//! What is left of a lab whose process was killed outright: no emulator.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lockstep_lab::{FakeBmcs, LabSpec, MachineSpec};
use lockstep_process::recorded;

const STATE: &str = "SUDDEN_END_STATE";

async fn await_that(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    // The first run on a machine makes the Python environment of sushy-tools.
    let end = Instant::now() + Duration::from_secs(120);
    while !holds()? {
        ensure!(Instant::now() < end, "{what}: not within 120 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Run by the test below in a process of its own, and killed by it.
#[tokio::test]
#[ignore = "one half of `the_emulator_dies_with_the_process_that_started_it`"]
async fn brings_up_bmcs_and_lingers() -> Result<()> {
    let Some(state) = std::env::var_os(STATE) else {
        return Ok(());
    };
    let state = Path::new(&state);
    let _bmcs = FakeBmcs::up(state, &LabSpec::new([MachineSpec::card("card1")])).await?;
    std::fs::write(state.join("up"), "")?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

#[tokio::test]
async fn the_emulator_dies_with_the_process_that_started_it() -> Result<()> {
    let state = tempfile::tempdir()?;
    let mut parent = Command::new(std::env::current_exe()?)
        .args(["brings_up_bmcs_and_lingers", "--ignored"])
        .env(STATE, state.path())
        .stdout(Stdio::null())
        .spawn()?;
    let up = state.path().join("up");
    await_that("BMCs", || {
        ensure!(parent.try_wait()?.is_none(), "the lab did not come up");
        Ok(up.exists())
    })
    .await?;
    let records = recorded(&state.path().join("pids"))?;
    ensure!(records.len() == 1, "{records:?}");
    let emulator = &records[0].1.identity;
    ensure!(emulator.runs()?, "{emulator:?}");

    parent.kill()?;
    parent.wait()?;
    await_that("the end of the emulator", || Ok(!emulator.runs()?)).await
}
