//! `wipe`: a card with an installed system, whose disk and TPM hold a text that somebody left
//! there, is wiped and retired.
//!
//! Witnesses outside our code, on the VM while it is off: the bytes of the file that stands for its
//! disk and what QEMU reads from it; the bytes of its TPM's state and what swtpm reads from it.
//! Both are looked at before, too: a text that was never there would be gone as well.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use lockstep_crds::wipe::WipeResult;
use lockstep_crds::{Dpu, Phase, names};
use lockstep_lab::front::Request;
use lockstep_lab::image::{Behaviour, HOST_UP};
use lockstep_lab::{Held, Machine, MachineSpec};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// An install, or a wipe with the host shut down before it, under TCG.
const LONG: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(120);
/// What somebody left there.
const TEXT: &str = "lockstep-wipe-what-the-tenant-left";
/// An NV index of the owner.
const INDEX: u32 = 0x0150_0001;

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let system = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let wiper = artefacts::installer(&context.binaries, "wiper-1.0", Behaviour::Wipes).await?;
    let systems = ImageServer::serve(system.path.clone()).await?;
    let wipers = ImageServer::serve(wiper.path.clone()).await?;
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices {
        disruption: "Allowed",
        safe_after: Some(60),
        host_timeout: 3600,
        ..Choices::default()
    };
    let card_bmc = world.bmc("card1")?;
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &system, &systems.url("v1.iso")),
        objects::wiper_image("wiper", &wiper, &wipers.url("wiper.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &card_bmc),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    story::await_card(&world.control_plane, "card1", "installed", LONG, |card| {
        story::reason(card) == "AsWanted"
    })
    .await?;
    host(&world)?.console().wait_for(HOST_UP, SOON).await?;

    card(&world)?.cut_power().await?;
    card(&world)?.wait_for_power(false, SOON).await?;
    on(card(&world)?, |held| {
        held.cover_disk(TEXT)?;
        held.keep_in_tpm(INDEX, TEXT)
    })
    .await?;
    let before = on(card(&world)?, Found::in_machine).await?;
    ensure!(
        before == Found::all_of_it(),
        "the text was not left there: {before:?}"
    );
    report.say("left there: a text all over the disk, and in an NV index of the TPM");

    let began = Instant::now();
    let wish = wiped_and_retired(&objects::card("card1", "host1", &card_bmc), &card_bmc.uuid);
    world.control_plane.kubectl().apply_text(&wish).await?;
    let retired = |card: &Dpu| phase(card) == Some(Phase::Retired);
    let shown = story::await_card(&world.control_plane, "card1", "Retired", LONG, retired).await?;
    report.figure(
        "seconds from the wish to Retired",
        began.elapsed().as_secs(),
    );
    told(&shown, &mut report)?;

    card(&world)?.wait_for_power(false, SOON).await?;
    let after = on(card(&world)?, Found::in_machine).await?;
    ensure!(after == Found::default(), "it is there still: {after:?}");
    let blank = on(card(&world)?, Held::is_disk_blank).await?;
    ensure!(blank, "the disk does not read as zeros");
    report.say("gone: from the disk's and the TPM's own files, and for QEMU and swtpm");

    withdrawn(&world).await?;
    disarmed(&world.machines.lab()?.bmc("card1")?.changes())?;
    let up = host(&world)?.console();
    up.wait_for_after(Some(began), HOST_UP, LONG).await?;
    report.say("the card is off and disarmed, its agent has no identity, its host is up again");

    story::delete(&world.control_plane, &["dpu/card1"], SOON).await?;
    ensure!(!card(&world)?.is_on(), "it was powered on with its end");
    world.check()?;
    world.stop().await?;
    Ok(report)
}

fn card(world: &World) -> Result<&Machine> {
    world.machines.lab()?.machine("card1")
}

fn host(world: &World) -> Result<&Machine> {
    world.machines.lab()?.machine("host1")
}

fn phase(card: &Dpu) -> Option<Phase> {
    card.status.as_ref()?.phase.clone()
}

/// Looks at, or changes, what a machine holds that is off.
async fn on<T: Send + 'static>(
    machine: &Machine,
    what: impl FnOnce(&Held) -> Result<T> + Send + 'static,
) -> Result<T> {
    let held = machine.held()?;
    let task = tokio::task::spawn_blocking(move || what(&held));
    task.await.context("the task that looks ended early")?
}

/// Where the text is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    on_disk: bool,
    in_tpm: bool,
    /// swtpm itself reads it.
    kept: Option<Vec<u8>>,
}

