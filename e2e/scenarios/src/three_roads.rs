//! One signed image and the three roads that may take it to a card: what `install-virtual-media`,
//! `install-uefi-http` and `install-pxe` have in common.
//!
//! All three are open in each of them, as the card's BMC, its object and the site's agent tell; the
//! order of the policy's `install.methods` alone says which is taken. What is signed, by openssl, is
//! the same file for all: an ISO that is an EFI program too.

mod after;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::condition::{self, VERIFIED};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, OsReport};
use lockstep_crds::{DpuImage, DpuReport, names};
use lockstep_lab::front::Request;
use lockstep_lab::image::{Behaviour, HOST_UP, Image, OS_UP};
use lockstep_process::Daemon;
use serde_json::{Value, json};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::image_trust::Signer;
use crate::journey;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::World;

const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);
/// Name of the `DpuImage`.
const NAME: &str = "signed-1";
const CARD: &str = "card1";
const HOST: &str = "host1";

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// The card's BMC inserts the image.
    VirtualMedia,
    /// The card's firmware fetches it over HTTPS.
    UefiHttp,
    /// The card's firmware fetches it by TFTP.
    Pxe,
}

impl Road {
    /// `install.methods`: this one first, and both others after it.
    pub(crate) const fn methods(self) -> &'static str {
        match self {
            Self::VirtualMedia => "[VirtualMedia, UefiHttp, Pxe]",
            Self::UefiHttp => "[UefiHttp, Pxe, VirtualMedia]",
            Self::Pxe => "[Pxe, VirtualMedia, UefiHttp]",
        }
    }

    fn method(self) -> InstallMethod {
        match self {
            Self::VirtualMedia => InstallMethod::VirtualMedia,
            Self::UefiHttp => InstallMethod::UefiHttp,
            Self::Pxe => InstallMethod::Pxe,
        }
    }

    /// All that is changed at the card's BMC, in this order.
    const fn effects(self) -> &'static [&'static str] {
        match self {
            Self::VirtualMedia => &journey::AT_THE_CARD,
            // The boot has used the override up, and left the URL.
            Self::UefiHttp => &["PATCH UefiHttp", "Reset On", "PATCH no HttpBootUri"],
            Self::Pxe => &["PATCH Pxe", "Reset On", "PATCH Hdd"],
        }
    }
}

/// An install by one of them.
pub(crate) struct Install<'a> {
    /// By which.
    pub(crate) road: Road,
    /// What the objects say else.
    pub(crate) choices: Choices,
    /// The whole story, on a slow machine.
    pub(crate) within: Duration,
    /// What the card's console shows of the road, in this order, before its system is up.
    pub(crate) shows: &'a [&'a str],
}

/// The image, its signature, and who serves both.
pub(crate) struct Signed {
    image: Image,
    rules: Value,
    server: ImageServer,
    signature: ImageServer,
}

