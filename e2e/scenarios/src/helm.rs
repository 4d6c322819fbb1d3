//! `helm`: the charts on a real node, from images built by the Dockerfile.
//!
//! Namespaces enforce the restricted level of Pod security, all but that of the host agent, which
//! tells which machine the node is. A card VM is installed while its host
//! VM is held; on the way the release refuses to go and both pods are deleted. Afterwards it is
//! upgraded and uninstalled; CRDs and objects stay, and a new release adopts the card.
//! Witnesses: helm and kubectl, the BMCs' request logs, both consoles.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::names;
use lockstep_lab::front::Request;

use crate::helm_hosts;
use crate::helm_world::{CHART, CRDS_CHART, HelmWorld, RELEASE, REPOSITORY, Settings};
use crate::images;
use crate::least_privilege;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story::{self, Watch};
use crate::world::OPERATOR_NAMESPACE;

const MINUTE: Duration = Duration::from_secs(60);
/// From `kubectl apply` to Ready, on a slow machine, with pods deleted on the way.
const STORY: Duration = Duration::from_secs(900);
/// For pods to start or to go.
const PODS: Duration = Duration::from_secs(240);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let folder = context.folder.join("images");
    let packed = images::pack(&context.binaries, REPOSITORY, &folder).await?;
    let again = images::pack(&context.binaries, REPOSITORY, &folder).await?;
    for (one, other) in [
        (&packed.operator, &again.operator),
        (&packed.agent, &again.agent),
    ] {
        ensure!(
            one.digest == other.digest,
            "{} packed twice has two digests",
            one.name
        );
        report.say(format!("{} {}", one.name, one.digest));
    }

    let world = HelmWorld::start(&context, &again).await?;
    let began = Instant::now();
    world.helm(&["install", RELEASE, CHART], PODS).await?;
    report.figure(
        "seconds of helm install, all pods ready, under the restricted level but for the host agent",
        began.elapsed().as_secs(),
    );
    helm_hosts::tells(&world, &mut report).await?;
    install_a_card(&world, &mut report).await?;
    helm_hosts::is_joined(&world, &mut report).await?;
    upgrade(&world, &mut report).await?;
    uninstall(&world, &mut report).await?;
    adopt_again(&world, &mut report).await?;
    world.stop().await?;
    Ok(report)
}

