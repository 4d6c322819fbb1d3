//! A card and a host to try Redfish requests on, until Ctrl-C:
//! `cargo run -p lockstep-lab --example machines -- STATE_FOLDER [down]`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lockstep_lab::{Lab, LabSpec, MachineSpec};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let state = PathBuf::from(
        arguments
            .next()
            .context("usage: machines STATE_FOLDER [down]")?,
    );
    if arguments.next().as_deref() == Some("down") {
        println!("stopped: {}", Lab::stop_recorded(&state)?.join(" "));
        return Ok(());
    }
    let machines = [MachineSpec::card("card1"), MachineSpec::host("host1")];
    let lab = Lab::up(&state, LabSpec::new(machines)).await?;
    for name in ["card1", "host1"] {
        let machine = lab.machine(name)?;
        println!(
            "{name}: {}/redfish/v1/Systems/{} (console {})",
            lab.bmc_url(name)?,
            machine.spec().uuid,
            machine.console().path().display()
        );
    }
    let credentials = lab.credentials();
    println!(
        "user {}, password {}",
        credentials.username, credentials.password
    );
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")?;
    lab.down()
}
