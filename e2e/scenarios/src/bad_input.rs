//! `bad-input`: what users, networks and BMCs get wrong. Each case: a clear
//! condition with its remedy, a bounded number of requests, no effect meanwhile
//! and none twice, and recovery without a restart when the cause is gone.
//!
//! A case is one entry in a table of the modules below. Each has a card, a BMC,
//! an image and a policy of its own; some of them are played at the same time.

pub mod bmcs;
pub mod case;
pub mod certificates;
pub mod claims;
pub mod images;
pub mod repairs;
pub mod stage;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, PROPOSED_LABEL};
use lockstep_lab::{Credentials, LabSpec, MachineSpec};

use crate::artefacts;
use crate::bad_input::case::{Bmcs, Case, play};
use crate::bad_input::certificates::Certificates;
use crate::bad_input::stage::Stage;
use crate::image_server::ImageServer;
use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::report::Report;
use crate::world::{Kind, Machines, World};

/// Cases played at the same time.
const AT_ONCE: usize = 6;
/// For every card to be let go, its media taken back, once it is deleted.
const LET_GO: Duration = Duration::from_secs(180);

/// An [`case::Act`] from a block.
macro_rules! act {
    (|$stage:ident, $objects:ident| $body:block) => {
        |$stage, $objects| {
            Box::pin(async move {
                $body
                Ok(())
            })
        }
    };
}
pub(crate) use act;

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told, after the other cases were played too.
pub async fn run(context: Context) -> Result<Report> {
    let cases: Vec<&Case> = [images::CASES, bmcs::CASES, claims::CASES]
        .into_iter()
        .flatten()
        .collect();
    play_all(&context, &cases).await
}

/// Plays these cases, some at the same time, on BMCs without machines.
///
/// # Errors
/// When anything is not as told, after the other cases were played too.
pub async fn play_all(context: &Context, cases: &[&Case]) -> Result<Report> {
    let mut report = Report::default();
    let certificates = Certificates::new()?;
    let lab = lab(cases, &certificates);
    let credentials = lab.credentials.clone();
    let mut world = World::start_lab(&context.folder, Kind::Fake, lab, &context.binaries).await?;
    let rotated = Credentials {
        username: "rotated".to_owned(),
        password: "another-password".to_owned(),
    };
    match &world.machines {
        Machines::Fake(bmcs) => bmcs.add_account(&rotated).await?,
        Machines::Vms(_) | Machines::Simulated(_) | Machines::Nothing => {
            bail!("these cases are for BMCs without machines")
        }
    }
    world.start_operator().await?;
    world.start_agent().await?;

    let stages = async |case: &Case| -> Result<String> {
        let version = case.name;
        let stage = Stage {
            world: &world,
            name: case.name,
            bmc: world.machines.bmc(case.name)?,
            image: artefacts::medium(&context.folder, version)?,
            other_image: artefacts::medium(&context.folder, &version.to_uppercase())?,
            server: ImageServer::serve(context.folder.join(format!("{version}.iso"))).await?,
            elsewhere: ImageServer::serve(context.folder.join(format!("{version}.iso"))).await?,
            credentials: credentials.clone(),
            rotated: rotated.clone(),
            certificates: &certificates,
        };
        let seen = play(case, &stage).await;
        match &seen {
            Ok(line) => eprintln!("  ok   {line}"),
            Err(error) => eprintln!("  FAIL {error:#}"),
        }
        // Deleted in whatever phase it is.
        stage.delete(&format!("dpu/{}", case.name), false).await?;
        seen
    };
    let outcomes: Vec<Result<String>> =
        futures::stream::iter(cases.iter().map(|case| stages(case)))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
    let mut wrong = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(line) => report.say(line),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    world.check()?;
    if !wrong.is_empty() {
        bail!(
            "{} of {} cases failed:\n      {}",
            wrong.len(),
            cases.len(),
            wrong.join("\n      ")
        );
    }
    let_go(&world, cases, &mut report).await?;
    world.check()?;
    world.stop().await?;
    Ok(report)
}

fn lab(cases: &[&Case], certificates: &Certificates) -> LabSpec {
    let machines = cases.iter().flat_map(|case| {
        std::iter::once(MachineSpec::card(case.name)).chain(claims::rival_of(case))
    });
    let tls: BTreeMap<_, _> = cases
        .iter()
        .filter(|case| case.setting.bmcs == Bmcs::Tls)
        .map(|case| (case.name.to_owned(), certificates.stranger.clone()))
        .collect();
    LabSpec {
        tls,
        ..LabSpec::new(machines)
    }
}

/// Every card goes, and what was armed at its BMC is taken back, once. What answered at the BMC
/// of a rival was proposed: that stays until somebody says what it is, and nothing is done to it.
async fn let_go(world: &World, cases: &[&Case], report: &mut Report) -> Result<()> {
    let cards: kube::Api<Dpu> = kube::Api::namespaced(world.control_plane.client(), NAMESPACE);
    let ours = kube::api::ListParams::default().labels(&format!("!{PROPOSED_LABEL}"));
    eventually(LET_GO, "all deleted cards gone", async || {
        match cards.list(&ours).await {
            Ok(left) if left.items.is_empty() => Look::Holds(()),
            Ok(left) => Look::not_yet(format!(
                "left: {}",
                left.items
                    .iter()
                    .filter_map(|card| card.metadata.name.clone())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    let mut ejected = 0;
    for case in cases {
        let changes = world.machines.bmc(case.name)?.changes();
        let count = |what: &str| {
            let done = changes.iter().filter(|one| one.forwarded);
            // One that was refused took no effect; of one without an answer nobody knows.
            let done = done.filter(|one| one.status.is_none_or(|status| status < 400));
            done.filter(|one| one.path.ends_with(what)).count()
        };
        let (inserted, taken) = (count("InsertMedia"), count("EjectMedia"));
        if inserted != taken {
            bail!(
                "{}: {inserted} media inserted and {taken} ejected after its card was deleted",
                case.name
            );
        }
        ejected += taken;
        if let Some(rival) = claims::rival_of(case) {
            let changes = world.machines.bmc(&rival.name)?.changes();
            ensure!(
                changes.is_empty(),
                "{} was changed: {changes:?}",
                rival.name
            );
        }
    }
    report.say(format!(
        "all {} cards deleted; media ejected once each: {ejected}",
        cases.len()
    ));
    Ok(())
}
