//! `boot-slots`: two systems on one disk, and firmware that boots what stands in its own variables.
//!
//! A by medium; B by medium, beside it; A again, by its boot entry and without an install; then B's slot
//! is destroyed behind everybody's back, and B is wanted: the firmware boots A by itself, that is told,
//! and B is installed anew. In between somebody else puts another entry first in the boot order.
//!
//! Witnesses outside our code: the firmware, which alone decides what starts, on the card's serial
//! console; its variables, read by a tool of others and not through the BMC; the BMC's request log.

mod firmware;
mod person;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::Dpu;
use lockstep_crds::host::{CardRecord, InstallFailure};
use lockstep_crds::inventory::InstallMethod;
use lockstep_lab::front::Request;
use lockstep_lab::image::{INSTALLER_START, Image, OS_UP, Slot};
use lockstep_lab::{LabSpec, Machine, MachineSpec};
use serde_json::Value;

use self::firmware::Firmware;
use self::person::Person;
use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// An install under TCG, or one after a boot that led elsewhere.
const INSTALL: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(180);
/// Nothing is written for so long: all is told.
const QUIET: Duration = Duration::from_secs(10);

const A: &str = "Card OS A";
const B: &str = "Card OS B";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let (mut images, mut servers, mut yaml) = (Vec::new(), Vec::new(), String::new());
    for (name, version, slot) in [("v1", "1.0", Slot::A), ("v2", "2.0", Slot::B)] {
        let image = artefacts::slot_installer(&context.binaries, version, slot).await?;
        let server = ImageServer::serve(image.path.clone()).await?;
        let url = server.url(&format!("{name}.iso"));
        yaml.push_str(&objects::slot_image(name, &image, &url, slot));
        servers.push(server);
        images.push(image);
    }
    let [v1, v2] = images.as_slice() else {
        anyhow::bail!("two images were to be made");
    };
    let mut lab = LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")]);
    lab.boot_options.insert("card1".to_owned());
    let mut world = World::start_lab(&context.folder, Kind::Vms, lab, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    yaml.push_str(&objects::host("host1", &world.bmc("host1")?, &choices()));
    yaml.push_str(&objects::card("card1", "host1", &world.bmc("card1")?));
    world.control_plane.kubectl().apply_text(&yaml).await?;
    let person = Person::at_card(&world)?;

    installed(&world, "v1", v1, Slot::A, &mut report).await?;
    installed(&world, "v2", v2, Slot::B, &mut report).await?;
    let before = Firmware::of(card(&world)?)?;
    ensure!(
        before.slots() == (vec![A, B], true),
        "while B runs for the first time the firmware has {:?}",
        before.order
    );
    report.say(format!(
        "firmware, before B was seen to run: {}",
        before.order.join(", ")
    ));
    lost(&world, &person, &mut report).await?;

    by_its_entry(&world, v1, &mut report).await?;
    put_right(&world, &person, &mut report).await?;

    destroyed(&world, v1, v2, &mut report).await?;
    world.check()?;
    world.kill_operator().await?;
    world.kill_agent().await?;
    by_order_alone(&world, &person, &mut report).await?;
    world.stop().await?;
    Ok(report)
}

fn choices() -> Choices {
    Choices {
        disruption: "Allowed",
        safe_after: Some(60),
        methods: Some("[LocalStorage, VirtualMedia]"),
        os_timeout: 480,
        host_timeout: 3600,
        ..Choices::default()
    }
}

fn card(world: &World) -> Result<&Machine> {
    world.machines.lab()?.machine("card1")
}

fn changes(world: &World) -> Result<Vec<Request>> {
    Ok(world.machines.lab()?.bmc("card1")?.changes())
}

/// The policy wants this image. A slot whose image does not come up leads to a second attempt.
async fn name_image(world: &World, name: &str) -> Result<()> {
    let policy = objects::policy(name, &choices()).replace("maxAttempts: 1", "maxAttempts: 2");
    world.control_plane.kubectl().apply_text(&policy).await?;
    Ok(())
}

async fn comes(world: &World, name: &str, image: &Image, within: Duration) -> Result<Dpu> {
    let digest = format!("sha256:{}", image.sha256);
    story::await_card(&world.control_plane, "card1", name, within, |card| {
        let status = card.status.as_ref();
        let seen = status.and_then(|status| status.image.as_ref());
        story::reason(card) == "AsWanted" && seen.is_some_and(|seen| seen.digest == digest)
    })
    .await
}

/// The card's record, once it is as wanted.
async fn kept(
    world: &World,
    what: &str,
    wanted: impl Fn(&CardRecord) -> bool,
) -> Result<CardRecord> {
    let host = story::await_host(&world.control_plane, "host1", what, INSTALL, |host| {
        let cards = host.status.iter().flat_map(|status| &status.cards);
        cards.into_iter().any(&wanted)
    })
    .await?;
    let cards = host.status.map(|status| status.cards).unwrap_or_default();
    cards.into_iter().next().context("the host has no card")
}

