//! What a card's firmware boots is listed by its BMC, and changed there: in its own variables.

mod redfish;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_lab::{Lab, LabSpec, MachineSpec};
use redfish::Bmc;
use reqwest::Method;
use serde_json::{Value, json};

const BOOT: Duration = Duration::from_secs(180);
const SHELL: &str = "EFI Internal Shell";

/// The variable of this name, as another tool prints it.
fn variable(lab: &Lab, name: &str) -> Result<Option<String>> {
    let printed = lab.machine("card1")?.boot_variables()?;
    let mut lines = printed.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(one, _)| one.trim() == name);
    Ok(found.map(|(_, value)| value.trim().to_owned()))
}

/// Names of boot entries by their references.
async fn listed(card: &Bmc) -> Result<Vec<(String, String)>> {
    let collection = card.get(&format!("{}/BootOptions", card.system)).await?;
    let mut all = Vec::new();
    for member in collection["Members"].as_array().context("no members")? {
        let option = card
            .get(member["@odata.id"].as_str().context("no link")?)
            .await?;
        let text = |key: &str| option[key].as_str().unwrap_or_default().to_owned();
        all.push((text("BootOptionReference"), text("DisplayName")));
    }
    Ok(all)
}

#[tokio::test]
async fn boot_entries_are_the_firmwares_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut spec = LabSpec::new([MachineSpec::card("card1")]);
    spec.boot_options.insert("card1".to_owned());
    let lab = Lab::up(&folder.path().join("lab"), spec).await?;
    let card = Bmc::new(lab.bmc("card1")?, lab.credentials())?;
    let change = async |boot: Value| -> Result<u16> {
        let body = json!({"Boot": boot});
        let answer = card.send(Method::PATCH, &card.system, Some(body)).await?;
        Ok(answer.status().as_u16())
    };
    let boot = async || -> Result<Value> { Ok(card.get(&card.system).await?["Boot"].take()) };

    assert_eq!(listed(&card).await?, [], "firmware that never ran has none");
    assert_eq!(change(json!({"BootOrder": ["Boot0001"]})).await?, 400);
    let stranger = reqwest::Client::builder().no_proxy().build()?;
    let options = format!("{}{}/BootOptions", card.base, card.system);
    assert_eq!(stranger.get(&options).send().await?.status(), 401);

    card.reset("On").await?;
    let console = lab.machine("card1")?.console();
    // It has made its entries by then, and tries one that leads nowhere.
    console.wait_for("BdsDxe: failed to load", BOOT).await?;
    let all = listed(&card).await?;
    let shell = all.iter().find(|(_, name)| name == SHELL);
    let (shell, _) = shell.with_context(|| format!("{all:?}"))?;
    let before = boot().await?["BootOrder"].clone();
    let others = before.as_array().context("no order")?.iter();
    let others = others.filter(|one| one.as_str() != Some(shell)).cloned();
    let wanted: Value = std::iter::once(json!(shell)).chain(others).collect();
    assert_ne!(before, wanted);

    // The order of a VM that runs waits, and is shown; its next boot cannot be told.
    let kept = variable(&lab, "BootOrder")?;
    assert_eq!(change(json!({"BootOrder": wanted})).await?, 204);
    assert_eq!(boot().await?["BootOrder"], wanted);
    assert_eq!(variable(&lab, "BootOrder")?, kept);
    let next = json!({
        "BootSourceOverrideTarget": "UefiBootNext",
        "BootSourceOverrideEnabled": "Once",
        "BootNext": shell,
    });
    assert_eq!(change(next.clone()).await?, 409);

    card.reset("ForceOff").await?;
    lab.machine("card1")?.wait_for_power(false, BOOT).await?;
    assert_eq!(boot().await?["BootOrder"], wanted);
    let order = variable(&lab, "BootOrder")?.context("no order")?;
    let number = shell.trim_start_matches("Boot").to_lowercase();
    assert!(
        order.starts_with(&format!("boot order: {number},")),
        "{order}"
    );

    assert_eq!(change(next).await?, 204);
    let shown = boot().await?;
    assert_eq!(shown["BootSourceOverrideTarget"], "UefiBootNext");
    assert_eq!(shown["BootNext"], json!(shell));
    assert!(variable(&lab, "BootNext")?.is_some());
    let again = Instant::now();
    card.reset("On").await?;
    let started = format!("starting {shell} \"{SHELL}");
    console.wait_for_after(Some(again), &started, BOOT).await?;
    assert_eq!(variable(&lab, "BootNext")?, None, "a boot consumes it");
    let shown = boot().await?;
    assert_eq!(shown["BootSourceOverrideEnabled"], "Disabled");
    assert_eq!(shown["BootNext"], Value::Null);
    lab.down()?;
    Ok(())
}
