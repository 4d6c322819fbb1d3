//! A card's own firmware fetches the image that its BMC names, and boots it.

mod redfish;
mod served;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;
use lockstep_lab::image::{self, Behaviour, InstallerSpec};
use lockstep_lab::{Lab, LabSpec, MachineSpec};
use redfish::Bmc;
use reqwest::Method;
use serde_json::{Value, json};

const BOOT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_firmware_fetches_what_the_bmc_names_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = folder.path().join("agent");
    std::fs::write(&agent, "#!/bin/sh\nexec sleep 86400\n")?;
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755))?;
    let spec = InstallerSpec {
        version: "1.2.3".to_owned(),
        agent,
        behaviour: Behaviour::Installs,
        slot: None,
    };
    let image = tokio::task::spawn_blocking(move || image::installer(&spec)).await??;
    let (port, mut requests) = served::serve(&image.path).await?;

    let mut spec = LabSpec::new([MachineSpec::card("card1")]);
    spec.http_boot.insert("card1".to_owned());
    let lab = Lab::up(&folder.path().join("lab"), spec).await?;
    let card = Bmc::new(lab.bmc("card1")?, lab.credentials())?;
    let boot = async || -> Result<(Value, Value)> {
        let mut system = card.get(&card.system).await?;
        let boot = &mut system["Boot"];
        Ok((
            boot["BootSourceOverrideTarget"].take(),
            boot["HttpBootUri"].take(),
        ))
    };
    assert_eq!(boot().await?, (json!("Hdd"), json!("")));
    let uri = format!("http://10.0.2.2:{port}/image.iso");
    let wanted = json!({"Boot": {
        "BootSourceOverrideTarget": "UefiHttp",
        "BootSourceOverrideEnabled": "Once",
        "HttpBootUri": uri,
    }});
    card.call(Method::PATCH, &card.system, Some(wanted)).await?;
    assert_eq!(boot().await?, (json!("UefiHttp"), json!(uri)));
    assert!(
        requests.try_recv().is_err(),
        "nobody fetches it before the boot"
    );
    card.reset("On").await?;

    let console = lab.machine("card1")?.console();
    let done = console
        .wait_for("LOCKSTEP-INSTALLER-DONE 1.2.3", BOOT)
        .await?;
    let fetched: Vec<String> = std::iter::from_fn(|| requests.try_recv().ok())
        .map(|request| format!("{} {} {}", request.method, request.path, request.agent))
        .collect();
    assert_eq!(
        fetched,
        [
            "HEAD /image.iso UefiHttpBoot/1.0",
            "GET /image.iso UefiHttpBoot/1.0"
        ],
    );
    console
        .wait_for_after(Some(done.instant), "LOCKSTEP-OS-UP 1.2.3", BOOT)
        .await?;
    let consumed = (json!("Hdd"), json!(uri));
    assert_eq!(boot().await?, consumed, "a boot consumes the override");
    let emptied = json!({"Boot": {"HttpBootUri": ""}});
    card.call(Method::PATCH, &card.system, Some(emptied))
        .await?;
    assert_eq!(boot().await?, (json!("Hdd"), json!("")));

    lab.down()?;
    Ok(())
}
