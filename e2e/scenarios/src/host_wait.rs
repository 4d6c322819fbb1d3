//! `host-wait`: what becomes of a host whose card never boots, for each `onTimeout`; and a
//! card whose slot has no power while its host is off.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_crds::host::ReleaseReason;
use lockstep_lab::image::Behaviour;
use lockstep_lab::{Lab, MachineSpec};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(180);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "hangs", Behaviour::Hangs).await?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = vec![
        MachineSpec::card("card1"),
        MachineSpec::host("host1"),
        MachineSpec::card("card2").coupled_to("host2"),
        MachineSpec::host("host2"),
    ];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let kubectl = world.control_plane.kubectl();
    kubectl
        .apply_text(&objects::image("hangs", &image, &server.url("hangs.iso")))
        .await?;
    for on_timeout in ["Continue", "Hold", "PowerOff"] {
        times_out(&world, on_timeout, &mut report).await?;
    }
    coupled(&world, &mut report).await?;
    world.check()?;
    world.stop().await?;
    Ok(report)
}

async fn times_out(world: &World, on_timeout: &'static str, report: &mut Report) -> Result<()> {
    let choices = Choices {
        on_timeout,
        host_timeout: 40,
        os_timeout: 30,
        orphan_after: 600,
        ..Choices::default()
    };
    let lab = world.machines.lab()?;
    let before = lab.bmc("host1")?.changes().len();
    let yaml = [
        objects::policy("hangs", &choices),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    lab.machine("card1")?.wait_for_power(true, SOON).await?;
    ensure!(
        !lab.machine("host1")?.is_on(),
        "{on_timeout}: the host was not held"
    );
    match on_timeout {
        "Hold" => {
            let host = story::await_host(
                &world.control_plane,
                "host1",
                "HostWaitTimedOut",
                SOON,
                |host| story::host_reason(host) == "HostWaitTimedOut",
            )
            .await?;
            let held = host.status.is_some_and(|status| status.hold.is_some());
            ensure!(held, "Hold: the hold is gone");
            ensure!(!lab.machine("host1")?.is_on(), "Hold: the host is on");
        }
        _ => {
            let host = story::await_host(
                &world.control_plane,
                "host1",
                "released by timeout",
                SOON,
                |host| {
                    host.status
                        .as_ref()
                        .and_then(|status| status.release.as_ref())
                        .is_some_and(|release| release.reason == ReleaseReason::Timeout)
                },
            )
            .await?;
            let held = host.status.is_some_and(|status| status.hold.is_some());
            ensure!(!held, "{on_timeout}: the hold is still there");
            let on = on_timeout == "Continue";
            lab.machine("host1")?.wait_for_power(on, SOON).await?;
        }
    }
    let card = story::await_card(&world.control_plane, "card1", "Stalled", SOON, |card| {
        story::reason(card) == "InstallFailed" || story::reason(card) == "HostWaitTimedOut"
    })
    .await?;
    let asked = lab.bmc("host1")?.changes().len() - before;
    report.say(format!(
        "onTimeout {on_timeout}: host on: {}, changes at its BMC: {asked}, card says: {}",
        lab.machine("host1")?.is_on(),
        card.status
            .and_then(|status| status.message)
            .unwrap_or_default()
    ));
    ensure!(
        asked == usize::from(on_timeout == "Continue"),
        "{on_timeout}: {asked} changing requests to the host's BMC"
    );
    story::delete(&world.control_plane, &["dpu/card1", "dpuhost/host1"], SOON).await?;
    let media_left = lab
        .bmc("card1")?
        .changes()
        .iter()
        .filter(|request| request.path.ends_with("EjectMedia"))
        .count();
    ensure!(
        media_left > 0,
        "{on_timeout}: deletion did not take the media back"
    );
    lab.machine("card1")?.cut_power().await?;
    lab.machine("host1")?.cut_power().await?;
    lab.machine("host1")?.wait_for_power(false, SOON).await
}

async fn coupled(world: &World, report: &mut Report) -> Result<()> {
    let lab = world.machines.lab()?;
    let refused = |slot_power: &'static str| Choices {
        slot_power,
        os_timeout: 60,
        ..Choices::default()
    };
    let choices = refused("Unknown");
    let yaml = [
        objects::policy("hangs", &choices),
        objects::host("host2", &world.bmc("host2")?, &choices),
        objects::card("card2", "host2", &world.bmc("card2")?),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;
    let card = story::await_card(
        &world.control_plane,
        "card2",
        "HoldNeedsSlotPower",
        SOON,
        |card| story::reason(card) == "HoldNeedsSlotPower",
    )
    .await?;
    for name in ["card2", "host2"] {
        let changes = lab.bmc(name)?.changes();
        ensure!(
            changes.is_empty(),
            "{name}: refused only after {} change(s)",
            changes.len()
        );
    }
    report.say(format!(
        "coupled, slot power unknown: no change at either BMC; {}",
        card.status
            .and_then(|status| status.message)
            .unwrap_or_default()
    ));
    // Said wrongly, it costs one install: the lab's slot goes dark a moment after the card's
    // power-on was seen, so what is told is that the install did not end.
    let asserted = objects::host("host2", &world.bmc("host2")?, &refused("Yes"));
    world.control_plane.kubectl().apply_text(&asserted).await?;
    let told = ["SlotHasNoPower", "HoldNeedsSlotPower", "InstallFailed"];
    let card = story::await_card(
        &world.control_plane,
        "card2",
        "Stalled for want of slot power",
        SOON,
        |card| told.contains(&story::reason(card).as_str()) && attempted(lab, "card2"),
    )
    .await?;
    let asked = lab.bmc("host2")?.changes().len();
    ensure!(
        asked == 0,
        "{asked} changing request(s) to the coupled host's BMC"
    );
    report.say(format!(
        "coupled, slot power asserted wrongly: no change at the host's BMC; {}: {}",
        story::reason(&card),
        card.status
            .and_then(|status| status.message)
            .unwrap_or_default()
    ));
    Ok(())
}

/// Whether the card was told to power on.
fn attempted(lab: &Lab, card: &str) -> bool {
    lab.bmc(card).is_ok_and(|bmc| {
        bmc.changes()
            .iter()
            .any(|request| request.reset_type().is_some())
    })
}
