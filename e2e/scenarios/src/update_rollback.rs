//! `update-rollback`: v1 → v2 → v3, whose system never reports → v2 again, with nobody's help. Then
//! the card loses its disk, v2 is withdrawn, v4 hangs: the golden image.
//!
//! Witnesses outside our code: the card's and the host's serial consoles, the BMCs' request logs.
//! After each way back nothing is tried again; the image that runs need only be named to be what is
//! wanted, without a change at either BMC.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::condition::{self, STALLED};
use lockstep_crds::{Dpu, Phase};
use lockstep_lab::MachineSpec;
use lockstep_lab::front::Request;
use lockstep_lab::image::{Behaviour, HOST_UP, INSTALLER_HANGS, Image, OS_MUTE, OS_UP};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// A minute of the host's stage not being known, its power cut, an install under TCG.
const INSTALL: Duration = Duration::from_secs(900);
/// `install.osTimeoutSeconds` of images that come up: nothing waits for its end.
const COMES_UP: u32 = 900;
/// The same once v3 or v4 is named: what it gets before it is given up, and then the image that takes
/// its place. An image that comes up has reported 40 s after its power-on on two idle cores, and 95 s
/// on busy ones.
const GIVEN_UP: u32 = 300;
const SOON: Duration = Duration::from_secs(120);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(15);
/// How long nothing is tried again.
const STAYS: Duration = Duration::from_secs(60);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let made = [
        ("v1", "1.0", Behaviour::Installs),
        ("v2", "2.0", Behaviour::Installs),
        ("v3", "3.0", Behaviour::InstallsMute),
        ("v4", "4.0", Behaviour::Hangs),
    ];
    let (mut images, mut servers, mut yaml) = (Vec::new(), Vec::new(), String::new());
    for (name, version, behaviour) in made {
        let image = artefacts::installer(&context.binaries, version, behaviour).await?;
        let server = ImageServer::serve(image.path.clone()).await?;
        let url = server.url(&format!("{name}.iso"));
        yaml.push_str(&objects::image(name, &image, &url));
        servers.push(server);
        images.push(image);
    }
    let [v1, v2, v3, v4] = images.as_slice() else {
        anyhow::bail!("four images were to be made");
    };
    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices {
        disruption: "Allowed",
        safe_after: Some(60),
        on_failure: Some("RollBack"),
        os_timeout: COMES_UP,
        // Systems of the lab do not heed the button: to ask each takes two minutes, and `adopt-update`
        // shows that it is done.
        shutdown_grace: 0,
        host_timeout: 3600,
        ..Choices::default()
    };
    yaml.push_str(&objects::host("host1", &world.bmc("host1")?, &choices));
    yaml.push_str(&objects::card("card1", "host1", &world.bmc("card1")?));
    world.control_plane.kubectl().apply_text(&yaml).await?;

    for (name, image) in [("v1", v1), ("v2", v2)] {
        let began = Instant::now();
        name_image(&world, name, &choices).await?;
        story::await_card(&world.control_plane, "card1", name, INSTALL, |card| {
            story::reason(card) == "AsWanted" && runs(card, image)
        })
        .await?;
        let took = began.elapsed().as_secs();
        report.figure(&format!("seconds from {name} named to Ready"), took);
    }
    let host_up = up(&world, "host1", HOST_UP, None).await?;

    let began = Instant::now();
    let broken = Choices {
        os_timeout: GIVEN_UP,
        ..choices.clone()
    };
    name_image(&world, "v3", &broken).await?;
    let within = INSTALL * 2 + Duration::from_secs(GIVEN_UP.into());
    let card = story::await_card(
        &world.control_plane,
        "card1",
        "RolledBack",
        within,
        |card| story::reason(card) == "RolledBack",
    )
    .await?;
    let took = began.elapsed().as_secs();
    report.figure("seconds from v3 named to v2 again", took);
    let words = ["runs 2.0 since", "3.0 did not come up", "retryToken"];
    is_told(&card, v2, v3, &words, &mut report)?;
    let mute = up(&world, "card1", &format!("{OS_MUTE} 3.0"), None).await?;
    up(&world, "card1", &format!("{OS_UP} 2.0"), Some(mute)).await?;
    up(&world, "host1", HOST_UP, Some(host_up)).await?;
    report.say("consoles: 3.0 came up and stayed mute, then 2.0 again, then the host");
    recorded(&world).await?;

    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    let before = changes(&world)?;
    installs(&world.machines.lab()?.bmc("card1")?.changes(), 4)?;
    story::stays_so(STAYS, "nothing is tried again", async || {
        Ok(changes(&world)? == before)
    })
    .await?;
    report.say("four installs, nothing left inserted, and none begun again by itself");

    name_image(&world, "v2", &choices).await?;
    story::await_card(&world.control_plane, "card1", "accepted", SOON, |card| {
        story::reason(card) == "AsWanted" && runs(card, v2)
    })
    .await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    ensure!(
        changes(&world)? == before,
        "naming what runs changed something at a BMC"
    );
    report.say("v2 named: as wanted, no change at either BMC");

    let host_up = up(&world, "host1", HOST_UP, None).await?;
    lose_disk(&world).await?;
    let began = Instant::now();
    let golden = Choices {
        golden: Some("v1"),
        ..broken
    };
    name_image(&world, "v4", &golden).await?;
    let card = story::await_card(&world.control_plane, "card1", "golden", within, |card| {
        story::reason(card) == "RolledBack"
    })
    .await?;
    let took = began.elapsed().as_secs();
    report.figure("seconds from v4 named to the golden image", took);
    let words = ["runs the golden image 1.0 since", "4.0 did not come up"];
    is_told(&card, v1, v4, &words, &mut report)?;
    let hung = up(&world, "card1", INSTALLER_HANGS, None).await?;
    up(&world, "card1", &format!("{OS_UP} 1.0"), Some(hung)).await?;
    up(&world, "host1", HOST_UP, Some(host_up)).await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    installs(&world.machines.lab()?.bmc("card1")?.changes(), 6)?;
    report.say("consoles: 4.0 hung on a blank disk, then the golden 1.0, then the host");
    world.check()?;
    world.stop().await?;
    Ok(report)
}

