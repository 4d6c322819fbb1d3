//! `host-wait`: what becomes of a host whose card never boots, for each `onTimeout`; and a
//! card whose slot has no power while its host is off: refused, or held by a taint instead.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::HELD_TAINT;
use lockstep_crds::host::{HoldState, ReleaseReason};
use lockstep_lab::front::Request;
use lockstep_lab::image::Behaviour;
use lockstep_lab::{Lab, MachineSpec};
use serde_json::json;

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(180);
/// A host's start, a minute of its stage not being known, an install.
const INSTALLED: Duration = Duration::from_secs(480);

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
    kubectl.apply_text(&objects::node("node1")).await?;
    for on_timeout in ["Continue", "Hold", "PowerOff"] {
        times_out(&world, on_timeout, &mut report).await?;
    }
    coupled(&world, &mut report).await?;
    let good = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let good_server = ImageServer::serve(good.path.clone()).await?;
    let yaml = objects::image("v1", &good, &good_server.url("v1.iso"));
    world.control_plane.kubectl().apply_text(&yaml).await?;
    tainted(&world, &mut report).await?;
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
        node: Some("node1"),
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
            broken(world, report).await?;
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
            .clone()
            .and_then(|status| status.message)
            .unwrap_or_default()
    ));
    ensure!(
        asked == usize::from(on_timeout == "Continue"),
        "{on_timeout}: {asked} changing requests to the host's BMC"
    );
    let given_up = story::reason(&card) == "InstallFailed";
    if given_up {
        // The next reset of the card must not begin an install.
        story::await_host(&world.control_plane, "host1", "disarmed", SOON, |host| {
            let cards = host.status.as_ref().map(|status| &status.cards);
            cards.is_some_and(|cards| cards.iter().all(|card| card.armed.is_empty()))
        })
        .await?;
        ensure!(
            ejections(lab)? > 0,
            "{on_timeout}: the medium is left there"
        );
    }
    story::delete(&world.control_plane, &["dpu/card1", "dpuhost/host1"], SOON).await?;
    ensure!(
        ejections(lab)? > 0,
        "{on_timeout}: deletion did not take the media back"
    );
    lab.machine("card1")?.cut_power().await?;
    lab.machine("host1")?.cut_power().await?;
    lab.machine("host1")?.wait_for_power(false, SOON).await
}

fn ejections(lab: &Lab) -> Result<usize> {
    let changes = lab.bmc("card1")?.changes();
    let ejections = changes
        .iter()
        .filter(|request| request.path.ends_with("EjectMedia"));
    Ok(ejections.count())
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

/// Somebody powers the held host on: its Node takes no new pods until it is off again.
async fn broken(world: &World, report: &mut Report) -> Result<()> {
    let lab = world.machines.lab()?;
    lab.machine("host1")?.press_power_button().await?;
    await_taint(world, "node1", Some("NoSchedule")).await?;
    let host = story::await_host(&world.control_plane, "host1", "HoldBroken", SOON, |host| {
        story::host_reason(host) == "HoldBroken" || story::host_reason(host) == "HostWaitTimedOut"
    })
    .await?;
    let state = host.status.and_then(|status| status.hold);
    ensure!(
        state.is_some_and(|hold| hold.state == HoldState::HoldBroken),
        "the hold of a host that is up is not told as broken"
    );
    lab.machine("host1")?.cut_power().await?;
    await_taint(world, "node1", None).await?;
    report.say("held and powered on by hand: Node tainted NoSchedule until it was off again");
    Ok(())
}

/// The coupled card once more, under a policy that may hold by taint: Node tainted, host
/// powered on under the taint, card installed beside it, taint lifted.
async fn tainted(world: &World, report: &mut Report) -> Result<()> {
    let lab = world.machines.lab()?;
    let kubectl = world.control_plane.kubectl();
    story::delete(&world.control_plane, &["dpu/card2", "dpuhost/host2"], SOON).await?;
    // Its hold ended with it, so the host was powered on.
    for name in ["host2", "card2"] {
        lab.machine(name)?.cut_power().await?;
        lab.machine(name)?.wait_for_power(false, SOON).await?;
    }
    let choices = Choices {
        mechanisms: "[PoweredOff, NodeTainted]",
        node: Some("node2"),
        slot_power: "No",
        disruption: "Allowed",
        safe_after: Some(60),
        ..Choices::default()
    };
    let before = lab.bmc("host2")?.changes().len();
    let mark = world.mark()?;
    let yaml = [
        objects::node("node2"),
        objects::policy("v1", &choices),
        objects::host("host2", &world.bmc("host2")?, &choices),
        objects::card("card2", "host2", &world.bmc("card2")?),
    ]
    .concat();
    kubectl.apply_text(&yaml).await?;
    await_taint(world, "node2", Some("NoExecute")).await?;
    lab.machine("host2")?
        .console()
        .wait_for("HOST-OS-UP", SOON)
        .await?;
    await_taint_within(world, "node2", None, INSTALLED).await?;
    let nodes: Api<Node> = Api::all(world.control_plane.client());
    // Without a new heartbeat the node controller takes it back at once.
    let now = jiff::Timestamp::now();
    let ready = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }]}});
    nodes
        .patch_status("node2", &PatchParams::default(), &Patch::Strategic(ready))
        .await?;
    kubectl
        .wait(NAMESPACE, "dpu/card2", "condition=Ready", SOON)
        .await?;
    let asked = lab.bmc("host2")?.changes();
    let asked = &asked[before..];
    let resets: Vec<_> = asked.iter().map(Request::reset_type).collect();
    ensure!(
        resets.len() == 1 && resets[0].as_deref() == Some("On"),
        "asked of the host's BMC: {resets:?}"
    );
    let taints: Vec<_> = story::writes(&world.control_plane, mark)?
        .into_iter()
        .filter(|write| write.resource == "nodes")
        .collect();
    ensure!(taints.len() == 2, "{} writes of Nodes", taints.len());
    ensure!(
        taints[0].at < asked[0].at,
        "the host was powered on before its Node was tainted"
    );
    let up = lab
        .machine("card2")?
        .console()
        .matching("LOCKSTEP-OS-UP 1.0");
    ensure!(!up.is_empty(), "the card's console never showed its system");
    report.say(
        "coupled, held by taint: Node tainted NoExecute, then one Reset On of the host, \
         card installed beside it, taint lifted",
    );
    Ok(())
}

/// Waits until the Node carries the taint of a held host with that effect, or none.
async fn await_taint(world: &World, node: &str, effect: Option<&str>) -> Result<()> {
    await_taint_within(world, node, effect, SOON).await
}

async fn await_taint_within(
    world: &World,
    node: &str,
    effect: Option<&str>,
    deadline: Duration,
) -> Result<()> {
    let nodes: Api<Node> = Api::all(world.control_plane.client());
    let what = format!("Node {node} with taint {effect:?}");
    let look = async || {
        let seen = match nodes.get(node).await {
            Ok(seen) => seen,
            Err(error) => return Look::not_yet(error),
        };
        let taints = seen.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let ours = taints.iter().find(|taint| taint.key == HELD_TAINT);
        let found = ours.map(|taint| taint.effect.as_str());
        if found == effect {
            Look::Holds(())
        } else {
            Look::not_yet(format!("{found:?}"))
        }
    };
    Ok(eventually(deadline, what, look).await?)
}
