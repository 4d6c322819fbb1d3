//! `install-uefi-http`: the same signed image as first-light, by the other way: a policy that names
//! UEFI HTTP boot alone.
//!
//! Witnesses outside our code: the card's serial console, the BMCs' request logs, `kubectl wait`.
//! The card's firmware fetches the image itself, from where cards reach the store, and not its
//! BMC: the console shows what it boots. It does so over HTTPS, from a web server before the store
//! whose authority is enrolled in it; firmware that trusts another authority fetches nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::inventory::InstallMethod;
use lockstep_lab::front::Request;
use lockstep_lab::image::Behaviour;
use lockstep_lab::{LabSpec, MachineSpec};
use serde_json::{Value, json};

use crate::artefacts;
use crate::https_front::{self, Authority};
use crate::image_server::ImageServer;
use crate::nginx::Nginx;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// The whole story, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);

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
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
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
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices {
        methods: Some("[UefiHttp]"),
        ..Choices::default()
    };
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    let began = Instant::now();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    let ready = tokio::select! {
        ready = kubectl.wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY) => ready,
        ended = world.watch_over() => Err(ended),
    };
    world.check()?;
    ready?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    let lab = world.machines.lab()?;
    let consoles = [
        ("card1", "from Uri(https://10.0.2.2:"),
        ("card1", "LOCKSTEP-OS-UP 1.0"),
        ("host1", "HOST-OS-UP"),
    ];
    for (machine, line) in consoles {
        lab.machine(machine)?.console().wait_for(line, SOON).await?;
        report.say(format!("{machine} console: {line}"));
    }
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    requests(&lab.bmc("card1")?.changes(), &mut report)?;
    let uri = handed_out(&lab.bmc("card1")?.changes())?;
    recorded(&world).await?;
    ensure!(
        uri.starts_with("https://"),
        "the card was given no HTTPS URL"
    );
    nowhere_shown(&world, &uri, &mut report).await?;
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

/// `Boot` of a PATCH, if it is one.
fn boot(request: &Request) -> Option<Value> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    (request.method.as_str() == "PATCH").then(|| body["Boot"].clone())
}

fn sets_http_boot(boot: &Value) -> bool {
    boot["BootSourceOverrideTarget"] == "UefiHttp"
}

/// The URL that the card's BMC was given.
fn handed_out(changes: &[Request]) -> Result<String> {
    let mut given = changes.iter().filter_map(boot).filter(sets_http_boot);
    let given = given.next().context("no PATCH sets UefiHttp")?;
    let uri = given["HttpBootUri"].as_str();
    Ok(uri.context("UefiHttp without an HttpBootUri")?.to_owned())
}

/// One PATCH arms the card, one power-on follows, one PATCH takes the override back.
fn requests(changes: &[Request], report: &mut Report) -> Result<()> {
    let boots: Vec<Value> = changes.iter().filter_map(boot).collect();
    let (armed, undone): (Vec<&Value>, Vec<&Value>) =
        boots.iter().partition(|boot| sets_http_boot(boot));
    ensure!(armed.len() == 1, "{} PATCHes set UefiHttp", armed.len());
    ensure!(
        armed[0]["BootSourceOverrideEnabled"] == "Once"
            && armed[0].get("BootSourceOverrideMode").is_none(),
        "not once, or with a mode: {}",
        armed[0]["BootSourceOverrideEnabled"]
    );
    ensure!(undone.len() == 1, "{} PATCHes undo it", undone.len());
    let position = |wanted: &dyn Fn(&Request) -> bool| changes.iter().position(wanted);
    let set = position(&|request| boot(request).is_some_and(|boot| sets_http_boot(&boot)));
    let on = position(&|request| request.path.contains("ComputerSystem.Reset"));
    let back = position(&|request| boot(request).is_some_and(|boot| !sets_http_boot(&boot)));
    ensure!(
        set < on && on < back && set.is_some(),
        "not armed, powered on and disarmed in this order: {set:?} {on:?} {back:?}"
    );
    let count = |what: &str| changes.iter().filter(|one| one.path.contains(what)).count();
    ensure!(count("ComputerSystem.Reset") == 1, "more than one reset");
    ensure!(
        count("VirtualMedia.InsertMedia") == 0,
        "a medium was inserted, which the policy does not allow"
    );
    report.figure("changing requests at the card's BMC", changes.len());
    report.say("the card's BMC was armed by one PATCH and disarmed by one");
    ensure!(
        changes.len() == 3,
        "the card's BMC was asked for something else too"
    );
    Ok(())
}

