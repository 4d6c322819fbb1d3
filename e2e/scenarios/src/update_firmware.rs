//! `update-firmware`: cards whose own firmware runs once they were powered off and on: before they get a
//! system, with tasks that vanish or lie, a BMC that lists what is written as what runs, and one where
//! it never runs; then another version for a card that runs its system, and firmware alone for a card of
//! which no system is wanted.
//!
//! Judged by the simulator's own effect log and request counts: what ran when, what came at each BMC,
//! what was powered while something was written, and when hosts were let go.

mod fleet;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_lab::image::Image;
use lockstep_xpusim::effect::{Cause, Effect, What};
use lockstep_xpusim::stage::Stage;
use lockstep_xpusim::{Fleet, Listen};

use self::fleet::{
    BARE, CASES, COMPONENT, Case, NEW, NEWER, OLD, RUNNING, STAYS, fleet, images, machines,
    policies, wishes,
};
use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects;
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::secrets;
use crate::simulated_fleet::card_systems::CardSystems;
use crate::simulated_fleet::cases::{begin, host_of, record};
use crate::story;
use crate::world::{Simulated, World};

/// For all cards, those with a second update included, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1500);
const SOON: Duration = Duration::from_secs(600);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let system = artefacts::medium(&context.folder, "1.0")?;
    let new = artefacts::firmware(&context.folder, NEW)?;
    let newer = artefacts::firmware(&context.folder, NEWER)?;
    let systems_at = ImageServer::serve(system.path.clone()).await?;
    let new_at = ImageServer::serve(new.path.clone()).await?;
    let newer_at = ImageServer::serve(newer.path.clone()).await?;
    let listen = Listen::Ports("127.0.0.1:0".parse()?);
    let simulated = Simulated::start(&fleet(&new, &newer), listen).await?;
    let yaml = [
        secrets(&[&simulated])?,
        policies(),
        objects::image("v1", &system, &systems_at.url("v1.iso")),
        images(
            (&new, &new_at.url("new.fwpkg")),
            (&newer, &newer_at.url("newer.fwpkg")),
        ),
        machines(&simulated)?,
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

    let cards: Vec<_> = CASES
        .iter()
        .map(|case| (case.card, format!("{:?}, lists {}", case.fault, case.lists)))
        .collect();
    systems.await_ready(&mut world, &cards, PATIENCE).await?;
    report.figure(
        "seconds from apply to the last Ready",
        began.elapsed().as_secs(),
    );
    for case in &CASES {
        told(case, &record(&world, case.card).await?, &mut report)?;
        done(case, &fleet, &new)?;
    }
    bare(&world, &fleet, &mut report).await?;
    gives_up(&world, &fleet, &new, &mut report).await?;
    running(&mut world, &systems, &fleet, &newer, &mut report).await?;
    story::comes_to_rest(&world.control_plane, Duration::from_secs(15), SOON).await?;
    for card in names.into_iter().chain([STAYS, BARE]) {
        is_unhurt(card, &fleet)?;
    }
    systems.stop().await?;
    world.stop().await?;
    Ok(report)
}

fn component<'a>(kept: &'a CardRecord, card: &str) -> Result<&'a ComponentRecord> {
    match &kept.components[..] {
        [one] => Ok(one),
        other => bail!("{card}: {other:?}"),
    }
}

fn reasons(kept: &CardRecord) -> Vec<&str> {
    let failures = kept.failures.iter();
    failures.map(|failure| failure.reason.as_str()).collect()
}

/// The record has each failure with its reason, and nothing waits any more.
fn told(case: &Case, kept: &CardRecord, report: &mut Report) -> Result<()> {
    let Case { card, fails, .. } = case;
    let wanted: Vec<&str> = fails.iter().copied().collect();
    let found = reasons(kept);
    ensure!(
        found == wanted,
        "{card}: failed as {found:?} and not as {wanted:?}: {:?}",
        kept.failures
    );
    let one = component(kept, card)?;
    ensure!(
        one.observed_at.is_some() && one.pending.is_none() && one.begun_at.is_none(),
        "{card}: {one:?}"
    );
    ensure!(kept.armed.is_empty(), "{card}: {:?}", kept.armed);
    let cause = kept.failures.first();
    let cause = cause.map_or_else(String::new, |failure| {
        format!(", after {}: {}", failure.reason, failure.message)
    });
    report.say(format!(
        "{card} ({}, lists {}): runs {} after {} update(s){cause}",
        case.fault
            .map_or_else(|| "no fault".to_owned(), |fault| fault.to_string()),
        case.lists,
        one.image.version,
        one.attempts,
    ));
    Ok(())
}

