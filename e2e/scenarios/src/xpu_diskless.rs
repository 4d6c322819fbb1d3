//! `xpu-diskless`: a card that runs a stateless image boots three times over the network: powered
//! on by Lockstep, reset by itself, and powered off and on by somebody, with the site's agent and
//! its store restarted in between. Then nobody wants it any more.
//!
//! Witnesses outside our code: the card's serial console, the BMC's request log, the boot epochs
//! that the card's own kernel makes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::Dpu;
use lockstep_crds::host::ArmedEffect;
use lockstep_lab::front::Request;
use lockstep_lab::image::{Behaviour, INSTALLER_START, OS_UP};
use lockstep_lab::{LabSpec, Machine, MachineSpec};
use serde_json::Value;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// One boot of the card with all around it, on a slow machine.
const STORY: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);
/// The firmware turns to what it fetched from where cards reach the store.
const FROM_NETWORK: &str = "from Uri(http://10.0.2.2:";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::IsTheSystem).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let mut lab = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
    lab.http_boot.insert("card1".to_owned());
    let mut world = World::start_lab(&context.folder, Kind::Vms, lab, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices {
        methods: Some("[UefiHttp]"),
        ..Choices::default()
    };
    let yaml = [
        objects::policy("v1", &choices),
        objects::stateless_image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    let digest = format!("sha256:{}", image.sha256);

    let mut boots = Boots::default();
    boots
        .next(
            &mut world,
            None,
            &digest,
            "powered on by Lockstep",
            &mut report,
        )
        .await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    stays_armed(&world).await?;
    let uri = handed_out(&world.machines.lab()?.bmc("card1")?.changes())?;

    let began = Instant::now();
    card(&world)?.reset().await?;
    boots
        .next(
            &mut world,
            Some(began),
            &digest,
            "reset by itself",
            &mut report,
        )
        .await?;

    world.kill_agent().await?;
    world.start_agent().await?;
    eventually(
        SOON,
        "the store serves the card's URL again",
        async || match status(&uri).await {
            Ok(200) => Look::Holds(()),
            Ok(status) => Look::not_yet(format!("HTTP {status}")),
            Err(error) => Look::not_yet(error),
        },
    )
    .await?;
    let began = Instant::now();
    card(&world)?.cut_power().await?;
    card(&world)?.wait_for_power(false, SOON).await?;
    card(&world)?.press_power_button().await?;
    let how = "powered off and on by somebody, after the store was killed and started";
    boots
        .next(&mut world, Some(began), &digest, how, &mut report)
        .await?;

    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    stays_armed(&world).await?;
    let installers = card(&world)?.console().matching(INSTALLER_START);
    ensure!(
        installers.is_empty(),
        "an installer ran on a stateless card"
    );
    let changes = world.machines.lab()?.bmc("card1")?.changes();
    let asked = changes.len();
    ensure!(
        asked == 2,
        "the card's BMC was asked for {asked} changes, not for one boot setting and one power-on"
    );
    report.say("three boots took one boot setting and one power-on at the card's BMC");
    taken_back(&world, &uri, &mut report).await?;
    world.check()?;
    world.stop().await?;
    Ok(report)
}

fn card(world: &World) -> Result<&Machine> {
    world.machines.lab()?.machine("card1")
}

/// The boots so far, by the epochs of the card's own kernel.
#[derive(Default)]
struct Boots {
    epochs: Vec<String>,
}

impl Boots {
    /// The next boot comes from the network, and is told by the card itself.
    async fn next(
        &mut self,
        world: &mut World,
        after: Option<Instant>,
        digest: &str,
        how: &str,
        report: &mut Report,
    ) -> Result<()> {
        let console = card(world)?.console();
        let fetched = console.wait_for_after(after, FROM_NETWORK, STORY).await?;
        let up = format!("{OS_UP} 1.0");
        console
            .wait_for_after(Some(fetched.instant), &up, STORY)
            .await?;
        let is_new = |card: &Dpu| {
            let epoch = epoch(card);
            epoch.is_some_and(|epoch| !self.epochs.contains(&epoch))
                && story::reason(card) == "AsWanted"
                && runs(card) == Some(digest)
        };
        let what = "Ready in another boot";
        let ready = story::await_card(&world.control_plane, "card1", what, STORY, is_new).await;
        world.check()?;
        let epoch = epoch(&ready?).context("no boot epoch")?;
        self.epochs.push(epoch);
        report.say(format!(
            "boot {}: {how}; {}",
            self.epochs.len(),
            fetched.text
        ));
        Ok(())
    }
}

fn epoch(card: &Dpu) -> Option<String> {
    let epoch = card.status.as_ref()?.boot_epoch.as_ref()?;
    Some(epoch.value.clone())
}

fn runs(card: &Dpu) -> Option<&str> {
    let image = card.status.as_ref()?.image.as_ref()?;
    Some(&image.digest)
}

/// What the card boots from is set for good, and the record says so.
async fn stays_armed(world: &World) -> Result<()> {
    let lasting = [ArmedEffect::BootOverride, ArmedEffect::HttpBootUri];
    story::await_host(
        &world.control_plane,
        "host1",
        "the card's boot source stays",
        SOON,
        |host| {
            let cards = host.status.iter().flat_map(|status| &status.cards);
            let mut cards = cards.filter(|card| card.armed == lasting);
            cards.next().is_some()
        },
    )
    .await?;
    Ok(())
}

/// `Boot` of a PATCH, if it is one.
fn boot(request: &Request) -> Option<Value> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    (request.method.as_str() == "PATCH").then(|| body["Boot"].clone())
}