impl Signed {
    /// Builds the image, and signs it with a key of this run.
    pub(crate) async fn make(context: &Context) -> Result<Self> {
        let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
        let signer = Signer::of(&context.folder.join("signing"), "releases").await?;
        let said = json!({"version": image.version, "securityVersion": 1});
        let envelope = signer.sign(&image.sha256, &said).await?;
        Ok(Self {
            rules: json!({"require": "Signed", "signers": [signer.in_policy()?]}),
            server: ImageServer::serve(image.path.clone()).await?,
            signature: ImageServer::serve(envelope).await?,
            image,
        })
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.image.sha256)
    }

    /// What a user applies for one card, whose firmware may boot from that address: a policy that
    /// takes this road first, and signed images alone.
    fn objects(&self, world: &World, road: Road, choices: &Choices) -> Result<String> {
        let choices = Choices {
            methods: Some(road.methods()),
            ..choices.clone()
        };
        let url = self.server.url("image.iso");
        let signature = self.signature.url("image.iso.dsse");
        let mac = match world.machines.lab()?.boot_network() {
            Ok(network) => network.mac().to_owned(),
            Err(_none) => world.machines.lab()?.machine(CARD)?.spec().mac.clone(),
        };
        Ok([
            objects::requiring(&objects::policy(NAME, &choices), &self.rules),
            objects::signed_image(NAME, &self.image, &url, &signature),
            objects::host(HOST, &world.bmc(HOST)?, &choices),
            objects::booting_card(CARD, HOST, &world.bmc(CARD)?, &mac),
        ]
        .concat())
    }

    /// Has the card installed: applies the objects, awaits what is done `beside` that, and Ready, which
    /// must find the `service` running, if the road needs one. Both consoles tell of it, and then nothing is
    /// written any more.
    pub(crate) async fn install<T>(
        &self,
        world: &mut World,
        install: &Install<'_>,
        beside: impl Future<Output = Result<T>>,
        service: Option<&mut Daemon>,
        report: &mut Report,
    ) -> Result<T> {
        let yaml = self.objects(world, install.road, &install.choices)?;
        let began = Instant::now();
        let kubectl = world.control_plane.kubectl();
        kubectl.apply_text(&yaml).await?;
        let found = tokio::select! {
            found = beside => found,
            ended = world.watch_over() => Err(ended),
        }?;
        let card = format!("dpu/{CARD}");
        let ready = tokio::select! {
            ready = kubectl.wait(NAMESPACE, &card, "condition=Ready", install.within) => ready,
            ended = world.watch_over() => Err(ended),
        };
        if let Some(service) = service {
            service.check()?;
        }
        world.check()?;
        ready?;
        report.figure("seconds from apply to Ready", began.elapsed().as_secs());
        let lab = world.machines.lab()?;
        let on_card = install.shows.iter().map(|line| (CARD, (*line).to_owned()));
        let up = [(CARD, format!("{OS_UP} 1.0")), (HOST, HOST_UP.to_owned())];
        for (machine, line) in on_card.chain(up) {
            let console = lab.machine(machine)?.console();
            console.wait_for(&line, SOON).await?;
            report.say(format!("{machine} console: {line}"));
        }
        story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
        Ok(found)
    }

    /// The signature was verified, all three roads were open, this one was taken, and what the
    /// card's own agent reports is what was signed.
    pub(crate) async fn went_by(
        &self,
        world: &World,
        road: Road,
        report: &mut Report,
    ) -> Result<()> {
        self.is_verified(world).await?;
        all_are_open(&bmc_report(world).await?)?;
        report.say(format!(
            "all three roads were open; install.methods was {}",
            road.methods()
        ));
        changed(&world.machines.bmc(CARD)?.changes(), road)?;
        self.is_recorded(world, road).await?;
        let os = self.reported(world).await?;
        report.say(format!(
            "the card's report: {} {}",
            os.image_version.unwrap_or_default(),
            os.image_digest.unwrap_or_default()
        ));
        Ok(())
    }

    async fn is_verified(&self, world: &World) -> Result<()> {
        let images: Api<DpuImage> = Api::namespaced(world.control_plane.client(), NAMESPACE);
        let image = images.get(NAME).await?;
        let conditions = image.status.map(|status| status.conditions);
        let verified = condition::find(conditions.as_deref().unwrap_or_default(), VERIFIED);
        ensure!(
            verified.is_some_and(|one| one.status == "True" && one.reason == "Signed"),
            "the image is not shown as signed: {verified:?}"
        );
        Ok(())
    }

    /// The record tells the road, that no other was tried, and that nothing is armed any more.
    async fn is_recorded(&self, world: &World, road: Road) -> Result<()> {
        let digest = self.digest();
        let what = format!("installed by {road:?}, with nothing armed");
        story::await_host(&world.control_plane, HOST, &what, SOON, |host| {
            let mut cards = host.status.iter().flat_map(|status| &status.cards);
            cards.any(|card| {
                card.armed.is_empty()
                    && card.failed_methods.is_empty()
                    && card.method == Some(road.method())
                    && card.image.as_ref().map(|image| &image.digest) == Some(&digest)
            })
        })
        .await?;
        Ok(())
    }

    /// What the card's own agent reports.
    async fn reported(&self, world: &World) -> Result<OsReport> {
        let digest = self.digest();
        let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
        let name = names::xpu(CARD);
        let what = "the card's own report of what was signed";
        let found = eventually(SOON, what, async || match reports.get_opt(&name).await {
            Ok(Some(report)) => match report.spec.os {
                Some(os) if os.image_digest.as_ref() == Some(&digest) => Look::Holds(os),
                Some(os) => Look::not_yet(format!("it reports {:?}", os.image_digest)),
                None => Look::not_yet("it reports no system"),
            },
            Ok(None) => Look::not_yet("there is no report"),
            Err(error) => Look::not_yet(error),
        })
        .await?;
        Ok(found)
    }
}

/// Lets the site's agent, which does not run yet, keep a folder for PXE.
pub(crate) fn supply_pxe(world: &World) -> Result<PathBuf> {
    let folder = world.folder().join("pxe");
    let config = world.agent_config();
    let mut text =
        fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    text.push_str(&format!("pxe: {{dir: {}}}\n", folder.display()));
    fs::write(config, text).with_context(|| format!("cannot write {}", config.display()))?;
    Ok(folder)
}

async fn bmc_report(world: &World) -> Result<BmcReport> {
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let report = reports.get(&names::card_bmc(CARD)).await?;
    report.spec.bmc.context("the card's BMC is not reported")
}

/// By what the site's agent reports of the card's BMC and of its own PXE service.
fn all_are_open(bmc: &BmcReport) -> Result<()> {
    let offers = &bmc.capabilities;
    ensure!(
        offers.virtual_media == Offer::Offered,
        "virtual media: {:?}",
        offers.virtual_media
    );
    ensure!(
        offers.uefi_http == Some(Offer::Offered),
        "UEFI HTTP boot: {:?}",
        offers.uefi_http
    );
    let is_supplied = bmc.pxe.as_ref().is_some_and(|pxe| pxe.supplied);
    ensure!(
        is_supplied && offers.boot_targets.iter().any(|target| target == "Pxe"),
        "PXE: supplied {is_supplied}, boot targets {:?}",
        offers.boot_targets
    );
    Ok(())
}