fn of_card(card: &str, fleet: &Fleet) -> Result<Vec<Effect>> {
    let mut effects = fleet.effects(card, 0)?;
    effects.retain(|effect| effect.machine == card);
    Ok(effects)
}

/// How often an image came there.
fn came(effects: &[Effect], image: &Image) -> usize {
    let is_it = |effect: &&Effect| matches!(&effect.what, What::ImageArrived { sha256, .. } if *sha256 == image.sha256);
    effects.iter().filter(is_it).count()
}

/// The versions of the component that began to run, in order.
fn ran(effects: &[Effect]) -> Vec<(&str, &str)> {
    let ran = effects.iter().filter_map(|effect| {
        let What::FirmwareActivated { id, from, to } = &effect.what else {
            return None;
        };
        (id == COMPONENT).then_some((from.as_str(), to.as_str()))
    });
    ran.collect()
}

/// What the simulator says: the firmware came whole, ran once, and before any system was written.
fn done(case: &Case, fleet: &Fleet, new: &Image) -> Result<()> {
    let card = case.card;
    let effects = of_card(card, fleet)?;
    let updates = 1 + usize::from(case.fails.is_some());
    let found = came(&effects, new);
    ensure!(
        found == updates,
        "{card}: the firmware came {found} times instead of {updates}"
    );
    let versions = ran(&effects);
    ensure!(versions == [(OLD, NEW)], "{card}: {versions:?}");
    let at = |is: &dyn Fn(&What) -> bool| effects.iter().position(|effect| is(&effect.what));
    let runs = at(&|what| matches!(what, What::FirmwareActivated { id, .. } if id == COMPONENT));
    let installed = at(&|what| matches!(what, What::Installed { .. }));
    ensure!(
        runs < installed,
        "{card}: a system at {installed:?}, before its firmware at {runs:?}"
    );
    Ok(())
}

/// The card of which no system is wanted runs its firmware, and its host is let go.
async fn bare(world: &World, fleet: &Fleet, report: &mut Report) -> Result<()> {
    let what = "at rest with its firmware and no system";
    let card = story::await_card(&world.control_plane, BARE, what, SOON, |card| {
        story::reason(card) == "NoImageWanted"
    })
    .await?;
    let host = host_of(BARE);
    let what = "released";
    story::await_host(&world.control_plane, &host, what, SOON, |host| {
        let status = host.status.as_ref();
        status.is_some_and(|status| status.hold.is_none() && status.release.is_some())
    })
    .await?;
    let effects = of_card(BARE, fleet)?;
    let versions = ran(&effects);
    ensure!(versions == [(OLD, NEW)], "{BARE}: {versions:?}");
    let installed = effects
        .iter()
        .any(|effect| matches!(effect.what, What::Installed { .. }));
    ensure!(!installed, "{BARE} got a system");
    let message = card.status.and_then(|status| status.message);
    report.say(format!("{BARE}: {}", message.unwrap_or_default()));
    Ok(())
}

/// The card where nothing that is written ever runs: given up after as many updates as are allowed, and
/// what waits there is told.
async fn gives_up(world: &World, fleet: &Fleet, new: &Image, report: &mut Report) -> Result<()> {
    let what = "given up, because its firmware never runs";
    let card = story::await_card(&world.control_plane, STAYS, what, PATIENCE, |card| {
        story::reason(card) == "FirmwareFailed"
    })
    .await?;
    let message = card.status.and_then(|status| status.message);
    report.say(format!("{STAYS}: {}", message.unwrap_or_default()));
    let kept = record(world, STAYS).await?;
    let found = reasons(&kept);
    ensure!(
        found == ["VersionNotSeen", "VersionNotSeen"],
        "{STAYS}: {:?}",
        kept.failures
    );
    let one = component(&kept, STAYS)?;
    ensure!(
        one.pending.as_deref() == Some(NEW) && one.attempts == 2,
        "{STAYS}: {one:?}"
    );
    let effects = of_card(STAYS, fleet)?;
    let came = came(&effects, new);
    ensure!(came == 2, "{STAYS}: the firmware came {came} times");
    Ok(())
}

