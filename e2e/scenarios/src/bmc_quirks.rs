//! `bmc-quirks`: what BMCs get wrong in the field, and what the product's BMC port makes of it.
//!
//! One row for each quirk of the field notes. Faults of the simulator stand for them; the port
//! that is tried is the product's own. What it asked, and what was really done, is judged by the
//! simulator's request counter and effect log: never by what the port says of itself.

mod case;
mod judge;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, stream};
use lockstep_cluster::{Look, eventually};
use lockstep_redfish::{
    AllowedNetworks, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride, BootTarget, Credentials,
    Effect, ExpectedIdentity, ImageUrl, MediaMatch, Redfish, RedfishBmc, TlsTrust,
};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server, Strike};

use crate::registry::Context;
use crate::report::Report;

use case::{Case, Step};
use judge::{Asked, Came, has_struck, is_change, judge, nothing_twice};
use table::ROWS;

const IMAGE: &str = "https://192.0.2.1/i/0123456789abcdef/card.iso";
const PASSWORD: &str = "a-good-password-1";
/// The fleet lives so much faster than real machines.
const SCALE: u32 = 100;
/// Most of their time the cases wait.
const AT_ONCE: usize = 8;
/// For what a machine or its BMC does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the scenario.
///
/// # Errors
/// When a row is not as the table says, with every one that is not.
pub async fn run(_: Context) -> Result<Report> {
    let fleet = fleet()?;
    let address = "127.0.0.1:0".parse().context("a loopback address")?;
    let server = Server::start(&fleet, Listen::Ports(address), true).await?;
    let redfish = port_of_the_product()?;

    let (fleet, server, redfish) = (&fleet, &server, &redfish);
    let tried = ROWS.iter().enumerate().flat_map(|(row, quirk)| {
        quirk
            .cases
            .iter()
            .enumerate()
            .map(move |(position, case)| async move {
                let name = name(row, position);
                let judged = try_case(fleet, server, redfish, &name, case).await;
                ((row, position), judged)
            })
    });
    let done: BTreeMap<_, _> = stream::iter(tried)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let mut report = Report::default();
    let mut wrong = Vec::new();
    let (mut cases, mut requests, mut changes) = (0, 0, 0);
    for (row, quirk) in ROWS.iter().enumerate() {
        let mut told = Vec::new();
        for (position, case) in quirk.cases.iter().enumerate() {
            let what = shown(case);
            match &done[&(row, position)] {
                Ok(tally) => {
                    cases += 1;
                    requests += tally.requests;
                    changes += tally.changes;
                    told.push(format!(
                        "{what}: {} ({} of {} requests, {} changing)",
                        tally.came, tally.requests, case.requests, tally.changes
                    ));
                }
                Err(error) => wrong.push(format!(
                    "{} {}, {what}: {error:#}",
                    quirk.source, quirk.quirk
                )),
            }
        }
        told.extend(
            quirk
                .unmet
                .iter()
                .map(|(fault, why)| format!("{fault}: not met, {why}")),
        );
        told.extend(quirk.not_here.iter().map(|why| format!("not tried: {why}")));
        report.say(format!(
            "{} {}: {}",
            quirk.source,
            quirk.quirk,
            told.join("; ")
        ));
    }
    ensure!(
        wrong.is_empty(),
        "{} case(s) not as the table says:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    report.figure("quirks", ROWS.len());
    report.figure("cases", cases);
    report.figure("requests of all cases", requests);
    report.figure("changing requests, none of them twice", changes);
    Ok(report)
}

/// What the simulator counted, and what came of the last step.
struct Tally {
    came: String,
    requests: u64,
    changes: u64,
}

fn name(row: usize, position: usize) -> String {
    format!("q{row}-{position}")
}

/// A machine for each case, alone in its power domain.
fn fleet() -> Result<Arc<Fleet>> {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for (row, quirk) in ROWS.iter().enumerate() {
        for (position, case) in quirk.cases.iter().enumerate() {
            let kind = if case.machine.ends_with("-host") {
                "hosts"
            } else {
                "cards"
            };
            yaml += &format!(
                "- {kind}: [{{name: {}, personality: {}, password: {PASSWORD}}}]\n",
                name(row, position),
                case.machine
            );
        }
    }
    Ok(Fleet::new(&FleetSpec::parse(&yaml)?)?)
}

/// The port as the site agent has it, with less patience.
fn port_of_the_product() -> Result<Redfish> {
    let options = BmcOptions {
        call_deadline: Duration::from_secs(12),
        media_deadline: Duration::from_secs(12),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(3),
        confirm_window: Duration::from_secs(2),
        ..BmcOptions::default()
    };
    let loopback = "127.0.0.0/8".parse().context("a network")?;
    Ok(Redfish::new(AllowedNetworks(vec![loopback]), options))
}

fn open(fleet: &Fleet, server: &Server, redfish: &Redfish, name: &str) -> Result<RedfishBmc> {
    let state = fleet.state(name)?;
    let target = BmcTarget {
        address: server.url(name)?.parse().context("the BMC's URL")?,
        system_path: None,
        credentials: Credentials {
            username: state.user,
            password: state.password,
        },
        tls: TlsTrust::CaBundle(server.certificate_pem(name)?),
        expected: ExpectedIdentity {
            system_uuid: Some(state.uuid),
            serial_number: Some(state.serial),
            tls_pin: None,
        },
    };
    Ok(redfish.bmc(target)?)
}

async fn try_case(
    fleet: &Fleet,
    server: &Server,
    redfish: &Redfish,
    name: &str,
    case: &Case,
) -> Result<Tally> {
    let bmc = open(fleet, server, redfish, name)?;
    for strikes in case.faults {
        fleet.switch_on(name, strikes.rule())?;
    }
    let mut last = None;
    for step in case.steps {
        last = take(fleet, &bmc, name, *step).await?.or(last);
    }
    let came = judge(
        case.expect,
        &last.context("no step asks the port for anything")?,
    )?;
    let counted = fleet.requests(name)?;
    let changes = counted
        .by_path
        .iter()
        .filter(|(request, _)| is_change(request))
        .map(|(_, times)| times)
        .sum();
    ensure!(
        counted.total <= case.requests,
        "{} requests, more than the {} allowed: {:?}",
        counted.total,
        case.requests,
        counted.by_path
    );
    ensure!(
        changes == case.changes,
        "{changes} changing requests instead of {}: {:?}",
        case.changes,
        counted.by_path
    );
    let log: Vec<What> = fleet
        .effects(name, 0)?
        .into_iter()
        .map(|effect| effect.what)
        .collect();
    nothing_twice(&log)?;
    for strikes in case.faults {
        ensure!(
            has_struck(&log, strikes.fault),
            "{} has never struck: the case proves nothing",
            strikes.fault
        );
    }
    bmc.close().await;
    Ok(Tally {
        came,
        requests: counted.total,
        changes,
    })
}

/// Takes one step; what the port gave, if it was asked.
async fn take(fleet: &Fleet, bmc: &RedfishBmc, name: &str, step: Step) -> Result<Option<Asked>> {
    let effect = |result: Result<Effect, BmcError>| Ok(Some(result.map(Came::Effect)));
    match step {
        Step::Observe => {
            let facts = bmc.observe().await;
            return Ok(Some(facts.map(|facts| Came::Facts(Box::new(facts)))));
        }
        Step::Insert => return effect(bmc.insert_media(&ImageUrl::new(IMAGE)).await),
        Step::Eject => return effect(bmc.eject_media(&MediaMatch::Any).await),
        Step::Once(target) => {
            let target = match target {
                "Cd" => BootTarget::Cd,
                "Pxe" => BootTarget::Pxe,
                "UefiHttp" => BootTarget::UefiHttp,
                other => BootTarget::Other(other.to_owned()),
            };
            return effect(bmc.set_boot_override(&BootOverride::Once(target)).await);
        }
        Step::Power(action) => return effect(bmc.power(action).await),
        Step::Press(reset, power) => {
            fleet.strike(name, Strike::Press { reset })?;
            until(fleet, name, "its power state", |state| state.power == power).await?;
        }
        Step::Reaches(stage) => {
            until(fleet, name, "its boot stage", |state| {
                state.stage == Some(stage)
            })
            .await?;
        }
        Step::RestartBmc => {
            fleet.strike(name, Strike::RestartBmc)?;
            until(fleet, name, "its BMC", |state| state.bmc_up).await?;
        }
        Step::RenewCertificate => fleet.strike(name, Strike::RenewCertificate)?,
        Step::ChangePassword => {
            let password = "another-password-2".to_owned();
            fleet.strike(name, Strike::SetPassword { password })?;
        }
    }
    Ok(None)
}

async fn until(
    fleet: &Fleet,
    name: &str,
    what: &str,
    holds: impl Fn(&lockstep_xpusim::MachineState) -> bool,
) -> Result<()> {
    let looked = eventually(PATIENCE, format!("{name}: {what}"), async || {
        match fleet.state(name) {
            Ok(state) if holds(&state) => Look::Holds(()),
            Ok(state) => Look::not_yet(format!("{:?} {:?}", state.power, state.stage)),
            Err(unknown) => Look::Never(unknown.into()),
        }
    });
    Ok(looked.await?)
}

fn shown(case: &Case) -> String {
    let faults: Vec<String> = case
        .faults
        .iter()
        .map(|one| one.fault.to_string())
        .collect();
    let last = case
        .steps
        .last()
        .map_or_else(String::new, |step| format!("{step:?}"));
    match faults.is_empty() {
        true => format!("{}, {last}", case.machine),
        false => format!("{} on {}, {last}", faults.join(" and "), case.machine),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_xpusim::fault::Fault;

    use super::*;

    #[test]
    fn every_quirk_of_the_list_has_its_row_and_a_row_says_what_it_leaves_out() {
        let mut wanted: Vec<String> = (1..=32).map(|number| format!("6.{number}")).collect();
        wanted.push("7".to_owned());
        let found: Vec<&str> = ROWS.iter().map(|row| row.source).collect();
        assert_eq!(found, wanted);
        for row in ROWS {
            let says = !row.cases.is_empty() || !row.not_here.is_empty();
            assert!(says, "{} is neither tried nor left out", row.source);
        }
    }

    #[test]
    fn every_fault_of_the_simulator_is_in_the_table() {
        for fault in Fault::ALL {
            let tried = ROWS
                .iter()
                .flat_map(|row| row.cases)
                .any(|case| case.faults.iter().any(|one| one.fault == *fault));
            let unmet = ROWS
                .iter()
                .flat_map(|row| row.unmet)
                .any(|(one, _)| one == fault);
            assert!(tried != unmet, "{fault}: tried {tried}, unmet {unmet}");
        }
    }
}
