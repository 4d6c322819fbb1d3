//! `update-bmc`: cards whose BMCs get other firmware before they get a system: by themselves, after a
//! restart that is asked for, with tasks that vanish or lie, and with another certificate afterwards.
//! One is refused an older version than is allowed.
//!
//! Judged by the simulator's own effect log and request counts: what ran when, what came at each BMC,
//! and how often it was asked.

mod fleet;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lockstep_crds::host::CardRecord;
use lockstep_lab::image::Image;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::fault::Fault;
use lockstep_xpusim::{Fleet, Listen};

use self::fleet::{
    CASES, COMPONENT, Case, NEW, OLD, REFUSED, REPINNED, fleet, image, machines, pin, policy,
};
use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::secrets;
use crate::simulated_fleet::cases::{begin, host_of, record};
use crate::story;
use crate::world::{Machines, Simulated, World};

/// For all cards, those with a second update included, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1200);
const SOON: Duration = Duration::from_secs(300);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let system = artefacts::medium(&context.folder, "1.0")?;
    let new = artefacts::firmware(&context.folder, NEW)?;
    let older = artefacts::firmware(&context.folder, "BF-24.10-9")?;
    let systems_at = ImageServer::serve(system.path.clone()).await?;
    let new_at = ImageServer::serve(new.path.clone()).await?;
    let older_at = ImageServer::serve(older.path.clone()).await?;
    let simulated = Simulated::start(&fleet(&new), Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let yaml = [
        secrets(&[&simulated])?,
        policy(),
        image("v1", &system, &systems_at.url("v1.iso"), 2, false),
        image("bmc-new", &new, &new_at.url("new.fwpkg"), 2, true),
        image("bmc-older", &older, &older_at.url("older.fwpkg"), 1, true),
        machines(&simulated).await?,
    ];
    for case in &CASES {
        if let Some(fault) = case.fault {
            simulated.strike_once(case.card, fault)?;
        }
    }
    let names = CASES.map(|case| case.card);
    let begun = begin(&context, simulated, &names, &system, &yaml.concat()).await?;
    let (mut world, systems, fleet) = (begun.world, begun.systems, begun.fleet);
    let began = Instant::now();

    repin(&world, &mut report).await?;
    let cards: Vec<_> = CASES
        .iter()
        .map(|case| (case.card, format!("{:?}", case.fault)))
        .collect();
    let left = PATIENCE.saturating_sub(began.elapsed());
    systems.await_ready(&mut world, &cards, left).await?;
    report.figure(
        "seconds from apply to the last Ready",
        began.elapsed().as_secs(),
    );
    refused(&world, &fleet, &mut report).await?;
    story::comes_to_rest(&world.control_plane, Duration::from_secs(15), SOON).await?;
    for case in &CASES {
        told(case, &record(&world, case.card).await?, &mut report)?;
        done(case, &fleet, &new)?;
        asked(case, &fleet)?;
    }
    systems.stop().await?;
    world.stop().await?;
    Ok(report)
}

/// What a person does about a BMC that shows another key after its update.
async fn repin(world: &World, report: &mut Report) -> Result<()> {
    let card = story::await_card(
        &world.control_plane,
        REPINNED,
        "not trusted any more, because its BMC shows another key",
        PATIENCE,
        |card| {
            let status = card.status.as_ref();
            let message = status.and_then(|status| status.message.as_deref());
            message.is_some_and(|message| message.contains("CertificateUntrusted"))
                || story::reason(card) == "BmcRefused"
        },
    )
    .await?;
    let message = card.status.and_then(|status| status.message);
    report.say(format!("{REPINNED}: {}", message.unwrap_or_default()));
    let pin = pin(simulated(world)?, REPINNED).await?;
    let patch = format!("{{\"spec\":{{\"bmc\":{{\"tls\":{{\"pinnedKeySha256\":\"{pin}\"}}}}}}}}");
    let kubectl = world.control_plane.kubectl();
    kubectl
        .run(&[
            "patch",
            "dpu",
            REPINNED,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &patch,
        ])
        .await?;
    report.say(format!("{REPINNED}: a person pins the new key"));
    Ok(())
}

fn simulated(world: &World) -> Result<&Simulated> {
    match &world.machines {
        Machines::Simulated(simulated) => Ok(simulated),
        Machines::Vms(_) | Machines::Fake(_) | Machines::Nothing => {
            bail!("the machines are not simulated")
        }
    }
}

/// The card that is to get what it may not: it says so, and nothing came there.
async fn refused(world: &World, fleet: &Fleet, report: &mut Report) -> Result<()> {
    let card = story::await_card(
        &world.control_plane,
        REFUSED,
        "refused an image that is too old",
        SOON,
        |card| story::reason(card) == "SecurityVersionTooLow",
    )
    .await?;
    let message = card.status.and_then(|status| status.message);
    report.say(format!("{REFUSED}: {}", message.unwrap_or_default()));
    for machine in [REFUSED.to_owned(), host_of(REFUSED)] {
        let effects = fleet.effects(&machine, 0)?;
        let changed = effects
            .iter()
            .find(|effect| effect.machine == machine && !matches!(effect.what, What::Login { .. }));
        ensure!(changed.is_none(), "{machine}: {changed:?}");
    }
    Ok(())
}

