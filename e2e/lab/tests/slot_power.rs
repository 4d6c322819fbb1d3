//! A card in a slot has power when, and only when, its host has.

mod redfish;

use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_lab::{Lab, LabSpec, MachineSpec};
use redfish::Bmc;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_coupled_card_follows_its_host() -> Result<()> {
    let state = tempfile::tempdir()?;
    let lab = Lab::up(
        state.path(),
        LabSpec::new([
            MachineSpec::host("host1"),
            MachineSpec::card("card1").coupled_to("host1"),
        ]),
    )
    .await?;
    let (card, host) = (lab.machine("card1")?, lab.machine("host1")?);
    let card_bmc = Bmc::new(lab.bmc("card1")?, lab.credentials())?;
    let host_bmc = Bmc::new(lab.bmc("host1")?, lab.credentials())?;

    // The BMC accepts it, and there is no power all the same.
    card_bmc.reset("On").await?;
    card.wait_for_power(false, SOON).await?;

    host_bmc.reset("On").await?;
    card.wait_for_power(true, SOON).await?;

    // Off by its own BMC it stays off while the host is on.
    card_bmc.reset("ForceOff").await?;
    card.wait_for_power(false, SOON).await?;
    card_bmc.reset("On").await?;
    card.wait_for_power(true, SOON).await?;

    host_bmc.reset("ForceOff").await?;
    host.wait_for_power(false, SOON).await?;
    let off = Instant::now();
    card.wait_for_power(false, SOON).await?;
    assert!(
        off.elapsed() < Duration::from_secs(2),
        "{:?}",
        off.elapsed()
    );
    let system = card_bmc.get(&card_bmc.system).await?;
    assert_eq!(system["PowerState"], "Off");

    // Somebody at the power button is no request to a BMC.
    host.press_power_button().await?;
    card.wait_for_power(true, SOON).await?;
    assert_eq!(lab.bmc("host1")?.changes().len(), 2);
    lab.down()
}

#[tokio::test]
async fn dropping_a_lab_stops_its_machines() -> Result<()> {
    let state = tempfile::tempdir()?;
    let lab = Lab::up(state.path(), LabSpec::new([MachineSpec::host("host1")])).await?;
    lab.machine("host1")?.press_power_button().await?;
    assert!(lab.machine("host1")?.is_on());
    drop(lab);
    assert!(Lab::stop_recorded(state.path())?.is_empty());
    Ok(())
}
