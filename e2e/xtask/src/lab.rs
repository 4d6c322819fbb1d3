//! `cargo xtask lab up|down`.

use anyhow::Result;
use lockstep_lab::{Lab, LabSpec, MachineSpec};

use crate::state;

pub(crate) async fn up() -> Result<()> {
    let machines = [MachineSpec::card("card1"), MachineSpec::host("host1")];
    let lab = Lab::up(&state::folder("lab")?, LabSpec::new(machines)).await?;
    for name in ["card1", "host1"] {
        let machine = lab.machine(name)?;
        println!(
            "{name}: BMC {} system UUID {} console {}",
            lab.bmc_url(name)?,
            machine.spec().uuid,
            machine.console().path().display()
        );
    }
    let credentials = lab.credentials();
    println!(
        "user {} password {}",
        credentials.username, credentials.password
    );
    println!("Ctrl-C stops it");
    tokio::signal::ctrl_c().await?;
    lab.down()
}

pub(crate) fn down() -> Result<()> {
    for stopped in Lab::stop_recorded(&state::folder("lab")?)? {
        println!("stopped {stopped}");
    }
    Ok(())
}
