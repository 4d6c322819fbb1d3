//! `install-ipu`: an Intel IPU, whose system offers no reset, is armed while it runs and restarted whole
//! by its BMC, once, with its host held off; another one, whose policy would have that beside a host that
//! is up, is refused before anything is done.
//!
//! Judged by the simulator's own effect log: what restarted when, what it booted from, whose link went
//! down, and when the host came up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_xpusim::effect::{Effect, What};
use lockstep_xpusim::stage::Stage;
use lockstep_xpusim::{Fleet, Listen};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{PASSWORD, secrets};
use crate::simulated_fleet::cases::begin;
use crate::story;
use crate::world::Simulated;

/// How much faster than life: an IPU installs in 900 s of its own.
const SCALE: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(600);
const QUIET: Duration = Duration::from_secs(15);
const IPU: &str = "ipu-1";
const HOST: &str = "host-1";
/// Its host is up, and is to stay so.
const REFUSED: &str = "ipu-2";
const BUSY: &str = "host-2";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let images = ImageServer::serve(image.path.clone()).await?;
    let listen = Listen::Ports("127.0.0.1:0".parse()?);
    let simulated = Simulated::start(&fleet(), listen).await?;
    let yaml = [
        secrets(&[&simulated])?,
        policies(),
        objects::image("v1", &image, &images.url("v1.iso")),
        machines(&simulated)?,
    ];
    let cards = [IPU, REFUSED];
    let begun = begin(&context, simulated, &cards, &image, &yaml.concat()).await?;
    let (mut world, systems, fleet) = (begun.world, begun.systems, begun.fleet);
    let began = Instant::now();
    let ipu = (IPU, "an IPU is installed".to_owned());
    systems.await_ready(&mut world, &[ipu], PATIENCE).await?;
    report.figure("seconds from apply to Ready", began.elapsed().as_secs());
    let shown = story::await_card(
        &world.control_plane,
        REFUSED,
        "refused beside its host",
        PATIENCE,
        |card| story::reason(card) == "HostStaysUp",
    )
    .await?;
    let said = shown.status.and_then(|status| status.message);
    report.say(format!("{REFUSED}: {}", said.unwrap_or_default()));
    story::comes_to_rest(&world.control_plane, QUIET, PATIENCE).await?;
    installed(&fleet.all_effects(), &mut report)?;
    untouched(&fleet, &mut report)?;
    systems.stop().await?;
    world.stop().await?;
    Ok(report)
}

fn fleet() -> String {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for (host, off, card) in [(HOST, true, IPU), (BUSY, false, REFUSED)] {
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}, off: {off}}}]\n  \
             cards: [{{name: {card}, personality: intel-e2100, password: {PASSWORD}, os: '', \
             slots: [{{host: {host}, number: 1, slotPower: standby}}]}}]\n"
        );
    }
    yaml
}

/// That which holds hosts off, and one that changes cards beside hosts that are up.
fn policies() -> String {
    let choices = Choices {
        os_timeout: 300,
        safe_after: Some(60),
        ..Choices::default()
    };
    let held = objects::policy("v1", &choices);
    let beside = held
        .replace("name: policy,", "name: beside,")
        .replace("order: XpuFirst", "order: Parallel")
        .replace("until: OsRunning", "until: None");
    held + &beside
}

fn machines(fleet: &Simulated) -> Result<String> {
    let mut yaml = String::new();
    for (host, policy, card) in [(HOST, "policy", IPU), (BUSY, "beside", REFUSED)] {
        for (kind, name, rest) in [
            (
                "DpuHost",
                host,
                format!(
                    "  policyRef: {{name: {policy}}}\n  slotPowerWhenHostOff: \"Yes\"\n  disruption: Allowed\n"
                ),
            ),
            (
                "Dpu",
                card,
                format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n"),
            ),
        ] {
            yaml += &fleet.object(kind, name, "trust: NoVerification", &rest)?;
        }
    }
    Ok(yaml)
}

/// One restart, from the medium, and no host that was there to see it.
fn installed(effects: &[Effect], report: &mut Report) -> Result<()> {
    let of = |machine: &str, wanted: &dyn Fn(&What) -> bool| -> Vec<usize> {
        let each = effects.iter().enumerate();
        each.filter(|(_, effect)| effect.machine == machine && wanted(&effect.what))
            .map(|(index, _)| index)
            .collect()
    };
    let restarts = of(IPU, &|what| matches!(what, What::BmcDown));
    ensure!(restarts.len() == 1, "restarted {} times", restarts.len());
    let boots = of(
        IPU,
        &|what| matches!(what, What::BootedFrom { source } if source != "disk"),
    );
    ensure!(
        boots.len() == 1 && boots[0] > restarts[0],
        "booted from its medium at {boots:?}, and restarted at {restarts:?}"
    );
    let runs = of(
        IPU,
        &|what| matches!(what, What::Reached { stage } if *stage == Stage::OsRunning),
    );
    let up = runs.last().context("its system never ran")?;
    let host = of(HOST, &|what| matches!(what, What::PoweredOn { .. }));
    ensure!(
        host.len() == 1 && host[0] > *up,
        "its host was powered on at {host:?}, and its system ran at {runs:?}"
    );
    let hurt = effects.iter().find(|effect| {
        matches!(
            effect.what,
            What::Damaged { .. } | What::SurpriseLinkDown { .. }
        )
    });
    ensure!(hurt.is_none(), "{hurt:?}");
    report.say(
        "the IPU was restarted once by its BMC, from its medium; its host came up after its system",
    );
    Ok(())
}

/// Nothing was done to the one that was refused, and nothing to its host.
fn untouched(fleet: &Fleet, report: &mut Report) -> Result<()> {
    let mut done = fleet.all_effects();
    done.retain(|effect| {
        [REFUSED, BUSY].contains(&effect.machine.as_str())
            && matches!(
                effect.what,
                What::PoweredOn { .. }
                    | What::PoweredOff { .. }
                    | What::BmcDown
                    | What::MediaInserted { .. }
                    | What::OverrideSet { .. }
                    | What::RestorePolicySet { .. }
            )
    });
    ensure!(done.is_empty(), "{done:?}");
    report.say("nothing was done to the one beside a host that is up");
    Ok(())
}
