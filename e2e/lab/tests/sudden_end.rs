//! What is left of a lab whose process was killed outright: nothing that runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lockstep_lab::{FakeBmcs, Lab, LabSpec, MachineSpec};
use lockstep_process::{Identity, recorded};

const STATE: &str = "SUDDEN_END_STATE";
/// Longer than any test waits.
const LINGER: Duration = Duration::from_secs(600);

async fn await_that(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    // The first run on a machine makes the Python environment of sushy-tools.
    let end = Instant::now() + Duration::from_secs(120);
    while !holds()? {
        ensure!(Instant::now() < end, "{what}: not within 120 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Run by a test below in a process of its own, and killed by it.
#[tokio::test]
#[ignore = "one half of `the_emulator_dies_with_the_process_that_started_it`"]
async fn lingers_with_bmcs() -> Result<()> {
    let Some(state) = std::env::var_os(STATE) else {
        return Ok(());
    };
    let state = Path::new(&state);
    let _bmcs = FakeBmcs::up(state, &LabSpec::new([MachineSpec::card("card1")])).await?;
    std::fs::write(state.join("up"), "")?;
    tokio::time::sleep(LINGER).await;
    Ok(())
}

/// Run by a test below in a process of its own, and killed by it.
#[tokio::test]
#[ignore = "one half of `vms_die_with_the_process_that_started_them`"]
async fn lingers_with_a_vm() -> Result<()> {
    let Some(state) = std::env::var_os(STATE) else {
        return Ok(());
    };
    let state = Path::new(&state);
    let lab = Lab::up(state, LabSpec::new([MachineSpec::host("host1")])).await?;
    lab.machine("host1")?.press_power_button().await?;
    std::fs::write(state.join("up"), "")?;
    tokio::time::sleep(LINGER).await;
    Ok(())
}

/// Kills the process of one of the halves once its lab is up; what runs then must end.
async fn nothing_survives(half: &str, state: &Path, pid_files: &[&str]) -> Result<()> {
    let mut parent = Command::new(std::env::current_exe()?)
        .args([half, "--exact", "--ignored"])
        .env(STATE, state)
        .stdout(Stdio::null())
        .spawn()?;
    let up = state.join("up");
    await_that("the lab", || {
        ensure!(parent.try_wait()?.is_none(), "the lab did not come up");
        Ok(up.exists())
    })
    .await?;
    let mut running: Vec<(String, Identity)> = recorded(&state.join("pids"))?
        .into_iter()
        .map(|(_, record)| (record.name, record.identity))
        .collect();
    for file in pid_files {
        let pid = std::fs::read_to_string(state.join(file)).context(file.to_string())?;
        running.push(((*file).to_owned(), Identity::of(pid.trim().parse()?)?));
    }
    ensure!(!running.is_empty(), "no program is recorded");
    for (name, identity) in &running {
        ensure!(identity.runs()?, "{name} does not run");
    }

    parent.kill()?;
    parent.wait()?;
    for (name, identity) in &running {
        await_that(&format!("the end of {name}"), || Ok(!identity.runs()?)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_emulator_dies_with_the_process_that_started_it() -> Result<()> {
    let state = tempfile::tempdir()?;
    nothing_survives("lingers_with_bmcs", state.path(), &[]).await
}

#[tokio::test]
async fn vms_die_with_the_process_that_started_them() -> Result<()> {
    let state = tempfile::tempdir()?;
    let pid_files = [
        "libvirt/run/libvirt/libvirtd.pid",
        "libvirt/run/libvirt/qemu/host1.pid",
    ];
    nothing_survives("lingers_with_a_vm", state.path(), &pid_files).await
}