/// The record tells the way, and nothing is armed any more.
async fn recorded(world: &World) -> Result<()> {
    story::await_host(
        &world.control_plane,
        "host1",
        "installed by UefiHttp, with nothing armed",
        SOON,
        |host| {
            let cards = host.status.iter().flat_map(|status| &status.cards);
            let mut cards = cards.filter(|card| card.armed.is_empty());
            cards.any(|card| card.method == Some(InstallMethod::UefiHttp))
        },
    )
    .await?;
    Ok(())
}

/// The URL is a capability: no object and no log of ours shows it.
async fn nowhere_shown(world: &World, uri: &str, report: &mut Report) -> Result<()> {
    let secret = uri
        .split('/')
        .max_by_key(|part| part.len())
        .filter(|part| part.len() >= 32)
        .context("the URL holds no capability")?;
    let kinds = "dpus,dpuhosts,dpuimages,dpubootpolicies,dpureports,dpuinventories,events";
    let kubectl = world.control_plane.kubectl();
    let objects = kubectl
        .run(&["get", kinds, "-n", NAMESPACE, "-o", "json"])
        .await?;
    ensure!(!objects.contains(secret), "an object shows the URL");
    let logs = logs(&world.folder().join("logs"))?;
    for log in &logs {
        let text = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        ensure!(!text.contains(secret), "{} shows the URL", log.display());
    }
    ensure!(!logs.is_empty(), "there are no logs to look at");
    report.say(format!(
        "no object of the site and none of {} logs shows the URL",
        logs.len()
    ));
    Ok(())
}

/// The logs of operator and agent.
fn logs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths.collect::<Result<Vec<PathBuf>>>()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;

    use super::*;

    fn request(method: Method, path: &str, body: &Value) -> Request {
        Request {
            at: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            system: "x".to_owned(),
            method,
            path: path.to_owned(),
            body: body.to_string(),
            authorized: true,
            forwarded: true,
            status: Some(204),
            delivered: true,
        }
    }

    #[test]
    fn one_patch_on_and_one_back_pass_and_anything_else_does_not() {
        let system = "/redfish/v1/Systems/x";
        let arm = request(
            Method::PATCH,
            system,
            &json!({"Boot": {
                "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once",
                "HttpBootUri": "http://127.0.0.1:1/i/0123/image.iso",
            }}),
        );
        let reset = format!("{system}/Actions/ComputerSystem.Reset");
        let on = request(Method::POST, &reset, &json!({"ResetType": "On"}));
        let back = request(
            Method::PATCH,
            system,
            &json!({"Boot": {
                "BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous",
            }}),
        );
        let medium = format!("{system}/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia");
        let insert = request(Method::POST, &medium, &json!({}));
        let good = vec![arm.clone(), on.clone(), back.clone()];
        let judge = |changes: &[Request]| requests(changes, &mut Report::default()).is_ok();
        assert!(judge(&good));
        let uri = handed_out(&good).unwrap_or_default();
        assert_eq!(uri, "http://127.0.0.1:1/i/0123/image.iso");
        for bad in [
            vec![arm.clone(), arm.clone(), on.clone(), back.clone()],
            vec![arm.clone(), on.clone()],
            vec![on.clone(), arm.clone(), back.clone()],
            vec![arm, on, back, insert],
        ] {
            assert!(!judge(&bad), "{}", bad.len());
        }
    }
}