/// The record has each failure with its reason, and nothing waits any more.
fn told(case: &Case, kept: &CardRecord, report: &mut Report) -> Result<()> {
    let reasons: Vec<(&str, Option<&str>)> = kept
        .failures
        .iter()
        .map(|failure| (failure.reason.as_str(), failure.component.as_deref()))
        .collect();
    let wanted: Vec<_> = case
        .fails
        .into_iter()
        .map(|reason| (reason, Some(COMPONENT)))
        .collect();
    ensure!(
        reasons == wanted,
        "{}: failed as {reasons:?} and not as {wanted:?}",
        case.card
    );
    let [one] = &kept.components[..] else {
        bail!("{}: {:?}", case.card, kept.components);
    };
    ensure!(
        one.observed_at.is_some() && one.pending.is_none() && one.begun_at.is_none(),
        "{}: {one:?}",
        case.card
    );
    ensure!(kept.armed.is_empty(), "{}: {:?}", case.card, kept.armed);
    let cause = kept.failures.first();
    let cause = cause.map_or_else(String::new, |failure| {
        format!(", after {}: {}", failure.reason, failure.message)
    });
    report.say(format!(
        "{} ({}{}): runs {} after {} update(s){cause}",
        case.card,
        case.fault
            .map_or_else(|| "no fault".to_owned(), |fault| fault.to_string()),
        if case.waits { ", waits" } else { "" },
        one.image.version,
        one.attempts,
    ));
    Ok(())
}

/// What the simulator says: the firmware came whole, ran once, and before any system was written;
/// nothing was hurt.
fn done(case: &Case, fleet: &Fleet, new: &Image) -> Result<()> {
    let mut came: BTreeMap<String, usize> = BTreeMap::new();
    let (mut ran, mut installed, mut down) = (0, 0, 0);
    for effect in fleet.effects(case.card, 0)? {
        if effect.machine != case.card {
            continue;
        }
        match effect.what {
            What::ImageArrived { sha256, .. } => *came.entry(sha256).or_default() += 1,
            What::FirmwareActivated { id, from, to } if id == COMPONENT => {
                ensure!(
                    (from.as_str(), to.as_str()) == (OLD, NEW),
                    "{}: {from} became {to}",
                    case.card
                );
                ensure!(installed == 0, "{}: after its system", case.card);
                ran += 1;
            }
            What::Installed { .. } => {
                ensure!(ran == 1, "{}: a system before its firmware", case.card);
                installed += 1;
            }
            What::BmcDown => down += 1,
            What::Damaged { stage, cause } => {
                bail!("{} was hurt in {stage:?} by {cause:?}", case.card)
            }
            What::PoweredOn { .. }
            | What::PoweredOff { .. }
            | What::Booted { .. }
            | What::Reached { .. }
            | What::BootedFrom { .. }
            | What::SurpriseLinkDown { .. }
            | What::Ignored { .. }
            | What::Armed { .. }
            | What::Disarmed { .. }
            | What::OverrideSet { .. }
            | What::HttpBootUriSet { .. }
            | What::OverrideConsumed { .. }
            | What::OverrideLost { .. }
            | What::MediaInserted { .. }
            | What::MediaEjected { .. }
            | What::TaskStarted { .. }
            | What::TaskEnded { .. }
            | What::FirmwareActivated { .. }
            | What::Setting { .. }
            | What::RestorePolicySet { .. }
            | What::Login { .. }
            | What::AccountChanged { .. }
            | What::BmcUp
            | What::FaultSwitched { .. }
            | What::FaultStruck { .. } => {}
        }
    }
    // The one that keeps its old version restarts all the same.
    let restarts = 1 + usize::from(case.fault == Some(Fault::WrongVersion));
    ensure!(
        (ran, installed, down) == (1, 1, restarts),
        "{}: ran {ran} times, {installed} systems, {down} restarts",
        case.card
    );
    let updates = 1 + usize::from(case.fails.is_some());
    let came = came.get(&new.sha256).copied().unwrap_or_default();
    ensure!(
        came == updates,
        "{}: the firmware came {came} times instead of {updates}",
        case.card
    );
    Ok(())
}

/// How often the BMC was asked: it is sent the firmware, and fetches it after that failed; its
/// system it fetches.
fn asked(case: &Case, fleet: &Fleet) -> Result<()> {
    let counts = fleet.requests(case.card)?.by_path;
    let count = |part: &str| -> u64 {
        let of_it = counts
            .iter()
            .filter(|(path, _)| path.starts_with("POST ") && path.contains(part));
        of_it.map(|(_, count)| *count).sum()
    };
    let sent = [
        count("update-multipart"),
        count("SimpleUpdate"),
        count("Manager.Reset"),
    ];
    let wanted = [
        1,
        1 + u64::from(case.fails.is_some()),
        u64::from(case.waits),
    ];
    ensure!(
        sent == wanted,
        "{}: asked for pushes, pulls and restarts {sent:?} times instead of {wanted:?}",
        case.card
    );
    Ok(())
}
