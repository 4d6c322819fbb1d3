//! `install-uefi-http`: the signed image of `install-virtual-media` and `install-pxe` by another road:
//! a policy that takes all three, and UEFI HTTP boot first.
//!
//! Witnesses outside our code: the card's serial console, the BMCs' request logs, `kubectl wait`,
//! signatures made by openssl.
//! The card's firmware fetches the image itself, from where cards reach the store, and not its
//! BMC: the console shows what it boots. It does so over HTTPS, from a web server before the store
//! whose authority is enrolled in it; firmware that trusts another authority fetches nothing.

use std::fs;
use std::future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::front::Request;
use lockstep_lab::{LabSpec, MachineSpec};
use serde_json::json;

use crate::https_front::{self, Authority};
use crate::nginx::Nginx;
use crate::objects::Choices;
use crate::registry::Context;
use crate::report::Report;
use crate::three_roads::{self, Install, Road, Signed};
use crate::world::{Kind, World};

/// The whole story, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(120);

/// Where VMs reach this machine's loopback.
const GATEWAY: &str = "10.0.2.2";
/// A VM that no object is about.
const STRANGER: &str = "stranger";
/// In the words of nginx, which hears of no reason: EDK II of 2022 sends no alert.
const HUNG_UP: &str = "peer closed connection in SSL handshake";
/// In the words of EDK II.
const NOTHING_GOT: &str = "Could not retrieve NBP file size from HTTP server";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let signed = Signed::make(&context).await?;
    let mut lab = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
    lab.machines.push(MachineSpec::card(STRANGER));
    let authority = Authority::new("the site's CA")?;
    let another = Authority::new("somebody else's CA")?;
    for (machine, trusted) in [("card1", &authority), (STRANGER, &another)] {
        lab.http_boot.insert(machine.to_owned());
        lab.authorities.insert(machine.to_owned(), trusted.der());
    }
    let mut world = World::start_lab(&context.folder, Kind::Vms, lab, &context.binaries).await?;
    let front = front(&world, &authority).await?;
    three_roads::supply_pxe(&world)?;
    world.start_operator().await?;
    world.start_agent().await?;
    let install = Install {
        road: Road::UefiHttp,
        choices: Choices::default(),
        within: STORY,
        shows: &["from Uri(https://10.0.2.2:"],
    };
    let nothing = future::ready(Ok(()));
    signed
        .install(&mut world, &install, nothing, None, &mut report)
        .await?;
    let lab = world.machines.lab()?;
    let uri = handed_out(&lab.bmc("card1")?.changes())?;
    signed.went_by(&world, Road::UefiHttp, &mut report).await?;
    ensure!(
        uri.starts_with("https://"),
        "the card was given no HTTPS URL"
    );
    let logs = logs(&world.folder().join("logs"))?;
    three_roads::nowhere_shown(&world, capability(&uri)?, &logs, &mut report).await?;
    untrusted(&world, &uri, &front, &mut report).await?;
    front.stop().await?;
    world.stop().await?;
    Ok(report)
}

/// Cards reach the store through it from now on.
async fn front(world: &World, authority: &Authority) -> Result<Nginx> {
    let front = https_front::before(&world.store_url(), GATEWAY, authority, world.folder()).await?;
    let config = world.agent_config();
    let text =
        fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let port = world.store_url().rsplit(':').next().map(str::to_owned);
    let plain = format!("http://{GATEWAY}:{}", port.unwrap_or_default());
    ensure!(
        text.contains(&plain),
        "cards do not reach the store at {plain}"
    );
    let secure = format!("https://{GATEWAY}:{}", front.port());
    fs::write(config, text.replace(&plain, &secure))
        .with_context(|| format!("cannot write {}", config.display()))?;
    Ok(front)
}

/// Firmware that trusts somebody else ends the handshake, by what the web server tells.
async fn untrusted(world: &World, uri: &str, front: &Nginx, report: &mut Report) -> Result<()> {
    let lab = world.machines.lab()?;
    let uuid = &lab.machine(STRANGER)?.spec().uuid;
    let system = format!("{}/redfish/v1/Systems/{uuid}", lab.bmc_url(STRANGER)?);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let account = lab.credentials();
    let wanted = json!({"Boot": {
        "BootSourceOverrideTarget": "UefiHttp",
        "BootSourceOverrideEnabled": "Once",
        "HttpBootUri": uri,
    }});
    for request in [
        http.patch(&system).json(&wanted),
        http.post(format!("{system}/Actions/ComputerSystem.Reset"))
            .json(&json!({"ResetType": "On"})),
    ] {
        let request = request.basic_auth(&account.username, Some(&account.password));
        request.send().await?.error_for_status()?;
    }
    let log = front.errors();
    eventually(
        SOON,
        "a handshake that firmware refused",
        async || match fs::read_to_string(log) {
            Ok(text) if text.contains(HUNG_UP) => Look::Holds(()),
            Ok(text) => Look::not_yet(text.lines().last().unwrap_or("nothing is logged")),
            Err(error) => Look::not_yet(error),
        },
    )
    .await?;
    let console = lab.machine(STRANGER)?.console();
    console.wait_for(NOTHING_GOT, SOON).await?;
    report.say(format!(
        "firmware that trusts another authority ended the handshake: {NOTHING_GOT}"
    ));
    Ok(())
}

/// The URL that the card's BMC was given.
fn handed_out(changes: &[Request]) -> Result<String> {
    let mut given = changes.iter().filter_map(three_roads::boot_setting);
    let given = given.find(|boot| boot["BootSourceOverrideTarget"] == "UefiHttp");
    let given = given.context("no PATCH sets UefiHttp")?;
    let uri = given["HttpBootUri"].as_str();
    Ok(uri.context("UefiHttp without an HttpBootUri")?.to_owned())
}

/// What nobody else may know of it.
fn capability(uri: &str) -> Result<&str> {
    uri.split('/')
        .max_by_key(|part| part.len())
        .filter(|part| part.len() >= 32)
        .context("the URL holds no capability")
}

/// The logs of operator and agent.
fn logs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths.collect::<Result<Vec<PathBuf>>>()
}
