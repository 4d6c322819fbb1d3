//! `address-swap`: two BMCs trade addresses while a card is being armed.
//!
//! Witness: what each address was asked, and which system stood behind it at
//! that moment. The trade happens while the first effect is on its way, so
//! that every request after it meets a stranger.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use lockstep_lab::MachineSpec;
use lockstep_lab::front::{Fault, Front, Request, Rule};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(120);
/// How long the first effect takes to reach its BMC: time enough for the trade.
const ON_ITS_WAY: Duration = Duration::from_secs(3);
/// How long nothing must happen while the addresses are wrong.
const QUIET: Duration = Duration::from_secs(12);
const CARDS: [&str; 2] = ["card1", "card2"];

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = [
        MachineSpec::card("card1"),
        MachineSpec::host("host1"),
        MachineSpec::card("card2"),
        MachineSpec::host("host2"),
    ];
    let mut world = World::start(
        &context.folder,
        Kind::Fake,
        machines.to_vec(),
        &context.binaries,
    )
    .await?;
    world.start_operator().await?;
    world.start_agent().await?;

    let choices = Choices::default();
    let yaml = [
        objects::policy("v1", &choices),
        objects::image("v1", &image, &server.url("v1.iso")),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::host("host2", &world.bmc("host2")?, &choices),
        paused(&objects::card("card2", "host2", &world.bmc("card2")?)),
    ]
    .concat();
    let kubectl = world.control_plane.kubectl();
    kubectl.apply_text(&yaml).await?;
    story::await_card(&world.control_plane, "card2", "Paused", SOON, |card| {
        story::reason(card) == "Paused"
    })
    .await?;

    let first = world.machines.bmc("card1")?;
    let second = world.machines.bmc("card2")?;
    first.add_rule(Rule::on(Method::POST, "InsertMedia", Fault::Delay(ON_ITS_WAY)).once());
    let card1 = objects::card("card1", "host1", &world.bmc("card1")?);
    kubectl.apply_text(&card1).await?;
    first
        .wait_for("InsertMedia at card1's BMC", SOON, |request| {
            request.path.ends_with("InsertMedia")
        })
        .await?;
    first.swap(second);
    let card2 = objects::card("card2", "host2", &world.bmc("card2")?);
    kubectl.apply_text(&card2).await?;
    for card in CARDS {
        let found = story::await_card(
            &world.control_plane,
            card,
            "IdentityMismatch",
            SOON,
            |card| story::reason(card) == "IdentityMismatch",
        )
        .await?;
        let said = found
            .status
            .and_then(|status| status.message)
            .unwrap_or_default();
        ensure!(
            said.contains("Correct the BMC address"),
            "{card}: no remedy in {said:?}"
        );
        report.say(format!("addresses traded; {card}: {said}"));
    }
    // The delayed first effect has landed by now, at the machine it was meant for.
    let before = first.changes().len() + second.changes().len();
    story::stays_so(
        QUIET,
        "no change while the addresses are wrong",
        async || Ok(first.changes().len() + second.changes().len() == before),
    )
    .await?;
    ensure!(
        before == 1,
        "{before} changing requests until the addresses were put right, instead of the one on its way"
    );
    report.say(format!(
        "changing requests in {} s with traded addresses: 0",
        QUIET.as_secs()
    ));

    first.swap(second);
    for card in CARDS {
        world
            .machines
            .bmc(card)?
            .wait_for(&format!("the power-on of {card}"), SOON, |request| {
                request.reset_type().as_deref() == Some("On")
            })
            .await?;
    }
    for card in CARDS {
        let meant = world.bmc(card)?.uuid;
        let done = witness(world.machines.bmc(card)?, &meant)
            .with_context(|| format!("at the address of {card}"))?;
        report.say(format!("addresses right again; {card}: {done}"));
    }
    for host in ["host1", "host2"] {
        let changes = world.machines.bmc(host)?.changes().len();
        ensure!(changes == 0, "{host}: {changes} changes at its BMC");
    }
    world.check()?;
    world.stop().await?;
    Ok(report)
}

/// Every change met the machine it was meant for, and none was made twice.
fn witness(address: &Front, meant: &str) -> Result<String> {
    let changes = address.changes();
    if let Some(astray) = changes.iter().find(|request| request.system != meant) {
        anyhow::bail!(
            "{} {} reached system {} and was meant for {meant}",
            astray.method,
            astray.path,
            astray.system
        );
    }
    let shown: Vec<String> = changes.iter().map(shown).collect();
    ensure!(
        shown == ["InsertMedia", "PATCH", "Reset On"],
        "changing requests were {shown:?}"
    );
    Ok(shown.join(", "))
}

fn shown(request: &Request) -> String {
    match request.reset_type() {
        Some(kind) => format!("Reset {kind}"),
        None if request.path.ends_with("InsertMedia") => "InsertMedia".to_owned(),
        None if request.method == Method::PATCH => "PATCH".to_owned(),
        None => format!("{} {}", request.method, request.path),
    }
}

fn paused(card: &str) -> String {
    card.replace("  identity:", "  paused: true\n  identity:")
}