impl Found {
    fn in_machine(held: &Held) -> Result<Self> {
        Ok(Self {
            on_disk: held.is_on_disk(TEXT)?,
            in_tpm: held.is_in_tpm(TEXT)?,
            kept: held.kept_in_tpm(INDEX, u16::try_from(TEXT.len())?)?,
        })
    }

    fn all_of_it() -> Self {
        Self {
            on_disk: true,
            in_tpm: true,
            kept: Some(TEXT.as_bytes().to_vec()),
        }
    }
}

/// The card with a wish that is good for an hour.
fn wiped_and_retired(card: &str, uuid: &str) -> String {
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    let wish = format!(
        "  wipe: {{token: first, confirm: {uuid}, notAfter: \"{until}\", imageRef: {{name: wiper}}}}\n  retired: true\n---\n"
    );
    card.replace("---\n", &wish)
}

/// What a person reads: a result for each part.
fn told(card: &Dpu, report: &mut Report) -> Result<()> {
    let status = card.status.clone().unwrap_or_default();
    let wipe = status.wipe.context("the status tells of no wipe")?;
    ensure!(wipe.is_done() && wipe.token == "first", "{wipe:?}");
    for one in &wipe.items {
        let words = one.message.as_deref().unwrap_or_default();
        report.say(format!("{}: {}: {words}", one.item, one.result));
    }
    let results: Vec<(&str, &WipeResult)> = wipe
        .items
        .iter()
        .map(|one| (one.item.as_str(), &one.result))
        .collect();
    let (wiped, left) = (&WipeResult::Wiped, &WipeResult::NotSupported);
    let wanted = [
        ("Disk vda", wiped),
        ("Tpm", wiped),
        ("BootEntries", wiped),
        ("SecureBootKeys", left),
        ("Bmc", left),
    ];
    ensure!(results == wanted, "told of the parts: {results:?}");
    Ok(())
}

/// The identity of the card's agent is gone, and every token of it with it.
async fn withdrawn(world: &World) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let account = accounts.get_opt(&names::xpu("card1")).await?;
    ensure!(
        account.is_none(),
        "the card's ServiceAccount is there still"
    );
    Ok(())
}

/// The last medium was ejected, and the card was booted for its install and for its wipe alone.
fn disarmed(changes: &[Request]) -> Result<()> {
    let media =
        |one: &&Request| one.path.ends_with("InsertMedia") || one.path.ends_with("EjectMedia");
    let last = changes.iter().rfind(media).map(|one| one.path.as_str());
    ensure!(
        last.is_some_and(|path| path.ends_with("EjectMedia")),
        "the last medium was not ejected: {last:?}"
    );
    let ons = changes.iter().filter_map(Request::reset_type);
    let ons = ons.filter(|reset| reset == "On").count();
    ensure!(ons == 2, "{ons} power-ons of the card");
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn request(path: &str, body: &str) -> Request {
        Request {
            at: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            system: "x".to_owned(),
            method: Method::POST,
            path: path.to_owned(),
            body: body.to_owned(),
            authorized: true,
            forwarded: true,
            status: Some(204),
            delivered: true,
        }
    }

    #[test]
    fn two_boots_that_end_ejected_pass_and_anything_else_does_not() {
        let media = "/redfish/v1/Systems/x/VirtualMedia/Cd/Actions/VirtualMedia.";
        let insert = request(&format!("{media}InsertMedia"), "{}");
        let eject = request(&format!("{media}EjectMedia"), "{}");
        let reset = "/redfish/v1/Systems/x/Actions/ComputerSystem.Reset";
        let on = request(reset, r#"{"ResetType": "On"}"#);
        let round = [insert, on.clone(), eject];
        let rounds =
            |many: usize| -> Vec<Request> { (0..many).flat_map(|_| round.clone()).collect() };
        assert!(disarmed(&rounds(2)).is_ok());
        assert!(disarmed(&rounds(1)).is_err());
        assert!(disarmed(&[rounds(2), vec![on]].concat()).is_err());
        assert!(disarmed(&rounds(2)[..5]).is_err());
    }

    #[test]
    fn the_wish_is_one_that_the_planner_takes() {
        let card = "spec:\n  site: a\n  hostRefs: [{name: h}]\n---\n";
        let yaml = wiped_and_retired(card, "u");
        let yaml = yaml.trim_end_matches("---\n");
        let dpu: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
        let spec: lockstep_crds::DpuSpec = serde_yaml::from_value(dpu["spec"].clone()).unwrap();
        assert!(spec.retired);
        let wish = spec.wipe.unwrap();
        assert!(wish.not_after.0 > Timestamp::now() && wish.confirm == "u");
    }
}