/// The card's disk breaks, and another one takes its place; and the image that it ran is withdrawn.
async fn lose_disk(world: &World) -> Result<()> {
    let card = world.machines.lab()?.machine("card1")?;
    card.cut_power().await?;
    card.wait_for_power(false, SOON).await?;
    card.replace_disk(1024)?;
    let kubectl = world.control_plane.kubectl();
    kubectl
        .run(&["delete", "dpuimage", "v2", "-n", NAMESPACE])
        .await?;
    Ok(())
}

async fn name_image(world: &World, name: &str, choices: &Choices) -> Result<()> {
    let policy = objects::policy(name, choices);
    world.control_plane.kubectl().apply_text(&policy).await?;
    Ok(())
}

fn runs(card: &Dpu, image: &Image) -> bool {
    let seen = card
        .status
        .as_ref()
        .and_then(|status| status.image.as_ref());
    seen.is_some_and(|seen| seen.digest == format!("sha256:{}", image.sha256))
}

async fn up(world: &World, name: &str, line: &str, after: Option<Instant>) -> Result<Instant> {
    let machine = world.machines.lab()?.machine(name)?;
    let seen = machine.console().wait_for_after(after, line, SOON).await?;
    Ok(seen.instant)
}

/// What a person reads: what runs, what does not, why, and what helps.
fn is_told(
    card: &Dpu,
    runs_now: &Image,
    wanted: &Image,
    words: &[&str],
    report: &mut Report,
) -> Result<()> {
    let status = card.status.clone().context("the card has no status")?;
    ensure!(runs(card, runs_now), "the card shows {:?}", status.image);
    let shown = status.wanted_image.map(|image| image.digest);
    ensure!(
        shown == Some(format!("sha256:{}", wanted.sha256)),
        "wanted is shown as {shown:?}"
    );
    ensure!(
        status.phase == Some(Phase::Degraded)
            && condition::find(&status.conditions, STALLED).is_some(),
        "the card is {:?}",
        status.phase
    );
    let message = status.message.unwrap_or_default();
    for words in words {
        ensure!(message.contains(words), "{words} is not in: {message}");
    }
    report.say(message);
    Ok(())
}

/// The record names what failed, and what is good; the host is let go, and nothing is armed.
async fn recorded(world: &World) -> Result<()> {
    story::await_host(
        &world.control_plane,
        "host1",
        "released, with one failed install of 3.0 and v2 as the last good image",
        SOON,
        |host| {
            let status = host.status.as_ref();
            status.is_some_and(|status| {
                status.hold.is_none()
                    && status.cards.iter().any(|kept| {
                        let good = kept.last_good.as_ref();
                        let failed: Vec<&str> = kept
                            .failures
                            .iter()
                            .map(|one| one.image.version.as_str())
                            .collect();
                        kept.armed.is_empty()
                            && failed == ["3.0"]
                            && good.is_some_and(|good| good.name == "v2")
                    })
            })
        },
    )
    .await?;
    Ok(())
}

fn changes(world: &World) -> Result<(usize, usize)> {
    let lab = world.machines.lab()?;
    let of = |name: &str| -> Result<usize> { Ok(lab.bmc(name)?.changes().len()) };
    Ok((of("card1")?, of("host1")?))
}

/// One medium and one power-on for each of so many installs; nothing is left inserted.
fn installs(changes: &[Request], many: usize) -> Result<()> {
    let ends = |request: &&Request, action: &str| request.path.ends_with(action);
    let count = |action: &str| changes.iter().filter(|one| ends(one, action)).count();
    let ons = changes.iter().filter_map(Request::reset_type);
    let ons = ons.filter(|reset| reset == "On").count();
    ensure!(
        (count("VirtualMedia.InsertMedia"), ons) == (many, many),
        "{} media inserted, {ons} power-ons of the card",
        count("VirtualMedia.InsertMedia")
    );
    let last = changes
        .iter()
        .rfind(|one| ends(one, "InsertMedia") || ends(one, "EjectMedia"))
        .map(|one| one.path.as_str());
    ensure!(
        last.is_some_and(|path| path.ends_with("EjectMedia")),
        "the last medium was not ejected: {last:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;

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
    fn four_rounds_that_end_ejected_pass_and_anything_else_does_not() {
        let media = "/redfish/v1/Systems/x/VirtualMedia/Cd/Actions/VirtualMedia.";
        let insert = request(&format!("{media}InsertMedia"), "{}");
        let eject = request(&format!("{media}EjectMedia"), "{}");
        let reset = "/redfish/v1/Systems/x/Actions/ComputerSystem.Reset";
        let on = request(reset, r#"{"ResetType": "On"}"#);
        let round = [insert.clone(), on.clone(), eject.clone()];
        let rounds =
            |many: usize| -> Vec<Request> { (0..many).flat_map(|_| round.clone()).collect() };
        assert!(installs(&rounds(4), 4).is_ok());
        assert!(installs(&rounds(3), 4).is_err());
        assert!(installs(&rounds(5), 4).is_err());
        let mut left = rounds(4);
        left.pop();
        left.pop();
        left.push(on);
        assert!(installs(&left, 4).is_err());
        let mut twice = rounds(4);
        twice.insert(1, insert);
        assert!(installs(&twice, 4).is_err());
    }
}