/// Somebody switches card and host off. Their systems heed no power button: to wait for them takes
/// minutes, and is shown by other scenarios.
async fn switched_off(world: &World) -> Result<()> {
    for name in ["host1", "card1"] {
        let machine = world.machines.lab()?.machine(name)?;
        machine.cut_power().await?;
        machine.wait_for_power(false, SOON).await?;
    }
    Ok(())
}

/// `Boot` of a PATCH, if it is one.
fn boot(request: &Request) -> Option<Value> {
    let body: Value = serde_json::from_str(&request.body).ok()?;
    (request.method.as_str() == "PATCH").then(|| body["Boot"].clone())
}

/// Whether it asks for a boot order that begins so.
fn leads(request: &Request, slot: Slot) -> bool {
    boot(request).is_some_and(|boot| boot["BootOrder"][0] == slot.reference())
}

fn boots_once(request: &Request, slot: Slot) -> bool {
    boot(request).is_some_and(|boot| {
        boot["BootSourceOverrideTarget"] == "UefiBootNext" && boot["BootNext"] == slot.reference()
    })
}

fn media(changes: &[Request]) -> usize {
    let inserted = changes
        .iter()
        .filter(|one| one.path.ends_with("InsertMedia"));
    inserted.count()
}

/// Waits for the order that puts this slot first, asked for later than `after`.
async fn order_is_set(world: &World, slot: Slot, after: Instant) -> Result<()> {
    let front = world.machines.lab()?.bmc("card1")?;
    let what = format!("a boot order that begins with {}", slot.boot_entry());
    let wanted = |one: &Request| {
        one.instant > after && leads(one, slot) && one.status.is_some_and(|status| status < 300)
    };
    front.wait_for(&what, SOON, wanted).await?;
    Ok(())
}

/// The image is wanted, and comes by a medium.
async fn installed(
    world: &World,
    name: &str,
    image: &Image,
    slot: Slot,
    report: &mut Report,
) -> Result<()> {
    let began = Instant::now();
    let before = media(&changes(world)?);
    switched_off(world).await?;
    name_image(world, name).await?;
    comes(world, name, image, INSTALL).await?;
    report.figure(
        &format!("seconds from {name} named to Ready"),
        began.elapsed().as_secs(),
    );
    ensure!(
        media(&changes(world)?) == before + 1,
        "{name} did not come by one medium"
    );
    let (entry, version) = (slot.boot_entry(), &image.version);
    let console = card(world)?.console();
    let up = format!("{OS_UP} {version}");
    console.wait_for_after(Some(began), &up, SOON).await?;
    order_is_set(world, slot, began).await?;
    kept(world, "nothing is armed", |kept| kept.armed.is_empty()).await?;
    report.say(format!(
        "{entry}: installed, seen to run, then first in the boot order"
    ));
    Ok(())
}

/// Somebody changes the order back: that is told, with when it is put right.
async fn lost(world: &World, person: &Person, report: &mut Report) -> Result<()> {
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    person.put_first(&Slot::A.reference()).await?;
    let told = story::await_card(
        &world.control_plane,
        "card1",
        "BootOrderLost",
        SOON,
        |card| story::reason(card) == "BootOrderLost",
    )
    .await?;
    let message = told.status.and_then(|status| status.message);
    let message = message.unwrap_or_default();
    for words in [B, "something else is first again", "it is put right at"] {
        ensure!(message.contains(words), "{words} is not in: {message}");
    }
    report.say(message);
    Ok(())
}

/// A is wanted again, and lies in its slot still.
async fn by_its_entry(world: &World, v1: &Image, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    let console = card(world)?.console();
    let (changed, installers) = (
        changes(world)?.len(),
        console.matching(INSTALLER_START).len(),
    );
    switched_off(world).await?;
    name_image(world, "v1").await?;
    comes(world, "v1", v1, INSTALL).await?;
    report.figure(
        "seconds from v1 named again to Ready",
        began.elapsed().as_secs(),
    );
    let started = format!("starting {} \"{A}\"", Slot::A.reference());
    console.wait_for_after(Some(began), &started, SOON).await?;
    let after = changes(world)?.split_off(changed);
    let once = after.iter().filter(|one| boots_once(one, Slot::A)).count();
    ensure!(
        media(&after) == 0 && once == 1,
        "{} media, and {once} boots of the entry",
        media(&after)
    );
    ensure!(
        console.matching(INSTALLER_START).len() == installers,
        "an installer ran"
    );
    let found = Firmware::of(card(world)?)?;
    ensure!(found.next.is_none(), "{:?} is still armed", found.next);
    let kept = kept(world, "nothing is armed", |kept| kept.armed.is_empty()).await?;
    ensure!(
        kept.method == Some(InstallMethod::LocalStorage),
        "it came by {:?}",
        kept.method
    );
    report.say("A again: one boot of its entry, no medium, no installer");
    Ok(())
}

