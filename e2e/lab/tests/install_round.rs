//! One whole round on real firmware, by plain Redfish requests and without product code: a card
//! installs from virtual media, comes up from its disk with its seed, then its host boots.

mod redfish;
mod served;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_lab::image::{self, Behaviour, InstallerSpec, seed};
use lockstep_lab::{Lab, LabSpec, MachineSpec};
use redfish::Bmc;
use reqwest::Method;
use serde_json::json;

const BOOT: Duration = Duration::from_secs(120);

/// Stands in for the card's agent: proves the network and the seed by one request.
const AGENT: &str = r#"#!/bin/sh
value() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/" "$3"; }
seed=$3
api=$(value apiServer x "$seed")
token=$(value token x "$seed")
wget -q -O /dev/null "$api/agent/$token/$(value imageVersion x "$seed")"
exec sleep 86400
"#;

#[tokio::test]
async fn a_card_installs_and_its_host_follows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = folder.path().join("agent");
    std::fs::write(&agent, AGENT)?;
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755))?;

    let begun = Instant::now();
    let spec = InstallerSpec {
        version: "1.2.3".to_owned(),
        agent,
        behaviour: Behaviour::Installs,
        slot: None,
    };
    let image = tokio::task::spawn_blocking(move || image::installer(&spec)).await??;
    let served = folder.path().join("served.iso");
    let (port, mut requests) = served::serve(&served).await?;
    seed::fill(
        &image.path,
        &served,
        &json!({
            "apiServer": format!("http://10.0.2.2:{port}"),
            "token": "for-card1-alone",
            "imageVersion": image.version,
            "imageDigest": format!("sha256:{}", image.sha256),
        }),
    )?;
    eprintln!("image: {:.1?}", begun.elapsed());

    let begun = Instant::now();
    let lab = Lab::up(
        &folder.path().join("lab"),
        LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]),
    )
    .await?;
    eprintln!("lab: {:.1?}", begun.elapsed());

    let card = Bmc::new(lab.bmc("card1")?, lab.credentials())?;
    let systems = card.get("/redfish/v1/Systems").await?;
    assert_eq!(
        systems["Members"],
        json!([{"@odata.id": card.system}]),
        "only the own system"
    );

    let begun = Instant::now();
    let media = format!("{}/VirtualMedia/Cd", card.system);
    let insert = format!("{media}/Actions/VirtualMedia.InsertMedia");
    let url = format!("http://127.0.0.1:{port}/served.iso");
    card.call(Method::POST, &insert, Some(json!({"Image": url})))
        .await?;
    card.boot_from("Cd").await?;
    card.reset("On").await?;

    let console = lab.machine("card1")?.console();
    let started = console
        .wait_for("LOCKSTEP-INSTALLER-START 1.2.3", BOOT)
        .await?;
    eprintln!("power on to installer: {:.1?}", started.instant - begun);
    let done = console
        .wait_for("LOCKSTEP-INSTALLER-DONE 1.2.3", BOOT)
        .await?;
    let up = console
        .wait_for_after(Some(done.instant), "LOCKSTEP-OS-UP 1.2.3", BOOT)
        .await?;
    eprintln!("power on to operating system: {:.1?}", up.instant - begun);
    let path = tokio::time::timeout(BOOT, async {
        loop {
            let request = requests.recv().await.context("the server ended")?;
            if request.path.starts_with("/agent/") {
                return anyhow::Ok(request.path);
            }
        }
    })
    .await??;
    assert_eq!(
        path, "/agent/for-card1-alone/1.2.3",
        "the seed reached the agent"
    );

    card.boot_from("Hdd").await?;
    let eject = format!("{media}/Actions/VirtualMedia.EjectMedia");
    card.call(Method::POST, &eject, Some(json!({}))).await?;
    let changes: Vec<String> = lab
        .bmc("card1")?
        .changes()
        .iter()
        .map(|one| format!("{} {}", one.method, one.path.replace(&card.system, "")))
        .collect();
    assert_eq!(
        changes,
        [
            "POST /VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia",
            "PATCH ",
            "POST /Actions/ComputerSystem.Reset",
            "PATCH ",
            "POST /VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia",
        ],
    );

    // The host boots, and meanwhile the card comes back from its disk, without medium and override.
    let host = Bmc::new(lab.bmc("host1")?, lab.credentials())?;
    assert!(!lab.machine("host1")?.is_on());
    assert!(lab.machine("host1")?.console().lines().is_empty());
    let begun = Instant::now();
    host.reset("On").await?;
    card.reset("ForceOff").await?;
    lab.machine("card1")?.wait_for_power(false, BOOT).await?;
    let off = Instant::now();
    card.reset("On").await?;
    let host_console = lab.machine("host1")?.console();
    let firmware = host_console.wait_for(image::FIRMWARE, BOOT).await?;
    assert!(firmware.instant > up.instant);
    let host_up = host_console.wait_for(image::HOST_UP, BOOT).await?;
    eprintln!(
        "host power on to operating system: {:.1?}",
        host_up.instant - begun
    );
    let again = console.wait_for_after(Some(off), "LOCKSTEP-", BOOT).await?;
    assert_eq!(again.text, "LOCKSTEP-SEED found");
    console
        .wait_for_after(Some(off), "LOCKSTEP-OS-UP 1.2.3", BOOT)
        .await?;
    assert_eq!(console.matching(image::INSTALLER_START).len(), 1);

    lab.down()?;
    assert!(Lab::stop_recorded(&folder.path().join("lab"))?.is_empty());
    Ok(())
}