/// The URL that the card's BMC was given for every boot.
fn handed_out(changes: &[Request]) -> Result<String> {
    let boots: Vec<Value> = changes.iter().filter_map(boot).collect();
    let [given] = boots.as_slice() else {
        anyhow::bail!("{} boot settings were changed, not one", boots.len());
    };
    ensure!(
        given["BootSourceOverrideTarget"] == "UefiHttp"
            && given["BootSourceOverrideEnabled"] == "Continuous",
        "not set for every boot: {} {}",
        given["BootSourceOverrideTarget"],
        given["BootSourceOverrideEnabled"]
    );
    let uri = given["HttpBootUri"].as_str();
    Ok(uri.context("UefiHttp without an HttpBootUri")?.to_owned())
}

/// What the store says of the card's URL. What cards reach at the gateway of their network is this
/// machine's loopback.
async fn status(uri: &str) -> Result<u16> {
    let here = uri.replace("//10.0.2.2:", "//127.0.0.1:");
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.head(&here).send().await;
    let answer = answer.map_err(reqwest::Error::without_url)?;
    Ok(answer.status().as_u16())
}

/// A card that is deleted boots from its disk again, and its URL leads nowhere.
async fn taken_back(world: &World, uri: &str, report: &mut Report) -> Result<()> {
    story::delete(&world.control_plane, &["dpu/card1"], SOON).await?;
    let changes = world.machines.lab()?.bmc("card1")?.changes();
    let last: Vec<Value> = changes.iter().skip(2).filter_map(boot).collect();
    let disarmed = last.iter().any(|boot| {
        let target = boot["BootSourceOverrideTarget"].as_str();
        target == Some("Hdd") || boot["BootSourceOverrideEnabled"] == "Disabled"
    });
    let emptied = last.iter().any(|boot| {
        let uri = boot.get("HttpBootUri");
        uri.is_some_and(|uri| uri.is_null() || uri == "")
    });
    ensure!(disarmed && emptied, "not taken back with its object");
    let gone = status(uri).await?;
    ensure!(gone == 404, "the URL still leads to the image: HTTP {gone}");
    ensure!(
        card(world)?.is_on(),
        "a card that is deleted was powered off"
    );
    report.say("deleted: override and URL taken back, the capability ended, the card left running");
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn request(body: &Value) -> Request {
        Request {
            at: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            system: "x".to_owned(),
            method: Method::PATCH,
            path: "/redfish/v1/Systems/x".to_owned(),
            body: body.to_string(),
            authorized: true,
            forwarded: true,
            status: Some(204),
            delivered: true,
        }
    }

    #[test]
    fn one_lasting_setting_passes_and_anything_else_does_not() {
        let setting = |enabled: &str| {
            request(&json!({"Boot": {
                "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": enabled,
                "HttpBootUri": "http://127.0.0.1:1/i/0123/image.iso",
            }}))
        };
        let lasting = setting("Continuous");
        let uri = handed_out(std::slice::from_ref(&lasting)).unwrap_or_default();
        assert_eq!(uri, "http://127.0.0.1:1/i/0123/image.iso");
        for bad in [
            vec![],
            vec![setting("Once")],
            vec![lasting.clone(), lasting],
        ] {
            assert!(handed_out(&bad).is_err(), "{}", bad.len());
        }
    }
}