/// A card that runs its system gets another version: its host is taken down and held, the card shut
/// down, powered off and on, and the host let go once the card's system is back.
async fn running(
    world: &mut World,
    systems: &CardSystems,
    fleet: &Fleet,
    newer: &Image,
    report: &mut Report,
) -> Result<()> {
    let host = host_of(RUNNING);
    let from = fleet.effects(RUNNING, 0)?.len() as u64;
    let began = Instant::now();
    let kubectl = world.control_plane.kubectl();
    for wish in wishes() {
        let args: Vec<&str> = wish.iter().map(String::as_str).collect();
        kubectl.run(&args).await?;
    }
    let what = "at work on its firmware";
    story::await_card(&world.control_plane, RUNNING, what, SOON, |card| {
        story::reason(card) != "AsWanted"
    })
    .await?;
    let cards = [(RUNNING, "with another version".to_owned())];
    systems.await_ready(world, &cards, SOON).await?;
    report.figure(
        "seconds from the wish to Ready, of a card that runs its system",
        began.elapsed().as_secs(),
    );
    let kept = record(world, RUNNING).await?;
    let one = component(&kept, RUNNING)?;
    ensure!(
        one.image.version == NEWER && one.observed_at.is_some() && kept.cycled.is_none(),
        "{RUNNING}: {kept:?}"
    );
    let effects = fleet.effects(RUNNING, from)?;
    let at = |machine: &str, is: &dyn Fn(&What) -> bool| {
        let mut effects = effects.iter();
        effects.position(|effect| effect.machine == machine && is(&effect.what))
    };
    let on = |what: &What| matches!(what, What::PoweredOn { .. });
    let off = |what: &What| matches!(what, What::PoweredOff { .. });
    let halted = |what: &What| {
        *what
            == What::Reached {
                stage: Stage::OsHalted,
            }
    };
    let up = |what: &What| {
        *what
            == What::Reached {
                stage: Stage::OsRunning,
            }
    };
    let arrived =
        |what: &What| matches!(what, What::ImageArrived { sha256, .. } if *sha256 == newer.sha256);
    let runs = |what: &What| matches!(what, What::FirmwareActivated { id, to, .. } if id == COMPONENT && to == NEWER);
    let order = [
        at(&host, &off),
        at(RUNNING, &arrived),
        at(RUNNING, &halted),
        at(RUNNING, &off),
        at(RUNNING, &on),
        at(RUNNING, &runs),
        at(RUNNING, &up),
        at(&host, &on),
    ];
    ensure!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{RUNNING}: {order:?} in {effects:#?}"
    );
    let cycles = effects
        .iter()
        .filter(|effect| effect.machine == RUNNING && on(&effect.what))
        .count();
    ensure!(cycles == 1, "{RUNNING}: powered on {cycles} times");
    Ok(())
}

/// Nothing was powered or reset while something was written, and nothing was hurt; no BMC was restarted.
fn is_unhurt(card: &str, fleet: &Fleet) -> Result<()> {
    let mut writing: BTreeSet<String> = BTreeSet::new();
    for Effect { machine, what, .. } in fleet.effects(card, 0)? {
        if let What::Damaged { stage, cause } = what {
            bail!("{machine} was hurt in {stage:?} by {cause:?}");
        }
        if let What::PoweredOn { cause } | What::PoweredOff { cause, .. } = &what {
            ensure!(
                writing.is_empty() || !matches!(cause, Cause::Request(_)),
                "{machine}: {what:?} while {card} was written to by {writing:?}"
            );
        }
        if machine != card {
            continue;
        }
        if let What::TaskStarted { task, .. } = &what {
            writing.insert(task.clone());
        } else if let What::TaskEnded { task, .. } = &what {
            writing.remove(task);
        } else if what == What::BmcDown {
            writing.clear();
        }
    }
    let counts = fleet.requests(card)?.by_path;
    let restarts = counts.keys().find(|path| path.contains("Manager.Reset"));
    ensure!(restarts.is_none(), "{card}: {restarts:?}");
    Ok(())
}