/// One install by this road was done at the card's BMC, armed once, and nothing else.
fn changed(changes: &[Request], road: Road) -> Result<()> {
    let done: Vec<String> = changes.iter().map(effect).collect();
    ensure!(
        done == road.effects(),
        "the card's BMC was asked for {done:?}, not for {:?}",
        road.effects()
    );
    let armed = changes.iter().find_map(boot_setting);
    let armed = armed.context("no PATCH arms the card")?;
    ensure!(
        armed["BootSourceOverrideEnabled"] == "Once"
            && armed.get("BootSourceOverrideMode").is_none(),
        "it was armed otherwise than once, or with a mode: {armed}"
    );
    Ok(())
}

/// A changing request in a few words.
fn effect(request: &Request) -> String {
    match boot_setting(request) {
        Some(boot) if boot == json!({"HttpBootUri": null}) => "PATCH no HttpBootUri".to_owned(),
        Some(_) | None => journey::effect(request),
    }
}

/// `Boot` of a PATCH, if it is one.
pub(crate) fn boot_setting(request: &Request) -> Option<Value> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    (request.method.as_str() == "PATCH").then(|| body["Boot"].clone())
}

/// The URL or the name of a file that an image was offered under is a capability: no object and
/// none of these logs shows it.
pub(crate) async fn nowhere_shown(
    world: &World,
    capability: &str,
    logs: &[PathBuf],
    report: &mut Report,
) -> Result<()> {
    let kinds = "dpus,dpuhosts,dpuimages,dpubootpolicies,dpureports,dpuinventories,events";
    let kubectl = world.control_plane.kubectl();
    let objects = kubectl
        .run(&["get", kinds, "-n", NAMESPACE, "-o", "json"])
        .await?;
    ensure!(!objects.contains(capability), "an object shows it");
    ensure!(!logs.is_empty(), "there are no logs to look at");
    for log in logs {
        let text = read(log)?;
        ensure!(!text.contains(capability), "{} shows it", log.display());
    }
    report.say(format!(
        "no object of the site and none of {} logs shows under what the image was offered",
        logs.len()
    ));
    Ok(())
}

fn read(log: &Path) -> Result<String> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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

    fn set(target: &str, enabled: &str) -> Request {
        let boot = json!({
            "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled,
        });
        request(
            Method::PATCH,
            "/redfish/v1/Systems/x",
            &json!({"Boot": boot}),
        )
    }

    fn action(name: &str, body: &Value) -> Request {
        let path = format!("/redfish/v1/Systems/x/Actions/{name}");
        request(Method::POST, &path, body)
    }

    #[test]
    fn one_install_by_the_wanted_road_passes_and_anything_else_does_not() {
        let on = action("ComputerSystem.Reset", &json!({"ResetType": "On"}));
        let insert = action("VirtualMedia.InsertMedia", &json!({}));
        let eject = action("VirtualMedia.EjectMedia", &json!({}));
        let back = set("Hdd", "Continuous");
        let by_medium = [
            insert.clone(),
            set("Cd", "Once"),
            on.clone(),
            back.clone(),
            eject,
        ];
        assert!(changed(&by_medium, Road::VirtualMedia).is_ok());
        assert!(changed(&by_medium, Road::UefiHttp).is_err());
        assert!(changed(&by_medium[..4], Road::VirtualMedia).is_err());
        let no_url = request(
            Method::PATCH,
            "/redfish/v1/Systems/x",
            &json!({"Boot": {"HttpBootUri": null}}),
        );
        for (road, other, target, back) in [
            (Road::UefiHttp, Road::Pxe, "UefiHttp", no_url),
            (Road::Pxe, Road::UefiHttp, "Pxe", back),
        ] {
            let arm = set(target, "Once");
            let good = [arm.clone(), on.clone(), back.clone()];
            assert!(changed(&good, road).is_ok());
            assert!(changed(&good, other).is_err());
            for bad in [
                vec![arm.clone(), arm.clone(), on.clone(), back.clone()],
                vec![arm.clone(), on.clone()],
                vec![on.clone(), arm.clone(), back.clone()],
                vec![set(target, "Continuous"), on.clone(), back.clone()],
                vec![arm, on.clone(), back.clone(), insert.clone()],
            ] {
                assert!(changed(&bad, road).is_err(), "{road:?}: {}", bad.len());
            }
        }
    }

    #[test]
    fn each_policy_lists_all_three_and_its_own_first() {
        for road in [Road::VirtualMedia, Road::UefiHttp, Road::Pxe] {
            let listed = road.methods().trim_matches(['[', ']']);
            let listed: Vec<&str> = listed.split(", ").collect();
            assert_eq!(listed[0], road.method().as_str());
            for one in [Road::VirtualMedia, Road::UefiHttp, Road::Pxe] {
                assert!(listed.contains(&one.method().as_str()));
            }
        }
    }
}