/// Somebody else puts another slot first while the card runs: nothing but the order changes.
async fn put_right(world: &World, person: &Person, report: &mut Report) -> Result<()> {
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    let before = Firmware::of(card(world)?)?;
    ensure!(
        before.slots() == (vec![A, B], true),
        "while A runs the firmware has {:?}",
        before.order
    );
    let host = world.machines.lab()?.bmc("host1")?;
    let hosts = host.changes().len();
    person.put_first(&Slot::B.reference()).await?;
    let asked = Instant::now();
    order_is_set(world, Slot::A, asked).await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    let order = person.order().await?;
    ensure!(
        order.first() == Some(&Slot::A.reference()),
        "the BMC shows {order:?}"
    );
    let after = changes(world)?;
    let resets = after.iter().filter(|one| one.instant > asked);
    let resets = resets.filter_map(Request::reset_type).count();
    ensure!(
        resets == 0 && host.changes().len() == hosts && card(world)?.is_on(),
        "{resets} resets of the card, or something was asked of its host"
    );
    report.say("another slot first while A runs: put right, with nothing else changed");
    Ok(())
}

/// What boots B is gone, and nobody tells.
async fn destroyed(world: &World, v1: &Image, v2: &Image, report: &mut Report) -> Result<()> {
    let machine = card(world)?;
    switched_off(world).await?;
    let held = machine.held()?;
    tokio::task::spawn_blocking(move || held.erase_slot(Slot::B))
        .await
        .context("the task that erases a slot ended early")??;
    let began = Instant::now();
    let before = media(&changes(world)?);
    name_image(world, "v2").await?;
    let is_it = |one: &InstallFailure| one.method == InstallMethod::LocalStorage;
    let kept = kept(world, "the failed boot is told", |kept| {
        kept.failures.iter().any(is_it)
    })
    .await?;
    let failure = kept.failures.iter().find(|one| is_it(one));
    let failure = failure.context("it was told a moment ago")?;
    ensure!(
        failure.reason == "OldImageRuns" && failure.image.version == v2.version,
        "{}: {}",
        failure.reason,
        failure.message
    );
    report.say(&failure.message);
    let console = machine.console();
    let mut after = began;
    for line in [
        format!("failed to load {} \"{B}\"", Slot::B.reference()),
        format!("starting {} \"{A}\"", Slot::A.reference()),
        format!("{OS_UP} {}", v1.version),
        format!("{INSTALLER_START} {}", v2.version),
    ] {
        let seen = console.wait_for_after(Some(after), &line, INSTALL).await?;
        after = seen.instant;
        report.say(format!("card console: {}", seen.text));
    }
    comes(world, "v2", v2, INSTALL).await?;
    report.figure(
        "seconds from a destroyed B named to Ready",
        began.elapsed().as_secs(),
    );
    ensure!(
        media(&changes(world)?) == before + 1,
        "B did not come by one medium"
    );
    order_is_set(world, Slot::B, after).await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await
}

/// With nobody of ours about: what the firmware was given, and what it does with it.
async fn by_order_alone(world: &World, person: &Person, report: &mut Report) -> Result<()> {
    let machine = card(world)?;
    person.reset("ForceOff").await?;
    machine.wait_for_power(false, SOON).await?;
    let order = person.order().await?;
    let found = Firmware::of(machine)?;
    ensure!(
        found.slots() == (vec![B, A], true) && found.next.is_none(),
        "the firmware has {found:?}, the BMC shows {order:?}"
    );
    report.say(format!("firmware, at the end: {}", found.order.join(", ")));
    let began = Instant::now();
    person.reset("On").await?;
    let first = machine
        .console()
        .wait_for_after(Some(began), "BdsDxe: starting", SOON)
        .await?;
    ensure!(
        first.text.contains(&format!("\"{B}\"")),
        "the firmware started {}",
        first.text
    );
    let up = format!("{OS_UP} 2.0");
    machine
        .console()
        .wait_for_after(Some(began), &up, SOON)
        .await?;
    report.say(format!("card console: {}", first.text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;

    use super::*;

    fn patch(boot: &str) -> Request {
        Request {
            at: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            system: "x".to_owned(),
            method: Method::PATCH,
            path: "/redfish/v1/Systems/x".to_owned(),
            body: format!("{{\"Boot\": {boot}}}"),
            authorized: true,
            forwarded: true,
            status: Some(204),
            delivered: true,
        }
    }

    #[test]
    fn a_boot_of_an_entry_and_an_order_are_told_by_the_slot() {
        let order = patch(r#"{"BootOrder": ["Boot0A0A", "Boot0B0B"]}"#);
        assert!(leads(&order, Slot::A) && !leads(&order, Slot::B));
        let next = patch(r#"{"BootSourceOverrideTarget": "UefiBootNext", "BootNext": "Boot0B0B"}"#);
        assert!(boots_once(&next, Slot::B) && !boots_once(&next, Slot::A));
        assert!(!leads(&next, Slot::B) && !boots_once(&order, Slot::A));
        assert_eq!(media(&[order, next]), 0);
    }
}
