//! `simulator-conformance`: DMTF's own tools against xpusim, every personality.
//!
//! Witnesses: the Redfish Service Validator with the published schemas, the Interop Validator with
//! what Ironic asks, the Protocol Validator over TLS and the Use Case Checkers. The first must not
//! fail at all; of the others every failure must be explained in `assets/redfish/waivers.yaml`,
//! and no explanation may be left over.

mod tool;
mod waiver;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use lockstep_lab::requirements;
use lockstep_xpusim::personality::{self, Personality, Role};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server};
use serde_json::Value;

use crate::artefacts::workspace;
use crate::registry::Context;
use crate::report::Report;

use tool::{Bmc, Outcome, TOOLS, Tool};
use waiver::Waivers;

const PASSWORD: &str = "Password1-of-the-lab";
/// How much faster than life the machines of each fleet live.
const SCALES: [f64; 3] = [0.5, 1.0, 60.0];
/// The fleet that speaks TLS.
const TLS: f64 = SCALES[1];
/// Most of their time the tools wait.
const AT_ONCE: usize = 12;

/// Runs the scenario.
///
/// # Errors
/// When a tool cannot run, or a failure is not explained, or an explanation not needed.
pub async fn run(context: Context) -> Result<Report> {
    let assets = workspace().join("e2e/scenarios/assets/redfish");
    let waivers = Waivers::read(&assets.join("waivers.yaml"))?;
    let (tools, csdl) = prepare(assets.clone()).await?;

    let address = "127.0.0.1:0".parse().context("a loopback address")?;
    let mut fleets = Vec::new();
    for scale in SCALES {
        let fleet = Fleet::new(&self::fleet(scale)?)?;
        let server = Server::start(&fleet, Listen::Ports(address), scale == TLS).await?;
        fleets.push((scale, fleet, server));
    }
    let mut runs = Vec::new();
    for tool in TOOLS {
        for personality in personality::ALL {
            let name = machine(personality, *tool);
            let wanted = scale(personality, *tool);
            let (_, fleet, server) = fleets
                .iter()
                .find(|(scale, ..)| *scale == wanted)
                .context("a fleet for every scale")?;
            let state = fleet.state(&name)?;
            let folder = context.folder.join(&name);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            let trusted = folder.join("bmc.pem");
            std::fs::write(&trusted, server.certificate_pem(&name)?)
                .with_context(|| format!("cannot write {}", trusted.display()))?;
            let bmc = Bmc {
                url: server.url(&name)?.to_owned(),
                user: state.user,
                password: PASSWORD.to_owned(),
                trusted,
                folder,
            };
            let (tools, csdl, assets) = (&tools, &csdl, &assets);
            runs.push(async move {
                let outcome = tool.run(tools, csdl, assets, &bmc).await;
                let outcome =
                    outcome.with_context(|| format!("{name}: logs in {}", bmc.folder.display()))?;
                anyhow::Ok((*tool, personality.name, outcome))
            });
        }
    }
    let mut done: Vec<_> = stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    done.sort_by_key(|(tool, personality, _)| (*tool, *personality));
    judge(&done, waivers)
}

/// The use cases wait for real seconds, into which a boot must fit; their waits of 50 s must not
/// end the sessions of a BMC that ends them after 30.
fn scale(personality: &Personality, tool: Tool) -> f64 {
    let [slow, real, fast] = SCALES;
    match tool {
        Tool::Protocol => real,
        Tool::UseCases if personality.access.session_timeout < 60 => slow,
        Tool::Service | Tool::Interop | Tool::UseCases => fast,
    }
}

/// The tools' environment, and the folder with the schemas.
async fn prepare(assets: PathBuf) -> Result<(PathBuf, PathBuf)> {
    tokio::task::spawn_blocking(move || {
        let pins = assets.join("requirements.txt");
        let pins = std::fs::read_to_string(&pins)
            .with_context(|| format!("cannot read {}", pins.display()))?;
        let tools = requirements::python_environment("redfish-conformance", &pins)?;
        Ok((tools, schemas()?))
    })
    .await
    .context("the task that prepares the tools ended early")?
}

/// The published schemas (CSDL) that came with the crate which our Redfish client is made from.
fn schemas() -> Result<PathBuf> {
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1"])
        .current_dir(workspace())
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(told.status.success(), "cargo metadata: {}", told.status);
    let told: Value = serde_json::from_slice(&told.stdout).context("cargo metadata")?;
    let manifest = told["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "nv-redfish-schema")
        .and_then(|package| package["manifest_path"].as_str())
        .context("nv-redfish-schema is no dependency any more: where are the Redfish schemas?")?;
    let folder = Path::new(manifest)
        .with_file_name("redfish-csdl")
        .join("csdl");
    ensure!(folder.is_dir(), "no schemas in {}", folder.display());
    Ok(folder)
}

/// Every personality once for each tool, so that no tool sees what another does; a card sits in a
/// host, and a host holds a card.
fn fleet(scale: f64) -> Result<FleetSpec> {
    let mut yaml = format!("timeScale: {scale}\nstart: 2026-06-01T00:00:00Z\ndomains:\n");
    for personality in personality::ALL {
        for tool in TOOLS {
            let name = machine(personality, *tool);
            let tested = format!(
                "name: {name}, personality: {}, password: {PASSWORD}",
                personality.name
            );
            let (host, card) = match personality.role {
                Role::Host => (tested, format!("name: {name}-in, personality: generic-dpu")),
                Role::Card => (
                    format!("name: {name}-by, personality: generic-host"),
                    tested,
                ),
            };
            let in_slot = match personality.role {
                Role::Host => name,
                Role::Card => format!("{name}-by"),
            };
            yaml += &format!(
                "- hosts: [{{{host}}}]\n  cards: [{{{card}, slots: [{{host: {in_slot}, slotPower: standby}}]}}]\n"
            );
        }
    }
    Ok(FleetSpec::parse(&yaml)?)
}

fn machine(personality: &Personality, tool: Tool) -> String {
    format!("{}-{}", personality.name, tool.name())
}

fn judge(done: &[(Tool, &str, Outcome)], mut waivers: Waivers) -> Result<Report> {
    let mut report = Report::default();
    let mut unexplained = Vec::new();
    let mut totals: BTreeMap<Tool, [u64; 4]> = BTreeMap::new();
    for (tool, personality, outcome) in done {
        let sums = totals.entry(*tool).or_default();
        let waived = outcome.failures.len() as u64;
        for (sum, one) in
            sums.iter_mut()
                .zip([outcome.passed, outcome.warned, outcome.failed, waived])
        {
            *sum += one;
        }
        for failure in &outcome.failures {
            if !waivers.cover(*tool, personality, failure) {
                unexplained.push(format!("{} on {personality}: {failure}", tool.name()));
            }
        }
        ensure!(
            *tool != Tool::Service || outcome.failed == 0,
            "the service validator fails on {personality}: {}",
            outcome.failures.join("; ")
        );
    }
    ensure!(
        unexplained.is_empty(),
        "{} failure(s) that no waiver explains; mend the simulator, or write down in waivers.yaml why they are right:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    waivers.all_used()?;
    for (tool, [passed, warned, failed, _]) in totals {
        let about = format!("{} PASS / WARN / FAIL, all FAIL explained", tool.name());
        report.figure(&about, format!("{passed} / {warned} / {failed}"));
    }
    report.figure("personalities", personality::ALL.len());
    Ok(report)
}