async fn install_a_card(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let plane = &world.control_plane;
    let kubectl = plane.kubectl();
    let watch = Watch::start(plane)?;
    let began = Instant::now();
    let choices = Choices::default();
    let yaml = [
        world.secret(),
        objects::policy("v1", &choices),
        objects::image("v1", &world.image, &world.image_url()),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    kubectl.apply_text(&yaml).await?;
    story::await_host(plane, "host1", "being held", STORY, |host| {
        host.status.as_ref().is_some_and(|one| one.hold.is_some())
    })
    .await?;
    refuse_to_go(world, report).await?;
    for (namespace, pod) in [
        (OPERATOR_NAMESPACE, "lockstep-operator"),
        (NAMESPACE, "lockstep-site-agent"),
    ] {
        let selector = format!("app.kubernetes.io/name={pod}");
        kubectl
            .run(&[
                "delete",
                "pod",
                "-n",
                namespace,
                "-l",
                &selector,
                "--wait=false",
            ])
            .await?;
    }
    report.say("both pods were deleted while the host was held");
    kubectl
        .wait(NAMESPACE, "dpu/card1", "condition=Ready", STORY)
        .await?;
    watch.stop().await?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    world
        .lab
        .machine("host1")?
        .console()
        .wait_for("HOST-OS-UP", MINUTE * 5)
        .await?;
    report.say("host console: its system is up");

    let card = world.lab.bmc("card1")?.changes();
    let host = world.lab.bmc("host1")?.changes();
    for (requests, what, times) in [
        (&card, "VirtualMedia.InsertMedia", 1),
        (&card, "VirtualMedia.EjectMedia", 1),
        (&card, "ComputerSystem.Reset", 1),
        (&host, "ComputerSystem.Reset", 1),
    ] {
        expect(requests, what, times)?;
    }
    report.say("BMCs: one insert, one eject, one power-on of the card, one of the host");
    let asked = least_privilege::check_roles(plane).await?;
    let host = names::host(world.node.name());
    least_privilege::check_admission(plane, "bmc-card-card1", &host).await?;
    report.figure("questions about rights, answered as they should be", asked);
    Ok(())
}

fn expect(requests: &[Request], what: &str, times: usize) -> Result<()> {
    let found = requests
        .iter()
        .filter(|request| request.path.contains(what))
        .count();
    ensure!(
        found == times,
        "{what}: {found} requests instead of {times}"
    );
    Ok(())
}

/// While the host is held neither the release nor the agent goes, and nothing of it is touched.
async fn refuse_to_go(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let before = world.release_objects().await?;
    let Err(refused) = world.helm(&["uninstall", RELEASE], PODS).await else {
        bail!("helm uninstall went through although host1 is held");
    };
    let words = format!("{refused:#}");
    let remedy = "status.hold of this DpuHost is gone";
    ensure!(
        words.contains("host1") && words.contains(remedy),
        "helm uninstall failed without saying why: {words}"
    );
    let reason = words.split("denied request: ").nth(1);
    report.say(format!(
        "helm uninstall is refused: {}",
        reason.unwrap_or(&words).trim()
    ));
    let deployment = ["delete", "deployment", "lockstep-site-agent"];
    let kubectl = world.control_plane.kubectl();
    let Err(refused) = kubectl
        .run(&[&deployment[..], &["-n", NAMESPACE]].concat())
        .await
    else {
        bail!("the site agent's Deployment was deleted although host1 is held");
    };
    ensure!(
        format!("{refused:#}").contains(remedy),
        "deleting the agent failed without saying why: {refused:#}"
    );
    ensure!(
        world.release_objects().await? == before,
        "the refused uninstall changed objects of the release"
    );
    // Helm notes that it began; a rollback to the same revision takes that back.
    world.rollback("1").await?;
    let status = world.release_status().await?;
    ensure!(
        status == "deployed",
        "after the rollback the release is {status}"
    );
    ensure!(
        world.release_objects().await? == before,
        "the rollback replaced objects of the release"
    );
    report.say("helm rollback takes the refused uninstall back");
    Ok(())
}

/// Another value: the agent restarts with it, and nothing happens to card and host.
async fn upgrade(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let before = world.changes()?;
    let writes = world.control_plane.audit_log().mark()?;
    let settings = Settings {
        idle_seconds: 45,
        log_level: "info,lockstep_agent=debug",
    };
    world.write_values(&settings)?;
    let began = Instant::now();
    world.helm(&["upgrade", RELEASE, CHART], PODS).await?;
    report.figure("seconds of helm upgrade", began.elapsed().as_secs());
    let kubectl = world.control_plane.kubectl();
    let config = kubectl
        .run(&[
            "get",
            "configmap",
            "lockstep-site-agent",
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.data}",
        ])
        .await?;
    ensure!(
        config.contains("idleSeconds: 45"),
        "the upgrade did not change the agent's configuration"
    );
    // Both new pods have looked at everything once this has held for longer than the idle poll.
    story::stays_so(MINUTE, "Ready after the upgrade", async || {
        let shown = kubectl
            .run(&[
                "get",
                "dpu",
                "card1",
                "-n",
                NAMESPACE,
                "-o",
                "jsonpath={.status.phase}",
            ])
            .await?;
        Ok(shown == "Ready")
    })
    .await?;
    ensure!(
        world.changes()? == before,
        "the upgrade made changes at a BMC"
    );
    let writes = story::writes(&world.control_plane, writes)?;
    report.figure("apiserver writes in the minute after it", writes.len());
    story::say_writes(report, &writes);
    Ok(())
}

/// Nothing is held: everything of the release goes; CRDs and objects stay.
async fn uninstall(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let plane = &world.control_plane;
    let kubectl = plane.kubectl();
    let objects = world.objects().await?;
    world.helm(&["uninstall", RELEASE], PODS).await?;
    world.helm(&["uninstall", CRDS_CHART], PODS).await?;
    eventually(PODS, "the end of all pods", async || {
        let mut left = String::new();
        for namespace in [OPERATOR_NAMESPACE, NAMESPACE, &names::hosts(NAMESPACE)] {
            match kubectl
                .run(&["get", "pods", "-n", namespace, "-o", "name"])
                .await
            {
                Ok(pods) => left += &pods,
                Err(error) => return Look::not_yet(format!("{error:#}")),
            }
        }
        if left.is_empty() {
            Look::Holds(())
        } else {
            Look::not_yet(left)
        }
    })
    .await?;
    helm_hosts::is_gone(world).await?;
    let left = world.release_objects().await?;
    ensure!(
        left.iter()
            .all(|object| object.starts_with("namespace/") || object.starts_with("persistent")),
        "left over after the uninstall: {}",
        left.join(", ")
    );
    for crd in lockstep_crds::all() {
        let name = format!("crd/{}", crd.metadata.name.unwrap_or_default());
        kubectl.run(&["get", &name]).await?;
    }
    ensure!(
        world.objects().await? == objects,
        "the uninstall took objects of ours along"
    );
    report.say("uninstalled: CRDs, objects, Secrets and the site's namespace and volumes stay");
    report.say("host agents: their namespace and rights are gone, what they told stays");
    Ok(())
}

/// A new release finds everything as it was, and does nothing to the machines.
async fn adopt_again(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let before = world.changes()?;
    world
        .helm(&["install", CRDS_CHART, CRDS_CHART], PODS)
        .await?;
    world.helm(&["install", RELEASE, CHART], PODS).await?;
    world
        .control_plane
        .kubectl()
        .wait(NAMESPACE, "dpu/card1", "condition=Ready", PODS)
        .await?;
    ensure!(
        world.changes()? == before,
        "installing again made changes at a BMC"
    );
    report.say("installed again: Ready, and no change at any BMC");
    Ok(())
}
